//! Agents as their enrolment left them, without the enrolment.

use anyhow::Result;
use identity::authority::LEAF_VALIDITY_MS;
use identity::{AgentIdentity, Authority, DeviceKey, Entropy, KeyKind, Placed, TlsKey};
use protocol::id::{AgentId, RegionName};

/// An agent of a region that dials `above`, with a certificate issued at that time (Unix milliseconds).
///
/// # Errors
/// When there is no key of that kind, or the authority cannot issue.
pub fn issued(
    authority: &Authority,
    (agent, region): (&AgentId, &RegionName),
    above: &str,
    (at, kind): (u64, KeyKind),
    entropy: &mut dyn Entropy,
) -> Result<AgentIdentity> {
    let device = DeviceKey::generate(entropy);
    let tls = TlsKey::generate_kind(kind, entropy)?;
    let chain = authority.issue(agent, &tls.signing_request()?, at, entropy)?;
    Ok(AgentIdentity {
        agent: agent.clone(),
        name: agent.to_string(),
        region: region.clone(),
        chain,
        tls,
        device,
        trust: authority.trust(),
        endpoints: vec![above.to_owned()],
        not_before: at,
        not_after: at + LEAF_VALIDITY_MS,
        returns: 0,
        clock_ahead_ms: 0,
        placed: Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    })
}
