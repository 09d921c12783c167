//! One region's session: sends what the region and its edges lack.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use identity::{Authority, Clock};
use link::{DownlinkHandle, SendError};
use protocol::endpoints::Known;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, Digest, EdgeId, Generation, RegionName};
use protocol::message::{Control, PlanHead};
use protocol::offer::{self, Content};
use protocol::plan::PlanBody;
use protocol::version::Features;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::ledger::{Due, Ledger};
use super::listing::Lists;
use super::tables;
use crate::authority::Keepers;
use crate::observed::Observed;
use crate::plans::{Plan, PlanBook};
use crate::roster::Roster;

/// The server's end of a session. Dropping it ends the session.
pub(super) struct Handle {
    ledger: Arc<Ledger>,
    cancel: CancellationToken,
}

impl Deref for Handle {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// What every session works with.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) downlink: DownlinkHandle,
    pub(super) plans: PlanBook,
    pub(super) observed: Observed,
    pub(super) roster: Roster,
    pub(super) authority: Arc<Authority>,
    pub(super) keepers: Keepers,
    pub(super) clock: Arc<dyn Clock>,
    /// Tables of edges, placements and lists of endpoints signed so far, of any region.
    pub(super) signed: Arc<AtomicU64>,
    /// Where hub and regions listen.
    pub(super) lists: Lists,
}

impl Shared {
    /// The generation of the next table of edges, placement or list of endpoints: fenced by the term, as those of plans are.
    pub(super) fn next_generation(&self) -> Generation {
        let counter = self.signed.fetch_add(1, Ordering::Relaxed) + 1;
        Generation { term: self.plans.term(), counter }
    }
}

/// What a region said that it has when it linked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Has {
    /// Its own plan.
    pub(super) stored: Option<PlanHead>,
    /// Sequence of its trust bundle.
    pub(super) trust: u64,
    /// The hub's list of endpoints; nothing of a region that takes none.
    pub(super) listed: Option<Option<Known>>,
}

/// One region's session.
pub(super) struct Session {
    pub(super) shared: Shared,
    pub(super) peer: AgentId,
    pub(super) region: RegionName,
    /// What the region has: what it would not understand it is not sent.
    pub(super) features: Features,
    pub(super) ledger: Arc<Ledger>,
}

impl Session {
    /// A session for a region that just linked.
    pub(super) fn begin(
        shared: Shared,
        (region, features): (RegionName, Features),
        Has { stored, trust, listed }: Has,
        cancel: &CancellationToken,
    ) -> (Handle, impl Future<Output = ()> + use<>) {
        let (ledger, cancel) = (Arc::new(Ledger::new(&region, stored, trust)), cancel.child_token());
        if let Some(hub) = listed {
            ledger.takes_lists(hub);
        }
        let session = Self {
            shared,
            peer: AgentId::Region(region.clone()),
            region,
            features,
            ledger: Arc::clone(&ledger),
        };
        let handle = Handle { ledger, cancel: cancel.clone() };
        (handle, async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = session.run() => tracing::debug!("the session ended with its link"),
                () = session.keep_table() => {}
            }
        })
    }

    /// Keeps the region's table of its edges new, as long as the session lasts.
    async fn keep_table(&self) {
        loop {
            if let Err(error) = self.send_table().await {
                tracing::debug!(region = %self.region, %error, "the table of edges is not sent; the next link gets one");
            }
            tokio::select! {
                () = self.ledger.edges_changed() => {}
                () = tokio::time::sleep(tables::REFRESH) => {}
            }
            tokio::time::sleep(tables::PAUSE).await;
        }
    }

    async fn send_table(&self) -> Result<(), SendError> {
        if !self.features.has(Features::DELEGATED_RENEWAL) {
            return Ok(());
        }
        let Shared { downlink, authority, roster, clock, .. } = &self.shared;
        let generation = self.shared.next_generation();
        for part in tables::parts(authority, roster, &self.region, generation, &**clock) {
            downlink.send(&self.peer, Control::EdgeTable(part)).await?;
        }
        Ok(())
    }

    /// Sends what is due, until the link is gone.
    async fn run(&self) {
        loop {
            let due = self.ledger.due().await;
            let sent = match &due {
                Due::Blobs(agent, digests) => self.send_blobs(agent, digests).await,
                Due::Agent(agent) => self.bring_up_to_date(agent).await,
            };
            match sent {
                Ok(()) => {}
                // The planner holds back what is too large, so this is a fault of ours; it concerns one agent only.
                Err(SendError::TooLarge(error)) => {
                    let (Due::Blobs(agent, _) | Due::Agent(agent)) = &due;
                    tracing::error!(%agent, %error, "an agent gets nothing more: what it lacks cannot be sent");
                    self.ledger.refused(agent.edge());
                }
                Err(SendError::Down | SendError::Busy) => return,
            }
        }
    }

    /// Sends what an agent lacks: its newest plan, or word that it does not belong here any more.
    async fn bring_up_to_date(&self, agent: &AgentId) -> Result<(), SendError> {
        let edge = agent.edge();
        if let Some(edge) = edge {
            if !self.ledger.is_complete() {
                return Ok(());
            }
            match self.shared.roster.edge(&edge) {
                Some(listed) if listed.revoked => return self.remove(edge, revoked()).await,
                None => return self.remove(edge, foreign()).await,
                Some(listed) if listed.region != self.region => return self.hand_over(edge, &listed).await,
                Some(listed) if listed.home != self.region || self.ledger.was_placed(agent) => {
                    // It stands in, or somebody changed their mind: the edge is to stay, whatever it was told before.
                    self.place(agent, Some(edge), &self.region).await?;
                }
                Some(_) => {}
            }
        } else {
            self.tell_trust().await?;
            self.tell_endpoints().await?;
            self.place(agent, None, &self.region).await?;
        }
        let Some(plan) = self.shared.plans.get(agent) else { return Ok(()) };
        let held = self.ledger.held(agent);
        if held == Some(plan.head) {
            return Ok(());
        }
        let span = tracing::debug_span!("send", %agent, generation = %plan.head.generation);
        if let Some(origin) = &plan.origin {
            process::story::continue_from(&span, origin);
        }
        self.send_plan(edge, &plan, held).instrument(span).await
    }

    /// Tells the region, and by it its edges, whom to trust from now on.
    async fn tell_trust(&self) -> Result<(), SendError> {
        let sequence = self.shared.authority.keyring().sequence();
        if self.ledger.trusts(sequence) || !self.features.has(Features::TRUST_CHAIN) {
            return Ok(());
        }
        match self.shared.authority.chain() {
            Ok(chain) => self.shared.downlink.send(&self.peer, Control::TrustChain(chain)).await?,
            Err(error) => {
                tracing::error!(%error, "the trust bundle cannot be signed; the one before goes on to count");
                return Ok(());
            }
        }
        self.ledger.trusting(sequence);
        Ok(())
    }

    async fn send_plan(
        &self,
        edge: Option<EdgeId>,
        plan: &Plan,
        held: Option<PlanHead>,
    ) -> Result<(), SendError> {
        let prepared = self.prepare(edge, plan, held);
        // A difference may turn out to be of no use, and is then asked for; a whole blob cannot.
        let whole = prepared.later.iter().filter(|blob| blob.base.is_none()).map(|blob| blob.digest);
        self.ledger.offered(&plan.agent, plan.head, whole.collect());
        self.shared.downlink.send(&self.peer, Control::Plan(prepared.offer)).await?;
        if prepared.later.is_empty() {
            return Ok(());
        }
        for blob in prepared.later {
            self.shared.downlink.send_blob(&self.peer, edge, blob).await?;
        }
        // One may have come before the plan that it is for.
        self.ledger.sent(&plan.agent);
        self.shared.downlink.send(&self.peer, Control::Plan(offer::reminder(edge, &plan.signed))).await
    }

    fn prepare(&self, edge: Option<EdgeId>, plan: &Plan, held: Option<PlanHead>) -> offer::Prepared {
        let known = held.and_then(|held| {
            [Some(&plan.content), plan.previous.as_ref()]
                .into_iter()
                .flatten()
                .find(|one| one.digest == held.body)
        });
        let bodies = (plan.content.body(), known.map(|known| (known, known.body())));
        let target = content(&plan.content, &bodies.0);
        let known = bodies.1.as_ref().map(|(known, body)| content(known, body));
        offer::prepare(edge, &plan.signed, &target, known.as_ref(), |digest| self.shared.plans.blob(digest))
    }

    /// Tells the region that an edge is none of its own; one that was revoked it is told of also when it never spoke of it.
    pub(super) async fn remove(&self, edge: EdgeId, refusal: Refusal) -> Result<(), SendError> {
        if !self.ledger.removed(edge) && refusal.message != REVOKED {
            return Ok(());
        }
        self.shared.downlink.send(&self.peer, Control::EdgeRemoved { edge, refusal }).await
    }

    async fn send_blobs(&self, agent: &AgentId, digests: &[Digest]) -> Result<(), SendError> {
        let edge = agent.edge();
        let (inline, later) = offer::answer(digests, |digest| self.shared.plans.blob(digest));
        if inline.len() + later.len() < digests.len() {
            // The plan they belong to has become history; the newest one follows.
            self.ledger.refused(edge);
            self.ledger.mark([agent.clone()]);
        }
        self.ledger.sending(agent, later.iter().map(|blob| blob.digest));
        if !inline.is_empty() {
            self.shared.downlink.send(&self.peer, Control::Blobs { edge, blobs: inline }).await?;
        }
        for blob in later {
            self.shared.downlink.send_blob(&self.peer, edge, blob).await?;
        }
        Ok(())
    }
}

/// What an edge is told that was revoked.
const REVOKED: &str = "the edge was revoked";

fn revoked() -> Refusal {
    Refusal { reason: RefusalReason::Revoked, message: REVOKED.to_owned(), retry_after_ms: None }
}

fn foreign() -> Refusal {
    let message = "the edge is not one of this region".to_owned();
    Refusal { reason: RefusalReason::Revoked, message, retry_after_ms: None }
}

fn content<'a>(of: &'a crate::plans::Content, body: &'a PlanBody) -> Content<'a> {
    Content { body, encoded: &of.encoded, digest: of.digest }
}
