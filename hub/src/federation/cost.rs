//! OpenCost's `/allocation`: what was spent, by cluster, namespace, label and so on.

use axum::extract::{RawForm, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use telemetry::cost::{AllocationRequest, GroupBy, allocation_data, merge, window};
use telemetry::prometheus::parse_duration;
use telemetry::promql::{Error, Grid};
use telemetry::query::{Answered, Completeness, QueryRequest};

use super::Federation;
use super::prometheus::Form;

/// Cost is counted in intervals; an edge that is later than this is named.
const TOLERANCE: i64 = 180_000;

/// The routes. OpenCost answers under both paths.
pub(super) fn router() -> Router<Federation> {
    Router::new().route("/allocation", get(allocation)).route("/allocation/compute", get(allocation))
}

/// An answer in OpenCost's error shape.
struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        (status, Json(json!({"code": status.as_u16(), "message": message}))).into_response()
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Parse(_) => StatusCode::BAD_REQUEST,
            Error::Execution(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Timeout(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

async fn allocation(
    State(federation): State<Federation>,
    RawForm(query): RawForm,
) -> Result<Json<serde_json::Value>, Failed> {
    let request = request(&Form::read(&query), federation.now())?;
    let mut completeness = Completeness::default();
    let asked = QueryRequest::Allocation(request.clone());
    let regions = federation.regions();
    let answers = federation.ask(&asked, Grid::instant(request.end), &regions, &mut completeness).await?;
    let rows = answers.into_values().flat_map(|answer| match answer {
        Answered::Allocations(rows) => rows,
        Answered::Value(_) | Answered::Names(_) | Answered::Series(_) => Vec::new(),
    });
    let data = allocation_data(&request, &merge(rows))?;
    let warnings = completeness.warnings(request.end.min(federation.now()), TOLERANCE);
    Ok(Json(json!({"code": 200, "data": data, "warnings": warnings})))
}

/// The request in OpenCost's parameters: `window`, `aggregate`, `step`, `accumulate`, `includeIdle`.
fn request(form: &Form, now: i64) -> Result<AllocationRequest, Failed> {
    let bad = |message: String| Failed(StatusCode::BAD_REQUEST, message);
    let text = form.get("window").ok_or_else(|| bad("missing window parameter".to_owned()))?;
    let (start, end) = window::parse(text, now).map_err(|error| bad(error.to_string()))?;
    let aggregate = form.get("aggregate").unwrap_or_default().split(',').filter(|one| !one.is_empty());
    let group_by: Vec<GroupBy> = aggregate
        .map(|one| one.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|error: telemetry::cost::allocation::GroupByError| bad(error.to_string()))?;
    let flag = |name: &str| match form.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(bad(format!("invalid {name} \"{other}\": accepted are true and false"))),
    };
    let step = match form.get("step") {
        _ if flag("accumulate")? => 0,
        Some(step) => parse_duration("step", step)?,
        None => 0,
    };
    Ok(AllocationRequest { start, end, step, group_by, include_idle: flag("includeIdle")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opencosts_parameters_are_read() {
        let now = 7_200_000;
        let form = Form::read(b"window=1h&aggregate=namespace,label:app&accumulate=true&step=10m");
        let request = request(&form, now).map_err(|failed| failed.1).unwrap();
        assert_eq!((request.start, request.end, request.step), (3_600_000, now, 0));
        assert_eq!(request.group_by, [GroupBy::Namespace, GroupBy::Label("app".to_owned())]);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_accepted() {
        for (query, expected) in [
            (&b""[..], "missing window"),
            (b"window=soon", "invalid window \"soon\""),
            (b"window=1h&aggregate=moon", "invalid aggregate \"moon\""),
            (b"window=1h&includeIdle=maybe", "invalid includeIdle \"maybe\""),
        ] {
            let refused = request(&Form::read(query), 0).map(|_| ()).map_err(|failed| failed.1).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
