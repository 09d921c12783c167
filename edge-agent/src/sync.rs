//! Plans down, reports up.
//!
//! Plans and blobs are handed to the engine in the order they came; its answer goes up at once. After each
//! connection a full report is sent, then what changed.

use std::sync::Arc;

use link::{Responder, UplinkEvent, UplinkHandle};
use process::Process;
use protocol::codec::encode;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::inquiry::Inquiry;
use protocol::message::{Control, PlanOffer, Request, Response};
use protocol::plan::SignedPlan;
use protocol::report::{ClusterReport, Report, SpoolReport};
use protocol::telemetry::TelemetryAck;
use protocol::version::Speaks;
use state::{EngineHandle, Exchange, Reporter, Upward};
use tokio::sync::{Semaphore, mpsc};
use tracing::{Instrument as _, Span};

/// What a report tells beside the engine's own knowledge.
pub trait Surroundings: Send + Sync + 'static {
    /// Telemetry that waits.
    fn spool(&self) -> SpoolReport;
    /// The protocol version and features of the agent.
    fn speaks(&self) -> Speaks;
    /// Completes what the engine knows of the cluster with where telemetry is taken.
    fn complete(&self, cluster: &mut ClusterReport);
}

/// Keeps plans and reports moving.
pub struct PlanSync {
    /// Carries out plans.
    pub engine: EngineHandle,
    /// The link.
    pub uplink: UplinkHandle,
    /// What else a report tells.
    pub surroundings: Arc<dyn Surroundings>,
    /// Told which telemetry is durable above.
    pub acknowledged: mpsc::UnboundedSender<Vec<TelemetryAck>>,
}

impl PlanSync {
    /// Starts the two directions.
    pub fn start(self, events: mpsc::Receiver<UplinkEvent>, process: &Process) {
        let (full, full_wanted) = mpsc::unbounded_channel();
        let Self { engine, uplink, surroundings, acknowledged } = self;
        let up = || Region { uplink: uplink.clone(), surroundings: Arc::clone(&surroundings) };
        let reporter = Reporter::new(engine.clone(), up());
        process.tasks.spawn(process.cancel.clone().run_until_cancelled_owned(reporter.run(full_wanted)));
        let receiver = Receiver {
            exchange: Exchange { engine, upward: up() },
            uplink: uplink.clone(),
            acknowledged,
            turn: Arc::new(Semaphore::new(1)),
            process: process.clone(),
        };
        // Ends with the uplink, which says goodbye first.
        process.tasks.spawn(receiver.run(events, full));
    }
}

/// Takes what comes down.
struct Receiver {
    exchange: Exchange<Region>,
    uplink: UplinkHandle,
    acknowledged: mpsc::UnboundedSender<Vec<TelemetryAck>>,
    /// Who answers a question at the moment.
    turn: Arc<Semaphore>,
    process: Process,
}

impl Receiver {
    async fn run(self, mut events: mpsc::Receiver<UplinkEvent>, full: mpsc::UnboundedSender<()>) {
        while let Some(event) = events.recv().await {
            match event {
                UplinkEvent::Up(welcome) => {
                    tracing::info!(peer = welcome.software, "link up");
                    // A closed channel means that the process ends.
                    let _ = self.acknowledged.send(welcome.acknowledged);
                    let _ = full.send(());
                }
                UplinkEvent::Down(reason) => tracing::info!(?reason, "link down"),
                UplinkEvent::Control(control) => self.control(control).await,
                UplinkEvent::Blob(part, _) => self.exchange.blob(part).await,
                UplinkEvent::Request(request, responder) => {
                    let what = match request {
                        Request::Inquire { inquiry, .. } => {
                            self.answer(inquiry, responder);
                            continue;
                        }
                        Request::Join(_) => "join",
                        Request::Challenge(_) | Request::Recover(_) => "return",
                        Request::Renew(_) => "renew",
                        Request::Query(_) => "query",
                        Request::ClusterToken { .. } => "clusterToken",
                    };
                    responder.refuse(RefusalReason::Forbidden, format!("an edge does not answer \"{what}\""));
                }
            }
        }
    }

    /// Answers a question about the cluster, one at a time: each reads many objects.
    fn answer(&self, inquiry: Inquiry, responder: Responder) {
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else {
            let busy = "the edge is answering another question about its cluster; ask again in a moment";
            return responder.refuse(RefusalReason::Unavailable, busy.to_owned());
        };
        let engine = self.exchange.engine.clone();
        let answering = async move {
            match engine.inquire(&inquiry).await {
                Ok(findings) => responder.respond(Response::Answer(encode(&findings))),
                Err(error) => responder.refuse(RefusalReason::Unavailable, error),
            }
            drop(turn);
        };
        self.process.tasks.spawn(self.process.cancel.clone().run_until_cancelled_owned(answering));
    }

    async fn control(&self, control: Control) {
        match control {
            Control::Plan(PlanOffer { plan, blobs, .. }) => {
                let span = received(&plan);
                self.exchange.offer(plan, blobs).instrument(span).await;
            }
            Control::Blobs { blobs, .. } => self.exchange.blobs(blobs).await,
            Control::TelemetryAcks(acks) => {
                let _ = self.acknowledged.send(acks);
            }
            Control::Ping { nonce, reply: false } => {
                // If the link is down, there is nobody to answer.
                let _ = self.uplink.send(Control::Ping { nonce, reply: true }).await;
            }
            Control::Goodbye(Refusal { message, .. }) => tracing::info!(message, "the region says goodbye"),
            // The link itself takes placements and trust.
            Control::ReportAck { .. }
            | Control::Ping { .. }
            | Control::Trust(_)
            | Control::TrustChain(_)
            | Control::Placement { .. }
            | Control::Endpoints { .. } => {}
            Control::PlanStored { .. }
            | Control::PlanRefused { .. }
            | Control::BlobsWanted { .. }
            | Control::Report { .. }
            | Control::EdgeLinks { .. }
            | Control::EdgeRemoved { .. }
            | Control::EdgeTable(_)
            | Control::EdgeRenewed(_)
            | Control::TrustKept(_) => {
                tracing::warn!("a message that only travels up came down; ignored")
            }
        }
    }
}

/// A part of the story that the plan is a part of.
fn received(plan: &SignedPlan) -> Span {
    let span = tracing::debug_span!("receive");
    if !span.is_disabled()
        && let Some(header) = plan.claimed()
        && let Some(origin) = header.origin()
    {
        process::story::continue_from(&span, origin);
    }
    span
}

/// The way to the region.
struct Region {
    uplink: UplinkHandle,
    surroundings: Arc<dyn Surroundings>,
}

impl Upward for Region {
    async fn send(&self, message: Control) -> Result<(), String> {
        self.uplink.send(message).await.map_err(|error| error.to_string())
    }

    fn complete(&self, report: &mut Report) {
        report.spool = self.surroundings.spool();
        // In every report: a region of before hands them on merged, with the extensions of the newest one.
        report.ext.extend(self.surroundings.speaks().tell());
        if let Some(cluster) = report.cluster.as_mut() {
            self.surroundings.complete(cluster);
        }
    }
}
