//! Archives on disk, as a cache only: one file per digest, and one small file per request that says which digest it
//! last stood for. Anything unreadable counts as absent.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Archive, ChartRequest, Repository};

/// The folder of archives.
pub(super) struct Archives(PathBuf);

#[derive(Serialize, Deserialize)]
struct Pointer {
    version: String,
    digest: String,
}

impl Archives {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The archive that the request last stood for.
    pub(super) fn load(&self, request: &ChartRequest, repository: &Repository) -> Option<Archive> {
        let pointer = std::fs::read(self.pointer(request, repository)).ok()?;
        let pointer: Pointer = serde_json::from_slice(&pointer).ok()?;
        let content = Bytes::from(std::fs::read(self.archive(&pointer.digest)?).ok()?);
        let digest = hex::encode(Sha256::digest(&content));
        (digest == pointer.digest).then_some(Archive { version: pointer.version, digest, content })
    }

    /// Keeps an archive; a failure costs a fetch later and is only logged.
    pub(super) fn store(&self, request: &ChartRequest, repository: &Repository, archive: &Archive) {
        let pointer = Pointer { version: archive.version.clone(), digest: archive.digest.clone() };
        let Some(path) = self.archive(&archive.digest) else { return };
        let stored = std::fs::create_dir_all(&self.0)
            .and_then(|()| if path.exists() { Ok(()) } else { replace(&path, &archive.content) })
            .and_then(|()| {
                let text = serde_json::to_vec(&pointer).map_err(std::io::Error::other)?;
                replace(&self.pointer(request, repository), &text)
            });
        if let Err(error) = stored {
            tracing::warn!(folder = %self.0.display(), %error, "failed to keep a chart on disk");
        }
    }

    fn archive(&self, digest: &str) -> Option<PathBuf> {
        let proper = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        proper.then(|| self.0.join(format!("{digest}.tgz")))
    }

    fn pointer(&self, request: &ChartRequest, repository: &Repository) -> PathBuf {
        let ChartRequest { namespace, repository: name, chart, version } = request;
        let text = [namespace, name, chart, version, &repository.url].map(String::as_str).join("\n");
        self.0.join(format!("{}.json", hex::encode(Sha256::digest(text))))
    }
}

/// Writes beside and renames, so that a reader sees the old or the new file and never half of one.
fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_found_again_unless_it_was_altered() {
        let folder = tempfile::tempdir().unwrap();
        let archives = Archives::new(folder.path().join("charts"));
        let request = ChartRequest {
            namespace: "kcm-system".into(),
            repository: "r".into(),
            chart: "web".into(),
            version: "*".into(),
        };
        let repository = Repository { url: "http://h/charts".into(), ..Repository::default() };
        assert_eq!(archives.load(&request, &repository), None);
        let content = Bytes::from_static(b"tgz");
        let archive =
            Archive { version: "1.0.0".into(), digest: hex::encode(Sha256::digest(&content)), content };
        archives.store(&request, &repository, &archive);
        assert_eq!(archives.load(&request, &repository), Some(archive.clone()));
        std::fs::write(archives.archive(&archive.digest).unwrap(), b"other").unwrap();
        assert_eq!(archives.load(&request, &repository), None);
    }
}
