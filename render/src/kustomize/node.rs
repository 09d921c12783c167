//! A YAML tree as kustomize edits it: scalars keep their text, their type and whether they were quoted, maps keep
//! their order, lists their items. JSON is made of it at the very end.
//!
//! # Why not JSON all along
//! Replacements copy the text of a scalar and leave the type of the target; names are compared as text; a number that
//! is set over a quoted text stays a text. JSON has lost what decides these.

use serde_json::{Map, Number, Value as Json};

use crate::template::floats::shortest;
use crate::template::stack;
use crate::yaml::resolve::{Scalar as Resolved, resolve};

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Null,
    Bool,
    Int,
    Float,
    Text,
    Time,
    Binary,
    /// Set by a transformer: it is read again when the object is done.
    Open,
}

/// One value with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub text: String,
    pub tag: Tag,
    pub quoted: bool,
}

/// A key of a map; `plain` when YAML reads it as something else than a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub text: String,
    pub foreign: bool,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Scalar(Scalar),
    Map(Vec<(Key, Node)>),
    List(Vec<Node>),
}

/// What a plain scalar is in YAML 1.2 as kustomize's parser reads it: `yes` and `on` are texts.
pub(crate) fn resolve_plain(text: &str) -> (Tag, Resolved) {
    let resolved = resolve(text);
    let tag = match &resolved {
        Resolved::Null => Tag::Null,
        Resolved::Bool(_) if matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") => {
            Tag::Bool
        }
        Resolved::Int(_) | Resolved::Unsigned(_) => Tag::Int,
        Resolved::Float(_) => Tag::Float,
        Resolved::Timestamp => Tag::Time,
        Resolved::Bool(_) | Resolved::Merge | Resolved::Text => Tag::Text,
    };
    (tag, resolved)
}

/// Whether YAML 1.1 reads the text as something else than a text.
pub(crate) fn is_foreign_text(text: &str) -> bool {
    !text.is_empty() && !text.contains('\n') && !matches!(resolve(text), Resolved::Text | Resolved::Merge)
}

impl Node {
    /// A text.
    pub(crate) fn text(text: &str) -> Self {
        Self::Scalar(Scalar { text: text.to_owned(), tag: Tag::Text, quoted: false })
    }

    /// A scalar whose type is decided when the object is done.
    pub(crate) fn open(text: &str) -> Self {
        Self::Scalar(Scalar { text: text.to_owned(), tag: Tag::Open, quoted: false })
    }

    pub(crate) fn null() -> Self {
        Self::Scalar(Scalar { text: "null".to_owned(), tag: Tag::Null, quoted: false })
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(Scalar { tag: Tag::Null, .. }))
    }

    /// Null, an empty map or an empty list.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(scalar) => scalar.tag == Tag::Null,
            Self::Map(entries) => entries.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Scalar(_) => "a single value",
            Self::Map(_) => "a map",
            Self::List(_) => "a list",
        }
    }

    /// The text of a scalar; nothing of a map or list.
    pub(crate) fn raw(&self) -> &str {
        match self {
            Self::Scalar(scalar) => &scalar.text,
            Self::Map(_) | Self::List(_) => "",
        }
    }

    /// Like [`Node::raw`], nothing for null.
    pub(crate) fn value(&self) -> &str {
        if self.is_null() { "" } else { self.raw() }
    }

    pub(crate) fn entries(&self) -> &[(Key, Node)] {
        match self {
            Self::Map(entries) => entries,
            Self::Scalar(_) | Self::List(_) => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match self {
            Self::List(items) => items,
            Self::Scalar(_) | Self::Map(_) => &[],
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entries().iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        match self {
            Self::Map(entries) => {
                entries.iter_mut().find(|(key, _)| key.text == name).map(|(_, value)| value)
            }
            Self::Scalar(_) | Self::List(_) => None,
        }
    }

    /// The value at a path of field names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// Sets a field of a map: null removes it; a scalar of open type is quoted as what stood there was.
    pub(crate) fn set(&mut self, name: &str, value: Node) {
        if value.is_null() {
            self.remove(name);
        } else {
            self.put(name, value);
        }
    }

    /// Sets a field of a map, also to null.
    pub(crate) fn put(&mut self, name: &str, mut value: Node) {
        if self.is_null() {
            *self = Self::Map(Vec::new());
        }
        let Self::Map(entries) = self else { return };
        let existing = entries.iter_mut().find(|(key, _)| key.text == name);
        if let Self::Scalar(scalar) = &mut value
            && scalar.tag == Tag::Open
        {
            scalar.quoted = match &existing {
                Some((_, Self::Scalar(before))) => before.quoted,
                Some(_) => false,
                None => is_foreign_text(&scalar.text),
            };
        }
        match existing {
            Some((_, before)) => *before = value,
            None => entries.push((Key { text: name.to_owned(), foreign: is_foreign_key(name) }, value)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        if let Self::Map(entries) = self {
            entries.retain(|(key, _)| key.text != name);
        }
    }

    /// The field of a map, made a map when it is missing.
    pub(crate) fn map_at(&mut self, name: &str) -> Option<&mut Node> {
        if self.get(name).is_none_or(Node::is_null) {
            self.put(name, Self::Map(Vec::new()));
        }
        self.get_mut(name)
    }

    /// Replaces the text of a scalar and its type, not its quotes.
    ///
    /// # Errors
    /// When it is a map or list.
    pub(crate) fn set_scalar(&mut self, text: &str, tag: Tag) -> Result<(), String> {
        match self {
            Self::Scalar(scalar) => {
                text.clone_into(&mut scalar.text);
                scalar.tag = tag;
                Ok(())
            }
            Self::Map(_) | Self::List(_) => Err(format!("expected a single value, found {}", self.kind())),
        }
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// When a text does not fit its type, a key of an inner map is not a text, or a number is none in JSON.
    pub(crate) fn to_json(&self) -> Result<Json, String> {
        self.json(true)
    }

    fn json(&self, outermost: bool) -> Result<Json, String> {
        stack::grow(|| match self {
            Self::Scalar(scalar) => scalar.to_json(),
            Self::List(items) => {
                Ok(Json::Array(items.iter().map(|item| item.json(false)).collect::<Result<_, _>>()?))
            }
            Self::Map(entries) => {
                let mut out = Map::new();
                for (key, value) in entries {
                    if key.foreign && !outermost {
                        return Err(format!("the key \"{}\" is not a text: quote it", key.text));
                    }
                    if out.insert(key.text.clone(), value.json(false)?).is_some() {
                        return Err(format!("the key \"{}\" is given twice", key.text));
                    }
                }
                Ok(Json::Object(out))
            }
        })
    }

    /// A tree of JSON that went through Go's decoder: every number was a float on its way.
    pub(crate) fn from_json(value: &Json) -> Self {
        stack::grow(|| match value {
            Json::Null => Self::null(),
            Json::Bool(flag) => {
                Self::Scalar(Scalar { text: flag.to_string(), tag: Tag::Bool, quoted: false })
            }
            Json::Number(number) => {
                let text = shortest(number.as_f64().unwrap_or_default(), 'g');
                let (tag, _) = resolve_plain(&text);
                Self::Scalar(Scalar { text, tag, quoted: false })
            }
            Json::String(text) => Self::Scalar(Scalar {
                text: text.clone(),
                tag: Tag::Text,
                quoted: is_foreign_text(text) || text.is_empty(),
            }),
            Json::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Json::Object(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| (Key { text: key.clone(), foreign: false }, Self::from_json(value)))
                    .collect(),
            ),
        })
    }
}

/// A key that a transformer adds is plain: YAML reads it again.
fn is_foreign_key(name: &str) -> bool {
    !matches!(resolve_plain(name).0, Tag::Text)
}

impl Scalar {
    fn to_json(&self) -> Result<Json, String> {
        let misfit = |wanted: &str| Err(format!("the value \"{}\" is not {wanted}", self.text));
        let tag = match self.tag {
            Tag::Open if self.quoted => Tag::Text,
            Tag::Open => resolve_plain(&self.text).0,
            other => other,
        };
        let resolved = resolve_plain(&self.text).1;
        match tag {
            Tag::Text | Tag::Open => Ok(Json::String(self.text.clone())),
            Tag::Null if self.quoted && self.text.is_empty() => Ok(Json::String(String::new())),
            Tag::Null => match resolved {
                Resolved::Null => Ok(Json::Null),
                _ => misfit("null"),
            },
            Tag::Bool => match self.text.as_str() {
                "true" | "True" | "TRUE" => Ok(Json::Bool(true)),
                "false" | "False" | "FALSE" => Ok(Json::Bool(false)),
                _ => misfit("true or false"),
            },
            Tag::Int => match resolved {
                Resolved::Int(value) => Ok(Json::Number(value.into())),
                Resolved::Unsigned(value) => Ok(Json::Number(value.into())),
                _ => misfit("a whole number"),
            },
            Tag::Float => match resolved {
                Resolved::Int(value) => Ok(Json::Number(value.into())),
                Resolved::Unsigned(value) => Ok(Json::Number(value.into())),
                Resolved::Float(value) => float(value).map_or_else(|| misfit("a number of JSON"), Ok),
                _ => misfit("a number"),
            },
            Tag::Time => {
                Ok(Json::String(super::time::rfc3339(&self.text).unwrap_or_else(|| self.text.clone())))
            }
            Tag::Binary => {
                let clean: String = self.text.split_whitespace().collect();
                crate::template::funcs::encoding::base64_decode(clean.as_bytes())
                    .map(|bytes| Json::String(crate::template::value::lossy(&bytes).into_owned()))
                    .or_else(|_| misfit("base64"))
            }
        }
    }
}

/// A float as it leaves JSON text: whole numbers are integers where they fit.
fn float(value: f64) -> Option<Json> {
    if value.fract() == 0.0 && value.abs() < 1e19 {
        let text = format!("{value:.0}");
        if let Ok(whole) = text.parse::<i64>() {
            return Some(Json::Number(whole.into()));
        }
        if let Ok(whole) = text.parse::<u64>() {
            return Some(Json::Number(whole.into()));
        }
    }
    Number::from_f64(value).map(Json::Number)
}
