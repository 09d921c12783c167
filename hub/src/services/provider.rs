//! What a `serviceSpec` says about how its services are carried out: `provider.config`, or the deprecated fields when
//! both `provider.name` and `provider.config` are absent (k0rdent: `StateManagementProviderConfigFromServiceSpec`).

use std::collections::BTreeMap;

use api::k0rdent::{ServiceSpec, StateManagementProviderConfig, SyncMode};
use api::names;
use protocol::plan::{DriftMode, Removal};
use serde_json::{Map, Value, json};

use super::orders::Orders;
use crate::planner::latitude::Latitude;
use crate::planner::patches::{self, Patch};

/// Keys of `provider.config` that are understood; others are ignored.
const PRIORITY: &str = "priority";
const SYNC_MODE: &str = "syncMode";

/// How services are carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Carrying {
    /// What a ServiceSet says as its provider.
    pub provider: StateManagementProviderConfig,
    /// Who wins a release that several sets claim: the higher number.
    pub priority: i32,
    /// How services are kept in their desired state.
    pub sync_mode: SyncMode,
    /// Stop at the first conflict with another set.
    pub stop_on_conflict: bool,
    /// Whether services go on although one of the set has failed: unless `continueOnError` says no.
    pub continues_on_error: bool,
    /// After how many failed tries an upgrade is given up, where that is said.
    pub max_consecutive_failures: Option<u32>,
    /// Changes to the rendered objects.
    pub patches: Result<Vec<Patch>, String>,
    /// What others may change about the objects.
    pub latitude: Result<Latitude, String>,
    /// Whether workloads roll when a ConfigMap or Secret that they use changes (`reloader`).
    pub reloads: bool,
    /// Whether CustomResourceDefinitions go with their service (`pruneDefinitions`, beyond k0rdent).
    pub prunes_definitions: bool,
    /// What annotations of the owner say.
    pub orders: Result<Orders, String>,
    /// What becomes of the objects when the cluster is not selected any more.
    pub removal: Removal,
}

impl Carrying {
    /// Reads a `serviceSpec`.
    pub fn of(spec: &ServiceSpec) -> Self {
        let given = spec.provider.clone().unwrap_or_default();
        let name = given.name.clone().filter(|name| !name.is_empty());
        let config = match (&name, given.config) {
            (_, Some(config)) => Some(config),
            (None, None) => Some(deprecated(spec)),
            (Some(_), None) => None,
        };
        let field = |key: &str| config.as_ref().and_then(|config| config.get(key));
        let priority = field(PRIORITY).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
        let mode = field(SYNC_MODE).and_then(Value::as_str);
        let leave = field("stopMatchingBehavior").and_then(Value::as_str) == Some("LeavePolicies");
        let carrying = Self {
            priority: priority.filter(|number| *number >= 1).unwrap_or(100),
            sync_mode: match mode {
                Some("OneTime") => SyncMode::OneTime,
                Some("ContinuousWithDriftDetection") => SyncMode::ContinuousWithDriftDetection,
                Some("DryRun") => SyncMode::DryRun,
                _ => SyncMode::Continuous,
            },
            stop_on_conflict: field("stopOnConflict").and_then(Value::as_bool).unwrap_or(false),
            continues_on_error: field("continueOnError").and_then(Value::as_bool).unwrap_or(true),
            max_consecutive_failures: field("maxConsecutiveFailures")
                .and_then(Value::as_u64)
                .and_then(|number| u32::try_from(number).ok()),
            patches: patches::read(config.as_ref()),
            latitude: Latitude::read(config.as_ref()),
            reloads: field("reloader").and_then(Value::as_bool).unwrap_or(false),
            prunes_definitions: field("pruneDefinitions").and_then(Value::as_bool).unwrap_or(false),
            orders: Ok(Orders::default()),
            removal: if leave { Removal::Leave } else { Removal::Prune },
            provider: StateManagementProviderConfig::default(),
        };
        let name = name.unwrap_or_else(|| names::DEFAULT_STATE_MANAGEMENT_PROVIDER.to_owned());
        let provider = StateManagementProviderConfig {
            config,
            name: Some(name),
            self_management: given.self_management,
        };
        Self { provider, ..carrying }
    }

    /// With what the annotations of the owner say.
    pub fn ordered(self, annotations: &BTreeMap<String, String>) -> Self {
        Self { orders: Orders::of(annotations), ..self }
    }

    /// What the edge does about drift.
    ///
    /// k0rdent's documentation promises that `Continuous` corrects drift; in Sveltos it does so only when something
    /// else changes. Here it does at once.
    pub fn drift(&self) -> DriftMode {
        match self.sync_mode {
            SyncMode::OneTime => DriftMode::Once,
            SyncMode::Continuous | SyncMode::ContinuousWithDriftDetection => DriftMode::Repair,
            SyncMode::DryRun => DriftMode::Report,
        }
    }

    /// The place in the order of units: lower begins first (Sveltos' tier).
    pub fn tier(&self) -> i32 {
        i32::MAX - self.priority
    }
}

/// The deprecated fields as a config; `reload` becomes `reloader`, as k0rdent writes it.
fn deprecated(spec: &ServiceSpec) -> Value {
    let mut config = Map::new();
    config.insert(PRIORITY.to_owned(), json!(spec.priority));
    config.insert(SYNC_MODE.to_owned(), json!(spec.sync_mode));
    let switches = [
        ("stopOnConflict", spec.stop_on_conflict),
        ("continueOnError", spec.continue_on_error),
        ("reloader", spec.reload.unwrap_or(false)),
    ];
    for (key, on) in switches {
        if on {
            config.insert(key.to_owned(), json!(true));
        }
    }
    let lists = [
        ("driftIgnore", json!(spec.drift_ignore)),
        ("driftExclusions", json!(spec.drift_exclusions)),
        ("templateResourceRefs", json!(spec.template_resource_refs)),
        ("policyRefs", json!(spec.policy_refs)),
    ];
    for (key, list) in lists {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            config.insert(key.to_owned(), list);
        }
    }
    Value::Object(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(provider: Value, priority: i32) -> ServiceSpec {
        let provider = serde_json::from_value(provider).unwrap();
        ServiceSpec {
            provider: Some(provider),
            priority,
            sync_mode: SyncMode::OneTime,
            ..ServiceSpec::default()
        }
    }

    #[test]
    fn deprecated_fields_count_only_when_the_provider_says_nothing() {
        let table = [
            (json!({}), 200, SyncMode::OneTime, "ksm-projectsveltos"),
            (json!({"config": {"priority": 7}}), 7, SyncMode::Continuous, "ksm-projectsveltos"),
            (json!({"name": "skein"}), 100, SyncMode::Continuous, "skein"),
            (json!({"name": "skein", "config": {"syncMode": "DryRun"}}), 100, SyncMode::DryRun, "skein"),
        ];
        for (provider, priority, mode, name) in table {
            let carrying = Carrying::of(&spec(provider.clone(), 200));
            assert_eq!((carrying.priority, carrying.sync_mode), (priority, mode), "{provider}");
            assert_eq!(carrying.provider.name.as_deref(), Some(name));
        }
    }

    #[test]
    fn deprecated_fields_are_written_as_k0rdent_writes_them() {
        let given = ServiceSpec {
            stop_on_conflict: true,
            continue_on_error: true,
            reload: Some(true),
            ..ServiceSpec::default()
        };
        let carrying = Carrying::of(&given);
        let written = json!({
            "priority": 100, "syncMode": "Continuous", "stopOnConflict": true, "continueOnError": true,
            "reloader": true,
        });
        assert_eq!(carrying.provider.config, Some(written));
        assert!(carrying.stop_on_conflict && carrying.continues_on_error);
        assert!(
            Carrying::of(&ServiceSpec::default()).continues_on_error,
            "false is there when nobody says it"
        );
        let config = json!({"config": {"continueOnError": false}});
        assert!(!Carrying::of(&spec(config, 1)).continues_on_error);
    }

    #[test]
    fn what_a_cluster_keeps_when_it_is_not_selected_any_more_is_said_by_config_alone() {
        let removal = |behaviour: &str| {
            Carrying::of(&spec(json!({"config": {"stopMatchingBehavior": behaviour}}), 1)).removal
        };
        assert_eq!(removal("LeavePolicies"), Removal::Leave);
        assert_eq!(removal("WithdrawPolicies"), Removal::Prune);
        assert_eq!(Carrying::of(&ServiceSpec::default()).removal, Removal::Prune);
    }

    #[test]
    fn a_higher_priority_begins_first() {
        let tier = |priority| Carrying::of(&spec(json!({"config": {"priority": priority}}), 1)).tier();
        assert!(tier(200) < tier(100));
        assert_eq!(tier(100), i32::MAX - 100);
    }
}
