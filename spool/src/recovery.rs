//! What the writer does when the disk is full or the file is damaged.

use std::path::Path;

use protocol::telemetry::{GapReason, TelemetryClass};

use crate::ballast::GROWTH_BYTES;
use crate::command::{Batch, Command};
use crate::database::{Database, Trouble};
use crate::lane::{Tally, absorb, number};
use crate::quarantine::{self, Salvage};
use crate::writer::{Writer, gap_of};

impl Writer {
    /// After a failure: makes room on a full disk, starts anew with a damaged file.
    pub(crate) fn recover(&mut self, error: &rusqlite::Error, group: &[Command]) {
        match Trouble::of(error) {
            Trouble::Full => {
                tracing::warn!("disk is full: dropping the oldest telemetry of the lowest priority");
                let highest = group.iter().filter_map(|command| match command {
                    Command::Push { batch, .. } => Some((batch.class, batch.payload.len() as u64)),
                    Command::Peek { .. }
                    | Command::Acknowledge { .. }
                    | Command::State { .. }
                    | Command::Expire { .. }
                    | Command::Close { .. } => None,
                });
                if let Some((class, bytes)) = highest.max_by_key(|(_, bytes)| *bytes) {
                    self.make_room(class, bytes);
                }
            }
            Trouble::Damaged => {
                tracing::warn!(path = %self.path.display(), %error, "spool is damaged: moving it aside and starting anew");
                self.start_anew();
            }
            Trouble::InUse | Trouble::Other => tracing::warn!(%error, "failed to write to the spool"),
        }
    }

    /// Drops the oldest of the lowest lanes until twice the bytes are free.
    pub(crate) fn make_room(&mut self, class: TelemetryClass, bytes: u64) {
        let wanted = (2 * bytes).max(64 << 10);
        if !self.ballast.spent && self.ballast.disk_is_full() {
            self.ballast.release();
            self.database.checkpoint();
            if let Err(error) = self.database.hold(GROWTH_BYTES) {
                tracing::warn!(%error, "the spool is not kept from growing on a full disk");
            }
        } else {
            self.database.checkpoint();
        }
        let before = self.tally.clone();
        let freed = self.free(class, wanted, &before);
        if let Err(error) = freed {
            self.database.roll_back();
            self.tally = before;
            tracing::warn!(%error, "failed to make room in the spool");
        } else {
            self.unsaved = Default::default();
        }
    }

    /// Ends what a full disk demanded once it has space again.
    pub(crate) fn breathe(&mut self) {
        if self.ballast.restore(self.tally.bytes()) {
            tracing::info!("the disk has space again: the spool may grow");
            if let Err(error) = self.database.let_go() {
                tracing::warn!(%error, "the spool does not grow");
            }
        }
    }

    fn free(&mut self, class: TelemetryClass, wanted: u64, before: &Tally) -> rusqlite::Result<()> {
        self.database.begin()?;
        let goal = self.tally.bytes().saturating_sub(wanted);
        while self.tally.bytes() > goal && self.drop_lowest(class, GapReason::DiskFull)? {}
        self.save_unsaved()?;
        self.database.commit(before, &self.tally)
    }

    /// Counts a batch that could not be stored, nor its gap.
    pub(crate) fn set_unsaved(&mut self, batch: &Batch) {
        if !batch.counted {
            return;
        }
        let gap = gap_of(batch, GapReason::DiskFull);
        match &mut self.unsaved[number(batch.class)] {
            Some(held) => absorb(held, &gap),
            empty => *empty = Some(gap),
        }
    }

    /// Writes down what could not be written down before; forgotten only after the commit.
    pub(crate) fn save_unsaved(&mut self) -> rusqlite::Result<()> {
        for class in TelemetryClass::ALL {
            if let Some(gap) = self.unsaved[number(class)].clone() {
                self.add_gap(class, gap)?;
            }
        }
        Ok(())
    }

    fn start_anew(&mut self) {
        // The old connection must be gone before its file is moved.
        let Ok((stand_in, _)) = Database::open(Path::new(":memory:"), None, || 0) else { return };
        drop(std::mem::replace(&mut self.database, stand_in));
        let salvage = match quarantine::set_aside(&self.path) {
            Ok(salvage) => salvage,
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "failed to move the damaged spool aside; telemetry is kept in memory only");
                Salvage::default()
            }
        };
        match Database::open(&self.path, self.budgets.file_bytes_max, &mut self.entropy) {
            Ok((database, tally)) => {
                self.database = database;
                self.tally = tally;
                self.take_over(salvage);
            }
            Err(error) => {
                tracing::error!(%error, "failed to make a new spool; telemetry is kept in memory only");
                self.tally = Tally::default();
                TelemetryClass::ALL.into_iter().for_each(|class| self.tally.lane_mut(class).next = 1);
            }
        }
    }

    /// Begins a new file with what is known of the lost one.
    pub(crate) fn take_over(&mut self, salvage: Salvage) {
        let before = self.tally.clone();
        if let Err(error) = self.write_salvage(salvage, &before) {
            self.database.roll_back();
            self.tally = before;
            tracing::error!(%error, "failed to write down what the damaged spool lost");
        }
    }

    fn write_salvage(&mut self, salvage: Salvage, before: &Tally) -> rusqlite::Result<()> {
        let now = self.clock.now();
        self.database.begin()?;
        self.tally.gaps_made = salvage.gaps_made;
        self.tally.points_dropped = salvage.points_dropped;
        for (class, mut gap) in salvage.lost {
            if gap.batches == 0 {
                // Nothing known: something of this class may have been lost up to now.
                gap.last = now;
            }
            // The numbers it stands for are of the old epoch: it takes one of the new.
            let sequence = self.tally.lane(class).next;
            self.database.put_gap(class, sequence, &gap)?;
            let lane = self.tally.lane_mut(class);
            lane.next = sequence + 1;
            lane.gaps += 1;
            lane.oldest.get_or_insert(sequence);
            // It stands for itself; nothing grows together with it.
            lane.offered = lane.offered.max(sequence);
            self.tally.gaps_made += 1;
            self.tally.points_dropped += gap.points;
        }
        for (name, value) in salvage.states {
            self.database.put_state(&name, &value)?;
        }
        self.database.commit(before, &self.tally)
    }
}
