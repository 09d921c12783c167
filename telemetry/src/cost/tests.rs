//! From what runs to what it cost: ledger, allocation and shape together.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Labels, Millis, Series};

const HOUR: Millis = 3_600_000;
const GIB: f64 = 1_073_741_824.0;

fn book() -> PriceBook {
    PriceBook { default: Rates { cpu: 2.0, ram: 1.0, gpu: 10.0 }, ..PriceBook::default() }
}

fn pod(name: &str, namespace: &str, cpu: f64, started: Millis) -> PodFacts {
    PodFacts {
        uid: format!("uid-{name}"),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        node: "n1".to_owned(),
        controller_kind: "deployment".to_owned(),
        controller: "web".to_owned(),
        labels: BTreeMap::from([("app.kubernetes.io/name".to_owned(), format!("app-{namespace}"))]),
        started,
        cpu_request: cpu,
        ram_request: GIB,
        ..PodFacts::default()
    }
}

/// What a region stores of one cluster.
struct Stored {
    cluster: &'static str,
    series: BTreeMap<Labels, Series>,
}

impl Stored {
    fn new(cluster: &'static str) -> Self {
        Self { cluster, series: BTreeMap::new() }
    }

    fn add(&mut self, batch: crate::Batch) {
        for series in batch.series {
            let labels = series.labels.with_all([("cluster", self.cluster), ("region", "eu"), ("edge", "e")]);
            let held = self.series.entry(labels.clone()).or_insert(Series { labels, samples: Vec::new() });
            held.samples.extend(series.samples);
        }
    }

    fn all(&self) -> Vec<Series> {
        self.series.values().cloned().collect()
    }
}

/// Writes out and takes it that this was stored.
fn written(ledger: &mut Ledger) -> crate::Batch {
    let (batch, next) = ledger.write_out();
    *ledger = next;
    batch
}

fn request(start: Millis, end: Millis, group_by: &[&str]) -> AllocationRequest {
    let group_by = group_by.iter().map(|name| name.parse().unwrap()).collect();
    AllocationRequest { start, end, step: 0, group_by, include_idle: false }
}

fn totals(series: &[Series], request: &AllocationRequest) -> Vec<(String, f64)> {
    let rows = allocate(series, request).unwrap();
    rows.iter().map(|row| (row.names.join("/"), (row.numbers.total() * 1e6).round() / 1e6)).collect()
}

/// Two pods for three hours, one of them ends after half; a node of four cores.
fn three_hours() -> Stored {
    let mut stored = Stored::new("c1");
    let mut ledger = Ledger::default();
    let node = NodeFacts { name: "n1".to_owned(), cpu: 4.0, ram: 8.0 * GIB, ..NodeFacts::default() };
    for step in 0..=18i64 {
        let at = step * HOUR / 6;
        let mut pods = vec![pod("a", "shop", 1.0, 0)];
        if step < 9 {
            pods.push(pod("b", "billing", 0.5, 0));
        }
        ledger.advance(at, pods, vec![node.clone()], &book());
        stored.add(written(&mut ledger));
    }
    stored
}

#[test]
fn costs_are_summed_by_what_is_asked_for() {
    let series = three_hours().all();
    // a: (1 x 2 + 1 x 1) per hour; b: (0.5 x 2 + 1 x 1) per hour for an hour and a half.
    let whole = |group_by: &[&str]| totals(&series, &request(0, 3 * HOUR, group_by));
    let row = |name: &str, cost: f64| (name.to_owned(), cost);
    assert_eq!(whole(&["namespace"]), [row("billing", 3.0), row("shop", 9.0)]);
    assert_eq!(whole(&["cluster"]), [row("c1", 12.0)]);
    assert_eq!(whole(&["region", "controllerKind"]), [row("eu/deployment", 12.0)]);
    assert_eq!(whole(&["label:app.kubernetes.io/name"]), [row("app-billing", 3.0), row("app-shop", 9.0)]);
    assert_eq!(whole(&["label:team"]), [row("__unallocated__", 12.0)]);
    assert_eq!(whole(&[]), [row("c1/n1/billing/b", 3.0), row("c1/n1/shop/a", 9.0)]);
}

#[test]
fn a_window_costs_what_ran_in_it_even_between_samples() {
    let series = three_hours().all();
    let window = |start, end| totals(&series, &request(start, end, &["namespace"]));
    assert_eq!(
        window(HOUR + 60_000, HOUR + 120_000),
        [("billing".to_owned(), 0.033333), ("shop".to_owned(), 0.05)]
    );
    assert_eq!(window(2 * HOUR, 3 * HOUR), [("shop".to_owned(), 3.0)]);
    let steps = AllocationRequest { step: HOUR, ..request(0, 3 * HOUR, &["cluster"]) };
    let rows = allocate(&series[..], &steps).unwrap();
    let costs: Vec<(u32, f64)> =
        rows.iter().map(|row| (row.window, (row.numbers.total() * 1e6).round() / 1e6)).collect();
    assert_eq!(costs, [(0, 5.0), (1, 4.0), (2, 3.0)]);
}

#[test]
fn idle_is_what_the_nodes_cost_beyond_the_pods() {
    let series = three_hours().all();
    let request = AllocationRequest { include_idle: true, ..request(0, 3 * HOUR, &["namespace"]) };
    let rows = allocate(&series[..], &request).unwrap();
    let idle = rows.iter().find(|row| row.names == ["__idle__"]).unwrap();
    // Node: (4 x 2 + 8 x 1) x 3 h = 48, of which 12 went to pods.
    assert!((idle.numbers.total() - 36.0).abs() < 1e-9);
}

#[test]
fn an_allocation_has_opencosts_fields() {
    let series = three_hours().all();
    let request = request(0, 3 * HOUR, &["namespace"]);
    let data = allocation_data(&request, &allocate(&series[..], &request).unwrap()).unwrap();
    let billing = &data[0]["billing"];
    assert_eq!(billing["properties"], json!({"cluster": "c1", "namespace": "billing"}));
    assert_eq!(billing["window"], json!({"start": "1970-01-01T00:00:00Z", "end": "1970-01-01T03:00:00Z"}));
    assert_eq!(
        (&billing["start"], &billing["end"]),
        (&json!("1970-01-01T00:00:00Z"), &json!("1970-01-01T01:30:00Z"))
    );
    assert_eq!(billing["minutes"], json!(90.0));
    assert_eq!(billing["cpuCoreHours"], json!(0.75));
    assert_eq!(billing["cpuCores"], json!(0.5));
    assert_eq!(billing["cpuCost"], json!(1.5));
    assert_eq!(billing["ramBytes"], json!(GIB));
    assert_eq!(billing["totalCost"], json!(3.0));
    for field in ["gpuCost", "networkCost", "loadBalancerCost", "pvCost", "sharedCost", "externalCost"] {
        assert_eq!(billing[field], json!(0.0), "{field}");
    }
}

#[test]
fn regions_are_merged_by_window_and_name() {
    let mut other = Stored::new("c2");
    let mut ledger = Ledger::default();
    ledger.advance(0, vec![pod("z", "shop", 1.0, 0)], vec![], &book());
    other.add(written(&mut ledger));
    ledger.advance(HOUR, vec![pod("z", "shop", 1.0, 0)], vec![], &book());
    other.add(written(&mut ledger));
    let request = request(0, 3 * HOUR, &["namespace"]);
    let rows = [three_hours(), other]
        .iter()
        .flat_map(|stored| allocate(&stored.all()[..], &request).unwrap())
        .collect::<Vec<_>>();
    let merged = merge(rows);
    let shop = merged.iter().find(|row| row.names == ["shop"]).unwrap();
    assert!((shop.numbers.total() - 12.0).abs() < 1e-9);
    assert_eq!(shop.cluster, None, "of two clusters");
}

#[test]
fn too_many_windows_are_refused() {
    let request = AllocationRequest { step: 1, ..request(0, HOUR, &[]) };
    assert!(allocate(&[][..], &request).unwrap_err().to_string().contains("at most 1000"));
    assert!("shoe".parse::<GroupBy>().unwrap_err().to_string().contains("accepted are cluster"));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(i64),
    Start(usize),
    Stop(usize),
    Write,
    LoseBatch,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1i64..400_000).prop_map(Step::Wait),
        2 => (0usize..4).prop_map(Step::Start),
        2 => (0usize..4).prop_map(Step::Stop),
        3 => Just(Step::Write),
        1 => Just(Step::LoseBatch),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever starts, stops, restarts and gets lost: each pod costs its running time, no more and no less.
    #[test]
    fn cost_is_conserved(steps in steps()) {
        let (mut now, mut ledger, mut stored) = (0i64, Ledger::default(), Stored::new("c"));
        let mut running: BTreeMap<usize, i64> = BTreeMap::new();
        let mut ran: BTreeMap<usize, i64> = BTreeMap::new();
        let facts = |running: &BTreeMap<usize, i64>| -> Vec<PodFacts> {
            running.iter().map(|(name, started)| pod(&format!("{name}-{started}"), "ns", 1.0, *started)).collect()
        };
        for step in steps {
            match step {
                Step::Wait(by) => now += by,
                Step::Start(name) => {
                    running.entry(name).or_insert(now);
                }
                Step::Stop(name) => {
                    if let Some(started) = running.remove(&name) {
                        *ran.entry(name).or_default() += now - started;
                    }
                }
                Step::Write => {}
                Step::LoseBatch => drop(ledger.write_out()),
                Step::Restart => {
                    // The ledger as it was stored with the last batch; changes are always stored here.
                    ledger.advance(now, facts(&running), vec![], &book());
                    stored.add(written(&mut ledger));
                    ledger = Ledger::decode(&ledger.encode()).unwrap();
                }
            }
            ledger.advance(now, facts(&running), vec![], &book());
            if matches!(step, Step::Write) {
                stored.add(written(&mut ledger));
            }
        }
        ledger.advance(now, facts(&running), vec![], &book());
        stored.add(written(&mut ledger));
        for (name, started) in running {
            *ran.entry(name).or_default() += now - started;
        }
        let expected: f64 = ran.values().map(|millis| *millis as f64 / HOUR as f64 * 3.0).sum();
        let request = request(0, now.max(1), &["cluster"]);
        let total: f64 = allocate(&stored.all()[..], &request).unwrap().iter().map(|row| row.numbers.total()).sum();
        prop_assert!((total - expected).abs() < 1e-6 * expected.max(1.0), "{total} {expected}");
    }
}
