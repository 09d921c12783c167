//! What was fetched: bytes with a digest, or a tree of files.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::error::SourceError;
use crate::limits::Limits;
use crate::unpack::{self, Entries};

/// Files by path. Paths are relative, use `/`, and have no empty, `.` or `..` parts.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// Something that was fetched and verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What the source calls it: a chart's version, `main@sha1:...`, `1.2.0@sha256:...`.
    pub revision: String,
    /// SHA-256 of the content in hexadecimal.
    pub digest: String,
    /// The content.
    pub content: Content,
}

/// The content of an artifact.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// One file as it came, such as a packed chart.
    File {
        /// What it is called at the source.
        name: String,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A tree of files.
    Tree(Arc<Tree>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, bytes } => write!(f, "File({name}, {} bytes)", bytes.len()),
            Self::Tree(tree) => write!(f, "Tree({} files)", tree.len()),
        }
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Artifact").field("revision", &self.revision).field("digest", &self.digest).finish()
    }
}

impl Artifact {
    /// Makes an artifact; the digest is that of the content.
    pub fn new(revision: String, content: Content) -> Self {
        let digest = match &content {
            Content::File { bytes, .. } => hex::encode(Sha256::digest(bytes)),
            Content::Tree(tree) => {
                digest_of(tree.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())))
            }
        };
        Self { revision, digest, content }
    }

    /// Bytes of the content.
    pub fn size(&self) -> usize {
        match &self.content {
            Content::File { bytes, .. } => bytes.len(),
            Content::Tree(tree) => tree.values().map(Vec::len).sum(),
        }
    }

    /// The content as a tree: an archive is unpacked, any other file is a tree of one.
    ///
    /// # Errors
    /// [`SourceError`] when the archive is damaged, unsafe or too large.
    pub fn tree(&self, limits: &Limits) -> Result<Arc<Tree>, SourceError> {
        match &self.content {
            Content::Tree(tree) => Ok(tree.clone()),
            Content::File { name, bytes } => Ok(Arc::new(unpack::tree(bytes, name, limits)?)),
        }
    }
}

/// The files below a folder, with paths inside it; `None` when there is neither folder nor file of that name. The
/// folder may be written `./a/b/`; empty is all.
pub fn below(tree: &Tree, folder: &str) -> Option<Tree> {
    let folder = plain_folder(folder)?;
    if folder.is_empty() {
        return Some(tree.clone());
    }
    if let Some(bytes) = tree.get(&folder) {
        let name = folder.rsplit('/').next().unwrap_or(&folder);
        return Some(Tree::from([(name.to_owned(), bytes.clone())]));
    }
    let prefix = format!("{folder}/");
    let found: Tree = tree
        .range(prefix.clone()..)
        .take_while(|(path, _)| path.starts_with(&prefix))
        .map(|(path, bytes)| (path[prefix.len()..].to_owned(), bytes.clone()))
        .collect();
    (!found.is_empty()).then_some(found)
}

/// A folder without `.` and superfluous slashes; `None` when it leads out.
pub fn plain_folder(folder: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in folder.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The digest of files in the order of their paths.
pub fn digest_of<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut digest = Sha256::new();
    digest.update(b"skein tree 1\n");
    for (path, bytes) in files {
        digest.update((path.len() as u64).to_be_bytes());
        digest.update(path.as_bytes());
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }
    hex::encode(digest.finalize())
}

/// Makes a tree of what comes from outside.
pub(crate) fn gathered(entries: Entries, ignore: Option<&str>) -> Result<Tree, SourceError> {
    let mut tree = entries.into_tree()?;
    crate::ignored::remove(&mut tree, ignore)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        paths.iter().map(|path| ((*path).to_owned(), path.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_folder_is_found_however_it_is_written() {
        let tree = tree(&["a.yaml", "deploy/web/x.yaml", "deploy/web/sub/y.yaml", "deploy/web-2/z.yaml"]);
        for folder in ["deploy/web", "./deploy/web/", "/deploy//web", "deploy/other/../web"] {
            let found = below(&tree, folder).unwrap();
            assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["sub/y.yaml", "x.yaml"]);
        }
        assert_eq!(below(&tree, "").unwrap().len(), 4);
        assert_eq!(below(&tree, "./a.yaml").unwrap().keys().next().unwrap(), "a.yaml");
        assert_eq!(below(&tree, "nowhere"), None);
        assert_eq!(below(&tree, "../etc"), None);
    }

    #[test]
    fn the_digest_tells_paths_from_content() {
        let one =
            Artifact::new("1".into(), Content::Tree(Arc::new(Tree::from([("ab".into(), b"c".to_vec())]))));
        let two =
            Artifact::new("1".into(), Content::Tree(Arc::new(Tree::from([("a".into(), b"bc".to_vec())]))));
        assert_ne!(one.digest, two.digest);
    }
}
