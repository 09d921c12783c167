//! What each pod and node has cost so far, kept at the edge.
//!
//! The ledger is advanced whenever something changes and at least as often as it is written out. Between two
//! advances everything is as the earlier one left it: that is what is charged. It is stored together with the
//! batch that was made of it, in one transaction of the spool, so that after a restart nothing is charged
//! twice and nothing is forgotten: pods that still run are charged for the time in between, pods that are
//! gone only up to the last advance, because when they ended is not known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::price::{PriceBook, Rates};
use crate::labels::METRIC_NAME;
use crate::otlp::naming::label_name;
use crate::sample::STALE;
use crate::{Batch, Labels, Millis, Sample, Series};

/// Cost so far; labels `resource` and the pod's own.
pub const POD_COST: &str = "skein_pod_cost_total";
/// Core hours, byte hours, GPU hours charged so far.
pub const POD_HOURS: &str = "skein_pod_resource_hours_total";
/// The same for what was requested.
pub const POD_REQUEST_HOURS: &str = "skein_pod_request_hours_total";
/// The same for what was used, where that is known.
pub const POD_USAGE_HOURS: &str = "skein_pod_usage_hours_total";
/// Time running so far.
pub const POD_SECONDS: &str = "skein_pod_run_seconds_total";
/// Cost per hour now.
pub const POD_HOURLY: &str = "skein_pod_hourly_cost";
/// Cost so far of a node; labels `resource`, `node`.
pub const NODE_COST: &str = "skein_node_cost_total";

/// Every metric that a ledger writes.
pub const METRICS: [&str; 11] = [
    POD_COST,
    POD_HOURS,
    POD_REQUEST_HOURS,
    POD_USAGE_HOURS,
    POD_SECONDS,
    POD_HOURLY,
    NODE_COST,
    "node_cpu_hourly_cost",
    "node_ram_hourly_cost",
    "node_gpu_hourly_cost",
    "node_total_hourly_cost",
];

const MILLIS_PER_HOUR: f64 = 3_600_000.0;
const GIB: f64 = 1_073_741_824.0;
const RESOURCES: [&str; 3] = ["cpu", "ram", "gpu"];

/// A running pod as the edge sees it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodFacts {
    /// Tells one pod from its successor of the same name.
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Node it runs on.
    pub node: String,
    /// Kind of what made it, in lower case, for example `deployment`; empty for a bare pod.
    pub controller_kind: String,
    /// Name of what made it; empty for a bare pod.
    pub controller: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Since when it runs.
    pub started: Millis,
    /// Cores requested.
    pub cpu_request: f64,
    /// Bytes requested.
    pub ram_request: f64,
    /// GPUs requested.
    pub gpu_request: f64,
    /// Cores used, where known.
    pub cpu_usage: Option<f64>,
    /// Bytes used, where known.
    pub ram_usage: Option<f64>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// Labels, for the price book's rules.
    pub labels: BTreeMap<String, String>,
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub ram: f64,
    /// GPUs.
    pub gpu: f64,
}

/// An amount of each resource: cores or core hours, bytes or byte hours, GPUs or GPU hours.
type Amounts = [f64; 3];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PodAccount {
    facts: PodFacts,
    rates: Rates,
    cost: Amounts,
    hours: Amounts,
    request_hours: Amounts,
    usage_hours: Amounts,
    seconds: f64,
    /// From when it is charged.
    began: Millis,
    /// Whether its zero was written out.
    opened: bool,
    /// When it ended, if it has.
    ended: Option<Millis>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NodeAccount {
    facts: NodeFacts,
    rates: Rates,
    cost: Amounts,
    opened: bool,
    gone: bool,
}

/// All accounts of a cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Charged up to this time; `None` before the first advance.
    at: Option<Millis>,
    pods: BTreeMap<String, PodAccount>,
    nodes: BTreeMap<String, NodeAccount>,
    currency: String,
    /// Read back from storage and not advanced since.
    #[serde(skip)]
    resumed: bool,
}

/// Why bytes are not a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read cost ledger of {size} bytes: {why}")]
pub struct LedgerError {
    size: usize,
    why: String,
}

const VERSION: u8 = 1;

impl Ledger {
    /// The ledger as bytes, to be stored with the batch of [`Ledger::write_out`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_allocvec(self).unwrap_or_default());
        bytes
    }

    /// Reads a stored ledger.
    ///
    /// # Errors
    /// [`LedgerError`] when the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        let wrong = |why: String| LedgerError { size: bytes.len(), why };
        let Some((&VERSION, body)) = bytes.split_first() else {
            return Err(wrong(format!("its version is not {VERSION}")));
        };
        let mut ledger: Self = postcard::from_bytes(body).map_err(|error| wrong(error.to_string()))?;
        ledger.resumed = true;
        Ok(ledger)
    }

    /// Up to when everything is charged.
    pub fn charged_until(&self) -> Option<Millis> {
        self.at
    }

    /// Charges the time since the last advance and takes over what runs now.
    ///
    /// A time before the last advance charges nothing (clocks are set back).
    pub fn advance(&mut self, now: Millis, pods: Vec<PodFacts>, nodes: Vec<NodeFacts>, book: &PriceBook) {
        let before = self.at.unwrap_or(now).min(now);
        self.currency.clone_from(&book.currency);
        let mut running: BTreeMap<String, PodFacts> =
            pods.into_iter().map(|facts| (facts.uid.clone(), facts)).collect();
        let node_labels: BTreeMap<&str, &BTreeMap<String, String>> =
            nodes.iter().map(|node| (node.name.as_str(), &node.labels)).collect();
        let rates = |node: &str| match node_labels.get(node) {
            Some(labels) => book.rates(labels),
            None => book.rates(&BTreeMap::new()),
        };
        for (uid, account) in self.pods.iter_mut().filter(|(_, account)| account.ended.is_none()) {
            let goes_on = running.remove(uid);
            // A pod that vanished while nobody looked is charged up to when it was last seen.
            let until = if goes_on.is_none() && self.resumed { before } else { now };
            account.charge((until - before).max(0));
            match goes_on {
                Some(facts) => {
                    account.rates = rates(&facts.node);
                    account.facts = facts;
                }
                None => account.ended = Some(until),
            }
        }
        for (uid, facts) in running {
            let began = facts.started.clamp(before, now);
            let mut account = PodAccount::new(facts, began);
            account.rates = rates(&account.facts.node);
            account.charge(now - began);
            self.pods.insert(uid, account);
        }
        self.advance_nodes(now - before, nodes, book);
        self.at = Some(self.at.unwrap_or(now).max(now));
        self.resumed = false;
    }

    fn advance_nodes(&mut self, elapsed: Millis, nodes: Vec<NodeFacts>, book: &PriceBook) {
        for account in self.nodes.values_mut() {
            account.charge(elapsed);
            account.gone = true;
        }
        for facts in nodes {
            let rates = book.rates(&facts.labels);
            let account = self.nodes.entry(facts.name.clone()).or_insert_with(|| NodeAccount {
                facts: NodeFacts::default(),
                rates,
                cost: [0.0; 3],
                opened: false,
                gone: false,
            });
            account.facts = facts;
            account.rates = rates;
            account.gone = false;
        }
    }

    /// The accounts as samples at the time of the last advance, and the ledger as it is once these are durable: there
    /// the ended pods are forgotten. To be stored together; as long as they are not, this ledger says the same again.
    ///
    /// Series come in order of their labels.
    pub fn write_out(&self) -> (Batch, Self) {
        let mut next = self.clone();
        let Some(at) = next.at else { return (Batch::default(), next) };
        let mut series = Vec::new();
        for account in next.pods.values_mut() {
            account.write(at, &next.currency, &mut series);
        }
        for account in next.nodes.values_mut() {
            account.write(at, &next.currency, &mut series);
        }
        next.pods.retain(|_, account| account.ended.is_none());
        next.nodes.retain(|_, account| !account.gone);
        series.sort_by(|left, right| left.labels.cmp(&right.labels));
        (Batch { series }, next)
    }
}

fn money(amounts: Amounts, rates: Rates) -> Amounts {
    [amounts[0] * rates.cpu, amounts[1] / GIB * rates.ram, amounts[2] * rates.gpu]
}

fn add(totals: &mut Amounts, amounts: Amounts, factor: f64) {
    totals.iter_mut().zip(amounts).for_each(|(total, amount)| *total += amount * factor);
}

impl PodAccount {
    fn new(facts: PodFacts, began: Millis) -> Self {
        let zero = [0.0; 3];
        Self {
            facts,
            rates: Rates::default(),
            cost: zero,
            hours: zero,
            request_hours: zero,
            usage_hours: zero,
            seconds: 0.0,
            began,
            opened: false,
            ended: None,
        }
    }

    fn requested(&self) -> Amounts {
        [self.facts.cpu_request, self.facts.ram_request, self.facts.gpu_request]
    }

    fn charged(&self) -> Amounts {
        let [cpu, ram, gpu] = self.requested();
        [cpu.max(self.facts.cpu_usage.unwrap_or(0.0)), ram.max(self.facts.ram_usage.unwrap_or(0.0)), gpu]
    }

    fn charge(&mut self, elapsed: Millis) {
        let hours = elapsed as f64 / MILLIS_PER_HOUR;
        let charged = self.charged();
        add(&mut self.cost, money(charged, self.rates), hours);
        add(&mut self.hours, charged, hours);
        let requested = self.requested();
        add(&mut self.request_hours, requested, hours);
        let used = [self.facts.cpu_usage.unwrap_or(0.0), self.facts.ram_usage.unwrap_or(0.0), 0.0];
        add(&mut self.usage_hours, used, hours);
        self.seconds += elapsed as f64 / 1000.0;
    }

    fn labels(&self) -> Vec<(String, String)> {
        let facts = &self.facts;
        let own = [
            ("namespace", &facts.namespace),
            ("pod", &facts.name),
            ("uid", &facts.uid),
            ("node", &facts.node),
            ("controller_kind", &facts.controller_kind),
            ("controller", &facts.controller),
        ];
        let named =
            facts.labels.iter().map(|(name, value)| (format!("label_{}", label_name(name)), value.clone()));
        own.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).chain(named).collect()
    }

    fn write(&mut self, at: Millis, currency: &str, out: &mut Vec<Series>) {
        let labels = self.labels();
        let hourly = money(self.charged(), self.rates);
        // A counter's first sample is its zero, at the moment the pod began.
        let began = (!self.opened).then_some(self.began);
        self.opened = true;
        let until = self.ended.unwrap_or(at).max(began.unwrap_or(Millis::MIN));
        let mut push = |metric: &str, extra: &[(&str, &str)], value: f64, counter: bool| {
            let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let labels =
                Labels::from_pairs(pairs.chain(extra.iter().copied()).chain([(METRIC_NAME, metric)]));
            let zero = began.filter(|began| counter && *began < until).map(|began| Sample::new(began, 0.0));
            out.push(Series {
                labels,
                samples: zero.into_iter().chain([Sample::new(until, value)]).collect(),
            });
        };
        push(POD_SECONDS, &[], self.seconds, true);
        for (index, resource) in RESOURCES.into_iter().enumerate() {
            if resource == "gpu" && self.hours[index] == 0.0 {
                continue;
            }
            let priced = [("resource", resource), ("currency", currency)];
            push(POD_COST, &priced, self.cost[index], true);
            push(POD_HOURLY, &priced, if self.ended.is_some() { STALE } else { hourly[index] }, false);
            push(POD_HOURS, &priced[..1], self.hours[index], true);
            push(POD_REQUEST_HOURS, &priced[..1], self.request_hours[index], true);
            if self.usage_hours[index] > 0.0 {
                push(POD_USAGE_HOURS, &priced[..1], self.usage_hours[index], true);
            }
        }
    }
}

impl NodeAccount {
    fn amounts(&self) -> Amounts {
        [self.facts.cpu, self.facts.ram, self.facts.gpu]
    }

    fn charge(&mut self, elapsed: Millis) {
        let hourly = money(self.amounts(), self.rates);
        add(&mut self.cost, hourly, elapsed as f64 / MILLIS_PER_HOUR);
    }

    /// The cost so far, and OpenCost's gauges of prices.
    fn write(&mut self, at: Millis, currency: &str, out: &mut Vec<Series>) {
        self.opened = true;
        let node = self.facts.name.clone();
        let mut push = |metric: &str, extra: &[(&str, &str)], value: f64| {
            let pairs =
                [(METRIC_NAME, metric), ("node", node.as_str())].into_iter().chain(extra.iter().copied());
            out.push(Series { labels: Labels::from_pairs(pairs), samples: vec![Sample::new(at, value)] });
        };
        for (index, resource) in RESOURCES.into_iter().enumerate() {
            push(NODE_COST, &[("resource", resource), ("currency", currency)], self.cost[index]);
        }
        let gone = |value: f64| if self.gone { STALE } else { value };
        push("node_cpu_hourly_cost", &[], gone(self.rates.cpu));
        push("node_ram_hourly_cost", &[], gone(self.rates.ram));
        push("node_gpu_hourly_cost", &[], gone(self.rates.gpu));
        let total: f64 = money(self.amounts(), self.rates).iter().sum();
        push("node_total_hourly_cost", &[], gone(total));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    fn pod(uid: &str, cpu: f64, started: Millis) -> PodFacts {
        PodFacts {
            uid: uid.to_owned(),
            namespace: "shop".to_owned(),
            name: uid.to_owned(),
            cpu_request: cpu,
            started,
            ..PodFacts::default()
        }
    }

    fn book() -> PriceBook {
        PriceBook { default: Rates { cpu: 2.0, ram: 1.0, gpu: 10.0 }, ..PriceBook::default() }
    }

    fn samples(batch: &Batch, metric: &str, pod: &str, resource: &str) -> Vec<(Millis, f64)> {
        batch
            .series
            .iter()
            .filter(|series| series.labels.metric() == metric && series.labels.get("pod") == pod)
            .filter(|series| resource.is_empty() || series.labels.get("resource") == resource)
            .flat_map(|series| series.samples.iter().map(|sample| (sample.at, sample.value)))
            .collect()
    }

    /// Writes out and takes it that this was stored.
    fn written(ledger: &mut Ledger) -> Batch {
        let (batch, next) = ledger.write_out();
        *ledger = next;
        batch
    }

    #[test]
    fn a_pod_is_charged_for_exactly_the_time_it_ran() {
        let mut ledger = Ledger::default();
        ledger.advance(0, vec![], vec![], &book());
        ledger.advance(2 * HOUR, vec![pod("a", 0.5, HOUR / 2)], vec![], &book());
        let batch = written(&mut ledger);
        assert_eq!(samples(&batch, POD_COST, "a", "cpu"), [(HOUR / 2, 0.0), (2 * HOUR, 1.5)]);
        ledger.advance(3 * HOUR, vec![], vec![], &book());
        let batch = written(&mut ledger);
        assert_eq!(samples(&batch, POD_COST, "a", "cpu"), [(3 * HOUR, 2.5)]);
        assert!(
            samples(&batch, POD_HOURLY, "a", "cpu").iter().all(|(_, value)| crate::sample::is_stale(*value))
        );
        ledger.advance(4 * HOUR, vec![], vec![], &book());
        assert_eq!(written(&mut ledger), Batch::default(), "an ended pod is forgotten");
    }

    #[test]
    fn usage_over_the_request_is_charged() {
        let mut ledger = Ledger::default();
        let facts = PodFacts {
            cpu_usage: Some(2.0),
            ram_request: 2.0 * GIB,
            ram_usage: Some(GIB),
            ..pod("a", 1.0, 0)
        };
        ledger.advance(0, vec![facts.clone()], vec![], &book());
        ledger.advance(HOUR, vec![facts], vec![], &book());
        let batch = written(&mut ledger);
        assert_eq!(samples(&batch, POD_COST, "a", "cpu").last(), Some(&(HOUR, 4.0)));
        assert_eq!(samples(&batch, POD_COST, "a", "ram").last(), Some(&(HOUR, 2.0)));
        assert_eq!(samples(&batch, POD_USAGE_HOURS, "a", "ram").last(), Some(&(HOUR, GIB)));
    }

    #[test]
    fn after_a_restart_nothing_is_charged_twice_and_the_vanished_only_while_seen() {
        let mut ledger = Ledger::default();
        ledger.advance(0, vec![pod("a", 1.0, 0), pod("b", 1.0, 0)], vec![], &book());
        ledger.advance(HOUR, vec![pod("a", 1.0, 0), pod("b", 1.0, 0)], vec![], &book());
        written(&mut ledger);
        let mut back = Ledger::decode(&ledger.encode()).unwrap();
        back.advance(3 * HOUR, vec![pod("a", 1.0, 0), pod("c", 1.0, 2 * HOUR)], vec![], &book());
        let batch = written(&mut back);
        assert_eq!(samples(&batch, POD_COST, "a", "cpu"), [(3 * HOUR, 6.0)]);
        assert_eq!(samples(&batch, POD_COST, "b", "cpu"), [(HOUR, 2.0)]);
        assert_eq!(samples(&batch, POD_COST, "c", "cpu"), [(2 * HOUR, 0.0), (3 * HOUR, 2.0)]);
    }

    #[test]
    fn what_was_not_stored_is_written_out_again() {
        let mut ledger = Ledger::default();
        ledger.advance(0, vec![pod("a", 1.0, 0)], vec![], &book());
        ledger.advance(HOUR, vec![], vec![], &book());
        let (lost, _) = ledger.write_out();
        ledger.advance(2 * HOUR, vec![], vec![], &book());
        let again = written(&mut ledger);
        assert_eq!(samples(&again, POD_COST, "a", "cpu"), samples(&lost, POD_COST, "a", "cpu"));
        assert_eq!(samples(&again, POD_COST, "a", "cpu"), [(0, 0.0), (HOUR, 2.0)]);
        assert_eq!(written(&mut ledger), Batch::default());
    }

    #[test]
    fn a_clock_set_back_charges_nothing_twice() {
        let mut ledger = Ledger::default();
        ledger.advance(HOUR, vec![pod("a", 1.0, HOUR)], vec![], &book());
        ledger.advance(2 * HOUR, vec![pod("a", 1.0, HOUR)], vec![], &book());
        ledger.advance(HOUR, vec![pod("a", 1.0, HOUR)], vec![], &book());
        ledger.advance(2 * HOUR, vec![pod("a", 1.0, HOUR)], vec![], &book());
        assert_eq!(samples(&written(&mut ledger), POD_COST, "a", "cpu").last(), Some(&(2 * HOUR, 2.0)));
    }

    #[test]
    fn bytes_that_are_no_ledger_are_an_error() {
        assert!(Ledger::decode(&[]).is_err());
        assert!(Ledger::decode(&[1, 255, 255]).is_err());
        assert!(Ledger::decode(&[9]).unwrap_err().to_string().contains("version"));
    }
}
