//! The lower side of a link: dials, stays connected, dials again.
//!
//! ```text
//!   dial each endpoint in turn --- Welcome ---> up --- lost, refused, goodbye ---+
//!     ^        | all failed                                                      |
//!     |        v                                                                 |
//!     +--- pause: 0 .. min(retry_max, retry_base * 2^n), or what the peer asks <-+
//! ```
//! A pause is drawn from zero to its bound (full jitter): a thousand agents that lost the same peer come back
//! spread over the whole interval, not in waves.
//!
//! # Another way to the peer
//! When the machine has its network back, or another one, and its system says so ([`Network::rerouted`]), nothing
//! waits for its time: a pause ends, an attempt begins anew, and a live link goes on from another socket.
//!
//! # Which endpoint
//! See `choice`: the hub tells which endpoints there are, and which are preferred ([`protocol::endpoints`]).
//!
//! # Another region, a better endpoint
//! See `handover`: an agent that is linked elsewhere than where it belongs looks for that, and changes over once that has
//! welcomed it.

mod carriage;
mod choice;
mod dial;
mod handover;
mod trust;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::FutureExt as _;
use identity::{AgentIdentity, Clock, Entropy};
use protocol::UnixMillis;
use protocol::endpoints::Endpoint;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::frame::Message;
use protocol::id::{EdgeId, Generation, RegionName};
use protocol::lane::Lane;
use protocol::message::{BlobDelivery, BlobPart, Control, PlanHead, Request, Response, StreamHead, Welcome};
use protocol::session::Event;
use protocol::telemetry::TelemetryItem;
use protocol::version::{Lacks, Speaks};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::carriage::Carriage;
use self::choice::Choice;
use self::dial::Connected;
pub(crate) use self::dial::Failure;
use self::handover::{Due, Handover, STANDBY_AFTER};
use crate::driver::{Carrier, Driver};
use crate::lanes::{Live, answer, receive};
use crate::network::{ANYWHERE, Carrier as Means, Dialer, Network, Way};
use crate::profile::{Profile, ProfileError};
use crate::recovery::Recovery;
use crate::types::{CallError, LinkState, Reason, Responder, SendError};

/// Events that may wait for their receiver.
const EVENTS_MAX: usize = 64;
/// After a refusal for good there is still hope that somebody changes their mind.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A link that lived so long was a good one: pauses begin small again.
const SETTLED: Duration = Duration::from_secs(10);
/// Longest time to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What an uplink needs.
pub struct UplinkConfig {
    /// Who dials; the newest one is used at each attempt.
    pub identity: watch::Receiver<Arc<AgentIdentity>>,
    /// Distinguishes this run of the program from the one before; must grow.
    pub incarnation: u64,
    /// Program and version, for people.
    pub software: String,
    /// How the link behaves.
    pub profile: Profile,
    /// Where datagrams go.
    pub network: Arc<dyn Network>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub entropy: Box<dyn Entropy>,
    /// How it returns when its certificate has expired; without, it stays away then.
    pub recovery: Option<Recovery>,
}

/// What an agent tells about itself at each connection.
#[derive(Debug, Clone, Default)]
pub struct HelloFacts {
    /// The protocol version and features it offers.
    pub speaks: Speaks,
    /// The plan it has stored.
    pub stored: Option<PlanHead>,
    /// The plan it has carried out.
    pub applied: Option<Generation>,
    /// Its telemetry streams.
    pub streams: Vec<StreamHead>,
    /// Where a region's edges can dial it; empty for edges.
    pub endpoints: Vec<Endpoint>,
    /// What it is: `os`, `arch`, `kubernetes`.
    pub facts: BTreeMap<String, String>,
}

/// Knows what an agent tells about itself; asked at each connection.
pub trait HelloSource: Send + Sync + 'static {
    /// The present facts.
    fn hello(&self) -> HelloFacts;
}

/// What an uplink tells its owner.
#[derive(Debug)]
pub enum UplinkEvent {
    /// The link is up: send again what is not acknowledged.
    Up(Welcome),
    /// The link is down, after it was up.
    Down(Reason),
    /// A control message.
    Control(Control),
    /// A blob that did not fit control, and for which edge of a region.
    Blob(BlobPart, Option<EdgeId>),
    /// A call.
    Request(Request, Responder),
}

/// Starts uplinks.
#[derive(Debug)]
pub struct Uplink;

/// Sends on an uplink, whichever connection it has at the moment.
#[derive(Clone)]
pub struct UplinkHandle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for UplinkHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("UplinkHandle").field(&self.state()).finish()
    }
}

struct Shared {
    live: RwLock<Option<Arc<Live>>>,
    state: watch::Sender<LinkState>,
    dialer: RwLock<Option<Dialer>>,
}

/// How the machine reached the peer that was dialled last, when it was dialled.
#[derive(Debug, Clone, Copy)]
struct Reach {
    address: SocketAddr,
    way: Option<Way>,
}

impl Uplink {
    /// Dials and keeps dialling until cancelled; the link then says goodbye.
    ///
    /// # Errors
    /// [`ProfileError`] when the profile breaks the window rule.
    pub fn start(
        config: UplinkConfig,
        source: Arc<dyn HelloSource>,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<(UplinkHandle, mpsc::Receiver<UplinkEvent>), ProfileError> {
        config.profile.check()?;
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let (state, _) = watch::channel(LinkState {
            up: false,
            since: config.clock.now(),
            software: String::new(),
            upper: None,
            lacks: Lacks::default(),
            region: None,
            endpoint: String::new(),
            remote: None,
            rtt: None,
            reason: "not connected yet".to_owned(),
            attempts: 0,
            carrier: Means::Udp,
            carrier_since: config.clock.now(),
            carrier_reason: String::new(),
            moves: 0,
            failovers: 0,
            handovers: 0,
            probes: 0,
            probes_answered: 0,
        });
        let shared = Arc::new(Shared { live: RwLock::default(), state, dialer: RwLock::default() });
        let reach = Reach { address: ANYWHERE, way: config.network.way(ANYWHERE) };
        let runner = Runner {
            config,
            reach,
            source,
            shared: Arc::clone(&shared),
            events,
            tasks: tasks.clone(),
            cancel,
            failures: 0,
            new_way: watch::Sender::new(()),
            shown: None,
            next: None,
            standby_from: tokio::time::Instant::now() + STANDBY_AFTER,
            choice: Choice::default(),
        };
        tasks.spawn(runner.run());
        Ok((UplinkHandle { shared }, receiver))
    }
}

impl UplinkHandle {
    /// Sends a control message, in order; waits while the link is busy.
    ///
    /// # Errors
    /// [`SendError::Down`] without a link: send it again on `Up`. What was sent just before a link died may be
    /// lost; only acknowledgements tell.
    pub async fn send(&self, control: Control) -> Result<(), SendError> {
        self.shared.live().ok_or(SendError::Down)?.send(&control).await
    }

    /// Sends telemetry in the order of its class; waits while the link takes no more.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_telemetry(&self, item: TelemetryItem) -> Result<(), SendError> {
        self.shared.live().ok_or(SendError::Down)?.send_telemetry(&item).await
    }

    /// Asks the upper side and waits for the answer.
    ///
    /// # Errors
    /// [`CallError`]; a refusal is an answer, given as `Response::Refused`.
    pub async fn call(&self, request: Request, deadline: Duration) -> Result<Response, CallError> {
        self.shared.live().ok_or(CallError::Down)?.call(&request, deadline).await
    }

    /// How the link stands.
    pub fn state(&self) -> LinkState {
        let mut state = self.shared.state.borrow().clone();
        state.rtt = self.shared.live().map(|live| live.carrier.connection.rtt());
        state
    }

    /// The link's state as it changes (without the round-trip time).
    pub fn watch(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }
}

impl Shared {
    fn live(&self) -> Option<Arc<Live>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_live(&self, live: Option<Arc<Live>>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }
}

struct Runner {
    config: UplinkConfig,
    reach: Reach,
    source: Arc<dyn HelloSource>,
    shared: Arc<Shared>,
    events: mpsc::Sender<UplinkEvent>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    /// Since the last good link.
    failures: u32,
    /// Tells that there is another way to the peer.
    new_way: watch::Sender<()>,
    /// What is shown to whoever is dialled, until a link is up.
    shown: Option<dial::Shown>,
    /// A link that was welcomed while another one was up, and is to be served after it.
    next: Option<Box<Connected>>,
    /// From when on regions that stand in are dialled.
    standby_from: tokio::time::Instant,
    /// What is remembered of endpoints.
    choice: Choice,
}

impl Runner {
    async fn run(mut self) {
        let cancel = self.cancel.clone();
        while !cancel.is_cancelled() {
            let attempt = match self.next.take() {
                Some(connected) => Ok(*connected),
                None => tokio::select! {
                    biased;
                    () = cancel.cancelled() => break,
                    // On the heap while it lasts: a link that is up for months does not keep room for it.
                    attempt = self.dial().boxed() => attempt,
                },
            };
            let failure = match attempt {
                Ok(connected) => self.serve(connected).await,
                Err(failure) => {
                    self.failed(&failure);
                    failure
                }
            };
            if self.next.is_some() {
                continue;
            }
            let pause = self.pause(&failure);
            if cancel.is_cancelled() {
                break;
            }
            tracing::info!(reason = %failure.reason, pause_ms = pause.as_millis(), "uplink is down, dialling again");
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                () = self.rerouted() => self.turn_to_new_way(),
                () = tokio::time::sleep(pause) => {}
            }
        }
        let dialer = self.shared.dialer.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(dialer) = dialer {
            // Lets the last close leave.
            let _ = tokio::time::timeout(GOODBYE, dialer.endpoint.wait_idle()).await;
        }
    }

    /// Ends when the machine reaches the peer in another way than when it was dialled.
    async fn rerouted(&self) {
        self.config.network.rerouted(self.reach.address, self.reach.way).await;
    }

    /// What failed before says nothing about the way that there is now.
    fn turn_to_new_way(&mut self) {
        self.reach.way = self.config.network.way(self.reach.address);
        self.failures = 0;
        let dialer = self.dialer_now();
        if let (Some(dialer), Some(way)) = (dialer, self.reach.way) {
            tracing::info!(source = %way.source, "the machine has another way to its peer");
            if let Err(error) = self.config.network.rebind(&dialer) {
                tracing::warn!(%error, "the uplink stays on its old socket");
            }
            self.new_way.send_replace(());
        }
    }

    /// How long to wait before the next attempt.
    fn pause(&mut self, failure: &Failure) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let profile = &self.config.profile;
        let bound =
            profile.retry_base.saturating_mul(1 << (self.failures - 1).min(20)).min(profile.retry_max);
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let jitter = |entropy: &mut dyn Entropy, bound: Duration| {
            Duration::from_millis(entropy.below(millis(bound).saturating_add(1)))
        };
        let entropy = &mut *self.config.entropy;
        match &failure.refusal {
            Some(Refusal { retry_after_ms: Some(after), .. }) => {
                Duration::from_millis(*after) + jitter(entropy, profile.retry_base)
            }
            Some(refusal) if is_final(refusal.reason) => {
                REFUSED_PAUSE.min(profile.retry_max) + jitter(entropy, bound)
            }
            Some(_) | None => jitter(entropy, bound),
        }
    }

    /// Serves a link to its end.
    async fn serve(&mut self, connected: Connected) -> Failure {
        let carriage = self.carriage(&connected);
        let Connected { mut driver, carrier, welcome, place, endpoint, climbed, means, region, told, .. } =
            connected;
        let remote = place.address;
        let began = tokio::time::Instant::now();
        let (live, commands) = Live::new(Arc::clone(&carrier));
        self.shared.set_live(Some(Arc::clone(&live)));
        let since = self.config.clock.now();
        tracing::info!(%remote, %region, software = %welcome.software, carrier = means.as_str(), "uplink is up");
        self.publish_versions(&welcome);
        self.publish(since, Some((&welcome.software, remote, &region)), String::new());
        self.publish_means(means, since);
        self.publish_endpoint(&endpoint, climbed);
        let handover = Handover::new(region.clone(), endpoint, self.config.identity.clone(), told);
        let (first, keep) = (UplinkEvent::Up(welcome), carriage.map(|carriage| carriage.keep().boxed()));
        let reason = self.pump(&mut driver, &carrier, commands, first, (keep, handover)).await;
        if let Some(carriers) = self.dialer_now().and_then(|dialer| dialer.carriers) {
            carriers.learn(remote, carrier.connection.rtt());
        }
        self.shared.set_live(None);
        let since = self.config.clock.now();
        self.publish(since, None, reason.to_string());
        if began.elapsed() >= SETTLED {
            self.failures = 0;
        }
        if self.next.is_none() {
            self.choice.lost(began.elapsed(), matches!(reason, Reason::Lost(_)));
        }
        let away = self.config.identity.borrow().region != region;
        let wait = if away { Duration::ZERO } else { STANDBY_AFTER };
        self.standby_from = tokio::time::Instant::now() + wait;
        let refusal = match &reason {
            Reason::Peer(refusal) => Some(refusal.clone()),
            Reason::Lost(_) | Reason::Local(_) => None,
        };
        let failure = Failure { refusal, ..Failure::new(reason.to_string()) };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => {}
            _ = self.events.send(UplinkEvent::Down(reason)) => {}
        }
        failure
    }

    fn publish(&self, since: UnixMillis, peer: Option<(&str, SocketAddr, &RegionName)>, reason: String) {
        self.shared.state.send_modify(|state| {
            state.up = peer.is_some();
            state.since = since;
            state.reason = reason;
            state.attempts = 0;
            if let Some((software, remote, region)) = peer {
                software.clone_into(&mut state.software);
                state.remote = Some(remote);
                state.region = Some(region.clone());
            }
        });
    }

    fn publish_means(&self, means: Means, since: UnixMillis) {
        self.shared.state.send_modify(|state| {
            state.carrier = means;
            state.carrier_since = since;
            state.carrier_reason = match means {
                Means::Udp => String::new(),
                Means::Tcp => "UDP gave no answer when the peer was dialled".to_owned(),
            };
        });
    }

    /// Takes over what the peer speaks and what it says this agent lacks; tells it once, not with every connection.
    fn publish_versions(&self, welcome: &Welcome) {
        let (upper, lacks) = (Speaks::told(&welcome.ext), Lacks::told(&welcome.ext));
        self.shared.state.send_if_modified(|state| {
            let news = state.upper != Some(upper) || state.lacks != lacks;
            if !news {
                return false;
            }
            let here = self.source.hello().speaks;
            if !lacks.0.is_empty() {
                tracing::warn!(software = %welcome.software, protocol = %upper, ours = %here, %lacks, "this agent lacks what its peer has: install the version of the peer");
            } else if upper.minor < here.minor {
                tracing::info!(software = %welcome.software, protocol = %upper, ours = %here, "the peer is of an earlier version than this agent");
            }
            (state.upper, state.lacks) = (Some(upper), lacks);
            true
        });
    }

    fn dialer_now(&self) -> Option<Dialer> {
        self.shared.dialer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What keeps that link on the carrier that works.
    fn carriage(&mut self, connected: &Connected) -> Option<Carriage> {
        Some(Carriage {
            dialer: self.dialer_now()?,
            connection: connected.carrier.connection.clone(),
            place: connected.place.clone(),
            tls: Arc::clone(&connected.tls),
            network: Arc::clone(&self.config.network),
            clock: Arc::clone(&self.config.clock),
            shared: Arc::clone(&self.shared),
            rerouted: self.new_way.subscribe(),
            seed: self.config.entropy.below(u64::MAX),
        })
    }

    /// The loop over everything that can happen on a live link.
    async fn pump(
        &mut self,
        driver: &mut Driver,
        carrier: &Arc<Carrier>,
        mut commands: mpsc::Receiver<Message>,
        first: UplinkEvent,
        (keep, mut handover): (Option<impl Future<Output = ()>>, Handover),
    ) -> Reason {
        let mut keep = std::pin::pin!(async move {
            match keep {
                Some(keep) => keep.await,
                None => std::future::pending().await,
            }
        });
        let mut pending = Some(first);
        let mut leaving = false;
        let (events, cancel) = (self.events.clone(), self.cancel.clone());
        // One subscription for the life of the link: each costs sockets, and the loop turns with every message.
        let network = Arc::clone(&self.config.network);
        let mut rerouted = network.rerouted(self.reach.address, self.reach.way);
        self.look_home(&mut handover);
        self.kept_news(&mut handover).iter().for_each(|news| driver.send(news));
        loop {
            while driver.has_room()
                && let Ok(message) = commands.try_recv()
            {
                driver.send(&message);
            }
            let idle = pending.is_none();
            tokio::select! {
                biased;
                () = cancel.cancelled(), if !leaving => {
                    leaving = true;
                    pending = None;
                    driver.close(going_away());
                }
                permit = events.reserve(), if !idle => match (permit, pending.take()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    (Ok(_), None) => {}
                    (Err(_), _) if leaving => {}
                    (Err(_), _) => { leaving = true; driver.close(going_away()); }
                },
                () = &mut keep => {}
                () = &mut rerouted => {
                    self.turn_to_new_way();
                    rerouted = network.rerouted(self.reach.address, self.reach.way);
                }
                due = handover.due(), if !leaving => match due {
                    Due::Look => {
                        self.look_home(&mut handover);
                        self.kept_news(&mut handover).iter().for_each(|news| driver.send(news));
                    }
                    Due::Found(connected) => self.found_home(&mut handover, connected),
                    Due::Leave => { leaving = true; driver.close(handover.goodbye()); }
                },
                event = driver.turn(idle) => match event {
                    Some(Event::Control(control)) => {
                        pending = self.take(control).await.map(UplinkEvent::Control);
                    }
                    Some(Event::Closed(reason)) => return self.catch_up(&mut handover, reason).await,
                    Some(Event::Hello(_) | Event::Up(_)) | None => {}
                },
                command = commands.recv(), if driver.has_room() => match command {
                    Some(message) => driver.send(&message),
                    None => driver.close(going_away()),
                },
                Ok(recv) = carrier.connection.accept_uni() => {
                    let wrap = |blob: BlobDelivery| UplinkEvent::Blob(blob.part, blob.edge);
                    let events = events.clone();
                    self.tasks.spawn(receive(Arc::clone(carrier), recv, Lane::Blob, events, wrap));
                }
                Ok((send, recv)) = carrier.connection.accept_bi() => {
                    let events = events.clone();
                    let lane = Lane::Request;
                    let wrap = |request, responder| Some(UplinkEvent::Request(request, responder));
                    self.tasks.spawn(answer(Arc::clone(carrier), send, recv, lane, events, wrap));
                }
            }
        }
    }
}

/// Whether trying again soon is pointless.
fn is_final(reason: RefusalReason) -> bool {
    match reason {
        RefusalReason::Unavailable | RefusalReason::ApprovalPending => false,
        RefusalReason::TokenUnknown
        | RefusalReason::TokenExpired
        | RefusalReason::TokenUsed
        | RefusalReason::TokenRevoked
        | RefusalReason::ProofInvalid
        | RefusalReason::OutOfScope
        | RefusalReason::Revoked
        | RefusalReason::Malformed
        | RefusalReason::Incompatible
        | RefusalReason::Superseded
        | RefusalReason::Forbidden => true,
    }
}

fn going_away() -> Refusal {
    let message = "the agent stops".to_owned();
    Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms: None }
}

/// An error with its causes, in one line.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Facts that are computed elsewhere and only handed on.
impl<F: Fn() -> HelloFacts + Send + Sync + 'static> HelloSource for F {
    fn hello(&self) -> HelloFacts {
        self()
    }
}
