//! Why a service is what it is: `GET /api/v1/explain/{kind}/{namespace}/{name}[?service=NAME]`, for `skein explain`.
//!
//! With a service, its whole way is told, from the object that asks for it to the objects on the cluster, and who else
//! names it without effect. The namespace `-` stands for the only one that has an object of that name.
//!
//! The deciding task answers, from what it last decided: nothing is kept for this. Names, versions and digests are told,
//! never a value.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use protocol::id::EdgeId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::services::origin::Origin;
use crate::services::target::{TargetKind, TargetName};
use crate::would::Would;

/// Questions that wait for the deciding task.
const QUEUE: usize = 16;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// All sets of a target.
    Target(TargetName),
    /// One set.
    ServiceSet {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// The namespace that stands for any.
pub const ANY_NAMESPACE: &str = "-";

/// A question and where the answer goes.
pub enum Question {
    /// Why services are what they are; or why not, when there is no such object.
    Explain {
        /// About what.
        subject: Subject,
        /// Only about the services of this name (`NAME`, `NAMESPACE/NAME` or `NAMESPACE.NAME`), and about these all.
        service: Option<String>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Explanation, String>>,
    },
    /// What changed objects would change.
    Would {
        /// The objects.
        objects: Vec<Value>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Would, String>>,
    },
}

/// How far a step of a service's way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Done.
    Done,
    /// Not yet.
    Waiting,
    /// Somebody must change something.
    Wrong,
    /// Nobody can say now.
    Unknown,
}

/// A step on the way from the object that asks for a service to the objects on the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which.
    pub step: &'static str,
    /// How far it is.
    pub standing: Standing,
    /// What is known of it, for a person.
    pub text: String,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

/// A service that is named somewhere, and not for this target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Absent {
    /// Who names it.
    pub owner: String,
    /// Namespace of the release.
    pub namespace: String,
    /// Name of the release.
    pub name: String,
    /// Why it is not for this target.
    pub because: String,
    /// What helps.
    pub cure: String,
}

/// An object on the cluster that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectTold {
    /// Kind, namespace and name.
    pub object: String,
    /// Its health, in the words of kstatus.
    pub health: String,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when.
    pub since: String,
}

/// Why the services of a target are what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The target: `ClusterDeployment default/shop-1`.
    pub target: String,
    /// The region it belongs to; empty while that is unknown.
    pub region: String,
    /// The edge agent on it, once there is one.
    #[serde(skip)]
    pub agent: Option<EdgeId>,
    /// Why its agent cannot be asked now, if it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<String>,
    /// The plan that its agent is to have, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanTold>,
    /// Why the plan is held back, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The units: the cluster's own first, then those of its sets in order.
    pub services: Vec<ServiceTold>,
    /// Where the service asked about is named without being for this target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Absent>,
    /// Everything that was read for them, objects and sources: when one of these changes, what used it is rendered again.
    pub watched: Vec<String>,
}

/// A plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanTold {
    /// Its generation: term and counter.
    pub generation: String,
    /// When it was made.
    pub issued_at: String,
    /// The generation that the agent has carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
}

/// A service, or the cluster itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTold {
    /// Namespace and name of its ServiceSet; of its ClusterDeployment, for the cluster itself.
    pub set: String,
    /// Who asks for it.
    pub owner: String,
    /// Namespace of the release.
    pub namespace: String,
    /// Name of the release.
    pub name: String,
    /// Where its template's content comes from, as that stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceTold>,
    /// What it is made of; nothing when it cannot be built.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub built: Option<BuiltTold>,
    /// Why there is no unit, or none as new as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its way from the object that asks for it to the objects on the cluster.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<Step>,
    /// The objects on the cluster that are not as they should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsettled: Vec<ObjectTold>,
}

/// A source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceTold {
    /// Kind and name of whatever describes it.
    pub name: String,
    /// What the source calls its newest good content.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// SHA-256 of that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Why there is nothing newer, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<String>,
}

/// What a unit is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuiltTold {
    /// Where its content came from.
    pub origin: Arc<Origin>,
    /// `engine`, or `helm` for a chart that needs what the engine lacks.
    pub rendered_by: &'static str,
    /// What the engine lacks, where `helm` rendered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Arc<str>>,
    /// When this content was rendered first, since the hub started.
    pub rendered_at: String,
    /// Whether it asked for randomness or the clock: then these are kept, and it stays the same.
    pub random: bool,
    /// Number of objects.
    pub objects: usize,
    /// Number of hooks.
    pub hooks: usize,
    /// Number of those hooks that are tests, run on demand.
    pub tests: usize,
    /// How many of them travel sealed.
    pub sealed: usize,
    /// The hash that becomes `lastDeployedHash`.
    pub hash: String,
}

/// Asks the deciding task.
#[derive(Clone)]
pub struct Explainer(mpsc::Sender<Question>);

impl Explainer {
    /// An explainer and the end where its questions arrive.
    pub fn new() -> (Self, mpsc::Receiver<Question>) {
        let (sender, questions) = mpsc::channel(QUEUE);
        (Self(sender), questions)
    }

    /// The explanation, of one service if that is named.
    ///
    /// # Errors
    /// That there is no such object, or that the hub ends.
    pub async fn ask(&self, subject: Subject, service: Option<String>) -> Result<Explanation, String> {
        let (answer, answered) = oneshot::channel();
        let ending = || "the hub is ending".to_owned();
        self.0.send(Question::Explain { subject, service, answer }).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// What these objects would change.
    ///
    /// # Errors
    /// Which of them cannot be tried, or that the hub ends.
    pub async fn would(&self, objects: Vec<Value>) -> Result<Would, String> {
        let (answer, answered) = oneshot::channel();
        let ending = || "the hub is ending".to_owned();
        self.0.send(Question::Would { objects, answer }).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }
}

/// The route.
pub fn router(explainer: Explainer) -> Router {
    Router::new().route("/api/v1/explain/{kind}/{namespace}/{name}", get(explain)).with_state(explainer)
}

/// What a path names.
///
/// # Errors
/// That there is no such kind.
pub(crate) fn subject_of(kind: &str, namespace: &str, name: &str) -> Result<Subject, String> {
    let target = |kind| Subject::Target(TargetName::new(kind, namespace, name));
    match kind {
        "clusterdeployment" => Ok(target(TargetKind::ClusterDeployment)),
        "edge" => Ok(target(TargetKind::Edge)),
        "serviceset" => Ok(Subject::ServiceSet { namespace: namespace.to_owned(), name: name.to_owned() }),
        other => {
            Err(format!("kind \"{other}\" is not known: clusterdeployment, edge and serviceset are accepted"))
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    service: Option<String>,
}

async fn explain(
    State(explainer): State<Explainer>,
    Query(Asked { service }): Query<Asked>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Response {
    let refused = |status: StatusCode, message: String| {
        (status, Json(json!({"code": status.as_u16(), "message": message}))).into_response()
    };
    let subject = match subject_of(&kind, &namespace, &name) {
        Ok(subject) => subject,
        Err(message) => return refused(StatusCode::BAD_REQUEST, message),
    };
    match explainer.ask(subject, service).await {
        Ok(explanation) => Json(explanation).into_response(),
        Err(message) => refused(StatusCode::NOT_FOUND, message),
    }
}
