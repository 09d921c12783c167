//! One region's session: what it and its edges hold, and what they are to have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use link::{DownlinkHandle, SendError};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, Digest, EdgeId, RegionName};
use protocol::message::{Control, EdgeLink, PlanHead};
use protocol::offer::{self, Content};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::observed::{Link, Observed};
use crate::plans::{Plan, PlanBook};
use crate::roster::Roster;

/// Messages of one region that wait for its session.
const MESSAGES_MAX: usize = 256;

/// What the server tells a session.
pub(super) enum Input {
    /// Links and holdings of the region's edges.
    Links {
        /// The edges.
        links: Vec<EdgeLink>,
        /// Whether the list that followed the connection is complete.
        last: bool,
    },
    /// Blobs that are missing at the region or one of its edges.
    Wanted {
        /// For whose plan.
        edge: Option<EdgeId>,
        /// Which ones.
        digests: Vec<Digest>,
    },
    /// Somebody has stored this plan.
    Stored {
        /// Whose plan.
        edge: Option<EdgeId>,
        /// Which one.
        head: PlanHead,
    },
    /// Somebody refused a plan; what it holds is unknown now.
    Refused {
        /// Whose plan.
        edge: Option<EdgeId>,
    },
}

/// The server's end of a session. Dropping it ends the session.
pub(super) struct Handle {
    dirty: Arc<Dirty>,
    inputs: mpsc::Sender<Input>,
    cancel: CancellationToken,
}

#[derive(Default)]
struct Dirty {
    agents: Mutex<BTreeSet<AgentId>>,
    some: Notify,
}

impl Dirty {
    fn mark(&self, agents: impl IntoIterator<Item = AgentId>) {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).extend(agents);
        self.some.notify_one();
    }

    fn take(&self) -> BTreeSet<AgentId> {
        std::mem::take(&mut *self.agents.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Handle {
    /// Says that agents of this region are to have something else.
    pub(super) fn mark(&self, agents: impl IntoIterator<Item = AgentId>) {
        self.dirty.mark(agents);
    }

    /// Hands over an input; waits while the session is busy, which slows down only this region.
    pub(super) async fn tell(&self, input: Input) {
        // A session that ended needs no inputs.
        let _ = self.inputs.send(input).await;
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
}

/// One region's session.
pub(super) struct Session {
    shared: Shared,
    peer: AgentId,
    region: RegionName,
    /// What each agent holds, as far as it is known or was sent.
    held: BTreeMap<AgentId, PlanHead>,
    /// Edges the region listed since it connected.
    listed: BTreeSet<EdgeId>,
    /// Whether the region has told all it holds; edges get offers only afterwards, so that nothing is sent twice.
    complete: bool,
    /// Whole blobs that were sent on streams of their own since, and that nobody has asked for yet: an agent that
    /// gets a plan asks for all it lacks, what is on its way included.
    on_their_way: BTreeMap<AgentId, BTreeSet<Digest>>,
    dirty: Arc<Dirty>,
}

impl Session {
    /// A session for a region that just linked and holds `stored`.
    pub(super) fn begin(
        shared: Shared,
        region: RegionName,
        stored: Option<PlanHead>,
        cancel: &CancellationToken,
    ) -> (Handle, impl Future<Output = ()> + use<>) {
        let (inputs, receiver) = mpsc::channel(MESSAGES_MAX);
        let (dirty, cancel) = (Arc::<Dirty>::default(), cancel.child_token());
        let peer = AgentId::Region(region.clone());
        let session = Self {
            shared,
            held: stored.map(|head| (peer.clone(), head)).into_iter().collect(),
            listed: BTreeSet::new(),
            complete: false,
            on_their_way: BTreeMap::new(),
            dirty: dirty.clone(),
            peer: peer.clone(),
            region,
        };
        dirty.mark([peer]);
        let handle = Handle { dirty, inputs, cancel: cancel.clone() };
        (handle, async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                ended = session.run(receiver) => if let Err(error) = ended {
                    tracing::debug!(%error, "the session ended with its link");
                }
            }
        })
    }

    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), SendError> {
        let dirty = self.dirty.clone();
        loop {
            tokio::select! {
                biased;
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input).await?,
                    None => return Ok(()),
                },
                () = dirty.some.notified() => {
                    for agent in dirty.take() {
                        self.bring_up_to_date(&agent).await?;
                    }
                }
            }
        }
    }

    async fn handle(&mut self, input: Input) -> Result<(), SendError> {
        match input {
            Input::Links { links, last } => {
                for link in links {
                    self.observe(link);
                }
                if last && !self.complete {
                    self.complete = true;
                    let stale: Vec<_> = self.listed.iter().copied().map(AgentId::Edge).collect();
                    self.dirty.mark(stale);
                    self.dirty
                        .mark(self.shared.roster.of_region(&self.region).into_iter().map(AgentId::Edge));
                }
            }
            Input::Wanted { edge, digests } => self.send_wanted(edge, digests).await?,
            Input::Stored { edge, head } => {
                let agent = self.agent(edge);
                self.on_their_way.remove(&agent);
                self.held.insert(agent, head);
            }
            Input::Refused { edge } => {
                let agent = self.agent(edge);
                self.on_their_way.remove(&agent);
                self.held.remove(&agent);
            }
        }
        Ok(())
    }

    fn agent(&self, edge: Option<EdgeId>) -> AgentId {
        edge.map_or_else(|| self.peer.clone(), AgentId::Edge)
    }

    /// Takes over what the region knows of an edge.
    fn observe(&mut self, link: EdgeLink) {
        let EdgeLink { edge, up, since, software, stored, held } = link;
        let agent = AgentId::Edge(edge);
        self.on_their_way.remove(&agent);
        self.listed.insert(edge);
        match held {
            Some(held) => self.held.insert(agent.clone(), held),
            None => self.held.remove(&agent),
        };
        if self.shared.roster.edge(&edge).is_none_or(|listed| listed.region != self.region) {
            self.dirty.mark([agent]);
            return;
        }
        let region = self.region.clone();
        self.shared.observed.update(&agent, |view| {
            let before = (view.link.clone(), view.stored, view.region.clone());
            view.link = Link { up, since, address: String::new() };
            view.region = Some(region);
            view.stored = stored.or(view.stored);
            if !software.is_empty() {
                view.software = software;
            }
            before != (view.link.clone(), view.stored, view.region.clone())
        });
    }

    /// Sends what an agent lacks: its newest plan, or word that it does not belong here any more.
    async fn bring_up_to_date(&mut self, agent: &AgentId) -> Result<(), SendError> {
        let edge = agent.edge();
        if let Some(edge) = edge {
            if !self.complete {
                return Ok(());
            }
            let listed = self.shared.roster.edge(&edge);
            let ours = listed.as_ref().is_some_and(|listed| listed.region == self.region);
            let revoked = listed.is_some_and(|listed| listed.revoked);
            if !ours || revoked {
                return self.remove(edge, revoked).await;
            }
        }
        let Some(plan) = self.shared.plans.get(agent) else { return Ok(()) };
        let held = self.held.get(agent).copied();
        if held == Some(plan.head) {
            return Ok(());
        }
        let span = tracing::debug_span!("send", %agent, generation = %plan.head.generation);
        if let Some(origin) = &plan.origin {
            process::story::continue_from(&span, origin);
        }
        self.send_plan(edge, &plan, held).instrument(span).await?;
        // The control lane is ordered: whatever is offered next may build on this one.
        self.held.insert(agent.clone(), plan.head);
        Ok(())
    }

    async fn send_plan(
        &mut self,
        edge: Option<EdgeId>,
        plan: &Plan,
        held: Option<PlanHead>,
    ) -> Result<(), SendError> {
        let prepared = self.prepare(edge, plan, held);
        self.shared.downlink.send(&self.peer, Control::Plan(prepared.offer)).await?;
        // A difference may turn out to be of no use, and is then asked for; a whole blob cannot.
        let whole = prepared.later.iter().filter(|blob| blob.base.is_none()).map(|blob| blob.digest);
        self.on_their_way.insert(plan.agent.clone(), whole.collect());
        for blob in prepared.later {
            self.shared.downlink.send_blob(&self.peer, edge, blob).await?;
        }
        Ok(())
    }

    fn prepare(&self, edge: Option<EdgeId>, plan: &Plan, held: Option<PlanHead>) -> offer::Prepared {
        let content = |content: &crate::plans::Content| -> (Digest, Bytes) {
            (content.digest, content.encoded.clone())
        };
        let (digest, encoded) = content(&plan.content);
        let target = Content { body: &plan.content.body, encoded: &encoded, digest };
        let known = held.and_then(|held| {
            [Some(&plan.content), plan.previous.as_ref()]
                .into_iter()
                .flatten()
                .find(|one| one.digest == held.body)
        });
        let known =
            known.map(|known| Content { body: &known.body, encoded: &known.encoded, digest: known.digest });
        offer::prepare(edge, &plan.signed, &target, known.as_ref(), |digest| self.shared.plans.blob(digest))
    }

    async fn remove(&mut self, edge: EdgeId, revoked: bool) -> Result<(), SendError> {
        self.held.remove(&AgentId::Edge(edge));
        self.on_their_way.remove(&AgentId::Edge(edge));
        if !self.listed.remove(&edge) && !revoked {
            return Ok(());
        }
        let message = if revoked { "the edge was revoked" } else { "the edge is not one of this region" };
        let refusal =
            Refusal { reason: RefusalReason::Revoked, message: message.to_owned(), retry_after_ms: None };
        self.shared.downlink.send(&self.peer, Control::EdgeRemoved { edge, refusal }).await
    }

    async fn send_wanted(&mut self, edge: Option<EdgeId>, mut digests: Vec<Digest>) -> Result<(), SendError> {
        if let Some(sent) = self.on_their_way.remove(&self.agent(edge)) {
            // Once: who asks again did not get it.
            digests.retain(|digest| !sent.contains(digest));
        }
        let digests = &digests;
        let (inline, later) = offer::answer(digests, |digest| self.shared.plans.blob(digest));
        if inline.len() + later.len() < digests.len() {
            // The plan they belong to is history; the newest one follows.
            self.held.remove(&self.agent(edge));
            self.dirty.mark([self.agent(edge)]);
        }
        if !inline.is_empty() {
            self.shared.downlink.send(&self.peer, Control::Blobs { edge, blobs: inline }).await?;
        }
        for blob in later {
            self.shared.downlink.send_blob(&self.peer, edge, blob).await?;
        }
        Ok(())
    }
}
