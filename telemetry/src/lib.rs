//! Series, samples and what is asked of them. Pure: no sockets, no clock, no randomness.
//!
//! - [`labels`], [`sample`]: the model: a series is a set of labels and samples in time
//! - [`selector`]: which series a query means
//! - [`otlp`]: OTLP metrics to series, with Prometheus' names
//! - [`exposition`]: the text format of `/metrics`, written and read
//! - [`chunk`], [`wire`]: samples and batches as few bytes
//! - [`promql`]: parse, evaluate, split between regions and hub
//! - [`query`]: what the hub asks a region, and how complete the answer is
//! - [`prometheus`]: the JSON of Prometheus' HTTP API
//! - [`cost`]: price book, accrual at the edge, allocation in OpenCost's shape
//!
//! Times are milliseconds since the Unix epoch, signed ([`Millis`]), because PromQL reaches before it.
//!
//! # Limits
//! Histograms are classic ones (`_bucket`, `_sum`, `_count`). Exponential (native) histograms are refused by
//! OTLP partial success, with the count and the cure in the message; nothing is stored half.

pub mod chunk;
mod column;
pub mod cost;
pub mod exposition;
pub mod labels;
pub mod number;
pub mod otlp;
pub mod prometheus;
pub mod promql;
pub mod query;
pub mod sample;
pub mod selector;
pub mod wire;

pub use labels::Labels;
pub use sample::{Batch, Sample, Series};

/// Milliseconds since the Unix epoch, UTC; negative before it.
pub type Millis = i64;
