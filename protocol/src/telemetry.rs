//! The envelope of durable telemetry.
//!
//! Each telemetry class of an agent is one stream. Items in a stream are numbered from 1 without holes inside
//! an epoch; an epoch ends when the spool that counted was lost. The receiver stores an item and its number in
//! one transaction, then acknowledges, so each item takes effect exactly once (invariant 5). What had to be
//! dropped becomes an item of its own kind, a gap, and travels like the rest (invariant 6).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::UnixMillis;

/// What a stream carries, in order of priority: the lower, the sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TelemetryClass {
    /// Kubernetes events and audit.
    Events,
    /// Cost.
    Cost,
    /// Metrics.
    Metrics,
    /// Traces.
    Traces,
    /// Logs.
    Logs,
}

impl TelemetryClass {
    /// All classes, highest priority first.
    pub const ALL: [Self; 5] = [Self::Events, Self::Cost, Self::Metrics, Self::Traces, Self::Logs];

    /// Its word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Cost => "cost",
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }
}

/// Tells one life of a spool from the next; drawn at random when a spool is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamEpoch(pub u64);

/// One item of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryItem {
    /// The stream's class.
    pub class: TelemetryClass,
    /// The spool's epoch.
    pub epoch: StreamEpoch,
    /// The item's number in the epoch, from 1.
    pub sequence: u64,
    /// What it carries.
    pub content: TelemetryContent,
}

/// What an item carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TelemetryContent {
    /// An encoded batch (the `telemetry` crate's wire format for the class).
    Batch {
        /// The encoded batch.
        payload: Bytes,
        /// Points, log records or spans in it.
        points: u32,
        /// Time of the oldest point.
        first: UnixMillis,
        /// Time of the newest point.
        last: UnixMillis,
    },
    /// What was dropped instead of being sent.
    Gap(Gap),
}

/// A record of telemetry that was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Batches dropped.
    pub batches: u64,
    /// Points dropped.
    pub points: u64,
    /// Time of the oldest point dropped.
    pub first: UnixMillis,
    /// Time of the newest point dropped.
    pub last: UnixMillis,
    /// Why.
    pub reason: GapReason,
}

/// Why telemetry was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GapReason {
    /// The byte budget of the lane was used up.
    Bytes,
    /// The points were older than the lane keeps.
    Age,
    /// The disk was full.
    DiskFull,
    /// The spool was damaged and rebuilt; the counts are what its index still knew.
    Corrupt,
}

impl GapReason {
    /// Its word in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Age => "age",
            Self::DiskFull => "disk_full",
            Self::Corrupt => "corrupt",
        }
    }
}

/// Everything of a stream up to a number is durable at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryAck {
    /// The stream's class.
    pub class: TelemetryClass,
    /// The spool's epoch.
    pub epoch: StreamEpoch,
    /// The highest number below which nothing is missing.
    pub through: u64,
}
