//! Sveltos' access to objects of the management cluster: `getResource`, `getField`, `copy`, `setField`, `removeField`,
//! `chainSetField`, `chainRemoveField`. A name is an identifier of `templateResourceRefs`, or a top-level name such as
//! `Cluster`.
//!
//! # Why some fields are left out of copies
//! `copy`, `setField` and `removeField` write objects that are applied to another cluster. There the UID, the owners,
//! the version and the status of the original mean nothing, and owners that do not exist would have the copy deleted.

use serde_json::{Map, Value as Json};

use super::{Answer, Row, exact};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::json::{from_json, to_json, try_json};
use crate::template::value::Value;
use crate::yaml::emit;

pub(super) static TABLE: &[Row] = &[
    exact("getField", 2, get_field),
    exact("getResource", 1, |env, args| named(env, &args.utf8(0)?)),
    exact("copy", 1, |env, args| Ok(manifest(original(env, args)?))),
    exact("setField", 3, |env, args| {
        let mut object = original(env, args)?;
        set(&mut object, &path(&args.utf8(1)?)?, json(&args.any(2))?)?;
        Ok(manifest(object))
    }),
    exact("removeField", 2, |env, args| {
        let mut object = original(env, args)?;
        remove(&mut object, &path(&args.utf8(1)?)?);
        Ok(manifest(object))
    }),
    exact("chainSetField", 3, |env, args| {
        let mut object = original(env, args)?;
        set(&mut object, &path(&args.utf8(1)?)?, json(&args.any(2))?)?;
        Ok(from_json(&object))
    }),
    exact("chainRemoveField", 2, |env, args| {
        let mut object = original(env, args)?;
        remove(&mut object, &path(&args.utf8(1)?)?);
        Ok(from_json(&object))
    }),
];

/// The object of that name among the template's resources, or of its top level.
fn named(env: &mut Env<'_>, name: &str) -> Answer {
    let data = env.resources.clone().ok_or_else(|| Fault::Unsupported("getResource".to_owned()))?;
    let among = match data.get("MgmtResources") {
        Some(Value::Dict(resources)) => resources.get(name),
        _ => None,
    };
    env.touched.insert(match among {
        Some(_) => format!("MgmtResources.{name}"),
        None => name.to_owned(),
    });
    among.or_else(|| data.get(name)).ok_or_else(|| {
        Fault::message(format!(
            "resource {name:?} is not among the template's resources: name it in templateResourceRefs"
        ))
    })
}

/// A name, or the object itself.
fn object(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    match args.any(0) {
        Value::Str(name) => named(env, &name.lossy()),
        object => Ok(object),
    }
}

fn original(env: &mut Env<'_>, args: Args<'_>) -> Result<Json, Fault> {
    let original = to_json(&object(env, args)?);
    env.charge(original.to_string().len())?;
    Ok(original)
}

fn get_field(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let text = args.utf8(1)?;
    let mut value = object(env, args)?;
    for part in path(&text)? {
        let found = match &value {
            Value::Dict(dict) => dict.get(part),
            Value::List(list) => part.parse::<usize>().ok().and_then(|at| list.items().get(at).cloned()),
            _ => None,
        };
        value = found.ok_or_else(|| Fault::message(format!("field {text:?} not found")))?;
    }
    Ok(value)
}

fn path(text: &str) -> Result<Vec<&str>, Fault> {
    let parts: Vec<_> = text.split('.').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(Fault::message(format!(
            "field {text:?} names no field: a path such as spec.replicas is accepted"
        )));
    }
    Ok(parts)
}

fn json(value: &Value) -> Result<Json, Fault> {
    try_json(value).ok_or_else(|| Fault::message("the value cannot be a field of an object"))
}

/// Sets a field; maps on the way are made, list positions must exist.
fn set(object: &mut Json, path: &[&str], new: Json) -> Result<(), Fault> {
    let (last, way) = path.split_last().unwrap_or((&"", &[]));
    let missing = |part: &str| {
        Fault::message(format!("field {:?}: {part:?} is neither a map nor a list", path.join(".")))
    };
    let mut at = object;
    for part in way {
        at = match at {
            Json::Array(items) => part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index))
                .ok_or_else(|| missing(part))?,
            Json::Object(map) => map.entry(*part).or_insert_with(|| Json::Object(Map::new())),
            _ => return Err(missing(part)),
        };
    }
    match at {
        Json::Object(map) => {
            map.insert((*last).to_owned(), new);
        }
        Json::Array(items) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < items.len());
            items[index.ok_or_else(|| missing(last))?] = new;
        }
        _ => return Err(missing(last)),
    }
    Ok(())
}

/// Removes a field; what is not there is removed already.
fn remove(object: &mut Json, path: &[&str]) {
    let (last, way) = path.split_last().unwrap_or((&"", &[]));
    let mut at = object;
    for part in way {
        let next = match at {
            Json::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            Json::Object(map) => map.get_mut(*part),
            _ => None,
        };
        let Some(next) = next else { return };
        at = next;
    }
    match at {
        Json::Object(map) => {
            map.remove(*last);
        }
        Json::Array(items) => {
            if let Some(index) = last.parse::<usize>().ok().filter(|index| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

/// The object as YAML, without what belongs to the original only.
fn manifest(mut object: Json) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some(metadata) = map.get_mut("metadata").and_then(Json::as_object_mut) {
            for name in [
                "uid",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "managedFields",
                "ownerReferences",
                "finalizers",
                "selfLink",
            ] {
                metadata.remove(name);
            }
        }
    }
    let text = emit::to_yaml(&object);
    Value::text(text.strip_suffix('\n').unwrap_or(&text))
}
