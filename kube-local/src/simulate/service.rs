//! Services: an address for load balancers, and a slice of the ready pods behind each selector.

use serde_json::{Value, json};

use super::{Workloads, node, owner_reference, pod};
use crate::error::ApiError;
use crate::object::{self, items, set, text};
use crate::selector::LabelSelector;

/// Makes the service `kubernetes`, as every cluster has it.
pub(super) fn ensure_kubernetes(workloads: &mut Workloads) {
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": "10.96.0.1", "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443}],
        },
    });
    let result = workloads.kind("v1", "Service").and_then(|kind| workloads.create(&kind, service));
    if let Err(error) = result
        && error.code != 409
    {
        tracing::warn!(%error, "failed to make the service \"kubernetes\"");
    }
}

/// Keeps the status and the endpoints of a service.
pub(super) fn reconcile(workloads: &mut Workloads, service: &Value) -> Result<(), ApiError> {
    let balanced = text(service, &["spec", "type"]) == Some("LoadBalancer");
    if balanced && items(service, &["status", "loadBalancer", "ingress"]).is_empty() {
        let inner = text(service, &["spec", "clusterIP"]).unwrap_or_default();
        let outer = inner
            .strip_prefix("10.96.")
            .map_or_else(|| "172.18.0.1".to_owned(), |rest| format!("172.18.{rest}"));
        let kind = workloads.kind("v1", "Service")?;
        workloads.modify(&kind, service, |live| {
            set(live, &["status", "loadBalancer", "ingress"], json!([{"ip": outer, "ipMode": "VIP"}]));
        })?;
    }
    slice(workloads, service)
}

/// Brings the endpoints of a namespace's services up to date after its pods changed.
pub(super) fn pods_changed(workloads: &mut Workloads, namespace: &str) {
    for (_, stored) in workloads.engine.store.list("services", Some(namespace)).objects {
        let service = stored.decode();
        if let Err(error) = slice(workloads, &service)
            && ![404, 409, 403].contains(&error.code)
        {
            tracing::warn!(%error, service = object::name(&service), "failed to keep the endpoints of a service");
        }
    }
}

fn slice(workloads: &mut Workloads, service: &Value) -> Result<(), ApiError> {
    let selector = LabelSelector::from_map(&service["spec"]["selector"]);
    if selector.is_empty() || object::deleting(service) {
        return Ok(());
    }
    let namespace = object::namespace(service);
    let pods: Vec<Value> = workloads
        .engine
        .store
        .list("pods", Some(namespace))
        .objects
        .iter()
        .map(|(_, stored)| stored.decode())
        .filter(|pod| selector.matches(pod.pointer("/metadata/labels")) && !pod::finished(pod))
        .filter(|pod| text(pod, &["status", "podIP"]).is_some())
        .collect();
    let node = node::name(workloads);
    let endpoints: Vec<Value> = pods.iter().map(|pod| endpoint(pod, &node)).collect();
    let ports: Vec<Value> = items(service, &["spec", "ports"])
        .iter()
        .map(|port| {
            let number = target_port(port, pods.first());
            json!({"name": text(port, &["name"]).unwrap_or_default(), "port": number, "protocol": port["protocol"]})
        })
        .collect();
    let kind = workloads.kind("discovery.k8s.io/v1", "EndpointSlice")?;
    let name = format!("{}-local", object::name(service));
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name, "namespace": namespace, "ownerReferences": [owner_reference(service)],
            "labels": {
                "kubernetes.io/service-name": object::name(service),
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    });
    if workloads.engine.find(&kind, namespace, &name).is_none() {
        return workloads.create(&kind, slice).map(|_| ());
    }
    workloads.modify(&kind, &slice, |live| {
        set(live, &["endpoints"], slice["endpoints"].clone());
        set(live, &["ports"], slice["ports"].clone());
    })
}

fn endpoint(pod: &Value, node: &str) -> Value {
    let ready = pod::ready(pod);
    json!({
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": ready, "terminating": object::deleting(pod)},
        "nodeName": node,
        "targetRef": {
            "kind": "Pod", "name": object::name(pod), "namespace": object::namespace(pod), "uid": object::uid(pod),
        },
    })
}

/// The number behind a target port, which may be the name of a container's port.
fn target_port(port: &Value, pod: Option<&Value>) -> Value {
    let Some(name) = text(port, &["targetPort"]) else { return port["targetPort"].clone() };
    let containers = pod.map(|pod| items(pod, &["spec", "containers"])).unwrap_or_default();
    let named = containers.iter().flat_map(|one| items(one, &["ports"])).find(|one| one["name"] == name);
    named.map_or_else(|| port["port"].clone(), |one| one["containerPort"].clone())
}
