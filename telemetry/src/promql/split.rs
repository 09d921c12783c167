//! Which part of a query each region answers, and what the hub does with the answers.
//!
//! Every stored series carries the label [`REGION`]. A sub-expression whose series never meet across regions
//! (selectors, functions of one series, operators that match on the region, aggregations that keep it) is
//! answered by each region for itself; the union of the answers is the answer. An aggregation over such an
//! expression goes down as well when partial results can be put together exactly. So no raw samples travel,
//! except for a range whose function needs a number that only the hub has.
//!
//! | hub sees | region evaluates | hub evaluates |
//! |---|---|---|
//! | any expression that touches one region | all of it | nothing |
//! | `rate(x[5m])`, `sum by (region) (x)`, `a / on (region, job) b` | all of it | the union |
//! | `sum`, `min`, `max`, `group`, `topk`, `bottomk` | the same | the same again |
//! | `count`, `count_values` | the same | `sum` |
//! | `avg` | `sum`, `count` | sum of sums / sum of counts |
//! | `stddev`, `stdvar` | `count`, `avg`, `stdvar` by region | pooled variance |
//! | `absent_over_time(x[5m])` | `present_over_time(x[5m])` | `absent` |
//! | anything else | its largest local parts | the rest |

use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Cardinality, Expr, Grouping, Selector, Subquery,
};
use crate::promql::function::{Function, RangeFunction};
use crate::promql::sampling::subquery_grid;
use crate::promql::{Error, Grid, Params, Selection, Sink, Source, Value, aggregate, evaluate};
use crate::selector::Matcher;
use crate::{Millis, Series};

/// The label that says in which region a series is stored.
pub const REGION: &str = "region";

/// Stands for a part of raw samples in a selector of the hub's expression.
const PART: &str = "__part__";

/// A query, split.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is asked.
    pub parts: Vec<Ask>,
    /// What is made of the answers.
    pub hub: Expr,
    params: Params,
}

/// What some regions are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// A PromQL expression.
    pub expr: String,
    /// How to evaluate it.
    pub params: Params,
    /// By whom; none when no region can have such a series.
    pub regions: Vec<String>,
}

/// Splits a query between the regions of that name and the hub.
///
/// # Errors
/// [`Error::Execution`] when a subquery has too many steps.
pub fn split(expr: &Expr, params: &Params, regions: &[String]) -> Result<Plan, Error> {
    let mut expr = expr.clone();
    expr.fix_times(params.grid.start, params.grid.last());
    let mut splitter = Splitter { regions, params, parts: Vec::new() };
    let touched = splitter.touched(&expr);
    let hub = if touched.len() == 1 && splitter.all_in(&expr, &touched) {
        splitter.ask(&expr, params.grid)
    } else {
        splitter.rewrite(&expr, params.grid)?
    };
    Ok(Plan { parts: splitter.parts, hub, params: *params })
}

impl Plan {
    /// Evaluates the hub's part over the answers, one value per part (see [`union`]).
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn finish(&self, answers: &[Value]) -> Result<Value, Error> {
        evaluate(&self.hub, &self.params, &RawParts(answers), answers)
    }
}

/// Puts the answers of several regions to one part together.
///
/// # Errors
/// [`Error::Internal`] when they are of different kinds.
pub fn union(answers: Vec<Value>) -> Result<Value, Error> {
    let mut answers = answers.into_iter();
    let Some(mut all) = answers.next() else { return Ok(Value::Vector(Vec::new())) };
    for answer in answers {
        match (&mut all, answer) {
            (Value::Vector(all), Value::Vector(more)) => all.extend(more),
            (Value::Samples(all), Value::Samples(more)) => all.extend(more),
            (Value::Scalar(_) | Value::Text(_) | Value::Vector(_) | Value::Samples(_), _) => {
                return Err(Error::Internal("regions gave answers of different kinds".to_owned()));
            }
        }
    }
    Ok(all)
}

/// Raw samples that regions sent, found by the index in the selector.
struct RawParts<'a>(&'a [Value]);

impl Source for RawParts<'_> {
    fn select(&self, selection: &Selection<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        let index = selection.matchers.iter().find(|matcher| matcher.name() == PART).map(Matcher::value);
        let part = index.and_then(|index| index.parse::<usize>().ok()).and_then(|index| self.0.get(index));
        match part {
            Some(Value::Samples(series)) => {
                let everything = Selection { matchers: &[], ..*selection };
                let series: &[Series] = series;
                series.select(&everything, sink)
            }
            Some(Value::Vector(series)) if series.is_empty() => Ok(()),
            Some(Value::Vector(_) | Value::Scalar(_) | Value::Text(_)) | None => {
                Err(Error::Internal("a selector was left to the hub without its samples".to_owned()))
            }
        }
    }
}

/// Where an expression can be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locality {
    /// Anywhere: it needs no series.
    Constant,
    /// By each region for its own series.
    Local,
    /// Only where all series are.
    Global,
}

fn locality(expr: &Expr) -> Locality {
    match expr {
        Expr::Number(_) | Expr::Text(_) => Locality::Constant,
        Expr::Select(_) | Expr::Range(..) => Locality::Local,
        Expr::Part(_) => Locality::Global,
        Expr::Subquery(subquery) => match locality(&subquery.expr) {
            // A number over time is the same everywhere: each region would give it once.
            Locality::Constant => Locality::Global,
            inside @ (Locality::Local | Locality::Global) => inside,
        },
        Expr::Negate(inner) => locality(inner),
        Expr::Binary(binary) => match (locality(&binary.lhs), locality(&binary.rhs)) {
            (Locality::Constant, Locality::Constant) => Locality::Constant,
            (Locality::Global, _) | (_, Locality::Global) => Locality::Global,
            (Locality::Constant, Locality::Local) | (Locality::Local, Locality::Constant) => Locality::Local,
            (Locality::Local, Locality::Local) => {
                if binary.labels.iter().any(|label| label == REGION) == binary.on {
                    Locality::Local
                } else {
                    Locality::Global
                }
            }
        },
        Expr::Aggregate(aggregate) => {
            let constant = aggregate::is_constant(aggregate.param.as_ref());
            let relabels = matches!(&aggregate.param, Some(Expr::Text(label)) if label == REGION);
            if constant
                && !relabels
                && aggregate.grouping.keeps(REGION)
                && locality(&aggregate.expr) == Locality::Local
            {
                Locality::Local
            } else {
                Locality::Global
            }
        }
        Expr::Call(function, args) => call_locality(function, args),
    }
}

fn call_locality(function: &Function, args: &[Expr]) -> Locality {
    let of_args = || {
        let all: Vec<Locality> = args.iter().map(locality).collect();
        if all.contains(&Locality::Global) || !all.contains(&Locality::Local) {
            Locality::Global
        } else {
            Locality::Local
        }
    };
    match function {
        Function::Time | Function::Pi => Locality::Constant,
        Function::Range(_)
        | Function::Math(_)
        | Function::Date(_)
        | Function::Timestamp
        | Function::HistogramQuantile
        | Function::HistogramFraction
        | Function::Clamp
        | Function::ClampMax
        | Function::ClampMin
        | Function::Round => of_args(),
        Function::LabelReplace | Function::LabelJoin => {
            if matches!(args.get(1), Some(Expr::Text(target)) if target == REGION) {
                Locality::Global
            } else {
                of_args()
            }
        }
        Function::Absent(_)
        | Function::AbsentOverTime(_)
        | Function::Scalar
        | Function::Vector
        | Function::Sort
        | Function::SortDesc
        | Function::SortByLabel
        | Function::SortByLabelDesc => Locality::Global,
    }
}

struct Splitter<'a> {
    regions: &'a [String],
    params: &'a Params,
    parts: Vec<Ask>,
}

impl Splitter<'_> {
    /// Regions that may have a series that the expression selects.
    fn touched(&self, expr: &Expr) -> Vec<String> {
        let selectors = expr.selectors();
        let may_have = |region: &&String| {
            selectors.iter().any(|selector| {
                selector
                    .matchers
                    .iter()
                    .filter(|matcher| matcher.name() == REGION)
                    .all(|matcher| matcher.matches(region))
            })
        };
        self.regions.iter().filter(may_have).cloned().collect()
    }

    /// Whether every selector can only find series of those regions.
    fn all_in(&self, expr: &Expr, regions: &[String]) -> bool {
        !expr.selectors().is_empty() && self.touched(expr).iter().all(|region| regions.contains(region))
    }

    /// Makes a part of an expression that the regions can evaluate.
    fn ask(&mut self, expr: &Expr, grid: Grid) -> Expr {
        let ask = Ask {
            expr: expr.to_string(),
            params: Params { grid, ..*self.params },
            regions: self.touched(expr),
        };
        Expr::Part(self.index_of(ask))
    }

    fn index_of(&mut self, ask: Ask) -> usize {
        self.parts.iter().position(|other| *other == ask).unwrap_or_else(|| {
            self.parts.push(ask);
            self.parts.len() - 1
        })
    }

    fn rewrite(&mut self, expr: &Expr, grid: Grid) -> Result<Expr, Error> {
        match locality(expr) {
            Locality::Constant => return Ok(expr.clone()),
            Locality::Local if !matches!(expr, Expr::Subquery(_)) => return Ok(self.ask(expr, grid)),
            Locality::Local | Locality::Global => {}
        }
        Ok(match expr {
            Expr::Number(_) | Expr::Text(_) | Expr::Part(_) | Expr::Select(_) | Expr::Range(..) => {
                expr.clone()
            }
            Expr::Subquery(subquery) => Expr::Subquery(Box::new(self.rewrite_subquery(subquery, grid)?)),
            Expr::Negate(inner) => Expr::Negate(Box::new(self.rewrite(inner, grid)?)),
            Expr::Binary(binary) => Expr::Binary(Box::new(Binary {
                lhs: self.rewrite(&binary.lhs, grid)?,
                rhs: self.rewrite(&binary.rhs, grid)?,
                ..(**binary).clone()
            })),
            Expr::Aggregate(aggregate) => self.rewrite_aggregate(aggregate, grid)?,
            Expr::Call(Function::AbsentOverTime(labels), args) if matches!(args[..], [Expr::Range(..)]) => {
                let present = Expr::Call(Function::Range(RangeFunction::Present), args.clone());
                Expr::Call(Function::Absent(labels.clone()), vec![self.ask(&present, grid)])
            }
            Expr::Call(function, args) => {
                let args = args
                    .iter()
                    .map(|arg| {
                        if let Expr::Range(selector, range) = arg {
                            Ok(self.raw(selector, *range, grid))
                        } else {
                            self.rewrite(arg, grid)
                        }
                    })
                    .collect::<Result<_, _>>()?;
                Expr::Call(function.clone(), args)
            }
        })
    }

    fn rewrite_subquery(&mut self, subquery: &Subquery, grid: Grid) -> Result<Subquery, Error> {
        let expr = match subquery_grid(subquery, grid, self.params.subquery_step)? {
            Some(inner) => self.rewrite(&subquery.expr, inner)?,
            None => subquery.expr.clone(),
        };
        Ok(Subquery { expr, ..subquery.clone() })
    }

    /// The samples of a range, fetched; the hub's selector finds them by the part's index.
    fn raw(&mut self, selector: &Selector, range: Millis, grid: Grid) -> Expr {
        let at = |time: Millis| match selector.at {
            Some(crate::promql::ast::At::Time(fixed)) => fixed - selector.offset,
            Some(crate::promql::ast::At::Start | crate::promql::ast::At::End) | None => {
                time - selector.offset
            }
        };
        let (after, through) = (at(grid.start) - range, at(grid.last()));
        let plain = Selector { matchers: selector.matchers.clone(), offset: 0, at: None };
        let fetch = Expr::Range(plain, through - after);
        let ask = Ask {
            expr: fetch.to_string(),
            params: Params { grid: Grid::instant(through), ..*self.params },
            regions: self.touched(&fetch),
        };
        let index = self.index_of(ask);
        Expr::Range(
            Selector { matchers: vec![Matcher::equal(PART, &index.to_string())], ..selector.clone() },
            range,
        )
    }

    fn rewrite_aggregate(&mut self, whole: &Aggregate, grid: Grid) -> Result<Expr, Error> {
        let constant = aggregate::is_constant(whole.param.as_ref());
        // Division and matching lose the metric's name, so an average by name is not put together from parts.
        let by_name = whole.grouping.keeps(crate::labels::METRIC_NAME);
        if constant && locality(&whole.expr) == Locality::Local {
            match whole.op {
                AggregateOp::Sum
                | AggregateOp::Min
                | AggregateOp::Max
                | AggregateOp::Group
                | AggregateOp::TopK
                | AggregateOp::BottomK => {
                    return Ok(self.partial(whole, grid, whole.op, whole.op));
                }
                AggregateOp::Count => return Ok(self.partial(whole, grid, whole.op, AggregateOp::Sum)),
                AggregateOp::CountValues => return Ok(self.count_values(whole, grid)),
                AggregateOp::Avg if !by_name => {
                    let sums = self.partial(whole, grid, AggregateOp::Sum, AggregateOp::Sum);
                    let counts = self.partial(whole, grid, AggregateOp::Count, AggregateOp::Sum);
                    return Ok(operation(BinaryOp::Divide, sums, counts));
                }
                AggregateOp::Stddev | AggregateOp::Stdvar if !by_name => return Ok(self.pooled(whole, grid)),
                AggregateOp::Avg | AggregateOp::Stddev | AggregateOp::Stdvar | AggregateOp::Quantile => {}
            }
        }
        let param = whole.param.as_ref().map(|param| self.rewrite(param, grid)).transpose()?;
        Ok(Expr::Aggregate(Box::new(Aggregate {
            param,
            expr: self.rewrite(&whole.expr, grid)?,
            ..whole.clone()
        })))
    }

    /// The aggregation in each region, and one over the results at the hub.
    fn partial(&mut self, whole: &Aggregate, grid: Grid, below: AggregateOp, above: AggregateOp) -> Expr {
        let ranks = matches!(above, AggregateOp::TopK | AggregateOp::BottomK);
        let part = self.ask_aggregate(whole, grid, below, whole.grouping.clone());
        Expr::Aggregate(Box::new(Aggregate {
            op: above,
            param: whole.param.clone().filter(|_| ranks),
            expr: part,
            grouping: whole.grouping.clone(),
        }))
    }

    fn ask_aggregate(&mut self, whole: &Aggregate, grid: Grid, op: AggregateOp, grouping: Grouping) -> Expr {
        let takes = matches!(op, AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::CountValues);
        let param = whole.param.clone().filter(|_| takes);
        let below = Aggregate { op, param, expr: whole.expr.clone(), grouping };
        self.ask(&Expr::Aggregate(Box::new(below)), grid)
    }

    fn count_values(&mut self, whole: &Aggregate, grid: Grid) -> Expr {
        let part = self.ask_aggregate(whole, grid, AggregateOp::CountValues, whole.grouping.clone());
        let label = match &whole.param {
            Some(Expr::Text(label)) => label.clone(),
            _ => String::new(),
        };
        let grouping = match &whole.grouping {
            Grouping::By(labels) => Grouping::By(labels.iter().cloned().chain([label]).collect()),
            Grouping::Without(labels) => {
                Grouping::Without(labels.iter().filter(|name| **name != label).cloned().collect())
            }
        };
        Expr::Aggregate(Box::new(Aggregate { op: AggregateOp::Sum, param: None, expr: part, grouping }))
    }

    /// Variance from each region's count n, mean m and variance v: with N = sum n and M = sum(n m) / N it is
    /// sum(n v + n (m - M)^2) / N, which loses nothing to cancellation as sums of squares would.
    fn pooled(&mut self, whole: &Aggregate, grid: Grid) -> Expr {
        let regional = match &whole.grouping {
            Grouping::By(labels) => Grouping::By(labels.iter().cloned().chain([REGION.to_owned()]).collect()),
            Grouping::Without(labels) => {
                Grouping::Without(labels.iter().filter(|name| *name != REGION).cloned().collect())
            }
        };
        let counts = self.ask_aggregate(whole, grid, AggregateOp::Count, regional.clone());
        let means = self.ask_aggregate(whole, grid, AggregateOp::Avg, regional.clone());
        let variances = self.ask_aggregate(whole, grid, AggregateOp::Stdvar, regional);
        let sum = |expr| {
            Expr::Aggregate(Box::new(Aggregate {
                op: AggregateOp::Sum,
                param: None,
                expr,
                grouping: whole.grouping.clone(),
            }))
        };
        let total = sum(counts.clone());
        let mean = operation(
            BinaryOp::Divide,
            sum(operation(BinaryOp::Multiply, counts.clone(), means.clone())),
            total.clone(),
        );
        let (on, labels) = match &whole.grouping {
            Grouping::By(labels) => (true, labels.clone()),
            Grouping::Without(labels) => (false, labels.clone()),
        };
        let distance = Expr::Binary(Box::new(Binary {
            op: BinaryOp::Subtract,
            lhs: means,
            rhs: mean,
            return_bool: false,
            on,
            labels,
            cardinality: Cardinality::ManyToOne(Vec::new()),
        }));
        let squared = operation(BinaryOp::Multiply, distance.clone(), distance);
        let within = operation(BinaryOp::Add, variances, squared);
        let variance = operation(BinaryOp::Divide, sum(operation(BinaryOp::Multiply, counts, within)), total);
        if whole.op == AggregateOp::Stdvar {
            return variance;
        }
        Expr::Call(Function::Math(crate::promql::function::MathFunction::Sqrt), vec![variance])
    }
}

/// Between series of the same labels.
fn operation(op: BinaryOp, lhs: Expr, rhs: Expr) -> Expr {
    let cardinality = Cardinality::OneToOne;
    Expr::Binary(Box::new(Binary {
        op,
        lhs,
        rhs,
        return_bool: false,
        on: false,
        labels: Vec::new(),
        cardinality,
    }))
}
