//! Where datagrams go.

use std::fmt::Debug;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};

#[cfg(any(test, feature = "simulated"))]
pub mod simulated;

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
        // Machines without IPv6 are common enough.
        let socket =
            bind((Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|_| bind((Ipv4Addr::UNSPECIFIED, 0).into()))?;
        Endpoint::new(config, None, socket, Arc::new(TokioRuntime))
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
        async move { Ok(tokio::net::lookup_host(endpoint).await?.collect()) }.boxed()
    }
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
