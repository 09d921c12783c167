//! What an agent is: its name, its keys, whom it trusts and where it dials.

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::enrolment::TrustBundle;
use protocol::id::{AgentId, RegionName};
use protocol::trust::TrustChain;

use crate::authority::LinkIdentity;
use crate::key::{DeviceKey, TlsKey};
use crate::placement::Placed;

/// An enrolled agent.
#[derive(Debug, Clone)]
pub struct AgentIdentity {
    /// Who it is.
    pub agent: AgentId,
    /// The name under which the hub's API shows it.
    pub name: String,
    /// The region it belongs to; its own name for a region.
    pub region: RegionName,
    /// Certificate chain (DER), leaf first, without the root.
    pub chain: Vec<Bytes>,
    /// The leaf's key.
    pub tls: TlsKey,
    /// The device's key for life.
    pub device: DeviceKey,
    /// Whom to trust.
    pub trust: TrustBundle,
    /// How that came to be, as it is handed on; empty when a hub of before gave the identity.
    pub lineage: TrustChain,
    /// Where to dial: `host:port`, in order of preference.
    pub endpoints: Vec<String>,
    /// Begin of the leaf's validity.
    pub not_before: UnixMillis,
    /// End of the leaf's validity.
    pub not_after: UnixMillis,
    /// How often it has returned after its certificate had expired (see [`crate::recovery`]).
    pub returns: u64,
    /// How far the mesh's time is ahead of the machine's clock, in milliseconds, as of the last certificate; 0 when
    /// they agree well enough.
    pub clock_ahead_ms: i64,
    /// Where else an edge may dial, as of the last placement it took.
    pub placed: Placed,
}

impl AgentIdentity {
    /// From when on to renew: half of the certificate's life, 10 % earlier or later depending on the agent and
    /// the certificate, so that a fleet enrolled in one minute does not renew in one minute.
    pub fn needs_renewal_at(&self) -> UnixMillis {
        let life = self.not_after.saturating_sub(self.not_before);
        let spread = life / 5;
        let seed = [self.agent.to_string().as_bytes(), &self.not_after.to_be_bytes()].concat();
        let hash = blake3::derive_key("skein renewal jitter v1", &seed);
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash[..8]);
        let jitter = u64::from_be_bytes(bytes).checked_rem(spread).unwrap_or(0);
        self.not_before + life / 2 - spread / 2 + jitter
    }

    /// Whether it is time to renew.
    pub fn renewal_due(&self, now: UnixMillis) -> bool {
        now >= self.needs_renewal_at()
    }

    /// What a region's own listener shows.
    pub fn link_identity(&self) -> LinkIdentity {
        LinkIdentity {
            chain: self.chain.clone(),
            shown: self.trust.roots.iter().chain(&self.lineage.crosses).cloned().collect(),
            tls: self.tls.clone(),
        }
    }
}
