//! Samples to columns: the newest at each time, windows of a range, the inside of a subquery.

use crate::promql::ast::{At, Expr, Selector, Subquery};
use crate::promql::evaluate::{Evaluator, StepSink, Unique, argument, wrong_type};
use crate::promql::function::RangeFunction;
use crate::promql::range::{Arguments, Window};
use crate::promql::{ABSENT, Error, Grid, Selection, StepSeries, Value, is_present};
use crate::sample::is_stale;
use crate::{Labels, Millis, Sample, Series};

/// The time at which a selector looks, for each time of the grid.
#[derive(Clone, Copy)]
struct When {
    fixed: Option<Millis>,
    offset: Millis,
}

impl When {
    fn new(at: Option<At>, offset: Millis) -> Self {
        let fixed = match at {
            Some(At::Time(time)) => Some(time),
            // `fix_times` has replaced the other two.
            Some(At::Start | At::End) | None => None,
        };
        Self { fixed, offset }
    }

    fn at(self, time: Millis) -> Millis {
        self.fixed.unwrap_or(time).saturating_sub(self.offset)
    }

    fn span(self, grid: Grid) -> (Millis, Millis) {
        (self.at(grid.start), self.at(grid.last()))
    }
}

/// The grid on which a subquery's inside is evaluated; `None` when no time falls into it.
pub(super) fn subquery_grid(
    subquery: &Subquery,
    grid: Grid,
    default_step: Millis,
) -> Result<Option<Grid>, Error> {
    let (first, last) = When::new(subquery.at, subquery.offset).span(grid);
    let step = subquery.step.unwrap_or(default_step).max(1);
    let after = first.saturating_sub(subquery.range);
    let start = after.div_euclid(step).saturating_mul(step).saturating_add(step);
    if last < start {
        return Ok(None);
    }
    if (last - start) / step > 10 * crate::promql::STEPS_MAX {
        let why = format!("subquery of {} steps is over the limit of 110000", (last - start) / step);
        return Err(Error::Execution(why));
    }
    Ok(Some(Grid { start, end: last, step }))
}

impl Evaluator<'_> {
    pub(super) fn each_instant(
        &self,
        selector: &Selector,
        grid: Grid,
        value: impl Fn(&Sample) -> f64,
        sink: &mut StepSink<'_>,
    ) -> Result<(), Error> {
        let when = When::new(selector.at, selector.offset);
        let (first, last) = when.span(grid);
        let lookback = self.params.lookback;
        let selection =
            Selection { matchers: &selector.matchers, after: first.saturating_sub(lookback), through: last };
        (self.select)(&selection, &mut |labels, samples| {
            let mut next = 0;
            let mut any = false;
            let values = grid
                .times()
                .map(|time| {
                    let time = when.at(time);
                    while samples.get(next).is_some_and(|sample| sample.at <= time) {
                        next += 1;
                    }
                    let newest = next.checked_sub(1).map(|index| &samples[index]);
                    match newest {
                        Some(sample)
                            if sample.at > time.saturating_sub(lookback) && !is_stale(sample.value) =>
                        {
                            any = true;
                            value(sample)
                        }
                        Some(_) | None => ABSENT,
                    }
                })
                .collect();
            if any { sink(labels.clone(), values) } else { Ok(()) }
        })
    }

    pub(super) fn each_range(
        &self,
        function: RangeFunction,
        args: &[Expr],
        grid: Grid,
        sink: &mut StepSink<'_>,
    ) -> Result<(), Error> {
        let (matrix, first, second) = match function {
            RangeFunction::Quantile => (argument(args, 1)?, Some(argument(args, 0)?), None),
            RangeFunction::PredictLinear => (argument(args, 0)?, Some(argument(args, 1)?), None),
            RangeFunction::Smoothing => {
                (argument(args, 0)?, Some(argument(args, 1)?), Some(argument(args, 2)?))
            }
            RangeFunction::Rate
            | RangeFunction::Increase
            | RangeFunction::Delta
            | RangeFunction::Irate
            | RangeFunction::Idelta
            | RangeFunction::Avg
            | RangeFunction::Min
            | RangeFunction::Max
            | RangeFunction::Sum
            | RangeFunction::Count
            | RangeFunction::Last
            | RangeFunction::First
            | RangeFunction::Present
            | RangeFunction::Stddev
            | RangeFunction::Stdvar
            | RangeFunction::Changes
            | RangeFunction::Resets
            | RangeFunction::Deriv
            | RangeFunction::Mad => (argument(args, 0)?, None, None),
        };
        let numbers = |expr: Option<&Expr>| expr.map(|expr| self.scalar(expr, grid)).transpose();
        let (first, second) = (numbers(first)?, numbers(second)?);
        let number =
            |values: &Option<Vec<f64>>, step: usize| values.as_ref().map_or(f64::NAN, |values| values[step]);
        let mut unique = Unique::of(matrix);
        let mut values = vec![ABSENT; grid.len()];
        let steps = grid.len();
        self.each_window(matrix, grid, &mut |labels, step, window| {
            let arguments = Arguments { first: number(&first, step), second: number(&second, step) };
            values[step] = window.apply(function, &arguments).unwrap_or(ABSENT);
            if step + 1 == steps && values.iter().any(|value| is_present(*value)) {
                let labels = if function.keeps_metric() { labels.clone() } else { unique.renamed(labels)? };
                sink(labels, std::mem::replace(&mut values, vec![ABSENT; steps]))?;
            }
            Ok(())
        })
    }

    /// For each series of a range and each time of the grid, in this order, the samples in the window.
    pub(super) fn each_window(
        &self,
        matrix: &Expr,
        grid: Grid,
        sink: &mut dyn FnMut(&Labels, usize, &Window<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut slide = |when: When, range: Millis, labels: &Labels, samples: &[Sample]| {
            let (mut from, mut to) = (0, 0);
            for (step, time) in grid.times().enumerate() {
                let end = when.at(time);
                let begin = end.saturating_sub(range);
                while samples.get(to).is_some_and(|sample| sample.at <= end) {
                    to += 1;
                }
                while from < to && samples[from].at <= begin {
                    from += 1;
                }
                sink(labels, step, &Window { samples: &samples[from..to], begin, end, now: time })?;
            }
            Ok(())
        };
        match matrix {
            Expr::Range(selector, range) => {
                let when = When::new(selector.at, selector.offset);
                let (first, last) = when.span(grid);
                let selection = Selection {
                    matchers: &selector.matchers,
                    after: first.saturating_sub(*range),
                    through: last,
                };
                (self.select)(&selection, &mut |labels, samples| {
                    if samples.iter().any(|sample| is_stale(sample.value)) {
                        let fresh: Vec<Sample> =
                            samples.iter().filter(|sample| !is_stale(sample.value)).copied().collect();
                        return slide(when, *range, labels, &fresh);
                    }
                    slide(when, *range, labels, samples)
                })
            }
            Expr::Subquery(subquery) => {
                let when = When::new(subquery.at, subquery.offset);
                for series in self.subquery(subquery, grid)? {
                    slide(when, subquery.range, &series.labels, &series.samples)?;
                }
                Ok(())
            }
            Expr::Number(_)
            | Expr::Text(_)
            | Expr::Select(_)
            | Expr::Negate(_)
            | Expr::Binary(_)
            | Expr::Aggregate(_)
            | Expr::Call(..)
            | Expr::Part(_) => Err(wrong_type(matrix, "a range")),
        }
    }

    /// The inside of a subquery as samples.
    fn subquery(&self, subquery: &Subquery, grid: Grid) -> Result<Vec<Series>, Error> {
        let Some(inner) = subquery_grid(subquery, grid, self.params.subquery_step)? else {
            return Ok(Vec::new());
        };
        let series = if self.is_scalar(&subquery.expr) {
            vec![StepSeries { labels: Labels::empty(), values: self.scalar(&subquery.expr, inner)? }]
        } else {
            self.vector(&subquery.expr, inner)?
        };
        let present = |series: StepSeries| Series {
            labels: series.labels,
            samples: inner
                .times()
                .zip(series.values)
                .filter(|(_, value)| is_present(*value))
                .map(|(at, value)| Sample { at, value })
                .collect(),
        };
        Ok(series.into_iter().map(present).collect())
    }

    pub(super) fn samples(&self, selector: &Selector, range: Millis) -> Result<Value, Error> {
        let end = When::new(selector.at, selector.offset).at(self.params.grid.start);
        let selection =
            Selection { matchers: &selector.matchers, after: end.saturating_sub(range), through: end };
        let mut found = Vec::new();
        (self.select)(&selection, &mut |labels, samples| {
            let samples: Vec<Sample> =
                samples.iter().filter(|sample| !is_stale(sample.value)).copied().collect();
            self.hold(2 * samples.len())?;
            if !samples.is_empty() {
                found.push(Series { labels: labels.clone(), samples });
            }
            Ok(())
        })?;
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
        Ok(Value::Samples(found))
    }

    pub(super) fn subquery_samples(&self, subquery: &Subquery) -> Result<Value, Error> {
        let mut found = self.subquery(subquery, self.params.grid)?;
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
        Ok(Value::Samples(found))
    }
}
