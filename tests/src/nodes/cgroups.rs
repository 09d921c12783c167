//! The cgroups of nodes: in every hierarchy of cgroup v1 one for this program, and under it one for each node.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::remove_cgroups_at_exit;

const MOUNTS: &str = "/sys/fs/cgroup";
const PREFIX: &str = "skein-nodes-";

/// The cgroups of this program, until dropped.
#[derive(Debug)]
pub(super) struct Cgroups(String);

/// Checks that cgroups can be made.
pub(super) fn allowed() -> Result<()> {
    let memory = Path::new(MOUNTS).join("memory");
    if !memory.join("cgroup.procs").exists() || memory.join("cgroup.controllers").exists() {
        bail!("'{}' is no hierarchy of cgroup v1", memory.display());
    }
    let probe = memory.join(format!("{PREFIX}probe-{}", std::process::id()));
    std::fs::create_dir(&probe).with_context(|| format!("failed to make '{}'", probe.display()))?;
    std::fs::remove_dir(&probe).with_context(|| format!("failed to remove '{}'", probe.display()))
}

/// The hierarchies of cgroup v1, and that of v2 beside them, where runc makes cgroups too; links are none.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(MOUNTS).with_context(|| format!("failed to read '{MOUNTS}'"))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() && path.join("cgroup.procs").exists() {
            found.push(path);
        }
    }
    Ok(found)
}

impl Cgroups {
    /// Removes those of programs that are gone, and makes those of this one.
    pub(super) fn make(nodes: &[&str]) -> Result<Self> {
        let name = format!("{PREFIX}{}", std::process::id());
        for hierarchy in hierarchies()? {
            for entry in std::fs::read_dir(&hierarchy)?.flatten() {
                let file = entry.file_name();
                let owner = file.to_str().and_then(|name| name.strip_prefix(PREFIX));
                let Some(owner) = owner.and_then(|id| id.parse::<u32>().ok()) else { continue };
                if !Path::new(&format!("/proc/{owner}")).exists() {
                    remove(&entry.path());
                }
            }
            let own = hierarchy.join(&name);
            remove_cgroups_at_exit(&own)?;
            for folder in std::iter::once(own.clone()).chain(nodes.iter().map(|node| own.join(node))) {
                std::fs::create_dir_all(&folder)
                    .with_context(|| format!("failed to make '{}'", folder.display()))?;
                // A new cgroup has no processors until it is given some.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let from = folder.parent().unwrap_or(&folder).join(file);
                    if let Ok(set) = std::fs::read_to_string(from) {
                        std::fs::write(folder.join(file), set)
                            .with_context(|| format!("failed to write {file} of '{}'", folder.display()))?;
                    }
                }
            }
        }
        Ok(Self(name))
    }

    /// The path of a node's cgroup in each hierarchy.
    pub(super) fn of(&self, node: &str) -> String {
        format!("/{}/{node}", self.0)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for hierarchy in hierarchies().unwrap_or_default() {
            remove(&hierarchy.join(&self.0));
        }
    }
}

/// Kills what is in a cgroup and removes it with all below. What resists for 5 s stays for the next program.
fn remove(folder: &Path) {
    let began = std::time::Instant::now();
    while folder.exists() && began.elapsed() < Duration::from_secs(5) {
        remove_once(folder);
        if folder.exists() {
            std::thread::yield_now();
        }
    }
}

fn remove_once(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_once(&entry.path());
        }
    }
    for id in std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Some(process) = id.parse().ok().and_then(rustix::process::Pid::from_raw) {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
    let _ = std::fs::remove_dir(folder);
}
