//! Light edges: what a region sees of an edge, without the edge.
//!
//! The region is a real one: its link, its shelf of verified plans on disk, its reports. An edge behind it takes each
//! plan from the shelf, says that it stored it, and reports every unit as deployed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use identity::{Clock, SystemClock};
use process::Process;
use protocol::codec::decode;
use protocol::frame::PLAN_BODY_BYTES_MAX;
use protocol::id::EdgeId;
use protocol::message::PlanHead;
use protocol::plan::{PlanBody, Unit};
use protocol::report::{ClusterReport, Report, UnitReport, UnitState};
use regional_agent::edges::Edges;

/// How often the shelf is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The edges of a region.
pub(crate) struct Light {
    /// How many have a plan of the newest term seen.
    newest: Arc<(AtomicUsize, AtomicUsize)>,
}

/// One edge.
#[derive(Default)]
struct Edge {
    head: Option<PlanHead>,
    units: Vec<Deployed>,
    reports: u64,
}

struct Deployed {
    unit: Unit,
    since: u64,
}

impl Light {
    /// Links all edges, and serves them until the process ends.
    pub(crate) fn start(ids: &[EdgeId], edges: Edges, process: &Process) -> Self {
        let newest = Arc::<(AtomicUsize, AtomicUsize)>::default();
        for id in ids {
            edges.upward().link_up(*id, SystemClock.now(), "light", None);
        }
        let mut all: Vec<_> = ids.iter().map(|id| (*id, Edge::default())).collect();
        let (told, cancel) = (newest.clone(), process.cancel.clone());
        process.tasks.spawn(async move {
            let mut look = tokio::time::interval(LOOK);
            while cancel.run_until_cancelled(look.tick()).await.is_some() {
                for (id, edge) in &mut all {
                    if let Err(error) = edge.follow(*id, &edges) {
                        tracing::error!(%error, "a light edge cannot follow its plan");
                    }
                }
                let terms = all.iter().filter_map(|(_, edge)| edge.head.map(|head| head.generation.term));
                let mut counts = HashMap::<u64, usize>::new();
                for term in terms {
                    *counts.entry(term).or_default() += 1;
                }
                let (term, count) = counts.into_iter().max().unwrap_or_default();
                told.0.store(usize::try_from(term).unwrap_or_default(), Ordering::Relaxed);
                told.1.store(count, Ordering::Relaxed);
            }
        });
        Self { newest }
    }

    /// The newest term of leadership whose plans edges have, and how many have one of it.
    pub(crate) fn newest(&self) -> (usize, usize) {
        (self.newest.0.load(Ordering::Relaxed), self.newest.1.load(Ordering::Relaxed))
    }
}

impl Edge {
    /// Takes the plan on the shelf, if it is another one.
    fn follow(&mut self, id: EdgeId, edges: &Edges) -> Result<()> {
        let head = edges.shelf().head(id);
        let Some(head) = head.filter(|head| self.head != Some(*head)) else { return Ok(()) };
        let now = SystemClock.now();
        let same = self.head.is_some_and(|known| known.body == head.body);
        if !same {
            let (parts, later) = edges.shelf().answer(id, &[head.body]);
            let part = parts.iter().chain(&later).next().context("the shelf has no body")?;
            let body: PlanBody = decode(&part.open(None, PLAN_BODY_BYTES_MAX)?, PLAN_BODY_BYTES_MAX)?;
            self.units = body.units.into_iter().map(|unit| Deployed { unit, since: now }).collect();
        }
        let first = self.head.replace(head).is_none();
        edges.shelf().stored(id, Some(head.body));
        edges.upward().stored(id, head);
        self.reports += 1;
        let units = self.units.iter().filter(|_| !same).map(Deployed::report).collect();
        let cluster = first.then(|| ClusterReport {
            kubernetes_version: "v1.36.3".to_owned(),
            reachable: true,
            nodes_total: 1,
            nodes_ready: 1,
            ..ClusterReport::default()
        });
        let report = Report {
            sequence: self.reports,
            at: now,
            full: first,
            stored: Some(head.generation),
            applied: Some(head.generation),
            units,
            cluster,
            ..Report::default()
        };
        edges.upward().report(id, report);
        Ok(())
    }
}

impl Deployed {
    fn report(&self) -> UnitReport {
        let Self { unit, since } = self;
        let objects = u32::try_from(unit.objects.len()).unwrap_or(u32::MAX);
        UnitReport {
            id: unit.id.clone(),
            version: unit.version.clone(),
            template: unit.template.clone(),
            deployed_hash: Some(unit.hash),
            state: UnitState::Deployed,
            message: String::new(),
            since: *since,
            drift_repairs: 0,
            objects_total: objects,
            objects_ready: objects,
            objects: Vec::new(),
        }
    }
}
