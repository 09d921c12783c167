//! Time as fuel: what a call costs beside the step that every call costs, in steps of about a quarter of a microsecond.

use super::value::Value;

/// A key pair or a slow hash takes up to a tenth of a second.
const KEY: u64 = 250_000;
/// Bytes that are looked at in the time of one step.
const BYTES: u64 = 64;
/// Nodes counted of one argument; only a map that contains itself has more.
const NODES: u64 = 1_000_000;
/// Levels counted of one argument.
const DEPTH: usize = 200;

/// Steps for a call with these arguments.
pub(super) fn steps(function: &str, arguments: &[Value]) -> u64 {
    match function {
        "genCA"
        | "genCAWithKey"
        | "genPrivateKey"
        | "genSelfSignedCert"
        | "genSelfSignedCertWithKey"
        | "genSignedCert"
        | "genSignedCertWithKey"
        | "bcrypt"
        | "htpasswd" => KEY,
        // These walk whole values.
        "deepCopy" | "deepEqual" | "eq" | "has" | "merge" | "mergeOverwrite" | "mustDeepCopy" | "mustHas"
        | "mustMerge" | "mustMergeOverwrite" | "mustToJson" | "mustToPrettyJson" | "mustToRawJson"
        | "mustToToml" | "mustToYaml" | "mustUniq" | "mustWithout" | "ne" | "print" | "printf"
        | "println" | "quote" | "squote" | "toJson" | "toPrettyJson" | "toRawJson" | "toString"
        | "toStrings" | "toToml" | "toYaml" | "toYamlPretty" | "uniq" | "without" => {
            let mut nodes = 0;
            arguments.iter().map(|value| deep(value, &mut nodes, DEPTH)).sum::<u64>() + nodes / 4
        }
        _ => arguments.iter().map(shallow).sum(),
    }
}

fn shallow(value: &Value) -> u64 {
    match value {
        Value::Str(text) => text.bytes().len() as u64 / BYTES,
        Value::List(list) => list.items().len() as u64 / 16,
        Value::Dict(dict) => dict.len() as u64 / 16,
        _ => 0,
    }
}

/// Steps for the bytes of a value and all in it; counts its nodes.
fn deep(value: &Value, nodes: &mut u64, depth: usize) -> u64 {
    *nodes += 1;
    if depth == 0 || *nodes > NODES {
        return 0;
    }
    match value {
        Value::Str(text) => text.bytes().len() as u64 / BYTES,
        Value::List(list) => list.items().iter().map(|item| deep(item, nodes, depth - 1)).sum(),
        Value::Dict(dict) => dict.entries().iter().map(|(_, item)| deep(item, nodes, depth - 1)).sum(),
        _ => 0,
    }
}
