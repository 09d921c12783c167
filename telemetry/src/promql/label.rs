//! Functions that change labels, order or presence.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::Labels;
use crate::promql::ast::Expr;
use crate::promql::evaluate::{argument, same_labels, text};
use crate::promql::{ABSENT, Error, StepSeries};

/// 1 where nothing was.
pub(super) fn absent(labels: &Labels, present: &[bool]) -> Vec<StepSeries> {
    if present.iter().all(|present| *present) {
        return Vec::new();
    }
    let values = present.iter().map(|present| if *present { ABSENT } else { 1.0 }).collect();
    vec![StepSeries { labels: labels.clone(), values }]
}

/// By the value at the only time, NaN last either way; a range has no order of values.
pub(super) fn sort(mut series: Vec<StepSeries>, descending: bool, steps: usize) -> Vec<StepSeries> {
    if steps == 1 {
        series.sort_by(|left, right| {
            by_value(left.values[0], right.values[0], descending).then_with(|| left.labels.cmp(&right.labels))
        });
    }
    series
}

/// Smallest first or largest first, NaN last either way.
pub(super) fn by_value(left: f64, right: f64, descending: bool) -> Ordering {
    let order = left.partial_cmp(&right).unwrap_or(Ordering::Equal);
    left.is_nan().cmp(&right.is_nan()).then(if descending { order.reverse() } else { order })
}

/// By labels in natural order (2 before 10), then by all labels.
pub(super) fn sort_by(mut series: Vec<StepSeries>, labels: &[&str], descending: bool) -> Vec<StepSeries> {
    series.sort_by(|left, right| {
        let named = labels
            .iter()
            .map(|label| natural(left.labels.get(label), right.labels.get(label)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| left.labels.cmp(&right.labels));
        if descending { named.reverse() } else { named }
    });
    series
}

/// Compares texts with runs of digits as numbers.
fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    while let (Some(first), Some(second)) = (left.chars().next(), right.chars().next()) {
        let order = if first.is_ascii_digit() && second.is_ascii_digit() {
            let (left_digits, right_digits) = (digits(left), digits(right));
            (left, right) = (&left[left_digits.len()..], &right[right_digits.len()..]);
            let (one, two) = (left_digits.trim_start_matches('0'), right_digits.trim_start_matches('0'));
            one.len().cmp(&two.len()).then_with(|| one.cmp(two))
        } else {
            (left, right) = (&left[first.len_utf8()..], &right[second.len_utf8()..]);
            first.cmp(&second)
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

fn digits(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())]
}

/// `label_replace(v, target, replacement, source, regex)`
pub(super) fn replace(series: Vec<StepSeries>, args: &[Expr]) -> Result<Vec<StepSeries>, Error> {
    let target = label_name(text(argument(args, 1)?)?, "destination", "label_replace")?;
    let replacement = text(argument(args, 2)?)?;
    let source = text(argument(args, 3)?)?;
    let pattern = text(argument(args, 4)?)?;
    let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(1 << 20)
        .build()
        .map_err(|_| Error::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    relabel(series, |labels| {
        let value = labels.get(source);
        let Some(captures) = regex.captures(value) else { return labels.clone() };
        let mut expanded = String::new();
        captures.expand(replacement, &mut expanded);
        labels.with(target, &expanded)
    })
}

/// `label_join(v, target, separator, sources...)`
pub(super) fn join(series: Vec<StepSeries>, args: &[Expr]) -> Result<Vec<StepSeries>, Error> {
    let target = label_name(text(argument(args, 1)?)?, "destination", "label_join")?;
    let separator = text(argument(args, 2)?)?;
    let sources = args.get(3..).unwrap_or_default().iter().map(text).collect::<Result<Vec<_>, _>>()?;
    relabel(series, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source)).collect();
        labels.with(target, &values.join(separator))
    })
}

fn label_name<'a>(name: &'a str, role: &str, function: &str) -> Result<&'a str, Error> {
    if name.is_empty() {
        return Err(Error::Execution(format!("invalid {role} label name in {function}(): \"\"")));
    }
    Ok(name)
}

fn relabel(series: Vec<StepSeries>, relabel: impl Fn(&Labels) -> Labels) -> Result<Vec<StepSeries>, Error> {
    let mut seen = HashSet::with_capacity(series.len());
    series
        .into_iter()
        .map(|series| {
            let labels = relabel(&series.labels);
            if seen.insert(labels.clone()) {
                Ok(StepSeries { labels, values: series.values })
            } else {
                Err(same_labels(&labels))
            }
        })
        .collect()
}
