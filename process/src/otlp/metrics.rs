//! The program's own metrics as OTLP requests.

use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use super::queue::{Health, Outcomes};
use super::settings::{Settings, Signal};
use crate::metrics::{Family, Kind, Registry};

/// Sends metrics every interval.
#[derive(Clone)]
pub(crate) struct Sender {
    client: reqwest::Client,
    url: String,
    headers: HeaderMap,
    gzip: bool,
    interval: Duration,
    timeout: Duration,
    resource: Resource,
    begun: u64,
    registry: Registry,
    outcomes: Outcomes,
}

impl Sender {
    /// `None` when metrics go nowhere.
    pub(crate) fn new(
        settings: &Settings,
        resource: &opentelemetry_sdk::Resource,
        registry: &Registry,
    ) -> Option<Self> {
        let url = settings.metrics.clone()?;
        let outcomes = Outcomes::default();
        let measured = outcomes.clone();
        registry.source(move |gathering| measured.measure(Signal::Metrics, gathering));
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/x-protobuf"));
        for (name, value) in &settings.metrics_headers {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => drop(headers.insert(name, value)),
                (Err(_), _) | (_, Err(_)) => {
                    tracing::warn!(name, "own telemetry: that header cannot be sent")
                }
            }
        }
        if settings.metrics_gzip {
            headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        }
        Some(Self {
            client: reqwest::Client::new(),
            url,
            headers,
            gzip: settings.metrics_gzip,
            interval: settings.metrics_interval,
            timeout: settings.metrics_timeout,
            resource: translated(resource),
            begun: now(),
            registry: registry.clone(),
            outcomes,
        })
    }

    /// Sends until `end`. The first interval is waited for: a program that only begins has nothing to tell yet.
    pub(crate) async fn run(self, end: CancellationToken) {
        let mut health = Health::new(Signal::Metrics, self.outcomes.clone());
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let sent = tokio::select! {
                () = end.cancelled() => return,
                sent = self.send(self.body()) => sent,
            };
            health.after(1, sent);
        }
    }

    /// What metrics are now, as the body of a request.
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = request(&self.resource, &self.registry.gather(), self.begun, now()).encode_to_vec();
        if !self.gzip {
            return body;
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to a Vec cannot fail.
        let _ = encoder.write_all(&body);
        encoder.finish().unwrap_or_default()
    }

    /// Sends a body.
    pub(crate) async fn send(&self, body: Vec<u8>) -> Result<(), String> {
        let post = self.client.post(&self.url).headers(self.headers.clone()).body(body).timeout(self.timeout);
        let answer = post.send().await.and_then(reqwest::Response::error_for_status);
        answer.map(drop).map_err(|error| error.to_string())
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn translated(resource: &opentelemetry_sdk::Resource) -> Resource {
    let attributes = resource.iter().map(|(key, value)| attribute(key.as_str(), &value.as_str()));
    Resource { attributes: attributes.collect(), ..Resource::default() }
}

/// The families as one request; counters are cumulative since `begun`. Times are nanoseconds since the epoch.
fn request(resource: &Resource, families: &[Family], begun: u64, at: u64) -> ExportMetricsServiceRequest {
    let metrics = families.iter().map(|family| metric(family, begun, at)).collect();
    let scope = InstrumentationScope { name: "skein".to_owned(), ..InstrumentationScope::default() };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
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
        let request = request(&Resource::default(), &[family(Kind::Counter), family(Kind::Gauge)], 5, 9);
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("not a sum: {metrics:?}") };
        assert!(sum.is_monotonic);
        assert_eq!((sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano), (5, 9));
        let Some(Data::Gauge(gauge)) = &metrics[1].data else { panic!("not a gauge: {metrics:?}") };
        assert_eq!(gauge.data_points[0].value, Some(Value::AsDouble(2.0)));
        assert_eq!(gauge.data_points[0].attributes, [attribute("state", "new")]);
    }
}
