//! Plans down, reports up.
//!
//! Plans and blobs are handed to the engine in the order they came; its answer goes up at once. After each
//! connection a full report is sent, then what changed.

use std::sync::Arc;

use link::{UplinkEvent, UplinkHandle};
use process::Process;
use protocol::codec::decode;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::message::{Control, PlanOffer, Request};
use protocol::plan::{PlanHeader, SignedPlan};
use protocol::report::{ClusterReport, Report, SpoolReport};
use protocol::telemetry::TelemetryAck;
use state::{EngineHandle, Offered};
use tokio::sync::mpsc;

/// Most bytes of a plan's header.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// What a report tells beside the engine's own knowledge.
pub trait Surroundings: Send + Sync + 'static {
    /// Telemetry that waits.
    fn spool(&self) -> SpoolReport;
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
        let reporter = Reporter {
            engine: self.engine.clone(),
            uplink: self.uplink.clone(),
            surroundings: Arc::clone(&self.surroundings),
            sequence: 0,
        };
        let cancel = process.cancel.clone();
        process.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = reporter.run(full_wanted) => {}
            }
        });
        // Ends with the uplink, which says goodbye first.
        process.tasks.spawn(self.receive(events, full));
    }

    async fn receive(self, mut events: mpsc::Receiver<UplinkEvent>, full: mpsc::UnboundedSender<()>) {
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
                UplinkEvent::Blob(part, _) => {
                    let offered = self.engine.blobs(vec![part]).await;
                    // Others are on their way; what is missing in the end is asked for when the last one came.
                    if !matches!(offered, Offered::Missing(_)) {
                        self.answer(offered, None).await;
                    }
                }
                UplinkEvent::Request(request, responder) => {
                    let what = match request {
                        Request::Join(_) => "join",
                        Request::Renew(_) => "renew",
                        Request::Query(_) => "query",
                        Request::ClusterToken { .. } => "clusterToken",
                    };
                    responder.refuse(RefusalReason::Forbidden, format!("an edge does not answer \"{what}\""));
                }
            }
        }
    }

    async fn control(&self, control: Control) {
        match control {
            Control::Plan(PlanOffer { plan, blobs, .. }) => {
                let generation = header(&plan).map(|header| header.generation);
                let offered = self.engine.offer(plan, blobs).await;
                self.answer(offered, generation).await;
            }
            Control::Blobs { blobs, .. } => {
                let offered = self.engine.blobs(blobs).await;
                self.answer(offered, None).await;
            }
            Control::TelemetryAcks(acks) => {
                let _ = self.acknowledged.send(acks);
            }
            Control::Ping { nonce, reply: false } => self.send(Control::Ping { nonce, reply: true }).await,
            Control::Goodbye(Refusal { message, .. }) => tracing::info!(message, "the region says goodbye"),
            Control::ReportAck { .. } | Control::Ping { .. } | Control::Trust(_) => {}
            Control::PlanStored { .. }
            | Control::PlanRefused { .. }
            | Control::BlobsWanted { .. }
            | Control::Report { .. }
            | Control::EdgeLinks { .. }
            | Control::EdgeRemoved { .. } => {
                tracing::warn!("a message that only travels up came down; ignored")
            }
        }
    }

    async fn answer(&self, offered: Offered, generation: Option<protocol::id::Generation>) {
        let message = match offered {
            Offered::Stored(head) => Control::PlanStored { edge: None, head },
            Offered::Missing(digests) => Control::BlobsWanted { edge: None, digests },
            Offered::Refused(refusal) => {
                tracing::warn!(message = refusal.message, "a plan is refused");
                Control::PlanRefused { edge: None, generation, refusal }
            }
        };
        self.send(message).await;
    }

    async fn send(&self, message: Control) {
        if let Err(error) = self.uplink.send(message).await {
            tracing::debug!(%error, "not sent; the next connection begins with everything");
        }
    }
}

/// The header as it claims to be; it is verified by the engine, this is only for telling what was refused.
fn header(plan: &SignedPlan) -> Option<PlanHeader> {
    decode::<PlanHeader>(&plan.header, HEADER_BYTES_MAX).ok()
}

/// Sends reports.
struct Reporter {
    engine: EngineHandle,
    uplink: UplinkHandle,
    surroundings: Arc<dyn Surroundings>,
    sequence: u64,
}

impl Reporter {
    async fn run(mut self, mut full_wanted: mpsc::UnboundedReceiver<()>) {
        let mut changes = self.engine.reports();
        // Before the first connection there is nobody to tell.
        let mut linked = false;
        loop {
            let report = tokio::select! {
                biased;
                wanted = full_wanted.recv() => {
                    if wanted.is_none() {
                        return;
                    }
                    self.engine.full_report().await
                }
                report = changes.next(), if linked => report,
            };
            // While the link is down, changes are not lost: the next connection begins with a full report.
            linked = self.send(report).await;
        }
    }

    async fn send(&mut self, mut report: Report) -> bool {
        self.sequence += 1;
        report.sequence = self.sequence;
        report.spool = self.surroundings.spool();
        if let Some(cluster) = report.cluster.as_mut() {
            self.surroundings.complete(cluster);
        }
        let message = Control::Report { edge: None, report: Box::new(report) };
        match self.uplink.send(message).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(%error, "a report is not sent; the next connection begins with a full one");
                false
            }
        }
    }
}
