//! The structural schema of one version of a custom kind: what a CustomResourceDefinition's `openAPIV3Schema`
//! says an object has to be, and what the API server does with it.
//!
//! In the order in which a write passes them: [`Schema::prune`] drops unknown fields, [`Schema::apply_defaults`]
//! fills in missing ones, [`Schema::validate`] checks types, values, list kinds and the CEL rules of
//! `x-kubernetes-validations`. Error texts are those of a Kubernetes API server.
//!
//! # Why
//! A schema is parsed once into a tree with compiled patterns and CEL programs, and then used for every write: the
//! walks allocate only for what they find wrong.

mod cel;
mod convert;
mod default;
mod error;
mod format;
mod list;
mod parse;
mod prune;
mod rewrite;
mod rule;
mod structural;
#[cfg(test)]
mod tests;
mod validate;
mod vocabulary;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

pub use error::{FieldError, FieldErrorKind, SchemaError};

/// The structural schema of one version of a custom kind.
#[derive(Debug)]
pub struct Schema {
    root: Node,
}

impl Schema {
    /// Parses and checks an `openAPIV3Schema`.
    ///
    /// # Errors
    /// [`SchemaError`] lists everything for which Kubernetes refuses the schema, with paths that start below the
    /// schema: `properties[spec].type`.
    pub fn parse(open_api_v3_schema: &Value) -> Result<Schema, SchemaError> {
        // Each question makes sense only once the one before is answered.
        let mut errors = Vec::new();
        vocabulary::check(open_api_v3_schema, &mut errors);
        if errors.is_empty() {
            structural::check(open_api_v3_schema, &mut errors);
        }
        if !errors.is_empty() {
            return Err(SchemaError(errors));
        }
        let root = parse::root(open_api_v3_schema, &mut errors);
        default::check(&root, "", &mut errors);
        if errors.is_empty() { Ok(Schema { root }) } else { Err(SchemaError(errors)) }
    }

    /// Fills in the defaults of missing fields, and drops `null` from fields that cannot be null.
    pub fn apply_defaults(&self, object: &mut Value) {
        default::apply(&self.root, object);
        default::drop_nulls(&self.root, object);
    }

    /// Removes the fields that the schema does not know, and returns their paths in order: `spec.foo`.
    ///
    /// `apiVersion`, `kind` and `metadata` of the object itself always stay.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.root, object)
    }

    /// Checks an object; `old` is what it replaces. What an update leaves unchanged is not held against it, as in
    /// Kubernetes (validation ratcheting).
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = validate::object(&self.root, new, old);
        list::check(&self.root, new, old, "", &mut errors);
        if errors.iter().any(|error| error.kind.blocks_rules()) {
            if self.root.has_rules {
                errors.push(FieldError::rules_skipped());
            }
            return errors;
        }
        if self.root.has_rules {
            cel::check(&self.root, new, old, &mut errors);
        }
        errors
    }
}

/// One node of the schema tree.
#[derive(Debug, Default)]
struct Node {
    kind: Kind,
    nullable: bool,
    default: Option<Value>,
    properties: BTreeMap<String, Node>,
    additional: Additional,
    items: Option<Box<Node>>,
    preserve_unknown: bool,
    embedded: bool,
    int_or_string: bool,
    list_type: ListType,
    checks: Checks,
    rules: Vec<rule::Rule>,
    /// Whether this node or one below it has rules.
    has_rules: bool,
    /// Whether this node or one below it has a list that is a set or keyed.
    has_lists: bool,
    /// Whether this node or one below it has a default.
    has_defaults: bool,
}

/// The JSON type that a node asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// What a node says about fields that it does not name.
#[derive(Debug, Default)]
enum Additional {
    #[default]
    Undefined,
    Allowed(bool),
    Schema(Box<Node>),
}

#[derive(Debug, Default, PartialEq, Eq)]
enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// The checks of one value that JSON schema knows.
#[derive(Debug, Default)]
struct Checks {
    required: Vec<String>,
    one_of_values: Vec<Value>,
    format: Option<format::Format>,
    pattern: Option<Regex>,
    length_min: Option<u64>,
    length_max: Option<u64>,
    minimum: Option<Bound>,
    maximum: Option<Bound>,
    multiple_of: Option<serde_json::Number>,
    items_min: Option<u64>,
    items_max: Option<u64>,
    properties_min: Option<u64>,
    properties_max: Option<u64>,
    all_of: Vec<Node>,
    any_of: Vec<Node>,
    one_of: Vec<Node>,
    not: Option<Box<Node>>,
}

#[derive(Debug)]
struct Bound {
    value: serde_json::Number,
    exclusive: bool,
}

/// The item of the old list that an item of the new one replaces: keyed lists match by key, nothing else matches.
fn old_item<'a>(node: &Node, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    let ListType::Map(keys) = &node.list_type else { return None };
    old?.as_array()?.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
}
