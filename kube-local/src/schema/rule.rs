//! Compiles the rules of `x-kubernetes-validations`, and refuses those that cannot work.

use kube_cel::cel::common::ast::{Expr, operators};
use kube_cel::cel::parser::{Expression, Parser};
use serde_json::{Value, json};

use super::convert::escape;
use super::parse::child;
use super::rewrite::rewrite;
use super::{Additional, FieldError, FieldErrorKind, Kind, Node, cel};

/// One compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) expression: Expression,
    pub(crate) message_expression: Option<Expression>,
    pub(crate) kind: FieldErrorKind,
    /// Where the error belongs, below the node.
    pub(crate) field_path: String,
    pub(crate) uses_old: bool,
    pub(crate) optional_old: bool,
    source: String,
    message: String,
}

impl Rule {
    /// Compiles a rule of `node`; what is wrong with it goes to `errors`. `uncorrelated` is the list whose items
    /// have no old value to compare with, if the node stands in one.
    pub(crate) fn parse(
        rule: &Value,
        node: &Node,
        uncorrelated: Option<&str>,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) -> Option<Rule> {
        let text = |name: &str| rule.get(name).and_then(Value::as_str).unwrap_or("");
        if text("rule").trim().is_empty() {
            return None;
        }
        let kind = match text("reason") {
            "FieldValueForbidden" => FieldErrorKind::Forbidden,
            "FieldValueRequired" => FieldErrorKind::Required,
            "FieldValueDuplicate" => FieldErrorKind::Duplicate,
            _ => FieldErrorKind::Invalid,
        };
        let optional_old = rule.get("optionalOldSelf").and_then(Value::as_bool);
        let mut compile = |name: &str, source: &str| {
            let compiled = compile(source, node, optional_old == Some(true));
            let refuse = |problem: String| {
                // The value is written as the API server prints its own type.
                let shown = format!(
                    "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\
                     \"OptionalOldSelf\":{}}}",
                    json!(text("rule")),
                    json!(text("message")),
                    json!(text("messageExpression")),
                    rule.get("reason").unwrap_or(&Value::Null),
                    json!(text("fieldPath")),
                    json!(optional_old),
                );
                let detail = format!("{shown}: compilation failed: {problem}");
                errors.push(FieldError::new(&child(path, name), FieldErrorKind::Invalid, None, detail));
            };
            compiled.map_err(refuse).ok()
        };
        let expression = compile("rule", text("rule"))?;
        let message_expression = match text("messageExpression").trim() {
            "" => None,
            _ => Some(compile("messageExpression", text("messageExpression"))?),
        };
        let uses_old = expression.references().has_variable("oldSelf");
        if optional_old.is_some() && !uses_old {
            let detail = "may not be set if oldSelf is not used in rule";
            errors.push(FieldError::invalid(&child(path, "optionalOldSelf"), optional_old, detail));
        }
        if let Some(list) = uncorrelated.filter(|_| uses_old) {
            let detail =
                format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
            errors.push(FieldError::invalid(&child(path, "rule"), text("rule"), detail));
        }
        Some(Rule {
            expression,
            message_expression,
            kind,
            field_path: normalized(text("fieldPath")),
            uses_old,
            optional_old: optional_old == Some(true),
            source: text("rule").trim().to_owned(),
            message: text("message").trim().to_owned(),
        })
    }

    /// What stands for the rule in messages.
    pub(crate) fn name(&self) -> &str {
        if self.message.is_empty() { &self.source } else { &self.message }
    }

    /// What the rule says when it does not hold and has no expression for it.
    pub(crate) fn failed(&self) -> String {
        match self.message.as_str() {
            "" => format!("failed rule: {}", self.source),
            message => message.to_owned(),
        }
    }
}

/// `.spec.limits['cpu.max']` as it stands behind a path: `spec.limits[cpu.max]`.
fn normalized(field_path: &str) -> String {
    let path = field_path.trim();
    path.strip_prefix('.').unwrap_or(path).replace("['", "[").replace("']", "]")
}

fn compile(source: &str, node: &Node, optional_old: bool) -> Result<Expression, String> {
    let parsed = Parser::default().enable_optional_syntax(true).parse(source);
    let mut expression = parsed.map_err(|error| error.to_string().replace("\n| ", "\n | "))?;
    rewrite(&mut expression);
    let old = (!optional_old).then_some(node);
    let mut scope =
        Scope { source, names: vec![("self".to_owned(), Some(node)), ("oldSelf".to_owned(), old)] };
    scope.shape(&expression)?;
    Ok(expression)
}

/// What is known of the names that an expression uses.
struct Scope<'a> {
    source: &'a str,
    names: Vec<(String, Option<&'a Node>)>,
}

impl<'a> Scope<'a> {
    /// The schema of what an expression yields, where that is known. Refuses fields and functions that do not
    /// exist.
    fn shape(&mut self, expression: &Expression) -> Result<Option<&'a Node>, String> {
        match &expression.expr {
            Expr::Ident(name) => {
                let known = self.names.iter().rev().find(|(known, _)| known == name);
                Ok(known.and_then(|(_, node)| *node))
            }
            Expr::Select(select) => {
                let operand = self.shape(&select.operand)?;
                operand.map_or(Ok(None), |node| self.field(node, &select.field))
            }
            Expr::Call(call) => {
                let target = call.target.as_deref();
                if let Some(target) = target {
                    self.shape(target)?;
                }
                let mut shapes = Vec::with_capacity(call.args.len());
                for argument in &call.args {
                    shapes.push(self.shape(argument)?);
                }
                // Behind a plain name stands a library: its functions are not told apart from fields here.
                let library = target.is_some_and(|target| matches!(target.expr, Expr::Ident(_)));
                if !library && !cel::is_function(&call.func_name) {
                    let name = &call.func_name;
                    return Err(self.at(name, &format!("undeclared reference to '{name}' (in container '')")));
                }
                Ok(match (call.func_name.as_str(), shapes.first()) {
                    (operators::INDEX, Some(Some(node))) => inside(node),
                    _ => None,
                })
            }
            Expr::Comprehension(it) => {
                let range = self.shape(&it.iter_range)?;
                self.shape(&it.accu_init)?;
                let item = range.and_then(|node| node.items.as_deref());
                self.names.push((it.accu_var.clone(), None));
                self.names.push((it.iter_var.clone(), item));
                let walked = [&it.loop_cond, &it.loop_step, &it.result].into_iter().try_for_each(|part| {
                    self.shape(part)?;
                    Ok(())
                });
                self.names.truncate(self.names.len() - 2);
                walked.map(|()| None)
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.shape(element)?;
                }
                Ok(None)
            }
            Expr::Unspecified | Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_) => Ok(None),
        }
    }

    fn field(&self, node: &'a Node, name: &str) -> Result<Option<&'a Node>, String> {
        let kind = match node.kind {
            _ if node.int_or_string || node.checks.format.is_some() => return Ok(None),
            Kind::Object if node.embedded || is_root_field(name) => return Ok(find(node, name)),
            Kind::Object => match (&node.additional, find(node, name)) {
                (_, Some(field)) => return Ok(Some(field)),
                (Additional::Undefined | Additional::Allowed(false), None) => {
                    return Err(self.at(&format!(".{name}"), &format!("undefined field '{name}'")));
                }
                (Additional::Schema(below), None) => return Ok(Some(below)),
                (Additional::Allowed(true), None) => return Ok(None),
            },
            Kind::Any | Kind::Array => return Ok(None),
            Kind::String => "string",
            Kind::Integer => "int",
            Kind::Number => "double",
            Kind::Boolean => "bool",
        };
        Err(self.at(&format!(".{name}"), &format!("type '{kind}' does not support field selection")))
    }

    /// A problem with the place where it first shows, as the interpreter of Kubernetes draws it.
    fn at(&self, what: &str, problem: &str) -> String {
        let ends = |at: usize| {
            let after = self.source[at + what.len()..].chars().next();
            !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        };
        let at = self.source.match_indices(what).map(|(at, _)| at).find(|at| ends(*at)).unwrap_or(0);
        let before = &self.source[..at];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let (row, column) = (before.matches('\n').count() + 1, before[start..].chars().count());
        let line = self.source[start..].lines().next().unwrap_or_default();
        // A call is marked at its parenthesis, a field at its dot.
        let column = if what.starts_with('.') { column } else { column + what.chars().count() };
        format!("ERROR: <input>:{row}:{}: {problem}\n | {line}\n | {}^", column + 1, ".".repeat(column))
    }
}

/// Fields that an object has whether its schema names them or not.
fn is_root_field(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

fn find<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    if is_root_field(name) {
        return None;
    }
    let direct = node.properties.get(name).filter(|_| escape(name) == name);
    direct.or_else(|| node.properties.iter().find(|(field, _)| escape(field) == name).map(|(_, node)| node))
}

fn inside(node: &Node) -> Option<&Node> {
    match &node.additional {
        Additional::Schema(below) => Some(below),
        Additional::Undefined | Additional::Allowed(_) => node.items.as_deref(),
    }
}
