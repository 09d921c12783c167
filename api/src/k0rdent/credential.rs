//! `Credential`: access to an infrastructure, and the region where it is used.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{conditions, object_reference, rules};

/// Where the access is kept and where it is used.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "Credential",
    doc = "Access to an infrastructure, and the region where it is used.",
    namespaced,
    status = "CredentialStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "cred",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "The identity exists"
    ),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region", description = "The region"),
    printcolumn(
        name = "Description",
        type_ = "string",
        json_path = ".spec.description",
        description = "What the access is for"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CredentialSpec {
    /// What the access is for, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The object that holds the access: a Cluster API identity or a Secret.
    #[schemars(schema_with = "object_reference")]
    pub identity_ref: ObjectReference,
    /// The region whose clusters use the access; the management cluster when absent. It cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "Region is immutable")])))]
    pub region: Option<String>,
}

/// Whether the access can be used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialStatus {
    /// What is true of the credential.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The access can be used.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub ready: bool,
}
