//! The return after expiry: what the agent sends, what the hub decides, what the agent accepts.
//!
//! # Why
//! Nothing needs a valid certificate here. The agent knows the roots and checks the chain of whom it dials at the
//! time that chain was made, because the reason for being here may be a clock that is decades off. So a stolen
//! certificate of a region that has expired could relay a return; it could not use it: the hub's challenge is
//! signed by the device key together with the new TLS key, and what comes back is a certificate for that key.
//! Its beginning, which the authority signed a moment ago, is what puts a wrong clock right.

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::AgentId;
use protocol::recovery::{RecoverGrant, RecoverRequest, recover_statement};

use crate::agent::AgentIdentity;
use crate::authority::{Authority, BACKDATE_MS, requested_spki};
use crate::entropy::Entropy;
use crate::join::GrantError;
use crate::key::{KeyError, TlsKey, ed25519_verifies};
use crate::renewal::accept_renewal;
use crate::time::Clock;

/// How long a challenge can be answered.
pub const CHALLENGE_VALIDITY_MS: UnixMillis = 60_000;
/// Bytes of a challenge: random ones, the time, what the authority knows them by.
const CHALLENGE_BYTES: usize = 16 + 8 + 32;

/// What the hub keeps of an agent's returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returns {
    /// How many there were.
    pub count: u64,
    /// SHA-256 of the public TLS key of the last one.
    pub key: [u8; 32],
}

/// Why an agent may not return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barred {
    /// The request is not its own, or is malformed.
    Refused(Refusal),
    /// Somebody else has returned with the same device key: one disk became two.
    Cloned {
        /// How often this one has returned.
        shown: u64,
        /// Its new key.
        key: [u8; 32],
        /// What is on record.
        known: Returns,
    },
}

impl Authority {
    /// A challenge for that agent; only this authority can tell that it made it, also after a restart.
    pub fn challenge(&self, agent: &AgentId, now: UnixMillis, entropy: &mut dyn Entropy) -> Bytes {
        let mut bytes = vec![0; 16];
        entropy.fill(&mut bytes);
        bytes.extend_from_slice(&now.to_be_bytes());
        let seal = self.challenge_seal(agent, &bytes);
        bytes.extend_from_slice(seal.as_bytes());
        bytes.into()
    }

    /// Whether that is a challenge which was given to that agent a moment ago.
    ///
    /// # Errors
    /// The [`Refusal`] to send; asking for another challenge helps.
    pub fn check_challenge(&self, agent: &AgentId, challenge: &[u8], now: UnixMillis) -> Result<(), Refusal> {
        let stale = |message: &str| {
            let retry_after_ms = Some(0);
            Err(Refusal { reason: RefusalReason::ProofInvalid, message: message.to_owned(), retry_after_ms })
        };
        let Some((said, seal)) =
            challenge.split_at_checked(24).filter(|_| challenge.len() == CHALLENGE_BYTES)
        else {
            return stale("the challenge is not one of this hub's");
        };
        // Hashes compare in constant time.
        if self.challenge_seal(agent, said) != *<&[u8; 32]>::try_from(seal).unwrap_or(&[0; 32]) {
            return stale("the challenge is not one of this hub's for this agent");
        }
        let mut at = [0; 8];
        at.copy_from_slice(&said[16..]);
        if now.abs_diff(u64::from_be_bytes(at)) > CHALLENGE_VALIDITY_MS {
            return stale("the challenge is too old: ask for another");
        }
        Ok(())
    }

    fn challenge_seal(&self, agent: &AgentId, said: &[u8]) -> blake3::Hash {
        let key = blake3::derive_key("skein recovery challenge v1", &self.link_secret());
        blake3::keyed_hash(&key, &[said, agent.to_string().as_bytes()].concat())
    }
}

/// The agent's request, for a certificate over a new key.
///
/// # Errors
/// [`KeyError::Request`] when the new key cannot sign.
pub fn make_recover_request(
    identity: &AgentIdentity,
    tls: &TlsKey,
    challenge: Bytes,
) -> Result<RecoverRequest, KeyError> {
    let (csr, count) = (tls.signing_request()?, identity.returns);
    let statement = recover_statement(&identity.agent, &csr, &challenge, count);
    Ok(RecoverRequest {
        agent: identity.agent.clone(),
        device_proof: identity.device.sign(&statement),
        csr,
        challenge,
        count,
        ext: vec![crate::sealing::told(&identity.device)],
    })
}

/// Whether an agent may return: `device_key` and `known` are what is on record for it. Gives what to keep from now
/// on, the same as before when an answer got lost and is asked for again.
///
/// A device that returned more often than is on record is believed: the record was restored from a backup.
///
/// # Errors
/// [`Barred`].
pub fn check_recovery(
    request: &RecoverRequest,
    device_key: &Bytes,
    known: Option<&Returns>,
) -> Result<Returns, Barred> {
    let refuse = |reason, message| Err(Barred::Refused(Refusal { reason, message, retry_after_ms: None }));
    let RecoverRequest { agent, csr, challenge, count, device_proof, .. } = request;
    let statement = recover_statement(agent, csr, challenge, *count);
    if !ed25519_verifies(device_key, &statement, device_proof) {
        let message = format!("the proof is not by the device key of {agent}");
        return refuse(RefusalReason::ProofInvalid, message);
    }
    let key = match requested_spki(csr) {
        Ok(key) => key,
        Err(error) => return refuse(RefusalReason::Malformed, error.to_string()),
    };
    let Some(next) = count.checked_add(1) else {
        return refuse(RefusalReason::Malformed, format!("count {count} cannot be"));
    };
    let anew = Returns { count: next, key };
    match known {
        Some(known) if *known == anew => Ok(anew),
        Some(known) if *count < known.count => Err(Barred::Cloned { shown: *count, key, known: *known }),
        Some(_) | None => Ok(anew),
    }
}

/// The identity after the return, and the clock put right by it.
///
/// # Errors
/// [`GrantError`] when the certificate is not for this agent and key.
pub fn accept_recovery(
    identity: &AgentIdentity,
    tls: TlsKey,
    grant: RecoverGrant,
    clock: &dyn Clock,
) -> Result<AgentIdentity, GrantError> {
    let RecoverGrant { renewed, region, count, ext: _ } = grant;
    let renewed = accept_renewal(identity, tls, renewed)?;
    Ok(AgentIdentity { region, returns: count, ..renewed }.granted_now(clock))
}

impl AgentIdentity {
    /// Puts the clock right by the certificate, which was issued a moment ago, and remembers how far it is off. A region's
    /// word is not taken for it.
    #[must_use]
    pub fn granted_now(self, clock: &dyn Clock) -> Self {
        if self.chain.len() == 1 {
            clock.set_right(self.not_before.saturating_add(BACKDATE_MS));
        }
        Self { clock_ahead_ms: clock.ahead_ms(), ..self }
    }
}
