//! One fetch of one source: asks the origin (or a mirror), and makes an artifact of what comes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::access::Access;
use crate::artifact::{Artifact, Content, Tree, gathered};
use crate::chart_index::{self, Index, Shelved, verified};
use crate::error::SourceError;
use crate::http::{Http, authorized, unless};
use crate::limits::Limits;
use crate::origin::{Layer, Origin, RemoteFile, Source, Verification};
use crate::sources::Clock;
use crate::store::Store;
use crate::unpack::{self, Entries};
use crate::{bucket, git, registry, url};

/// How long an index serves all charts of a repository without asking again.
const INDEX_SHARED: Duration = Duration::from_secs(3);
/// Indexes that are kept, to be asked for changes only.
const INDEXES_MAX: usize = 256;

/// What is known of a source from the last fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) revision: String,
    /// Digest of the artifact.
    pub(crate) digest: String,
    /// What the origin tells changes by: an entity tag, the digest of a manifest, a commit.
    pub(crate) marker: Option<String>,
}

impl Known {
    /// Whether the origin says the same as last time.
    pub(crate) fn is(known: Option<&Self>, marker: &str) -> bool {
        known.is_some_and(|known| known.marker.as_deref() == Some(marker))
    }
}

/// What a fetch came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The same as is known.
    Unchanged,
    /// Something else.
    New(Box<Payload>),
}

/// Something new.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) revision: String,
    pub(crate) marker: Option<String>,
    pub(crate) content: Raw,
}

/// Content before it is an artifact.
pub(crate) enum Raw {
    /// Kept as it is.
    File { name: String, bytes: Bytes },
    /// An archive, or a single file, that becomes a tree.
    Packed { name: String, bytes: Bytes },
    /// An archive that becomes a tree.
    Archive(Bytes),
    /// Files that were checked one by one.
    Entries(Entries),
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File { .. } => "File",
            Self::Packed { .. } => "Packed",
            Self::Archive(_) => "Archive",
            Self::Entries(_) => "Entries",
        })
    }
}

impl Payload {
    /// A packed chart.
    pub(crate) fn archive(revision: String, bytes: Bytes) -> Self {
        Self { revision, marker: None, content: Raw::File { name: "chart.tgz".to_owned(), bytes } }
    }
}

/// What all fetches share.
pub(crate) struct Fetcher {
    pub(crate) http: Http,
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    /// Where git works.
    pub(crate) work: PathBuf,
    indexes: Mutex<HashMap<String, Arc<Shelf>>>,
}

type Shelf = tokio::sync::Mutex<Option<(Instant, Shelved)>>;

impl Fetcher {
    pub(crate) fn new(folder: &std::path::Path, limits: Limits, clock: Clock) -> Self {
        Self {
            http: Http::new(limits.host_requests_max),
            limits,
            store: Store::new(folder.join("charts"), limits),
            clock,
            work: folder.join("git"),
            indexes: Mutex::default(),
        }
    }

    /// Fetches from the first mirror that answers, or from the origin itself.
    pub(crate) async fn fetch(
        &self,
        source: &Source,
        known: Option<&Known>,
    ) -> Result<Option<(Artifact, Known)>, SourceError> {
        for mirror in &source.mirrors {
            let mut access = source.access.clone();
            if !access.pass_credentials {
                (access.credentials, access.docker_config) = (None, None);
            }
            let at = Source { origin: source.origin.at(mirror), access, ..source.clone() };
            match self.fetch_at(&at, known).await {
                Ok(outcome) => return self.finish(source, outcome).await,
                Err(error) => {
                    tracing::warn!(mirror = %url::shown(mirror), %error, "a mirror does not serve; the next is tried");
                }
            }
        }
        let outcome = self.fetch_at(source, known).await?;
        self.finish(source, outcome).await
    }

    async fn fetch_at(&self, source: &Source, known: Option<&Known>) -> Result<Outcome, SourceError> {
        let access = &source.access;
        verifiable(source)?;
        match &source.origin {
            Origin::ChartIndex(origin) => chart_index::fetch(self, origin, source, known).await,
            Origin::Registry(origin) => registry::fetch(self, origin, source, known).await,
            Origin::Git(origin) => git::fetch(self, origin, source, known).await,
            Origin::Bucket(origin) => bucket::fetch(self, origin, source, known).await,
            Origin::RemoteFile(origin) => self.remote_file(origin, access, known).await,
        }
    }

    /// Unpacks, off the threads that serve others.
    async fn finish(
        &self,
        source: &Source,
        outcome: Outcome,
    ) -> Result<Option<(Artifact, Known)>, SourceError> {
        let Outcome::New(payload) = outcome else { return Ok(None) };
        let Payload { revision, marker, content } = *payload;
        let (limits, ignore, origin) = (self.limits, source.ignore.clone(), source.origin.clone());
        let unpacking =
            tokio::task::spawn_blocking(move || made(content, &limits, ignore.as_deref(), &origin));
        let content = unpacking.await.map_err(|_| SourceError::Refused {
            detail: format!("reading what came from \"{}\" was broken off", source.origin.address()),
        })??;
        let artifact = Artifact::new(revision, content);
        let known = Known { revision: artifact.revision.clone(), digest: artifact.digest.clone(), marker };
        Ok(Some((artifact, known)))
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)() / 1000
    }

    /// The index of a chart repository; charts of one repository share it for a few seconds.
    pub(crate) async fn index(&self, address: &str, access: &Access) -> Result<Arc<Index>, SourceError> {
        // Whoever gets in by other credentials may see another index.
        let name = format!("{address}\n{}", identity(access));
        let shelf = {
            let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            if indexes.len() >= INDEXES_MAX && !indexes.contains_key(&name) {
                indexes.retain(|_, shelf| Arc::strong_count(shelf) > 1);
            }
            indexes.entry(name).or_default().clone()
        };
        let mut shelf = shelf.lock().await;
        if let Some((at, shelved)) = &*shelf
            && at.elapsed() < INDEX_SHARED
        {
            return Ok(shelved.index.clone());
        }
        let known = shelf.as_ref().map(|(_, shelved)| shelved.clone());
        let shelved = chart_index::index(self, address, access, known).await?;
        let index = shelved.index.clone();
        *shelf = Some((Instant::now(), shelved));
        Ok(index)
    }

    async fn remote_file(
        &self,
        origin: &RemoteFile,
        access: &Access,
        known: Option<&Known>,
    ) -> Result<Outcome, SourceError> {
        let at = url::of(&origin.url, &["http", "https"])?;
        let request = authorized(self.http.client(access)?.get(at.clone()), access.credentials.as_ref());
        let request = unless(request, known.and_then(|known| known.marker.as_deref()));
        let answer = self.http.get(request, access, self.limits.archive_bytes_max, &at).await?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return Ok(Outcome::Unchanged);
        }
        let digest = verified(&answer.body, origin.digest.as_deref(), at.as_str())?;
        let revision = origin.revision.clone().unwrap_or_else(|| format!("sha256:{digest}"));
        let content = Raw::Packed { name: at.path().to_owned(), bytes: answer.body.clone() };
        Ok(Outcome::New(Box::new(Payload { revision, marker: answer.etag(), content })))
    }
}

/// Whether what is demanded can be there at all.
fn verifiable(source: &Source) -> Result<(), SourceError> {
    let chart = match &source.origin {
        Origin::ChartIndex(_) => true,
        Origin::Registry(origin) => origin.layer == Layer::Chart,
        Origin::Git(_) | Origin::Bucket(_) | Origin::RemoteFile(_) => false,
    };
    let lacking = source.verification.iter().find_map(|one| match one {
        Verification::Cosign(_) if !matches!(source.origin, Origin::Registry(_)) => {
            Some("cosign signatures are kept in OCI registries: verify needs an oci:// source")
        }
        Verification::Provenance(_) if !chart => Some(
            "provenance files lie beside packed charts: a keyring needs a chart of a repository or registry",
        ),
        Verification::Git { .. } if !matches!(source.origin, Origin::Git(_)) => {
            Some("signatures of commits and tags are in Git repositories only")
        }
        Verification::Cosign(_) | Verification::Provenance(_) | Verification::Git { .. } => None,
    });
    match lacking {
        Some(detail) => {
            Err(SourceError::Signature { url: source.origin.address(), detail: detail.to_owned() })
        }
        None => Ok(()),
    }
}

fn made(
    content: Raw,
    limits: &Limits,
    ignore: Option<&str>,
    origin: &Origin,
) -> Result<Content, SourceError> {
    let tree = match content {
        Raw::File { name, bytes } => return Ok(Content::File { name, bytes }),
        Raw::Archive(bytes) => gathered(unpack::entries(&bytes, &origin.address(), limits)?, ignore)?,
        Raw::Packed { bytes, .. } if unpack::is_gzip(&bytes) => {
            gathered(unpack::entries(&bytes, &origin.address(), limits)?, ignore)?
        }
        Raw::Packed { name, bytes } => unpack::tree(&bytes, &name, limits)?,
        Raw::Entries(entries) => gathered(entries, ignore)?,
    };
    if tree.is_empty() {
        return Err(SourceError::Refused {
            detail: format!("\"{}\" holds no files, or all are ignored", origin.address()),
        });
    }
    Ok(Content::Tree(Arc::<Tree>::new(tree)))
}

/// Tells apart who asks, without saying it.
fn identity(access: &Access) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    access.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
