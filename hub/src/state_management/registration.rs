//! What KCM must find: the `StateManagementProvider`, and the object whose readiness it asks.
//!
//! # Why a ConfigMap is asked
//! KCM evaluates a rule over an object of any kind. The hub may run as a Deployment of any name, or outside of the
//! cluster; a ConfigMap that it writes when it leads and has read everything says the same wherever it runs. A hub that
//! ends in order says so there; one that was killed cannot, and its sets then show no progress until the next one leads.

use std::collections::BTreeMap;

use api::k0rdent::{ProvisionerCrd, ResourceReference, StateManagementProvider, StateManagementProviderSpec};
use api::names::{self, label};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::Serving;

/// True when the hub leads and has read everything.
const RULE: &str = "self.data.ready == \"true\"";

/// The labels by which KCM marks our sets.
pub fn selector(serving: &Serving) -> LabelSelector {
    let label = (label::ADAPTER.to_owned(), serving.provider.clone());
    LabelSelector { match_labels: Some(BTreeMap::from([label])), match_expressions: None }
}

/// What of the provider is ours to say: what is asked, and which kinds must be there. Whether it is suspended is said by
/// people.
fn spec(serving: &Serving, namespace: &str) -> StateManagementProviderSpec {
    let asked = ResourceReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: names::STATE_MANAGEMENT_CONFIG_MAP.to_owned(),
        namespace: namespace.to_owned(),
        readiness_rule: RULE.to_owned(),
    };
    StateManagementProviderSpec {
        adapter: asked.clone(),
        provisioner: vec![asked],
        provisioner_crds: vec![ProvisionerCrd {
            group: names::SKEIN_GROUP.to_owned(),
            resources: vec!["edges".to_owned()],
            version: "v1alpha1".to_owned(),
        }],
        selector: selector(serving),
        suspend: false,
    }
}

/// The provider as it should be, when it is not there.
pub fn provider(serving: &Serving, namespace: &str) -> Value {
    json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "StateManagementProvider",
        "metadata": {"name": serving.provider},
        "spec": spec(serving, namespace),
    })
}

/// What to change about the provider that is there. A selector that somebody gave it stays, so that sets can be moved
/// over by labels of one's own; an empty one selects nothing and is filled.
pub fn correction(serving: &Serving, namespace: &str, there: &StateManagementProvider) -> Option<Value> {
    let mut wanted = spec(serving, namespace);
    wanted.suspend = there.spec.suspend;
    let given = &there.spec.selector;
    let some = given.match_labels.as_ref().is_some_and(|labels| !labels.is_empty())
        || given.match_expressions.as_ref().is_some_and(|list| !list.is_empty());
    if some {
        wanted.selector = given.clone();
    }
    (wanted != there.spec).then(|| json!({"spec": wanted}))
}

/// The ConfigMap that is asked.
pub fn readiness(serving: &Serving, namespace: &str, term: u64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": names::STATE_MANAGEMENT_CONFIG_MAP, "namespace": namespace},
        "data": said(serving, term),
    })
}

/// What to change about the ConfigMap that is there.
pub fn readiness_correction(serving: &Serving, term: u64, there: &ConfigMap) -> Option<Value> {
    let said = said(serving, term);
    let data = there.data.as_ref();
    let same = said.iter().all(|(key, value)| data.and_then(|data| data.get(key)) == Some(value));
    (!same).then(|| json!({"data": said}))
}

fn said(serving: &Serving, term: u64) -> BTreeMap<String, String> {
    let said = [
        ("ready", "true".to_owned()),
        ("provider", serving.provider.clone()),
        ("term", term.to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    said.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The ConfigMap of a hub of this term that ends: `None` when another one leads already.
pub fn farewell(term: u64, there: &ConfigMap) -> Option<ConfigMap> {
    let mut last = there.clone();
    let data = last.data.as_mut()?;
    if data.get("term") != Some(&term.to_string()) {
        return None;
    }
    data.insert("ready".to_owned(), "false".to_owned());
    Some(last)
}

/// The ConfigMap that stands for a region.
pub fn region_record(namespace: &str, region: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": format!("{}{region}", names::REGION_RECORD_PREFIX), "namespace": namespace,
            "labels": {label::REGION_RECORD: region},
        },
    })
}

/// What to write into the record of a region.
pub fn region_correction(there: &ConfigMap, endpoints: &[String], link: &str, since: &str) -> Option<Value> {
    let known = |key: &str| there.data.as_ref().and_then(|data| data.get(key)).cloned().unwrap_or_default();
    let endpoints = if endpoints.is_empty() { known("endpoints") } else { endpoints.join(",") };
    let told = [("endpoints", endpoints), ("link", link.to_owned()), ("since", since.to_owned())];
    let same = told.iter().all(|(key, value)| known(key) == *value);
    let data: BTreeMap<_, _> = told.into_iter().collect();
    (!same && !there.name_any().is_empty()).then(|| json!({"data": data}))
}
