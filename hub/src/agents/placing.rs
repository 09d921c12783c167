//! Tells a region where edges link: its own, those that left it, and those that it stands in for.
//!
//! ```text
//!   edge of another region ---> told where that is (kept by the region, handed on to the edge)
//!                                  | linked there
//!                                  v
//!                               "forget its plan"; the region keeps the placement for whoever comes with an old disk
//! ```
//! An edge that is linked to a region which stands in for its own, before that is declared lost, stays there as a guest:
//! its telemetry is taken, and the moment its region is declared lost it is served. It goes home by itself.
//!
//! # Why nothing is told without addresses
//! Where a region listens is known from its agent alone. Until that has spoken to this hub, nobody is sent there, and what
//! edges know of it already is not replaced by nothing.

use std::sync::Arc;

use link::SendError;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, EdgeId, RegionName};
use protocol::message::Control;
use protocol::placement::{Placement, Site};
use protocol::version::Features;

use super::ledger::Place;
use super::session::{Session, Shared};
use crate::roster::RosterEdge;

impl Shared {
    fn site(&self, region: &RegionName) -> Option<Site> {
        let view = self.observed.agent(&AgentId::Region(region.clone()))?;
        let endpoints = view.addresses();
        (!endpoints.is_empty()).then(|| Site { region: region.clone(), endpoints })
    }

    /// Where the edges of that region link; nothing while that is not known of all concerned.
    fn place_of(&self, region: &RegionName) -> Option<Place> {
        let standby = self.roster.standby(region).map(|standby| standby.region);
        let standbys = match standby.filter(|standby| standby != region) {
            Some(standby) => vec![self.site(&standby)?],
            None => Vec::new(),
        };
        Some(Place { home: self.site(region)?, standbys })
    }
}

impl Session {
    /// Tells the region where an edge links, or all of its own, unless it was told so. Says whether it knows.
    pub(super) async fn place(
        &self,
        agent: &AgentId,
        edge: Option<EdgeId>,
        region: &RegionName,
    ) -> Result<bool, SendError> {
        let Shared { downlink, authority, clock, .. } = &self.shared;
        if !self.features.has(Features::PLACEMENT) {
            return Ok(false);
        }
        let Some(place) = self.shared.place_of(region) else { return Ok(false) };
        if self.ledger.is_placed(agent, &place) {
            return Ok(true);
        }
        let Place { home, standbys } = place.clone();
        let (generation, issued_at) = (self.shared.next_generation(), clock.now());
        let placement = Placement { edge, home, standbys, generation, issued_at, ext: Vec::new() };
        let placement = authority.sign_placement(&placement);
        downlink.send(&self.peer, Control::Placement { edge, placement }).await?;
        self.ledger.placed(agent, place);
        Ok(true)
    }

    /// The edge is another region's: it is told where that is, and forgotten here once it is linked there.
    pub(super) async fn hand_over(&self, edge: EdgeId, listed: &Arc<RosterEdge>) -> Result<(), SendError> {
        let agent = AgentId::Edge(edge);
        if !self.ledger.lists(edge) || !self.place(&agent, Some(edge), &listed.region).await? {
            return Ok(());
        }
        let observed = &self.shared.observed;
        let there = observed.agent(&AgentId::Region(listed.region.clone())).is_some_and(|view| view.link.up);
        // What was last heard of an edge says nothing while its region is away.
        let arrived = observed
            .agent(&agent)
            .is_some_and(|view| there && view.link.up && view.region.as_ref() == Some(&listed.region));
        if !arrived {
            return Ok(());
        }
        let message = format!("the edge belongs to region \"{}\" now", listed.region);
        let refusal = Refusal { reason: RefusalReason::OutOfScope, message, retry_after_ms: None };
        self.remove(edge, refusal).await
    }
}
