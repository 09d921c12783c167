//! Where edges link, as the hub signed it: for all edges of the region, and for single ones, those that left included.
//!
//! What is kept of an edge that left costs some hundred bytes, until the edge is deleted or revoked: whoever comes with an
//! old disk is told where its region is.

use std::collections::BTreeMap;

use identity::placement::PlacementError;
use protocol::id::{AgentId, EdgeId, Generation, RegionName};
use protocol::placement::SignedPlacement;

use crate::keys::PlanKeys;

/// A placement that was verified.
#[derive(Debug)]
pub(super) struct Kept {
    signed: SignedPlacement,
    generation: Generation,
    region: RegionName,
}

impl Kept {
    /// Reads a placement that is for that edge, or for all.
    pub(super) fn read(
        keys: &PlanKeys,
        edge: Option<EdgeId>,
        signed: SignedPlacement,
    ) -> Result<Self, PlacementError> {
        let read = keys.verify_placement(&signed)?;
        match (read.edge, edge) {
            (Some(placement), Some(asked)) if placement != asked => {
                return Err(PlacementError::OtherEdge { placement, agent: AgentId::Edge(asked) });
            }
            (Some(_), None) | (None, Some(_)) => {
                let said = read.edge.map_or_else(|| "all edges".to_owned(), |edge| edge.to_string());
                return Err(PlacementError::Malformed(format!("it is for {said} and was sent for others")));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        Ok(Self { signed, generation: read.generation, region: read.home.region })
    }
}

/// All that are kept.
#[derive(Debug, Default)]
pub(super) struct Placements {
    all: Option<Kept>,
    edges: BTreeMap<EdgeId, Kept>,
}

impl Placements {
    /// Those from disk that verify still.
    pub(super) fn restore(kept: Vec<(Option<EdgeId>, SignedPlacement)>, keys: &PlanKeys) -> Self {
        let mut placements = Self::default();
        for (edge, signed) in kept {
            match Kept::read(keys, edge, signed) {
                Ok(kept) => {
                    placements.take(edge, kept);
                }
                Err(error) => tracing::warn!(?edge, %error, "a kept placement is left out"),
            }
        }
        placements
    }

    /// Takes a placement unless a newer one is kept; says whether it did.
    pub(super) fn take(&mut self, edge: Option<EdgeId>, kept: Kept) -> bool {
        let before = match edge {
            Some(edge) => self.edges.get(&edge),
            None => self.all.as_ref(),
        };
        if before.is_some_and(|before| before.generation >= kept.generation) {
            return false;
        }
        match edge {
            Some(edge) => {
                self.edges.insert(edge, kept);
            }
            None => self.all = Some(kept),
        }
        true
    }

    /// Forgets where an edge links, if that is a region of which `goes` is true; says whether it did.
    pub(super) fn forget(&mut self, edge: EdgeId, goes: impl Fn(&RegionName) -> bool) -> bool {
        let known = self.edges.get(&edge).is_some_and(|kept| goes(&kept.region));
        known && self.edges.remove(&edge).is_some()
    }

    /// What an edge that took the placement `taken` does not know yet.
    pub(super) fn news_for(&self, edge: EdgeId, taken: Option<Generation>) -> Option<SignedPlacement> {
        let kept = self.edges.get(&edge).or(self.all.as_ref())?;
        let news = taken.is_none_or(|taken| kept.generation > taken);
        news.then(|| kept.signed.clone())
    }

    pub(super) fn is_placed(&self, edge: EdgeId) -> bool {
        self.edges.contains_key(&edge)
    }
}
