//! Many series to few. Sums and their like stream: a group costs one state per time, whatever goes into it.

use std::collections::HashMap;

use crate::Labels;
use crate::labels::METRIC_NAME;
use crate::promql::ast::{Aggregate, AggregateOp, Expr, Grouping};
use crate::promql::evaluate::{Evaluator, text};
use crate::promql::label::by_value;
use crate::promql::math::{Spread, Sum, quantile};
use crate::promql::{ABSENT, Error, Grid, StepSeries, is_present};

pub(super) fn evaluate(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    grid: Grid,
) -> Result<Vec<StepSeries>, Error> {
    let param = |what: &str| {
        aggregate
            .param
            .as_ref()
            .ok_or_else(|| Error::Parse(format!("{} needs {what}", aggregate.op.as_str())))
    };
    match aggregate.op {
        AggregateOp::TopK | AggregateOp::BottomK => {
            let k = evaluator.scalar(param("a count")?, grid)?;
            ranked(evaluator, aggregate, &k, grid)
        }
        AggregateOp::Quantile => {
            let which = evaluator.scalar(param("a quantile")?, grid)?;
            quantiles(evaluator, aggregate, &which, grid)
        }
        AggregateOp::CountValues => {
            let label = text(param("a label")?)?.to_owned();
            count_values(evaluator, aggregate, &label, grid)
        }
        AggregateOp::Sum
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Avg
        | AggregateOp::Count
        | AggregateOp::Group
        | AggregateOp::Stddev
        | AggregateOp::Stdvar => folded(evaluator, aggregate, grid),
    }
}

/// The labels of the group that a series belongs to.
fn group(grouping: &Grouping, labels: &Labels) -> Labels {
    match grouping {
        Grouping::By(names) if names.is_empty() => Labels::empty(),
        Grouping::By(_) => labels.filter(|name| grouping.keeps(name)),
        Grouping::Without(_) => labels.filter(|name| name != METRIC_NAME && grouping.keeps(name)),
    }
}

/// Groups in order of first appearance.
struct Groups<T> {
    index: HashMap<Labels, usize>,
    list: Vec<(Labels, T)>,
}

impl<T> Groups<T> {
    fn new() -> Self {
        Self { index: HashMap::new(), list: Vec::new() }
    }

    /// The group's state, made when it is new.
    fn entry(&mut self, labels: Labels, make: impl FnOnce() -> Result<T, Error>) -> Result<&mut T, Error> {
        let at = match self.index.get(&labels) {
            Some(at) => *at,
            None => {
                self.list.push((labels.clone(), make()?));
                self.index.insert(labels, self.list.len() - 1);
                self.list.len() - 1
            }
        };
        Ok(&mut self.list[at].1)
    }
}

/// What a group knows of one time.
#[derive(Clone, Copy)]
enum State {
    Nothing,
    Sum(Sum, u64),
    Extreme(f64),
    Count(u64),
    Spread(Spread),
}

impl State {
    fn add(&mut self, op: AggregateOp, value: f64) {
        match (&mut *self, op) {
            (Self::Sum(sum, count), _) => {
                sum.add(value);
                *count += 1;
            }
            (Self::Extreme(least), AggregateOp::Min) if value < *least || least.is_nan() => *least = value,
            (Self::Extreme(most), AggregateOp::Max) if value > *most || most.is_nan() => *most = value,
            (Self::Extreme(_), _) => {}
            (Self::Count(count), _) => *count += 1,
            (Self::Spread(spread), _) => spread.add(value),
            (Self::Nothing, AggregateOp::Sum | AggregateOp::Avg) => {
                *self = Self::Sum([value].into_iter().collect(), 1);
            }
            (Self::Nothing, AggregateOp::Min | AggregateOp::Max) => *self = Self::Extreme(value),
            (Self::Nothing, AggregateOp::Stddev | AggregateOp::Stdvar) => {
                let mut spread = Spread::default();
                spread.add(value);
                *self = Self::Spread(spread);
            }
            (
                Self::Nothing,
                AggregateOp::Count
                | AggregateOp::Group
                | AggregateOp::TopK
                | AggregateOp::BottomK
                | AggregateOp::Quantile
                | AggregateOp::CountValues,
            ) => *self = Self::Count(1),
        }
    }

    fn value(self, op: AggregateOp) -> f64 {
        match self {
            Self::Nothing => ABSENT,
            Self::Sum(sum, count) if op == AggregateOp::Avg => sum.total() / count as f64,
            Self::Sum(sum, _) => sum.total(),
            Self::Extreme(value) => value,
            Self::Count(_) if op == AggregateOp::Group => 1.0,
            Self::Count(count) => count as f64,
            Self::Spread(spread) if op == AggregateOp::Stddev => spread.variance().sqrt(),
            Self::Spread(spread) => spread.variance(),
        }
    }
}

fn folded(evaluator: &Evaluator<'_>, aggregate: &Aggregate, grid: Grid) -> Result<Vec<StepSeries>, Error> {
    let steps = grid.len();
    let mut groups: Groups<Vec<State>> = Groups::new();
    evaluator.each(&aggregate.expr, grid, &mut |labels, values| {
        let states = groups.entry(group(&aggregate.grouping, &labels), || {
            evaluator.hold(4 * steps)?;
            Ok(vec![State::Nothing; steps])
        })?;
        for (state, value) in states.iter_mut().zip(values).filter(|(_, value)| is_present(*value)) {
            state.add(aggregate.op, value);
        }
        Ok(())
    })?;
    let series = groups.list.into_iter().map(|(labels, states)| StepSeries {
        labels,
        values: states.into_iter().map(|state| state.value(aggregate.op)).collect(),
    });
    Ok(series.collect())
}

/// The k largest or smallest of each group at each time. Of equal values the first by labels wins, so that
/// the answer does not depend on where the series live.
fn ranked(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    k: &[f64],
    grid: Grid,
) -> Result<Vec<StepSeries>, Error> {
    let descending = aggregate.op == AggregateOp::TopK;
    let order = |left: &(f64, Labels), right: &(f64, Labels)| {
        by_value(left.0, right.0, descending).then_with(|| left.1.cmp(&right.1))
    };
    let wanted: Vec<usize> = k.iter().map(|k| if *k >= 1.0 { *k as usize } else { 0 }).collect();
    let mut groups: Groups<Vec<Vec<(f64, Labels)>>> = Groups::new();
    evaluator.each(&aggregate.expr, grid, &mut |labels, values| {
        let best = groups.entry(group(&aggregate.grouping, &labels), || Ok(vec![Vec::new(); grid.len()]))?;
        for (step, value) in values.into_iter().enumerate().filter(|(_, value)| is_present(*value)) {
            let candidate = (value, labels.clone());
            let best = &mut best[step];
            let at = best.partition_point(|held| order(held, &candidate).is_le());
            if at < wanted[step] {
                if best.len() == wanted[step] {
                    best.pop();
                } else {
                    evaluator.hold(3)?;
                }
                best.insert(at, candidate);
            }
        }
        Ok(())
    })?;
    let mut series: Groups<Vec<f64>> = Groups::new();
    for (_, best) in groups.list {
        for (step, best) in best.into_iter().enumerate() {
            for (value, labels) in best {
                series.entry(labels, || Ok(vec![ABSENT; grid.len()]))?[step] = value;
            }
        }
    }
    Ok(series.list.into_iter().map(|(labels, values)| StepSeries { labels, values }).collect())
}

fn quantiles(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    which: &[f64],
    grid: Grid,
) -> Result<Vec<StepSeries>, Error> {
    let mut groups: Groups<Vec<Vec<f64>>> = Groups::new();
    evaluator.each(&aggregate.expr, grid, &mut |labels, values| {
        evaluator.hold(values.len())?;
        let held = groups.entry(group(&aggregate.grouping, &labels), || Ok(vec![Vec::new(); grid.len()]))?;
        held.iter_mut()
            .zip(values)
            .filter(|(_, value)| is_present(*value))
            .for_each(|(held, value)| held.push(value));
        Ok(())
    })?;
    let series = groups.list.into_iter().map(|(labels, held)| StepSeries {
        labels,
        values: held
            .into_iter()
            .zip(which)
            .map(|(mut values, which)| if values.is_empty() { ABSENT } else { quantile(*which, &mut values) })
            .collect(),
    });
    Ok(series.collect())
}

fn count_values(
    evaluator: &Evaluator<'_>,
    aggregate: &Aggregate,
    label: &str,
    grid: Grid,
) -> Result<Vec<StepSeries>, Error> {
    if label.is_empty() {
        return Err(Error::Execution("invalid label name \"\"".to_owned()));
    }
    let mut groups: Groups<Vec<f64>> = Groups::new();
    evaluator.each(&aggregate.expr, grid, &mut |labels, values| {
        let base = group(&aggregate.grouping, &labels);
        for (step, value) in values.into_iter().enumerate().filter(|(_, value)| is_present(*value)) {
            let counts = groups.entry(base.with(label, &plain(value)), || {
                evaluator.hold(grid.len())?;
                Ok(vec![ABSENT; grid.len()])
            })?;
            counts[step] = if is_present(counts[step]) { counts[step] + 1.0 } else { 1.0 };
        }
        Ok(())
    })?;
    Ok(groups.list.into_iter().map(|(labels, values)| StepSeries { labels, values }).collect())
}

/// A number without exponent, as a label's value.
fn plain(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { crate::number::format(value) }
}

/// Whether an aggregation's parameter is the same whatever the data.
pub(super) fn is_constant(param: Option<&Expr>) -> bool {
    matches!(param, None | Some(Expr::Number(_) | Expr::Text(_)))
}
