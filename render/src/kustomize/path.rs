//! Paths with dots: fields, items by number, by `[field=value]`, `*` for all.

use regex::Regex;

use super::node::{Node, Tag};

/// Splits a path at dots; what stands in brackets is one part.
pub(crate) fn parts(path: &str) -> Vec<String> {
    let split = super::fields::split_path(path, '.');
    let mut found = Vec::new();
    let mut rest = split.into_iter();
    while let Some(part) = rest.next() {
        if !part.starts_with('[') || part.ends_with(']') {
            found.push(part);
            continue;
        }
        let mut bracketed = vec![part];
        for part in rest.by_ref() {
            let ends = part.ends_with(']');
            bracketed.push(part);
            if ends {
                break;
            }
        }
        let joined = bracketed.join(".");
        let plain = joined.trim_matches(|letter| letter == '[' || letter == ']').to_owned();
        found.push(if joined.contains('=') { joined } else { plain });
    }
    found
}

/// Parts of a path where an item stands as `name[0]`.
pub(crate) fn lookup_parts(path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in parts(path) {
        match part.split_once('[').filter(|(name, _)| !name.is_empty()) {
            Some((name, index)) if index.trim_end_matches(']').parse::<usize>().is_ok() => {
                found.push(name.to_owned());
                found.push(index.trim_end_matches(']').to_owned());
            }
            _ => found.push(part),
        }
    }
    found
}

/// `[field=value]` of a part.
fn matcher(part: &str) -> Option<Result<(&str, &str), String>> {
    let inner = part.strip_prefix('[')?.strip_suffix(']')?;
    let pair = inner.split_once('=');
    Some(pair.ok_or_else(|| format!("\"{part}\" must contain fieldName=fieldValue for element to match")))
}

fn misplaced(part: &str, node: &Node) -> String {
    format!("\"{part}\" cannot be looked up in {}", node.kind())
}

/// The one node at a path.
///
/// # Errors
/// When a part does not fit what it meets.
pub(crate) fn lookup<'n>(node: &'n Node, parts: &[String]) -> Result<Option<&'n Node>, String> {
    let mut at = node;
    for part in parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()) {
        if at.is_null() {
            return Ok(None);
        }
        let next = if let Ok(index) = part.parse::<i64>() {
            let Node::List(items) = at else { return Err(misplaced(part, at)) };
            let index =
                usize::try_from(index).map_err(|_| format!("array index {index} cannot be negative"))?;
            items.get(index)
        } else if part == "-" {
            let Node::List(items) = at else { return Err(misplaced(part, at)) };
            items.last()
        } else if part == "*" {
            return Err("wildcard is not supported here".to_owned());
        } else if let Some(pair) = matcher(part) {
            let (field, value) = pair?;
            let Node::List(items) = at else { return Err(misplaced(part, at)) };
            items.iter().find(|item| match field {
                "" => item.raw() == value,
                field => item.get(field).is_some_and(|found| found.raw() == value),
            })
        } else {
            let Node::Map(_) = at else { return Err(misplaced(part, at)) };
            at.get(part)
        };
        match next {
            Some(found) => at = found,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// What is made at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    Scalar,
    Map,
    List,
}

impl Make {
    pub(crate) fn like(node: &Node) -> Self {
        match node {
            Node::Scalar(_) => Self::Scalar,
            Node::Map(_) => Self::Map,
            Node::List(_) => Self::List,
        }
    }

    fn node(self) -> Node {
        match self {
            Self::Scalar => Node::open(""),
            Self::Map => Node::Map(Vec::new()),
            Self::List => Node::List(Vec::new()),
        }
    }

    /// What a part needs to stand on.
    fn before(self, next: Option<&String>) -> Node {
        match next {
            None => self.node(),
            Some(next) if matcher(next).is_some() || next.parse::<usize>().is_ok() => Node::List(Vec::new()),
            Some(next) if next.is_empty() => self.node(),
            Some(_) => Node::Map(Vec::new()),
        }
    }
}

/// Edits every node that a path matches, and says how many there were.
///
/// # Errors
/// When a part does not fit what it meets, or the edit fails.
pub(crate) fn edit_all(
    node: &mut Node,
    parts: &[String],
    make: Option<Make>,
    edit: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<usize, String> {
    let Some((part, rest)) = parts.split_first() else {
        edit(node)?;
        return Ok(1);
    };
    if let Ok(index) = part.parse::<usize>() {
        let kind = node.kind();
        let Node::List(items) = node else { return Err(format!("\"{part}\" cannot be looked up in {kind}")) };
        if items.len() == index
            && let Some(make) = make
        {
            items.push(make.before(rest.first()));
        }
        let count = items.len();
        let item = items.get_mut(index);
        let item = item.ok_or_else(|| format!("index {index} specified but only {count} elements found"))?;
        return edit_all(item, rest, make, edit);
    }
    if let Some(pair) = matcher(part) {
        let (field, value) = pair?;
        return edit_matching(node, field, value, rest, make, edit);
    }
    if part == "*" {
        if node.is_null() {
            return Ok(0);
        }
        let kind = node.kind();
        let Node::List(items) = node else { return Err(format!("\"*\" cannot be looked up in {kind}")) };
        let mut count = 0;
        for item in items {
            count += edit_all(item, rest, make, edit)?;
        }
        return Ok(count);
    }
    edit_field(node, part, rest, make, edit)
}

fn edit_field(
    node: &mut Node,
    part: &str,
    rest: &[String],
    make: Option<Make>,
    edit: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<usize, String> {
    if !node.is_null() && !node.is_map() {
        return Err(format!("\"{part}\" cannot be looked up in {}", node.kind()));
    }
    if node.get(part).is_none() {
        let Some(make) = make else { return Ok(0) };
        node.put(part, make.before(rest.first()));
    }
    let Some(field) = node.get_mut(part) else { return Ok(0) };
    if matches!(field, Node::Scalar(_)) && !rest.is_empty() {
        // A text may itself be YAML; what is edited there is a copy.
        let limits = crate::limits::Limits::default();
        let parsed = super::read::document(field.raw(), &limits)?;
        let mut inner = parsed.unwrap_or_else(Node::null);
        return edit_all(&mut inner, rest, make, edit);
    }
    edit_all(field, rest, make, edit)
}

/// Edits the items that have a field, or are a value, that the expression `value` fits.
fn edit_matching(
    node: &mut Node,
    field: &str,
    value: &str,
    rest: &[String],
    make: Option<Make>,
    edit: &mut dyn FnMut(&mut Node) -> Result<(), String>,
) -> Result<usize, String> {
    let kind = node.kind();
    let null = node.is_null();
    if null && make.is_some() {
        *node = Node::List(Vec::new());
    } else if null {
        return Ok(0);
    }
    let Node::List(items) = node else {
        return Err(format!("\"[{field}={value}]\" cannot be looked up in {kind}"));
    };
    let expression = Regex::new(value).map_err(|error| format!("\"{value}\" is no expression: {error}"))?;
    let fits = |item: &Node| match field {
        "" => expression.is_match(shown(item).trim()),
        field => item.get(field).is_some_and(|found| expression.is_match(shown(found).trim())),
    };
    let mut count = 0;
    for item in items.iter_mut().filter(|item| fits(item)) {
        count += if field.is_empty() {
            edit(item)?;
            1
        } else {
            edit_all(item, rest, make, edit)?
        };
    }
    if count > 0 || make.is_none() {
        return Ok(count);
    }
    let made = match field {
        "" => Node::open(value),
        field => {
            let mut map = Node::Map(Vec::new());
            map.put(field, Node::open(value));
            map
        }
    };
    if !fits(&made) {
        return Err(format!("nothing can be made that \"[{field}={value}]\" fits"));
    }
    items.push(made);
    let Some(last) = items.last_mut() else { return Ok(0) };
    if field.is_empty() {
        edit(last)?;
        return Ok(1);
    }
    edit_all(last, rest, make, edit)
}

/// A node as YAML shows it: texts that would read as something else are quoted.
fn shown(node: &Node) -> String {
    match node {
        Node::Scalar(scalar) => match scalar.tag {
            Tag::Text if scalar.quoted || super::node::resolve_plain(&scalar.text).0 != Tag::Text => {
                format!("\"{}\"", scalar.text)
            }
            _ => scalar.text.clone(),
        },
        Node::Map(_) | Node::List(_) => {
            node.to_json().map(|value| crate::to_yaml(&value)).unwrap_or_default()
        }
    }
}
