//! OTLP intake for metrics: what arrives is durable in the spool before it is acknowledged.
//!
//! - [`grpc`] takes OTLP/gRPC
//! - [`http`] takes OTLP/HTTP with protobuf or JSON, plain or gzip
//!
//! Answers follow the OTLP specification 1.x: what cannot be taken for good is partial success or 400, what may
//! succeed later is `UNAVAILABLE` or 503 with a pause.

pub mod grpc;
pub mod http;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use identity::Clock;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use process::metrics::Counter;
use protocol::lane::TELEMETRY_PAYLOAD_BYTES_MAX;
use protocol::telemetry::TelemetryClass;
use spool::Spool;
use telemetry::otlp::Converter;
use telemetry::{Batch, wire};

/// Longest request, in bytes, after decompression.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// When a sender should try again after the spool could not take a batch.
pub const RETRY_SECONDS: u64 = 2;

/// Takes metrics into the spool.
#[derive(Clone)]
pub struct Intake {
    spool: Spool,
    clock: Arc<dyn Clock>,
    converter: Arc<Mutex<Converter>>,
    points: Counter,
    rejected: Counter,
}

/// What becomes of a batch that the spool cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Its sender keeps it and sends it again: nothing is lost.
    ComesAgain,
    /// Nobody else has it: it is counted as lost.
    GivesUp,
}

/// Points, oldest and newest time of a part, as the spool counts them.
pub(crate) fn extent(part: &wire::Part) -> (u32, u64, u64) {
    let unsigned = |at: i64| u64::try_from(at).unwrap_or_default();
    (u32::try_from(part.points).unwrap_or(u32::MAX), unsigned(part.first), unsigned(part.last))
}

/// The spool could not take a batch now.
#[derive(Debug, thiserror::Error)]
#[error("failed to keep the batch: {0}; send it again")]
pub struct NotKept(String);

impl Intake {
    /// An intake into this spool.
    pub fn new(spool: Spool, clock: Arc<dyn Clock>, metrics: &process::Registry) -> Self {
        Self {
            spool,
            clock,
            converter: Arc::default(),
            points: metrics.counter("skein_edge_intake_points_total", "Data points taken by OTLP."),
            rejected: metrics.counter("skein_edge_intake_rejected_points_total", "Data points rejected."),
        }
    }

    /// Takes a request; the answer may report that points were rejected for good.
    ///
    /// # Errors
    /// [`NotKept`] when nothing was taken and the sender should try again.
    pub async fn take(
        &self,
        request: ExportMetricsServiceRequest,
    ) -> Result<ExportMetricsServiceResponse, NotKept> {
        let now = i64::try_from(self.clock.now()).unwrap_or(i64::MAX);
        let (batch, rejected, added) = self.converter().decode_metrics(request, now);
        if let Err(error) = self.keep(&batch, Sender::ComesAgain).await {
            self.converter().take_back(added);
            return Err(error);
        }
        self.rejected.add(rejected.points);
        let partial_success = (rejected.points > 0).then(|| ExportMetricsPartialSuccess {
            rejected_data_points: i64::try_from(rejected.points).unwrap_or(i64::MAX),
            error_message: rejected.message(),
        });
        Ok(ExportMetricsServiceResponse { partial_success })
    }

    fn converter(&self) -> MutexGuard<'_, Converter> {
        self.converter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a batch durable.
    ///
    /// # Errors
    /// [`NotKept`] when the spool cannot take it.
    pub async fn keep(&self, batch: &Batch, sender: Sender) -> Result<(), NotKept> {
        for part in wire::encode_within(batch, TELEMETRY_PAYLOAD_BYTES_MAX) {
            let (points, first, last) = extent(&part);
            let kept = match sender {
                Sender::ComesAgain => {
                    self.spool.offer(TelemetryClass::Metrics, part.payload, points, first, last).await
                }
                Sender::GivesUp => {
                    self.spool.push(TelemetryClass::Metrics, part.payload, points, first, last).await
                }
            };
            kept.map_err(|error| NotKept(error.to_string()))?;
            self.points.add(u64::from(points));
        }
        Ok(())
    }
}
