//! The region's edges: their links, the plans held for them, and what the hub hears of them.
//!
//! - [`shelf`]: plans and blobs, verified, in memory and on disk
//! - `desk`, `session`: serves linked edges from the shelf
//! - [`upward`]: merged state on its way to the hub
//! - `admission`: which edges may link; `journal`: the shelf's file
//!
//! - `waiting`: devices that wait for approval
//! - `placements`: where they link, also those that left
//! - [`register`]: by what edges are renewed while the hub is away
//!
//! Everything works while the hub is away, also after a restart: edges link, get what the shelf holds, report, send
//! telemetry and renew their certificates. Only joining and returning need the hub.

mod admission;
mod desk;
mod journal;
mod placements;
pub mod register;
mod session;
pub mod shelf;
pub mod upward;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use identity::Clock;
use link::{Admission, DownlinkEvents, DownlinkHandle, Responder, UplinkHandle};
use process::Process;
use protocol::delegation::TablePart;
use protocol::endpoints::SignedEndpoints;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::EdgeId;
use protocol::inquiry::Inquiry;
use protocol::message::{BlobPart, PlanOffer};
use protocol::placement::SignedPlacement;
use protocol::plan::SignedPlan;
use protocol::telemetry::TelemetryAck;
use protocol::trust::TrustChain;
use tokio::sync::mpsc;
use tracing::Span;

pub use journal::JournalError;

use crate::intake::Intake;
use crate::store::Store;
use desk::{Desk, Note};
use register::Register;
use shelf::{Shelf, Taken};
use upward::Upward;
use waiting::Waiting;

/// The region's edges, as the rest of the agent deals with them; clones are the same.
#[derive(Clone)]
pub struct Edges {
    shelf: Arc<Shelf>,
    upward: Arc<Upward>,
    register: Arc<Register>,
    notes: mpsc::UnboundedSender<Note>,
    offers: Arc<AtomicU64>,
    waiting: Waiting,
}

/// What edges need before they can be served.
pub struct Prepared {
    edges: Edges,
    receiver: mpsc::UnboundedReceiver<Note>,
}

/// What serving edges needs.
pub struct Serving {
    /// The edges' links.
    pub downlink: DownlinkHandle,
    /// What comes up them.
    pub events: DownlinkEvents,
    /// The hub.
    pub uplink: UplinkHandle,
    /// Where telemetry goes.
    pub store: Arc<dyn Store>,
    /// Whom to trust: sequence of the newest bundle, and what leads to it.
    pub trust: (u64, TrustChain),
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

impl Prepared {
    /// Edges of this shelf and register; they are served when [`Prepared::serve`] is called.
    pub fn new(shelf: Arc<Shelf>, register: Arc<Register>) -> Self {
        let (notes, receiver) = mpsc::unbounded_channel();
        let upward = Arc::new(Upward::new(shelf.clone()));
        let (offers, waiting) = (Arc::default(), Waiting::default());
        Self { edges: Edges { shelf, upward, register, notes, offers, waiting }, receiver }
    }

    /// The handle, also before serving begins.
    pub fn edges(&self) -> Edges {
        self.edges.clone()
    }

    /// Who decides which edges may link.
    pub fn admission(&self, store: Arc<dyn Store>) -> Arc<dyn Admission> {
        Arc::new(admission::EdgesOnly { shelf: self.edges.shelf.clone(), store })
    }

    /// Serves the edges until the process ends.
    pub fn serve(self, serving: Serving, process: &Process) {
        let Self { edges, receiver } = self;
        let Serving { downlink, events, uplink, store, trust, clock } = serving;
        let (control, arriving) = events.split();
        let desk = Desk {
            downlink,
            uplink: uplink.clone(),
            shelf: edges.shelf.clone(),
            upward: edges.upward.clone(),
            register: edges.register.clone(),
            clock,
            process: process.clone(),
            notes: edges.notes.clone(),
            trust,
            sessions: BTreeMap::new(),
            links: 0,
            offers: edges.offers.clone(),
            waiting: edges.waiting.clone(),
        };
        process.tasks.spawn(desk.run(control, receiver));
        let (upward, cancel) = (edges.upward.clone(), process.cancel.clone());
        process.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = upward.run(&uplink) => {}
            }
        });
        let intake = Intake { store, edges };
        process.tasks.spawn(intake.run(arriving, process.cancel.clone()));
    }
}

impl Edges {
    /// The hub offers a plan for an edge.
    pub fn offer(&self, edge: EdgeId, offer: PlanOffer) {
        let span = told_by(&offer.plan, tracing::debug_span!("receive", %edge));
        let _entered = span.enter();
        let taken =
            tracing::debug_span!("store").in_scope(|| self.shelf.offer(edge, offer.plan, offer.blobs));
        self.shelf.belongs_here(edge, self.register.region());
        self.taken(edge, taken);
        self.waiting.wake(edge);
    }

    /// The hub says where an edge links, or all of them.
    pub fn placed(&self, edge: Option<EdgeId>, signed: SignedPlacement) {
        match self.shelf.place(edge, signed.clone()) {
            Ok(true) => self.note(Note::Placed(edge, signed)),
            Ok(false) => {}
            Err(error) => tracing::warn!(?edge, %error, "a placement from the hub is not taken"),
        }
    }

    /// The hub says where the region listens.
    pub fn listed(&self, signed: SignedEndpoints) {
        match self.shelf.list(self.register.region(), signed.clone()) {
            Ok(true) => self.note(Note::Listed(signed)),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a list of endpoints from the hub is not taken"),
        }
    }

    /// The hub sends blobs for an edge's plan on the control lane: an answer.
    pub fn blobs(&self, edge: EdgeId, parts: Vec<BlobPart>) {
        self.taken(edge, self.shelf.blobs(edge, parts));
    }

    /// The hub sends a blob for an edge's plan on a stream of its own; others may be on their way.
    pub fn blob(&self, edge: EdgeId, part: BlobPart) {
        match self.shelf.blobs(edge, vec![part]) {
            Taken::Missing(_) => {}
            taken @ (Taken::Held(_) | Taken::Known | Taken::Refused { .. }) => self.taken(edge, taken),
        }
    }

    /// The hub says that an edge is not of this region any more.
    pub fn removed(&self, edge: EdgeId, refusal: Refusal) {
        tracing::info!(%edge, reason = refusal.message, "an edge left this region");
        self.shelf.remove(edge, refusal.clone());
        if refusal.reason != RefusalReason::OutOfScope {
            self.shelf.displace(edge);
        }
        self.upward.forget(edge);
        self.note(Note::Removed(edge, refusal));
        self.waiting.wake(edge);
    }

    /// The hub says who the edges are: those that it denies are closed, and refused from now on.
    pub async fn table(&self, part: TablePart) {
        let register = self.register.clone();
        // It writes a file.
        let taken = tokio::task::spawn_blocking(move || register.take(part)).await;
        match taken {
            Ok(Ok(Some(denied))) => {
                for edge in denied.into_iter().filter(|edge| self.shelf.removed(*edge).is_none()) {
                    let message = "the edge was revoked".to_owned();
                    let reason = RefusalReason::Revoked;
                    self.removed(edge, Refusal { reason, message, retry_after_ms: None });
                }
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a table of edges is not taken");
            }
            Err(error) => tracing::error!(%error, "a table of edges is not taken"),
        }
    }

    /// By what edges are renewed while the hub is away.
    pub fn register(&self) -> &Arc<Register> {
        &self.register
    }

    /// The hub asks something about an edge's cluster.
    pub fn inquire(&self, edge: EdgeId, inquiry: Inquiry, responder: Responder) {
        self.note(Note::Inquire(edge, inquiry, responder));
    }

    /// The link to the hub is up.
    pub fn hub_up(&self) {
        self.upward.hub_up();
    }

    /// The link to the hub is down.
    pub fn hub_down(&self) {
        self.upward.hub_down();
    }

    /// Edges' telemetry is durable.
    pub fn durable(&self, acks: Vec<(EdgeId, TelemetryAck)>) {
        self.note(Note::Durable(acks));
    }

    /// There is a newer trust bundle.
    pub fn trust(&self, sequence: u64, chain: TrustChain) {
        self.note(Note::Trust(sequence, chain));
    }

    /// The plans.
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// What the hub hears.
    pub fn upward(&self) -> &Arc<Upward> {
        &self.upward
    }

    /// Offers made to edges.
    pub fn offers(&self) -> u64 {
        self.offers.load(Ordering::Relaxed)
    }

    /// Devices that are kept until the hub says whether they are let in.
    pub fn waiting(&self) -> usize {
        self.waiting.count()
    }

    fn taken(&self, edge: EdgeId, taken: Taken) {
        match taken {
            Taken::Held(head) => {
                tracing::debug!(%edge, generation = %head.generation, "a plan is held");
                self.note(Note::Offer(edge));
            }
            Taken::Known => {}
            Taken::Missing(digests) => self.upward.wanted(edge, digests),
            Taken::Refused { generation, refusal } => {
                tracing::warn!(%edge, message = refusal.message, "a plan from the hub is refused");
                self.upward.refused(edge, generation, refusal);
            }
        }
    }

    fn note(&self, note: Note) {
        // The desk is gone when the process ends.
        let _ = self.notes.send(note);
    }
}

/// The span, as a part of the story that a plan is a part of.
pub(crate) fn told_by(plan: &SignedPlan, span: Span) -> Span {
    if !span.is_disabled()
        && let Some(header) = plan.claimed()
        && let Some(origin) = header.origin()
    {
        process::story::continue_from(&span, origin);
    }
    span
}
