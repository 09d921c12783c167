//! The types of the fields of `Chart.yaml` and `Chart.lock`, and what Go's JSON decoder says where one has another.

use serde_json::{Map, Value as Json};

use crate::template::funcs::parsed_time::parse;

/// What a field holds. Numbers and truths are texts where texts are wanted.
enum Wanted {
    Text,
    Flag,
    Texts,
    Annotations,
    Anything,
    /// As RFC 3339 has it.
    Time,
    Structs(&'static str, &'static [(&'static str, Wanted)]),
}

use Wanted::{Annotations, Anything, Flag, Structs, Text, Texts, Time};

const DEPENDENCY: &[(&str, Wanted)] = &[
    ("name", Text),
    ("version", Text),
    ("repository", Text),
    ("condition", Text),
    ("tags", Texts),
    ("enabled", Flag),
    ("import-values", Anything),
    ("alias", Text),
];

/// What a lock holds.
const LOCK: &[(&str, Wanted)] =
    &[("generated", Time), ("digest", Text), ("dependencies", Structs("Dependency", DEPENDENCY))];

const MAINTAINER: &[(&str, Wanted)] = &[("name", Text), ("email", Text), ("url", Text)];

const METADATA: &[(&str, Wanted)] = &[
    ("name", Text),
    ("home", Text),
    ("sources", Texts),
    ("version", Text),
    ("description", Text),
    ("keywords", Texts),
    ("maintainers", Structs("Maintainer", MAINTAINER)),
    ("icon", Text),
    ("apiVersion", Text),
    ("condition", Text),
    ("tags", Text),
    ("appVersion", Text),
    ("deprecated", Flag),
    ("annotations", Annotations),
    ("kubeVersion", Text),
    ("dependencies", Structs("Dependency", DEPENDENCY)),
    ("type", Text),
];

/// Where a struct lies: its name, the path to it.
#[derive(Clone, Copy)]
struct Place<'p> {
    name: &'p str,
    path: &'p str,
}

impl Place<'_> {
    fn mismatch(self, value: &Json, key: &str, wanted: &str) -> String {
        let (name, path) = (self.name, self.path);
        complaint(value, &format!("struct field {name}.{path}{key} of type {wanted}"))
    }
}

fn complaint(value: &Json, place: &str) -> String {
    let found = match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    format!("{UNREADABLE}json: cannot unmarshal {found} into Go {place}")
}

/// How Helm begins every complaint of this kind.
const UNREADABLE: &str = "error unmarshaling JSON: while decoding JSON: ";

/// Go's layout of such a time.
const RFC_3339: &str = "2006-01-02T15:04:05Z07:00";

/// Whether the document of a chart has the types that Helm wants.
///
/// # Errors
/// The first mismatch in the order of the keys. Of the chart that is installed (`is_root`) the version of the format
/// is read first.
pub(super) fn check(document: &Json, is_root: bool) -> Result<(), String> {
    let object = match document {
        Json::Object(object) => object,
        Json::Null => return Ok(()),
        _ if is_root => return Err(complaint(document, "value of type loader.chartBase")),
        _ => return Err(complaint(document, "value of type v2.Metadata")),
    };
    if is_root {
        fields(object, &[("apiVersion", Text)], Place { name: "chartBase", path: "" })?;
    }
    fields(object, METADATA, Place { name: "Metadata", path: "" })
}

/// Whether the document of a `Chart.lock` has the types that Helm wants.
///
/// # Errors
/// The first mismatch in the order of the keys.
pub(super) fn check_lock(document: &Json) -> Result<(), String> {
    match document {
        Json::Object(object) => fields(object, LOCK, Place { name: "Lock", path: "" }),
        Json::Null => Ok(()),
        _ => Err(complaint(document, "value of type v2.Lock")),
    }
}

fn fields(
    object: &Map<String, Json>,
    wanted: &[(&'static str, Wanted)],
    place: Place<'_>,
) -> Result<(), String> {
    for (key, value) in object {
        let exact = wanted.iter().find(|(name, _)| name == key);
        let found = exact.or_else(|| wanted.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)));
        if let Some((name, wanted)) = found {
            field(value, name, wanted, place)?;
        }
    }
    Ok(())
}

fn field(value: &Json, key: &'static str, wanted: &Wanted, place: Place<'_>) -> Result<(), String> {
    let mismatch = |value: &Json, wanted: &str| Err(place.mismatch(value, key, wanted));
    let is_text = |value: &&Json| !value.is_array() && !value.is_object();
    match (wanted, value) {
        (_, Json::Null) | (Flag, Json::Bool(_)) | (Anything, Json::Array(_)) => Ok(()),
        (Text, _) if is_text(&value) => Ok(()),
        (Text, _) => mismatch(value, "string"),
        (Flag, _) => mismatch(value, "bool"),
        (Time, Json::String(text)) => {
            let read = parse(RFC_3339.as_bytes(), text.as_bytes());
            read.map(|_| ()).map_err(|problem| format!("{UNREADABLE}{problem}"))
        }
        (Time, _) => Err(format!("{UNREADABLE}Time.UnmarshalJSON: input is not a JSON string")),
        (Texts, Json::Array(items)) => match items.iter().find(|item| !is_text(item)) {
            Some(item) => mismatch(item, "string"),
            None => Ok(()),
        },
        (Texts, _) => mismatch(value, "[]string"),
        (Annotations, Json::Object(entries)) => match entries.values().find(|entry| !is_text(entry)) {
            Some(entry) => mismatch(entry, "string"),
            None => Ok(()),
        },
        (Annotations, _) => mismatch(value, "map[string]string"),
        (Anything, _) => mismatch(value, "[]interface {}"),
        (Structs(name, wanted), Json::Array(items)) => items.iter().try_for_each(|item| match item {
            Json::Object(object) => fields(object, wanted, Place { name, path: &format!("{key}.") }),
            Json::Null => Ok(()),
            _ => mismatch(item, &format!("v2.{name}")),
        }),
        (Structs(name, _), _) => mismatch(value, &format!("[]*v2.{name}")),
    }
}
