//! What this agent lacks of what its peer has: told at `/status`, and kept in a file of the state folder, where
//! `edge-agent status` finds it also while the agent is not running.

use std::path::{Path, PathBuf};

use link::UplinkHandle;
use process::Process;
use protocol::version::{Lack, Lacks, MAJOR, Speaks};
use serde_json::{Value, json};

use crate::owner;

/// Name of the file.
const FILE: &str = "lacks.json";
/// Longest file that is read.
const BYTES_MAX: u64 = 64 * 1024;

/// What the agent lacks, as its peer told it.
pub(crate) fn lacks(lacks: &Lacks) -> Value {
    let told = |lack: &Lack| json!({"feature": lack.name, "since": format!("{MAJOR}.{}", lack.since), "lost": lack.lost});
    lacks.0.iter().map(told).collect()
}

/// Keeps the file as the newest peer tells it, until the process ends.
pub(crate) fn follow(folder: PathBuf, uplink: &UplinkHandle, speaks: Speaks, process: &Process) {
    let mut states = uplink.watch();
    let following = async move {
        let mut known = None;
        loop {
            let now = {
                let state = states.borrow_and_update();
                state.upper.map(|upper| (upper, state.software.clone(), state.lacks.clone()))
            };
            if let Some(news) = now.filter(|now| known.as_ref() != Some(now)) {
                let text = json!({
                    "protocol": speaks.to_string(), "peer": news.1, "peerProtocol": news.0.to_string(),
                    "lacks": lacks(&news.2),
                });
                if let Err(error) = owner::store(&folder, FILE, &text.to_string()) {
                    tracing::warn!(%error, "what this agent lacks is not kept for `edge-agent status`");
                }
                known = Some(news);
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    };
    process.tasks.spawn(process.cancel.clone().run_until_cancelled_owned(following));
}

/// What is kept, for a person: a line for each feature that is lacking, under one that says whose version has them.
pub(crate) fn kept(folder: &Path) -> Vec<String> {
    let path = folder.join(FILE);
    let small = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() <= BYTES_MAX);
    let text = if small { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    let Ok(told) = serde_json::from_str::<Value>(&text) else { return Vec::new() };
    let word = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let Some(lacks) = told["lacks"].as_array().filter(|lacks| !lacks.is_empty()) else { return Vec::new() };
    let head = format!(
        "this agent speaks protocol {} and lacks what \"{}\" ({}) has; install that version",
        word(&told, "protocol"),
        word(&told, "peer"),
        word(&told, "peerProtocol")
    );
    let line = |lack: &Value| {
        format!("  {} ({}): {}", word(lack, "feature"), word(lack, "since"), word(lack, "lost"))
    };
    std::iter::once(head).chain(lacks.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::version::Features;

    #[test]
    fn what_is_kept_is_told_and_what_cannot_be_read_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(folder.path()), Vec::<String>::new());
        let told = Lacks::of(Features::named("dry-run").unwrap());
        let text = json!({"protocol": "1.0", "peer": "hub 9", "peerProtocol": "1.3", "lacks": lacks(&told)});
        owner::store(folder.path(), FILE, &text.to_string()).unwrap();
        let head = "this agent speaks protocol 1.0 and lacks what \"hub 9\" (1.3) has; install that version";
        assert_eq!(kept(folder.path()), [head, "  dry-run (1.1): a dry run would be carried out"]);
        owner::store(folder.path(), FILE, "{").unwrap();
        assert_eq!(kept(folder.path()), Vec::<String>::new());
    }
}
