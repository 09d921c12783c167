//! Units of which nothing is written: what would change is looked up once for each revision, and again when somebody
//! changed an object meanwhile.

use protocol::report::UnitState;
use tokio::time::Instant;

use super::Engine;
use super::slot::Slot;
use crate::events::{Notice, Reason};
use crate::object;
use crate::worker::{Item, Preview, Step};

/// After a change by others, looks wait so long for more of them.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(1);

/// Differences that a unit's message quotes; its report has all.
const QUOTED_MAX: usize = 3;

impl Slot {
    /// The step that looks.
    pub(super) fn preview_step(&mut self) -> Step {
        let order = object::apply_order(&self.unit);
        let item = |index: usize| {
            let (object, entry) = (&self.objects[index], &self.unit.objects[index]);
            Some(Item {
                index,
                place: object.place.clone()?,
                digest: entry.digest,
                row: self.row(index),
                check: false,
                force: self.unit.take_ownership || object.held.as_ref().is_some_and(|held| !held.adopted),
            })
        };
        let items = order.into_iter().filter_map(item).collect();
        for object in &mut self.objects {
            object.preview = object.place.is_none().then_some(Preview::Create);
            object.refused = None;
        }
        Step::Preview(items)
    }

    /// Somebody changed an object: what would become of it may be something else now.
    pub(super) fn look_again(&mut self) {
        if self.unit.is_dry_run() && self.prepared {
            self.prepared = false;
            self.retry_at = Some(Instant::now() + SETTLE);
        }
    }

    /// What a dry run found.
    fn found(&self) -> (UnitState, String) {
        let count = |wanted: fn(&Preview) -> bool| {
            self.objects.iter().filter(|object| object.preview.as_ref().is_some_and(wanted)).count()
        };
        let created = count(|preview| *preview == Preview::Create);
        let changed = count(|preview| matches!(preview, Preview::Change(_)));
        let refused = self.objects.iter().filter(|object| object.refused.is_some()).count();
        let deleted = self.gone.len();
        if created + changed + refused + deleted == 0 && self.deployed == Some(self.unit.hash) {
            return (UnitState::Deployed, String::new());
        }
        let mut text = format!(
            "dry run, nothing was written: {created} to create, {changed} to change, {deleted} to delete, {refused} refused"
        );
        let quoted = self.objects.iter().zip(&self.unit.objects).filter_map(|(object, entry)| {
            let text = match (&object.refused, &object.preview) {
                (Some(refused), _) => refused,
                (None, Some(Preview::Change(text))) => text,
                (None, _) => return None,
            };
            Some(format!("; {}: {text}", entry.key))
        });
        text.extend(quoted.take(QUOTED_MAX));
        (UnitState::Pending, text)
    }
}

impl Engine {
    /// Draws the conclusion for a unit of which nothing is written.
    pub(super) fn assess_dry_run(&mut self, key: u32) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let (state, message) = match &slot.blocked {
            Some(text) => (UnitState::Failed, text.clone()),
            None if slot.prepared => slot.found(),
            None => return,
        };
        if state == UnitState::Pending && slot.message != message {
            let notice = slot.notice(Reason::WouldChange, &message, self.context.clock.now());
            self.events.tell(vec![Notice { once: true, ..notice }], None);
        }
        self.become_state(key, state, message);
    }
}
