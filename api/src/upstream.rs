//! k0rdent's own definitions, exactly: ours without what only ours accept or show. For tests that must hold on a cluster
//! where an unmodified k0rdent installed them: its API server drops every field that only we know.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};

use crate::k0rdent_crds;

/// The 22 CRDs as k0rdent has them.
pub fn upstream_crds() -> Vec<CustomResourceDefinition> {
    let crds = k0rdent_crds().into_iter().map(|crd| {
        let mut value = serde_json::to_value(&crd).unwrap_or_default();
        let region = value["spec"]["names"]["kind"] == "Region";
        for version in value["spec"]["versions"].as_array_mut().into_iter().flatten() {
            if region {
                as_region(version);
            }
            strip(&mut version["schema"]["openAPIV3Schema"]);
        }
        serde_json::from_value(value).unwrap_or(crd)
    });
    crds.collect()
}

fn as_region(version: &mut Value) {
    if let Some(columns) = version["additionalPrinterColumns"].as_array_mut() {
        columns.retain(|column| {
            !column["jsonPath"].as_str().is_some_and(|path| path.starts_with(".status.agent"))
        });
    }
    let properties = &mut version["schema"]["openAPIV3Schema"]["properties"];
    if let Some(status) = properties["status"]["properties"].as_object_mut() {
        status.remove("agent");
    }
    if let Some(spec) = properties["spec"]["properties"].as_object_mut() {
        spec.remove("lost");
        spec.remove("standby");
    }
    properties["spec"]["x-kubernetes-validations"] = json!([{
        "rule": "has(self.kubeConfig) != has(self.clusterDeployment)",
        "message": "exactly one of kubeConfig or clusterDeployment must be set",
    }]);
}

/// Takes out what only ours has, wherever in a schema it is.
fn strip(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties_of(properties);
        for property in properties.values_mut() {
            strip(property);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            strip(inner);
        }
    }
}

fn properties_of(properties: &mut Map<String, Value>) {
    // Rollouts of MultiClusterServices, in spec and status.
    properties.remove("rollout");
    if let Some(from) = properties.get_mut("valuesFrom")
        && let Some(fields) = from["items"]["properties"].as_object_mut()
    {
        fields.remove("key");
        fields.remove("optional");
    }
    if let Some(remote) = properties.get_mut("remoteSourceSpec") {
        if let Some(fields) = remote["properties"].as_object_mut() {
            fields.remove("http");
        }
        if let Some(rules) = remote["x-kubernetes-validations"].as_array_mut() {
            rules.retain(|rule| !rule["message"].as_str().is_some_and(|text| text.starts_with("HTTP")));
            for rule in rules {
                let text = rule["rule"].as_str().unwrap_or_default().replace(" || has(self.http)", "");
                rule["rule"] = json!(text);
            }
        }
    }
    if let Some(chart) = properties.get_mut("chartSpec") {
        for field in ["interval", "sourceRef"] {
            if let Some(field) = chart["properties"][field].as_object_mut() {
                field.remove("default");
            }
        }
    }
}
