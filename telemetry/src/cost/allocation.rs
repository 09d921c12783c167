//! From counters to what a window cost, by cluster, namespace, label and so on.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cost::ledger::{NODE_COST, POD_COST, POD_HOURS, POD_REQUEST_HOURS, POD_SECONDS, POD_USAGE_HOURS};
use crate::labels::METRIC_NAME;
use crate::otlp::naming::label_name;
use crate::promql::{Error, Selection, Source};
use crate::selector::{MatchKind, Matcher};
use crate::{Labels, Millis, Sample};

/// How far outside the window samples are looked for, to interpolate at its ends.
const MARGIN: Millis = 3_600_000;
/// Most windows in one request.
pub const WINDOWS_MAX: i64 = 1_000;
/// The name of what has no value for the property.
pub const UNALLOCATED: &str = "__unallocated__";
/// The name of what nobody asked for.
pub const IDLE: &str = "__idle__";

/// A property to group by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GroupBy {
    /// The cluster.
    Cluster,
    /// The region.
    Region,
    /// The edge.
    Edge,
    /// The node.
    Node,
    /// The namespace.
    Namespace,
    /// The kind of what made the pod.
    ControllerKind,
    /// What made the pod.
    Controller,
    /// The pod.
    Pod,
    /// A label of the pod.
    Label(String),
}

/// A property that costs cannot be grouped by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid aggregate \"{0}\": accepted are cluster, region, edge, node, namespace, controllerKind, controller, pod and label:<name>"
)]
pub struct GroupByError(String);

impl FromStr for GroupBy {
    type Err = GroupByError;
    fn from_str(text: &str) -> Result<Self, GroupByError> {
        Ok(match text {
            "cluster" => Self::Cluster,
            "region" => Self::Region,
            "edge" => Self::Edge,
            "node" => Self::Node,
            "namespace" => Self::Namespace,
            "controllerKind" => Self::ControllerKind,
            "controller" => Self::Controller,
            "pod" => Self::Pod,
            other => match other.strip_prefix("label:").filter(|name| !name.is_empty()) {
                Some(name) => Self::Label(name.to_owned()),
                None => return Err(GroupByError(other.to_owned())),
            },
        })
    }
}

impl fmt::Display for GroupBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(name) => write!(f, "label:{name}"),
            Self::Cluster => f.write_str("cluster"),
            Self::Region => f.write_str("region"),
            Self::Edge => f.write_str("edge"),
            Self::Node => f.write_str("node"),
            Self::Namespace => f.write_str("namespace"),
            Self::ControllerKind => f.write_str("controllerKind"),
            Self::Controller => f.write_str("controller"),
            Self::Pod => f.write_str("pod"),
        }
    }
}

impl GroupBy {
    fn value(&self, labels: &Labels) -> String {
        let value = match self {
            Self::Cluster => labels.get("cluster"),
            Self::Region => labels.get("region"),
            Self::Edge => labels.get("edge"),
            Self::Node => labels.get("node"),
            Self::Namespace => labels.get("namespace"),
            Self::ControllerKind => labels.get("controller_kind"),
            Self::Controller => labels.get("controller"),
            Self::Pod => labels.get("pod"),
            Self::Label(name) => labels.get(&format!("label_{}", label_name(name))),
        };
        if value.is_empty() { UNALLOCATED.to_owned() } else { value.to_owned() }
    }
}

/// What costs are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationRequest {
    /// From.
    pub start: Millis,
    /// To.
    pub end: Millis,
    /// In windows of this length; one window when 0.
    pub step: Millis,
    /// Grouped by these; by cluster, node, namespace and pod when there are none.
    pub group_by: Vec<GroupBy>,
    /// Whether what nobody asked for is a row of its own.
    pub include_idle: bool,
}

impl AllocationRequest {
    /// The windows, the last one cut at the end.
    ///
    /// # Errors
    /// [`Error::Parse`] when there are more than [`WINDOWS_MAX`].
    pub fn windows(&self) -> Result<Vec<(Millis, Millis)>, Error> {
        let length = (self.end - self.start).max(1);
        let step = if self.step > 0 { self.step } else { length };
        let count = length / step + i64::from(length % step != 0);
        if count > WINDOWS_MAX {
            return Err(Error::Parse(format!(
                "{count} windows are too many, at most {WINDOWS_MAX} are accepted"
            )));
        }
        Ok((0..count)
            .map(|index| (self.start + index * step, (self.start + (index + 1) * step).min(self.end)))
            .collect())
    }

    /// The properties to group by.
    pub fn properties(&self) -> Vec<GroupBy> {
        if self.group_by.is_empty() {
            vec![GroupBy::Cluster, GroupBy::Node, GroupBy::Namespace, GroupBy::Pod]
        } else {
            self.group_by.clone()
        }
    }
}

/// What a group cost in a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AllocationRow {
    /// Number of the window.
    pub window: u32,
    /// The values of the properties, in their order, or [`IDLE`] alone.
    pub names: Vec<String>,
    /// The cluster, when the whole row is of one.
    pub cluster: Option<String>,
    /// What it cost and used.
    pub numbers: Numbers,
}

/// Amounts of a row, all of which add up.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "amount and unit are the name")]
pub struct Numbers {
    /// Minutes that the pods ran, added up.
    pub pod_minutes: f64,
    /// Earliest moment something ran; `None` when nothing did.
    pub first: Option<Millis>,
    /// Latest moment something ran.
    pub last: Option<Millis>,
    pub cpu_cost: f64,
    pub ram_cost: f64,
    pub gpu_cost: f64,
    pub cpu_core_hours: f64,
    pub ram_byte_hours: f64,
    pub gpu_hours: f64,
    pub cpu_request_hours: f64,
    pub ram_request_hours: f64,
    pub cpu_usage_hours: f64,
    pub ram_usage_hours: f64,
}

impl Numbers {
    /// Adds another row's amounts.
    pub fn add(&mut self, other: &Self) {
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.pod_minutes += other.pod_minutes;
        self.cpu_cost += other.cpu_cost;
        self.ram_cost += other.ram_cost;
        self.gpu_cost += other.gpu_cost;
        self.cpu_core_hours += other.cpu_core_hours;
        self.ram_byte_hours += other.ram_byte_hours;
        self.gpu_hours += other.gpu_hours;
        self.cpu_request_hours += other.cpu_request_hours;
        self.ram_request_hours += other.ram_request_hours;
        self.cpu_usage_hours += other.cpu_usage_hours;
        self.ram_usage_hours += other.ram_usage_hours;
    }

    /// The field that a metric and a resource add to.
    fn field(&mut self, metric: &str, resource: &str) -> Option<&mut f64> {
        Some(match (metric, resource) {
            (POD_COST, "cpu") => &mut self.cpu_cost,
            (POD_COST, "ram") => &mut self.ram_cost,
            (POD_COST, "gpu") => &mut self.gpu_cost,
            (POD_HOURS, "cpu") => &mut self.cpu_core_hours,
            (POD_HOURS, "ram") => &mut self.ram_byte_hours,
            (POD_HOURS, "gpu") => &mut self.gpu_hours,
            (POD_REQUEST_HOURS, "cpu") => &mut self.cpu_request_hours,
            (POD_REQUEST_HOURS, "ram") => &mut self.ram_request_hours,
            (POD_USAGE_HOURS, "cpu") => &mut self.cpu_usage_hours,
            (POD_USAGE_HOURS, "ram") => &mut self.ram_usage_hours,
            _ => return None,
        })
    }

    /// All costs.
    pub fn total(&self) -> f64 {
        self.cpu_cost + self.ram_cost + self.gpu_cost
    }
}

/// A counter's value over time, resets added up, straight between samples.
struct Counter<'a>(&'a [Sample]);

impl Counter<'_> {
    /// How much was added between two times.
    fn increase(&self, start: Millis, end: Millis) -> f64 {
        let mut total = 0.0;
        for two in self.0.windows(2) {
            let (from, to) = (two[0], two[1]);
            let added = if to.value >= from.value { to.value - from.value } else { to.value };
            let overlap = to.at.min(end) - from.at.max(start);
            if overlap > 0 && to.at > from.at {
                total += added * (overlap as f64 / (to.at - from.at) as f64);
            }
        }
        total
    }

    /// First and last moment inside the window at which it counted.
    fn span(&self, start: Millis, end: Millis) -> Option<(Millis, Millis)> {
        let growing = || {
            self.0
                .windows(2)
                .filter(|two| two[1].value > two[0].value && two[0].at < end && two[1].at > start)
        };
        Some((growing().next()?[0].at.max(start), growing().next_back()?[1].at.min(end)))
    }
}

/// What the pods of a source cost, by window and group.
///
/// # Errors
/// Whatever the source answers; [`Error::Parse`] when there are too many windows.
pub fn allocate(
    source: &(impl Source + ?Sized),
    request: &AllocationRequest,
) -> Result<Vec<AllocationRow>, Error> {
    let windows = request.windows()?;
    let properties = request.properties();
    let metrics = [POD_COST, POD_HOURS, POD_REQUEST_HOURS, POD_USAGE_HOURS, POD_SECONDS, NODE_COST].join("|");
    let matcher = Matcher::new(METRIC_NAME, MatchKind::Regex, &metrics)
        .map_err(|error| Error::Internal(error.to_string()))?;
    let selection = Selection {
        matchers: &[matcher],
        after: request.start - MARGIN,
        through: request.end.saturating_add(MARGIN),
    };
    let mut rows: BTreeMap<(u32, Vec<String>), (Option<String>, Numbers)> = BTreeMap::new();
    let mut idle: BTreeMap<(u32, String), Numbers> = BTreeMap::new();
    source.select(&selection, &mut |labels, samples| {
        let counter = Counter(samples);
        let (metric, resource, cluster) = (labels.metric(), labels.get("resource"), labels.get("cluster"));
        let names: Vec<String> = properties.iter().map(|property| property.value(labels)).collect();
        for (index, (start, end)) in (0u32..).zip(&windows) {
            let amount = counter.increase(*start, *end);
            if amount == 0.0 {
                continue;
            }
            let spare = idle.entry((index, cluster.to_owned())).or_default();
            match metric {
                NODE_COST => add_to(spare.field(POD_COST, resource), amount),
                POD_COST => add_to(spare.field(POD_COST, resource), -amount),
                _ => {}
            }
            if metric == NODE_COST {
                continue;
            }
            let (of_cluster, numbers) = rows
                .entry((index, names.clone()))
                .or_insert_with(|| (Some(cluster.to_owned()), Numbers::default()));
            if of_cluster.as_deref().is_some_and(|held| held != cluster) {
                *of_cluster = None;
            }
            if metric == POD_SECONDS {
                numbers.pod_minutes += amount / 60.0;
                if let Some((first, last)) = counter.span(*start, *end) {
                    numbers.add(&Numbers { first: Some(first), last: Some(last), ..Numbers::default() });
                }
            } else {
                add_to(numbers.field(metric, resource), amount);
            }
        }
        Ok(())
    })?;
    let mut all: Vec<AllocationRow> = rows
        .into_iter()
        .map(|((window, names), (cluster, numbers))| AllocationRow { window, names, cluster, numbers })
        .collect();
    if request.include_idle {
        all.extend(
            idle.into_iter().map(|((window, cluster), numbers)| idle_row(window, cluster, numbers, &windows)),
        );
    }
    Ok(all)
}

/// What of the nodes' cost no pod was charged with; never less than nothing.
fn idle_row(window: u32, cluster: String, spare: Numbers, windows: &[(Millis, Millis)]) -> AllocationRow {
    let span = windows.get(window as usize).copied();
    let numbers = Numbers {
        cpu_cost: spare.cpu_cost.max(0.0),
        ram_cost: spare.ram_cost.max(0.0),
        gpu_cost: spare.gpu_cost.max(0.0),
        first: span.map(|(start, _)| start),
        last: span.map(|(_, end)| end),
        ..Numbers::default()
    };
    AllocationRow { window, names: vec![IDLE.to_owned()], cluster: Some(cluster), numbers }
}

fn add_to(field: Option<&mut f64>, amount: f64) {
    if let Some(field) = field {
        *field += amount;
    }
}

/// Puts the rows of several regions together: rows of the same window and names become one.
pub fn merge(rows: impl IntoIterator<Item = AllocationRow>) -> Vec<AllocationRow> {
    let mut merged: BTreeMap<(u32, Vec<String>), AllocationRow> = BTreeMap::new();
    for row in rows {
        match merged.get_mut(&(row.window, row.names.clone())) {
            Some(held) => {
                held.numbers.add(&row.numbers);
                if held.cluster != row.cluster {
                    held.cluster = None;
                }
            }
            None => {
                merged.insert((row.window, row.names.clone()), row);
            }
        }
    }
    merged.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_straight_between_samples_and_survives_resets_and_outages() {
        let counter = |samples: &[(Millis, f64)]| {
            samples.iter().map(|(at, value)| Sample::new(*at, *value)).collect::<Vec<_>>()
        };
        let steady = counter(&[(0, 0.0), (60, 6.0), (600, 60.0)]);
        assert_eq!(Counter(&steady).increase(30, 90), 6.0);
        assert_eq!(Counter(&steady).increase(-100, 1000), 60.0);
        let reset = counter(&[(0, 5.0), (10, 7.0), (20, 3.0)]);
        assert_eq!(Counter(&reset).increase(0, 20), 5.0);
        assert_eq!(
            Counter(&counter(&[(10, 7.0)])).increase(0, 20),
            0.0,
            "one sample says nothing about before"
        );
    }
}
