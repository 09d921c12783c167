//! Values as Helm's command line puts them together: files, then `--set-json`, `--set`, `--set-string`, `--set-file`
//! and `--set-literal`, each in a syntax of its own (`a.b[0]=x,c={1,2}`).
//!
//! Helm's parser to the letter, its oddities included: an unfinished index ends a line without complaint, a key without
//! letters is dropped, `{}` is a list of one empty text.

use serde_json::{Map, Number, Value as Json};

use crate::manifest::{ManifestError, merge_value_documents, overlay};
use crate::template::quote::quote;

/// Largest index of a list.
const INDEX_MAX: i64 = 65_536;
/// Deepest nesting of names.
const LEVELS_MAX: usize = 30;

/// Why a line was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// A line is not of the form `key=value`.
    #[error("failed parsing {option} data: {reason}")]
    Line {
        /// The option, `--set` for instance.
        option: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A line of `--set-json` holds no JSON.
    #[error("failed parsing --set-json data {shown}")]
    Json {
        /// The line.
        shown: String,
    },
}

/// Values in the making, later ones over earlier ones.
///
/// Whole numbers of `--set` are integers, all others floats: as [`crate::Input::integers`] wants them.
#[derive(Clone, Debug, Default)]
pub struct CommandLineValues {
    values: Map<String, Json>,
}

impl CommandLineValues {
    /// The values so far.
    #[must_use]
    pub fn build(self) -> Json {
        Json::Object(self.values)
    }

    /// Lays a values file over them.
    ///
    /// # Errors
    /// When the text is not YAML or not a map.
    pub fn file(&mut self, text: &str) -> Result<(), ManifestError> {
        let parsed = merge_value_documents(text, &crate::Limits::default())
            .map_err(|reason| ManifestError::Values { reason })?;
        if let Json::Object(entries) = floats(parsed) {
            overlay(&mut self.values, entries);
        }
        Ok(())
    }

    /// `--set`: truths, integers, `null` and texts.
    ///
    /// # Errors
    /// When the line is malformed or contradicts the values so far.
    pub fn set(&mut self, line: &str) -> Result<(), SetError> {
        self.line("--set", line, Mode::Typed)
    }

    /// `--set-string`: texts only.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_string(&mut self, line: &str) -> Result<(), SetError> {
        self.line("--set-string", line, Mode::Text)
    }

    /// `--set-literal`: everything behind the first equals sign is the text.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_literal(&mut self, line: &str) -> Result<(), SetError> {
        self.line("--set-literal", line, Mode::Literal)
    }

    /// `--set-file`: the text is read by `read` from the path that stands as the value.
    ///
    /// # Errors
    /// As [`Self::set`], or what `read` says.
    pub fn set_file(
        &mut self,
        line: &str,
        read: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<(), SetError> {
        self.line("--set-file", line, Mode::File(read))
    }

    /// `--set-json`: a JSON object, or keys with JSON values.
    ///
    /// # Errors
    /// When there is no JSON.
    pub fn set_json(&mut self, line: &str) -> Result<(), SetError> {
        let trimmed = line.trim();
        if trimmed.starts_with('{') {
            let parsed = serde_json::from_str(trimmed).map(floats);
            let Ok(Json::Object(entries)) = parsed else {
                return Err(SetError::Json { shown: format!("JSON: {line}") });
            };
            overlay(&mut self.values, entries);
            return Ok(());
        }
        self.line("--set-json", line, Mode::Json).map_err(|_| SetError::Json { shown: line.to_owned() })
    }

    fn line(&mut self, option: &'static str, line: &str, mode: Mode<'_>) -> Result<(), SetError> {
        let mut parser = Parser { letters: line.chars().collect(), at: 0, mode };
        loop {
            match parser.key(&mut self.values, 0) {
                Ok(()) => {}
                Err(Stop::End) => return Ok(()),
                Err(Stop::Refused(reason)) => return Err(SetError::Line { option, reason }),
            }
        }
    }
}

/// Every number as a float.
fn floats(value: Json) -> Json {
    match value {
        Json::Number(number) => Json::Number(number.as_f64().and_then(Number::from_f64).unwrap_or(number)),
        Json::Array(items) => Json::Array(items.into_iter().map(floats).collect()),
        Json::Object(entries) => {
            Json::Object(entries.into_iter().map(|(key, value)| (key, floats(value))).collect())
        }
        other => other,
    }
}

/// How values are read.
enum Mode<'r> {
    Typed,
    Text,
    Literal,
    Json,
    File(&'r mut dyn FnMut(&str) -> Result<String, String>),
}

/// Why a step ended early.
enum Stop {
    End,
    Refused(String),
}

fn refused<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(reason.into()))
}

fn quoted(text: &str) -> String {
    quote(text.as_bytes())
}

/// Go's complaint about a value of another type than the key needs.
fn mismatch(found: &Json, wanted: &str) -> Stop {
    let found = match found {
        Json::Null => "nil",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    Stop::Refused(format!(
        "unable to parse key: interface conversion: interface {{}} is {found}, not {wanted}"
    ))
}

fn put(data: &mut Map<String, Json>, key: &str, value: Json) {
    if !key.is_empty() {
        data.insert(key.to_owned(), value);
    }
}

fn put_at(list: &mut Vec<Json>, index: i64, value: Json) -> Result<(), Stop> {
    let position =
        usize::try_from(index).or_else(|_| refused(format!("negative {index} index not allowed")))?;
    if index > INDEX_MAX {
        let text = format!("index of {index} is greater than maximum supported index of {INDEX_MAX}");
        return refused(text);
    }
    if list.len() <= position {
        list.resize(position + 1, Json::Null);
    }
    list[position] = value;
    Ok(())
}

struct Parser<'r> {
    letters: Vec<char>,
    at: usize,
    mode: Mode<'r>,
}

/// A value, or the end of the line where one was due.
enum Found {
    Value(Json),
    Nothing,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.get(self.at).copied();
        self.at += usize::from(letter.is_some());
        letter
    }

    /// The text before one of the letters, and which it was; nothing at the end of the line.
    fn until(&mut self, stops: &str) -> (String, Option<char>) {
        let mut text = String::new();
        while let Some(letter) = self.next() {
            if stops.contains(letter) {
                return (text, Some(letter));
            }
            if letter == '\\' && !matches!(self.mode, Mode::Literal) {
                match self.next() {
                    Some(letter) => text.push(letter),
                    None => break,
                }
                continue;
            }
            text.push(letter);
        }
        (text, None)
    }

    fn key(&mut self, data: &mut Map<String, Json>, level: usize) -> Result<(), Stop> {
        let stops = if matches!(self.mode, Mode::Literal) { "=[." } else { "=[,." };
        let (key, last) = self.until(stops);
        match last {
            None if key.is_empty() => Err(Stop::End),
            None => refused(format!("key {} has no value", quoted(&key))),
            Some('[') => {
                let index = self.index()?;
                let mut list = match data.get_mut(&key) {
                    None => Vec::new(),
                    Some(Json::Array(list)) => std::mem::take(list),
                    Some(other) => return Err(mismatch(other, "[]interface {}")),
                };
                let result = self.item(&mut list, index, level);
                put(data, &key, Json::Array(list));
                result
            }
            Some('=') => {
                match self.value()? {
                    Found::Value(value) => put(data, &key, value),
                    Found::Nothing => {
                        put(data, &key, Json::String(String::new()));
                        return Err(Stop::End);
                    }
                }
                Ok(())
            }
            Some(',') => {
                put(data, &key, Json::String(String::new()));
                refused(format!("key {} has no value (cannot end with ,)", quoted(&key)))
            }
            Some(_) => {
                let level = level + 1;
                if level > LEVELS_MAX {
                    let text = "value name nested level is greater than maximum supported nested level of";
                    return refused(format!("{text} {LEVELS_MAX}"));
                }
                let mut inner = match data.get_mut(&key) {
                    None => Map::new(),
                    Some(Json::Object(inner)) => std::mem::take(inner),
                    Some(other) => return Err(mismatch(other, "map[string]interface {}")),
                };
                let result = self.key(&mut inner, level);
                let empty = inner.is_empty();
                if !empty || data.contains_key(&key) {
                    put(data, &key, Json::Object(inner));
                }
                if empty && result.is_ok() {
                    return refused(format!("key map {} has no value", quoted(&key)));
                }
                result
            }
        }
    }

    fn index(&mut self) -> Result<i64, Stop> {
        match self.until("]") {
            (_, None) => Err(Stop::End),
            (text, Some(_)) => text.strip_prefix('+').unwrap_or(&text).parse().or_else(|_| {
                let shown = quoted(&text);
                refused(format!("error parsing index: strconv.Atoi: parsing {shown}: invalid syntax"))
            }),
        }
    }

    fn item(&mut self, list: &mut Vec<Json>, index: i64, level: usize) -> Result<(), Stop> {
        let position =
            usize::try_from(index).or_else(|_| refused(format!("negative {index} index not allowed")))?;
        match self.until("[.=") {
            (text, _) if !text.is_empty() => {
                refused(format!("unexpected data at end of array index: {}", quoted(&text)))
            }
            (_, None) => Err(Stop::End),
            (_, Some('=')) => {
                let value = match self.value()? {
                    Found::Value(value) => value,
                    Found::Nothing => Json::String(String::new()),
                };
                put_at(list, index, value)
            }
            (_, Some('[')) => {
                let next = self.index()?;
                let mut inner = match list.get_mut(position) {
                    None | Some(Json::Null) => Vec::new(),
                    Some(Json::Array(inner)) => std::mem::take(inner),
                    Some(other) => return Err(mismatch(other, "[]interface {}")),
                };
                self.item(&mut inner, next, level)?;
                put_at(list, index, Json::Array(inner))
            }
            (_, Some(_)) => {
                let mut inner = match list.get_mut(position) {
                    Some(Json::Object(inner)) => std::mem::take(inner),
                    _ => Map::new(),
                };
                let result = self.key(&mut inner, level);
                if result.is_ok() || position < list.len() {
                    put_at(list, index, Json::Object(inner))?;
                }
                result
            }
        }
    }

    fn value(&mut self) -> Result<Found, Stop> {
        match self.mode {
            Mode::Json => self.json().map(Found::Value),
            Mode::Literal => {
                let text = self.letters[self.at..].iter().collect();
                self.at = self.letters.len();
                Ok(Found::Value(Json::String(text)))
            }
            Mode::Typed | Mode::Text | Mode::File(_) => match self.letters.get(self.at) {
                None => Ok(Found::Nothing),
                Some('{') => {
                    self.at += 1;
                    self.list().map(Found::Value)
                }
                Some(_) => {
                    let (text, _) = self.until(",");
                    self.read(text).map(Found::Value)
                }
            },
        }
    }

    fn list(&mut self) -> Result<Json, Stop> {
        let mut list = Vec::new();
        loop {
            let (text, last) = self.until(",}");
            let Some(last) = last else { return refused("list must terminate with '}'") };
            if last == '}' {
                // A comma that follows belongs to the list.
                if self.letters.get(self.at) == Some(&',') {
                    self.at += 1;
                }
                list.push(self.read(text)?);
                return Ok(Json::Array(list));
            }
            list.push(self.read(text)?);
        }
    }

    fn read(&mut self, text: String) -> Result<Json, Stop> {
        match &mut self.mode {
            Mode::Typed => Ok(typed(text)),
            Mode::File(read) => read(&text).map(Json::String).map_err(Stop::Refused),
            Mode::Text | Mode::Literal | Mode::Json => Ok(Json::String(text)),
        }
    }

    /// One JSON value; nothing is null.
    fn json(&mut self) -> Result<Json, Stop> {
        if self.nothing_before_comma() {
            return Ok(Json::Null);
        }
        let rest: String = self.letters[self.at..].iter().collect();
        let mut stream = serde_json::Deserializer::from_str(&rest).into_iter::<Json>();
        match stream.next() {
            Some(Ok(value)) => {
                self.at += rest[..stream.byte_offset()].chars().count();
                self.nothing_before_comma();
                Ok(floats(value))
            }
            Some(Err(problem)) => refused(problem.to_string()),
            None => refused("there is no JSON value"),
        }
    }

    /// Takes white space and one comma; whether nothing else stood before it.
    fn nothing_before_comma(&mut self) -> bool {
        while let Some(letter) = self.letters.get(self.at) {
            if *letter == ',' {
                self.at += 1;
                return true;
            }
            if !letter.is_whitespace() {
                return false;
            }
            self.at += 1;
        }
        true
    }
}

/// What a text means to `--set`.
fn typed(text: String) -> Json {
    for (word, value) in [("true", Json::Bool(true)), ("false", Json::Bool(false)), ("null", Json::Null)] {
        if text.eq_ignore_ascii_case(word) {
            return value;
        }
    }
    if text == "0" {
        return Json::from(0);
    }
    let whole = if text.starts_with('0') { None } else { text.parse::<i64>().ok() };
    whole.map_or(Json::String(text), Json::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(lines: &[&str]) -> Result<Json, String> {
        let mut values = CommandLineValues::default();
        for line in lines {
            values.set(line).map_err(|error| error.to_string())?;
        }
        Ok(values.build())
    }

    #[test]
    fn keys_lists_and_indices_build_values() {
        let cases = [
            ("a=b,c=1,d=true,e=null", json!({"a": "b", "c": 1, "d": true, "e": null})),
            ("a.b.c=x", json!({"a": {"b": {"c": "x"}}})),
            ("a={1,x,true}", json!({"a": [1, "x", true]})),
            ("a[1].b=2", json!({"a": [null, {"b": 2}]})),
            ("a[0][1]=x", json!({"a": [[null, "x"]]})),
            (r"a\.b=1\,2", json!({"a.b": "1,2"})),
            ("a=010,b=0,c=-5", json!({"a": "010", "b": 0, "c": -5})),
            ("a={},b=", json!({"a": [""], "b": ""})),
            ("a[0", json!({})),
        ];
        for (line, expected) in cases {
            assert_eq!(set(&[line]), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_helm_refuses_is_refused_in_its_words() {
        let cases = [
            ("a", "key \"a\" has no value"),
            ("a,b=1", "key \"a\" has no value (cannot end with ,)"),
            ("a[x]=1", "error parsing index: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("a[-1]=1", "negative -1 index not allowed"),
            ("a={1", "list must terminate with '}'"),
            ("a[0]x=1", "unexpected data at end of array index: \"x\""),
            ("a[70000]=1", "index of 70000 is greater than maximum supported index of 65536"),
        ];
        for (line, expected) in cases {
            assert_eq!(set(&[line]), Err(format!("failed parsing --set data: {expected}")), "{line}");
        }
        let conversion =
            "unable to parse key: interface conversion: interface {} is string, not map[string]interface {}";
        assert_eq!(set(&["a=x", "a.b=1"]), Err(format!("failed parsing --set data: {conversion}")));
    }

    #[test]
    fn json_and_literals_have_their_own_syntax() {
        let mut values = CommandLineValues::default();
        values.file("on: 5\nkeep: {a: 1}\n").unwrap();
        values.set_json("a=[1, {\"b\": null}],keep.c=\"x\",d=").unwrap();
        values.set_json("{\"keep\": {\"e\": 2}}").unwrap();
        values.set_literal("l=a,b={c}\\").unwrap();
        let expected = json!({"true": 5.0, "keep": {"a": 1.0, "c": "x", "e": 2.0}, "a": [1.0, {"b": null}], "d": null,
            "l": "a,b={c}\\"});
        assert_eq!(values.build(), expected);
        assert!(CommandLineValues::default().set_json("a={bad").is_err());
    }
}
