//! The Flux kinds that name sources, as far as the hub reads them. The hub fetches by itself; Flux may be there and is
//! not needed. Their specs are those that k0rdent's templates hold too, so they are declared once, in `api`.

use api::k0rdent::{BucketSource, ChartSpec, GitSource, LocalObjectReference, OciSource};
use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// A repository of charts: an HTTP server with an index, or an OCI registry.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "HelmRepository",
    namespaced,
    schema = "disabled"
)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmRepositorySpec {
    /// `http://`, `https://` or `oci://`.
    pub url: String,
    /// `default` (HTTP with an index) or `oci`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Secret with `username` and `password`, or `bearerToken`, or a Docker config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
    /// Secret with `ca.crt`, `tls.crt` and `tls.key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// Send the credentials also to another host that the index names.
    pub pass_credentials: bool,
    /// An OCI registry that speaks plain HTTP.
    pub insecure: bool,
    /// Do not fetch.
    pub suspend: bool,
    /// How often to look for changes, as a Go duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How long one request may take, as a Go duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Who hosts the registry; only `generic` is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// A chart of a repository, by name and version.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "HelmChart",
    namespaced,
    schema = "disabled"
)]
pub struct HelmChartSpec {
    /// The chart.
    #[serde(flatten)]
    pub chart: ChartSpec,
}

/// A Git repository.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "GitRepository",
    plural = "gitrepositories",
    namespaced,
    schema = "disabled"
)]
pub struct GitRepositorySpec {
    /// Where it is.
    #[serde(flatten)]
    pub source: GitSource,
}

/// A bucket of an object store.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(group = "source.toolkit.fluxcd.io", version = "v1", kind = "Bucket", namespaced, schema = "disabled")]
pub struct BucketSpec {
    /// Where it is.
    #[serde(flatten)]
    pub source: BucketSource,
}

/// An artifact of an OCI registry.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "OCIRepository",
    plural = "ocirepositories",
    namespaced,
    schema = "disabled"
)]
pub struct OciRepositorySpec {
    /// Where it is.
    #[serde(flatten)]
    pub source: OciSource,
}

/// An artifact that another controller made; its status says where it is.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "source.toolkit.fluxcd.io",
    version = "v1",
    kind = "ExternalArtifact",
    namespaced,
    schema = "disabled",
    status = "ExternalArtifactStatus"
)]
pub struct ExternalArtifactSpec {}

/// Where an [`ExternalArtifact`] is.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct ExternalArtifactStatus {
    /// The artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact: Option<FluxArtifact>,
}

/// An archive behind a URL.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct FluxArtifact {
    /// Where it is.
    pub url: String,
    /// What it is called.
    pub revision: String,
    /// `sha256:...`.
    pub digest: String,
}
