//! The return of an agent whose certificate has expired: `skein-recover/1`.
//!
//! ```text
//!   agent                          region (relays)                 hub
//!     | Challenge {agent} ----------------------------------------> |
//!     | <------------------------------------ challenge, for a minute
//!     | Recover {csr, challenge, count, proof} --------------------> |  device key, revoked?, count
//!     | <------------------------------------ certificate, count + 1 |
//! ```
//! The device key, which is for life, vouches for the new TLS key over a challenge of the hub's own; whoever relays
//! can neither replay that nor put in another key. `count` is how often the device has returned. Both sides advance
//! it, so of two devices with one disk the second one shows a count that was used.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Extensions;
use crate::enrolment::{RenewGrant, statement};
use crate::id::{AgentId, RegionName};

/// Longest challenge, in bytes.
pub const CHALLENGE_BYTES_MAX: usize = 128;

/// An agent's wish to return, with the hub's challenge answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverRequest {
    /// Who returns.
    pub agent: AgentId,
    /// Certificate signing request (DER) for a new TLS key; only its public key is used.
    pub csr: Bytes,
    /// The challenge, as the hub gave it; at most [`CHALLENGE_BYTES_MAX`] bytes.
    pub challenge: Bytes,
    /// How often the device has returned before.
    pub count: u64,
    /// The device key's signature over [`recover_statement`].
    pub device_proof: Bytes,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// Extension of a [`RecoverRequest`]: the address that the agent dialled from, as text, added by whoever relays.
pub const REMOTE_EXTENSION: u16 = 2;
/// Longest of it, in bytes.
const REMOTE_BYTES_MAX: usize = 64;

/// That request as coming from there.
#[must_use]
pub fn from_remote(mut request: RecoverRequest, remote: &str) -> RecoverRequest {
    request.ext.retain(|(tag, _)| *tag != REMOTE_EXTENSION);
    request.ext.push((REMOTE_EXTENSION, Bytes::copy_from_slice(remote.as_bytes())));
    request
}

/// The address that the agent dialled from, if whoever relays says so.
pub fn remote(request: &RecoverRequest) -> Option<&str> {
    let (_, text) = request.ext.iter().find(|(tag, _)| *tag == REMOTE_EXTENSION)?;
    std::str::from_utf8(text.get(..text.len().min(REMOTE_BYTES_MAX))?).ok()
}

/// The bytes the proof of a [`RecoverRequest`] signs.
pub fn recover_statement(agent: &AgentId, csr: &[u8], challenge: &[u8], count: u64) -> Vec<u8> {
    statement(b"skein recover v1\0", &[agent.to_string().as_bytes(), csr, challenge, &count.to_be_bytes()])
}

/// What an agent that returned receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverGrant {
    /// The certificate, whom to trust, where to dial.
    pub renewed: RenewGrant,
    /// The region it belongs to now.
    pub region: RegionName,
    /// How often it has returned, this time included.
    pub count: u64,
    /// Room for later minor versions.
    pub ext: Extensions,
}
