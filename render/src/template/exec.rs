//! Executes parsed templates with text/template's semantics: scopes, assignment, short circuits, `range` over lists,
//! maps and numbers, method calls, and `include`/`tpl` as Helm binds them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Branch, Command, Expression, ExpressionKind, Node, Pipe, Template};
use super::call::{last_of_pipe, last_visited};
use super::env::Env;
use super::fault::{ExecError, Fault};
use super::field;
use super::print::action_output;
use super::stack;
use super::value::{DictKind, ListKind, Text, Value};

pub(super) type Exec<T> = Result<T, Box<ExecError>>;

/// Named templates, those of a `tpl` text in front of those of its surroundings.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub templates: BTreeMap<Arc<str>, Arc<Template>>,
    pub outer: Option<Rc<Layer>>,
}

impl Layer {
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Template>> {
        self.templates.get(name).cloned().or_else(|| self.outer.as_ref()?.find(name))
    }

    /// Adds a template; an empty one never replaces another.
    pub(crate) fn add(&mut self, template: Arc<Template>) {
        if template.is_empty() && self.find(&template.name).is_some() {
            return;
        }
        self.templates.insert(Arc::clone(&template.name), template);
    }
}

/// How a list of nodes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// One render in progress.
pub(crate) struct Machine<'h> {
    pub env: Env<'h>,
    pub(super) layer: Rc<Layer>,
    pub(super) included: BTreeMap<String, usize>,
    pub(super) depth: usize,
}

/// One template in execution.
pub(super) struct Frame {
    template: Arc<Template>,
    variables: Vec<Variable>,
    /// Whether dot is an element of a loop, which stands in an interface.
    dot_is_element: bool,
    /// The argument that decided an `and` or `or`, by the place of the command: those behind it were not visited.
    pub(super) decided: BTreeMap<usize, usize>,
}

/// A variable in sight.
struct Variable {
    name: Arc<str>,
    value: Value,
    /// Whether a loop set it to an element, which stands in an interface.
    is_element: bool,
}

impl Frame {
    fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.iter().rev().find(|known| known.name.as_ref() == name)
    }

    fn set_top(&mut self, from_end: usize, value: Value, is_element: bool) {
        if let Some(at) = self.variables.len().checked_sub(from_end)
            && let Some(slot) = self.variables.get_mut(at)
        {
            (slot.value, slot.is_element) = (value, is_element);
        }
    }

    fn assign(&mut self, name: &str, value: Value, is_element: bool) -> Result<(), Fault> {
        match self.variables.iter_mut().rev().find(|known| known.name.as_ref() == name) {
            Some(slot) => {
                (slot.value, slot.is_element) = (value, is_element);
                Ok(())
            }
            None => Err(Fault::message(format!("undefined variable: {name}"))),
        }
    }
}

impl<'h> Machine<'h> {
    pub(crate) fn new(env: Env<'h>, layer: Rc<Layer>) -> Self {
        Self { env, layer, included: BTreeMap::new(), depth: 0 }
    }

    /// The template of that name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Template>> {
        self.layer.find(name)
    }

    /// Executes a template over `data` and returns what it wrote.
    pub(crate) fn execute(&mut self, template: &Arc<Template>, data: &Value) -> Exec<Vec<u8>> {
        let mut out = Vec::new();
        self.run(template, data, &mut out)?;
        Ok(out)
    }

    fn run(&mut self, template: &Arc<Template>, data: &Value, out: &mut Vec<u8>) -> Exec<()> {
        let mut frame = Frame {
            template: Arc::clone(template),
            variables: vec![Variable { name: Arc::from("$"), value: data.clone(), is_element: false }],
            dot_is_element: false,
            decided: BTreeMap::new(),
        };
        stack::grow(|| self.walk(&mut frame, data, &template.body, out))?;
        Ok(())
    }

    fn walk(&mut self, frame: &mut Frame, dot: &Value, nodes: &[Node], out: &mut Vec<u8>) -> Exec<Flow> {
        for node in nodes {
            match node {
                Node::Text(text) => {
                    self.env.charge(text.len()).map_err(|fault| at(frame, 0, "", fault))?;
                    out.extend_from_slice(text.as_bytes());
                }
                Node::Action(pipe) => {
                    self.step(frame, pipe.offset)?;
                    let value = self.pipeline(frame, dot, pipe)?;
                    if pipe.declares.is_empty() {
                        let text = action_output(&value);
                        self.env.charge(text.len()).map_err(|fault| at(frame, pipe.offset, "", fault))?;
                        out.extend(text);
                    }
                }
                Node::If(branch) | Node::With(branch) => {
                    let with = matches!(node, Node::With(_));
                    let flow = self.branch(frame, dot, branch, with, out)?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Range(branch) => {
                    let flow = self.range(frame, dot, branch, out)?;
                    if flow != Flow::Next {
                        return Ok(flow);
                    }
                }
                Node::Template { offset, name, pipe, context } => {
                    self.step(frame, *offset)?;
                    self.call_template(frame, dot, (*offset, name, context), pipe.as_ref(), out)?;
                }
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn step(&mut self, frame: &Frame, offset: usize) -> Exec<()> {
        self.env.step(1).map_err(|fault| at(frame, offset, "", fault))
    }

    fn branch(
        &mut self,
        frame: &mut Frame,
        dot: &Value,
        branch: &Branch,
        with: bool,
        out: &mut Vec<u8>,
    ) -> Exec<Flow> {
        self.step(frame, branch.offset)?;
        let mark = frame.variables.len();
        let value = self.pipeline(frame, dot, &branch.pipe)?;
        let flow = if value.truth() {
            if with {
                let before = std::mem::replace(&mut frame.dot_is_element, false);
                let flow = self.walk(frame, &value, &branch.then, out);
                frame.dot_is_element = before;
                flow
            } else {
                self.walk(frame, dot, &branch.then, out)
            }
        } else if let Some(otherwise) = &branch.otherwise {
            self.walk(frame, dot, otherwise, out)
        } else {
            Ok(Flow::Next)
        };
        frame.variables.truncate(mark);
        flow
    }

    fn range(&mut self, frame: &mut Frame, dot: &Value, branch: &Branch, out: &mut Vec<u8>) -> Exec<Flow> {
        self.step(frame, branch.offset)?;
        let mark = frame.variables.len();
        let value = self.pipeline(frame, dot, &branch.pipe)?;
        if let (Some(count), true) = (value.whole(), branch.pipe.declares.len() > 1) {
            let fault = Fault::message(format!("can't use {count} to iterate over more than one variable"));
            return Err(at_end_of(frame, &branch.pipe, fault));
        }
        let scope = frame.variables.len();
        let mut ran = false;
        let mut index = 0;
        let entries = match &value {
            Value::Dict(dict) => Some(dict.entries()),
            _ => None,
        };
        let object_items = match &value {
            Value::Object(object) => object.items(),
            _ => None,
        };
        let are_elements = match &value {
            Value::List(list) => matches!(list.kind(), ListKind::Any | ListKind::Nothing),
            Value::Dict(dict) => matches!(dict.kind(), DictKind::Any | DictKind::Values),
            _ => false,
        };
        let before = std::mem::replace(&mut frame.dot_is_element, are_elements);
        loop {
            let pair = match &value {
                Value::Nil | Value::Null => None,
                _ if value.whole().is_some() => {
                    let number = i64::try_from(index).unwrap_or(i64::MAX);
                    (Some(number) < value.whole()).then_some((Value::Int(number), Value::Int(number)))
                }
                Value::List(list) => list.items().get(index).map(|item| (int(index), item.clone())),
                Value::Dict(_) => entries
                    .as_ref()
                    .and_then(|entries| entries.get(index))
                    .map(|(key, item)| (Value::text(key), item.clone())),
                Value::Object(_) if object_items.is_some() => object_items
                    .as_ref()
                    .and_then(|items| items.get(index))
                    .map(|item| (int(index), item.clone())),
                _ => {
                    let shown = String::from_utf8_lossy(&super::print::display(&value)).into_owned();
                    let fault = Fault::message(format!("range can't iterate over {shown}"));
                    return Err(at_end_of(frame, &branch.pipe, fault));
                }
            };
            let Some((key, item)) = pair else { break };
            ran = true;
            index += 1;
            self.step(frame, branch.offset)?;
            let flow = self.iteration(frame, branch, key, item.element(), out)?;
            frame.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        frame.dot_is_element = before;
        let flow = match (&branch.otherwise, ran) {
            // A break there belongs to the loop that it is the other part of, a continue to the one around.
            (Some(otherwise), false) => match self.walk(frame, dot, otherwise, out)? {
                Flow::Break => Flow::Next,
                flow => flow,
            },
            _ => Flow::Next,
        };
        frame.variables.truncate(mark);
        Ok(flow)
    }

    fn iteration(
        &mut self,
        frame: &mut Frame,
        branch: &Branch,
        key: Value,
        item: Value,
        out: &mut Vec<u8>,
    ) -> Exec<Flow> {
        let pipe = &branch.pipe;
        match (pipe.declares.as_slice(), pipe.assigns) {
            ([], _) => {}
            ([_], false) => frame.set_top(1, item.clone(), frame.dot_is_element),
            ([_, _, ..], false) => {
                frame.set_top(1, item.clone(), frame.dot_is_element);
                frame.set_top(2, key, false);
            }
            ([one], true) => {
                if let Err(fault) = frame.assign(one, item.clone(), frame.dot_is_element) {
                    return Err(at_end_of(frame, pipe, fault));
                }
            }
            ([first, second, ..], true) => {
                let is_element = frame.dot_is_element;
                let assigned = frame
                    .assign(first, key, false)
                    .and_then(|()| frame.assign(second, item.clone(), is_element));
                if let Err(fault) = assigned {
                    return Err(at_end_of(frame, pipe, fault));
                }
            }
        }
        self.walk(frame, &item, &branch.then, out)
    }

    fn call_template(
        &mut self,
        frame: &mut Frame,
        dot: &Value,
        (offset, name, context): (usize, &Arc<str>, &str),
        pipe: Option<&Pipe>,
        out: &mut Vec<u8>,
    ) -> Exec<()> {
        let Some(template) = self.layer.find(name) else {
            return Err(at(frame, offset, context, Fault::message(format!("template {name:?} not defined"))));
        };
        let data = match pipe {
            Some(pipe) => self.pipeline(frame, dot, pipe)?,
            None => Value::Nil,
        };
        self.enter().map_err(|fault| at(frame, offset, context, fault))?;
        let result = self.run(&template, &data, out);
        self.depth -= 1;
        result
    }

    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        if self.depth >= self.env.limits.call_depth {
            return Err(Fault::Limit { name: "call_depth", maximum: self.env.limits.call_depth as u64 });
        }
        self.depth += 1;
        Ok(())
    }

    fn pipeline(&mut self, frame: &mut Frame, dot: &Value, pipe: &Pipe) -> Exec<Value> {
        let mut value: Option<Value> = None;
        for command in &pipe.commands {
            value = Some(self.command(frame, dot, command, value)?.settled());
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.declares {
            if pipe.assigns {
                frame.assign(name, value.clone(), false).map_err(|fault| at_end_of(frame, pipe, fault))?;
            } else {
                let (name, value) = (Arc::clone(name), value.clone());
                frame.variables.push(Variable { name, value, is_element: false });
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        frame: &mut Frame,
        dot: &Value,
        command: &Command,
        last: Option<Value>,
    ) -> Exec<Value> {
        let Some((first, rest)) = command.arguments.split_first() else {
            return Ok(Value::Nil);
        };
        let has_arguments = !rest.is_empty() || last.is_some();
        match &first.kind {
            ExpressionKind::Function(function) => self.function(frame, dot, first, command, function, last),
            ExpressionKind::Field(names) => {
                self.field_call(frame, dot, dot.clone(), names, first, rest, last)
            }
            ExpressionKind::Chain(inner, names) => {
                let receiver = self.argument(frame, dot, inner)?;
                self.field_call(frame, dot, receiver, names, first, rest, last)
            }
            ExpressionKind::Variable(name, names) => {
                let receiver = self.variable(frame, first, name)?;
                if names.is_empty() && has_arguments {
                    return Err(at(frame, first.offset, &first.context, cannot_give_argument(first)));
                }
                self.field_call(frame, dot, receiver, names, first, rest, last)
            }
            ExpressionKind::Pipe(pipe) if !has_arguments => self.pipeline(frame, dot, pipe),
            ExpressionKind::Nil => {
                Err(at(frame, first.offset, &first.context, Fault::message("nil is not a command")))
            }
            _ if has_arguments => Err(at(frame, first.offset, &first.context, cannot_give_argument(first))),
            _ => self.argument(frame, dot, first),
        }
    }

    fn variable(&self, frame: &Frame, node: &Expression, name: &str) -> Exec<Value> {
        frame.variable(name).map(|known| known.value.clone()).ok_or_else(|| {
            at(frame, node.offset, &node.context, Fault::message(format!("undefined variable: {name}")))
        })
    }

    /// Follows all names but the last, then calls the last as a method or takes it as a field.
    #[allow(clippy::too_many_arguments)] // the operands of one text/template rule
    fn field_call(
        &mut self,
        frame: &mut Frame,
        dot: &Value,
        receiver: Value,
        names: &[Arc<str>],
        node: &Expression,
        rest: &[Expression],
        last: Option<Value>,
    ) -> Exec<Value> {
        let Some((name, leading)) = names.split_last() else {
            return Ok(receiver);
        };
        let wrong = |frame: &Frame, fault| {
            let place = last_visited(frame, node);
            at(frame, place.offset, &place.context, fault)
        };
        let named = |frame: &Frame, value: &Value, name: &str, first: bool, fault| {
            if first && is_out_of_interface(frame, node) {
                field::of_settled(value, name, fault)
            } else {
                fault
            }
        };
        let mut value = receiver;
        for (position, name) in leading.iter().enumerate() {
            value = field::get(&mut self.env, &value, name, &[])
                .map_err(|error| wrong(frame, named(frame, &value, name, position == 0, error)))?;
        }
        let parameters = field::parameters(&value, name);
        if let Some(want) =
            parameters.map(str::len).filter(|want| *want != rest.len() + usize::from(last.is_some()))
        {
            let count = rest.len() + usize::from(last.is_some());
            let text = format!("wrong number of args for {name}: want {want} got {count}");
            return Err(wrong(frame, Fault::Type(text)));
        }
        let mut arguments = Vec::with_capacity(rest.len() + 1);
        for (position, argument) in rest.iter().enumerate() {
            arguments.push(match parameters.and_then(|letters| letters.as_bytes().get(position)) {
                Some(letter) => self.typed_argument(frame, dot, argument, *letter)?,
                None => self.argument(frame, dot, argument)?,
            });
        }
        arguments.extend(last);
        field::get(&mut self.env, &value, name, &arguments).map_err(|error| {
            // What a method says is told at the whole operand, as of a function.
            if let Fault::Method(_) = error {
                let mut error = at(frame, node.offset, &node.context, error);
                error.function = Some(name.to_string());
                return error;
            }
            wrong(frame, named(frame, &value, name, leading.is_empty(), error))
        })
    }

    pub(super) fn argument(&mut self, frame: &mut Frame, dot: &Value, node: &Expression) -> Exec<Value> {
        match &node.kind {
            ExpressionKind::Dot => Ok(dot.clone()),
            ExpressionKind::Nil => Ok(Value::Nil),
            ExpressionKind::Bool(value) => Ok(Value::Bool(*value)),
            ExpressionKind::Int(value) => Ok(Value::Int(*value)),
            ExpressionKind::Float(value) => Ok(Value::Float(*value)),
            ExpressionKind::Complex(real, imaginary) => Ok(super::named::complex(*real, *imaginary)),
            ExpressionKind::Str(bytes) => Ok(Value::Str(Text::from(bytes.as_ref()))),
            ExpressionKind::Field(names) => self.field_call(frame, dot, dot.clone(), names, node, &[], None),
            ExpressionKind::Variable(name, names) => {
                let receiver = self.variable(frame, node, name)?;
                self.field_call(frame, dot, receiver, names, node, &[], None)
            }
            ExpressionKind::Chain(inner, names) => {
                let receiver = self.argument(frame, dot, inner)?;
                self.field_call(frame, dot, receiver, names, node, &[], None)
            }
            ExpressionKind::Pipe(pipe) => self.pipeline(frame, dot, pipe),
            ExpressionKind::Function(function) => {
                let command =
                    Command { offset: node.offset, context: node.context.clone(), arguments: Vec::new() };
                self.function(frame, dot, node, &command, function, None)
            }
        }
    }
}

fn int(index: usize) -> Value {
    Value::Int(i64::try_from(index).unwrap_or(i64::MAX))
}

/// An error found once a pipeline is evaluated.
fn at_end_of(frame: &Frame, pipe: &Pipe, fault: Fault) -> Box<ExecError> {
    match last_of_pipe(frame, pipe) {
        Some(node) => at(frame, node.offset, &node.context, fault),
        None => at(frame, pipe.offset, "", fault),
    }
}

/// Whether Go knows the own type of what the first field is asked of.
fn is_out_of_interface(frame: &Frame, node: &Expression) -> bool {
    match &node.kind {
        ExpressionKind::Chain(..) => true,
        ExpressionKind::Variable(name, _) => frame.variable(name).is_none_or(|known| !known.is_element),
        ExpressionKind::Field(_) => !frame.dot_is_element,
        _ => false,
    }
}

fn cannot_give_argument(node: &Expression) -> Fault {
    Fault::message(format!("can't give argument to non-function {}", node.context))
}

pub(super) fn at(frame: &Frame, offset: usize, context: &str, fault: Fault) -> Box<ExecError> {
    Box::new(ExecError {
        source: Arc::clone(&frame.template.source),
        offset,
        executing: frame.template.name.to_string(),
        context: context.to_owned(),
        function: None,
        fault,
    })
}
