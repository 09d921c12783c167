//! Command lines: `skein render` and `helm template` get the same one in a folder of their own; standard output, the
//! exit code, the cause of a refusal and the files that are written must be the same.
//!
//! `lines.txt` holds them, one a line. A `!` before a line: both refuse it, each in its own words (usage is told by
//! the library that reads the command line).

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::corpus::same_refusal;
use crate::generator::write;
use crate::helm;

/// What both find in their folder.
const FILES: &[(&str, &str)] = &[
    (
        "chart/Chart.yaml",
        "apiVersion: v2\nname: lines\nversion: 1.2.3\nappVersion: \"4.5\"\nkubeVersion: '>=1.20.0-0'\n",
    ),
    ("chart/values.yaml", "a: 1\nlist: [x, y]\nmap: {k: v, gone: soon}\nport: 80\n"),
    ("chart/values.schema.json", "{\"properties\": {\"port\": {\"type\": \"integer\"}}}"),
    ("chart/crds/thing.yaml", "kind: CustomResourceDefinition\nmetadata: {name: things}\n"),
    (
        "chart/templates/all.yaml",
        "kind: ConfigMap\nmetadata: {name: \"{{ .Release.Name }}\", namespace: {{ .Release.Namespace }}}\n\
         data:\n  values: {{ .Values | toJson | quote }}\n  release: {{ .Release | toJson | quote }}\n  \
         kube: {{ .Capabilities.KubeVersion.Version }}\n  api: {{ .Capabilities.APIVersions.Has \"x.io/v1/Thing\" }}\n",
    ),
    (
        "chart/templates/sub/hook.yaml",
        "kind: Job\nmetadata:\n  name: hook\n  annotations: {helm.sh/hook: pre-install}\n---\nkind: Pod\nmetadata:\n  \
         name: test\n  annotations: {helm.sh/hook: test}\n",
    ),
    ("chart/templates/empty.yaml", "{{ if .Values.never }}kind: Never{{ end }}\n"),
    ("chart/templates/NOTES.txt", "notes\n"),
    ("one.yaml", "a: 2\nmap: {gone: null, new: 1e3}\n"),
    ("two.yaml", "a: 3\nlist: []\n"),
    ("bad.yaml", "a: [\n"),
    ("list.yaml", "- a\n"),
    ("empty.yaml", ""),
    ("text.txt", "first\nsecond: {}\n"),
    ("stdin.yaml", "a: stdin\n"),
];

/// What a program did.
struct Done {
    printed: helm::Printed,
    code: Option<i32>,
    written: BTreeMap<PathBuf, String>,
}

/// Runs every line; answers how many there were, and what differs.
pub(crate) fn differences(work: &Path) -> (usize, Vec<String>) {
    let lines = include_str!("lines.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<&str> = lines.collect();
    let found =
        lines.iter().enumerate().filter_map(|(at, line)| difference(line, &work.join(at.to_string())));
    let found = found.collect();
    (lines.len(), found)
}

fn difference(line: &str, work: &Path) -> Option<String> {
    let (in_own_words, arguments) = match line.strip_prefix("! ") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let mut skein = Command::new(skein_tests::mesh::program().expect("skein is built"));
    skein.arg("render").args(&arguments);
    let mut real = helm::bounded(helm::binary());
    real.arg("template").args(&arguments).env("HOME", work).env("TZ", "UTC").env("PATH", "/nonexistent");
    let (ours, theirs) = (done(skein, &work.join("ours")), done(real, &work.join("helm")));
    let what = match (&ours.printed, &theirs.printed) {
        (Ok(ours), Ok(theirs)) if ours == theirs && !in_own_words => None,
        (Err(_), Err(_)) if in_own_words => None,
        (Err(ours), Err(theirs)) => same_refusal(ours, theirs),
        (ours, theirs) => Some(format!("ours: {ours:?}\nhelm: {theirs:?}")),
    };
    let usage = in_own_words && ours.code.is_some_and(|code| code != 0);
    let what = what.or_else(|| {
        let same = usage || ours.code == theirs.code;
        (!same).then(|| format!("exit codes {:?} and {:?}", ours.code, theirs.code))
    });
    let what = what.or_else(|| {
        (ours.written != theirs.written)
            .then(|| format!("written by us: {:?}\nby helm: {:?}", ours.written, theirs.written))
    });
    what.map(|what| format!("{line}\n{what}\n"))
}

/// Runs a program in a fresh folder with the files in it and `stdin.yaml` as its standard input.
fn done(mut command: Command, folder: &Path) -> Done {
    let files: Vec<(String, Vec<u8>)> =
        FILES.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    write(folder, &files);
    let stdin = File::open(folder.join("stdin.yaml")).expect("it was written");
    let output = command.current_dir(folder).stdin(stdin).output().expect("the program runs");
    let printed = if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(match text.trim().strip_prefix("skein: ") {
            Some(reason) => reason.to_owned(),
            None => helm::reason(&text),
        })
    };
    let mut written = BTreeMap::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(next).expect("a folder can be read") {
            let path = entry.expect("an entry can be read").path();
            let name = path.strip_prefix(folder).expect("it lies inside").to_owned();
            if path.is_dir() {
                pending.push(path);
            } else if !FILES.iter().any(|(known, _)| Path::new(known) == name) {
                written.insert(name, std::fs::read_to_string(&path).expect("it is text"));
            }
        }
    }
    Done { printed, code: output.status.code(), written }
}
