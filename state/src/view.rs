//! What the engine shows: reports, the plan it has, settings and counters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::UnixMillis;
use protocol::id::Generation;
use protocol::message::PlanHead;
use protocol::plan::UnitId;
use protocol::report::{ClusterReport, Report, SpoolReport, UnitReport, UnitState};
use tokio::sync::{Notify, watch};

/// Counters and gauges of an engine since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Objects written by server-side apply.
    pub applies_total: u64,
    /// Objects that could not be written.
    pub apply_errors_total: u64,
    /// Objects put back after somebody else changed or deleted them.
    pub drift_repairs_total: u64,
    /// Objects deleted because they left the plan.
    pub prunes_total: u64,
    /// Revisions that were given up for the last one that was healthy.
    pub rollbacks_total: u64,
    /// Events written to the cluster.
    pub events_total: u64,
    /// Events left out: too many of one object or in all, or refused by the API server.
    pub events_dropped_total: u64,
    /// Units by state, in k0rdent's words.
    pub units: BTreeMap<&'static str, u64>,
    /// Objects in all units.
    pub objects: u64,
    /// How long the last step that wrote objects took.
    pub last_apply: Duration,
}

/// The inside of a [`View`].
#[derive(Default)]
pub(crate) struct Shown {
    sequence: u64,
    pub(crate) head: Option<PlanHead>,
    pub(crate) applied: Option<Generation>,
    cluster: ClusterReport,
    units: BTreeMap<UnitId, (u32, UnitReport)>,
    changed: BTreeSet<UnitId>,
    /// The cluster changed.
    moved: bool,
    /// The generations changed.
    stirred: bool,
    /// The engine's turn that changed something is over.
    ready: bool,
    pub(crate) metrics: Metrics,
}

/// What is shared between the engine and its handles.
pub(crate) struct View {
    shown: Mutex<Shown>,
    news: Notify,
    pub(crate) settings: watch::Sender<BTreeMap<String, String>>,
    /// Blobs of an offer may be stored that no plan refers to yet.
    offering: AtomicBool,
}

impl Default for View {
    fn default() -> Self {
        Self {
            shown: Mutex::default(),
            news: Notify::new(),
            settings: watch::Sender::new(BTreeMap::new()),
            offering: AtomicBool::new(false),
        }
    }
}

impl View {
    /// The inside, for a moment.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An offer begins to store blobs, or is complete.
    pub(crate) fn offering(&self, begun: bool) {
        self.offering.store(begun, Ordering::SeqCst);
    }

    /// Whether blobs may be stored that no plan refers to yet.
    pub(crate) fn is_offering(&self) -> bool {
        self.offering.load(Ordering::SeqCst)
    }

    /// The engine's turn is over: what it showed is told, all of it in one report.
    pub(crate) fn turn_over(&self) {
        let mut shown = self.lock();
        if shown.ready || !shown.has_news() {
            return;
        }
        shown.ready = true;
        drop(shown);
        self.news.notify_one();
    }

    /// Shows a unit; a report follows if anything about it changed, once the turn is over.
    pub(crate) fn show(&self, order: u32, unit: UnitReport) {
        let mut shown = self.lock();
        if shown.units.get(&unit.id).is_some_and(|(place, known)| *place == order && *known == unit) {
            return;
        }
        shown.changed.insert(unit.id.clone());
        shown.units.insert(unit.id.clone(), (order, unit));
    }

    /// Shows the cluster.
    pub(crate) fn show_cluster(&self, cluster: &ClusterReport) {
        let mut shown = self.lock();
        if shown.cluster == *cluster {
            return;
        }
        shown.cluster.clone_from(cluster);
        shown.moved = true;
    }

    /// Shows which plan is stored.
    pub(crate) fn show_head(&self, head: PlanHead) {
        self.lock().head = Some(head);
    }

    /// Shows which plan is carried out.
    pub(crate) fn show_applied(&self, generation: Generation) {
        let mut shown = self.lock();
        shown.applied = Some(generation);
        shown.stirred = true;
    }

    /// Waits until something changed, then tells what.
    pub(crate) async fn next_report(&self, now: impl Fn() -> UnixMillis) -> Report {
        loop {
            {
                let mut shown = self.lock();
                if shown.ready {
                    return shown.report(now(), false);
                }
            }
            self.news.notified().await;
        }
    }

    /// Tells everything.
    pub(crate) fn full_report(&self, now: UnixMillis) -> Report {
        self.lock().report(now, true)
    }
}

impl Shown {
    fn has_news(&self) -> bool {
        self.moved || self.stirred || !self.changed.is_empty()
    }

    fn report(&mut self, at: UnixMillis, full: bool) -> Report {
        self.sequence += 1;
        let mut units: Vec<&(u32, UnitReport)> = match full {
            true => self.units.values().collect(),
            false => self.changed.iter().filter_map(|id| self.units.get(id)).collect(),
        };
        units.sort_by_key(|(order, _)| *order);
        let units = units.into_iter().map(|(_, unit)| unit.clone()).collect();
        let report = Report {
            sequence: self.sequence,
            at,
            full,
            stored: self.head.map(|head| head.generation),
            applied: self.applied,
            units,
            cluster: (full || self.moved).then(|| self.cluster.clone()),
            spool: SpoolReport::default(),
            ext: Vec::new(),
        };
        self.changed.clear();
        (self.moved, self.stirred, self.ready) = (false, false, false);
        // Told once; from now on its absence says it.
        self.units.retain(|_, (_, unit)| unit.state != UnitState::Deleted);
        report
    }

    #[cfg(test)]
    pub(crate) fn units(&self) -> Vec<UnitReport> {
        self.units.values().map(|(_, unit)| unit.clone()).collect()
    }

    /// Counts units and objects.
    pub(crate) fn counted(&self) -> Metrics {
        let mut metrics = self.metrics.clone();
        for (_, unit) in self.units.values() {
            *metrics.units.entry(unit.state.as_str()).or_default() += 1;
            metrics.objects += u64::from(unit.objects_total);
        }
        metrics
    }
}
