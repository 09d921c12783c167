//! The objects by which the API server finds the webhooks: which kinds and operations, where, and whom to trust.

use api::names::K0RDENT_GROUP;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::Place;

/// Name of both configurations.
pub const NAME: &str = "skein-hub";
/// Path of what refuses.
pub const VALIDATE: &str = "/validate";
/// Path of what fills in.
pub const MUTATE: &str = "/mutate";
/// How long the API server waits.
const TIMEOUT_SECONDS: u32 = 10;

/// Kinds in plural that are judged, and when.
const JUDGED: [(&str, &[&str]); 12] = [
    ("clusterdeployments", &["CREATE", "UPDATE", "DELETE"]),
    ("managements", &["CREATE", "UPDATE", "DELETE"]),
    ("regions", &["CREATE", "UPDATE", "DELETE"]),
    ("accessmanagements", &["CREATE", "UPDATE", "DELETE"]),
    ("clusterauthentications", &["CREATE", "UPDATE", "DELETE"]),
    ("clusterauditpolicies", &["CREATE", "UPDATE", "DELETE"]),
    ("clustertemplates", &["DELETE"]),
    ("servicetemplates", &["DELETE"]),
    ("providertemplates", &["DELETE"]),
    ("releases", &["DELETE"]),
    ("clustertemplatechains", &["CREATE"]),
    ("servicetemplatechains", &["CREATE"]),
];
/// Kinds in plural that are filled in.
const FILLED: [&str; 5] =
    ["clusterdeployments", "clustertemplates", "servicetemplates", "providertemplates", "accessmanagements"];

/// What the API server is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Where the webhooks are.
    pub place: &'a Place,
    /// Authorities in PEM that it may trust.
    pub authorities: &'a str,
    /// What it does when they do not answer: `Fail` or `Ignore`.
    pub failure_policy: &'a str,
}

/// The `ValidatingWebhookConfiguration`.
pub fn validating(told: Told<'_>) -> Value {
    let webhooks: Vec<_> = JUDGED
        .iter()
        .map(|(plural, operations)| webhook(told, ("validation", VALIDATE), plural, operations))
        .collect();
    object("ValidatingWebhookConfiguration", webhooks)
}

/// The `MutatingWebhookConfiguration`.
pub fn mutating(told: Told<'_>) -> Value {
    let webhooks: Vec<_> = FILLED
        .iter()
        .map(|plural| webhook(told, ("default", MUTATE), plural, &["CREATE", "UPDATE"]))
        .collect();
    object("MutatingWebhookConfiguration", webhooks)
}

fn object(kind: &str, webhooks: Vec<Value>) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": NAME}},
        "webhooks": webhooks,
    })
}

fn webhook(told: Told<'_>, (what, path): (&str, &str), plural: &str, operations: &[&str]) -> Value {
    let bundle = STANDARD.encode(told.authorities);
    let client = match told.place {
        Place::Url(address) => json!({"url": format!("https://{address}{path}"), "caBundle": bundle}),
        Place::Service { namespace, name, port } => json!({
            "service": {"namespace": namespace, "name": name, "port": port, "path": path},
            "caBundle": bundle,
        }),
    };
    json!({
        "name": format!("{what}.{plural}.{K0RDENT_GROUP}"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": told.failure_policy,
        "matchPolicy": "Equivalent",
        "timeoutSeconds": TIMEOUT_SECONDS,
        "clientConfig": client,
        "rules": [{
            "apiGroups": [K0RDENT_GROUP], "apiVersions": ["v1beta1"], "resources": [plural],
            "operations": operations, "scope": "*",
        }],
    })
}
