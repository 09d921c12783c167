//! The region's own plan: Cluster API objects and whatever else the hub wants on the regional cluster.
//!
//! Offers go to the state engine in the order they came, by a task of its own, because storing waits for the disk
//! and edges' plans must not wait with it.

use link::UplinkHandle;
use process::Process;
use protocol::message::{BlobPart, Control};
use protocol::plan::SignedPlan;
use state::{EngineHandle, Exchange, Reporter, Upward};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::edges::told_by;

/// Offers and blobs that wait for the disk; beyond, the uplink is not read.
const INPUTS_MAX: usize = 64;

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
        let (inputs, receiver) = mpsc::channel(INPUTS_MAX);
        let (full, full_wanted) = mpsc::unbounded_channel();
        let exchange = Exchange { engine: engine.clone(), upward: Hub(uplink.clone()) };
        process.tasks.spawn(process.cancel.clone().run_until_cancelled_owned(carry_out(exchange, receiver)));
        let reporter = Reporter::new(engine, Hub(uplink));
        process.tasks.spawn(process.cancel.clone().run_until_cancelled_owned(reporter.run(full_wanted)));
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

async fn carry_out(exchange: Exchange<Hub>, mut inputs: mpsc::Receiver<Input>) {
    while let Some(input) = inputs.recv().await {
        match input {
            Input::Offer(plan, blobs) => {
                let span = told_by(&plan, tracing::debug_span!("receive"));
                exchange.offer(plan, blobs).instrument(span).await;
            }
            Input::Blobs(blobs) => exchange.blobs(blobs).await,
            Input::Blob(blob) => exchange.blob(blob).await,
        }
    }
}

/// The way to the hub.
struct Hub(UplinkHandle);

impl Upward for Hub {
    async fn send(&self, message: Control) -> Result<(), String> {
        self.0.send(message).await.map_err(|error| error.to_string())
    }
}
