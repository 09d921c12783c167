//! What an edge makes of a placement (see [`protocol::placement`]): where it belongs from now on, and where else it may
//! dial.
//!
//! # Why an edge remembers where it came from
//! Somebody may have named a region that the edge cannot reach. So the region before stays the last of those it dials:
//! there it hears of the next edit.

use protocol::id::{AgentId, EdgeId, Generation};
use protocol::placement::{Placement, STANDBYS_MAX, SignedPlacement, Site};

use crate::agent::AgentIdentity;
use crate::endpoints::Listed;
use crate::plan::{PlanError, PlanVerifier};

/// What an agent keeps of where it dials, beside its region and what its grants and placements named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Which one it was; nothing before the first.
    pub generation: Option<Generation>,
    /// Regions that it may dial while its own does not answer, in order of preference.
    pub elsewhere: Vec<Site>,
    /// What was said last of where it dials: of its region for an edge, of the hub for a region.
    pub listed: Option<Listed>,
}

/// Why a placement is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// It does not verify.
    #[error("the placement is not the hub's: {0}")]
    Signature(#[source] PlanError),
    /// It is somebody else's.
    #[error("the placement is for edge {placement}, this is {agent}")]
    OtherEdge {
        /// For whom it was signed.
        placement: EdgeId,
        /// Who was asked to take it.
        agent: AgentId,
    },
    /// It is too large, or names a region without endpoints.
    #[error("the placement is malformed: {0}")]
    Malformed(String),
}

/// The placement, if the hub signed it and it is of a size that is accepted.
///
/// # Errors
/// [`PlacementError`].
pub fn read_placement(trust: &PlanVerifier, signed: &SignedPlacement) -> Result<Placement, PlacementError> {
    let placement = trust.verify_placement(signed).map_err(PlacementError::Signature)?;
    match placement.flaw() {
        None => Ok(placement),
        Some(flaw) => Err(PlacementError::Malformed(flaw)),
    }
}

impl AgentIdentity {
    /// The identity as a placement has it; nothing when the placement is none of news: of another region's edges, or not
    /// newer than the last one.
    ///
    /// # Errors
    /// [`PlacementError`].
    pub fn placed_by(&self, signed: &SignedPlacement) -> Result<Option<Self>, PlacementError> {
        let placement = read_placement(&PlanVerifier::new(&self.trust), signed)?;
        let Placement { edge, home, standbys, generation, .. } = placement;
        match edge {
            Some(edge) if AgentId::Edge(edge) != self.agent => {
                return Err(PlacementError::OtherEdge { placement: edge, agent: self.agent.clone() });
            }
            None if home.region != self.region => return Ok(None),
            Some(_) | None => {}
        }
        if self.placed.generation.is_some_and(|taken| generation <= taken) {
            return Ok(None);
        }
        let mut elsewhere: Vec<_> = standbys.into_iter().filter(|site| site.region != home.region).collect();
        let left = Site { region: self.region.clone(), endpoints: self.endpoints.clone() };
        if left.region != home.region && elsewhere.iter().all(|site| site.region != left.region) {
            elsewhere.push(left);
        }
        debug_assert!(elsewhere.len() <= STANDBYS_MAX + 1, "a placement's size is checked");
        let listed = self.placed.listed.clone().filter(|_| home.region == self.region);
        let placed = Placed { generation: Some(generation), elsewhere, listed };
        Ok(Some(Self { region: home.region, endpoints: home.endpoints, placed, ..self.clone() }))
    }

    /// The same agent as it dials another region's listener.
    #[must_use]
    pub fn towards(&self, site: &Site) -> Self {
        // What is listed is of the agent's own region.
        let placed = Placed { listed: None, ..self.placed.clone() };
        Self { region: site.region.clone(), endpoints: site.endpoints.clone(), placed, ..self.clone() }
    }

    /// Whether this certificate was issued by the region, which no other region believes.
    pub fn is_issued_by_region(&self) -> bool {
        self.chain.len() > 1
    }
}
