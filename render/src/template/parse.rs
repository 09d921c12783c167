//! From tokens to the tree, with Go's rules: variables are declared before use, functions exist, blocks are closed.

use std::sync::Arc;

use super::ast::{Branch, Command, Expression, ExpressionKind, Node, Parsed, Pipe, Source, Template};
use super::funcs::{self, Dialect};
use super::lex::{ParseError, Token, TokenKind, tokens};
use super::number::{Number, literal};
use super::stack;

/// Parses one file. `depth` bounds the nesting of blocks and parentheses.
pub(crate) fn parse(
    source: &Arc<Source>,
    name: &Arc<str>,
    depth: usize,
    dialect: Dialect,
) -> Result<Parsed, ParseError> {
    let (tokens, problem) = tokens(&source.text);
    let mut parser = Parser {
        source,
        tokens,
        at: 0,
        variables: vec![Arc::from("$")],
        defines: Vec::new(),
        loops: 0,
        depth,
        dialect,
    };
    let body = match (parser.top(), problem) {
        // Whatever the parser missed behind the last good token, this is why.
        (Err(error), Some(problem)) if error.offset >= source.text.len() => return Err(problem),
        (Ok(_), Some(problem)) => return Err(problem),
        (Err(error), _) => return Err(error),
        (Ok(body), None) => body,
    };
    let root = Arc::new(Template { name: Arc::clone(name), source: Arc::clone(source), body });
    Ok(Parsed { root, defines: parser.defines })
}

struct Parser<'s> {
    source: &'s Arc<Source>,
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<Arc<str>>,
    defines: Vec<Arc<Template>>,
    loops: usize,
    depth: usize,
    dialect: Dialect,
}

/// What ended a list of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    End,
    Else,
    /// `{{else` before a keyword that continues the chain.
    ElseKeyword,
}

type Parse<T> = Result<T, ParseError>;

impl Parser<'_> {
    fn text(&self, token: &Token) -> &str {
        &self.source.text[token.span.clone()]
    }

    fn peek(&self) -> Token {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens[self.at.min(last)].clone()
    }

    /// Where what is told of an `end` or `else` is: at its last token, or the keyword behind it.
    fn behind(&self, closed: Closed) -> usize {
        let at = if closed == Closed::ElseKeyword { self.at } else { self.at.saturating_sub(1) };
        self.tokens.get(at).map_or(0, |token| token.span.start)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == TokenKind::Space {
            self.at += 1;
        }
    }

    fn next_solid(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Parse<T> {
        let what = match token.kind {
            TokenKind::End => "EOF".to_owned(),
            TokenKind::Keyword | TokenKind::Dot | TokenKind::Nil => format!("<{}>", self.text(token)),
            _ => match self.text(token) {
                long if long.len() > 10 => format!("{:?}...", long.chars().take(10).collect::<String>()),
                text => format!("{text:?}"),
            },
        };
        Err(ParseError::new(token.span.start, format!("unexpected {what} in {context}")))
    }

    fn deeper<T>(&mut self, offset: usize, inner: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth == 0 {
            return Err(ParseError::new(offset, "the template nests deeper than the limit allows"));
        }
        self.depth -= 1;
        let result = stack::grow(|| inner(self));
        self.depth += 1;
        result
    }

    fn top(&mut self) -> Parse<Vec<Node>> {
        let mut body = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::End => return Ok(body),
                TokenKind::Text => body.push(Node::Text(self.text(&token).into())),
                _ => {
                    self.at -= 1;
                    let first = self.next_solid();
                    if first.kind == TokenKind::Keyword && self.text(&first) == "define" {
                        self.definition()?;
                        continue;
                    }
                    self.at -= 1;
                    match self.action()? {
                        Ok(node) => body.push(node),
                        Err(Closed::End) => {
                            return Err(ParseError::new(self.behind(Closed::End), "unexpected {{end}}"));
                        }
                        Err(closed @ (Closed::Else | Closed::ElseKeyword)) => {
                            return Err(ParseError::new(self.behind(closed), "unexpected {{else}}"));
                        }
                    }
                }
            }
        }
    }

    fn definition(&mut self) -> Parse<()> {
        let name = self.quoted_name("define clause")?;
        self.expect(TokenKind::Right, "define clause")?;
        let outer_variables = std::mem::replace(&mut self.variables, vec![Arc::from("$")]);
        let outer_loops = std::mem::take(&mut self.loops);
        let offset = self.peek().span.start;
        let (body, closed) = self.deeper(offset, |parser| parser.list())?;
        if closed != Closed::End {
            return Err(ParseError::new(self.behind(closed), "unexpected {{else}} in define clause"));
        }
        self.variables = outer_variables;
        self.loops = outer_loops;
        self.define(name, body)
    }

    /// Keeps a template; of those of one name in a file all but one must be empty.
    fn define(&mut self, name: Arc<str>, body: Vec<Node>) -> Parse<()> {
        let template = Template { name, source: Arc::clone(self.source), body };
        let known = self.defines.iter_mut().find(|known| known.name == template.name);
        match known {
            None => self.defines.push(Arc::new(template)),
            Some(known) if known.is_empty() => *known = Arc::new(template),
            Some(_) if template.is_empty() => {}
            Some(_) => {
                let offset = self.tokens[self.at - 1].span.start;
                let text = format!("multiple definition of template {:?}", template.name);
                return Err(ParseError::new(offset, text));
            }
        }
        Ok(())
    }

    fn quoted_name(&mut self, context: &str) -> Parse<Arc<str>> {
        let token = self.next_solid();
        if !matches!(token.kind, TokenKind::Str | TokenKind::RawStr) {
            return self.unexpected(&token, context);
        }
        let name = self.unquote(&token)?;
        Ok(Arc::from(String::from_utf8_lossy(&name).as_ref()))
    }

    fn expect(&mut self, kind: TokenKind, context: &str) -> Parse<Token> {
        let token = self.next_solid();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    /// Nodes up to `{{end}}` or `{{else}}`, which is consumed.
    fn list(&mut self) -> Parse<(Vec<Node>, Closed)> {
        let mut nodes = Vec::new();
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::End => return Err(ParseError::new(token.span.start, "unexpected EOF")),
                TokenKind::Text => nodes.push(Node::Text(self.text(&token).into())),
                _ => {
                    self.at -= 1;
                    match self.action()? {
                        Ok(node) => nodes.push(node),
                        Err(closed) => return Ok((nodes, closed)),
                    }
                }
            }
        }
    }

    /// One action; `Err` inside `Ok` is a closing `end` or `else`.
    fn action(&mut self) -> Parse<Result<Node, Closed>> {
        let token = self.next_solid();
        if token.kind != TokenKind::Keyword {
            self.at -= 1;
            let pipe = self.pipeline("command", TokenKind::Right)?;
            return Ok(Ok(Node::Action(pipe)));
        }
        let keyword = self.text(&token).to_owned();
        let offset = token.span.start;
        Ok(match keyword.as_str() {
            "end" => {
                self.expect(TokenKind::Right, "end")?;
                Err(Closed::End)
            }
            "else" => {
                self.skip_space();
                let next = self.peek();
                let chained = next.kind == TokenKind::Keyword && matches!(self.text(&next), "if" | "with");
                if !chained {
                    self.expect(TokenKind::Right, "else")?;
                }
                Err(if chained { Closed::ElseKeyword } else { Closed::Else })
            }
            "if" => Ok(Node::If(self.control("if", offset)?)),
            "with" => Ok(Node::With(self.control("with", offset)?)),
            "range" => Ok(Node::Range(self.control("range", offset)?)),
            "template" => Ok(self.template()?),
            "block" => Ok(self.block(offset)?),
            "break" | "continue" => {
                self.expect(TokenKind::Right, &format!("{{{{{keyword}}}}}"))?;
                if self.loops == 0 {
                    return Err(ParseError::new(offset, format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                }
                Ok(if keyword == "break" { Node::Break } else { Node::Continue })
            }
            _ => return self.unexpected(&token, "command"),
        })
    }

    fn control(&mut self, context: &'static str, offset: usize) -> Parse<Branch> {
        self.deeper(offset, |parser| {
            let scope = parser.variables.len();
            let pipe = parser.pipeline(context, TokenKind::Right)?;
            if context == "range" {
                parser.loops += 1;
            }
            let (then, closed) = parser.list()?;
            if context == "range" {
                parser.loops -= 1;
            }
            let otherwise = match closed {
                Closed::End => None,
                Closed::Else | Closed::ElseKeyword => Some(parser.otherwise(context, closed)?),
            };
            parser.variables.truncate(scope);
            Ok(Branch { offset, pipe, then, otherwise })
        })
    }

    /// What follows an `else`: in `{{else if ...}}` the keyword is still to come.
    fn otherwise(&mut self, context: &'static str, after: Closed) -> Parse<Vec<Node>> {
        if after == Closed::ElseKeyword {
            let next = self.next_solid();
            if self.text(&next) != context {
                return self.unexpected(&next, "input");
            }
            let branch = self.control(context, next.span.start)?;
            return Ok(vec![if context == "if" { Node::If(branch) } else { Node::With(branch) }]);
        }
        let (nodes, closed) = self.list()?;
        if closed != Closed::End {
            return Err(ParseError::new(self.behind(closed), "expected end; found {{else}}"));
        }
        Ok(nodes)
    }

    fn template(&mut self) -> Parse<Node> {
        self.skip_space();
        let offset = self.peek().span.start;
        let name = self.quoted_name("template clause")?;
        self.skip_space();
        let pipe = if self.peek().kind == TokenKind::Right {
            self.at += 1;
            None
        } else {
            Some(self.pipeline("template clause", TokenKind::Right)?)
        };
        let context = called(&name, pipe.as_ref());
        Ok(Node::Template { offset, name, pipe, context })
    }

    fn block(&mut self, offset: usize) -> Parse<Node> {
        self.skip_space();
        let named_at = self.peek().span.start;
        let name = self.quoted_name("block clause")?;
        let pipe = self.pipeline("block clause", TokenKind::Right)?;
        let outer_variables = std::mem::replace(&mut self.variables, vec![Arc::from("$")]);
        let outer_loops = std::mem::take(&mut self.loops);
        let (body, closed) = self.deeper(offset, |parser| parser.list())?;
        if closed != Closed::End {
            return Err(ParseError::new(offset, "unexpected {{else}} in block clause"));
        }
        self.variables = outer_variables;
        self.loops = outer_loops;
        self.define(Arc::clone(&name), body)?;
        let context = called(&name, Some(&pipe));
        Ok(Node::Template { offset: named_at, name, pipe: Some(pipe), context })
    }

    fn pipeline(&mut self, context: &str, end: TokenKind) -> Parse<Pipe> {
        self.skip_space();
        let offset = self.peek().span.start;
        let mut pipe = Pipe { offset, declares: Vec::new(), assigns: false, commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_solid();
            match token.kind {
                kind if kind == end => break,
                TokenKind::Bool
                | TokenKind::CharConstant
                | TokenKind::Dot
                | TokenKind::Field
                | TokenKind::Identifier
                | TokenKind::Number
                | TokenKind::Nil
                | TokenKind::RawStr
                | TokenKind::Str
                | TokenKind::Variable
                | TokenKind::OpenParen => {
                    self.at -= 1;
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return Err(ParseError::new(offset, format!("missing value for {context}")));
        }
        for (stage, command) in pipe.commands.iter().enumerate().skip(1) {
            let constant = command.arguments.first().is_some_and(|first| {
                matches!(
                    first.kind,
                    ExpressionKind::Bool(_)
                        | ExpressionKind::Dot
                        | ExpressionKind::Nil
                        | ExpressionKind::Int(_)
                        | ExpressionKind::Float(_)
                        | ExpressionKind::Complex(..)
                        | ExpressionKind::Str(_)
                )
            });
            if constant {
                let text = format!("non executable command in pipeline stage {}", stage + 1);
                return Err(ParseError::new(command.offset, text));
            }
        }
        Ok(pipe)
    }

    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parse<()> {
        loop {
            self.skip_space();
            let start = self.at;
            let variable = self.peek();
            if variable.kind != TokenKind::Variable {
                return Ok(());
            }
            self.at += 1;
            self.skip_space();
            let next = self.peek();
            let name: Arc<str> = Arc::from(self.text(&variable));
            match next.kind {
                TokenKind::Assign | TokenKind::Declare => {
                    self.at += 1;
                    pipe.assigns = next.kind == TokenKind::Assign;
                    pipe.declares.push(Arc::clone(&name));
                    self.variables.push(name);
                    return Ok(());
                }
                TokenKind::Comma => {
                    self.at += 1;
                    pipe.declares.push(Arc::clone(&name));
                    self.variables.push(name);
                    self.skip_space();
                    if context != "range" || pipe.declares.len() > 1 {
                        return Err(ParseError::new(
                            next.span.start,
                            format!("too many declarations in {context}"),
                        ));
                    }
                    if self.peek().kind != TokenKind::Variable {
                        return Err(ParseError::new(next.span.start, "range can only initialize variables"));
                    }
                }
                _ => {
                    self.at = start;
                    return Ok(());
                }
            }
        }
    }

    fn command(&mut self) -> Parse<Command> {
        self.skip_space();
        let offset = self.peek().span.start;
        let mut arguments = Vec::new();
        let mut end;
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                arguments.push(operand);
            }
            end = self.tokens[self.at.saturating_sub(1).min(self.tokens.len() - 1)].span.end;
            let token = self.next();
            match token.kind {
                TokenKind::Space => {}
                TokenKind::Right | TokenKind::CloseParen => {
                    self.at -= 1;
                    break;
                }
                TokenKind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if arguments.is_empty() {
            return Err(ParseError::new(offset, "empty command"));
        }
        let context = self.source.text.get(offset..end).unwrap_or_default().trim().into();
        Ok(Command { offset, context, arguments })
    }

    fn operand(&mut self) -> Parse<Option<Expression>> {
        let start = self.peek().span.start;
        let Some(mut node) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != TokenKind::Field {
            return Ok(Some(node));
        }
        let offset = self.peek().span.start;
        let mut fields: Vec<Arc<str>> = Vec::new();
        let mut end = offset;
        while self.peek().kind == TokenKind::Field {
            let token = self.next();
            fields.push(Arc::from(&self.text(&token)[1..]));
            end = token.span.end;
        }
        let context: Box<str> = self.source.text.get(start..end).unwrap_or_default().into();
        let literal = |node: &Expression| {
            ParseError::new(offset, format!("unexpected . after term {:?}", node.context))
        };
        node = match node.kind {
            ExpressionKind::Field(mut names) => {
                names.extend(fields);
                Expression { offset, context, kind: ExpressionKind::Field(names) }
            }
            ExpressionKind::Variable(name, mut names) => {
                names.extend(fields);
                Expression { offset, context, kind: ExpressionKind::Variable(name, names) }
            }
            ExpressionKind::Bool(_)
            | ExpressionKind::Str(_)
            | ExpressionKind::Int(_)
            | ExpressionKind::Float(_)
            | ExpressionKind::Complex(..)
            | ExpressionKind::Nil
            | ExpressionKind::Dot => return Err(literal(&node)),
            ExpressionKind::Chain(..) | ExpressionKind::Pipe(_) | ExpressionKind::Function(_) => {
                Expression { offset, context, kind: ExpressionKind::Chain(Box::new(node), fields) }
            }
        };
        Ok(Some(node))
    }

    fn term(&mut self) -> Parse<Option<Expression>> {
        self.skip_space();
        let token = self.next();
        let offset = token.span.start;
        let text = self.text(&token).to_owned();
        let kind = match token.kind {
            TokenKind::Identifier => {
                ExpressionKind::Function(funcs::find(&text, self.dialect).ok_or_else(|| ParseError {
                    offset,
                    message: format!("function {text:?} not defined"),
                    function: Some(text.clone()),
                    action: None,
                })?)
            }
            TokenKind::Dot => ExpressionKind::Dot,
            TokenKind::Nil => ExpressionKind::Nil,
            TokenKind::Bool => ExpressionKind::Bool(text == "true"),
            TokenKind::Variable => {
                if !self.variables.iter().any(|known| known.as_ref() == text) {
                    return Err(ParseError::new(offset, format!("undefined variable {text:?}")));
                }
                ExpressionKind::Variable(Arc::from(text.as_str()), Vec::new())
            }
            TokenKind::Field => ExpressionKind::Field(vec![Arc::from(&text[1..])]),
            TokenKind::Number => match literal(&text) {
                Some(Number::Int(value)) => ExpressionKind::Int(value),
                Some(Number::Complex(real, imaginary)) => ExpressionKind::Complex(real, imaginary),
                Some(Number::Float(value)) => ExpressionKind::Float(value),
                None => return Err(ParseError::new(offset, format!("illegal number syntax: {text:?}"))),
            },
            TokenKind::CharConstant => {
                let bytes = self.unquote(&token)?;
                let letters = String::from_utf8_lossy(&bytes).into_owned();
                let mut letters = letters.chars();
                match (letters.next(), letters.next()) {
                    (Some(letter), None) => ExpressionKind::Int(i64::from(u32::from(letter))),
                    _ => {
                        return Err(ParseError::new(offset, format!("malformed character constant: {text}")));
                    }
                }
            }
            TokenKind::Str | TokenKind::RawStr => ExpressionKind::Str(self.unquote(&token)?.into()),
            TokenKind::OpenParen => {
                let pipe = self.deeper(offset, |parser| {
                    parser.pipeline("parenthesized pipeline", TokenKind::CloseParen)
                })?;
                let end = self.tokens[self.at - 1].span.end;
                let context = self.source.text.get(offset..end).unwrap_or_default().into();
                return Ok(Some(Expression { offset, context, kind: ExpressionKind::Pipe(pipe) }));
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Expression { offset, context: text.into(), kind }))
    }

    fn unquote(&self, token: &Token) -> Parse<Vec<u8>> {
        let text = self.text(token);
        let inner = &text[1..text.len() - 1];
        if token.kind == TokenKind::RawStr {
            return Ok(inner.replace('\r', "").into_bytes());
        }
        super::quote::unquote(inner).ok_or_else(|| ParseError::new(token.span.start, "invalid syntax"))
    }
}

/// A call of a template as Go shows it.
fn called(name: &str, pipe: Option<&Pipe>) -> Box<str> {
    let commands = pipe.map(|pipe| {
        let shown: Vec<&str> = pipe.commands.iter().map(|command| command.context.as_ref()).collect();
        format!(" {}", shown.join(" | "))
    });
    format!("{{{{template {name:?}{}}}}}", commands.unwrap_or_default()).into()
}
