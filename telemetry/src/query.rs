//! What the hub asks a region, and what the region answers: with how much of it is there.
//!
//! An answer names every edge it concerns, up to when that edge's data is complete (its watermark), and what
//! was lost. The hub turns that into Prometheus' `warnings` ([`Completeness::warnings`]), so that a smaller
//! number is never a silent one (invariant 10).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cost::{AllocationRequest, AllocationRow};
use crate::promql::{ABSENT, Error, Expr, Grid, Params, StepSeries, Value, is_present};
use crate::selector::Matcher;
use crate::wire::{self, Limits};
use crate::{Batch, Labels, Millis, Sample, Series};

/// The label that names the edge a series came from.
pub const EDGE: &str = "edge";
/// The label that names the cluster a series came from.
pub const CLUSTER: &str = "cluster";
/// The labels that a region adds to every series.
pub const EXTERNAL: [&str; 3] = [crate::promql::split::REGION, EDGE, CLUSTER];

/// Longest encoded request, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Longest encoded answer, in bytes: a bit less than a link's longest response.
pub const ANSWER_BYTES_MAX: usize = (16 << 20) - 4096;

const VERSION: u8 = 1;

/// Why bytes are not a request or an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Written by a later program.
    #[error("query message has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// Too long.
    #[error("query message has {size} bytes, at most {limit} are accepted")]
    Size {
        /// How long.
        size: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Not such a message.
    #[error("failed to decode query message: {0}")]
    Decode(String),
}

/// What the hub asks a region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum QueryRequest {
    /// A PromQL expression.
    Evaluate {
        /// The expression.
        expr: String,
        /// How to evaluate it.
        params: Params,
    },
    /// Names of labels.
    LabelNames(SeriesFilter),
    /// Values of a label.
    LabelValues {
        /// The label.
        label: String,
        /// Of which series.
        filter: SeriesFilter,
    },
    /// Series.
    Series(SeriesFilter),
    /// Cost.
    Allocation(AllocationRequest),
}

/// Series by selectors and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesFilter {
    /// Selectors, of which one must match; all series when there is none.
    pub selectors: Vec<String>,
    /// With samples since.
    pub start: Millis,
    /// With samples until.
    pub end: Millis,
    /// At most so many results; 0 means no limit.
    pub limit: u64,
}

/// What a region answers.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryAnswer {
    /// The result.
    pub result: Result<Answered, Error>,
    /// The edges whose data the answer is made of, or would be.
    pub edges: Vec<EdgeCompleteness>,
    /// What else a reader must know, for people.
    pub notes: Vec<String>,
}

/// A region's result.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// Of an expression.
    Value(Value),
    /// Names or values.
    Names(Vec<String>),
    /// Series.
    Series(Vec<Labels>),
    /// Cost.
    Allocations(Vec<AllocationRow>),
}

/// How complete an edge's data is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeCompleteness {
    /// The edge's name, as in the label [`EDGE`].
    pub edge: String,
    /// Complete up to this time; `None` when nothing ever came.
    pub watermark: Option<Millis>,
    /// Whether its link is up; `None` when the store does not know.
    pub link_up: Option<bool>,
    /// What was lost in the time asked for.
    pub gaps: Vec<LostRange>,
}

/// Telemetry that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRange {
    /// Time of the oldest point.
    pub first: Millis,
    /// Time of the newest point.
    pub last: Millis,
    /// Batches.
    pub batches: u64,
    /// Points.
    pub points: u64,
    /// Why, in one word (`bytes`, `age`, `disk_full`, `corrupt`).
    pub reason: String,
}

impl QueryRequest {
    /// The request as bytes.
    pub fn encode(&self) -> Bytes {
        seal(postcard::to_allocvec(self).unwrap_or_default())
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`QueryError`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, QueryError> {
        let body = open(bytes, REQUEST_BYTES_MAX)?;
        postcard::from_bytes(body).map_err(|error| QueryError::Decode(error.to_string()))
    }
}

/// The wire form of an answer: series as columns.
#[derive(Serialize, Deserialize)]
enum WireResult {
    Scalar(Vec<f64>),
    Vector(Bytes),
    Samples(Bytes),
    Text(String),
    Names(Vec<String>),
    Series(Bytes),
    Allocations(Vec<AllocationRow>),
    Error(Error),
}

#[derive(Serialize, Deserialize)]
struct WireAnswer {
    result: WireResult,
    edges: Vec<EdgeCompleteness>,
    notes: Vec<String>,
}

impl QueryAnswer {
    /// The answer as bytes; `grid` is that of the request. An answer over [`ANSWER_BYTES_MAX`] becomes an error that
    /// says so.
    pub fn encode(&self, grid: Grid) -> Bytes {
        let sealed = self.sealed(grid);
        if sealed.len() <= ANSWER_BYTES_MAX {
            return sealed;
        }
        let why = format!(
            "the answer of one region has {} bytes, at most {ANSWER_BYTES_MAX} travel: aggregate, select less, or take a larger step",
            sealed.len()
        );
        let edges = self.edges.clone();
        Self { result: Err(Error::Execution(why)), edges, notes: self.notes.clone() }.sealed(grid)
    }

    fn sealed(&self, grid: Grid) -> Bytes {
        let result = match &self.result {
            Ok(Answered::Value(Value::Scalar(values))) => WireResult::Scalar(values.clone()),
            Ok(Answered::Value(Value::Text(text))) => WireResult::Text(text.clone()),
            Ok(Answered::Value(Value::Samples(series))) => {
                WireResult::Samples(wire::encode(&Batch { series: series.clone() }))
            }
            Ok(Answered::Value(Value::Vector(series))) => WireResult::Vector(encode_steps(series, grid)),
            Ok(Answered::Names(names)) => WireResult::Names(names.clone()),
            Ok(Answered::Series(labels)) => {
                let series =
                    labels.iter().map(|labels| Series { labels: labels.clone(), samples: Vec::new() });
                WireResult::Series(wire::encode(&Batch { series: series.collect() }))
            }
            Ok(Answered::Allocations(rows)) => WireResult::Allocations(rows.clone()),
            Err(error) => WireResult::Error(error.clone()),
        };
        let answer = WireAnswer { result, edges: self.edges.clone(), notes: self.notes.clone() };
        seal(postcard::to_allocvec(&answer).unwrap_or_default())
    }

    /// Reads an answer; `grid` is that of the request.
    ///
    /// # Errors
    /// [`QueryError`] when the bytes are anything else.
    pub fn decode(bytes: &[u8], grid: Grid) -> Result<Self, QueryError> {
        let body = open(bytes, ANSWER_BYTES_MAX)?;
        let answer: WireAnswer =
            postcard::from_bytes(body).map_err(|error| QueryError::Decode(error.to_string()))?;
        let limits =
            Limits { bytes_max: 256 << 20, series_max: 1_000_000, samples_max: 20_000_000, labels_max: 128 };
        let batch = |bytes: &[u8]| {
            wire::decode(bytes, &limits).map_err(|error| QueryError::Decode(error.to_string()))
        };
        let result = match answer.result {
            WireResult::Scalar(values) => Ok(Answered::Value(Value::Scalar(values))),
            WireResult::Text(text) => Ok(Answered::Value(Value::Text(text))),
            WireResult::Samples(bytes) => Ok(Answered::Value(Value::Samples(batch(&bytes)?.series))),
            WireResult::Vector(bytes) => {
                Ok(Answered::Value(Value::Vector(decode_steps(batch(&bytes)?, grid)?)))
            }
            WireResult::Names(names) => Ok(Answered::Names(names)),
            WireResult::Series(bytes) => {
                Ok(Answered::Series(batch(&bytes)?.series.into_iter().map(|series| series.labels).collect()))
            }
            WireResult::Allocations(rows) => Ok(Answered::Allocations(rows)),
            WireResult::Error(error) => Err(error),
        };
        Ok(Self { result, edges: answer.edges, notes: answer.notes })
    }
}

/// Present values with the number of their step for a time.
fn encode_steps(series: &[StepSeries], grid: Grid) -> Bytes {
    let series = series.iter().map(|series| Series {
        labels: series.labels.clone(),
        samples: (0..grid.len() as i64)
            .zip(&series.values)
            .filter(|(_, value)| is_present(**value))
            .map(|(step, value)| Sample { at: step, value: *value })
            .collect(),
    });
    wire::encode(&Batch { series: series.collect() })
}

fn decode_steps(batch: Batch, grid: Grid) -> Result<Vec<StepSeries>, QueryError> {
    let steps = grid.len();
    if batch.series.len().saturating_mul(steps) > 100_000_000 {
        return Err(QueryError::Decode(format!(
            "{} series of {steps} steps are too many",
            batch.series.len()
        )));
    }
    batch
        .series
        .into_iter()
        .map(|series| {
            let mut values = vec![ABSENT; steps];
            for sample in series.samples {
                let step = usize::try_from(sample.at).ok().filter(|step| *step < steps);
                let step = step
                    .ok_or_else(|| QueryError::Decode(format!("step {} of a grid of {steps}", sample.at)))?;
                values[step] = sample.value;
            }
            Ok(StepSeries { labels: series.labels, values })
        })
        .collect()
}

fn seal(body: Vec<u8>) -> Bytes {
    let mut bytes = Vec::with_capacity(body.len() + 1);
    bytes.push(VERSION);
    bytes.extend_from_slice(&body);
    bytes.into()
}

fn open(bytes: &[u8], limit: usize) -> Result<&[u8], QueryError> {
    if bytes.len() > limit {
        return Err(QueryError::Size { size: bytes.len(), limit });
    }
    match bytes.split_first() {
        Some((&VERSION, body)) => Ok(body),
        Some((version, _)) => Err(QueryError::Version(*version)),
        None => Err(QueryError::Decode("it is empty".to_owned())),
    }
}

/// Whether a query can concern series with these external labels ([`EXTERNAL`]).
pub fn concerns(expr: &Expr, external: &Labels) -> bool {
    let selectors = expr.selectors();
    selectors.is_empty() || selectors.iter().any(|selector| may_match(&selector.matchers, external))
}

/// Whether series with these external labels can meet the conditions.
pub fn may_match(matchers: &[Matcher], external: &Labels) -> bool {
    matchers
        .iter()
        .filter(|matcher| EXTERNAL.contains(&matcher.name()))
        .all(|matcher| matcher.matches(external.get(matcher.name())))
}

/// What is known of a region's share of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Share {
    /// The region answered.
    Answered {
        /// Its edges.
        edges: Vec<EdgeCompleteness>,
        /// What else there is to know.
        notes: Vec<String>,
    },
    /// The region did not answer.
    Missing {
        /// Why, for a person.
        reason: String,
    },
}

/// How complete an answer is, region by region.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completeness {
    /// Regions by name, each once.
    pub regions: std::collections::BTreeMap<String, Share>,
}

impl Completeness {
    /// Notes what a region contributed; later shares of the same region add to it, a missing one stays.
    pub fn add(&mut self, region: &str, share: Share) {
        use std::collections::btree_map::Entry;
        match self.regions.entry(region.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(share);
            }
            Entry::Occupied(mut entry) => match (entry.get_mut(), share) {
                (Share::Missing { .. }, _) => {}
                (held, missing @ Share::Missing { .. }) => *held = missing,
                (Share::Answered { edges, notes }, Share::Answered { edges: more, notes: more_notes }) => {
                    for edge in more {
                        if !edges.iter().any(|held| held.edge == edge.edge) {
                            edges.push(edge);
                        }
                    }
                    for note in more_notes {
                        if !notes.contains(&note) {
                            notes.push(note);
                        }
                    }
                }
            },
        }
    }

    /// Whether every region answered.
    pub fn is_complete(&self) -> bool {
        self.regions.values().all(|share| matches!(share, Share::Answered { .. }))
    }

    /// What a reader must know: missing regions; edges whose data ends more than `tolerance` before
    /// `through`; what was lost.
    pub fn warnings(&self, through: Millis, tolerance: Millis) -> Vec<String> {
        let mut warnings = Vec::new();
        for (region, share) in &self.regions {
            match share {
                Share::Missing { reason } => {
                    warnings.push(format!("region \"{region}\" is missing from this answer: {reason}"));
                }
                Share::Answered { edges, notes } => {
                    for edge in edges {
                        warnings.extend(edge.warnings(region, through, tolerance));
                    }
                    warnings.extend(notes.iter().map(|note| format!("region \"{region}\": {note}")));
                }
            }
        }
        warnings
    }
}

impl EdgeCompleteness {
    fn warnings(&self, region: &str, through: Millis, tolerance: Millis) -> Vec<String> {
        let edge = &self.edge;
        let link = match self.link_up {
            Some(false) => ", its link is down",
            Some(true) | None => "",
        };
        let mut warnings = Vec::new();
        match self.watermark {
            None => {
                warnings.push(format!("edge \"{edge}\" of region \"{region}\" has sent nothing yet{link}"))
            }
            Some(watermark) if watermark < through.saturating_sub(tolerance) => {
                warnings.push(format!(
                    "edge \"{edge}\" of region \"{region}\" is complete up to {} only{link}",
                    time_text(watermark)
                ));
            }
            Some(_) => {}
        }
        for gap in &self.gaps {
            warnings.push(format!(
                "edge \"{edge}\" of region \"{region}\" lost {} points in {} batches between {} and {} ({})",
                gap.points,
                gap.batches,
                time_text(gap.first),
                time_text(gap.last),
                gap.reason
            ));
        }
        warnings
    }
}

/// A time as RFC 3339, UTC.
pub fn time_text(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| number_text(at), |time| time.to_string())
}

fn number_text(at: Millis) -> String {
    crate::number::format_seconds(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cost::GroupBy;

    fn edge(name: &str, watermark: Option<Millis>, link_up: Option<bool>) -> EdgeCompleteness {
        EdgeCompleteness { edge: name.to_owned(), watermark, link_up, gaps: Vec::new() }
    }

    fn answer(result: Result<Answered, Error>) -> QueryAnswer {
        QueryAnswer {
            result,
            edges: vec![edge("shop-1", Some(5), Some(true))],
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn every_answer_reads_back() {
        let grid = Grid { start: 0, end: 2_000, step: 1_000 };
        let labels = Labels::from_pairs([("job", "a")]);
        let vector = vec![StepSeries { labels: labels.clone(), values: vec![1.5, ABSENT, f64::NAN] }];
        let samples = vec![Series { labels: labels.clone(), samples: vec![Sample::new(3, 4.0)] }];
        let results = [
            Ok(Answered::Value(Value::Vector(vector))),
            Ok(Answered::Value(Value::Samples(samples))),
            Ok(Answered::Value(Value::Text("t".to_owned()))),
            Ok(Answered::Value(Value::Scalar(vec![1.0, 2.0, 3.0]))),
            Ok(Answered::Names(vec!["job".to_owned()])),
            Ok(Answered::Series(vec![labels])),
            Ok(Answered::Allocations(Vec::new())),
            Err(Error::Execution("too much".to_owned())),
        ];
        for result in results {
            let answer = answer(result);
            assert_eq!(QueryAnswer::decode(&answer.encode(grid), grid), Ok(answer));
        }
    }

    #[test]
    fn every_request_reads_back() {
        let filter = SeriesFilter { selectors: vec!["up".to_owned()], start: -1, end: 2, limit: 3 };
        let params = Params::new(Grid::instant(7));
        let requests = [
            QueryRequest::Evaluate { expr: "sum(x)".to_owned(), params },
            QueryRequest::LabelNames(filter.clone()),
            QueryRequest::LabelValues { label: "job".to_owned(), filter: filter.clone() },
            QueryRequest::Series(filter),
            QueryRequest::Allocation(AllocationRequest {
                start: 1,
                end: 2,
                step: 0,
                group_by: vec![GroupBy::Label("app".to_owned())],
                include_idle: true,
            }),
        ];
        for request in requests {
            assert_eq!(QueryRequest::decode(&request.encode()), Ok(request));
        }
    }

    /// What version 1 wrote must stay readable; a change here needs a new version.
    #[test]
    fn golden_bytes() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let params = Params::new(Grid { start: -5, end: 60_000, step: 15_000 });
        let evaluate = QueryRequest::Evaluate { expr: "up".to_owned(), params };
        assert_eq!(hex(&evaluate.encode()), "010002757009c0a907b0ea01c0cf24c0a90780dac409");
        let filter = SeriesFilter { selectors: vec!["up".to_owned()], start: 0, end: 9, limit: 3 };
        let values = QueryRequest::LabelValues { label: "job".to_owned(), filter };
        assert_eq!(hex(&values.encode()), "0102036a6f6201027570001203");
        let allocation = QueryRequest::Allocation(AllocationRequest {
            start: 1,
            end: 2,
            step: 3,
            group_by: vec![GroupBy::Namespace, GroupBy::Label("app".to_owned())],
            include_idle: true,
        });
        assert_eq!(hex(&allocation.encode()), "01040204060204080361707001");
        let mut told = answer(Ok(Answered::Names(vec!["job".to_owned()])));
        let (first, last) = (1, 2);
        told.edges[0].gaps.push(LostRange { first, last, batches: 3, points: 4, reason: "age".to_owned() });
        assert_eq!(
            hex(&told.encode(Grid::instant(0))),
            "010401036a6f62010673686f702d31010a0101010204030403616765010661206e6f7465"
        );
    }

    #[test]
    fn a_later_version_and_an_oversized_message_are_named() {
        assert_eq!(QueryRequest::decode(&[9, 1]), Err(QueryError::Version(9)));
        assert_eq!(
            QueryRequest::decode(&vec![1; REQUEST_BYTES_MAX + 1]).unwrap_err().to_string(),
            "query message has 1048577 bytes, at most 1048576 are accepted"
        );
    }

    #[test]
    fn what_is_missing_late_or_lost_is_said() {
        let mut lossy = edge("shop-2", Some(100_000), Some(true));
        let (first, last) = (40_000, 50_000);
        lossy.gaps.push(LostRange { first, last, batches: 2, points: 30, reason: "bytes".to_owned() });
        let edges = vec![edge("shop-1", Some(60_000), Some(false)), lossy, edge("shop-3", None, None)];
        let mut completeness = Completeness::default();
        completeness.add("eu", Share::Answered { edges: edges.clone(), notes: vec!["a note".to_owned()] });
        completeness.add("eu", Share::Answered { edges, notes: vec!["a note".to_owned()] });
        assert!(completeness.is_complete());
        completeness.add("us", Share::Missing { reason: "link is down".to_owned() });
        assert!(!completeness.is_complete());
        assert_eq!(
            completeness.warnings(100_000, 30_000),
            [
                "edge \"shop-1\" of region \"eu\" is complete up to 1970-01-01T00:01:00Z only, its link is down",
                "edge \"shop-2\" of region \"eu\" lost 30 points in 2 batches between 1970-01-01T00:00:40Z and 1970-01-01T00:00:50Z (bytes)",
                "edge \"shop-3\" of region \"eu\" has sent nothing yet",
                "region \"eu\": a note",
                "region \"us\" is missing from this answer: link is down",
            ]
        );
        completeness.add("us", Share::Answered { edges: Vec::new(), notes: Vec::new() });
        assert!(!completeness.is_complete(), "one missing part is enough");
    }

    #[test]
    fn a_query_concerns_an_edge_unless_its_matchers_rule_it_out() {
        let external = Labels::from_pairs([("region", "eu"), ("edge", "shop-1"), ("cluster", "c")]);
        let concerned = |query| concerns(&crate::promql::parse(query).unwrap(), &external);
        assert!(concerned("x{edge=\"shop-1\",job=\"any\"}"));
        assert!(!concerned("x{edge=\"shop-2\"}"));
        assert!(concerned("x{edge=\"shop-2\"} + y{cluster=~\"c|d\"}"));
        assert!(!concerned("x{region!=\"eu\"}"));
        assert!(concerned("vector(1)"));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let grid = Grid { start: 0, end: 10, step: 1 };
            let mut sealed = vec![VERSION];
            sealed.extend(bytes);
            let _ = QueryAnswer::decode(&sealed, grid);
            let _ = QueryRequest::decode(&sealed);
        }

        #[test]
        fn a_perturbed_answer_never_panics(at: prop::sample::Index, with: u8) {
            let grid = Grid { start: 0, end: 3, step: 1 };
            let values = vec![1.0, 2.0, ABSENT, 4.5];
            let series = vec![StepSeries { labels: Labels::from_pairs([("a", "b")]), values }];
            let mut bytes = answer(Ok(Answered::Value(Value::Vector(series)))).encode(grid).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = QueryAnswer::decode(&bytes, grid);
        }
    }
}
