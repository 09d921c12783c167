//! The keys that may sign plans, as the region and its engine know them; replaced with each newer trust bundle.

use std::sync::{Arc, PoisonError, RwLock};

use identity::PlanVerifier;
use identity::endpoints::{EndpointsError, read_endpoints};
use identity::placement::{PlacementError, read_placement};
use identity::plan::PlanError;
use protocol::delegation::{EdgeTable, TablePart};
use protocol::endpoints::{EndpointList, Listener, SignedEndpoints};
use protocol::enrolment::TrustBundle;
use protocol::id::AgentId;
use protocol::placement::{Placement, SignedPlacement};
use protocol::plan::{PlanHeader, SignedPlan};
use protocol::trust::TrustChain;

/// Verifies plans by the newest bundle; clones share it.
#[derive(Debug, Clone)]
pub struct PlanKeys(Arc<RwLock<PlanVerifier>>, Arc<PlanVerifier>);

impl PlanKeys {
    /// The keys of that bundle.
    pub fn new(trust: &TrustBundle) -> Self {
        Self(Arc::new(RwLock::new(PlanVerifier::new(trust))), Arc::new(PlanVerifier::new(trust)))
    }

    /// The same, and for what is stored already also the keys of before.
    #[must_use]
    pub fn remembering(self, trust: &TrustBundle, lineage: &TrustChain) -> Self {
        Self(self.0, Arc::new(PlanVerifier::remembering(trust, lineage)))
    }

    /// The header of a plan that was stored, if the hub signed it for that agent, also with a key of before.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify_stored(&self, agent: &AgentId, plan: &SignedPlan) -> Result<PlanHeader, PlanError> {
        self.1.verify_for(agent, plan)
    }

    /// Takes over a newer bundle.
    pub fn replace(&self, trust: &TrustBundle) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = PlanVerifier::new(trust);
    }

    /// The header, if the hub signed it for that agent.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify_for(&self, agent: &AgentId, plan: &SignedPlan) -> Result<PlanHeader, PlanError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).verify_for(agent, plan)
    }
}

impl PlanKeys {
    /// The header of a table of edges, if the hub signed it.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify_table(&self, part: &TablePart) -> Result<EdgeTable, PlanError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).verify_table(part)
    }

    /// A placement, if the hub signed it and it is of a size that is accepted.
    ///
    /// # Errors
    /// [`PlacementError`].
    pub fn verify_placement(&self, signed: &SignedPlacement) -> Result<Placement, PlacementError> {
        read_placement(&self.0.read().unwrap_or_else(PoisonError::into_inner), signed)
    }

    /// A list of endpoints, if the hub signed it for that listener and it is of a form that is accepted.
    ///
    /// # Errors
    /// [`EndpointsError`].
    pub fn verify_endpoints(
        &self,
        of: &Listener,
        signed: &SignedEndpoints,
    ) -> Result<EndpointList, EndpointsError> {
        read_endpoints(&self.0.read().unwrap_or_else(PoisonError::into_inner), of, signed)
    }
}

impl state::Verify for PlanKeys {
    fn verify(&self, plan: &SignedPlan) -> Result<PlanHeader, String> {
        let verifier = self.0.read().unwrap_or_else(PoisonError::into_inner);
        verifier.verify(plan).map_err(|error| error.to_string())
    }
}
