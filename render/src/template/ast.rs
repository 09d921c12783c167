//! The parsed form of a template: plain data, shared between threads and renders.

use std::sync::Arc;

use super::funcs::Function;

/// The text a template came from, for places in error messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Path of the file, for instance `chart/templates/service.yaml`.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl Source {
    /// Line (from 1) and column (from 0, in bytes) of an offset.
    pub(crate) fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column =
            before.iter().rposition(|byte| *byte == b'\n').map_or(before.len(), |at| before.len() - at - 1);
        (line, column)
    }
}

/// One named template.
#[derive(Debug)]
pub(crate) struct Template {
    pub name: Arc<str>,
    pub source: Arc<Source>,
    pub body: Vec<Node>,
}

impl Template {
    /// Whether the body prints nothing but space (such a definition never replaces another).
    pub(crate) fn is_empty(&self) -> bool {
        self.body.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
    }
}

/// A parsed file: its own body and everything it defines.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub root: Arc<Template>,
    pub defines: Vec<Arc<Template>>,
}

/// A node of a template's body.
#[derive(Debug)]
pub(crate) enum Node {
    Text(Box<str>),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { offset: usize, name: Arc<str>, pipe: Option<Pipe>, context: Box<str> },
    Break,
    Continue,
}

/// The shape that `if`, `with` and `range` share.
#[derive(Debug)]
pub(crate) struct Branch {
    pub offset: usize,
    pub pipe: Pipe,
    pub then: Vec<Node>,
    pub otherwise: Option<Vec<Node>>,
}

/// `$a, $b := first | second`.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub offset: usize,
    pub declares: Vec<Arc<str>>,
    /// `=` instead of `:=`.
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// One stage of a pipeline.
#[derive(Debug)]
pub(crate) struct Command {
    pub offset: usize,
    pub context: Box<str>,
    pub arguments: Vec<Expression>,
}

/// An operand.
#[derive(Debug)]
pub(crate) struct Expression {
    pub offset: usize,
    pub context: Box<str>,
    pub kind: ExpressionKind,
}

/// What an operand is.
#[derive(Debug)]
pub(crate) enum ExpressionKind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// `1+2i`: both parts.
    Complex(f64, f64),
    Str(Box<[u8]>),
    Field(Vec<Arc<str>>),
    Variable(Arc<str>, Vec<Arc<str>>),
    Chain(Box<Expression>, Vec<Arc<str>>),
    Pipe(Pipe),
    Function(&'static Function),
}
