//! The part of Cluster API's core that a hosted cluster needs: a `Cluster` is summed up from its control plane.
//!
//! Runs only where no Cluster API is installed (the quick start, small sites); with Cluster API in the region its own
//! core does this, and more. Fields follow Cluster API's v1beta2 contract.

use std::sync::Arc;
use std::time::Duration;

use api::conditions::set_condition;
use api::skein::HostedControlPlane;
use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use process::Process;
use serde_json::{Value, json};

/// How long after a failed write the next attempt is made.
const RETRY: Duration = Duration::from_secs(1);

/// The kind that is summed up.
pub fn cluster_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("cluster.x-k8s.io", "v1beta2", "Cluster");
    ApiResource::from_gvk_with_plural(&kind, "clusters")
}

/// Runs until the process ends.
pub fn start(client: kube::Client, process: &Process) {
    let resource = cluster_resource();
    let clusters = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let planes = Api::<HostedControlPlane>::all(client.clone());
    let cancel = process.cancel.clone();
    let of_plane = {
        let resource = resource.clone();
        move |plane: HostedControlPlane| {
            let namespace = plane.namespace().unwrap_or_default();
            let name = plane.labels().get(api::names::label::CLUSTER_NAME).cloned();
            Some(
                ObjectRef::new_with(&name.unwrap_or_else(|| plane.name_any()), resource.clone())
                    .within(&namespace),
            )
        }
    };
    let run = Controller::new_with(clusters, watcher::Config::default(), resource)
        .watches(planes, watcher::Config::default(), of_plane)
        .graceful_shutdown_on(async move { cancel.cancelled().await })
        .run(reconcile, |_, _, _| Action::requeue(RETRY), Arc::new(client))
        .for_each(async |result| {
            if let Err(error) = result {
                tracing::debug!(%error, "a cluster is not summed up");
            }
        });
    process.tasks.spawn(run);
}

async fn reconcile(cluster: Arc<DynamicObject>, client: Arc<kube::Client>) -> Result<Action, kube::Error> {
    let reference = &cluster.data["spec"]["controlPlaneRef"];
    if reference["kind"] != "HostedControlPlane" {
        return Ok(Action::await_change());
    }
    let namespace = cluster.namespace().unwrap_or_default();
    let planes = Api::<HostedControlPlane>::namespaced((*client).clone(), &namespace);
    let plane = planes.get_opt(reference["name"].as_str().unwrap_or_default()).await?;
    let before = cluster.data.get("status").cloned().unwrap_or_default();
    let deleting = cluster.metadata.deletion_timestamp.is_some();
    let status =
        summary(&before, plane.as_ref(), deleting, cluster.metadata.generation, jiff::Timestamp::now());
    if status != before {
        let clusters =
            Api::<DynamicObject>::namespaced_with((*client).clone(), &namespace, &cluster_resource());
        let patch = json!({"status": status});
        clusters.patch_status(&cluster.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    Ok(Action::await_change())
}

/// The status of a Cluster whose control plane is `plane`.
fn summary(
    before: &Value,
    plane: Option<&HostedControlPlane>,
    deleting: bool,
    generation: Option<i64>,
    now: jiff::Timestamp,
) -> Value {
    let mut conditions: Vec<Condition> =
        serde_json::from_value(before["conditions"].clone()).unwrap_or_default();
    let plane_status = plane.and_then(|plane| plane.status.as_ref());
    let ready = plane_status.is_some_and(|status| status.ready);
    let initialized = plane_status.is_some_and(|status| status.initialized);
    let why = plane_status.and_then(|status| api::conditions::find(&status.conditions, "Ready"));
    let message = match (plane, why) {
        (None, _) => "the control plane does not exist".to_owned(),
        (Some(_), None) => "the control plane is being started".to_owned(),
        (Some(_), Some(condition)) => condition.message.clone(),
    };
    let mut set = |type_: &str, good: bool, yes: &str, no: &str, message: &str| {
        let (state, reason) = if good { ("True", yes) } else { ("False", no) };
        set_condition(&mut conditions, type_, state, reason, message, generation, Time(now));
    };
    set("ControlPlaneInitialized", initialized, "Initialized", "NotInitialized", "");
    set("ControlPlaneAvailable", ready, "Available", "NotAvailable", &message);
    set("InfrastructureReady", initialized, "Ready", "NotReady", "");
    set("Available", ready && !deleting, "Available", "NotAvailable", &message);
    // Cluster API v1beta1 sums up as Ready.
    set("Ready", ready && !deleting, "Ready", "NotReady", &message);
    let phase = match (deleting, initialized, plane.is_some()) {
        (true, _, _) => "Deleting",
        (false, true, _) => "Provisioned",
        (false, false, true) => "Provisioning",
        (false, false, false) => "Pending",
    };
    json!({
        "phase": phase,
        "conditions": conditions,
        "observedGeneration": generation,
        "initialization": {"controlPlaneInitialized": initialized, "infrastructureProvisioned": initialized},
        "controlPlane": {"replicas": plane_status.and_then(|status| status.replicas).unwrap_or_default()},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::skein::{HostedControlPlaneSpec, HostedControlPlaneStatus};

    #[test]
    fn a_cluster_is_provisioned_once_its_control_plane_answered_and_settles() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let mut plane = HostedControlPlane::new("shop-1", HostedControlPlaneSpec::default());
        let pending = summary(&Value::Null, Some(&plane), false, Some(1), now);
        assert_eq!(pending["phase"], "Provisioning");
        plane.status = Some(HostedControlPlaneStatus {
            ready: true,
            initialized: true,
            ..HostedControlPlaneStatus::default()
        });
        let provisioned = summary(&pending, Some(&plane), false, Some(1), now);
        assert_eq!(provisioned["phase"], "Provisioned");
        assert_eq!(summary(&provisioned, Some(&plane), false, Some(1), now), provisioned);
        assert_eq!(summary(&provisioned, None, true, Some(1), now)["phase"], "Deleting");
    }
}
