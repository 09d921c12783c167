//! Health rules in CEL, as k0rdent has them: beside kstatus, every rule for an object's kind must hold.
//!
//! # Why a rule is bounded by its shape
//! The interpreter has no meter. What makes an expression expensive is a loop in a loop, so more than
//! [`LOOPS_MAX`] of them inside each other are refused; the data they run over is one object, which etcd bounds.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube_cel::KubeCelExt as _;
use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr};
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::parser::{Expression, Parser};
use kube_cel::cel::{Context, ExecutionError, Value as Cel};
use protocol::policy::{HealthRule, HealthRules};
use protocol::report::ObjectHealth;
use serde_json::Value;

use crate::health::{self, Judgement};
use crate::live::Live;
use crate::object::Resource;

/// Longest expression.
const EXPRESSION_BYTES_MAX: usize = 8 * 1024;
/// Loops (`exists`, `all`, `map`, ...) inside each other.
const LOOPS_MAX: usize = 3;
/// Longest message that is told.
const MESSAGE_CHARS_MAX: usize = 512;

thread_local! {
    /// All functions of CEL and Kubernetes; a context cannot be shared between threads. Made with the first rule.
    static FUNCTIONS: Context<'static> = Context::default().with_all();
}

/// The rules of a unit, ready to run.
#[derive(Debug)]
pub(crate) struct Rules {
    given: HealthRules,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    healthy: Result<Expression, String>,
    message: Result<Expression, String>,
}

impl Rules {
    /// `None` where there are no rules, so that a unit without them costs nothing.
    pub(crate) fn new(given: HealthRules) -> Option<Arc<Self>> {
        if given.0.is_empty() {
            return None;
        }
        let rules = given
            .0
            .iter()
            .map(|rule| Rule { healthy: compile(&rule.healthy), message: compile(&rule.message) })
            .collect();
        Some(Arc::new(Self { given, rules }))
    }

    /// The rules of a unit that had other ones before, or the same.
    pub(crate) fn renewed(before: Option<&Arc<Self>>, given: HealthRules) -> Option<Arc<Self>> {
        before.filter(|before| before.given == given).cloned().or_else(|| Self::new(given))
    }

    /// Whether there is a rule for a kind.
    pub(crate) fn concern(&self, group: &str, kind: &str) -> bool {
        self.given.0.iter().any(|rule| rule.group == group && rule.kind == kind)
    }

    /// The kinds (group, name) for which there is a rule.
    pub(crate) fn kinds(&self) -> BTreeSet<(String, String)> {
        self.given.0.iter().map(|rule| (rule.group.clone(), rule.kind.clone())).collect()
    }

    /// Why an object is not healthy by these rules; `None` if it is.
    pub(crate) fn complaint(&self, resource: &Resource, live: &Live) -> Option<String> {
        let mut object = None;
        let of_kind = self.given.0.iter().zip(&self.rules);
        for (given, rule) in
            of_kind.filter(|(given, _)| given.group == resource.group && given.kind == resource.kind)
        {
            if given.cluster_scoped == resource.namespaced {
                let scope = |cluster: bool| if cluster { "Cluster" } else { "Namespaced" };
                let (said, is) = (scope(given.cluster_scoped), scope(!resource.namespaced));
                let source = &given.source;
                return Some(format!("health rule {source} says scope {said}, the cluster says {is}"));
            }
            let object = object.get_or_insert_with(|| shown(resource, live)).clone();
            if let Some(text) = rule.complaint(given, object) {
                return Some(format!("{text} (rule {})", given.source));
            }
        }
        None
    }
}

/// Judges a live object by kstatus, then by these rules.
pub(crate) fn judge(rules: Option<&Rules>, resource: &Resource, live: &Live) -> Judgement {
    let judgement = health::judge(&resource.group, &resource.kind, live);
    if judgement.health != ObjectHealth::Current {
        return judgement;
    }
    match rules.and_then(|rules| rules.complaint(resource, live)) {
        Some(message) => Judgement { health: ObjectHealth::InProgress, message },
        None => judgement,
    }
}

/// Whether a rule can be run, and why not.
///
/// # Errors
/// Which of its expressions is wrong, where, and why.
pub fn check_rule(rule: &HealthRule) -> Result<(), String> {
    for (field, text) in [("healthy", &rule.healthy), ("message", &rule.message)] {
        compile(text).map_err(|error| format!("{field}: {error}"))?;
    }
    Ok(())
}

impl Rule {
    fn complaint(&self, given: &HealthRule, object: Cel) -> Option<String> {
        let (healthy, message) = match (&self.healthy, &self.message) {
            (Ok(healthy), Ok(message)) => (healthy, message),
            (Err(error), _) => return Some(format!("its health rule is not understood: healthy: {error}")),
            (_, Err(error)) => return Some(format!("its health rule is not understood: message: {error}")),
        };
        FUNCTIONS.with(|functions| {
            let mut scope = functions.new_inner_scope();
            scope.add_variable_from_value("obj", object);
            match run(healthy, &scope) {
                Ok(Cel::Bool(true)) => None,
                Ok(Cel::Bool(false)) => Some(told(message, &scope, given)),
                Ok(_) => Some("its health rule yields no bool".to_owned()),
                Err(error) => Some(format!("its health rule fails: {error}")),
            }
        })
    }
}

fn run(expression: &Expression, scope: &Context<'_>) -> Result<Cel, String> {
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scope.resolve(expression)));
    match ran {
        Ok(Err(ExecutionError::NoSuchKey(key))) => {
            Err(format!("no such key: {key}; ask with has() before a field that may be missing"))
        }
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the interpreter gave up".to_owned()),
    }
}

fn told(message: &Expression, scope: &Context<'_>, given: &HealthRule) -> String {
    let text = match run(message, scope) {
        Ok(Cel::String(text)) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        Ok(_) => "its health rule's message yields no text".to_owned(),
        Err(error) => format!("its health rule's message fails: {error}"),
    };
    if text.is_empty() {
        let rule = given.healthy.split_whitespace().collect::<Vec<_>>().join(" ");
        return format!("does not satisfy {rule}").chars().take(MESSAGE_CHARS_MAX).collect();
    }
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}

fn compile(text: &str) -> Result<Expression, String> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let bytes = text.len();
        return Err(format!("it has {bytes} bytes, at most {EXPRESSION_BYTES_MAX} are accepted"));
    }
    if text.trim().is_empty() {
        return Err("it is empty; accepted is a CEL expression over obj".to_owned());
    }
    // A parser that stumbles over what somebody typed must not take the agent with it.
    let expression = match std::panic::catch_unwind(|| Parser::default().parse(text)) {
        Ok(Ok(expression)) => expression,
        Ok(Err(error)) => {
            return Err(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
        }
        Err(_) => return Err("the parser gave up".to_owned()),
    };
    known(&expression)?;
    let loops = loops(&expression);
    if loops > LOOPS_MAX {
        return Err(format!("it has {loops} loops inside each other, at most {LOOPS_MAX} are accepted"));
    }
    Ok(expression)
}

/// Whether there is everything that an expression names.
fn known(expression: &Expression) -> Result<(), String> {
    let references = expression.references();
    let mut own = vec!["obj"];
    bound(expression, &mut own);
    let mut variables = references.variables();
    variables.sort_unstable();
    if let Some(name) = variables.into_iter().find(|name| !own.contains(name)) {
        return Err(format!("undeclared reference to '{name}': the object is called obj"));
    }
    let mut functions = references.functions();
    functions.sort_unstable();
    let lacks = |name: &&str| {
        let call = CallExpr { func_name: (*name).to_owned(), target: None, args: Vec::new() };
        let call = Expression { id: 0, expr: Expr::Call(call) };
        let called = FUNCTIONS.with(|functions| functions.resolve(&call));
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && matches!(called, Err(ExecutionError::UndeclaredReference(_)))
    };
    match functions.into_iter().find(lacks) {
        Some(name) => Err(format!("undeclared reference to function '{name}'")),
        None => Ok(()),
    }
}

/// Names that loops of an expression give to what they run over.
fn bound<'e>(expression: &'e Expression, names: &mut Vec<&'e str>) {
    if let Expr::Comprehension(it) = &expression.expr {
        names.extend([it.iter_var.as_str(), it.accu_var.as_str()]);
        names.extend(it.iter_var2.as_deref());
    }
    for part in below(expression) {
        bound(part, names);
    }
}

/// The expressions that an expression is made of.
fn below(expression: &Expression) -> Vec<&Expression> {
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(it) => {
            vec![&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| parts(&entry.expr)).collect(),
        Expr::Struct(it) => it.entries.iter().flat_map(|entry| parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
    }
}

/// How many loops an expression has inside each other.
fn loops(expression: &Expression) -> usize {
    if let Expr::Comprehension(it) = &expression.expr {
        let inside = loops(&it.loop_cond).max(loops(&it.loop_step));
        return (inside + 1).max(loops(&it.iter_range)).max(loops(&it.result));
    }
    below(expression).into_iter().map(loops).max().unwrap_or(0)
}

fn parts(entry: &EntryExpr) -> Vec<&Expression> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The object as rules see it.
fn shown(resource: &Resource, live: &Live) -> Cel {
    let meta = &live.metadata;
    let slash = if resource.group.is_empty() { "" } else { "/" };
    let mut object = live.rest.clone();
    let text = |text: &str| Value::String(text.to_owned());
    object.insert("apiVersion".to_owned(), text(&format!("{}{slash}{}", resource.group, resource.version)));
    object.insert("kind".to_owned(), text(&resource.kind));
    let mut metadata = serde_json::Map::new();
    let texts = [
        ("name", &meta.name),
        ("namespace", &meta.namespace),
        ("uid", &meta.uid),
        ("resourceVersion", &meta.resource_version),
        ("creationTimestamp", &meta.creation_timestamp),
    ];
    for (field, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
        metadata.insert(field.to_owned(), text(value));
    }
    for (field, pairs) in [("labels", &meta.labels), ("annotations", &meta.annotations)] {
        if !pairs.is_empty() {
            let pairs = pairs.iter().map(|(key, value)| (key.clone(), text(value))).collect();
            metadata.insert(field.to_owned(), Value::Object(pairs));
        }
    }
    if let Some(generation) = meta.generation {
        metadata.insert("generation".to_owned(), generation.into());
    }
    if !meta.finalizers.is_empty() {
        metadata.insert("finalizers".to_owned(), meta.finalizers.clone().into());
    }
    object.insert("metadata".to_owned(), Value::Object(metadata));
    for (field, value) in [("spec", &live.spec), ("status", &live.status)] {
        if !value.is_null() {
            object.insert(field.to_owned(), value.clone());
        }
    }
    cel(&Value::Object(object))
}

/// A JSON value as a CEL value. Whole numbers are ints, as Kubernetes' own objects have them.
fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Cel::Int(number),
            (None, Some(number)) => Cel::UInt(number),
            (None, None) => Cel::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(cel).collect())),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (Key::String(Arc::new(name.clone())), cel(value)));
            Cel::Map(Map { map: Arc::new(fields.collect()) })
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
