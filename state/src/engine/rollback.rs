//! Giving up a revision: the unit goes back to the one that was healthy last, which is on disk, so that no tier above
//! is needed for it.
//!
//! A revision is given up after as many failed tries as its unit says, when an object of it failed for good, or when it
//! did not become healthy in the unit's own time; and only while it was never healthy itself: what fails later has no better revision to go to. It is not
//! tried again, not after a restart either, until the plan has another one.

use std::sync::Arc;

use protocol::UnixMillis;
use protocol::inquiry::Revision;
use protocol::plan::Unit;
use protocol::report::{ObjectHealth, UnitState};

use super::Engine;
use super::slot::Slot;
use crate::events::Reason;
use crate::store::{Rejection, fingerprint};

/// A revision of the plan that is not carried out.
#[derive(Debug)]
pub(super) struct Rejected {
    pub(super) rejection: Rejection,
    /// The unit as the plan has it; none until the plan is known.
    pub(super) wanted: Option<Arc<Unit>>,
}

impl Rejected {
    /// Whether it is this revision.
    pub(super) fn is(&self, unit: &Unit) -> bool {
        fingerprint(unit) == self.rejection.revision
    }
}

impl Slot {
    /// The unit as the plan has it.
    pub(super) fn wanted(&self) -> &Unit {
        self.rejected.as_ref().and_then(|rejected| rejected.wanted.as_deref()).unwrap_or(&self.unit)
    }

    /// The failed tries after which the unit goes back to what it was, if there is something to go back to.
    pub(super) fn tries(&self) -> Option<u32> {
        let tries = self.unit.rollback_after()?;
        let other = self.good.as_ref().is_some_and(|good| good.hash != self.unit.hash);
        (other && !self.leaving && !self.in_force && self.rejected.is_none()).then_some(tries)
    }

    /// Whether a unit that has so many tries, and failed just now, is through with them.
    pub(super) fn gives_up(&self, tries: u32) -> bool {
        self.running.is_none()
            && (self.timed_out || self.failures >= tries || self.prepared && self.has_failed_object())
    }

    /// What is told of it when it amounts to this: the state is that of the revision the plan has.
    pub(super) fn told(&self, state: UnitState, message: String) -> (UnitState, String) {
        let Some(rejected) = &self.rejected else { return (state, message) };
        let (reason, version) = (&rejected.rejection.reason, &self.unit.version);
        let colon = if message.is_empty() { "" } else { ": " };
        if rejected.rejection.returned {
            (UnitState::Failed, format!("{reason}; was rolled back to version \"{version}\"{colon}{message}"))
        } else {
            (state, format!("{reason}; rolls back to version \"{version}\"{colon}{message}"))
        }
    }

    /// What it settled as, for the history.
    pub(super) fn revision(&self, now: UnixMillis) -> Revision {
        let wanted = self.wanted();
        Revision {
            at: now,
            version: wanted.version.clone(),
            template: wanted.template.clone(),
            hash: wanted.hash,
            state: self.state,
            message: self.message.clone(),
            in_force: self.unit.version.clone(),
        }
    }

    fn has_failed_object(&self) -> bool {
        self.objects.iter().any(|object| object.health.health == ObjectHealth::Failed)
    }
}

impl Engine {
    /// Gives up a unit's revision, for this reason.
    pub(super) fn roll_back(&mut self, key: u32, reason: String) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(good) = slot.good.clone() else { return };
        let wanted = Arc::clone(&slot.unit);
        tracing::warn!(unit = %wanted.id, version = wanted.version, to = good.version, reason, "rolling back");
        let rejection = Rejection { revision: fingerprint(&wanted), reason, returned: false };
        let stored = self.context.store.put_rejection(slot.owner.unit.clone(), Some(rejection.clone()));
        let text = format!(
            "version \"{}\" is given up for version \"{}\": {}",
            wanted.version, good.version, rejection.reason
        );
        self.events
            .tell(vec![slot.notice(Reason::RollingBack, &text, self.context.clock.now())], Some(stored));
        slot.rejected = Some(Box::new(Rejected { rejection, wanted: Some(wanted) }));
        self.view.lock().metrics.rollbacks_total += 1;
        self.renew(key, good);
        self.sort_out();
        self.place(key);
        self.seek();
        let (state, message) = self.told(key, UnitState::Provisioning, String::new());
        self.become_state(key, state, message);
    }

    /// What is told of a unit that amounts to this; notes when the way back is over.
    pub(super) fn told(&mut self, key: u32, state: UnitState, message: String) -> (UnitState, String) {
        let Some(slot) = self.slots.get_mut(&key) else { return (state, message) };
        if state == UnitState::Deployed
            && let Some(rejected) = slot.rejected.as_mut().filter(|rejected| !rejected.rejection.returned)
        {
            rejected.rejection.returned = true;
            let rejection = Some(rejected.rejection.clone());
            self.context.store.put_rejection(slot.owner.unit.clone(), rejection).forget();
        }
        slot.told(state, message)
    }
}
