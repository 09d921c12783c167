//! What only an edge can tell: `GET /api/v1/diff/{kind}/{namespace}/{name}[?service=NAME]`, how its live objects differ
//! from its plan, and `GET /api/v1/history/...`, what its services settled as.
//!
//! The question travels down the links. While the edge cannot be asked, the answer says so and since when, and tells what
//! was known last; it is never an error to ask about an edge that is away.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::get;
use axum::{Json, Router};
use link::DownlinkHandle;
use protocol::codec::decode;
use protocol::id::{AgentId, EdgeId, RegionName};
use protocol::inquiry::{
    Aspect, FINDINGS_BYTES_MAX, Finding, Findings, Inquiry, Line, ObjectFindings, Revision, UnitFindings,
    is_named,
};
use protocol::message::{Request, Response};
use protocol::report::{ObjectReport, UnitReport};
use protocol::version::Features;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::explain::{Explainer, Explanation, subject_of};
use crate::observed::{AgentView, Observed};

/// How long the links may take.
const DEADLINE: Duration = Duration::from_secs(45);

/// Asks edges.
#[derive(Clone)]
pub struct Inquirer {
    /// Knows the targets.
    pub explainer: Explainer,
    /// Asks regions.
    pub downlink: DownlinkHandle,
    /// What was known last.
    pub observed: Observed,
}

/// The routes.
pub fn router(inquirer: Inquirer) -> Router {
    Router::new()
        .route("/api/v1/diff/{kind}/{namespace}/{name}", get(diff))
        .route("/api/v1/history/{kind}/{namespace}/{name}", get(history))
        .with_state(inquirer)
}

#[derive(Deserialize)]
struct Asked {
    service: Option<String>,
}

type Subject = Path<(String, String, String)>;

async fn diff(State(inquirer): State<Inquirer>, Query(asked): Query<Asked>, path: Subject) -> HttpResponse {
    inquirer.answer(path, asked, Aspect::Differences).await
}

async fn history(
    State(inquirer): State<Inquirer>,
    Query(asked): Query<Asked>,
    path: Subject,
) -> HttpResponse {
    inquirer.answer(path, asked, Aspect::History).await
}

impl Inquirer {
    async fn answer(
        &self,
        Path((kind, namespace, name)): Subject,
        asked: Asked,
        aspect: Aspect,
    ) -> HttpResponse {
        let refused = |status: StatusCode, message: String| {
            (status, Json(json!({"code": status.as_u16(), "message": message}))).into_response()
        };
        let subject = match subject_of(&kind, &namespace, &name) {
            Ok(subject) => subject,
            Err(message) => return refused(StatusCode::BAD_REQUEST, message),
        };
        let explanation = match self.explainer.ask(subject, None).await {
            Ok(explanation) => explanation,
            Err(message) => return refused(StatusCode::NOT_FOUND, message),
        };
        let mut answer = json!({"target": explanation.target, "plan": explanation.plan});
        let service = asked.service.unwrap_or_default();
        if !service.is_empty() {
            let known = |one: &crate::explain::ServiceTold| is_named(&one.namespace, &one.name, &service);
            answer["named"] = explanation.services.iter().any(known).into();
        }
        let inquiry = Inquiry { service, aspect };
        let found = match &explanation.agent {
            Some(edge) => self.ask(*edge, &explanation, inquiry.clone()).await,
            None => Err("the target has no agent yet".to_owned()),
        };
        match found {
            Ok(findings) => {
                answer["live"] = true.into();
                answer["seen"] = super::controller::since(findings.at).into();
                answer["atPlan"] = findings.plan.map(|plan| plan.to_string()).into();
                answer["leftOut"] = findings.left_out.into();
                answer["services"] = findings.units.iter().map(unit_told).collect();
            }
            Err(reason) => {
                let view = explanation.agent.and_then(|edge| self.observed.agent(&AgentId::Edge(edge)));
                answer["live"] = false.into();
                answer["because"] = reason.into();
                answer["services"] = last_known(view.as_deref(), &inquiry);
                answer["seen"] = view.map(|view| super::controller::since(view.last_report)).into();
            }
        }
        Json(answer).into_response()
    }

    async fn ask(&self, edge: EdgeId, told: &Explanation, inquiry: Inquiry) -> Result<Findings, String> {
        if let Some(away) = &told.away {
            return Err(away.clone());
        }
        let region: RegionName = told.region.parse().map_err(|_| "its region is not known".to_owned())?;
        let region = AgentId::Region(region);
        for agent in [&region, &AgentId::Edge(edge)] {
            // Whoever does not know the question would never answer.
            let speaks = self.observed.agent(agent).and_then(|view| view.speaks);
            if let Some(speaks) = speaks.filter(|speaks| !speaks.features.has(Features::INQUIRY)) {
                return Err(format!("{agent}: {}", speaks.cannot(Features::INQUIRY)));
            }
        }
        let request = Request::Inquire { edge: Some(edge), inquiry };
        match self.downlink.call(&region, request, DEADLINE).await {
            Ok(Response::Answer(bytes)) => {
                decode::<Findings>(&bytes, FINDINGS_BYTES_MAX).map_err(|error| error.to_string())
            }
            Ok(Response::Refused(refusal)) => Err(refusal.message),
            Ok(_) => Err("it answered something else than was asked".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn unit_told(unit: &UnitFindings) -> Value {
    let UnitFindings { id, version, same, objects, revisions } = unit;
    json!({
        "set": format!("{}/{}", id.set_namespace, id.set_name), "namespace": id.namespace, "name": id.name,
        "version": version, "same": same,
        "objects": objects.iter().map(object_told).collect::<Vec<_>>(),
        "revisions": revisions.iter().map(revision_told).collect::<Vec<_>>(),
    })
}

fn object_told(object: &ObjectFindings) -> Value {
    let (finding, message) = match &object.finding {
        Finding::Differs => ("Differs", ""),
        Finding::Missing => ("Missing", ""),
        Finding::Unknown(message) => ("Unknown", message.as_str()),
    };
    let line = |line: &Line| json!({"path": line.path, "live": line.live, "desired": line.desired});
    json!({
        "object": object.key.to_string(), "finding": finding, "message": message,
        "lines": object.lines.iter().map(line).collect::<Vec<_>>(),
    })
}

fn revision_told(revision: &Revision) -> Value {
    let Revision { at, version, template, hash, state, message, in_force } = revision;
    json!({
        "at": super::controller::since(*at), "version": version, "template": template, "hash": hash.to_string(),
        "state": state.as_str(), "message": message, "inForce": in_force,
    })
}

/// What the last reports said of the objects that were not as they should be.
fn last_known(view: Option<&AgentView>, inquiry: &Inquiry) -> Value {
    let wanted = |unit: &&UnitReport| {
        inquiry.service.is_empty() || is_named(&unit.id.namespace, &unit.id.name, &inquiry.service)
    };
    let object = |object: &ObjectReport| {
        json!({
            "object": object.key.to_string(), "finding": "Unknown", "lines": [],
            "message": format!("{:?} since {}: {}", object.health, super::controller::since(object.since), object.message),
        })
    };
    let told = view.into_iter().flat_map(|view| view.units.values()).filter(wanted).map(|unit| {
        json!({
            "set": format!("{}/{}", unit.id.set_namespace, unit.id.set_name),
            "namespace": unit.id.namespace, "name": unit.id.name, "version": unit.version,
            "state": unit.state.as_str(), "since": super::controller::since(unit.since), "message": unit.message,
            "same": unit.objects_ready, "revisions": [],
            "objects": unit.objects.iter().map(object).collect::<Vec<_>>(),
        })
    });
    told.collect()
}
