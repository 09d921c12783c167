#![cfg(test)]
//! The listing is the architecture: which crate may know which, and how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file, in lines before its tests.
const FILE_LINES_MAX: usize = 600;

/// What each crate may depend on directly, among our own. A crate that is not listed may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("api", &[]),
    ("render", &[]),
    ("telemetry", &["protocol"]),
    ("kube-local", &[]),
    ("process", &[]),
    ("child", &[]),
    ("source", &["child"]),
    ("identity", &["protocol"]),
    ("link", &["protocol", "identity"]),
    ("spool", &["protocol"]),
    ("state", &["protocol"]),
    (
        "hub",
        &[
            "protocol",
            "api",
            "render",
            "telemetry",
            "identity",
            "link",
            "process",
            "child",
            "source",
            "state",
        ],
    ),
    ("regional-agent", &["protocol", "api", "telemetry", "identity", "link", "spool", "state", "process"]),
    ("edge-agent", &["protocol", "telemetry", "identity", "link", "spool", "state", "process"]),
    (
        "cli",
        &[
            "protocol",
            "api",
            "render",
            "identity",
            "process",
            "kube-local",
            "hub",
            "regional-agent",
            "edge-agent",
        ],
    ),
    (
        "skein-tests",
        &[
            "protocol",
            "api",
            "render",
            "telemetry",
            "kube-local",
            "process",
            "source",
            "identity",
            "link",
            "spool",
            "state",
            "hub",
            "regional-agent",
            "edge-agent",
        ],
    ),
];

/// Crates that are pure, and what they may not depend on.
const PURE: &[&str] = &["protocol", "render", "telemetry"];
const IMPURE: &[&str] = &["tokio", "quinn", "reqwest", "hyper", "rusqlite", "rand", "getrandom", "socket2"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Direct dependencies of each crate of the workspace, without those for tests only.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let needs = package["dependencies"].as_array().unwrap().iter();
            let needs = needs.filter(|need| need["kind"].is_null()).map(|need| text(&need["name"])).collect();
            (text(&package["name"]), needs)
        })
        .collect()
}

#[test]
fn crates_know_only_whom_the_arrows_allow() {
    let dependencies = dependencies();
    let ours: BTreeSet<_> = dependencies.keys().cloned().collect();
    let listed: BTreeSet<_> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(ours, listed, "the workspace and the list of arrows differ");
    for (name, allowed) in ARROWS {
        let known: BTreeSet<_> = dependencies[*name].intersection(&ours).map(String::as_str).collect();
        let wrong: Vec<_> = known.into_iter().filter(|known| !allowed.contains(known)).collect();
        assert!(wrong.is_empty(), "{name} depends on {wrong:?}, allowed are {allowed:?}");
    }
}

#[test]
fn pure_crates_have_no_sockets_no_runtime_and_no_storage() {
    let dependencies = dependencies();
    for name in PURE {
        let wrong: Vec<_> = IMPURE.iter().filter(|impure| dependencies[*name].contains(**impure)).collect();
        assert!(wrong.is_empty(), "{name} is pure, yet depends on {wrong:?}");
    }
}

#[test]
fn one_folder_is_one_crate_and_has_its_name() {
    for (name, _) in ARROWS.iter().filter(|(name, _)| *name != "skein-tests") {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}/Cargo.toml names another crate");
    }
}

#[test]
fn no_source_file_is_longer_than_a_reader_can_hold() {
    let output = Command::new("git").args(["ls-files", "--", "*.rs"]).current_dir(root()).output().unwrap();
    let files = String::from_utf8(output.stdout).unwrap();
    let mut long = Vec::new();
    for file in files.lines() {
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        let lines = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count();
        if lines > FILE_LINES_MAX && !file.contains("tests/") {
            long.push(format!("{file}: {lines}"));
        }
    }
    assert!(long.is_empty(), "split by noun what is longer than {FILE_LINES_MAX} lines: {long:#?}");
}
