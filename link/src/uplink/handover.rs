//! An edge changes from one region's link to another's: make before break.
//!
//! ```text
//!   linked here --- a placement names another region, or another one stood in ---> scout dials the edge's own
//!       ^                                                                             |        | failed
//!       |                                                              Welcome        |        v
//!       |                                              nothing new is sent here <-----+      pause, again
//!       |                                                     | after DRAIN
//!   serve the new link <---- goodbye, closed -----------------+
//! ```
//! While the scout looks, the link goes on as if nothing were. Once it has found a welcome, what is on its way here gets a
//! moment to be acknowledged: what is not, the edge still has, and sends again on the new link. The plan in force does not
//! depend on any link.
//!
//! # Who stands in
//! An edge's placement names regions that stand in for its own (see [`identity::placement`]). They are dialled when its
//! own does not answer for [`STANDBY_AFTER`], which a restart does not take; whoever is linked there keeps looking for its
//! own, so it comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use identity::{AgentIdentity, SeededEntropy};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, RegionName};
use protocol::placement::SignedPlacement;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::dial::Connected;
use super::trust::Told;
use super::{Runner, UplinkConfig};
use crate::keeping::amend;

/// How long an edge's own region is tried alone before those that stand in are dialled too.
pub(super) const STANDBY_AFTER: Duration = Duration::from_secs(15);
/// How long what is on its way on the link before has to be acknowledged.
const DRAIN: Duration = Duration::from_secs(1);
/// Pauses of a scout are so many times as long as those of an edge without a link.
const SCOUT_PATIENCE: u32 = 3;

/// What is to be done about where a live link leads.
pub(super) enum Due {
    /// The identity changed: look whether the link is where it belongs.
    Look,
    /// The edge's own region has welcomed it.
    Found(Box<Connected>),
    /// What was on its way had its time.
    Leave,
}

/// Where a live link leads, and what is done to have another one.
pub(super) struct Handover {
    region: RegionName,
    identity: watch::Receiver<Arc<AgentIdentity>>,
    scout: Option<Scout>,
    leave_at: Option<Instant>,
    pub(super) told: Told,
}

/// Ends when it is dropped.
struct Scout {
    wanted: RegionName,
    found: oneshot::Receiver<Box<Connected>>,
    _ends: DropGuard,
}

impl Handover {
    pub(super) fn new(region: RegionName, identity: watch::Receiver<Arc<AgentIdentity>>, told: Told) -> Self {
        Self { region, identity, scout: None, leave_at: None, told }
    }

    /// Ends when something is to be done; may be dropped and called again at any time.
    pub(super) async fn due(&mut self) -> Due {
        if let Some(at) = self.leave_at {
            tokio::time::sleep_until(at).await;
            return Due::Leave;
        }
        let Self { identity, scout, .. } = self;
        let found = async {
            match scout {
                Some(scout) => (&mut scout.found).await.ok(),
                None => None,
            }
        };
        tokio::select! {
            Ok(()) = identity.changed() => Due::Look,
            Some(connected) = found => Due::Found(connected),
            else => std::future::pending().await,
        }
    }

    /// What the region is told that the edge leaves.
    pub(super) fn goodbye(&self) -> Refusal {
        let wanted = self.identity.borrow().region.clone();
        let message = format!("the edge is linked to region \"{wanted}\" from now on");
        Refusal { reason: RefusalReason::Superseded, message, retry_after_ms: None }
    }
}

impl Runner {
    /// Sends a scout when the link is not where it belongs, and ends one that is not needed any more.
    pub(super) fn look_home(&mut self, handover: &mut Handover) {
        let identity = Arc::clone(&handover.identity.borrow_and_update());
        if identity.region == handover.region || !matches!(identity.agent, AgentId::Edge(_)) {
            handover.scout = None;
            return;
        }
        if handover.scout.as_ref().is_some_and(|scout| scout.wanted == identity.region) {
            return;
        }
        tracing::info!(here = %handover.region, wanted = %identity.region, "this link is not to the edge's own region");
        let (sender, found) = oneshot::channel();
        let ends = CancellationToken::new();
        let scout = self.another();
        let looking = scout.look(sender);
        let ended = ends.clone();
        self.tasks.spawn(async move {
            ended.run_until_cancelled(looking).await;
        });
        handover.scout = Some(Scout { wanted: identity.region.clone(), found, _ends: ends.drop_guard() });
    }

    /// Nothing new goes out on the link before; what comes still counts.
    pub(super) fn found_home(&mut self, handover: &mut Handover, connected: Box<Connected>) {
        tracing::info!(here = %handover.region, found = %connected.region, "another region has welcomed the edge");
        self.shared.set_live(None);
        handover.leave_at = Some(Instant::now() + DRAIN);
        self.next = Some(connected);
    }

    /// Whether placements are taken here; otherwise they are the owner's to take.
    pub(super) fn takes_placements(&self) -> bool {
        self.config.recovery.is_some() && matches!(self.config.identity.borrow().agent, AgentId::Edge(_))
    }

    /// Takes a placement: it is durable before the edge acts on it.
    pub(super) async fn take_placement(&self, placement: &SignedPlacement) {
        let Some(recovery) = &self.config.recovery else { return };
        let place = |present: &AgentIdentity| present.placed_by(placement).map_err(|error| error.to_string());
        match amend(&recovery.store, &recovery.identity, place).await {
            Ok(Some(placed)) => {
                tracing::info!(region = %placed.region, endpoints = ?placed.endpoints, "the edge is placed");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error, "a placement is refused; the edge stays where it is"),
        }
    }

    /// One that dials beside this one.
    fn another(&mut self) -> Self {
        let seed = self.config.entropy.below(u64::MAX);
        let UplinkConfig { identity, incarnation, software, profile, network, clock, recovery, .. } =
            &self.config;
        let mut profile = profile.clone();
        profile.retry_max = profile.retry_max.saturating_mul(SCOUT_PATIENCE);
        let config = UplinkConfig {
            identity: identity.clone(),
            incarnation: *incarnation,
            software: software.clone(),
            profile,
            network: Arc::clone(network),
            clock: Arc::clone(clock),
            // For jitter alone.
            entropy: Box::new(SeededEntropy::new(seed)),
            recovery: recovery.clone(),
        };
        Self {
            config,
            reach: self.reach,
            source: Arc::clone(&self.source),
            shared: Arc::clone(&self.shared),
            events: self.events.clone(),
            tasks: self.tasks.clone(),
            cancel: self.cancel.clone(),
            failures: 0,
            new_way: watch::Sender::new(()),
            shown: None,
            next: None,
            standby_from: self.standby_from,
        }
    }

    /// Dials the edge's own region until that welcomes it.
    async fn look(mut self, found: oneshot::Sender<Box<Connected>>) {
        let cancel = self.cancel.clone();
        let looking = async {
            loop {
                match self.dial_site(None).await {
                    Ok(connected) => return connected,
                    Err(failure) => {
                        let pause = self.pause(&failure);
                        tracing::debug!(reason = %failure.reason, pause_ms = pause.as_millis(), "the edge's own region does not answer");
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        };
        if let Some(connected) = cancel.run_until_cancelled(looking).await {
            // Nobody waits for it when the link before is gone; then the next attempt finds it.
            let _ = found.send(Box::new(connected));
        }
    }
}
