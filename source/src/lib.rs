//! Artifacts from anywhere: fetched, verified, cached by digest.
//!
//! An [`Origin`] says where something is (a chart repository, an OCI registry, Git, a bucket, a URL) and which version
//! of it is wanted; a [`Source`] adds how to get in, whose signature it must carry and how often to look. [`Sources`]
//! follows every source that anybody asks for: what it finds is checked, kept by digest on disk, looked for again at
//! its interval with conditional requests, and every change is announced. What was good stays in force while a source
//! fails, and the failure says since when and why.
//!
//! ```text
//!   Source --ask--> Sources --follow--> origin --bytes--> verify --> unpack within limits --> inspect --> Artifact
//!                      ^                                                                       |
//!                      +------------------ State { last good artifact, failure } <-------------+
//! ```
//!
//! # Why a crate
//! Fetching has its own protocols, dangers and limits, and knows nothing of Kubernetes: objects are read by the hub,
//! which turns them into these plain descriptions. Kept apart, it is tested against servers alone, and no controller
//! can come to depend on how a registry answers.
//!
//! # Why nothing is trusted
//! Every byte comes from outside. Sizes and counts are limited before memory is taken for them, paths are checked
//! before they become names, links may not lead out, and secrets are of a type that cannot be printed.

mod access;
mod artifact;
mod bucket;
mod challenge;
mod chart_index;
mod cosign;
mod error;
mod fetch;
mod follow;
mod git;
mod http;
mod ignored;
mod last_good;
mod limits;
mod login;
mod open_pgp;
mod origin;
mod provenance;
mod registry;
mod signature_v4;
mod sources;
mod store;
mod unpack;
mod url;
pub mod version;

pub use access::{Access, Credentials, Hidden, Proxy, SshIdentity, Tls};
pub use artifact::{Artifact, Content, Tree, below, digest_of, plain_folder};
pub use error::{SourceError, causes};
pub use last_good::LastGood;
pub use limits::Limits;
pub use origin::{
    Addressing, Bucket, ChartIndex, Git, GitReference, Layer, Origin, Registry, RegistryReference,
    RemoteFile, Source, Verification,
};
pub use sources::{Announce, Clock, Failure, Inspect, Name, Settings, Sources, State};
