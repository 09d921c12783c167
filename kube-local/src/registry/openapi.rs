//! OpenAPI schemas of the built-in kinds, taken from k8s-openapi's generated types, worked out on first use and
//! shared by every cluster in the process.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Builtin, Registry};
use crate::schema::Schema;

const REFERENCE_PREFIX: &str = "#/components/schemas/";

/// All definitions that the built-in kinds refer to, by name.
#[derive(Debug)]
pub(crate) struct BuiltinSchemas {
    definitions: BTreeMap<String, Value>,
}

/// The one instance of this process.
pub(crate) fn builtin_schemas() -> &'static BuiltinSchemas {
    static SCHEMAS: OnceLock<BuiltinSchemas> = OnceLock::new();
    SCHEMAS.get_or_init(BuiltinSchemas::generate)
}

impl BuiltinSchemas {
    fn generate() -> Self {
        let mut settings = SchemaSettings::draft07();
        settings.definitions_path = "/components/schemas".into();
        let mut generator = settings.into_generator();
        let registry = Registry::new();
        for kind in registry.all() {
            if let Some(row) = kind.builtin() {
                (row.define)(&mut generator);
            }
        }
        let definitions = generator.take_definitions(true).into_iter().collect();
        Self { definitions }
    }

    /// A definition and everything it refers to, added to `into`.
    pub(crate) fn collect(&self, name: &str, into: &mut Map<String, Value>) {
        if into.contains_key(name) {
            return;
        }
        let Some(definition) = self.definitions.get(name) else { return };
        into.insert(name.to_owned(), definition.clone());
        let mut references = Vec::new();
        find_references(definition, &mut references);
        for reference in references {
            self.collect(&reference, into);
        }
    }

    /// The definition of a row as one self-contained structural schema.
    pub(crate) fn structural(&self, row: &Builtin) -> Option<Schema> {
        let mut inlined = self.inline(&(row.definition)(), &mut Vec::new());
        if let Some(root) = inlined.as_object_mut() {
            root.remove("required");
        }
        // Types and metadata are the same for every kind and are checked as such.
        if let Some(Value::Object(properties)) = inlined.get_mut("properties") {
            properties.retain(|name, _| !["apiVersion", "kind", "metadata"].contains(&name.as_str()));
        }
        match Schema::parse(&inlined) {
            Ok(schema) => Some(schema),
            Err(error) => {
                tracing::warn!(kind = row.kind, %error, "built-in schema is not structural: fields go unchecked");
                None
            }
        }
    }

    fn inline(&self, name: &str, stack: &mut Vec<String>) -> Value {
        let Some(definition) = self.definitions.get(name) else { return open_object() };
        if stack.iter().any(|one| one == name) {
            return open_object();
        }
        stack.push(name.to_owned());
        let inlined = self.inline_value(definition, stack);
        stack.pop();
        inlined
    }

    fn inline_value(&self, schema: &Value, stack: &mut Vec<String>) -> Value {
        if let Some(name) = reference(schema) {
            return self.inline(name, stack);
        }
        let Some(map) = schema.as_object() else { return open_object() };
        let mut result = Map::new();
        for (key, value) in map {
            match key.as_str() {
                "properties" => {
                    let properties = value.as_object().into_iter().flatten();
                    let inlined: Map<String, Value> = properties
                        .map(|(name, schema)| (name.clone(), self.inline_value(schema, stack)))
                        .collect();
                    result.insert(key.clone(), Value::Object(inlined));
                }
                "items" | "additionalProperties" => {
                    result.insert(key.clone(), self.inline_value(value, stack));
                }
                "type" | "format" | "required" | "enum" | "nullable" | "x-kubernetes-int-or-string" => {
                    result.insert(key.clone(), value.clone());
                }
                _ => {}
            }
        }
        let open = !result.contains_key("properties") && !result.contains_key("additionalProperties");
        let object_or_any = result.get("type").is_none_or(|kind| kind == "object")
            && !result.contains_key("x-kubernetes-int-or-string");
        if open && object_or_any {
            result.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
        }
        Value::Object(result)
    }
}

fn open_object() -> Value {
    json!({"x-kubernetes-preserve-unknown-fields": true})
}

/// The definition that a schema is a reference to, also when wrapped as `allOf: [{$ref}]` beside a description.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").and_then(Value::as_str);
    let wrapped = || schema.pointer("/allOf/0/$ref").and_then(Value::as_str);
    direct.or_else(wrapped)?.strip_prefix(REFERENCE_PREFIX)
}

fn find_references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str) {
                found.extend(name.strip_prefix(REFERENCE_PREFIX).map(str::to_owned));
            }
            map.values().for_each(|value| find_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| find_references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_kind_has_a_definition_and_a_structural_schema() {
        let registry = Registry::new();
        for kind in registry.all() {
            let row = kind.builtin().unwrap();
            assert!(builtin_schemas().definitions.contains_key(&(row.definition)()), "{}", row.kind);
            assert!(builtin_schemas().structural(row).is_some(), "{}", row.kind);
        }
    }
}
