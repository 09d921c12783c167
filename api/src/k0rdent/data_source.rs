//! `DataSource`: a database that stores child clusters' state instead of etcd.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyReference;
use crate::schema::rules;

/// Where the database is. It cannot change.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "k0rdent.mirantis.com",
    version = "v1beta1",
    kind = "DataSource",
    doc = "A database that stores child clusters' state instead of etcd.",
    namespaced,
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "self == oldSelf",
    "changing the spec is not supported, create a new object",
)])))]
pub struct DataSourceSpec {
    /// How to log in.
    pub auth: DataSourceAuth,
    /// Secret with the database's CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<SecretKeyReference>,
    /// Addresses of the database, as host:port.
    pub endpoints: Vec<String>,
    /// What kind of database it is.
    #[serde(rename = "type")]
    pub type_: DataSourceType,
}

/// How to log in to a database.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DataSourceAuth {
    /// Secret with the password.
    pub password: SecretKeyReference,
    /// Secret with the user's name.
    pub username: SecretKeyReference,
}

/// Kinds of databases.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DataSourceType {
    /// PostgreSQL.
    #[default]
    Postgresql,
}
