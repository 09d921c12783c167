//! The pod of a replica, if it runs in one: a label says whether it leads.
//!
//! # Why
//! Of several replicas one has the links and the pages. A Service that selects that label always leads to it, and all
//! replicas can be ready: a rollout of the hub itself waits for nobody to lead.

use std::time::Duration;

use api::names::label;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use process::Process;
use serde_json::json;
use tokio::sync::watch;

/// Pause after the API did not take the label.
const PAUSE: Duration = Duration::from_secs(2);

/// What a replica does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It waits for the lease.
    Standby,
    /// It has it.
    Leader,
}

impl Role {
    /// Value of the label.
    const fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Leader => "leader",
        }
    }
}

/// Tells the pod of that name, in that namespace, what the replica does, again until the API has taken it: a standby
/// at first, for a container that starts again is in the pod of the one before.
pub(crate) fn label(
    client: kube::Client,
    namespace: &str,
    pod: String,
    process: &Process,
) -> watch::Sender<Role> {
    let (role, mut roles) = watch::channel(Role::Standby);
    let pods = Api::<Pod>::namespaced(client, namespace);
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let labelling = async {
            loop {
                let role = *roles.borrow_and_update();
                match tell(&pods, &pod, role).await {
                    Ok(()) if roles.changed().await.is_err() => break,
                    Ok(()) => {}
                    Err(error) => {
                        tracing::warn!(%error, pod, role = role.name(), "failed to label the hub's pod");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = labelling => {}
        }
    });
    role
}

async fn tell(pods: &Api<Pod>, pod: &str, role: Role) -> kube::Result<()> {
    let labels = json!({"metadata": {"labels": {(label::ROLE): role.name()}}});
    pods.patch_metadata(pod, &PatchParams::default(), &Patch::Merge(labels)).await.map(|_| ())
}
