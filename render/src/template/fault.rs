//! What can go wrong inside a function, and how it becomes an error with a place.

use super::ast::Source;
use std::sync::Arc;

/// A failure before it knows where in the template it happened.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A function or field refused its input.
    Message(String),
    /// A method refused its input.
    Method(String),
    /// The arguments do not fit the function's parameters.
    Type(String),
    /// `fail` or `required` spoke: the chart's own words.
    Refused(String),
    /// The function exists in Helm and not here.
    Unsupported(String),
    /// A bound of [`crate::Limits`] was reached.
    Limit { name: &'static str, maximum: u64 },
    /// A template executed by `include` or `tpl` failed; the text stands before the inner error.
    Nested { prefix: String, error: Box<ExecError> },
}

impl Fault {
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }
}

/// A failure at a place in a template.
#[derive(Clone, Debug)]
pub(crate) struct ExecError {
    /// The text that was executing.
    pub source: Arc<Source>,
    /// Byte offset in that text.
    pub offset: usize,
    /// Name of the template (a file or a `define`).
    pub executing: String,
    /// The expression, as written.
    pub context: String,
    /// The function that failed.
    pub function: Option<String>,
    /// Why.
    pub fault: Fault,
}

impl ExecError {
    /// The innermost error: where the trouble really is.
    pub(crate) fn origin(&self) -> &ExecError {
        match &self.fault {
            Fault::Nested { error, .. } => error.origin(),
            Fault::Message(_)
            | Fault::Method(_)
            | Fault::Type(_)
            | Fault::Refused(_)
            | Fault::Unsupported(_)
            | Fault::Limit { .. } => self,
        }
    }

    /// The innermost error that stands in a file rather than in a `tpl` text.
    pub(crate) fn innermost_file(&self) -> &ExecError {
        let mut best = self;
        let mut at = self;
        while let Fault::Nested { error, .. } = &at.fault {
            at = error;
            if at.source.name != "gotpl" {
                best = at;
            }
        }
        best
    }

    /// `name:line:column`, columns counted from zero as text/template does.
    pub(crate) fn place(&self) -> String {
        let (line, column) = self.source.line_column(self.offset);
        format!("{}:{line}:{column}", self.source.name)
    }

    /// The chain from the outside in, as Helm v4 prints it: on one line when a function's own error ends it, else in
    /// blocks.
    pub(crate) fn trace(&self) -> String {
        let origin = self.origin();
        let ends_in_function = matches!(&origin.fault, Fault::Message(text) | Fault::Method(text) if !text.starts_with("template: "));
        if (ends_in_function && origin.function.is_some()) || self.passes_tpl() {
            self.line()
        } else {
            self.block()
        }
    }

    /// Whether a `tpl` stands in the chain: Helm cannot take such a chain apart.
    fn passes_tpl(&self) -> bool {
        match &self.fault {
            Fault::Nested { prefix, error } => !prefix.is_empty() || error.passes_tpl(),
            _ => false,
        }
    }

    fn calling(&self) -> String {
        self.function.as_ref().map(|name| format!("error calling {name}: ")).unwrap_or_default()
    }

    /// What the error says, without its place and what it wraps.
    fn message(&self) -> String {
        match &self.fault {
            Fault::Message(message) | Fault::Method(message) | Fault::Refused(message) => {
                format!("{}{message}", self.calling())
            }
            Fault::Type(message) => message.clone(),
            Fault::Unsupported(function) => {
                format!("function \"{function}\" is not supported by this engine")
            }
            Fault::Limit { name, maximum } => format!("{}{}", self.calling(), limit_text(name, *maximum)),
            Fault::Nested { prefix, .. } => format!("{}{prefix}", self.calling()),
        }
    }

    fn line(&self) -> String {
        let (place, executing, context) = (self.place(), &self.executing, &self.context);
        let inner = match &self.fault {
            Fault::Nested { error, .. } => error.line(),
            _ => String::new(),
        };
        format!("template: {place}: executing {executing:?} at <{context}>: {}{inner}", self.message())
    }

    fn block(&self) -> String {
        let (place, executing, context) = (self.place(), &self.executing, &self.context);
        let message = self.message();
        // A missing template is an error of its own in Helm's chain.
        let message =
            message.replace("error calling include: template: no", "error calling include:\ntemplate: no");
        let (context, message) = as_helm_finds_them(context, &message);
        let head = format!("{place}\n  executing {executing:?} at <{context}>:\n    {}", message.trim_end());
        match &self.fault {
            Fault::Nested { error, .. } => format!("{head}\n{}", error.block()),
            _ => head,
        }
    }
}

/// Helm takes an error's text apart again: the expression ends at the first `>: `, and what it wraps begins at the first
/// ` template:`, whatever they are part of.
fn as_helm_finds_them(context: &str, message: &str) -> (String, String) {
    let text = format!("{context}>: {message}");
    let (context, message) = text.split_once(">: ").unwrap_or((&text, ""));
    let end = message.find(" template:").unwrap_or(message.len());
    (context.to_owned(), message[..end].to_owned())
}

/// The words for a bound that was reached.
pub(crate) fn limit_text(name: &str, maximum: u64) -> String {
    format!("rendering needs more than the limit \"{name}\" of {maximum} allows")
}
