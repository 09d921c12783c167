//! Columns of workloads: pods and what makes them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Column;
use super::builtin::{age, age_of, column, labels, number, or_none, string, wide};
use crate::clock;
use crate::object::{at, deleting, integer, items, text};
use crate::selector::LabelSelector;

/// The columns after the name; `None` for kinds that are not workloads.
pub(super) fn columns(group: &str, kind: &str) -> Option<Vec<Column>> {
    let columns = match (group, kind) {
        ("", "Pod") => pod(),
        ("apps", "Deployment") => deployment(),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(),
        ("apps", "StatefulSet") => stateful_set(),
        ("apps", "DaemonSet") => daemon_set(),
        ("batch", "Job") => job(),
        ("batch", "CronJob") => cron_job(),
        ("policy", "PodDisruptionBudget") => vec![
            string("Min Available", |object, _| scalar(at(object, &["spec", "minAvailable"]))),
            string("Max Unavailable", |object, _| scalar(at(object, &["spec", "maxUnavailable"]))),
            number("Allowed Disruptions", |object, _| status(object, "disruptionsAllowed")),
            age(),
        ],
        _ => return None,
    };
    Some(columns)
}

fn scalar(value: Option<&Value>) -> Value {
    match value {
        Some(Value::String(text)) => json!(text),
        Some(Value::Number(number)) => json!(number.to_string()),
        _ => json!("N/A"),
    }
}

fn status(object: &Value, field: &str) -> Value {
    json!(integer(object, &["status", field]).unwrap_or(0))
}

fn spec(object: &Value, field: &str) -> i64 {
    integer(object, &["spec", field]).unwrap_or(0)
}

fn containers() -> [Column; 3] {
    fn template(object: &Value) -> &[Value] {
        items(object, &["spec", "template", "spec", "containers"])
    }
    fn list(object: &Value, field: &str) -> Value {
        let all: Vec<&str> = template(object).iter().filter_map(|one| text(one, &[field])).collect();
        json!(all.join(","))
    }
    [
        wide("Containers", |object, _| list(object, "name")),
        wide("Images", |object, _| list(object, "image")),
        wide("Selector", |object, _| selector(object)),
    ]
}

fn selector(object: &Value) -> Value {
    let selector = &object["spec"]["selector"];
    let is_label_selector =
        selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let text = if is_label_selector {
        LabelSelector::from_object(selector).to_string()
    } else {
        LabelSelector::from_map(selector).to_string()
    };
    or_none(Some(&text))
}

fn deployment() -> Vec<Column> {
    let mut columns = vec![
        string("Ready", |object, _| {
            json!(format!("{}/{}", status(object, "readyReplicas"), spec(object, "replicas")))
        }),
        string("Up-to-date", |object, _| status(object, "updatedReplicas")),
        string("Available", |object, _| status(object, "availableReplicas")),
        age(),
    ];
    columns.extend(containers());
    columns
}

fn replica_set() -> Vec<Column> {
    let mut columns = vec![
        number("Desired", |object, _| json!(spec(object, "replicas"))),
        number("Current", |object, _| status(object, "replicas")),
        number("Ready", |object, _| status(object, "readyReplicas")),
        age(),
    ];
    columns.extend(containers());
    columns
}

fn stateful_set() -> Vec<Column> {
    let [names, images, _] = containers();
    vec![
        string("Ready", |object, _| {
            json!(format!("{}/{}", status(object, "readyReplicas"), spec(object, "replicas")))
        }),
        age(),
        names,
        images,
    ]
}

fn daemon_set() -> Vec<Column> {
    let mut columns = vec![
        number("Desired", |object, _| status(object, "desiredNumberScheduled")),
        number("Current", |object, _| status(object, "currentNumberScheduled")),
        number("Ready", |object, _| status(object, "numberReady")),
        number("Up-to-date", |object, _| status(object, "updatedNumberScheduled")),
        number("Available", |object, _| status(object, "numberAvailable")),
        string("Node Selector", |object, _| {
            labels(at(object, &["spec", "template", "spec", "nodeSelector"]))
        }),
        age(),
    ];
    columns.extend(containers());
    columns
}

fn job() -> Vec<Column> {
    let mut columns = vec![
        string("Status", |object, _| json!(job_state(object))),
        string("Completions", |object, _| {
            let wanted = integer(object, &["spec", "completions"]);
            let done = integer(object, &["status", "succeeded"]).unwrap_or(0);
            json!(wanted.map_or_else(
                || format!("{done}/1 of {}", spec(object, "parallelism")),
                |wanted| format!("{done}/{wanted}")
            ))
        }),
        string("Duration", job_duration),
        age(),
    ];
    columns.extend(containers());
    columns
}

fn job_state(object: &Value) -> &'static str {
    let holds = |kind: &str| {
        items(object, &["status", "conditions"])
            .iter()
            .any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    match () {
        () if holds("Complete") => "Complete",
        () if holds("Failed") => "Failed",
        () if deleting(object) => "Terminating",
        () if holds("Suspended") => "Suspended",
        () if holds("FailureTarget") => "FailureTarget",
        () if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn job_duration(object: &Value, now: Timestamp) -> Value {
    let moment = |field| text(object, &["status", field]).and_then(|text| text.parse::<Timestamp>().ok());
    match (moment("startTime"), moment("completionTime")) {
        (None, _) => json!(""),
        (Some(start), end) => {
            json!(clock::human_duration(end.unwrap_or(now).as_second() - start.as_second()))
        }
    }
}

fn cron_job() -> Vec<Column> {
    let mut columns = vec![
        string("Schedule", |object, _| or_none(text(object, &["spec", "schedule"]))),
        string("Timezone", |object, _| or_none(text(object, &["spec", "timeZone"]))),
        column("Suspend", "boolean", "", 0, |object, _| {
            json!(if object["spec"]["suspend"] == true { "True" } else { "False" })
        }),
        number("Active", |object, _| json!(items(object, &["status", "active"]).len())),
        string("Last Schedule", |object, now| {
            let path = ["status", "lastScheduleTime"];
            json!(text(object, &path).map_or_else(|| "<none>".to_owned(), |_| age_of(object, &path, now)))
        }),
        age(),
    ];
    columns.extend(containers());
    columns
}

fn pod() -> Vec<Column> {
    vec![
        string("Ready", |object, _| {
            let statuses = items(object, &["status", "containerStatuses"]);
            let ready = statuses.iter().filter(|one| one["ready"] == true).count();
            json!(format!("{ready}/{}", items(object, &["spec", "containers"]).len()))
        }),
        string("Status", |object, _| json!(pod_state(object))),
        string("Restarts", |object, _| {
            let restarts: i64 = items(object, &["status", "containerStatuses"])
                .iter()
                .filter_map(|one| integer(one, &["restartCount"]))
                .sum();
            json!(restarts.to_string())
        }),
        age(),
        wide("IP", |object, _| or_none(text(object, &["status", "podIP"]))),
        wide("Node", |object, _| or_none(text(object, &["spec", "nodeName"]))),
        wide("Nominated Node", |object, _| or_none(text(object, &["status", "nominatedNodeName"]))),
        column("Readiness Gates", "string", "", 1, |object, _| {
            let gates = items(object, &["spec", "readinessGates"]).len();
            or_none((gates > 0).then(|| format!("0/{gates}")).as_deref())
        }),
    ]
}

/// The word that tells most: why a container waits or ended, else the phase.
fn pod_state(object: &Value) -> String {
    if deleting(object) {
        return "Terminating".to_owned();
    }
    let mut state = text(object, &["status", "reason"])
        .or_else(|| text(object, &["status", "phase"]))
        .unwrap_or("Unknown")
        .to_owned();
    let mut running = false;
    for container in items(object, &["status", "containerStatuses"]).iter().rev() {
        let reason = text(container, &["state", "waiting", "reason"])
            .or_else(|| text(container, &["state", "terminated", "reason"]));
        match reason {
            Some(reason) if !reason.is_empty() => state = reason.to_owned(),
            _ => running |= container["ready"] == true,
        }
    }
    if state == "Completed" && running {
        state = "Running".to_owned();
    }
    state
}
