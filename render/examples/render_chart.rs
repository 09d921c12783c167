//! Prints what `helm template` prints, as JSON: `render_chart RELEASE CHART [-n NS] [-f values] [--set k=v]`.
//!
//! The output is one object `{"objects": [...], "hooks": [...], "crds": [...], "notes": ...}`, each entry with its
//! source, so that it can be compared with Helm's own documents. Exit code 1 and a message on failure.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for the terminal

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use render::{
    Capabilities, Chart, Entropy, Input, Limits, NoCluster, Release, merge_values, parse_values, render,
};
use serde_json::{Value, json};

/// Entropy that is the same in every run.
struct Fixed(u64);

impl Entropy for Fixed {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0.to_be_bytes()[0]
        };
        (0..count).map(|_| next()).collect()
    }

    fn now_unix_seconds(&mut self) -> i64 {
        1_700_000_000
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(output) => {
            println!("{output}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("Error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let data = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let name = path.strip_prefix(root).map_err(|error| error.to_string())?;
            files.push((name.to_string_lossy().replace('\\', "/"), data));
        }
    }
    Ok(())
}

fn load(path: &Path) -> Result<Chart, String> {
    if path.is_dir() {
        let mut files = Vec::new();
        collect(path, path, &mut files)?;
        return Chart::from_files(files).map_err(|error| error.to_string());
    }
    let data = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Chart::from_archive(&data, &Limits::default()).map_err(|error| error.to_string())
}

/// `a.b=1` as nested maps; the value is read as YAML.
fn set(text: &str) -> Result<Value, String> {
    let (path, value) = text.split_once('=').ok_or_else(|| format!("--set {text}: expected key=value"))?;
    let parsed = parse_values(&format!("x: {value}")).map_err(|error| error.to_string())?;
    let value = parsed.get("x").cloned().unwrap_or(Value::Null);
    Ok(path.rsplit('.').fold(value, |inner, key| json!({ key: inner })))
}

fn run() -> Result<String, String> {
    let mut arguments = std::env::args().skip(1);
    let (mut positional, mut namespace, mut values) = (Vec::new(), "default".to_owned(), json!({}));
    let mut skip_crds = true;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument}: a value is missing"));
        match argument.as_str() {
            "-n" | "--namespace" => namespace = value()?,
            "-f" | "--values" => {
                let path = value()?;
                let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
                values = merge_keeping_nulls(values, parse_values(&text).map_err(|error| error.to_string())?);
            }
            "--set" => values = merge_keeping_nulls(values, set(&value()?)?),
            "--include-crds" => skip_crds = false,
            _ => positional.push(argument),
        }
    }
    let [release, path] = positional.as_slice() else {
        return Err(
            "usage: render_chart RELEASE CHART [-n NS] [-f values] [--set k=v] [--include-crds]".to_owned()
        );
    };
    let chart = load(&PathBuf::from(path))?;
    let (capabilities, limits) = (Capabilities::default(), Limits::default());
    let release =
        Release { name: release, namespace: &namespace, revision: 1, is_install: true, is_upgrade: false };
    let input = Input {
        chart: &chart,
        release,
        values: &values,
        integers: false,
        capabilities: &capabilities,
        limits: &limits,
        skip_crds,
        skip_schema_validation: false,
    };
    let rendered = render(&input, &mut Fixed(42), &NoCluster).map_err(|error| error.to_string())?;
    let objects: Vec<Value> = rendered
        .objects
        .iter()
        .map(|object| json!({"source": object.source, "value": object.value}))
        .collect();
    let hooks: Vec<Value> = rendered
        .hooks
        .iter()
        .map(|hook| json!({"source": hook.object.source, "value": hook.object.value}))
        .collect();
    let crds: Vec<Value> = rendered
        .crds
        .iter()
        .flatten()
        .map(|object| json!({"source": object.source, "value": object.value}))
        .collect();
    let out = json!({"objects": objects, "hooks": hooks, "crds": crds, "notes": rendered.notes});
    serde_json::to_string_pretty(&out).map_err(|error| error.to_string())
}

/// User values over user values: later ones win, nulls stay to delete the chart's defaults.
fn merge_keeping_nulls(base: Value, over: Value) -> Value {
    match (base, over) {
        (Value::Object(mut base), Value::Object(over)) => {
            for (key, value) in over {
                let merged = match base.remove(&key) {
                    Some(existing @ Value::Object(_)) if value.is_object() => {
                        merge_keeping_nulls(existing, value)
                    }
                    _ => value,
                };
                base.insert(key, merged);
            }
            Value::Object(base)
        }
        (base, over) => merge_values(base, over),
    }
}
