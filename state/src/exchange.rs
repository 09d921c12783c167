//! What an agent says upwards about its plan: answers to offers, and reports.
//!
//! Edge agents and regional agents have the same conversation with the tier above; only what carries it, and what
//! a report tells beside the engine's own knowledge, are theirs ([`Upward`]).

use std::future::Future;

use protocol::id::Generation;
use protocol::message::{BlobPart, Control};
use protocol::plan::SignedPlan;
use protocol::report::Report;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::handle::{EngineHandle, Offered};

/// The way up.
pub trait Upward: Send + Sync + 'static {
    /// Sends a message; the reason if it cannot be sent, as when the link is down.
    fn send(&self, message: Control) -> impl Future<Output = Result<(), String>> + Send;

    /// Adds to a report what the engine does not know.
    fn complete(&self, _report: &mut Report) {}
}

/// Hands offers to an engine and its answers up.
pub struct Exchange<U> {
    /// Carries out plans.
    pub engine: EngineHandle,
    /// Takes the answers.
    pub upward: U,
}

impl<U: Upward> Exchange<U> {
    /// A plan is offered, with some or all of its blobs.
    pub async fn offer(&self, plan: SignedPlan, blobs: Vec<BlobPart>) {
        let generation = plan.claimed().map(|header| header.generation);
        let offered = self.engine.offer(plan, blobs).await;
        self.answer(offered, generation).await;
    }

    /// Blobs that were asked for come together.
    pub async fn blobs(&self, blobs: Vec<BlobPart>) {
        let offered = self.engine.blobs(blobs).await;
        self.answer(offered, None).await;
    }

    /// A blob comes alone. Others are on their way; what is missing in the end is asked for when the offer is repeated,
    /// and so is one that came before its plan.
    pub async fn blob(&self, blob: BlobPart) {
        if !self.engine.waits_for_blobs().await {
            return;
        }
        let offered = self.engine.blobs(vec![blob]).await;
        if !matches!(offered, Offered::Missing(_)) {
            self.answer(offered, None).await;
        }
    }

    async fn answer(&self, offered: Offered, generation: Option<Generation>) {
        let message = match offered {
            Offered::Stored(head) => Control::PlanStored { edge: None, head },
            Offered::Missing(digests) => Control::BlobsWanted { edge: None, digests },
            Offered::Refused(refusal) => {
                tracing::warn!(message = refusal.message, "a plan is refused");
                Control::PlanRefused { edge: None, generation, refusal }
            }
        };
        if let Err(error) = self.upward.send(message).await {
            tracing::debug!(error, "an answer is not sent; the next connection begins with what is stored");
        }
    }
}

/// Sends reports: a full one after each connection, then what changed.
pub struct Reporter<U> {
    engine: EngineHandle,
    upward: U,
    sequence: u64,
}

impl<U: Upward> Reporter<U> {
    /// Nothing is reported yet.
    pub fn new(engine: EngineHandle, upward: U) -> Self {
        Self { engine, upward, sequence: 0 }
    }

    /// Runs until `full_wanted`, which is told of each connection, is closed.
    pub async fn run(mut self, mut full_wanted: mpsc::UnboundedReceiver<()>) {
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
            let span = tracing::debug_span!("report", full = report.full, units = report.units.len());
            // While the link is down, changes are not lost: the next connection begins with a full report.
            linked = self.send(report).instrument(span).await;
        }
    }

    async fn send(&mut self, mut report: Report) -> bool {
        self.sequence += 1;
        report.sequence = self.sequence;
        self.upward.complete(&mut report);
        let message = Control::Report { edge: None, report: Box::new(report) };
        match self.upward.send(message).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(error, "a report is not sent; the next connection begins with a full one");
                false
            }
        }
    }
}
