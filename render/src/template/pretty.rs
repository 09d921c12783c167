//! Values as `goyaml.v3` sees them, which is what `toYamlPretty` writes with: the values themselves and not their JSON.
//! Numbers stay floats, bytes are lists, structs have their fields in lower case, and a text that is none is `!!binary`.

use super::floats::shortest;
use super::funcs::encoding::base64_encode;
use super::object::Object;
use super::value::{Dict, DictKind, Value};
use crate::yaml::emit::{Scalar, Shape, Tree, in_natural_order, to_yaml_pretty};

/// How deep a value may nest before it counts as endless; Go's library has no bound and dies of it.
const DEPTH: usize = 500;

/// Nodes after which writing gives up.
const NODES: usize = 4 * 1024 * 1024;

/// Letters of base64 on one line.
const BINARY_LINE: usize = 70;

/// A node as it is written.
enum Node {
    Text(String),
    Binary(String),
    Written(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Text(text) => Scalar::Text(text),
            Self::Binary(text) => Scalar::Binary(text),
            Self::Written(text) => Scalar::Written(text.into()),
            // No key is one of these.
            Self::List(_) | Self::Map(_) => Scalar::Written("null".into()),
        }
    }
}

impl Tree for Node {
    fn shape(&self) -> Shape<'_, Self> {
        match self {
            Self::List(items) => Shape::List(items),
            Self::Map(entries) => {
                Shape::Map(entries.iter().map(|(key, node)| (key.scalar(), node)).collect())
            }
            Self::Text(_) | Self::Binary(_) | Self::Written(_) => Shape::Scalar(self.scalar()),
        }
    }
}

/// The text that `toYamlPretty` answers; a value without end is the empty text.
///
/// # Errors
/// What Go's library panics with.
pub(crate) fn to_pretty_yaml(value: &Value) -> Result<String, String> {
    let mut nodes = NODES;
    let node = match node(value, DEPTH, &mut nodes) {
        Ok(node) => node,
        Err(Trouble::Endless) => return Ok(String::new()),
        Err(Trouble::Type(name)) => return Err(format!("cannot marshal type: {name}")),
    };
    let mut text = to_yaml_pretty(&node);
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// Why there is no text.
enum Trouble {
    Endless,
    Type(&'static str),
}

fn node(value: &Value, depth: usize, nodes: &mut usize) -> Result<Node, Trouble> {
    *nodes = nodes.checked_sub(1).ok_or(Trouble::Endless)?;
    let depth = depth.checked_sub(1).ok_or(Trouble::Endless)?;
    super::stack::grow(|| {
        Ok(match value {
            Value::Nil | Value::Null => Node::Written("null".to_owned()),
            Value::Bool(flag) => Node::Written(flag.to_string()),
            Value::Int(number) | Value::Int64(number) => Node::Written(number.to_string()),
            Value::Float(number) => Node::Written(float(*number)),
            Value::Str(text) => of_bytes(text.bytes()),
            Value::List(list) => self::list(list.items(), depth, nodes)?,
            Value::Dict(dict) => of_dict(dict, depth, nodes)?,
            Value::Object(object) => of_object(object.as_ref(), depth, nodes)?,
        })
    })
}

fn list(items: &[Value], depth: usize, nodes: &mut usize) -> Result<Node, Trouble> {
    let items: Result<_, Trouble> = items.iter().map(|item| node(item, depth, nodes)).collect();
    Ok(Node::List(items?))
}

fn of_dict(dict: &Dict, depth: usize, nodes: &mut usize) -> Result<Node, Trouble> {
    let is_file = dict.kind() == DictKind::Files;
    let mut entries = Vec::new();
    for (key, item) in in_natural_order(dict.entries()) {
        let item = match &item {
            Value::Str(text) if is_file => {
                let bytes = text.bytes().iter().map(|byte| Node::Written(byte.to_string()));
                Node::List(bytes.collect())
            }
            item => node(item, depth, nodes)?,
        };
        entries.push((of_bytes(key.as_bytes()), item));
    }
    Ok(Node::Map(entries))
}

fn of_object(object: &dyn Object, depth: usize, nodes: &mut usize) -> Result<Node, Trouble> {
    let data = object.data();
    if object.complex().is_some() {
        return Err(Trouble::Type(object.type_name()));
    }
    if let (Some(_), Value::Str(text)) = (object.instant(), &data) {
        return Ok(Node::Written(text.lossy().into_owned()));
    }
    if let Some(number) = object.number() {
        // Of all types with a name this one is known to the library.
        let is_duration = object.type_name() == "time.Duration";
        let text = object.text().filter(|_| is_duration).map(Node::Text);
        return Ok(text.unwrap_or_else(|| Node::Written(number.to_string())));
    }
    if let Some(items) = object.items() {
        return list(&items, depth, nodes);
    }
    // What knows its own text (`MarshalText`) has a text in JSON, too.
    if let Value::Str(text) = &data {
        return Ok(of_bytes(text.bytes()));
    }
    let mut entries = Vec::new();
    for (name, field) in object.fields() {
        if name.starts_with(|letter: char| letter.is_uppercase()) {
            entries.push((Node::Text(name.to_lowercase()), node(&field, depth, nodes)?));
        }
    }
    Ok(Node::Map(entries))
}

fn float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    shortest(number, 'g')
}

fn of_bytes(bytes: &[u8]) -> Node {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let encoded = base64_encode(bytes);
        if encoded.len() < BINARY_LINE {
            return Node::Binary(encoded);
        }
        let lines = encoded.as_bytes().chunks(BINARY_LINE).map(String::from_utf8_lossy);
        return Node::Binary(lines.map(|line| format!("{line}\n")).collect());
    };
    Node::Text(text.to_owned())
}
