//! Questions to the whole fleet: split, asked of the regions, merged, and answered with how complete they are.
//!
//! - `prometheus`: Prometheus' HTTP API
//! - `cost`: OpenCost's `/allocation`
//!
//! A region that does not answer in time is named in the answer's warnings, with since when it is away and which
//! edges it holds: a number is never silently smaller (invariant 10).

mod cost;
mod prometheus;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use identity::Clock;
use link::DownlinkHandle;
use protocol::id::{AgentId, RegionName};
use protocol::message::{Request, Response};
use telemetry::promql::{Error, Grid};
use telemetry::query::{
    Answered, Completeness, EdgeCompleteness, QueryAnswer, QueryRequest, Share, time_text,
};
use telemetry::{Labels, Millis};

use crate::observed::Observed;
use crate::roster::Roster;

/// How long a region may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// An edge whose data ends this long before the end of the question is named.
const TOLERANCE: Millis = 30_000;

/// Asks regions.
#[derive(Clone)]
pub struct Federation {
    downlink: DownlinkHandle,
    roster: Roster,
    observed: Observed,
    clock: Arc<dyn Clock>,
}

/// The hub's query and cost API.
pub fn router(federation: Federation) -> Router {
    prometheus::router().merge(cost::router()).with_state(federation)
}

impl Federation {
    /// Asks through this listener's links.
    pub fn new(downlink: DownlinkHandle, roster: Roster, observed: Observed, clock: Arc<dyn Clock>) -> Self {
        Self { downlink, roster, observed, clock }
    }

    fn now(&self) -> Millis {
        i64::try_from(self.clock.now()).unwrap_or(i64::MAX)
    }

    /// Every region there is, by name.
    fn regions(&self) -> Vec<String> {
        self.roster.regions().into_iter().map(String::from).collect()
    }

    /// Asks regions the same thing, all at once, and notes in `completeness` who answered. A region that finds the
    /// question wrong fails it for all.
    async fn ask(
        &self,
        request: &QueryRequest,
        grid: Grid,
        regions: &[String],
        completeness: &mut Completeness,
    ) -> Result<BTreeMap<String, Answered>, Error> {
        let mut calls: FuturesUnordered<_> = regions
            .iter()
            .map(|region| async move { (region.clone(), self.ask_one(region, request, grid).await) })
            .collect();
        let mut answers = BTreeMap::new();
        while let Some((region, answer)) = calls.next().await {
            match answer {
                Ok(QueryAnswer { result, mut edges, notes }) => {
                    let result = result?;
                    edges.extend(self.silent_edges(&region, &edges));
                    completeness.add(&region, Share::Answered { edges, notes });
                    answers.insert(region, result);
                }
                Err(reason) => {
                    completeness.add(&region, Share::Missing { reason: self.absence(&region, &reason) })
                }
            }
        }
        Ok(answers)
    }

    async fn ask_one(&self, region: &str, request: &QueryRequest, grid: Grid) -> Result<QueryAnswer, String> {
        let name: RegionName = region.parse().map_err(|error: protocol::id::IdError| error.to_string())?;
        let request = Request::Query(request.encode());
        match self.downlink.call(&AgentId::Region(name), request, DEADLINE).await {
            Ok(Response::Answer(bytes)) => {
                QueryAnswer::decode(&bytes, grid).map_err(|error| error.to_string())
            }
            Ok(Response::Refused(refusal)) => Err(refusal.message),
            Ok(_) => Err("it answered something else than was asked".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Edges of the region of which it has never heard anything.
    fn silent_edges(&self, region: &str, known: &[EdgeCompleteness]) -> Vec<EdgeCompleteness> {
        let edges = self.edges_of(region);
        let silent = edges.into_iter().filter(|edge| !known.iter().any(|known| known.edge == *edge));
        silent
            .map(|edge| EdgeCompleteness { edge, watermark: None, link_up: None, gaps: Vec::new() })
            .collect()
    }

    fn edges_of(&self, region: &str) -> Vec<String> {
        let Ok(name) = region.parse() else { return Vec::new() };
        let ids = self.roster.of_region(&name);
        ids.iter().filter_map(|id| self.roster.edge(id)).map(|edge| edge.name.clone()).collect()
    }

    /// Why a region is missing: what went wrong, since when it is away, and whose data is with it.
    fn absence(&self, region: &str, reason: &str) -> String {
        let view = region.parse().ok().and_then(|name| self.observed.agent(&AgentId::Region(name)));
        let since = match view {
            Some(view) if !view.link.up && view.link.since > 0 => {
                format!(", away since {}", time_text(i64::try_from(view.link.since).unwrap_or(i64::MAX)))
            }
            Some(_) => String::new(),
            None => ", never linked since this hub started".to_owned(),
        };
        match self.edges_of(region).as_slice() {
            [] => format!("{reason}{since}"),
            edges => format!("{reason}{since}; with it its edges {}", edges.join(", ")),
        }
    }
}

/// The labels a region puts on everything of an edge, as far as the question's scope needs them.
fn external(region: &str, edge: &str) -> Labels {
    Labels::from_pairs([("region", region), ("edge", edge)])
}
