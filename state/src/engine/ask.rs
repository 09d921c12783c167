//! Asking pods why they do not run: of workloads that were not healthy for a while, from time to time, so that their
//! unit can say more than how many are missing, also when it is given up.

use std::sync::Arc;
use std::time::Duration;

use protocol::report::ObjectHealth;
use tokio::time::Instant;

use super::Engine;
use super::slot::Slot;
use crate::object::{ObjectId, Place};
use crate::worker::{self, Event, News};

/// Between two looks, unless the unit's own time is short: then three times in it.
const PERIOD: Duration = Duration::from_secs(10);
/// Between two looks at a unit whose time is over.
const PERIOD_LATE: Duration = Duration::from_secs(60);
/// What is asked of one unit at a time.
const WORKLOADS_MAX: usize = 8;

impl Slot {
    /// Sets the moment of the next look, if there will be something to look at and none is set.
    pub(super) fn will_ask(&mut self, now: Instant) {
        if self.leaving || self.plain_waiting().next().is_none() {
            self.ask_at = None;
        } else if self.ask_at.is_none() {
            self.ask_at = Some(now + self.ask_period());
        }
    }

    fn ask_period(&self) -> Duration {
        if self.timed_out {
            return PERIOD_LATE;
        }
        PERIOD.min(Duration::from_millis(self.unit.timeout_ms) / 3).max(Duration::from_millis(100))
    }

    /// Workloads that are not as they should be.
    fn plain_waiting(&self) -> impl Iterator<Item = &Place> {
        let unwell = |health| matches!(health, ObjectHealth::InProgress | ObjectHealth::Failed);
        let objects = self.objects.iter().filter(move |object| unwell(object.health.health));
        objects.filter_map(|object| object.place.as_ref()).filter(|place| worker::has_pods(&place.id))
    }
}

impl Engine {
    /// Asks for all units whose moment has come.
    pub(super) fn ask(&mut self, now: Instant) {
        if self.reachable == Some(false) {
            return;
        }
        for (key, slot) in &mut self.slots {
            if slot.ask_at.is_none_or(|at| at > now) {
                continue;
            }
            let places: Vec<Place> = slot.plain_waiting().take(WORKLOADS_MAX).cloned().collect();
            slot.ask_at = (!places.is_empty()).then(|| now + slot.ask_period());
            let (context, key) = (Arc::clone(&self.context), *key);
            let asking = async move {
                let mut causes = Vec::new();
                for place in places {
                    causes.push((ObjectId::clone(&place.id), context.why(&place).await));
                }
                // A closed channel means that the engine ends.
                let _ = context.news.send(News { slot: key, run: 0, event: Event::Causes(causes) }).await;
            };
            self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(asking));
        }
    }

    /// Takes in what pods said.
    pub(super) fn learn(&mut self, key: u32, causes: Vec<(ObjectId, Option<String>)>) {
        let mut news = false;
        for (id, cause) in causes {
            let Some((owner, index)) = self.index.get(&id).copied() else { continue };
            let Some(slot) = self.slots.get_mut(&owner).filter(|_| owner == key) else { continue };
            let object = &mut slot.objects[index];
            // Between question and answer it may have become well.
            if object.health.health != ObjectHealth::Current && object.cause != cause {
                object.cause = cause;
                news = true;
            }
        }
        if news {
            self.assess(key);
        }
    }
}
