//! Answers to the hub's questions, and how complete they are.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::telemetry::TelemetryClass;
use telemetry::cost::{self, ledger};
use telemetry::promql::{self, Error, Expr, Grid, Params, Selection, Sink, Source};
use telemetry::query::{self, Answered, QueryAnswer, QueryRequest, SeriesFilter};
use telemetry::selector::{Matcher, fixed_metric};
use telemetry::{Labels, Millis};

use super::catalog::Catalog;
use super::index::Index;
use super::{Links, StoreError};

/// Reads what the writer makes visible.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) index: Arc<Index>,
    pub(super) catalog: Arc<RwLock<Catalog>>,
}

/// How long a question may be worked on; the hub does not wait longer.
const DEADLINE: Duration = Duration::from_secs(25);

/// The index for as long as the time for a question lasts.
struct Timed<'a> {
    index: &'a Index,
    until: Instant,
}

impl Source for Timed<'_> {
    fn select(&self, selection: &Selection<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.index.select(selection, &mut |labels, samples| {
            if Instant::now() > self.until {
                return Err(Error::Timeout("query timed out in expression evaluation".to_owned()));
            }
            sink(labels, samples)
        })
    }
}

/// What a question is about.
struct Scope {
    class: TelemetryClass,
    after: Millis,
    through: Millis,
}

impl Reader {
    /// Answers an encoded question.
    pub(super) fn answer(&self, request: &[u8], links: &Links) -> Result<Bytes, StoreError> {
        let request =
            QueryRequest::decode(request).map_err(|error| StoreError::Question(error.to_string()))?;
        let grid = match &request {
            QueryRequest::Evaluate { params, .. } => params.grid,
            QueryRequest::LabelNames(_)
            | QueryRequest::LabelValues { .. }
            | QueryRequest::Series(_)
            | QueryRequest::Allocation(_) => Grid::instant(0),
        };
        let answer = match request {
            QueryRequest::Evaluate { expr, params } => self.evaluate(&expr, &params, links),
            QueryRequest::LabelNames(filter) => self.listed(&filter, links, |found| {
                let names: BTreeSet<String> =
                    found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned())).collect();
                Answered::Names(limited(names, filter.limit))
            }),
            QueryRequest::LabelValues { label, filter } => self.listed(&filter, links, |found| {
                let values: BTreeSet<String> = found
                    .iter()
                    .map(|labels| labels.get(&label).to_owned())
                    .filter(|value| !value.is_empty())
                    .collect();
                Answered::Names(limited(values, filter.limit))
            }),
            QueryRequest::Series(filter) => {
                self.listed(&filter, links, |found| Answered::Series(limited(found, filter.limit)))
            }
            QueryRequest::Allocation(request) => {
                let result = cost::allocate(&self.timed(), &request).map(Answered::Allocations);
                let scope = Scope { class: TelemetryClass::Cost, after: request.start, through: request.end };
                self.complete(result, &scope, links, |_| true)
            }
        };
        Ok(answer.encode(grid))
    }

    fn timed(&self) -> Timed<'_> {
        Timed { index: &self.index, until: Instant::now() + DEADLINE }
    }

    fn evaluate(&self, text: &str, params: &Params, links: &Links) -> QueryAnswer {
        let mut expr = match promql::parse(text) {
            Ok(expr) => expr,
            Err(error) => return QueryAnswer { result: Err(error), edges: Vec::new(), notes: Vec::new() },
        };
        expr.fix_times(params.grid.start, params.grid.last());
        let result = promql::evaluate(&expr, params, &self.timed(), &[]).map(Answered::Value);
        let (after, through) =
            expr.reach(params.grid, params.lookback).unwrap_or((params.grid.start, params.grid.last()));
        let scope = Scope { class: class_of(&expr), after, through };
        self.complete(result, &scope, links, |external| query::concerns(&expr, external))
    }

    fn listed(
        &self,
        filter: &SeriesFilter,
        links: &Links,
        shape: impl FnOnce(BTreeSet<Labels>) -> Answered,
    ) -> QueryAnswer {
        let selectors: Result<Vec<Vec<Matcher>>, Error> =
            filter.selectors.iter().map(|selector| promql::parse_selector(selector)).collect();
        let selectors = match selectors {
            Ok(selectors) => selectors,
            Err(error) => return QueryAnswer { result: Err(error), edges: Vec::new(), notes: Vec::new() },
        };
        let after = filter.start.saturating_sub(1);
        let all: &[Vec<Matcher>] = if selectors.is_empty() { &[Vec::new()] } else { &selectors };
        let found = all.iter().flat_map(|matchers| self.index.series(matchers, after, filter.end)).collect();
        let scope = Scope { class: TelemetryClass::Metrics, after, through: filter.end };
        self.complete(Ok(shape(found)), &scope, links, |external| {
            all.iter().any(|matchers| query::may_match(matchers, external))
        })
    }

    fn complete(
        &self,
        result: Result<Answered, Error>,
        scope: &Scope,
        links: &Links,
        concerns: impl Fn(&Labels) -> bool,
    ) -> QueryAnswer {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let edges = catalog.completeness(scope.class, (scope.after, scope.through), links, concerns);
        QueryAnswer { result, edges, notes: catalog.notes(scope.after) }
    }
}

/// Which stream a query's samples came by.
fn class_of(expr: &Expr) -> TelemetryClass {
    let is_cost = |metric: &str| ledger::METRICS.contains(&metric);
    let cost = expr.selectors().iter().any(|selector| fixed_metric(&selector.matchers).is_some_and(is_cost));
    if cost { TelemetryClass::Cost } else { TelemetryClass::Metrics }
}

fn limited<T>(items: BTreeSet<T>, limit: u64) -> Vec<T> {
    let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    items.into_iter().take(limit).collect()
}
