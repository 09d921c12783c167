#![cfg(test)]
//! Kustomizations with what the real kustomize makes of them: `tests/kustomize/refresh` asks it again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use render::{Limits, kustomize, parse_yaml_documents};
use serde_json::Value;

type Tree = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kustomize")
}

/// The files of a case: lines `-- path --` begin one.
fn tree(text: &str) -> Tree {
    let mut files = Tree::new();
    let mut current = None;
    for line in text.split_inclusive('\n') {
        let name = line.trim_end().strip_prefix("-- ").and_then(|line| line.strip_suffix(" --"));
        match (name, &current) {
            (Some(name), _) => {
                files.insert(name.to_owned(), Vec::new());
                current = Some(name.to_owned());
            }
            (None, Some(name)) => files.get_mut(name).unwrap().extend(line.as_bytes()),
            (None, None) => {}
        }
    }
    files
}

fn build(files: &Tree) -> Result<Vec<Value>, kustomize::KustomizeError> {
    let overlay = files.keys().any(|name| name.starts_with("overlay/"));
    kustomize::build(files, if overlay { "overlay" } else { "" }, &Limits::default())
}

fn cases() -> Vec<(String, Tree)> {
    let files = std::fs::read_dir(folder().join("cases")).unwrap();
    let mut cases: Vec<(String, Tree)> = files
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, tree(&std::fs::read_to_string(&path).unwrap()))
        })
        .collect();
    cases.sort();
    assert!(cases.len() >= 15, "the cases are missing");
    cases
}

#[test]
fn every_case_comes_out_as_kustomize_makes_it_or_is_refused_where_it_refuses() {
    let mut wrong = Vec::new();
    for (name, files) in cases() {
        let made = build(&files);
        let expected = std::fs::read_to_string(folder().join(format!("expected/{name}.yaml")));
        match (expected, made) {
            (Ok(expected), Ok(made)) => {
                let expected = parse_yaml_documents(&expected, &Limits::default()).unwrap();
                let first = expected.iter().zip(&made).find(|(expected, made)| expected != made);
                if expected.len() != made.len() || first.is_some() {
                    wrong.push(format!("{name}: {} and {} objects, {first:#?}", expected.len(), made.len()));
                }
            }
            (Ok(_), Err(error)) => wrong.push(format!("{name}: refused: {error}")),
            (Err(_), Err(_)) => {
                assert!(folder().join(format!("expected/{name}.refused")).exists(), "{name}: run refresh");
            }
            (Err(_), Ok(made)) => wrong.push(format!("{name}: not refused: {made:#?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_same_tree_makes_the_same_objects_and_says_where_it_is_wrong() {
    for (name, files) in cases() {
        assert_eq!(build(&files), build(&files), "{name}");
    }
    let refused = |text: &str| build(&tree(text)).unwrap_err().to_string();
    let error = refused("-- overlay/kustomization.yaml --\nnamePrefixes: a\nresources: [x]\n");
    assert!(
        error.starts_with("overlay/kustomization.yaml: unknown field \"namePrefixes\"; accepted are"),
        "{error}"
    );
    let error = refused("-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\nkind: A\n");
    assert_eq!(error, "a.yaml: document 1: the field \"metadata.name\" of the A is missing");
}

#[test]
fn what_is_remote_or_must_be_run_is_refused_by_a_variant_of_its_own() {
    let refused = |field: &str| build(&tree(&format!("-- kustomization.yaml --\n{field}\n"))).unwrap_err();
    for url in
        ["https://example.com/a.yaml", "github.com/org/repo//path?ref=v1", "git@host.example:org/repo.git"]
    {
        let error = refused(&format!("resources: [\"{url}\"]"));
        let kustomize::KustomizeError::Remote { url: named, .. } = &error else { panic!("{url}: {error}") };
        assert_eq!(named, url);
    }
    for field in [
        "helmCharts: [{name: a, repo: b}]",
        "helmChartInflationGenerator: [{chartName: a}]",
        "transformers: [\"{apiVersion: v1, kind: Own, metadata: {name: a}}\"]",
    ] {
        let error = refused(field);
        assert!(matches!(error, kustomize::KustomizeError::Unsupported { .. }), "{field}: {error}");
    }
}

#[test]
fn bounds_are_errors_and_not_crashes() {
    let small = Limits {
        chart_files: 3,
        chart_file_bytes: 500,
        nesting_depth: 20,
        yaml_nodes: 200,
        ..Limits::default()
    };
    let refused = |text: &str| kustomize::build(&tree(text), "", &small).unwrap_err().to_string();
    let many = "-- a --\n-- b --\n-- c --\n-- d --\n";
    assert!(refused(many).contains("chart_files"));
    assert!(refused(&format!("-- a --\n{}\n", "x".repeat(600))).contains("chart_file_bytes"));
    let deep = format!(
        "-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\na: {}{}\n",
        "[".repeat(50),
        "]".repeat(50)
    );
    let error = refused(&deep);
    assert!(error.contains("nested too deeply"), "{error}");
    let bomb = "-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b]\n";
    assert!(refused(bomb).contains("aliases expanded"));
    let outside = Tree::from([("../a".to_owned(), Vec::new())]);
    assert!(kustomize::build(&outside, "", &small).is_err());
}
