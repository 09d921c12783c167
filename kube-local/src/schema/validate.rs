//! Types and values against the schema.

use serde_json::{Map, Number, Value};

use super::format::{Format, What};
use super::{Additional, Checks, FieldError, FieldErrorKind, Kind, Node, old_item};

/// Checks a whole object.
pub(crate) fn object(root: &Node, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut walk = Walk { errors: Vec::new(), checks: 0 };
    walk.node(root, new, old, "");
    walk.errors
}

struct Walk {
    errors: Vec<FieldError>,
    /// Checks made: among alternatives that all fail, the one that looked closest explains itself.
    checks: u32,
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Walk {
    fn invalid(&mut self, path: &str, value: impl Into<Value>, problem: &str) {
        self.errors.push(FieldError::invalid(path, value, format!("{path} in body {problem}")));
    }

    fn wrong_type(&mut self, path: &str, expected: &str, found: &str) {
        let detail = format!("{path} in body must be of type {expected}: {found:?}");
        self.errors.push(FieldError::new(path, FieldErrorKind::TypeInvalid, Some(found.into()), detail));
    }

    fn node(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &str) {
        // What did not change is not held against an update.
        if old == Some(value) {
            return;
        }
        self.checks += 4 + u32::from(node.checks.format.is_some());
        self.check_type(node, value, path);
        if value.is_null() {
            self.one_of_values(&node.checks, value, path);
        } else {
            self.junctors(&node.checks, value, old, path);
            match value {
                Value::String(text) => self.text(&node.checks, text, path),
                Value::Number(number) => self.number(node, number, path),
                Value::Array(items) => self.list(node, items, old, path),
                Value::Object(_) | Value::Bool(_) | Value::Null => {}
            }
            self.one_of_values(&node.checks, value, path);
            if let Value::Object(map) = value {
                self.map(node, map, old, path);
            }
        }
    }

    fn check_type(&mut self, node: &Node, value: &Value, path: &str) {
        if type_fits(node, value) {
            return;
        }
        let expected = match node.kind {
            _ if node.int_or_string => "integer,string",
            Kind::Any => "",
            Kind::Object => "object",
            Kind::Array => "array",
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
        };
        let Some(format) = node.checks.format.as_ref().filter(|_| !value.is_null()) else {
            self.wrong_type(path, expected, type_name(value));
            return;
        };
        // A format speaks for its type, in the words of Go's types.
        match value {
            Value::String(_) | Value::Array(_) if matches!(node.kind, Kind::Integer | Kind::Number) => {
                self.wrong_type(path, expected, type_name(value));
            }
            Value::String(_) | Value::Array(_) | Value::Null => {}
            Value::Number(number) if number.is_i64() => self.wrong_type(path, &format.name, "int64"),
            Value::Number(_) => self.wrong_type(path, &format.name, "float64"),
            Value::Bool(_) | Value::Object(_) => self.wrong_type(path, &format.name, ""),
        }
    }

    fn text(&mut self, checks: &Checks, text: &str, path: &str) {
        if checks.length_max.is_some() || checks.length_min.is_some() {
            let length = text.chars().count() as u64;
            if let Some(max) = checks.length_max.filter(|max| length > *max) {
                let detail =
                    format!("may not be more than {max} {}", if max == 1 { "byte" } else { "bytes" });
                self.errors.push(FieldError::new(path, FieldErrorKind::TooLong, None, detail));
                return;
            }
            if let Some(min) = checks.length_min.filter(|min| length < *min) {
                self.invalid(path, text, &format!("should be at least {min} chars long"));
                return;
            }
        }
        if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            self.invalid(path, text, &format!("should match '{}'", pattern.as_str()));
        }
        if let Some(format) = checks.format.as_ref().filter(|format| !format.holds(text)) {
            self.wrong_type(path, &format.name, text);
        }
    }

    fn number(&mut self, node: &Node, number: &Number, path: &str) {
        let checks = &node.checks;
        if let Some(problem) = out_of_range(node.kind, checks.format.as_ref(), number) {
            self.errors.push(FieldError::invalid(
                "",
                "",
                format!("Checked value must be of type {problem} in {path}"),
            ));
        }
        let value = || Value::Number(number.clone());
        if let Some(factor) = &checks.multiple_of
            && !is_multiple(number, factor)
        {
            self.invalid(path, value(), &format!("should be a multiple of {}", plain(factor)));
        }
        if let Some(max) = &checks.maximum {
            let order = compare(number, &max.value);
            if order.is_gt() || max.exclusive && order.is_eq() {
                let relation = if max.exclusive { "less than" } else { "less than or equal to" };
                self.invalid(path, value(), &format!("should be {relation} {}", plain(&max.value)));
            }
        }
        if let Some(min) = &checks.minimum {
            let order = compare(number, &min.value);
            if order.is_lt() || min.exclusive && order.is_eq() {
                let relation = if min.exclusive { "greater than" } else { "greater than or equal to" };
                self.invalid(path, value(), &format!("should be {relation} {}", plain(&min.value)));
            }
        }
    }

    fn list(&mut self, node: &Node, items: &[Value], old: Option<&Value>, path: &str) {
        if let Some(below) = &node.items {
            for (i, item) in items.iter().enumerate() {
                self.node(below, item, old_item(node, item, old), &format!("{path}[{i}]"));
            }
        }
        let count = items.len() as u64;
        if let Some(min) = node.checks.items_min.filter(|min| count < *min) {
            self.invalid(path, count, &format!("should have at least {min} items"));
        }
        if let Some(max) = node.checks.items_max.filter(|max| count > *max) {
            self.too_many(path, count, max);
        }
    }

    fn too_many(&mut self, path: &str, count: u64, max: u64) {
        let detail = format!("must have at most {max} {}", if max == 1 { "item" } else { "items" });
        self.errors.push(FieldError::new(path, FieldErrorKind::TooMany, Some(count.into()), detail));
    }

    fn map(&mut self, node: &Node, map: &Map<String, Value>, old: Option<&Value>, path: &str) {
        let checks = &node.checks;
        let count = map.len() as u64;
        if let Some(min) = checks.properties_min.filter(|min| count < *min) {
            self.invalid(path, count, &format!("should have at least {min} properties"));
        }
        if let Some(max) = checks.properties_max.filter(|max| count > *max) {
            self.too_many(path, count, max);
        }
        for (name, value) in map {
            let below = match (node.properties.get(name), &node.additional) {
                (Some(property), _) => property,
                (None, Additional::Schema(below)) => below,
                (None, Additional::Allowed(false)) => {
                    let detail = format!("{path}.{name} in body is a forbidden property");
                    self.errors.push(FieldError::invalid(path, "", detail));
                    continue;
                }
                (None, Additional::Undefined | Additional::Allowed(true)) => continue,
            };
            self.node(below, value, old.and_then(|old| old.get(name)), &join(path, name));
        }
        for name in checks.required.iter().filter(|name| !map.contains_key(*name)) {
            self.errors.push(FieldError::required(&join(path, name), ""));
        }
    }

    fn one_of_values(&mut self, checks: &Checks, value: &Value, path: &str) {
        if checks.one_of_values.is_empty() || checks.one_of_values.iter().any(|other| same(other, value)) {
            return;
        }
        let quoted = checks.one_of_values.iter().map(|value| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{text:?}")
        });
        let detail = format!("supported values: {}", quoted.collect::<Vec<_>>().join(", "));
        self.errors.push(FieldError::new(path, FieldErrorKind::NotSupported, Some(value.clone()), detail));
    }

    /// Runs one alternative apart: its errors, and how many checks it made.
    fn apart(&self, node: &Node, value: &Value, old: Option<&Value>, path: &str) -> Walk {
        let mut walk = Walk { errors: Vec::new(), checks: 0 };
        walk.node(node, value, old, path);
        walk
    }

    fn junctors(&mut self, checks: &Checks, value: &Value, old: Option<&Value>, path: &str) {
        if !checks.any_of.is_empty() {
            let tried: Vec<Walk> =
                checks.any_of.iter().map(|below| self.apart(below, value, old, path)).collect();
            if tried.iter().all(|walk| !walk.errors.is_empty()) {
                let text = format!("{path:?} must validate at least one schema (anyOf)");
                self.errors.push(FieldError::invalid("", "", text));
                self.take_best(tried);
            }
        }
        if !checks.one_of.is_empty() {
            let tried: Vec<Walk> =
                checks.one_of.iter().map(|below| self.apart(below, value, old, path)).collect();
            let valid = tried.iter().filter(|walk| walk.errors.is_empty()).count();
            if valid != 1 {
                let found = match valid {
                    0 => "Found none valid".to_owned(),
                    n => format!("Found {n} valid alternatives"),
                };
                let text = format!("{path:?} must validate one and only one schema (oneOf). {found}");
                self.errors.push(FieldError::invalid("", "", text));
                if valid == 0 {
                    self.take_best(tried);
                }
            }
        }
        let mut valid = 0;
        for below in &checks.all_of {
            let walk = self.apart(below, value, old, path);
            valid += usize::from(walk.errors.is_empty());
            self.errors.extend(walk.errors);
        }
        if valid != checks.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            let text = format!("{path:?} must validate all the schemas (allOf){none}");
            self.errors.push(FieldError::invalid("", "", text));
        }
        if let Some(below) = &checks.not
            && self.apart(below, value, None, path).errors.is_empty()
        {
            let text = format!("{path:?} must not validate the schema (not)");
            self.errors.push(FieldError::invalid("", "", text));
        }
    }

    fn take_best(&mut self, tried: Vec<Walk>) {
        let mut best: Option<Walk> = None;
        for walk in tried {
            if best.as_ref().is_none_or(|best| walk.checks > best.checks) {
                best = Some(walk);
            }
        }
        self.errors.extend(best.into_iter().flat_map(|walk| walk.errors));
    }
}

fn type_fits(node: &Node, value: &Value) -> bool {
    match (value, node.kind) {
        (Value::Null, kind) => node.nullable || kind == Kind::Any && !node.int_or_string,
        (Value::String(_), _) if node.int_or_string => true,
        (Value::Number(number), _) if node.int_or_string => is_integer(number),
        _ if node.int_or_string => false,
        (Value::Bool(_), Kind::Boolean | Kind::Any)
        | (Value::String(_), Kind::String | Kind::Any)
        | (Value::Array(_), Kind::Array | Kind::Any)
        | (Value::Object(_), Kind::Object | Kind::Any)
        | (Value::Number(_), Kind::Number | Kind::Any) => true,
        (Value::Number(number), Kind::Integer) => is_integer(number),
        _ => false,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Number(number) if is_integer(number) => "integer",
        Value::Number(_) => "number",
    }
}

/// Whether a number is whole, and small enough that its float is exact when it is one.
fn is_integer(number: &Number) -> bool {
    number.is_i64()
        || number.as_f64().is_some_and(|value| value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_991.0)
}

/// Equal values; `1` and `1.0` are one number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b).is_eq(),
        (a, b) => a == b,
    }
}

fn compare(a: &Number, b: &Number) -> std::cmp::Ordering {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN)),
    }
}

fn is_multiple(number: &Number, factor: &Number) -> bool {
    match (number.as_i64(), factor.as_i64()) {
        (Some(number), Some(factor)) if factor != 0 => number % factor == 0,
        _ => {
            let quotient = number.as_f64().unwrap_or(0.0) / factor.as_f64().unwrap_or(1.0);
            (quotient - quotient.round()).abs() < 1e-9
        }
    }
}

fn out_of_range(kind: Kind, format: Option<&Format>, number: &Number) -> Option<String> {
    let (name, fits) = match (kind, format.map(|format| format.what)) {
        (Kind::Integer, Some(What::Int32)) => {
            let range = f64::from(i32::MIN)..=f64::from(i32::MAX);
            ("integer", is_integer(number) && number.as_f64().is_some_and(|n| range.contains(&n)))
        }
        (Kind::Integer, _) => ("integer", is_integer(number)),
        (Kind::Number, Some(What::Float)) => {
            ("number", number.as_f64().is_none_or(|n| n.abs() <= f64::from(f32::MAX)))
        }
        _ => return None,
    };
    if fits {
        return None;
    }
    Some(match format {
        Some(format) => format!("{name} with format {}", format.name),
        None => format!("{name} (default format)"),
    })
}

/// A bound as Go prints it: whole numbers without a fraction.
fn plain(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if value.fract() == 0.0 && value.abs() < 1e21 => format!("{value:.0}"),
        _ => number.to_string(),
    }
}
