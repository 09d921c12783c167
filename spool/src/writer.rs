//! The writer thread: commands in groups, one commit each; what to do when the disk is full or damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::lane::TELEMETRY_PAYLOAD_BYTES_MAX;
use protocol::message::StreamHead;
use protocol::report::SpoolReport;
use protocol::telemetry::{Gap, GapReason, TelemetryAck, TelemetryClass, TelemetryItem};
use tokio::sync::{mpsc, watch};

use crate::ballast::Ballast;
use crate::budget::Budgets;
use crate::command::{Batch, Command, Snapshot};
use crate::database::{self, Database, Trouble};
use crate::lane::{Tally, absorb};
use crate::quarantine::{self, Counts, Salvage};
use crate::{Clock, Entropy, OpenError, PushError};

/// Most commands in one commit.
const GROUP_MAX: usize = 512;
/// Most bytes pushed in one commit.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Batches that may be handed out without committing that they may have been.
const OFFER_AHEAD: u64 = 255;
/// How often the counts beside the database are written, in milliseconds.
const COUNTS_EVERY_MS: u64 = 5_000;

/// Opens the spool and starts its thread.
pub(crate) fn start(
    path: &Path,
    budgets: Budgets,
    clock: Arc<dyn Clock>,
    mut entropy: Entropy,
    queue: mpsc::Receiver<Command>,
) -> Result<watch::Receiver<Snapshot>, OpenError> {
    let (database, tally, salvage) = open(path, &budgets, &mut entropy)?;
    let (snapshot, seen) = watch::channel(Snapshot::default());
    let mut writer = Writer {
        path: path.to_owned(),
        budgets,
        clock,
        entropy,
        database,
        ballast: Ballast::of(path),
        tally,
        unsaved: Default::default(),
        snapshot,
        counted_at: 0,
    };
    if let Some(salvage) = salvage {
        writer.take_over(salvage);
    }
    writer.show();
    std::thread::Builder::new()
        .name("spool".to_owned())
        .spawn(move || writer.run(queue))
        .map_err(|source| OpenError::Thread { source })?;
    Ok(seen)
}

fn open(
    path: &Path,
    budgets: &Budgets,
    entropy: &mut Entropy,
) -> Result<(Database, Tally, Option<Salvage>), OpenError> {
    let failed = |error: rusqlite::Error| match Trouble::of(&error) {
        Trouble::InUse => OpenError::InUse { path: path.to_owned() },
        Trouble::Full | Trouble::Damaged | Trouble::Other => {
            OpenError::Open { path: path.to_owned(), source: error }
        }
    };
    if let Some(version) = database::newer(path) {
        let known = database::SCHEMA_VERSION;
        return Err(OpenError::Newer { path: path.to_owned(), version, known });
    }
    match Database::open(path, budgets.file_bytes_max, &mut *entropy) {
        Ok((database, tally)) => Ok((database, tally, None)),
        Err(error) if Trouble::of(&error) == Trouble::Damaged => {
            tracing::warn!(path = %path.display(), %error, "spool is damaged: moving it aside and starting anew");
            let salvage = quarantine::set_aside(path)
                .map_err(|source| OpenError::Quarantine { path: path.to_owned(), source })?;
            let (database, tally) =
                Database::open(path, budgets.file_bytes_max, &mut *entropy).map_err(failed)?;
            Ok((database, tally, Some(salvage)))
        }
        Err(error) => Err(failed(error)),
    }
}

pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) budgets: Budgets,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Entropy,
    pub(crate) database: Database,
    pub(crate) ballast: Ballast,
    pub(crate) tally: Tally,
    /// What was dropped while not even that could be written down.
    pub(crate) unsaved: [Option<Gap>; 5],
    snapshot: watch::Sender<Snapshot>,
    counted_at: u64,
}

/// The answer to a command, sent after the commit.
enum Done {
    Pushed(Result<u64, PushError>),
    Items(Vec<TelemetryItem>),
    State(Option<bytes::Bytes>),
    Nothing,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            let mut bytes = 0;
            while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += size(&next);
                group.push(next);
            }
            let close = group.iter().position(|command| matches!(command, Command::Close { .. }));
            let closing = close.map(|at| group.split_off(at));
            self.process(group);
            if let Some(closing) = closing {
                let path = self.path.clone();
                self.note_counts(true);
                drop(self);
                tracing::debug!(path = %path.display(), "spool closed");
                closing.into_iter().for_each(|command| answer(command, Done::Nothing));
                return;
            }
        }
    }

    /// Carries out a group in one commit; where that fails, makes room or starts anew and takes them singly.
    /// Answers come after the snapshot: who has one sees there what it did.
    fn process(&mut self, group: Vec<Command>) {
        self.breathe();
        let done = match self.attempt(&group) {
            Ok(done) => done,
            Err(error) => {
                self.recover(&error, &group);
                group.iter().map(|command| self.single(command)).collect()
            }
        };
        self.show();
        group.into_iter().zip(done).for_each(|(command, done)| answer(command, done));
        self.note_counts(false);
    }

    fn single(&mut self, command: &Command) -> Done {
        let group = std::slice::from_ref(command);
        let mut result = self.attempt(group);
        if let Err(error) = &result {
            let error = Trouble::of(error);
            if error == Trouble::Full
                && let Command::Push { batch, .. } = command
            {
                self.make_room(batch.class, batch.payload.len() as u64);
                result = self.attempt(group);
            }
        }
        match (result, command) {
            (Ok(done), _) => done.into_iter().next().unwrap_or(Done::Nothing),
            (Err(error), Command::Push { batch, .. }) => {
                self.set_unsaved(batch);
                let error = match Trouble::of(&error) {
                    Trouble::Full => PushError::DiskFull { class: batch.class },
                    Trouble::Damaged | Trouble::InUse | Trouble::Other => PushError::Write(error.to_string()),
                };
                Done::Pushed(Err(error))
            }
            (Err(error), _) => {
                tracing::warn!(%error, "failed to use the spool");
                Done::Nothing
            }
        }
    }

    /// One transaction; all of it or nothing.
    fn attempt(&mut self, group: &[Command]) -> rusqlite::Result<Vec<Done>> {
        let writes = group.iter().any(|command| !matches!(command, Command::State { .. }));
        let before = self.tally.clone();
        let result = self.transaction(group, &before, writes);
        match result {
            Ok(done) => {
                if writes {
                    self.unsaved = Default::default();
                }
                Ok(done)
            }
            Err(error) => {
                self.database.roll_back();
                self.tally = before;
                Err(error)
            }
        }
    }

    fn transaction(
        &mut self,
        group: &[Command],
        before: &Tally,
        writes: bool,
    ) -> rusqlite::Result<Vec<Done>> {
        if writes {
            self.database.begin()?;
            self.save_unsaved()?;
        }
        let done =
            group.iter().map(|command| self.carry_out(command)).collect::<rusqlite::Result<Vec<_>>>()?;
        if writes {
            self.database.commit(before, &self.tally)?;
        }
        Ok(done)
    }

    fn carry_out(&mut self, command: &Command) -> rusqlite::Result<Done> {
        Ok(match command {
            Command::Push { batch, .. } => Done::Pushed(self.push(batch)?),
            Command::Peek { class, after, limit_bytes, .. } => {
                Done::Items(self.peek(*class, *after, *limit_bytes)?)
            }
            Command::Acknowledge { ack, .. } => {
                self.acknowledge(ack)?;
                Done::Nothing
            }
            Command::State { name, .. } => Done::State(self.database.state(name)?),
            Command::Expire { .. } => {
                let now = self.clock.now();
                TelemetryClass::ALL.into_iter().try_for_each(|class| self.expire(class, now))?;
                self.database.shrink()?;
                Done::Nothing
            }
            Command::Close { .. } => Done::Nothing,
        })
    }

    fn push(&mut self, batch: &Batch) -> rusqlite::Result<Result<u64, PushError>> {
        let (class, size, now) = (batch.class, batch.payload.len() as u64, self.clock.now());
        self.expire(class, now)?;
        let lane_max = self.budgets.lane(class).bytes_max;
        let limit = lane_max.min(self.budgets.bytes_max).min(TELEMETRY_PAYLOAD_BYTES_MAX as u64);
        if size > limit {
            self.drop_incoming(batch)?;
            return Ok(Err(PushError::NoRoom { class, size, limit }));
        }
        while self.tally.lane(class).bytes + size > lane_max && self.drop_oldest(class, GapReason::Bytes)? {}
        while self.tally.bytes() + size > self.budgets.bytes_max {
            if !self.drop_lowest(class, GapReason::Bytes)? {
                self.drop_incoming(batch)?;
                return Ok(Err(PushError::NoRoom { class, size, limit }));
            }
        }
        let sequence = self.tally.lane(class).next;
        self.database.insert(sequence, now, batch)?;
        let lane = self.tally.lane_mut(class);
        lane.next += 1;
        lane.batches += 1;
        lane.bytes += size;
        lane.oldest.get_or_insert(sequence);
        Ok(Ok(sequence))
    }

    /// A batch that is not taken in becomes a gap at the end of its lane.
    fn drop_incoming(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        if !batch.counted {
            return Ok(());
        }
        self.add_gap(batch.class, gap_of(batch, GapReason::Bytes))
    }

    /// A gap at the end of a lane; grows together with one before it that was never handed out.
    pub(crate) fn add_gap(&mut self, class: TelemetryClass, gap: Gap) -> rusqlite::Result<()> {
        let lane = self.tally.lane_mut(class);
        let sequence = lane.next + gap.batches.max(1) - 1;
        lane.next = sequence + 1;
        lane.oldest.get_or_insert(sequence + 1 - gap.batches.max(1));
        self.tally.points_dropped += gap.points;
        self.write_gap(class, sequence, gap)
    }

    /// Puts a gap at its number, together with one right before it where that is certain to be exact.
    fn write_gap(&mut self, class: TelemetryClass, sequence: u64, mut gap: Gap) -> rusqlite::Result<()> {
        let offered = self.tally.lane(class).offered;
        let own = sequence + 1 - gap.batches.max(1);
        let before = self.database.before(class, sequence)?.filter(|before| {
            before.is_gap && before.gap.reason == gap.reason && before.sequence > offered && own > offered
        });
        match before {
            Some(before) if before.gap.batches > 0 && gap.batches > 0 => {
                self.database.delete(class, before.sequence)?;
                absorb(&mut gap, &before.gap);
            }
            Some(_) | None => {
                self.tally.gaps_made += 1;
                self.tally.lane_mut(class).gaps += 1;
            }
        }
        self.database.put_gap(class, sequence, &gap)
    }

    /// Makes the oldest batch of a lane a gap; whether there was one.
    fn drop_oldest(&mut self, class: TelemetryClass, reason: GapReason) -> rusqlite::Result<bool> {
        let Some(item) = self.database.oldest_batch(class)? else { return Ok(false) };
        self.drop_batch(class, item.sequence, item.bytes, Gap { reason, batches: 1, ..item.gap })?;
        Ok(true)
    }

    fn drop_batch(
        &mut self,
        class: TelemetryClass,
        sequence: u64,
        bytes: u64,
        gap: Gap,
    ) -> rusqlite::Result<()> {
        let lane = self.tally.lane_mut(class);
        lane.batches -= 1;
        lane.bytes -= bytes;
        self.tally.points_dropped += gap.points;
        self.write_gap(class, sequence, gap)
    }

    /// Makes the oldest batch of the lowest lane that is not above `class` a gap; whether there was one.
    pub(crate) fn drop_lowest(&mut self, class: TelemetryClass, reason: GapReason) -> rusqlite::Result<bool> {
        for lower in TelemetryClass::ALL.into_iter().rev().filter(|lower| *lower >= class) {
            if self.tally.lane(lower).batches > 0 {
                return self.drop_oldest(lower, reason);
            }
        }
        Ok(false)
    }

    fn expire(&mut self, class: TelemetryClass, now: u64) -> rusqlite::Result<()> {
        let oldest = now.saturating_sub(self.budgets.lane(class).age_max_ms);
        while self.tally.lane(class).batches > 0 && self.tally.lane(class).oldest_push < oldest {
            match self.database.oldest_batch(class)? {
                Some(item) if item.pushed < oldest => {
                    self.drop_batch(
                        class,
                        item.sequence,
                        item.bytes,
                        Gap { reason: GapReason::Age, batches: 1, ..item.gap },
                    )?;
                }
                Some(item) => {
                    self.tally.lane_mut(class).oldest_push = item.pushed;
                    break;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn peek(
        &mut self,
        class: TelemetryClass,
        after: u64,
        limit_bytes: usize,
    ) -> rusqlite::Result<Vec<TelemetryItem>> {
        let (mut items, damaged) = self.database.read(class, after, limit_bytes)?;
        if !damaged.is_empty() {
            for sequence in damaged {
                if let Some(item) = self.database.item(class, sequence)? {
                    // It may have been handed out whole before: a gap of its own.
                    self.tally.lane_mut(class).offered = self.tally.lane(class).offered.max(sequence);
                    let gap = Gap { reason: GapReason::Corrupt, batches: 1, ..item.gap };
                    self.drop_batch(class, sequence, item.bytes, gap)?;
                }
            }
            items = self.database.read(class, after, limit_bytes)?.0;
        }
        let lane = self.tally.lane_mut(class);
        if let Some(last) = items.last()
            && last.sequence > lane.offered
        {
            lane.offered = last.sequence + OFFER_AHEAD;
        }
        Ok(items)
    }

    fn acknowledge(&mut self, ack: &TelemetryAck) -> rusqlite::Result<()> {
        if ack.epoch != self.database.epoch {
            return Ok(());
        }
        let through = ack.through.min(self.tally.lane(ack.class).next - 1);
        let (batches, gaps, bytes) = self.database.count_through(ack.class, through)?;
        if batches + gaps == 0 {
            return Ok(());
        }
        self.database.delete_through(ack.class, through)?;
        let oldest = self.database.oldest_number(ack.class)?;
        let lane = self.tally.lane_mut(ack.class);
        lane.batches -= batches;
        lane.gaps -= gaps;
        lane.bytes -= bytes;
        lane.oldest = oldest;
        self.database.shrink()
    }

    /// Shows where things stand.
    fn show(&self) {
        let epoch = self.database.epoch;
        let streams = TelemetryClass::ALL
            .into_iter()
            .map(|class| {
                let lane = self.tally.lane(class);
                StreamHead { class, epoch, first: lane.oldest.unwrap_or(lane.next), next: lane.next }
            })
            .collect();
        let unsaved = || self.unsaved.iter().flatten();
        let report = SpoolReport {
            items: self.tally.items(),
            bytes: self.tally.bytes(),
            gaps: self.tally.gaps_made + unsaved().count() as u64,
            points_dropped: self.tally.points_dropped + unsaved().map(|gap| gap.points).sum::<u64>(),
        };
        self.snapshot.send_if_modified(|shown| {
            if shown.streams == streams && shown.report == report {
                return false;
            }
            *shown = Snapshot { streams, report, revision: shown.revision + 1 };
            true
        });
    }

    fn note_counts(&mut self, always: bool) {
        let now = self.clock.now();
        if always || now.saturating_sub(self.counted_at) >= COUNTS_EVERY_MS {
            self.counted_at = now;
            match self.database.counts() {
                Ok(counts) => Counts::write(&counts, &self.path),
                Err(error) => tracing::debug!(%error, "failed to count the spool"),
            }
        }
    }
}

pub(crate) fn gap_of(batch: &Batch, reason: GapReason) -> Gap {
    Gap { batches: 1, points: u64::from(batch.points), first: batch.first, last: batch.last, reason }
}

fn size(command: &Command) -> usize {
    match command {
        Command::Push { batch, .. } => batch.payload.len(),
        Command::Peek { limit_bytes, .. } => *limit_bytes,
        Command::Acknowledge { .. }
        | Command::State { .. }
        | Command::Expire { .. }
        | Command::Close { .. } => 0,
    }
}

/// Answers a command; a caller that went away does not matter.
fn answer(command: Command, done: Done) {
    match (command, done) {
        (Command::Push { reply, .. }, Done::Pushed(result)) => drop(reply.send(result)),
        (Command::Push { reply, .. }, _) => drop(reply.send(Err(PushError::Closed))),
        (Command::Peek { reply, .. }, Done::Items(items)) => drop(reply.send(items)),
        (Command::Peek { reply, .. }, _) => drop(reply.send(Vec::new())),
        (Command::State { reply, .. }, Done::State(state)) => drop(reply.send(state)),
        (Command::State { reply, .. }, _) => drop(reply.send(None)),
        (Command::Acknowledge { reply, .. } | Command::Expire { reply } | Command::Close { reply }, _) => {
            let _ = reply.send(());
        }
    }
}
