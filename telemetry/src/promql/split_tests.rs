//! A query split over regions gives what it gives on all series in one place.

use proptest::prelude::*;

use super::tests::load;
use super::*;
use crate::promql::split::union;

const REGIONS: [&str; 3] = ["ap", "eu", "us"];
const MINUTE: Millis = 60_000;

fn regions() -> Vec<String> {
    REGIONS.map(str::to_owned).to_vec()
}

/// What the regions would answer, asked only as the plan says.
fn ask(plan: &Plan, all: &[Series]) -> Vec<Value> {
    plan.parts
        .iter()
        .map(|ask| {
            let answers = ask.regions.iter().map(|region| {
                let own: Vec<Series> =
                    all.iter().filter(|series| series.labels.get("region") == region).cloned().collect();
                evaluate(&parse(&ask.expr).unwrap(), &ask.params, &own[..], &[]).unwrap()
            });
            union(answers.collect()).unwrap()
        })
        .collect()
}

/// Labels and values; a value that differs only by rounding is the same.
fn rows(value: &Value) -> Vec<(String, Vec<f64>)> {
    let mut rows: Vec<(String, Vec<f64>)> = match value {
        Value::Scalar(values) => vec![("scalar".to_owned(), values.clone())],
        Value::Text(text) => vec![(text.clone(), Vec::new())],
        Value::Vector(series) => {
            series.iter().map(|series| (series.labels.to_string(), series.values.clone())).collect()
        }
        Value::Samples(series) => series
            .iter()
            .map(|series| {
                (
                    series.labels.to_string(),
                    series.samples.iter().flat_map(|s| [s.at as f64, s.value]).collect(),
                )
            })
            .collect(),
    };
    rows.sort_by(|left, right| left.0.cmp(&right.0));
    rows
}

fn same(left: &Value, right: &Value) -> bool {
    let close = |left: f64, right: f64| {
        left.to_bits() == right.to_bits()
            || left.is_nan() && right.is_nan() && is_present(left) == is_present(right)
            || (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1e-9)
    };
    let (left, right) = (rows(left), rows(right));
    left.len() == right.len()
        && left.iter().zip(&right).all(|(left, right)| {
            left.0 == right.0
                && left.1.len() == right.1.len()
                && left.1.iter().zip(&right.1).all(|(left, right)| close(*left, *right))
        })
}

const QUERIES: [&str; 58] = [
    "x",
    "sum(x)",
    "sum by (job) (rate(c[5m]))",
    "sum by (region) (rate(c[5m]))",
    "sum without (i) (x)",
    "sum without (i, region) (x)",
    "avg(x)",
    "avg by (job) (x)",
    "avg without (region) (x)",
    "avg by (__name__) (x)",
    "count(x)",
    "count by (i) (x > 3)",
    "min(x)",
    "max by (job) (x)",
    "group(x)",
    "topk(2, x)",
    "bottomk by (job) (1, x)",
    "topk by (region) (1, x)",
    "stddev(x)",
    "stdvar by (job) (x)",
    "stddev without (i, region) (x)",
    "stdvar without (i) (x)",
    "quantile(0.5, x)",
    "quantile by (region) (0.5, x)",
    "count_values(\"v\", x)",
    "count_values by (job) (\"v\", x)",
    "count_values without (i, region) (\"v\", x)",
    "count_values(\"region\", x)",
    "sum(x) / sum(c)",
    "x / on (region, job, i) c",
    "x / ignoring (job) group_left c{job=\"a\"}",
    "x + sum(x)",
    "x * on (job) group_left sum by (job) (x)",
    "x / scalar(sum(x))",
    "sum(x) > 3",
    "sum(x > 3)",
    "x and on (job) c",
    "x and c",
    "x unless on (region) c{i=\"1\"}",
    "x or vector(1)",
    "absent(x)",
    "absent(nothing{a=\"1\"})",
    "absent_over_time(x[2m])",
    "absent_over_time(nothing[2m])",
    "scalar(x{region=\"eu\",job=\"a\",i=\"0\"})",
    "max_over_time(sum(x)[5m:1m])",
    "max_over_time(x[5m:1m])",
    "rate(sum(c)[5m:1m])",
    "quantile_over_time(scalar(vector(0.5)), x[5m])",
    "predict_linear(c[5m], 60) - 1",
    "histogram_quantile(0.9, sum by (le) (rate(b_bucket[5m])))",
    "histogram_quantile(0.9, rate(b_bucket[5m]))",
    "label_replace(x, \"z\", \"$1\", \"job\", \"(.*)\")",
    "sum(label_replace(x, \"region\", \"one\", \"region\", \".*\"))",
    "sort_desc(sum by (job) (x))",
    "sum(x{region=\"eu\"}) + sum(x{region=\"us\"})",
    "sum(x{region=~\"eu|us\"} @ end() offset 1m)",
    "max(max by (region) (x)) - min(sum by (job) (x))",
];

fn data(values: &[(u8, u8)]) -> Vec<Series> {
    let mut text = String::new();
    let mut next = values.iter().cycle();
    for region in REGIONS {
        for job in ["a", "b"] {
            for instance in 0..2 {
                let (first, step) = next.next().unwrap();
                let labels = format!("region=\"{region}\",job=\"{job}\",i=\"{instance}\"");
                let (first, step) = (first % 9, i32::from(*step % 7) - 3);
                text += &format!("x{{{labels}}}  {first}+{step}x12 _ {first} stale\n").replace("+-", "-");
                text += &format!("c{{{labels}}}  {first}+{}x9 0+{}x9\n", step.abs() + 1, step.abs() + 2);
            }
        }
        for (bound, share) in [("0.1", 1), ("1", 3), ("+Inf", 4)] {
            let (first, _) = next.next().unwrap();
            text += &format!(
                "b_bucket{{region=\"{region}\",le=\"{bound}\"}}  0+{}x15\n",
                share * (1 + first % 5)
            );
        }
    }
    load(MINUTE, &text)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn split_over_regions_a_query_means_the_same(values in prop::collection::vec(any::<(u8, u8)>(), 21), ranged: bool) {
        let all = data(&values);
        let grid = if ranged { Grid::range(4 * MINUTE, 16 * MINUTE, 100_000).unwrap() } else { Grid::instant(8 * MINUTE) };
        let params = Params::new(grid);
        for query in QUERIES {
            let expr = parse(query).unwrap();
            let whole = evaluate(&expr, &params, &all[..], &[]);
            let plan = split(&expr, &params, &regions()).unwrap();
            let parts = ask(&plan, &all);
            let merged = plan.finish(&parts);
            match (&whole, &merged) {
                (Ok(whole), Ok(merged)) => assert!(same(whole, merged), "{query}\n{whole:?}\n{merged:?}\n{plan:?}"),
                (whole, merged) => assert_eq!(whole.is_err(), merged.is_err(), "{query} {whole:?} {merged:?}"),
            }
        }
    }
}

/// What is asked, of whom, and what the hub does.
fn plan(query: &str) -> (Vec<(String, String)>, String) {
    let plan = split(&parse(query).unwrap(), &Params::new(Grid::instant(0)), &regions()).unwrap();
    let asks = plan.parts.into_iter().map(|ask| (ask.expr, ask.regions.join(" "))).collect();
    (asks, plan.hub.to_string())
}

#[test]
fn a_region_is_asked_only_for_what_it_can_have() {
    let one = |text: &str, regions: &str| vec![(text.to_owned(), regions.to_owned())];
    let table = [
        (
            "quantile(0.5, x{region=\"eu\"})",
            one("quantile(0.5, {__name__=\"x\",region=\"eu\"})", "eu"),
            "<part 0>",
        ),
        ("absent(x{region=\"eu\"})", one("absent({__name__=\"x\",region=\"eu\"})", "eu"), "<part 0>"),
        ("sum(x{region!=\"eu\"})", one("sum({__name__=\"x\",region!=\"eu\"})", "ap us"), "sum(<part 0>)"),
        ("sum(x{region=\"mars\"})", one("sum({__name__=\"x\",region=\"mars\"})", ""), "sum(<part 0>)"),
        ("1 + 1", vec![], "1 + 1"),
        (
            "sum by (region) (rate(c[5m]))",
            one("sum by (region) (rate({__name__=\"c\"}[300s]))", "ap eu us"),
            "<part 0>",
        ),
        ("count(x)", one("count({__name__=\"x\"})", "ap eu us"), "sum(<part 0>)"),
        (
            "absent_over_time(x[5m])",
            one("present_over_time({__name__=\"x\"}[300s])", "ap eu us"),
            "absent(<part 0>)",
        ),
        ("x - x", one("{__name__=\"x\"} - {__name__=\"x\"}", "ap eu us"), "<part 0>"),
    ];
    for (query, asks, hub) in table {
        assert_eq!(plan(query), (asks, hub.to_owned()), "{query}");
    }
}
