//! `ClusterDataSource`: one child cluster's part of a [`super::DataSource`].

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rules;

/// Which database and which part of it.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "ClusterDataSource",
    doc = "One child cluster's part of a DataSource.",
    namespaced,
    status = "ClusterDataSourceStatus",
    derive = "PartialEq",
    shortname = "clds",
    printcolumn(
        name = "DataSource",
        type_ = "string",
        json_path = ".spec.dataSource",
        description = "The DataSource"
    ),
    printcolumn(
        name = "Schema",
        type_ = "string",
        json_path = ".spec.schema",
        description = "The schema in the database"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "The schema can be used"
    ),
    printcolumn(
        name = "Error",
        type_ = "string",
        json_path = ".status.error",
        priority = 1,
        description = "Why it cannot be used"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDataSourceSpec {
    /// The DataSource in the same namespace.
    pub data_source: String,
    /// Name of the schema in the database. It cannot change.
    #[schemars(extend("x-kubernetes-validations" = rules(&[(
        "self == oldSelf",
        "changing the schema is not supported",
    )])))]
    pub schema: String,
}

/// Whether the schema can be used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterDataSourceStatus {
    /// Secret with the database's CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<String>,
    /// Why the schema cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Secret with the address for kine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kine_data_source_secret: Option<String>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The schema can be used.
    pub ready: bool,
}
