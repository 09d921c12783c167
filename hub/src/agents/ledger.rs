//! What a region's session remembers: what the region and its edges hold, and what is still to be sent.
//!
//! # Why
//! State, never a queue. Whoever tells the ledger something is not kept waiting, and however much a region says while
//! its link takes nothing, it costs one entry per agent. A queue that its writer waits on would let one slow region
//! stop the router, and with it all others; and a region that answers while it is sent to would wait for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::endpoints::Known;
use protocol::id::{AgentId, Digest, EdgeId, RegionName};
use protocol::message::{EdgeLink, PlanHead};
use protocol::placement::Site;
use tokio::sync::Notify;

/// One region's ledger, shared by the router that writes it and the session that works it off.
#[derive(Debug)]
pub(super) struct Ledger {
    peer: AgentId,
    inner: Mutex<Inner>,
    some: Notify,
    edges: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// What each agent holds, as far as it is known or was sent.
    held: BTreeMap<AgentId, PlanHead>,
    /// Edges the region listed since it connected.
    listed: BTreeSet<EdgeId>,
    /// Whether the region has told all it holds; edges get offers only afterwards, so that nothing is sent twice.
    complete: bool,
    /// Whole blobs that were sent on streams of their own since, and that nobody has asked for yet: an agent that
    /// gets a plan asks for all it lacks, what is on its way included.
    on_their_way: BTreeMap<AgentId, BTreeSet<Digest>>,
    /// Blobs that agents asked for.
    wanted: BTreeMap<AgentId, BTreeSet<Digest>>,
    /// Agents that may lack something.
    dirty: BTreeSet<AgentId>,
    /// Where the region was last told that an edge links, or, for the region itself, all its edges.
    placed: BTreeMap<AgentId, Place>,
    /// Sequence of the trust bundle that the region has, or was sent.
    trust: u64,
    /// Whether the region takes lists of endpoints, and which it was told or has: the hub's, and its own for its edges.
    lists: Option<[Option<Known>; 2]>,
    /// The agent last looked at: the next one is after it, so that none waits for one that changes all the time.
    turn: Option<AgentId>,
}

/// Where edges link: their region, and those that stand in for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) home: Site,
    pub(super) standbys: Vec<Site>,
}

/// What a session is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send blobs that an agent asked for.
    Blobs(AgentId, Vec<Digest>),
    /// Look what an agent lacks.
    Agent(AgentId),
}

impl Ledger {
    /// Of a region that just linked and holds `stored`.
    pub(super) fn new(region: &RegionName, stored: Option<PlanHead>, trust: u64) -> Self {
        let peer = AgentId::Region(region.clone());
        let inner = Inner {
            held: stored.map(|head| (peer.clone(), head)).into_iter().collect(),
            dirty: BTreeSet::from([peer.clone()]),
            trust,
            ..Inner::default()
        };
        Self { peer, inner: Mutex::new(inner), some: Notify::new(), edges: Notify::new() }
    }

    /// Agents of this region are to have something else.
    pub(super) fn mark(&self, agents: impl IntoIterator<Item = AgentId>) {
        self.write(|inner| inner.dirty.extend(agents));
    }

    /// What the region holds for edges. Says whether this completes the list that follows a connection.
    pub(super) fn links(&self, links: &[EdgeLink], last: bool) -> bool {
        self.write(|inner| {
            for EdgeLink { edge, held, .. } in links {
                let agent = AgentId::Edge(*edge);
                inner.on_their_way.remove(&agent);
                inner.listed.insert(*edge);
                let before = match held {
                    Some(held) => inner.held.insert(agent.clone(), *held),
                    None => inner.held.remove(&agent),
                };
                // Not what it was thought to hold: it may lack something.
                if inner.complete && (before != *held || held.is_none()) {
                    inner.dirty.insert(agent);
                }
            }
            let completed = last && !inner.complete;
            if completed {
                inner.complete = true;
                let listed: Vec<_> = inner.listed.iter().copied().map(AgentId::Edge).collect();
                inner.dirty.extend(listed);
            }
            completed
        })
    }

    /// Blobs are missing at the region or one of its edges. Those for which `is_known` is false belong to a plan that
    /// is history: the newest one follows.
    pub(super) fn wanted(
        &self,
        edge: Option<EdgeId>,
        mut digests: Vec<Digest>,
        is_known: impl Fn(&Digest) -> bool,
    ) {
        let agent = self.agent(edge);
        self.write(|inner| {
            if let Some(sent) = inner.on_their_way.remove(&agent) {
                // Once: who asks again did not get it.
                digests.retain(|digest| !sent.contains(digest));
            }
            let asked = digests.len();
            digests.retain(is_known);
            if digests.len() < asked {
                inner.held.remove(&agent);
                inner.dirty.insert(agent.clone());
            }
            if !digests.is_empty() {
                inner.wanted.entry(agent).or_default().extend(digests);
            }
        });
    }

    /// Somebody has stored this plan.
    pub(super) fn stored(&self, edge: Option<EdgeId>, head: PlanHead) {
        let agent = self.agent(edge);
        self.write(|inner| {
            inner.on_their_way.remove(&agent);
            inner.held.insert(agent, head);
        });
    }

    /// Somebody refused a plan; what it holds is unknown now.
    pub(super) fn refused(&self, edge: Option<EdgeId>) {
        self.forget(&self.agent(edge));
    }

    /// Whether edges may be offered plans.
    pub(super) fn is_complete(&self) -> bool {
        self.lock().complete
    }

    /// What an agent holds, as far as it is known.
    pub(super) fn held(&self, agent: &AgentId) -> Option<PlanHead> {
        self.lock().held.get(agent).copied()
    }

    /// A plan is about to be sent, with whole blobs on streams of their own. The control lane is ordered: whatever is
    /// offered next may build on this one.
    pub(super) fn offered(&self, agent: &AgentId, head: PlanHead, whole: BTreeSet<Digest>) {
        let mut inner = self.lock();
        inner.held.insert(agent.clone(), head);
        inner.on_their_way.insert(agent.clone(), whole);
    }

    /// Whole blobs that an agent asked for are about to be sent on streams of their own.
    pub(super) fn sending(&self, agent: &AgentId, whole: impl Iterator<Item = Digest>) {
        self.lock().on_their_way.entry(agent.clone()).or_default().extend(whole);
    }

    /// All blobs of a plan have left: what is asked for from now on did not arrive.
    pub(super) fn sent(&self, agent: &AgentId) {
        self.lock().on_their_way.remove(agent);
    }

    /// An edge is not of this region any more. Says whether the region had listed it.
    pub(super) fn removed(&self, edge: EdgeId) -> bool {
        self.forget(&AgentId::Edge(edge));
        self.lock().listed.remove(&edge)
    }

    /// Whether the region listed that edge, or spoke of it since.
    pub(super) fn lists(&self, edge: EdgeId) -> bool {
        self.lock().listed.contains(&edge)
    }

    /// Whether the region was told last that this agent's edges link there.
    pub(super) fn is_placed(&self, agent: &AgentId, place: &Place) -> bool {
        self.lock().placed.get(agent) == Some(place)
    }

    /// Whether the region was told anything of where this agent links.
    pub(super) fn was_placed(&self, agent: &AgentId) -> bool {
        self.lock().placed.contains_key(agent)
    }

    /// The region is told where this agent's edges link.
    pub(super) fn placed(&self, agent: &AgentId, place: Place) {
        self.lock().placed.insert(agent.clone(), place);
    }

    /// Whether the region has, or was sent, the trust bundle of that sequence.
    pub(super) fn trusts(&self, sequence: u64) -> bool {
        self.lock().trust >= sequence
    }

    /// The region is sent the trust bundle of that sequence.
    pub(super) fn trusting(&self, sequence: u64) {
        self.lock().trust = sequence;
    }

    /// The region takes lists of endpoints, and has that one of the hub's.
    pub(super) fn takes_lists(&self, hub: Option<Known>) {
        self.lock().lists = Some([hub, None]);
    }

    /// Whether the region is to be told a list: the hub's, or its own for its edges.
    pub(super) fn wants_list(&self, edges: bool, list: Known) -> bool {
        self.lock().lists.is_some_and(|lists| Known::wants(lists[usize::from(edges)], list))
    }

    /// The region is told a list.
    pub(super) fn listed(&self, edges: bool, list: Known) {
        if let Some(lists) = &mut self.lock().lists {
            lists[usize::from(edges)] = Some(list);
        }
    }

    /// What was signed with the key before is to be signed anew.
    pub(super) fn forget_places(&self) {
        self.write(|inner| {
            if let Some([_, edges]) = &mut inner.lists {
                *edges = None;
            }
            let placed = std::mem::take(&mut inner.placed);
            inner.dirty.extend(placed.into_keys());
        });
    }

    /// An edge of the region came, changed or went.
    pub(super) fn edge_changed(&self) {
        self.edges.notify_one();
    }

    /// Until an edge of the region came, changed or went since this was last called.
    pub(super) async fn edges_changed(&self) {
        self.edges.notified().await;
    }

    /// What is due, once something is.
    pub(super) async fn due(&self) -> Due {
        loop {
            if let Some(due) = self.lock().due() {
                return due;
            }
            self.some.notified().await;
        }
    }

    fn forget(&self, agent: &AgentId) {
        let mut inner = self.lock();
        inner.on_their_way.remove(agent);
        inner.held.remove(agent);
    }

    fn agent(&self, edge: Option<EdgeId>) -> AgentId {
        edge.map_or_else(|| self.peer.clone(), AgentId::Edge)
    }

    fn write<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let changed = change(&mut self.lock());
        self.some.notify_one();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn due(&mut self) -> Option<Due> {
        if let Some((agent, digests)) = self.wanted.pop_first() {
            return Some(Due::Blobs(agent, digests.into_iter().collect()));
        }
        let after = self.turn.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next =
            self.dirty.range((after, Bound::Unbounded)).next().or_else(|| self.dirty.first()).cloned()?;
        self.dirty.remove(&next);
        self.turn = Some(next.clone());
        Some(Due::Agent(next))
    }
}

#[cfg(test)]
mod tests {
    use protocol::id::Generation;

    use super::*;

    fn region() -> RegionName {
        "eu".parse().unwrap()
    }

    fn edge(number: u8) -> EdgeId {
        EdgeId([number; 16])
    }

    fn head(counter: u64) -> PlanHead {
        PlanHead { generation: Generation { term: 1, counter }, body: Digest([7; 32]) }
    }

    fn link(number: u8, held: Option<PlanHead>) -> EdgeLink {
        EdgeLink { edge: edge(number), up: true, since: 1, software: String::new(), stored: None, held }
    }

    fn due(ledger: &Ledger) -> Option<Due> {
        ledger.lock().due()
    }

    #[test]
    fn edges_are_looked_at_once_the_region_has_listed_all_it_holds() {
        let ledger = Ledger::new(&region(), None, 1);
        assert_eq!(due(&ledger), Some(Due::Agent(AgentId::Region(region()))));
        assert!(!ledger.links(&[link(1, Some(head(1)))], false));
        assert_eq!(due(&ledger), None);
        assert!(ledger.links(&[link(2, None)], true));
        assert_eq!(due(&ledger), Some(Due::Agent(AgentId::Edge(edge(1)))));
        assert_eq!(due(&ledger), Some(Due::Agent(AgentId::Edge(edge(2)))));
        assert_eq!(due(&ledger), None);
        assert_eq!(ledger.held(&AgentId::Edge(edge(1))), Some(head(1)));
        // Later only who holds something else than was thought.
        assert!(!ledger.links(&[link(1, Some(head(1))), link(2, Some(head(1)))], true));
        assert_eq!(due(&ledger), Some(Due::Agent(AgentId::Edge(edge(2)))));
        assert_eq!(due(&ledger), None);
    }

    #[test]
    fn an_agent_that_changes_all_the_time_keeps_none_waiting() {
        let ledger = Ledger::new(&region(), None, 1);
        ledger.links(&[], true);
        let agents = [1, 2, 3].map(|number| AgentId::Edge(edge(number)));
        ledger.mark(agents.clone());
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            let Some(Due::Agent(agent)) = due(&ledger) else { panic!("nothing is due") };
            seen.insert(agent);
            ledger.mark([agents[0].clone()]);
        }
        assert!(agents.iter().all(|agent| seen.contains(agent)), "{seen:?}");
    }

    #[test]
    fn what_is_on_its_way_is_sent_again_only_if_it_is_asked_for_twice() {
        let ledger = Ledger::new(&region(), None, 1);
        let agent = AgentId::Edge(edge(1));
        let (sent, other) = (Digest([1; 32]), Digest([2; 32]));
        ledger.offered(&agent, head(1), BTreeSet::from([sent]));
        ledger.wanted(Some(edge(1)), vec![sent, other], |_| true);
        assert_eq!(due(&ledger), Some(Due::Blobs(agent.clone(), vec![other])));
        ledger.wanted(Some(edge(1)), vec![sent], |_| true);
        assert_eq!(due(&ledger), Some(Due::Blobs(agent.clone(), vec![sent])));
        // Once all have left, asking once is enough.
        ledger.sending(&agent, [sent].into_iter());
        ledger.sent(&agent);
        ledger.wanted(Some(edge(1)), vec![sent], |_| true);
        assert_eq!(due(&ledger), Some(Due::Blobs(agent, vec![sent])));
    }

    #[test]
    fn who_asks_for_blobs_of_a_plan_that_is_history_gets_the_newest_one() {
        let ledger = Ledger::new(&region(), Some(head(1)), 1);
        let peer = AgentId::Region(region());
        assert_eq!(due(&ledger), Some(Due::Agent(peer.clone())));
        ledger.wanted(None, vec![Digest([1; 32])], |_| false);
        assert_eq!(ledger.held(&peer), None);
        assert_eq!(due(&ledger), Some(Due::Agent(peer)));
        assert_eq!(due(&ledger), None);
    }

    #[test]
    fn a_region_that_says_the_same_for_ever_costs_one_entry() {
        let ledger = Ledger::new(&region(), None, 1);
        ledger.links(&[], true);
        for _ in 0..1_000 {
            ledger.wanted(Some(edge(1)), vec![Digest([1; 32])], |_| true);
            ledger.links(&[link(1, None)], true);
        }
        assert_eq!(due(&ledger), Some(Due::Blobs(AgentId::Edge(edge(1)), vec![Digest([1; 32])])));
        let agents = std::iter::from_fn(|| due(&ledger)).count();
        assert_eq!(agents, 2, "the region and the edge");
    }
}
