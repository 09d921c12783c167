//! What `skein up` answers on its socket: to the other commands, and to the regional agents, for which it is
//! the host of embedded clusters and of the edge agents that belong to them.
//!
//! | call | by | does |
//! |---|---|---|
//! | `GET /status` | `skein status` | what each part is doing and the addresses it bound |
//! | `POST /parts/{kind}[/{name}]/start`, `/stop` | `skein start`, `skein stop` | starts or stops an agent |
//! | `PUT /clusters/{name}`, `DELETE` | driver `embedded` | a child cluster's Kubernetes API |
//! | `PUT /agents/{name}`, `DELETE` | driver `embedded` | the edge agent of a child cluster |

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use process::Bound;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use super::children::Doing;
use super::mesh::Mesh;

/// What `GET /status` answers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Each part: `hub`, `region/NAME`, `edge/NAME`.
    pub(crate) parts: BTreeMap<String, Part>,
}

/// One agent as its supervisor sees it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    /// `running`, `restarting` or `stopped`.
    pub(crate) state: String,
    /// Its process id while it runs.
    pub(crate) pid: Option<u32>,
    /// The addresses it bound.
    pub(crate) bound: Option<Bound>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedCluster {
    #[serde(default = "default_version")]
    kubernetes_version: String,
    /// For the log only.
    #[serde(default)]
    owner: String,
}

fn default_version() -> String {
    super::clusters::KUBERNETES_VERSION.to_owned()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadyCluster {
    kubeconfig: String,
    endpoint: String,
    kubernetes_version: String,
    ready: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WantedAgent {
    token: String,
    cluster: String,
    region: String,
}

/// Serves the socket until the mesh ends.
///
/// # Errors
/// When the socket cannot be bound.
pub(crate) fn serve(mesh: Mesh) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = mesh.state.socket();
    // Whoever holds the state directory's lock may take over the socket of a predecessor that died.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("failed to bind {}; socket paths have at most 107 bytes", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/status", get(status))
        .route("/parts/hub/{action}", post(act_on_hub))
        .route("/parts/{kind}/{name}/{action}", post(act))
        .route("/clusters/{name}", put(make_cluster).delete(remove_cluster))
        .route("/agents/{name}", put(make_agent).delete(remove_agent))
        .with_state(mesh.clone());
    let cancel = mesh.cancel.clone();
    mesh.tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "the supervisor's socket failed");
        }
    });
    Ok(())
}

/// An answer that says what went wrong.
struct Failed(StatusCode, String);

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({"error": self.1}))).into_response()
    }
}

async fn status(State(mesh): State<Mesh>) -> Json<Status> {
    let part = |(part, doing): (String, Doing)| {
        let bound = Bound::read(&mesh.bound_file(&part)).ok();
        let (state, pid) = match doing {
            Doing::Running(pid) => ("running", Some(pid)),
            Doing::Restarting => ("restarting", None),
            Doing::Stopped => ("stopped", None),
        };
        let bound = bound.filter(|bound| Some(bound.pid) == pid);
        (part, Part { state: state.to_owned(), pid, bound })
    };
    Json(Status { parts: mesh.children.doing().into_iter().map(part).collect() })
}

async fn act_on_hub(State(mesh): State<Mesh>, Path(action): Path<String>) -> Result<Json<Part>, Failed> {
    act_on(&mesh, "hub", &action).await
}

async fn act(
    State(mesh): State<Mesh>,
    Path((kind, name, action)): Path<(String, String, String)>,
) -> Result<Json<Part>, Failed> {
    act_on(&mesh, &format!("{kind}/{name}"), &action).await
}

async fn act_on(mesh: &Mesh, part: &str, action: &str) -> Result<Json<Part>, Failed> {
    let run = match action {
        "start" => true,
        "stop" => false,
        other => {
            let message = format!("action \"{other}\" is neither \"start\" nor \"stop\"");
            return Err(Failed(StatusCode::BAD_REQUEST, message));
        }
    };
    let Some(doing) = mesh.want(part, run).await? else {
        let parts = mesh.children.doing().into_keys().collect::<Vec<_>>().join(", ");
        return Err(Failed(StatusCode::NOT_FOUND, format!("no part \"{part}\" here; there are {parts}")));
    };
    let pid = match doing {
        Doing::Running(pid) => Some(pid),
        Doing::Restarting | Doing::Stopped => None,
    };
    let state = if pid.is_some() { "running" } else { "stopped" };
    Ok(Json(Part { state: state.to_owned(), pid, bound: None }))
}

async fn make_cluster(
    State(mesh): State<Mesh>,
    Path(name): Path<String>,
    Json(wanted): Json<WantedCluster>,
) -> Result<Json<ReadyCluster>, Failed> {
    tracing::debug!(name, owner = wanted.owner, "a child cluster is wanted");
    let part = format!("edge/{name}");
    let ready = mesh.clusters.ensure(&part, &wanted.kubernetes_version).await?;
    mesh.ports.change(|record| {
        record.embedded.entry(name).or_default().kubernetes_version = wanted.kubernetes_version.clone();
    })?;
    let kubeconfig = std::fs::read_to_string(&ready.kubeconfig)
        .map_err(|error| Failed(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Json(ReadyCluster {
        kubeconfig,
        endpoint: ready.url,
        kubernetes_version: wanted.kubernetes_version,
        ready: true,
    }))
}

async fn remove_cluster(State(mesh): State<Mesh>, Path(name): Path<String>) -> Result<StatusCode, Failed> {
    mesh.clusters.remove(&format!("edge/{name}")).await?;
    mesh.ports.change(|record| {
        record.embedded.remove(&name);
    })?;
    Ok(StatusCode::NO_CONTENT)
}

async fn make_agent(
    State(mesh): State<Mesh>,
    Path(name): Path<String>,
    Json(wanted): Json<WantedAgent>,
) -> Result<StatusCode, Failed> {
    mesh.ports.change(|record| {
        let embedded = record.embedded.entry(wanted.cluster.clone()).or_default();
        embedded.agent = Some(name.clone());
        embedded.region.clone_from(&wanted.region);
    })?;
    mesh.start_edge(&name, Some(&wanted.token))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_agent(State(mesh): State<Mesh>, Path(name): Path<String>) -> Result<StatusCode, Failed> {
    let part = format!("edge/{name}");
    mesh.children.remove(&part);
    mesh.ports.change(|record| {
        record.embedded.values_mut().filter(|embedded| embedded.agent.as_ref() == Some(&name)).for_each(
            |embedded| {
                embedded.agent = None;
            },
        );
    })?;
    match std::fs::remove_dir_all(mesh.state.agent(&part)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failed(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to remove the agent's state: {error}"),
        )),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}
