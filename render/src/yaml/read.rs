//! Reads YAML into JSON values: the first document of a text, with anchors, merge keys and bounds.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Number, Value};

use super::resolve::{Scalar, resolve};
use crate::limits::Limits;
use crate::template::json::from_json;
use crate::template::print::{display, shortest};
use crate::template::stack;

/// Why a text is not acceptable YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// Line, counted from 1, where known.
    pub line: Option<usize>,
    pub message: String,
}

impl std::fmt::Display for YamlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            // sigs.k8s.io/yaml says this, not the reader below it.
            _ if ["unsupported map key", "json: "].iter().any(|words| self.message.starts_with(words)) => {
                f.write_str(&self.message)
            }
            Some(line) => write!(f, "yaml: line {line}: {}", self.message),
            None => write!(f, "yaml: {}", self.message),
        }
    }
}

/// The first document of `text`; nothing at all is `null`.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<Value, YamlError> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let bad = |letter: char| match letter {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        _ => letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}'),
    };
    if text.contains(bad) {
        return Err(YamlError { line: None, message: "control characters are not allowed".to_owned() });
    }
    let mut text = std::borrow::Cow::Borrowed(text);
    for _ in 0..QUOTED_LINES {
        match document(&text, limits) {
            Err(YamlError { line: Some(line), message }) if message.contains(SHALLOW_QUOTE) => {
                text = indented(&text, line).into();
            }
            other => return other,
        }
    }
    document(&text, limits)
}

/// Continuation lines of quoted texts may stand anywhere in YAML 1.1; the parser wants them indented. Indenting one
/// does not change its meaning, so the lines it complains about are indented, at most this many.
const QUOTED_LINES: usize = 500;

/// The parser's complaint about such a line.
const SHALLOW_QUOTE: &str = "invalid indentation in multiline quoted scalar";

/// The text with one line moved to the right.
fn indented(text: &str, line: usize) -> String {
    let mut out = String::with_capacity(text.len() + 128);
    for (at, content) in text.split_inclusive('\n').enumerate() {
        if at + 1 == line {
            out.push_str(&" ".repeat(128));
        }
        out.push_str(content);
    }
    out
}

fn document(text: &str, limits: &Limits) -> Result<Value, YamlError> {
    let mut options = Options::default();
    options.emit_comments = false;
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, options),
        text,
        anchors: HashMap::new(),
        nodes: 0,
        nodes_maximum: limits.yaml_nodes,
        depth: limits.nesting_depth,
        flow: 0,
        open_end: text
            .rsplit('\n')
            .next()
            .is_some_and(|line| !line.trim().is_empty())
            .then(|| text.chars().count()),
    };
    loop {
        match reader.next()? {
            Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
            Some((Event::StreamEnd, _)) | None => return Ok(Value::Null),
            Some((event, span)) => {
                let node = reader.node(event, &span)?;
                // What follows must be the end of the document, not a rest that makes no sense.
                reader.next()?;
                return Ok(node.value);
            }
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, (Value, usize)>,
    nodes: usize,
    nodes_maximum: usize,
    depth: usize,
    /// How many collections with brackets or braces are open.
    flow: usize,
    /// Length of the text in characters, when its last line has no line break.
    open_end: Option<usize>,
}

/// A node: its value, and for a scalar the form it takes as a key.
struct Node {
    value: Value,
    merge: bool,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, YamlError> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Err(error)) => return Err(scan_error(&error)),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(found)) => return Ok(Some(found)),
            }
        }
    }

    fn required(&mut self) -> Result<(Event<'t>, Span), YamlError> {
        self.next()?.ok_or_else(|| YamlError { line: None, message: "unexpected end of the text".to_owned() })
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.nodes_maximum {
            let message =
                format!("document contains excessive aliasing or more than {} nodes", self.nodes_maximum);
            return Err(error_at(span, message));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Node, YamlError> {
        self.count(1, span)?;
        if self.flow == 0 && self.follows_tab(span) {
            return Err(error_at(span, "found character that cannot start any token".to_owned()));
        }
        let before = self.nodes;
        let (anchor, node) = match event {
            Event::Alias(id) => {
                let Some((value, size)) = self.anchors.get(&id).cloned() else {
                    return Err(error_at(span, "unknown anchor referenced".to_owned()));
                };
                self.count(size, span)?;
                return Ok(Node { value, merge: false });
            }
            Event::Scalar(text, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                // A block that ends with the text, not with a line break, has none at its end either.
                let open = block && self.open_end.is_some_and(|end| span.end.index() >= end);
                if style == ScalarStyle::DoubleQuoted {
                    self.check_escapes(span)?;
                }
                let text = if open { text.strip_suffix('\n').unwrap_or(&text) } else { &text };
                (anchor, scalar(text, style, tag.as_deref(), span)?)
            }
            Event::SequenceStart(_, anchor, _) => {
                (anchor, Node { value: self.deeper(span, Self::sequence)?, merge: false })
            }
            Event::MappingStart(_, anchor, _) => {
                (anchor, Node { value: self.deeper(span, Self::mapping)?, merge: false })
            }
            _ => return Err(error_at(span, "did not find expected node content".to_owned())),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.value.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    fn after<'s>(&'s self, span: &Span) -> &'s str {
        span.start.byte_offset().and_then(|at| self.text.get(at..)).unwrap_or_default()
    }

    /// Whether a collection is written with brackets or braces.
    fn is_flow(&self, span: &Span) -> bool {
        let mut rest = self.after(span);
        while rest.starts_with(['&', '!']) {
            rest = rest.find(char::is_whitespace).map_or("", |end| rest[end..].trim_start());
        }
        rest.starts_with(['[', '{'])
    }

    /// Whether a tab stands before a node at the beginning of a line or behind a dash: YAML 1.1 refuses that, YAML 1.2
    /// does not.
    fn follows_tab(&self, span: &Span) -> bool {
        let rest = self.after(span);
        if rest.is_empty() || rest.starts_with(['\n', '\r', '#']) {
            return false;
        }
        let before = &self.text[..self.text.len() - rest.len()];
        let line = &before[before.rfind('\n').map_or(0, |end| end + 1)..];
        let lead = line.trim_end_matches([' ', '\t']);
        line[lead.len()..].contains('\t') && (lead.is_empty() || lead.trim_start() == "-")
    }

    /// YAML 1.1 does not know `\/`, which YAML 1.2 took from JSON.
    fn check_escapes(&self, span: &Span) -> Result<(), YamlError> {
        let range = span.start.byte_offset().zip(span.end.byte_offset());
        let raw = range.and_then(|(start, end)| self.text.get(start..end)).unwrap_or_default();
        let mut letters = raw.chars();
        while let Some(letter) = letters.next() {
            if letter == '\\' && letters.next() == Some('/') {
                return Err(error_at(span, "found unknown escape character".to_owned()));
            }
        }
        Ok(())
    }

    fn deeper(
        &mut self,
        span: &Span,
        inner: fn(&mut Self) -> Result<Value, YamlError>,
    ) -> Result<Value, YamlError> {
        if self.depth == 0 {
            return Err(error_at(span, "exceeded max depth".to_owned()));
        }
        self.depth -= 1;
        let flow = usize::from(self.is_flow(span));
        self.flow += flow;
        let value = stack::grow(|| inner(self));
        self.flow -= flow;
        self.depth += 1;
        value
    }

    fn sequence(&mut self) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.required()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            items.push(self.node(event, &span)?.value);
        }
    }

    fn mapping(&mut self) -> Result<Value, YamlError> {
        let mut entries = Map::new();
        loop {
            let (event, span) = self.required()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Object(entries));
            }
            let key = self.node(event, &span)?;
            let (event, value_span) = self.required()?;
            let value = self.node(event, &value_span)?.value;
            if key.merge {
                merge(&mut entries, value, &span)?;
            } else {
                entries.insert(key_text(key.value, &value, &span)?, value);
            }
        }
    }
}

/// Applies `<<`: later sources of a list give way to earlier ones.
fn merge(entries: &mut Map<String, Value>, value: Value, span: &Span) -> Result<(), YamlError> {
    let wrong = || error_at(span, "map merge requires map or sequence of maps as the value".to_owned());
    match value {
        Value::Object(source) => entries.extend(source),
        Value::Array(sources) => {
            for source in sources.into_iter().rev() {
                let Value::Object(source) = source else {
                    return Err(wrong());
                };
                entries.extend(source);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(wrong()),
    }
    Ok(())
}

fn key_text(key: Value, value: &Value, span: &Span) -> Result<String, YamlError> {
    match key {
        Value::String(text) => Ok(text),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => value.to_string(),
            (None, Some(value)) => value.to_string(),
            (None, None) => shortest(number.as_f64().unwrap_or_default(), 'g'),
        }),
        Value::Null => {
            let shown = String::from_utf8_lossy(&display(&from_json(value))).into_owned();
            let message = format!("unsupported map key of type: %!s(<nil>), key: <nil>, value: {shown}");
            Err(error_at(span, message))
        }
        Value::Array(_) => Err(error_at(span, "invalid map key: a sequence".to_owned())),
        Value::Object(_) => Err(error_at(span, "invalid map key: a mapping".to_owned())),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Node, YamlError> {
    let string = || Ok(Node { value: Value::String(text.to_owned()), merge: false });
    let core = tag.and_then(Tag::core_suffix);
    let plain = style == ScalarStyle::Plain;
    match (tag, core) {
        (Some(_), Some("str")) => return string(),
        (Some(tag), _) if tag.suffix_in_namespace("tag:yaml.org,2002:").as_deref() == Some("binary") => {
            let clean: String = text.split_whitespace().collect();
            let data = crate::template::funcs::encoding::base64_decode(clean.as_bytes())
                .map_err(|_| error_at(span, "!!binary value contains invalid base64 data".to_owned()))?;
            return Ok(Node {
                value: Value::String(String::from_utf8_lossy(&data).into_owned()),
                merge: false,
            });
        }
        (Some(_), None) => return string(),
        (None, _) if !plain => return string(),
        _ => {}
    }
    let mismatch = |wanted: &str| error_at(span, format!("cannot decode `{text}` as a !!{wanted}"));
    let resolved = resolve(text);
    let value = match (resolved, core) {
        (Scalar::Null, None | Some("null")) => Value::Null,
        (Scalar::Bool(flag), None | Some("bool")) => Value::Bool(flag),
        (Scalar::Int(value), None | Some("int")) => Value::Number(value.into()),
        (Scalar::Unsigned(value), None | Some("int")) => Value::Number(value.into()),
        (Scalar::Int(value), Some("float")) => Value::Number(value.into()),
        (Scalar::Float(value), None | Some("float")) => float(value)
            .ok_or_else(|| error_at(span, format!("json: unsupported value: {}", shortest(value, 'g'))))?,
        (Scalar::Merge, None) => return Ok(Node { value: Value::String(text.to_owned()), merge: true }),
        (Scalar::Text | Scalar::Timestamp, None) => Value::String(text.to_owned()),
        (_, Some(wanted)) => return Err(mismatch(wanted)),
    };
    Ok(Node { value, merge: false })
}

/// A float as JSON carries it: whole numbers lose their fraction.
fn float(value: f64) -> Option<Value> {
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= WHOLE {
        #[allow(clippy::cast_possible_truncation)] // whole and within 2^53
        return Some(Value::Number((value as i64).into()));
    }
    Number::from_f64(value).map(Value::Number)
}

fn scan_error(error: &ScanError) -> YamlError {
    // Go's reader names no line where it is the first.
    let line = Some(error.marker().line()).filter(|line| *line > 1);
    YamlError { line, message: error.info() }
}

fn error_at(span: &Span, message: String) -> YamlError {
    YamlError { line: Some(span.start.line()), message }
}
