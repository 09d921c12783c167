//! Defaults of built-in kinds: the fields whose absence would surprise clients.

mod pod;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

pub(super) use pod::pod_spec;

use crate::object::{at, items, remove, set, set_default, text, uid};
use crate::registry::{Kind, default_definition, establish};

/// Writes the defaults of a kind into an object.
pub(super) fn apply(kind: &Kind, object: &mut Value) {
    match (&*kind.group, kind.kind.as_str()) {
        ("", "Pod") => pod(object),
        ("", "Service") => service(object),
        ("", "Namespace") => namespace(object),
        ("", "Secret") => secret(object),
        ("", "PersistentVolumeClaim") => set_default(object, &["spec", "volumeMode"], json!("Filesystem")),
        ("", "PersistentVolume") => {
            set_default(object, &["spec", "persistentVolumeReclaimPolicy"], json!("Retain"));
            set_default(object, &["spec", "volumeMode"], json!("Filesystem"));
        }
        ("", "ReplicationController") | ("apps", "ReplicaSet") => {
            set_default(object, &["spec", "replicas"], json!(1));
            template(object);
        }
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => job(object),
        ("batch", "CronJob") => cron_job(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => default_definition(object),
        ("storage.k8s.io", "StorageClass") => {
            set_default(object, &["reclaimPolicy"], json!("Delete"));
            set_default(object, &["volumeBindingMode"], json!("Immediate"));
        }
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            set_default(object, &["spec", "minReplicas"], json!(1));
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
            set_default(object, &["spec", "metrics"], json!([metric]));
        }
        _ => {}
    }
}

/// Fills in what the server decides and no manager owns: identities, addresses, first statuses.
pub(super) fn prepare(kind: &Kind, object: &mut Value) {
    let first_status = match (&*kind.group, kind.kind.as_str()) {
        ("", "Pod") => return prepare_pod(object),
        ("", "Namespace") => return prepare_namespace(object),
        ("", "Service") => return prepare_service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => return establish(object),
        ("apiregistration.k8s.io", "APIService") => return api_service(object),
        ("", "PersistentVolumeClaim") => json!({"phase": "Pending"}),
        ("", "PersistentVolume") => json!({"phase": "Available"}),
        ("batch", "Job") => {
            prepare_job(object);
            json!({})
        }
        ("apps", "Deployment") | ("batch", "CronJob") | ("", "ResourceQuota") => json!({}),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => json!({"replicas": 0}),
        ("apps", "StatefulSet") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "DaemonSet") => json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        }),
        ("networking.k8s.io", "Ingress") => json!({"loadBalancer": {}}),
        ("autoscaling", "HorizontalPodAutoscaler") => json!({"currentMetrics": null, "desiredReplicas": 0}),
        ("policy", "PodDisruptionBudget") => json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        }),
        _ => return,
    };
    set_default(object, &["status"], first_status);
}

fn pod(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        pod_spec(spec);
        set_default(spec, &["enableServiceLinks"], json!(true));
    }
}

/// What admission and the pod's strategy fill in.
fn prepare_pod(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        set_default(spec, &["serviceAccountName"], json!("default"));
        let account = spec["serviceAccountName"].clone();
        set_default(spec, &["serviceAccount"], account);
        set_default(spec, &["preemptionPolicy"], json!("PreemptLowerPriority"));
        set_default(spec, &["priority"], json!(0));
        for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let mut tolerations = items(spec, &["tolerations"]).to_vec();
            if !tolerations.iter().any(|one| one["key"] == taint) {
                tolerations.push(json!({
                    "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
                }));
                set(spec, &["tolerations"], json!(tolerations));
            }
        }
    }
    set_default(object, &["status", "phase"], json!("Pending"));
    let class = quality_of_service(object);
    set_default(object, &["status", "qosClass"], json!(class));
}

/// `Guaranteed` when every container limits cpu and memory to what it requests, `BestEffort` when none asks.
fn quality_of_service(pod: &Value) -> &'static str {
    let containers = items(pod, &["spec", "containers"]);
    let part = |container: &Value, part, resource| at(container, &["resources", part, resource]).cloned();
    let asks = |container: &Value| {
        ["requests", "limits"]
            .iter()
            .any(|name| ["cpu", "memory"].iter().any(|it| part(container, name, it).is_some()))
    };
    let limited = |container: &Value| {
        ["cpu", "memory"].iter().all(|resource| {
            let limit = part(container, "limits", resource);
            limit.is_some() && limit == part(container, "requests", resource)
        })
    };
    match () {
        () if !containers.iter().any(asks) => "BestEffort",
        () if containers.iter().all(limited) => "Guaranteed",
        () => "Burstable",
    }
}

fn template(object: &mut Value) {
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        pod_spec(spec);
    }
}

fn deployment(object: &mut Value) {
    set_default(object, &["spec", "replicas"], json!(1));
    set_default(object, &["spec", "revisionHistoryLimit"], json!(10));
    set_default(object, &["spec", "progressDeadlineSeconds"], json!(600));
    set_default(object, &["spec", "strategy", "type"], json!("RollingUpdate"));
    if object["spec"]["strategy"]["type"] == "RollingUpdate" {
        set_default(object, &["spec", "strategy", "rollingUpdate", "maxSurge"], json!("25%"));
        set_default(object, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], json!("25%"));
    }
    template(object);
}

fn stateful_set(object: &mut Value) {
    set_default(object, &["spec", "replicas"], json!(1));
    set_default(object, &["spec", "revisionHistoryLimit"], json!(10));
    set_default(object, &["spec", "podManagementPolicy"], json!("OrderedReady"));
    set_default(object, &["spec", "updateStrategy", "type"], json!("RollingUpdate"));
    if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
        set_default(object, &["spec", "updateStrategy", "rollingUpdate", "partition"], json!(0));
    }
    let retention = ["spec", "persistentVolumeClaimRetentionPolicy"];
    set_default(object, &retention, json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
    if let Some(Value::Array(claims)) = object.pointer_mut("/spec/volumeClaimTemplates") {
        for one in claims {
            set_default(one, &["apiVersion"], json!("v1"));
            set_default(one, &["kind"], json!("PersistentVolumeClaim"));
            claim(one);
        }
    }
    template(object);
}

fn daemon_set(object: &mut Value) {
    set_default(object, &["spec", "revisionHistoryLimit"], json!(10));
    set_default(object, &["spec", "updateStrategy", "type"], json!("RollingUpdate"));
    if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
        set_default(object, &["spec", "updateStrategy", "rollingUpdate", "maxSurge"], json!(0));
        set_default(object, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"], json!(1));
    }
    template(object);
}

fn job(object: &mut Value) {
    job_spec(object, &["spec"]);
    set_default(object, &["spec", "manualSelector"], json!(false));
    template(object);
}

/// A selector that no other job shares, and the labels that match it.
fn prepare_job(object: &mut Value) {
    let id = uid(object).to_owned();
    let name = crate::object::name(object).to_owned();
    if object["spec"]["manualSelector"] != true
        && at(object, &["spec", "selector"]).is_none()
        && !id.is_empty()
    {
        set(object, &["spec", "selector", "matchLabels"], json!({"batch.kubernetes.io/controller-uid": id}));
        let labels = [
            ("batch.kubernetes.io/controller-uid", &id),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &id),
            ("job-name", &name),
        ];
        for (label, value) in labels {
            set(object, &["spec", "template", "metadata", "labels", label], json!(value));
        }
    }
    if at(object, &["metadata", "labels"]).is_none() {
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        set(object, &["metadata", "labels"], labels);
    }
}

fn job_spec(object: &mut Value, path: &[&str]) {
    let defaults = [
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ];
    for (field, value) in defaults {
        set_default(object, &[path, &[field]].concat(), value);
    }
    let parallelism = [path, &["parallelism"]].concat();
    let completions = [path, &["completions"]].concat();
    if at(object, &completions).is_none() && at(object, &parallelism).is_none() {
        set(object, &completions, json!(1));
    }
    set_default(object, &parallelism, json!(1));
}

fn cron_job(object: &mut Value) {
    let defaults = [
        ("concurrencyPolicy", json!("Allow")),
        ("suspend", json!(false)),
        ("successfulJobsHistoryLimit", json!(3)),
        ("failedJobsHistoryLimit", json!(1)),
    ];
    for (field, value) in defaults {
        set_default(object, &["spec", field], value);
    }
    if let Some(spec) = object.pointer_mut("/spec/jobTemplate/spec/template/spec") {
        pod_spec(spec);
    }
}

fn service(object: &mut Value) {
    set_default(object, &["spec", "type"], json!("ClusterIP"));
    set_default(object, &["spec", "sessionAffinity"], json!("None"));
    if let Some(Value::Array(ports)) = object.pointer_mut("/spec/ports") {
        for port in ports {
            set_default(port, &["protocol"], json!("TCP"));
            let number = port["port"].clone();
            set_default(port, &["targetPort"], number);
        }
    }
    let kind = text(object, &["spec", "type"]).unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        set_default(object, &["spec", "internalTrafficPolicy"], json!("Cluster"));
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        set_default(object, &["spec", "externalTrafficPolicy"], json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set_default(object, &["spec", "allocateLoadBalancerNodePorts"], json!(true));
    }
}

/// What the allocator of addresses decides beside the address itself.
fn prepare_service(object: &mut Value) {
    if text(object, &["spec", "type"]) != Some("ExternalName") {
        let headless = text(object, &["spec", "clusterIP"]) == Some("None");
        let dual = headless && at(object, &["spec", "selector"]).is_none();
        let families = if dual { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
        set_default(object, &["spec", "ipFamilies"], families);
        set_default(
            object,
            &["spec", "ipFamilyPolicy"],
            json!(if dual { "RequireDualStack" } else { "SingleStack" }),
        );
    }
    set_default(object, &["status", "loadBalancer"], json!({}));
}

fn namespace(object: &mut Value) {
    let name = crate::object::name(object).to_owned();
    set(object, &["metadata", "labels", "kubernetes.io/metadata.name"], json!(name));
}

fn prepare_namespace(object: &mut Value) {
    let deleting = crate::object::deleting(object);
    if !deleting && items(object, &["spec", "finalizers"]).is_empty() {
        set(object, &["spec", "finalizers"], json!(["kubernetes"]));
    }
    set_default(object, &["status", "phase"], json!(if deleting { "Terminating" } else { "Active" }));
}

fn secret(object: &mut Value) {
    set_default(object, &["type"], json!("Opaque"));
    let Some(Value::Object(plain)) = remove(object, &["stringData"]) else { return };
    for (key, value) in plain {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        set(object, &["data", &key], json!(encoded));
    }
}

fn claim(object: &mut Value) {
    set_default(object, &["spec", "volumeMode"], json!("Filesystem"));
    set_default(object, &["status", "phase"], json!("Pending"));
}

fn network_policy(object: &mut Value) {
    if at(object, &["spec", "policyTypes"]).is_none() {
        let egress = at(object, &["spec", "egress"]).is_some();
        let kinds = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        set(object, &["spec", "policyTypes"], kinds);
    }
}

fn binding(object: &mut Value) {
    set_default(object, &["roleRef", "apiGroup"], json!("rbac.authorization.k8s.io"));
    if let Some(Value::Array(subjects)) = object.get_mut("subjects") {
        for subject in subjects {
            if subject["kind"] != "ServiceAccount" {
                set_default(subject, &["apiGroup"], json!("rbac.authorization.k8s.io"));
            }
        }
    }
}

fn api_service(object: &mut Value) {
    let condition = json!({
        "type": "Available", "status": "True", "reason": "Local", "message": "Local APIServices are always available",
        "lastTransitionTime": super::now(),
    });
    set_default(object, &["status", "conditions"], json!([condition]));
}
