//! `HostedControlPlane`: a control plane that the regional agent runs, by the Cluster API control-plane contract.
//!
//! Contract fields (Cluster API v1beta2): `spec.version`, `status.version`,
//! `status.initialization.controlPlaneInitialized`, `status.externalManagedControlPlane`,
//! `spec.controlPlaneEndpoint`; `status.ready` and `status.initialized` are those of v1beta1.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::{conditions, is_false, yes};

/// The desired control plane.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "skein.dev",
    version = "v1alpha1",
    kind = "HostedControlPlane",
    doc = "A control plane that the regional agent runs for a child cluster.",
    namespaced,
    status = "HostedControlPlaneStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "hcp",
    category = "skein",
    category = "cluster-api",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas"),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = r#".metadata.labels['cluster\.x-k8s\.io/cluster-name']"#,
        description = "The cluster"
    ),
    printcolumn(
        name = "Driver",
        type_ = "string",
        json_path = ".spec.driver",
        description = "How the control plane is run"
    ),
    printcolumn(
        name = "Ready",
        type_ = "boolean",
        json_path = ".status.ready",
        description = "The API server answers"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Kubernetes version"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint",
        description = "Address of the API server"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1,
        description = "Why the control plane is not ready"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct HostedControlPlaneSpec {
    /// Where clients find the API server; set by the regional agent when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane_endpoint: Option<ApiEndpoint>,
    /// How the control plane is run.
    #[serde(default)]
    pub driver: ControlPlaneDriver,
    /// How many replicas of the API server run.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub replicas: i32,
    /// Kubernetes version, such as v1.36.3.
    #[schemars(length(min = 1, max = 256))]
    pub version: String,
}

fn one() -> i32 {
    1
}

impl Default for HostedControlPlaneSpec {
    fn default() -> Self {
        Self {
            control_plane_endpoint: None,
            driver: ControlPlaneDriver::default(),
            replicas: one(),
            version: String::new(),
        }
    }
}

/// How a control plane is run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum ControlPlaneDriver {
    /// A Kubernetes API in one process: quick start and tests.
    #[default]
    Embedded,
    /// API server, controller manager, scheduler and etcd as processes: edge sites.
    Process,
    /// As pods of the regional cluster.
    Pod,
}

/// An address of an API server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ApiEndpoint {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    #[schemars(range(min = 0, max = 65_535))]
    pub port: i32,
}

/// The observed control plane.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostedControlPlaneStatus {
    /// What is true of the control plane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// Address of the API server, as a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The control plane has no machines of its own. Always true.
    #[serde(default = "yes")]
    pub external_managed_control_plane: bool,
    /// What happened once and stays so (Cluster API v1beta2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<ControlPlaneInitialization>,
    /// The API server has answered once (Cluster API v1beta1).
    #[serde(default, skip_serializing_if = "is_false")]
    pub initialized: bool,
    /// Secret with the kubeconfig, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig_secret: Option<String>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The API server answers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ready: bool,
    /// How many replicas of the API server run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Kubernetes version that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Default for HostedControlPlaneStatus {
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            endpoint: None,
            external_managed_control_plane: true,
            initialization: None,
            initialized: false,
            kubeconfig_secret: None,
            observed_generation: None,
            ready: false,
            replicas: None,
            version: None,
        }
    }
}

/// What happened once and stays so.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneInitialization {
    /// The API server has answered once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub control_plane_initialized: bool,
}
