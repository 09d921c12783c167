//! Every chart under `tests/charts` renders as the real Helm rendered it: object for object, in the same order, and
//! refuses what Helm refuses. `tests/refresh` asks Helm again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // tests

use std::fs;
use std::path::{Path, PathBuf};

use render::{
    Capabilities, Chart, Entropy, Input, Limits, NoCluster, Release, RenderError, Rendered, parse_values,
    render,
};
use serde_json::Value;

struct Zeros;

impl Entropy for Zeros {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        vec![0; count]
    }

    fn now_unix_seconds(&mut self) -> i64 {
        0
    }
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts")
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read(&path).unwrap()));
        }
    }
}

fn load(folder: &Path) -> Chart {
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    Chart::from_files(files).unwrap()
}

fn rendered(chart: &Chart, values: &Value) -> Result<Rendered, RenderError> {
    let release =
        Release { name: "rel", namespace: "apps", revision: 1, is_install: true, is_upgrade: false };
    let (capabilities, limits) = (Capabilities::default(), Limits::default());
    let input = Input {
        chart,
        release,
        values,
        integers: false,
        capabilities: &capabilities,
        limits: &limits,
        skip_crds: false,
        skip_schema_validation: false,
    };
    render(&input, &mut Zeros, &NoCluster)
}

/// Numbers as JSON writes them: a whole float and an integer are the same.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.as_i64().is_none() || float.abs() > 9e15 => Value::from(float),
            _ => value.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(entries) => {
            Value::Object(entries.iter().map(|(key, item)| (key.clone(), normal(item))).collect())
        }
        other => other.clone(),
    }
}

fn documents(rendered: &Rendered) -> Vec<(String, Value)> {
    let hooks = rendered.hooks.iter().map(|hook| &hook.object);
    let all = rendered.crds.iter().flatten().chain(&rendered.objects).chain(hooks);
    all.map(|object| (object.source.clone(), normal(&object.value))).collect()
}

fn expected(path: &Path) -> Vec<(String, Value)> {
    let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let list = json["documents"].as_array().unwrap();
    list.iter().map(|one| (one["source"].as_str().unwrap().to_owned(), normal(&one["value"]))).collect()
}

/// Lines in any order: Helm walks schemas in random order.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.trim().lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_chart_renders_as_helm_rendered_it() {
    let mut cases = 0;
    for folder in fs::read_dir(charts()).unwrap() {
        let folder = folder.unwrap().path();
        let chart = load(&folder.join("chart"));
        for values in fs::read_dir(folder.join("values")).unwrap() {
            let path = values.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let values = parse_values(&fs::read_to_string(&path).unwrap()).unwrap();
            let result = rendered(&chart, &values);
            let json = folder.join("expected").join(format!("{name}.json"));
            let case = format!("{} with {name}", folder.display());
            cases += 1;
            if !json.exists() {
                refuses_like_helm(
                    &case,
                    &result.unwrap_err(),
                    &folder.join("expected").join(format!("{name}.error")),
                );
                continue;
            }
            let got = documents(&result.unwrap_or_else(|error| panic!("{case}: {error}")));
            let want = expected(&json);
            let sources =
                |list: &[(String, Value)]| list.iter().map(|(source, _)| source.clone()).collect::<Vec<_>>();
            assert_eq!(sources(&got), sources(&want), "{case}");
            for ((source, got), (_, want)) in got.iter().zip(&want) {
                assert_eq!(got, want, "{case}: {source}");
            }
        }
    }
    assert!(cases >= 20, "only {cases} cases were found");
}

/// The same words, but for the YAML reader's own and for recursion, which the bound stops earlier.
fn refuses_like_helm(case: &str, error: &RenderError, path: &Path) {
    let want = fs::read_to_string(path).unwrap();
    let got = error.to_string();
    match error {
        RenderError::Manifest { file, .. } => {
            assert!(want.contains(&format!("YAML parse error on {file}")), "{case}: {got}")
        }
        RenderError::Limit { .. } => assert!(want.contains("unable to execute template"), "{case}: {got}"),
        RenderError::Values { .. } => assert!(want.contains("type mismatch on web"), "{case}: {got}"),
        _ => assert_eq!(lines(&got), lines(&want), "{case}"),
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let chart = load(&charts().join("umbrella/chart"));
    let first = rendered(&chart, &Value::Null).unwrap();
    for _ in 0..5 {
        assert_eq!(rendered(&chart, &Value::Null).unwrap(), first);
    }
}

#[test]
fn hooks_carry_events_weights_and_policies() {
    use render::{DeletePolicy, HookEvent};
    let chart = load(&charts().join("hooks/chart"));
    let out = rendered(&chart, &Value::Null).unwrap();
    let find =
        |name: &str| out.hooks.iter().find(|hook| hook.object.value["metadata"]["name"] == name).unwrap();
    let migrate = find("migrate");
    assert_eq!(migrate.events, [HookEvent::PreInstall, HookEvent::PreUpgrade]);
    assert_eq!(migrate.weight, 5);
    assert_eq!(migrate.delete_policies, [DeletePolicy::BeforeHookCreation, DeletePolicy::HookSucceeded]);
    assert_eq!(find("seed").weight, 4);
    assert_eq!(find("check").events, [HookEvent::Test]);
    assert_eq!(find("check").weight, 0);
    assert_eq!(find("check").delete_policies, [DeletePolicy::BeforeHookCreation]);
    assert_eq!(out.notes.as_deref(), Some("Thank you for hooks.\n"));
    assert!(!out.hooks.iter().any(|hook| hook.object.value["metadata"]["name"] == "unknown"));
}
