//! What a pod and a node say about cost.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use telemetry::cost::{NodeFacts, PodFacts};

/// The extended resource that counts as a GPU.
const GPU: &str = "nvidia.com/gpu";

type Resources = BTreeMap<String, Quantity>;

/// A pod that runs; `None` while it does not.
pub(super) fn pod(pod: &Pod) -> Option<PodFacts> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    if status.phase.as_deref() != Some("Running") {
        return None;
    }
    let requests: Vec<&Resources> = spec
        .containers
        .iter()
        .filter_map(|container| container.resources.as_ref()?.requests.as_ref())
        .collect();
    let sum = |name| requests.iter().filter_map(|requests| amount(requests, name)).sum();
    let (controller_kind, controller) = controller(pod);
    Some(PodFacts {
        uid: pod.uid().unwrap_or_default(),
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        node: spec.node_name.clone().unwrap_or_default(),
        controller_kind,
        controller,
        labels: pod.labels().clone(),
        started: status.start_time.as_ref().map_or(0, |time| time.0.as_millisecond()),
        cpu_request: sum("cpu"),
        ram_request: sum("memory"),
        gpu_request: sum(GPU),
        cpu_usage: None,
        ram_usage: None,
    })
}

/// A node and what it has.
pub(super) fn node(node: &Node) -> NodeFacts {
    let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
    let has = |name| capacity.and_then(|capacity| amount(capacity, name)).unwrap_or_default();
    NodeFacts {
        name: node.name_any(),
        labels: node.labels().clone(),
        cpu: has("cpu"),
        ram: has("memory"),
        gpu: has(GPU),
    }
}

/// What made the pod. A ReplicaSet of a Deployment is named by its Deployment, as OpenCost does.
fn controller(pod: &Pod) -> (String, String) {
    let Some(owner) = pod.owner_references().iter().find(|owner| owner.controller == Some(true)) else {
        return (String::new(), String::new());
    };
    let hash = pod.labels().get("pod-template-hash");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    match deployment {
        Some(deployment) if owner.kind == "ReplicaSet" => ("deployment".to_owned(), deployment.to_owned()),
        _ => (owner.kind.to_lowercase(), owner.name.clone()),
    }
}

fn amount(resources: &Resources, name: &str) -> Option<f64> {
    quantity(&resources.get(name)?.0)
}

/// A Kubernetes quantity: a decimal number with a binary suffix, a decimal suffix or an exponent.
fn quantity(text: &str) -> Option<f64> {
    const BINARY: [(&str, f64); 6] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
    ];
    const DECIMAL: [(&str, f64); 9] = [
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    if let Ok(number) = text.parse::<f64>() {
        return Some(number).filter(|number| number.is_finite());
    }
    let (number, factor) = BINARY
        .iter()
        .chain(&DECIMAL)
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, factor)))?;
    number.parse::<f64>().ok().map(|number| number * factor).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in
            [("100m", 0.1), ("2", 2.0), ("0.5", 0.5), ("1e3", 1000.0), ("128Mi", 134_217_728.0), ("1G", 1e9)]
        {
            assert!((quantity(text).unwrap() - expected).abs() < 1e-9, "{text}");
        }
        for text in ["", "m", "1X", "inf", "NaN"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }

    #[test]
    fn a_running_pod_is_charged_for_what_it_requests_under_its_deployment() {
        let running: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "web-5d4f-x", "namespace": "shop", "uid": "u",
                "labels": {"pod-template-hash": "5d4f"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f", "uid": "r", "controller": true}],
            },
            "spec": {"nodeName": "n", "containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
                {"name": "b", "resources": {"requests": {"cpu": "50m"}}},
            ]},
            "status": {"phase": "Running", "startTime": "1970-01-01T00:00:07Z"},
        }))
        .unwrap();
        let facts = pod(&running).unwrap();
        assert_eq!((facts.controller_kind.as_str(), facts.controller.as_str()), ("deployment", "web"));
        assert!((facts.cpu_request - 0.15).abs() < 1e-9);
        assert_eq!(facts.started, 7_000);
        let mut pending = running;
        pending.status.as_mut().unwrap().phase = Some("Pending".to_owned());
        assert_eq!(pod(&pending), None);
    }
}
