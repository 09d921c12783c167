//! Where datagrams go: by UDP, and through TCP where that is blocked ([`tunnel`]).

use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use quinn::rustls::ServerConfig as TlsServerConfig;
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, Runtime as _, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

use counted::{Counted, Gate};

mod counted;
#[cfg(any(test, feature = "simulated"))]
pub mod simulated;
pub mod tunnel;
mod way;

use tunnel::flow::Stream;
use tunnel::ground::{Ground, TcpDoor, connect};
pub use tunnel::{
    Carrier, Carriers, Dialer, Listener, Place, Proxies, Proxy, ProxyError, TunnelError, Tunnels,
};
pub use way::{ANYWHERE, Way};

/// Makes QUIC endpoints.
pub trait Network: Debug + Send + Sync + 'static {
    /// An endpoint that only dials.
    ///
    /// # Errors
    /// The system's, when no socket can be had.
    fn dialer(&self, config: EndpointConfig) -> io::Result<Dialer>;

    /// An endpoint that listens.
    ///
    /// # Errors
    /// The system's, when the address cannot be had.
    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
        tunnels: TunnelSettings,
    ) -> io::Result<Listener>;

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
    fn rebind(&self, dialer: &Dialer) -> io::Result<()>;
}

/// What a listener's tunnels need.
#[derive(Debug, Clone)]
pub struct TunnelSettings {
    /// What is around them.
    pub tls: Arc<TlsServerConfig>,
    /// How long a peer may say nothing.
    pub idle: Duration,
}

/// Whether links may go through TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tcp {
    /// Never.
    Off,
    /// Where UDP is blocked. A listener whose port number is taken for TCP says so, and goes on with UDP.
    #[default]
    Prefer,
    /// Where UDP is blocked. A listener whose port number is taken for TCP does not start.
    Require,
}

/// Socket buffers to ask the system for. Its default holds less than two hundred datagrams that begin a handshake, and
/// many more come at once when thousands of edges return.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

impl std::str::FromStr for Tcp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            other => Err(format!("\"{other}\" is none of off, prefer, require")),
        }
    }
}

/// Ports that are tried when any will do, until one is free for TCP too.
const PORTS_TRIED: usize = 16;

/// The machine's network.
#[derive(Debug, Clone, Default)]
pub struct UdpNetwork {
    tcp: Tcp,
    ground: Arc<Machine>,
}

/// What the machine gives.
#[derive(Debug, Default)]
struct Machine {
    proxies: Proxies,
}

impl Ground for Machine {
    fn udp(&self) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(bind_any()?)
    }

    fn connect<'a>(&'a self, to: &'a Place) -> BoxFuture<'a, Result<Box<dyn Stream>, TunnelError>> {
        connect(to, &self.proxies).boxed()
    }
}

impl UdpNetwork {
    /// The machine's network, with TCP where UDP is blocked.
    pub fn shared() -> Arc<dyn Network> {
        Arc::new(Self::default())
    }

    /// The machine's network, with what is said of TCP.
    pub fn with(tcp: Tcp, proxies: Proxies) -> Arc<dyn Network> {
        Arc::new(Self { tcp, ground: Arc::new(Machine { proxies }) })
    }

    /// UDP, and TCP on the same port number.
    fn bind_both(&self, address: SocketAddr) -> io::Result<(UdpSocket, Option<TcpDoor>)> {
        let mut tried = 0;
        loop {
            let udp = bind(address)?;
            if self.tcp == Tcp::Off {
                return Ok((udp, None));
            }
            let local = udp.local_addr()?;
            tried += 1;
            match TcpDoor::open(local) {
                Ok(door) => return Ok((udp, Some(door))),
                Err(_) if address.port() == 0 && tried < PORTS_TRIED => {}
                Err(error) if self.tcp == Tcp::Require => {
                    return Err(io::Error::new(error.kind(), format!("tcp {local}: {error}")));
                }
                Err(error) => {
                    tracing::warn!(%local, %error, "no TCP on the port of links: whoever has no UDP cannot link");
                    return Ok((udp, None));
                }
            }
        }
    }
}

impl Network for UdpNetwork {
    fn dialer(&self, config: EndpointConfig) -> io::Result<Dialer> {
        if self.tcp != Tcp::Off {
            return Dialer::new(self.ground.clone(), config);
        }
        let endpoint = Endpoint::new(config, None, bind_any()?, Arc::new(TokioRuntime))?;
        Ok(Dialer { endpoint, carriers: None })
    }

    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
        tunnels: TunnelSettings,
    ) -> io::Result<Listener> {
        let (udp, door) = self.bind_both(address)?;
        warn_if_small(&udp);
        match door {
            Some(door) => {
                let udp = TokioRuntime.wrap_udp_socket(udp)?;
                Listener::new(udp, Box::new(door), tunnels, (config, server))
            }
            None => {
                let endpoint = Endpoint::new(config, Some(server), udp, Arc::new(TokioRuntime))?;
                Ok(Listener { endpoint, tunnels: None })
            }
        }
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

    fn rebind(&self, dialer: &Dialer) -> io::Result<()> {
        if dialer.carriers.is_some() { dialer.rebind() } else { dialer.endpoint.rebind(bind_any()?) }
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
    gate: Arc<Gate>,
    tells: bool,
}

impl PooledNetwork {
    /// A network whose diallers share that many sockets.
    pub fn new(sockets_max: usize) -> Arc<Self> {
        Arc::new(Self::with(sockets_max, false))
    }

    /// The same, on machines that tell when their network is back.
    pub fn telling(sockets_max: usize) -> Arc<Self> {
        Arc::new(Self::with(sockets_max, true))
    }

    fn with(sockets_max: usize, tells: bool) -> Self {
        Self {
            endpoints: Mutex::default(),
            sockets_max: sockets_max.max(1),
            next: AtomicUsize::new(0),
            gate: Arc::default(),
            tells,
        }
    }

    /// Bytes of UDP payload that diallers sent and received so far.
    pub fn dialled_bytes(&self) -> u64 {
        self.gate.bytes()
    }

    /// While it is shut, what diallers send and what is sent to them vanishes.
    pub fn shut(&self, shut: bool) {
        self.gate.shut(shut);
    }
}

impl Network for PooledNetwork {
    fn dialer(&self, config: EndpointConfig) -> io::Result<Dialer> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoints.len() < self.sockets_max {
            let socket = TokioRuntime.wrap_udp_socket(bind_any()?)?;
            let socket = Arc::new(Counted { socket, gate: Arc::clone(&self.gate) });
            let made = Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime))?;
            endpoints.push(made.clone());
            return Ok(Dialer { endpoint: made, carriers: None });
        }
        let endpoint = endpoints[self.next.fetch_add(1, Ordering::Relaxed) % endpoints.len()].clone();
        Ok(Dialer { endpoint, carriers: None })
    }

    fn listener(
        &self,
        address: SocketAddr,
        config: EndpointConfig,
        server: ServerConfig,
        tunnels: TunnelSettings,
    ) -> io::Result<Listener> {
        UdpNetwork::default().listener(address, config, server, tunnels)
    }

    fn resolve<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        resolve(endpoint)
    }

    fn way(&self, _: SocketAddr) -> Option<Way> {
        let leads = self.tells && !self.gate.is_shut();
        leads.then_some(Way { source: Ipv4Addr::LOCALHOST.into(), interface: 0 })
    }

    fn rerouted(&self, to: SocketAddr, from: Option<Way>) -> BoxFuture<'_, ()> {
        if !self.tells {
            return std::future::pending().boxed();
        }
        self.gate.until(move || self.way(to) != from).boxed()
    }

    fn rebind(&self, _: &Dialer) -> io::Result<()> {
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
    enlarge(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Gives a socket larger buffers: beyond the system's bound where the process may, else as far as that goes.
fn enlarge(socket: &Socket) {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
        let received = set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES);
        if received.and_then(|()| set_socket_send_buffer_size_force(socket, SOCKET_BUFFER_BYTES)).is_ok() {
            return;
        }
    }
    // The system caps it and says nothing.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
}

/// Says where a listener has a smaller buffer than a storm needs, and how to have a larger one.
fn warn_if_small(socket: &UdpSocket) {
    let given = socket2::SockRef::from(socket).recv_buffer_size().unwrap_or(usize::MAX);
    if given < SOCKET_BUFFER_BYTES {
        tracing::info!(
            bytes = given,
            "the listener's receive buffer is small: when thousands return at once, datagrams are lost and links take \
             longer to come back; allow more (sysctl net.core.rmem_max={SOCKET_BUFFER_BYTES}), or give the process CAP_NET_ADMIN"
        );
    }
}
