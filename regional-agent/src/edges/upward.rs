//! What the hub is to hear about the region's edges: state, newest wins.
//!
//! Each edge's links, plans and reports are kept merged. What changed since the hub was last told is marked; one
//! task sends what is marked as fast as the uplink takes it, so that many changes of one edge while the uplink
//! is busy become one message, without timers. After each connection everything counts as changed: first the list
//! of all edges, then full reports.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use link::{SendError, UplinkHandle};
use protocol::UnixMillis;
use protocol::delegation::EdgeRenewal;
use protocol::enrolment::Refusal;
use protocol::id::{Digest, EdgeId, Generation};
use protocol::message::{Control, EdgeLink, PlanHead};
use protocol::plan::UnitId;
use protocol::report::{Report, UnitReport, UnitState};
use protocol::trust::TrustKept;
use tokio::sync::Notify;

use super::shelf::Shelf;

/// Links in one message: it stays far below the limit of a control frame.
const LINKS_MAX: usize = 256;

/// Of what an edge says it runs, so much is told: whatever it says, all links fit into their message.
const SOFTWARE_BYTES_MAX: usize = 128;

/// Collects what the hub is to hear.
#[derive(Debug)]
pub struct Upward {
    shelf: Arc<Shelf>,
    inner: Mutex<Inner>,
    some: Notify,
    forwarded: AtomicU64,
    merged: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    edges: BTreeMap<EdgeId, Known>,
    /// Whether the uplink is up; nothing is sent while it is not.
    linked: bool,
    /// Edges still to be listed after the connection; `None` when the list is complete.
    listing: Option<BTreeSet<EdgeId>>,
    /// Edges whose link changed.
    links: BTreeSet<EdgeId>,
    /// Edges about which there is something else to say.
    news: BTreeSet<EdgeId>,
    /// The edge last spoken of: the next one is after it, so that none waits for a talkative one.
    turn: Option<EdgeId>,
}

/// What is known of an edge.
#[derive(Debug, Default)]
struct Known {
    up: bool,
    since: UnixMillis,
    software: String,
    stored: Option<PlanHead>,
    report: Merged,
    say_stored: bool,
    refused: Option<(Option<Generation>, Refusal)>,
    renewal: Option<EdgeRenewal>,
    /// What the edge said last of the trust bundle that it keeps, and whether the hub is to hear it.
    kept: Option<TrustKept>,
    say_kept: bool,
    wanted: Vec<Digest>,
}

/// An edge's reports, merged.
#[derive(Debug, Default)]
struct Merged {
    /// The newest one, without units.
    newest: Option<Report>,
    /// Units, and whether the hub is to hear of each.
    units: Vec<(UnitReport, bool)>,
    /// Whether a full one came since the edge linked.
    complete: bool,
    say: bool,
    say_full: bool,
    say_cluster: bool,
}

impl Upward {
    /// Nothing is known yet but what is on the shelf.
    pub fn new(shelf: Arc<Shelf>) -> Self {
        Self {
            shelf,
            inner: Mutex::default(),
            some: Notify::new(),
            forwarded: AtomicU64::new(0),
            merged: AtomicU64::new(0),
        }
    }

    /// The uplink is up: the hub hears everything.
    pub fn hub_up(&self) {
        let mut inner = self.lock();
        inner.linked = true;
        let known: BTreeSet<EdgeId> = inner.edges.keys().copied().chain(self.shelf.edges()).collect();
        inner.links.clear();
        inner.news = known.clone();
        inner.listing = Some(known);
        for known in inner.edges.values_mut() {
            known.report.mark_all();
            known.say_stored = false;
            known.say_kept = known.kept.is_some();
        }
        drop(inner);
        self.some.notify_one();
    }

    /// The uplink is down.
    pub fn hub_down(&self) {
        self.lock().linked = false;
    }

    /// An edge's link is up.
    pub fn link_up(&self, edge: EdgeId, since: UnixMillis, software: &str, stored: Option<PlanHead>) {
        self.link(edge, |known| {
            known.up = true;
            known.since = since;
            let length = (0..=SOFTWARE_BYTES_MAX.min(software.len()))
                .rev()
                .find(|length| software.is_char_boundary(*length));
            software[..length.unwrap_or_default()].clone_into(&mut known.software);
            known.stored = stored;
            // Its reports begin with a full one.
            known.report.complete = false;
        });
    }

    /// An edge's link is down.
    pub fn link_down(&self, edge: EdgeId, since: UnixMillis) {
        self.link(edge, |known| {
            known.up = false;
            known.since = since;
        });
    }

    /// An edge has stored a plan.
    pub fn stored(&self, edge: EdgeId, head: PlanHead) {
        self.tell(edge, |known| {
            known.stored = Some(head);
            known.say_stored = true;
        });
    }

    /// An edge, or the region on its behalf, does not accept a plan.
    pub fn refused(&self, edge: EdgeId, generation: Option<Generation>, refusal: Refusal) {
        self.tell(edge, |known| known.refused = Some((generation, refusal)));
    }

    /// The region decided about the renewal of an edge's certificate.
    pub fn renewed(&self, renewal: EdgeRenewal) {
        self.tell(renewal.edge, |known| known.renewal = Some(renewal));
    }

    /// An edge says which trust bundle it keeps.
    pub fn kept(&self, edge: EdgeId, kept: TrustKept) {
        self.tell(edge, |known| {
            // Most who come back say what they said before.
            known.say_kept |= known.kept.as_ref() != Some(&kept);
            known.kept = Some(kept);
        });
    }

    /// Blobs of an edge's plan are missing here.
    pub fn wanted(&self, edge: EdgeId, digests: Vec<Digest>) {
        self.tell(edge, |known| known.wanted = digests);
    }

    /// An edge reports.
    pub fn report(&self, edge: EdgeId, report: Report) {
        self.merged.fetch_add(1, Ordering::Relaxed);
        self.tell(edge, |known| known.report.merge(report));
    }

    /// The edge is not of this region any more.
    pub fn forget(&self, edge: EdgeId) {
        let mut inner = self.lock();
        inner.edges.remove(&edge);
        inner.links.remove(&edge);
        inner.news.remove(&edge);
        if let Some(listing) = inner.listing.as_mut() {
            listing.remove(&edge);
        }
    }

    /// Reports that came from edges, and that went to the hub.
    pub fn counts(&self) -> (u64, u64) {
        (self.merged.load(Ordering::Relaxed), self.forwarded.load(Ordering::Relaxed))
    }

    /// Edges that are linked, and edges that are known.
    pub fn edges(&self) -> (usize, usize) {
        let inner = self.lock();
        let up = inner.edges.values().filter(|known| known.up).count();
        let known: BTreeSet<EdgeId> = inner.edges.keys().copied().chain(self.shelf.edges()).collect();
        (up, known.len())
    }

    /// Whether an edge's link is up.
    pub fn is_up(&self, edge: EdgeId) -> bool {
        self.lock().edges.get(&edge).is_some_and(|known| known.up)
    }

    /// Sends what there is to say, for ever.
    pub async fn run(&self, uplink: &UplinkHandle) {
        loop {
            self.some.notified().await;
            while let Some(message) = self.next() {
                match uplink.send(message).await {
                    Ok(()) => {}
                    Err(SendError::TooLarge(error)) => {
                        tracing::warn!(%error, "an edge's state is too large to tell")
                    }
                    // Everything is told again when the link is back.
                    Err(SendError::Down | SendError::Busy) => break,
                }
            }
        }
    }

    fn link(&self, edge: EdgeId, change: impl FnOnce(&mut Known)) {
        let mut inner = self.lock();
        change(inner.edges.entry(edge).or_default());
        inner.links.insert(edge);
        drop(inner);
        self.some.notify_one();
    }

    fn tell(&self, edge: EdgeId, change: impl FnOnce(&mut Known)) {
        let mut inner = self.lock();
        change(inner.edges.entry(edge).or_default());
        inner.news.insert(edge);
        drop(inner);
        self.some.notify_one();
    }

    /// The next message, if there is something to say and somebody to hear it.
    fn next(&self) -> Option<Control> {
        let mut inner = self.lock();
        if !inner.linked {
            return None;
        }
        if let Some(listing) = inner.listing.as_mut() {
            let some: Vec<EdgeId> = std::iter::from_fn(|| listing.pop_first()).take(LINKS_MAX).collect();
            let last = listing.is_empty();
            if last {
                inner.listing = None;
            }
            let links = some.into_iter().map(|edge| self.edge_link(&inner, edge)).collect();
            return Some(Control::EdgeLinks { links, last });
        }
        if !inner.links.is_empty() {
            let links = &mut inner.links;
            let some: Vec<EdgeId> = std::iter::from_fn(|| links.pop_first()).take(LINKS_MAX).collect();
            let links = some.into_iter().map(|edge| self.edge_link(&inner, edge)).collect();
            return Some(Control::EdgeLinks { links, last: true });
        }
        while let Some(edge) = inner.next_turn() {
            if let Some(message) = inner.edges.get_mut(&edge).and_then(|known| known.say(edge)) {
                if matches!(message, Control::Report { .. }) {
                    self.forwarded.fetch_add(1, Ordering::Relaxed);
                }
                return Some(message);
            }
            inner.news.remove(&edge);
        }
        None
    }

    fn edge_link(&self, inner: &Inner, edge: EdgeId) -> EdgeLink {
        let held = self.shelf.head(edge);
        match inner.edges.get(&edge) {
            Some(known) => EdgeLink {
                edge,
                up: known.up,
                since: known.since,
                software: known.software.clone(),
                stored: known.stored,
                held,
            },
            None => EdgeLink { edge, up: false, since: 0, software: String::new(), stored: None, held },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whose turn it is among those with news.
    fn next_turn(&mut self) -> Option<EdgeId> {
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.news.range((after, Bound::Unbounded)).next().or_else(|| self.news.first()).copied();
        self.turn = next;
        next
    }
}

impl Known {
    /// The next thing to say about the edge; nothing when all is said.
    fn say(&mut self, edge: EdgeId) -> Option<Control> {
        let edge = Some(edge);
        if std::mem::take(&mut self.say_kept)
            && let Some(kept) = self.kept.clone()
        {
            return Some(Control::TrustKept(vec![TrustKept { edge, ..kept }]));
        }
        if !self.wanted.is_empty() {
            return Some(Control::BlobsWanted { edge, digests: std::mem::take(&mut self.wanted) });
        }
        if let Some((generation, refusal)) = self.refused.take() {
            return Some(Control::PlanRefused { edge, generation, refusal });
        }
        if let Some(renewal) = self.renewal.take() {
            return Some(Control::EdgeRenewed(renewal));
        }
        if std::mem::take(&mut self.say_stored)
            && let Some(head) = self.stored
        {
            return Some(Control::PlanStored { edge, head });
        }
        self.report.say().map(|report| Control::Report { edge, report: Box::new(report) })
    }
}

impl Merged {
    fn merge(&mut self, report: Report) {
        let Report { sequence, at, full, stored, applied, units, cluster, spool, ext } = report;
        if full {
            let before = std::mem::take(&mut self.units);
            self.units = units.into_iter().map(|unit| (unit, true)).collect();
            // A unit that is not listed any more can only be told by a full report.
            let listed = |id: &UnitId| self.units.iter().any(|(unit, _)| unit.id == *id);
            self.say_full |= !self.complete || before.iter().any(|(unit, _)| !listed(&unit.id));
            self.complete = true;
        } else {
            for unit in units {
                match self.units.iter_mut().find(|(known, _)| known.id == unit.id) {
                    Some(known) => *known = (unit, true),
                    None => self.units.push((unit, true)),
                }
            }
        }
        self.say_cluster |= cluster.is_some();
        let cluster = cluster.or_else(|| self.newest.take().and_then(|newest| newest.cluster));
        self.newest = Some(Report {
            sequence,
            at,
            full: false,
            stored,
            applied,
            units: Vec::new(),
            cluster,
            spool,
            ext,
        });
        self.say = true;
    }

    fn mark_all(&mut self) {
        if self.newest.is_some() {
            self.say = true;
            self.say_full = self.complete;
            self.say_cluster = true;
            self.units.iter_mut().for_each(|(_, say)| *say = true);
        }
    }

    fn say(&mut self) -> Option<Report> {
        if !std::mem::take(&mut self.say) {
            return None;
        }
        let newest = self.newest.as_ref()?;
        let full = std::mem::take(&mut self.say_full);
        let mut units = Vec::new();
        for (unit, say) in &mut self.units {
            if std::mem::take(say) || full {
                units.push(unit.clone());
            }
        }
        // Told once; from now on its absence says it.
        self.units.retain(|(unit, _)| unit.state != UnitState::Deleted);
        let cluster = newest.cluster.clone().filter(|_| std::mem::take(&mut self.say_cluster) || full);
        Some(Report { full, units, cluster, ..newest.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PlanKeys;
    use identity::{Authority, KeyKind, SeededEntropy};
    use protocol::plan::UnitId;

    fn unit(name: &str, state: UnitState) -> UnitReport {
        let text = str::to_owned;
        UnitReport {
            id: UnitId {
                set_namespace: text("default"),
                set_name: text("set"),
                namespace: text("shop"),
                name: text(name),
            },
            version: text("1"),
            template: text("web"),
            deployed_hash: None,
            state,
            message: String::new(),
            since: 1,
            drift_repairs: 0,
            objects_total: 1,
            objects_ready: 1,
            objects: Vec::new(),
        }
    }

    fn report(full: bool, units: &[(&str, UnitState)]) -> Report {
        let units = units.iter().map(|(name, state)| unit(name, *state)).collect();
        Report { full, units, ..Report::default() }
    }

    fn told(merged: &mut Merged) -> Option<(bool, Vec<(String, UnitState)>)> {
        let report = merged.say()?;
        Some((report.full, report.units.into_iter().map(|unit| (unit.id.name, unit.state)).collect()))
    }

    #[test]
    fn changes_while_the_uplink_is_busy_become_one_report_of_the_newest_state() {
        let mut merged = Merged::default();
        let (pending, deployed) = (UnitState::Pending, UnitState::Deployed);
        merged.merge(report(true, &[("one", pending), ("two", pending)]));
        assert!(told(&mut merged).unwrap().0);
        assert_eq!(told(&mut merged), None);
        merged.merge(report(false, &[("one", UnitState::Provisioning)]));
        merged.merge(report(false, &[("one", deployed)]));
        assert_eq!(told(&mut merged), Some((false, vec![("one".to_owned(), deployed)])));
    }

    #[test]
    fn after_a_connection_everything_is_told_in_full() {
        let mut merged = Merged::default();
        merged.merge(report(true, &[("one", UnitState::Pending)]));
        merged.merge(report(false, &[("two", UnitState::Deployed)]));
        told(&mut merged);
        merged.mark_all();
        let (full, units) = told(&mut merged).unwrap();
        assert!(full);
        assert_eq!(units.len(), 2);
    }

    #[test]
    fn a_unit_that_is_gone_is_told_once_or_by_a_full_report() {
        let mut merged = Merged::default();
        merged.merge(report(true, &[("one", UnitState::Deployed), ("two", UnitState::Deployed)]));
        told(&mut merged);
        merged.merge(report(false, &[("one", UnitState::Deleted)]));
        assert_eq!(told(&mut merged), Some((false, vec![("one".to_owned(), UnitState::Deleted)])));
        merged.mark_all();
        assert_eq!(told(&mut merged).unwrap().1.len(), 1);
        merged.merge(report(true, &[]));
        assert_eq!(told(&mut merged), Some((true, Vec::new())));
    }

    #[test]
    fn an_edge_that_says_much_about_its_software_keeps_none_from_being_listed() {
        let folder = tempfile::tempdir().unwrap();
        let mut entropy = SeededEntropy::new(1);
        let authority = Authority::create_kind("fleet.example", KeyKind::Ed25519, 0, &mut entropy).unwrap();
        let keys = PlanKeys::new(&authority.trust());
        let upward = Upward::new(Arc::new(Shelf::open(&folder.path().join("edges.sqlite"), keys).unwrap()));
        for number in 0..=u8::MAX {
            upward.link_up(EdgeId([number; 16]), 1, &"ä".repeat(100_000), None);
        }
        upward.hub_up();
        let Some(message @ Control::EdgeLinks { last: true, .. }) = upward.next() else { panic!("no list") };
        assert!(protocol::lane::Framed::to_message(&message).is_ok());
    }

    #[test]
    fn what_was_never_complete_is_not_told_as_if_it_were() {
        let mut merged = Merged::default();
        merged.merge(report(false, &[("one", UnitState::Deployed)]));
        merged.mark_all();
        assert!(!told(&mut merged).unwrap().0);
    }
}
