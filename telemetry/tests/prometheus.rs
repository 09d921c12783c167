//! Held against Prometheus: the same series and queries, its own engine's answers (`prometheus/oracle_test.go`).

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use serde::Deserialize;
use telemetry::promql::{self, Error, Grid, Params, Value, is_present};
use telemetry::sample::STALE;
use telemetry::{Labels, Millis, Sample, Series, number};

#[derive(Deserialize)]
struct Known {
    load: String,
    cases: Vec<(String, Millis, Millis, Millis, Vec<String>)>,
}

/// Series from Prometheus' `load` command: a step, then a selector and samples per line.
fn load(text: &str) -> Vec<Series> {
    let mut lines = text.lines();
    let step = lines.next().and_then(|line| line.strip_prefix("load ")).unwrap();
    let step = telemetry::prometheus::duration(step).unwrap();
    lines
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (selector, samples) = line.split_once("} ").unwrap();
            let matchers = promql::parse_selector(&format!("{selector}}}")).unwrap();
            let labels = matchers.iter().map(|matcher| (matcher.name(), matcher.value())).collect();
            let samples = samples.split_whitespace().zip(0..).filter_map(|(word, at)| {
                let value = match word {
                    "_" => return None,
                    "stale" => STALE,
                    number => number::parse(number).unwrap(),
                };
                Some(Sample::new(at * step, value))
            });
            Series { labels, samples: samples.collect() }
        })
        .collect()
}

/// Values by labels and time.
type Rows = BTreeMap<String, Vec<(Millis, f64)>>;

fn expected(rows: &[String]) -> Result<Rows, String> {
    let mut found = Rows::new();
    for row in rows {
        if let Some(error) = row.strip_prefix("error: ") {
            return Err(error.to_owned());
        }
        let (labels, points) = match row.strip_prefix('{') {
            Some(_) => row.split_at(row.rfind('}').unwrap() + 1),
            None => row.split_once(' ').unwrap(),
        };
        let labels = match serde_json::from_str::<Labels>(labels) {
            Ok(labels) => labels.to_string(),
            Err(_) => labels.to_owned(),
        };
        let points = points.split_whitespace().filter_map(|point| {
            let (at, value) = point.split_once(':')?;
            Some((at.parse().unwrap(), number::parse(value).unwrap()))
        });
        found.insert(labels, points.collect());
    }
    Ok(found)
}

fn ours(series: &[Series], query: &str, grid: Grid) -> Result<Rows, Error> {
    let value = promql::evaluate(&promql::parse(query)?, &Params::new(grid), series, &[])?;
    let dense = |values: Vec<f64>| {
        grid.times().zip(values).filter(|(_, value)| is_present(*value)).collect::<Vec<_>>()
    };
    Ok(match value {
        Value::Scalar(values) => {
            let name = if grid.step == 0 { "scalar" } else { "{}" };
            Rows::from([(name.to_owned(), dense(values))])
        }
        Value::Text(_) => Rows::from([("string".to_owned(), Vec::new())]),
        Value::Samples(series) => series
            .into_iter()
            .map(|series| {
                let points = series.samples.iter().map(|sample| (sample.at, sample.value)).collect();
                (series.labels.to_string(), points)
            })
            .collect(),
        Value::Vector(series) => series
            .into_iter()
            .map(|series| (series.labels.to_string(), dense(series.values)))
            .filter(|(_, points)| !points.is_empty())
            .collect(),
    })
}

/// The answers have nine digits.
fn close(left: f64, right: f64) -> bool {
    left == right
        || left.is_nan() && right.is_nan()
        || (left - right).abs() <= 1e-8 * left.abs().max(right.abs())
}

fn same(left: &Rows, right: &Rows) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|((left_labels, left), (right_labels, right))| {
            left_labels == right_labels
                && left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| left.0 == right.0 && close(left.1, right.1))
        })
}

#[test]
fn every_query_is_answered_as_prometheus_answers_it() {
    let known: Known = serde_json::from_str(include_str!("prometheus/answers.json")).unwrap();
    let series = load(&known.load);
    assert!(known.cases.len() > 400);
    for (query, start, end, step, rows) in &known.cases {
        let grid = if *step == 0 { Grid::instant(*start) } else { Grid::range(*start, *end, *step).unwrap() };
        match (expected(rows), ours(&series, query, grid)) {
            (Ok(theirs), Ok(ours)) => {
                assert!(same(&theirs, &ours), "{query} {grid:?}\nPrometheus: {theirs:?}\nours: {ours:?}");
            }
            (Err(_), Err(_)) => {}
            (theirs, ours) => panic!("{query} {grid:?}\nPrometheus: {theirs:?}\nours: {ours:?}"),
        }
    }
}
