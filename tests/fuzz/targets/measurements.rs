//! Measurements as they come in by OTLP, travel in batches, are kept and are asked for.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use telemetry::otlp::Converter;
use telemetry::promql::Grid;
use telemetry::query::{QueryAnswer, QueryRequest};
use telemetry::wire::{self, Limits};
use telemetry::{Batch, chunk, cost, exposition, promql as language};

const NOW: i64 = 1_800_000_000_000;
const LIMITS: Limits =
    Limits { bytes_max: 1 << 20, series_max: 10_000, samples_max: 100_000, labels_max: 64 };

/// What was read writes the same again: samples are compared as bytes, for a NaN equals nothing.
fn travels(batch: &Batch) {
    let bytes = wire::encode(batch);
    let again = wire::decode(&bytes, &Limits::default()).expect("what was written can be read");
    assert_eq!(wire::encode(&again), bytes);
    let parts = wire::encode_within(batch, 4096);
    let points: usize = batch.series.iter().map(|series| series.samples.len()).sum();
    assert_eq!(
        parts.iter().map(|part| part.points).sum::<usize>(),
        points,
        "no sample is lost between parts"
    );
}

/// A batch on its way.
pub(super) fn batch(bytes: &[u8]) {
    if let Ok(batch) = wire::decode(bytes, &LIMITS) {
        assert!(batch.series.len() <= LIMITS.series_max);
        assert!(batch.series.iter().map(|series| series.samples.len()).sum::<usize>() <= LIMITS.samples_max);
        travels(&batch);
    }
}

/// Samples of one series as they are kept.
pub(super) fn chunk(bytes: &[u8]) {
    if let Ok(samples) = chunk::decode(bytes) {
        // A sample takes a bit at least for its time and one for its value.
        assert!(samples.len() <= bytes.len() * 8, "{} samples of {} bytes", samples.len(), bytes.len());
    }
}

fn taken(request: ExportMetricsServiceRequest) {
    let mut converter = Converter::new(100);
    let (batch, rejected, added) = converter.decode_metrics(request, NOW);
    let _ = rejected.message();
    converter.take_back(added);
    travels(&batch);
}

/// A request of OTLP as protobuf.
pub(crate) fn otlp_protobuf(bytes: &[u8]) {
    if let Ok(request) = ExportMetricsServiceRequest::decode(bytes) {
        taken(request);
    }
}

/// A request of OTLP as JSON.
pub(super) fn otlp_json(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<ExportMetricsServiceRequest>(bytes) {
        taken(request);
    }
}

/// What a scraped target says.
pub(super) fn exposition(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match exposition::parse(text, NOW) {
        Ok(batch) => travels(&batch),
        Err(error) => {
            assert!(error.to_string().len() <= 1024, "{} bytes of an error", error.to_string().len())
        }
    }
}

/// A query in PromQL, a selector, a time, a duration.
pub(super) fn promql(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(language::parse(text));
    drop(language::parse_selector(text));
    drop(telemetry::prometheus::parse_time("time", text));
    drop(telemetry::prometheus::parse_duration("step", text));
    drop(cost::window::parse(text, NOW));
    let _ = telemetry::number::parse(text);
}

/// What a hub asks of a region, and what a region answers.
pub(super) fn query(bytes: &[u8]) {
    if let Ok(request) = QueryRequest::decode(bytes) {
        drop(QueryRequest::decode(&request.encode()).expect("what was written can be read"));
    }
    let grid = Grid { start: 0, end: 600_000, step: 60_000 };
    if let Ok(answer) = QueryAnswer::decode(bytes, grid) {
        drop(QueryAnswer::decode(&answer.encode(grid), grid).expect("what was written can be read"));
    }
}

/// What an edge has charged, as it is kept.
pub(super) fn ledger(bytes: &[u8]) {
    if let Ok(ledger) = cost::Ledger::decode(bytes) {
        assert!(cost::Ledger::decode(&ledger.encode()).is_ok());
    }
}
