//! The CEL rules of `x-kubernetes-validations`.
//!
//! Rules are compiled when the schema is parsed. A node's value is turned into a CEL value once for all of its
//! rules, and only when one of them has to run.

use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::{CallExpr, Expr};
use kube_cel::cel::objects::OptionalValue;
use kube_cel::cel::parser::Expression;
use kube_cel::cel::{Context, ExecutionError, Value as Cel};
use serde_json::Value;
use std::sync::Arc;

use super::convert::to_cel;
use super::parse::child;
use super::rule::Rule;
use super::{Additional, FieldError, FieldErrorKind, Kind, Node, old_item};

/// The longest message that a `messageExpression` may make.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

thread_local! {
    /// All functions of CEL and Kubernetes; a context cannot be shared between threads.
    static FUNCTIONS: Context<'static> = functions();
}

/// The names of types, as `type()` gives them.
const TYPES: [&str; 9] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];

fn functions() -> Context<'static> {
    let mut context = Context::default().with_all();
    context.add_function("type", |value: Cel| -> String {
        let name = match value {
            Cel::Bool(_) => "bool",
            Cel::Bytes(_) => "bytes",
            Cel::Float(_) => "double",
            Cel::Int(_) => "int",
            Cel::List(_) => "list",
            Cel::Map(_) => "map",
            Cel::Null => "null_type",
            Cel::String(_) => "string",
            Cel::UInt(_) => "uint",
            Cel::Timestamp(_) => "google.protobuf.Timestamp",
            Cel::Duration(_) => "google.protobuf.Duration",
            Cel::Opaque(_) => "opaque",
            Cel::Function(..) => "function",
        };
        name.to_owned()
    });
    for name in TYPES {
        context.add_variable_from_value(name, name.to_owned());
    }
    context
}

/// Whether something can be called by this name.
pub(crate) fn is_function(name: &str) -> bool {
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return true;
    }
    let call = Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args: Vec::new() });
    let called = FUNCTIONS.with(|functions| functions.resolve(&Expression { id: 0, expr: call }));
    !matches!(called, Err(ExecutionError::UndeclaredReference(_)))
}

/// What an evaluation error says, in the words of Kubernetes' interpreter where they are known.
fn evaluation_text(error: &ExecutionError, rule: &str) -> String {
    use ExecutionError as E;
    let overload = matches!(
        error,
        E::NoSuchOverload
            | E::UnsupportedBinaryOperator(..)
            | E::UnsupportedUnaryOperator(..)
            | E::UnexpectedType { .. }
    );
    if overload {
        return format!(
            "'no such overload': call arguments did not match a supported operator, function or macro signature \
             for rule: {rule}"
        );
    }
    let known = if let E::NoSuchKey(key) = error {
        Some(format!("no such key: {key}"))
    } else if let E::IndexOutOfBounds(Cel::Int(index)) = error {
        Some(format!("index out of bounds: {index}"))
    } else if matches!(error, E::DivisionByZero(_)) {
        Some("division by zero".to_owned())
    } else if matches!(error, E::RemainderByZero(_)) {
        Some("modulus by zero".to_owned())
    } else if matches!(error, E::Overflow(..)) {
        Some("integer overflow".to_owned())
    } else if let E::FunctionError { function, message } = error {
        Some(if function == "quantity" { QUANTITY.to_owned() } else { message.clone() })
    } else {
        None
    };
    format!("{} evaluating rule: {rule}", known.unwrap_or_else(|| error.to_string()))
}

const QUANTITY: &str = "quantities must match the regular expression \
                        '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Runs the rules of an object and of everything in it.
pub(crate) fn check(root: &Node, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    FUNCTIONS.with(|functions| Walk { functions, errors }.node(root, new, old, ""));
}

struct Walk<'a> {
    functions: &'a Context<'static>,
    errors: &'a mut Vec<FieldError>,
}

impl Walk<'_> {
    fn node(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &str) {
        if !node.has_rules || value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(node, value, old, path);
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let old = old.and_then(|old| old.get(name));
                    match (node.properties.get(name), &node.additional) {
                        (Some(property), _) if property.has_rules => {
                            self.node(property, value, old, &child(path, name));
                        }
                        (None, Additional::Schema(below)) if below.has_rules => {
                            self.node(below, value, old, &format!("{path}[{name}]"));
                        }
                        _ => {}
                    }
                }
            }
            Value::Array(items) => {
                let Some(below) = node.items.as_deref().filter(|below| below.has_rules) else { return };
                for (i, item) in items.iter().enumerate() {
                    self.node(below, item, old_item(node, item, old), &format!("{path}[{i}]"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn rules(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &str) {
        // An unchanged value is not held against an update, except by rules about the change.
        let unchanged = old == Some(value);
        let runs = |rule: &&Rule| {
            if rule.uses_old { old.is_some() || rule.optional_old } else { !unchanged }
        };
        let mut rules = node.rules.iter().filter(runs).peekable();
        if rules.peek().is_none() {
            return;
        }
        let mut scope = self.functions.new_inner_scope();
        scope.add_variable_from_value("self", to_cel(Some(node), value));
        let old =
            old.filter(|_| node.rules.iter().any(|rule| rule.uses_old)).map(|old| to_cel(Some(node), old));
        if let Some(old) = &old {
            scope.add_variable_from_value("oldSelf", old.clone());
        }
        for rule in rules {
            if !rule.optional_old {
                self.rule(rule, node, value, path, &scope);
                continue;
            }
            let old = old.clone().map_or_else(OptionalValue::none, OptionalValue::of);
            let mut scope = scope.new_inner_scope();
            scope.add_variable_from_value("oldSelf", Cel::Opaque(Arc::new(old)));
            self.rule(rule, node, value, path, &scope);
        }
    }

    fn rule(&mut self, rule: &Rule, node: &Node, value: &Value, path: &str, scope: &Context<'_>) {
        match scope.resolve(&rule.expression) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => {
                let detail = rule
                    .message_expression
                    .as_ref()
                    .and_then(|expression| message(expression, scope))
                    .unwrap_or_else(|| rule.failed());
                let path = match (path, rule.field_path.as_str()) {
                    (_, "") => path.to_owned(),
                    (path, below) if below.starts_with('[') => format!("{path}{below}"),
                    (path, below) => child(path, below),
                };
                let shown = match node.kind {
                    Kind::Object | Kind::Array => None,
                    Kind::Any | Kind::String | Kind::Integer | Kind::Number | Kind::Boolean => {
                        Some(value.clone())
                    }
                };
                // Kubernetes has no detail for duplicates.
                let detail = if rule.kind == FieldErrorKind::Duplicate { String::new() } else { detail };
                self.errors.push(FieldError::new(&path, rule.kind, shown, detail));
            }
            Err(error) => {
                let detail = evaluation_text(&error, rule.name());
                self.errors.push(FieldError::invalid(path, kind_name(node.kind), detail));
            }
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Any => "",
        Kind::Object => "object",
        Kind::Array => "array",
        Kind::String => "string",
        Kind::Integer => "integer",
        Kind::Number => "number",
        Kind::Boolean => "boolean",
    }
}

/// The message that an expression makes; `None` when it makes none that can be shown.
fn message(expression: &Expression, scope: &Context<'_>) -> Option<String> {
    let Ok(Cel::String(text)) = scope.resolve(expression) else { return None };
    let text = text.trim();
    (!text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains(['\n', '\r']))
        .then(|| text.to_owned())
}
