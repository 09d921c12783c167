//! Signatures of plans: made at the hub, verified where they are obeyed (invariant 4).

use protocol::codec::{DecodeError, decode};
use protocol::delegation::{EdgeTable, TABLE_BYTES_MAX, TABLE_CONTEXT, TablePart};
use protocol::endpoints::{ENDPOINTS_CONTEXT, EndpointList, LIST_BYTES_MAX, SignedEndpoints};
use protocol::enrolment::TrustBundle;
use protocol::id::AgentId;
use protocol::placement::{PLACEMENT_BYTES_MAX, PLACEMENT_CONTEXT, Placement, SignedPlacement};
use protocol::plan::{KeyId, PlanHeader, SIGNING_CONTEXT, SignedPlan};
use protocol::trust::{BUNDLE_BYTES_MAX, TrustChain};

use crate::key::{ED25519_KEY_BYTES, ed25519_verifies};

/// Longest encoded plan header.
pub const PLAN_HEADER_BYTES_MAX: usize = 16 * 1024;

/// Why a plan is not obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The key is not trusted.
    #[error("plan is signed with key {}, which this agent does not trust", hex::encode(.0.0))]
    UnknownKey(KeyId),
    /// The signature is not that key's over that header.
    #[error("signature of the plan does not verify with key {}: the plan was altered or forged", hex::encode(.0.0))]
    Signature(KeyId),
    /// The header is malformed.
    #[error(transparent)]
    Header(#[from] DecodeError),
    /// It is somebody else's plan.
    #[error("plan is for {plan}, this agent is {agent}")]
    OtherAgent {
        /// For whom it was signed.
        plan: AgentId,
        /// Who was asked to obey.
        agent: AgentId,
    },
}

/// Verifies plans against the keys of a trust bundle.
#[derive(Debug, Clone, Default)]
pub struct PlanVerifier {
    keys: Vec<(KeyId, [u8; ED25519_KEY_BYTES])>,
}

impl PlanVerifier {
    /// A verifier that trusts the bundle's plan keys; keys of a wrong length are left out.
    pub fn new(trust: &TrustBundle) -> Self {
        let keys = trust
            .plan_keys
            .iter()
            .filter_map(|key| Some((key.id, <[u8; ED25519_KEY_BYTES]>::try_from(&key.public_key[..]).ok()?)))
            .collect();
        Self { keys }
    }

    /// One that also trusts the keys of the bundles of before: what was stored in their time is obeyed still, and goes on
    /// to be verified.
    pub fn remembering(trust: &TrustBundle, lineage: &TrustChain) -> Self {
        let mut verifier = Self::new(trust);
        for step in &lineage.steps {
            if let Ok(bundle) = decode::<TrustBundle>(&step.bundle, BUNDLE_BYTES_MAX) {
                verifier.keys.extend(Self::new(&bundle).keys);
            }
        }
        verifier
    }

    /// The header, if the hub signed it.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify(&self, plan: &SignedPlan) -> Result<PlanHeader, PlanError> {
        let (_, key) =
            self.keys.iter().find(|(id, _)| *id == plan.key_id).ok_or(PlanError::UnknownKey(plan.key_id))?;
        if !ed25519_verifies(key, &signed_bytes(&plan.header), &plan.signature) {
            return Err(PlanError::Signature(plan.key_id));
        }
        Ok(decode(&plan.header, PLAN_HEADER_BYTES_MAX)?)
    }

    /// The header of a table of edges, if the hub signed it.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify_table(&self, part: &TablePart) -> Result<EdgeTable, PlanError> {
        let (_, key) =
            self.keys.iter().find(|(id, _)| *id == part.key_id).ok_or(PlanError::UnknownKey(part.key_id))?;
        if !ed25519_verifies(key, &[TABLE_CONTEXT, &part.table[..]].concat(), &part.signature) {
            return Err(PlanError::Signature(part.key_id));
        }
        Ok(decode(&part.table, TABLE_BYTES_MAX)?)
    }

    /// The placement, if the hub signed it.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify_placement(&self, signed: &SignedPlacement) -> Result<Placement, PlanError> {
        let (_, key) = self
            .keys
            .iter()
            .find(|(id, _)| *id == signed.key_id)
            .ok_or(PlanError::UnknownKey(signed.key_id))?;
        let statement = [PLACEMENT_CONTEXT, &signed.placement[..]].concat();
        if !ed25519_verifies(key, &statement, &signed.signature) {
            return Err(PlanError::Signature(signed.key_id));
        }
        Ok(decode(&signed.placement, PLACEMENT_BYTES_MAX)?)
    }

    /// The list of endpoints, if the hub signed it.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify_endpoints(&self, signed: &SignedEndpoints) -> Result<EndpointList, PlanError> {
        let (_, key) = self
            .keys
            .iter()
            .find(|(id, _)| *id == signed.key_id)
            .ok_or(PlanError::UnknownKey(signed.key_id))?;
        if !ed25519_verifies(key, &[ENDPOINTS_CONTEXT, &signed.list[..]].concat(), &signed.signature) {
            return Err(PlanError::Signature(signed.key_id));
        }
        Ok(decode(&signed.list, LIST_BYTES_MAX)?)
    }

    /// The header, if the hub signed it for that agent.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn verify_for(&self, agent: &AgentId, plan: &SignedPlan) -> Result<PlanHeader, PlanError> {
        let header = self.verify(plan)?;
        if header.agent == *agent {
            Ok(header)
        } else {
            Err(PlanError::OtherAgent { plan: header.agent, agent: agent.clone() })
        }
    }
}

/// The name of a plan-signing key.
pub(crate) fn key_id(public_key: &[u8]) -> KeyId {
    let hash = blake3::hash(public_key);
    let mut id = [0; 8];
    id.copy_from_slice(&hash.as_bytes()[..8]);
    KeyId(id)
}

/// What is signed: the context and the encoded header.
pub(crate) fn signed_bytes(header: &[u8]) -> Vec<u8> {
    [SIGNING_CONTEXT, header].concat()
}
