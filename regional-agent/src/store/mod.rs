//! Telemetry of the region's edges: kept durably, found by label, answered in PromQL.
//!
//! [`Store`] is the seam: the embedded store here is for small regions and try-outs, a big one keeps its metrics
//! in VictoriaMetrics or another remote-write store (invariant 11).
//!
//! ```text
//! item --> decode --> one SQLite transaction: batch + stream position --> fsync --> acknowledge
//!                                                                           |
//!                                                            index in memory: labels, compressed chunks
//! ```
//!
//! - Exactly once: an item and its number are stored in one transaction; a number that was stored is a duplicate.
//!   Which numbers a gap stands for is the spool's rule: `s - max(n, 1) + 1` to `s`.
//! - Complete or said so: per edge and class a watermark ("complete up to T"), gaps kept as long as samples are.
//! - Late and out-of-order samples are taken as they come, as far back as is kept.
//! - The batches on disk are the store; the index is made of them again at each start.
//! - Labels: `region`, `edge`, `cluster` are set on every series; a label of that name that a sample brings is
//!   kept as `exported_region` and so on, as Prometheus does.
//!
//! # Limits
//! Age per class, bytes on disk, and series in memory ([`Limits`]). Samples of series over the limit stay on disk
//! and are counted in every answer. Traces, logs and events are kept, not queried.

mod answer;
mod catalog;
mod disk;
mod embedded;
mod index;
mod series;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::id::AgentId;
use protocol::message::StreamHead;
use protocol::telemetry::{TelemetryAck, TelemetryClass, TelemetryItem};

pub use embedded::{Embedded, Settings, StoreSize};

/// An item, from whom it came and what that is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The agent whose item it is.
    pub agent: AgentId,
    /// The edge's name: the label `edge`; empty for the region's own telemetry.
    pub edge: String,
    /// The cluster's name: the label `cluster`.
    pub cluster: String,
    /// The item.
    pub item: TelemetryItem,
}

/// What a store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long cost is kept, in milliseconds.
    pub cost_age_ms: u64,
    /// How long everything else is kept, in milliseconds.
    pub age_ms: u64,
    /// Bytes of batches on disk; over it the oldest batches go.
    pub bytes_max: u64,
    /// Series in memory.
    pub series_max: usize,
}

/// A month of cost and a day of the rest, 512 MiB, 200,000 series.
impl Default for Limits {
    fn default() -> Self {
        let day = 86_400_000;
        Self { cost_age_ms: 31 * day, age_ms: day, bytes_max: 512 << 20, series_max: 200_000 }
    }
}

impl Limits {
    /// How long a class is kept, in milliseconds.
    pub fn age_of(&self, class: TelemetryClass) -> u64 {
        if class == TelemetryClass::Cost { self.cost_age_ms } else { self.age_ms }
    }
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file.
    #[error("failed to open telemetry store \"{}\": another process has it open", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "telemetry store \"{}\" has version {version}, this program knows {known}: it was written by a newer program; \
         start that one again, or move the file away and lose what it holds",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest version that is understood.
        known: i64,
    },
    /// The file cannot be used.
    #[error("failed to open telemetry store \"{}\"", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The damaged file cannot be moved aside.
    #[error("failed to move damaged telemetry store \"{}\" aside", path.display())]
    Quarantine {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No thread.
    #[error("failed to start the telemetry store's writer thread")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// The items are not stored; they are to be sent again.
    #[error("failed to store telemetry: {0}")]
    Write(String),
    /// The question cannot be read.
    #[error("failed to read a query: {0}")]
    Question(String),
    /// The store is closed.
    #[error("telemetry store is closed")]
    Closed,
}

/// Whether the links of edges are up, by the edge's name, as far as that is known.
pub type Links = BTreeMap<String, bool>;

/// Keeps telemetry and answers questions about it.
pub trait Store: Send + Sync + 'static {
    /// How many who asked have no answer yet, now and from now on.
    fn waiting(&self) -> Arc<AtomicUsize>;

    /// Stores items; each answered acknowledgement is durable. Items of one stream are given in order.
    ///
    /// # Errors
    /// [`StoreError::Write`] or [`StoreError::Closed`]; nothing is acknowledged then.
    fn ingest(
        &self,
        arrivals: Vec<Arrival>,
    ) -> BoxFuture<'_, Result<Vec<(AgentId, TelemetryAck)>, StoreError>>;

    /// Takes note of where an agent's streams stand: what it no longer has it will not send.
    fn announce(&self, agent: AgentId, heads: Vec<StreamHead>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Up to where each stream of an agent is stored.
    fn acknowledged(&self, agent: AgentId) -> BoxFuture<'_, Vec<TelemetryAck>>;

    /// An agent that is no more: its samples stay, it is not missed any longer.
    fn forget(&self, agent: AgentId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Answers a question of the hub; both in the `telemetry` crate's encoding.
    ///
    /// # Errors
    /// [`StoreError::Question`]; what is wrong with the query itself is part of the answer.
    fn answer(&self, request: Bytes, links: Links) -> BoxFuture<'_, Result<Bytes, StoreError>>;
}
