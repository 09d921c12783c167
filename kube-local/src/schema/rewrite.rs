//! Makes parsed rules run: turns syntax that the interpreter parses but does not evaluate (or evaluates
//! differently from Kubernetes) into syntax that it does.
//!
//! - `a.?b`, and `.c` behind it, become `a[?"b"]`, which is empty where a key is missing.
//! - `optMap`, `optFlatMap` and `cel.bind` become `map` over a list of one.

use kube_cel::cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use kube_cel::cel::parser::{Expression, Parser};

/// Rewrites an expression and everything in it.
pub(crate) fn rewrite(expression: &mut Expression) {
    children(expression, &mut rewrite);
    if let Expr::Call(call) = &mut expression.expr {
        if call.func_name == operators::OPT_SELECT {
            operators::OPT_INDEX.clone_into(&mut call.func_name);
        } else if let Some(expanded) = expand(call) {
            *expression = expanded;
        }
        return;
    }
    let Expr::Select(select) = &mut expression.expr else { return };
    if !select.test && is_optional(&select.operand) {
        let field = Expr::Literal(LiteralValue::String(select.field.as_str().into()));
        let field = Expression { id: expression.id, expr: field };
        let operand = std::mem::take(&mut *select.operand);
        let args = vec![operand, field];
        expression.expr =
            Expr::Call(CallExpr { func_name: operators::OPT_INDEX.to_owned(), target: None, args });
    }
}

fn is_optional(expression: &Expression) -> bool {
    matches!(&expression.expr, Expr::Call(call) if call.func_name == operators::OPT_INDEX)
}

/// The macros that the parser leaves as calls.
fn expand(call: &mut CallExpr) -> Option<Expression> {
    let target = call.target.as_deref_mut()?;
    let (template, over, variable, body) = match (call.func_name.as_str(), &mut call.args[..]) {
        ("optMap", [variable, body]) => (
            "over.hasValue() ? optional.of([over.value()].map(variable, body)[0]) : optional.none()",
            target,
            variable,
            body,
        ),
        ("optFlatMap", [variable, body]) => (
            "over.hasValue() ? [over.value()].map(variable, body)[0] : optional.none()",
            target,
            variable,
            body,
        ),
        ("bind", [variable, over, body]) if matches!(&target.expr, Expr::Ident(name) if name == "cel") => {
            ("[over].map(variable, body)[0]", over, variable, body)
        }
        _ => return None,
    };
    let Expr::Ident(variable) = &variable.expr else { return None };
    let mut parsed = Parser::default().parse(template).ok()?;
    let parts = Parts { over: over.clone(), variable: variable.clone(), body: body.clone() };
    parts.fill(&mut parsed);
    Some(parsed)
}

/// What stands for the names of a template.
struct Parts {
    over: Expression,
    variable: String,
    body: Expression,
}

impl Parts {
    fn fill(&self, expression: &mut Expression) {
        if let Expr::Ident(name) = &expression.expr {
            match name.as_str() {
                "over" => *expression = self.over.clone(),
                "body" => *expression = self.body.clone(),
                _ => {}
            }
            return;
        }
        if let Expr::Comprehension(comprehension) = &mut expression.expr {
            self.variable.clone_into(&mut comprehension.iter_var);
        }
        children(expression, &mut |child| self.fill(child));
    }
}

fn children(expression: &mut Expression, visit: &mut dyn FnMut(&mut Expression)) {
    match &mut expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| visit(target));
            call.args.iter_mut().for_each(visit);
        }
        Expr::Comprehension(it) => {
            for part in
                [&mut it.iter_range, &mut it.accu_init, &mut it.loop_cond, &mut it.loop_step, &mut it.result]
            {
                visit(part);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(visit),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| entry_children(&mut entry.expr, visit)),
        Expr::Struct(it) => it.entries.iter_mut().for_each(|entry| entry_children(&mut entry.expr, visit)),
        Expr::Select(select) => visit(&mut select.operand),
    }
}

fn entry_children(entry: &mut EntryExpr, visit: &mut dyn FnMut(&mut Expression)) {
    match entry {
        EntryExpr::StructField(field) => visit(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            visit(&mut entry.key);
            visit(&mut entry.value);
        }
    }
}
