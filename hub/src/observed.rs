//! What the agents reported, in memory: one view per agent, replaced by newer knowledge, never by silence.
//!
//! The link server feeds it, controllers read it and turn changes into statuses. A view outlives its link, so a
//! status can say what was last known and since when nothing was heard (invariant 8). Nothing here is written to
//! the API per heartbeat; after a restart of the hub each agent's first report is full and brings all of it back.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use protocol::UnixMillis;
use protocol::endpoints::{Endpoint, listed};
use protocol::id::{AgentId, Generation, RegionName};
use protocol::message::PlanHead;
use protocol::plan::UnitId;
use protocol::report::{ClusterReport, Report, SpoolReport, UnitReport};
use protocol::version::Speaks;

use crate::changes::{Announcer, Changes};

/// An agent's link, as whoever accepts it sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether it is up.
    pub up: bool,
    /// Since when it is so; 0 when it never was up.
    pub since: UnixMillis,
    /// The agent's address, empty if unknown.
    pub address: String,
}

/// All that is known of an agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentView {
    /// Its link: a region's to the hub, an edge's to its region.
    pub link: Link,
    /// Program and version.
    pub software: String,
    /// Its protocol version and what it has: a region's from its Hello, an edge's from its reports.
    pub speaks: Option<Speaks>,
    /// Why its link was refused, when it is of another major version.
    pub incompatible: Option<String>,
    /// Version of its cluster's API server; empty if unknown.
    pub kubernetes_version: String,
    /// The plan it has stored durably.
    pub stored: Option<PlanHead>,
    /// The plan it has carried out.
    pub applied: Option<Generation>,
    /// The plan that was stored when the newest report was made.
    pub reported: Option<Generation>,
    /// The newest report of every unit that is in its plan or on its way out.
    pub units: BTreeMap<UnitId, UnitReport>,
    /// Its cluster.
    pub cluster: Option<ClusterReport>,
    /// Telemetry that waits at the agent.
    pub spool: SpoolReport,
    /// Where a region's edges can dial it.
    pub endpoints: Vec<Endpoint>,
    /// When the last report came, by the hub's clock; 0 if none did.
    pub last_report: UnixMillis,
    /// Whether a full report came since the hub started: only then absence of a unit means anything.
    pub complete: bool,
    /// The region of an edge.
    pub region: Option<RegionName>,
}

/// The views of all agents. Clones share the content.
#[derive(Clone, Default)]
pub struct Observed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    views: RwLock<BTreeMap<AgentId, Arc<AgentView>>>,
    announcer: Announcer<AgentId>,
}

impl AgentView {
    /// The addresses where a region's edges can dial it, the best first.
    pub fn addresses(&self) -> Vec<String> {
        listed(self.endpoints.iter().cloned()).into_iter().map(|endpoint| endpoint.address).collect()
    }
}

impl Observed {
    /// What is known of an agent.
    pub fn agent(&self, agent: &AgentId) -> Option<Arc<AgentView>> {
        self.0.views.read().unwrap_or_else(PoisonError::into_inner).get(agent).cloned()
    }

    /// Agents that are known, in order.
    pub fn agents(&self) -> Vec<AgentId> {
        self.0.views.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Agents of which something else is known from now on.
    pub fn subscribe(&self) -> Changes<AgentId> {
        self.0.announcer.subscribe()
    }

    /// Changes what is known of an agent; announces it when `change` made a difference that it returns true for.
    pub fn update(&self, agent: &AgentId, change: impl FnOnce(&mut AgentView) -> bool) {
        let mut views = self.0.views.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(Arc::make_mut(views.entry(agent.clone()).or_default()));
        drop(views);
        if changed {
            self.0.announcer.announce(agent);
        }
    }

    /// Takes over a report that came at `now`.
    pub fn report(&self, agent: &AgentId, report: Report, now: UnixMillis) {
        self.update(agent, |view| {
            let before = view.speaks;
            if agent.edge().is_some() {
                view.speaks = Some(Speaks::told(&report.ext));
            }
            view.take_over(report, now) | (before != view.speaks)
        });
    }

    /// Takes over a change of a link.
    pub fn link(&self, agent: &AgentId, link: Link) {
        self.update(agent, |view| {
            let changed = view.link != link;
            view.link = link;
            changed
        });
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &AgentId) {
        let known = self.0.views.write().unwrap_or_else(PoisonError::into_inner).remove(agent).is_some();
        if known {
            self.0.announcer.announce(agent);
        }
    }
}

impl AgentView {
    /// Whether anything but the time of the report changed.
    fn take_over(&mut self, report: Report, now: UnixMillis) -> bool {
        let before = (self.generations(), self.spool, self.complete);
        let mut changed = self.last_report == 0;
        self.last_report = now;
        if report.full {
            self.complete = true;
            let listed: std::collections::BTreeSet<_> =
                report.units.iter().map(|unit| unit.id.clone()).collect();
            let known = self.units.len();
            self.units.retain(|id, _| listed.contains(id));
            changed |= known != self.units.len();
        }
        self.applied = report.applied.or(self.applied);
        self.reported = report.stored;
        if let Some(stored) = report.stored
            && self.stored.is_some_and(|head| head.generation != stored)
        {
            // The digest is not part of a report; `PlanStored` and `Hello` bring the whole head.
            self.stored = None;
        }
        self.spool = report.spool;
        if let Some(cluster) = report.cluster {
            if !cluster.kubernetes_version.is_empty() {
                self.kubernetes_version.clone_from(&cluster.kubernetes_version);
            }
            changed |= self.cluster.as_ref() != Some(&cluster);
            self.cluster = Some(cluster);
        }
        for unit in report.units {
            match self.units.get_mut(&unit.id) {
                Some(known) if *known == unit => {}
                Some(known) => {
                    *known = unit;
                    changed = true;
                }
                None => {
                    self.units.insert(unit.id.clone(), unit);
                    changed = true;
                }
            }
        }
        changed || before != (self.generations(), self.spool, self.complete)
    }

    fn generations(&self) -> [Option<Generation>; 3] {
        [self.applied, self.reported, self.stored.map(|head| head.generation)]
    }

    /// Whether what is not in this plan, and not among the units, is gone from the cluster. An agent that has stored a
    /// plan reports what leaves with it until it is gone, however long the rest of the plan takes.
    pub fn obeys(&self, plan: Option<Generation>) -> bool {
        self.applied >= plan || self.complete && self.reported >= plan
    }
}

/// Most pairs of version and program that are counted on their own: agents say of themselves what they are.
const VERSIONS_MAX: usize = 64;

/// Counts agents by version.
pub(crate) fn versions(observed: &Observed, gathering: &mut process::metrics::Gathering) {
    let mut counts: BTreeMap<(&'static str, String, String), u64> = BTreeMap::new();
    for (agent, view) in observed.0.views.read().unwrap_or_else(PoisonError::into_inner).iter() {
        let Some(speaks) = view.speaks else { continue };
        let tier = if agent.edge().is_some() { "edge" } else { "region" };
        let mut kind = (tier, speaks.to_string(), view.software.clone());
        if counts.len() >= VERSIONS_MAX && !counts.contains_key(&kind) {
            kind = (tier, "other".to_owned(), "other".to_owned());
        }
        *counts.entry(kind).or_default() += 1;
    }
    for ((tier, protocol, software), count) in &counts {
        let labels = [("tier", *tier), ("protocol", protocol.as_str()), ("software", software.as_str())];
        gathering.gauge("skein_hub_agents", "Agents by their version.", &labels, *count as f64);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use protocol::report::UnitState;

    pub(crate) fn unit(name: &str, state: UnitState) -> UnitReport {
        let text = str::to_owned;
        UnitReport {
            id: UnitId {
                set_namespace: text("default"),
                set_name: text("set"),
                namespace: text("default"),
                name: text(name),
            },
            version: text("1"),
            template: text("t"),
            deployed_hash: None,
            state,
            message: String::new(),
            since: 1,
            drift_repairs: 0,
            objects_total: 1,
            objects_ready: 0,
            objects: Vec::new(),
        }
    }

    fn agent() -> AgentId {
        AgentId::Region("eu".parse().unwrap())
    }

    #[test]
    fn a_full_report_forgets_units_that_are_gone_and_a_partial_one_does_not() {
        let observed = Observed::default();
        let (one, two) = (unit("one", UnitState::Deployed), unit("two", UnitState::Pending));
        let full = |units| Report { full: true, units, ..Report::default() };
        observed.report(&agent(), full(vec![one.clone(), two.clone()]), 1);
        let partial = Report { units: vec![unit("two", UnitState::Deployed)], ..Report::default() };
        observed.report(&agent(), partial, 2);
        let view = observed.agent(&agent()).unwrap();
        assert_eq!(view.units.values().map(|unit| unit.state).collect::<Vec<_>>(), [UnitState::Deployed; 2]);
        observed.report(&agent(), full(vec![one]), 3);
        assert_eq!(observed.agent(&agent()).unwrap().units.len(), 1);
    }

    #[test]
    fn a_report_without_news_is_not_announced() {
        let observed = Observed::default();
        let report =
            Report { full: true, units: vec![unit("one", UnitState::Deployed)], ..Report::default() };
        let mut changes = observed.subscribe();
        observed.report(&agent(), report.clone(), 1);
        assert_eq!(changes.take().len(), 1);
        observed.report(&agent(), report, 2);
        assert!(changes.take().is_empty());
        assert_eq!(observed.agent(&agent()).unwrap().last_report, 2);
    }
}
