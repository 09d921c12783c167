//! A link moves to where it belongs: to another region, or to a better endpoint of the same listener. Make before break.
//!
//! ```text
//!   linked here --- a placement names another region, or another one stood in; ---> scout dials the edge's own,
//!       ^           what is listed has better endpoints than this one               or what is better
//!       |                                                                             |        | failed
//!       |                                                              Welcome        |        v
//!       |                                              nothing new is sent here <-----+      pause, again
//!       |                                                     | after DRAIN
//!   serve the new link <---- goodbye, closed -----------------+
//! ```
//! While the scout looks, the link goes on as if nothing were. Once it has found a welcome, what is on its way here gets a
//! moment to be acknowledged: what is not, the edge still has, and sends again on the new link. The plan in force does not
//! depend on any link.
//!
//! Where both endpoints lead to the same listener, that closes the link before as superseded as soon as it knows the new
//! one; then the scout's Welcome is waited for.
//!
//! # Who stands in
//! An edge's placement names regions that stand in for its own (see [`identity::placement`]). They are dialled when its
//! own does not answer for [`STANDBY_AFTER`], which a restart does not take; whoever is linked there keeps looking for its
//! own, so it comes back by itself.

use std::sync::Arc;
use std::time::Duration;

use identity::{AgentIdentity, SeededEntropy};
use protocol::endpoints::SignedEndpoints;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, Generation, RegionName};
use protocol::placement::SignedPlacement;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::choice::{self, Choice, Rank, UNLISTED};
use super::dial::Connected;
use super::trust::Told;
use super::{Runner, UplinkConfig};
use crate::keeping::amend;
use crate::types::Reason;

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
    /// Whoever was looked for has welcomed the agent.
    Found(Box<Connected>),
    /// What was on its way had its time.
    Leave,
}

/// Where a live link leads, and what is done to have another one.
pub(super) struct Handover {
    region: RegionName,
    endpoint: String,
    identity: watch::Receiver<Arc<AgentIdentity>>,
    /// Whether it was looked before what is better than this endpoint.
    looked: bool,
    scout: Option<Scout>,
    leave_at: Option<Instant>,
    pub(super) told: Told,
}

/// What a scout looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// The edge's own region.
    Home(RegionName),
    /// An endpoint of the list of that generation that is better than this rank.
    Better(Rank, Generation),
}

/// Ends when it is dropped.
struct Scout {
    wanted: Wanted,
    found: oneshot::Receiver<Box<Connected>>,
    _ends: DropGuard,
}

impl Handover {
    pub(super) fn new(
        region: RegionName,
        endpoint: String,
        identity: watch::Receiver<Arc<AgentIdentity>>,
        told: Told,
    ) -> Self {
        Self { region, endpoint, identity, looked: false, scout: None, leave_at: None, told }
    }

    /// What there is to look for.
    fn wanted(&self, identity: &AgentIdentity) -> Option<Wanted> {
        if identity.region != self.region {
            let home = matches!(identity.agent, AgentId::Edge(_)).then(|| identity.region.clone());
            return home.map(Wanted::Home);
        }
        let (rank, generation) = choice::worse(identity, &self.endpoint)?;
        Some(Wanted::Better(rank, generation))
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

    /// What the listener is told that the agent leaves.
    pub(super) fn goodbye(&self) -> Refusal {
        let identity = self.identity.borrow();
        let message = if identity.region == self.region {
            "the agent is linked by another endpoint from now on".to_owned()
        } else {
            format!("the edge is linked to region \"{}\" from now on", identity.region)
        };
        Refusal { reason: RefusalReason::Superseded, message, retry_after_ms: None }
    }
}

impl Runner {
    /// Sends a scout when the link is not where it belongs, and ends one that is not needed any more.
    pub(super) fn look_home(&mut self, handover: &mut Handover) {
        let identity = Arc::clone(&handover.identity.borrow_and_update());
        let is_first = !std::mem::replace(&mut handover.looked, true);
        let Some(wanted) = handover.wanted(&identity) else {
            handover.scout = None;
            return;
        };
        if handover.scout.as_ref().is_some_and(|scout| scout.wanted == wanted) {
            return;
        }
        let entropy = &mut *self.config.entropy;
        let pause = match &wanted {
            Wanted::Home(region) => {
                tracing::info!(here = %handover.region, wanted = %region, "this link is not to the edge's own region");
                Duration::ZERO
            }
            // Nothing that is listed answered when this one was dialled.
            Wanted::Better(UNLISTED, _) if !is_first => Choice::leave(entropy),
            Wanted::Better(..) => self.choice.pause(0, entropy),
        };
        if let Wanted::Better(..) = wanted {
            let (here, pause_ms) = (&handover.endpoint, pause.as_millis());
            tracing::info!(here, pause_ms, "there are better endpoints than that of this link");
        }
        let (sender, found) = oneshot::channel();
        let ends = CancellationToken::new();
        let scout = self.another();
        let looking = scout.look(wanted.clone(), pause, sender);
        let ended = ends.clone();
        self.tasks.spawn(async move {
            ended.run_until_cancelled(looking).await;
        });
        handover.scout = Some(Scout { wanted, found, _ends: ends.drop_guard() });
    }

    /// Nothing new goes out on the link before; what comes still counts.
    pub(super) fn found_home(&mut self, handover: &mut Handover, connected: Box<Connected>) {
        let (here, found) = (&handover.endpoint, &connected.endpoint);
        tracing::info!(here, found, region = %connected.region, "the link moves");
        self.shared.set_live(None);
        handover.leave_at = Some(Instant::now() + DRAIN);
        self.next = Some(connected);
    }

    /// The link ended for that reason. When the listener closed it because the scout has reached it, the scout's Welcome is
    /// waited for.
    pub(super) async fn catch_up(&mut self, handover: &mut Handover, reason: Reason) -> Reason {
        let superseded =
            matches!(&reason, Reason::Peer(refusal) if refusal.reason == RefusalReason::Superseded);
        let patience = self.config.profile.connect_timeout;
        if superseded
            && self.next.is_none()
            && let Some(scout) = &mut handover.scout
            && let Ok(Ok(connected)) = tokio::time::timeout(patience, &mut scout.found).await
        {
            self.next = Some(connected);
        }
        reason
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

    /// Takes a list of endpoints: it is durable before the agent goes by it.
    pub(super) async fn take_endpoints(&self, list: &SignedEndpoints) {
        let Some(recovery) = &self.config.recovery else { return };
        let take = |present: &AgentIdentity| present.listed_by(list).map_err(|error| error.to_string());
        match amend(&recovery.store, &recovery.identity, take).await {
            Ok(Some(listed)) => {
                let endpoints: Vec<_> = listed.preferred().iter().map(ToString::to_string).collect();
                tracing::info!(?endpoints, "there is a new list of endpoints");
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(error, "a list of endpoints is refused; the one before still counts")
            }
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
            choice: self.choice.clone(),
        }
    }

    /// Dials, after a pause, what is wanted until that welcomes the agent.
    async fn look(mut self, wanted: Wanted, mut pause: Duration, found: oneshot::Sender<Box<Connected>>) {
        let cancel = self.cancel.clone();
        let looking = async {
            let mut looks = 0;
            loop {
                tokio::time::sleep(pause).await;
                let attempt = match &wanted {
                    Wanted::Home(_) => self.dial_site(None).await,
                    Wanted::Better(rank, _) => self.dial_better(*rank).await,
                };
                let failure = match attempt {
                    Ok(connected) => return connected,
                    Err(failure) => failure,
                };
                looks += 1;
                pause = match &wanted {
                    Wanted::Home(_) => self.pause(&failure),
                    Wanted::Better(..) => self.choice.pause(looks, &mut *self.config.entropy),
                };
                tracing::debug!(?wanted, reason = %failure.reason, pause_ms = pause.as_millis(), "what is wanted does not answer");
            }
        };
        if let Some(connected) = cancel.run_until_cancelled(looking).await {
            // Nobody waits for it when the link before is gone; then the next attempt finds it.
            let _ = found.send(Box::new(connected));
        }
    }
}
