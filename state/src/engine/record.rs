//! When Helm's record of a release is kept: after the unit is deployed, and never in the way of anything else. A record
//! that cannot be made is tried again; the unit is deployed all the same.

use std::sync::Arc;
use std::time::Duration;

use protocol::id::Digest;
use tokio::time::Instant;

use super::Engine;
use super::slot::Slot;
use crate::backoff;
use crate::store::fingerprint;
use crate::worker::{End, Failed};

const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(600);

/// How far the record of a unit's release is.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Hash of the revision of which it was made.
    pub(super) made: Option<Digest>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Slot {
    /// Whether the record of what is deployed is to be made.
    pub(super) fn wants_record(&self, now: Instant) -> bool {
        self.lacks_record() && self.record.not_before.is_none_or(|at| at <= now)
    }

    fn lacks_record(&self) -> bool {
        self.in_force && self.record.made != Some(self.recordable()) && self.unit.chart().is_some()
    }

    /// What the record is to be of: what is deployed, and after which revision that was given up.
    fn recordable(&self) -> Digest {
        match self.failed() {
            Some(failed) => Digest::of(&[self.unit.hash.0, fingerprint(&failed.unit).0].concat()),
            None => self.unit.hash,
        }
    }

    /// The revision that was given up for what is deployed, while the plan still has it.
    pub(super) fn failed(&self) -> Option<Failed> {
        let rejected = self.rejected.as_ref().filter(|rejected| rejected.rejection.returned)?;
        let unit = Arc::clone(rejected.wanted.as_ref()?);
        Some(Failed { unit, reason: rejected.rejection.reason.clone() })
    }

    /// When the record is tried again, while it is waited for.
    pub(super) fn record_due(&self) -> Option<Instant> {
        self.record.not_before.filter(|_| self.lacks_record() && self.running.is_none())
    }
}

impl Engine {
    /// A worker that was to make the record has ended.
    pub(super) fn recorded(&mut self, key: u32, end: End) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let made = slot.recordable();
        let record = &mut slot.record;
        match end {
            End::Complete => {
                *record = Record { made: Some(made), ..Record::default() };
                self.context.store.put_recorded(slot.owner.unit.clone(), made).forget();
            }
            End::Blocked(text) => {
                tracing::warn!(unit = slot.owner.unit, text, "the record of the release could not be made");
                let wait = backoff::delay(RETRY_BASE, RETRY_CAP, record.failures, &slot.owner.unit);
                record.failures += 1;
                record.not_before = Some(Instant::now() + wait);
            }
            End::Unreachable(text) => self.lost(&text),
            End::Again | End::Removed | End::Stopped | End::Tested { .. } => {}
        }
    }
}
