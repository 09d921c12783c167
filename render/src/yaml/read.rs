//! Reads YAML into JSON values: the first document of a text, with anchors, merge keys and bounds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::compose::{Document, Node, Scalar as Text, document};
use super::resolve::{Scalar, resolve};
use crate::limits::Limits;
use crate::template::quote;

/// What `!!` stands for.
pub(super) const CORE: &str = "tag:yaml.org,2002:";

/// What JSON says of a number that it has not.
const UNSUPPORTED: &str = "json: unsupported value: ";

/// Why a text is not acceptable YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// Line as Helm's reader counts it, where it names one.
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

/// An error of the meaning, which has no line.
fn refusal(message: impl Into<String>) -> YamlError {
    YamlError { line: None, message: message.into() }
}

/// The first document of `text`; nothing at all is `null`.
///
/// What follows the first document is not looked at, but for its first token.
///
/// # Errors
/// The words and the line that `sigs.k8s.io/yaml` answers with, and bounds of our own.
pub(crate) fn read(text: &str, limits: &Limits) -> Result<Value, YamlError> {
    read_with(text, limits, false)
}

/// The same where texts are wanted, as in `Chart.yaml`: a number with a fraction or an exponent is the text that Go
/// makes of its 32 bits.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_texts(text: &str, limits: &Limits) -> Result<Value, YamlError> {
    read_with(text, limits, true)
}

fn read_with(text: &str, limits: &Limits, floats_are_texts: bool) -> Result<Value, YamlError> {
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let bad = |letter: char| match letter {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        _ => letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}'),
    };
    // Of the bytes of most texts none can begin such a letter.
    let begins =
        |byte: &u8| matches!(byte, 0..0x20 | 0x7F | 0xC2 | 0xEF) && !matches!(byte, b'\t' | b'\n' | b'\r');
    if text.as_bytes().iter().any(begins) && text.contains(bad) {
        return Err(refusal("control characters are not allowed"));
    }
    let Some(document) = document(text, limits)? else {
        return Ok(Value::Null);
    };
    let mut decoder = Decoder {
        document: &document,
        open: vec![false; document.nodes.len()],
        aliases: 0,
        nodes: 0,
        aliased: 0,
        nodes_maximum: limits.yaml_nodes,
        floats_are_texts,
        unsupported: None,
    };
    let value = decoder.value(decoder.root(text))?;
    match decoder.unsupported {
        Some(problem) => Err(problem),
        None => Ok(value),
    }
}

/// A map in the making, with what JSON refuses of its entries: a later one may take the place of such an entry.
#[derive(Default)]
struct Entries {
    map: Map<String, Value>,
    problems: BTreeMap<String, YamlError>,
}

impl Entries {
    fn insert(&mut self, key: String, (value, problem): (Value, Option<YamlError>)) {
        match problem {
            Some(problem) => {
                self.problems.insert(key.clone(), problem);
            }
            None if !self.problems.is_empty() => {
                self.problems.remove(&key);
            }
            None => {}
        }
        self.map.insert(key, value);
    }
}

/// Makes values of nodes.
struct Decoder<'d> {
    document: &'d Document<'d>,
    /// Aliases that are being followed.
    open: Vec<bool>,
    /// How many of them.
    aliases: usize,
    nodes: usize,
    /// Of the nodes, those reached through an alias.
    aliased: usize,
    nodes_maximum: usize,
    floats_are_texts: bool,
    /// What the conversion to JSON refuses, once all else is read.
    unsupported: Option<YamlError>,
}

impl Decoder<'_> {
    /// Counts a node. A document may not consist of aliases: a hundredth must be its own, a tenth where it is large
    /// less aliased.
    fn count(&mut self) -> Result<(), YamlError> {
        self.nodes += 1;
        self.aliased += usize::from(self.aliases > 0);
        if self.aliased > 100 && self.nodes > 1_000 {
            #[allow(clippy::cast_precision_loss)] // a ratio
            let (aliased, nodes) = (self.aliased as f64, self.nodes as f64);
            let allowed = 0.99 - 0.89 * ((nodes - 400_000.0) / 3_600_000.0).clamp(0.0, 1.0);
            if aliased / nodes > allowed {
                return Err(refusal("document contains excessive aliasing"));
            }
        }
        if self.nodes > self.nodes_maximum {
            return Err(refusal(format!("document contains more than {} nodes", self.nodes_maximum)));
        }
        Ok(())
    }

    fn node(&self, at: usize) -> Result<&Node<'_>, YamlError> {
        self.document.nodes.get(at).ok_or_else(|| refusal("unknown problem parsing YAML content"))
    }

    /// The node that the text is: Go's library ends the document behind an empty list or map that is its first key
    /// (`[]: x`).
    fn root(&self, text: &str) -> usize {
        let root = self.document.root;
        let is_empty = |node: &Node<'_>| match node {
            Node::Sequence(items) => items.is_empty(),
            Node::Mapping(pairs) => pairs.is_empty(),
            Node::Scalar(_) | Node::Alias(..) => false,
        };
        match self.document.nodes.get(root) {
            Some(Node::Mapping(pairs)) if text.trim_start().starts_with(['[', '{']) => {
                let key = pairs.first().map_or(root, |(key, _)| *key);
                let begun = self.document.nodes.get(key).is_some_and(is_empty);
                let flow = text.trim_start()[1..].trim_start().starts_with([']', '}']);
                if begun && flow { key } else { root }
            }
            _ => root,
        }
    }

    /// Follows an alias.
    fn through<T>(
        &mut self,
        alias: usize,
        inner: impl FnOnce(&mut Self) -> Result<T, YamlError>,
    ) -> Result<T, YamlError> {
        let named = match self.node(alias)? {
            Node::Alias(name, _) => name.clone(),
            Node::Scalar(_) | Node::Sequence(_) | Node::Mapping(_) => String::new(),
        };
        if self.open.get(alias) == Some(&true) {
            return Err(refusal(format!("anchor '{named}' value contains itself")));
        }
        self.mark(alias, true);
        self.aliases += 1;
        let value = inner(self)?;
        self.aliases -= 1;
        self.mark(alias, false);
        Ok(value)
    }

    fn mark(&mut self, alias: usize, open: bool) {
        if let Some(flag) = self.open.get_mut(alias) {
            *flag = open;
        }
    }

    fn value(&mut self, at: usize) -> Result<Value, YamlError> {
        self.count()?;
        let document = self.document;
        match document.nodes.get(at) {
            Some(Node::Alias(_, target)) => self.through(at, |decoder| decoder.value(*target)),
            Some(Node::Scalar(text)) => self.scalar(text),
            Some(Node::Sequence(items)) => crate::template::stack::grow(|| {
                items.iter().map(|item| self.value(*item)).collect::<Result<_, _>>().map(Value::Array)
            }),
            Some(Node::Mapping(_)) => {
                let mut entries = Entries::default();
                crate::template::stack::grow(|| self.fill(at, &mut entries))?;
                entries.problems.into_values().for_each(|problem| self.remember(problem));
                Ok(Value::Object(entries.map))
            }
            None => Ok(Value::Null),
        }
    }

    /// Writes the entries of a mapping into `entries`: what is merged overwrites what stands before it.
    fn fill(&mut self, at: usize, entries: &mut Entries) -> Result<(), YamlError> {
        let document = self.document;
        let Some(Node::Mapping(pairs)) = document.nodes.get(at) else {
            return Ok(());
        };
        for (key, value) in pairs {
            if self.is_merge(*key) {
                self.merge(*value, entries)?;
                continue;
            }
            if let Some(number) = self.float_of_key(*key) {
                self.count()?;
                let content = self.entry(*value)?;
                entries.insert(float_key(number), content);
                continue;
            }
            let found = self.value(*key)?;
            if matches!(found, Value::Array(_) | Value::Object(_)) {
                return Err(refusal(format!("invalid map key: {}", self.syntax(*key, &found))));
            }
            let content = self.entry(*value)?;
            if let Some(key) = self.key_text(found, *value, &content) {
                entries.insert(key, content);
            }
        }
        Ok(())
    }

    fn is_merge(&self, key: usize) -> bool {
        let Ok(Node::Scalar(text)) = self.node(key) else {
            return false;
        };
        let tagged = text.tag.as_deref().and_then(|tag| tag.strip_prefix(CORE)) == Some("merge");
        text.text == "<<" && (text.implicit || tagged)
    }

    /// A key that is a number with a fraction: it is written in fewer digits than others, and may be no number at all.
    fn float_of_key(&self, key: usize) -> Option<f32> {
        match self.node(key).ok()? {
            Node::Scalar(text) => {
                let tagged = text.tag.as_deref().and_then(|tag| tag.strip_prefix(CORE)) == Some("float");
                if !text.implicit && !tagged {
                    return None;
                }
                #[allow(clippy::cast_possible_truncation)] // keys have 32 bits there
                match resolve(&text.text) {
                    Scalar::Float(value) => Some(value as f32),
                    Scalar::Int(value) if tagged => Some(float_of(value) as f32),
                    Scalar::Null
                    | Scalar::Bool(_)
                    | Scalar::Int(_)
                    | Scalar::Unsigned(_)
                    | Scalar::Timestamp
                    | Scalar::Merge
                    | Scalar::Text => None,
                }
            }
            Node::Alias(_, target) if self.open.get(key) != Some(&true) => self.float_of_key(*target),
            Node::Alias(..) | Node::Sequence(_) | Node::Mapping(_) => None,
        }
    }

    /// Applies `<<`: later sources of a list give way to earlier ones.
    fn merge(&mut self, at: usize, entries: &mut Entries) -> Result<(), YamlError> {
        let document = self.document;
        match document.nodes.get(at) {
            Some(Node::Sequence(sources)) => {
                sources.iter().rev().try_for_each(|source| self.merge_one(*source, entries))
            }
            _ => self.merge_one(at, entries),
        }
    }

    fn merge_one(&mut self, at: usize, entries: &mut Entries) -> Result<(), YamlError> {
        let target = match self.node(at)? {
            Node::Alias(_, target) => Some(*target),
            Node::Mapping(_) => None,
            Node::Scalar(_) | Node::Sequence(_) => at.into(),
        };
        if !matches!(self.node(target.unwrap_or(at))?, Node::Mapping(_)) {
            return Err(refusal("map merge requires map or sequence of maps as the value"));
        }
        self.count()?;
        match target {
            Some(target) => self.through(at, |decoder| {
                decoder.count()?;
                decoder.fill(target, entries)
            }),
            None => self.fill(at, entries),
        }
    }

    /// A value as it stands in a complaint; a number that JSON has not is in what JSON says of it.
    fn printed(&self, at: usize, (value, problem): &(Value, Option<YamlError>)) -> String {
        let number = problem.as_ref().and_then(|problem| problem.message.strip_prefix(UNSUPPORTED));
        match (value, number) {
            (Value::Null, Some(number)) => number.to_owned(),
            (Value::Null, None) => "<nil>".to_owned(),
            _ => self.syntax(at, value),
        }
    }

    /// A map or list in Go's own syntax; keys that are numbers or truths have no quotes there.
    fn syntax(&self, at: usize, value: &Value) -> String {
        match (self.document.nodes.get(at), value) {
            (Some(Node::Alias(_, target)), _) => self.syntax(*target, value),
            (Some(Node::Sequence(nodes)), Value::Array(items)) if nodes.len() == items.len() => {
                let items = nodes.iter().zip(items).map(|(node, item)| self.syntax(*node, item));
                format!("[]interface {{}}{{{}}}", items.collect::<Vec<_>>().join(", "))
            }
            // JSON has not all of them.
            (Some(Node::Scalar(text)), Value::Null | Value::Number(_)) => match resolve(&text.text) {
                Scalar::Float(number) => crate::template::floats::shortest(number, 'g'),
                Scalar::Null
                | Scalar::Bool(_)
                | Scalar::Int(_)
                | Scalar::Unsigned(_)
                | Scalar::Timestamp
                | Scalar::Merge
                | Scalar::Text => go_syntax(value).into_owned(),
            },
            (Some(Node::Mapping(pairs)), Value::Object(entries)) if pairs.len() == entries.len() => {
                let mut parts = Vec::new();
                for (key, content) in pairs {
                    let Some(Node::Scalar(text)) = self.document.nodes.get(*key) else {
                        return go_syntax(value).into_owned();
                    };
                    let core = text.tag.as_deref().map(|tag| tag.strip_prefix(CORE).unwrap_or_default());
                    let is_text =
                        core.map_or(!text.implicit, |core| !["bool", "float", "int"].contains(&core));
                    let plain = match resolve(&text.text) {
                        _ if is_text => None,
                        Scalar::Int(number) => Some(number.to_string()),
                        Scalar::Bool(truth) => Some(truth.to_string()),
                        Scalar::Float(_) => self.float_of_key(*key).map(float_key),
                        Scalar::Null
                        | Scalar::Unsigned(_)
                        | Scalar::Timestamp
                        | Scalar::Merge
                        | Scalar::Text => None,
                    };
                    let name = plain.clone().unwrap_or_else(|| text.text.to_string());
                    let Some(found) = entries.get(&name) else {
                        return go_syntax(value).into_owned();
                    };
                    // Texts come before what is none.
                    let order = (plain.is_some(), name);
                    let key = match resolve(&text.text) {
                        Scalar::Float(number) if plain.is_some() && !number.is_finite() => {
                            crate::template::floats::shortest(number, 'g')
                        }
                        _ => plain.unwrap_or_else(|| quote::quote(text.text.as_bytes())),
                    };
                    parts.push((order, format!("{key}:{}", self.syntax(*content, found))));
                }
                parts.sort();
                let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
                format!("map[interface {{}}]interface {{}}{{{}}}", parts.join(", "))
            }
            _ => go_syntax(value).into_owned(),
        }
    }

    /// A value with what JSON refuses of it.
    fn entry(&mut self, at: usize) -> Result<(Value, Option<YamlError>), YamlError> {
        let before = self.unsupported.take();
        let value = self.value(at)?;
        let problem = std::mem::replace(&mut self.unsupported, before);
        Ok((value, problem))
    }

    fn refuse_later(&mut self, message: String) {
        self.remember(refusal(message));
    }

    /// Keeps the first problem; numbers that JSON has not are told after keys that it has not. Of a key that comes twice
    /// the last value counts.
    fn remember(&mut self, problem: YamlError) {
        let last = |problem: &YamlError| problem.message.starts_with(UNSUPPORTED);
        fn key(problem: &YamlError) -> Option<&str> {
            problem.message.split_once(", value: ").map(|(key, _)| key)
        }
        let again = |known: &YamlError| key(known).is_some() && key(known) == key(&problem);
        if self.unsupported.as_ref().is_none_or(|known| last(known) && !last(&problem) || again(known)) {
            self.unsupported = Some(problem);
        }
    }

    fn key_text(&mut self, key: Value, at: usize, value: &(Value, Option<YamlError>)) -> Option<String> {
        match key {
            Value::String(text) => Some(text),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => match number.as_i64() {
                Some(value) => Some(value.to_string()),
                None => {
                    let digits = format!("{:#x}", number.as_u64().unwrap_or_default());
                    self.refuse_later(format!(
                        "unsupported map key of type: uint64, key: {digits}, value: {}",
                        self.printed(at, value)
                    ));
                    None
                }
            },
            Value::Null => {
                let shown = self.printed(at, value);
                self.refuse_later(format!(
                    "unsupported map key of type: %!s(<nil>), key: <nil>, value: {shown}"
                ));
                None
            }
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn scalar(&mut self, scalar: &Text<'_>) -> Result<Value, YamlError> {
        let text = &scalar.text;
        let string = || Value::String(text.to_string());
        let core = scalar.tag.as_deref().map(|tag| tag.strip_prefix(CORE).unwrap_or_default());
        let wanted = match core {
            None if !scalar.implicit => return Ok(string()),
            None => None,
            Some("binary") => return binary(text),
            Some(core @ ("bool" | "int" | "float" | "null" | "timestamp")) => Some(core),
            Some(_) => return Ok(string()),
        };
        let mut resolved = resolve(text);
        if resolved == Scalar::Timestamp && wanted.is_some_and(|wanted| wanted != "timestamp") {
            resolved = Scalar::Text;
        }
        let (found, value) = match resolved {
            Scalar::Null => ("null", Value::Null),
            Scalar::Bool(flag) => ("bool", Value::Bool(flag)),
            Scalar::Int(value) => (
                "int",
                if wanted == Some("float") {
                    self.float(float_of(value))
                } else {
                    Value::Number(value.into())
                },
            ),
            Scalar::Unsigned(value) => ("int", Value::Number(value.into())),
            Scalar::Float(value) => ("float", self.float(value)),
            Scalar::Timestamp => ("timestamp", string()),
            Scalar::Merge | Scalar::Text => ("str", string()),
        };
        let widened = wanted == Some("float") && matches!(resolved, Scalar::Int(_));
        match wanted {
            Some(wanted) if wanted != found && !widened => {
                Err(refusal(format!("cannot decode !!{found} `{text}` as a !!{wanted}")))
            }
            _ => Ok(value),
        }
    }

    /// A float as JSON carries it: whole numbers lose their fraction.
    fn float(&mut self, value: f64) -> Value {
        const WHOLE: f64 = 9_007_199_254_740_992.0;
        if self.floats_are_texts {
            #[allow(clippy::cast_possible_truncation)] // as sigs.k8s.io/yaml writes it
            return Value::String(short(value as f32));
        }
        if value.fract() == 0.0 && value.abs() <= WHOLE && (value != 0.0 || value.is_sign_positive()) {
            #[allow(clippy::cast_possible_truncation)] // whole and within 2^53
            return Value::Number((value as i64).into());
        }
        Number::from_f64(value).map_or_else(
            || {
                let shown = crate::template::floats::shortest(value, 'g');
                self.refuse_later(format!("{UNSUPPORTED}{shown}"));
                Value::Null
            },
            Value::Number,
        )
    }
}

#[allow(clippy::cast_precision_loss)] // as Go converts it
fn float_of(value: i64) -> f64 {
    value as f64
}

fn binary(text: &str) -> Result<Value, YamlError> {
    // Go's decoder passes over line breaks and nothing else.
    let clean: String = text.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect();
    let data = crate::template::funcs::encoding::base64_decode(clean.as_bytes())
        .map_err(|_| refusal("!!binary value contains invalid base64 data"))?;
    Ok(Value::String(crate::template::value::lossy(&data).into_owned()))
}

/// A number of 32 bits in the fewest digits, as a key.
fn float_key(value: f32) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    short(value)
}

/// Go's `strconv.FormatFloat(value, 'g', -1, 32)`.
fn short(value: f32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

/// A value in Go's own syntax.
fn go_syntax(value: &Value) -> Cow<'static, str> {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::Bool(flag) => flag.to_string().into(),
        // What is larger than a signed number is an unsigned one, which is shown so.
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (None, Some(unsigned)) => format!("{unsigned:#x}").into(),
            _ => number.to_string().into(),
        },
        Value::String(text) => quote::quote(text.as_bytes()).into(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", ")).into()
        }
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| {
                    let key = quote::quote(key.as_bytes());
                    format!("{key}:{}", go_syntax(value))
                })
                .collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", entries.join(", ")).into()
        }
    }
}
