//! When Helm's record of a release is kept: after the unit is deployed, and never in the way of anything else. A record
//! that cannot be made is tried again; the unit is deployed all the same.
//!
//! Helm itself writes records too: a `helm rollback` by hand takes ours out of force. The watch sees that, and ours is
//! made anew at once, so that the history ends with what is true. What happened while the agent was away is looked for
//! when it begins.

use std::sync::Arc;
use std::time::Duration;

use protocol::id::Digest;
use tokio::time::Instant;

use super::Engine;
use super::slot::Slot;
use crate::backoff;
use crate::live::{Live, Meta};
use crate::object::{AGENT_ANNOTATION, ObjectId, UNIT_LABEL};
use crate::release::RECORD_PREFIX;
use crate::store::fingerprint;
use crate::worker::{End, Failed};

const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(600);

/// How far the record of a unit's release is.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Hash of the revision of which it was made.
    pub(super) made: Option<Digest>,
    /// Somebody else may have taken it out of force.
    pub(super) look: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Slot {
    /// Whether the record of what is deployed is to be made.
    pub(super) fn wants_record(&self, now: Instant) -> bool {
        self.lacks_record() && self.record.not_before.is_none_or(|at| at <= now)
    }

    fn lacks_record(&self) -> bool {
        let made = self.record.made == Some(self.recordable()) && !self.record.look;
        self.in_force && !made && self.unit.chart().is_some()
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
                let new = record.made != Some(made);
                *record = Record { made: Some(made), look: record.look, ..Record::default() };
                if new {
                    self.context.store.put_recorded(slot.owner.unit.clone(), made).forget();
                }
                self.watch_records();
            }
            End::Blocked(text) => {
                record.look |= record.made == Some(made);
                tracing::warn!(unit = slot.owner.unit, text, "the record of the release could not be made");
                let wait = backoff::delay(RETRY_BASE, RETRY_CAP, record.failures, &slot.owner.unit);
                record.failures += 1;
                record.not_before = Some(Instant::now() + wait);
            }
            End::Unreachable(text) => {
                record.look |= record.made == Some(made);
                self.lost(&text);
            }
            End::Again | End::Removed | End::Stopped | End::Tested { .. } => {}
        }
    }

    /// Watches records from now on.
    fn watch_records(&mut self) {
        if let Some(resource) = self.context.discovery.known("", "v1", "Secret") {
            self.watch(&resource);
        }
    }

    /// Whether records are watched.
    pub(super) fn has_records(&self) -> bool {
        self.slots.values().any(|slot| slot.record.made.is_some())
    }

    /// A Secret is gone or has lost our label, or it is there: if it is a record that somebody else wrote, or was that
    /// of what is deployed, it is looked whose turn it is. Helm keeps our label and drops our annotations; records that
    /// were superseded go by our own hand.
    pub(super) fn record_changed(&mut self, id: &ObjectId, live: &Live, gone: bool) {
        let Some(release) = release_of(id) else { return };
        let Meta { labels, annotations, .. } = &live.metadata;
        let marked = labels.contains_key(UNIT_LABEL) && annotations.contains_key(AGENT_ANNOTATION);
        let in_force = labels.get("status").is_none_or(|status| status == "deployed");
        if marked && !(gone && in_force) {
            return;
        }
        let of_release = |slot: &&mut Slot| {
            let unit = &slot.unit.id;
            unit.namespace == id.namespace
                && unit.name == release
                && slot.record.made.is_some()
                && !slot.leaving
        };
        if let Some(slot) = self.slots.values_mut().find(of_release) {
            slot.record.look = true;
        }
    }
}

/// The release of which a Secret is a record.
fn release_of(id: &ObjectId) -> Option<&str> {
    let secret = id.group.is_empty() && id.kind == "Secret";
    let (release, number) = id.name.strip_prefix(RECORD_PREFIX).filter(|_| secret)?.rsplit_once(".v")?;
    number.bytes().all(|digit| digit.is_ascii_digit()).then_some(release)
}
