//! What lies beneath tunnels: the machine's TCP.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use quinn::AsyncUdpSocket;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use super::flow::Stream;
use super::proxy::{Proxies, ProxyError};
use super::{Place, TunnelError};

/// Bytes that the kernel takes beyond what it has sent: more would wait there, where nothing can overtake it.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 16 * 1024;
/// How long a connection may be silent before the kernel asks whether the other side is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What diallers stand on.
pub(crate) trait Ground: Debug + Send + Sync {
    /// A fresh socket for UDP.
    fn udp(&self) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// A stream to there.
    fn connect<'a>(&'a self, to: &'a Place) -> BoxFuture<'a, Result<Box<dyn Stream>, TunnelError>>;
}

/// Where streams come from.
pub(crate) trait Door: Send {
    /// The next one, and from where.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;
}

/// A stream of the machine to there, through a proxy where one is to be taken.
pub(crate) async fn connect(to: &Place, proxies: &Proxies) -> Result<Box<dyn Stream>, TunnelError> {
    let failed = |to: String| move |source| TunnelError::Connect { to, source };
    let Some(proxy) = proxies.of(&to.host, to.address.ip()) else {
        let shown = to.address.to_string();
        let stream = TcpStream::connect(to.address).await.map_err(failed(shown))?;
        tune(&stream);
        return Ok(Box::new(stream));
    };
    let shown = format!("{proxy} (proxy)");
    let mut stream = TcpStream::connect(proxy.place()).await.map_err(failed(shown))?;
    tune(&stream);
    let early: BytesMut = proxy.open(&mut stream, &to.host, to.address.port()).await?;
    if !early.is_empty() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "bytes came before anything was said");
        return Err(ProxyError::Answer { proxy: proxy.to_string(), source }.into());
    }
    Ok(Box::new(stream))
}

/// The machine's door.
pub(crate) struct TcpDoor(TcpListener);

impl TcpDoor {
    /// Listens there.
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // Connections of a run before that are not over yet do not keep the port.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(Self(TcpListener::from_std(socket.into())?))
    }
}

impl Door for TcpDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async move {
            let (stream, from) = self.0.accept().await?;
            tune(&stream);
            Ok((Box::new(stream) as Box<dyn Stream>, from))
        }
        .boxed()
    }
}

/// Best effort: without, a tunnel works as well, only slower.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
}
