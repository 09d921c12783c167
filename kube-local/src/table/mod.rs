//! Tables: what `kubectl get` prints. Columns of custom kinds come from their definition, those of built-in kinds
//! from `builtin`.

mod builtin;
mod json_path;
mod seldom;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use json_path::JsonPath;

use crate::clock;
use crate::object::text;
use crate::registry::{Kind, Origin};

/// One column of a table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    /// Above 0 only wide output shows it.
    priority: i64,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Path(Option<JsonPath>),
    Cell(fn(&Value, Timestamp) -> Value),
}

impl Column {
    /// A column of a CustomResourceDefinition. A malformed path shows nothing.
    pub(crate) fn custom(name: &str, kind: &str, description: &str, priority: i64, path: &str) -> Self {
        let description = if description.is_empty() {
            format!("Custom resource definition column (in JSONPath format): {path}")
        } else {
            description.to_owned()
        };
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description,
            priority,
            source: Source::Path(JsonPath::parse(path).ok()),
        }
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match &self.source {
            Source::Path(path) => {
                path.as_ref().map_or(Value::Null, |path| path_cell(path, &self.kind, object, now))
            }
            Source::Cell(cell) => cell(object, now),
        }
    }

    fn definition(&self) -> Value {
        json!({
            "name": self.name, "type": self.kind, "format": self.format, "description": self.description,
            "priority": self.priority,
        })
    }
}

/// The value of a custom column, typed as the column says; null where there is none.
fn path_cell(path: &JsonPath, kind: &str, object: &Value, now: Timestamp) -> Value {
    let found = path.find(object);
    let Some(first) = found.first() else { return Value::Null };
    match (kind, first) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(integer) => json!(integer),
            None => number.as_f64().map_or(Value::Null, |float| json!(float.trunc())),
        },
        ("integer" | "number", Value::String(digits)) => {
            digits.parse::<i64>().map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(number)) => Value::Number(number.clone()),
        ("boolean", Value::Bool(truth)) => json!(truth),
        ("date", Value::String(timestamp)) => json!(clock::age(timestamp, now)),
        ("string", _) => json!(plain(first)),
        _ => Value::Null,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What each row carries besides its cells (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    None,
    Metadata,
    Object,
}

/// A `Table` of objects of one kind. `with_columns` is false for all but the first event of a watch.
pub(crate) fn table(
    kind: &Kind,
    objects: &[Value],
    list_metadata: Value,
    include: IncludeObject,
    with_columns: bool,
) -> Value {
    let now = Timestamp::now();
    let columns = columns(kind);
    let definitions: Vec<Value> =
        if with_columns { columns.iter().map(Column::definition).collect() } else { Vec::new() };
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|column| column.cell(object, now)).collect();
            let mut row = json!({"cells": cells});
            match include {
                IncludeObject::None => {}
                IncludeObject::Metadata => row["object"] = partial_metadata(object),
                IncludeObject::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    let columns = if with_columns { json!(definitions) } else { Value::Null };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// The `PartialObjectMetadata` of an object.
pub(crate) fn partial_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn columns(kind: &Kind) -> Vec<Column> {
    let is_event = kind.builtin().is_some() && kind.kind == "Event";
    let name = builtin::column("Name", "string", "name", i64::from(is_event), |object, _| {
        json!(text(object, &["metadata", "name"]).unwrap_or_default())
    });
    let rest = match &kind.origin {
        Origin::Builtin(row, _) => {
            workloads::columns(row.group, row.kind).unwrap_or_else(|| builtin::columns(row.group, row.kind))
        }
        Origin::Custom(custom) => custom.columns.clone(),
    };
    // What an event is called tells nothing: it comes last, and only in wide output.
    if is_event { rest.into_iter().chain([name]).collect() } else { [name].into_iter().chain(rest).collect() }
}
