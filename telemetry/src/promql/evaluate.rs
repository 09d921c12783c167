//! Evaluation: which expression is made of which columns.

use std::cell::Cell;
use std::collections::HashSet;

use crate::promql::ast::Expr;
use crate::promql::function::{Function, MathFunction};
use crate::promql::{
    ABSENT, Error, Grid, Params, Selection, Source, StepSeries, Value, aggregate, binary, calendar,
    histogram, is_present, label, math,
};
use crate::selector::fixed_metric;
use crate::{Labels, Millis, Sample};

/// Takes an evaluated series.
pub(super) type StepSink<'a> = dyn FnMut(Labels, Vec<f64>) -> Result<(), Error> + 'a;

/// Evaluates an expression; `parts` are the answers that [`Expr::Part`] stands for.
///
/// The series of a vector come in order of their labels, except where the expression orders them.
///
/// # Errors
/// [`Error::Execution`] when the semantics forbid it (for example an ambiguous match) or it takes too much;
/// whatever the source answers.
pub fn evaluate(
    expr: &Expr,
    params: &Params,
    source: &(impl Source + ?Sized),
    parts: &[Value],
) -> Result<Value, Error> {
    let mut expr = expr.clone();
    expr.fix_times(params.grid.start, params.grid.last());
    let select: &dyn Fn(&Selection<'_>, &mut crate::promql::Sink<'_>) -> Result<(), Error> =
        &|selection, sink| source.select(selection, sink);
    let evaluator = Evaluator { select, params, parts, held: Cell::new(0) };
    let grid = params.grid;
    let wrong_for_range = match &expr {
        Expr::Text(_) => Some("string"),
        Expr::Range(..) | Expr::Subquery(_) => Some("range vector"),
        Expr::Number(_)
        | Expr::Select(_)
        | Expr::Negate(_)
        | Expr::Binary(_)
        | Expr::Aggregate(_)
        | Expr::Call(..)
        | Expr::Part(_) => None,
    };
    if let (Some(kind), true) = (wrong_for_range, grid.step > 0) {
        let why =
            format!("invalid expression type \"{kind}\" for range query, must be Scalar or instant Vector");
        return Err(Error::Parse(why));
    }
    match &expr {
        Expr::Part(index) => return evaluator.part(*index).cloned(),
        Expr::Text(text) => return Ok(Value::Text(text.clone())),
        Expr::Range(selector, range) => return evaluator.samples(selector, *range),
        Expr::Subquery(subquery) => return evaluator.subquery_samples(subquery),
        Expr::Number(_)
        | Expr::Select(_)
        | Expr::Negate(_)
        | Expr::Binary(_)
        | Expr::Aggregate(_)
        | Expr::Call(..) => {}
    }
    if evaluator.is_scalar(&expr) {
        return Ok(Value::Scalar(evaluator.scalar(&expr, grid)?));
    }
    let mut series = evaluator.vector(&expr, grid)?;
    if !(keeps_order(&expr) && grid.len() == 1) {
        series.sort_by(|left, right| left.labels.cmp(&right.labels));
    }
    Ok(Value::Vector(series))
}

/// Whether the order of the result is part of what the query asks for.
fn keeps_order(expr: &Expr) -> bool {
    use crate::promql::ast::AggregateOp::{BottomK, TopK};
    match expr {
        Expr::Call(function, _) => matches!(
            function,
            Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc
        ),
        Expr::Aggregate(aggregate) => matches!(aggregate.op, TopK | BottomK),
        Expr::Number(_)
        | Expr::Text(_)
        | Expr::Select(_)
        | Expr::Range(..)
        | Expr::Subquery(_)
        | Expr::Negate(_)
        | Expr::Binary(_)
        | Expr::Part(_) => false,
    }
}

type Select<'a> = dyn Fn(&Selection<'_>, &mut crate::promql::Sink<'_>) -> Result<(), Error> + 'a;

pub(super) struct Evaluator<'a> {
    pub(super) select: &'a Select<'a>,
    pub(super) params: &'a Params,
    parts: &'a [Value],
    held: Cell<u64>,
}

impl Evaluator<'_> {
    fn part(&self, index: usize) -> Result<&Value, Error> {
        self.parts
            .get(index)
            .ok_or_else(|| Error::Internal(format!("part {index} of the query has no answer")))
    }

    /// Counts values that stay in memory.
    pub(super) fn hold(&self, values: usize) -> Result<(), Error> {
        let held = self.held.get().saturating_add(values as u64);
        self.held.set(held);
        if held > self.params.values_max {
            return Err(Error::Execution(format!(
                "query processing would load too many samples into memory in query execution (limit {})",
                self.params.values_max
            )));
        }
        Ok(())
    }

    pub(super) fn is_scalar(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Number(_) => true,
            Expr::Negate(inner) => self.is_scalar(inner),
            Expr::Binary(binary) => self.is_scalar(&binary.lhs) && self.is_scalar(&binary.rhs),
            Expr::Call(function, _) => function.is_scalar(),
            Expr::Part(index) => matches!(self.parts.get(*index), Some(Value::Scalar(_))),
            Expr::Text(_) | Expr::Select(_) | Expr::Range(..) | Expr::Subquery(_) | Expr::Aggregate(_) => {
                false
            }
        }
    }

    /// A number per time.
    pub(super) fn scalar(&self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, Error> {
        match expr {
            Expr::Number(value) => Ok(vec![*value; grid.len()]),
            Expr::Negate(inner) => Ok(self.scalar(inner, grid)?.into_iter().map(|value| -value).collect()),
            Expr::Binary(binary) => {
                let (left, right) = (self.scalar(&binary.lhs, grid)?, self.scalar(&binary.rhs, grid)?);
                Ok(left
                    .into_iter()
                    .zip(right)
                    .map(|(left, right)| binary::scalar(binary.op, left, right))
                    .collect())
            }
            Expr::Call(Function::Time, _) => Ok(grid.times().map(seconds).collect()),
            Expr::Call(Function::Pi, _) => Ok(vec![std::f64::consts::PI; grid.len()]),
            Expr::Call(Function::Scalar, args) => {
                let mut only = vec![ABSENT; grid.len()];
                let mut count = vec![0u32; grid.len()];
                self.each(argument(args, 0)?, grid, &mut |_, values| {
                    for (step, value) in
                        values.into_iter().enumerate().filter(|(_, value)| is_present(*value))
                    {
                        only[step] = value;
                        count[step] += 1;
                    }
                    Ok(())
                })?;
                Ok(only
                    .into_iter()
                    .zip(count)
                    .map(|(value, count)| if count == 1 { value } else { f64::NAN })
                    .collect())
            }
            Expr::Part(index) => match self.part(*index)? {
                Value::Scalar(values) => Ok(values.clone()),
                Value::Vector(_) | Value::Samples(_) | Value::Text(_) => Err(wrong_type(expr, "a scalar")),
            },
            Expr::Text(_)
            | Expr::Select(_)
            | Expr::Range(..)
            | Expr::Subquery(_)
            | Expr::Aggregate(_)
            | Expr::Call(..) => Err(wrong_type(expr, "a scalar")),
        }
    }

    /// All series of an expression.
    pub(super) fn vector(&self, expr: &Expr, grid: Grid) -> Result<Vec<StepSeries>, Error> {
        match expr {
            Expr::Binary(operation) => binary::evaluate(self, operation, grid),
            Expr::Aggregate(operation) => aggregate::evaluate(self, operation, grid),
            Expr::Call(function, args) => match function {
                Function::Vector => {
                    let values = self.scalar(argument(args, 0)?, grid)?;
                    Ok(vec![StepSeries { labels: Labels::empty(), values }])
                }
                Function::Absent(labels) => {
                    let mut present = vec![false; grid.len()];
                    self.each(argument(args, 0)?, grid, &mut |_, values| {
                        present.iter_mut().zip(values).for_each(|(seen, value)| *seen |= is_present(value));
                        Ok(())
                    })?;
                    Ok(label::absent(labels, &present))
                }
                Function::AbsentOverTime(labels) => {
                    let mut present = vec![false; grid.len()];
                    self.each_window(argument(args, 0)?, grid, &mut |_, step, window| {
                        present[step] |= !window.samples.is_empty();
                        Ok(())
                    })?;
                    Ok(label::absent(labels, &present))
                }
                Function::Sort | Function::SortDesc => {
                    let series = self.collect(argument(args, 0)?, grid)?;
                    Ok(label::sort(series, matches!(function, Function::SortDesc), grid.len()))
                }
                Function::SortByLabel | Function::SortByLabelDesc => {
                    let series = self.collect(argument(args, 0)?, grid)?;
                    let labels = args[1..].iter().map(text).collect::<Result<Vec<_>, _>>()?;
                    Ok(label::sort_by(series, &labels, matches!(function, Function::SortByLabelDesc)))
                }
                Function::LabelReplace => label::replace(self.collect(argument(args, 0)?, grid)?, args),
                Function::LabelJoin => label::join(self.collect(argument(args, 0)?, grid)?, args),
                Function::HistogramQuantile => {
                    let quantile = self.scalar(argument(args, 0)?, grid)?;
                    histogram::quantile(&quantile, self.collect(argument(args, 1)?, grid)?)
                }
                Function::HistogramFraction => {
                    let lower = self.scalar(argument(args, 0)?, grid)?;
                    let upper = self.scalar(argument(args, 1)?, grid)?;
                    histogram::fraction(&lower, &upper, self.collect(argument(args, 2)?, grid)?)
                }
                Function::Range(_)
                | Function::Math(_)
                | Function::Date(_)
                | Function::Scalar
                | Function::Time
                | Function::Pi
                | Function::Timestamp
                | Function::Clamp
                | Function::ClampMax
                | Function::ClampMin
                | Function::Round => self.collect(expr, grid),
            },
            Expr::Number(_)
            | Expr::Text(_)
            | Expr::Select(_)
            | Expr::Range(..)
            | Expr::Subquery(_)
            | Expr::Negate(_)
            | Expr::Part(_) => self.collect(expr, grid),
        }
    }

    fn collect(&self, expr: &Expr, grid: Grid) -> Result<Vec<StepSeries>, Error> {
        let mut series = Vec::new();
        self.each(expr, grid, &mut |labels, values| {
            self.hold(values.len())?;
            series.push(StepSeries { labels, values });
            Ok(())
        })?;
        Ok(series)
    }

    /// Gives the series of an expression one by one, those that need no others without keeping them.
    pub(super) fn each(&self, expr: &Expr, grid: Grid, sink: &mut StepSink<'_>) -> Result<(), Error> {
        match expr {
            Expr::Select(selector) => self.each_instant(selector, grid, |sample| sample.value, sink),
            Expr::Negate(inner) => self.each_mapped(inner, grid, &|_, value| -value, sink),
            Expr::Part(index) => match self.part(*index)? {
                Value::Vector(series) => {
                    series.iter().try_for_each(|series| sink(series.labels.clone(), series.values.clone()))
                }
                Value::Scalar(_) | Value::Samples(_) | Value::Text(_) => Err(wrong_type(expr, "a vector")),
            },
            Expr::Call(function, args) => self.each_call(expr, function, args, grid, sink),
            Expr::Binary(_) | Expr::Aggregate(_) => {
                self.vector(expr, grid)?.into_iter().try_for_each(|series| sink(series.labels, series.values))
            }
            Expr::Number(_) | Expr::Text(_) | Expr::Range(..) | Expr::Subquery(_) => {
                Err(wrong_type(expr, "a vector"))
            }
        }
    }

    fn each_call(
        &self,
        expr: &Expr,
        function: &Function,
        args: &[Expr],
        grid: Grid,
        sink: &mut StepSink<'_>,
    ) -> Result<(), Error> {
        let scalar = |index| self.scalar(argument(args, index)?, grid);
        match function {
            Function::Range(function) => self.each_range(*function, args, grid, sink),
            Function::Math(function) => {
                let function: MathFunction = *function;
                self.each_mapped(argument(args, 0)?, grid, &|_, value| math::apply(function, value), sink)
            }
            Function::Date(function) => {
                let function = *function;
                self.each_mapped(argument(args, 0)?, grid, &|_, value| calendar::apply(function, value), sink)
            }
            Function::Timestamp => {
                let inner = argument(args, 0)?;
                let Expr::Select(selector) = inner else {
                    let times: Vec<f64> = grid.times().map(seconds).collect();
                    return self.each_mapped(inner, grid, &|step, _| times[step], sink);
                };
                let mut unique = Unique::of(inner);
                let time = |sample: &Sample| seconds(sample.at);
                self.each_instant(selector, grid, time, &mut |labels, values| {
                    sink(unique.renamed(&labels)?, values)
                })
            }
            Function::Clamp => {
                let (low, high) = (scalar(1)?, scalar(2)?);
                let clamp = |step: usize, value| math::clamp(value, low[step], high[step]);
                self.each_mapped(argument(args, 0)?, grid, &clamp, sink)
            }
            Function::ClampMax => {
                let high = scalar(1)?;
                self.each_mapped(
                    argument(args, 0)?,
                    grid,
                    &|step, value| math::minimum(value, high[step]),
                    sink,
                )
            }
            Function::ClampMin => {
                let low = scalar(1)?;
                self.each_mapped(
                    argument(args, 0)?,
                    grid,
                    &|step, value| math::maximum(value, low[step]),
                    sink,
                )
            }
            Function::Round => {
                let nearest = scalar(1)?;
                self.each_mapped(
                    argument(args, 0)?,
                    grid,
                    &|step, value| math::round(value, nearest[step]),
                    sink,
                )
            }
            Function::Absent(_)
            | Function::AbsentOverTime(_)
            | Function::Vector
            | Function::Sort
            | Function::SortDesc
            | Function::SortByLabel
            | Function::SortByLabelDesc
            | Function::LabelReplace
            | Function::LabelJoin
            | Function::HistogramQuantile
            | Function::HistogramFraction => {
                self.vector(expr, grid)?.into_iter().try_for_each(|series| sink(series.labels, series.values))
            }
            Function::Scalar | Function::Time | Function::Pi => Err(wrong_type(expr, "a vector")),
        }
    }

    /// Every present value through a function; the metric's name goes.
    fn each_mapped(
        &self,
        expr: &Expr,
        grid: Grid,
        map: &dyn Fn(usize, f64) -> f64,
        sink: &mut StepSink<'_>,
    ) -> Result<(), Error> {
        let mut unique = Unique::of(expr);
        self.each(expr, grid, &mut |labels, mut values| {
            for (step, value) in values.iter_mut().enumerate().filter(|(_, value)| is_present(**value)) {
                *value = map(step, *value);
            }
            if values.iter().any(|value| is_present(*value)) {
                sink(unique.renamed(&labels)?, values)
            } else {
                Ok(())
            }
        })
    }
}

/// Seconds of a time.
pub(super) fn seconds(at: Millis) -> f64 {
    at as f64 / 1000.0
}

pub(super) fn argument(args: &[Expr], index: usize) -> Result<&Expr, Error> {
    args.get(index).ok_or_else(|| Error::Parse(format!("function lacks its argument {}", index + 1)))
}

pub(super) fn text(expr: &Expr) -> Result<&str, Error> {
    if let Expr::Text(text) = expr { Ok(text) } else { Err(wrong_type(expr, "a string")) }
}

pub(super) fn wrong_type(expr: &Expr, wanted: &str) -> Error {
    Error::Execution(format!("\"{expr}\" is not {wanted}"))
}

/// Refuses two series of the same labels, which can arise when the metric's name goes.
pub(super) struct Unique(Option<HashSet<Labels>>);

impl Unique {
    pub(super) fn of(expr: &Expr) -> Self {
        let safe = match expr {
            Expr::Select(selector) | Expr::Range(selector, _) => fixed_metric(&selector.matchers).is_some(),
            Expr::Call(Function::Range(function), args) => {
                !function.keeps_metric()
                    || matches!(args.first(), Some(Expr::Range(selector, _)) if fixed_metric(&selector.matchers).is_some())
            }
            Expr::Call(
                Function::Math(_)
                | Function::Clamp
                | Function::ClampMax
                | Function::ClampMin
                | Function::Round,
                _,
            ) => true,
            Expr::Number(_)
            | Expr::Text(_)
            | Expr::Subquery(_)
            | Expr::Negate(_)
            | Expr::Binary(_)
            | Expr::Aggregate(_)
            | Expr::Call(..)
            | Expr::Part(_) => false,
        };
        Self((!safe).then(HashSet::new))
    }

    /// The labels without the metric's name.
    pub(super) fn renamed(&mut self, labels: &Labels) -> Result<Labels, Error> {
        let renamed = labels.without_metric();
        let first = self.0.as_mut().is_none_or(|seen| seen.insert(renamed.clone()));
        if first { Ok(renamed) } else { Err(same_labels(&renamed)) }
    }
}

/// Prometheus' message, and which labels.
pub(super) fn same_labels(labels: &Labels) -> Error {
    Error::Execution(format!("vector cannot contain metrics with the same labelset: {labels}"))
}
