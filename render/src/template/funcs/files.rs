//! The methods of `.Files`.

use std::collections::BTreeMap;

use super::Answer;
use super::encoding::base64_encode;
use super::paths::base;
use crate::chart::glob::Glob;
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::print::bytes_of;
use crate::template::value::{Dict, DictKind, List, ListKind, Text, Value};

/// The content of a file as the value a map of files holds.
pub(crate) fn content(bytes: &[u8]) -> Value {
    Value::Str(Text::from(bytes))
}

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Str(text) => text.bytes().to_vec(),
        other => bytes_of(other),
    }
}

/// The result of a method, or nothing where the name is not one.
pub(crate) fn method(env: &mut Env<'_>, files: &Dict, name: &str, args: Args<'_>) -> Option<Answer> {
    Some(match name {
        "Get" => args.utf8(0).map(|path| files.get(&path).unwrap_or_else(|| Value::text(""))),
        "GetBytes" => args.utf8(0).and_then(|path| {
            let bytes = files.get(&path).map(|value| bytes(&value)).unwrap_or_default();
            env.charge(bytes.len().saturating_mul(32))?;
            let items = bytes.into_iter().map(|byte| Value::Int(i64::from(byte))).collect();
            Ok(Value::List(List::new(items, ListKind::Bytes)))
        }),
        "Glob" => args.utf8(0).map(|pattern| {
            let glob = Glob::new(&pattern);
            let matching = files.entries().into_iter().filter(|(path, _)| glob.matches(path));
            Value::Dict(Dict::new(DictKind::Files, matching.collect()))
        }),
        "AsConfig" => Ok(data(files, |bytes| crate::template::value::lossy(bytes).into_owned())),
        "AsSecrets" => Ok(data(files, base64_encode)),
        "Lines" => args.utf8(0).map(|path| match files.get(&path) {
            Some(value) => {
                let bytes = bytes(&value);
                let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                Value::strings(text.split(|byte| *byte == b'\n').map(Text::from))
            }
            None => Value::strings(Vec::<Text>::new()),
        }),
        _ => return None,
    })
}

/// File names without their folders and contents, as YAML for a `data` field.
fn data(files: &Dict, show: impl Fn(&[u8]) -> String) -> Value {
    let mut entries = BTreeMap::new();
    for (path, value) in files.entries() {
        entries.insert(base(&path), serde_json::Value::String(show(&bytes(&value))));
    }
    let yaml = crate::yaml::emit::to_yaml(&serde_json::Value::Object(entries.into_iter().collect()));
    Value::text(yaml.strip_suffix('\n').unwrap_or(&yaml))
}
