//! `StateManagementProvider`: who carries `ServiceSet`s out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{conditions, label_selector};

/// The parts of the provider and the ServiceSets it is responsible for.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "StateManagementProvider",
    doc = "Who carries ServiceSets out.",
    status = "StateManagementProviderStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    shortname = "smp",
    printcolumn(
        name = "rbac",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="RBACReady")].status"#,
        description = "The adapter has its permissions"
    ),
    printcolumn(
        name = "adapter",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="AdapterReady")].status"#,
        description = "The adapter works"
    ),
    printcolumn(
        name = "provisioner",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="ProvisionerReady")].status"#,
        description = "The provisioner works"
    ),
    printcolumn(
        name = "provisioner crds",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="ProvisionerCRDsReady")].status"#,
        description = "The provisioner's CRDs are installed"
    ),
    printcolumn(
        name = "ready",
        type_ = "boolean",
        json_path = ".status.ready",
        description = "Everything works"
    ),
    printcolumn(
        name = "suspended",
        type_ = "boolean",
        json_path = ".spec.suspend",
        description = "The provider is told to do nothing"
    ),
    printcolumn(
        name = "age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct StateManagementProviderSpec {
    /// The program that turns ServiceSets into the provisioner's objects.
    pub adapter: ResourceReference,
    /// The programs that carry those objects out.
    pub provisioner: Vec<ResourceReference>,
    /// Kinds the provisioner brings.
    #[serde(rename = "provisionerCRDs")]
    pub provisioner_crds: Vec<ProvisionerCrd>,
    /// The ServiceSets the provider is responsible for, by label.
    #[schemars(schema_with = "label_selector")]
    pub selector: LabelSelector,
    /// Do nothing.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub suspend: bool,
}

/// A part of the provider and when it counts as ready.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResourceReference {
    /// API version of the object.
    pub api_version: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object.
    pub namespace: String,
    /// CEL expression over the object, as `self`, that is true when it works.
    pub readiness_rule: String,
}

/// Kinds the provisioner brings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProvisionerCrd {
    /// API group.
    pub group: String,
    /// Resources, in lower case and plural.
    pub resources: Vec<String>,
    /// API version.
    pub version: String,
}

/// Whether the provider works.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StateManagementProviderStatus {
    /// What is true of the provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Everything works.
    pub ready: bool,
}
