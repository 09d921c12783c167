//! Results as Events, in one place: what people look for with `kubectl describe`.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use process::Process;
use serde_json::Value;
use tokio::sync::mpsc;

/// Events that may wait; more are dropped, for an Event is never the only place that says something.
const WAITING: usize = 256;

/// Whoever tells. Clones share the queue.
#[derive(Clone)]
pub(super) struct Events(mpsc::Sender<(Event, ObjectReference)>);

impl Events {
    pub(super) fn new(client: kube::Client, process: &Process) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(Event, ObjectReference)>(WAITING);
        let recorder = Recorder::new(client, Reporter { controller: "skein-hub".to_owned(), instance: None });
        let cancel = process.cancel.clone();
        process.tasks.spawn(async move {
            let publish = async {
                while let Some((event, reference)) = receiver.recv().await {
                    if let Err(error) = recorder.publish(&event, &reference).await {
                        tracing::debug!(%error, reason = event.reason, "an event was not recorded");
                    }
                }
            };
            cancel.run_until_cancelled(publish).await;
        });
        Self(sender)
    }

    /// Tells something about an object.
    pub(super) fn tell<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        reason: &str,
        action: &str,
        note: String,
        warning: bool,
    ) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        // A full queue loses the event; the condition stays.
        let _ = self.0.try_send((event, object.object_ref(&())));
    }

    /// Tells about every condition that is another one now.
    pub(super) fn conditions<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        before: &Value,
        after: &Value,
    ) {
        for condition in list(after) {
            let [type_, status, reason, message] = ["type", "status", "reason", "message"]
                .map(|field| condition[field].as_str().unwrap_or_default());
            let known = list(before).find(|one| one["type"] == condition["type"]);
            let same = known.is_some_and(|known| {
                known["status"] == condition["status"] && known["reason"] == condition["reason"]
            });
            // Counts and first uncertainties are no news.
            let rare = type_ == "HelmFallback";
            let quiet = known.is_none() && status == "True" && !rare;
            if same || message.is_empty() || status == "Unknown" || quiet {
                continue;
            }
            if let Some((reason, warning)) = told(type_, status, reason) {
                self.tell(object, &reason, "Reconcile", message.to_owned(), warning);
            }
        }
    }
}

/// Under which reason a condition is told, and whether it is a warning; `None` when it is not.
fn told(type_: &str, status: &str, reason: &str) -> Option<(String, bool)> {
    let good = status == "True";
    let named =
        |good_name: &str, bad_name: &str| Some((if good { good_name } else { bad_name }.to_owned(), !good));
    match type_ {
        "HelmReleaseReady" => named("HelmReleaseIsReady", "HelmReleaseIsNotReady"),
        "CredentialReady" => named("CredentialReady", "CredentialNotReady"),
        "TemplateReady" => named("ValidClusterTemplate", "InvalidClusterTemplate"),
        "HelmChartReady" => named("HelmChartReady", "HelmChartNotReady"),
        "ServiceSetProfile" => named("ServiceSetEnsureProfileSuccess", "ServiceSetEnsureProfileFailed"),
        "HelmFallback" => Some((reason.to_owned(), false)),
        "Paused" => Some((if good { "RegionPaused" } else { "RegionUnpaused" }.to_owned(), false)),
        "Deleting" => Some((reason.to_owned(), false)),
        "Linked" | "Enrolled" => Some((reason.to_owned(), !good)),
        "ServicesReferencesValidation"
        | "ServicesDependencyValidation"
        | "MultiClusterServiceDependencyValidation" => named("Valid", type_),
        _ => None,
    }
}

fn list(status: &Value) -> impl Iterator<Item = &Value> {
    status.get("conditions").and_then(Value::as_array).into_iter().flatten()
}
