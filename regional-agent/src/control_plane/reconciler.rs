//! From a `HostedControlPlane` to a running control plane, its kubeconfig Secret, its edge agent and its status.
//!
//! ```text
//!  object --> driver runs it --> Secret <cluster>-kubeconfig --> token from the hub --> edge agent --> status
//! ```
//! The token needs the hub; while it is away the cluster stands, and the agent follows when it is back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::conditions::set_condition;
use api::names::{finalizer, label};
use api::skein::{
    ControlPlaneDriver, ControlPlaneInitialization, HostedControlPlane, HostedControlPlaneStatus,
};
use futures::StreamExt;
use identity::token::TokenScope;
use identity::{Entropy, JoinToken, SystemEntropy, TokenRole};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer as with_finalizer};
use kube::runtime::{Controller, watcher};
use kube::{Resource, ResourceExt};
use link::{CallError, UplinkHandle};
use process::Process;
use protocol::id::RegionName;
use protocol::message::{Request, Response};

use super::driver::{DriverError, EmbeddedHost, Running, WantedAgent};

/// Who the agent is among the managers of fields.
const MANAGER: &str = "skein-regional-agent";
/// Annotation: the edge agent was started, for the cluster with this UID.
const AGENT_STARTED: &str = "skein.dev/edge-agent";
/// Condition of the edge agent.
const EDGE_AGENT: &str = "EdgeAgentStarted";
/// How long the hub may take for a token.
const TOKEN_DEADLINE: Duration = Duration::from_secs(10);

/// What the reconciler works with.
pub struct Context {
    /// The regional cluster.
    pub client: kube::Client,
    /// The host of embedded clusters, if there is one.
    pub host: Option<EmbeddedHost>,
    /// The hub, for tokens.
    pub uplink: UplinkHandle,
    /// This region.
    pub region: RegionName,
    /// Where the region's edges dial, and the roots they are to believe.
    pub join: Join,
}

/// Where edges dial, and the hashes of the roots they are to believe.
pub type Join = Box<dyn Fn() -> (Vec<String>, Vec<[u8; 32]>) + Send + Sync>;

/// Why a control plane is not as it should be; shown in its conditions.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The driver.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The regional cluster's API server.
    #[error("failed to {action} of \"{name}\"")]
    Api {
        /// What was being done.
        action: &'static str,
        /// With which object.
        name: String,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
    /// The hub gives no token.
    #[error("waiting for the hub to register the token of the edge agent: {0}")]
    Token(String),
    /// The finalizer could not be set or removed.
    #[error("failed to keep the finalizer")]
    Finalizer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Runs until the process ends.
pub fn start(context: Context, process: &Process) {
    let planes = Api::<HostedControlPlane>::all(context.client.clone());
    let cancel = process.cancel.clone();
    let run = Controller::new(planes, watcher::Config::default())
        .graceful_shutdown_on(async move { cancel.cancelled().await })
        .run(reconcile, retry, Arc::new(context))
        .for_each(async |result| {
            if let Err(error) = result {
                tracing::debug!(%error, "a control plane is not settled");
            }
        });
    process.tasks.spawn(run);
}

fn retry(plane: Arc<HostedControlPlane>, error: &ReconcileError, _: Arc<Context>) -> Action {
    let name = plane.name_any();
    tracing::warn!(name, error = %chain(error), "control plane");
    // The hub and the host come back at a time of their own; a second is soon enough and costs nothing.
    Action::requeue(Duration::from_secs(1))
}

async fn reconcile(plane: Arc<HostedControlPlane>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let planes = context.planes(&plane);
    with_finalizer(&planes, finalizer::HOSTED_CONTROL_PLANE, plane, async |event| match event {
        Event::Apply(plane) => context.apply(&plane).await,
        Event::Cleanup(plane) => context.clean_up(&plane).await,
    })
    .await
    .map_err(|error| match error {
        kube::runtime::finalizer::Error::ApplyFailed(error)
        | kube::runtime::finalizer::Error::CleanupFailed(error) => error,
        other @ (kube::runtime::finalizer::Error::AddFinalizer(_)
        | kube::runtime::finalizer::Error::RemoveFinalizer(_)
        | kube::runtime::finalizer::Error::UnnamedObject
        | kube::runtime::finalizer::Error::InvalidFinalizer) => ReconcileError::Finalizer(Box::new(other)),
    })
}

impl Context {
    pub(crate) async fn apply(&self, plane: &HostedControlPlane) -> Result<Action, ReconcileError> {
        let running = self.run(plane).await;
        let agent = match &running {
            Ok(running) => {
                self.write_kubeconfig(plane, running).await?;
                if agent_started(plane) {
                    Ok(())
                } else {
                    // The cluster counts as ready before its agent: it answers. Said once: each write comes back as a
                    // change.
                    if !plane.status.as_ref().is_some_and(|status| status.ready) {
                        self.write_status(plane, Ok(running), Err("starting")).await?;
                    }
                    self.start_agent(plane).await
                }
            }
            Err(_) => Ok(()),
        };
        let agent_text = agent.as_ref().err().map(|error| chain(error));
        let agent_text = agent_text.as_deref().map_or(Ok(()), Err);
        match &running {
            Ok(running) => self.write_status(plane, Ok(running), agent_text).await?,
            Err(error) => {
                self.write_status(plane, Err(chain(error)), Err("the control plane does not run")).await?
            }
        }
        running?;
        agent?;
        Ok(Action::await_change())
    }

    async fn run(&self, plane: &HostedControlPlane) -> Result<Running, ReconcileError> {
        match plane.spec.driver {
            ControlPlaneDriver::Embedded => {
                let host = self.host.as_ref().ok_or(DriverError::NoHost)?;
                let owner = format!("{}/{}", plane.namespace().unwrap_or_default(), plane.name_any());
                Ok(host.ensure_cluster(&plane.name_any(), &plane.spec.version, &owner).await?)
            }
            ControlPlaneDriver::Process => Err(DriverError::Unavailable("process").into()),
            ControlPlaneDriver::Pod => Err(DriverError::Unavailable("pod").into()),
        }
    }

    /// The Secret in Cluster API's shape.
    async fn write_kubeconfig(
        &self,
        plane: &HostedControlPlane,
        running: &Running,
    ) -> Result<(), ReconcileError> {
        let cluster = cluster_name(plane);
        let name = format!("{cluster}-kubeconfig");
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: plane.namespace(),
                labels: Some(BTreeMap::from([(label::CLUSTER_NAME.to_owned(), cluster)])),
                owner_references: plane.controller_owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(
                "value".to_owned(),
                ByteString(running.kubeconfig.clone().into_bytes()),
            )])),
            type_: Some("cluster.x-k8s.io/secret".to_owned()),
            ..Secret::default()
        };
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &plane.namespace().unwrap_or_default());
        secrets
            .patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&secret))
            .await
            .map(|_| ())
            .map_err(|error| api_error("write the kubeconfig Secret", plane, error))
    }

    /// Registers a token with the hub and starts the edge agent with it, once per cluster.
    async fn start_agent(&self, plane: &HostedControlPlane) -> Result<(), ReconcileError> {
        let uid = plane.uid().unwrap_or_default();
        let host = self.host.as_ref().ok_or(DriverError::NoHost)?;
        let (namespace, name) = deployment(plane);
        let token = self.token(&namespace, &name).await?;
        let wanted = WantedAgent {
            token: token.to_string(),
            cluster: plane.name_any(),
            region: self.region.to_string(),
        };
        host.ensure_agent(&plane.name_any(), &wanted).await?;
        let patch = serde_json::json!({"metadata": {"annotations": {AGENT_STARTED: uid}}});
        self.planes(plane)
            .patch(&plane.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(|_| ())
            .map_err(|error| api_error("note the edge agent", plane, error))
    }

    async fn token(&self, namespace: &str, name: &str) -> Result<JoinToken, ReconcileError> {
        let (endpoints, pins) = (self.join)();
        let mut entropy = SystemEntropy;
        let scope = |not_after| TokenScope {
            endpoints: endpoints.clone(),
            pins: pins.clone(),
            not_after,
            region: self.region.clone(),
            role: TokenRole::Edge,
        };
        // The hub decides how long it is valid; the device only uses that to say so in time.
        let (token, public_key) = JoinToken::mint(scope(u64::MAX), &mut entropy as &mut dyn Entropy);
        let request = Request::ClusterToken {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            public_key,
            token: token.id,
        };
        match self.uplink.call(request, TOKEN_DEADLINE).await {
            Ok(Response::TokenRegistered { .. }) => Ok(token),
            Ok(Response::Refused(refusal)) | Err(CallError::Refused(refusal)) => {
                Err(ReconcileError::Token(refusal.message))
            }
            Ok(_) => Err(ReconcileError::Token("the hub answered something else".to_owned())),
            Err(error) => Err(ReconcileError::Token(error.to_string())),
        }
    }

    async fn write_status(
        &self,
        plane: &HostedControlPlane,
        running: Result<&Running, String>,
        agent: Result<(), &str>,
    ) -> Result<(), ReconcileError> {
        let before = plane.status.clone().unwrap_or_default();
        let status = status(plane, &before, running, agent, jiff::Timestamp::now());
        if Some(&status) == plane.status.as_ref() {
            return Ok(());
        }
        let patch = serde_json::json!({"status": status});
        self.planes(plane)
            .patch_status(&plane.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(|_| ())
            .map_err(|error| api_error("write the status", plane, error))
    }

    async fn clean_up(&self, plane: &HostedControlPlane) -> Result<Action, ReconcileError> {
        if let Some(host) = self.host.as_ref().filter(|_| plane.spec.driver == ControlPlaneDriver::Embedded) {
            host.remove_agent(&plane.name_any()).await?;
            host.remove_cluster(&plane.name_any()).await?;
        }
        Ok(Action::await_change())
    }

    fn planes(&self, plane: &HostedControlPlane) -> Api<HostedControlPlane> {
        Api::namespaced(self.client.clone(), &plane.namespace().unwrap_or_default())
    }
}

/// The status by the contract of Cluster API's control planes.
fn status(
    plane: &HostedControlPlane,
    before: &HostedControlPlaneStatus,
    running: Result<&Running, String>,
    agent: Result<(), &str>,
    now: jiff::Timestamp,
) -> HostedControlPlaneStatus {
    let generation = plane.metadata.generation;
    let mut status = before.clone();
    let mut set = |type_: &str, good: bool, reason: &str, message: &str| {
        let state = if good { "True" } else { "False" };
        set_condition(&mut status.conditions, type_, state, reason, message, generation, Time(now));
    };
    match &running {
        Ok(_) => set("Ready", true, "Running", "the API server answers"),
        Err(error) => set("Ready", false, "NotRunning", error),
    }
    set("Available", running.is_ok(), if running.is_ok() { "Running" } else { "NotRunning" }, "");
    match agent {
        Ok(()) => set(EDGE_AGENT, true, "Started", "the edge agent was started"),
        Err(why) => set(EDGE_AGENT, false, "Waiting", why),
    }
    status.ready = running.is_ok();
    status.replicas = Some(if running.is_ok() { plane.spec.replicas } else { 0 });
    if let Ok(running) = running {
        status.initialized = true;
        status.initialization = Some(ControlPlaneInitialization { control_plane_initialized: true });
        status.endpoint = Some(running.endpoint.clone());
        status.version = Some(running.kubernetes_version.clone());
        status.kubeconfig_secret = Some(format!("{}-kubeconfig", cluster_name(plane)));
        status.observed_generation = generation;
    }
    status
}

/// Whether the edge agent was started for this very cluster.
fn agent_started(plane: &HostedControlPlane) -> bool {
    plane.annotations().get(AGENT_STARTED).is_some_and(|uid| Some(uid) == plane.metadata.uid.as_ref())
}

/// The name of the Cluster that the control plane belongs to.
fn cluster_name(plane: &HostedControlPlane) -> String {
    plane.labels().get(label::CLUSTER_NAME).cloned().unwrap_or_else(|| plane.name_any())
}

/// Namespace and name of the ClusterDeployment it was made for.
fn deployment(plane: &HostedControlPlane) -> (String, String) {
    let labelled = |name| plane.labels().get(name).cloned();
    (
        labelled(label::HELM_NAMESPACE).or_else(|| plane.namespace()).unwrap_or_default(),
        labelled(label::HELM_NAME).unwrap_or_else(|| cluster_name(plane)),
    )
}

fn api_error(action: &'static str, plane: &HostedControlPlane, error: kube::Error) -> ReconcileError {
    ReconcileError::Api { action, name: plane.name_any(), source: Box::new(error) }
}

/// An error with its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::skein::HostedControlPlaneSpec;

    fn plane() -> HostedControlPlane {
        let mut plane = HostedControlPlane::new("shop-1", HostedControlPlaneSpec::default());
        plane.metadata.labels = Some(BTreeMap::from([
            (label::HELM_NAME.to_owned(), "shop".to_owned()),
            (label::HELM_NAMESPACE.to_owned(), "default".to_owned()),
        ]));
        plane.metadata.generation = Some(3);
        plane
    }

    fn running() -> Running {
        Running {
            kubeconfig: "kind: Config".to_owned(),
            endpoint: "http://127.0.0.1:1".to_owned(),
            kubernetes_version: "v1.36.3".to_owned(),
        }
    }

    #[test]
    fn a_control_plane_that_answers_is_initialized_for_good() {
        let now = jiff::Timestamp::UNIX_EPOCH;
        let up = status(&plane(), &HostedControlPlaneStatus::default(), Ok(&running()), Ok(()), now);
        assert!(up.ready && up.initialized);
        assert_eq!(up.kubeconfig_secret.as_deref(), Some("shop-1-kubeconfig"));
        let down = status(&plane(), &up, Err("no host".to_owned()), Err("no"), now);
        assert!(!down.ready && down.initialized);
        assert_eq!(api::conditions::find(&down.conditions, "Ready").unwrap().message, "no host");
    }

    #[test]
    fn the_cluster_deployment_is_known_by_its_labels() {
        assert_eq!(deployment(&plane()), ("default".to_owned(), "shop".to_owned()));
        assert_eq!(cluster_name(&plane()), "shop-1");
    }
}
