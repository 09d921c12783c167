//! The writer thread: items of many agents, one commit for all that wait.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use protocol::UnixMillis;
use protocol::id::AgentId;
use protocol::message::StreamHead;
use protocol::telemetry::{Gap, GapReason, TelemetryAck, TelemetryClass, TelemetryContent};
use telemetry::wire::{self, Limits as WireLimits};
use telemetry::{Batch, Labels, Millis};
use tokio::sync::{mpsc, oneshot};

use super::catalog::{Catalog, Position, Sender, StreamKey, Taken, external};
use super::disk::{Disk, is_full};
use super::index::Index;
use super::{Arrival, Limits, StoreError};

/// Most commands in one commit.
const GROUP_MAX: usize = 256;
/// How often what is too old is dropped, in milliseconds.
const EXPIRE_EVERY_MS: u64 = 30_000;

/// The end of the note about what the limit of bytes cost.
const NOT_KEPT: &str = "were dropped: the store reached its limit of bytes";

type Acks = Vec<(AgentId, TelemetryAck)>;
type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the thread is asked.
pub(super) enum Command {
    Ingest { arrivals: Vec<Arrival>, reply: Reply<Acks> },
    Announce { agent: AgentId, heads: Vec<StreamHead>, reply: Reply<()> },
    Forget { agent: AgentId, reply: Reply<()> },
    Expire { reply: Reply<()> },
    Close { reply: Reply<()> },
}

/// Tells the time of day.
pub(super) type Now = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

pub(super) struct Writer {
    pub(super) disk: Disk,
    pub(super) limits: Limits,
    pub(super) index: Arc<Index>,
    pub(super) catalog: Arc<RwLock<Catalog>>,
    pub(super) now: Now,
    pub(super) expired_at: u64,
}

/// What a transaction changes in memory once it is committed.
#[derive(Default)]
struct Draft {
    senders: Vec<(AgentId, Sender)>,
    streams: std::collections::BTreeMap<StreamKey, Position>,
    gaps: Vec<(AgentId, TelemetryClass, Gap)>,
    batches: Vec<(AgentId, Labels, bool, Batch)>,
}

impl Writer {
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX
                && let Ok(next) = queue.try_recv()
            {
                group.push(next);
            }
            let close = group.iter().position(|command| matches!(command, Command::Close { .. }));
            let closing = close.map(|at| group.split_off(at)).unwrap_or_default();
            self.process(group);
            if !closing.is_empty() {
                drop(self);
                for command in closing {
                    if let Command::Close { reply } = command {
                        let _ = reply.send(Ok(()));
                    }
                }
                return;
            }
            self.expire_when_due();
        }
    }

    fn process(&mut self, group: Vec<Command>) {
        let mut result = self.attempt(&group);
        if let Err(error) = &result
            && is_full(error)
        {
            tracing::warn!("disk is full: dropping the oldest tenth of the telemetry store");
            self.drop_oldest();
            result = self.attempt(&group);
        }
        match result {
            Ok(draft) => {
                self.adopt(draft);
                group.into_iter().for_each(|command| self.answer(command));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to store telemetry");
                group.into_iter().for_each(|command| refuse(command, &error));
            }
        }
    }

    fn attempt(&mut self, group: &[Command]) -> rusqlite::Result<Draft> {
        let bytes = self.disk.bytes;
        let result = self.transaction(group);
        if result.is_err() {
            self.disk.roll_back();
            self.disk.bytes = bytes;
        }
        result
    }

    fn transaction(&mut self, group: &[Command]) -> rusqlite::Result<Draft> {
        let mut draft = Draft::default();
        self.disk.begin()?;
        for command in group {
            match command {
                Command::Ingest { arrivals, .. } => {
                    arrivals.iter().try_for_each(|arrival| self.take(&mut draft, arrival))?;
                }
                Command::Announce { agent, heads, .. } => self.settle(&mut draft, agent, heads)?,
                Command::Forget { agent, .. } => self.forget(&mut draft, agent)?,
                Command::Expire { .. } | Command::Close { .. } => {}
            }
        }
        for (key, position) in &draft.streams {
            let sender = self.disk.sender(&key.0)?;
            self.disk.put_position(sender, key, position)?;
        }
        self.disk.commit()?;
        Ok(draft)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sender as it will be, written down when it is new or has another name.
    fn sender(&self, draft: &mut Draft, arrival: &Arrival) -> rusqlite::Result<()> {
        let drafted = draft
            .senders
            .iter()
            .rev()
            .find(|(agent, _)| *agent == arrival.agent)
            .map(|(_, sender)| sender.clone());
        let held = drafted.or_else(|| self.read().senders.get(&arrival.agent).cloned());
        let same = held
            .as_ref()
            .is_some_and(|held| !held.gone && held.edge == arrival.edge && held.cluster == arrival.cluster);
        if same {
            return Ok(());
        }
        let refused = held.map_or(0, |held| held.refused);
        let sender =
            Sender { edge: arrival.edge.clone(), cluster: arrival.cluster.clone(), gone: false, refused };
        self.disk.put_sender(&arrival.agent, &sender)?;
        draft.senders.push((arrival.agent.clone(), sender));
        Ok(())
    }

    /// The stream's position as it will be. Of a stream never heard of, what lies before its first item was
    /// acknowledged elsewhere: items of a stream come in order.
    fn position<'a>(&self, draft: &'a mut Draft, key: &StreamKey, first: u64) -> &'a mut Position {
        draft.streams.entry(key.clone()).or_insert_with(|| {
            self.read()
                .streams
                .get(key)
                .cloned()
                .unwrap_or_else(|| Position { through: first.saturating_sub(1), ..Position::default() })
        })
    }

    fn take(&mut self, draft: &mut Draft, arrival: &Arrival) -> rusqlite::Result<()> {
        self.sender(draft, arrival)?;
        let item = &arrival.item;
        let key = (arrival.agent.clone(), item.class, item.epoch);
        let (first, newest) = match &item.content {
            TelemetryContent::Batch { last, .. } => (item.sequence, *last),
            TelemetryContent::Gap(gap) => {
                ((item.sequence + 1).saturating_sub(gap.batches.max(1)).max(1), gap.last)
            }
        };
        if self.position(draft, &key, first).take(first, item.sequence, newest) != Taken::New {
            return Ok(());
        }
        let sender = self.disk.sender(&arrival.agent)?;
        match &item.content {
            TelemetryContent::Gap(gap) => self.take_gap(draft, sender, arrival, gap.clone()),
            TelemetryContent::Batch { payload, points, first, last } => match decoded(item.class, payload) {
                Ok(batch) => {
                    let labels = external(&self.read().region, &arrival.edge, &arrival.cluster);
                    let is_cost = item.class == TelemetryClass::Cost;
                    draft.batches.push((arrival.agent.clone(), labels, is_cost, batch));
                    let names = (arrival.edge.as_str(), arrival.cluster.as_str());
                    self.disk.insert_batch(sender, names, item.class, *last, payload)
                }
                Err(error) => {
                    tracing::warn!(agent = %arrival.agent, sequence = item.sequence, %error, "a telemetry batch cannot be read: noted as lost");
                    let gap = Gap {
                        batches: 1,
                        points: u64::from(*points),
                        first: *first,
                        last: *last,
                        reason: GapReason::Corrupt,
                    };
                    self.take_gap(draft, sender, arrival, gap)
                }
            },
        }
    }

    fn take_gap(&self, draft: &mut Draft, sender: i64, arrival: &Arrival, gap: Gap) -> rusqlite::Result<()> {
        self.disk.insert_gap(sender, arrival.item.class, &gap)?;
        draft.gaps.push((arrival.agent.clone(), arrival.item.class, gap));
        Ok(())
    }

    /// What an agent no longer has will not come.
    fn settle(&self, draft: &mut Draft, agent: &AgentId, heads: &[StreamHead]) -> rusqlite::Result<()> {
        let known = draft.senders.iter().any(|(drafted, _)| drafted == agent)
            || self.read().senders.contains_key(agent);
        if !known {
            // Its first items will say who it is and where its streams begin.
            return Ok(());
        }
        for head in heads {
            let key = (agent.clone(), head.class, head.epoch);
            self.position(draft, &key, head.first).settle(head.first.saturating_sub(1));
        }
        Ok(())
    }

    fn forget(&self, draft: &mut Draft, agent: &AgentId) -> rusqlite::Result<()> {
        let held = self.read().senders.get(agent).cloned();
        if let Some(mut sender) = held {
            sender.gone = true;
            self.disk.put_sender(agent, &sender)?;
            draft.senders.push((agent.clone(), sender));
        }
        Ok(())
    }

    /// What is committed becomes visible.
    fn adopt(&mut self, draft: Draft) {
        let mut refused = Vec::new();
        for (agent, labels, is_cost, batch) in draft.batches {
            match self.index.add(batch, &labels, is_cost) {
                0 => {}
                samples => refused.push((agent, samples)),
            }
        }
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog.senders.extend(draft.senders);
        catalog.streams.extend(draft.streams);
        catalog.gaps.extend(draft.gaps);
        for (agent, samples) in refused {
            if let Some(sender) = catalog.senders.get_mut(&agent) {
                sender.refused += samples;
            }
        }
    }

    fn answer(&mut self, command: Command) {
        match command {
            Command::Ingest { arrivals, reply } => {
                let touched: BTreeSet<StreamKey> = arrivals
                    .iter()
                    .map(|arrival| (arrival.agent.clone(), arrival.item.class, arrival.item.epoch))
                    .collect();
                let catalog = self.read();
                let acks = touched
                    .into_iter()
                    .filter_map(|key| {
                        let through = catalog
                            .streams
                            .get(&key)
                            .map(|position| position.through)
                            .filter(|through| *through > 0)?;
                        Some((key.0, TelemetryAck { class: key.1, epoch: key.2, through }))
                    })
                    .collect();
                let _ = reply.send(Ok(acks));
            }
            Command::Expire { reply } => {
                self.expire();
                let _ = reply.send(Ok(()));
            }
            Command::Announce { reply, .. } | Command::Forget { reply, .. } | Command::Close { reply } => {
                let _ = reply.send(Ok(()));
            }
        }
    }

    fn expire_when_due(&mut self) {
        let now = (self.now)();
        if now.saturating_sub(self.expired_at) >= EXPIRE_EVERY_MS || self.disk.bytes > self.limits.bytes_max {
            self.expire();
        }
    }

    /// Drops what is too old or too much.
    fn expire(&mut self) {
        let now = (self.now)();
        self.expired_at = now;
        let by_age = |class| now.saturating_sub(self.limits.age_of(class));
        let (cost, rest) = (by_age(TelemetryClass::Cost), by_age(TelemetryClass::Metrics));
        self.drop_before(cost, rest);
        // Cost is small and asked for over weeks: it goes only when nothing else is left to go.
        for of_cost in [false, true] {
            if self.disk.bytes > self.limits.bytes_max {
                let over = (self.disk.bytes - self.limits.bytes_max) * 100 / self.disk.bytes.max(1) + 5;
                self.drop_share(of_cost, over.min(100));
            }
        }
    }

    /// A full disk: the oldest tenth goes.
    fn drop_oldest(&mut self) {
        self.drop_share(false, 10);
    }

    /// Drops the oldest of a share in percent, and says so.
    fn drop_share(&mut self, of_cost: bool, percent: u64) {
        match self.disk.age_of_share(of_cost, percent) {
            Ok(Some(before)) => {
                self.note_dropped(before);
                if of_cost { self.drop_before(before, 0) } else { self.drop_before(0, before) }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "failed to find the oldest telemetry"),
        }
    }

    fn drop_before(&mut self, cost: u64, rest: u64) {
        let bytes = self.disk.bytes;
        if let Err(error) = self.delete_before(cost, rest) {
            self.disk.roll_back();
            self.disk.bytes = bytes;
            tracing::warn!(%error, "failed to drop old telemetry");
            return;
        }
        let millis = |at: u64| Millis::try_from(at).unwrap_or(Millis::MAX).saturating_sub(1);
        self.index.forget(millis(cost), millis(rest));
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        catalog
            .gaps
            .retain(|(_, class, gap)| gap.last >= if *class == TelemetryClass::Cost { cost } else { rest });
        let oldest = millis(cost.min(rest));
        catalog.notes.retain(|(until, _)| *until >= oldest);
    }

    fn delete_before(&mut self, cost: u64, rest: u64) -> rusqlite::Result<()> {
        self.disk.begin()?;
        for class in TelemetryClass::ALL {
            self.disk.expire(class, if class == TelemetryClass::Cost { cost } else { rest })?;
        }
        self.disk.expire_notes(i64::try_from(cost.min(rest)).unwrap_or(i64::MAX))?;
        self.disk.commit()?;
        self.disk.shrink()
    }

    /// Readers of earlier times are told that the store had no room for them.
    fn note_dropped(&self, before: u64) {
        let until = Millis::try_from(before).unwrap_or(Millis::MAX);
        let text = format!("samples before {} {NOT_KEPT}", telemetry::query::time_text(until));
        let mut catalog = self.catalog.write().unwrap_or_else(PoisonError::into_inner);
        if catalog.notes.iter().any(|(held, text)| *held >= until && text.ends_with(NOT_KEPT)) {
            return;
        }
        catalog.notes.retain(|(_, text)| !text.ends_with(NOT_KEPT));
        if let Err(error) = self.disk.replace_note(NOT_KEPT, until, &text) {
            tracing::warn!(%error, "failed to note what was dropped");
        }
        catalog.notes.push((until, text));
    }
}

/// The series of a batch; classes that are not series have none here.
pub(super) fn decoded(class: TelemetryClass, payload: &[u8]) -> Result<Batch, wire::WireError> {
    match class {
        TelemetryClass::Cost | TelemetryClass::Metrics => wire::decode(payload, &WireLimits::default()),
        TelemetryClass::Events | TelemetryClass::Traces | TelemetryClass::Logs => Ok(Batch::default()),
    }
}

fn refuse(command: Command, error: &rusqlite::Error) {
    let failed = || StoreError::Write(error.to_string());
    match command {
        Command::Ingest { reply, .. } => drop(reply.send(Err(failed()))),
        Command::Announce { reply, .. }
        | Command::Forget { reply, .. }
        | Command::Expire { reply }
        | Command::Close { reply } => drop(reply.send(Err(failed()))),
    }
}
