//! `serviceSpec`: which services run on a set of clusters, and how. Shared by ClusterDeployment and MultiClusterService.

use k8s_openapi::api::core::v1::ObjectReference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{SecretReference, Service};
use crate::schema::{any, object_reference, rules};

/// Services to run on the clusters, and how to run them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Deploy the remaining services when one fails. Deprecated: use provider.config.
    #[serde(default)]
    pub continue_on_error: bool,
    /// Fields that drift detection leaves alone. Deprecated: use provider.config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift_exclusions: Vec<DriftExclusion>,
    /// Objects that drift detection leaves alone. Deprecated: use provider.config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift_ignore: Vec<PatchSelector>,
    /// Kustomize folders and manifests to deploy besides the services. Deprecated: use provider.config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub policy_refs: Vec<PolicyRef>,
    /// Who wins when several objects manage the same service: the higher number. Deprecated: use provider.config.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 2_147_483_646))]
    pub priority: i32,
    /// The StateManagementProvider that carries the services out, and its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<StateManagementProviderConfig>,
    /// Restart workloads when a ConfigMap or Secret they mount changes. Deprecated: use provider.config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<bool>,
    /// The services, one entry per name and namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["name", "namespace"]
    ))]
    pub services: Vec<Service>,
    /// Stop at the first conflict with another object. Deprecated: use provider.config.
    #[serde(default)]
    pub stop_on_conflict: bool,
    /// Whether the services are deployed once, kept up to date, repaired on drift, or only planned.
    /// Deprecated: use provider.config.
    #[serde(default)]
    pub sync_mode: SyncMode,
    /// Objects of the management cluster that values and manifests refer to as templates.
    /// Deprecated: use provider.config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub template_resource_refs: Vec<TemplateResourceRef>,
}

impl Default for ServiceSpec {
    fn default() -> Self {
        Self {
            continue_on_error: false,
            drift_exclusions: Vec::new(),
            drift_ignore: Vec::new(),
            policy_refs: Vec::new(),
            priority: hundred(),
            provider: None,
            reload: None,
            services: Vec::new(),
            stop_on_conflict: false,
            sync_mode: SyncMode::default(),
            template_resource_refs: Vec::new(),
        }
    }
}

fn hundred() -> i32 {
    100
}

/// How services are kept in their desired state.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Deployed once and then left alone.
    OneTime,
    /// Deployed again whenever the desired state changes.
    #[default]
    Continuous,
    /// As Continuous, and changes made on the cluster are undone.
    ContinuousWithDriftDetection,
    /// Nothing is deployed; status says what would be.
    DryRun,
}

/// Which provider carries the services out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StateManagementProviderConfig {
    /// Settings for the provider, in the provider's own terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    pub config: Option<Value>,
    /// Name of the StateManagementProvider. It cannot change once it is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "oldSelf == '' || self == oldSelf",
        "Provider name is immutable once set",
    )])))]
    pub name: Option<String>,
    /// Deploy to the management cluster itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_management: Option<bool>,
}

/// Selects objects of a cluster. Fields that are absent match anything; values are regular expressions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PatchSelector {
    /// Label selector expression over the objects' annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotation_selector: Option<String>,
    /// API group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Label selector expression over the objects' labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// API version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Fields of some objects that drift detection leaves alone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DriftExclusion {
    /// JSON pointers (RFC 6901) of the fields.
    pub paths: Vec<String>,
    /// The objects; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PatchSelector>,
}

/// An object of the management cluster that templates can read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TemplateResourceRef {
    /// The name templates use for the object.
    pub identifier: String,
    /// Do not deploy again when only the object's status changes.
    #[serde(default)]
    pub ignore_status_changes: bool,
    /// Go on when the object does not exist.
    #[serde(default)]
    pub optional: bool,
    /// The object. Name and namespace may hold Go templates over the cluster object.
    #[schemars(schema_with = "object_reference")]
    pub resource: ObjectReference,
    /// Deploy again only when one of these fields changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch_fields: Vec<String>,
}

/// Manifests or a Kustomize folder to deploy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "has(self.remoteURL) != has(self.kind)",
    "either remoteURL or kind must be set, but not both",
)])))]
pub struct PolicyRef {
    /// Deploy to the target cluster (Remote) or to the management cluster (Local).
    #[serde(default)]
    pub deployment_type: DeploymentType,
    /// Kind of the object that holds the manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SourceKind>,
    /// Name of that object; may hold Go templates over the cluster object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of that object; the cluster's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Go on when the object does not exist.
    #[serde(default)]
    pub optional: bool,
    /// Folder inside the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A URL that serves the manifests.
    #[serde(default, rename = "remoteURL", skip_serializing_if = "Option::is_none")]
    pub remote_url: Option<RemoteUrl>,
    /// Do not create namespaces that are missing.
    #[serde(default)]
    pub skip_namespace_creation: bool,
    /// Who wins when several references deploy the same object: the lower number.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1))]
    pub tier: i32,
}

impl Default for PolicyRef {
    fn default() -> Self {
        Self {
            deployment_type: DeploymentType::default(),
            kind: None,
            name: None,
            namespace: None,
            optional: false,
            path: None,
            remote_url: None,
            skip_namespace_creation: false,
            tier: hundred(),
        }
    }
}

/// Where something is deployed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeploymentType {
    /// On the management cluster.
    Local,
    /// On the target cluster.
    #[default]
    Remote,
}

/// Kinds of objects a [`PolicyRef`] can read.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Flux GitRepository.
    GitRepository,
    /// Flux OCIRepository.
    #[serde(rename = "OCIRepository")]
    OciRepository,
    /// Flux Bucket.
    Bucket,
    /// ConfigMap.
    ConfigMap,
    /// Secret.
    Secret,
}

/// Manifests behind a URL.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RemoteUrl {
    /// How often to look for changes, as a Go duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Secret with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Resolve Go templates in the manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<bool>,
    /// The URL.
    #[schemars(regex(pattern = r"^(https?|oci)://"))]
    pub url: String,
}
