//! Functions of numbers, with Go's treatment of NaN.

use crate::promql::function::MathFunction;

pub(super) fn apply(function: MathFunction, value: f64) -> f64 {
    match function {
        MathFunction::Abs => value.abs(),
        MathFunction::Ceil => value.ceil(),
        MathFunction::Floor => value.floor(),
        MathFunction::Exp => value.exp(),
        MathFunction::Ln => value.ln(),
        MathFunction::Log2 => value.log2(),
        MathFunction::Log10 => value.log10(),
        MathFunction::Sqrt => value.sqrt(),
        MathFunction::Sgn if value > 0.0 => 1.0,
        MathFunction::Sgn if value < 0.0 => -1.0,
        MathFunction::Sgn => value,
        MathFunction::Sin => value.sin(),
        MathFunction::Cos => value.cos(),
        MathFunction::Tan => value.tan(),
        MathFunction::Asin => value.asin(),
        MathFunction::Acos => value.acos(),
        MathFunction::Atan => value.atan(),
        MathFunction::Sinh => value.sinh(),
        MathFunction::Cosh => value.cosh(),
        MathFunction::Tanh => value.tanh(),
        MathFunction::Asinh => value.asinh(),
        MathFunction::Acosh => value.acosh(),
        MathFunction::Atanh => value.atanh(),
        MathFunction::Deg => value.to_degrees(),
        MathFunction::Rad => value.to_radians(),
    }
}

/// The smaller; NaN if either is.
pub(super) fn minimum(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.min(right) }
}

/// The larger; NaN if either is.
pub(super) fn maximum(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.max(right) }
}

/// Between two bounds; no value when the bounds are the wrong way round.
pub(super) fn clamp(value: f64, low: f64, high: f64) -> f64 {
    if low > high { super::ABSENT } else { maximum(low, minimum(high, value)) }
}

/// To the nearest multiple, halves upwards.
pub(super) fn round(value: f64, nearest: f64) -> f64 {
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

/// A sum that keeps what rounding would lose (Kahan, Neumaier).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        let next = self.sum + value;
        if next.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - next) + value;
        } else {
            self.lost += (value - next) + self.sum;
        }
        self.sum = next;
    }

    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        values.into_iter().fold(Self::default(), |mut sum, value| {
            sum.add(value);
            sum
        })
    }
}

/// Mean and sum of squared deviations, one value at a time (Welford).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    pub(super) fn variance(self) -> f64 {
        self.squares / self.count
    }
}

/// A quantile of values that need not be sorted, interpolated between neighbours; NaN of none.
pub(super) fn quantile(quantile: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    // NaN sorts before everything, as in Prometheus.
    values.sort_by(|left, right| {
        right
            .is_nan()
            .cmp(&left.is_nan())
            .then_with(|| left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal))
    });
    let rank = quantile * (values.len() - 1) as f64;
    let lower = rank.floor().max(0.0);
    let upper = (lower as usize + 1).min(values.len() - 1);
    let weight = rank - lower;
    values[lower as usize] * (1.0 - weight) + values[upper] * weight
}
