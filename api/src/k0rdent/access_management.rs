//! `AccessManagement`: which namespaces may use which templates, credentials and other objects.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{label_selector, rules};

/// Which objects of the system namespace are copied to which namespaces.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "AccessManagement",
    doc = "Which namespaces may use which objects of the system namespace. There is one, named kcm.",
    status = "AccessManagementStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "am"
)]
#[serde(rename_all = "camelCase")]
pub struct AccessManagementSpec {
    /// The rules; each one copies some objects to some namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_rules: Vec<AccessRule>,
}

/// Some objects for some namespaces.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessRule {
    /// Names of ClusterAuditPolicies. Deprecated: use resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_audit_policies: Vec<String>,
    /// Names of ClusterAuthentications. Deprecated: use resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_authentications: Vec<String>,
    /// Names of ClusterTemplateChains. Deprecated: use resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_template_chains: Vec<String>,
    /// Names of Credentials. Deprecated: use resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// Names of DataSources. Deprecated: use resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_sources: Vec<String>,
    /// The objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<AccessRuleResource>,
    /// Names of ServiceTemplateChains. Deprecated: use resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub service_template_chains: Vec<String>,
    /// The namespaces; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_namespaces: Option<TargetNamespaces>,
}

/// Objects of one kind: by name, by selector, or all.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "((has(self.names) ? 1 : 0) + (has(self.selector) ? 1 : 0) + (has(self.stringSelector) ? 1 : 0)) <= 1",
    "only one of names, selector, stringSelector can be specified",
)])))]
pub struct AccessRuleResource {
    /// API group of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// The kind.
    pub kind: String,
    /// Names of the objects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Selects objects by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub selector: Option<LabelSelector>,
    /// Selects objects by their labels, in kubectl's notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_selector: Option<String>,
}

/// Namespaces: by name or by selector.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "((has(self.stringSelector) ? 1 : 0) + (has(self.selector) ? 1 : 0) + (has(self.list) ? 1 : 0)) <= 1",
    "only one of list, selector, stringSelector can be specified",
)])))]
pub struct TargetNamespaces {
    /// Names of the namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<String>,
    /// Selects namespaces by their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub selector: Option<LabelSelector>,
    /// Selects namespaces by their labels, in kubectl's notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_selector: Option<String>,
}

/// Which rules are in force.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessManagementStatus {
    /// The rules in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub current: Vec<AccessRule>,
    /// Why the rules are not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The kinds that are copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<AccessResourceStatus>,
}

/// A kind whose objects are copied.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AccessResourceStatus {
    /// API group of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Why its objects cannot be copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}
