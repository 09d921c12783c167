//! A network in memory, in virtual time: real QUIC over seeded loss, delay, duplication and partition.
//!
//! Use it on a current-thread runtime with paused time ([`runtime`] makes one): ten virtual minutes then take
//! milliseconds, and the same seed gives the same run, packet by packet, provided that certificates use
//! Ed25519 keys (ECDSA signatures vary in length) and nothing iterates over a hash map.
//!
//! ```text
//!   node (one IP address) -- socket --> conditions of (from, to): lost? late? twice? --> inbox of the other socket
//! ```
//! - `conditions`: how paths behave; `route`: what that means for a datagram
//! - `stream`: TCP, for tunnels
//! - `translation`: where others see a node that is behind a router; `socket`: where datagrams wait
//! - `clock`: the time of day

mod clock;
mod conditions;
mod route;
mod socket;
mod stream;
mod translation;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::{Entropy as _, SeededEntropy};
use quinn::{EndpointConfig, ServerConfig};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::tunnel::{Dialer, Listener};
use super::{Network, TunnelSettings, Way};
use route::Inner;
use socket::{Inbox, SimulatedSocket};
use stream::{NodeGround, SimulatedDoor};
use translation::Translation;

pub use clock::VirtualClock;
pub use conditions::{Bursts, Conditions};

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
    /// Tells whoever is told that a node was isolated or is no more.
    notices: Arc<Notify>,
    tasks: TaskTracker,
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedNetwork").field(&self.statistics()).finish()
    }
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
            told: BTreeSet::new(),
            udp_blocked: BTreeSet::new(),
            tcp_blocked: BTreeSet::new(),
            doors: BTreeMap::new(),
            wires: Vec::new(),
            names: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            ports: BTreeMap::new(),
            lines: BTreeMap::new(),
            bursts: BTreeMap::new(),
            translation: Translation::default(),
            sequence: 0,
            endpoints: 0,
            statistics: Statistics { trace: 0xcbf2_9ce4_8422_2325, ..Statistics::default() },
        };
        Self { inner: Arc::new(Mutex::new(inner)), notices: Arc::default(), tasks: TaskTracker::new() }
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

    /// Every path behaves as all do again.
    pub fn clear_paths(&self) {
        self.lock().paths.clear();
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

    /// The router before a node forgets it: from now on its sockets are seen at other ports, and what is sent to the old
    /// ones is lost.
    pub fn rebind(&self, node: IpAddr) {
        self.lock().translation.rebind(node);
        self.deaden(node);
    }

    /// Lets no datagram from or to a node; streams are not touched.
    pub fn block_udp(&self, node: IpAddr) {
        self.lock().udp_blocked.insert(node);
    }

    /// Ends that.
    pub fn unblock_udp(&self, node: IpAddr) {
        self.lock().udp_blocked.remove(&node);
    }

    /// Lets nothing of streams through from or to a node, and no new ones; datagrams are not touched.
    pub fn block_tcp(&self, node: IpAddr) {
        self.lock().tcp_blocked.insert(node);
    }

    /// Ends that; what waited goes on.
    pub fn unblock_tcp(&self, node: IpAddr) {
        self.lock().tcp_blocked.remove(&node);
    }

    /// Streams from and to a node carry nothing more, and nobody is told (half-open connections).
    pub fn deaden(&self, node: IpAddr) {
        let inner = self.lock();
        let touched = inner.wires.iter().filter(|wire| wire.ends.0 == node || wire.ends.1 == node);
        touched.for_each(|wire| wire.dead.store(true, std::sync::atomic::Ordering::Relaxed));
    }

    /// Lets nothing from or to a node.
    pub fn isolate(&self, node: IpAddr) {
        self.lock().isolated.insert(node);
        self.notices.notify_waiters();
    }

    /// Ends the isolation of a node.
    pub fn rejoin(&self, node: IpAddr) {
        self.lock().isolated.remove(&node);
        self.notices.notify_waiters();
    }

    /// From now on a node knows when it is isolated, as a machine does whose own cable is unplugged.
    pub fn tell(&self, node: IpAddr) {
        self.lock().told.insert(node);
    }

    /// What it did so far.
    pub fn statistics(&self) -> Statistics {
        self.lock().statistics
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of the next endpoint, which draws what it draws from a seed.
    fn seeded(&self, mut config: EndpointConfig) -> EndpointConfig {
        let mut seed = [0; 32];
        let mut inner = self.lock();
        inner.endpoints += 1;
        SeededEntropy::new(inner.endpoints).fill(&mut seed);
        drop(inner);
        config.rng_seed(Some(seed));
        config
    }

    fn socket(&self, address: SocketAddr) -> io::Result<SimulatedSocket> {
        let mut inner = self.lock();
        let address = inner.claim(address)?;
        let inbox = Arc::new(Inbox::default());
        inner.inboxes.insert(address, Arc::downgrade(&inbox));
        drop(inner);
        Ok(SimulatedSocket { address, network: self.clone(), inbox })
    }
}

/// A node's view.
#[derive(Debug)]
struct Node {
    network: SimulatedNetwork,
    address: IpAddr,
}

impl Network for Node {
    fn dialer(&self, config: EndpointConfig) -> io::Result<Dialer> {
        let ground = NodeGround { network: self.network.clone(), address: self.address };
        Dialer::new(Arc::new(ground), self.network.seeded(config))
    }

    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
        tunnels: TunnelSettings,
    ) -> io::Result<Listener> {
        let socket = self.network.socket(SocketAddr::new(self.address, address.port()))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        self.network.lock().doors.insert(socket.address, sender);
        let door = Box::new(SimulatedDoor(receiver));
        let config = self.network.seeded(config);
        Listener::new(Arc::new(socket), door, tunnels, (config, server))
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

    fn way(&self, _: SocketAddr) -> Option<Way> {
        let inner = self.network.lock();
        let unplugged = inner.told.contains(&self.address) && inner.isolated.contains(&self.address);
        (!unplugged).then_some(Way { source: self.address, interface: 0 })
    }

    fn rerouted(&self, to: SocketAddr, from: Option<Way>) -> BoxFuture<'_, ()> {
        async move {
            loop {
                let mut notified = std::pin::pin!(self.network.notices.notified());
                // From here on nothing is missed.
                notified.as_mut().enable();
                if self.way(to) != from {
                    return;
                }
                notified.await;
            }
        }
        .boxed()
    }

    fn rebind(&self, dialer: &Dialer) -> io::Result<()> {
        dialer.rebind()
    }
}

/// A current-thread runtime with paused time.
///
/// # Errors
/// The system's, when no runtime can be had.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()
}
