//! Artifacts on disk, as a cache only: one file per digest, and one small file per name that says which digest it last
//! stood for. Anything unreadable counts as absent. The folder is kept below a number of bytes; what was used longest
//! ago goes first.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::artifact::{Artifact, Content, Tree};
use crate::fetch::Known;
use crate::limits::Limits;

/// The folder of artifacts.
pub(crate) struct Store {
    folder: PathBuf,
    limits: Limits,
}

/// What a name last stood for.
#[derive(Serialize, Deserialize)]
struct Pointer {
    /// Digest of what was asked for; another question has another answer.
    fingerprint: String,
    known: Known,
    /// `None` for a tree.
    file: Option<String>,
}

impl Store {
    pub(crate) fn new(folder: PathBuf, limits: Limits) -> Self {
        Self { folder, limits }
    }

    /// A file by its digest.
    pub(crate) fn content(&self, digest: &str) -> Option<Bytes> {
        let path = self.path(digest, "tgz")?;
        let content = self.read(&path)?;
        (hex::encode(Sha256::digest(&content)) == digest).then(|| Bytes::from(content))
    }

    /// What a name last stood for, if it was asked for in the same way; otherwise without what makes a fetch
    /// conditional.
    pub(crate) fn load(&self, name: &str, fingerprint: &str) -> Option<(Artifact, Option<Known>)> {
        let pointer: Pointer = serde_json::from_slice(&self.read(&self.pointer(name))?).ok()?;
        let content = match pointer.file {
            Some(name) => Content::File { name, bytes: self.content(&pointer.known.digest)? },
            None => {
                let bytes = self.read(&self.path(&pointer.known.digest, "tree")?)?;
                Content::Tree(std::sync::Arc::new(decoded(&bytes)?))
            }
        };
        let artifact = Artifact::new(pointer.known.revision.clone(), content);
        if artifact.digest != pointer.known.digest {
            return None;
        }
        let same = pointer.fingerprint == fingerprint;
        Some((artifact, same.then_some(pointer.known)))
    }

    /// Keeps an artifact; a failure costs a fetch later and is only logged.
    pub(crate) fn keep(&self, name: &str, fingerprint: &str, known: &Known, artifact: &Artifact) {
        let (extension, file) = match &artifact.content {
            Content::File { name, .. } => ("tgz", Some(name.clone())),
            Content::Tree(_) => ("tree", None),
        };
        let Some(path) = self.path(&artifact.digest, extension) else { return };
        let pointer = Pointer { fingerprint: fingerprint.to_owned(), known: known.clone(), file };
        let stored = std::fs::create_dir_all(&self.folder)
            .and_then(|()| match (&artifact.content, path.exists()) {
                (_, true) => touch(&path),
                (Content::File { bytes, .. }, false) => replace(&path, bytes),
                (Content::Tree(tree), false) => replace(&path, &encoded(tree)),
            })
            .and_then(|()| {
                let text = serde_json::to_vec(&pointer).map_err(std::io::Error::other)?;
                replace(&self.pointer(name), &text)
            });
        if let Err(error) = stored {
            tracing::warn!(folder = %self.folder.display(), %error, "failed to keep an artifact on disk");
        }
        self.shrink(&path);
    }

    /// Forgets what a name stood for; the content stays until it is the oldest.
    pub(crate) fn forget(&self, name: &str) {
        let _ = std::fs::remove_file(self.pointer(name));
    }

    /// Takes out the oldest files until the folder is small enough; never the one just written.
    fn shrink(&self, newest: &Path) {
        let Ok(listing) = std::fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = listing
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        if total <= self.limits.store_bytes_max {
            return;
        }
        files.sort();
        for (_, size, path) in files.into_iter().filter(|(_, _, path)| path != newest) {
            if total <= self.limits.store_bytes_max {
                break;
            }
            if std::fs::remove_file(&path).is_ok() {
                total -= size;
            }
        }
    }

    /// A whole file, no larger than anything that is kept.
    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let limit = self.limits.tree_bytes_max as u64 + (64 << 20);
        let mut bytes = Vec::new();
        std::fs::File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    fn path(&self, digest: &str, extension: &str) -> Option<PathBuf> {
        let proper = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        proper.then(|| self.folder.join(format!("{digest}.{extension}")))
    }

    fn pointer(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}.json", hex::encode(Sha256::digest(name))))
    }
}

/// Path and content of each file, each with its length before it.
fn encoded(tree: &Tree) -> Vec<u8> {
    let size = tree.iter().map(|(path, bytes)| path.len() + bytes.len() + 16).sum();
    let mut out = Vec::with_capacity(size);
    for (path, bytes) in tree {
        for part in [path.as_bytes(), bytes] {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
    }
    out
}

fn decoded(bytes: &[u8]) -> Option<Tree> {
    fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let (part, after) = after.split_at_checked(length)?;
        *rest = after;
        Some(part)
    }
    let (mut rest, mut tree) = (bytes, Tree::new());
    while !rest.is_empty() {
        let path = String::from_utf8(part(&mut rest)?.to_vec()).ok()?;
        tree.insert(path, part(&mut rest)?.to_vec());
    }
    Some(tree)
}

/// What is used is young.
fn touch(path: &Path) -> std::io::Result<()> {
    std::fs::File::options().append(true).open(path)?.set_modified(SystemTime::now())
}

/// Writes beside and renames, so that a reader sees the old or the new file and never half of one.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn known(artifact: &Artifact) -> Known {
        Known {
            revision: artifact.revision.clone(),
            digest: artifact.digest.clone(),
            marker: Some("m".into()),
        }
    }

    #[test]
    fn what_was_kept_is_found_again_unless_it_was_altered() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("charts"), Limits::default());
        assert!(store.load("a", "f").is_none());
        let tree = Tree::from([("a/b.yaml".to_owned(), b"x: 1".to_vec()), ("c".to_owned(), Vec::new())]);
        for content in [
            Content::File { name: "web.tgz".into(), bytes: Bytes::from_static(b"tgz") },
            Content::Tree(Arc::new(tree)),
        ] {
            let artifact = Artifact::new("1.0.0".into(), content);
            store.keep("a", "f", &known(&artifact), &artifact);
            assert_eq!(store.load("a", "f"), Some((artifact.clone(), Some(known(&artifact)))));
            // Asked in another way it is still there to go on with, and fetched anew.
            assert_eq!(store.load("a", "g"), Some((artifact.clone(), None)));
            let extension = if matches!(artifact.content, Content::File { .. }) { "tgz" } else { "tree" };
            std::fs::write(store.path(&artifact.digest, extension).unwrap(), b"other").unwrap();
            assert!(store.load("a", "f").is_none());
        }
    }

    #[test]
    fn the_folder_stays_below_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { store_bytes_max: 5000, ..Limits::default() };
        let store = Store::new(folder.path().to_owned(), limits);
        for round in 0..10_u8 {
            let bytes = Bytes::from(vec![round; 1000]);
            let artifact = Artifact::new("1".into(), Content::File { name: "x".into(), bytes });
            store.keep("a", "f", &known(&artifact), &artifact);
            assert!(store.load("a", "f").is_some(), "the newest is kept");
        }
        let sizes =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(sizes.sum::<u64>() <= 5000);
    }
}
