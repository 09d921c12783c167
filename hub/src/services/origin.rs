//! Where a service's content came from: what `skein explain` shows. Names and digests, never a Secret's content.

use serde::Serialize;

/// What one service was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The chart or the manifests.
    pub source: SourceOrigin,
    /// The values, in the order in which they were laid over each other.
    pub documents: Vec<DocumentOrigin>,
    /// Objects that templates read.
    pub objects: Vec<ObjectOrigin>,
}

/// A chart or manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceOrigin {
    /// The template's kind and name.
    pub template: String,
    /// `chart`, `manifests` or `kustomization`.
    pub kind: String,
    /// The version of the chart, or of the template.
    pub version: String,
    /// SHA-256 of the archive, for a chart.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Why there is nothing newer, while the source fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
}

/// A values document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentOrigin {
    /// Which: `ConfigMap ns/name key "x"`, or `values`.
    pub name: String,
    /// Its length in bytes, after templates.
    pub bytes: usize,
    /// Whether it holds Go templates.
    pub template: bool,
    /// Whether it came from a Secret.
    pub secret: bool,
}

/// An object that a template read.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectOrigin {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its version when it was read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The parts whose change renders again; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
}

impl ObjectOrigin {
    /// All of an object.
    pub fn of(kind: &str, namespace: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Self::default()
        }
    }
}
