//! Operators between numbers, between series and numbers, between series.

use std::collections::{BTreeMap, HashMap};

use crate::Labels;
use crate::labels::METRIC_NAME;
use crate::promql::ast::{Binary, BinaryOp, Cardinality};
use crate::promql::evaluate::{Evaluator, same_labels};
use crate::promql::{ABSENT, Error, Grid, StepSeries, is_present};

/// Between numbers; a comparison gives 0 or 1.
pub(super) fn scalar(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        BinaryOp::Modulo => left % right,
        BinaryOp::Power => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        BinaryOp::Equal => f64::from(left == right),
        BinaryOp::NotEqual => f64::from(left != right),
        BinaryOp::Greater => f64::from(left > right),
        BinaryOp::Less => f64::from(left < right),
        BinaryOp::GreaterOrEqual => f64::from(left >= right),
        BinaryOp::LessOrEqual => f64::from(left <= right),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}

/// Between values of series: a comparison without `bool` filters and keeps `kept`.
fn element(binary: &Binary, left: f64, right: f64, kept: f64) -> f64 {
    let value = scalar(binary.op, left, right);
    match (binary.op.is_comparison() && !binary.return_bool, value == 1.0) {
        (false, _) => value,
        (true, true) => kept,
        (true, false) => ABSENT,
    }
}

fn drops_metric(binary: &Binary) -> bool {
    binary.return_bool || !(binary.op.is_comparison() || binary.op.is_set())
}

pub(super) fn evaluate(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    grid: Grid,
) -> Result<Vec<StepSeries>, Error> {
    match (evaluator.is_scalar(&binary.lhs), evaluator.is_scalar(&binary.rhs)) {
        (true, true) => Err(Error::Execution(format!("\"{binary}\" is a scalar where a vector is needed"))),
        (false, true) => {
            let right = evaluator.scalar(&binary.rhs, grid)?;
            let series = evaluator.vector(&binary.lhs, grid)?;
            with_scalar(binary, series, |step, value| element(binary, value, right[step], value))
        }
        (true, false) => {
            let left = evaluator.scalar(&binary.lhs, grid)?;
            let series = evaluator.vector(&binary.rhs, grid)?;
            with_scalar(binary, series, |step, value| element(binary, left[step], value, value))
        }
        (false, false) => {
            let (left, right) = (evaluator.vector(&binary.lhs, grid)?, evaluator.vector(&binary.rhs, grid)?);
            if binary.op == BinaryOp::Or {
                union(binary, left, right, grid)
            } else if binary.op.is_set() {
                Ok(filtered(binary, left, right, grid))
            } else {
                matched(evaluator, binary, left, right, grid)
            }
        }
    }
}

fn with_scalar(
    binary: &Binary,
    series: Vec<StepSeries>,
    value: impl Fn(usize, f64) -> f64,
) -> Result<Vec<StepSeries>, Error> {
    let mut merged = Merged::default();
    for mut series in series {
        for (step, held) in series.values.iter_mut().enumerate().filter(|(_, held)| is_present(**held)) {
            *held = value(step, *held);
        }
        if series.values.iter().any(|value| is_present(*value)) {
            let labels = if drops_metric(binary) { series.labels.without_metric() } else { series.labels };
            merged.add(labels, series.values, same_labels)?;
        }
    }
    Ok(merged.list)
}

/// Series by labels; the same labels may come twice as long as never at the same time.
#[derive(Default)]
struct Merged {
    index: HashMap<Labels, usize>,
    list: Vec<StepSeries>,
}

impl Merged {
    fn add(
        &mut self,
        labels: Labels,
        values: Vec<f64>,
        clash: impl Fn(&Labels) -> Error,
    ) -> Result<(), Error> {
        match self.index.get(&labels) {
            None => {
                self.index.insert(labels.clone(), self.list.len());
                self.list.push(StepSeries { labels, values });
            }
            Some(at) => {
                let held = &mut self.list[*at].values;
                for (held, value) in held.iter_mut().zip(values).filter(|(_, value)| is_present(*value)) {
                    if is_present(*held) {
                        return Err(clash(&labels));
                    }
                    *held = value;
                }
            }
        }
        Ok(())
    }
}

/// The labels by which series find each other.
fn signature(binary: &Binary, labels: &Labels) -> Labels {
    let named = |name: &str| binary.labels.iter().any(|label| label == name);
    if binary.on { labels.filter(named) } else { labels.filter(|name| name != METRIC_NAME && !named(name)) }
}

/// Series by signature, in order.
fn by_signature<'a>(binary: &Binary, series: &'a [StepSeries]) -> BTreeMap<Labels, Vec<&'a StepSeries>> {
    let mut found: BTreeMap<Labels, Vec<&StepSeries>> = BTreeMap::new();
    for series in series {
        found.entry(signature(binary, &series.labels)).or_default().push(series);
    }
    found
}

/// For each signature, at which times there is anything.
fn presence(binary: &Binary, series: &[StepSeries], grid: Grid) -> HashMap<Labels, Vec<bool>> {
    let mut found: HashMap<Labels, Vec<bool>> = HashMap::new();
    for series in series {
        let present =
            found.entry(signature(binary, &series.labels)).or_insert_with(|| vec![false; grid.len()]);
        present.iter_mut().zip(&series.values).for_each(|(seen, value)| *seen |= is_present(*value));
    }
    found
}

/// Keeps the values at whose times the signature is present (`keep_present`) or not.
fn masked(series: &mut StepSeries, present: Option<&Vec<bool>>, keep_present: bool) {
    for (step, value) in series.values.iter_mut().enumerate() {
        if present.is_some_and(|present| present[step]) != keep_present {
            *value = ABSENT;
        }
    }
}

fn filtered(binary: &Binary, left: Vec<StepSeries>, right: Vec<StepSeries>, grid: Grid) -> Vec<StepSeries> {
    let present = presence(binary, &right, grid);
    left.into_iter()
        .map(|mut series| {
            let present = present.get(&signature(binary, &series.labels));
            masked(&mut series, present, binary.op == BinaryOp::And);
            series
        })
        .filter(|series| series.values.iter().any(|value| is_present(*value)))
        .collect()
}

fn union(
    binary: &Binary,
    left: Vec<StepSeries>,
    right: Vec<StepSeries>,
    grid: Grid,
) -> Result<Vec<StepSeries>, Error> {
    let present = presence(binary, &left, grid);
    let mut merged = Merged::default();
    for series in left {
        merged.add(series.labels, series.values, same_labels)?;
    }
    for mut series in right {
        let present = present.get(&signature(binary, &series.labels));
        masked(&mut series, present, false);
        if series.values.iter().any(|value| is_present(*value)) {
            merged.add(series.labels, series.values, same_labels)?;
        }
    }
    Ok(merged.list)
}

/// Arithmetic and comparison between series that find each other by labels.
fn matched(
    evaluator: &Evaluator<'_>,
    binary: &Binary,
    left: Vec<StepSeries>,
    right: Vec<StepSeries>,
    grid: Grid,
) -> Result<Vec<StepSeries>, Error> {
    // The side on which each signature has one series at a time, and the other.
    let swapped = matches!(binary.cardinality, Cardinality::OneToMany(_));
    let (many, one) = if swapped { (&right, &left) } else { (&left, &right) };
    let ones = by_signature(binary, one);
    let mut one_at: HashMap<&Labels, Vec<Option<&StepSeries>>> = HashMap::new();
    for (signature, series) in &ones {
        let at = one_at.entry(signature).or_insert_with(|| vec![None; grid.len()]);
        for series in series {
            for (step, held) in at.iter_mut().enumerate().filter(|(step, _)| is_present(series.values[*step]))
            {
                if let Some(other) = held {
                    let side = if swapped { "left" } else { "right" };
                    return Err(duplicate(signature, side, &other.labels, &series.labels, step));
                }
                *held = Some(series);
            }
        }
    }
    let mut merged = Merged::default();
    let mut taken: HashMap<Labels, Vec<bool>> = HashMap::new();
    for series in many {
        let signature = signature(binary, &series.labels);
        let Some(partners) = one_at.get(&signature) else { continue };
        if binary.cardinality == Cardinality::OneToOne {
            let taken = taken.entry(signature.clone()).or_insert_with(|| vec![false; grid.len()]);
            for (step, taken) in taken.iter_mut().enumerate() {
                let here = is_present(series.values[step]) && partners[step].is_some();
                if here && *taken {
                    return Err(Error::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                            .to_owned(),
                    ));
                }
                *taken |= here;
            }
        }
        evaluator.hold(grid.len())?;
        for (labels, values) in pairs(binary, swapped, series, partners, grid) {
            merged.add(labels, values, |_| {
                Error::Execution(
                    "multiple matches for labels: grouping labels must ensure unique matches".to_owned(),
                )
            })?;
        }
    }
    Ok(merged.list)
}

fn duplicate(signature: &Labels, side: &str, one: &Labels, other: &Labels, _: usize) -> Error {
    Error::Execution(format!(
        "found duplicate series for the match group {signature} on the {side} hand-side of the operation: [{other}, {one}];many-to-many matching not allowed: matching labels must be unique on one side"
    ))
}

/// One series of the many side with its partners: one result per set of result labels.
fn pairs(
    binary: &Binary,
    swapped: bool,
    series: &StepSeries,
    partners: &[Option<&StepSeries>],
    grid: Grid,
) -> Vec<(Labels, Vec<f64>)> {
    let mut results: Vec<(&Labels, Labels, Vec<f64>)> = Vec::new();
    for (step, partner) in partners.iter().enumerate() {
        let Some(partner) = partner else { continue };
        let (many, one) = (series.values[step], partner.values[step]);
        if !is_present(many) {
            continue;
        }
        let (left, right) = if swapped { (one, many) } else { (many, one) };
        let value = element(binary, left, right, left);
        if !is_present(value) {
            continue;
        }
        let at = match results.iter().position(|(labels, ..)| *labels == &partner.labels) {
            Some(at) => at,
            None => {
                let labels = result_labels(binary, &series.labels, &partner.labels);
                results.push((&partner.labels, labels, vec![ABSENT; grid.len()]));
                results.len() - 1
            }
        };
        results[at].2[step] = value;
    }
    results.into_iter().map(|(_, labels, values)| (labels, values)).collect()
}

fn result_labels(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
    let labels = if drops_metric(binary) { many.without_metric() } else { many.clone() };
    match &binary.cardinality {
        Cardinality::OneToOne | Cardinality::ManyToMany => {
            let named = |name: &str| binary.labels.iter().any(|label| label == name);
            if binary.on { labels.filter(named) } else { labels.filter(|name| !named(name)) }
        }
        Cardinality::ManyToOne(include) | Cardinality::OneToMany(include) => {
            labels.with_all(include.iter().map(|name| (name.as_str(), one.get(name))))
        }
    }
}
