//! Random umbrellas: charts, the conditions and tags on them, what they import, and the values laid over them.
//!
//! Imports do not name `global`: a second import into the same place as one of `global` reaches the child's own
//! globals with us, and not with Helm.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Case, Mode};
use crate::generator::Random;

/// Names of fields; charts are called as some of them.
const NAMES: [&str; 11] =
    ["a", "b", "c", "sub", "leaf", "alt", "deep", "global", "exports", "enabled", "tags"];

/// Charts by folder, root first.
const FOLDERS: [&str; 4] = ["", "charts/sub/", "charts/sub/charts/deep/", "charts/leaf/"];

fn name(random: &mut Random) -> String {
    (*random.pick(&NAMES)).to_owned()
}

/// A value that is no map or list.
fn scalar(random: &mut Random) -> Value {
    match random.below(12) {
        0 | 1 => Value::Null,
        2 => json!(true),
        3 => json!(false),
        4 => json!(0),
        5 => json!(7),
        6 => json!(1.5),
        7 => json!(-3_000_000_000_i64),
        8 => json!(""),
        9 => json!("true"),
        10 => json!("text, {with} signs"),
        _ => json!("x"),
    }
}

fn value(random: &mut Random, depth: usize) -> Value {
    match random.below(10) {
        0..=4 if depth > 0 => map(random, depth - 1),
        5 if depth > 0 => {
            let count = random.below(4);
            (0..count).map(|_| value(random, depth - 1)).collect()
        }
        _ => scalar(random),
    }
}

fn map(random: &mut Random, depth: usize) -> Value {
    let mut entries = Map::new();
    for _ in 0..random.below(5) {
        let name = name(random);
        let content = match name.as_str() {
            "enabled" => json!(random.chance(50)),
            // Most lists have one name, and most maps others: else hardly a path would fit.
            "c" if random.chance(92) => (0..random.below(4)).map(|_| scalar(random)).collect(),
            "sub" | "leaf" | "alt" | "deep" | "global" | "exports" | "tags" if random.chance(92) => {
                if depth > 0 { map(random, depth - 1) } else { json!({}) }
            }
            _ => value(random, depth),
        };
        entries.insert(name, content);
    }
    Value::Object(entries)
}

/// Values in which charts, globals and tags are maps more often than chance would have it.
fn values(random: &mut Random) -> Value {
    let Value::Object(mut entries) = map(random, 3) else { return json!({}) };
    for name in ["sub", "leaf", "alt", "deep", "global", "exports", "tags"] {
        let is_odd = entries.get(name).is_some_and(|value| !value.is_object() && !value.is_null());
        if random.chance(25) || (is_odd && random.chance(96)) {
            entries.insert(name.to_owned(), map(random, 2));
        }
    }
    if random.chance(25) {
        entries.insert("tags".to_owned(), json!({"one": random.chance(50), "two": random.chance(50)}));
    }
    if random.chance(15) {
        entries.insert("exports".to_owned(), json!({"a": map(random, 1), "b": map(random, 1)}));
    }
    Value::Object(entries)
}

const CONDITIONS: [&str; 8] = [
    "sub.enabled",
    "leaf.enabled",
    "alt.enabled",
    "a.enabled",
    "enabled",
    "global.enabled",
    "a,sub.enabled",
    "global.a,b",
];

/// An entry of `dependencies`.
fn dependency(random: &mut Random, name: &str, alias: Option<&str>) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(name));
    let version = *random.pick(&["*", "*", "*", ">=1.0.0", "~1.2", "1.2.3", "1.x", "^1", "> 1.0, < 2", "^2"]);
    entry.insert("version".to_owned(), json!(version));
    if let Some(alias) = alias {
        entry.insert("alias".to_owned(), json!(alias));
    }
    if random.chance(40) {
        entry.insert("condition".to_owned(), json!(random.pick(&CONDITIONS)));
    }
    if random.chance(25) {
        let tags: Vec<&str> = if random.chance(50) { vec!["one"] } else { vec!["two", "one"] };
        entry.insert("tags".to_owned(), json!(tags));
    }
    if random.chance(40) {
        let imports: Vec<Value> = (0..=random.below(2))
            .map(|_| match random.below(4) {
                0 => json!({"child": imported(random), "parent": imported(random)}),
                1 => json!({"child": format!("exports.{}", imported(random)), "parent": "."}),
                2 => json!({"child": random.pick(&["a", "b", "exports"]), "parent": random.pick(&["a", "b", "c"])}),
                _ => json!(random.pick(&["a", "b", "c"])),
            })
            .collect();
        entry.insert("import-values".to_owned(), json!(imports));
    }
    Value::Object(entry)
}

/// A path of names.
fn imported(random: &mut Random) -> String {
    let parts: Vec<String> = (0..=random.below(3)).map(|_| name(random)).collect();
    parts.join(".").replace("global", "new")
}

/// A key of an option: names, items, and what must be escaped.
fn key(random: &mut Random) -> String {
    let count = 1 + random.below(3);
    let mut parts = Vec::new();
    for at in 0..count {
        let last = at + 1 == count;
        let part = match random.below(30) {
            0 => "x\\.y".to_owned(),
            1 => "p\\,q".to_owned(),
            2 => "k\\=v".to_owned(),
            3 => "i\\-0".to_owned(),
            4 if random.chance(10) => String::new(),
            5 if random.chance(20) => format!("c[{}]", random.pick(&["-1", "x", "", "99999"])),
            5..=8 => format!("c[{}]", random.below(4)),
            9 => format!("c[{}][{}]", random.below(2), random.below(2)),
            10..=20 if !last => {
                (*random.pick(&["sub", "leaf", "alt", "deep", "global", "exports", "tags"])).to_owned()
            }
            _ if random.chance(4) => name(random),
            _ => (*random.pick(&["a", "b", "enabled", "new", "new-er"])).to_owned(),
        };
        parts.push(part);
    }
    parts.join(".")
}

/// What stands behind the equals sign of `--set`.
const TEXTS: [&str; 26] = [
    "1",
    "0",
    "-5",
    "007",
    "1.5",
    "1e3",
    "9223372036854775808",
    "true",
    "false",
    "null",
    "",
    "text",
    "two words",
    "a\\,b",
    "\\{x\\}",
    "{}",
    "{1,two,true}",
    "{a,,b}",
    "{null}",
    "{a\\,b,c}",
    "~",
    "\"quoted\"",
    "a=b",
    "a[0]",
    "{a",
    "x.y",
];

fn assignment(random: &mut Random, mode: Mode) -> String {
    let key = key(random);
    match mode {
        Mode::Json => match random.below(40) {
            0..=5 => map(random, 2).to_string(),
            6 => value(random, 2).to_string(),
            7 => format!("{key}={{\"a\": "),
            8 => key,
            _ => format!("{key}={}", value(random, 2)),
        },
        Mode::File if random.chance(95) => format!("{key}=text"),
        Mode::File => format!("{key}=missing"),
        Mode::Typed | Mode::Text | Mode::Literal if random.chance(1) => key,
        Mode::Typed | Mode::Text | Mode::Literal => format!("{key}={}", random.pick(&TEXTS)),
    }
}

fn option(random: &mut Random) -> (Mode, String) {
    let mode = *random.pick(&[
        Mode::Typed,
        Mode::Typed,
        Mode::Typed,
        Mode::Text,
        Mode::Json,
        Mode::File,
        Mode::Literal,
    ]);
    if random.chance(2) {
        return (mode, format!("{}={{a", key(random)));
    }
    let count = if mode == Mode::Json { 1 } else { 1 + random.below(3) };
    let parts: Vec<String> = (0..count).map(|_| assignment(random, mode)).collect();
    (mode, parts.join(","))
}

/// One case.
pub(crate) fn case(random: &mut Random) -> Case {
    let mut charts = BTreeMap::new();
    for folder in FOLDERS {
        let name = match folder.trim_end_matches('/').rsplit('/').next() {
            None | Some("") => "root",
            Some(name) => name,
        };
        let mut chart = json!({"apiVersion": "v2", "name": name, "version": "1.2.3"});
        let mut dependencies = Vec::new();
        match name {
            "root" => {
                if random.chance(75) {
                    dependencies.push(dependency(random, "sub", None));
                }
                if random.chance(50) {
                    let alias = random.chance(50).then_some("alt");
                    dependencies.push(dependency(random, "leaf", alias));
                }
                if random.chance(20) {
                    dependencies.push(dependency(random, "leaf", Some("b")));
                }
            }
            "sub" if random.chance(60) => dependencies.push(dependency(random, "deep", None)),
            _ => {}
        }
        if !dependencies.is_empty() {
            chart["dependencies"] = Value::Array(dependencies);
        }
        charts.insert(format!("{folder}Chart.yaml"), chart);
        charts.insert(format!("{folder}values.yaml"), values(random));
    }
    let files = (0..random.below(3)).map(|_| values(random)).collect();
    let options = (0..random.below(4)).map(|_| option(random)).collect();
    Case { charts, files, options }
}

/// Cases with less in them.
pub(crate) fn smaller(case: &Case) -> Vec<Case> {
    let mut out = Vec::new();
    for at in 0..case.options.len() {
        let mut less = case.clone();
        less.options.remove(at);
        out.push(less);
    }
    for at in 0..case.files.len() {
        let mut less = case.clone();
        less.files.remove(at);
        out.push(less);
    }
    for (path, value) in &case.charts {
        if path.ends_with("values.yaml") || value.get("dependencies").is_some() {
            for value in fewer(value, path.ends_with("Chart.yaml")) {
                let mut less = case.clone();
                less.charts.insert(path.clone(), value);
                out.push(less);
            }
        }
    }
    for (at, value) in case.files.iter().enumerate() {
        for value in fewer(value, false) {
            let mut less = case.clone();
            less.files[at] = value;
            out.push(less);
        }
    }
    for (at, (mode, line)) in case.options.iter().enumerate() {
        for part in line.split(',').filter(|_| line.contains(',')) {
            let mut less = case.clone();
            less.options[at] = (*mode, part.to_owned());
            out.push(less);
        }
    }
    out
}

/// A value with one entry less, outer ones first; what a chart needs stays.
fn fewer(value: &Value, chart: bool) -> Vec<Value> {
    let mut out = Vec::new();
    match value {
        Value::Object(entries) => {
            let needed =
                |key: &str| chart && ["apiVersion", "name", "version", "child", "parent"].contains(&key);
            for key in entries.keys().filter(|key| !needed(key)) {
                let mut less = entries.clone();
                less.remove(key);
                out.push(Value::Object(less));
            }
            for (key, inner) in entries {
                for inner in fewer(inner, chart) {
                    let mut less = entries.clone();
                    less.insert(key.clone(), inner);
                    out.push(Value::Object(less));
                }
            }
        }
        Value::Array(items) => {
            for at in 0..items.len() {
                let mut less = items.clone();
                less.remove(at);
                out.push(Value::Array(less));
                for inner in fewer(&items[at], chart) {
                    let mut less = items.clone();
                    less[at] = inner;
                    out.push(Value::Array(less));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    out
}
