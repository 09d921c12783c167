//! OTLP metrics to series with Prometheus' names.
//!
//! Names follow [`naming`]. Of the resource, `service.namespace/service.name` becomes `job`,
//! `service.instance.id` becomes `instance`, [`PROMOTED`] become labels of every series, and all of it
//! becomes one `target_info` series. Histograms become `_bucket`, `_sum` and `_count`, summaries `quantile`,
//! `_sum` and `_count`. Data points without a recorded value become stale markers.
//!
//! # Limits
//! - Delta sums and delta histograms are added up to cumulative ones ([`Converter`] keeps the totals; they
//!   begin at zero after a restart, which readers see as a counter reset). Delta sums that may fall are
//!   rejected: their starting value is not known.
//! - Exponential histograms are rejected.
//! - Scope names are not labels.
//!
//! What is rejected is counted and explained for OTLP's partial success.

pub mod naming;
mod point;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Metric, ResourceMetrics, metric::Data,
};

use crate::labels::METRIC_NAME;
use crate::{Batch, Labels, Millis, Sample, Series};
use naming::{Shape, label_name, metric_name};

/// Resource attributes that become labels of every series, besides `job` and `instance`.
pub const PROMOTED: [&str; 12] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.container.name",
    "k8s.deployment.name",
    "host.name",
];

/// Longest label value, in bytes; what is over is cut.
pub const VALUE_BYTES_MAX: usize = 2048;
/// Most labels of one series; a point with more is rejected.
pub const LABELS_MAX: usize = 96;

/// What was rejected, for OTLP's partial success.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rejected {
    /// Data points rejected.
    pub points: u64,
    /// Why, each reason once; empty when nothing was.
    pub reasons: Vec<String>,
}

impl Rejected {
    fn add(&mut self, points: usize, reason: String) {
        if points == 0 {
            return;
        }
        self.points += points as u64;
        if self.reasons.len() < 8 && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// The reasons as one text.
    pub fn message(&self) -> String {
        self.reasons.join("; ")
    }
}

/// Turns requests into batches and keeps the totals of delta series.
#[derive(Debug)]
pub struct Converter {
    totals: HashMap<Labels, Total>,
    totals_max: usize,
}

/// What a delta series has added up to.
#[derive(Debug, Clone, Copy)]
struct Total {
    value: f64,
    at: Millis,
}

/// What one request added to totals; see [`Converter::take_back`].
#[derive(Debug, Default)]
pub struct Added(Vec<Addition>);

#[derive(Debug)]
struct Addition {
    labels: Labels,
    difference: f64,
    before: f64,
    after: f64,
}

impl Default for Converter {
    fn default() -> Self {
        Self::new(50_000)
    }
}

impl Converter {
    /// A converter that keeps the totals of at most so many delta series.
    pub fn new(totals_max: usize) -> Self {
        Self { totals: HashMap::new(), totals_max }
    }

    /// Converts a request that arrived at `now`; points without a time get that one.
    ///
    /// Series come in order of their labels, samples in order of time, each time once.
    pub fn decode_metrics(
        &mut self,
        request: ExportMetricsServiceRequest,
        now: Millis,
    ) -> (Batch, Rejected, Added) {
        let mut output = Output {
            converter: self,
            now,
            samples: HashMap::new(),
            rejected: Rejected::default(),
            added: Added::default(),
        };
        for resource in request.resource_metrics {
            output.resource(resource);
        }
        let Output { samples, rejected, added, .. } = output;
        let mut series: Vec<Series> =
            samples.into_iter().map(|(labels, samples)| Series { labels, samples }).collect();
        series.sort_by(|left, right| left.labels.cmp(&right.labels));
        for series in &mut series {
            series.samples.sort_by_key(|sample| sample.at);
            // Of two points at one time the later in the request wins.
            series.samples.reverse();
            series.samples.dedup_by_key(|sample| sample.at);
            series.samples.reverse();
        }
        (Batch { series }, rejected, added)
    }

    /// Takes back what a request added to totals: its batch was not kept, and its sender will send it again.
    ///
    /// Requests that were converted meanwhile keep the totals they were given; those count the one that is taken
    /// back too, and are right again when it comes back.
    pub fn take_back(&mut self, added: Added) {
        for Addition { labels, difference, before, after } in added.0.into_iter().rev() {
            if let Some(total) = self.totals.get_mut(&labels) {
                // Exactly as it was unless others added meanwhile: sums of floating point numbers do not undo.
                total.value = if total.value == after { before } else { total.value - difference };
            }
        }
    }

    /// Forgets delta series that were silent since `before`.
    pub fn forget(&mut self, before: Millis) {
        self.totals.retain(|_, total| total.at >= before);
    }

    /// Adds a difference to its total; `None` when there is no room for another series.
    fn accumulate(&mut self, labels: &Labels, difference: f64, at: Millis) -> Option<Addition> {
        let labels = labels.clone();
        if let Some(total) = self.totals.get_mut(&labels) {
            let before = total.value;
            total.value += difference;
            total.at = total.at.max(at);
            return Some(Addition { labels, difference, before, after: total.value });
        }
        if self.totals.len() >= self.totals_max {
            return None;
        }
        self.totals.insert(labels.clone(), Total { value: difference, at });
        Some(Addition { labels, difference, before: 0.0, after: difference })
    }
}

/// A request on its way to a batch.
struct Output<'a> {
    converter: &'a mut Converter,
    now: Millis,
    samples: HashMap<Labels, Vec<Sample>>,
    rejected: Rejected,
    added: Added,
}

/// The labels that a resource gives to all its series.
struct ResourceLabels {
    common: Vec<(String, String)>,
    info: Vec<(String, String)>,
}

impl Output<'_> {
    fn resource(&mut self, resource: ResourceMetrics) {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let labels = resource_labels(&attributes);
        let mut newest: Option<Millis> = None;
        for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            let at = self.metric(&labels.common, metric);
            newest = newest.max(at);
        }
        if let (Some(at), false) = (newest, labels.info.is_empty()) {
            let info = [(METRIC_NAME, "target_info")];
            let pairs = labels.info.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(info);
            self.push(Labels::from_pairs(pairs), at, 1.0);
        }
    }

    fn push(&mut self, labels: Labels, at: Millis, value: f64) {
        self.samples.entry(labels).or_default().push(Sample { at, value });
    }

    /// Converts a metric; the time of its newest point.
    fn metric(&mut self, common: &[(String, String)], metric: Metric) -> Option<Millis> {
        let Metric { name, unit, data, .. } = metric;
        match data? {
            Data::Gauge(gauge) => {
                let name = metric_name(&name, &unit, Shape::Gauge);
                self.numbers(common, &name, gauge.data_points, false)
            }
            Data::Sum(sum) => {
                let delta = match sum.aggregation_temporality() {
                    AggregationTemporality::Cumulative => false,
                    AggregationTemporality::Delta if sum.is_monotonic => true,
                    AggregationTemporality::Delta => {
                        let why = format!(
                            "metric \"{name}\" is a delta sum that may fall, its value cannot be known from differences: export it as cumulative"
                        );
                        self.rejected.add(sum.data_points.len(), why);
                        return None;
                    }
                    AggregationTemporality::Unspecified => {
                        let why = format!(
                            "metric \"{name}\" has no aggregation temporality: cumulative and delta are accepted"
                        );
                        self.rejected.add(sum.data_points.len(), why);
                        return None;
                    }
                };
                let shape = if sum.is_monotonic { Shape::Counter } else { Shape::Other };
                let name = metric_name(&name, &unit, shape);
                self.numbers(common, &name, sum.data_points, delta)
            }
            Data::Histogram(histogram) => {
                let delta = match histogram.aggregation_temporality() {
                    AggregationTemporality::Cumulative => false,
                    AggregationTemporality::Delta => true,
                    AggregationTemporality::Unspecified => {
                        let why = format!(
                            "metric \"{name}\" has no aggregation temporality: cumulative and delta are accepted"
                        );
                        self.rejected.add(histogram.data_points.len(), why);
                        return None;
                    }
                };
                let name = metric_name(&name, &unit, Shape::Other);
                self.histograms(common, &name, histogram.data_points, delta)
            }
            Data::Summary(summary) => {
                let name = metric_name(&name, &unit, Shape::Other);
                self.summaries(common, &name, summary.data_points)
            }
            Data::ExponentialHistogram(histogram) => {
                let why = format!(
                    "metric \"{name}\" is an exponential histogram, which is not stored: export it with explicit buckets (OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=explicit_bucket_histogram)"
                );
                self.rejected.add(histogram.data_points.len(), why);
                None
            }
        }
    }

    /// The time of a point.
    fn time(&self, nanos: u64) -> Millis {
        if nanos == 0 { self.now } else { (nanos / 1_000_000) as Millis }
    }
}

fn resource_labels(attributes: &[KeyValue]) -> ResourceLabels {
    let value = |key: &str| {
        attributes
            .iter()
            .find(|attribute| attribute.key == key)
            .map(text_of)
            .filter(|value| !value.is_empty())
    };
    let mut identity = Vec::new();
    if let Some(name) = value("service.name") {
        let job = value("service.namespace").map_or_else(|| name.clone(), |space| format!("{space}/{name}"));
        identity.push(("job".to_owned(), job));
    }
    if let Some(instance) = value("service.instance.id") {
        identity.push(("instance".to_owned(), instance));
    }
    let mut common = identity.clone();
    common.extend(PROMOTED.iter().filter_map(|key| Some((label_name(key), value(key)?))));
    let others: Vec<(String, String)> = joined(
        attributes
            .iter()
            .filter(|attribute| {
                !matches!(&*attribute.key, "service.name" | "service.namespace" | "service.instance.id")
            })
            .map(|attribute| (attribute.key.as_str(), text_of(attribute))),
    );
    // Prometheus writes target_info only where it says more than job and instance, and where they are known.
    let info = if identity.is_empty() || others.is_empty() {
        Vec::new()
    } else {
        others.into_iter().chain(identity).collect()
    };
    ResourceLabels { common, info }
}

/// Attributes as labels; values whose keys become one name are joined by `;` in order of key.
fn joined<'a>(attributes: impl Iterator<Item = (&'a str, String)>) -> Vec<(String, String)> {
    let mut sorted: Vec<(&str, String)> = attributes.collect();
    sorted.sort();
    let mut labels: Vec<(String, String)> = Vec::with_capacity(sorted.len());
    for (key, value) in sorted {
        let name = label_name(key);
        match labels.iter_mut().find(|(found, _)| *found == name) {
            Some((_, held)) => {
                held.push(';');
                held.push_str(&value);
            }
            None => labels.push((name, value)),
        }
    }
    labels
}

fn text_of(attribute: &KeyValue) -> String {
    let mut text = attribute.value.as_ref().map(|value| any_text(value, 0)).unwrap_or_default();
    if text.len() > VALUE_BYTES_MAX {
        let end = (0..=VALUE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// A value as text; lists and maps as JSON.
fn any_text(value: &AnyValue, depth: usize) -> String {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(_) => json_of(value, depth).map(|json| json.to_string()).unwrap_or_default(),
        None => String::new(),
    }
}

fn json_of(value: &AnyValue, depth: usize) -> Option<serde_json::Value> {
    if depth > 8 {
        return None;
    }
    Some(match value.value.as_ref()? {
        any_value::Value::StringValue(text) => text.clone().into(),
        any_value::Value::BoolValue(value) => (*value).into(),
        any_value::Value::IntValue(value) => (*value).into(),
        any_value::Value::DoubleValue(value) => (*value).into(),
        any_value::Value::ArrayValue(array) => {
            array.values.iter().map(|value| json_of(value, depth + 1).unwrap_or_default()).collect()
        }
        any_value::Value::KvlistValue(list) => list
            .values
            .iter()
            .map(|pair| {
                let value =
                    pair.value.as_ref().and_then(|value| json_of(value, depth + 1)).unwrap_or_default();
                (pair.key.clone(), value)
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        any_value::Value::BytesValue(bytes) => {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
        }
        any_value::Value::StringValueStrindex(_) => return None,
    })
}
