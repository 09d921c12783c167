//! Where a live object differs from the desired one, for people and for API servers that keep no record of
//! field ownership.
//!
//! Only what is desired is compared, so fields that the server defaulted or that others added are no
//! difference; neither are empty values that servers drop, nor spellings of the same quantity.

use protocol::inquiry::{Line, VALUE_CHARS_MAX};
use serde_json::Value;

/// Longest value quoted in a message, in characters.
const QUOTE_CHARS_MAX: usize = 60;

/// Fields by which items of lists are matched when the lists do not match in order.
const ITEM_KEYS: [&str; 9] =
    ["name", "key", "mountPath", "devicePath", "containerPort", "port", "ip", "type", "topologyKey"];

/// Whether values are quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// They are, shortened.
    Shown,
    /// Only the path is told.
    Hidden,
}

/// The first difference, as `path is <live>, desired <desired>`; `None` when the live object has all that
/// is desired.
pub(crate) fn difference(desired: &Value, live: &Value, quoting: Quoting) -> Option<String> {
    let mut path = String::new();
    let told = first(desired, live, &mut path)?;
    Some(match quoting {
        Quoting::Shown => told.text,
        Quoting::Hidden => format!("{} is not as desired", told.path),
    })
}

/// All differences, at most so many, with both values.
pub(crate) fn differences(desired: &Value, live: &Value, quoting: Quoting, most: usize) -> Vec<Line> {
    let mut all = All { quoting, most, lines: Vec::new() };
    all.collect(desired, live, &mut String::new());
    all.lines
}

/// Differences that are being collected.
struct All {
    quoting: Quoting,
    most: usize,
    lines: Vec<Line>,
}

impl All {
    fn collect(&mut self, desired: &Value, live: &Value, path: &mut String) {
        match (desired, live) {
            (Value::Object(wanted), Value::Object(found)) => {
                for (key, value) in wanted {
                    let length = path.len();
                    path.push('.');
                    path.push_str(key);
                    match found.get(key) {
                        Some(other) => self.collect(value, other, path),
                        None if is_empty(value) => {}
                        None => self.add(path, None, Some(value)),
                    }
                    path.truncate(length);
                }
            }
            (Value::Array(wanted), Value::Array(found)) => self.items(wanted, found, path),
            (wanted, found) => {
                if first(wanted, found, &mut path.clone()).is_some() {
                    self.add(if path.is_empty() { "." } else { path }, Some(found), Some(wanted));
                }
            }
        }
    }

    fn items(&mut self, wanted: &[Value], found: &[Value], path: &mut String) {
        if items(wanted, found, &mut path.clone()).is_none() {
            return;
        }
        let keyed = wanted.iter().all(Value::is_object) && !wanted.is_empty();
        if !keyed {
            let list = |items: &[Value]| Value::Array(items.to_vec());
            return self.add(path, Some(&list(found)), Some(&list(wanted)));
        }
        for (index, item) in wanted.iter().enumerate() {
            let length = path.len();
            path.push_str(&format!("[{}]", label(item, index)));
            match partner(item, found) {
                Some(other) => self.collect(item, other, path),
                None => self.add(path, None, Some(item)),
            }
            path.truncate(length);
        }
    }

    fn add(&mut self, path: &str, live: Option<&Value>, desired: Option<&Value>) {
        if self.lines.len() >= self.most {
            return;
        }
        let told = |value: Option<&Value>| {
            let value = value.filter(|_| self.quoting == Quoting::Shown)?;
            Some(value.to_string().chars().take(VALUE_CHARS_MAX).collect())
        };
        self.lines.push(Line { path: path.to_owned(), live: told(live), desired: told(desired) });
    }
}

/// A difference: where, and the whole sentence.
struct Told {
    path: String,
    text: String,
}

impl Told {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: format!("{path} {text}") }
    }
}

fn first(desired: &Value, live: &Value, path: &mut String) -> Option<Told> {
    match (desired, live) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().find_map(|(key, value)| {
            let length = path.len();
            path.push('.');
            path.push_str(key);
            let result = match found.get(key) {
                Some(other) => first(value, other, path),
                None if is_empty(value) => None,
                None => Some(Told::new(path, &format!("is missing, desired {}", quote(value)))),
            };
            path.truncate(length);
            result
        }),
        (Value::Array(wanted), Value::Array(found)) => items(wanted, found, path),
        (wanted, found) if same_scalar(wanted, found) || (is_empty(wanted) && is_empty(found)) => None,
        (wanted, found) => {
            let path = if path.is_empty() { "." } else { path };
            Some(Told::new(path, &format!("is {}, desired {}", quote(found), quote(wanted))))
        }
    }
}

fn items(wanted: &[Value], found: &[Value], path: &mut String) -> Option<Told> {
    let in_order = wanted.len() == found.len()
        && wanted.iter().zip(found).all(|(w, f)| first(w, f, &mut String::new()).is_none());
    if in_order {
        return None;
    }
    let keyed = wanted.iter().all(Value::is_object) && !wanted.is_empty();
    if !keyed && wanted.len() != found.len() {
        return Some(Told::new(path, &format!("has {} items, desired {}", found.len(), wanted.len())));
    }
    wanted.iter().enumerate().find_map(|(index, item)| {
        let length = path.len();
        let partner = if keyed { partner(item, found) } else { found.get(index) };
        path.push_str(&format!("[{}]", label(item, index)));
        let result = match partner {
            Some(other) => first(item, other, path),
            None => Some(Told::new(path, "is missing")),
        };
        path.truncate(length);
        result
    })
}

/// The live item that has the same values in all key fields the desired one has.
fn partner<'a>(item: &Value, found: &'a [Value]) -> Option<&'a Value> {
    found.iter().find(|other| {
        ITEM_KEYS
            .iter()
            .filter_map(|key| Some((item.get(key)?, key)))
            .all(|(value, key)| other.get(key).is_some_and(|theirs| same_scalar(value, theirs)))
    })
}

fn label(item: &Value, index: usize) -> String {
    match item.get("name").or_else(|| item.get("key")).and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => index.to_string(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

/// Equal, or numbers and quantities of the same value (`1`, `"1"`, `"1000m"`).
fn same_scalar(left: &Value, right: &Value) -> bool {
    left == right
        || matches!((quantity(left), quantity(right)), (Some(a), Some(b)) if (a - b).abs() <= f64::EPSILON * a.abs())
}

/// The value of a number or a Kubernetes quantity.
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text.as_str(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let digits =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

fn quote(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_additions_empty_values_and_spellings_are_no_difference() {
        for (desired, live) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2})),
            (json!({"a": {}, "b": null, "c": []}), json!({})),
            (json!({"cpu": "1000m"}), json!({"cpu": "1"})),
            (json!({"memory": "1Gi", "port": 80}), json!({"memory": "1024Mi", "port": 80})),
            (json!([{"name": "a", "image": "x"}]), json!([{"name": "a", "image": "x", "pull": "Always"}])),
            (json!([{"name": "a"}]), json!([{"name": "injected"}, {"name": "a"}])),
            (json!([{"port": 80}]), json!([{"port": 80, "protocol": "TCP"}])),
        ] {
            assert_eq!(difference(&desired, &live, Quoting::Shown), None, "{desired} {live}");
        }
    }

    #[test]
    fn all_differences_are_told_with_both_values_or_with_none() {
        let desired = json!({"spec": {"replicas": 3, "c": [{"name": "a", "image": "x"}, {"name": "b"}], "args": ["1"]},
            "data": {"k": "v"}, "cpu": "1000m"});
        let live = json!({"spec": {"replicas": 5, "c": [{"name": "a", "image": "y"}], "args": ["1", "2"]}, "cpu": 1});
        let told = |line: &Line| (line.path.clone(), line.live.clone(), line.desired.clone());
        let all: Vec<_> = differences(&desired, &live, Quoting::Shown, 10).iter().map(told).collect();
        let some = |text: &str| Some(text.to_owned());
        let expected = [
            (".data".to_owned(), None, some("{\"k\":\"v\"}")),
            (".spec.args".to_owned(), some("[\"1\",\"2\"]"), some("[\"1\"]")),
            (".spec.c[a].image".to_owned(), some("\"y\""), some("\"x\"")),
            (".spec.c[b]".to_owned(), None, some("{\"name\":\"b\"}")),
            (".spec.replicas".to_owned(), some("5"), some("3")),
        ];
        assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>(), expected.iter().collect());
        let hidden = differences(&desired, &live, Quoting::Hidden, 10);
        assert!(hidden.len() == 5 && hidden.iter().all(|line| line.live.is_none() && line.desired.is_none()));
        assert_eq!(differences(&desired, &live, Quoting::Shown, 2).len(), 2);
    }

    #[test]
    fn a_difference_names_path_found_and_desired_value() {
        for (desired, live, text) in [
            (
                json!({"spec": {"replicas": 3}}),
                json!({"spec": {"replicas": 5}}),
                ".spec.replicas is 5, desired 3",
            ),
            (json!({"data": {"a": "x"}}), json!({"data": {}}), ".data.a is missing, desired \"x\""),
            (json!({"l": ["a", "b"]}), json!({"l": ["a"]}), ".l has 1 items, desired 2"),
            (
                json!({"c": [{"name": "a", "image": "x"}]}),
                json!({"c": [{"name": "b"}, {"name": "a", "image": "y"}]}),
                ".c[a].image is \"y\", desired \"x\"",
            ),
            (json!({"c": [{"name": "a"}]}), json!({"c": []}), ".c[a] is missing"),
        ] {
            assert_eq!(difference(&desired, &live, Quoting::Shown).as_deref(), Some(text));
            let path = text.split_once(' ').unwrap().0;
            let hidden = difference(&desired, &live, Quoting::Hidden).unwrap();
            assert_eq!(hidden, format!("{path} is not as desired"));
        }
    }
}
