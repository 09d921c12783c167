//! The Flux kinds that name sources of charts, as far as the hub reads them. The hub fetches by itself; Flux may be
//! there and is not needed.

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
    /// Secret with `username` and `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretName>,
    /// Send the credentials also to another host that the index names.
    pub pass_credentials: bool,
    /// An OCI registry that speaks plain HTTP.
    pub insecure: bool,
    /// Do not fetch.
    pub suspend: bool,
    /// How often to look for changes, as a Go duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

/// A Secret in the same namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct SecretName {
    /// Its name.
    pub name: String,
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
#[serde(rename_all = "camelCase", default)]
pub struct HelmChartSpec {
    /// The chart's name.
    pub chart: String,
    /// A version or a range of versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The repository in the same namespace.
    pub source_ref: HelmChartSource,
}

/// The repository of a [`HelmChart`].
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(default)]
pub struct HelmChartSource {
    /// Kind of the repository.
    pub kind: String,
    /// Its name.
    pub name: String,
}
