//! Reads the fields of a configuration: names and types are checked, what is unknown is refused.

use serde_json::{Map, Value as Json};

use super::fields::FieldSpec;
use super::identity::Gvk;
use super::selector::Selector;

/// How strictly a configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Unknown fields are refused.
    pub strict: bool,
    /// Numbers and truths stand for texts.
    pub coerce: bool,
}

/// The fields of one map of a configuration.
pub(crate) struct Fields<'j> {
    place: String,
    map: &'j Map<String, Json>,
    rules: Rules,
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a truth value",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    }
}

impl<'j> Fields<'j> {
    /// The fields of `value`, which stands at `place`.
    ///
    /// # Errors
    /// When it is no map, or has fields that are not `known`.
    pub(crate) fn of(value: &'j Json, place: &str, rules: Rules, known: &[&str]) -> Result<Self, String> {
        let Json::Object(map) = value else {
            return Err(format!("\"{place}\" is {}, expected a map", kind_of(value)));
        };
        let unknown = map.keys().find(|key| !known.iter().any(|known| known.eq_ignore_ascii_case(key)));
        match unknown {
            Some(name) if rules.strict => {
                let within = if place.is_empty() { String::new() } else { format!(" in \"{place}\"") };
                Err(format!("unknown field \"{name}\"{within}; accepted are {}", known.join(", ")))
            }
            _ => Ok(Self { place: place.to_owned(), map, rules }),
        }
    }

    fn place(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// The value of a field, unless it is missing or null. As in Go, letter case does not matter.
    pub(crate) fn value(&self, name: &str) -> Option<&'j Json> {
        let exact = self.map.get(name);
        let found = exact.or_else(|| {
            self.map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        found.filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, value: &Json, wanted: &str) -> String {
        format!("\"{}\" is {} ({value}), expected {wanted}", self.place(name), kind_of(value))
    }

    fn to_text(&self, name: &str, value: &Json) -> Result<String, String> {
        match value {
            Json::Null => Ok(String::new()),
            Json::String(text) => Ok(text.clone()),
            Json::Bool(_) | Json::Number(_) if self.rules.coerce => Ok(value.to_string()),
            Json::Bool(_) | Json::Number(_) => Err(self.wrong(name, value, "a text: quote it")),
            Json::Array(_) | Json::Object(_) => Err(self.wrong(name, value, "a text")),
        }
    }

    /// A text; empty when missing.
    pub(crate) fn text(&self, name: &str) -> Result<String, String> {
        self.value(name).map_or(Ok(String::new()), |value| self.to_text(name, value))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        match self.value(name) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    pub(crate) fn integer(&self, name: &str) -> Result<i64, String> {
        match self.value(name) {
            None => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| self.wrong(name, value, "a whole number")),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Result<&'j [Json], String> {
        match self.value(name) {
            None => Ok(&[]),
            Some(Json::Array(items)) => Ok(items),
            Some(other) => Err(self.wrong(name, other, "a list")),
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        self.list(name)?.iter().map(|value| self.to_text(name, value)).collect()
    }

    /// A map of texts.
    pub(crate) fn text_map(&self, name: &str) -> Result<Vec<(String, String)>, String> {
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Json::Object(entries)) => entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), self.to_text(&format!("{name}.{key}"), value)?)))
                .collect(),
            Some(other) => Err(self.wrong(name, other, "a map of texts")),
        }
    }

    /// The maps of a list, each read by `read`.
    pub(crate) fn each<T>(
        &self,
        name: &str,
        known: &[&str],
        read: impl Fn(&Fields<'j>) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let items = self.list(name)?.iter().enumerate();
        items
            .filter(|(_, value)| !value.is_null())
            .map(|(at, value)| {
                read(&Fields::of(value, &format!("{}[{at}]", self.place(name)), self.rules, known)?)
            })
            .collect()
    }

    /// A map inside, read by `read`.
    pub(crate) fn inner<T>(
        &self,
        name: &str,
        known: &[&str],
        read: impl FnOnce(&Fields<'j>) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        read(&Fields::of(value, &self.place(name), self.rules, known)?).map(Some)
    }

    pub(crate) fn gvk(&self) -> Result<Gvk, String> {
        Ok(Gvk { group: self.text("group")?, version: self.text("version")?, kind: self.text("kind")? })
    }

    pub(crate) fn selector(&self) -> Result<Selector, String> {
        Ok(Selector {
            gvk: self.gvk()?,
            name: self.text("name")?,
            namespace: self.text("namespace")?,
            labels: self.text("labelSelector")?,
            annotations: self.text("annotationSelector")?,
        })
    }

    pub(crate) fn field_specs(&self, name: &str) -> Result<Vec<FieldSpec>, String> {
        self.each(name, FIELD_SPEC, |fields| {
            Ok(FieldSpec { gvk: fields.gvk()?, path: fields.text("path")?, create: fields.flag("create")? })
        })
    }
}

/// Fields of a field specification.
pub(crate) const FIELD_SPEC: &[&str] = &["group", "version", "kind", "path", "create"];
/// Fields of a selector.
pub(crate) const SELECTOR: &[&str] =
    &["group", "version", "kind", "name", "namespace", "annotationSelector", "labelSelector"];
