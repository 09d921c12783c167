//! Holding a plan back: what is on the cluster is kept as it is, drift included, and what is new waits until the hold
//! ends, by itself or by a later plan.

use std::time::Duration;

use protocol::id::Digest;
use protocol::plan::{PlanBody, Unit};
use protocol::policy::HOLD;
use protocol::report::{UnitReport, UnitState};
use serde::Deserialize;
use tokio::time::Instant;

use super::Engine;

/// The clock of the cluster may be set meanwhile, so it is looked at again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A pause in carrying out plans.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hold {
    reason: Option<String>,
    until: Option<jiff::Timestamp>,
}

/// A plan that waits.
#[derive(Debug)]
pub(super) struct Deferred {
    hold: Hold,
    body: PlanBody,
}

impl Hold {
    fn is_over(&self, now: u64) -> bool {
        self.until.is_some_and(|until| u64::try_from(until.as_millisecond()).unwrap_or(0) <= now)
    }

    fn text(&self) -> String {
        let until = self.until.map_or_else(|| "its hold ends".to_owned(), |until| until.to_string());
        let reason = self.reason.iter().map(|reason| format!(": {reason}")).collect::<String>();
        format!("deferred until {until}{reason}")
    }
}

impl Engine {
    /// The hold that a plan says it is under, while it lasts. One that is not understood holds until there is another
    /// plan: whoever wrote it wanted nothing to change.
    pub(super) fn hold_of(&self, body: &PlanBody) -> Option<Hold> {
        let text = body.settings.get(HOLD)?;
        let hold = serde_json::from_str(text).unwrap_or_else(|error| {
            let reason = Some(format!("the hold is not understood: {error}"));
            Hold { reason, until: None }
        });
        (!hold.is_over(self.context.clock.now())).then_some(hold)
    }

    /// Keeps what is there, and tells what waits.
    pub(super) fn defer(&mut self, hold: Hold, body: PlanBody) {
        let text = hold.text();
        tracing::info!(text, units = body.units.len(), "a plan waits");
        for slot in self.slots.values_mut() {
            let wanted = body.units.iter().find(|unit| unit.id == slot.unit.id);
            let stays = slot.leaving || wanted.is_some_and(|wanted| wanted == slot.wanted());
            slot.deferred = (!stays).then(|| match wanted {
                Some(wanted) => format!("version \"{}\" is {text}", wanted.version),
                None => format!("its removal is {text}"),
            });
        }
        let now = self.context.clock.now();
        for (order, unit) in (0u32..).zip(&body.units) {
            if !self.names.contains_key(&unit.id) {
                self.view.show(order, waiting(unit, &text, now));
            }
        }
        self.deferred = Some(Deferred { hold, body });
        for key in self.slots.keys().copied().collect::<Vec<_>>() {
            self.place(key);
        }
        self.show_all();
    }

    /// Another plan has come: units of the one that waited are told to be gone where they are not in it either.
    pub(super) fn forget_waiting(&mut self, body: &PlanBody) {
        let Some(before) = self.deferred.take() else { return };
        let now = self.context.clock.now();
        for (order, unit) in (0u32..).zip(&before.body.units) {
            if !self.names.contains_key(&unit.id) && body.units.iter().all(|other| other.id != unit.id) {
                let gone = UnitReport { state: UnitState::Deleted, ..waiting(unit, "", now) };
                self.view.show(order, gone);
            }
        }
    }

    /// When to look whether the hold is over.
    pub(super) fn hold_ends(&self) -> Option<Instant> {
        let until = self.deferred.as_ref()?.hold.until?;
        let left =
            u64::try_from(until.as_millisecond()).unwrap_or(0).saturating_sub(self.context.clock.now());
        Some(Instant::now() + Duration::from_millis(left).min(LOOK_AGAIN))
    }

    /// Carries out what waited, when its hold is over.
    pub(super) fn release(&mut self) {
        let now = self.context.clock.now();
        let Some(deferred) = self.deferred.take_if(|deferred| deferred.hold.is_over(now)) else { return };
        tracing::info!("the hold is over");
        self.carry_out(deferred.body);
    }
}

/// The report of a unit that is not begun.
fn waiting(unit: &Unit, text: &str, now: u64) -> UnitReport {
    UnitReport {
        id: unit.id.clone(),
        version: unit.version.clone(),
        template: unit.template.clone(),
        deployed_hash: None::<Digest>,
        state: UnitState::Pending,
        message: text.to_owned(),
        since: now,
        drift_repairs: 0,
        objects_total: u32::try_from(unit.objects.len()).unwrap_or(u32::MAX),
        objects_ready: 0,
        objects: Vec::new(),
    }
}
