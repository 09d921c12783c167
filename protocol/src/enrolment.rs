//! Join, renewal and trust.
//!
//! The token's secret is the seed of an Ed25519 key; the hub knows only its public half. The joining device signs
//! its own public keys with it, so a region that relays the request can neither replay it for another key
//! nor learn the secret.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::encode;
use crate::id::{AgentId, RegionName};
use crate::plan::KeyId;
use crate::{Extensions, UnixMillis};

/// Names a join token; not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(pub [u8; 16]);

/// A device's wish to become an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The token.
    pub token: TokenId,
    /// Public key of the device (Ed25519, 32 bytes): its identity for life.
    pub device_key: Bytes,
    /// Certificate signing request (DER, PKCS #10) for the TLS key; only its public key is used.
    pub csr: Bytes,
    /// The token key's signature over [`join_statement`].
    pub token_proof: Bytes,
    /// The device key's signature over [`join_statement`].
    pub device_proof: Bytes,
    /// The name the device would like, a DNS label; a token that names one prevails.
    pub name: String,
    /// Labels the device would like; those of the token prevail.
    pub labels: BTreeMap<String, String>,
    /// What the device is: `os`, `arch`, `version`, `kubernetes`.
    pub facts: BTreeMap<String, String>,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// The bytes both proofs of a [`JoinRequest`] sign.
pub fn join_statement(token: TokenId, device_key: &[u8], csr: &[u8]) -> Vec<u8> {
    statement(b"skein join v1\0", &[&token.0, device_key, csr])
}

/// Extension of a [`JoinRequest`]: the address that the device dialled from, as text, added by whoever relays.
pub const SOURCE_EXTENSION: u16 = 9;
/// Longest of it, in bytes.
const SOURCE_BYTES_MAX: usize = 64;
/// Fact in the Hello of a region that it puts [`SOURCE_EXTENSION`] into every join, in place of what the device may have
/// put there. Of one that does not say so, what a join tells is the device's own word.
pub const TELLS_SOURCE: &str = "tells-source";

/// That request as coming from there.
#[must_use]
pub fn from_source(mut request: JoinRequest, source: SocketAddr) -> JoinRequest {
    request.ext.retain(|(tag, _)| *tag != SOURCE_EXTENSION);
    request.ext.push((SOURCE_EXTENSION, Bytes::from(source.to_string())));
    request
}

/// The address that the device dialled from, if whoever relays says so.
pub fn source(request: &JoinRequest) -> Option<SocketAddr> {
    let (_, text) = request.ext.iter().find(|(tag, _)| *tag == SOURCE_EXTENSION)?;
    std::str::from_utf8(text.get(..text.len().min(SOURCE_BYTES_MAX))?).ok()?.parse().ok()
}

/// What a device that was accepted receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinGrant {
    /// Who it is from now on.
    pub agent: AgentId,
    /// The name under which the hub's API shows it.
    pub name: String,
    /// The region it belongs to.
    pub region: RegionName,
    /// Certificate chain (DER), leaf first, without the root.
    pub chain: Vec<Bytes>,
    /// Whom to trust.
    pub trust: TrustBundle,
    /// Where to dial: `host:port`, in order of preference.
    pub endpoints: Vec<String>,
    /// The hub's time.
    pub time: UnixMillis,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// An agent's wish for a fresh certificate, over its live link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Who asks; must be the agent of the link, or an edge of the region of the link.
    pub agent: AgentId,
    /// Certificate signing request (DER) for a new TLS key; only its public key is used.
    pub csr: Bytes,
    /// The device key's signature over [`renew_statement`].
    pub device_proof: Bytes,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// The bytes the proof of a [`RenewRequest`] signs.
pub fn renew_statement(agent: &AgentId, csr: &[u8]) -> Vec<u8> {
    statement(b"skein renew v1\0", &[agent.to_string().as_bytes(), csr])
}

/// A fresh certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewGrant {
    /// Certificate chain (DER), leaf first, without the root.
    pub chain: Vec<Bytes>,
    /// Whom to trust.
    pub trust: TrustBundle,
    /// Where to dial: `host:port`, in order of preference.
    pub endpoints: Vec<String>,
    /// The hub's time.
    pub time: UnixMillis,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// Whom to trust: certificate authorities and plan-signing keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrustBundle {
    /// Grows with every change; an older bundle never replaces a newer one.
    pub sequence: u64,
    /// The trust domain of all SPIFFE ids.
    pub trust_domain: String,
    /// Root certificates (DER).
    pub roots: Vec<Bytes>,
    /// Keys that may sign plans.
    pub plan_keys: Vec<PlanKey>,
}

/// Extension of grants: a root's signature over [`trust_statement`], so that whoever relays a grant cannot add a root or
/// a key for plans.
pub const TRUST_EXTENSION: u16 = 3;

/// The bytes that vouch for a bundle.
pub fn trust_statement(bundle: &TrustBundle) -> Vec<u8> {
    crate::trust::signed_statement(&encode(bundle))
}

/// A key that may sign plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanKey {
    /// Its name in [`crate::plan::SignedPlan::key_id`].
    pub id: KeyId,
    /// Ed25519 public key, 32 bytes.
    pub public_key: Bytes,
}

/// A refusal, told to the refused peer and shown at the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind.
    pub reason: RefusalReason,
    /// Why, for a person.
    pub message: String,
    /// When it makes sense to try again; never when `None`.
    pub retry_after_ms: Option<u64>,
}

/// Kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusalReason {
    /// No such token.
    TokenUnknown,
    /// The token's time is over.
    TokenExpired,
    /// The token was used by another device key.
    TokenUsed,
    /// The token was withdrawn.
    TokenRevoked,
    /// A proof does not verify: the token or the request was altered.
    ProofInvalid,
    /// The request contradicts the token: region, role or name.
    OutOfScope,
    /// Waits for approval.
    ApprovalPending,
    /// The agent was revoked.
    Revoked,
    /// Whoever decides cannot be reached now.
    Unavailable,
    /// The request is malformed.
    Malformed,
    /// No common protocol version or feature.
    Incompatible,
    /// Another link of the same agent is newer.
    Superseded,
    /// The peer asked for something it has no right to.
    Forbidden,
}

/// Parts joined with their lengths, so that no two lists of parts give the same bytes.
pub(crate) fn statement(context: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = context.to_vec();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
