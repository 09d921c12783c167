//! Columns of built-in kinds other than workloads.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, Source, seldom};
use crate::clock;
use crate::object::{at, integer, items, text};

type Cell = fn(&Value, Timestamp) -> Value;

pub(super) fn column(name: &str, kind: &str, format: &str, priority: i64, cell: Cell) -> Column {
    Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: format.to_owned(),
        description: name.to_owned(),
        priority,
        source: Source::Cell(cell),
    }
}

pub(super) fn string(name: &str, cell: Cell) -> Column {
    column(name, "string", "", 0, cell)
}

pub(super) fn wide(name: &str, cell: Cell) -> Column {
    column(name, "string", "", 1, cell)
}

pub(super) fn number(name: &str, cell: Cell) -> Column {
    column(name, "integer", "", 0, cell)
}

pub(super) fn age() -> Column {
    string("Age", |object, now| json!(age_of(object, &["metadata", "creationTimestamp"], now)))
}

pub(super) fn age_of(object: &Value, path: &[&str], now: Timestamp) -> String {
    text(object, path).map_or_else(|| "<unknown>".to_owned(), |timestamp| clock::age(timestamp, now))
}

fn count(object: &Value, path: &[&str]) -> Value {
    match at(object, path) {
        Some(Value::Object(map)) => json!(map.len()),
        Some(Value::Array(items)) => json!(items.len()),
        _ => json!(0),
    }
}

pub(super) fn or_none(text: Option<&str>) -> Value {
    json!(text.filter(|text| !text.is_empty()).unwrap_or("<none>"))
}

/// Labels as `a=b,c=d`, or `<none>`.
pub(super) fn labels(map: Option<&Value>) -> Value {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or_none(Some(&pairs.join(",")))
}

/// The columns after the name.
pub(super) fn columns(group: &str, kind: &str) -> Vec<Column> {
    match (group, kind) {
        ("", "ConfigMap") => vec![string("Data", config_map_count), age()],
        ("", "Secret") => vec![
            string("Type", |object, _| or_none(text(object, &["type"]))),
            string("Data", |object, _| count(object, &["data"])),
            age(),
        ],
        ("", "Namespace") => {
            vec![string("Status", |object, _| or_none(text(object, &["status", "phase"]))), age()]
        }
        ("", "Service") => service(),
        ("", "Node") => node(),
        ("" | "events.k8s.io", "Event") => event(group.is_empty()),
        ("", "PersistentVolumeClaim") => claim(),
        ("", "PersistentVolume") => volume(),
        ("", "Endpoints") => vec![string("Endpoints", endpoints), age()],
        ("coordination.k8s.io", "Lease") => {
            vec![
                string("Holder", |object, _| {
                    json!(text(object, &["spec", "holderIdentity"]).unwrap_or_default())
                }),
                age(),
            ]
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole")
        | ("apiextensions.k8s.io", "CustomResourceDefinition")
        | ("", "LimitRange") => vec![column("Created At", "date", "", 0, |object, _| {
            json!(text(object, &["metadata", "creationTimestamp"]).unwrap_or_default())
        })],
        ("rbac.authorization.k8s.io", _) => vec![
            string("Role", |object, _| {
                let kind = text(object, &["roleRef", "kind"]).unwrap_or_default();
                json!(format!("{kind}/{}", text(object, &["roleRef", "name"]).unwrap_or_default()))
            }),
            age(),
            wide("Users", |object, _| subjects(object, "User")),
            wide("Groups", |object, _| subjects(object, "Group")),
            wide("ServiceAccounts", |object, _| subjects(object, "ServiceAccount")),
        ],
        ("storage.k8s.io", "StorageClass") => vec![
            string("Provisioner", |object, _| or_none(text(object, &["provisioner"]))),
            string("ReclaimPolicy", |object, _| or_none(text(object, &["reclaimPolicy"]))),
            string("VolumeBindingMode", |object, _| or_none(text(object, &["volumeBindingMode"]))),
            string("AllowVolumeExpansion", |object, _| json!(object["allowVolumeExpansion"] == true)),
            age(),
        ],
        ("networking.k8s.io", "Ingress") => ingress(),
        ("networking.k8s.io", "NetworkPolicy") => vec![
            string("Pod-Selector", |object, _| labels(at(object, &["spec", "podSelector", "matchLabels"]))),
            age(),
        ],
        ("scheduling.k8s.io", "PriorityClass") => vec![
            number("Value", |object, _| object["value"].clone()),
            column("Global-Default", "boolean", "", 0, |object, _| json!(object["globalDefault"] == true)),
            age(),
            string("PreemptionPolicy", |object, _| or_none(text(object, &["preemptionPolicy"]))),
        ],
        _ => seldom::columns(group, kind),
    }
}

fn subjects(object: &Value, kind: &str) -> Value {
    let names: Vec<String> = items(object, &["subjects"])
        .iter()
        .filter(|subject| subject["kind"] == kind)
        .map(|subject| {
            let name = text(subject, &["name"]).unwrap_or_default();
            text(subject, &["namespace"])
                .map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
        })
        .collect();
    json!(names.join(", "))
}

fn config_map_count(object: &Value, _: Timestamp) -> Value {
    let number = |path: &str| count(object, &[path]).as_u64().unwrap_or(0);
    json!(number("data") + number("binaryData"))
}

fn service() -> Vec<Column> {
    vec![
        string("Type", |object, _| or_none(text(object, &["spec", "type"]))),
        string("Cluster-IP", |object, _| or_none(text(object, &["spec", "clusterIP"]))),
        string("External-IP", external_ip),
        string("Port(s)", |object, _| {
            let ports: Vec<String> = items(object, &["spec", "ports"]).iter().map(service_port).collect();
            or_none(Some(&ports.join(",")))
        }),
        age(),
        wide("Selector", |object, _| labels(at(object, &["spec", "selector"]))),
    ]
}

fn service_port(port: &Value) -> String {
    let protocol = text(port, &["protocol"]).unwrap_or("TCP");
    let number = integer(port, &["port"]).unwrap_or(0);
    match integer(port, &["nodePort"]) {
        Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
        _ => format!("{number}/{protocol}"),
    }
}

fn external_ip(object: &Value, _: Timestamp) -> Value {
    let addresses: Vec<&str> = items(object, &["status", "loadBalancer", "ingress"])
        .iter()
        .filter_map(|ingress| text(ingress, &["ip"]).or_else(|| text(ingress, &["hostname"])))
        .collect();
    let external: Vec<&str> =
        items(object, &["spec", "externalIPs"]).iter().filter_map(Value::as_str).collect();
    let all = [addresses, external].concat().join(",");
    match text(object, &["spec", "type"]) {
        Some("LoadBalancer") if all.is_empty() => json!("<pending>"),
        Some("ExternalName") => or_none(text(object, &["spec", "externalName"])),
        _ => or_none(Some(&all)),
    }
}

fn node() -> Vec<Column> {
    vec![
        string("Status", |object, _| {
            let ready = items(object, &["status", "conditions"])
                .iter()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let state = if ready { "Ready" } else { "NotReady" };
            let cordoned = object["spec"]["unschedulable"] == true;
            json!(if cordoned { format!("{state},SchedulingDisabled") } else { state.to_owned() })
        }),
        string("Roles", |object, _| {
            let roles: Vec<&str> = at(object, &["metadata", "labels"])
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
                .collect();
            or_none(Some(&roles.join(",")))
        }),
        age(),
        string("Version", |object, _| or_none(text(object, &["status", "nodeInfo", "kubeletVersion"]))),
        wide("Internal-IP", |object, _| node_address(object, "InternalIP")),
        wide("External-IP", |object, _| node_address(object, "ExternalIP")),
        wide("OS-Image", |object, _| or_none(text(object, &["status", "nodeInfo", "osImage"]))),
        wide("Kernel-Version", |object, _| or_none(text(object, &["status", "nodeInfo", "kernelVersion"]))),
        wide("Container-Runtime", |object, _| {
            or_none(text(object, &["status", "nodeInfo", "containerRuntimeVersion"]))
        }),
    ]
}

fn node_address(object: &Value, kind: &str) -> Value {
    let found = items(object, &["status", "addresses"]).iter().find(|address| address["type"] == kind);
    or_none(found.and_then(|address| text(address, &["address"])))
}

/// Core events and events.k8s.io events name the same things differently.
fn event(core: bool) -> Vec<Column> {
    fn last_seen(object: &Value, now: Timestamp) -> Value {
        let paths: [&[&str]; 6] = [
            &["series", "lastObservedTime"],
            &["lastTimestamp"],
            &["deprecatedLastTimestamp"],
            &["eventTime"],
            &["firstTimestamp"],
            &["metadata", "creationTimestamp"],
        ];
        let found = paths.iter().find(|path| text(object, path).is_some());
        json!(found.map_or_else(|| "<unknown>".to_owned(), |path| age_of(object, path, now)))
    }
    fn subject(object: &Value, _: Timestamp) -> Value {
        let subject =
            object.get("involvedObject").or_else(|| object.get("regarding")).unwrap_or(&Value::Null);
        let kind = text(subject, &["kind"]).unwrap_or_default().to_lowercase();
        json!(format!("{kind}/{}", text(subject, &["name"]).unwrap_or_default()))
    }
    let message: Cell = if core {
        |object, _| json!(text(object, &["message"]).unwrap_or_default().trim())
    } else {
        |object, _| json!(text(object, &["note"]).unwrap_or_default().trim())
    };
    vec![
        string("Last Seen", last_seen),
        string("Type", |object, _| json!(text(object, &["type"]).unwrap_or_default())),
        string("Reason", |object, _| json!(text(object, &["reason"]).unwrap_or_default())),
        string("Object", subject),
        wide("Subobject", |object, _| {
            json!(
                text(object, &["involvedObject", "fieldPath"])
                    .or(text(object, &["regarding", "fieldPath"]))
                    .unwrap_or_default()
            )
        }),
        wide("Source", |object, _| {
            let source = text(object, &["source", "component"])
                .or_else(|| text(object, &["reportingComponent"]))
                .or_else(|| text(object, &["reportingController"]));
            json!(source.unwrap_or_default())
        }),
        string("Message", message),
        wide("First Seen", |object, now| {
            let paths: [&[&str]; 3] = [&["firstTimestamp"], &["deprecatedFirstTimestamp"], &["eventTime"]];
            let found = paths.iter().find(|path| text(object, path).is_some());
            json!(found.map_or_else(|| "<unknown>".to_owned(), |path| age_of(object, path, now)))
        }),
        wide("Count", |object, _| {
            let count = integer(object, &["series", "count"])
                .or_else(|| integer(object, &["count"]))
                .or_else(|| integer(object, &["deprecatedCount"]));
            json!(count.unwrap_or(1).to_string())
        }),
    ]
}

fn access_modes(object: &Value) -> Value {
    let modes: Vec<&str> = items(object, &["spec", "accessModes"])
        .iter()
        .filter_map(Value::as_str)
        .map(|mode| match mode {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect();
    json!(modes.join(","))
}

fn claim() -> Vec<Column> {
    vec![
        string("Status", |object, _| or_none(text(object, &["status", "phase"]))),
        string("Volume", |object, _| json!(text(object, &["spec", "volumeName"]).unwrap_or_default())),
        string("Capacity", |object, _| {
            json!(text(object, &["status", "capacity", "storage"]).unwrap_or_default())
        }),
        string("Access Modes", |object, _| access_modes(object)),
        string("StorageClass", |object, _| {
            json!(text(object, &["spec", "storageClassName"]).unwrap_or_default())
        }),
        attributes_class(),
        age(),
        volume_mode(),
    ]
}

fn attributes_class() -> Column {
    string("VolumeAttributesClass", |object, _| {
        json!(text(object, &["spec", "volumeAttributesClassName"]).unwrap_or("<unset>"))
    })
}

fn volume_mode() -> Column {
    wide("VolumeMode", |object, _| json!(text(object, &["spec", "volumeMode"]).unwrap_or("<unset>")))
}

fn volume() -> Vec<Column> {
    vec![
        string("Capacity", |object, _| {
            json!(text(object, &["spec", "capacity", "storage"]).unwrap_or_default())
        }),
        string("Access Modes", |object, _| access_modes(object)),
        string("Reclaim Policy", |object, _| {
            or_none(text(object, &["spec", "persistentVolumeReclaimPolicy"]))
        }),
        string("Status", |object, _| or_none(text(object, &["status", "phase"]))),
        string("Claim", |object, _| {
            let claim = |field| text(object, &["spec", "claimRef", field]);
            json!(claim("name").map_or(String::new(), |name| {
                format!("{}/{name}", claim("namespace").unwrap_or_default())
            }))
        }),
        string("StorageClass", |object, _| {
            json!(text(object, &["spec", "storageClassName"]).unwrap_or_default())
        }),
        attributes_class(),
        string("Reason", |object, _| json!(text(object, &["status", "reason"]).unwrap_or_default())),
        age(),
        volume_mode(),
    ]
}

fn endpoints(object: &Value, _: Timestamp) -> Value {
    let mut all = Vec::new();
    for subset in items(object, &["subsets"]) {
        for address in items(subset, &["addresses"]) {
            for port in items(subset, &["ports"]) {
                let ip = text(address, &["ip"]).unwrap_or_default();
                all.push(format!("{ip}:{}", integer(port, &["port"]).unwrap_or(0)));
            }
        }
    }
    or_none(Some(&all.join(",")))
}

fn ingress() -> Vec<Column> {
    vec![
        string("Class", |object, _| or_none(text(object, &["spec", "ingressClassName"]))),
        string("Hosts", |object, _| {
            let hosts: Vec<&str> =
                items(object, &["spec", "rules"]).iter().filter_map(|rule| text(rule, &["host"])).collect();
            json!(if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") })
        }),
        string("Address", |object, _| {
            let addresses: Vec<&str> = items(object, &["status", "loadBalancer", "ingress"])
                .iter()
                .filter_map(|one| text(one, &["ip"]).or_else(|| text(one, &["hostname"])))
                .collect();
            json!(addresses.join(","))
        }),
        string("Ports", |object, _| {
            json!(if items(object, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" })
        }),
        age(),
    ]
}
