//! `ProviderInterface`: which identities an infrastructure provider uses.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The identities and the objects they refer to.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ProviderInterface",
    doc = "Which identities an infrastructure provider uses.",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "pi",
    printcolumn(
        name = "Description",
        type_ = "string",
        json_path = ".spec.description",
        description = "The provider, for a person"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ProviderInterfaceSpec {
    /// Kinds of identities a Credential may refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_identities: Vec<ClusterIdentity>,
    /// Kinds of identities, by name only. Deprecated: use clusterIdentities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_identity_kinds: Vec<String>,
    /// The provider, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A kind of identity.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentity {
    /// API group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Objects an identity refers to, which are copied with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<ClusterIdentityReference>,
    /// API version.
    pub version: String,
}

/// An object an identity refers to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterIdentityReference {
    /// API group of the object.
    pub group: String,
    /// Kind of the object.
    pub kind: String,
    /// Path of the identity's field with the object's name, without a leading dot.
    #[schemars(regex(pattern = "^[^.].*$"))]
    pub name_field_path: String,
    /// Path of the identity's field with the object's namespace, without a leading dot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[^.].*$"))]
    pub namespace_field_path: Option<String>,
    /// API version of the object.
    pub version: String,
}
