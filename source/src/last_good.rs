//! Artifacts that were of use to somebody, on disk: what of a source was last good for its users, where the source
//! itself cannot tell (a tree serves many, each with its own part).

use std::path::PathBuf;

use crate::artifact::Artifact;
use crate::fetch::Known;
use crate::limits::Limits;
use crate::store::Store;

/// Bytes of all of them; what was used longest ago goes first.
const BYTES_MAX: u64 = 512 << 20;

/// Artifacts by name, as a cache only: what cannot be read counts as absent.
pub struct LastGood(Store);

impl LastGood {
    /// Kept in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self(Store::new(folder, Limits { store_bytes_max: BYTES_MAX, ..Limits::default() }))
    }

    /// Keeps an artifact under a name, in place of the one before; a failure is only logged.
    pub fn keep(&self, name: &str, artifact: &Artifact) {
        let known =
            Known { revision: artifact.revision.clone(), digest: artifact.digest.clone(), marker: None };
        self.0.keep(name, "", &known, artifact);
    }

    /// What was kept under a name.
    pub fn find(&self, name: &str) -> Option<Artifact> {
        self.0.load(name, "").map(|(artifact, _)| artifact)
    }
}
