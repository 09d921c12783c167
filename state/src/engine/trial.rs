//! Test hooks on demand: an order names a run; each is carried out once, when the unit is deployed.

use protocol::plan::HookEvent;

use super::Engine;
use super::slot::Slot;
use crate::store::TestRun;

impl Slot {
    /// The order that is due.
    pub(super) fn due_test(&self) -> Option<&str> {
        let order = self.unit.test_order().filter(|_| self.in_force && self.has_hooks(HookEvent::Test))?;
        let done = self.tested.as_ref().is_some_and(|run| run.order == order);
        (!done).then_some(order)
    }

    /// What the last run that is still asked for has shown.
    pub(super) fn test_result(&self) -> Option<String> {
        let run = self.tested.as_ref()?;
        (self.wanted().test_order() == Some(run.order.as_str())).then(|| run.result.clone())
    }
}

impl Engine {
    /// Tests were run.
    pub(super) fn tested(&mut self, key: u32, order: String, result: Result<usize, String>) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let result = match result {
            Ok(count) => format!("test \"{order}\" passed: {count} hooks"),
            Err(text) => format!("test \"{order}\" failed: {text}"),
        };
        tracing::info!(unit = slot.owner.unit, result, "tests");
        let run = TestRun { order, result };
        self.context.store.put_tested(slot.owner.unit.clone(), run.clone()).forget();
        slot.tested = Some(run);
    }
}
