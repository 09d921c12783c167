//! Discovery: legacy (`/api`, `/apis`, per group and version) and aggregated (v2), and `/version`.

use serde_json::{Value, json};

use super::negotiate::wants_aggregated;
use super::respond::Answer;
use crate::error::ApiError;
use crate::registry::{Kind, Registry, Verbs};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const ALL_VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CUSTOM_VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const PART_VERBS: [&str; 3] = ["get", "patch", "update"];

/// `/version` for a version such as `v1.36.3`.
pub(super) fn version(git_version: &str) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let numbers = git_version.trim_start_matches('v');
    let mut parts = numbers.split('.');
    json!({
        "major": parts.next().unwrap_or_default(), "minor": parts.next().unwrap_or_default(),
        "gitVersion": git_version, "gitCommit": "kube-local", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{architecture}", std::env::consts::OS),
    })
}

/// `/`
pub(super) fn root(registry: &Registry) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in registry.groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    paths.extend(["/healthz", "/livez", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    json!({"paths": paths})
}

/// `/api`
pub(super) fn api(registry: &Registry, accept: &str) -> Answer {
    if wants_aggregated(accept) {
        return aggregated(registry, |group| group.is_empty());
    }
    Answer::json(&json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}],
    }))
}

/// `/apis`
pub(super) fn apis(registry: &Registry, accept: &str) -> Answer {
    if wants_aggregated(accept) {
        return aggregated(registry, |group| !group.is_empty());
    }
    let groups: Vec<Value> = registry
        .groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| api_group(&group, &versions))
        .collect();
    Answer::json(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

/// `/apis/{group}`
pub(super) fn group(registry: &Registry, name: &str) -> Result<Answer, ApiError> {
    let found = registry.groups().into_iter().find(|(group, _)| group == name && !group.is_empty());
    let (group, versions) = found.ok_or_else(ApiError::no_such_path)?;
    let mut answer = api_group(&group, &versions);
    answer["kind"] = json!("APIGroup");
    answer["apiVersion"] = json!("v1");
    Ok(Answer::json(&answer))
}

fn api_group(group: &str, versions: &[String]) -> Value {
    let entry = |version: &String| json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({
        "name": group,
        "versions": versions.iter().map(entry).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(entry),
    })
}

/// The subresources of a kind: name, scope-independent kind it speaks, verbs.
fn subresources(kind: &Kind) -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let own = json!({"group": *kind.group, "version": kind.version, "kind": kind.kind});
    let mut parts = Vec::new();
    if kind.is("", "Namespace") {
        parts.push(("finalize", own.clone(), vec!["update"]));
    }
    if kind.is("", "Pod") {
        let eviction = json!({"group": "policy", "version": "v1", "kind": "Eviction"});
        parts.push(("eviction", eviction, vec!["create"]));
        parts.push(("log", own.clone(), vec!["get"]));
    }
    if kind.scale.is_some() {
        let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        parts.push(("scale", scale, PART_VERBS.to_vec()));
    }
    if kind.status {
        parts.push(("status", own, PART_VERBS.to_vec()));
    }
    if kind.custom().is_some() {
        parts.reverse();
    }
    parts
}

fn verbs(kind: &Kind) -> Vec<&'static str> {
    match kind.verbs {
        Verbs::All if kind.custom().is_some() => CUSTOM_VERBS.to_vec(),
        Verbs::All if kind.is("", "Namespace") => {
            ALL_VERBS.into_iter().filter(|verb| *verb != "deletecollection").collect()
        }
        Verbs::All => ALL_VERBS.to_vec(),
        Verbs::Review => vec!["create"],
    }
}

/// `/api/v1` and `/apis/{group}/{version}`
pub(super) fn resources(registry: &Registry, group: &str, version: &str) -> Result<Answer, ApiError> {
    let mut resources = Vec::new();
    for kind in registry.all().filter(|kind| *kind.group == *group && kind.version == version) {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind),
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        resources.push(resource);
        for (name, speaks, verbs) in subresources(kind) {
            let mut part = json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": speaks["kind"], "verbs": verbs,
            });
            if speaks["group"] != json!(*kind.group) {
                part["group"] = speaks["group"].clone();
                part["version"] = speaks["version"].clone();
            }
            resources.push(part);
        }
    }
    if resources.is_empty() {
        return Err(ApiError::no_such_path());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(Answer::json(&json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
    })))
}

fn aggregated(registry: &Registry, wanted: impl Fn(&str) -> bool) -> Answer {
    let mut groups = Vec::new();
    for (group, versions) in registry.groups().into_iter().filter(|(group, _)| wanted(group)) {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let kinds = registry.all().filter(|kind| *kind.group == *group && kind.version == *version);
                let resources: Vec<Value> = kinds.map(|kind| aggregated_resource(kind)).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            })
            .collect();
        let metadata = if group.is_empty() {
            json!({"creationTimestamp": null})
        } else {
            json!({"name": group, "creationTimestamp": null})
        };
        groups.push(json!({"metadata": metadata, "versions": versions}));
    }
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups,
    });
    Answer::bytes(AGGREGATED, list.to_string())
}

fn aggregated_resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": {"group": *kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(kind),
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    let parts: Vec<Value> = subresources(kind)
        .into_iter()
        .map(|(name, speaks, verbs)| json!({"subresource": name, "responseKind": speaks, "verbs": verbs}))
        .collect();
    if !parts.is_empty() {
        resource["subresources"] = json!(parts);
    }
    resource
}
