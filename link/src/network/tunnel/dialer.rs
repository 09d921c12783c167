//! The dialling side's socket: two carriers for one peer.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use quinn::rustls::ClientConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, TokioRuntime, UdpPoller};
use rustls_pki_types::ServerName;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::flow::{Queue, carry};
use super::ground::Ground;
use super::inbox::{Inbox, datagrams};
use super::probe::{ProbeId, answered, question};
use super::route::{Carrier, Route};
use super::{TunnelError, head, is_name, mapped, name, plain};
use crate::network::Way;

/// Datagrams of tunnels that may wait for QUIC.
const INBOX_MAX: usize = 512;
/// How long a network is remembered as one that lets no UDP through.
const MEMORY: Duration = Duration::from_secs(600);
/// Bytes that TLS may hold back from TCP.
const TLS_BUFFER_BYTES: usize = 16 * 1024;

/// An endpoint that dials.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// QUIC.
    pub endpoint: Endpoint,
    /// The carriers of its connections; nothing where there is UDP alone.
    pub carriers: Option<Arc<Carriers>>,
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The host as it was named, for proxies and for TLS.
    pub host: String,
    /// Its address.
    pub address: SocketAddr,
}

impl Place {
    /// The address of an endpoint written as `host:port`.
    pub fn new(endpoint: &str, address: SocketAddr) -> Self {
        let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
        Self { host: host.trim_start_matches('[').trim_end_matches(']').to_owned(), address }
    }
}

/// What carries the datagrams of a dialling endpoint.
#[derive(Debug)]
pub struct Carriers {
    ground: Arc<dyn Ground>,
    state: Mutex<State>,
    inbox: Inbox,
    /// A route may have become silent.
    silence: Notify,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct State {
    udp: Arc<dyn AsyncUdpSocket>,
    /// By the name that QUIC knows the peer by.
    routes: BTreeMap<SocketAddr, Route>,
    names: u64,
    probes: BTreeMap<ProbeId, oneshot::Sender<()>>,
    /// Until when a peer is dialled by TCP at once, by the way there.
    blocked: Vec<(Option<Way>, SocketAddr, Instant)>,
    rtts: BTreeMap<SocketAddr, Duration>,
}

/// A tunnel; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Tunnel {
    queue: Arc<Queue>,
    /// Whom QUIC takes for the sender of what comes out.
    name: Arc<Mutex<SocketAddr>>,
    real: SocketAddr,
    ended: CancellationToken,
    _alive: DropGuard,
}

impl Tunnel {
    /// Ends when the tunnel does.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Dialer {
    /// An endpoint on that ground.
    pub(crate) fn new(ground: Arc<dyn Ground>, config: EndpointConfig) -> io::Result<Self> {
        let udp = ground.udp()?;
        let state = State {
            udp: Arc::clone(&udp),
            routes: BTreeMap::new(),
            names: 0,
            probes: BTreeMap::new(),
            blocked: Vec::new(),
            rtts: BTreeMap::new(),
        };
        let carriers = Arc::new(Carriers {
            ground,
            state: Mutex::new(state),
            inbox: Inbox::new(INBOX_MAX),
            silence: Notify::new(),
            tasks: TaskTracker::new(),
        });
        let socket = DialSocket::new(udp, &carriers);
        let endpoint = Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, carriers: Some(carriers) })
    }

    /// Takes a fresh socket for UDP, on the way that there is now.
    pub(crate) fn rebind(&self) -> io::Result<()> {
        let Some(carriers) = &self.carriers else { return Ok(()) };
        let udp = carriers.ground.udp()?;
        carriers.lock().udp = Arc::clone(&udp);
        self.endpoint.rebind_abstract(DialSocket::new(udp, carriers))
    }

    /// Makes QUIC send something now, so that the peer learns of the carrier.
    pub(crate) fn nudge(&self) {
        let Some(carriers) = &self.carriers else { return };
        let udp = Arc::clone(&carriers.lock().udp);
        if let Err(error) = self.endpoint.rebind_abstract(DialSocket::new(udp, carriers)) {
            tracing::debug!(%error, "the peer learns of the carrier with the next message");
        }
    }
}

impl Carriers {
    /// A new connection to that address begins: those before are over.
    pub(crate) fn begin(&self, address: SocketAddr) {
        self.lock().routes.retain(|_, route| route.real != plain(address));
    }

    /// Digs a tunnel.
    ///
    /// # Errors
    /// [`TunnelError`].
    pub(crate) async fn dig(
        self: &Arc<Self>,
        to: &Place,
        tls: Arc<ClientConfig>,
    ) -> Result<Arc<Tunnel>, TunnelError> {
        let shown = || format!("{} ({})", to.address, to.host);
        let stream = self.ground.connect(to).await?;
        let server = ServerName::try_from(to.host.clone())
            .unwrap_or_else(|_| ServerName::IpAddress(to.address.ip().into()));
        let connector = TlsConnector::from(tls);
        let mut stream = connector
            .connect_with(server, stream, |connection| connection.set_buffer_limit(Some(TLS_BUFFER_BYTES)))
            .await
            .map_err(|source| TunnelError::Tls { to: shown(), source })?;
        let upgrade = |reason: String| TunnelError::Upgrade { to: shown(), reason };
        let mut buffer = BytesMut::new();
        let asked = async {
            head::write(&mut stream, &head::request(&to.host, to.address.port())).await?;
            head::response(&head::read(&mut stream, &mut buffer).await?)
        };
        let status = asked.await.map_err(|error| upgrade(error.to_string()))?;
        if !status.grants() {
            return Err(upgrade(format!("it answers {} {}", status.code, status.reason)));
        }
        let tunnel = self.tunnel(plain(to.address));
        let (queue, named, ended) =
            (Arc::clone(&tunnel.queue), Arc::clone(&tunnel.name), tunnel.ended.clone());
        let carriers = Arc::downgrade(self);
        self.tasks.spawn(async move {
            let deliver = |datagram: &[u8]| deliver(&carriers, &named, datagram);
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                reason = carry(stream, buffer, &queue, None, deliver) => {
                    tracing::info!(%reason, dropped = queue.dropped(), "the tunnel to the peer is over");
                }
            }
            ended.cancel();
        });
        Ok(tunnel)
    }

    fn tunnel(&self, real: SocketAddr) -> Arc<Tunnel> {
        let mut state = self.lock();
        state.names += 1;
        let ended = CancellationToken::new();
        Arc::new(Tunnel {
            queue: Arc::default(),
            name: Arc::new(Mutex::new(name(state.names))),
            real,
            ended: ended.clone(),
            _alive: ended.drop_guard(),
        })
    }

    /// The name under which QUIC can dial through a tunnel.
    pub(crate) fn name_of(&self, tunnel: &Arc<Tunnel>) -> SocketAddr {
        let name = *tunnel.name.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock().routes.insert(name, Route::new(tunnel.real, Some(Arc::clone(tunnel))));
        name
    }

    /// The name under which QUIC sends to an address by UDP.
    pub(crate) fn name_of_udp(address: SocketAddr) -> SocketAddr {
        mapped(address)
    }

    /// The tunnel of a connection, if it has one.
    pub(crate) fn tunnel_of(&self, name: &SocketAddr) -> Option<Arc<Tunnel>> {
        self.lock().routes.get(name)?.tunnel.clone()
    }

    /// What carries a connection.
    pub(crate) fn carrier(&self, name: &SocketAddr) -> Carrier {
        self.lock().routes.get(name).map_or(Carrier::Udp, |route| route.carrier)
    }

    /// Moves a connection into a tunnel, with what had no answer.
    pub(crate) fn move_to_tcp(&self, name: SocketAddr, tunnel: Arc<Tunnel>) {
        *tunnel.name.lock().unwrap_or_else(PoisonError::into_inner) = name;
        let mut state = self.lock();
        let route = state.routes.entry(name).or_insert_with(|| Route::new(tunnel.real, None));
        for datagram in route.moves(Some(Arc::clone(&tunnel))) {
            tunnel.queue.push(&datagram);
        }
    }

    /// Moves a connection to UDP. Its tunnel stays for what is still in it.
    pub(crate) fn move_to_udp(&self, name: SocketAddr) {
        if let Some(route) = self.lock().routes.get_mut(&name) {
            route.moves(None);
        }
    }

    /// Fills the tunnel in, unless it is in use.
    pub(crate) fn fill_in(&self, name: SocketAddr) {
        if let Some(route) = self.lock().routes.get_mut(&name)
            && route.carrier == Carrier::Udp
        {
            route.tunnel = None;
        }
    }

    /// Ends when a connection has had no answer for so long, though it sent.
    pub(crate) async fn silent(&self, name: &SocketAddr, patience: Duration) {
        loop {
            let mut changed = std::pin::pin!(self.silence.notified());
            changed.as_mut().enable();
            let until = self.lock().routes.get(name).and_then(|route| route.silent_at(patience));
            match until {
                Some(until) if until <= Instant::now() => return,
                Some(until) => tokio::time::sleep_until(until).await,
                None => changed.await,
            }
        }
    }

    /// Whether a datagram of the least length that QUIC needs gets to a listener by UDP, and an answer back in time.
    pub(crate) async fn probe(&self, address: SocketAddr, patience: Duration) -> bool {
        let (id, datagram) = question();
        let (sender, receiver) = oneshot::channel();
        let udp = {
            let mut state = self.lock();
            state.probes.retain(|_, waiting| !waiting.is_closed());
            state.probes.insert(id, sender);
            Arc::clone(&state.udp)
        };
        let destination = by_udp(takes_mapped(&*udp), address);
        let sent = udp.try_send(&Transmit {
            destination,
            ecn: None,
            contents: &datagram,
            segment_size: None,
            src_ip: None,
        });
        sent.is_ok() && matches!(tokio::time::timeout(patience, receiver).await, Ok(Ok(())))
    }

    /// Remembers whether UDP gets to an address from the network that has that way.
    pub(crate) fn remember(&self, way: Option<Way>, address: SocketAddr, blocked: bool) {
        let mut state = self.lock();
        let now = Instant::now();
        state.blocked.retain(|(from, to, until)| (*from, *to) != (way, address) && *until > now);
        if blocked {
            state.blocked.push((way, address, now + MEMORY));
        }
    }

    /// Whether UDP did not get to that address lately.
    pub(crate) fn is_blocked(&self, way: Option<Way>, address: SocketAddr) -> bool {
        let now = Instant::now();
        self.lock().blocked.iter().any(|(from, to, until)| (*from, *to) == (way, address) && *until > now)
    }

    /// Keeps what a round trip to there takes.
    pub(crate) fn learn(&self, address: SocketAddr, rtt: Duration) {
        self.lock().rtts.insert(address, rtt);
    }

    /// What a round trip to there took last.
    pub(crate) fn learned(&self, address: SocketAddr) -> Option<Duration> {
        self.lock().rtts.get(&address).copied()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By which carrier a datagram leaves; tunnels take it here.
    fn send(&self, transmit: &Transmit<'_>) -> Leaves {
        let name = transmit.destination;
        let mut state = self.lock();
        let route = match state.routes.entry(name) {
            // Of a connection that is over.
            Entry::Vacant(_) if is_name(&name) => return Leaves::Nowhere,
            Entry::Vacant(new) => new.insert(Route::new(plain(name), None)),
            Entry::Occupied(known) => known.into_mut(),
        };
        let now = Instant::now();
        let mut silence = false;
        for datagram in datagrams(transmit) {
            silence |= route.sends(datagram, now);
            if let (Carrier::Tcp, Some(tunnel)) = (route.carrier, &route.tunnel) {
                tunnel.queue.push(datagram);
            }
        }
        let leaves = if route.carrier == Carrier::Udp { Leaves::By(route.real) } else { Leaves::Nowhere };
        drop(state);
        if silence {
            self.silence.notify_waiters();
        }
        leaves
    }

    /// What came by UDP: answers to probes are taken out, senders get the names that QUIC knows them by.
    fn received(&self, buffers: &[IoSliceMut<'_>], metas: &mut [RecvMeta]) {
        let mut state = self.lock();
        for (buffer, meta) in buffers.iter().zip(metas) {
            let first = &buffer[..meta.len.min(meta.stride)];
            if let Some(waiting) = answered(first).and_then(|id| state.probes.remove(&id)) {
                // Whoever asked may have stopped waiting.
                let _ = waiting.send(());
                meta.len = 0;
                continue;
            }
            let real = plain(meta.addr);
            let named = state.routes.iter_mut().filter(|(_, route)| route.real == real);
            // The one that moved here from a tunnel is the live one.
            let found = named
                .filter(|(_, route)| route.carrier == Carrier::Udp)
                .min_by_key(|(name, _)| !is_name(name));
            meta.addr = match found {
                Some((name, route)) => {
                    route.receives(Carrier::Udp);
                    *name
                }
                None => mapped(meta.addr),
            };
        }
    }
}

/// Where a datagram goes from here.
enum Leaves {
    /// By UDP, to that address.
    By(SocketAddr),
    /// It is in a tunnel, or lost.
    Nowhere,
}

/// Whether a socket is one of IPv6, which has IPv4 mapped.
fn takes_mapped(udp: &dyn AsyncUdpSocket) -> bool {
    udp.local_addr().is_ok_and(|local| local.is_ipv6())
}

/// An address as a socket takes it.
fn by_udp(takes_mapped: bool, address: SocketAddr) -> SocketAddr {
    if takes_mapped { mapped(address) } else { plain(address) }
}

/// A datagram came out of a tunnel.
fn deliver(carriers: &Weak<Carriers>, named: &Mutex<SocketAddr>, datagram: &[u8]) {
    let Some(carriers) = carriers.upgrade() else { return };
    let name = *named.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(route) = carriers.lock().routes.get_mut(&name) {
        route.receives(Carrier::Tcp);
    }
    carriers.inbox.push(name, datagram);
}

/// What QUIC has for a socket. It is always one of IPv6, so that names are addresses it takes; IPv4 is mapped.
#[derive(Debug)]
struct DialSocket {
    udp: Arc<dyn AsyncUdpSocket>,
    /// Asked of the system once, and not with every datagram.
    takes_mapped: bool,
    carriers: Arc<Carriers>,
}

impl DialSocket {
    fn new(udp: Arc<dyn AsyncUdpSocket>, carriers: &Arc<Carriers>) -> Arc<Self> {
        let takes_mapped = takes_mapped(&*udp);
        Arc::new(Self { udp, takes_mapped, carriers: Arc::clone(carriers) })
    }
}

impl AsyncUdpSocket for DialSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.udp).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.carriers.send(transmit) {
            Leaves::By(real) => {
                let destination = by_udp(self.takes_mapped, real);
                let Transmit { ecn, contents, segment_size, src_ip, .. } = *transmit;
                self.udp.try_send(&Transmit { destination, ecn, contents, segment_size, src_ip })
            }
            Leaves::Nowhere => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received =
            |buffers: &[IoSliceMut<'_>], metas: &mut [RecvMeta]| self.carriers.received(buffers, metas);
        self.carriers.inbox.poll(&*self.udp, context, buffers, metas, received)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr().map(mapped)
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}
