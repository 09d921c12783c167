//! The listening side: tunnels beside the UDP socket, on the same port number.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use quinn::rustls::ServerConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, TokioRuntime, UdpPoller};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flow::{Queue, Stream, carry};
use super::ground::Door;
use super::inbox::{Inbox, datagrams};
use super::{head, is_name, name};
use crate::network::TunnelSettings;

/// Datagrams of all tunnels that may wait for QUIC.
const INBOX_MAX: usize = 8 * 1024;
/// Tunnels whose peer QUIC does not know yet, of all together.
const STRANGERS_MAX: usize = 1024;
/// The same from one address, or from one network of 64 bits with IPv6. Many agents may be behind one address: those
/// that QUIC knows do not count.
const STRANGERS_PER_SOURCE_MAX: usize = 128;
/// Tunnels of all together.
const TUNNELS_MAX: usize = 32 * 1024;
/// How long a stranger may stay one.
const STRANGER: Duration = Duration::from_secs(15);
/// How long a tunnel may stay whose peer QUIC knows, and that has no live link in it: decisions on joins take a minute.
const VOUCHED: Duration = Duration::from_secs(90);
/// From the first byte to the tunnel.
const GREETING: Duration = Duration::from_secs(10);
/// How often strangers are looked through.
const ROUND: Duration = Duration::from_secs(5);
/// Pause after a failure to accept, as when the process has no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that TLS may hold back from TCP.
const TLS_BUFFER_BYTES: usize = 16 * 1024;

/// An endpoint that listens.
#[derive(Debug, Clone)]
pub struct Listener {
    /// QUIC.
    pub endpoint: Endpoint,
    /// Its tunnels; nothing where there is UDP alone.
    pub tunnels: Option<Arc<Tunnels>>,
}

/// The tunnels of a listener.
pub struct Tunnels {
    tls: Mutex<Arc<ServerConfig>>,
    door: Mutex<Option<Box<dyn Door>>>,
    state: Mutex<State>,
    inbox: Inbox,
    /// How long a peer may say nothing.
    idle: Duration,
    refused: AtomicU64,
}

#[derive(Default)]
struct State {
    names: u64,
    tunnels: BTreeMap<SocketAddr, Arc<Tunnel>>,
    strangers: BTreeMap<IpAddr, usize>,
    strangers_count: usize,
}

struct Tunnel {
    origin: SocketAddr,
    queue: Queue,
    ended: CancellationToken,
    stranger: Mutex<Option<Stranger>>,
    /// Until when it may stay though no live link is in it.
    vouched: Mutex<Instant>,
}

/// A place among those that QUIC does not know yet.
struct Stranger {
    source: IpAddr,
    tunnels: Arc<Tunnels>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut state = self.tunnels.lock();
        state.strangers_count -= 1;
        if let Some(count) = state.strangers.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                state.strangers.remove(&self.source);
            }
        }
    }
}

impl fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnels").field("open", &self.count()).finish_non_exhaustive()
    }
}

impl Listener {
    /// A listening endpoint on that socket and that door.
    pub(crate) fn new(
        udp: Arc<dyn AsyncUdpSocket>,
        door: Box<dyn Door>,
        settings: TunnelSettings,
        (config, server): (EndpointConfig, quinn::ServerConfig),
    ) -> io::Result<Self> {
        let tunnels = Arc::new(Tunnels {
            tls: Mutex::new(settings.tls),
            door: Mutex::new(Some(door)),
            state: Mutex::default(),
            inbox: Inbox::new(INBOX_MAX),
            idle: settings.idle,
            refused: AtomicU64::new(0),
        });
        let socket = Arc::new(ListenSocket { udp, tunnels: Arc::clone(&tunnels) });
        let endpoint =
            Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, tunnels: Some(tunnels) })
    }
}

impl Tunnels {
    /// Takes tunnels until cancelled. `known` gives the addresses, as QUIC has them, of all peers it knows.
    pub(crate) async fn serve(
        self: Arc<Self>,
        tasks: TaskTracker,
        cancel: CancellationToken,
        known: impl Fn() -> BTreeSet<SocketAddr> + Send,
    ) {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut door) = door else { return };
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                _ = round.tick() => self.look_through(&known),
                accepted = door.accept() => match accepted {
                    Ok((stream, origin)) => {
                        let origin = super::plain(origin);
                        let Some(stranger) = self.admit(origin) else { continue };
                        let task = Arc::clone(&self).take(stream, origin, stranger, cancel.child_token());
                        tasks.spawn(task);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "failed to accept a TCP connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Shows another certificate from now on.
    pub(crate) fn set_tls(&self, tls: Arc<ServerConfig>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// QUIC knows the peer that has that address there; it may stay for a while until it has a live link, or has joined.
    pub(crate) fn prove(&self, remote: &SocketAddr) {
        let tunnel = self.lock().tunnels.get(remote).cloned();
        if let Some(tunnel) = &tunnel {
            *tunnel.vouched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + VOUCHED;
        }
        // Outside of the lock: giving the place back takes it.
        drop(tunnel.and_then(|tunnel| tunnel.stranger().take()));
    }

    /// Where the peer is that QUIC knows by that address; nothing when it came by UDP.
    pub fn origin(&self, remote: &SocketAddr) -> Option<SocketAddr> {
        self.lock().tunnels.get(remote).map(|tunnel| tunnel.origin)
    }

    /// Whether QUIC's address of a peer is a tunnel's, be it over or not.
    pub fn is_tunnel(remote: &SocketAddr) -> bool {
        is_name(remote)
    }

    /// Tunnels there are.
    pub fn count(&self) -> usize {
        self.lock().tunnels.len()
    }

    /// Tunnels that were turned away because there were too many of strangers.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, origin: SocketAddr) -> Option<Stranger> {
        let source = network(origin.ip());
        let mut state = self.lock();
        let of_source = state.strangers.get(&source).copied().unwrap_or_default();
        let full = state.tunnels.len() >= TUNNELS_MAX || state.strangers_count >= STRANGERS_MAX;
        if full || of_source >= STRANGERS_PER_SOURCE_MAX {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        state.strangers_count += 1;
        state.strangers.insert(source, of_source + 1);
        Some(Stranger { source, tunnels: Arc::clone(self) })
    }

    /// Ends tunnels that have no live link in them and no time left.
    fn look_through(&self, known: impl Fn() -> BTreeSet<SocketAddr>) {
        let tunnels = self.lock().tunnels.clone();
        let now = Instant::now();
        let mut overdue = tunnels.iter().filter(|(_, tunnel)| tunnel.is_overdue(now)).peekable();
        if overdue.peek().is_none() {
            return;
        }
        let known = known();
        for (name, tunnel) in overdue {
            if known.contains(name) {
                drop(tunnel.stranger().take());
            } else {
                tracing::debug!(remote = %tunnel.origin, "a tunnel without a link in it was ended");
                tunnel.ended.cancel();
            }
        }
    }

    /// One TCP connection, to its end.
    async fn take(
        self: Arc<Self>,
        stream: Box<dyn Stream>,
        origin: SocketAddr,
        stranger: Stranger,
        ended: CancellationToken,
    ) {
        let tls = Arc::clone(&*self.tls.lock().unwrap_or_else(PoisonError::into_inner));
        let mut buffer = BytesMut::new();
        let greeted = tokio::select! {
            biased;
            () = ended.cancelled() => return,
            greeted = tokio::time::timeout(GREETING, greet(stream, tls, &mut buffer)) => greeted,
        };
        let stream = match greeted {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return,
            Ok(Err(error)) => return tracing::debug!(remote = %origin, %error, "no tunnel came of it"),
            Err(_) => return tracing::debug!(remote = %origin, "no tunnel was asked for in time"),
        };
        let tunnel = Arc::new(Tunnel {
            origin,
            queue: Queue::default(),
            ended: ended.clone(),
            stranger: Mutex::new(Some(stranger)),
            vouched: Mutex::new(Instant::now() + STRANGER),
        });
        let named = {
            let mut state = self.lock();
            state.names += 1;
            let named = name(state.names);
            state.tunnels.insert(named, Arc::clone(&tunnel));
            named
        };
        let deliver = |datagram: &[u8]| self.inbox.push(named, datagram);
        tokio::select! {
            biased;
            () = ended.cancelled() => {}
            reason = carry(stream, buffer, &tunnel.queue, Some(self.idle), deliver) => {
                tracing::debug!(remote = %origin, %reason, dropped = tunnel.queue.dropped(), "a tunnel is over");
            }
        }
        self.lock().tunnels.remove(&named);
        drop(tunnel.stranger().take());
    }
}

impl Tunnel {
    fn is_overdue(&self, now: Instant) -> bool {
        *self.vouched.lock().unwrap_or_else(PoisonError::into_inner) <= now
    }

    fn stranger(&self) -> MutexGuard<'_, Option<Stranger>> {
        self.stranger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TLS and the request for a tunnel; nothing when it asks for something else.
async fn greet(
    stream: Box<dyn Stream>,
    tls: Arc<ServerConfig>,
    buffer: &mut BytesMut,
) -> io::Result<Option<impl Stream + use<>>> {
    let limit = |connection: &mut quinn::rustls::ServerConnection| {
        connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    };
    let mut stream = TlsAcceptor::from(tls).accept_with(stream, limit).await?;
    let head = head::read(&mut stream, buffer).await?;
    if head::asks_for_tunnel(&head) {
        head::write(&mut stream, head::GRANT).await?;
        return Ok(Some(stream));
    }
    head::write(&mut stream, head::NOTHING).await?;
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
    Ok(None)
}

/// What counts as one source: an address of IPv4, a network of 64 bits of IPv6.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

/// What QUIC has for a socket.
#[derive(Debug)]
struct ListenSocket {
    udp: Arc<dyn AsyncUdpSocket>,
    tunnels: Arc<Tunnels>,
}

impl AsyncUdpSocket for ListenSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.udp).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !is_name(&transmit.destination) {
            return self.udp.try_send(transmit);
        }
        // A tunnel that is over loses what is sent to it, as a path does.
        let tunnel = self.tunnels.lock().tunnels.get(&transmit.destination).cloned();
        if let Some(tunnel) = tunnel {
            datagrams(transmit).for_each(|datagram| tunnel.queue.push(datagram));
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.tunnels.inbox.poll(&*self.udp, context, buffers, metas, |_, metas| {
            // Nobody is there: whoever says so pretends to be a tunnel.
            metas.iter_mut().filter(|meta| is_name(&meta.addr)).for_each(|meta| meta.len = 0);
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
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
