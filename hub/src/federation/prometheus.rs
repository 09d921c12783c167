//! Prometheus' HTTP API: `query`, `query_range`, `labels`, `label/<name>/values`, `series`.
//!
//! By GET with a query string or POST with a form, as clients do either.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Path, RawForm, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use telemetry::prometheus::{
    error_body, error_type, instant_data, parse_duration, parse_time, range_data, success_body,
};
use telemetry::promql::{self, Error, Expr, Grid, Params, Value};
use telemetry::query::{Answered, Completeness, QueryRequest, SeriesFilter, Share, concerns};
use telemetry::{Labels, Millis};

use super::{Federation, TOLERANCE, external};

/// Results of a request for names or series unless it asks for fewer.
const LIMIT: u64 = 100_000;
/// How far back names and series are looked for unless the request says.
const HOUR: Millis = 3_600_000;

/// The routes.
pub(super) fn router() -> Router<Federation> {
    Router::new()
        .route("/api/v1/query", get(query).post(query))
        .route("/api/v1/query_range", get(query_range).post(query_range))
        .route("/api/v1/labels", get(labels).post(labels))
        .route("/api/v1/label/{name}/values", get(label_values))
        .route("/api/v1/series", get(series).post(series))
        .route("/api/v1/status/buildinfo", get(build_info))
}

/// An answer in Prometheus' error shape.
pub(super) struct Failed(pub(super) Error);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let (_, status) = error_type(&self.0);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(error_body(&self.0))).into_response()
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

type Answer = Result<Json<serde_json::Value>, Failed>;

/// Parameters of a request; some may be given several times.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    pub(super) fn read(bytes: &[u8]) -> Self {
        Self(form(bytes))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn required(&self, name: &str) -> Result<&str, Error> {
        self.get(name).ok_or_else(|| Error::Parse(format!("invalid parameter \"{name}\": it is missing")))
    }

    fn time(&self, name: &str, default: Millis) -> Result<Millis, Error> {
        self.get(name).map_or(Ok(default), |text| parse_time(name, text))
    }
}

/// Pairs of names and values with `%XX` and `+` undone.
fn form(bytes: &[u8]) -> Vec<(String, String)> {
    let pairs = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (plain(&pair[..at]), plain(pair.get(at + 1..).unwrap_or_default()))
        })
        .collect()
}

fn plain(mut text: &[u8]) -> String {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        let (byte, after) = match (first, rest) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, after),
                _ => (b'%', rest),
            },
            (b'+', _) => (b' ', rest),
            _ => (*first, rest),
        };
        out.push(byte);
        text = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn query(State(federation): State<Federation>, RawForm(body): RawForm) -> Answer {
    let form = Form::read(&body);
    let at = form.time("time", federation.now())?;
    let expr = promql::parse(form.required("query")?)?;
    let (value, warnings) = federation.evaluate(&expr, Grid::instant(at)).await?;
    Ok(Json(success_body(instant_data(&value, at), &warnings)))
}

async fn query_range(State(federation): State<Federation>, RawForm(body): RawForm) -> Answer {
    let form = Form::read(&body);
    let (start, end) =
        (parse_time("start", form.required("start")?)?, parse_time("end", form.required("end")?)?);
    let step = parse_duration("step", form.required("step")?)?;
    let grid = Grid::range(start, end, step)?;
    let expr = promql::parse(form.required("query")?)?;
    let (value, warnings) = federation.evaluate(&expr, grid).await?;
    Ok(Json(success_body(range_data(&value, grid), &warnings)))
}

impl Federation {
    /// Evaluates an expression over all regions; with what a reader must know about the answer.
    async fn evaluate(&self, expr: &Expr, grid: Grid) -> Result<(Value, Vec<String>), Error> {
        let plan = promql::split::split(expr, &Params::new(grid), &self.regions())?;
        let mut completeness = Completeness::default();
        let mut values = Vec::with_capacity(plan.parts.len());
        for part in &plan.parts {
            let request = QueryRequest::Evaluate { expr: part.expr.clone(), params: part.params };
            let answers = self.ask(&request, part.params.grid, &part.regions, &mut completeness).await?;
            let answers = answers.into_values().filter_map(|answer| match answer {
                Answered::Value(value) => Some(value),
                Answered::Names(_) | Answered::Series(_) | Answered::Allocations(_) => None,
            });
            values.push(promql::split::union(answers.collect())?);
        }
        let value = plan.finish(&values)?;
        for (region, share) in &mut completeness.regions {
            if let Share::Answered { edges, .. } = share {
                edges.retain(|edge| concerns(expr, &external(region, &edge.edge)));
            }
        }
        Ok((value, completeness.warnings(grid.last().min(self.now()), TOLERANCE)))
    }

    /// Asks all regions for names or series.
    async fn list(
        &self,
        request: QueryRequest,
        through: Millis,
    ) -> Result<(Vec<Answered>, Vec<String>), Error> {
        let mut completeness = Completeness::default();
        let answers = self.ask(&request, Grid::instant(through), &self.regions(), &mut completeness).await?;
        // Names do not go out of date: only who is missing matters.
        let warnings = completeness.warnings(Millis::MIN, 0);
        Ok((answers.into_values().collect(), warnings))
    }

    fn filter(&self, form: &Form) -> Result<SeriesFilter, Error> {
        let selectors = form.all("match[]");
        for selector in &selectors {
            promql::parse_selector(selector)?;
        }
        let end = form.time("end", self.now())?;
        let limit = form.get("limit").map_or(Ok(LIMIT), |text| {
            text.parse()
                .map_err(|_| Error::Parse(format!("invalid parameter \"limit\": \"{text}\" is not a number")))
        })?;
        let limit = if limit == 0 { LIMIT } else { limit.min(LIMIT) };
        Ok(SeriesFilter { selectors, start: form.time("start", end - HOUR)?, end, limit })
    }
}

async fn labels(State(federation): State<Federation>, RawForm(body): RawForm) -> Answer {
    let filter = federation.filter(&Form::read(&body))?;
    names(&federation, filter.end, QueryRequest::LabelNames(filter)).await
}

async fn label_values(
    State(federation): State<Federation>,
    Path(label): Path<String>,
    RawForm(body): RawForm,
) -> Answer {
    let filter = federation.filter(&Form::read(&body))?;
    names(&federation, filter.end, QueryRequest::LabelValues { label, filter }).await
}

async fn names(federation: &Federation, through: Millis, request: QueryRequest) -> Answer {
    let (answers, warnings) = federation.list(request, through).await?;
    let names = answers.into_iter().flat_map(|answer| match answer {
        Answered::Names(names) => names,
        Answered::Value(_) | Answered::Series(_) | Answered::Allocations(_) => Vec::new(),
    });
    let names: BTreeSet<String> = names.collect();
    Ok(Json(success_body(serde_json::json!(names), &warnings)))
}

async fn series(State(federation): State<Federation>, RawForm(body): RawForm) -> Answer {
    let filter = federation.filter(&Form::read(&body))?;
    if filter.selectors.is_empty() {
        return Err(Error::Parse("no match[] parameter provided".to_owned()).into());
    }
    let (answers, warnings) = federation.list(QueryRequest::Series(filter.clone()), filter.end).await?;
    let series = answers.into_iter().flat_map(|answer| match answer {
        Answered::Series(series) => series,
        Answered::Value(_) | Answered::Names(_) | Answered::Allocations(_) => Vec::new(),
    });
    let series: BTreeMap<Labels, ()> = series.map(|labels| (labels, ())).collect();
    let series: Vec<&Labels> = series.keys().collect();
    Ok(Json(success_body(serde_json::json!(series), &warnings)))
}

/// What Grafana asks first, to know which functions it may offer.
async fn build_info() -> Json<serde_json::Value> {
    let data = serde_json::json!({"version": "3.0.0", "application": "skein", "revision": env!("CARGO_PKG_VERSION")});
    Json(success_body(data, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_browsers_write_it() {
        let form = Form::read(b"query=sum+by%20%28region%29&match%5B%5D=a&match[]=b&empty=&bad=%zz");
        assert_eq!(form.get("query"), Some("sum by (region)"));
        assert_eq!(form.all("match[]"), ["a", "b"]);
        assert_eq!((form.get("empty"), form.get("bad"), form.get("none")), (Some(""), Some("%zz"), None));
    }

    #[test]
    fn a_missing_parameter_is_named() {
        let refused = Form::read(b"").required("query").map(str::to_owned).unwrap_err();
        assert_eq!(refused, Error::Parse("invalid parameter \"query\": it is missing".to_owned()));
    }
}
