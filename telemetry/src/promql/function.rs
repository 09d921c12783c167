//! PromQL's functions, by what they need.

use crate::Labels;

/// A function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Function {
    /// Over the samples of a range.
    Range(RangeFunction),
    /// From each value to another.
    Math(MathFunction),
    /// From a time to a number of the calendar, UTC.
    Date(DateFunction),
    /// 1 when there is nothing; the labels come from the argument's matchers.
    Absent(Labels),
    /// The same for a range.
    AbsentOverTime(Labels),
    /// The value of the only series.
    Scalar,
    /// A series without labels.
    Vector,
    /// The time of evaluation in seconds.
    Time,
    /// Pi.
    Pi,
    /// The time of the sample in seconds.
    Timestamp,
    /// By value.
    Sort,
    /// By value, largest first.
    SortDesc,
    /// By labels, in natural order.
    SortByLabel,
    /// By labels, in reverse natural order.
    SortByLabelDesc,
    /// A label from a regular expression on another.
    LabelReplace,
    /// A label from several others.
    LabelJoin,
    /// A quantile from buckets.
    HistogramQuantile,
    /// The share of observations between two values, from buckets.
    HistogramFraction,
    /// Between two bounds.
    Clamp,
    /// Not over.
    ClampMax,
    /// Not under.
    ClampMin,
    /// To the nearest multiple.
    Round,
}

/// A function over the samples of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are PromQL's")]
pub enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Last,
    First,
    Present,
    Stddev,
    Stdvar,
    Quantile,
    Changes,
    Resets,
    Deriv,
    PredictLinear,
    Mad,
    Smoothing,
}

impl RangeFunction {
    /// Whether the result is still the metric of that name.
    pub fn keeps_metric(self) -> bool {
        matches!(self, Self::Last | Self::First)
    }
}

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are PromQL's")]
pub enum MathFunction {
    Abs,
    Ceil,
    Floor,
    Exp,
    Ln,
    Log2,
    Log10,
    Sqrt,
    Sgn,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Deg,
    Rad,
}

/// A number of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are PromQL's")]
pub enum DateFunction {
    Year,
    Month,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    DaysInMonth,
    Hour,
    Minute,
}

impl Function {
    /// Every function and its name.
    const TABLE: &'static [(&'static str, Plain)] = &[
        ("rate", Plain::Range(RangeFunction::Rate)),
        ("increase", Plain::Range(RangeFunction::Increase)),
        ("delta", Plain::Range(RangeFunction::Delta)),
        ("irate", Plain::Range(RangeFunction::Irate)),
        ("idelta", Plain::Range(RangeFunction::Idelta)),
        ("avg_over_time", Plain::Range(RangeFunction::Avg)),
        ("min_over_time", Plain::Range(RangeFunction::Min)),
        ("max_over_time", Plain::Range(RangeFunction::Max)),
        ("sum_over_time", Plain::Range(RangeFunction::Sum)),
        ("count_over_time", Plain::Range(RangeFunction::Count)),
        ("last_over_time", Plain::Range(RangeFunction::Last)),
        ("first_over_time", Plain::Range(RangeFunction::First)),
        ("present_over_time", Plain::Range(RangeFunction::Present)),
        ("stddev_over_time", Plain::Range(RangeFunction::Stddev)),
        ("stdvar_over_time", Plain::Range(RangeFunction::Stdvar)),
        ("quantile_over_time", Plain::Range(RangeFunction::Quantile)),
        ("changes", Plain::Range(RangeFunction::Changes)),
        ("resets", Plain::Range(RangeFunction::Resets)),
        ("deriv", Plain::Range(RangeFunction::Deriv)),
        ("predict_linear", Plain::Range(RangeFunction::PredictLinear)),
        ("mad_over_time", Plain::Range(RangeFunction::Mad)),
        ("double_exponential_smoothing", Plain::Range(RangeFunction::Smoothing)),
        ("abs", Plain::Math(MathFunction::Abs)),
        ("ceil", Plain::Math(MathFunction::Ceil)),
        ("floor", Plain::Math(MathFunction::Floor)),
        ("exp", Plain::Math(MathFunction::Exp)),
        ("ln", Plain::Math(MathFunction::Ln)),
        ("log2", Plain::Math(MathFunction::Log2)),
        ("log10", Plain::Math(MathFunction::Log10)),
        ("sqrt", Plain::Math(MathFunction::Sqrt)),
        ("sgn", Plain::Math(MathFunction::Sgn)),
        ("sin", Plain::Math(MathFunction::Sin)),
        ("cos", Plain::Math(MathFunction::Cos)),
        ("tan", Plain::Math(MathFunction::Tan)),
        ("asin", Plain::Math(MathFunction::Asin)),
        ("acos", Plain::Math(MathFunction::Acos)),
        ("atan", Plain::Math(MathFunction::Atan)),
        ("sinh", Plain::Math(MathFunction::Sinh)),
        ("cosh", Plain::Math(MathFunction::Cosh)),
        ("tanh", Plain::Math(MathFunction::Tanh)),
        ("asinh", Plain::Math(MathFunction::Asinh)),
        ("acosh", Plain::Math(MathFunction::Acosh)),
        ("atanh", Plain::Math(MathFunction::Atanh)),
        ("deg", Plain::Math(MathFunction::Deg)),
        ("rad", Plain::Math(MathFunction::Rad)),
        ("year", Plain::Date(DateFunction::Year)),
        ("month", Plain::Date(DateFunction::Month)),
        ("day_of_month", Plain::Date(DateFunction::DayOfMonth)),
        ("day_of_week", Plain::Date(DateFunction::DayOfWeek)),
        ("day_of_year", Plain::Date(DateFunction::DayOfYear)),
        ("days_in_month", Plain::Date(DateFunction::DaysInMonth)),
        ("hour", Plain::Date(DateFunction::Hour)),
        ("minute", Plain::Date(DateFunction::Minute)),
        ("absent", Plain::Absent),
        ("absent_over_time", Plain::AbsentOverTime),
        ("scalar", Plain::Other(Self::Scalar)),
        ("vector", Plain::Other(Self::Vector)),
        ("time", Plain::Other(Self::Time)),
        ("pi", Plain::Other(Self::Pi)),
        ("timestamp", Plain::Other(Self::Timestamp)),
        ("sort", Plain::Other(Self::Sort)),
        ("sort_desc", Plain::Other(Self::SortDesc)),
        ("sort_by_label", Plain::Other(Self::SortByLabel)),
        ("sort_by_label_desc", Plain::Other(Self::SortByLabelDesc)),
        ("label_replace", Plain::Other(Self::LabelReplace)),
        ("label_join", Plain::Other(Self::LabelJoin)),
        ("histogram_quantile", Plain::Other(Self::HistogramQuantile)),
        ("histogram_fraction", Plain::Other(Self::HistogramFraction)),
        ("clamp", Plain::Other(Self::Clamp)),
        ("clamp_max", Plain::Other(Self::ClampMax)),
        ("clamp_min", Plain::Other(Self::ClampMin)),
        ("round", Plain::Other(Self::Round)),
    ];

    /// The function of that name; `absent` is given the labels of the argument's matchers.
    pub fn named(name: &str, absent: impl FnOnce() -> Labels) -> Option<Self> {
        let (_, plain) = Self::TABLE.iter().find(|(found, _)| *found == name)?;
        Some(match plain {
            Plain::Range(function) => Self::Range(*function),
            Plain::Math(function) => Self::Math(*function),
            Plain::Date(function) => Self::Date(*function),
            Plain::Absent => Self::Absent(absent()),
            Plain::AbsentOverTime => Self::AbsentOverTime(absent()),
            Plain::Other(function) => function.clone(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        let same = |plain: &Plain| match (plain, self) {
            (Plain::Range(left), Self::Range(right)) => left == right,
            (Plain::Math(left), Self::Math(right)) => left == right,
            (Plain::Date(left), Self::Date(right)) => left == right,
            (Plain::Absent, Self::Absent(_)) | (Plain::AbsentOverTime, Self::AbsentOverTime(_)) => true,
            (Plain::Other(left), right) => left == right,
            (
                Plain::Range(_) | Plain::Math(_) | Plain::Date(_) | Plain::Absent | Plain::AbsentOverTime,
                _,
            ) => false,
        };
        Self::TABLE.iter().find(|(_, plain)| same(plain)).map_or("", |(name, _)| name)
    }

    /// Whether the result is a number, not series.
    pub fn is_scalar(&self) -> bool {
        matches!(self, Self::Scalar | Self::Time | Self::Pi)
    }
}

/// A function before its argument is known.
enum Plain {
    Range(RangeFunction),
    Math(MathFunction),
    Date(DateFunction),
    Absent,
    AbsentOverTime,
    Other(Function),
}
