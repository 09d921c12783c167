//! A program's own metrics by OTLP over HTTP, to whatever collector it was given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use crate::Process;
use crate::metrics::{Family, Kind};

/// How often metrics are sent.
const PERIOD: Duration = Duration::from_secs(15);

/// Sends the program's metrics until it ends. A collector that is away costs samples, never the program.
pub(crate) fn start(name: &'static str, endpoint: &str, process: &Process) {
    let url = format!("{}/v1/metrics", endpoint.trim_end_matches('/'));
    let (registry, cancel, begun) = (process.metrics.clone(), process.cancel.clone(), now());
    let client = reqwest::Client::new();
    process.tasks.spawn(async move {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let body = request(name, &registry.gather(), begun, now()).encode_to_vec();
            let post = client.post(&url).header("content-type", "application/x-protobuf").body(body);
            match post.timeout(PERIOD).send().await.and_then(reqwest::Response::error_for_status) {
                Ok(_) => tracing::trace!(url, "own metrics sent"),
                Err(error) => tracing::warn!(url, %error, "own metrics are not sent"),
            }
        }
    });
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The families as one request; counters are cumulative since `begun`. Times are nanoseconds since the epoch.
fn request(name: &str, families: &[Family], begun: u64, at: u64) -> ExportMetricsServiceRequest {
    let metrics = families.iter().map(|family| metric(family, begun, at)).collect();
    let scope = InstrumentationScope { name: "skein".to_owned(), ..InstrumentationScope::default() };
    let attributes = vec![
        attribute("service.name", name),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
        attribute("service.instance.id", &std::process::id().to_string()),
    ];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    }
}

fn metric(family: &Family, begun: u64, at: u64) -> Metric {
    let start = if family.kind == Kind::Counter { begun } else { 0 };
    let points = family.samples.iter().map(|(labels, value)| NumberDataPoint {
        attributes: labels.iter().map(|(name, value)| attribute(name, value)).collect(),
        start_time_unix_nano: start,
        time_unix_nano: at,
        value: Some(Value::AsDouble(*value)),
        ..NumberDataPoint::default()
    });
    let data_points = points.collect();
    let data = match family.kind {
        Kind::Gauge => Data::Gauge(Gauge { data_points }),
        Kind::Counter => Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        }),
    };
    Metric {
        name: family.name.clone(),
        description: family.help.clone(),
        data: Some(data),
        ..Metric::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_cumulative_sums_and_gauges_are_gauges() {
        let family = |kind| Family {
            name: "skein_things".to_owned(),
            help: "Things.".to_owned(),
            kind,
            samples: vec![(vec![("state".to_owned(), "new".to_owned())], 2.0)],
        };
        let request = request("hub", &[family(Kind::Counter), family(Kind::Gauge)], 5, 9);
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("not a sum: {metrics:?}") };
        assert!(sum.is_monotonic);
        assert_eq!((sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano), (5, 9));
        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("not a gauge: {metrics:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(2.0)));
        assert_eq!(gauge.data_points[0].attributes, [attribute("state", "new")]);
    }
}
