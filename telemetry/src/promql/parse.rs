//! From text to [`Expr`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::{self, AtModifier, LabelModifier, Offset, VectorMatchCardinality};

use crate::labels::METRIC_NAME;
use crate::promql::Error;
use crate::promql::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Expr, Grouping, Selector, Subquery,
};
use crate::promql::function::Function;
use crate::selector::{MatchKind, Matcher};
use crate::{Labels, Millis};

/// Longest query, in bytes.
pub(super) const QUERY_BYTES_MAX: usize = 16 << 10;
/// How deep a query may nest, at most: parentheses, and every operator, since chains of them nest too.
pub(super) const DEPTH_MAX: usize = 128;

/// Reads a query.
///
/// # Errors
/// [`Error::Parse`] with what is wrong.
pub fn parse(text: &str) -> Result<Expr, Error> {
    check_size(text)?;
    // The parser panics on durations that are no durations, such as `x[1e999]`; nothing of it outlives the call.
    let parsed = std::panic::catch_unwind(|| parser::parse(text))
        .map_err(|_| Error::Parse("a number or duration of the query is out of range".to_owned()))?;
    lower(&parsed.map_err(|why| Error::Parse(tidy(&why)))?)
}

/// Reads a series selector, as in `match[]`.
///
/// # Errors
/// [`Error::Parse`] with what is wrong.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, Error> {
    match parse(text)? {
        Expr::Select(Selector { matchers, offset: 0, at: None }) => Ok(matchers),
        Expr::Number(_)
        | Expr::Text(_)
        | Expr::Select(_)
        | Expr::Range(..)
        | Expr::Subquery(_)
        | Expr::Negate(_)
        | Expr::Binary(_)
        | Expr::Aggregate(_)
        | Expr::Call(..)
        | Expr::Part(_) => {
            Err(Error::Parse(format!("\"{text}\" is not a series selector, such as up{{job=\"a\"}}")))
        }
    }
}

/// The parser's recursion, and ours, goes as deep as a query nests.
fn check_size(text: &str) -> Result<(), Error> {
    if text.len() > QUERY_BYTES_MAX {
        let size = text.len();
        return Err(Error::Parse(format!("query has {size} bytes, at most {QUERY_BYTES_MAX} are accepted")));
    }
    let depth = depth_bound(text);
    if depth > DEPTH_MAX {
        return Err(Error::Parse(format!(
            "query nests {depth} operators and parentheses, at most {DEPTH_MAX} are accepted"
        )));
    }
    Ok(())
}

/// At least as deep as the query nests: the deepest parenthesis and the count of all operators outside matchers.
fn depth_bound(text: &str) -> usize {
    let (mut open, mut deepest, mut operators, mut in_braces) = (0usize, 0usize, 0usize, false);
    let mut quote = None;
    let mut escaped = false;
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if let Some(end) = quote {
            match c {
                _ if escaped => escaped = false,
                '\\' if end != '`' => escaped = true,
                _ if c == end => quote = None,
                _ => {}
            }
            continue;
        }
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c.to_ascii_lowercase());
            continue;
        }
        operators += usize::from(matches!(word.as_str(), "and" | "or" | "unless" | "atan2"));
        word.clear();
        match c {
            '"' | '\'' | '`' => quote = Some(c),
            '{' => in_braces = true,
            '}' => in_braces = false,
            '(' => {
                open += 1;
                deepest = deepest.max(open);
            }
            ')' => open = open.saturating_sub(1),
            '[' | '+' | '-' | '*' | '/' | '%' | '^' | '<' | '>' | '=' if !in_braces => operators += 1,
            _ => {}
        }
    }
    deepest + operators
}

/// The parser's message on one line.
fn tidy(why: &str) -> String {
    why.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn lower(expr: &parser::Expr) -> Result<Expr, Error> {
    match expr {
        parser::Expr::Aggregate(aggregate) => lower_aggregate(aggregate),
        parser::Expr::Unary(unary) => {
            let inner = lower(&unary.expr)?;
            if let Expr::Number(value) = inner {
                Ok(Expr::Number(-value))
            } else {
                Ok(Expr::Negate(Box::new(inner)))
            }
        }
        parser::Expr::Binary(binary) => lower_binary(binary),
        parser::Expr::Paren(paren) => lower(&paren.expr),
        parser::Expr::Subquery(subquery) => Ok(Expr::Subquery(Box::new(Subquery {
            expr: lower(&subquery.expr)?,
            range: millis(subquery.range),
            step: subquery.step.map(millis).filter(|step| *step > 0),
            offset: offset(subquery.offset.as_ref()),
            at: at(subquery.at.as_ref()),
        }))),
        parser::Expr::NumberLiteral(number) => Ok(Expr::Number(number.val)),
        parser::Expr::StringLiteral(text) => Ok(Expr::Text(text.val.clone())),
        parser::Expr::VectorSelector(selector) => Ok(Expr::Select(lower_selector(selector)?)),
        parser::Expr::MatrixSelector(matrix) => {
            Ok(Expr::Range(lower_selector(&matrix.vs)?, millis(matrix.range)))
        }
        parser::Expr::Call(call) => {
            let mut args: Vec<Expr> =
                call.args.args.iter().map(|arg| lower(arg)).collect::<Result<_, _>>()?;
            let name = call.func.name;
            let function = Function::named(name, || args.first().map_or_else(Labels::empty, absent_labels))
                .ok_or_else(|| Error::Parse(format!("function \"{name}\" is not supported")))?;
            if matches!(function, Function::Date(_)) && args.is_empty() {
                args.push(Expr::Call(Function::Vector, vec![Expr::Call(Function::Time, Vec::new())]));
            }
            if matches!(function, Function::Round) && args.len() == 1 {
                args.push(Expr::Number(1.0));
            }
            Ok(Expr::Call(function, args))
        }
        parser::Expr::Extension(_) => Err(Error::Parse("extensions are not supported".to_owned())),
    }
}

fn lower_aggregate(aggregate: &parser::AggregateExpr) -> Result<Expr, Error> {
    let name = aggregate.op.to_string();
    let op = AggregateOp::named(&name)
        .ok_or_else(|| Error::Parse(format!("aggregation \"{name}\" is not supported")))?;
    let grouping = match &aggregate.modifier {
        None => Grouping::By(Vec::new()),
        Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels.clone()),
    };
    let param = aggregate.param.as_deref().map(lower).transpose()?;
    if matches!(
        op,
        AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::Quantile | AggregateOp::CountValues
    ) && param.is_none()
    {
        return Err(Error::Parse(format!("aggregation \"{name}\" needs a parameter")));
    }
    Ok(Expr::Aggregate(Box::new(Aggregate { op, param, expr: lower(&aggregate.expr)?, grouping })))
}

fn lower_binary(binary: &parser::BinaryExpr) -> Result<Expr, Error> {
    let name = binary.op.to_string();
    let op = BinaryOp::named(&name)
        .ok_or_else(|| Error::Parse(format!("operator \"{name}\" is not supported")))?;
    let default = parser::BinModifier::default();
    let modifier = binary.modifier.as_ref().unwrap_or(&default);
    if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
        return Err(Error::Parse("modifier \"fill\" is not supported".to_owned()));
    }
    let (on, labels) = match &modifier.matching {
        None => (false, Vec::new()),
        Some(LabelModifier::Include(labels)) => (true, labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => (false, labels.labels.clone()),
    };
    let cardinality = match &modifier.card {
        _ if op.is_set() => Cardinality::ManyToMany,
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Cardinality::OneToOne,
        VectorMatchCardinality::ManyToOne(labels) => Cardinality::ManyToOne(labels.labels.clone()),
        VectorMatchCardinality::OneToMany(labels) => Cardinality::OneToMany(labels.labels.clone()),
    };
    Ok(Expr::Binary(Box::new(Binary {
        op,
        lhs: lower(&binary.lhs)?,
        rhs: lower(&binary.rhs)?,
        return_bool: modifier.return_bool,
        on,
        labels,
        cardinality,
    })))
}

fn lower_selector(selector: &parser::VectorSelector) -> Result<Selector, Error> {
    let mut matchers = Vec::new();
    if let Some(name) = &selector.name {
        matchers.push(Matcher::equal(METRIC_NAME, name));
    }
    lower_matchers(&selector.matchers, &mut matchers)?;
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(Error::Parse("vector selector must contain at least one non-empty matcher".to_owned()));
    }
    Ok(Selector { matchers, offset: offset(selector.offset.as_ref()), at: at(selector.at.as_ref()) })
}

fn lower_matchers(from: &Matchers, matchers: &mut Vec<Matcher>) -> Result<(), Error> {
    if !from.or_matchers.is_empty() {
        return Err(Error::Parse("\"or\" between matchers is not supported".to_owned()));
    }
    for matcher in &from.matchers {
        let kind = match matcher.op {
            MatchOp::Equal => MatchKind::Equal,
            MatchOp::NotEqual => MatchKind::NotEqual,
            MatchOp::Re(_) => MatchKind::Regex,
            MatchOp::NotRe(_) => MatchKind::NotRegex,
        };
        let lowered = Matcher::new(&matcher.name, kind, &matcher.value)
            .map_err(|error| Error::Parse(error.to_string()))?;
        if !matchers.contains(&lowered) {
            matchers.push(lowered);
        }
    }
    Ok(())
}

/// The labels that an absent series would have: those fixed by exactly one `=`.
fn absent_labels(arg: &Expr) -> Labels {
    let (Expr::Select(selector) | Expr::Range(selector, _)) = arg else { return Labels::empty() };
    let named = |name: &str| selector.matchers.iter().filter(|matcher| matcher.name() == name).count();
    selector
        .matchers
        .iter()
        .filter(|matcher| matcher.kind() == MatchKind::Equal && matcher.name() != METRIC_NAME)
        .filter(|matcher| named(matcher.name()) == 1)
        .map(|matcher| (matcher.name(), matcher.value()))
        .collect()
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX / 4).min(Millis::MAX / 4)
}

fn offset(offset: Option<&Offset>) -> Millis {
    match offset {
        None => 0,
        Some(Offset::Pos(duration)) => millis(*duration),
        Some(Offset::Neg(duration)) => -millis(*duration),
    }
}

fn at(at: Option<&AtModifier>) -> Option<At> {
    Some(match at? {
        AtModifier::Start => At::Start,
        AtModifier::End => At::End,
        AtModifier::At(time) => At::Time(since_epoch(*time)),
    })
}

fn since_epoch(time: SystemTime) -> Millis {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_form_reads_back_to_the_same_expression() {
        let queries = [
            "up",
            "{__name__=~\"a.*\",job!=\"x\"}",
            "sum by (region) (rate(skein_edge_applies_total[5m]))",
            "sum without (pod, \"a.b\") (x{a=\"q\\\"\\\\\\n\"} offset -5m)",
            "topk(3, x @ 12.5) + on (a) group_left (b) y @ end()",
            "-x ^ 2 > bool 3",
            "-(1 - 2) * -x",
            "max_over_time(rate(x[1m])[1h:30s] @ start() offset 1d)",
            "min_over_time(x[1h:])",
            "a and on () b or c unless ignoring (d) e",
            "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")",
            "histogram_quantile(0.9, sum by (le) (rate(b[5m])))",
            "count_values(\"v\", x) / scalar(y) % 1e300 atan2 z",
            "absent(x{a=\"1\", b=~\"c\"}) == Inf",
            "hour() + day_of_week(x) + round(x) + round(x, 0.5)",
            "quantile_over_time(0.5, x[150ms])",
            "a - (b - c) - d * (e + f) ^ g ^ h",
            "(a ^ b) ^ c",
            "(-1) ^ 2 + -x * -(y + z)",
            "- - max_over_time(max_over_time(x[1h:])[2h:])",
            "a or b and c == d unless (e or f)",
            "(a > bool 1) > bool (b < 2)",
        ];
        for query in queries {
            let expr = parse(query).unwrap_or_else(|error| panic!("{query}: {error}"));
            let text = expr.to_string();
            assert_eq!(
                parse(&text).map_err(|error| format!("{text}: {error}")),
                Ok(expr),
                "{query} as {text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table = [
            ("sum(", "unclosed left parenthesis"),
            ("rate(x)", "expected type matrix"),
            ("{a=~\"(\"}", "illegal regex"),
            ("foo(x)", "unknown function"),
            ("{a=\"\"}", "non-empty matcher"),
        ];
        for (query, message) in table {
            let error = parse(query).unwrap_err().to_string();
            assert!(error.contains(message), "{query}: {error}");
        }
    }

    #[test]
    fn a_duration_that_is_none_is_an_error() {
        for query in ["x[1e999]", "x offset NaN", "x[5m:Inf]"] {
            assert!(parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn a_query_that_nests_too_deep_is_refused_before_it_is_parsed() {
        let deep = format!("{}x{}", "(".repeat(5000), ")".repeat(5000));
        assert!(parse(&deep).unwrap_err().to_string().contains("at most 128"));
        assert!(parse(&format!("x{}", " or x".repeat(129))).is_err());
        assert!(parse(&format!("{}x", "-".repeat(129))).is_err());
        assert!(parse(&format!("x{}", "[1m:]".repeat(129))).is_err());
        let many = vec!["sum(rate(x{a=\"=+(\",b!=\"c\",d=~\"e\"}[5m]))"; 60].join(" + ");
        assert!(parse(&many).is_ok(), "what does not nest is not counted");
        let allowed = format!("x{}", " + x".repeat(128));
        std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || {
                let expr = parse(&allowed).unwrap();
                assert_eq!(
                    parse(&expr.to_string()),
                    Ok(expr.clone()),
                    "a region accepts what the hub accepted"
                );
                let params = crate::promql::Params::new(crate::promql::Grid::instant(0));
                assert!(crate::promql::evaluate(&expr, &params, &(), &[]).is_ok());
                assert!(crate::promql::split(&expr, &params, &["eu".to_owned(), "us".to_owned()]).is_ok());
            })
            .unwrap()
            .join()
            .unwrap();
    }

    /// Words that make queries that are nearly right.
    const WORDS: [&str; 62] = [
        "up",
        "x:y",
        "sum",
        "by",
        "without",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        "=",
        "!=",
        "=~",
        "!~",
        "\"a\"",
        "'b'",
        "`c`",
        "\"",
        "\\",
        "5m",
        "1h30m",
        "0x1f",
        "1e3",
        "1e999",
        "NaN",
        "-Inf",
        "offset",
        "@",
        "start()",
        "end()",
        "rate",
        "topk",
        "quantile",
        "count_values",
        "histogram_quantile",
        "absent",
        "label_replace",
        "time",
        "vector",
        "and",
        "or",
        "unless",
        "atan2",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        ">",
        "==",
        ":",
        "é",
        "\u{0}",
        "99999999999999999999y",
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_read_or_refused(words in prop::collection::vec(prop::sample::select(&WORDS[..]), 0..14), spaced: bool) {
            let text = words.join(if spaced { " " } else { "" });
            if let Ok(expr) = parse(&text) {
                let params = crate::promql::Params::new(crate::promql::Grid::instant(0));
                let _ = crate::promql::evaluate(&expr, &params, &(), &[]);
                let _ = crate::promql::split(&expr, &params, &["eu".to_owned(), "us".to_owned()]);
                prop_assert!(parse(&expr.to_string()).is_ok(), "{} as {}", text, expr);
            }
        }

        #[test]
        fn any_characters_are_read_or_refused(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
