//! The region's own plan: Cluster API objects and whatever else the hub wants on the regional cluster.
//!
//! Offers go to the state engine in the order they came, by a task of its own, because storing waits for the disk
//! and edges' plans must not wait with it.

use link::UplinkHandle;
use process::Process;
use protocol::codec::decode;
use protocol::id::Generation;
use protocol::message::{BlobPart, Control};
use protocol::plan::{PlanHeader, SignedPlan};
use protocol::report::Report;
use state::{EngineHandle, Offered};
use tokio::sync::mpsc;

/// Offers and blobs that wait for the disk; beyond, the uplink is not read.
const INPUTS_MAX: usize = 64;
/// Most bytes of a plan's header.
const HEADER_BYTES_MAX: usize = 64 * 1024;

enum Input {
    Offer(SignedPlan, Vec<BlobPart>),
    Blobs(Vec<BlobPart>),
    /// A blob that came alone; others may be on their way.
    Blob(BlobPart),
}

/// Hands the region's own plan to its engine, and the engine's reports to the hub.
#[derive(Clone)]
pub struct OwnPlan {
    inputs: mpsc::Sender<Input>,
    full: mpsc::UnboundedSender<()>,
}

impl OwnPlan {
    /// Starts both directions.
    pub fn start(engine: EngineHandle, uplink: UplinkHandle, process: &Process) -> Self {
        let (inputs, mut receiver) = mpsc::channel(INPUTS_MAX);
        let (full, full_wanted) = mpsc::unbounded_channel();
        let executor = Executor { engine: engine.clone(), uplink: uplink.clone() };
        let cancel = process.cancel.clone();
        process.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = cancel.cancelled() => return,
                    input = receiver.recv() => match input {
                        Some(input) => executor.take(input).await,
                        None => return,
                    },
                }
            }
        });
        let reporter = Reporter { engine, uplink, sequence: 0 };
        let cancel = process.cancel.clone();
        process.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = reporter.run(full_wanted) => {}
            }
        });
        Self { inputs, full }
    }

    /// The hub offers a plan.
    pub async fn offer(&self, plan: SignedPlan, blobs: Vec<BlobPart>) {
        self.give(Input::Offer(plan, blobs)).await;
    }

    /// The hub answers with blobs.
    pub async fn blobs(&self, blobs: Vec<BlobPart>) {
        self.give(Input::Blobs(blobs)).await;
    }

    /// The hub sends a blob on a stream of its own.
    pub async fn blob(&self, blob: BlobPart) {
        self.give(Input::Blob(blob)).await;
    }

    /// The link to the hub is up: everything is reported.
    pub fn hub_up(&self) {
        // The reporter is gone when the process ends.
        let _ = self.full.send(());
    }

    async fn give(&self, input: Input) {
        // The executor is gone when the process ends.
        let _ = self.inputs.send(input).await;
    }
}

struct Executor {
    engine: EngineHandle,
    uplink: UplinkHandle,
}

impl Executor {
    async fn take(&self, input: Input) {
        let (offered, generation, alone) = match input {
            Input::Offer(plan, blobs) => {
                // As it claims to be; the engine verifies it, this is only for telling what was refused.
                let header = decode::<PlanHeader>(&plan.header, HEADER_BYTES_MAX).ok();
                (self.engine.offer(plan, blobs).await, header.map(|header| header.generation), false)
            }
            Input::Blobs(blobs) => (self.engine.blobs(blobs).await, None, false),
            Input::Blob(blob) => (self.engine.blobs(vec![blob]).await, None, true),
        };
        if let Some(answer) = answer(offered, generation, alone)
            && let Err(error) = self.uplink.send(answer).await
        {
            tracing::debug!(%error, "the answer to a plan is not sent; the next connection begins with what is stored");
        }
    }
}

fn answer(offered: Offered, generation: Option<Generation>, alone: bool) -> Option<Control> {
    match offered {
        Offered::Stored(head) => Some(Control::PlanStored { edge: None, head }),
        Offered::Missing(_) if alone => None,
        Offered::Missing(digests) => Some(Control::BlobsWanted { edge: None, digests }),
        Offered::Refused(refusal) => {
            tracing::warn!(message = refusal.message, "the region's own plan is refused");
            Some(Control::PlanRefused { edge: None, generation, refusal })
        }
    }
}

struct Reporter {
    engine: EngineHandle,
    uplink: UplinkHandle,
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
