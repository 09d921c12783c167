//! One service (a release of a ServiceTemplate) and its observed state.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AvailableUpgrade, HelmOptions};
use crate::schema::{conditions, is_false};

/// One service to run on the selected clusters.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Services that must be deployed before this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<ServiceDependsOn>,
    /// Leave the service as it is and do not manage it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable: bool,
    /// Install (the default) or Uninstall the Helm release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_action: Option<HelmAction>,
    /// Helm options of this service; they win over the ServiceTemplate's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_options: Option<HelmOptions>,
    /// The release's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace of the target cluster the release goes into.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The ServiceTemplate to deploy.
    #[schemars(length(min = 1, max = 253))]
    pub template: String,
    /// The ServiceTemplateChain that permits the template and offers its upgrades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_chain: Option<String>,
    /// Helm values as YAML text. Go templates over the cluster object are resolved in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<String>,
    /// ConfigMaps and Secrets that hold more values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values_from: Vec<ValuesFrom>,
    /// The version of the service, resolved through the template chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl Default for Service {
    fn default() -> Self {
        Self {
            depends_on: Vec::new(),
            disable: false,
            helm_action: None,
            helm_options: None,
            name: String::new(),
            namespace: default_namespace(),
            template: String::new(),
            template_chain: None,
            values: None,
            values_from: Vec::new(),
            version: None,
        }
    }
}

/// A service another one waits for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceDependsOn {
    /// Name of the service.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the service on the target cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What Helm shall do with a release.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelmAction {
    /// Install or upgrade it.
    Install,
    /// Remove it.
    Uninstall,
}

/// An object that holds Helm values.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFrom {
    /// The only key whose text counts; all keys in order of name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Kind of the object.
    pub kind: ValuesFromKind,
    /// Name of the object; may hold Go templates over the cluster object.
    pub name: String,
    /// Go on when the object or the key does not exist.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
}

/// Kinds that can hold values.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ValuesFromKind {
    /// A ConfigMap.
    #[default]
    ConfigMap,
    /// A Secret.
    Secret,
}

/// Observed state of one service on one cluster, or of all clusters together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceState {
    /// Details: health of the objects, failures of single steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Why the service failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// Hash of what was last deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_deployed_hash: Option<String>,
    /// When `state` last changed.
    pub last_state_transition_time: Time,
    /// Name of the service.
    pub name: String,
    /// Namespace of the service on the target cluster.
    pub namespace: String,
    /// How far the service is.
    pub state: DeploymentState,
    /// The ServiceTemplate that is deployed.
    pub template: String,
    /// What the template holds.
    #[serde(rename = "type")]
    pub type_: ServiceType,
    /// The version that is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What a service is made of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ServiceType {
    /// A Helm chart.
    #[default]
    Helm,
    /// A Kustomize folder.
    Kustomize,
    /// Plain manifests.
    Resource,
}

/// How far the deployment of a service is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeploymentState {
    /// Everything is applied and healthy.
    Deployed,
    /// Being applied, or not healthy yet.
    Provisioning,
    /// Applying failed, or an object is unhealthy for good.
    Failed,
    /// Not started, for example because a dependency is not deployed.
    #[default]
    Pending,
    /// Being removed.
    Deleting,
    /// Removed.
    Deleted,
}

/// Upgrades that template chains offer for one service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceUpgradePaths {
    /// The sequences of templates that lead to newer versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available_upgrades: Vec<UpgradePath>,
    /// Name of the service.
    pub name: String,
    /// Namespace of the service.
    pub namespace: String,
    /// The template that is deployed now.
    pub template: String,
}

/// One sequence of upgrades.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpgradePath {
    /// Names of the templates, in order. Deprecated: use versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrade_paths: Vec<String>,
    /// Templates and their versions, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<AvailableUpgrade>,
}
