//! How Helm is to install, upgrade and remove a service.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::int;

/// Options of a Helm release. What is absent here is taken from the ServiceTemplate's `helmOptions`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HelmOptions {
    /// Undo an installation or upgrade that fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub atomic: Option<bool>,
    /// Create the release namespace. Deprecated: use installOptions.createNamespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_namespace: Option<bool>,
    /// Update dependencies that are missing before installing the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dependency_update: Option<bool>,
    /// Description stored with the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Do not run the chart's hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_hooks: Option<bool>,
    /// Do not validate the rendered objects against the cluster's OpenAPI schema.
    #[serde(default, rename = "disableOpenAPIValidation", skip_serializing_if = "Option::is_none")]
    pub disable_open_api_validation: Option<bool>,
    /// Reuse the Helm client between releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_client_cache: Option<bool>,
    /// Options of the first installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install_options: Option<HelmInstallOptions>,
    /// Labels stored with the release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Reuse the name of a deleted release. Deprecated: use installOptions.replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// Do not install the chart's CRDs.
    #[serde(default, rename = "skipCRDs", skip_serializing_if = "Option::is_none")]
    pub skip_crds: Option<bool>,
    /// Do not check the values against the chart's values.schema.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_schema_validation: Option<bool>,
    /// How long one Helm operation may take, as a Go duration such as 5m0s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Options of the removal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uninstall_options: Option<HelmUninstallOptions>,
    /// Options of upgrades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_options: Option<HelmUpgradeOptions>,
    /// Wait until the release's objects are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Wait until the release's Jobs are complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_jobs: Option<bool>,
}

/// Options of a Helm installation.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmInstallOptions {
    /// Create the release namespace when it does not exist.
    pub create_namespace: bool,
    /// Do not run installation hooks.
    pub disable_hooks: bool,
    /// Reuse the name of a deleted release that is still in the history.
    pub replace: bool,
    /// Take over objects that belong to another release or to nobody.
    pub take_ownership: bool,
}

impl Default for HelmInstallOptions {
    fn default() -> Self {
        Self { create_namespace: true, disable_hooks: false, replace: true, take_ownership: false }
    }
}

/// Options of a Helm upgrade.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmUpgradeOptions {
    /// Delete the objects a failed upgrade created.
    pub cleanup_on_fail: bool,
    /// Do not run upgrade hooks.
    pub disable_hooks: bool,
    /// Replace objects that cannot be updated.
    pub force: bool,
    /// How many revisions of the release to keep; 0 keeps all.
    #[schemars(schema_with = "int")]
    pub max_history: i64,
    /// Restart the release's pods.
    pub recreate: bool,
    /// Start from the chart's values, then the last release's, then the new ones.
    pub reset_then_reuse_values: bool,
    /// Start from the chart's values and ignore the last release's.
    pub reset_values: bool,
    /// Start from the last release's values.
    pub reuse_values: bool,
    /// Render the notes of subcharts as well.
    pub sub_notes: bool,
    /// Take over objects that belong to another release or to nobody.
    pub take_ownership: bool,
    /// Upgrade the chart's CRDs as well.
    #[serde(rename = "upgradeCRDs")]
    pub upgrade_crds: bool,
}

impl Default for HelmUpgradeOptions {
    fn default() -> Self {
        Self {
            cleanup_on_fail: false,
            disable_hooks: false,
            force: false,
            max_history: 2,
            recreate: false,
            reset_then_reuse_values: false,
            reset_values: false,
            reuse_values: false,
            sub_notes: false,
            take_ownership: false,
            upgrade_crds: false,
        }
    }
}

/// Options of a Helm removal.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HelmUninstallOptions {
    /// How dependents of deleted objects are treated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_propagation: Option<DeletionPropagation>,
    /// Do not run removal hooks.
    #[serde(default)]
    pub disable_hooks: bool,
    /// Keep the release's history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_history: Option<bool>,
}

/// What happens to the dependents of a deleted object.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DeletionPropagation {
    /// They stay.
    Orphan,
    /// They go first.
    Foreground,
    /// They go later.
    Background,
}
