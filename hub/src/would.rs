//! What changed objects would change: `POST /api/v1/diff` with a JSON list of MultiClusterServices and ClusterDeployments.
//! Values of Secrets, and of everything that came from one, are never told.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

use crate::explain::Explainer;

/// What would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Would {
    /// Targets that are concerned, in order.
    pub targets: Vec<TargetChange>,
    /// Targets that are concerned beyond those.
    pub left_out: usize,
    /// What could not be compared.
    pub notes: Vec<String>,
}

/// What would change on a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TargetChange {
    /// Kind, namespace and name.
    pub target: String,
    /// The services that would be others.
    pub services: Vec<Change>,
}

/// How a service would be another one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Namespace of the release.
    pub namespace: String,
    /// Name of the release.
    pub name: String,
    /// `Added`, `Changed`, `Removed`, or `Refused` when it could not be built.
    pub change: &'static str,
    /// The version it would have, or had.
    pub version: String,
    /// The version it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Why it could not be built, or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its objects that would be others.
    pub objects: Vec<ObjectChange>,
}

/// How an object would be another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    /// Kind, namespace and name.
    pub object: String,
    /// `Created`, `Changed` or `Deleted`.
    pub change: &'static str,
    /// The fields that would change.
    pub fields: Vec<FieldChange>,
}

/// A field that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// Where, as `.spec.replicas`.
    pub path: String,
    /// What it is, as JSON, shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether the values may not be told.
    pub hidden: bool,
}

/// The route.
pub fn router(explainer: Explainer) -> Router {
    Router::new().route("/api/v1/diff", post(would)).with_state(explainer)
}

async fn would(State(explainer): State<Explainer>, Json(objects): Json<Vec<Value>>) -> Response {
    match explainer.would(objects).await {
        Ok(would) => Json(would).into_response(),
        Err(message) => {
            let status = StatusCode::BAD_REQUEST;
            (status, Json(json!({"code": status.as_u16(), "message": message}))).into_response()
        }
    }
}
