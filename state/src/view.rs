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
use tokio::time::Instant;

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

/// How long a report waits that tells only of units on their way: most arrive before, and then one report does for both.
const ON_THE_WAY: Duration = Duration::from_millis(50);

/// What a report would tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    /// Nothing that is not told.
    #[default]
    None,
    /// Units are on their way.
    OnTheWay,
    /// Something came to an end, or concerns the whole cluster.
    Settled,
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
    /// What the turns of the engine that are over have changed.
    ready: News,
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
        let news = shown.news();
        if news <= shown.ready {
            return;
        }
        shown.ready = news;
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
        let mut patience = None;
        loop {
            let ready = self.lock().ready;
            match ready {
                News::None => self.news.notified().await,
                News::OnTheWay => {
                    let patience = *patience.get_or_insert_with(|| Instant::now() + ON_THE_WAY);
                    if tokio::time::timeout_at(patience, self.news.notified()).await.is_err() {
                        break;
                    }
                }
                News::Settled => break,
            }
        }
        self.lock().report(now(), false)
    }

    /// Tells everything.
    pub(crate) fn full_report(&self, now: UnixMillis) -> Report {
        self.lock().report(now, true)
    }
}

impl Shown {
    fn news(&self) -> News {
        let settled = |id| self.units.get(id).is_some_and(|(_, unit)| unit.state.is_settled());
        if self.moved || self.stirred || self.changed.iter().any(settled) {
            News::Settled
        } else if self.changed.is_empty() {
            News::None
        } else {
            News::OnTheWay
        }
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
        (self.moved, self.stirred, self.ready) = (false, false, News::None);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(state: UnitState) -> UnitReport {
        UnitReport {
            id: UnitId {
                set_namespace: "kcm-system".into(),
                set_name: "shop".into(),
                namespace: "shop".into(),
                name: "web".into(),
            },
            version: String::new(),
            template: String::new(),
            deployed_hash: None,
            state,
            message: String::new(),
            since: UnixMillis::default(),
            drift_repairs: 0,
            objects_total: 1,
            objects_ready: 0,
            objects: Vec::new(),
        }
    }

    async fn told(view: &View) -> Option<(UnitState, Duration)> {
        let begun = Instant::now();
        let report =
            tokio::time::timeout(Duration::from_secs(9), view.next_report(UnixMillis::default)).await;
        report.ok().map(|report| (report.units[0].state, begun.elapsed()))
    }

    #[tokio::test(start_paused = true)]
    async fn one_report_does_for_a_way_and_its_end() {
        let view = View::default();
        view.show(0, unit(UnitState::Provisioning));
        assert_eq!(told(&view).await, None, "the turn is not over");
        view.turn_over();
        let (told, ()) = tokio::join!(told(&view), async {
            tokio::time::advance(Duration::from_millis(10)).await;
            view.show(0, unit(UnitState::Deployed));
            view.turn_over();
        });
        assert_eq!(told, Some((UnitState::Deployed, Duration::from_millis(10))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_takes_longer_is_told() {
        let view = View::default();
        view.show(0, unit(UnitState::Provisioning));
        view.turn_over();
        assert_eq!(told(&view).await, Some((UnitState::Provisioning, ON_THE_WAY)));
        view.show(0, unit(UnitState::Failed));
        view.turn_over();
        assert_eq!(told(&view).await, Some((UnitState::Failed, Duration::ZERO)));
        assert_eq!(told(&view).await, None, "everything is told");
    }
}
