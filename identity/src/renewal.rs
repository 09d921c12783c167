//! Renewal: a fresh certificate over the live link, from half-life on.
//!
//! The new TLS key is vouched for by the device key, so whoever steals a TLS key cannot renew with it.

use bytes::Bytes;
use protocol::enrolment::{Refusal, RefusalReason, RenewGrant, RenewRequest, TrustBundle, renew_statement};
use protocol::id::AgentId;
use protocol::trust::TrustChain;

use crate::agent::AgentIdentity;
use crate::issuer::told_returns;
use crate::join::{GrantError, check_chain};
use crate::key::{KeyError, TlsKey, ed25519_verifies};
use crate::lineage::told_chain;
use crate::trust::is_vouched;

/// The agent's request for a certificate over a new key.
///
/// # Errors
/// [`KeyError::Request`] when the new key cannot sign.
pub fn make_renew_request(identity: &AgentIdentity, tls: &TlsKey) -> Result<RenewRequest, KeyError> {
    let csr = tls.signing_request()?;
    let device_proof = identity.device.sign(&renew_statement(&identity.agent, &csr));
    Ok(RenewRequest {
        agent: identity.agent.clone(),
        device_proof,
        ext: vec![crate::sealing::told(&identity.device), told_returns(identity, &csr)],
        csr,
    })
}

/// Whether a renewal is granted: `device_key` is what is on record for the agent, `peer` who the link belongs
/// to. A region may ask for edges; that those are its own the caller knows.
///
/// # Errors
/// The [`Refusal`] to send.
pub fn check_renewal(request: &RenewRequest, device_key: &Bytes, peer: &AgentId) -> Result<(), Refusal> {
    let refuse = |reason, message: String| Err(Refusal { reason, message, retry_after_ms: None });
    let relayed = matches!((peer, &request.agent), (AgentId::Region(_), AgentId::Edge(_)));
    if request.agent != *peer && !relayed {
        let message = format!("{peer} may not renew the certificate of {}", request.agent);
        return refuse(RefusalReason::Forbidden, message);
    }
    let statement = renew_statement(&request.agent, &request.csr);
    if !ed25519_verifies(device_key, &statement, &request.device_proof) {
        let message = format!("the proof is not by the device key of {}", request.agent);
        return refuse(RefusalReason::ProofInvalid, message);
    }
    Ok(())
}

/// The identity with its new certificate, which the hub issued, or for an edge its region. A trust bundle older than
/// the present one is not taken, and a newer one only on the word of a root of the present one.
///
/// # Errors
/// [`GrantError`] when the certificate is not for this agent and key.
pub fn accept_renewal(
    identity: &AgentIdentity,
    tls: TlsKey,
    grant: RenewGrant,
) -> Result<AgentIdentity, GrantError> {
    let (trust, lineage) = renewed_trust(identity, &grant)?;
    let own = Some(&identity.region);
    let (not_before, not_after) = check_chain(&identity.agent, &grant.chain, &trust, &tls, grant.time, own)?;
    let endpoints = if grant.endpoints.is_empty() { identity.endpoints.clone() } else { grant.endpoints };
    Ok(AgentIdentity {
        chain: grant.chain,
        tls,
        trust,
        lineage,
        endpoints,
        not_before,
        not_after,
        ..identity.clone()
    })
}

/// Whom to trust after a renewal, and how that came to be.
fn renewed_trust(
    identity: &AgentIdentity,
    grant: &RenewGrant,
) -> Result<(TrustBundle, TrustChain), GrantError> {
    let newer = grant.trust.sequence > identity.trust.sequence;
    if let Some(chain) = told_chain(&grant.ext) {
        let taken = identity.trusting(&chain).map_err(|error| GrantError::Lineage(error.to_string()))?;
        let taken = taken.as_ref().unwrap_or(identity);
        if newer && taken.trust != grant.trust {
            return Err(GrantError::Unvouched);
        }
        return Ok((taken.trust.clone(), taken.lineage.clone()));
    }
    if !newer {
        return Ok((identity.trust.clone(), identity.lineage.clone()));
    }
    if !is_vouched(&grant.trust, &grant.ext, identity.trust.roots.iter()) {
        return Err(GrantError::Unvouched);
    }
    Ok((grant.trust.clone(), TrustChain::default()))
}
