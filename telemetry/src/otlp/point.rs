//! Data points to samples.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, HistogramDataPoint, NumberDataPoint, SummaryDataPoint, number_data_point,
};

use super::{LABELS_MAX, Output, joined, text_of};
use crate::labels::METRIC_NAME;
use crate::sample::STALE;
use crate::{Labels, Millis};

/// The labels of a point, without the metric's name.
struct Base(Vec<(String, String)>);

impl Base {
    /// The series of that name and one label more.
    fn labels(&self, metric: &str, extra: Option<(&str, &str)>) -> Labels {
        let pairs = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Labels::from_pairs(pairs.chain(extra).chain([(METRIC_NAME, metric)]))
    }
}

fn no_value(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

impl Output<'_> {
    /// The point's labels; a point with too many is rejected.
    fn base(&mut self, common: &[(String, String)], attributes: &[KeyValue]) -> Option<Base> {
        if attributes.len() + common.len() > LABELS_MAX {
            let count = attributes.len() + common.len();
            self.rejected
                .add(1, format!("a data point has {count} labels, at most {LABELS_MAX} are accepted"));
            return None;
        }
        let own = joined(attributes.iter().map(|attribute| (attribute.key.as_str(), text_of(attribute))));
        // The resource's identity wins over an attribute of the same name.
        Some(Base(own.into_iter().chain(common.iter().cloned()).collect()))
    }

    /// One sample; differences are added up first.
    fn sample(&mut self, labels: Labels, at: Millis, value: f64, delta: bool) {
        let value = if delta && !crate::sample::is_stale(value) {
            match self.converter.accumulate(&labels, value, at) {
                Some(addition) => {
                    let total = addition.after;
                    self.added.0.push(addition);
                    total
                }
                None => {
                    let limit = self.converter.totals_max;
                    let why =
                        format!("no room for more than {limit} delta series: export them as cumulative");
                    return self.rejected.add(1, why);
                }
            }
        } else {
            value
        };
        self.push(labels, at, value);
    }

    pub(super) fn numbers(
        &mut self,
        common: &[(String, String)],
        name: &str,
        points: Vec<NumberDataPoint>,
        delta: bool,
    ) -> Option<Millis> {
        let mut newest = None;
        for point in points {
            let value = match point.value {
                _ if no_value(point.flags) => STALE,
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                None => {
                    self.rejected.add(1, format!("a data point of metric \"{name}\" has no value"));
                    continue;
                }
            };
            let at = self.time(point.time_unix_nano);
            let Some(base) = self.base(common, &point.attributes) else { continue };
            self.sample(base.labels(name, None), at, value, delta);
            newest = newest.max(Some(at));
        }
        newest
    }

    pub(super) fn histograms(
        &mut self,
        common: &[(String, String)],
        name: &str,
        points: Vec<HistogramDataPoint>,
        delta: bool,
    ) -> Option<Millis> {
        let (bucket, sum, count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
        let mut newest = None;
        for point in points {
            let stale = no_value(point.flags);
            let (bounds, counts) = (&point.explicit_bounds, &point.bucket_counts);
            let matching = counts.is_empty() && bounds.is_empty() || counts.len() == bounds.len() + 1;
            if !matching || !bounds.windows(2).all(|two| two[0] < two[1]) {
                let why = format!(
                    "a data point of histogram \"{name}\" has {} bounds and {} counts, rising bounds and one count more are accepted",
                    bounds.len(),
                    counts.len()
                );
                self.rejected.add(1, why);
                continue;
            }
            let at = self.time(point.time_unix_nano);
            let Some(base) = self.base(common, &point.attributes) else { continue };
            let value = |value: f64| if stale { STALE } else { value };
            let mut below = 0u64;
            for (bound, observed) in bounds.iter().zip(counts) {
                below = below.saturating_add(*observed);
                let labels = base.labels(&bucket, Some(("le", &bound_text(*bound))));
                self.sample(labels, at, value(below as f64), delta);
            }
            self.sample(base.labels(&bucket, Some(("le", "+Inf"))), at, value(point.count as f64), delta);
            self.sample(base.labels(&count, None), at, value(point.count as f64), delta);
            if let Some(total) = point.sum {
                self.sample(base.labels(&sum, None), at, value(total), delta);
            }
            newest = newest.max(Some(at));
        }
        newest
    }

    pub(super) fn summaries(
        &mut self,
        common: &[(String, String)],
        name: &str,
        points: Vec<SummaryDataPoint>,
    ) -> Option<Millis> {
        let (sum, count) = (format!("{name}_sum"), format!("{name}_count"));
        let mut newest = None;
        for point in points {
            let stale = no_value(point.flags);
            let value = |value: f64| if stale { STALE } else { value };
            let at = self.time(point.time_unix_nano);
            let Some(base) = self.base(common, &point.attributes) else { continue };
            for quantile in &point.quantile_values {
                let labels = base.labels(name, Some(("quantile", &bound_text(quantile.quantile))));
                self.push(labels, at, value(quantile.value));
            }
            self.push(base.labels(&count, None), at, value(point.count as f64));
            self.push(base.labels(&sum, None), at, value(point.sum));
            newest = newest.max(Some(at));
        }
        newest
    }
}

/// A bound without exponent, as Prometheus' OTLP receiver writes it.
fn bound_text(bound: f64) -> String {
    if bound.is_finite() { format!("{bound}") } else { crate::number::format(bound) }
}
