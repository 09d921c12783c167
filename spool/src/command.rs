//! What the writer thread is asked, and what it shows.

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::message::StreamHead;
use protocol::report::SpoolReport;
use protocol::telemetry::{TelemetryAck, TelemetryClass, TelemetryItem};
use tokio::sync::oneshot;

use crate::PushError;

/// A batch to be added.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) class: TelemetryClass,
    pub(crate) payload: Bytes,
    pub(crate) points: u32,
    pub(crate) first: UnixMillis,
    pub(crate) last: UnixMillis,
    pub(crate) state: Option<(String, Bytes)>,
    /// Whether it is counted as lost when it is not taken in.
    pub(crate) counted: bool,
}

pub(crate) enum Command {
    Push { batch: Batch, reply: oneshot::Sender<Result<u64, PushError>> },
    Peek { class: TelemetryClass, after: u64, limit_bytes: usize, reply: oneshot::Sender<Vec<TelemetryItem>> },
    Acknowledge { ack: TelemetryAck, reply: oneshot::Sender<()> },
    State { name: String, reply: oneshot::Sender<Option<Bytes>> },
    Expire { reply: oneshot::Sender<()> },
    Close { reply: oneshot::Sender<()> },
}

/// What can be seen without asking the writer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Where each stream stands.
    pub streams: Vec<StreamHead>,
    /// What waits, and what was dropped.
    pub report: SpoolReport,
    /// Grows with every commit.
    pub revision: u64,
}
