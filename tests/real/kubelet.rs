//! What nodes would do, for control planes that have none: one is there and ready, pods run and become ready, those
//! of jobs succeed.
//!
//! Everything between, from Deployment to Pod and back, is done by the real controllers.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;

/// How often pods are looked at.
const PERIOD: Duration = Duration::from_millis(200);

/// The node controller believes in a node that tells of itself within 40 s.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Tells the API server of a node and of pods that run, until dropped.
pub(crate) struct Kubelet(tokio::task::JoinHandle<()>);

impl Kubelet {
    /// Begins, for all pods of a cluster.
    pub(crate) fn start(client: Client) -> Self {
        let (nodes, pods) = (Api::<Node>::all(client.clone()), Api::<Pod>::all(client.clone()));
        Self(TaskTracker::new().spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut beat = Instant::now();
            loop {
                ticks.tick().await;
                if beat <= Instant::now() && heartbeat(&nodes).await.is_ok() {
                    beat = Instant::now() + HEARTBEAT;
                }
                let Ok(found) = pods.list(&ListParams::default()).await else { continue };
                for pod in found.items.iter().filter(|pod| !settled(pod)) {
                    // What fails is tried again at the next look.
                    let _ = run(&client, pod).await;
                }
            }
        }))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn heartbeat(nodes: &Api<Node>) -> Result<()> {
    const NAME: &str = "simulated";
    let apply = PatchParams::apply("kubelet").force();
    let node = |more: Value| {
        let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME}});
        node["status"] = more;
        Patch::Apply(node)
    };
    nodes.patch(NAME, &apply, &node(json!({}))).await?;
    let now = now();
    let ready = json!({"type": "Ready", "status": "True", "reason": "Simulated",
        "lastHeartbeatTime": now, "lastTransitionTime": now});
    let capacity = json!({"cpu": "8", "memory": "16Gi", "pods": "110"});
    let status = json!({"conditions": [ready], "capacity": capacity, "allocatable": capacity});
    nodes.patch_status(NAME, &apply, &node(status)).await?;
    Ok(())
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn settled(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Running" | "Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
}

async fn run(client: &Client, pod: &Pod) -> Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or("default"));
    let name = pod.name_any();
    if pod.metadata.deletion_timestamp.is_some() {
        let now = kube::api::DeleteParams::default().grace_period(0);
        return match pods.delete(&name, &now).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
    let once = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) != Some("Always");
    let status = Patch::Merge(json!({"status": status(once)}));
    match pods.patch_status(&name, &PatchParams::default(), &status).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn status(once: bool) -> Value {
    let now = now();
    let ready = if once { "False" } else { "True" };
    let condition = |kind: &str| json!({"type": kind, "status": ready, "lastTransitionTime": now});
    json!({
        "phase": if once { "Succeeded" } else { "Running" },
        "startTime": now,
        "conditions": [condition("Ready"), condition("ContainersReady")],
    })
}
