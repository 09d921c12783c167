//! Columns of built-in kinds that are looked at seldom.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Column;
use super::builtin::{age, labels, number, or_none, string};
use crate::object::{at, integer, items, text};

/// The columns after the name.
pub(super) fn columns(group: &str, kind: &str) -> Vec<Column> {
    match (group, kind) {
        ("", "PodTemplate") => vec![
            string("Containers", |object, _| containers(object, "name")),
            string("Images", |object, _| containers(object, "image")),
            string("Pod Labels", |object, _| labels(at(object, &["template", "metadata", "labels"]))),
        ],
        ("", "ResourceQuota") => vec![
            string("Request", |object, _| quota(object, false)),
            string("Limit", |object, _| quota(object, true)),
            age(),
        ],
        ("apps", "ControllerRevision") => vec![
            string("Controller", |object, _| {
                let owner =
                    items(object, &["metadata", "ownerReferences"]).first().cloned().unwrap_or_default();
                let kind = text(&owner, &["kind"]).unwrap_or_default().to_lowercase();
                json!(
                    text(&owner, &["name"])
                        .map_or_else(|| "<none>".to_owned(), |name| format!("{kind}.apps/{name}"))
                )
            }),
            string("Revision", |object, _| json!(integer(object, &["revision"]).unwrap_or(0))),
            age(),
        ],
        ("networking.k8s.io", "IngressClass") => vec![
            string("Controller", |object, _| or_none(text(object, &["spec", "controller"]))),
            string("Parameters", |object, _| {
                let parameter = |field| text(object, &["spec", "parameters", field]);
                json!(parameter("name").map_or_else(
                    || "<none>".to_owned(),
                    |name| format!("{}/{name}", parameter("kind").unwrap_or_default())
                ))
            }),
            age(),
        ],
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(),
        ("discovery.k8s.io", "EndpointSlice") => slice(),
        ("apiregistration.k8s.io", "APIService") => vec![
            string("Service", |object, _| {
                let part = |field| text(object, &["spec", "service", field]);
                json!(part("name").map_or_else(
                    || "Local".to_owned(),
                    |name| format!("{}/{name}", part("namespace").unwrap_or_default())
                ))
            }),
            string("Available", |object, _| {
                let conditions = items(object, &["status", "conditions"]);
                let available = conditions.iter().find(|one| one["type"] == "Available");
                json!(available.and_then(|one| text(one, &["status"])).unwrap_or("Unknown"))
            }),
            age(),
        ],
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => {
            vec![number("Webhooks", |object, _| json!(items(object, &["webhooks"]).len())), age()]
        }
        ("certificates.k8s.io", _) => vec![
            age(),
            string("SignerName", |object, _| or_none(text(object, &["spec", "signerName"]))),
            string("Requestor", |object, _| or_none(text(object, &["spec", "username"]))),
            string("RequestedDuration", |object, _| {
                let seconds = integer(object, &["spec", "expirationSeconds"]);
                or_none(seconds.map(crate::clock::human_duration).as_deref())
            }),
            string("Condition", request_condition),
        ],
        ("node.k8s.io", _) => {
            vec![string("Handler", |object, _| or_none(text(object, &["handler"]))), age()]
        }
        _ => vec![age()],
    }
}

fn containers(object: &Value, field: &str) -> Value {
    let all = items(object, &["template", "spec", "containers"]);
    let all: Vec<&str> = all.iter().filter_map(|one| text(one, &[field])).collect();
    json!(all.join(","))
}

/// `pods: 1/10, ...`: what is used of what is allowed.
fn quota(object: &Value, limits: bool) -> Value {
    let hard = at(object, &["status", "hard"]).or_else(|| at(object, &["spec", "hard"]));
    let lines: Vec<String> = hard
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, amount)| {
            let used = text(object, &["status", "used", name]).unwrap_or("0");
            format!("{name}: {used}/{}", amount.as_str().map_or_else(|| amount.to_string(), str::to_owned))
        })
        .collect();
    json!(lines.join(", "))
}

fn autoscaler() -> Vec<Column> {
    vec![
        string("Reference", |object, _| {
            let target = |field| text(object, &["spec", "scaleTargetRef", field]).unwrap_or_default();
            json!(format!("{}/{}", target("kind"), target("name")))
        }),
        string("Targets", |object, _| {
            let all: Vec<String> = items(object, &["spec", "metrics"])
                .iter()
                .map(|metric| {
                    let name = text(metric, &["resource", "name"]).unwrap_or("metric");
                    let wanted = integer(metric, &["resource", "target", "averageUtilization"]);
                    format!(
                        "{name}: <unknown>/{}",
                        wanted.map_or_else(|| "<auto>".to_owned(), |it| format!("{it}%"))
                    )
                })
                .collect();
            or_none(Some(&all.join(", ")))
        }),
        string("MinPods", |object, _| {
            json!(integer(object, &["spec", "minReplicas"]).unwrap_or(1).to_string())
        }),
        string("MaxPods", |object, _| json!(integer(object, &["spec", "maxReplicas"]).unwrap_or(0))),
        string("Replicas", |object, _| json!(integer(object, &["status", "currentReplicas"]).unwrap_or(0))),
        age(),
    ]
}

fn slice() -> Vec<Column> {
    vec![
        string("AddressType", |object, _| or_none(text(object, &["addressType"]))),
        string("Ports", |object, _| {
            let ports: Vec<String> = items(object, &["ports"])
                .iter()
                .filter_map(|one| Some(integer(one, &["port"])?.to_string()))
                .collect();
            json!(if ports.is_empty() { "<unset>".to_owned() } else { ports.join(",") })
        }),
        string("Endpoints", |object, _| {
            let all = items(object, &["endpoints"]).iter().flat_map(|one| items(one, &["addresses"]));
            let all: Vec<&str> = all.filter_map(Value::as_str).collect();
            json!(match all.len() {
                0 => "<unset>".to_owned(),
                1..=3 => all.join(","),
                more => format!("{} + {} more...", all[..3].join(","), more - 3),
            })
        }),
        age(),
    ]
}

fn request_condition(object: &Value, _: Timestamp) -> Value {
    let all: Vec<&str> =
        items(object, &["status", "conditions"]).iter().filter_map(|one| text(one, &["type"])).collect();
    let issued = text(object, &["status", "certificate"]).is_some();
    let mut text = if all.is_empty() { "Pending".to_owned() } else { all.join(",") };
    if issued {
        text.push_str(",Issued");
    }
    json!(text)
}
