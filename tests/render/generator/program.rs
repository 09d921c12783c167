//! A generated template as a tree, so that it can be printed and made smaller.

use std::fmt::Write as _;

/// An expression.
#[derive(Clone, Debug)]
pub(crate) enum Expression {
    /// A literal, a path, a variable.
    Leaf(String),
    /// `name a b`.
    Call(&'static str, Vec<Expression>),
    /// `value | name a`.
    Piped(Box<Expression>, &'static str, Vec<Expression>),
    /// `(value).Name`.
    Field(Box<Expression>, &'static str),
}

impl Expression {
    /// The text of a whole pipeline.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Call(name, arguments) => call(name, arguments),
            Self::Piped(value, name, arguments) => format!("{} | {}", value.text(), call(name, arguments)),
            Self::Field(value, name) => format!("({}).{name}", value.text()),
        }
    }

    fn operand(&self) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Field(..) => self.text(),
            Self::Call(..) | Self::Piped(..) => format!("({})", self.text()),
        }
    }

    /// Smaller expressions that may stand in its place.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut out = Vec::new();
        let (head, arguments): (Option<&Self>, &[Self]) = match self {
            Self::Leaf(text) => {
                if text != "1" && text != "\"\"" {
                    out.extend([Self::Leaf("\"\"".to_owned()), Self::Leaf("1".to_owned())]);
                }
                return out;
            }
            Self::Call(_, arguments) => (None, arguments),
            Self::Piped(value, _, arguments) => (Some(value), arguments),
            Self::Field(value, _) => (Some(value), &[]),
        };
        out.extend(head.cloned());
        out.extend(arguments.iter().cloned());
        if let Self::Piped(value, name, arguments) = self {
            let mut all = arguments.clone();
            all.push(value.as_ref().clone());
            out.push(Self::Call(name, all));
        }
        if let Some(value) = head {
            for value in value.smaller() {
                out.push(match self {
                    Self::Piped(_, name, arguments) => Self::Piped(Box::new(value), name, arguments.clone()),
                    Self::Field(_, name) => Self::Field(Box::new(value), name),
                    Self::Leaf(_) | Self::Call(..) => value,
                });
            }
        }
        for (at, argument) in arguments.iter().enumerate() {
            for argument in argument.smaller() {
                let mut all = arguments.to_vec();
                all[at] = argument;
                out.push(match self {
                    Self::Call(name, _) => Self::Call(name, all),
                    Self::Piped(value, name, _) => Self::Piped(value.clone(), name, all),
                    Self::Leaf(_) | Self::Field(..) => continue,
                });
            }
        }
        out
    }
}

fn call(name: &str, arguments: &[Expression]) -> String {
    arguments.iter().fold(name.to_owned(), |text, argument| format!("{text} {}", argument.operand()))
}

/// A statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Text(String),
    Action(Expression),
    /// `$name := value` or `$name = value`.
    Variable(String, bool, Expression),
    /// `keyword head` with its body and the `else` parts; an `else` without a head is the last.
    Block(
        &'static str,
        String,
        Option<Expression>,
        Vec<Statement>,
        Vec<(Option<Expression>, Vec<Statement>)>,
    ),
    /// `break` or `continue`, on a condition.
    Jump(&'static str, Expression),
    Template(usize, Expression),
}

/// A case: templates it defines, and its body.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub defines: Vec<Vec<Statement>>,
    pub body: Vec<Statement>,
    /// Which markers trim the white space around them.
    pub trims: u64,
}

impl Program {
    /// The text of the template `name`.
    pub(crate) fn text(&self, name: &str) -> String {
        let mut printer = Printer { out: String::new(), name, trims: self.trims };
        for (at, define) in self.defines.iter().enumerate() {
            let _ = write!(printer.out, "{{{{- define \"{name}.{at}\" -}}}}");
            printer.statements(define);
            printer.out.push_str("{{- end -}}");
        }
        let _ = write!(printer.out, "{{{{- define \"{name}\" -}}}}");
        printer.statements(&self.body);
        printer.out.push_str("{{- end -}}");
        // What the helpers of this case are called by in expressions.
        printer.out.replace("@@", name)
    }

    /// Smaller programs, the smallest first.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let bodies = smaller(&self.body).into_iter();
        let mut out: Vec<Self> = bodies.map(|body| Self { body, ..self.clone() }).collect();
        for at in 0..self.defines.len() {
            for define in smaller(&self.defines[at]) {
                let mut defines = self.defines.clone();
                defines[at] = define;
                out.push(Self { defines, ..self.clone() });
            }
        }
        if self.trims != 0 {
            out.push(Self { trims: 0, ..self.clone() });
        }
        let length = |program: &Self| program.text("x").len();
        out.sort_by_key(length);
        out.retain(|program| length(program) < length(self) || program.trims != self.trims);
        out
    }
}

struct Printer<'n> {
    out: String,
    name: &'n str,
    trims: u64,
}

impl Printer<'_> {
    fn action(&mut self, inside: &str) {
        self.trims = self.trims.rotate_left(7);
        let open = if self.trims & 3 == 3 { "{{- " } else { "{{ " };
        let close = if self.trims & 12 == 12 { " -}}" } else { " }}" };
        self.out.extend([open, inside, close]);
    }

    fn statements(&mut self, statements: &[Statement]) {
        for statement in statements {
            match statement {
                Statement::Text(text) => self.out.push_str(text),
                Statement::Action(value) => self.action(&value.text()),
                Statement::Variable(name, declares, value) => {
                    let sign = if *declares { ":=" } else { "=" };
                    self.action(&format!("{name} {sign} {}", value.text()));
                }
                Statement::Block(keyword, variables, head, body, otherwise) => {
                    let head = head.as_ref().map(Expression::text).unwrap_or_default();
                    self.action(&format!("{keyword} {variables}{head}"));
                    self.statements(body);
                    for (head, body) in otherwise {
                        match head {
                            Some(head) => self.action(&format!("else {keyword} {}", head.text())),
                            None => self.action("else"),
                        }
                        self.statements(body);
                    }
                    self.action("end");
                }
                Statement::Jump(keyword, condition) => {
                    self.action(&format!("if {}", condition.text()));
                    self.action(keyword);
                    self.action("end");
                }
                Statement::Template(which, value) => {
                    let name = format!("template \"{}.{which}\" ({})", self.name, value.text());
                    self.action(&name);
                }
            }
        }
    }
}

fn smaller(statements: &[Statement]) -> Vec<Vec<Statement>> {
    let mut out = Vec::new();
    for at in 0..statements.len() {
        let with = |middle: Vec<Statement>| {
            let mut all = statements[..at].to_vec();
            all.extend(middle);
            all.extend_from_slice(&statements[at + 1..]);
            all
        };
        out.push(with(Vec::new()));
        for replaced in smaller_statement(&statements[at]) {
            out.push(with(replaced));
        }
    }
    out
}

fn smaller_statement(statement: &Statement) -> Vec<Vec<Statement>> {
    let one = |statement| vec![statement];
    match statement {
        Statement::Text(text) if text.len() > 1 => vec![one(Statement::Text("x".to_owned()))],
        Statement::Text(_) => Vec::new(),
        Statement::Action(value) => {
            value.smaller().into_iter().map(|value| one(Statement::Action(value))).collect()
        }
        Statement::Variable(name, declares, value) => {
            let values = value.smaller().into_iter();
            values.map(|value| one(Statement::Variable(name.clone(), *declares, value))).collect()
        }
        Statement::Jump(keyword, value) => {
            value.smaller().into_iter().map(|value| one(Statement::Jump(keyword, value))).collect()
        }
        Statement::Template(which, value) => {
            value.smaller().into_iter().map(|value| one(Statement::Template(*which, value))).collect()
        }
        Statement::Block(keyword, variables, head, body, otherwise) => {
            let mut out = vec![body.clone()];
            out.extend(otherwise.iter().map(|(_, body)| body.clone()));
            out.extend(head.iter().map(|head| one(Statement::Action(head.clone()))));
            let block = |head, body, otherwise| {
                one(Statement::Block(keyword, variables.clone(), head, body, otherwise))
            };
            if !otherwise.is_empty() {
                out.push(block(head.clone(), body.clone(), Vec::new()));
            }
            for smaller in head.iter().flat_map(Expression::smaller) {
                out.push(block(Some(smaller), body.clone(), otherwise.clone()));
            }
            for smaller in smaller(body) {
                out.push(block(head.clone(), smaller, otherwise.clone()));
            }
            for at in 0..otherwise.len() {
                for smaller in smaller(&otherwise[at].1) {
                    let mut otherwise = otherwise.clone();
                    otherwise[at].1 = smaller;
                    out.push(block(head.clone(), body.clone(), otherwise));
                }
            }
            out
        }
    }
}
