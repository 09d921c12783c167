//! Quantiles from classic buckets.

use std::collections::BTreeMap;

use crate::labels::METRIC_NAME;
use crate::promql::{ABSENT, Error, StepSeries, is_present};
use crate::{Labels, number};

const BUCKET: &str = "le";
/// Differences between buckets below this share of the larger are noise, not observations.
const TOLERANCE: f64 = 1e-12;

/// Observations up to a bound.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// Buckets of one histogram at all times: bound and series.
type Histogram = Vec<(f64, Vec<f64>)>;

fn histograms(series: Vec<StepSeries>) -> BTreeMap<Labels, Histogram> {
    let mut histograms: BTreeMap<Labels, Histogram> = BTreeMap::new();
    for series in series {
        if let Some(upper) = number::parse(series.labels.get(BUCKET)) {
            let labels = series.labels.filter(|name| name != BUCKET && name != METRIC_NAME);
            histograms.entry(labels).or_default().push((upper, series.values));
        }
    }
    histograms
}

fn each_step(
    series: Vec<StepSeries>,
    value: impl Fn(usize, Vec<Bucket>) -> f64,
) -> Result<Vec<StepSeries>, Error> {
    let evaluated = histograms(series).into_iter().map(|(labels, buckets)| {
        let steps = buckets.first().map_or(0, |(_, values)| values.len());
        let values = (0..steps)
            .map(|step| {
                let present: Vec<Bucket> = buckets
                    .iter()
                    .map(|(upper, values)| Bucket { upper: *upper, count: values[step] })
                    .filter(|bucket| is_present(bucket.count))
                    .collect();
                if present.is_empty() { ABSENT } else { value(step, present) }
            })
            .collect();
        StepSeries { labels, values }
    });
    Ok(evaluated.collect())
}

/// The quantile of each histogram.
pub(super) fn quantile(quantile: &[f64], series: Vec<StepSeries>) -> Result<Vec<StepSeries>, Error> {
    each_step(series, |step, buckets| bucket_quantile(quantile[step], buckets))
}

/// The share of observations between two values.
pub(super) fn fraction(
    lower: &[f64],
    upper: &[f64],
    series: Vec<StepSeries>,
) -> Result<Vec<StepSeries>, Error> {
    each_step(series, |step, buckets| bucket_fraction(lower[step], upper[step], buckets))
}

/// Sorted, one per bound; `None` when the last bound is not infinite.
fn merged(mut buckets: Vec<Bucket>) -> Option<Vec<Bucket>> {
    buckets.sort_by(|left, right| left.upper.total_cmp(&right.upper));
    if buckets.last()?.upper != f64::INFINITY {
        return None;
    }
    let mut merged: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match merged.last_mut() {
            Some(last) if last.upper == bucket.upper => last.count += bucket.count,
            _ => merged.push(bucket),
        }
    }
    Some(merged)
}

/// The same with counts that never fall.
fn tidy(buckets: Vec<Bucket>) -> Option<Vec<Bucket>> {
    let mut tidy = merged(buckets)?;
    let mut before = tidy[0].count;
    for bucket in &mut tidy[1..] {
        let noise = (bucket.count - before).abs() <= TOLERANCE * before.abs().max(bucket.count.abs());
        if noise || bucket.count < before {
            bucket.count = before;
        }
        before = bucket.count;
    }
    Some(tidy)
}

fn bucket_quantile(quantile: f64, buckets: Vec<Bucket>) -> f64 {
    if quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    let Some(buckets) = tidy(buckets) else { return f64::NAN };
    let [.., below, last] = &buckets[..] else { return f64::NAN };
    let observations = last.count;
    if observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    let mut rank = quantile * observations;
    let found = buckets[..buckets.len() - 1].partition_point(|bucket| bucket.count < rank);
    if found == buckets.len() - 1 {
        return below.upper;
    }
    let Bucket { upper, mut count } = buckets[found];
    if found == 0 && upper <= 0.0 {
        return upper;
    }
    let mut lower = 0.0;
    if found > 0 {
        lower = buckets[found - 1].upper;
        count -= buckets[found - 1].count;
        rank -= buckets[found - 1].count;
    }
    lower + (upper - lower) * (rank / count)
}

/// Falling counts are taken as they are, as Prometheus does.
fn bucket_fraction(lower: f64, upper: f64, buckets: Vec<Bucket>) -> f64 {
    let Some(buckets) = merged(buckets) else { return f64::NAN };
    let total = buckets.last().map_or(0.0, |last| last.count);
    if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let lowest = if buckets[0].upper <= 0.0 { f64::NEG_INFINITY } else { 0.0 };
    let rank = |value: f64| {
        let mut below = Bucket { upper: lowest, count: 0.0 };
        for bucket in &buckets {
            if value <= below.upper {
                return below.count.min(total);
            }
            if value < bucket.upper {
                // Nothing can be said inside a bucket without an end; one without a beginning counts whole.
                let share = if below.upper.is_infinite() {
                    1.0
                } else {
                    (value - below.upper) / (bucket.upper - below.upper)
                };
                return (below.count + share * (bucket.count - below.count)).min(total);
            }
            below = *bucket;
        }
        total
    };
    (rank(upper) - rank(lower)) / total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(quantile: f64, buckets: &[(f64, f64)]) -> f64 {
        bucket_quantile(
            quantile,
            buckets.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect(),
        )
    }

    #[test]
    fn a_quantile_is_interpolated_inside_its_bucket() {
        let buckets = [(0.1, 10.0), (0.5, 30.0), (1.0, 40.0), (f64::INFINITY, 50.0)];
        assert_eq!(of(0.1, &buckets), 0.05);
        assert_eq!(of(0.5, &buckets), 0.1 + 0.4 * (15.0 / 20.0));
        assert_eq!(of(0.99, &buckets), 1.0, "the last bound stands for what is beyond it");
        assert_eq!(of(0.0, &buckets), 0.0);
        assert_eq!(of(1.1, &buckets), f64::INFINITY);
        assert_eq!(of(-0.1, &buckets), f64::NEG_INFINITY);
    }

    #[test]
    fn a_histogram_without_infinity_or_without_observations_has_no_quantile() {
        assert!(of(0.5, &[(1.0, 5.0), (2.0, 6.0)]).is_nan());
        assert!(of(0.5, &[(1.0, 0.0), (f64::INFINITY, 0.0)]).is_nan());
        assert!(of(0.5, &[(f64::INFINITY, 5.0)]).is_nan());
    }

    #[test]
    fn counts_that_fall_are_lifted() {
        assert_eq!(of(0.5, &[(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 10.0)]), 0.5);
    }
}
