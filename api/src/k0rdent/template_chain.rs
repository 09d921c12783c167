//! `ClusterTemplateChain` and `ServiceTemplateChain`: which templates may be used, and which upgrades are allowed.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AvailableUpgrade;
use crate::schema::{is_false, rules};

/// The templates of the chain. It cannot change.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ClusterTemplateChain",
    doc = "Which ClusterTemplates may be used, and which upgrades are allowed.",
    namespaced,
    status = "TemplateChainStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    printcolumn(
        name = "Valid",
        type_ = "boolean",
        json_path = ".status.valid",
        description = "The chain can be used"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "Spec is immutable")])))]
pub struct ClusterTemplateChainSpec {
    /// The templates, one entry per name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub supported_templates: Vec<SupportedTemplate>,
}

/// The templates of the chain. It cannot change.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ServiceTemplateChain",
    doc = "Which ServiceTemplates may be used, and which upgrades are allowed.",
    namespaced,
    status = "TemplateChainStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    printcolumn(
        name = "Valid",
        type_ = "boolean",
        json_path = ".status.valid",
        description = "The chain can be used"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[("self == oldSelf", "Spec is immutable")])))]
pub struct ServiceTemplateChainSpec {
    /// The templates, one entry per name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub supported_templates: Vec<SupportedTemplate>,
}

/// A template and what it may be upgraded to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SupportedTemplate {
    /// Templates it may be upgraded to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available_upgrades: Vec<AvailableUpgrade>,
    /// Name of the template.
    pub name: String,
}

/// Whether the chain can be used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TemplateChainStatus {
    /// The chain can be used.
    #[serde(default, skip_serializing_if = "is_false")]
    pub valid: bool,
    /// Why the chain cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_error: Option<String>,
}
