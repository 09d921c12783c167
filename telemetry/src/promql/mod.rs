//! PromQL: parse, evaluate, split.
//!
//! The semantics are Prometheus 3's: a range is open on the left, an instant looks back five minutes, a stale
//! marker ends a series, `rate` extrapolates at most half a sample distance. Not supported, and refused by
//! name: native histograms, `fill`, `limitk`, `limit_ratio`, `info`, `or` between matchers.
//!
//! # Why values are dense
//! An evaluated series is one `f64` per step, with the stale marker where there is none. Operators then work
//! on plain columns, and an aggregation streams: memory follows its output, not its input.

mod aggregate;
pub mod ast;
mod binary;
mod calendar;
mod evaluate;
pub mod function;
mod histogram;
mod label;
mod math;
mod parse;
mod range;
mod sampling;
pub mod split;
#[cfg(test)]
mod split_tests;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use ast::Expr;
pub use evaluate::evaluate;
pub use parse::{parse, parse_selector};
pub use split::{Plan, split};

use crate::sample::{STALE, is_stale};
use crate::selector::Matcher;
use crate::{Labels, Millis, Sample, Series};

/// Most steps of a range query (Prometheus' limit).
pub const STEPS_MAX: i64 = 11_000;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// The query is wrong.
    #[error("{0}")]
    Parse(String),
    /// The query is right, its evaluation is not possible.
    #[error("{0}")]
    Execution(String),
    /// It took too long.
    #[error("{0}")]
    Timeout(String),
    /// The store failed.
    #[error("{0}")]
    Internal(String),
}

/// The times of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// First.
    pub start: Millis,
    /// Last, at most.
    pub end: Millis,
    /// Distance; 0 when there is one time only.
    pub step: Millis,
}

impl Grid {
    /// One time.
    pub fn instant(at: Millis) -> Self {
        Self { start: at, end: at, step: 0 }
    }

    /// Times from `start` to `end`.
    ///
    /// # Errors
    /// [`Error::Parse`] when there are none or more than [`STEPS_MAX`].
    pub fn range(start: Millis, end: Millis, step: Millis) -> Result<Self, Error> {
        if end < start {
            return Err(Error::Parse("end timestamp must not be before start time".to_owned()));
        }
        if step <= 0 {
            let why =
                "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(Error::Parse(why.to_owned()));
        }
        if end.saturating_sub(start) / step > STEPS_MAX {
            return Err(Error::Parse(
                "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
                    .to_owned(),
            ));
        }
        Ok(Self { start, end, step })
    }

    /// How many times.
    pub fn len(&self) -> usize {
        if self.step <= 0 || self.end <= self.start {
            return 1;
        }
        usize::try_from((self.end - self.start) / self.step).unwrap_or(usize::MAX - 1) + 1
    }

    /// Never: a grid has at least one time.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The times.
    pub fn times(&self) -> impl Iterator<Item = Millis> + use<> {
        let (start, step) = (self.start, self.step);
        (0..self.len() as i64).map(move |index| start + index * step)
    }

    /// The last time.
    pub fn last(&self) -> Millis {
        self.start + (self.len() as i64 - 1) * self.step
    }
}

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// When.
    pub grid: Grid,
    /// How far an instant looks back.
    pub lookback: Millis,
    /// The step of subqueries that name none.
    pub subquery_step: Millis,
    /// Most values held at once.
    pub values_max: u64,
}

impl Params {
    /// Prometheus' defaults: 5 minutes, 1 minute; and room for 20 million values (160 MB).
    pub fn new(grid: Grid) -> Self {
        Self { grid, lookback: 300_000, subquery_step: 60_000, values_max: 20_000_000 }
    }
}

/// Which samples an evaluation wants.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Of which series.
    pub matchers: &'a [Matcher],
    /// After this time.
    pub after: Millis,
    /// Up to this time.
    pub through: Millis,
}

/// Takes a series and its samples in that time, oldest first, each time once.
pub type Sink<'a> = dyn FnMut(&Labels, &[Sample]) -> Result<(), Error> + 'a;

/// Where samples come from.
pub trait Source {
    /// Gives every selected series that has samples in that time, each series once.
    ///
    /// # Errors
    /// What the sink answers, or [`Error::Internal`], [`Error::Timeout`] of its own.
    fn select(&self, selection: &Selection<'_>, sink: &mut Sink<'_>) -> Result<(), Error>;
}

/// No samples.
impl Source for () {
    fn select(&self, _: &Selection<'_>, _: &mut Sink<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// Series in memory.
impl Source for [Series] {
    fn select(&self, selection: &Selection<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        for series in self {
            if crate::selector::matches_all(selection.matchers, &series.labels) {
                let from = series.samples.partition_point(|sample| sample.at <= selection.after);
                let to = series.samples.partition_point(|sample| sample.at <= selection.through);
                if from < to {
                    sink(&series.labels, &series.samples[from..to])?;
                }
            }
        }
        Ok(())
    }
}

/// An evaluated series: one value per time of the grid, [`ABSENT`] where there is none.
#[derive(Debug, Clone)]
pub struct StepSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its values.
    pub values: Vec<f64>,
}

/// The value that says that there is none; no result has these bits otherwise.
pub const ABSENT: f64 = STALE;

/// Whether there is a value.
pub fn is_present(value: f64) -> bool {
    !is_stale(value)
}

impl PartialEq for StepSeries {
    fn eq(&self, other: &Self) -> bool {
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        self.labels == other.labels && bits(&self.values) == bits(&other.values)
    }
}

/// What a query evaluates to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number per time.
    Scalar(Vec<f64>),
    /// Series with one value per time.
    Vector(Vec<StepSeries>),
    /// Samples as they are stored.
    Samples(Vec<Series>),
    /// A text.
    Text(String),
}
