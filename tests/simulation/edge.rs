//! An edge: real uplink and verification; a disk and an executor small enough to be obviously right.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use identity::{AgentIdentity, PlanVerifier};
use link::{HelloFacts, UplinkEvent, UplinkHandle};
use protocol::codec::decode;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::frame::{OBJECT_BYTES_MAX, PLAN_BODY_BYTES_MAX};
use protocol::id::{AgentId, Digest, EdgeId, Generation};
use protocol::message::{BlobPart, Control, PlanHead, StreamHead};
use protocol::plan::{PlanBody, SignedPlan};
use protocol::report::Report;
use protocol::telemetry::{
    Gap, GapReason, StreamEpoch, TelemetryAck, TelemetryClass, TelemetryContent, TelemetryItem,
};
use skein_tests::plans::Blobs;
use tokio::sync::{mpsc, watch};

use super::model::Model;
use super::world::Ills;

/// Items that a class may keep; the oldest quarter goes when there are more.
const OUTBOX_ITEMS_MAX: usize = 48;

/// What outlives an edge's program.
pub(crate) struct Disk {
    pub(crate) edge: EdgeId,
    head: Option<PlanHead>,
    blobs: Blobs,
    streams: BTreeMap<TelemetryClass, Stream>,
    /// Tells of new items.
    news: watch::Sender<()>,
    pub(crate) model: Arc<Mutex<Model>>,
}

struct Stream {
    epoch: StreamEpoch,
    next: u64,
    items: VecDeque<TelemetryItem>,
}

impl Disk {
    pub(crate) fn new(edge: EdgeId, epoch: u64, model: Arc<Mutex<Model>>) -> Self {
        let stream = || Stream { epoch: StreamEpoch(epoch), next: 1, items: VecDeque::new() };
        let classes = [TelemetryClass::Metrics, TelemetryClass::Logs];
        let streams = classes.into_iter().map(|class| (class, stream())).collect();
        Self { edge, head: None, blobs: Blobs::new(), streams, news: watch::channel(()).0, model }
    }

    /// Items not acknowledged.
    pub(crate) fn waiting(&self) -> usize {
        self.streams.values().map(|stream| stream.items.len()).sum()
    }

    pub(crate) fn head(&self) -> Option<PlanHead> {
        self.head
    }

    /// Keeps a payload until it is acknowledged, or counts what had to go for it.
    pub(crate) fn push(&mut self, class: TelemetryClass, payload: Bytes, at: u64) {
        let mut model = self.model.lock().unwrap();
        model.pushed(self.edge, payload.to_vec());
        let stream = self.streams.get_mut(&class).unwrap();
        let content = TelemetryContent::Batch { payload, points: 1, first: at, last: at };
        stream.items.push_back(TelemetryItem { class, epoch: stream.epoch, sequence: stream.next, content });
        stream.next += 1;
        if stream.items.len() > OUTBOX_ITEMS_MAX {
            stream.drop_oldest(&mut model);
        }
        self.news.send_replace(());
    }

    /// What comes after that number.
    fn next(&self, class: TelemetryClass, after: u64) -> Option<TelemetryItem> {
        self.streams[&class].items.iter().find(|item| item.sequence > after).cloned()
    }

    fn acknowledge(&mut self, acks: &[TelemetryAck]) {
        let mut model = self.model.lock().unwrap();
        for ack in acks {
            let Some(stream) = self.streams.get_mut(&ack.class).filter(|stream| stream.epoch == ack.epoch)
            else {
                continue;
            };
            if ack.through >= stream.next {
                model.broken(format!("5: {} got an acknowledgement of what it never sent", self.edge));
            }
            while stream.items.front().is_some_and(|item| item.sequence <= ack.through) {
                if let Some(TelemetryContent::Batch { payload, .. }) =
                    stream.items.pop_front().map(|item| item.content)
                {
                    model.acknowledged(payload.to_vec());
                }
            }
        }
    }

    pub(crate) fn hello(&self) -> HelloFacts {
        let streams = self.streams.iter().map(|(class, stream)| StreamHead {
            class: *class,
            epoch: stream.epoch,
            first: stream.first(),
            next: stream.next,
        });
        HelloFacts {
            stored: self.head,
            speaks: super::world::versions::of_edge(self.edge),
            streams: streams.collect(),
            facts: BTreeMap::from([("name".to_owned(), format!("edge-{}", self.edge))]),
            ..HelloFacts::default()
        }
    }
}

impl Stream {
    /// The number of the oldest item that is left, or that a gap stands for.
    fn first(&self) -> u64 {
        match self.items.front() {
            None => self.next,
            Some(TelemetryItem { sequence, content: TelemetryContent::Gap(gap), .. }) => {
                sequence + 1 - gap.batches
            }
            Some(item) => item.sequence,
        }
    }

    fn drop_oldest(&mut self, model: &mut Model) {
        let mut batches = 0;
        let (mut from, mut to, mut end) = (u64::MAX, 0, 0);
        let oldest: Vec<_> = self.items.drain(..OUTBOX_ITEMS_MAX / 4).collect();
        for item in oldest {
            end = item.sequence;
            let (count, first, last) = match item.content {
                TelemetryContent::Batch { payload, first, last, .. } => {
                    model.dropped(payload.to_vec());
                    (1, first, last)
                }
                TelemetryContent::Gap(gap) => (gap.batches, gap.first, gap.last),
            };
            batches += count;
            (from, to) = (from.min(first), to.max(last));
        }
        let gap = Gap { batches, points: batches, first: from, last: to, reason: GapReason::Bytes };
        let class = self.items[0].class;
        let content = TelemetryContent::Gap(gap);
        self.items.push_front(TelemetryItem { class, epoch: self.epoch, sequence: end, content });
    }
}

/// An edge's program while it runs.
pub(crate) struct Program {
    pub(crate) disk: Arc<Mutex<Disk>>,
    /// Whose keys it obeys.
    pub(crate) identity: watch::Receiver<Arc<AgentIdentity>>,
    pub(crate) link: UplinkHandle,
    pub(crate) ills: Ills,
    pub(crate) sequence: u64,
    pub(crate) partial: Option<Partial>,
}

/// A plan that is not complete yet.
pub(crate) struct Partial {
    head: PlanHead,
    blobs: Blobs,
}

impl Program {
    /// Runs until the uplink ends.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<UplinkEvent>) {
        // What was stored is carried out, link or no link (invariant 3).
        self.act();
        let pumps = [TelemetryClass::Metrics, TelemetryClass::Logs]
            .map(|class| pump(self.disk.clone(), self.link.clone(), class));
        let work = async {
            while let Some(event) = events.recv().await {
                if let Some(slow) = self.ills.slow {
                    tokio::time::sleep(slow).await;
                }
                if !self.handle(event).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = work => {}
            _ = futures::future::join_all(pumps) => {}
        }
    }

    async fn handle(&mut self, event: UplinkEvent) -> bool {
        match event {
            UplinkEvent::Up(welcome) => {
                self.disk.lock().unwrap().acknowledge(&welcome.acknowledged);
                self.partial = None;
                self.report().await;
            }
            UplinkEvent::Control(Control::Plan(offer)) => return self.offer(&offer.plan, offer.blobs).await,
            UplinkEvent::Control(Control::Blobs { blobs, .. }) => return self.take(blobs, true).await,
            UplinkEvent::Blob(part, _) => return self.take(vec![part], false).await,
            UplinkEvent::Control(Control::TelemetryAcks(acks)) => {
                self.disk.lock().unwrap().acknowledge(&acks)
            }
            UplinkEvent::Control(_) | UplinkEvent::Down(_) | UplinkEvent::Request(..) => {}
        }
        true
    }

    async fn refuse(&self, generation: Option<Generation>, reason: RefusalReason, message: String) {
        let refusal = Refusal { reason, message, retry_after_ms: None };
        self.send(Control::PlanRefused { edge: None, generation, refusal }).await;
    }

    /// Whoever sends to a link that is down is asked again when it is up.
    async fn send(&self, control: Control) {
        let _ = self.link.send(control).await;
    }

    async fn offer(&mut self, plan: &SignedPlan, parts: Vec<BlobPart>) -> bool {
        let (edge, held) = {
            let disk = self.disk.lock().unwrap();
            (disk.edge, disk.head)
        };
        let verifier = PlanVerifier::new(&self.identity.borrow().trust);
        let header = match verifier.verify_for(&AgentId::Edge(edge), plan) {
            Ok(header) => header,
            Err(error) => {
                self.disk.lock().unwrap().model.lock().unwrap().forgeries_refused += 1;
                self.refuse(None, RefusalReason::ProofInvalid, error.to_string()).await;
                return true;
            }
        };
        let head = PlanHead { generation: header.generation, body: header.body };
        match held {
            Some(held) if held == head => {
                self.send(Control::PlanStored { edge: None, head }).await;
                return true;
            }
            Some(held) if held.generation >= head.generation => {
                let message = format!("{} is stored", held.generation);
                self.refuse(Some(head.generation), RefusalReason::Superseded, message).await;
                return true;
            }
            Some(_) | None => {}
        }
        if self.partial.as_ref().is_none_or(|partial| partial.head != head) {
            let blobs = self.partial.take().map(|partial| partial.blobs).unwrap_or_default();
            self.partial = Some(Partial { head, blobs });
        }
        self.take(parts, true).await
    }

    /// Takes blobs of the plan that is not complete; `asks` for those still missing.
    async fn take(&mut self, parts: Vec<BlobPart>, asks: bool) -> bool {
        let Some(partial) = &mut self.partial else { return true };
        let missing = {
            let disk = self.disk.lock().unwrap();
            for part in parts {
                let base =
                    part.base.and_then(|base| partial.blobs.get(&base).or(disk.blobs.get(&base))).cloned();
                // What does not come out as announced counts as missing.
                if let Ok(bytes) = part.open(base.as_deref(), OBJECT_BYTES_MAX) {
                    partial.blobs.insert(part.digest, bytes);
                }
            }
            let has = |digest: &Digest| partial.blobs.get(digest).or(disk.blobs.get(digest));
            match has(&partial.head.body) {
                None => vec![partial.head.body],
                Some(bytes) => {
                    let body: PlanBody = decode(bytes, PLAN_BODY_BYTES_MAX).unwrap();
                    body.digests().filter(|digest| has(digest).is_none()).collect()
                }
            }
        };
        if !missing.is_empty() {
            if asks {
                self.send(Control::BlobsWanted { edge: None, digests: missing }).await;
            }
            return true;
        }
        self.store().await
    }

    async fn store(&mut self) -> bool {
        let Some(Partial { head, blobs }) = self.partial.take() else { return true };
        {
            let mut disk = self.disk.lock().unwrap();
            disk.blobs.extend(blobs);
            disk.head = Some(head);
            disk.model.lock().unwrap().stored(disk.edge, head);
        }
        if std::mem::take(&mut self.ills.dies_after_storing) {
            return false;
        }
        self.send(Control::PlanStored { edge: None, head }).await;
        self.act();
        self.report().await;
        true
    }

    fn act(&self) {
        let disk = self.disk.lock().unwrap();
        if let Some(head) = disk.head {
            disk.model.lock().unwrap().acts(disk.edge, head);
        }
    }

    async fn report(&mut self) {
        self.sequence += 1;
        let (edge, head) = {
            let disk = self.disk.lock().unwrap();
            (disk.edge, disk.head)
        };
        let generation = head.map(|head| head.generation);
        let report = Report {
            sequence: self.sequence,
            at: super::world::START,
            full: true,
            stored: generation,
            applied: generation,
            ext: super::world::versions::of_edge(edge).tell().into_iter().collect(),
            ..Report::default()
        };
        self.send(Control::Report { edge: None, report: Box::new(report) }).await;
    }
}

/// Sends what a class has, in order, and all of it again over each new link.
async fn pump(disk: Arc<Mutex<Disk>>, handle: UplinkHandle, class: TelemetryClass) {
    let mut link = handle.watch();
    let mut news = disk.lock().unwrap().news.subscribe();
    let mut sent = 0;
    loop {
        if link.has_changed().unwrap_or(false) {
            sent = 0;
        }
        let up = link.borrow_and_update().up;
        news.mark_unchanged();
        let item = if up { disk.lock().unwrap().next(class, sent) } else { None };
        let Some(item) = item else {
            tokio::select! {
                changed = link.changed() => { sent = 0; if changed.is_err() { return } }
                changed = news.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let sequence = item.sequence;
        if handle.send_telemetry(item).await.is_ok() {
            sent = sequence;
        } else {
            sent = 0;
            if link.changed().await.is_err() {
                return;
            }
        }
    }
}
