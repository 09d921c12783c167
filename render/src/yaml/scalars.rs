//! Texts of a document: plain, quoted, literal and folded.

use std::borrow::Cow;

use super::read::YamlError;
use super::scan::{Kind, Scanner};

/// Line breaks that wait for what comes behind them.
#[derive(Default)]
struct Folding {
    leading: String,
    trailing: String,
    /// Blanks before the first line break.
    blanks: String,
    /// Whether a line break was passed.
    broken: bool,
}

impl Folding {
    /// Writes what was held back: one line break becomes a space, more of them lose the first.
    fn write(&mut self, text: &mut String) {
        if self.broken {
            if !self.leading.starts_with('\n') {
                text.push_str(&self.leading);
                text.push_str(&self.trailing);
            } else if self.trailing.is_empty() {
                text.push(' ');
            } else {
                text.push_str(&self.trailing);
            }
            self.leading.clear();
            self.trailing.clear();
        } else {
            text.push_str(&self.blanks);
            self.blanks.clear();
        }
    }

    fn line(&mut self, scanner: &mut Scanner<'_>) {
        if self.broken {
            scanner.read_line(&mut self.trailing);
        } else {
            self.blanks.clear();
            scanner.read_line(&mut self.leading);
            self.broken = true;
        }
    }
}

impl<'t> Scanner<'t> {
    pub(super) fn plain(&mut self) -> Result<(), YamlError> {
        let start = self.mark;
        let begin = self.position;
        let mut text = String::new();
        let mut end = begin;
        let mut lines = false;
        let mut folding = Folding::default();
        let indent = self.indent + 1;
        loop {
            if self.mark.column == 0 && (self.is_indicator(b'-') || self.is_indicator(b'.')) {
                break;
            }
            if self.byte(0) == b'#' {
                break;
            }
            let word = self.position;
            self.pass_plain();
            if self.position > word {
                if folding.broken && !lines {
                    // From here on the text is not what stands there.
                    text.push_str(self.text.get(begin..end).unwrap_or_default());
                    lines = true;
                }
                if lines {
                    folding.write(&mut text);
                    text.push_str(self.text.get(word..self.position).unwrap_or_default());
                }
                folding.broken = false;
                folding.blanks.clear();
                end = self.position;
            }
            if !self.is_blank() && !self.is_break(0) {
                break;
            }
            self.plain_space(&mut folding, indent)?;
            if self.flow == 0 && self.column() < indent {
                break;
            }
        }
        let whole = self.text.get(begin..end).unwrap_or_default();
        self.emit(Kind::Scalar(if lines { Cow::Owned(text) } else { Cow::Borrowed(whole) }, true), start);
        if folding.broken {
            self.key_allowed = true;
        }
        Ok(())
    }

    /// Passes what stands here without a blank in it.
    fn pass_plain(&mut self) {
        let flow = self.flow > 0;
        loop {
            self.pass_run(|byte| match byte {
                0 | b' ' | b'\t' | b'\r' | b'\n' | b':' => false,
                b',' | b'?' | b'[' | b']' | b'{' | b'}' => !flow,
                _ => true,
            });
            if self.ends_plain() {
                return;
            }
            self.skip();
        }
    }

    fn ends_plain(&self) -> bool {
        self.is_blank_or_end(0)
            || (self.byte(0) == b':' && self.is_blank_or_end(1))
            || (self.flow > 0 && b",?[]{}".contains(&self.byte(0)))
    }

    fn plain_space(&mut self, folding: &mut Folding, indent: isize) -> Result<(), YamlError> {
        loop {
            if self.is_blank() {
                if folding.broken && self.column() < indent && self.byte(0) == b'\t' {
                    return Err(self.error("found a tab character that violates indentation"));
                }
                if folding.broken {
                    self.skip();
                } else {
                    self.read(&mut folding.blanks);
                }
            } else if self.is_break(0) {
                folding.line(self);
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn quoted(&mut self, quote: u8) -> Result<(), YamlError> {
        let start = self.mark;
        self.skip();
        let mut text = String::new();
        let mut folding = Folding::default();
        loop {
            if self.mark.column == 0 && (self.is_indicator(b'-') || self.is_indicator(b'.')) {
                return Err(self.error("found unexpected document indicator"));
            }
            if self.byte(0) == 0 {
                return Err(self.error("found unexpected end of stream"));
            }
            folding.broken = false;
            while !self.is_blank_or_end(0) {
                let begin = self.position;
                match self.byte(0) {
                    b'\'' if quote == b'\'' && self.byte(1) == b'\'' => {
                        text.push('\'');
                        self.skip();
                        self.skip();
                    }
                    byte if byte == quote => break,
                    b'\\' if quote == b'"' && self.is_break(1) => {
                        self.skip();
                        self.skip_line();
                        folding.broken = true;
                        break;
                    }
                    b'\\' if quote == b'"' => self.escape(&mut text)?,
                    _ => {
                        // A quote of the other kind, or a letter that is not ASCII.
                        self.skip();
                        self.pass_run(|byte| {
                            !matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n' | b'\'' | b'"' | b'\\')
                        });
                        text.push_str(self.text.get(begin..self.position).unwrap_or_default());
                    }
                }
            }
            if self.byte(0) == quote {
                break;
            }
            while self.is_blank() || self.is_break(0) {
                if self.is_break(0) {
                    folding.line(self);
                } else if folding.broken {
                    self.skip();
                } else {
                    self.read(&mut folding.blanks);
                }
            }
            folding.write(&mut text);
        }
        self.skip();
        self.emit(Kind::Scalar(Cow::Owned(text), false), start);
        Ok(())
    }

    fn escape(&mut self, text: &mut String) -> Result<(), YamlError> {
        let digits = match self.byte(1) {
            b'x' => 2,
            b'u' => 4,
            b'U' => 8,
            letter => {
                text.push(match letter {
                    b'0' => '\0',
                    b'a' => '\x07',
                    b'b' => '\x08',
                    b't' | b'\t' => '\t',
                    b'n' => '\n',
                    b'v' => '\x0B',
                    b'f' => '\x0C',
                    b'r' => '\r',
                    b'e' => '\x1B',
                    b' ' => ' ',
                    b'"' => '"',
                    b'\'' => '\'',
                    b'\\' => '\\',
                    b'N' => '\u{85}',
                    b'_' => '\u{A0}',
                    b'L' => '\u{2028}',
                    b'P' => '\u{2029}',
                    _ => return Err(self.error("found unknown escape character")),
                });
                self.skip();
                self.skip();
                return Ok(());
            }
        };
        self.skip();
        self.skip();
        let hex = self.text.get(self.position..self.position + digits).unwrap_or_default();
        if hex.is_empty() || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.error("did not find expected hexdecimal number"));
        }
        let letter = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
        text.push(letter.ok_or_else(|| self.error("found invalid Unicode character escape code"))?);
        (0..digits).for_each(|_| self.skip());
        Ok(())
    }

    pub(super) fn block_scalar(&mut self, literal: bool) -> Result<(), YamlError> {
        let start = self.mark;
        self.skip();
        let (chomping, increment) = self.block_header()?;
        self.rest_of_line()?;
        let mut indent = if increment > 0 { self.indent.max(0) + increment } else { 0 };
        let (mut text, mut leading, mut trailing) = (String::new(), String::new(), String::new());
        self.block_breaks(&mut indent, &mut trailing)?;
        let mut leading_blank = false;
        while self.column() == indent && self.byte(0) != 0 {
            let blank = self.is_blank();
            if !literal && !leading_blank && !blank && leading.starts_with('\n') {
                if trailing.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(&leading);
            }
            leading.clear();
            text.push_str(&trailing);
            trailing.clear();
            leading_blank = blank;
            self.read_to_break(&mut text);
            self.read_line(&mut leading);
            self.block_breaks(&mut indent, &mut trailing)?;
        }
        if chomping != b'-' {
            text.push_str(&leading);
        }
        if chomping == b'+' {
            text.push_str(&trailing);
        }
        self.emit(Kind::Scalar(Cow::Owned(text), false), start);
        Ok(())
    }

    /// What stands behind `|` or `>`: a sign and a number, in any order.
    fn block_header(&mut self) -> Result<(u8, isize), YamlError> {
        let (mut chomping, mut increment) = (0, 0);
        for _ in 0..2 {
            match self.byte(0) {
                sign @ (b'+' | b'-') if chomping == 0 => {
                    chomping = sign;
                    self.skip();
                }
                digit @ b'0'..=b'9' if increment == 0 => {
                    if digit == b'0' {
                        return Err(self.error("found an indentation indicator equal to 0"));
                    }
                    increment = isize::from(digit - b'0');
                    self.skip();
                }
                _ => {}
            }
        }
        Ok((chomping, increment))
    }

    /// Passes the indentation and empty lines; finds the indentation where none is known.
    fn block_breaks(&mut self, indent: &mut isize, breaks: &mut String) -> Result<(), YamlError> {
        let mut deepest = 0;
        loop {
            let inside = |scanner: &Self| *indent == 0 || scanner.column() < *indent;
            while inside(self) && self.byte(0) == b' ' {
                self.skip();
            }
            deepest = deepest.max(self.column());
            if inside(self) && self.byte(0) == b'\t' {
                return Err(self.error("found a tab character where an indentation space is expected"));
            }
            if !self.is_break(0) {
                break;
            }
            self.read_line(breaks);
        }
        if *indent == 0 {
            *indent = deepest.max(self.indent + 1).max(1);
        }
        Ok(())
    }
}
