//! How agents talk to the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, Digest, Generation};
use protocol::message::{BlobPart, PlanHead};
use protocol::plan::{PlanHeader, SignedPlan};
use protocol::report::Report;
use tokio::sync::{Mutex, mpsc, watch};
use tracing::{Instrument as _, Span};

use crate::config::{Clock, Verify};
use crate::engine::{Accepted, Allowed, Plan};
use crate::local::Local;
use crate::store::{Offer, OfferResult, Store, StoreError};
use crate::view::{Metrics, View};
use crate::worker::Context;

/// When an agent whose disk fails should be offered the plan again.
const STORE_RETRY_MS: u64 = 10_000;

/// What became of an offered plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// It is stored durably, with all it needs, and being carried out.
    Stored(PlanHead),
    /// These blobs are missing still: the body first, then what it lists. Blobs that did not verify, and
    /// differences to blobs that are not here, are among them and must come whole.
    Missing(Vec<Digest>),
    /// It is not accepted.
    Refused(Refusal),
}

/// An offer that waits for blobs.
struct Waiting {
    plan: SignedPlan,
    header: PlanHeader,
}

/// The inside of a handle.
pub(crate) struct Inner {
    pub(crate) agent: AgentId,
    pub(crate) verifier: Arc<dyn Verify>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Store,
    context: Arc<Context>,
    pub(crate) view: Arc<View>,
    pub(crate) accepted: mpsc::UnboundedSender<Accepted>,
    allow: watch::Sender<Allowed>,
    waiting: Mutex<Option<Waiting>>,
}

/// A handle of a running engine.
#[derive(Clone)]
pub struct EngineHandle {
    inner: Arc<Inner>,
}

/// Yields reports of what changed; see [`EngineHandle::reports`].
pub struct Reports {
    inner: Arc<Inner>,
}

impl Reports {
    /// Waits until units or the cluster changed since the last report was made, then tells their newest
    /// state. While the caller is busy sending one report, further changes gather in the next.
    pub async fn next(&mut self) -> Report {
        self.inner.view.next_report(|| self.inner.clock.now()).await
    }
}

impl EngineHandle {
    pub(crate) fn new(
        agent: AgentId,
        verifier: Arc<dyn Verify>,
        context: Arc<Context>,
        view: Arc<View>,
        accepted: mpsc::UnboundedSender<Accepted>,
        allow: watch::Sender<Allowed>,
    ) -> Self {
        let waiting = Mutex::new(None);
        let (clock, store) = (Arc::clone(&context.clock), context.store.clone());
        let inner = Inner { agent, verifier, clock, store, context, view, accepted, allow, waiting };
        Self { inner: Arc::new(inner) }
    }

    /// What the workers work with.
    pub(crate) fn context(&self) -> &Context {
        &self.inner.context
    }

    /// Takes a plan with some or all of its blobs. It is verified, then stored durably, then acted on.
    /// An offer with blobs missing is kept until they come or a newer plan is offered.
    pub async fn offer(&self, plan: SignedPlan, blobs: Vec<BlobPart>) -> Offered {
        let mut waiting = self.inner.waiting.lock().await;
        match self.check(&plan) {
            Ok(header) => self.take(&mut waiting, Offer { plan, header, blobs }).await,
            Err(refusal) => Offered::Refused(refusal),
        }
    }

    /// Whether an offer waits for blobs.
    pub async fn waits_for_blobs(&self) -> bool {
        self.inner.waiting.lock().await.is_some()
    }

    /// Takes blobs for the offer that waits for them.
    pub async fn blobs(&self, blobs: Vec<BlobPart>) -> Offered {
        let mut waiting = self.inner.waiting.lock().await;
        match waiting.take() {
            Some(Waiting { plan, header, .. }) => {
                self.take(&mut waiting, Offer { plan, header, blobs }).await
            }
            None => match self.head() {
                Some(head) => Offered::Stored(head),
                None => Offered::Refused(refusal(RefusalReason::Malformed, "no plan waits for blobs")),
            },
        }
    }

    /// The owner of the cluster decides what may be begun; or what was decided is not understood, for this reason:
    /// then nothing new is begun.
    pub fn allow(&self, local: Result<Local, String>) {
        self.inner.allow.send_if_modified(|allowed| {
            let changed = **allowed != local;
            if changed {
                *allowed = Arc::new(local);
            }
            changed
        });
    }

    /// The plan that is stored.
    pub fn head(&self) -> Option<PlanHead> {
        self.inner.view.lock().head
    }

    /// The plan that was carried out last: all its units were deployed or had failed.
    pub fn applied(&self) -> Option<Generation> {
        self.inner.view.lock().applied
    }

    /// Reports of what changed. Changes are told once: use one of these at a time.
    pub fn reports(&self) -> Reports {
        Reports { inner: Arc::clone(&self.inner) }
    }

    /// A report of everything; what it tells is not told again as a change.
    // Asynchronous by contract: whoever reports must not rely on the engine answering from memory.
    #[expect(clippy::unused_async, reason = "the interface leaves room for an answer from the engine's task")]
    pub async fn full_report(&self) -> Report {
        self.inner.view.full_report(self.inner.clock.now())
    }

    /// The units as they are shown, without telling them.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Vec<protocol::report::UnitReport> {
        self.inner.view.lock().units()
    }

    /// The plan's settings for the agent itself.
    pub fn settings(&self) -> watch::Receiver<BTreeMap<String, String>> {
        self.inner.view.settings.subscribe()
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> Metrics {
        self.inner.view.lock().counted()
    }

    /// Whether this plan may be obeyed.
    fn check(&self, plan: &SignedPlan) -> Result<PlanHeader, Refusal> {
        let header = self.inner.verifier.verify(plan).map_err(|reason| {
            refusal(RefusalReason::ProofInvalid, &format!("the plan does not verify: {reason}"))
        })?;
        if header.agent != self.inner.agent {
            let text = format!("the plan is for {}, this is {}", header.agent, self.inner.agent);
            return Err(refusal(RefusalReason::Forbidden, &text));
        }
        let known = self.head().is_some_and(|head| head.generation == header.generation);
        if let Some(end) = header.not_after.filter(|end| *end < self.inner.clock.now() && !known) {
            let text = format!("plan {} was to be begun until {end} ms after the epoch", header.generation);
            return Err(refusal(RefusalReason::OutOfScope, &text));
        }
        Ok(header)
    }

    async fn take(&self, waiting: &mut Option<Waiting>, offer: Offer) -> Offered {
        let (plan, header) = (offer.plan.clone(), offer.header.clone());
        if let Some(other) = waiting.as_ref()
            && other.header.generation > header.generation
        {
            return Offered::Refused(stale(&header, other.header.generation));
        }
        let head = PlanHead { generation: header.generation, body: header.body };
        self.inner.view.offering(true);
        match self.inner.store.offer(offer).instrument(tracing::debug_span!("store")).await {
            Ok(OfferResult::Stored(body)) => {
                *waiting = None;
                self.inner.view.offering(false);
                self.inner.view.show_head(head);
                // A closed channel means that the engine ends; the plan is stored all the same.
                let plan = Plan { body, not_after: header.not_after };
                let _ = self.inner.accepted.send(Accepted { head, plan, story: Span::current() });
                Offered::Stored(head)
            }
            Ok(OfferResult::Known) => Offered::Stored(head),
            Ok(OfferResult::Missing(missing)) => {
                *waiting = Some(Waiting { plan, header });
                Offered::Missing(missing)
            }
            Ok(OfferResult::Stale(stored)) if stored.generation == header.generation => {
                let text = format!(
                    "plan {} is stored with body {}, the offered one has body {}",
                    stored.generation, stored.body, header.body
                );
                Offered::Refused(refusal(RefusalReason::Malformed, &text))
            }
            Ok(OfferResult::Stale(stored)) => Offered::Refused(stale(&header, stored.generation)),
            Ok(OfferResult::Malformed(detail)) => {
                let text = format!("the body of plan {} does not decode: {detail}", header.generation);
                Offered::Refused(refusal(RefusalReason::Malformed, &text))
            }
            Err(error) => Offered::Refused(unavailable(&error)),
        }
    }
}

fn refusal(reason: RefusalReason, message: &str) -> Refusal {
    Refusal { reason, message: message.to_owned(), retry_after_ms: None }
}

fn stale(header: &PlanHeader, stored: Generation) -> Refusal {
    let text = format!("plan {} is older than plan {stored}, which is stored", header.generation);
    refusal(RefusalReason::Superseded, &text)
}

fn unavailable(error: &StoreError) -> Refusal {
    Refusal {
        reason: RefusalReason::Unavailable,
        message: error.to_string(),
        retry_after_ms: Some(STORE_RETRY_MS),
    }
}
