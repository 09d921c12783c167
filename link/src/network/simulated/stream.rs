//! TCP: streams that keep bytes and their order, wait while nothing gets through, and may go dead without a word.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use quinn::AsyncUdpSocket;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::SimulatedNetwork;
use crate::network::tunnel::flow::Stream;
use crate::network::tunnel::ground::{Door, Ground};
use crate::network::{Place, TunnelError};

/// Bytes that a side may write before the other one has read.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that travel together.
const SEGMENT_BYTES: usize = 16 * 1024;
/// Segments under way.
const FLIGHT_MAX: usize = 64;
/// After how long a connection is asked for again; doubled each time, as kernels do.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// How often a side tries again what did not get through.
const RETRANSMISSION: Duration = Duration::from_millis(200);

pub(super) type Knock = (Box<dyn Stream>, SocketAddr);

/// A node's view, beneath its diallers.
#[derive(Debug)]
pub(super) struct NodeGround {
    pub(super) network: SimulatedNetwork,
    pub(super) address: IpAddr,
}

impl Ground for NodeGround {
    fn udp(&self) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(self.network.socket(SocketAddr::new(self.address, 0))?))
    }

    fn connect<'a>(&'a self, to: &'a Place) -> BoxFuture<'a, Result<Box<dyn Stream>, TunnelError>> {
        async move {
            let connected = self.network.connect(self.address, to.address).await;
            connected.map_err(|source| TunnelError::Connect { to: to.address.to_string(), source })
        }
        .boxed()
    }
}

/// Where a listener's streams come from.
pub(super) struct SimulatedDoor(pub(super) mpsc::UnboundedReceiver<Knock>);

impl Door for SimulatedDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Knock>> {
        async move { self.0.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into()) }.boxed()
    }
}

/// A live stream, for those who break it.
pub(super) struct Wire {
    pub(super) ends: (IpAddr, IpAddr),
    pub(super) dead: Arc<AtomicBool>,
}

impl SimulatedNetwork {
    /// A stream from a node to an address.
    async fn connect(&self, from: IpAddr, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let mut pause = FIRST_RETRY;
        while !self.lets_tcp_through(from, to.ip()) {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let latency = {
            let inner = self.lock();
            inner.conditions_of((from, to.ip())).latency + inner.conditions_of((to.ip(), from)).latency
        };
        tokio::time::sleep(latency).await;
        let (near, near_wire) = tokio::io::duplex(BUFFER_BYTES);
        let (far, far_wire) = tokio::io::duplex(BUFFER_BYTES);
        let dead = Arc::new(AtomicBool::new(false));
        let mut inner = self.lock();
        let origin = inner.claim(SocketAddr::new(from, 0))?;
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let door = inner.doors.get(&to).ok_or_else(refused)?;
        door.send((Box::new(far), origin)).map_err(|_| refused())?;
        inner.wires.retain(|wire| Arc::strong_count(&wire.dead) > 1);
        inner.wires.push(Wire { ends: (from, to.ip()), dead: Arc::clone(&dead) });
        drop(inner);
        let (there, back) = ((from, to.ip()), (to.ip(), from));
        self.tasks.spawn(convey(self.clone(), there, Arc::clone(&dead), near_wire, far_wire, back));
        Ok(Box::new(near))
    }

    fn lets_tcp_through(&self, from: IpAddr, to: IpAddr) -> bool {
        let inner = self.lock();
        let severed = |node: &IpAddr| inner.isolated.contains(node) || inner.tcp_blocked.contains(node);
        ![(from, to), (to, from)].iter().any(|path| inner.cut.contains(path))
            && !severed(&from)
            && !severed(&to)
    }
}

/// Carries the bytes of a stream in both directions.
async fn convey(
    network: SimulatedNetwork,
    there: (IpAddr, IpAddr),
    dead: Arc<AtomicBool>,
    near: DuplexStream,
    far: DuplexStream,
    back: (IpAddr, IpAddr),
) {
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    tokio::join!(
        one_way(&network, there, &dead, near_read, far_write),
        one_way(&network, back, &dead, far_read, near_write),
    );
}

async fn one_way(
    network: &SimulatedNetwork,
    path: (IpAddr, IpAddr),
    dead: &AtomicBool,
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(FLIGHT_MAX);
    let leaves = async move {
        loop {
            let mut segment = Vec::with_capacity(SEGMENT_BYTES);
            let read = (&mut from).take(SEGMENT_BYTES as u64).read_buf(&mut segment).await;
            if !matches!(read, Ok(bytes) if bytes > 0) {
                return;
            }
            let latency = network.lock().conditions_of(path).latency;
            if sender.send((Instant::now() + latency, segment)).await.is_err() {
                return;
            }
        }
    };
    let arrives = async move {
        while let Some((at, segment)) = receiver.recv().await {
            tokio::time::sleep_until(at).await;
            while !network.lets_tcp_through(path.0, path.1) {
                tokio::time::sleep(RETRANSMISSION).await;
            }
            if dead.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            if to.write_all(&segment).await.is_err() {
                return;
            }
        }
        // The other side hears of the end only while the stream lives.
        if !dead.load(Ordering::Relaxed) {
            let _ = to.shutdown().await;
        }
    };
    tokio::join!(leaves, arrives);
}
