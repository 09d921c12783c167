//! Characters into tokens, as the YAML 1.1 reader below `sigs.k8s.io/yaml` does it: the same tokens, and for what is
//! no YAML the same words at the same line.
//!
//! # Why
//! Helm's refusals name a line and a cause, and readers of YAML 1.2 differ from it in what they accept: tabs, shallow
//! quoted lines, colons between brackets, escapes. A reader of our own has one dialect, the one that charts are
//! written for.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::read::YamlError;

/// A place in the text, all counted from 0 in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub index: usize,
    pub line: usize,
    pub column: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind<'t> {
    StreamEnd,
    /// `%YAML` and whether it says 1.1.
    Version(bool),
    /// `%TAG handle prefix`.
    TagDirective(String, String),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    /// Handle and suffix.
    Tag(String, String),
    /// A text, and whether it stands without quotes on a line.
    Scalar(Cow<'t, str>, bool),
}

/// A token and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Token<'t> {
    pub kind: Kind<'t>,
    pub start: Mark,
}

/// A token that a `:` further on may turn into a key.
#[derive(Clone, Copy, Debug, Default)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token: usize,
    mark: Mark,
    /// The reader below Helm loses sight of the key `[]`: once its token is the next one, nothing more is read to see
    /// whether it is a key.
    forgotten: bool,
}

/// Characters between a key and its `:`.
const KEY_LENGTH: usize = 1024;
/// Nesting that the reader below Helm allows.
const DEPTH: usize = 10_000;

/// The scanner.
pub(super) struct Scanner<'t> {
    pub(super) text: &'t str,
    pub(super) position: usize,
    pub(super) mark: Mark,
    pub(super) flow: usize,
    pub(super) indent: isize,
    pub(super) key_allowed: bool,
    indents: Vec<isize>,
    tokens: VecDeque<Token<'t>>,
    /// Tokens handed out.
    taken: usize,
    keys: Vec<SimpleKey>,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            position: 0,
            mark: Mark::default(),
            flow: 0,
            indent: -1,
            key_allowed: true,
            indents: Vec::new(),
            tokens: VecDeque::new(),
            taken: 0,
            keys: vec![SimpleKey::default()],
        }
    }

    /// The next token, which stays.
    pub(super) fn peek(&mut self) -> Result<&Token<'t>, YamlError> {
        while self.needs_more()? {
            self.fetch()?;
        }
        self.tokens
            .front()
            .ok_or(YamlError { line: None, message: "unknown problem parsing YAML content".to_owned() })
    }

    /// Takes the token that `peek` showed.
    pub(super) fn take(&mut self) -> Option<Token<'t>> {
        // The end of the text stays: nothing comes behind it.
        if self.tokens.front().is_some_and(|token| token.kind == Kind::StreamEnd) {
            return self.tokens.front().cloned();
        }
        self.taken += 1;
        self.tokens.pop_front()
    }

    /// Whether the first token is missing, or may still turn out to be a key.
    fn needs_more(&mut self) -> Result<bool, YamlError> {
        if self.tokens.is_empty() {
            return Ok(true);
        }
        let head = self.taken;
        match self.keys.iter().rposition(|key| key.possible && !key.forgotten && key.token == head) {
            Some(at) => self.is_valid(at),
            None => Ok(false),
        }
    }

    /// Whether a key may still end here; one that must and cannot is an error.
    fn is_valid(&mut self, at: usize) -> Result<bool, YamlError> {
        let Some(key) = self.keys.get(at).copied().filter(|key| key.possible) else {
            return Ok(false);
        };
        if key.mark.line < self.mark.line || key.mark.index + KEY_LENGTH < self.mark.index {
            if key.required {
                return Err(self.error("could not find expected ':'"));
            }
            self.keys[at].possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn save_key(&mut self) -> Result<(), YamlError> {
        if !self.key_allowed {
            return Ok(());
        }
        let required = self.flow == 0 && self.indent == self.column();
        self.remove_key()?;
        let token = self.taken + self.tokens.len();
        let key = SimpleKey { possible: true, required, forgotten: false, token, mark: self.mark };
        if let Some(last) = self.keys.last_mut() {
            *last = key;
        }
        Ok(())
    }

    fn remove_key(&mut self) -> Result<(), YamlError> {
        let Some(key) = self.keys.last_mut().filter(|key| key.possible) else {
            return Ok(());
        };
        key.possible = false;
        if key.required { Err(self.error("could not find expected ':'")) } else { Ok(()) }
    }

    pub(super) fn column(&self) -> isize {
        isize::try_from(self.mark.column).unwrap_or(isize::MAX)
    }

    fn push(&mut self, kind: Kind<'t>, start: Mark) {
        self.tokens.push_back(Token { kind, start });
    }

    /// Puts a token before token number `before`, or at the end where that one is taken.
    fn insert(&mut self, before: Option<usize>, kind: Kind<'t>, start: Mark) {
        let at = before.and_then(|number| number.checked_sub(self.taken));
        self.tokens.insert(at.unwrap_or(self.tokens.len()), Token { kind, start });
    }

    /// Opens a block collection when the column says so; its token goes before token number `before`.
    fn roll(
        &mut self,
        column: isize,
        before: Option<usize>,
        kind: Kind<'t>,
        mark: Mark,
    ) -> Result<(), YamlError> {
        if self.flow > 0 || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > DEPTH {
            return Err(self.error(&format!("exceeded max depth of {DEPTH}")));
        }
        self.insert(before, kind, mark);
        Ok(())
    }

    fn unroll(&mut self, column: isize) {
        while self.flow == 0 && self.indent > column {
            self.push(Kind::BlockEnd, self.mark);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    /// Reads one token, or several that begin at once.
    fn fetch(&mut self) -> Result<(), YamlError> {
        self.pass_space();
        self.unroll(self.column());
        let (first, second) = (self.byte(0), self.byte(1));
        let followed = self.is_blank_or_end(1);
        if first == 0 {
            return self.stream_end();
        }
        if self.mark.column == 0 {
            match first {
                b'%' => return self.directive(),
                b'-' if self.is_indicator(b'-') => return self.document(Kind::DocumentStart),
                b'.' if self.is_indicator(b'.') => return self.document(Kind::DocumentEnd),
                _ => {}
            }
        }
        match first {
            b'[' => self.open(Kind::FlowSequenceStart),
            b'{' => self.open(Kind::FlowMappingStart),
            b']' => self.close(Kind::FlowSequenceEnd),
            b'}' => self.close(Kind::FlowMappingEnd),
            b',' => {
                self.remove_key()?;
                self.key_allowed = true;
                self.indicator(Kind::FlowEntry);
                Ok(())
            }
            b'-' if followed => self.block_entry(),
            b'?' if self.flow > 0 || followed => self.key(),
            b':' if self.flow > 0 || followed => self.value(),
            b'*' | b'&' | b'!' => {
                self.save_key()?;
                self.key_allowed = false;
                if first == b'!' { self.tag() } else { self.anchor(first == b'*') }
            }
            b'|' | b'>' if self.flow == 0 => {
                self.remove_key()?;
                self.key_allowed = true;
                self.block_scalar(first == b'|')
            }
            b'\'' | b'"' => {
                self.save_key()?;
                self.key_allowed = false;
                self.quoted(first)
            }
            _ => {
                let special = b"-?:,[]{}#&*!|>'\"%@`".contains(&first) || self.is_blank_or_end(0);
                let dash = first == b'-' && !matches!(second, b' ' | b'\t');
                let loose = self.flow == 0 && matches!(first, b'?' | b':') && !followed;
                if special && !dash && !loose {
                    return Err(self.error("found character that cannot start any token"));
                }
                self.save_key()?;
                self.key_allowed = false;
                self.plain()
            }
        }
    }

    /// Whether a line that is only `---` or `...` stands here.
    pub(super) fn is_indicator(&self, letter: u8) -> bool {
        self.byte(0) == letter && self.byte(1) == letter && self.byte(2) == letter && self.is_blank_or_end(3)
    }

    /// Passes white space, comments and line breaks.
    fn pass_space(&mut self) {
        loop {
            let tabs = self.flow > 0 || !self.key_allowed;
            self.pass_run(|byte| byte == b' ' || (tabs && byte == b'\t'));
            self.comment();
            if !self.is_break(0) {
                return;
            }
            self.skip_line();
            if self.flow == 0 {
                self.key_allowed = true;
            }
        }
    }

    fn stream_end(&mut self) -> Result<(), YamlError> {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
        self.unroll(-1);
        self.remove_key()?;
        self.key_allowed = false;
        self.push(Kind::StreamEnd, self.mark);
        Ok(())
    }

    fn directive(&mut self) -> Result<(), YamlError> {
        self.unroll(-1);
        self.remove_key()?;
        self.key_allowed = false;
        self.scan_directive()
    }

    fn document(&mut self, kind: Kind<'t>) -> Result<(), YamlError> {
        self.unroll(-1);
        self.remove_key()?;
        self.key_allowed = false;
        let start = self.mark;
        (0..3).for_each(|_| self.skip());
        self.push(kind, start);
        Ok(())
    }

    /// A token of one character.
    fn indicator(&mut self, kind: Kind<'t>) {
        let start = self.mark;
        self.skip();
        self.push(kind, start);
    }

    fn open(&mut self, kind: Kind<'t>) -> Result<(), YamlError> {
        self.save_key()?;
        self.keys.push(SimpleKey { token: self.taken + self.tokens.len(), ..SimpleKey::default() });
        self.flow += 1;
        if self.flow > DEPTH {
            return Err(self.error(&format!("exceeded max depth of {DEPTH}")));
        }
        self.key_allowed = true;
        self.indicator(kind);
        Ok(())
    }

    fn close(&mut self, kind: Kind<'t>) -> Result<(), YamlError> {
        self.remove_key()?;
        if self.flow > 0 {
            self.flow -= 1;
            let inner = self.keys.pop().map(|key| key.token);
            // The bracket itself, if nothing stood inside that could have been a key.
            self.keys.iter_mut().filter(|key| Some(key.token) == inner).for_each(|key| key.forgotten = true);
        }
        self.key_allowed = false;
        self.indicator(kind);
        Ok(())
    }

    fn block_entry(&mut self) -> Result<(), YamlError> {
        if self.flow == 0 {
            if !self.key_allowed {
                return Err(self.error("block sequence entries are not allowed in this context"));
            }
            self.roll(self.column(), None, Kind::BlockSequenceStart, self.mark)?;
        }
        self.remove_key()?;
        self.key_allowed = true;
        self.indicator(Kind::BlockEntry);
        Ok(())
    }

    fn key(&mut self) -> Result<(), YamlError> {
        if self.flow == 0 {
            if !self.key_allowed {
                return Err(self.error("mapping keys are not allowed in this context"));
            }
            self.roll(self.column(), None, Kind::BlockMappingStart, self.mark)?;
        }
        self.remove_key()?;
        self.key_allowed = self.flow == 0;
        self.indicator(Kind::Key);
        Ok(())
    }

    fn value(&mut self) -> Result<(), YamlError> {
        let last = self.keys.len().saturating_sub(1);
        if self.is_valid(last)? {
            let key = self.keys[last];
            self.keys[last].possible = false;
            self.insert(Some(key.token), Kind::Key, key.mark);
            let column = isize::try_from(key.mark.column).unwrap_or(isize::MAX);
            self.roll(column, Some(key.token), Kind::BlockMappingStart, key.mark)?;
            self.key_allowed = false;
        } else {
            if self.flow == 0 {
                if !self.key_allowed {
                    return Err(self.error("mapping values are not allowed in this context"));
                }
                self.roll(self.column(), None, Kind::BlockMappingStart, self.mark)?;
            }
            self.key_allowed = self.flow == 0;
        }
        self.indicator(Kind::Value);
        Ok(())
    }

    pub(super) fn emit(&mut self, kind: Kind<'t>, start: Mark) {
        self.push(kind, start);
    }

    /// An error here. The reader below Helm counts no line where it is the first.
    pub(super) fn error(&self, message: &str) -> YamlError {
        let line = Some(self.mark.line).filter(|line| *line > 0).map(|line| line + 1);
        YamlError { line, message: message.to_owned() }
    }
}
