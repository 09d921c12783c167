//! Joining: what the newcomer sends, what the hub answers, what the newcomer accepts.
//!
//! A token binds to the first device key that uses it. The same key asking again gets the same answer, because
//! replies get lost; another key is refused, and that is worth an alarm: somebody else has the token.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::enrolment::{JoinGrant, JoinRequest, Refusal, RefusalReason, TokenId, join_statement};
use protocol::id::{AgentId, EdgeId, RegionName};
use protocol::trust::TrustChain;

use crate::agent::AgentIdentity;
use crate::certificate::{PeerCertificate, spki_hash, validity};
use crate::issuer::check_issuer;
use crate::key::{DeviceKey, ED25519_KEY_BYTES, KeyError, TlsKey, ed25519_verifies};
use crate::lineage::{follow_pins, told_chain};
use crate::placement::Placed;
use crate::tls::verify_chain;
use crate::token::{JoinToken, TokenRole};
use crate::trust::is_vouched;

/// Most labels and facts a request may carry.
pub const JOIN_ENTRIES_MAX: usize = 64;

/// The newcomer's request.
///
/// # Errors
/// [`KeyError::Request`] when the TLS key cannot sign.
pub fn make_join_request(
    token: &JoinToken,
    device: &DeviceKey,
    tls: &TlsKey,
    name: &str,
    labels: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
) -> Result<JoinRequest, KeyError> {
    let (device_key, csr) = (device.public(), tls.signing_request()?);
    let statement = join_statement(token.id, &device_key, &csr);
    Ok(JoinRequest {
        token: token.id,
        token_proof: token.sign(&statement),
        device_proof: device.sign(&statement),
        device_key,
        csr,
        name: name.to_owned(),
        labels,
        facts,
        ext: vec![crate::sealing::told(device)],
    })
}

/// What the hub knows of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Public half of the token key.
    pub public_key: Bytes,
    /// After this moment it is refused.
    pub not_after: UnixMillis,
    /// How many devices may use it.
    pub uses_max: u32,
    /// Which devices did.
    pub uses: Vec<TokenUse>,
    /// Whether it was withdrawn.
    pub revoked: bool,
    /// The region it is for.
    pub region: RegionName,
    /// The kind of agent it makes.
    pub role: TokenRole,
    /// The name it gives; the newcomer chooses when there is none.
    pub name: Option<String>,
    /// Labels it gives; they prevail over the newcomer's.
    pub labels: BTreeMap<String, String>,
}

/// A device that used a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenUse {
    /// Its public key.
    pub device_key: Bytes,
    /// Who it became.
    pub agent: AgentId,
}

/// A join that is to be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinDecision {
    /// Who the device is from now on.
    pub agent: AgentId,
    /// The name it shall have.
    pub name: String,
    /// The labels it shall have.
    pub labels: BTreeMap<String, String>,
    /// The binding to store before the answer is given; nothing when the device asks again.
    pub binding: Option<TokenUse>,
}

/// Whether a join is granted. Pure: the caller stores the binding (in the same write that reads the record, so
/// that two devices cannot both win) and only then issues.
///
/// # Errors
/// The [`Refusal`] to send.
pub fn check_join(
    request: &JoinRequest,
    record: &TokenRecord,
    now: UnixMillis,
) -> Result<JoinDecision, Refusal> {
    let refuse = |reason, message: String| Err(Refusal { reason, message, retry_after_ms: None });
    check_shape(request)?;
    let statement = join_statement(request.token, &request.device_key, &request.csr);
    if !ed25519_verifies(&record.public_key, &statement, &request.token_proof) {
        let message = "the token's proof does not verify: the token or the request was altered".to_owned();
        return refuse(RefusalReason::ProofInvalid, message);
    }
    if !ed25519_verifies(&request.device_key, &statement, &request.device_proof) {
        let message = "the device's proof does not verify: the request was altered".to_owned();
        return refuse(RefusalReason::ProofInvalid, message);
    }
    if record.revoked {
        return refuse(RefusalReason::TokenRevoked, "the token was withdrawn".to_owned());
    }
    if now > record.not_after {
        let message =
            format!("the token expired {} s ago: ask for a new one", (now - record.not_after) / 1000);
        return refuse(RefusalReason::TokenExpired, message);
    }
    let known = record.uses.iter().find(|used| used.device_key == request.device_key);
    if known.is_none() && record.uses.len() >= record.uses_max as usize {
        let message = format!("the token was used already, by {} other device(s)", record.uses.len());
        return refuse(RefusalReason::TokenUsed, message);
    }
    let agent = match known {
        Some(used) => used.agent.clone(),
        None => agent_for(record, request.token, &request.device_key),
    };
    let name = record.name.clone().unwrap_or_else(|| request.name.clone());
    if RegionName::try_from(name.clone()).is_err() {
        let message = format!("name \"{name}\" is not a DNS label: a-z, 0-9 and \"-\", at most 63");
        return refuse(RefusalReason::OutOfScope, message);
    }
    let mut labels = request.labels.clone();
    labels.extend(record.labels.clone());
    let binding = match known {
        Some(_) => None,
        None => Some(TokenUse { device_key: request.device_key.clone(), agent: agent.clone() }),
    };
    Ok(JoinDecision { agent, name, labels, binding })
}

/// The refusal of a token that the hub does not know.
pub fn unknown_token(token: TokenId) -> Refusal {
    Refusal {
        reason: RefusalReason::TokenUnknown,
        message: format!(
            "token {} is not known here: it was deleted or is for another mesh",
            hex::encode(token.0)
        ),
        retry_after_ms: None,
    }
}

/// Limits of the free-form parts.
fn check_shape(request: &JoinRequest) -> Result<(), Refusal> {
    let malformed =
        |message: String| Err(Refusal { reason: RefusalReason::Malformed, message, retry_after_ms: None });
    if request.device_key.len() != ED25519_KEY_BYTES {
        return malformed(format!("device key has {} bytes, expected 32", request.device_key.len()));
    }
    for (what, map) in [("labels", &request.labels), ("facts", &request.facts)] {
        if map.len() > JOIN_ENTRIES_MAX {
            return malformed(format!("{} {what}, at most {JOIN_ENTRIES_MAX} are accepted", map.len()));
        }
    }
    Ok(())
}

/// Who a device becomes: for an edge, an id that follows from token and device, so that even a hub that lost
/// the binding gives the same answer.
fn agent_for(record: &TokenRecord, token: TokenId, device_key: &[u8]) -> AgentId {
    match record.role {
        TokenRole::Region => AgentId::Region(record.region.clone()),
        TokenRole::Edge => AgentId::Edge(edge_for(token, device_key)),
    }
}

/// The id that a device with that key gets by that token, if it becomes an edge.
pub fn edge_for(token: TokenId, device_key: &[u8]) -> EdgeId {
    let hash = blake3::derive_key("skein edge id v1", &[&token.0, device_key].concat());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    // A UUID of version 8 (RFC 9562: custom), variant 1.
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    EdgeId(id)
}

/// Why a grant is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The grant's roots are not those that the token pins.
    #[error("the grant's trust bundle does not contain the root that the token pins")]
    Root,
    /// What is trusted already does not lead to what the grant wants to be trusted.
    #[error("{0}")]
    Lineage(String),
    /// Whoever relayed the grant may have put in roots or plan keys.
    #[error(
        "no trusted root has signed the grant's trust bundle: it was altered on the way, or the hub is too old"
    )]
    Unvouched,
    /// The grant contradicts the token.
    #[error("the grant is for {granted}, the token is for {role} of region \"{region}\"")]
    Scope {
        /// Who the grant names.
        granted: AgentId,
        /// The token's role.
        role: &'static str,
        /// The token's region.
        region: RegionName,
    },
    /// The certificate does not verify or is not for this key and agent.
    #[error("the granted certificate is unusable: {0}")]
    Certificate(String),
}

/// How the trust of a grant follows from what the token pins.
fn pinned_lineage(token: &JoinToken, grant: &JoinGrant) -> Result<TrustChain, GrantError> {
    if let Some(chain) = told_chain(&grant.ext) {
        // The root may have been replaced, also more than once, since the token was printed.
        let known =
            follow_pins(&token.pins, &chain).map_err(|error| GrantError::Lineage(error.to_string()))?;
        return if known == grant.trust { Ok(chain) } else { Err(GrantError::Unvouched) };
    }
    let is_pinned = |root: &&Bytes| spki_hash(root).is_ok_and(|pin| token.pins.contains(&pin));
    let mut pinned = grant.trust.roots.iter().filter(is_pinned).peekable();
    if pinned.peek().is_none() {
        return Err(GrantError::Root);
    }
    if !is_vouched(&grant.trust, &grant.ext, pinned) {
        return Err(GrantError::Unvouched);
    }
    Ok(TrustChain::default())
}

/// Turns a grant into an identity, after checking that it is what the token promised.
///
/// # Errors
/// [`GrantError`].
pub fn accept_grant(
    token: &JoinToken,
    device: DeviceKey,
    tls: TlsKey,
    grant: JoinGrant,
) -> Result<AgentIdentity, GrantError> {
    let lineage = pinned_lineage(token, &grant)?;
    let role = match &grant.agent {
        AgentId::Region(name) if *name != grant.region => None,
        AgentId::Region(_) => Some(TokenRole::Region),
        AgentId::Edge(_) => Some(TokenRole::Edge),
    };
    if role != Some(token.role) || grant.region != token.region {
        let (role, region) = (token.role.as_str(), token.region.clone());
        return Err(GrantError::Scope { granted: grant.agent, role, region });
    }
    let JoinGrant { agent, name, region, chain, trust, endpoints, time, ext: _ } = grant;
    let (not_before, not_after) = check_chain(&agent, &chain, &trust, &tls, time, None)?;
    // A hub that does not know yet where the region listens names none: then where the token led goes on to serve.
    let endpoints = if endpoints.is_empty() { token.endpoints.clone() } else { endpoints };
    Ok(AgentIdentity {
        agent,
        name,
        region,
        chain,
        tls,
        device,
        trust,
        lineage,
        endpoints,
        not_before,
        not_after,
        returns: 0,
        clock_ahead_ms: 0,
        placed: Placed::default(),
    })
}

/// That a chain leads to a trusted root and is for this agent and this key; gives its validity. Beside the hub, the
/// issuer of the region `own` may have issued it.
pub(crate) fn check_chain(
    agent: &AgentId,
    chain: &[Bytes],
    trust: &protocol::enrolment::TrustBundle,
    tls: &TlsKey,
    now: UnixMillis,
    own: Option<&RegionName>,
) -> Result<(UnixMillis, UnixMillis), GrantError> {
    let unusable = |detail: String| GrantError::Certificate(detail);
    let ders = crate::certificate::rustls_chain(chain);
    let between = verify_chain(&ders, trust, now).map_err(|error| unusable(error.to_string()))?;
    let leaf = ders.first().ok_or_else(|| unusable("it is missing".to_owned()))?;
    let facts = PeerCertificate::read(leaf).map_err(|error| unusable(error.to_string()))?;
    let named = facts.agent(&trust.trust_domain).map_err(|error| unusable(error.to_string()))?;
    if named != *agent {
        return Err(unusable(format!("it names {named}, expected {agent}")));
    }
    check_issuer(leaf, &facts.spiffe, &between, &trust.trust_domain, own)
        .map_err(|error| unusable(error.to_string()))?;
    if facts.spki_hash != tls.spki_hash() {
        return Err(unusable("it is for another key".to_owned()));
    }
    validity(leaf).map_err(|error| unusable(error.to_string()))
}
