//! One task that serves all linked edges.
//!
//! ```text
//!  links ---- up, down, control ---> desk ---- try_send ----> links
//!  shelf ---- new plan ------------>  |  busy? a task waits for that edge, the desk goes on
//!  store ---- acknowledgements ---->  +---- upward (what the hub is to hear)
//! ```
//! # Why one task
//! Whatever it does takes microseconds and never waits: a slow edge is waited for by a task of its own, a call is
//! relayed by one. So thousands of idle edges cost a map entry each, and no locks are held across anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use identity::Clock;
use identity::join::edge_for;
use identity::lineage::told_kept;
use link::{CallError, DownlinkEvent, DownlinkHandle, Responder, SendError, UplinkHandle};
use process::Process;
use protocol::endpoints::{Known, SignedEndpoints};
use protocol::enrolment::{JoinRequest, Refusal, RefusalReason, RenewRequest, from_source};
use protocol::id::{AgentId, Digest, EdgeId};
use protocol::inquiry::Inquiry;
use protocol::message::{BlobPart, Control, Hello, PlanHead, Request, Response};
use protocol::placement::{self, SignedPlacement};
use protocol::recovery::from_remote;
use protocol::telemetry::TelemetryAck;
use protocol::trust::TrustChain;
use protocol::version::{Features, Speaks};
use tokio::sync::mpsc;
use tracing::Span;

use super::register::Register;
use super::session::{Outgoing, Session};
use super::shelf::Shelf;
use super::told_by;
use super::upward::Upward;
use super::waiting::{AGAIN_MS, KEEP, Seat, Waiting};

/// How long the hub may take to decide about a join or renewal.
const RELAY_DEADLINE: Duration = Duration::from_secs(20);
/// How long an edge may take to answer a question about its cluster.
const INQUIRY_DEADLINE: Duration = Duration::from_secs(40);
/// When a device should ask again while the hub is away, in milliseconds.
const HUB_AWAY_RETRY_MS: u64 = 3_000;

/// The longest pause before a plan that could not be stored is offered again.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// What others tell the desk.
#[derive(Debug)]
pub(super) enum Note {
    /// The edge is to have another plan.
    Offer(EdgeId),
    /// There is news of where an edge links, or all of them.
    Placed(Option<EdgeId>, SignedPlacement),
    /// The hub says where the region listens.
    Listed(SignedEndpoints),
    /// The edge is not of this region any more.
    Removed(EdgeId, Refusal),
    /// Telemetry is durable.
    Durable(Vec<(EdgeId, TelemetryAck)>),
    /// There is a newer trust bundle.
    Trust(u64, TrustChain),
    /// The hub asks something about the edge's cluster.
    Inquire(EdgeId, Inquiry, Responder),
    /// A link took what it was waited for.
    Taken { edge: EdgeId, link: u64 },
    /// Blobs left, or were given up; those of an offer, or those that were asked for.
    Sent { edge: EdgeId, link: u64, digests: Vec<Digest>, offered: bool },
}

/// The desk.
pub(super) struct Desk {
    pub(super) downlink: DownlinkHandle,
    pub(super) uplink: UplinkHandle,
    pub(super) shelf: Arc<Shelf>,
    pub(super) upward: Arc<Upward>,
    pub(super) register: Arc<Register>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) process: Process,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    /// Sequence of the newest trust bundle, and what leads to it.
    pub(super) trust: (u64, TrustChain),
    pub(super) sessions: BTreeMap<EdgeId, Session>,
    pub(super) links: u64,
    pub(super) offers: Arc<AtomicU64>,
    pub(super) waiting: Waiting,
}

impl Desk {
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<DownlinkEvent>,
        mut notes: mpsc::UnboundedReceiver<Note>,
    ) {
        let cancel = self.process.cancel.clone();
        loop {
            tokio::select! {
                biased;
                // The listener says goodbye to the edges by itself.
                () = cancel.cancelled() => return,
                note = notes.recv() => match note {
                    Some(note) => self.note(note),
                    None => return,
                },
                event = events.recv() => match event {
                    Some(event) => self.event(event),
                    None => return,
                },
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Offer(edge) => self.offer(edge),
            Note::Placed(Some(edge), signed) => self.with(edge, |session| session.place(signed)),
            Note::Placed(None, signed) => {
                let all = self.sessions.keys().filter(|edge| !self.shelf.is_placed(**edge));
                let edges: Vec<EdgeId> = all.copied().collect();
                for edge in edges {
                    self.with(edge, |session| session.place(signed.clone()));
                }
            }
            Note::Listed(signed) => {
                let edges: Vec<EdgeId> = self.sessions.keys().copied().collect();
                for edge in edges {
                    self.with(edge, |session| session.list(signed.clone()));
                }
            }
            Note::Removed(edge, refusal) => self.downlink.close(&AgentId::Edge(edge), refusal),
            Note::Durable(acks) => {
                for (edge, ack) in acks {
                    self.with(edge, |session| session.acknowledge(ack));
                }
            }
            Note::Inquire(edge, inquiry, responder) => self.inquire(edge, inquiry, responder),
            Note::Trust(sequence, chain) => {
                self.trust = (sequence, chain);
                let edges: Vec<EdgeId> = self.sessions.keys().copied().collect();
                for edge in edges {
                    let chain = self.trust.1.clone();
                    self.with(edge, |session| session.trust(chain));
                }
            }
            Note::Taken { edge, link } => {
                if let Some(session) = self.sessions.get_mut(&edge).filter(|session| session.link == link) {
                    session.waiting = false;
                    self.flush(edge);
                }
            }
            Note::Sent { edge, link, digests, offered } => {
                if let Some(session) = self.sessions.get_mut(&edge).filter(|session| session.link == link) {
                    let digests: BTreeSet<Digest> = digests.into_iter().collect();
                    session.in_flight.retain(|digest| !digests.contains(digest));
                    if offered {
                        session.remind();
                        self.flush(edge);
                    }
                }
            }
        }
    }

    fn event(&mut self, event: DownlinkEvent) {
        match event {
            DownlinkEvent::Up { peer, hello } => self.up(&peer, &hello),
            DownlinkEvent::Down { peer, reason } => {
                if let Some(edge) = peer.edge() {
                    tracing::debug!(%edge, %reason, "an edge's link is down");
                    self.sessions.remove(&edge);
                    self.upward.link_down(edge, self.clock.now());
                }
            }
            DownlinkEvent::Control { peer, control } => {
                if let Some(edge) = peer.edge() {
                    self.control(edge, control);
                }
            }
            DownlinkEvent::Request { peer, request, responder } => self.request(&peer, request, responder),
            DownlinkEvent::Join { remote, request, responder } => self.join(remote, *request, responder),
            DownlinkEvent::Recover { remote, request, responder } => {
                self.relay_return(remote, *request, responder);
            }
            DownlinkEvent::Incompatible { peer, reason } => {
                if let Some(edge) = peer.edge() {
                    let refusal = Refusal {
                        reason: RefusalReason::Incompatible,
                        message: reason,
                        retry_after_ms: None,
                    };
                    self.upward.refused(edge, None, refusal);
                }
            }
            // Telemetry has a channel of its own.
            DownlinkEvent::Telemetry { .. } => {}
        }
    }

    fn up(&mut self, peer: &AgentId, hello: &Hello) {
        let Some(edge) = peer.edge() else { return };
        let now = self.clock.now();
        self.links += 1;
        let mut session = Session::new(self.links, now, Speaks::told(&hello.ext));
        // What the hub granted counts; what the edge says of itself is better than its id.
        if let Some(name) = hello.facts.get("name").filter(|_| !self.shelf.is_named(edge)) {
            let cluster = hello.facts.get("cluster").unwrap_or(name);
            self.shelf.name(edge, name, cluster);
        }
        if hello.trust_sequence < self.trust.0 && !self.trust.1.steps.is_empty() {
            session.trust(self.trust.1.clone());
        }
        if let Some(kept) = told_kept(&hello.ext) {
            self.upward.kept(edge, kept);
        }
        if let Some(signed) = self.shelf.placement_for(edge, placement::said(&hello.ext)) {
            session.place(signed);
        }
        if let Some(signed) = self.shelf.list_for(Known::told(&hello.ext)) {
            session.list(signed);
        }
        self.shelf.stored(edge, hello.stored.map(|head| head.body));
        let newer = |held: PlanHead| hello.stored.is_none_or(|stored| held.generation > stored.generation);
        let offer = self.shelf.head(edge).is_some_and(newer);
        self.upward.link_up(edge, session.since, &hello.software, hello.stored);
        self.sessions.insert(edge, session);
        if offer {
            self.offer(edge);
        }
        self.flush(edge);
    }

    fn control(&mut self, edge: EdgeId, control: Control) {
        match control {
            Control::PlanStored { edge: None, head } => {
                self.shelf.stored(edge, Some(head.body));
                self.upward.stored(edge, head);
            }
            Control::PlanRefused { edge: None, generation, refusal } => {
                tracing::warn!(%edge, message = refusal.message, "an edge refuses its plan");
                // What it has is not known any more; the next offer goes without differences.
                self.shelf.stored(edge, None);
                if let Some(pause) = refusal.retry_after_ms {
                    self.offer_later(edge, Duration::from_millis(pause).min(RETRY_MAX));
                }
                self.upward.refused(edge, generation, refusal);
            }
            Control::BlobsWanted { edge: None, digests } => self.with(edge, |session| session.want(digests)),
            Control::Report { edge: None, report } => {
                let (sequence, full) = (report.sequence, report.full);
                self.upward.report(edge, *report);
                self.with(edge, |session| session.acknowledge_report(sequence, full));
            }
            Control::Ping { nonce, reply: false } => self.with(edge, |session| session.pong(nonce)),
            Control::Ping { reply: true, .. } => {}
            Control::TrustKept(kept) if kept.iter().all(|kept| kept.edge.is_none()) => {
                kept.into_iter().for_each(|kept| self.upward.kept(edge, kept));
            }
            Control::Goodbye(refusal) => {
                tracing::debug!(%edge, message = refusal.message, "an edge says goodbye");
            }
            control @ (Control::PlanStored { .. }
            | Control::PlanRefused { .. }
            | Control::BlobsWanted { .. }
            | Control::Report { .. }
            | Control::Plan(_)
            | Control::Blobs { .. }
            | Control::ReportAck { .. }
            | Control::TelemetryAcks(_)
            | Control::EdgeLinks { .. }
            | Control::EdgeRemoved { .. }
            | Control::EdgeTable(_)
            | Control::EdgeRenewed(_)
            | Control::Placement { .. }
            | Control::Trust(_)
            | Control::TrustChain(_)
            | Control::TrustKept(_)
            | Control::Endpoints { .. }) => {
                let message = overstepping(edge, &control);
                let refusal = Refusal { reason: RefusalReason::Malformed, message, retry_after_ms: None };
                self.downlink.close(&AgentId::Edge(edge), refusal);
            }
        }
    }

    /// Offers an edge its plan. One that asks for what the edge has not would be carried out wrongly: it is kept here, and
    /// the hub, which may not know yet who is there, hears why.
    fn offer(&mut self, edge: EdgeId) {
        let Some(session) = self.sessions.get(&edge) else { return };
        let speaks = session.speaks();
        match self.shelf.beyond(edge, speaks.features) {
            None => self.with(edge, Session::offer),
            Some((generation, lacking)) => {
                let message = speaks.cannot(lacking);
                tracing::warn!(%edge, %generation, message, "an edge is not offered its plan");
                let reason = RefusalReason::Incompatible;
                let refusal = Refusal { reason, message, retry_after_ms: None };
                self.upward.refused(edge, Some(generation), refusal);
            }
        }
    }

    /// Changes what an edge is to be sent, if it is linked, and sends it.
    fn with(&mut self, edge: EdgeId, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&edge) {
            change(session);
            self.flush(edge);
        }
    }

    /// Sends what an edge's outbox holds, until it is empty or the link is busy.
    fn flush(&mut self, edge: EdgeId) {
        let Some(session) = self.sessions.get_mut(&edge) else { return };
        let peer = AgentId::Edge(edge);
        while !session.waiting
            && let Some(Outgoing { message, blobs }) = session.next(edge, &self.shelf)
        {
            let span = if let Some(Control::Plan(offer)) = &message {
                self.offers.fetch_add(1, Ordering::Relaxed);
                told_by(&offer.plan, tracing::debug_span!("send", %edge))
            } else {
                Span::none()
            };
            let _sending = span.enter();
            let link = session.link;
            let offered = matches!(message, Some(Control::Plan(_)));
            let busy = message.and_then(|message| match self.downlink.try_send(&peer, message.clone()) {
                Ok(()) => None,
                Err(SendError::Busy) => Some(message),
                // Its Down follows; or it can never be sent.
                Err(error) => {
                    tracing::debug!(%edge, %error, "a message for an edge is not sent");
                    None
                }
            });
            if busy.is_none() && blobs.is_empty() {
                continue;
            }
            session.waiting = busy.is_some();
            // A difference may turn out to be of no use, and is then asked for; a whole blob cannot.
            session.in_flight.extend(blobs.iter().filter(|blob| blob.base.is_none()).map(|blob| blob.digest));
            let digests = blobs.iter().map(|blob| blob.digest).collect();
            let sent = Note::Sent { edge, link, digests, offered };
            let sending = deliver(self.downlink.clone(), self.notes.clone(), busy, blobs, sent);
            self.process.tasks.spawn(sending);
        }
    }

    /// Offers again after a pause that the edge asked for, for example while its disk is full.
    fn offer_later(&self, edge: EdgeId, pause: Duration) {
        let (notes, cancel) = (self.notes.clone(), self.process.cancel.clone());
        self.process.tasks.spawn(async move {
            if cancel.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
                // The desk is gone when the process ends.
                let _ = notes.send(Note::Offer(edge));
            }
        });
    }

    fn request(&self, peer: &AgentId, request: Request, responder: Responder) {
        match request {
            Request::Renew(request) if request.agent == *peer => match peer.edge() {
                Some(edge) => self.relay_renewal(edge, request, responder),
                None => responder.refuse(RefusalReason::Forbidden, "only edges renew here"),
            },
            Request::Renew(request) => {
                let message = format!("{peer} may not renew the certificate of {}", request.agent);
                responder.refuse(RefusalReason::Forbidden, message);
            }
            Request::Join(_)
            | Request::Query(_)
            | Request::ClusterToken { .. }
            | Request::Inquire { .. }
            | Request::Challenge(_)
            | Request::Recover(_) => {
                responder.refuse(RefusalReason::Forbidden, format!("{peer} may not ask this of its region"));
            }
        }
    }

    /// Relays a question to an edge; while that is away, nobody else knows the answer.
    fn inquire(&self, edge: EdgeId, inquiry: Inquiry, responder: Responder) {
        let downlink = self.downlink.clone();
        let peer = AgentId::Edge(edge);
        if let Some(speaks) = downlink.speaks(&peer).filter(|speaks| !speaks.features.has(Features::INQUIRY))
        {
            return responder.refuse(RefusalReason::Incompatible, speaks.cannot(Features::INQUIRY));
        }
        self.process.tasks.spawn(async move {
            let request = Request::Inquire { edge: None, inquiry };
            match downlink.call(&peer, request, INQUIRY_DEADLINE).await {
                Ok(response) => responder.respond(response),
                Err(error) => {
                    responder
                        .refuse(RefusalReason::Unavailable, format!("the edge does not answer: {error}"));
                }
            }
        });
    }

    /// Asks the hub to renew an edge's certificate; renews it here when that cannot be asked or cannot decide.
    fn relay_renewal(&self, edge: EdgeId, request: RenewRequest, responder: Responder) {
        let (uplink, register, upward) = (self.uplink.clone(), self.register.clone(), self.upward.clone());
        self.process.tasks.spawn(async move {
            let mut response = relay(&uplink, Request::Renew(request.clone())).await;
            if let Response::Refused(why) = &response
                && why.reason == RefusalReason::Unavailable
            {
                response = renew_here(&register, &upward, edge, &request, why.clone());
            }
            if let Response::Refused(refusal) = &response {
                tracing::warn!(%edge, reason = refusal.message, "a renewal was refused");
            }
            responder.respond(response);
        });
    }

    /// An agent whose certificate has expired asks the hub through this region, which proves nothing and learns nothing.
    fn relay_return(&self, remote: SocketAddr, request: Request, responder: Responder) {
        let uplink = self.uplink.clone();
        let request = if let Request::Recover(request) = request {
            Request::Recover(from_remote(request, &remote.to_string()))
        } else {
            request
        };
        self.process.tasks.spawn(async move {
            let response = relay(&uplink, request).await;
            match &response {
                Response::Recovered(_) => tracing::info!(%remote, "an agent returned"),
                Response::Refused(refusal) => {
                    tracing::warn!(%remote, reason = refusal.message, "a return was refused");
                }
                Response::Joined(_)
                | Response::Renewed(_)
                | Response::Answer(_)
                | Response::TokenRegistered { .. }
                | Response::Challenge(_) => {}
            }
            responder.respond(response);
        });
    }

    fn join(&self, remote: SocketAddr, request: JoinRequest, mut responder: Responder) {
        let (uplink, shelf) = (self.uplink.clone(), self.shelf.clone());
        let seat = self.waiting.seat(edge_for(request.token, &request.device_key));
        self.process.tasks.spawn(async move {
            let request = Request::Join(from_source(request, remote));
            let response = tokio::select! {
                biased;
                // Nobody is left whom to keep a seat for.
                () = responder.given_up() => return,
                response = patient(&uplink, request, seat) => response,
            };
            match &response {
                Response::Joined(grant) => {
                    tracing::info!(%remote, agent = %grant.agent, name = grant.name, "an edge joined");
                    if let Some(edge) = grant.agent.edge() {
                        shelf.name(edge, &grant.name, &grant.name);
                    }
                }
                Response::Refused(refusal) if refusal.reason == RefusalReason::ApprovalPending => {
                    tracing::debug!(%remote, reason = refusal.message, "a device waits for approval");
                }
                Response::Refused(refusal) => {
                    tracing::warn!(%remote, reason = refusal.message, "a join was refused");
                }
                Response::Renewed(_)
                | Response::Answer(_)
                | Response::TokenRegistered { .. }
                | Response::Challenge(_)
                | Response::Recovered(_) => {}
            }
            responder.respond(response);
        });
    }
}

/// Renews by the hub's newest table, and notes for the hub what became of it.
fn renew_here(
    register: &Register,
    upward: &Upward,
    edge: EdgeId,
    request: &RenewRequest,
    why: Refusal,
) -> Response {
    match register.renew(edge, request, why) {
        Ok((renewed, news)) => {
            upward.renewed(news);
            match renewed {
                Ok(grant) => {
                    tracing::info!(%edge, "renewed by the region, for the hub is away");
                    Response::Renewed(grant)
                }
                Err(refusal) => Response::Refused(refusal),
            }
        }
        Err(refusal) => Response::Refused(refusal),
    }
}

/// Asks the hub to let a device in; while that is to wait for approval, keeps it on its seat and asks again when there is
/// news of it.
async fn patient(uplink: &UplinkHandle, request: Request, seat: Option<Seat>) -> Response {
    let kept = tokio::time::Instant::now() + KEEP;
    let mut response = relay(uplink, request.clone()).await;
    let Some(mut seat) = seat else { return response };
    while let Response::Refused(refusal) = &response
        && refusal.reason == RefusalReason::ApprovalPending
    {
        match tokio::time::timeout_at(kept, seat.news()).await {
            Ok(true) => response = relay(uplink, request.clone()).await,
            Ok(false) => break,
            Err(_) => {
                let refusal = Refusal { retry_after_ms: Some(AGAIN_MS), ..refusal.clone() };
                return Response::Refused(refusal);
            }
        }
    }
    response
}

/// What an edge is told that sends what is not its to say.
fn overstepping(edge: EdgeId, control: &Control) -> String {
    if let Control::PlanStored { edge: Some(other), .. }
    | Control::PlanRefused { edge: Some(other), .. }
    | Control::BlobsWanted { edge: Some(other), .. }
    | Control::Report { edge: Some(other), .. } = control
    {
        return format!("edge/{edge} may not speak for edge/{other}: an edge names none");
    }
    "an edge may not send that message: it reports, asks for blobs and answers pings".to_owned()
}

/// Asks the hub on behalf of an edge or device.
async fn relay(uplink: &UplinkHandle, request: Request) -> Response {
    match uplink.call(request, RELAY_DEADLINE).await {
        Ok(response) => response,
        Err(CallError::Refused(refusal)) => Response::Refused(refusal),
        Err(error @ (CallError::Down | CallError::Deadline(_) | CallError::Malformed(_))) => {
            Response::Refused(Refusal {
                reason: RefusalReason::Unavailable,
                message: format!("the hub cannot be asked now: {error}"),
                retry_after_ms: Some(HUB_AWAY_RETRY_MS),
            })
        }
        Err(CallError::TooLarge(error)) => Response::Refused(Refusal {
            reason: RefusalReason::Malformed,
            message: error.to_string(),
            retry_after_ms: None,
        }),
    }
}

/// Waits for one edge's link to take a message and blobs.
async fn deliver(
    downlink: DownlinkHandle,
    notes: mpsc::UnboundedSender<Note>,
    message: Option<Control>,
    blobs: Vec<BlobPart>,
    sent: Note,
) {
    let Note::Sent { edge, link, .. } = sent else { return };
    let peer = AgentId::Edge(edge);
    let mut up = true;
    if let Some(message) = message {
        up = downlink.send(&peer, message).await.is_ok();
        // The desk is gone when the process ends.
        let _ = notes.send(Note::Taken { edge, link });
    }
    let some = !blobs.is_empty();
    for blob in blobs {
        up = up && downlink.send_blob(&peer, None, blob).await.is_ok();
    }
    if some {
        let _ = notes.send(sent);
    }
}
