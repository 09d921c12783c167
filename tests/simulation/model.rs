//! The reference model: what the hub published, what edges did, and what must follow from it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{AgentId, Digest, EdgeId, Generation};
use protocol::message::PlanHead;

/// Everything that matters, as it happened.
#[derive(Default)]
pub(crate) struct Model {
    /// What was signed for each edge.
    signed: BTreeMap<EdgeId, BTreeMap<Generation, Digest>>,
    /// The newest of each edge.
    newest: BTreeMap<EdgeId, PlanHead>,
    stored: BTreeMap<EdgeId, PlanHead>,
    acted: BTreeMap<EdgeId, PlanHead>,
    /// Payloads pushed, and by whom.
    pushed: BTreeMap<Vec<u8>, EdgeId>,
    dropped: BTreeSet<Vec<u8>>,
    acknowledged: BTreeSet<Vec<u8>>,
    /// Offers that edges refused because they were not signed for them.
    pub(crate) forgeries_refused: u64,
    violations: Vec<String>,
}

impl Model {
    /// The hub, or a region that only offers it, has this signed plan.
    pub(crate) fn signed(&mut self, edge: EdgeId, head: PlanHead) {
        self.signed.entry(edge).or_default().insert(head.generation, head.body);
        let newest = self.newest.entry(edge).or_insert(head);
        if newest.generation < head.generation {
            *newest = head;
        }
    }

    pub(crate) fn newest(&self, edge: EdgeId) -> Option<PlanHead> {
        self.newest.get(&edge).copied()
    }

    pub(crate) fn acted_on(&self, edge: EdgeId) -> Option<PlanHead> {
        self.acted.get(&edge).copied()
    }

    /// An edge wrote this down.
    pub(crate) fn stored(&mut self, edge: EdgeId, head: PlanHead) {
        if let Some(before) = self.stored.insert(edge, head)
            && before.generation >= head.generation
        {
            self.broken(format!("2: {edge} stored {} after {}", head.generation, before.generation));
        }
    }

    /// An edge carries this out, with these objects.
    pub(crate) fn acts(&mut self, edge: EdgeId, head: PlanHead) {
        if self.stored.get(&edge) != Some(&head) {
            self.broken(format!("2: {edge} acts on {} before it is stored", head.generation));
        }
        if self.signed.get(&edge).and_then(|plans| plans.get(&head.generation)) != Some(&head.body) {
            self.broken(format!("4: {edge} acts on {}, which was not signed for it", head.generation));
        }
        if self.acted.insert(edge, head).is_some_and(|before| before.generation > head.generation) {
            self.broken(format!("2: {edge} went back to {}", head.generation));
        }
    }

    pub(crate) fn pushed(&mut self, edge: EdgeId, payload: Vec<u8>) {
        self.pushed.insert(payload, edge);
    }

    pub(crate) fn dropped(&mut self, payload: Vec<u8>) {
        self.dropped.insert(payload);
    }

    pub(crate) fn acknowledged(&mut self, payload: Vec<u8>) {
        self.acknowledged.insert(payload);
    }

    /// What one region's store holds in the end: payloads, and the batches that gaps stand for, by agent.
    pub(crate) fn check_store(
        &mut self,
        edges: &BTreeSet<EdgeId>,
        rows: &[Vec<u8>],
        gaps: &BTreeMap<String, u64>,
    ) {
        let mut seen = BTreeSet::new();
        for row in rows {
            match self.pushed.get(row) {
                Some(edge) if edges.contains(edge) => {}
                Some(edge) => {
                    self.violations.push(format!("5: an item of {edge} is in another region's store"))
                }
                None => self.violations.push("5: the store has an item that nobody pushed".to_owned()),
            }
            if !seen.insert(row.as_slice()) {
                self.violations.push("5: an item took effect twice".to_owned());
            }
        }
        for edge in edges {
            let of_edge = self.pushed.iter().filter(|(_, of)| *of == edge).map(|(payload, _)| payload);
            let missing: Vec<_> = of_edge.filter(|payload| !seen.contains(payload.as_slice())).collect();
            let lost = missing.iter().filter(|payload| self.acknowledged.contains(**payload)).count();
            if lost > 0 {
                self.violations.push(format!("5: {lost} acknowledged items of {edge} are not stored"));
            }
            let silent = missing.iter().filter(|payload| !self.dropped.contains(**payload)).count();
            if silent > 0 {
                self.violations.push(format!("5: {silent} items of {edge} never arrived"));
            }
            let told = gaps.get(&AgentId::Edge(*edge).to_string()).copied().unwrap_or_default();
            if told < missing.len() as u64 {
                let missing = missing.len();
                self.violations.push(format!("6: {edge} lost {missing} items, gaps tell of {told}"));
            }
        }
    }

    /// How many items were pushed, and how many of them dropped.
    pub(crate) fn items(&self) -> (usize, usize) {
        (self.pushed.len(), self.dropped.len())
    }

    pub(crate) fn broken(&mut self, what: String) {
        self.violations.push(what);
    }

    /// All that was wrong so far.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations.join("; ")) }
    }
}
