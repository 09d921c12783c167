//! The embedded store: exactly once, durable, complete or said so.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use protocol::id::{AgentId, EdgeId};
use protocol::message::StreamHead;
use protocol::telemetry::{
    Gap, GapReason, StreamEpoch, TelemetryAck, TelemetryClass, TelemetryContent, TelemetryItem,
};
use spool::{Budgets, LaneBudget, Spool};
use telemetry::promql::{Grid, Params, Value};
use telemetry::query::{Answered, QueryAnswer, QueryRequest, SeriesFilter};
use telemetry::{Batch, Sample, Series, wire};

use super::*;

const EPOCH: StreamEpoch = StreamEpoch(7);

fn agent(number: u8) -> AgentId {
    AgentId::Edge(EdgeId([number; 16]))
}

fn settings(path: &Path, limits: Limits, now: &Arc<AtomicU64>) -> Settings {
    let now = now.clone();
    let now: Arc<dyn Fn() -> u64 + Send + Sync> = Arc::new(move || now.load(Ordering::Relaxed));
    Settings { path: path.to_owned(), region: "eu".to_owned(), limits, now }
}

fn open(path: &Path) -> Embedded {
    Embedded::open(settings(path, Limits::default(), &Arc::default())).unwrap()
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    Series {
        labels: labels.iter().copied().collect(),
        samples: samples.iter().map(|(at, value)| Sample::new(*at, *value)).collect(),
    }
}

fn item(sequence: u64, series: Vec<Series>) -> TelemetryItem {
    let batch = Batch { series };
    let (first, last) = batch.span().unwrap_or_default();
    let content = TelemetryContent::Batch {
        payload: wire::encode(&batch),
        points: batch.points() as u32,
        first: first as u64,
        last: last as u64,
    };
    TelemetryItem { class: TelemetryClass::Metrics, epoch: EPOCH, sequence, content }
}

fn gap_item(sequence: u64, batches: u64, first: u64, last: u64) -> TelemetryItem {
    let gap = Gap { batches, points: 10 * batches, first, last, reason: GapReason::Bytes };
    let content = TelemetryContent::Gap(gap);
    TelemetryItem { class: TelemetryClass::Metrics, epoch: EPOCH, sequence, content }
}

fn from(number: u8, item: TelemetryItem) -> Arrival {
    Arrival {
        agent: agent(number),
        edge: format!("edge-{number}"),
        cluster: format!("cluster-{number}"),
        item,
    }
}

async fn ingest(store: &Embedded, number: u8, item: TelemetryItem) -> u64 {
    let acks = store.ingest(vec![from(number, item)]).await.unwrap();
    acks.into_iter().find(|(of, _)| *of == agent(number)).map_or(0, |(_, ack)| ack.through)
}

async fn ask(store: &Embedded, request: &QueryRequest, grid: Grid, links: Links) -> QueryAnswer {
    let answer = store.answer(request.encode(), links).await.unwrap();
    QueryAnswer::decode(&answer, grid).unwrap()
}

async fn instant(store: &Embedded, query: &str, at: i64) -> QueryAnswer {
    let grid = Grid::instant(at);
    let request = QueryRequest::Evaluate { expr: query.to_owned(), params: Params::new(grid) };
    ask(store, &request, grid, Links::new()).await
}

/// Labels and values of an instant answer.
fn vector(answer: &QueryAnswer) -> Vec<(String, f64)> {
    match &answer.result {
        Ok(Answered::Value(Value::Vector(series))) => {
            series.iter().map(|series| (series.labels.to_string(), series.values[0])).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_item_takes_effect_once_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    let first = item(1, vec![series(&[("__name__", "up"), ("job", "a")], &[(1_000, 1.0), (2_000, 2.0)])]);
    assert_eq!(ingest(&store, 1, first.clone()).await, 1);
    assert_eq!(ingest(&store, 1, first.clone()).await, 1, "a duplicate is acknowledged again");
    assert_eq!(
        ingest(&store, 1, item(2, vec![series(&[("__name__", "up"), ("job", "a")], &[(3_000, 3.0)])])).await,
        2
    );
    let expected = [(r#"{cluster="cluster-1", edge="edge-1", job="a", region="eu"}"#.to_owned(), 3.0)];
    assert_eq!(vector(&instant(&store, "count_over_time(up[10s])", 3_000).await), expected);
    store.close().await;
    let store = open(&path);
    assert_eq!(vector(&instant(&store, "count_over_time(up[10s])", 3_000).await), expected);
    let acked = TelemetryAck { class: TelemetryClass::Metrics, epoch: EPOCH, through: 2 };
    assert_eq!(store.acknowledged(agent(1)).await, [acked]);
    assert_eq!(ingest(&store, 1, first).await, 2, "still a duplicate after the restart");
    assert_eq!(vector(&instant(&store, "count_over_time(up[10s])", 3_000).await), expected);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("store"), folder.path().join("copy"));
    let store = open(&path);
    ingest(&store, 1, item(1, vec![series(&[("__name__", "up")], &[(1_000, 1.0)])])).await;
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(folder.path().join("store-wal"), folder.path().join("copy-wal")).unwrap();
    let copied = open(&copy);
    assert_eq!(vector(&instant(&copied, "up", 1_000).await).len(), 1);
    assert_eq!(copied.acknowledged(agent(1)).await, store.acknowledged(agent(1)).await);
}

#[tokio::test]
async fn numbers_out_of_order_wait_for_the_hole_to_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    let at =
        |sequence: u64| item(sequence, vec![series(&[("__name__", "x")], &[(sequence as i64 * 1_000, 1.0)])]);
    assert_eq!(ingest(&store, 1, at(1)).await, 1);
    assert_eq!(ingest(&store, 1, at(3)).await, 1);
    store.close().await;
    let store = open(&path);
    assert_eq!(instant(&store, "x", 1_000).await.edges[0].watermark, Some(1_000));
    assert_eq!(ingest(&store, 1, at(2)).await, 3);
    assert_eq!(instant(&store, "x", 1_000).await.edges[0].watermark, Some(3_000));
    assert_eq!(ingest(&store, 1, at(5)).await, 3);
    let head = StreamHead { class: TelemetryClass::Metrics, epoch: EPOCH, first: 5, next: 6 };
    store.announce(agent(1), vec![head]).await.unwrap();
    assert_eq!(
        store.acknowledged(agent(1)).await[0].through,
        5,
        "what the agent no longer has will not come"
    );
}

#[tokio::test]
async fn a_stream_may_begin_anywhere_and_each_epoch_counts_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let at = |sequence| item(sequence, vec![series(&[("__name__", "x")], &[(1_000, 1.0)])]);
    assert_eq!(ingest(&store, 1, at(40)).await, 40);
    let other = TelemetryItem { epoch: StreamEpoch(8), ..at(1) };
    let acks = store.ingest(vec![from(1, other)]).await.unwrap();
    assert_eq!((acks[0].1.epoch, acks[0].1.through), (StreamEpoch(8), 1));
}

#[tokio::test]
async fn a_gap_closes_its_numbers_and_is_told_to_readers_of_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    ingest(&store, 1, item(1, vec![series(&[("__name__", "x")], &[(1_000, 1.0)])])).await;
    assert_eq!(ingest(&store, 1, gap_item(5, 4, 2_000, 600_000)).await, 5);
    assert_eq!(ingest(&store, 1, gap_item(5, 4, 2_000, 600_000)).await, 5);
    store.close().await;
    let store = open(&path);
    let answer = instant(&store, "x", 500_000).await;
    let lost = &answer.edges[0].gaps;
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].batches, lost[0].points, lost[0].reason.as_str()), (4, 40, "bytes"));
    assert_eq!(answer.edges[0].watermark, Some(600_000));
    assert!(instant(&store, "x", 1_500).await.edges[0].gaps.is_empty(), "not of that time");
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_a_gap_and_does_not_block_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let content = TelemetryContent::Batch {
        payload: Bytes::from_static(b"garbage"),
        points: 3,
        first: 1_000,
        last: 1_000,
    };
    let bad = TelemetryItem { class: TelemetryClass::Metrics, epoch: EPOCH, sequence: 1, content };
    assert_eq!(ingest(&store, 1, bad).await, 1);
    assert_eq!(instant(&store, "x", 2_000).await.edges[0].gaps[0].reason, "corrupt");
}

#[tokio::test]
async fn late_samples_and_repeated_times_end_up_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let x = |samples: &[(i64, f64)]| vec![series(&[("__name__", "x")], samples)];
    let regular: Vec<(i64, f64)> = (100..200).map(|at| (at * 1_000, at as f64)).collect();
    ingest(&store, 1, item(1, x(&regular))).await;
    let late: Vec<(i64, f64)> =
        (0..150).map(|at| (at * 1_000 + if at < 100 { 0 } else { 500 }, -1.0)).collect();
    ingest(&store, 1, item(2, x(&late))).await;
    ingest(&store, 1, item(3, x(&[(199_000, 7.0)]))).await;
    let answer = instant(&store, "x[200s]", 199_999).await;
    let Ok(Answered::Value(Value::Samples(series))) = &answer.result else { panic!("{answer:?}") };
    let samples = &series[0].samples;
    assert_eq!(samples.len(), 100 + 150);
    assert!(samples.windows(2).all(|two| two[0].at < two[1].at));
    assert_eq!(samples.last(), Some(&Sample::new(199_000, 7.0)), "the later given wins");
}

#[tokio::test]
async fn series_are_found_by_every_kind_of_matcher() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let named = |name, job| series(&[("__name__", name), ("job", job)], &[(1_000, 1.0)]);
    let both = vec![
        named("up", "a"),
        named("up", "b"),
        named("down", "a"),
        series(&[("__name__", "up")], &[(1_000, 1.0)]),
    ];
    ingest(&store, 1, item(1, both.clone())).await;
    ingest(&store, 2, item(1, both)).await;
    let table = [
        ("up", 6),
        ("up{job=\"a\"}", 2),
        ("up{job!=\"a\"}", 4),
        ("up{job=\"\"}", 2),
        ("{__name__=~\"up|down\",job=~\"a.*\"}", 4),
        ("up{job!~\".+\"}", 2),
        ("up{edge=\"edge-2\"}", 3),
        ("up{region=\"us\"}", 0),
        ("{job=~\".+\",edge!=\"edge-1\"}", 3),
    ];
    for (query, count) in table {
        assert_eq!(vector(&instant(&store, query, 1_000).await).len(), count, "{query}");
    }
    let filter = SeriesFilter { selectors: vec!["up".to_owned()], start: 0, end: 5_000, limit: 0 };
    let values = QueryRequest::LabelValues { label: "job".to_owned(), filter: filter.clone() };
    let names = ask(&store, &values, Grid::instant(0), Links::new()).await.result;
    assert_eq!(names, Ok(Answered::Names(vec!["a".to_owned(), "b".to_owned()])));
    let names =
        ask(&store, &QueryRequest::LabelNames(filter.clone()), Grid::instant(0), Links::new()).await.result;
    let expected = ["__name__", "cluster", "edge", "job", "region"].map(str::to_owned).to_vec();
    assert_eq!(names, Ok(Answered::Names(expected)));
    let later = SeriesFilter { start: 2_000, ..filter };
    let none = ask(&store, &QueryRequest::Series(later), Grid::instant(0), Links::new()).await.result;
    assert_eq!(none, Ok(Answered::Series(Vec::new())));
}

#[tokio::test]
async fn an_answer_names_the_edges_it_concerns_and_their_links() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    for number in 1..=2 {
        ingest(&store, number, item(1, vec![series(&[("__name__", "x")], &[(number as i64 * 1_000, 1.0)])]))
            .await;
    }
    let grid = Grid::instant(3_000);
    let request = |expr: &str| QueryRequest::Evaluate { expr: expr.to_owned(), params: Params::new(grid) };
    let links = Links::from([("edge-1".to_owned(), false)]);
    let answer = ask(&store, &request("sum(x)"), grid, links.clone()).await;
    let told: Vec<_> =
        answer.edges.iter().map(|edge| (edge.edge.as_str(), edge.watermark, edge.link_up)).collect();
    assert_eq!(told, [("edge-1", Some(1_000), Some(false)), ("edge-2", Some(2_000), None)]);
    let one = ask(&store, &request("x{edge=\"edge-2\"}"), grid, links.clone()).await;
    assert_eq!(one.edges.len(), 1);
    store.forget(agent(2)).await.unwrap();
    assert_eq!(
        ask(&store, &request("sum(x)"), grid, links).await.edges.len(),
        1,
        "an edge that is no more is not missed"
    );
}

#[tokio::test]
async fn labels_of_the_store_win_and_what_they_replace_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let own = series(&[("__name__", "x"), ("region", "mars"), ("cluster", "cluster-1")], &[(1_000, 1.0)]);
    ingest(&store, 1, item(1, vec![own])).await;
    let expected = r#"x{cluster="cluster-1", edge="edge-1", exported_region="mars", region="eu"}"#;
    assert_eq!(vector(&instant(&store, "x", 1_000).await), [(expected.to_owned(), 1.0)]);
    // Whoever says that it is another edge of another cluster is not found under that name.
    let labels = [("__name__", "y"), ("edge", "edge-2"), ("cluster", "cluster-2")];
    ingest(&store, 1, item(2, vec![series(&labels, &[(1_000, 2.0)])])).await;
    let expected = r#"y{cluster="cluster-1", edge="edge-1", exported_cluster="cluster-2", exported_edge="edge-2", region="eu"}"#;
    assert_eq!(vector(&instant(&store, "y", 1_000).await), [(expected.to_owned(), 2.0)]);
    assert_eq!(vector(&instant(&store, "y{edge=\"edge-2\"}", 1_000).await), []);
}

#[tokio::test]
async fn what_is_too_old_goes_from_disk_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let now: Arc<AtomicU64> = Arc::default();
    let limits = Limits { age_ms: 10_000, cost_age_ms: 100_000, ..Limits::default() };
    let path = folder.path().join("store");
    let store = Embedded::open(settings(&path, limits, &now)).unwrap();
    ingest(&store, 1, item(1, vec![series(&[("__name__", "old")], &[(1_000, 1.0)])])).await;
    let cost = TelemetryItem {
        class: TelemetryClass::Cost,
        ..item(1, vec![series(&[("__name__", "cost")], &[(1_000, 1.0)])])
    };
    ingest(&store, 1, cost).await;
    ingest(&store, 1, item(2, vec![series(&[("__name__", "new")], &[(15_000, 1.0)])])).await;
    now.store(20_000, Ordering::Relaxed);
    store.expire().await.unwrap();
    assert_eq!(store.size().series, 2);
    store.close().await;
    let store = Embedded::open(settings(&path, limits, &now)).unwrap();
    let names = vector(&instant(&store, "{__name__=~\".+\"}", 15_000).await);
    assert_eq!(names.len(), 2, "{names:?}");
}

#[tokio::test]
async fn over_its_bytes_the_store_drops_the_oldest_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 20_000, ..Limits::default() };
    let store = Embedded::open(settings(&folder.path().join("store"), limits, &Arc::default())).unwrap();
    for sequence in 1..=60u64 {
        let noisy = (0..60).map(|at| {
            (
                sequence as i64 * 60_000 + at * 1_000,
                f64::from_bits(
                    0x3ff0_0000_0000_0000
                        ^ (sequence * 7919 + at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8,
                ),
            )
        });
        let noisy: Vec<(i64, f64)> = noisy.collect();
        ingest(&store, 1, item(sequence, vec![series(&[("__name__", "x")], &noisy)])).await;
    }
    store.expire().await.unwrap();
    let answer = instant(&store, "min_over_time(timestamp(x)[1h:1m])", 3_600_000).await;
    assert!(answer.notes[0].contains("limit of bytes"), "{:?}", answer.notes);
    assert!(vector(&instant(&store, "count_over_time(x[2h])", 3_700_000).await)[0].1 < 3_000.0);
}

#[tokio::test]
async fn series_over_the_limit_are_counted_in_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { series_max: 2, ..Limits::default() };
    let store = Embedded::open(settings(&folder.path().join("store"), limits, &Arc::default())).unwrap();
    let many = (0..5)
        .map(|number| series(&[("__name__", "x"), ("n", &number.to_string())], &[(1_000, 1.0)]))
        .collect();
    assert_eq!(ingest(&store, 1, item(1, many)).await, 1);
    let answer = instant(&store, "count(x)", 1_000).await;
    assert_eq!(vector(&answer)[0].1, 2.0);
    assert_eq!(
        answer.notes,
        ["3 samples of edge \"edge-1\" are not shown: the limit of series in memory is reached"]
    );
}

#[tokio::test]
async fn a_damaged_store_starts_anew_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    ingest(&store, 1, item(1, vec![series(&[("__name__", "x")], &[(1_000, 1.0)])])).await;
    store.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..100].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let now = Arc::new(AtomicU64::new(50_000));
    let store = Embedded::open(settings(&path, Limits::default(), &now)).unwrap();
    assert!(instant(&store, "x", 40_000).await.notes[0].contains("was damaged and replaced"));
    assert_eq!(ingest(&store, 1, item(2, vec![series(&[("__name__", "x")], &[(2_000, 1.0)])])).await, 2);
    assert!(folder.path().join("store.damaged").exists());
}

#[tokio::test]
async fn the_store_of_a_newer_program_is_refused_with_what_helps_and_keeps_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    ingest(&store, 1, item(1, vec![series(&[("__name__", "x")], &[(1_000, 1.0)])])).await;
    store.close().await;
    let set = |version: i64| {
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
    };
    set(7);
    let now = Arc::new(AtomicU64::new(50_000));
    let error = Embedded::open(settings(&path, Limits::default(), &now)).err().unwrap().to_string();
    for part in ["version 7", "knows 1", "newer program", "move the file away"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!folder.path().join("store.damaged").exists());
    set(1);
    assert_eq!(vector(&instant(&open(&path), "x", 1_000).await).len(), 1);
}

#[tokio::test]
async fn bad_questions_are_answered_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    assert!(matches!(
        store.answer(Bytes::from_static(b"x"), Links::new()).await,
        Err(StoreError::Question(_))
    ));
    let answer = instant(&store, "sum(", 0).await;
    assert!(matches!(answer.result, Err(telemetry::promql::Error::Parse(_))));
}

#[tokio::test]
async fn items_of_many_agents_share_a_commit_and_keep_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    let mut set = tokio::task::JoinSet::new();
    for number in 0..50u8 {
        let store = store.clone();
        set.spawn(async move {
            for sequence in 1..=5 {
                let x = series(&[("__name__", "x")], &[(sequence as i64 * 1_000, f64::from(number))]);
                assert_eq!(ingest(&store, number, item(sequence, vec![x])).await, sequence);
            }
        });
    }
    set.join_all().await;
    assert_eq!(vector(&instant(&store, "sum(count_over_time(x[10s]))", 5_000).await)[0].1, 250.0);
    assert_eq!(store.size().series, 50);
}

/// The way from an edge's spool to the region's store, on a link that loses, with both ends dying.
#[derive(Debug, Clone)]
enum Step {
    Push { points: u8 },
    Send { items: usize },
    LoseAcks { items: usize },
    RestartEdge,
    RestartRegion,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u8..20).prop_map(|points| Step::Push { points }),
        3 => (1usize..6).prop_map(|items| Step::Send { items }),
        2 => (1usize..6).prop_map(|items| Step::LoseAcks { items }),
        1 => Just(Step::RestartEdge),
        1 => Just(Step::RestartRegion),
    ];
    prop::collection::vec(step, 1..50)
}

fn spool(folder: &Path) -> Spool {
    let budgets = Budgets::uniform(LaneBudget { bytes_max: 700, age_max_ms: u64::MAX }, 10_000);
    Spool::open(folder.join("spool"), budgets, Arc::new(|| 0), Box::new(|| 7)).unwrap()
}

/// Sends the oldest items; what the region acknowledges.
async fn send(spool: &Spool, store: &Embedded, after: u64, items: usize) -> u64 {
    let mut waiting = spool.peek(TelemetryClass::Metrics, after, usize::MAX).await;
    waiting.truncate(items);
    let arrivals: Vec<Arrival> = waiting.into_iter().map(|item| from(1, item)).collect();
    let acks = store.ingest(arrivals).await.unwrap();
    acks.first().map_or(after, |(_, ack)| ack.through)
}

async fn acknowledge(spool: &Spool, through: u64) {
    let epoch = spool.streams()[0].epoch;
    spool.acknowledge(TelemetryAck { class: TelemetryClass::Metrics, epoch, through }).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_point_is_stored_once_or_counted_as_lost_once(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let mut spool = spool(folder.path());
            let mut store = open(&folder.path().join("store"));
            let (mut points, mut clock, mut acked) = (0u64, 0i64, 0u64);
            for step in steps {
                match step {
                    Step::Push { points: count } => {
                        let samples: Vec<(i64, f64)> =
                            (0..i64::from(count)).map(|at| (clock + at + 1, 1.0)).collect();
                        clock += i64::from(count);
                        points += u64::from(count);
                        let batch = Batch { series: vec![series(&[("__name__", "x")], &samples)] };
                        let (first, last) = batch.span().unwrap();
                        let pushed = spool.push(
                            TelemetryClass::Metrics,
                            wire::encode(&batch),
                            u32::from(count),
                            first as u64,
                            last as u64,
                        );
                        pushed.await.unwrap();
                    }
                    Step::Send { items } => {
                        acked = send(&spool, &store, acked, items).await;
                        acknowledge(&spool, acked).await;
                    }
                    Step::LoseAcks { items } => drop(send(&spool, &store, acked, items).await),
                    Step::RestartEdge => {
                        spool.close().await;
                        spool = super::tests::spool(folder.path());
                        let through = store.acknowledged(agent(1)).await.first().map_or(0, |ack| ack.through);
                        acked = acked.max(through);
                        acknowledge(&spool, acked).await;
                    }
                    Step::RestartRegion => {
                        store.close().await;
                        store = open(&folder.path().join("store"));
                    }
                }
            }
            send(&spool, &store, acked, usize::MAX).await;
            let answer = instant(&store, "count_over_time(x[1d])", clock.max(1)).await;
            let stored = vector(&answer).first().map_or(0, |(_, count)| *count as u64);
            let lost: u64 = answer.edges.iter().flat_map(|edge| &edge.gaps).map(|gap| gap.points).sum();
            assert_eq!(stored + lost, points, "{stored} stored and {lost} lost");
        });
    }
}
