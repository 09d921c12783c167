//! Where the real Kubernetes parts are.
//!
//! `tests/parts/install` builds them, `tests/parts/path` says where they are. Tests that need them are
//! `#[ignore = "real parts: tests/run"]`, so that `cargo test --workspace` passes without Go.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::Context as _;

/// The folder that holds the binaries of the core set (kube-apiserver, kube-controller-manager, etcd,
/// kubectl, helm, kustomize), or `None` where they are not installed. Why they are not goes to standard error.
#[must_use]
pub fn parts() -> Option<PathBuf> {
    static CORE: OnceLock<Option<PathBuf>> = OnceLock::new();
    CORE.get_or_init(|| answer("path", &[])).clone()
}

/// The folder of the core set, for tests that cannot run without it.
///
/// # Errors
/// The parts are not installed; the text says how to get them.
pub fn require_parts() -> anyhow::Result<PathBuf> {
    parts().context("the real parts are not installed: run tests/parts/install")
}

/// The folder of what nodes with real containers run: the core, kube-scheduler, kubelet and kube-proxy; `None` where
/// they or the Debian packages beside them are not installed.
#[must_use]
pub fn node_parts() -> Option<PathBuf> {
    static NODES: OnceLock<Option<PathBuf>> = OnceLock::new();
    NODES.get_or_init(|| answer("nodes/install", &["path"])).clone()
}

fn answer(script: &str, arguments: &[&str]) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts").join(script);
    let answer = Command::new(script).args(arguments).stderr(Stdio::inherit()).output().ok()?;
    if !answer.status.success() {
        return None;
    }
    let folder = PathBuf::from(String::from_utf8(answer.stdout).ok()?.trim_end());
    folder.is_dir().then_some(folder)
}
