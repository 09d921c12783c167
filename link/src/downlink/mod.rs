//! The upper side of links: one listener for links and joins, on UDP and, for those whose network lets no UDP through,
//! on the same port number of TCP ([`crate::network::tunnel`]).
//!
//! ```text
//!   datagrams -> handshake (bounded) -> protocol? -- skein-join/1 --> one request, one answer
//!                                          |     \-- skein-recover/1 --> two requests, two answers
//!                                      skein/1: certificate, deny set, Hello, Admission
//!                                          |
//!                                   older link of the agent? told "superseded", Down
//!                                          |
//!                                   Up, then control until Down
//! ```
//! A listener that is full, or that ends, tells each peer a moment of its own at which to come back (`slots`).
//! A bad peer loses its own connection, with a reason, and nothing else: every stream has its own task and
//! every queue is bounded.
//!
//! # Why
//! A link outlives its certificate. Whoever is to go is denied, and loses the link within a second; an agent
//! that could not renew in time is better reached over the link it has than not at all.

mod peer;
mod refusals;
mod registry;
mod slots;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use identity::tls::{Accepts, TlsError, server_config, tunnel_server_config};
use identity::{Clock, DenySet, LinkIdentity, Trust};
use protocol::enrolment::{JoinRequest, Refusal, RefusalReason, TrustBundle};
use protocol::id::{AgentId, EdgeId};
use protocol::message::{BlobDelivery, BlobPart, Control, Hello, Request, Response};
use protocol::telemetry::{TelemetryAck, TelemetryItem};
use protocol::version::Speaks;
use quinn::{Endpoint, ServerConfig, VarInt};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::network::{Carrier, Listener, Network, TunnelSettings, Tunnels};
use crate::profile::{Profile, ProfileError};
use crate::transport::server;
use crate::types::{CallError, EndpointKeys, PeerState, Reason, Responder, SendError};
use refusals::Refusals;
use registry::Registry;
use slots::Slots;

/// Events that may wait for their receiver.
const EVENTS_MAX: usize = 1024;
/// Telemetry items that may wait for their receiver.
const TELEMETRY_MAX: usize = 256;
/// Handshakes under way, up to the Hello.
const HANDSHAKES_MAX: usize = 512;
/// Newcomers that are answered at most before the next one in line is served.
const GREETED_MAX: u32 = 32;
/// Joins and returns under way. They have places of their own: whoever shows no certificate, and takes its time, is in
/// nobody's way who shows one.
const STRANGERS_MAX: usize = 256;
/// Longest time for peers to take their leave.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a listener needs.
pub struct DownlinkConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What to show.
    pub identity: LinkIdentity,
    /// Whom to trust; shared, so that a new bundle or deny set counts at once.
    pub trust: Arc<Trust>,
    /// Whom to take links from.
    pub accepts: Accepts,
    /// Program and version, for people.
    pub software: String,
    /// The protocol version and features to offer.
    pub speaks: Speaks,
    /// How links behave.
    pub profile: Profile,
    /// Most live links; further peers are told to come back.
    pub peers_max: usize,
    /// Keys that survive a restart; random ones without.
    pub keys: Option<EndpointKeys>,
    /// Where datagrams go.
    pub network: Arc<dyn Network>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// Why a listener does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The profile breaks the window rule.
    #[error("link profile is unusable")]
    Profile(#[source] ProfileError),
    /// Key and chain do not fit.
    #[error("failed to prepare TLS for the link listener")]
    Tls(#[source] TlsError),
    /// The address cannot be had.
    #[error("failed to listen on udp {address}: another program may hold the port")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// What a Welcome says beyond the listener's own facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admitted {
    /// What is durable of the agent's streams.
    pub acknowledged: Vec<TelemetryAck>,
}

/// Decides who may link, once certificate and Hello agree.
pub trait Admission: Send + Sync + 'static {
    /// Lets the peer in or turns it away. A slow decision delays this peer only.
    fn admit<'a>(&'a self, peer: &'a AgentId, hello: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>>;
}

/// What a listener tells its owner. For one peer: `Up`, then anything, then `Down`; a new `Up` comes only after
/// the `Down` of the link before. Telemetry has a channel of its own and may come a little after `Down`.
#[derive(Debug)]
pub enum DownlinkEvent {
    /// A link is up.
    Up {
        /// Whose.
        peer: AgentId,
        /// What it said.
        hello: Box<Hello>,
    },
    /// A link is down.
    Down {
        /// Whose.
        peer: AgentId,
        /// Why.
        reason: Reason,
    },
    /// A control message.
    Control {
        /// From whom.
        peer: AgentId,
        /// What.
        control: Control,
    },
    /// Telemetry; acknowledge with `Control::TelemetryAcks` once it is durable.
    Telemetry {
        /// From whom.
        peer: AgentId,
        /// What.
        item: TelemetryItem,
    },
    /// A call.
    Request {
        /// From whom.
        peer: AgentId,
        /// What.
        request: Request,
        /// Where the answer goes.
        responder: Responder,
    },
    /// An agent that wants to return after its certificate has expired: `Request::Challenge` or `Request::Recover`,
    /// nothing of which is proven yet.
    Recover {
        /// From where.
        remote: SocketAddr,
        /// What it asks.
        request: Box<Request>,
        /// Where the answer goes.
        responder: Responder,
    },
    /// An agent of another major version was refused; its certificate says who it is.
    Incompatible {
        /// Who.
        peer: AgentId,
        /// Why, for a person: names both versions.
        reason: String,
    },
    /// A newcomer.
    Join {
        /// From where.
        remote: SocketAddr,
        /// What it wants.
        request: Box<JoinRequest>,
        /// Where the answer goes.
        responder: Responder,
    },
}

/// The events of a listener. Control, calls and joins come first; telemetry waits (invariant 7).
#[derive(Debug)]
pub struct DownlinkEvents {
    control: mpsc::Receiver<DownlinkEvent>,
    telemetry: mpsc::Receiver<DownlinkEvent>,
}

impl DownlinkEvents {
    /// The next event; nothing after the listener has ended.
    pub async fn recv(&mut self) -> Option<DownlinkEvent> {
        tokio::select! {
            biased;
            Some(event) = self.control.recv() => Some(event),
            Some(event) = self.telemetry.recv() => Some(event),
            else => None,
        }
    }

    /// Control and telemetry apart, for owners that work on them in different tasks.
    pub fn split(self) -> (mpsc::Receiver<DownlinkEvent>, mpsc::Receiver<DownlinkEvent>) {
        (self.control, self.telemetry)
    }
}

/// Starts listeners.
#[derive(Debug)]
pub struct Downlink;

/// Sends to the peers of a listener.
#[derive(Clone)]
pub struct DownlinkHandle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for DownlinkHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DownlinkHandle").field("local_addr", &self.local_addr()).finish_non_exhaustive()
    }
}

/// What all tasks of a listener share.
struct Shared {
    endpoint: Endpoint,
    tunnels: Option<Arc<Tunnels>>,
    local: SocketAddr,
    accepts: Accepts,
    trust: Arc<Trust>,
    software: String,
    speaks: Speaks,
    profile: Profile,
    peers_max: usize,
    clock: Arc<dyn Clock>,
    admission: Arc<dyn Admission>,
    registry: Registry,
    refusals: Refusals,
    slots: Slots,
    strangers: Semaphore,
    events: mpsc::Sender<DownlinkEvent>,
    telemetry: mpsc::Sender<DownlinkEvent>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    /// All peers have taken their leave: their tunnels may go.
    closing: CancellationToken,
}

impl Shared {
    /// Where a peer is that QUIC knows by that address, and what carries it.
    fn origin(&self, remote: SocketAddr) -> (SocketAddr, Carrier) {
        if !Tunnels::is_tunnel(&remote) {
            return (remote, Carrier::Udp);
        }
        let origin = self.tunnels.as_ref().and_then(|tunnels| tunnels.origin(&remote));
        // A tunnel that is over has nobody at its end.
        (origin.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))), Carrier::Tcp)
    }

    /// The peer that QUIC knows by that address is one that may stay.
    fn prove(&self, remote: &SocketAddr) {
        if let Some(tunnels) = &self.tunnels {
            tunnels.prove(remote);
        }
    }
}

impl Downlink {
    /// Listens until cancelled; live links are then told that the listener goes away.
    ///
    /// # Errors
    /// [`BindError`] when profile, keys or address are unusable.
    #[expect(clippy::unused_async, reason = "it needs a runtime, and later carriers bind asynchronously")]
    pub async fn bind(
        config: DownlinkConfig,
        admission: Arc<dyn Admission>,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<(DownlinkHandle, DownlinkEvents), BindError> {
        let DownlinkConfig { listen, identity, trust, accepts, software, speaks, .. } = config;
        let DownlinkConfig { profile, peers_max, keys, network, clock, .. } = config;
        profile.check().map_err(BindError::Profile)?;
        let server = quic_server(&identity, &trust, accepts, &clock, &profile).map_err(BindError::Tls)?;
        let endpoint_config = keys.map_or_else(quinn::EndpointConfig::default, |keys| keys.config());
        let tls = tunnel_server_config(&identity, Arc::clone(&clock)).map_err(BindError::Tls)?;
        let tunnels = TunnelSettings { tls: Arc::new(tls), idle: profile.idle_timeout };
        let bound = network.listener(listen, endpoint_config, server, tunnels);
        let listening = |source| BindError::Listen { address: listen, source };
        let Listener { endpoint, tunnels } = bound.map_err(listening)?;
        let local = endpoint.local_addr().map_err(listening)?;
        let (events, control_receiver) = mpsc::channel(EVENTS_MAX);
        let (telemetry, telemetry_receiver) = mpsc::channel(TELEMETRY_MAX);
        let shared = Arc::new(Shared {
            endpoint,
            tunnels,
            local,
            accepts,
            trust,
            software,
            speaks,
            profile,
            peers_max,
            clock,
            admission,
            registry: Registry::default(),
            refusals: Refusals::default(),
            slots: Slots::default(),
            strangers: Semaphore::new(STRANGERS_MAX),
            events,
            telemetry,
            tasks: tasks.clone(),
            cancel,
            closing: CancellationToken::new(),
        });
        tasks.spawn(accept(Arc::clone(&shared)));
        if let Some(tunnels) = &shared.tunnels {
            let known = Arc::clone(&shared);
            let known = move || known.registry.remotes();
            let (tasks, cancel) = (shared.tasks.clone(), shared.closing.clone());
            shared.tasks.spawn(Arc::clone(tunnels).serve(tasks, cancel, known));
        }
        let events = DownlinkEvents { control: control_receiver, telemetry: telemetry_receiver };
        Ok((DownlinkHandle { shared }, events))
    }
}

impl DownlinkHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local
    }

    /// Sends a control message, in order per peer. Waits while that link is busy; a peer that takes nothing for
    /// the profile's patience is closed.
    ///
    /// # Errors
    /// [`SendError::Down`] without a link: send it again on `Up`.
    pub async fn send(&self, peer: &AgentId, control: Control) -> Result<(), SendError> {
        let entry = self.shared.registry.find(peer).ok_or(SendError::Down)?;
        match tokio::time::timeout(self.shared.profile.patience, entry.live.send(&control)).await {
            Ok(sent) => sent,
            Err(_) => {
                entry.fail_slow();
                Err(SendError::Down)
            }
        }
    }

    /// Sends a control message if the link takes it at once: for those who serve many peers in one loop.
    ///
    /// # Errors
    /// [`SendError::Busy`] when it does not, [`SendError::Down`] without a link.
    pub fn try_send(&self, peer: &AgentId, control: Control) -> Result<(), SendError> {
        self.shared.registry.find(peer).ok_or(SendError::Down)?.live.try_send(&control)
    }

    /// Sends a blob that does not fit control; waits for its turn and until the network has taken it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_blob(
        &self,
        peer: &AgentId,
        edge: Option<EdgeId>,
        part: BlobPart,
    ) -> Result<(), SendError> {
        let entry = self.shared.registry.find(peer).ok_or(SendError::Down)?;
        entry.live.send_blob(&BlobDelivery { edge, part, ext: Vec::new() }).await
    }

    /// Asks a peer and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`]; a refusal is an answer, given as `Response::Refused`.
    pub async fn call(
        &self,
        peer: &AgentId,
        request: Request,
        deadline: Duration,
    ) -> Result<Response, CallError> {
        let entry = self.shared.registry.find(peer).ok_or(CallError::Down)?;
        entry.live.call(&request, deadline).await
    }

    /// Ends a peer's link, telling it why.
    pub fn close(&self, peer: &AgentId, refusal: Refusal) {
        if let Some(entry) = self.shared.registry.find(peer) {
            entry.stop(refusal);
        }
    }

    /// The live links, in the order of their names.
    pub fn peers(&self) -> Vec<PeerState> {
        let mut peers = self.shared.registry.peers();
        for peer in &mut peers {
            (peer.remote, peer.carrier) = self.shared.origin(peer.remote);
        }
        peers
    }

    /// What a linked peer speaks; nothing without a link.
    pub fn speaks(&self, peer: &AgentId) -> Option<Speaks> {
        self.shared.registry.find(peer).map(|entry| entry.speaks)
    }

    /// How many peers were not let in since it began to listen.
    pub fn refusals(&self) -> u64 {
        self.shared.refusals.total()
    }

    /// How many of them were of another major version.
    pub fn incompatible(&self) -> u64 {
        self.shared.refusals.versions()
    }

    /// The tunnels through TCP; nothing where there are none.
    pub fn tunnels(&self) -> Option<Arc<Tunnels>> {
        self.shared.tunnels.clone()
    }

    /// Shows another certificate from now on; live links are not touched.
    ///
    /// # Errors
    /// [`TlsError`] when key and chain do not fit; the one before stays.
    pub fn set_identity(&self, identity: &LinkIdentity) -> Result<(), TlsError> {
        let Shared { endpoint, trust, accepts, clock, profile, tunnels, .. } = &*self.shared;
        let tls = tunnel_server_config(identity, Arc::clone(clock))?;
        endpoint.set_server_config(Some(quic_server(identity, trust, *accepts, clock, profile)?));
        if let Some(tunnels) = tunnels {
            tunnels.set_tls(Arc::new(tls));
        }
        Ok(())
    }

    /// Takes over a newer trust bundle; says whether it was newer.
    ///
    /// # Errors
    /// [`identity::trust::TrustError`] when it has no usable root.
    pub fn set_trust(&self, bundle: TrustBundle) -> Result<bool, identity::trust::TrustError> {
        self.shared.trust.set_bundle(bundle)
    }

    /// Replaces the deny set and closes the live links it names.
    pub fn deny(&self, deny: DenySet) {
        self.shared.trust.set_deny(deny);
        let deny = self.shared.trust.deny();
        for entry in self.shared.registry.entries() {
            if deny.denies(&entry.peer, &entry.certificate) {
                entry.stop(revoked());
            }
        }
    }
}

fn quic_server(
    identity: &LinkIdentity,
    trust: &Arc<Trust>,
    accepts: Accepts,
    clock: &Arc<dyn Clock>,
    profile: &Profile,
) -> Result<ServerConfig, TlsError> {
    server(server_config(identity, Arc::clone(trust), accepts, Arc::clone(clock))?, profile)
}

/// Takes connections, a bounded number of them in handshake at a time. Who has to wait is told at once that somebody is
/// there (a Retry), waits in line, and is served in turn: nobody who waits needs to ask again ([`crate::heard`]).
async fn accept(shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    // No longer than the endpoint permits.
    let mut line = VecDeque::new();
    let mut greeted = 0;
    loop {
        // All who come are answered, but no crowd of them keeps a place empty for which somebody waits.
        let served_first = greeted >= GREETED_MAX && !line.is_empty() && handshakes.available_permits() > 0;
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => break,
            incoming = shared.endpoint.accept(), if !served_first => {
                let Some(incoming) = incoming else { break };
                greeted += 1;
                // Under load, only who can receive at its address gets a handshake.
                let loaded = !line.is_empty() || handshakes.available_permits() < HANDSHAKES_MAX / 2;
                if loaded && incoming.may_retry() {
                    // It could not be sent: then the peer tries again by itself.
                    let _ = incoming.retry();
                } else {
                    line.push_back(incoming);
                }
            }
            Ok(permit) = Arc::clone(&handshakes).acquire_owned(), if !line.is_empty() => {
                greeted = 0;
                if let Some(incoming) = line.pop_front() {
                    let task = peer::serve(Arc::clone(&shared), incoming, permit);
                    shared.tasks.spawn(task);
                }
                // Each newcomer costs a good part of a millisecond: whoever is linked already gets its turn before the
                // next one.
                tokio::task::yield_now().await;
            }
        }
    }
    drop(line);
    // Peers notice the cancellation themselves and say goodbye, all at the same time.
    let goodbyes = async {
        for entry in shared.registry.entries() {
            entry.ended.cancelled().await;
        }
    };
    let _ = tokio::time::timeout(GOODBYE, goodbyes).await;
    shared.endpoint.close(VarInt::from_u32(0), b"the listener stops");
    let _ = tokio::time::timeout(GOODBYE, shared.endpoint.wait_idle()).await;
    shared.closing.cancel();
}

fn revoked() -> Refusal {
    let message = "this agent was revoked".to_owned();
    Refusal { reason: RefusalReason::Revoked, message, retry_after_ms: None }
}
