//! Reads YAML or JSON into trees: documents split as kustomize splits them, aliases copied, merge keys resolved.

use std::collections::HashMap;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, Tag as YamlTag};

use super::node::{Key, Node, Scalar, Tag, resolve_plain};
use crate::limits::Limits;
use crate::template::stack;

/// Why a text is not YAML.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Document, counted from 1.
    pub document: usize,
    pub reason: String,
}

/// The documents of a text that hold something.
pub(crate) fn documents(text: &str, limits: &Limits) -> Result<Vec<Node>, Unreadable> {
    let text = text.replace("\r\n", "\n");
    let parts = split(&text).map_err(|reason| Unreadable { document: 1, reason })?;
    let count = parts.len();
    let mut nodes = Vec::new();
    for (at, part) in parts.into_iter().enumerate() {
        // The line break before a separator belongs to the document.
        let part = if at + 1 == count { part.to_owned() } else { format!("{part}\n") };
        let unreadable = |reason| Unreadable { document: at + 1, reason };
        let Some(node) = document(&part, limits).map_err(unreadable)? else { continue };
        if node.is_null() {
            continue;
        }
        let wraps = matches!(node.get("kind").map(Node::raw), Some("List" | "ResourceList"));
        match node.get("items") {
            Some(items) if wraps && count == 1 => nodes.extend(items.items().iter().cloned()),
            _ => nodes.push(node),
        }
    }
    Ok(nodes)
}

/// Splits at every line that begins with `---`.
fn split(text: &str) -> Result<Vec<&str>, String> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find("\n---")) {
        let at = from + found;
        let Some(end) = text[at + 4..].find('\n').map(|end| at + 4 + end) else { break };
        let after = text[at + 4..end].trim();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(format!("invalid document separator \"{}\"", text[at + 1..end].trim()));
        }
        parts.push(&text[start..at]);
        start = end + 1;
        from = end + 1;
    }
    parts.push(&text[start..]);
    Ok(parts)
}

/// The first document of a text.
pub(crate) fn document(text: &str, limits: &Limits) -> Result<Option<Node>, String> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let bad = |letter: char| (letter < ' ' && !matches!(letter, '\t' | '\n' | '\r')) || letter == '\u{7f}';
    if text.contains(bad) {
        return Err("control characters are not allowed".to_owned());
    }
    let mut options = Options::default();
    options.emit_comments = false;
    let mut reader = Reader {
        text,
        parser: Parser::new_from_str_with_options(text, options),
        anchors: HashMap::new(),
        nodes: 0,
        nodes_maximum: limits.yaml_nodes,
        depth: limits.nesting_depth,
        brackets: 0,
        open_end: text
            .rsplit('\n')
            .next()
            .is_some_and(|line| !line.trim().is_empty())
            .then(|| text.chars().count()),
    };
    loop {
        match reader.next()? {
            Some((Event::StreamStart | Event::DocumentStart(..), _)) => {}
            Some((Event::StreamEnd, _)) | None => return Ok(None),
            Some((event, span)) => {
                let node = reader.node(event, &span)?;
                reader.next()?;
                return Ok(Some(node));
            }
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    nodes_maximum: usize,
    depth: usize,
    /// Nesting of lists and maps between brackets.
    brackets: usize,
    /// Length of the text in characters, when its last line has no line break.
    open_end: Option<usize>,
}

fn at(span: &Span, message: &str) -> String {
    format!("line {}: {message}", span.start.line())
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<(Event<'t>, Span)>, String> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Err(error)) => return Err(format!("line {}: {}", error.marker().line(), error.info())),
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(found)) => return Ok(Some(found)),
            }
        }
    }

    fn required(&mut self) -> Result<(Event<'t>, Span), String> {
        self.next()?.ok_or_else(|| "unexpected end of the text".to_owned())
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), String> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.nodes_maximum {
            return Err(at(span, &format!("more than {} nodes, aliases expanded", self.nodes_maximum)));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Node, String> {
        self.count(1, span)?;
        let before = self.nodes;
        let (anchor, node) = match event {
            Event::Alias(id) => {
                let found = self.anchors.get(&id).cloned();
                let (node, size) = found.ok_or_else(|| at(span, "unknown anchor"))?;
                self.count(size, span)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let open = block && self.open_end.is_some_and(|end| span.end.index() >= end);
                if style == ScalarStyle::DoubleQuoted && has_slash_escape(self.raw(span)) {
                    return Err(at(span, "found unknown escape character: \"\\/\" is not YAML 1.1"));
                }
                let text = if open { text.strip_suffix('\n').unwrap_or(&text) } else { &text };
                // The parser shows a missing value as "~".
                let missing = style == ScalarStyle::Plain && self.raw(span).is_empty();
                let text = if missing { "" } else { text };
                let mut scalar = scalar(text, style, tag.as_deref());
                // Between brackets a missing value is written as two quotes, and so it is a text in the end.
                scalar.quoted |= missing && self.brackets > 0;
                (anchor, Node::Scalar(scalar))
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.nested(span, Self::list)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.nested(span, Self::map)?),
            _ => return Err(at(span, "expected a value")),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before + 1));
        }
        Ok(node)
    }

    /// A list or map; the parser does not say whether it stands between brackets.
    fn nested(&mut self, span: &Span, inner: fn(&mut Self) -> Result<Node, String>) -> Result<Node, String> {
        let start = span.start.byte_offset().and_then(|start| self.text.get(start..));
        let bracket = usize::from(start.is_some_and(|text| text.starts_with(['{', '['])));
        self.brackets += bracket;
        let node = self.deeper(span, inner);
        self.brackets -= bracket;
        node
    }

    fn raw(&self, span: &Span) -> &'t str {
        let range = span.start.byte_offset().zip(span.end.byte_offset());
        range.and_then(|(start, end)| self.text.get(start..end)).unwrap_or_default()
    }

    fn deeper(&mut self, span: &Span, inner: fn(&mut Self) -> Result<Node, String>) -> Result<Node, String> {
        if self.depth == 0 {
            return Err(at(span, "nested too deeply"));
        }
        self.depth -= 1;
        let value = stack::grow(|| inner(self));
        self.depth += 1;
        value
    }

    fn list(&mut self) -> Result<Node, String> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.required()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Node::List(items));
            }
            items.push(self.node(event, &span)?);
        }
    }

    fn map(&mut self) -> Result<Node, String> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged: Option<Vec<(Key, Node)>> = None;
        loop {
            let (event, span) = self.required()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, &span)?;
            let (event, value_span) = self.required()?;
            let value = self.node(event, &value_span)?;
            let Node::Scalar(key) = key else {
                return Err(at(&span, "a key may not be a map or list"));
            };
            if key.text == "<<" && !key.quoted && key.tag == Tag::Text {
                let sources = merge_sources(value).ok_or_else(|| at(&span, "\"<<\" takes maps only"))?;
                merged.get_or_insert_default().extend(sources);
                continue;
            }
            if entries.iter().any(|(known, _)| known.text == key.text) {
                return Err(at(&span, &format!("the key \"{}\" is given twice", key.text)));
            }
            entries.push((Key { foreign: key.tag != Tag::Text, text: key.text }, value));
        }
        if let Some(merged) = merged {
            for (key, value) in merged {
                if !entries.iter().any(|(known, _)| known.text == key.text) {
                    entries.push((key, value));
                }
            }
        }
        Ok(Node::Map(entries))
    }
}

/// Whether a quoted text holds `\/`, which YAML 1.2 took from JSON.
fn has_slash_escape(raw: &str) -> bool {
    let mut letters = raw.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' && letters.next() == Some('/') {
            return true;
        }
    }
    false
}

/// The entries that `<<` adds, later sources first: what comes first stays.
fn merge_sources(value: Node) -> Option<Vec<(Key, Node)>> {
    match value {
        Node::Map(entries) => Some(entries),
        Node::List(items) => {
            let mut all = Vec::new();
            for item in items {
                let Node::Map(entries) = item else { return None };
                all.extend(entries);
            }
            Some(all)
        }
        Node::Scalar(_) => None,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&YamlTag>) -> Scalar {
    let quoted = style != ScalarStyle::Plain;
    let made = |tag: Tag| Scalar { text: text.to_owned(), tag, quoted };
    let core = tag.and_then(YamlTag::core_suffix);
    let long = tag.and_then(|tag| tag.suffix_in_namespace("tag:yaml.org,2002:"));
    match (core, long.as_deref()) {
        (Some("str"), _) => made(Tag::Text),
        (Some("int"), _) => made(Tag::Int),
        (Some("float"), _) => made(Tag::Float),
        (Some("bool"), _) => made(Tag::Bool),
        (Some("null"), _) => made(Tag::Null),
        (_, Some("binary")) => made(Tag::Binary),
        (_, Some("timestamp")) => made(Tag::Time),
        _ if quoted || tag.is_some() => made(Tag::Text),
        _ => made(resolve_plain(text).0),
    }
}
