//! An edge as its region sees it: a real uplink, plans verified and kept, receipts and reports; nothing is applied.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use identity::{AgentIdentity, PlanVerifier, SystemClock, SystemEntropy};
use link::{HelloFacts, LinkState, Network, Profile, Uplink, UplinkConfig, UplinkEvent, UplinkHandle};
use process::Process;
use protocol::codec::decode;
use protocol::frame::{OBJECT_BYTES_MAX, PLAN_BODY_BYTES_MAX};
use protocol::id::{AgentId, Digest};
use protocol::message::{BlobPart, Control, PlanHead};
use protocol::plan::PlanBody;
use protocol::report::Report;
use tokio::sync::{mpsc, watch};

/// An edge that runs.
pub(super) struct Edge {
    pub(super) number: u64,
    pub(super) link: watch::Receiver<LinkState>,
    up_at: Arc<Mutex<Option<Instant>>>,
}

struct Program {
    agent: AgentId,
    link: UplinkHandle,
    verifier: PlanVerifier,
    held: Arc<Mutex<Option<PlanHead>>>,
    blobs: BTreeMap<Digest, Bytes>,
    /// A plan of which something is missing.
    wanted: Option<PlanHead>,
    reports: u64,
}

impl Edge {
    /// Starts it; `linked` counts those of the crowd that are linked.
    pub(super) fn start(
        number: u64,
        identity: AgentIdentity,
        network: Arc<dyn Network>,
        linked: watch::Sender<usize>,
        process: &Process,
    ) -> Result<Self> {
        let (agent, verifier) = (identity.agent.clone(), PlanVerifier::new(&identity.trust));
        // Nobody renews: it is the sender that keeps the identity there.
        let (keep, identity) = watch::channel(Arc::new(identity));
        let held = Arc::<Mutex<Option<PlanHead>>>::default();
        let config = UplinkConfig {
            identity,
            incarnation: 1,
            software: "light edge".to_owned(),
            profile: Profile::edge(),
            network,
            clock: Arc::new(SystemClock),
            entropy: Box::new(SystemEntropy),
            recovery: None,
        };
        let stored = held.clone();
        let source = Arc::new(move || HelloFacts {
            stored: *stored.lock().unwrap_or_else(PoisonError::into_inner),
            ..HelloFacts::default()
        });
        let (link, events) = Uplink::start(config, source, &process.tasks, process.cancel.clone())?;
        let state = link.watch();
        let up_at = Arc::<Mutex<Option<Instant>>>::default();
        let program =
            Program { agent, link, verifier, held, blobs: BTreeMap::new(), wanted: None, reports: 0 };
        let moment = up_at.clone();
        process.tasks.spawn(async move {
            program.run(events, linked, moment).await;
            drop(keep);
        });
        Ok(Self { number, link: state, up_at })
    }

    /// When its present link came up.
    pub(super) fn linked_at(&self) -> Option<Instant> {
        *self.up_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Program {
    async fn run(
        mut self,
        mut events: mpsc::Receiver<UplinkEvent>,
        linked: watch::Sender<usize>,
        up_at: Arc<Mutex<Option<Instant>>>,
    ) {
        while let Some(event) = events.recv().await {
            match event {
                UplinkEvent::Up(_) => {
                    *up_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                    linked.send_modify(|count| *count += 1);
                    self.report().await;
                }
                UplinkEvent::Down(_) => {
                    *up_at.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    linked.send_modify(|count| *count -= 1);
                }
                UplinkEvent::Control(Control::Plan(offer)) => {
                    // What is not signed for it does not count as stored, and the benchmark would wait in vain.
                    if let Ok(header) = self.verifier.verify_for(&self.agent, &offer.plan) {
                        self.wanted = Some(PlanHead { generation: header.generation, body: header.body });
                        self.take(offer.blobs).await;
                    }
                }
                UplinkEvent::Control(Control::Blobs { blobs, .. }) => self.take(blobs).await,
                UplinkEvent::Blob(part, _) => self.take(vec![part]).await,
                UplinkEvent::Control(_) | UplinkEvent::Request(..) => {}
            }
        }
    }

    async fn take(&mut self, parts: Vec<BlobPart>) {
        let Some(head) = self.wanted else { return };
        for part in parts {
            let base = part.base.and_then(|base| self.blobs.get(&base)).cloned();
            if let Ok(bytes) = part.open(base.as_deref(), OBJECT_BYTES_MAX) {
                self.blobs.insert(part.digest, bytes);
            }
        }
        let body =
            self.blobs.get(&head.body).and_then(|body| decode::<PlanBody>(body, PLAN_BODY_BYTES_MAX).ok());
        let digests = match body {
            None => vec![head.body],
            Some(body) => {
                let needed: Vec<_> = body.digests().collect();
                let missing: Vec<_> =
                    needed.iter().filter(|digest| !self.blobs.contains_key(*digest)).copied().collect();
                if missing.is_empty() {
                    self.blobs.retain(|digest, _| *digest == head.body || needed.contains(digest));
                }
                missing
            }
        };
        if !digests.is_empty() {
            self.send(Control::BlobsWanted { edge: None, digests }).await;
            return;
        }
        self.wanted = None;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
        self.send(Control::PlanStored { edge: None, head }).await;
        self.report().await;
    }

    async fn report(&mut self) {
        self.reports += 1;
        let held = *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = held.map(|head| head.generation);
        let report = Report {
            sequence: self.reports,
            at: identity::Clock::now(&SystemClock),
            full: true,
            stored: generation,
            applied: generation,
            ..Report::default()
        };
        self.send(Control::Report { edge: None, report: Box::new(report) }).await;
    }

    /// Over a link that is down nothing goes; all of it is sent again when it is up.
    async fn send(&self, control: Control) {
        let _ = self.link.send(control).await;
    }
}
