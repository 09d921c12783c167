//! Where something is, and which version of it is wanted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::access::Access;

/// Something to fetch, with all it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub origin: Origin,
    /// How to get in.
    pub access: Access,
    /// Other addresses that have the same, tried in order before the origin's own; credentials go to them only with
    /// [`Access::pass_credentials`].
    pub mirrors: Vec<String>,
    /// Whose signatures it must carry: all of them.
    pub verification: Vec<Verification>,
    /// Rules in the format of `.gitignore` in place of the usual ones; for trees.
    pub ignore: Option<String>,
    /// How often to look for changes.
    pub interval: Duration,
    /// Do not fetch; what was fetched before stays.
    pub suspended: bool,
    /// Changes when somebody asks for a fetch now.
    pub requested: String,
}

impl Source {
    /// A source that needs nothing special, looked at every ten minutes.
    pub fn new(origin: Origin) -> Self {
        Self {
            origin,
            access: Access::default(),
            mirrors: Vec::new(),
            verification: Vec::new(),
            ignore: None,
            interval: Duration::from_secs(600),
            suspended: false,
            requested: String::new(),
        }
    }
}

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A chart of a repository with an index.
    ChartIndex(ChartIndex),
    /// An artifact in an OCI registry.
    Registry(Registry),
    /// A tree of a Git repository.
    Git(Git),
    /// The objects of a bucket.
    Bucket(Bucket),
    /// One file.
    RemoteFile(RemoteFile),
}

impl Origin {
    /// The address, as it may be shown.
    pub fn address(&self) -> String {
        crate::url::shown(match self {
            Self::ChartIndex(one) => &one.url,
            Self::Registry(one) => &one.url,
            Self::Git(one) => &one.url,
            Self::Bucket(one) => &one.endpoint,
            Self::RemoteFile(one) => &one.url,
        })
    }

    /// The same at another address.
    pub(crate) fn at(&self, address: &str) -> Self {
        let mut other = self.clone();
        let place = match &mut other {
            Self::ChartIndex(one) => &mut one.url,
            Self::Registry(one) => &mut one.url,
            Self::Git(one) => &mut one.url,
            Self::Bucket(one) => &mut one.endpoint,
            Self::RemoteFile(one) => &mut one.url,
        };
        address.clone_into(place);
        other
    }
}

/// A chart of a repository with an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChartIndex {
    /// `http://` or `https://`, the folder of `index.yaml`.
    pub url: String,
    /// Name of the chart.
    pub chart: String,
    /// A version or a range of versions.
    pub version: String,
}

/// An artifact in an OCI registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registry {
    /// `oci://host/path`, without tag.
    pub url: String,
    /// Which one.
    pub reference: RegistryReference,
    /// Which of its layers.
    pub layer: Layer,
}

/// Which artifact of an OCI repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryReference {
    /// A tag.
    Tag(String),
    /// `sha256:...` of the manifest.
    Digest(String),
    /// The newest tag in a range of versions.
    Range {
        /// The range.
        range: String,
        /// Only tags that match this regular expression.
        filter: Option<String>,
    },
}

/// Which layer of an OCI artifact, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// A packed Helm chart, kept packed.
    Chart,
    /// The first layer of this media type (of any, where it is absent), unpacked.
    Extract(Option<String>),
    /// The first layer of this media type (of any, where it is absent), kept as it is.
    Copy(Option<String>),
}

/// A tree of a Git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// `http://`, `https://` or `ssh://`.
    pub url: String,
    /// Which commit.
    pub reference: GitReference,
    /// Only these folders; all where there are none.
    pub folders: Vec<String>,
    /// Fetch submodules as well.
    pub submodules: bool,
}

/// Which commit of a Git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitReference {
    /// The head of a branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// The newest tag in a range of versions.
    Range(String),
    /// A full reference name such as `refs/heads/main`.
    Name(String),
    /// A tag or, where there is none of that name, a branch.
    Any(String),
    /// A commit, and the branch that has it.
    Commit {
        /// 40 hexadecimal digits.
        commit: String,
        /// Helps servers that do not hand out single commits.
        branch: Option<String>,
    },
}

/// The objects of a bucket, by the S3 API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bucket {
    /// `host`, `host:port` or a URL.
    pub endpoint: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Only objects whose key starts so; it stays part of the paths.
    pub prefix: String,
    /// Region for signatures; `us-east-1` where it is empty.
    pub region: String,
    /// Where the bucket's name stands in addresses.
    pub addressing: Addressing,
}

/// Where a bucket's name stands in addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the host's name at the large clouds, whose newer regions know nothing else, in the path everywhere else.
    #[default]
    Usual,
    /// `endpoint/bucket/key`.
    Path,
    /// `bucket.endpoint/key`.
    Host,
}

/// One file behind a URL: an archive, or a file of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteFile {
    /// `http://` or `https://`.
    pub url: String,
    /// `sha256:...` that the file must have.
    pub digest: Option<String>,
    /// What the revision is called; the digest where it is absent.
    pub revision: Option<String>,
}

/// Whose signature an artifact must carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verification {
    /// A cosign signature of one of these public keys (PEM by name), in the artifact's own OCI repository.
    Cosign(BTreeMap<String, String>),
    /// Helm's provenance file beside a packed chart, signed by a key of these OpenPGP keyrings (by name, armored or
    /// not).
    Provenance(BTreeMap<String, Vec<u8>>),
    /// Signatures of a Git commit, of the tag that leads to it, or of both, by a key of these OpenPGP keyrings.
    Git {
        /// By name, armored or not.
        keys: BTreeMap<String, Vec<u8>>,
        /// The commit must be signed.
        commit: bool,
        /// The tag must be signed.
        tag: bool,
    },
}
