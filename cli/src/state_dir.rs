//! The state directory: everything a mesh on this machine keeps, and where.
//!
//! ```text
//! DIR/mesh.json            what the mesh consists of, and its ports
//! DIR/lock                 held by the `skein up` that runs it; holds its process id
//! DIR/supervisor.sock      how the other commands, and the regional agents, talk to it
//! DIR/kubeconfig/*.yaml    hub.yaml, region-NAME.yaml, edge-NAME.yaml
//! DIR/clusters/NAME/       the Kubernetes API of one cluster
//! DIR/agents/NAME/         state, log and bound addresses of one agent
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateDirError {
    /// No directory was named and none can be derived.
    #[error("no state directory: give --state DIR, or set SKEIN_STATE, XDG_STATE_HOME or HOME")]
    Unknown,
    /// The directory cannot be made.
    #[error("failed to make the state directory \"{path}\"")]
    Make {
        /// Which.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Another `skein up` runs there.
    #[error(
        "the state directory \"{path}\" is in use by `skein up` with process id {pid}; stop that one, or give another --state DIR"
    )]
    Held {
        /// Which.
        path: PathBuf,
        /// By whom.
        pid: String,
    },
    /// A file in it is not what Skein wrote.
    #[error("failed to read \"{path}\"; restore the file, or remove the state directory to begin a new mesh")]
    Read {
        /// Which.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A file in it cannot be written.
    #[error("failed to write \"{path}\"; is the disk full?")]
    Write {
        /// Which.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// What the mesh consists of; the part of the state that is not found elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Record {
    /// Names of the regions.
    pub(crate) regions: Vec<String>,
    /// Enrolled devices: edge name to region.
    pub(crate) edges: BTreeMap<String, String>,
    /// Ports in use by role, kept from one run to the next as long as they are free.
    pub(crate) ports: BTreeMap<String, u16>,
    /// Child clusters that regions made here, by cluster name.
    pub(crate) embedded: BTreeMap<String, Embedded>,
    /// Agents that were stopped on purpose.
    pub(crate) stopped: BTreeSet<String>,
}

/// A child cluster whose Kubernetes API runs in `skein up`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Embedded {
    /// The version it speaks.
    pub(crate) kubernetes_version: String,
    /// The region that made it.
    pub(crate) region: String,
    /// Its edge agent, once there is one.
    pub(crate) agent: Option<String>,
}

/// A state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

/// Holds a state directory until it is dropped or the process dies.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl StateDir {
    /// The directory named, or the default under the XDG state directory.
    ///
    /// # Errors
    /// [`StateDirError::Unknown`] when there is nothing to derive it from.
    pub(crate) fn find(named: Option<PathBuf>) -> Result<Self, StateDirError> {
        let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        named
            .or_else(|| from("XDG_STATE_HOME").map(|path| path.join("skein")))
            .or_else(|| from("HOME").map(|path| path.join(".local/state/skein")))
            .and_then(|path| std::path::absolute(path).ok())
            .map(Self)
            .ok_or(StateDirError::Unknown)
    }

    /// Makes the directory and takes hold of it.
    ///
    /// # Errors
    /// [`StateDirError::Held`] when another process has it.
    pub(crate) fn hold(&self) -> Result<Held, StateDirError> {
        let path = self.0.clone();
        for folder in ["kubeconfig", "clusters", "agents"] {
            std::fs::create_dir_all(self.0.join(folder))
                .map_err(|source| StateDirError::Make { path: path.clone(), source })?;
        }
        let lock = self.0.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock)
            .map_err(|source| StateDirError::Write { path: lock.clone(), source })?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(StateDirError::Held { path, pid: pid.trim().to_owned() });
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .and_then(|()| file.sync_all());
        written.map_err(|source| StateDirError::Write { path: lock, source })?;
        Ok(Held(file))
    }

    /// The mesh that was there before, if any.
    ///
    /// # Errors
    /// When `mesh.json` is there and cannot be read.
    pub(crate) fn mesh(&self) -> Result<Option<Record>, StateDirError> {
        let path = self.0.join("mesh.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| StateDirError::Read { path, source: error.into() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateDirError::Read { path, source }),
        }
    }

    /// Keeps the mesh.
    ///
    /// # Errors
    /// When `mesh.json` cannot be written.
    pub(crate) fn keep(&self, record: &Record) -> Result<(), StateDirError> {
        let path = self.0.join("mesh.json");
        let fresh = self.0.join("mesh.json.new");
        let written = serde_json::to_vec_pretty(record)
            .map_err(std::io::Error::from)
            .and_then(|bytes| std::fs::write(&fresh, bytes))
            .and_then(|()| std::fs::rename(&fresh, &path));
        written.map_err(|source| StateDirError::Write { path, source })
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The supervisor's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("supervisor.sock")
    }

    /// The kubeconfig of a part: `hub`, `region/NAME`, `edge/NAME`.
    pub(crate) fn kubeconfig(&self, part: &str) -> PathBuf {
        self.0.join("kubeconfig").join(format!("{}.yaml", flat(part)))
    }

    /// The folder of a cluster's Kubernetes API.
    pub(crate) fn cluster(&self, part: &str) -> PathBuf {
        self.0.join("clusters").join(flat(part))
    }

    /// The folder of an agent.
    pub(crate) fn agent(&self, part: &str) -> PathBuf {
        self.0.join("agents").join(flat(part))
    }
}

/// `edge/shop-1` as a file name. Names are DNS labels, so nothing else needs care.
fn flat(part: &str) -> String {
    part.replacen('/', "-", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> StateDir {
        let path = std::env::temp_dir().join(format!("skein-state-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        StateDir(path)
    }

    #[test]
    fn a_second_holder_is_told_who_is_first() {
        let dir = fresh("held");
        let held = dir.hold().unwrap();
        let refused = dir.hold().unwrap_err().to_string();
        assert!(refused.contains(&format!("process id {}", std::process::id())), "{refused}");
        drop(held);
        dir.hold().unwrap();
    }

    #[test]
    fn the_mesh_is_kept() {
        let dir = fresh("kept");
        let _held = dir.hold().unwrap();
        assert_eq!(dir.mesh().unwrap(), None);
        let mesh = Record { regions: vec!["eu".into()], ..Record::default() };
        dir.keep(&mesh).unwrap();
        assert_eq!(dir.mesh().unwrap(), Some(mesh));
        std::fs::write(dir.path().join("mesh.json"), "{").unwrap();
        assert!(dir.mesh().unwrap_err().to_string().contains("mesh.json"));
    }
}
