//! The one node.

use serde_json::{Value, json};

use super::Workloads;
use crate::object;

pub(super) const ADDRESS: &str = "10.0.0.1";
const PODS_MAX: u32 = 110;

/// The node's name: that of the cluster, as a DNS label.
pub(super) fn name(workloads: &Workloads) -> String {
    let plain = |character: char| {
        let character = character.to_ascii_lowercase();
        if character.is_ascii_alphanumeric() { character } else { '-' }
    };
    let label: String = workloads.settings.cluster.chars().map(plain).take(50).collect();
    format!("{}-node", label.trim_matches('-'))
}

/// Makes the node where there is none; its capacity follows the settings.
pub(super) fn ensure(workloads: &mut Workloads) {
    let Ok(kind) = workloads.kind("v1", "Node") else { return };
    let name = name(workloads);
    let status = status(workloads, &name);
    let labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "node-role.kubernetes.io/control-plane": "",
    });
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": "10.244.0.0/16", "providerID": format!("kube-local://{name}")}, "status": status,
    });
    let result = match workloads.engine.find(&kind, "", &name) {
        None => workloads.create(&kind, node).map(|_| ()),
        Some(_) => workloads.modify(&kind, &node, |live| {
            let conditions = live["status"]["conditions"].clone();
            object::set(live, &["status"], node["status"].clone());
            object::set(live, &["status", "conditions"], conditions);
        }),
    };
    if let Err(error) = result {
        tracing::warn!(%error, node = name, "failed to make the node");
    }
}

fn status(workloads: &Workloads, name: &str) -> Value {
    let now = crate::clock::now();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let resources = json!({
        "cpu": workloads.settings.simulate.node_cpu_cores.to_string(),
        "memory": format!("{}Gi", workloads.settings.simulate.node_memory_gib),
        "ephemeral-storage": "100Gi", "pods": PODS_MAX.to_string(),
    });
    let version = &workloads.settings.kubernetes_version;
    json!({
        "capacity": resources, "allocatable": resources,
        "addresses": [{"type": "InternalIP", "address": ADDRESS}, {"type": "Hostname", "address": name}],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux", "osImage": "simulated by kube-local",
            "kernelVersion": "simulated", "containerRuntimeVersion": "simulated://1.0", "kubeletVersion": version,
            "kubeProxyVersion": version, "machineID": name, "systemUUID": name, "bootID": name,
        },
    })
}
