//! Room for the moment when the disk is full.
//!
//! # Why
//! Dropping the oldest on a full disk is a write too: the log takes it first, and what the log holds must fit into the
//! database before the log can begin anew. So a spool that holds something keeps a file of no use beside it. When
//! the disk is full the file goes; from then on the database may grow by a fraction of it and no more, the log
//! takes the rest, and both are overwritten in place: a new batch costs an old one. When there is space again, the
//! file comes back. Somebody else who takes that room in the same instant takes it from us; then what comes is
//! refused and counted until there is space.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::quarantine::beside;

/// Bytes that are held. The log is moved into the database at 4 MiB.
const BYTES: u64 = 6 << 20;
/// By how much the database may still grow once they are given away.
pub(crate) const GROWTH_BYTES: u64 = BYTES / 4;
/// A spool that holds less keeps none: thousands of idle ones cost nothing.
const WORTH_BYTES: u64 = 256 << 10;
/// A disk with less is full.
const FULL_BYTES: u64 = 1 << 20;
/// A disk with more than this beside what was given away is not full any more.
const SPACE_BYTES: u64 = 4 << 20;

/// The file.
pub(crate) struct Ballast {
    path: PathBuf,
    held: bool,
    /// Whether the disk was full and has not had space since.
    pub(crate) spent: bool,
    /// Bytes that were given away then.
    given: u64,
}

impl Ballast {
    /// That of the spool at `path`; not made yet.
    pub(crate) fn of(path: &Path) -> Self {
        let path = beside(path, ".ballast");
        let held = path.metadata().is_ok_and(|found| found.len() == BYTES);
        Self { path, held, spent: false, given: 0 }
    }

    /// Whether the disk, and not only the file, is full.
    pub(crate) fn disk_is_full(&self) -> bool {
        self.free().is_some_and(|free| free < FULL_BYTES)
    }

    /// Gives the room away.
    pub(crate) fn release(&mut self) {
        self.spent = true;
        self.given = if self.held { BYTES } else { 0 };
        if std::mem::take(&mut self.held)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "the room that was kept for a full disk is not given back");
        }
    }

    /// Takes room for a spool that holds `bytes`, where there is enough; true when a full disk has space again.
    pub(crate) fn restore(&mut self, bytes: u64) -> bool {
        if !self.spent && (self.held || bytes < WORTH_BYTES) {
            return false;
        }
        let given = if self.spent { self.given } else { 0 };
        let Some(free) = self.free().filter(|free| *free >= SPACE_BYTES + given) else { return false };
        if !self.held && bytes >= WORTH_BYTES && free >= 2 * BYTES {
            self.held = self.make();
        }
        std::mem::take(&mut self.spent)
    }

    fn make(&self) -> bool {
        let made = File::create(&self.path)
            .and_then(|file| Ok(fallocate(&file, FallocateFlags::empty(), 0, BYTES)?));
        if let Err(error) = &made {
            tracing::debug!(%error, path = %self.path.display(), "no room is kept for a full disk");
            let _ = std::fs::remove_file(&self.path);
        }
        made.is_ok()
    }

    /// Bytes that this program may still write to the disk.
    fn free(&self) -> Option<u64> {
        let disk = statvfs(self.path.parent()?).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}
