//! Label and field selectors of list, watch and deletecollection, and `LabelSelector`s inside objects.

use serde_json::Value;

use crate::error::ApiError;
use crate::names;
use crate::object;
use crate::registry::Kind;

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

impl Requirement {
    fn matches(&self, label: impl Fn(&str) -> Option<String>) -> bool {
        let number = |key: &str| label(key).and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(key, values) => label(key).is_some_and(|value| values.contains(&value)),
            Self::NotIn(key, values) => label(key).is_none_or(|value| !values.contains(&value)),
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
            Self::Greater(key, bound) => number(key).is_some_and(|value| value > *bound),
            Self::Less(key, bound) => number(key).is_some_and(|value| value < *bound),
        }
    }
}

/// A parsed label selector; the empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Parses the `labelSelector` of a request: `a=b,c!=d,e in (f,g),h,!i`.
    ///
    /// # Errors
    /// 400 with the position in words when the text is not a selector.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(bad(text, "found ',', expected: identifier"));
            }
            requirements.push(parse_requirement(text, part)?);
        }
        Ok(Self(requirements))
    }

    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`). An empty one matches everything.
    pub(crate) fn from_object(selector: &Value) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            requirements
                .push(Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        }
        for expression in object::items(selector, &["matchExpressions"]) {
            let key = object::text(expression, &["key"]).unwrap_or_default().to_owned();
            let values = object::items(expression, &["values"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            requirements.push(match object::text(expression, &["operator"]).unwrap_or_default() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                _ => Requirement::Absent(key),
            });
        }
        Self(requirements)
    }

    /// Reads a plain map of labels (a Service's `spec.selector`).
    pub(crate) fn from_map(labels: &Value) -> Self {
        let pairs = labels.as_object().into_iter().flatten();
        Self(
            pairs
                .map(|(key, value)| {
                    Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()])
                })
                .collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object's labels (`metadata.labels`) match.
    pub(crate) fn matches(&self, labels: Option<&Value>) -> bool {
        let label =
            |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str).map(str::to_owned);
        self.0.iter().all(|requirement| requirement.matches(label))
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|requirement| match requirement {
                Requirement::In(key, values) if values.len() == 1 => format!("{key}={}", values[0]),
                Requirement::In(key, values) => format!("{key} in ({})", values.join(",")),
                Requirement::NotIn(key, values) if values.len() == 1 => format!("{key}!={}", values[0]),
                Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
                Requirement::Exists(key) => key.clone(),
                Requirement::Absent(key) => format!("!{key}"),
                Requirement::Greater(key, bound) => format!("{key}>{bound}"),
                Requirement::Less(key, bound) => format!("{key}<{bound}"),
            })
            .collect();
        formatter.write_str(&parts.join(","))
    }
}

fn bad(text: &str, why: &str) -> ApiError {
    tracing::debug!(selector = text, why, "refused a label selector");
    ApiError::bad_request(format!("unable to parse requirement: {why}"))
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_requirement(text: &str, part: &str) -> Result<Requirement, ApiError> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(checked_key(text, key)?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(checked_key(text, key)?, vec![checked_value(text, value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(checked_key(text, key)?, vec![checked_value(text, value)?]));
    }
    for (operator, greater) in [('>', true), ('<', false)] {
        if let Some((key, value)) = part.split_once(operator) {
            let key = checked_key(text, key)?;
            let bound = value
                .trim()
                .parse()
                .map_err(|_| bad(text, "for 'Gt', 'Lt' operators, the value must be an integer"))?;
            return Ok(if greater {
                Requirement::Greater(key, bound)
            } else {
                Requirement::Less(key, bound)
            });
        }
    }
    if let Some((head, list)) = part.split_once('(') {
        let list =
            list.trim_end().strip_suffix(')').ok_or_else(|| bad(text, "found '', expected: ',' or ')'"))?;
        let values =
            list.split(',').map(|value| checked_value(text, value)).collect::<Result<Vec<_>, _>>()?;
        let mut words = head.split_whitespace();
        let key = checked_key(text, words.next().unwrap_or_default())?;
        return match words.next() {
            Some("in") => Ok(Requirement::In(key, values)),
            Some("notin") => Ok(Requirement::NotIn(key, values)),
            other => Err(bad(text, &format!("found '{}', expected: in, notin", other.unwrap_or("(")))),
        };
    }
    if let Some((_, rest)) = part.split_once(char::is_whitespace) {
        let why = format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", rest.trim());
        return Err(bad(text, &why));
    }
    Ok(Requirement::Exists(checked_key(text, part)?))
}

fn checked_key(text: &str, key: &str) -> Result<String, ApiError> {
    let key = key.trim();
    match names::qualified_name_complaints(key).first() {
        None => Ok(key.to_owned()),
        Some(complaint) => Err(bad(text, &format!("<nil>: Invalid value: \"{key}\": {complaint}"))),
    }
}

fn checked_value(text: &str, value: &str) -> Result<String, ApiError> {
    let value = value.trim();
    match names::label_value_complaints(value).first() {
        None => Ok(value.to_owned()),
        Some(complaint) => Err(bad(text, &format!("values[0]: Invalid value: \"{value}\": {complaint}"))),
    }
}

/// A parsed field selector: equalities on the fields that a kind makes selectable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<(String, String, bool)>);

impl FieldSelector {
    /// Parses the `fieldSelector` of a request for one kind.
    ///
    /// # Errors
    /// 400 when the text is malformed or the kind does not support a field.
    pub(crate) fn parse(text: &str, kind: &Kind) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, value, true)
            } else {
                return Err(ApiError::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let field = field.trim();
            if !kind.selects_field(field) {
                let known = if kind.namespaced {
                    "\"metadata.name\", \"metadata.namespace\""
                } else {
                    "\"metadata.name\""
                };
                let plain = kind.builtin().is_some_and(|row| row.selectable.is_empty());
                return Err(ApiError::bad_request(if plain {
                    format!("\"{field}\" is not a known field selector: only {known}")
                } else {
                    format!("field label not supported: {field}")
                }));
            }
            terms.push((field.to_owned(), value.trim().to_owned(), equal));
        }
        Ok(Self(terms))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether names alone decide, so that the object need not be decoded.
    pub(crate) fn needs_object(&self) -> bool {
        self.0.iter().any(|(field, _, _)| field != "metadata.name" && field != "metadata.namespace")
    }

    /// Whether an object with this key matches; `object` may be null when `needs_object` is false.
    pub(crate) fn matches(&self, namespace: &str, name: &str, object: &Value) -> bool {
        self.0.iter().all(|(field, wanted, equal)| {
            let found = match field.as_str() {
                "metadata.name" => name.to_owned(),
                "metadata.namespace" => namespace.to_owned(),
                field => field_text(object, field),
            };
            (found == *wanted) == *equal
        })
    }
}

fn field_text(object: &Value, field: &str) -> String {
    let mut value = object;
    for step in field.split('.') {
        match value.get(step) {
            Some(next) => value = next,
            None => return String::new(),
        }
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_match_as_documented() {
        let labels = json!({"app": "web", "tier": "front", "n": "5"});
        let table = [
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, api)", true),
            ("app notin (web)", false),
            ("tier", true),
            ("!tier", false),
            ("other notin (x)", true),
            ("n>4", true),
            ("n<4", false),
            ("", true),
        ];
        for (text, expected) in table {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches(Some(&labels)), expected, "{text}");
        }
    }

    #[test]
    fn malformed_label_selectors_are_refused_with_400() {
        for text in ["a in (b", "a b", "=x", "a=b,,c=d", "a like (b)"] {
            assert_eq!(LabelSelector::parse(text).unwrap_err().code, 400, "{text}");
        }
    }

    #[test]
    fn a_selector_object_and_its_text_agree() {
        let selector = LabelSelector::from_object(&json!({
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "Exists"}],
        }));
        assert_eq!(selector.to_string(), "a=b,c in (d,e),f");
        assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector);
    }
}
