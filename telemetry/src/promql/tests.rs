//! The evaluator against values worked out by hand from Prometheus' documented semantics.

use super::*;
use crate::number;

/// Series from lines `metric{label="value"} samples`, one sample every `step`, beginning at 0. A sample is a
/// number, `_` for none, `stale`, `a+bxn` for n+1 numbers from a in steps of b, `axn` for n+1 times a.
pub(super) fn load(step: Millis, text: &str) -> Vec<Series> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (selector, samples) = line.rsplit_once("  ").unwrap_or_else(|| panic!("two spaces in {line}"));
        let matchers = parse_selector(selector.trim()).unwrap();
        let labels = matchers.iter().map(|matcher| (matcher.name(), matcher.value())).collect();
        let mut values = Vec::new();
        for word in samples.split_whitespace() {
            match word.split_once('x') {
                _ if word == "_" => values.push(None),
                _ if word == "stale" => values.push(Some(STALE)),
                None => values.push(number::parse(word)),
                Some((from, times)) => {
                    let at = from[1..].find(['+', '-']).map(|at| at + 1);
                    let (first, by) = at.map_or((from, "0"), |at| from.split_at(at));
                    let (first, by) = (number::parse(first).unwrap(), number::parse(by).unwrap());
                    let times: u32 = times.parse().unwrap();
                    values.extend((0..=times).map(|time| Some(first + by * f64::from(time))));
                }
            }
        }
        let samples =
            values.into_iter().zip(0..).filter_map(|(value, at)| Some(Sample::new(at * step, value?)));
        found.push(Series { labels, samples: samples.collect() });
    }
    found
}

fn number_text(value: f64) -> String {
    // Enough digits to tell a wrong formula from rounding.
    if value.is_finite() { number::format((value * 1e9).round() / 1e9) } else { number::format(value) }
}

/// The answer as text: `labels value` lines, or the error.
fn instant(series: &[Series], query: &str, at: Millis) -> Vec<String> {
    let answer = parse(query).and_then(|expr| evaluate(&expr, &Params::new(Grid::instant(at)), series, &[]));
    match answer {
        Ok(Value::Scalar(values)) => vec![number_text(values[0])],
        Ok(Value::Text(text)) => vec![text],
        Ok(Value::Vector(series)) => series
            .iter()
            .map(|series| format!("{} {}", series.labels, number_text(series.values[0])))
            .collect(),
        Ok(Value::Samples(series)) => series
            .iter()
            .map(|series| {
                let samples: Vec<String> =
                    series.samples.iter().map(|s| format!("{}@{}", number_text(s.value), s.at)).collect();
                format!("{} {}", series.labels, samples.join(" "))
            })
            .collect(),
        Err(error) => vec![format!("error: {error}")],
    }
}

fn check(series: &[Series], at: Millis, table: &[(&str, &[&str])]) {
    for (query, expected) in table {
        assert_eq!(instant(series, query, at), *expected, "{query}");
    }
}

const MINUTE: Millis = 60_000;

#[test]
fn an_instant_looks_back_five_minutes_and_stops_at_a_stale_marker() {
    let series = load(
        MINUTE,
        "
        a  1 2 _ _ _ _ _ _ _
        b  1 stale 3
    ",
    );
    check(&series, 5 * MINUTE, &[("a", &["a 2"])]);
    check(&series, 6 * MINUTE - 1, &[("a", &["a 2"])]);
    check(&series, 6 * MINUTE, &[("a", &[])]);
    check(
        &series,
        MINUTE,
        &[("b", &[]), ("b offset 1m", &["b 1"]), ("b @ 0", &["b 1"]), ("b offset -1m", &["b 3"])],
    );
    check(&series, 100 * MINUTE, &[("a @ 60", &["a 2"]), ("a @ 60 offset 1m", &["a 1"])]);
}

#[test]
fn a_range_is_open_on_the_left() {
    let series = load(MINUTE, "a  1 2 3 4 5 6");
    check(
        &series,
        5 * MINUTE,
        &[
            ("count_over_time(a[5m])", &["{} 5"]),
            ("a[2m]", &["a 5@240000 6@300000"]),
            ("sum_over_time(a[2m] offset 1m)", &["{} 9"]),
            ("a[2m:1m]", &["a 5@240000 6@300000"]),
            ("a[150s:1m]", &["a 4@180000 5@240000 6@300000"]),
        ],
    );
}

#[test]
fn rate_and_increase_extrapolate_as_documented() {
    let series = load(
        MINUTE,
        "
        steady  0+60x20
        reset  0 60 120 30 90 150
        late  _ _ _ _ _ _ _ _ 100 160 220
        low  _ _ _ _ _ _ _ _ 1 61 121
    ",
    );
    // steady: five samples from 6m to 10m, 240 over 240 s; one distance (60 s) to the start, not over 1.1 distances,
    // so up to the window's start: 240 * 300 / 240.
    check(
        &series,
        10 * MINUTE,
        &[
            ("increase(steady[5m])", &["{} 300"]),
            ("rate(steady[5m])", &["{} 1"]),
            ("delta(steady[5m])", &["{} 300"]),
            ("irate(steady[5m])", &["{} 1"]),
            ("idelta(steady[5m])", &["{} 60"]),
            // late: three samples over 120 s; 480 s to the start is far, so half a distance: 120 * (120 + 30) / 120.
            ("increase(late[10m])", &["{} 150"]),
            // low: would be below zero half a distance before; zero is 120 * 1 / 120 = 1 s before.
            ("increase(low[10m])", &["{} 121"]),
            ("delta(low[10m])", &["{} 150"]),
            ("rate(late[1m])", &[]),
        ],
    );
    // reset: 0 60 120 | 30 90 150: 120 before the reset and 150 after.
    check(
        &series,
        5 * MINUTE,
        &[
            ("increase(reset[6m])", &["{} 270"]),
            ("resets(reset[6m])", &["{} 1"]),
            ("changes(reset[6m])", &["{} 5"]),
            ("irate(reset[6m] offset 2m)", &["{} 0.5"]),
        ],
    );
}

#[test]
fn functions_over_time() {
    let series = load(
        MINUTE,
        "
        v{a=\"1\"}  2 4 4 4 5 5 7 9
        n{a=\"1\"}  NaN 1 NaN
        line{a=\"1\"}  0+10x10
    ",
    );
    check(
        &series,
        7 * MINUTE,
        &[
            ("avg_over_time(v[8m])", &["{a=\"1\"} 5"]),
            ("min_over_time(v[8m])", &["{a=\"1\"} 2"]),
            ("max_over_time(v[8m])", &["{a=\"1\"} 9"]),
            ("sum_over_time(v[8m])", &["{a=\"1\"} 40"]),
            ("count_over_time(v[8m])", &["{a=\"1\"} 8"]),
            ("last_over_time(v[8m])", &["v{a=\"1\"} 9"]),
            ("stddev_over_time(v[8m])", &["{a=\"1\"} 2"]),
            ("stdvar_over_time(v[8m])", &["{a=\"1\"} 4"]),
            ("quantile_over_time(0.5, v[8m])", &["{a=\"1\"} 4.5"]),
            ("quantile_over_time(2, v[8m])", &["{a=\"1\"} +Inf"]),
            ("mad_over_time(v[8m])", &["{a=\"1\"} 0.5"]),
            ("present_over_time(v[8m])", &["{a=\"1\"} 1"]),
            ("absent_over_time(v[8m])", &[]),
            ("absent_over_time(w{a=\"1\",b=~\"x\"}[8m])", &["{a=\"1\"} 1"]),
            ("min_over_time(n[8m])", &["{a=\"1\"} 1"]),
            ("max_over_time(n[8m])", &["{a=\"1\"} 1"]),
            ("changes(n[8m])", &["{a=\"1\"} 2"]),
            ("deriv(line[5m])", &["{a=\"1\"} 0.166666667"]),
            ("predict_linear(line[5m], 60)", &["{a=\"1\"} 80"]),
            ("predict_linear(line[5m] offset 1m, 60)", &["{a=\"1\"} 80"]),
        ],
    );
}

#[test]
fn aggregations() {
    let series = load(
        MINUTE,
        "
        h{job=\"api\",i=\"0\",g=\"p\"}  100
        h{job=\"api\",i=\"1\",g=\"p\"}  200
        h{job=\"api\",i=\"0\",g=\"c\"}  300
        h{job=\"app\",i=\"0\",g=\"p\"}  500
        h{job=\"app\",i=\"1\",g=\"c\"}  NaN
    ",
    );
    check(
        &series,
        0,
        &[
            ("sum by (job) (h{g=\"p\"})", &["{job=\"api\"} 300", "{job=\"app\"} 500"]),
            ("sum without (i, g) (h{job=\"api\"})", &["{job=\"api\"} 600"]),
            ("sum(h{job=\"none\"})", &[]),
            ("count(h)", &["{} 5"]),
            ("group by (job) (h)", &["{job=\"api\"} 1", "{job=\"app\"} 1"]),
            ("avg by (job) (h{job=\"api\"})", &["{job=\"api\"} 200"]),
            ("min(h)", &["{} 100"]),
            ("max(h)", &["{} 500"]),
            ("sum by (job) (h)", &["{job=\"api\"} 600", "{job=\"app\"} NaN"]),
            ("stdvar(h{g=\"p\"})", &["{} 28888.888888889"]),
            ("stddev(h{job=\"api\",i=\"0\"})", &["{} 100"]),
            ("quantile(0.25, h{job=\"api\"})", &["{} 150"]),
            (
                "quantile by (job) (scalar(vector(2)), h{g=\"p\"})",
                &["{job=\"api\"} +Inf", "{job=\"app\"} +Inf"],
            ),
            ("topk(2, h)", &["h{g=\"p\", i=\"0\", job=\"app\"} 500", "h{g=\"c\", i=\"0\", job=\"api\"} 300"]),
            ("bottomk(1, h)", &["h{g=\"p\", i=\"0\", job=\"api\"} 100"]),
            (
                "topk by (job) (1, h)",
                &["h{g=\"c\", i=\"0\", job=\"api\"} 300", "h{g=\"p\", i=\"0\", job=\"app\"} 500"],
            ),
            ("topk(0, h)", &[]),
            (
                "topk(9, h{job=\"app\"})",
                &["h{g=\"p\", i=\"0\", job=\"app\"} 500", "h{g=\"c\", i=\"1\", job=\"app\"} NaN"],
            ),
            ("count_values(\"v\", h{job=\"api\"} > bool 150)", &["{v=\"0\"} 1", "{v=\"1\"} 2"]),
            (
                "count_values by (i) (\"v\", h{g=\"p\",job=\"api\"} / 200)",
                &["{i=\"0\", v=\"0.5\"} 1", "{i=\"1\", v=\"1\"} 1"],
            ),
            ("sum by (__name__) (h{job=\"api\"})", &["h 600"]),
        ],
    );
}

#[test]
fn binary_operators() {
    let series = load(
        MINUTE,
        "
        err{code=\"500\",m=\"get\"}  24
        err{code=\"404\",m=\"get\"}  30
        err{code=\"500\",m=\"put\"}  6
        req{m=\"get\"}  600
        req{m=\"del\"}  34
        req{m=\"put\"}  120
        info{m=\"get\",team=\"x\"}  1
        req2{m=\"get\"}  1
    ",
    );
    check(
        &series,
        0,
        &[
            ("1 + 2 * 3 ^ 2", &["19"]),
            ("2 ^ 3 ^ 2", &["512"]),
            ("-2 ^ 2", &["-4"]),
            ("5 % 3", &["2"]),
            ("-5 % 3", &["-2"]),
            ("1 > bool 2", &["0"]),
            ("1 > 2", &["error: comparisons between scalars must use BOOL modifier"]),
            ("1 / 0", &["+Inf"]),
            ("0 / 0", &["NaN"]),
            ("1 atan2 1", &["0.785398163"]),
            ("req * 2", &["{m=\"del\"} 68", "{m=\"get\"} 1200", "{m=\"put\"} 240"]),
            ("req > 100", &["req{m=\"get\"} 600", "req{m=\"put\"} 120"]),
            ("100 < req", &["req{m=\"get\"} 600", "req{m=\"put\"} 120"]),
            ("req > bool 100", &["{m=\"del\"} 0", "{m=\"get\"} 1", "{m=\"put\"} 1"]),
            ("err{code=\"500\"} / ignoring (code) req", &["{m=\"get\"} 0.04", "{m=\"put\"} 0.05"]),
            ("err{code=\"500\"} / on (m) req", &["{m=\"get\"} 0.04", "{m=\"put\"} 0.05"]),
            (
                "err / ignoring (code) group_left req",
                &[
                    "{code=\"404\", m=\"get\"} 0.05",
                    "{code=\"500\", m=\"get\"} 0.04",
                    "{code=\"500\", m=\"put\"} 0.05",
                ],
            ),
            ("req / ignoring (code) group_right err{code=\"404\"}", &["{code=\"404\", m=\"get\"} 20"]),
            (
                "err * on (m) group_left (team) info",
                &["{code=\"404\", m=\"get\", team=\"x\"} 30", "{code=\"500\", m=\"get\", team=\"x\"} 24"],
            ),
            ("req > on (m) err{code=\"500\"}", &["{m=\"get\"} 600", "{m=\"put\"} 120"]),
            ("req >= ignoring (code) err{code=\"500\"}", &["req{m=\"get\"} 600", "req{m=\"put\"} 120"]),
            ("-req{m=\"get\"}", &["{m=\"get\"} -600"]),
            (
                "req / on (m) err",
                &[
                    "error: found duplicate series for the match group {m=\"get\"} on the right hand-side of the operation: [err{code=\"404\", m=\"get\"}, err{code=\"500\", m=\"get\"}];many-to-many matching not allowed: matching labels must be unique on one side",
                ],
            ),
            (
                "err / on (m) req",
                &[
                    "error: multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ],
            ),
            ("req and on (m) info", &["req{m=\"get\"} 600"]),
            ("req unless on (m) info", &["req{m=\"del\"} 34", "req{m=\"put\"} 120"]),
            (
                "info or on (m) req",
                &["info{m=\"get\", team=\"x\"} 1", "req{m=\"del\"} 34", "req{m=\"put\"} 120"],
            ),
            ("req{m=\"get\"} or vector(1)", &["{} 1", "req{m=\"get\"} 600"]),
            ("sum(err) / sum(req)", &["{} 0.079575597"]),
            (
                "{__name__=~\"req.*\",m=\"get\"} * 2",
                &["error: vector cannot contain metrics with the same labelset: {m=\"get\"}"],
            ),
        ],
    );
}

#[test]
fn functions_of_values_labels_and_time() {
    let series = load(
        MINUTE,
        "
        t{src=\"source-10\",dst=\"x\"}  -2.5
        t{src=\"source-2\",dst=\"y\"}  7.25
        same{a=\"1\",b=\"2\"}  1
        same{a=\"2\",b=\"2\"}  1
    ",
    );
    check(
        &series,
        90_000,
        &[
            ("abs(t{dst=\"x\"})", &["{dst=\"x\", src=\"source-10\"} 2.5"]),
            ("ceil(t{dst=\"x\"})", &["{dst=\"x\", src=\"source-10\"} -2"]),
            ("round(t{dst=\"x\"})", &["{dst=\"x\", src=\"source-10\"} -2"]),
            ("round(t{dst=\"y\"}, 0.5)", &["{dst=\"y\", src=\"source-2\"} 7.5"]),
            ("clamp(t, 0, 5)", &["{dst=\"x\", src=\"source-10\"} 0", "{dst=\"y\", src=\"source-2\"} 5"]),
            ("clamp(t, 5, 0)", &[]),
            ("clamp_min(t{dst=\"x\"}, -1)", &["{dst=\"x\", src=\"source-10\"} -1"]),
            ("clamp_max(t{dst=\"y\"}, -1)", &["{dst=\"y\", src=\"source-2\"} -1"]),
            ("sgn(t{dst=\"x\"})", &["{dst=\"x\", src=\"source-10\"} -1"]),
            ("ln(vector(0))", &["{} -Inf"]),
            ("sqrt(vector(-1))", &["{} NaN"]),
            ("log2(vector(8)) + log10(vector(1000)) + exp(vector(0))", &["{} 7"]),
            ("time()", &["90"]),
            ("timestamp(t{dst=\"x\"})", &["{dst=\"x\", src=\"source-10\"} 0"]),
            ("timestamp(t{dst=\"x\"} + 0)", &["{dst=\"x\", src=\"source-10\"} 90"]),
            ("minute()", &["{} 1"]),
            ("year(vector(1709214310))", &["{} 2024"]),
            ("scalar(t{dst=\"y\"})", &["7.25"]),
            ("scalar(t)", &["NaN"]),
            ("vector(3)", &["{} 3"]),
            ("absent(t)", &[]),
            ("absent(u{a=\"1\",a=\"2\",b=\"3\"})", &["{b=\"3\"} 1"]),
            ("absent(sum(u))", &["{} 1"]),
            ("sort(t)", &["t{dst=\"x\", src=\"source-10\"} -2.5", "t{dst=\"y\", src=\"source-2\"} 7.25"]),
            (
                "sort_desc(t)",
                &["t{dst=\"y\", src=\"source-2\"} 7.25", "t{dst=\"x\", src=\"source-10\"} -2.5"],
            ),
            ("pi()", &["3.141592654"]),
            ("\"text\"", &["text"]),
            (
                "label_replace(t, \"n\", \"v$1\", \"src\", \"source-(.*)\")",
                &[
                    "t{dst=\"x\", n=\"v10\", src=\"source-10\"} -2.5",
                    "t{dst=\"y\", n=\"v2\", src=\"source-2\"} 7.25",
                ],
            ),
            ("label_replace(t{dst=\"x\"}, \"dst\", \"\", \"dst\", \".*\")", &["t{src=\"source-10\"} -2.5"]),
            (
                "label_replace(t{dst=\"x\"}, \"n\", \"v\", \"src\", \"ource-.*\")",
                &["t{dst=\"x\", src=\"source-10\"} -2.5"],
            ),
            (
                "label_join(t{dst=\"x\"}, \"j\", \"-\", \"src\", \"none\", \"dst\")",
                &["t{dst=\"x\", j=\"source-10--x\", src=\"source-10\"} -2.5"],
            ),
            (
                "label_replace(same, \"a\", \"x\", \"a\", \".*\")",
                &["error: vector cannot contain metrics with the same labelset: same{a=\"x\", b=\"2\"}"],
            ),
        ],
    );
}

#[test]
fn histograms_and_subqueries() {
    let series = load(
        MINUTE,
        "
        b_bucket{le=\"0.1\",j=\"a\"}  0+1x10
        b_bucket{le=\"0.2\",j=\"a\"}  0+3x10
        b_bucket{le=\"+Inf\",j=\"a\"}  0+4x10
        c  0+60x120
        g  0+1x30 30-1x30
    ",
    );
    check(
        &series,
        10 * MINUTE,
        &[
            ("histogram_quantile(0.5, rate(b_bucket[5m]))", &["{j=\"a\"} 0.15"]),
            ("histogram_quantile(0.5, sum by (le) (rate(b_bucket[5m])))", &["{} 0.15"]),
            ("histogram_quantile(1, b_bucket)", &["{j=\"a\"} 0.2"]),
            ("histogram_fraction(0, 0.1, b_bucket)", &["{j=\"a\"} 0.25"]),
        ],
    );
    check(
        &series,
        60 * MINUTE,
        &[
            ("max_over_time(g[60m])", &["{} 30"]),
            ("max_over_time(rate(c[5m])[30m:1m])", &["{} 1"]),
            ("count_over_time(g[10m:2m])", &["{} 5"]),
            ("sum_over_time(g[10m:2m])", &["{} 25"]),
            ("count_over_time(vector(time())[10m:1m])", &["{} 10"]),
            ("max_over_time((vector(time()) / 60)[10m:5m])", &["{} 60"]),
            ("avg_over_time(g[4m:1m] @ 1800 offset 2m)", &["{} 26.5"]),
        ],
    );
}

#[test]
fn a_range_query_evaluates_each_step_as_an_instant_query_would() {
    let series = load(
        MINUTE,
        "
        a{x=\"1\"}  0+1x20
        a{x=\"2\"}  20 _ _ _ _ _ _ _ _ 11 stale _ 8 7 6 5 4 3 2 1 0
        c{x=\"1\"}  0+60x20
    ",
    );
    let grid = Grid::range(0, 20 * MINUTE, 45_000).unwrap();
    let queries = [
        "a",
        "sum(a)",
        "topk(1, a)",
        "rate(c[3m])",
        "a > 5",
        "a and a > 5",
        "a or c",
        "a unless c",
        "a + on (x) c",
        "max_over_time(sum(a)[5m:1m])",
        "count_values(\"v\", a)",
        "absent(a{x=\"2\"})",
        "scalar(a{x=\"2\"})",
        "time() - timestamp(a)",
        "a offset 2m",
        "a @ 300",
        "sum(a @ end())",
        "quantile(0.5, a)",
        "-a",
        "sort(a)",
    ];
    for query in queries {
        let mut expr = parse(query).unwrap();
        let whole = evaluate(&expr, &Params::new(grid), &series[..], &[]).unwrap();
        expr.fix_times(grid.start, grid.last());
        for (step, at) in grid.times().enumerate() {
            let single = evaluate(&expr, &Params::new(Grid::instant(at)), &series[..], &[]).unwrap();
            assert_eq!(column(&single, 0), column(&whole, step), "{query} at {at}");
        }
    }
}

/// Labels and bits of the values of one step, sorted.
fn column(value: &Value, step: usize) -> Vec<(String, u64)> {
    let mut column: Vec<(String, u64)> = match value {
        Value::Scalar(values) => vec![(String::new(), values[step].to_bits())],
        Value::Vector(series) => series
            .iter()
            .filter(|series| is_present(series.values[step]))
            .map(|series| (series.labels.to_string(), series.values[step].to_bits()))
            .collect(),
        Value::Samples(_) | Value::Text(_) => panic!("no column"),
    };
    column.sort();
    column
}

#[test]
fn too_much_is_refused_in_words() {
    assert!(Grid::range(0, 12_000_000, 1_000).unwrap_err().to_string().contains("11,000 points"));
    assert!(Grid::range(10, 0, 1).is_err());
    assert!(Grid::range(0, 10, 0).is_err());
    let series = load(MINUTE, "a{x=\"1\"}  0+1x20\n a{x=\"2\"}  0+1x20");
    let params = Params { values_max: 30, ..Params::new(Grid::range(0, 20 * MINUTE, MINUTE).unwrap()) };
    let error = evaluate(&parse("a").unwrap(), &params, &series[..], &[]).unwrap_err();
    assert!(error.to_string().contains("too many samples"), "{error}");
    let sum = evaluate(
        &parse("count(a) or vector(0)").unwrap(),
        &Params { values_max: 150, ..params },
        &series[..],
        &[],
    );
    assert!(sum.is_ok(), "an aggregation holds its output only");
}
