//! Violations of a schema in the words of the validator that Helm uses, nested as it nests them.
//!
//! # Why
//! Ours tells violations one by one, with the path of keywords that led to each; Helm's tells those below an `allOf`,
//! `anyOf` or `oneOf` under a line for it, and several of those below a `$ref` too. The lines are put together again from
//! the paths.

use std::ops::Range;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value as Json;

/// The keyword of a reference to another schema.
const REFERENCE: &str = "$ref";

/// A complaint, and what it consists of.
struct Line {
    at: String,
    words: String,
    inner: Vec<Line>,
}

/// The lines for all violations of a document, a line break behind each.
pub(super) fn told(errors: &[ValidationError<'_>], document: &Json, schema: &Json) -> String {
    let told = Told { document, schema };
    let mut out = String::new();
    let mistyped: Vec<Vec<String>> = errors.iter().filter_map(schema_of_type).collect();
    let counts = |error: &&ValidationError<'_>| {
        let path = segments(error);
        let below = |schema: &&Vec<String>| path.len() > schema.len() && path.starts_with(schema);
        schema_of_type(error).is_some() || !mistyped.iter().any(|schema| below(&schema))
    };
    for line in told.lines(&errors.iter().filter(counts).collect::<Vec<_>>(), 0) {
        line.write(0, &mut out);
    }
    out
}

/// The schema that a value of the wrong type was held against: Helm's validator says nothing else of it.
fn schema_of_type(error: &ValidationError<'_>) -> Option<Vec<String>> {
    let mut path = segments(error);
    let of_type = matches!(error.kind(), ValidationErrorKind::Type { .. }) && path.pop().is_some();
    // Of the elements of a list each is held against it.
    let shared = ["items", "additionalProperties", "patternProperties", "contains", "propertyNames"];
    (of_type && !path.iter().any(|segment| shared.contains(&segment.as_str()))).then_some(path)
}

impl Line {
    fn new(at: impl Into<String>, words: impl Into<String>) -> Self {
        Self { at: at.into(), words: words.into(), inner: Vec::new() }
    }

    fn write(&self, indent: usize, out: &mut String) {
        out.push_str(&format!("{}- at '{}': {}\n", "  ".repeat(indent), self.at, self.words));
        for line in &self.inner {
            line.write(indent + 1, out);
        }
    }
}

/// The keywords of a path, each with its place, how many segments it takes, and whether it leads into the document.
fn keywords(path: &[String], from: usize) -> Vec<(usize, &str, bool)> {
    let mut out = Vec::new();
    let mut at = from;
    while let Some(keyword) = path.get(at) {
        let is_number = path.get(at + 1).is_some_and(|next| next.bytes().all(|byte| byte.is_ascii_digit()));
        let (taken, enters) = match keyword.as_str() {
            "properties" | "patternProperties" => (2, true),
            "additionalProperties" | "unevaluatedProperties" => (1, true),
            "items" | "prefixItems" | "additionalItems" | "unevaluatedItems" | "contains" => {
                (1 + usize::from(is_number), true)
            }
            "allOf" | "anyOf" | "oneOf" | "dependentSchemas" | "dependencies" | "dependentRequired"
            | "$defs" | "definitions" => (2, false),
            _ => (1, false),
        };
        // A keyword at the end complains itself.
        out.push((at, keyword.as_str(), enters && at + taken < path.len()));
        at += taken;
    }
    out
}

fn segments(error: &ValidationError<'_>) -> Vec<String> {
    error.evaluation_path().iter().map(|segment| segment.to_string()).collect()
}

fn place(error: &ValidationError<'_>) -> String {
    error.instance_path().to_string()
}

/// The place some levels above.
fn above(place: &str, levels: usize) -> &str {
    (0..levels).fold(place, |place, _| place.rsplit_once('/').map_or("", |(above, _)| above))
}

/// Violations below one `allOf` or one reference.
struct Below<'e, 'i> {
    path: Vec<String>,
    at: String,
    branches: Vec<(String, Vec<&'e ValidationError<'i>>)>,
}

/// What the violations are of.
struct Told<'j> {
    document: &'j Json,
    schema: &'j Json,
}

impl Told<'_> {
    /// The complaints of one schema about one place, its own path of keywords left out.
    fn lines(&self, errors: &[&ValidationError<'_>], from: usize) -> Vec<Line> {
        let (mut lines, mut belows) = (Vec::new(), Vec::<Below<'_, '_>>::new());
        let mut required: Vec<(Vec<String>, String, Vec<String>)> = Vec::new();
        let mut closed: Vec<String> = Vec::new();
        for error in errors {
            let path = segments(error);
            let words = keywords(&path, from);
            let place = place(error);
            if let Some((at, keyword, _)) =
                words.iter().find(|(_, keyword, _)| *keyword == "allOf" || *keyword == REFERENCE)
            {
                let inside = words.iter().filter(|(place, _, enters)| place > at && *enters).count();
                let is_all = *keyword != REFERENCE;
                let branch = path.get(at + 1).filter(|_| is_all).cloned().unwrap_or_default();
                gather(&mut belows, path[..=*at].to_vec(), above(&place, inside), branch, error);
                continue;
            }
            match error.kind() {
                ValidationErrorKind::Required { property } => {
                    let above = match path.as_slice() {
                        [.., keyword, _] if keyword == "dependencies" => path.clone(),
                        [.., keyword] if keyword == "dependencies" || keyword == "dependentRequired" => {
                            let because = self.because(error, keyword, property);
                            path[..path.len() - 1]
                                .iter()
                                .cloned()
                                .chain(["dependencies".to_owned(), because])
                                .collect()
                        }
                        _ => path[..path.len().saturating_sub(1)].to_vec(),
                    };
                    match required.iter_mut().find(|(path, at, _)| *path == above && *at == place) {
                        Some((.., names)) => names.push(shown(property)),
                        None => required.push((above, place, vec![shown(property)])),
                    }
                }
                // Each property is told on its own, without its name: all are forbidden then.
                ValidationErrorKind::FalseSchema
                    if path.last().is_some_and(|last| last == "additionalProperties") =>
                {
                    if !closed.contains(&place) {
                        let names = self.document.pointer(&place).and_then(Json::as_object);
                        let names: Vec<String> =
                            names.into_iter().flatten().map(|(name, _)| format!("'{name}'")).collect();
                        lines.push(Line::new(&place, not_allowed(&names)));
                        closed.push(place);
                    }
                }
                _ => lines.extend(self.line(error, &path)),
            }
        }
        lines.extend(required.iter().map(|(path, at, names)| Line::new(at, missing(path, names))));
        for below in belows {
            let is_reference = below.path.last().is_some_and(|last| last == REFERENCE);
            let from = below.path.len() + usize::from(!is_reference);
            let branches = below.branches.iter();
            let inner: Vec<Line> =
                branches.filter_map(|(_, errors)| one(&below.at, self.lines(errors, from))).collect();
            match is_reference {
                true => lines.extend(inner),
                false => lines.push(Line { inner, ..Line::new(&below.at, "'allOf' failed") }),
            }
        }
        lines
    }

    /// The property whose presence asks for another one: behind a reference the path of keywords ends before it.
    fn because(&self, error: &ValidationError<'_>, keyword: &str, property: &Json) -> String {
        let path = error.schema_path().to_string();
        let end = path.rfind(&format!("/{keyword}")).map_or(0, |at| at + 1 + keyword.len());
        let asked = self.schema.pointer(&path[..end]).and_then(Json::as_object);
        let asks = |(name, wanted): &(&String, &Json)| {
            let wanted = wanted.as_array().is_some_and(|wanted| wanted.contains(property));
            wanted && error.instance().get(name).is_some()
        };
        asked.and_then(|asked| asked.iter().find(asks)).map(|(name, _)| name.clone()).unwrap_or_default()
    }

    /// The complaints of each schema of a list of which some must fit.
    fn branches(&self, error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) -> Vec<Line> {
        let (at, path) = (place(error), segments(error));
        let branch = |errors: &Vec<ValidationError<'static>>| {
            let errors: Vec<&ValidationError<'_>> = errors.iter().collect();
            let whole = errors.first().is_some_and(|first| segments(first).starts_with(&path));
            one(&at, self.lines(&errors, if whole { path.len() + 1 } else { 0 }))
        };
        context.iter().filter_map(branch).collect()
    }

    #[allow(clippy::wildcard_enum_match_arm)] // the crate's own words serve for every other kind
    fn line(&self, error: &ValidationError<'_>, path: &[String]) -> Vec<Line> {
        let at = place(error);
        let line = match error.kind() {
            ValidationErrorKind::AnyOf { context } => {
                Line { inner: self.branches(error, context), ..Line::new(at, "'anyOf' failed") }
            }
            ValidationErrorKind::OneOfNotValid { context } => {
                Line { inner: self.branches(error, context), ..Line::new(at, "'oneOf' failed, none matched") }
            }
            ValidationErrorKind::OneOfMultipleValid { context } => {
                let fits = |(at, errors): (usize, &Vec<ValidationError<'static>>)| {
                    errors.is_empty().then(|| at.to_string())
                };
                // The first two are told.
                let fitting: Vec<String> = context.iter().enumerate().filter_map(fits).take(2).collect();
                Line::new(at, format!("'oneOf' failed, subschemas {} matched", fitting.join(", ")))
            }
            ValidationErrorKind::PropertyNames { error: inner } => {
                let name = error.instance().as_str().or(inner.instance().as_str()).unwrap_or_default();
                Line {
                    inner: vec![Line::new("", words(inner))],
                    ..Line::new("", format!("invalid propertyName '{name}'"))
                }
            }
            ValidationErrorKind::Contains => self.contains(error, path),
            ValidationErrorKind::UnevaluatedProperties { unexpected } => {
                return unexpected
                    .iter()
                    .map(|name| Line::new(format!("{at}/{name}"), "false schema"))
                    .collect();
            }
            _ => Line::new(at, words(error)),
        };
        vec![line]
    }

    /// A list without what it must contain, and what each of its items lacks.
    fn contains(&self, error: &ValidationError<'_>, path: &[String]) -> Line {
        let at = place(error);
        let above =
            path[..path.len().saturating_sub(1)].iter().try_fold(
                self.schema,
                |schema, segment| match schema {
                    Json::Array(items) => items.get(segment.parse::<usize>().ok()?),
                    other => other.get(segment),
                },
            );
        let wanted = above.and_then(|above| above.get("contains"));
        let validator = wanted.and_then(|wanted| jsonschema::validator_for(wanted).ok());
        let items = error.instance().as_array().map(Vec::as_slice).unwrap_or_default();
        let mut line = Line::new(&at, "no items match contains schema");
        let Some(validator) = validator else { return line };
        let mut fitting = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let errors: Vec<ValidationError<'_>> = validator.iter_errors(item).collect();
            if errors.is_empty() {
                fitting.push(index.to_string());
            }
            if let Some(mut inner) = one("", self.lines(&errors.iter().collect::<Vec<_>>(), 0)) {
                inner.at = format!("{at}/{index}{}", inner.at);
                line.inner.push(inner);
            }
        }
        let bound = |name: &str| above.and_then(|above| above.get(name)).and_then(Json::as_u64);
        if let Some(least) = bound("minContains").filter(|least| (fitting.len() as u64) < *least) {
            let matched = fitting.join(", ");
            line.words = format!(
                "min {least} items required to match contains schema, but matched {} items at {matched}",
                fitting.len()
            );
        } else if let Some(most) = bound("maxContains").filter(|most| fitting.len() as u64 > *most) {
            line.words = format!(
                "max {most} items required to match contains schema, but matched {} items at {}",
                fitting.len(),
                fitting.join(", ")
            );
            line.inner.clear();
        }
        line
    }
}

fn gather<'e, 'i>(
    belows: &mut Vec<Below<'e, 'i>>,
    path: Vec<String>,
    at: &str,
    branch: String,
    error: &'e ValidationError<'i>,
) {
    let known = belows.iter().position(|below| below.path == path && below.at == at);
    let index = known.unwrap_or(belows.len());
    if known.is_none() {
        belows.push(Below { path, at: at.to_owned(), branches: Vec::new() });
    }
    let branches = &mut belows[index].branches;
    match branches.iter_mut().find(|(name, _)| *name == branch) {
        Some((_, errors)) => errors.push(error),
        None => branches.push((branch, vec![error])),
    }
}

/// Several complaints as one.
fn one(at: &str, mut lines: Vec<Line>) -> Option<Line> {
    match lines.len() {
        0 | 1 => lines.pop(),
        _ => Some(Line { inner: lines, ..Line::new(at, "validation failed") }),
    }
}

fn missing(path: &[String], names: &[String]) -> String {
    let names = names.join(", ");
    match path {
        [.., keyword, because] if keyword == "dependencies" => {
            format!("properties {names} required, if '{because}' exists")
        }
        _ if names.contains(", ") => format!("missing properties {names}"),
        _ => format!("missing property {names}"),
    }
}

fn not_allowed(names: &[String]) -> String {
    format!("additional properties {} not allowed", names.join(", "))
}

pub(super) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn shown(value: &Json) -> String {
    match value {
        Json::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

/// A number with its thousands apart, as the validator prints it.
fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut out = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}{fraction}")
}

fn compared(keyword: &str, got: impl ToString, want: impl ToString) -> String {
    format!("{keyword}: got {}, want {}", grouped(&got.to_string()), grouped(&want.to_string()))
}

/// The places of two items that are the same.
fn twins(items: &[Json]) -> Option<(usize, usize)> {
    let ends: Range<usize> = 1..items.len();
    ends.into_iter().find_map(|end| (0..end).find(|at| items[*at] == items[end]).map(|at| (at, end)))
}

fn is_simple(value: &Json) -> bool {
    !matches!(value, Json::Array(_) | Json::Object(_))
}

/// A complaint without others inside.
#[allow(clippy::wildcard_enum_match_arm)] // the crate's own words serve for every other kind
fn words(error: &ValidationError<'_>) -> String {
    let instance = error.instance();
    let length = || instance.as_str().map_or(0, |text| text.chars().count());
    let items = || instance.as_array().map_or(0, Vec::len);
    let entries = || instance.as_object().map_or(0, serde_json::Map::len);
    match error.kind() {
        ValidationErrorKind::Type { kind: wanted } => {
            let wanted = match wanted {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(many) => {
                    many.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or ")
                }
            };
            format!("got {}, want {wanted}", kind(instance))
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            not_allowed(&unexpected.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>())
        }
        ValidationErrorKind::AdditionalItems { limit } => {
            format!("last {} additionalItem(s) not allowed", items().saturating_sub(*limit))
        }
        ValidationErrorKind::Constant { expected_value } if is_simple(expected_value) => {
            format!("value must be {}", shown(expected_value))
        }
        ValidationErrorKind::Constant { .. } => "const failed".to_owned(),
        ValidationErrorKind::Enum { options } => match options.as_ref() {
            Json::Array(options) if options.iter().all(is_simple) => {
                format!("value must be one of {}", options.iter().map(shown).collect::<Vec<_>>().join(", "))
            }
            _ => "enum failed".to_owned(),
        },
        ValidationErrorKind::FalseSchema => "false schema".to_owned(),
        ValidationErrorKind::Not { .. } => "'not' failed".to_owned(),
        ValidationErrorKind::UniqueItems => {
            let twins = twins(instance.as_array().map(Vec::as_slice).unwrap_or_default());
            let (first, second) = twins.unwrap_or_default();
            format!("items at {first} and {second} are equal")
        }
        ValidationErrorKind::Minimum { limit } => compared("minimum", instance, limit),
        ValidationErrorKind::Maximum { limit } => compared("maximum", instance, limit),
        ValidationErrorKind::ExclusiveMinimum { limit } => compared("exclusiveMinimum", instance, limit),
        ValidationErrorKind::ExclusiveMaximum { limit } => compared("exclusiveMaximum", instance, limit),
        ValidationErrorKind::MultipleOf { multiple_of } => compared("multipleOf", instance, multiple_of),
        ValidationErrorKind::MinLength { limit } => compared("minLength", length(), limit),
        ValidationErrorKind::MaxLength { limit } => compared("maxLength", length(), limit),
        ValidationErrorKind::MinItems { limit } => compared("minItems", items(), limit),
        ValidationErrorKind::MaxItems { limit } => compared("maxItems", items(), limit),
        ValidationErrorKind::MinProperties { limit } => compared("minProperties", entries(), limit),
        ValidationErrorKind::MaxProperties { limit } => compared("maxProperties", entries(), limit),
        ValidationErrorKind::Pattern { pattern } => {
            format!("{} does not match pattern '{pattern}'", shown(instance))
        }
        ValidationErrorKind::Format { format } => format!("{} is not valid {format}", shown(instance)),
        _ => error.to_string(),
    }
}
