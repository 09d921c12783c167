//! Trust as it changes over a live link: a chain of signed bundles is followed and stored, and whoever is above hears
//! which one is kept, now and in every Hello ([`protocol::trust`]).

use identity::AgentIdentity;
use protocol::UnixMillis;
use protocol::frame::Message;
use protocol::lane::Framed as _;
use protocol::message::Control;
use protocol::trust::{TrustChain, TrustKept};

use super::Runner;
use super::handover::Handover;
use crate::keeping::amend;

/// What the upper side was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    sequence: u64,
    root: [u8; 32],
    /// End of the certificate then; with another one the root may be another.
    not_after: UnixMillis,
}

impl Told {
    /// What that Hello or message tells.
    pub(super) fn by(identity: &AgentIdentity, kept: &TrustKept) -> Self {
        Self { sequence: kept.sequence, root: kept.root, not_after: identity.not_after }
    }
}

impl Runner {
    /// Takes what a link takes itself, where it may keep an identity; gives back the rest.
    pub(super) async fn take(&self, control: Control) -> Option<Control> {
        if let Control::Placement { placement, .. } = &control
            && self.takes_placements()
        {
            self.take_placement(placement).await;
            return None;
        }
        if let Control::Endpoints { edges: false, list } = &control
            && self.config.recovery.is_some()
        {
            self.take_endpoints(list).await;
            return None;
        }
        if let Control::TrustChain(chain) = &control
            && self.config.recovery.is_some()
        {
            self.take_trust(chain).await;
            return None;
        }
        Some(control)
    }

    /// Takes a newer bundle, if somebody trusted has signed it: it is durable before it is used or told.
    async fn take_trust(&self, chain: &TrustChain) {
        let Some(recovery) = &self.config.recovery else { return };
        let follow = |present: &AgentIdentity| present.trusting(chain).map_err(|error| error.to_string());
        match amend(&recovery.store, &recovery.identity, follow).await {
            Ok(Some(identity)) => {
                tracing::info!(sequence = identity.trust.sequence, "a newer trust bundle is kept");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error, "a trust bundle is not taken; the one before still counts"),
        }
    }

    /// What the upper side has not heard yet of what is kept here.
    pub(super) fn kept_news(&self, handover: &mut Handover) -> Option<Message> {
        let identity = self.config.identity.borrow();
        let told = handover.told;
        if (identity.trust.sequence, identity.not_after) == (told.sequence, told.not_after) {
            return None;
        }
        let kept = identity.trust_kept();
        handover.told = Told::by(&identity, &kept);
        if (kept.sequence, kept.root) == (told.sequence, told.root) {
            return None;
        }
        Control::TrustKept(vec![kept]).to_message().ok()
    }
}
