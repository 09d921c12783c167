//! Where datagrams go.

use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use quinn::{Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

use counted::{Counted, Traffic};

mod counted;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;
mod way;

pub use way::{ANYWHERE, Way};

/// Makes QUIC endpoints.
pub trait Network: Debug + Send + Sync + 'static {
    /// An endpoint that only dials.
    ///
    /// # Errors
    /// The system's, when no socket can be had.
    fn dialer(&self, config: EndpointConfig) -> io::Result<Endpoint>;

    /// An endpoint that listens.
    ///
    /// # Errors
    /// The system's, when the address cannot be had.
    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
    ) -> io::Result<Endpoint>;

    /// The addresses of `host:port`.
    fn resolve<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// How the machine reaches an address now; nothing when no way leads there.
    fn way(&self, to: SocketAddr) -> Option<Way>;

    /// Ends when the machine reaches the address in another way than `from`; never where nobody tells of that.
    fn rerouted(&self, to: SocketAddr, from: Option<Way>) -> BoxFuture<'_, ()>;

    /// Gives a dialling endpoint a socket on the way that there is now: its connections go on from there at once, and
    /// not only when their next retransmission is due.
    ///
    /// # Errors
    /// The system's, when no socket can be had.
    fn rebind(&self, endpoint: &Endpoint) -> io::Result<()>;
}

/// Socket buffers to ask the system for; it gives what it allows. Its default holds some hundred datagrams,
/// less than arrive when a thousand edges answer at once.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Real UDP.
#[derive(Debug, Clone, Copy, Default)]
pub struct UdpNetwork;

impl UdpNetwork {
    /// The machine's network.
    pub fn shared() -> Arc<dyn Network> {
        Arc::new(Self)
    }
}

impl Network for UdpNetwork {
    fn dialer(&self, config: EndpointConfig) -> io::Result<Endpoint> {
        Endpoint::new(config, None, bind_any()?, Arc::new(TokioRuntime))
    }

    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
    ) -> io::Result<Endpoint> {
        Endpoint::new(config, Some(server), bind(address)?, Arc::new(TokioRuntime))
    }

    fn resolve<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        resolve(endpoint)
    }

    fn way(&self, to: SocketAddr) -> Option<Way> {
        way::way(to)
    }

    fn rerouted(&self, to: SocketAddr, from: Option<Way>) -> BoxFuture<'_, ()> {
        way::rerouted(to, from).boxed()
    }

    fn rebind(&self, endpoint: &Endpoint) -> io::Result<()> {
        endpoint.rebind(bind_any()?)
    }
}

/// Real UDP where thousands of agents in one process share a few sockets, as in benchmarks.
///
/// A socket per agent would cost a file each (1,024 are allowed by default) and a task each.
#[derive(Debug)]
pub struct PooledNetwork {
    endpoints: Mutex<Vec<Endpoint>>,
    sockets_max: usize,
    next: AtomicUsize,
    traffic: Arc<Traffic>,
}

impl PooledNetwork {
    /// A network whose diallers share that many sockets.
    pub fn new(sockets_max: usize) -> Arc<Self> {
        Arc::new(Self {
            endpoints: Mutex::default(),
            sockets_max: sockets_max.max(1),
            next: AtomicUsize::new(0),
            traffic: Arc::default(),
        })
    }

    /// Bytes of UDP payload that diallers sent and received so far.
    pub fn dialled_bytes(&self) -> u64 {
        self.traffic.bytes()
    }
}

impl Network for PooledNetwork {
    fn dialer(&self, config: EndpointConfig) -> io::Result<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoints.len() < self.sockets_max {
            let socket = TokioRuntime.wrap_udp_socket(bind_any()?)?;
            let socket = Arc::new(Counted { socket, traffic: Arc::clone(&self.traffic) });
            let made = Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))?;
            endpoints.push(made.clone());
            return Ok(made);
        }
        Ok(endpoints[self.next.fetch_add(1, Ordering::Relaxed) % endpoints.len()].clone())
    }

    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
    ) -> io::Result<Endpoint> {
        UdpNetwork.listener(address, config, server)
    }

    fn resolve<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        resolve(endpoint)
    }

    fn way(&self, _: SocketAddr) -> Option<Way> {
        None
    }

    fn rerouted(&self, _: SocketAddr, _: Option<Way>) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    fn rebind(&self, _: &Endpoint) -> io::Result<()> {
        // Others use it as well.
        Ok(())
    }
}

fn resolve(endpoint: &str) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>> {
    async move { Ok(tokio::net::lookup_host(endpoint).await?.collect()) }.boxed()
}

fn bind_any() -> io::Result<UdpSocket> {
    // Machines without IPv6 are common enough.
    bind((Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| bind((Ipv4Addr::UNSPECIFIED, 0).into()))
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Best effort: the system caps it and says nothing.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}
