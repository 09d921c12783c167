//! Splits a template into text and the tokens of its actions, as Go's text/template does: trimming, comments, and
//! space as a token of its own (`.a .b` are two operands, `.a.b` is one).

use std::ops::Range;

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseError {
    pub offset: usize,
    pub message: String,
    pub function: Option<String>,
    /// Where the action begins inside which the text cannot be told apart.
    pub action: Option<usize>,
}

impl ParseError {
    pub(crate) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), function: None, action: None }
    }

    /// The message, with the line on which the action begins where that is another one.
    pub(crate) fn told(&self, source: &super::ast::Source) -> String {
        let line = |offset| source.line_column(offset).0;
        match self.action.map(line).filter(|begun| *begun != line(self.offset)) {
            Some(begun) if self.message.ends_with(" action") => {
                format!("{} started at {}:{begun}", self.message, source.name)
            }
            Some(begun) => format!("{} in action started at {}:{begun}", self.message, source.name),
            None => self.message.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Text,
    Right,
    Space,
    Assign,
    Declare,
    Pipe,
    Comma,
    Char,
    OpenParen,
    CloseParen,
    Dot,
    Field,
    Variable,
    Identifier,
    Keyword,
    Bool,
    Nil,
    Number,
    CharConstant,
    Str,
    RawStr,
    End,
}

/// A token and where its text stands.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub kind: TokenKind,
    pub span: Range<usize>,
}

const SPACE: &[u8] = b" \t\r\n";

fn is_space(byte: u8) -> bool {
    SPACE.contains(&byte)
}

/// All tokens of a template; actions run from the first token after a `Text` (or the start) to `Right`. Where one is
/// malformed, the tokens before it: what is wrong with those comes first.
pub(crate) fn tokens(text: &str) -> (Vec<Token>, Option<ParseError>) {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, out: Vec::new() };
    let problem = lexer.run().err();
    if problem.is_some() {
        lexer.out.push(Token { kind: TokenKind::End, span: text.len()..text.len() });
    }
    (lexer.out, problem)
}

/// What stands behind the zero of a number of another base, and its digits.
const BASES: [(&[u8], &[u8]); 3] =
    [(b"xX", b"0123456789abcdefABCDEF_"), (b"oO", b"01234567_"), (b"bB", b"01_")];

struct Lexer<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    out: Vec<Token>,
}

impl Lexer<'_> {
    fn run(&mut self) -> Result<(), ParseError> {
        loop {
            let start = self.at;
            let Some(found) = self.text[start..].find("{{") else {
                self.push_text(start, self.bytes.len());
                let end = self.bytes.len();
                self.out.push(Token { kind: TokenKind::End, span: end..end });
                return Ok(());
            };
            let open = start + found;
            self.at = open + 2;
            let trims =
                self.peek() == Some(b'-') && self.bytes.get(self.at + 1).copied().is_some_and(is_space);
            let mut text_end = open;
            if trims {
                self.at += 2;
                while text_end > start && is_space(self.bytes[text_end - 1]) {
                    text_end -= 1;
                }
            }
            self.push_text(start, text_end);
            if self.text[self.at..].starts_with("/*") {
                self.comment(open)?;
            } else {
                self.action().map_err(|error| ParseError { action: Some(open), ..error })?;
            }
        }
    }

    fn push_text(&mut self, start: usize, end: usize) {
        if end > start {
            self.out.push(Token { kind: TokenKind::Text, span: start..end });
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Length of a closing delimiter here, and whether it trims what follows.
    fn closing(&self) -> Option<(usize, bool)> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(b"}}") {
            return Some((2, false));
        }
        let trims = rest.first().copied().is_some_and(is_space) && rest[1..].starts_with(b"-}}");
        trims.then_some((4, true))
    }

    fn close(&mut self, length: usize, trims: bool) {
        self.at += length;
        if trims {
            while self.peek().is_some_and(is_space) {
                self.at += 1;
            }
        }
    }

    fn comment(&mut self, open: usize) -> Result<(), ParseError> {
        let Some(end) = self.text[self.at..].find("*/") else {
            return Err(ParseError::new(open, "unclosed comment"));
        };
        self.at += end + 2;
        let Some((length, trims)) = self.closing() else {
            return Err(ParseError::new(self.at, "comment ends before closing delimiter"));
        };
        self.close(length, trims);
        Ok(())
    }

    fn action(&mut self) -> Result<(), ParseError> {
        let mut parens = 0_usize;
        loop {
            if let Some((length, trims)) = self.closing() {
                if parens > 0 {
                    return Err(ParseError::new(self.at, "unclosed left paren"));
                }
                self.out.push(Token { kind: TokenKind::Right, span: self.at..self.at + length });
                self.close(length, trims);
                return Ok(());
            }
            let start = self.at;
            let Some(byte) = self.peek() else {
                return Err(ParseError::new(start, "unclosed action"));
            };
            self.at += 1;
            let kind = match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    while self.peek().is_some_and(is_space) && self.closing().is_none() {
                        self.at += 1;
                    }
                    TokenKind::Space
                }
                b'=' => TokenKind::Assign,
                b':' if self.peek() == Some(b'=') => {
                    self.at += 1;
                    TokenKind::Declare
                }
                b':' => return Err(ParseError::new(start, "expected :=")),
                b'|' => TokenKind::Pipe,
                b',' => TokenKind::Comma,
                b'(' => {
                    parens += 1;
                    TokenKind::OpenParen
                }
                b')' => {
                    if parens == 0 {
                        return Err(ParseError::new(start, "unexpected right paren"));
                    }
                    parens -= 1;
                    TokenKind::CloseParen
                }
                b'"' => self.quoted(start, b'"', "unterminated quoted string", TokenKind::Str)?,
                b'\'' => {
                    self.quoted(start, b'\'', "unterminated character constant", TokenKind::CharConstant)?
                }
                b'`' => {
                    let Some(end) = self.text[self.at..].find('`') else {
                        return Err(ParseError::new(start, "unterminated raw quoted string"));
                    };
                    self.at += end + 1;
                    TokenKind::RawStr
                }
                b'$' => self.word(start, TokenKind::Variable)?,
                b'.' if !self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                    let kind = self.word(start, TokenKind::Field)?;
                    if self.at == start + 1 { TokenKind::Dot } else { kind }
                }
                b'.' | b'+' | b'-' | b'0'..=b'9' => self.number(start)?,
                _ => self.other(start)?,
            };
            self.out.push(Token { kind, span: start..self.at });
        }
    }

    fn quoted(
        &mut self,
        start: usize,
        quote: u8,
        problem: &str,
        kind: TokenKind,
    ) -> Result<TokenKind, ParseError> {
        loop {
            match self.peek() {
                Some(b'\\') if self.bytes.get(self.at + 1).is_some_and(|next| *next != b'\n') => self.at += 2,
                Some(byte) if byte == quote => {
                    self.at += 1;
                    return Ok(kind);
                }
                Some(byte) if byte != b'\n' && byte != b'\\' => self.at += 1,
                Some(_) | None => return Err(ParseError::new(start, problem)),
            }
        }
    }

    fn next_char(&self) -> Option<char> {
        self.text.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b'.' | b',' | b'|' | b':' | b')' | b'(') => true,
            Some(_) => self.text.get(self.at..).is_some_and(|rest| rest.starts_with("}}")),
        }
    }

    fn word(&mut self, start: usize, kind: TokenKind) -> Result<TokenKind, ParseError> {
        while let Some(letter) = self.next_char().filter(|letter| letter.is_alphanumeric() || *letter == '_')
        {
            self.at += letter.len_utf8();
        }
        // `$x=1` and `$x:=1` are read like `$x = 1`.
        let assigns = kind == TokenKind::Variable && self.peek() == Some(b'=');
        if self.at_terminator() || assigns || (self.at == start + 1 && kind == TokenKind::Field) {
            return Ok(kind);
        }
        let letter = self.next_char().unwrap_or_default();
        Err(ParseError::new(self.at, format!("bad character U+{:04X} '{letter}'", u32::from(letter))))
    }

    /// A number, or two of which the second one is imaginary (`1+2i`).
    fn number(&mut self, start: usize) -> Result<TokenKind, ParseError> {
        self.at = start;
        self.one_number(start)?;
        if !matches!(self.peek(), Some(b'+' | b'-')) {
            return Ok(TokenKind::Number);
        }
        self.one_number(start)?;
        if self.bytes[self.at - 1] != b'i' {
            let text = &self.text[start..self.at];
            return Err(ParseError::new(start, format!("bad number syntax: {text:?}")));
        }
        Ok(TokenKind::Number)
    }

    fn one_number(&mut self, start: usize) -> Result<(), ParseError> {
        self.accept(b"+-");
        let mut digits: &[u8] = b"0123456789_";
        if self.accept(b"0") {
            for (letters, of_base) in BASES {
                if self.accept(letters) {
                    digits = of_base;
                    break;
                }
            }
        }
        self.accept_all(digits);
        if self.accept(b".") {
            self.accept_all(digits);
        }
        let exponents: &[u8] = match digits.len() {
            11 => b"eE",
            23 => b"pP",
            _ => b"",
        };
        if self.accept(exponents) {
            self.accept(b"+-");
            self.accept_all(b"0123456789_");
        }
        self.accept(b"i");
        match self.text[self.at..].chars().next() {
            Some(letter) if letter == '_' || letter.is_alphanumeric() => {
                let text = &self.text[start..self.at + letter.len_utf8()];
                Err(ParseError::new(start, format!("bad number syntax: {text:?}")))
            }
            _ => Ok(()),
        }
    }

    fn accept(&mut self, bytes: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| bytes.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn accept_all(&mut self, bytes: &[u8]) {
        while self.accept(bytes) {}
    }

    fn other(&mut self, start: usize) -> Result<TokenKind, ParseError> {
        self.at = start;
        let letter = self.next_char().unwrap_or_default();
        self.at += letter.len_utf8();
        if !(letter.is_alphabetic() || letter == '_') {
            if letter.is_ascii_graphic() {
                return Ok(TokenKind::Char);
            }
            let text = format!("unrecognized character in action: U+{:04X}", u32::from(letter));
            return Err(ParseError::new(start, text));
        }
        let kind = self.word(start, TokenKind::Identifier)?;
        Ok(match &self.text[start..self.at] {
            "block" | "break" | "continue" | "define" | "else" | "end" | "if" | "range" | "template"
            | "with" => TokenKind::Keyword,
            "nil" => TokenKind::Nil,
            "true" | "false" => TokenKind::Bool,
            _ => kind,
        })
    }
}
