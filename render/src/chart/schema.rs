//! `values.schema.json`: values are held against the schema of their chart, subcharts against theirs.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value as Json;

use super::dependencies::Instance;

/// All violations, in Helm's words; nothing when the values fit.
pub(crate) fn violations(chart: &Instance<'_>, values: &Json) -> String {
    let mut out = String::new();
    if let Some(schema) = &chart.chart.schema
        && let Err(problem) = check(schema, values)
    {
        out.push_str(&format!("{}:\n{problem}", chart.name));
    }
    for child in &chart.children {
        match values.get(&child.name) {
            None | Some(Json::Null) => {}
            Some(inner @ Json::Object(_)) => out.push_str(&violations(child, inner)),
            Some(other) => {
                let got = kind(other);
                out.push_str(&format!(
                    "{}:\ninvalid type for values: expected object (map), got {got}\n",
                    child.name
                ));
            }
        }
    }
    out
}

fn check(schema: &Result<Json, String>, values: &Json) -> Result<(), String> {
    let schema = schema.as_ref().map_err(|problem| format!("failed to read the schema: {problem}\n"))?;
    let validator: Validator = jsonschema::validator_for(schema)
        .map_err(|problem| format!("unable to use the schema: {problem}\n"))?;
    let lines: Vec<String> = validator
        .iter_errors(values)
        .map(|error| format!("- at '{}': {}\n", error.instance_path(), words(&error)))
        .collect();
    if lines.is_empty() { Ok(()) } else { Err(lines.concat()) }
}

fn kind(value: &Json) -> &'static str {
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
fn grouped(number: &Json) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
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

/// The complaint in the words of the validator that Helm uses.
#[allow(clippy::wildcard_enum_match_arm)] // the crate's own words serve for every other kind
fn words(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Type { kind: wanted } => {
            let wanted = match wanted {
                TypeKind::Single(one) => one.to_string(),
                TypeKind::Multiple(many) => {
                    many.iter().map(|one| one.to_string()).collect::<Vec<_>>().join(" or ")
                }
            };
            format!("got {}, want {wanted}", kind(error.instance()))
        }
        ValidationErrorKind::Required { property } => format!("missing property {}", shown(property)),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let names: Vec<String> = unexpected.iter().map(|name| format!("'{name}'")).collect();
            format!("additional properties {} not allowed", names.join(", "))
        }
        ValidationErrorKind::Enum { options } => match options.as_ref() {
            Json::Array(options) => {
                format!("value must be one of {}", options.iter().map(shown).collect::<Vec<_>>().join(", "))
            }
            other => format!("value must be {}", shown(other)),
        },
        ValidationErrorKind::Minimum { limit } => {
            format!("minimum: got {}, want {}", grouped(error.instance()), grouped(limit))
        }
        ValidationErrorKind::Maximum { limit } => {
            format!("maximum: got {}, want {}", grouped(error.instance()), grouped(limit))
        }
        ValidationErrorKind::MinLength { limit } => {
            let length = error.instance().as_str().map_or(0, |text| text.chars().count());
            format!("minLength: got {length}, want {limit}")
        }
        ValidationErrorKind::MaxLength { limit } => {
            let length = error.instance().as_str().map_or(0, |text| text.chars().count());
            format!("maxLength: got {length}, want {limit}")
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("{} does not match pattern '{pattern}'", shown(error.instance()))
        }
        _ => error.to_string(),
    }
}
