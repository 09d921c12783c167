//! A network in memory, in virtual time: real QUIC over seeded loss, delay, duplication and partition.
//!
//! Use it on a current-thread runtime with paused time ([`runtime`] makes one): ten virtual minutes then take
//! milliseconds, and the same seed gives the same run, packet by packet, provided that certificates use
//! Ed25519 keys (ECDSA signatures vary in length) and nothing iterates over a hash map.
//!
//! ```text
//!   node (one IP address) -- socket --> conditions of (from, to): lost? late? twice? --> inbox of the other socket
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future as _;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::{Clock, Entropy, SeededEntropy};
use protocol::UnixMillis;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, UdpPoller};
use tokio::time::{Instant, Sleep};

use super::Network;

/// Port of the first socket that asks for a free one.
const FIRST_FREE_PORT: u16 = 40_000;
/// Bytes of IP and UDP headers around a datagram, for bandwidth.
const HEADER_BYTES: u64 = 28;
/// Datagrams of an inbox that are delivered before the reader must come again.
const BATCH: usize = 8;

/// How the path from one node to another behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Time every datagram takes.
    pub latency: Duration,
    /// Time added at random; more than the distance between datagrams reorders them.
    pub jitter: Duration,
    /// Share that is lost.
    pub loss: f64,
    /// Share that arrives twice.
    pub duplication: f64,
    /// Bits per second the sender's line carries; nothing means any number.
    pub bandwidth: Option<u64>,
    /// Bytes that may wait for the line before datagrams are dropped.
    pub queue_bytes: u64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            bandwidth: None,
            queue_bytes: 256 * 1024,
        }
    }
}

impl Conditions {
    /// A path that loses, duplicates and reorders.
    pub fn bad() -> Self {
        Self {
            latency: Duration::from_millis(40),
            jitter: Duration::from_millis(40),
            loss: 0.05,
            duplication: 0.01,
            ..Self::default()
        }
    }
}

/// What the network did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Datagrams sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that did not arrive.
    pub dropped: u64,
    /// A hash over time, length and ends of every datagram: equal runs have equal ones.
    pub trace: u64,
}

/// The network; clones are the same one.
#[derive(Clone)]
pub struct SimulatedNetwork {
    inner: Arc<Mutex<Inner>>,
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedNetwork").field(&self.statistics()).finish()
    }
}

struct Inner {
    entropy: SeededEntropy,
    began: Instant,
    conditions: Conditions,
    paths: BTreeMap<(IpAddr, IpAddr), Conditions>,
    cut: BTreeSet<(IpAddr, IpAddr)>,
    isolated: BTreeSet<IpAddr>,
    names: BTreeMap<String, IpAddr>,
    inboxes: BTreeMap<SocketAddr, Weak<Inbox>>,
    ports: BTreeMap<IpAddr, u16>,
    lines: BTreeMap<IpAddr, Instant>,
    sequence: u64,
    endpoints: u64,
    statistics: Statistics,
}

impl SimulatedNetwork {
    /// A network without nodes; must be made inside the runtime whose time it shall use.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        let inner = Inner {
            entropy: SeededEntropy::new(seed),
            began: Instant::now(),
            conditions,
            paths: BTreeMap::new(),
            cut: BTreeSet::new(),
            isolated: BTreeSet::new(),
            names: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            ports: BTreeMap::new(),
            lines: BTreeMap::new(),
            sequence: 0,
            endpoints: 0,
            statistics: Statistics { trace: 0xcbf2_9ce4_8422_2325, ..Statistics::default() },
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The network as the node with that address sees it.
    pub fn node(&self, address: IpAddr) -> Arc<dyn Network> {
        Arc::new(Node { network: self.clone(), address })
    }

    /// Gives a node a name, which resolves from everywhere.
    pub fn name(&self, name: &str, address: IpAddr) {
        self.lock().names.insert(name.to_owned(), address);
    }

    /// How paths behave that have no conditions of their own.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.lock().conditions = conditions;
    }

    /// How the path from one node to another behaves, in that direction only.
    pub fn set_path(&self, from: IpAddr, to: IpAddr, conditions: Conditions) {
        self.lock().paths.insert((from, to), conditions);
    }

    /// Lets nothing through from one node to another, in that direction only.
    pub fn cut(&self, from: IpAddr, to: IpAddr) {
        self.lock().cut.insert((from, to));
    }

    /// Lets nothing through between two nodes.
    pub fn partition(&self, one: IpAddr, other: IpAddr) {
        self.lock().cut.extend([(one, other), (other, one)]);
    }

    /// Ends every cut between two nodes.
    pub fn heal(&self, one: IpAddr, other: IpAddr) {
        let mut inner = self.lock();
        inner.cut.remove(&(one, other));
        inner.cut.remove(&(other, one));
    }

    /// Lets nothing from or to a node.
    pub fn isolate(&self, node: IpAddr) {
        self.lock().isolated.insert(node);
    }

    /// Ends the isolation of a node.
    pub fn rejoin(&self, node: IpAddr) {
        self.lock().isolated.remove(&node);
    }

    /// What it did so far.
    pub fn statistics(&self) -> Statistics {
        self.lock().statistics
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn endpoint(
        &self,
        address: SocketAddr,
        mut config: EndpointConfig,
        server: Option<ServerConfig>,
    ) -> io::Result<Endpoint> {
        let (socket, seed) = {
            let mut inner = self.lock();
            let address = inner.claim(address)?;
            let inbox = Arc::new(Inbox { state: Mutex::new(InboxState::default()) });
            inner.inboxes.insert(address, Arc::downgrade(&inbox));
            inner.endpoints += 1;
            let mut seed = [0; 32];
            SeededEntropy::new(inner.endpoints).fill(&mut seed);
            (SimulatedSocket { address, network: self.clone(), inbox }, seed)
        };
        config.rng_seed(Some(seed));
        Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), Arc::new(TokioRuntime))
    }
}

impl Inner {
    /// The address, with a free port if it has none.
    fn claim(&mut self, mut address: SocketAddr) -> io::Result<SocketAddr> {
        if address.port() == 0 {
            let port = self.ports.entry(address.ip()).or_insert(FIRST_FREE_PORT);
            *port = port.checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?;
            address.set_port(*port);
        }
        let taken = self.inboxes.get(&address).is_some_and(|inbox| inbox.strong_count() > 0);
        if taken { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(address) }
    }

    fn chance(&mut self, share: f64) -> bool {
        const STEPS: u64 = 1 << 32;
        // The draw happens in any case, so that conditions do not shift what comes after.
        #[expect(clippy::cast_precision_loss, reason = "32 bits fit a double")]
        let drawn = self.entropy.below(STEPS) as f64 / STEPS as f64;
        drawn < share
    }

    fn mix(&mut self, value: u64) {
        self.statistics.trace = (self.statistics.trace ^ value).wrapping_mul(0x0100_0000_01b3);
    }

    /// One datagram; gives the inbox it goes to and when it arrives there, once per copy.
    fn route(&mut self, from: SocketAddr, to: SocketAddr, bytes: usize) -> Vec<(Arc<Inbox>, Instant, u64)> {
        let now = Instant::now();
        let length = u64::try_from(bytes).unwrap_or(u64::MAX);
        let at = u64::try_from((now - self.began).as_micros()).unwrap_or(u64::MAX);
        for value in [at, length, u64::from(from.port()), u64::from(to.port())] {
            self.mix(value);
        }
        self.statistics.sent += 1;
        self.statistics.bytes += length;
        let (source, target) = (from.ip(), to.ip());
        let conditions = self.paths.get(&(source, target)).copied().unwrap_or(self.conditions);
        let (lost, twice) = (self.chance(conditions.loss), self.chance(conditions.duplication));
        let severed = self.cut.contains(&(source, target))
            || self.isolated.contains(&source)
            || self.isolated.contains(&target);
        let inbox = self.inboxes.get(&to).and_then(Weak::upgrade);
        let line = self.line(source, &conditions, length, now);
        let (Some(inbox), Some(waited), false, false) = (inbox, line, lost, severed) else {
            self.statistics.dropped += 1;
            return Vec::new();
        };
        let copies = if twice { 2 } else { 1 };
        let jitter = u64::try_from(conditions.jitter.as_micros()).unwrap_or(u64::MAX);
        (0..copies)
            .map(|_| {
                self.sequence += 1;
                let late = Duration::from_micros(self.entropy.below(jitter));
                (Arc::clone(&inbox), now + waited + conditions.latency + late, self.sequence)
            })
            .collect()
    }

    /// How long the sender's line takes; nothing when its queue is full.
    fn line(
        &mut self,
        source: IpAddr,
        conditions: &Conditions,
        bytes: u64,
        now: Instant,
    ) -> Option<Duration> {
        let Some(bandwidth) = conditions.bandwidth else { return Some(Duration::ZERO) };
        let free = self.lines.get(&source).copied().unwrap_or(now).max(now);
        let time = |bytes: u64| Duration::from_micros(bytes.saturating_mul(8_000_000) / bandwidth.max(1));
        if free - now > time(conditions.queue_bytes) {
            return None;
        }
        let done = free + time(bytes + HEADER_BYTES);
        self.lines.insert(source, done);
        Some(done - now)
    }
}

/// A node's view.
#[derive(Debug)]
struct Node {
    network: SimulatedNetwork,
    address: IpAddr,
}

impl Network for Node {
    fn dialer(&self, config: EndpointConfig) -> io::Result<Endpoint> {
        self.network.endpoint(SocketAddr::new(self.address, 0), config, None)
    }

    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
    ) -> io::Result<Endpoint> {
        let address = SocketAddr::new(self.address, address.port());
        self.network.endpoint(address, config, Some(server))
    }

    fn resolve<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move {
            if let Ok(address) = endpoint.parse() {
                return Ok(vec![address]);
            }
            let found = endpoint.rsplit_once(':').and_then(|(name, port)| {
                let address = self.network.lock().names.get(name).copied()?;
                Some(SocketAddr::new(address, port.parse().ok()?))
            });
            found.map(|address| vec![address]).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        .boxed()
    }
}

/// Datagrams on their way to a socket, by time of arrival.
struct Inbox {
    state: Mutex<InboxState>,
}

#[derive(Default)]
struct InboxState {
    datagrams: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
    alarm: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SimulatedSocket {
    address: SocketAddr,
    network: SimulatedNetwork,
    inbox: Arc<Inbox>,
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedSocket({})", self.address)
    }
}

/// Sending never waits.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let deliveries =
            self.network.lock().route(self.address, transmit.destination, transmit.contents.len());
        for (inbox, at, sequence) in deliveries {
            let mut state = inbox.lock();
            state.datagrams.insert((at, sequence), (self.address, transmit.contents.to_vec()));
            // Only a new first datagram changes when its reader must wake.
            let first = state.datagrams.first_key_value().is_some_and(|(key, _)| *key == (at, sequence));
            if first && let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.inbox.lock();
        loop {
            let now = Instant::now();
            let mut count = 0;
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(BATCH) {
                let Some(entry) = state.datagrams.first_entry().filter(|entry| entry.key().0 <= now) else {
                    break;
                };
                let (from, datagram) = entry.remove();
                buffer[..datagram.len()].copy_from_slice(&datagram);
                *meta = RecvMeta::default();
                meta.addr = from;
                meta.len = datagram.len();
                meta.stride = datagram.len();
                meta.dst_ip = Some(self.address.ip());
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            state.waker = Some(context.waker().clone());
            let Some((&(next, _), _)) = state.datagrams.first_key_value() else {
                state.alarm = None;
                return Poll::Pending;
            };
            if state.alarm.as_ref().is_none_or(|(at, _)| *at != next) {
                state.alarm = Some((next, Box::pin(tokio::time::sleep_until(next))));
            }
            let Some((_, alarm)) = state.alarm.as_mut() else { return Poll::Pending };
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            state.alarm = None;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// A time of day that follows virtual time.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    began: Instant,
    start: UnixMillis,
    /// How far the clock is set off, in milliseconds.
    offset: Arc<std::sync::atomic::AtomicI64>,
}

impl VirtualClock {
    /// A clock that shows `start` now; must be made inside the runtime whose time it shall follow.
    pub fn new(start: UnixMillis) -> Self {
        Self { began: Instant::now(), start, offset: Arc::default() }
    }

    /// Sets the clock forward or back.
    pub fn shift(&self, millis: i64) {
        self.offset.fetch_add(millis, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> UnixMillis {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let offset = self.offset.load(std::sync::atomic::Ordering::Relaxed);
        (self.start + elapsed).saturating_add_signed(offset)
    }
}

/// A current-thread runtime with paused time.
///
/// # Errors
/// The system's, when no runtime can be had.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
}
