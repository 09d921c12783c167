//! Tokens into the tree of the first document of a text.

use std::borrow::Cow;
use std::collections::HashMap;

use super::read::YamlError;
use super::scan::{Kind, Mark, Scanner, Token};
use crate::limits::Limits;
use crate::template::stack;

/// A node of a document; children are places in the document's list.
#[derive(Clone, Debug)]
pub(super) enum Node<'t> {
    Scalar(Scalar<'t>),
    /// The name, and the node it stands for.
    Alias(String, usize),
    Sequence(Vec<usize>),
    Mapping(Vec<(usize, usize)>),
}

/// A text with its tag.
#[derive(Clone, Debug)]
pub(super) struct Scalar<'t> {
    pub text: Cow<'t, str>,
    pub tag: Option<String>,
    /// Whether its type follows from its letters.
    pub implicit: bool,
}

/// A document: its nodes, and which is the root.
pub(super) struct Document<'t> {
    pub nodes: Vec<Node<'t>>,
    pub root: usize,
}

/// The first document of a text, where there is one.
pub(super) fn document<'t>(text: &'t str, limits: &Limits) -> Result<Option<Document<'t>>, YamlError> {
    let mut composer = Composer {
        scanner: Scanner::new(text),
        nodes: Vec::new(),
        anchors: HashMap::new(),
        handles: Vec::new(),
        depth: limits.nesting_depth,
        nodes_maximum: limits.yaml_nodes,
    };
    let Some(root) = composer.document()? else {
        return Ok(None);
    };
    Ok(Some(Document { nodes: composer.nodes, root }))
}

struct Composer<'t> {
    scanner: Scanner<'t>,
    nodes: Vec<Node<'t>>,
    anchors: HashMap<String, usize>,
    /// Tag handles with what they stand for.
    handles: Vec<(String, String)>,
    depth: usize,
    nodes_maximum: usize,
}

/// Where a node stands: what it may be follows from that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Flow,
    Block,
    /// A value or key of a block mapping, where a list needs no indentation.
    Indentless,
}

/// What may stand before a node.
#[derive(Default)]
struct Properties {
    anchor: Option<String>,
    tag: Option<String>,
}

impl<'t> Composer<'t> {
    fn document(&mut self) -> Result<Option<usize>, YamlError> {
        let explicit = match self.scanner.peek()?.kind {
            Kind::StreamEnd => return Ok(None),
            Kind::Version(_) | Kind::TagDirective(..) | Kind::DocumentStart => true,
            _ => false,
        };
        self.directives()?;
        let mut empty = false;
        if explicit {
            let token = self.scanner.peek()?;
            if token.kind != Kind::DocumentStart {
                return Err(error_at(token.start, "did not find expected <document start>"));
            }
            self.scanner.take();
            empty = matches!(
                self.scanner.peek()?.kind,
                Kind::Version(_)
                    | Kind::TagDirective(..)
                    | Kind::DocumentStart
                    | Kind::DocumentEnd
                    | Kind::StreamEnd
            );
        }
        let root = if empty { self.nothing()? } else { self.node(Place::Block)? };
        // What ends the document must be a token at least.
        self.scanner.peek()?;
        Ok(Some(root))
    }

    fn directives(&mut self) -> Result<(), YamlError> {
        let mut versions = 0;
        loop {
            let token = self.scanner.peek()?;
            let start = token.start;
            match &token.kind {
                Kind::Version(_) if versions > 0 => {
                    return Err(error_at(start, "found duplicate %YAML directive"));
                }
                Kind::Version(false) => return Err(error_at(start, "found incompatible YAML document")),
                Kind::Version(true) => versions += 1,
                Kind::TagDirective(handle, prefix) => {
                    if self.handles.iter().any(|(known, _)| known == handle) {
                        return Err(error_at(start, "found duplicate %TAG directive"));
                    }
                    let pair = (handle.clone(), prefix.clone());
                    self.handles.push(pair);
                }
                _ => break,
            }
            self.scanner.take();
        }
        for (handle, prefix) in [("!", "!"), ("!!", super::read::CORE)] {
            if !self.handles.iter().any(|(known, _)| known == handle) {
                self.handles.push((handle.to_owned(), prefix.to_owned()));
            }
        }
        Ok(())
    }

    fn add(&mut self, node: Node<'t>) -> Result<usize, YamlError> {
        if self.nodes.len() >= self.nodes_maximum {
            let message = format!("document contains more than {} nodes", self.nodes_maximum);
            return Err(YamlError { line: None, message });
        }
        self.nodes.push(node);
        Ok(self.nodes.len() - 1)
    }

    fn nothing(&mut self) -> Result<usize, YamlError> {
        self.add(Node::Scalar(Scalar { text: Cow::Borrowed(""), tag: None, implicit: true }))
    }

    fn node(&mut self, place: Place) -> Result<usize, YamlError> {
        let start = self.scanner.peek()?.start;
        if let Kind::Alias(name) = &self.scanner.peek()?.kind {
            let name = name.clone();
            let Some(node) = self.anchors.get(&name).copied() else {
                return Err(YamlError { line: None, message: format!("unknown anchor '{name}' referenced") });
            };
            self.scanner.take();
            return self.add(Node::Alias(name, node));
        }
        let properties = self.properties()?;
        let block = place != Place::Flow;
        let token = self.scanner.peek()?;
        let at = token.start;
        let inner: fn(&mut Self, usize) -> Result<(), YamlError> = match &token.kind {
            Kind::BlockEntry if place == Place::Indentless => Self::indentless,
            Kind::Scalar(..) => return self.scalar(properties),
            Kind::FlowSequenceStart => Self::flow_sequence,
            Kind::FlowMappingStart => Self::flow_mapping,
            Kind::BlockSequenceStart if block => Self::block_sequence,
            Kind::BlockMappingStart if block => Self::block_mapping,
            _ if properties.anchor.is_some() || properties.tag.is_some() => {
                let implicit = properties.tag.is_none();
                let scalar = Scalar { text: Cow::Borrowed(""), tag: properties.tag, implicit };
                return self.anchored(properties.anchor, Node::Scalar(scalar));
            }
            _ => return Err(error_at(at, "did not find expected node content")),
        };
        let node = if matches!(token.kind, Kind::FlowMappingStart | Kind::BlockMappingStart) {
            Node::Mapping(Vec::new())
        } else {
            Node::Sequence(Vec::new())
        };
        let at = self.anchored(properties.anchor, node)?;
        if self.depth == 0 {
            return Err(error_at(start, "exceeded max depth"));
        }
        self.depth -= 1;
        stack::grow(|| inner(self, at))?;
        self.depth += 1;
        Ok(at)
    }

    fn anchored(&mut self, anchor: Option<String>, node: Node<'t>) -> Result<usize, YamlError> {
        let at = self.add(node)?;
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, at);
        }
        Ok(at)
    }

    fn scalar(&mut self, properties: Properties) -> Result<usize, YamlError> {
        let Some(Token { kind: Kind::Scalar(text, plain), .. }) = self.scanner.take() else {
            return self.nothing();
        };
        let implicit = match properties.tag.as_deref() {
            None => plain,
            Some(tag) => tag == "!",
        };
        self.anchored(properties.anchor, Node::Scalar(Scalar { text, tag: properties.tag, implicit }))
    }

    /// An anchor and a tag, in any order.
    fn properties(&mut self) -> Result<Properties, YamlError> {
        let mut found = Properties::default();
        let mut tag = None;
        for _ in 0..2 {
            let token = self.scanner.peek()?;
            match &token.kind {
                Kind::Anchor(name) if found.anchor.is_none() => found.anchor = Some(name.clone()),
                Kind::Tag(handle, suffix) if tag.is_none() => {
                    tag = Some((handle.clone(), suffix.clone(), token.start));
                }
                _ => break,
            }
            self.scanner.take();
        }
        self.scanner.peek()?;
        found.tag = match tag {
            None => None,
            Some((handle, suffix, _)) if handle.is_empty() => Some(suffix),
            Some((handle, suffix, start)) => {
                let known = self.handles.iter().find(|(known, _)| *known == handle);
                let Some((_, prefix)) = known else {
                    return Err(error_at(start, "found undefined tag handle"));
                };
                Some(format!("{prefix}{suffix}"))
            }
        };
        Ok(found)
    }

    fn append(&mut self, list: usize, item: usize) {
        if let Some(Node::Sequence(items)) = self.nodes.get_mut(list) {
            items.push(item);
        }
    }

    fn insert(&mut self, map: usize, key: usize, value: usize) {
        if let Some(Node::Mapping(entries)) = self.nodes.get_mut(map) {
            entries.push((key, value));
        }
    }

    /// The kind of the token behind the one that is taken.
    fn after(&mut self) -> Result<&Kind<'t>, YamlError> {
        self.scanner.take();
        Ok(&self.scanner.peek()?.kind)
    }

    fn block_sequence(&mut self, list: usize) -> Result<(), YamlError> {
        self.scanner.take();
        loop {
            let token = self.scanner.peek()?;
            match token.kind {
                Kind::BlockEntry => {
                    let empty = matches!(self.after()?, Kind::BlockEntry | Kind::BlockEnd);
                    let item = if empty { self.nothing()? } else { self.node(Place::Block)? };
                    self.append(list, item);
                }
                Kind::BlockEnd => {
                    self.scanner.take();
                    return Ok(());
                }
                _ => return Err(error_at(token.start, "did not find expected '-' indicator")),
            }
        }
    }

    fn indentless(&mut self, list: usize) -> Result<(), YamlError> {
        while self.scanner.peek()?.kind == Kind::BlockEntry {
            let kind = self.after()?;
            let empty = matches!(kind, Kind::BlockEntry | Kind::Key | Kind::Value | Kind::BlockEnd);
            let item = if empty { self.nothing()? } else { self.node(Place::Block)? };
            self.append(list, item);
        }
        Ok(())
    }

    fn block_mapping(&mut self, map: usize) -> Result<(), YamlError> {
        self.scanner.take();
        loop {
            let token = self.scanner.peek()?;
            match token.kind {
                Kind::Key => {
                    let key = self.block_part()?;
                    let value = if self.scanner.peek()?.kind == Kind::Value {
                        self.block_part()?
                    } else {
                        self.nothing()?
                    };
                    self.insert(map, key, value);
                }
                Kind::BlockEnd => {
                    self.scanner.take();
                    return Ok(());
                }
                _ => return Err(error_at(token.start, "did not find expected key")),
            }
        }
    }

    /// The node behind `?` or `:`.
    fn block_part(&mut self) -> Result<usize, YamlError> {
        if matches!(self.after()?, Kind::Key | Kind::Value | Kind::BlockEnd) {
            self.nothing()
        } else {
            self.node(Place::Indentless)
        }
    }

    fn flow_sequence(&mut self, list: usize) -> Result<(), YamlError> {
        let mut first = true;
        self.scanner.take();
        loop {
            let mut token = self.scanner.peek()?;
            if token.kind != Kind::FlowSequenceEnd && !first {
                if token.kind != Kind::FlowEntry {
                    return Err(error_at(token.start, "did not find expected ',' or ']'"));
                }
                self.scanner.take();
                token = self.scanner.peek()?;
            }
            first = false;
            match token.kind {
                Kind::FlowSequenceEnd => {
                    self.scanner.take();
                    return Ok(());
                }
                Kind::Key => {
                    let map = self.add(Node::Mapping(Vec::new()))?;
                    self.pair(map)?;
                    self.append(list, map);
                }
                _ => {
                    let item = self.node(Place::Flow)?;
                    self.append(list, item);
                }
            }
        }
    }

    /// A map of one entry between brackets: `[a: b]`.
    fn pair(&mut self, map: usize) -> Result<(), YamlError> {
        let ends = |kind: &Kind<'_>| matches!(kind, Kind::FlowEntry | Kind::FlowSequenceEnd);
        let kind = self.after()?;
        let key = if ends(kind) || *kind == Kind::Value {
            // The reader below Helm drops the token that stands there.
            self.scanner.take();
            self.nothing()?
        } else {
            self.node(Place::Flow)?
        };
        let mut value = None;
        if self.scanner.peek()?.kind == Kind::Value && !ends(self.after()?) {
            value = Some(self.node(Place::Flow)?);
        }
        let value = match value {
            Some(value) => value,
            None => self.nothing()?,
        };
        self.scanner.peek()?;
        self.insert(map, key, value);
        Ok(())
    }

    fn flow_mapping(&mut self, map: usize) -> Result<(), YamlError> {
        let mut first = true;
        self.scanner.take();
        loop {
            let mut token = self.scanner.peek()?;
            if token.kind != Kind::FlowMappingEnd && !first {
                if token.kind != Kind::FlowEntry {
                    return Err(error_at(token.start, "did not find expected ',' or '}'"));
                }
                self.scanner.take();
                token = self.scanner.peek()?;
            }
            first = false;
            let ends = |kind: &Kind<'_>| matches!(kind, Kind::FlowEntry | Kind::FlowMappingEnd);
            match token.kind {
                Kind::FlowMappingEnd => {
                    self.scanner.take();
                    return Ok(());
                }
                Kind::Key => {
                    let kind = self.after()?;
                    let key = if ends(kind) || *kind == Kind::Value {
                        self.nothing()?
                    } else {
                        self.node(Place::Flow)?
                    };
                    let value = if self.scanner.peek()?.kind == Kind::Value && !ends(self.after()?) {
                        self.node(Place::Flow)?
                    } else {
                        self.nothing()?
                    };
                    self.insert(map, key, value);
                }
                _ => {
                    let key = self.node(Place::Flow)?;
                    self.scanner.peek()?;
                    let value = self.nothing()?;
                    self.insert(map, key, value);
                }
            }
        }
    }
}

/// An error of the grammar: the reader below Helm counts its lines from 0, and names none where it is the first.
fn error_at(mark: Mark, message: &str) -> YamlError {
    YamlError { line: Some(mark.line).filter(|line| *line > 0), message: message.to_owned() }
}
