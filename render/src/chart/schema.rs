//! `values.schema.json`: values are held against the schema of their chart, subcharts against theirs.

use jsonschema::{ValidationError, Validator};
use serde_json::Value as Json;

use super::dependencies::Instance;
use super::violation::{kind, told};

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
    let schema = schema.as_ref().map_err(|problem| format!("{problem}\n"))?;
    let validator: Validator = jsonschema::validator_for(schema)
        .map_err(|problem| format!("unable to use the schema: {problem}\n"))?;
    let errors: Vec<ValidationError<'_>> = validator.iter_errors(values).collect();
    if errors.is_empty() { Ok(()) } else { Err(told(&errors, values, schema)) }
}
