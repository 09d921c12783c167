//! Functions over the samples of a window.

use crate::promql::evaluate::seconds;
use crate::promql::function::RangeFunction;
use crate::promql::math::{Spread, Sum, quantile};
use crate::{Millis, Sample};

/// The samples after `begin` up to `end`, oldest first, none stale.
pub(super) struct Window<'a> {
    pub(super) samples: &'a [Sample],
    pub(super) begin: Millis,
    pub(super) end: Millis,
    /// The time of evaluation, from which predictions count.
    pub(super) now: Millis,
}

/// Numbers that some functions take besides.
pub(super) struct Arguments {
    pub(super) first: f64,
    pub(super) second: f64,
}

impl Window<'_> {
    /// The function's value; `None` when the window holds too little for it.
    pub(super) fn apply(&self, function: RangeFunction, arguments: &Arguments) -> Option<f64> {
        let values = || self.samples.iter().map(|sample| sample.value);
        let (first, last) = (self.samples.first()?, self.samples.last()?);
        match function {
            RangeFunction::Rate => self.extrapolated(true).map(|increase| increase / self.range_seconds()),
            RangeFunction::Increase => self.extrapolated(true),
            RangeFunction::Delta => self.extrapolated(false),
            RangeFunction::Irate => self.instantaneous(true),
            RangeFunction::Idelta => self.instantaneous(false),
            RangeFunction::Avg => Some(average(self.samples)),
            RangeFunction::Min => {
                values().reduce(|least, value| if value < least || least.is_nan() { value } else { least })
            }
            RangeFunction::Max => {
                values().reduce(|most, value| if value > most || most.is_nan() { value } else { most })
            }
            RangeFunction::Sum => Some(values().collect::<Sum>().total()),
            RangeFunction::Count => Some(self.samples.len() as f64),
            RangeFunction::Last => Some(last.value),
            RangeFunction::First => Some(first.value),
            RangeFunction::Present => Some(1.0),
            RangeFunction::Stddev => Some(self.variance().sqrt()),
            RangeFunction::Stdvar => Some(self.variance()),
            RangeFunction::Quantile => Some(quantile(arguments.first, &mut values().collect::<Vec<_>>())),
            RangeFunction::Changes => {
                Some(self.pairs(|old, new| new != old && !(new.is_nan() && old.is_nan())))
            }
            RangeFunction::Resets => Some(self.pairs(|old, new| new < old)),
            RangeFunction::Deriv => self.regression(first.at).map(|(slope, _)| slope),
            RangeFunction::PredictLinear => {
                self.regression(self.now).map(|(slope, intercept)| slope * arguments.first + intercept)
            }
            RangeFunction::Mad => {
                let mut numbers: Vec<f64> = values().collect();
                let median = quantile(0.5, &mut numbers);
                let mut distances: Vec<f64> = values().map(|value| (value - median).abs()).collect();
                Some(quantile(0.5, &mut distances))
            }
            RangeFunction::Smoothing => self.smoothed(arguments.first, arguments.second),
        }
    }

    fn range_seconds(&self) -> f64 {
        seconds(self.end - self.begin)
    }

    fn pairs(&self, counts: impl Fn(f64, f64) -> bool) -> f64 {
        self.samples.windows(2).filter(|two| counts(two[0].value, two[1].value)).count() as f64
    }

    fn variance(&self) -> f64 {
        let mut spread = Spread::default();
        self.samples.iter().for_each(|sample| spread.add(sample.value));
        spread.variance()
    }

    /// The increase over the whole window, as Prometheus estimates it: from first to last sample, resets of a
    /// counter added back, stretched towards the window's ends by at most half a sample distance when a
    /// sample further on would have been expected there, and never below a counter's zero.
    fn extrapolated(&self, counter: bool) -> Option<f64> {
        let [first, .., last] = self.samples else { return None };
        let mut increase = last.value - first.value;
        if counter {
            for two in self.samples.windows(2) {
                if two[1].value < two[0].value {
                    increase += two[0].value;
                }
            }
        }
        let sampled = seconds(last.at - first.at);
        let mut to_start = seconds(first.at - self.begin);
        let mut to_end = seconds(self.end - last.at);
        let distance = sampled / (self.samples.len() - 1) as f64;
        let threshold = distance * 1.1;
        if to_start >= threshold {
            to_start = distance / 2.0;
        }
        if counter {
            let mut to_zero = to_start;
            if increase > 0.0 && first.value >= 0.0 {
                to_zero = sampled * (first.value / increase);
            }
            to_start = to_start.min(to_zero);
        }
        if to_end >= threshold {
            to_end = distance / 2.0;
        }
        Some(increase * ((sampled + to_start + to_end) / sampled))
    }

    fn instantaneous(&self, rate: bool) -> Option<f64> {
        let [.., old, new] = self.samples else { return None };
        if new.at == old.at {
            return None;
        }
        if !rate {
            return Some(new.value - old.value);
        }
        let increase = if new.value < old.value { new.value } else { new.value - old.value };
        Some(increase / seconds(new.at - old.at))
    }

    /// Least squares: slope per second, and value at `origin`.
    fn regression(&self, origin: Millis) -> Option<(f64, f64)> {
        if self.samples.len() < 2 {
            return None;
        }
        let initial = self.samples[0].value;
        if self.samples.iter().all(|sample| sample.value == initial) {
            return Some(if initial.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, initial) });
        }
        let count = self.samples.len() as f64;
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            self.samples
                .iter()
                .map(|sample| of(seconds(sample.at - origin), sample.value))
                .collect::<Sum>()
                .total()
        };
        let (x, y) = (sum(&|x, _| x), sum(&|_, y| y));
        let (xy, xx) = (sum(&|x, y| x * y), sum(&|x, _| x * x));
        let covariance = xy - x * y / count;
        let variance = xx - x * x / count;
        let slope = covariance / variance;
        Some((slope, y / count - slope * x / count))
    }

    /// Double exponential smoothing (Holt's method).
    fn smoothed(&self, smoothing: f64, trend: f64) -> Option<f64> {
        if self.samples.len() < 2 {
            return None;
        }
        let in_range = |factor: f64| factor > 0.0 && factor < 1.0;
        if !in_range(smoothing) || !in_range(trend) {
            return Some(f64::NAN);
        }
        let mut level = self.samples[0].value;
        let mut slope = self.samples[1].value - self.samples[0].value;
        let mut before = 0.0;
        for (index, sample) in self.samples.iter().enumerate().skip(1) {
            let scaled = smoothing * sample.value;
            if index > 1 {
                slope = trend * (level - before) + (1.0 - trend) * slope;
            }
            before = level;
            level = scaled + (1.0 - smoothing) * (level + slope);
        }
        Some(level)
    }
}

/// The mean; where the sum overflows, step by step.
fn average(samples: &[Sample]) -> f64 {
    let total = samples.iter().map(|sample| sample.value).collect::<Sum>().total();
    if total.is_infinite() && samples.iter().all(|sample| sample.value.is_finite()) {
        let count = samples.len() as f64;
        return samples.iter().map(|sample| sample.value / count).collect::<Sum>().total();
    }
    total / samples.len() as f64
}
