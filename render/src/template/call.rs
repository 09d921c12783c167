//! Calls: arguments against the parameters' types, short circuits, and `include`/`tpl` as Helm binds them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Command, Expression, ExpressionKind, Pipe, Source};
use super::exec::{Exec, Frame, Layer, Machine, at};
use super::fault::Fault;
use super::funcs::{Dialect, Function, Run, signatures};
use super::value::{Text, Value};

/// Helm's bound on an `include` that includes itself.
const INCLUDE_REPEATS: usize = 1000;

/// The node that text/template visits last when it evaluates an operand: errors found afterwards name it.
pub(super) fn last_visited<'e>(frame: &Frame, node: &'e Expression) -> &'e Expression {
    match &node.kind {
        ExpressionKind::Pipe(pipe) => last_of_pipe(frame, pipe).unwrap_or(node),
        ExpressionKind::Chain(inner, _) => last_visited(frame, inner),
        _ => node,
    }
}

/// The node visited last in a pipeline.
pub(super) fn last_of_pipe<'e>(frame: &Frame, pipe: &'e Pipe) -> Option<&'e Expression> {
    let (first, rest) = pipe.commands.last()?.arguments.split_first()?;
    let decided = frame.decided.get(&first.offset).and_then(|at| rest.get(*at));
    Some(match decided.or(rest.last()) {
        Some(argument) => last_visited(frame, argument),
        None => last_visited(frame, first),
    })
}

impl Machine<'_> {
    pub(super) fn function(
        &mut self,
        frame: &mut Frame,
        dot: &Value,
        node: &Expression,
        command: &Command,
        function: &'static Function,
        last: Option<Value>,
    ) -> Exec<Value> {
        let rest = command.arguments.get(1..).unwrap_or_default();
        let count = rest.len() + usize::from(last.is_some());
        let raise = |frame: &Frame, fault: Fault| {
            let mut error = at(frame, command.offset, &command.context, fault);
            error.function = Some(function.name.to_owned());
            error
        };
        self.env.step(1).map_err(|fault| raise(frame, fault))?;
        if count < function.least || count > function.most {
            let want = if function.most == usize::MAX {
                format!("at least {}", function.least)
            } else {
                function.least.to_string()
            };
            let text = format!("wrong number of args for {}: want {want} got {count}", function.name);
            return Err(at(frame, node.offset, &node.context, Fault::Type(text)));
        }
        if let Run::ShortCircuit { stops_on } = function.run {
            return self.short_circuit(frame, dot, (node.offset, rest), last, stops_on);
        }
        let mut arguments = Vec::with_capacity(count);
        for (position, argument) in rest.iter().enumerate() {
            let letter = signatures::parameter(function.parameters, position);
            arguments.push(self.typed_argument(frame, dot, argument, letter)?);
        }
        if let Some(value) = last {
            let letter = signatures::parameter(function.parameters, rest.len());
            let place = rest.last().map_or(node, |argument| last_visited(frame, argument));
            signatures::check(&value, letter)
                .map_err(|fault| at(frame, place.offset, &place.context, fault))?;
            arguments.push(value);
        }
        if function.name == "call" {
            return Err(raise(frame, no_function(rest, &arguments)));
        }
        let cost = super::cost::steps(function.name, &arguments);
        self.env.step(cost).map_err(|fault| raise(frame, fault))?;
        let result = match function.run {
            Run::Plain(run) => run(&mut self.env, super::args::Args(&arguments)),
            Run::Include => self.include(&arguments),
            Run::Tpl => self.tpl(&arguments),
            Run::ShortCircuit { .. } => Ok(Value::Nil),
        };
        let value = result.map_err(|fault| raise(frame, fault))?;
        let size = match &value {
            Value::Str(text) => text.bytes().len(),
            Value::List(list) => list.items().len() * 16,
            _ => 0,
        };
        self.env.charge(size).map_err(|fault| raise(frame, fault))?;
        Ok(value)
    }

    /// An argument, of the type that the parameter wants.
    pub(super) fn typed_argument(
        &mut self,
        frame: &mut Frame,
        dot: &Value,
        node: &Expression,
        letter: u8,
    ) -> Exec<Value> {
        let raise = |frame: &Frame, node: &Expression, text: String| {
            Err(at(frame, node.offset, &node.context, Fault::Type(text)))
        };
        let value = match (&node.kind, letter) {
            (_, b'a') => return self.argument(frame, dot, node),
            (ExpressionKind::Nil, _) if signatures::can_be_nil(letter) => return Ok(Value::Nil),
            (ExpressionKind::Nil, _) => {
                return raise(frame, node, format!("cannot assign nil to {}", signatures::type_name(letter)));
            }
            (ExpressionKind::Str(_), b's')
            | (ExpressionKind::Bool(_), b'b')
            | (ExpressionKind::Float(_), b'f') => {
                return self.argument(frame, dot, node);
            }
            (ExpressionKind::Int(value), b'i') => return Ok(Value::Int(*value)),
            (ExpressionKind::Int(value), b'u') if *value >= 0 => return Ok(Value::Int(*value)),
            (ExpressionKind::Int(value), b'f') => return Ok(Value::Float(*value as f64)),
            (ExpressionKind::Float(value), b'i' | b'u') if value.fract() == 0.0 && value.abs() < 9.3e18 => {
                return Ok(Value::Int(*value as i64));
            }
            (
                ExpressionKind::Str(_)
                | ExpressionKind::Bool(_)
                | ExpressionKind::Int(_)
                | ExpressionKind::Float(_)
                | ExpressionKind::Complex(..),
                _,
            ) => {
                let context = &node.context;
                let text = match signatures::literal_name(letter) {
                    Some(name) => format!("expected {name}; found {context}"),
                    None => {
                        format!("can't handle {context} for arg of type {}", signatures::type_name(letter))
                    }
                };
                return raise(frame, node, text);
            }
            _ => self.argument(frame, dot, node)?,
        };
        let place = last_visited(frame, node);
        signatures::check(&value, letter).map_err(|fault| at(frame, place.offset, &place.context, fault))?;
        Ok(value)
    }

    /// `and` and `or`: the first argument that decides, the later ones not evaluated.
    fn short_circuit(
        &mut self,
        frame: &mut Frame,
        dot: &Value,
        (place, rest): (usize, &[Expression]),
        last: Option<Value>,
        stops_on: bool,
    ) -> Exec<Value> {
        let mut value = Value::Nil;
        for (position, argument) in rest.iter().enumerate() {
            value = self.argument(frame, dot, argument)?;
            if value.truth() == stops_on {
                frame.decided.insert(place, position);
                return Ok(value);
            }
        }
        frame.decided.remove(&place);
        Ok(last.unwrap_or(value))
    }

    /// Helm's `include`.
    fn include(&mut self, arguments: &[Value]) -> Result<Value, Fault> {
        let name = super::args::Args(arguments).string(0)?.lossy().into_owned();
        let data = arguments.get(1).cloned().unwrap_or(Value::Nil).settled();
        let repeats = self.included.entry(name.clone()).or_default();
        if *repeats > INCLUDE_REPEATS {
            let text =
                format!("rendering template has a nested reference name: {name}: unable to execute template");
            return Err(Fault::message(text));
        }
        *repeats += 1;
        let result = self.included_template(&name, &data);
        if let Some(repeats) = self.included.get_mut(&name) {
            *repeats -= 1;
        }
        result
    }

    fn included_template(&mut self, name: &str, data: &Value) -> Result<Value, Fault> {
        let Some(template) = self.layer.find(name) else {
            return Err(Fault::message(format!(
                "template: no template {name:?} associated with template \"gotpl\""
            )));
        };
        self.enter()?;
        let result = self.execute(&template, data);
        self.depth -= 1;
        result
            .map(|text| Value::Str(Text::from(text)))
            .map_err(|error| Fault::Nested { prefix: String::new(), error })
    }

    /// Helm's `tpl`: the text sees every template, and its own definitions only inside itself.
    fn tpl(&mut self, arguments: &[Value]) -> Result<Value, Fault> {
        let text = super::args::Args(arguments).string(0)?;
        let data = arguments.get(1).cloned().unwrap_or(Value::Nil).settled();
        if !text.bytes().windows(2).any(|pair| pair == b"{{") {
            return Ok(Value::Str(without_no_value(text.bytes())));
        }
        let source = Arc::new(Source { name: "gotpl".to_owned(), text: text.lossy().into_owned() });
        let name: Arc<str> = Arc::from("gotpl");
        let dialect = if self.env.resources.is_some() { Dialect::Sveltos } else { Dialect::Helm };
        let depth = self.env.limits.nesting_depth;
        let parsed = super::parse::parse(&source, &name, depth, dialect).map_err(|error| {
            let (line, _) = source.line_column(error.offset);
            let shown = super::quote::quote(text.bytes());
            let message =
                format!("cannot parse template {shown}: template: gotpl:{line}: {}", error.told(&source));
            Fault::message(message)
        })?;
        let mut layer = Layer { templates: BTreeMap::new(), outer: Some(Rc::clone(&self.layer)) };
        for define in parsed.defines {
            layer.add(define);
        }
        self.enter()?;
        let outer = std::mem::replace(&mut self.layer, Rc::new(layer));
        let result = self.execute(&parsed.root, &data);
        self.layer = outer;
        self.depth -= 1;
        match result {
            Ok(text) => Ok(Value::Str(without_no_value(&text))),
            Err(error) => {
                let shown = super::quote::quote(text.bytes());
                Err(Fault::Nested {
                    prefix: format!("error during tpl function execution for {shown}: "),
                    error,
                })
            }
        }
    }
}

/// No value of a chart can be called.
fn no_function(written: &[Expression], values: &[Value]) -> Fault {
    let kind = values.first().map_or("nil", Value::type_name);
    let shown = written.first().map_or_else(|| format!("<{kind} Value>"), |node| node.context.to_string());
    match values.first() {
        Some(value) if !value.is_nil() => Fault::message(format!("non-function {shown} of type {kind}")),
        _ => Fault::message("call of nil"),
    }
}

/// Helm removes what text/template prints for missing values.
pub(crate) fn without_no_value(text: &[u8]) -> Text {
    const MARK: &[u8] = b"<no value>";
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.windows(MARK.len()).position(|window| window == MARK) {
        out.extend_from_slice(&rest[..found]);
        rest = &rest[found + MARK.len()..];
    }
    out.extend_from_slice(rest);
    Text::from(out)
}
