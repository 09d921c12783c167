//! Reads files of the tree within bounds: paths, folders that were visited, remote addresses, sizes.

use std::collections::BTreeMap;

use super::error::KustomizeError;
use crate::limits::Limits;

/// The names a kustomization may have.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// The tree of files and what was read of it.
pub(crate) struct Tree<'t> {
    pub files: &'t BTreeMap<String, Vec<u8>>,
    pub limits: &'t Limits,
    read_bytes: std::cell::Cell<u64>,
    read_files: std::cell::Cell<usize>,
}

/// A folder with a kustomization, and the folders that led to it.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub path: String,
    visited: Vec<String>,
}

/// Whether a path names something elsewhere.
pub(crate) fn is_remote(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let schemes =
        ["http://", "https://", "git::", "gh:", "ssh://", "git://", "file://", "github.com/", "github.com:"];
    let user = || {
        let (user, rest) = lower.split_once('@')?;
        let (host, _) = rest.split_once([':', '/'])?;
        let plain = |text: &str| {
            !text.is_empty() && text.chars().all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one))
        };
        Some(plain(user) && plain(host))
    };
    schemes.iter().any(|scheme| lower.starts_with(scheme)) || user().unwrap_or(false)
}

fn is_url(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

/// A path relative to a folder of the tree, without `.` and `..`; nothing if it leaves the tree.
pub(crate) fn join(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
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

/// Whether a path is the folder or below it.
pub(crate) fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl<'t> Tree<'t> {
    /// # Errors
    /// When the tree holds too much, or a path of it is not plain.
    pub(crate) fn new(
        files: &'t BTreeMap<String, Vec<u8>>,
        limits: &'t Limits,
    ) -> Result<Self, KustomizeError> {
        check_tree(files, limits)?;
        Ok(Self { files, limits, read_bytes: 0.into(), read_files: 0.into() })
    }

    fn is_folder(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        path.is_empty()
            || self.files.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// The folder where a build begins.
    pub(crate) fn root(&self, path: &str) -> Result<Folder, KustomizeError> {
        if is_remote(path) {
            return Err(KustomizeError::Remote { file: "path".to_owned(), url: path.to_owned() });
        }
        let folder = join("", path).ok_or_else(|| KustomizeError::Outside {
            file: "path".to_owned(),
            path: path.to_owned(),
            root: "/".to_owned(),
        })?;
        if !self.is_folder(&folder) {
            return Err(KustomizeError::NotFound { file: "path".to_owned(), path: folder });
        }
        Ok(Folder { path: folder, visited: Vec::new() })
    }

    /// The folder that a kustomization includes.
    pub(crate) fn enter(&self, from: &Folder, path: &str, file: &str) -> Result<Folder, KustomizeError> {
        let file = file.to_owned();
        if path.is_empty() {
            return Err(KustomizeError::Field { file, reason: "a path may not be empty".to_owned() });
        }
        if is_remote(path) {
            return Err(KustomizeError::Remote { file, url: path.to_owned() });
        }
        let outside =
            || KustomizeError::Outside { file: file.clone(), path: path.to_owned(), root: "/".to_owned() };
        if path.starts_with('/') {
            return Err(outside());
        }
        let folder = join(&from.path, path).ok_or_else(outside)?;
        if !self.is_folder(&folder) {
            return Err(KustomizeError::NotFound { file, path: folder });
        }
        let mut visited = from.visited.clone();
        visited.push(from.path.clone());
        if let Some(inner) = visited.iter().find(|known| is_below(known, &folder)) {
            return Err(KustomizeError::Cycle { file, folder, visited: inner.clone() });
        }
        if visited.len() > self.limits.chart_depth.max(64) {
            let maximum = self.limits.chart_depth.max(64) as u64;
            return Err(KustomizeError::Limit { at: file, limit: "chart_depth", maximum });
        }
        Ok(Folder { path: folder, visited })
    }

    /// The bytes of a file in or below a folder.
    pub(crate) fn load(&self, folder: &Folder, path: &str, file: &str) -> Result<&'t [u8], KustomizeError> {
        let file = file.to_owned();
        if is_url(path) {
            return Err(KustomizeError::Remote { file, url: path.to_owned() });
        }
        let root = format!("/{}", folder.path);
        let outside =
            || KustomizeError::Outside { file: file.clone(), path: path.to_owned(), root: root.clone() };
        if path.starts_with('/') {
            return Err(outside());
        }
        let full = join(&folder.path, path).ok_or_else(outside)?;
        let Some(bytes) = self.files.get(&full) else {
            return Err(KustomizeError::NotFound { file, path: full });
        };
        if !is_below(&full, &folder.path) {
            return Err(outside());
        }
        self.read_files.set(self.read_files.get() + 1);
        self.read_bytes.set(self.read_bytes.get() + bytes.len() as u64);
        let (files, size) = (self.limits.chart_files.saturating_mul(4), self.limits.output_bytes);
        if self.read_files.get() > files {
            return Err(KustomizeError::Limit { at: file, limit: "chart_files", maximum: files as u64 });
        }
        if self.read_bytes.get() > size {
            return Err(KustomizeError::Limit { at: file, limit: "output_bytes", maximum: size });
        }
        Ok(bytes)
    }

    /// The text of a file in or below a folder.
    pub(crate) fn text(&self, folder: &Folder, path: &str, file: &str) -> Result<&'t str, KustomizeError> {
        let bytes = self.load(folder, path, file)?;
        std::str::from_utf8(bytes).map_err(|_| KustomizeError::Yaml {
            file: join(&folder.path, path).unwrap_or_default(),
            document: 1,
            reason: "the file is not text (UTF-8)".to_owned(),
        })
    }

    /// The kustomization of a folder: its name and text.
    pub(crate) fn kustomization(&self, folder: &Folder) -> Result<(&'static str, &'t str), KustomizeError> {
        let path = |name: &str| join(&folder.path, name).unwrap_or_default();
        let found: Vec<&'static str> =
            NAMES.into_iter().filter(|name| self.files.contains_key(&path(name))).collect();
        match found.as_slice() {
            [] => Err(KustomizeError::Missing { folder: format!("/{}", folder.path) }),
            [name] => Ok((name, self.text(folder, name, &path(name))?)),
            several => Err(KustomizeError::Ambiguous {
                folder: format!("/{}", folder.path),
                files: several.iter().map(|name| (*name).to_owned()).collect(),
            }),
        }
    }
}

/// Holds a tree to its bounds.
pub(crate) fn check_tree(files: &BTreeMap<String, Vec<u8>>, limits: &Limits) -> Result<(), KustomizeError> {
    let limit = |at: &str, limit, maximum| Err(KustomizeError::Limit { at: at.to_owned(), limit, maximum });
    if files.len() > limits.chart_files {
        return limit("the tree", "chart_files", limits.chart_files as u64);
    }
    let mut total = 0_u64;
    for (path, bytes) in files {
        if path.is_empty() || join("", path).as_deref() != Some(path) {
            let (file, path, root) = ("the tree".to_owned(), path.clone(), "/".to_owned());
            return Err(KustomizeError::Outside { file, path, root });
        }
        if bytes.len() as u64 > limits.chart_file_bytes {
            return limit(path, "chart_file_bytes", limits.chart_file_bytes);
        }
        total += bytes.len() as u64;
    }
    if total > limits.chart_bytes {
        return limit("the tree", "chart_bytes", limits.chart_bytes);
    }
    Ok(())
}
