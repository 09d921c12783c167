//! What k0rdent fills in.

use api::k0rdent::{AccessManagement, ClusterDeployment, ClusterTemplate};
use api::names;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::review::{Operation, Request, Verdict};
use super::rules::parsed;
use super::world::World;

/// The interval of a chart that says none: ten minutes, as the API server writes Go's durations.
const INTERVAL: &str = "10m0s";
/// The deprecated lists of an access rule, and the kinds they name.
const LISTS: [(&str, &str); 6] = [
    ("clusterTemplateChains", "ClusterTemplateChain"),
    ("serviceTemplateChains", "ServiceTemplateChain"),
    ("credentials", "Credential"),
    ("clusterAuthentications", "ClusterAuthentication"),
    ("dataSources", "DataSource"),
    ("clusterAuditPolicies", "ClusterAuditPolicy"),
];

/// Fills in what the object leaves open.
pub fn fill(request: &Request, world: &World<'_>) -> Verdict {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Verdict::default();
    }
    match request.kind.kind.as_str() {
        "ClusterDeployment" => cluster_deployment(request, world),
        "ClusterTemplate" | "ServiceTemplate" | "ProviderTemplate" => template(&request.object),
        "AccessManagement" => access_management(request),
        _ => Verdict::default(),
    }
}

/// A ClusterDeployment without configuration becomes a dry run with the defaults of its template.
fn cluster_deployment(request: &Request, world: &World<'_>) -> Verdict {
    let object = match parsed::<ClusterDeployment>(&request.object) {
        Ok(object) => object,
        Err(refusal) => return refusal,
    };
    let given = request.object.pointer("/spec/config").is_some_and(|config| !config.is_null());
    if given || object.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let namespace = object.namespace().unwrap_or_default();
    let name = &object.spec.template;
    let template = match found_template(world, &namespace, name) {
        Ok(template) => template,
        Err(why) => {
            return Verdict::refuse(format!("could not get template for the ClusterDeployment: {why}"));
        }
    };
    let status = template.status.as_ref();
    if let Err(why) = super::rules::template_is_valid(&template) {
        return Verdict::refuse(format!("template is invalid: {why}"));
    }
    let Some(config) = status.and_then(|status| status.config.clone()).filter(|config| !config.is_null())
    else {
        return Verdict::default();
    };
    let patch = vec![
        json!({"op": "add", "path": "/spec/dryRun", "value": true}),
        json!({"op": "add", "path": "/spec/config", "value": config}),
    ];
    Verdict { patch, ..Verdict::default() }
}

/// The ClusterTemplate of this name.
pub(super) fn found_template(
    world: &World<'_>,
    namespace: &str,
    name: &str,
) -> Result<std::sync::Arc<ClusterTemplate>, String> {
    world
        .cache
        .cluster_templates
        .get(namespace, name)
        .ok_or_else(|| format!("ClusterTemplate.k0rdent.mirantis.com \"{name}\" not found"))
}

/// A chart without source or interval gets the default ones.
fn template(object: &Value) -> Verdict {
    let Some(chart) = object.pointer("/spec/helm/chartSpec").filter(|chart| chart.is_object()) else {
        return Verdict::default();
    };
    let mut patch = Vec::new();
    let source = &chart["sourceRef"];
    let text = |field: &str| source[field].as_str().unwrap_or_default();
    if text("kind").is_empty() && text("name").is_empty() {
        let default = json!({"kind": "HelmRepository", "name": names::DEFAULT_HELM_REPOSITORY});
        patch.push(json!({"op": "add", "path": "/spec/helm/chartSpec/sourceRef", "value": default}));
    }
    if matches!(chart["interval"].as_str().unwrap_or_default(), "" | "0s" | "0") {
        patch.push(json!({"op": "add", "path": "/spec/helm/chartSpec/interval", "value": INTERVAL}));
    }
    Verdict { patch, ..Verdict::default() }
}

/// The deprecated lists become resources; where a rule has resources the lists are ignored, and go.
fn access_management(request: &Request) -> Verdict {
    if let Err(refusal) = parsed::<AccessManagement>(&request.object) {
        return refusal;
    }
    let rules = request.object.pointer("/spec/accessRules").and_then(Value::as_array);
    let moved: Option<Vec<Value>> = rules.map(|rules| rules.iter().map(moved).collect());
    match moved {
        Some(moved) if Some(&moved) != rules => {
            let patch = vec![json!({"op": "replace", "path": "/spec/accessRules", "value": moved})];
            Verdict { patch, ..Verdict::default() }
        }
        _ => Verdict::default(),
    }
}

fn moved(rule: &Value) -> Value {
    let mut rule: Map<String, Value> = rule.as_object().cloned().unwrap_or_default();
    let lists = LISTS.map(|(field, kind)| (kind, rule.remove(field)));
    let given = rule.get("resources").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if !given {
        let resources: Vec<_> = lists
            .into_iter()
            .filter_map(|(kind, list)| Some((kind, list?)))
            .filter(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty()))
            .map(|(kind, list)| json!({"apiGroup": names::K0RDENT_GROUP, "kind": kind, "names": list}))
            .collect();
        if !resources.is_empty() {
            rule.insert("resources".to_owned(), json!(resources));
        }
    }
    Value::Object(rule)
}
