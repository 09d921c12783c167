//! JSON patches (RFC 6902) as kustomize applies them.

use serde_json::{Map, Value as Json};

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Option<Json>,
}

/// Reads a list of operations.
///
/// # Errors
/// When it is no list of maps.
pub(crate) fn read(value: &Json) -> Result<Vec<Operation>, String> {
    let Json::Array(items) = value else {
        return Err("a JSON patch is a list of operations".to_owned());
    };
    let text = |map: &Map<String, Json>, name: &str| map.get(name).and_then(Json::as_str).map(str::to_owned);
    let items = items.iter().map(|item| match item {
        Json::Object(map) => Ok(Operation {
            op: text(map, "op").unwrap_or_default(),
            path: text(map, "path"),
            from: text(map, "from"),
            value: map.get("value").cloned(),
        }),
        _ => Err("an operation of a JSON patch is a map".to_owned()),
    });
    items.collect()
}

/// Applies operations in order.
///
/// # Errors
/// When one does not apply; what came before it was done.
pub(crate) fn apply(document: &mut Json, operations: &[Operation]) -> Result<(), String> {
    for operation in operations {
        let path = operation.path.as_deref().ok_or("an operation without \"path\"")?;
        let fail =
            |reason: String| format!("{} operation does not apply to \"{path}\": {reason}", operation.op);
        operation.apply(document, path).map_err(fail)?;
    }
    Ok(())
}

impl Operation {
    fn from(&self) -> Result<&str, String> {
        self.from.as_deref().ok_or_else(|| "\"from\" is missing".to_owned())
    }

    fn apply(&self, document: &mut Json, path: &str) -> Result<(), String> {
        match self.op.as_str() {
            "add" => add(document, path, self.value.clone().unwrap_or(Json::Null)),
            "remove" => remove(document, path).map(|_| ()),
            "replace" => {
                let value = self.value.clone().unwrap_or(Json::Null);
                match find(document, path)? {
                    Some(found) => {
                        *found = value;
                        Ok(())
                    }
                    None => Err("missing key".to_owned()),
                }
            }
            "move" => {
                let value = remove(document, self.from()?)?;
                add(document, path, value)
            }
            "copy" => {
                let found = find(document, self.from()?)?;
                let value = found.cloned().ok_or_else(|| "\"from\" is not there".to_owned())?;
                add(document, path, value)
            }
            "test" => {
                let wanted = self.value.as_ref().unwrap_or(&Json::Null);
                let found = if path.is_empty() { Some(&mut *document) } else { find(document, path)? };
                let same = found.map_or(wanted.is_null(), |found| equal(found, wanted));
                if same { Ok(()) } else { Err("testing value failed".to_owned()) }
            }
            other => Err(format!("unexpected kind \"{other}\"")),
        }
    }
}

/// Numbers are compared as numbers.
fn equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

fn decoded(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The map or list that holds the last part of a path, and that part.
fn container<'d>(document: &'d mut Json, path: &str) -> Result<(&'d mut Json, String), String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() < 2 {
        return Err("the path must begin with \"/\"".to_owned());
    }
    let last = parts.pop().unwrap_or_default();
    let mut at = document;
    for part in &parts[1..] {
        let missing = || format!("the path is missing at \"{part}\"");
        at = match at {
            Json::Object(map) => map.get_mut(&decoded(part)).ok_or_else(missing)?,
            Json::Array(items) => {
                let index = index(part, items.len())?;
                items.get_mut(index).ok_or_else(missing)?
            }
            _ => return Err(missing()),
        };
    }
    if at.is_object() || at.is_array() {
        Ok((at, decoded(last)))
    } else {
        Err("the path ends too early".to_owned())
    }
}

/// A position in a list; negative ones count from its end.
fn index(part: &str, length: usize) -> Result<usize, String> {
    let wrong = || format!("\"{part}\" is no position in a list of {length}");
    let at: i64 = part.parse().map_err(|_| wrong())?;
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if at < 0 { at + length } else { at };
    usize::try_from(at).map_err(|_| wrong())
}

fn find<'d>(document: &'d mut Json, path: &str) -> Result<Option<&'d mut Json>, String> {
    let (holder, key) = container(document, path)?;
    Ok(match holder {
        Json::Object(map) => map.get_mut(&key),
        Json::Array(items) => {
            let at = index(&key, items.len())?;
            if at >= items.len() {
                return Err(format!("invalid index referenced: {key}"));
            }
            items.get_mut(at)
        }
        _ => None,
    })
}

fn add(document: &mut Json, path: &str, value: Json) -> Result<(), String> {
    let (holder, key) = container(document, path)?;
    match holder {
        Json::Object(map) => {
            map.insert(key, value);
        }
        Json::Array(items) if key == "-" => items.push(value),
        Json::Array(items) => {
            let at = index(&key, items.len() + 1)?;
            if at > items.len() {
                return Err(format!("unable to access invalid index: {key}"));
            }
            items.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn remove(document: &mut Json, path: &str) -> Result<Json, String> {
    let (holder, key) = container(document, path)?;
    match holder {
        Json::Object(map) => {
            map.remove(&key).ok_or_else(|| format!("unable to remove nonexistent key: {key}"))
        }
        Json::Array(items) => {
            let at = index(&key, items.len())?;
            if at >= items.len() {
                return Err(format!("unable to access invalid index: {key}"));
            }
            Ok(items.remove(at))
        }
        _ => Err("nothing to remove".to_owned()),
    }
}
