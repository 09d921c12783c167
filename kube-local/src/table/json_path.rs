//! The part of JSONPath that printer columns use: fields, quoted fields, indices, wildcards, recursive descent and
//! filters such as `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Every,
    Descend(String),
    Filter(Filter),
}

#[derive(Debug, Clone, PartialEq)]
struct Filter {
    path: JsonPath,
    /// None: the path must exist.
    comparison: Option<(Operator, Value)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

/// Where a path is not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse the path \"{path}\" at \"{rest}\": {expected}")]
pub(crate) struct PathError {
    path: String,
    rest: String,
    expected: &'static str,
}

impl JsonPath {
    /// Parses a path that starts with `.`, `[` or `$`.
    ///
    /// # Errors
    /// Where the path is not understood, and what was expected there.
    pub(crate) fn parse(path: &str) -> Result<Self, PathError> {
        let text = path.trim();
        let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        let text = text.strip_prefix('$').or_else(|| text.strip_prefix('@')).unwrap_or(text);
        let mut parser = Parser { path, rest: text };
        let mut steps = Vec::new();
        while !parser.rest.is_empty() {
            parser.step(&mut steps)?;
        }
        Ok(Self(steps))
    }

    /// Everything the path leads to.
    pub(crate) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.follow(value, &mut next);
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn follow<'a>(&self, value: &'a Value, found: &mut Vec<&'a Value>) {
        match self {
            Self::Field(name) => found.extend(value.get(name.as_str())),
            Self::Index(index) => {
                if let Some(items) = value.as_array() {
                    found.extend(position(*index, items.len()).and_then(|index| items.get(index)));
                }
            }
            Self::Slice(start, end) => {
                if let Some(items) = value.as_array() {
                    let bound = |bound: Option<i64>, default| {
                        bound.map_or(default, |bound| position(bound, items.len()).unwrap_or(items.len()))
                    };
                    let (start, end) = (bound(*start, 0), bound(*end, items.len()).min(items.len()));
                    found.extend(items.get(start..end).into_iter().flatten());
                }
            }
            Self::Every => match value {
                Value::Array(items) => found.extend(items),
                Value::Object(map) => found.extend(map.values()),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            },
            Self::Descend(name) => descend(name, value, found),
            Self::Filter(filter) => match value {
                Value::Array(items) => found.extend(items.iter().filter(|item| filter.accepts(item))),
                Value::Object(map) => found.extend(map.values().filter(|item| filter.accepts(item))),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            },
        }
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { index + length } else { index }).ok()
}

fn descend<'a>(name: &str, value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(name));
            map.values().for_each(|inner| descend(name, inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| descend(name, inner, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Filter {
    fn accepts(&self, item: &Value) -> bool {
        let found = self.path.find(item);
        let Some(first) = found.first() else { return false };
        let Some((operator, wanted)) = &self.comparison else { return true };
        let order = match (first, wanted) {
            (Value::Number(one), Value::Number(other)) => {
                one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other))
            }
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            _ => None,
        };
        match operator {
            Operator::Equal => *first == wanted,
            Operator::Unequal => *first != wanted,
            Operator::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Operator::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

struct Parser<'a> {
    path: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, expected: &'static str) -> Result<T, PathError> {
        Err(PathError { path: self.path.to_owned(), rest: self.rest.to_owned(), expected })
    }

    fn step(&mut self, steps: &mut Vec<Step>) -> Result<(), PathError> {
        if let Some(rest) = self.rest.strip_prefix("..") {
            self.rest = rest;
            let name = self.word()?;
            steps.push(Step::Descend(name));
        } else if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            if let Some(rest) = rest.strip_prefix('*') {
                self.rest = rest;
                steps.push(Step::Every);
            } else if !rest.is_empty() && !rest.starts_with('[') {
                let name = self.word()?;
                steps.push(Step::Field(name));
            }
        } else if self.rest.starts_with('[') {
            let inner = self.brackets()?;
            let step = self.bracket_step(inner)?;
            steps.push(step);
        } else {
            return self.fail("expected \".\" or \"[\"");
        }
        Ok(())
    }

    /// A field name; `\.` is a literal dot.
    fn word(&mut self) -> Result<String, PathError> {
        let mut name = String::new();
        let mut characters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((index, character)) = characters.next() {
            match character {
                '.' | '[' => {
                    end = index;
                    break;
                }
                '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
                plain => name.push(plain),
            }
        }
        if name.is_empty() {
            return self.fail("expected a field name");
        }
        self.rest = &self.rest[end..];
        Ok(name)
    }

    /// The text between matching brackets.
    fn brackets(&mut self) -> Result<&'a str, PathError> {
        let (mut depth, mut quote) = (0, None);
        for (index, character) in self.rest.char_indices() {
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(character),
                (None, '[') => depth += 1,
                (None, ']') => {
                    depth -= 1;
                    if depth == 0 {
                        let inner = &self.rest[1..index];
                        self.rest = &self.rest[index + 1..];
                        return Ok(inner.trim());
                    }
                }
                (None, _) => {}
            }
        }
        self.fail("unterminated \"[\"")
    }

    fn bracket_step(&self, inner: &str) -> Result<Step, PathError> {
        if inner == "*" {
            return Ok(Step::Every);
        }
        if let Some(name) = unquoted(inner) {
            return Ok(Step::Field(name.to_owned()));
        }
        if let Some(filter) = inner.strip_prefix("?(").and_then(|inner| inner.strip_suffix(')')) {
            return self.filter(filter.trim());
        }
        if let Some((start, end)) = inner.split_once(':') {
            let bound = |text: &str| if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
            return match (bound(start), bound(end)) {
                (Ok(start), Ok(end)) => Ok(Step::Slice(start, end)),
                _ => self.fail("expected integers around \":\""),
            };
        }
        match inner.parse() {
            Ok(index) => Ok(Step::Index(index)),
            Err(_) => self.fail("expected an index, a quoted name, \"*\" or a filter in brackets"),
        }
    }

    fn filter(&self, text: &str) -> Result<Step, PathError> {
        const OPERATORS: [(&str, Operator); 6] = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        for (symbol, operator) in OPERATORS {
            if let Some((left, right)) = text.split_once(symbol) {
                let right = right.trim();
                let value = match unquoted(right) {
                    Some(text) => Value::String(text.to_owned()),
                    None => match serde_json::from_str(right) {
                        Ok(value) => value,
                        Err(_) => return self.fail("expected a value after the operator of the filter"),
                    },
                };
                let path = JsonPath::parse(left)?;
                return Ok(Step::Filter(Filter { path, comparison: Some((operator, value)) }));
            }
        }
        Ok(Step::Filter(Filter { path: JsonPath::parse(text)?, comparison: None }))
    }
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_of_printer_columns_lead_where_kubectl_goes() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "x"}},
            "spec": {"list": [1, 2, 3]},
            "status": {"conditions": [
                {"type": "Synced", "status": "False"},
                {"type": "Ready", "status": "True", "n": 3},
            ]},
        });
        let table = [
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Ready')].status", json!(["True"])),
            (".status.conditions[?(@.n>2)].type", json!(["Ready"])),
            (".status.conditions[*].type", json!(["Synced", "Ready"])),
            (".spec.list[0]", json!([1])),
            (".spec.list[-1]", json!([3])),
            (".spec.list[1:]", json!([2, 3])),
            (".metadata.labels['a.b/c']", json!(["x"])),
            (".metadata.labels.a\\.b/c", json!(["x"])),
            ("..status", json!([object["status"], "False", "True"])),
            (".absent.path", json!([])),
        ];
        for (path, expected) in table {
            let found: Vec<Value> =
                JsonPath::parse(path).unwrap().find(&object).into_iter().cloned().collect();
            assert_eq!(json!(found), expected, "{path}");
        }
    }

    #[test]
    fn a_malformed_path_says_where() {
        let error = JsonPath::parse(".a[?(@.b==]").unwrap_err();
        assert!(error.to_string().contains("failed to parse the path"), "{error}");
    }
}
