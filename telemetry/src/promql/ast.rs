//! A PromQL expression, as small as the evaluator wants it, and its text form.
//!
//! The text form reads back to the same expression: it is what the hub sends to a region.

use std::fmt;

use crate::promql::Grid;
use crate::promql::function::Function;
use crate::selector::{Matcher, quote, quoted_name};
use crate::{Millis, number};

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// The newest sample of each series.
    Select(Selector),
    /// The samples of each series inside a range.
    Range(Selector, Millis),
    /// An expression evaluated at many times.
    Subquery(Box<Subquery>),
    /// Minus.
    Negate(Box<Expr>),
    /// Two operands.
    Binary(Box<Binary>),
    /// Many series to few.
    Aggregate(Box<Aggregate>),
    /// A function and its arguments.
    Call(Function, Vec<Expr>),
    /// A part that was answered elsewhere, by index; never in a text.
    Part(usize),
}

/// Which series, and when relative to the time of evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// Conditions, the metric's name among them.
    pub matchers: Vec<Matcher>,
    /// How long before.
    pub offset: Millis,
    /// At a fixed time instead.
    pub at: Option<At>,
}

/// The `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `@ start()`
    Start,
    /// `@ end()`
    End,
    /// `@ <time>`
    Time(Millis),
}

/// `expr[range:step]`
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Expr,
    /// Over how long.
    pub range: Millis,
    /// How often; the default resolution when `None`.
    pub step: Option<Millis>,
    /// How long before.
    pub offset: Millis,
    /// At a fixed time instead.
    pub at: Option<At>,
}

/// Two operands and how their series find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Expr,
    /// Right operand.
    pub rhs: Expr,
    /// Comparison gives 0 or 1 instead of filtering.
    pub return_bool: bool,
    /// `on` (true) or `ignoring` the labels.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// How many on each side.
    pub cardinality: Cardinality,
}

/// How many series of each side share a set of matching labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cardinality {
    /// One and one.
    OneToOne,
    /// `group_left`, with labels taken from the right.
    ManyToOne(Vec<String>),
    /// `group_right`, with labels taken from the left.
    OneToMany(Vec<String>),
    /// Set operators.
    ManyToMany,
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the operators")]
pub enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    const TABLE: [(&'static str, Self); 16] = [
        ("+", Self::Add),
        ("-", Self::Subtract),
        ("*", Self::Multiply),
        ("/", Self::Divide),
        ("%", Self::Modulo),
        ("^", Self::Power),
        ("atan2", Self::Atan2),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        (">", Self::Greater),
        ("<", Self::Less),
        (">=", Self::GreaterOrEqual),
        ("<=", Self::LessOrEqual),
        ("and", Self::And),
        ("or", Self::Or),
        ("unless", Self::Unless),
    ];

    /// The operator of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(found, _)| *found == name).map(|(_, op)| *op)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::TABLE.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// The higher, the tighter it binds.
    fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Greater
            | Self::Less
            | Self::GreaterOrEqual
            | Self::LessOrEqual => 3,
            Self::Add | Self::Subtract => 4,
            Self::Multiply | Self::Divide | Self::Modulo | Self::Atan2 => 5,
            Self::Power => 6,
        }
    }

    /// Whether it compares.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::Less
                | Self::GreaterOrEqual
                | Self::LessOrEqual
        )
    }

    /// Whether it is a set operator.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// Many series to few.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// How.
    pub op: AggregateOp,
    /// `k`, a quantile or a label's name.
    pub param: Option<Expr>,
    /// What.
    pub expr: Expr,
    /// Into which groups.
    pub grouping: Grouping,
}

/// Which labels make a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// These; none of them means one group.
    By(Vec<String>),
    /// All but these and the metric's name.
    Without(Vec<String>),
}

impl Grouping {
    /// Whether a label tells groups apart.
    pub fn keeps(&self, label: &str) -> bool {
        match self {
            Self::By(labels) => labels.iter().any(|found| found == label),
            Self::Without(labels) => {
                label != crate::labels::METRIC_NAME && !labels.iter().any(|found| found == label)
            }
        }
    }
}

/// An aggregation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are PromQL's")]
pub enum AggregateOp {
    Sum,
    Min,
    Max,
    Avg,
    Count,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    Quantile,
    CountValues,
}

impl AggregateOp {
    const TABLE: [(&'static str, Self); 12] = [
        ("sum", Self::Sum),
        ("min", Self::Min),
        ("max", Self::Max),
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::TopK),
        ("bottomk", Self::BottomK),
        ("quantile", Self::Quantile),
        ("count_values", Self::CountValues),
    ];

    /// The aggregation of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::TABLE.iter().find(|(found, _)| *found == name).map(|(_, op)| *op)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::TABLE.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }
}

impl Expr {
    /// The operands and arguments, left to right.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Number(_) | Self::Text(_) | Self::Select(_) | Self::Range(..) | Self::Part(_) => Vec::new(),
            Self::Subquery(subquery) => vec![&subquery.expr],
            Self::Negate(expr) => vec![expr],
            Self::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            Self::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            Self::Call(_, args) => args.iter().collect(),
        }
    }

    /// Whether its text stands for itself beside an operator.
    fn is_closed(&self) -> bool {
        match self {
            Self::Number(value) => *value >= 0.0,
            Self::Negate(_) | Self::Binary(_) => false,
            Self::Text(_)
            | Self::Select(_)
            | Self::Range(..)
            | Self::Subquery(_)
            | Self::Aggregate(_)
            | Self::Call(..)
            | Self::Part(_) => true,
        }
    }

    /// Every selector in it.
    pub fn selectors(&self) -> Vec<&Selector> {
        match self {
            Self::Select(selector) | Self::Range(selector, _) => vec![selector],
            Self::Number(_)
            | Self::Text(_)
            | Self::Subquery(_)
            | Self::Negate(_)
            | Self::Binary(_)
            | Self::Aggregate(_)
            | Self::Call(..)
            | Self::Part(_) => self.children().into_iter().flat_map(Self::selectors).collect(),
        }
    }

    /// The time whose samples matter when it is evaluated on that grid: after, through. `None` when it needs no
    /// samples. `@ start()` and `@ end()` must have been fixed.
    pub fn reach(&self, grid: Grid, lookback: Millis) -> Option<(Millis, Millis)> {
        let span = |at: Option<At>, offset: Millis, back: Millis| {
            let (first, last) = match at {
                Some(At::Time(time)) => (time, time),
                Some(At::Start | At::End) | None => (grid.start, grid.last()),
            };
            (first.saturating_sub(offset).saturating_sub(back), last.saturating_sub(offset))
        };
        match self {
            Self::Select(selector) => Some(span(selector.at, selector.offset, lookback)),
            Self::Range(selector, range) => Some(span(selector.at, selector.offset, *range)),
            Self::Subquery(subquery) => {
                let (after, through) = span(subquery.at, subquery.offset, subquery.range);
                let inner = Grid { start: after, end: through, step: through.saturating_sub(after).max(1) };
                subquery.expr.reach(inner, lookback)
            }
            Self::Number(_)
            | Self::Text(_)
            | Self::Negate(_)
            | Self::Binary(_)
            | Self::Aggregate(_)
            | Self::Call(..)
            | Self::Part(_) => {
                let parts = self.children().into_iter().filter_map(|child| child.reach(grid, lookback));
                parts.reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)))
            }
        }
    }

    /// With `@ start()` and `@ end()` replaced by their times, so that it means the same inside any grid.
    pub fn fix_times(&mut self, start: Millis, end: Millis) {
        let fix = |at: &mut Option<At>| match at {
            Some(At::Start) => *at = Some(At::Time(start)),
            Some(At::End) => *at = Some(At::Time(end)),
            Some(At::Time(_)) | None => {}
        };
        match self {
            Self::Number(_) | Self::Text(_) | Self::Part(_) => {}
            Self::Select(selector) | Self::Range(selector, _) => fix(&mut selector.at),
            Self::Subquery(subquery) => {
                fix(&mut subquery.at);
                subquery.expr.fix_times(start, end);
            }
            Self::Negate(expr) => expr.fix_times(start, end),
            Self::Binary(binary) => {
                binary.lhs.fix_times(start, end);
                binary.rhs.fix_times(start, end);
            }
            Self::Aggregate(aggregate) => {
                aggregate.param.iter_mut().for_each(|param| param.fix_times(start, end));
                aggregate.expr.fix_times(start, end);
            }
            Self::Call(_, args) => args.iter_mut().for_each(|arg| arg.fix_times(start, end)),
        }
    }
}

/// An expression, in parentheses or not.
struct Enclosed<'a>(&'a Expr, bool);

impl fmt::Display for Enclosed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 { write!(f, "({})", self.0) } else { fmt::Display::fmt(self.0, f) }
    }
}

struct Duration(Millis);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        if magnitude.is_multiple_of(1000) {
            write!(f, "{sign}{}s", magnitude / 1000)
        } else {
            write!(f, "{sign}{magnitude}ms")
        }
    }
}

fn write_when(f: &mut fmt::Formatter<'_>, at: Option<At>, offset: Millis) -> fmt::Result {
    match at {
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        Some(At::Time(time)) => write!(f, " @ {}", number::format_seconds(time))?,
        None => {}
    }
    if offset != 0 {
        write!(f, " offset {}", Duration(offset))?;
    }
    Ok(())
}

fn write_matchers(f: &mut fmt::Formatter<'_>, matchers: &[Matcher]) -> fmt::Result {
    f.write_str("{")?;
    for (index, matcher) in matchers.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(f, "{comma}{matcher}")?;
    }
    f.write_str("}")
}

fn names(labels: &[String]) -> String {
    labels.iter().map(|label| quoted_name(label)).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => f.write_str(&number::format(*value)),
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Select(selector) => {
                write_matchers(f, &selector.matchers)?;
                write_when(f, selector.at, selector.offset)
            }
            Self::Range(selector, range) => {
                write_matchers(f, &selector.matchers)?;
                write!(f, "[{}]", Duration(*range))?;
                write_when(f, selector.at, selector.offset)
            }
            Self::Subquery(subquery) => {
                write!(
                    f,
                    "{}[{}:",
                    Enclosed(&subquery.expr, !subquery.expr.is_closed()),
                    Duration(subquery.range)
                )?;
                if let Some(step) = subquery.step {
                    write!(f, "{}", Duration(step))?;
                }
                f.write_str("]")?;
                write_when(f, subquery.at, subquery.offset)
            }
            Self::Negate(expr) => {
                let plain = expr.is_closed() || matches!(**expr, Self::Negate(_));
                write!(f, "-{}", Enclosed(expr, !plain))
            }
            Self::Binary(binary) => fmt::Display::fmt(binary, f),
            Self::Aggregate(aggregate) => fmt::Display::fmt(aggregate, f),
            Self::Call(function, args) => {
                write!(f, "{}(", function.name())?;
                for (index, arg) in args.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{arg}")?;
                }
                f.write_str(")")
            }
            Self::Part(index) => write!(f, "<part {index}>"),
        }
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A chain is written without parentheses where it reads from the left, so that its text nests no deeper.
        let binds = |expr: &Expr, least: u8| {
            if let Expr::Binary(inner) = expr { inner.op.precedence() >= least } else { expr.is_closed() }
        };
        let own = self.op.precedence();
        let from_left = self.op != BinaryOp::Power && binds(&self.lhs, own);
        let left = Enclosed(&self.lhs, !(from_left || self.lhs.is_closed()));
        write!(f, "{left} {}", self.op.as_str())?;
        if self.return_bool {
            f.write_str(" bool")?;
        }
        if self.on
            || !self.labels.is_empty()
            || matches!(self.cardinality, Cardinality::ManyToOne(_) | Cardinality::OneToMany(_))
        {
            write!(f, " {}({})", if self.on { "on" } else { "ignoring" }, names(&self.labels))?;
        }
        match &self.cardinality {
            Cardinality::ManyToOne(labels) => write!(f, " group_left({})", names(labels))?,
            Cardinality::OneToMany(labels) => write!(f, " group_right({})", names(labels))?,
            Cardinality::OneToOne | Cardinality::ManyToMany => {}
        }
        write!(f, " {}", Enclosed(&self.rhs, !binds(&self.rhs, own + 1)))
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.op.as_str())?;
        match &self.grouping {
            Grouping::By(labels) if labels.is_empty() => {}
            Grouping::By(labels) => write!(f, " by ({}) ", names(labels))?,
            Grouping::Without(labels) => write!(f, " without ({}) ", names(labels))?,
        }
        f.write_str("(")?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}
