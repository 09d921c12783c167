//! Components of a Management or a Region: charts that make up k0rdent itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::schema::{any, is_false};

/// The components every installation has.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Core {
    /// Cluster API core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capi: Option<Component>,
    /// The controllers of k0rdent itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kcm: Option<Component>,
}

/// One component.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Helm values for the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    pub config: Option<Value>,
    /// The ProviderTemplate; the Release's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// A Cluster API provider or another optional component.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    /// Helm values for the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    pub config: Option<Value>,
    /// Name of the component.
    pub name: String,
    /// The ProviderTemplate; the Release's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Observed state of one component.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Why the component is not installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Cluster API providers the component brings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposed_providers: Vec<String>,
    /// The component is installed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub success: bool,
    /// The ProviderTemplate that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Contract versions by provider: provider -> Cluster API contract -> provider contract.
pub type CompatibilityContracts = BTreeMap<String, BTreeMap<String, String>>;
