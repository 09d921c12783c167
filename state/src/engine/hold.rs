//! Holding back what is new: what is on the cluster is kept as it is, drift included, and a new revision, a new unit or a
//! removal waits: for the end of the plan's own hold, for the owner of the cluster, or for a maintenance window. An
//! order whose time is over is not carried out any more, whenever the edge comes to it.
//!
//! Whatever was begun goes on: half a revision helps nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::UnixMillis;
use protocol::id::Digest;
use protocol::plan::{PlanBody, Unit, UnitId};
use protocol::policy::HOLD;
use protocol::report::{UnitReport, UnitState};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Engine, Plan};
use crate::events::Regarding;
use crate::local::{Local, Opening};

/// The clock of the cluster may be set meanwhile, so it is looked at again after this time at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A pause in carrying out plans.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Hold {
    reason: Option<String>,
    until: Option<jiff::Timestamp>,
}

/// A plan of which something waits.
#[derive(Debug)]
pub(super) struct Deferred {
    plan: Plan,
    /// When something of it may go on by itself.
    until: Option<UnixMillis>,
    /// Whether anything can still come of it.
    pub(super) open: bool,
}

/// Why something is not begun.
#[derive(Debug, Clone)]
struct Wait {
    text: String,
    until: Option<UnixMillis>,
    /// Its time is over.
    expired: bool,
}

impl Wait {
    fn for_hold(until: Option<UnixMillis>, usual: &str, reason: &str) -> Self {
        let at = until.map_or_else(|| usual.to_owned(), time);
        let colon = if reason.is_empty() { "" } else { ": " };
        Self { text: format!("deferred until {at}{colon}{reason}"), until, expired: false }
    }

    fn expired(not_after: UnixMillis) -> Self {
        let text = format!("not begun: its time was over at {}", time(not_after));
        Self { text, until: None, expired: true }
    }
}

/// What decides whether something may be begun now.
struct Gate<'a> {
    now: UnixMillis,
    hold: Option<Hold>,
    local: Result<&'a Local, &'a String>,
    /// Of the plan as a whole.
    not_after: Option<UnixMillis>,
}

impl Gate<'_> {
    /// Why a unit waits; none of it wanted any more when `unit` is `None`.
    fn wait(&self, id: &UnitId, unit: Option<&Unit>) -> Option<Wait> {
        let own = unit.and_then(Unit::not_after);
        if let Some(end) = [self.not_after, own].into_iter().flatten().min().filter(|end| *end < self.now) {
            return Some(Wait::expired(end));
        }
        if let Some(hold) = &self.hold {
            let until = hold.until.map(|until| u64::try_from(until.as_millisecond()).unwrap_or(0));
            return Some(Wait::for_hold(until, "its hold ends", hold.reason.as_deref().unwrap_or_default()));
        }
        let local = match self.local {
            Ok(local) => local,
            Err(error) => {
                let reason = format!("what the owner of this cluster set is not understood: {error}");
                return Some(Wait::for_hold(None, "that is mended", &reason));
            }
        };
        if let Some(hold) = local.hold_of(id, self.now) {
            let until = hold.until.map(|until| u64::try_from(until.as_millisecond()).unwrap_or(0));
            let by = "by the owner of this cluster";
            let colon = if hold.reason.is_empty() { "" } else { ": " };
            let reason = format!("{by}{colon}{}", hold.reason);
            return Some(Wait::for_hold(until, "it is released", &reason));
        }
        let windows = local.windows.as_ref().filter(|_| !unit.is_some_and(Unit::is_emergency))?;
        let reason = format!("outside of the maintenance windows {windows}");
        match windows.opening(self.now) {
            Ok(Opening::Open) => None,
            Ok(Opening::At(at)) => Some(Wait::for_hold(Some(at), "", &reason)),
            Ok(Opening::Never) => Some(Wait::for_hold(None, "there is one", &reason)),
            Err(error) => Some(Wait::for_hold(None, "that is mended", &error)),
        }
    }
}

/// What of a plan is not begun now.
pub(super) struct Waits {
    /// By position in the plan.
    units: Vec<Option<Wait>>,
    removals: Vec<(u32, Wait)>,
}

impl Waits {
    /// Whether a unit of the plan, by position, is begun or goes on.
    pub(super) fn lets_begin(&self, position: usize) -> bool {
        self.units.get(position).is_none_or(Option::is_none)
    }

    /// Whether a unit may be removed.
    pub(super) fn lets_leave(&self, key: u32) -> bool {
        self.removals.iter().all(|(held, _)| *held != key)
    }

    fn is_empty(&self) -> bool {
        self.removals.is_empty() && self.units.iter().all(Option::is_none)
    }
}

impl Engine {
    /// The hold that a plan says it is under, while it lasts. One that is not understood holds until there is another
    /// plan: whoever wrote it wanted nothing to change.
    fn hold_of(&self, body: &PlanBody) -> Option<Hold> {
        let text = body.settings.get(HOLD)?;
        let hold: Hold = serde_json::from_str(text).unwrap_or_else(|error| {
            let reason = Some(format!("the hold is not understood: {error}"));
            Hold { reason, until: None }
        });
        let now = i128::from(self.context.clock.now());
        let over = hold.until.is_some_and(|until| i128::from(until.as_millisecond()) <= now);
        (!over).then_some(hold)
    }

    /// What of a plan has to wait.
    pub(super) fn waits(&self, plan: &Plan) -> Waits {
        let gate = Gate {
            now: self.context.clock.now(),
            hold: self.hold_of(&plan.body),
            local: self.local.as_ref().as_ref(),
            not_after: plan.not_after,
        };
        let begun = |unit: &Unit| {
            let slot = self.names.get(&unit.id).and_then(|key| self.slots.get(key));
            slot.is_some_and(|slot| {
                let same = match &slot.rejected {
                    Some(rejected) => rejected.is(unit),
                    None => *slot.unit == *unit,
                };
                // What is on its way out is not called back by halves.
                slot.leaving || same
            })
        };
        let units = plan.body.units.iter();
        let units = units.map(|unit| if begun(unit) { None } else { gate.wait(&unit.id, Some(unit)) });
        let units = units.collect();
        let removals = self
            .slots
            .iter()
            .filter(|(_, slot)| !slot.leaving && slot.state != UnitState::Deleting)
            .filter(|(_, slot)| plan.body.units.iter().all(|unit| unit.id != slot.unit.id))
            .filter_map(|(key, slot)| Some((*key, gate.wait(&slot.unit.id, None)?)))
            .collect();
        Waits { units, removals }
    }

    /// Tells what waits, and keeps the plan for when it may go on.
    pub(super) fn defer(&mut self, plan: Plan, waits: &Waits) {
        for slot in self.slots.values_mut() {
            slot.deferred = None;
        }
        if waits.is_empty() {
            self.announce_waits(BTreeMap::new());
            return;
        }
        let now = self.context.clock.now();
        let mut told = BTreeMap::new();
        for ((order, unit), wait) in (0u32..).zip(&plan.body.units).zip(&waits.units) {
            let Some(wait) = wait else { continue };
            let text = format!("version \"{}\" is {}", unit.version, wait.text);
            told.insert(unit.id.clone(), (Regarding::unit(unit), text.clone(), wait.expired));
            match self.names.get(&unit.id).and_then(|key| self.slots.get_mut(key)) {
                Some(slot) => {
                    slot.order = order;
                    slot.deferred = Some(text);
                }
                None => {
                    let state = if wait.expired { UnitState::Failed } else { UnitState::Pending };
                    self.view.show(order, UnitReport { state, ..waiting(unit, &wait.text, now) });
                }
            }
        }
        for (key, wait) in &waits.removals {
            if let Some(slot) = self.slots.get_mut(key) {
                let text = format!("its removal is {}", wait.text);
                let regarding = Regarding::unit(&slot.unit);
                told.insert(slot.unit.id.clone(), (regarding, text.clone(), wait.expired));
                slot.deferred = Some(text);
            }
        }
        self.announce_waits(told);
        let all = || waits.units.iter().flatten().chain(waits.removals.iter().map(|(_, wait)| wait));
        tracing::info!(units = all().count(), "a part of the plan waits");
        let open = all().any(|wait| !wait.expired);
        let ends = plan.body.units.iter().map(Unit::not_after).chain([plan.not_after]).flatten();
        let ends = ends.filter(|end| *end >= now).map(|end| end + 1);
        let until = all().filter_map(|wait| wait.until).chain(ends).min();
        self.deferred = Some(Deferred { plan, until, open });
    }

    /// Another plan has come: units of the one that waited are told to be gone where they are not in it either.
    pub(super) fn forget_waiting(&mut self, body: &PlanBody) {
        let Some(before) = self.deferred.take() else { return };
        let now = self.context.clock.now();
        for (order, unit) in (0u32..).zip(&before.plan.body.units) {
            if !self.names.contains_key(&unit.id) && body.units.iter().all(|other| other.id != unit.id) {
                let gone = UnitReport { state: UnitState::Deleted, ..waiting(unit, "", now) };
                self.view.show(order, gone);
            }
        }
    }

    /// When to look whether something may go on.
    pub(super) fn hold_ends(&self) -> Option<Instant> {
        let until = self.deferred.as_ref()?.until?;
        let left = until.saturating_sub(self.context.clock.now());
        Some(Instant::now() + Duration::from_millis(left).min(LOOK_AGAIN))
    }

    /// Carries out what waited and may go on.
    pub(super) fn release(&mut self) {
        let now = self.context.clock.now();
        let over = |deferred: &mut Deferred| deferred.until.is_some_and(|until| until <= now);
        if let Some(deferred) = self.deferred.take_if(over) {
            self.carry_out(deferred.plan);
        }
    }

    /// The owner of the cluster allows something else now.
    pub(super) fn allow(&mut self) {
        self.local = self.allowed.borrow_and_update().clone();
        match self.local.as_ref() {
            Ok(local) => tracing::info!(?local, "the owner of the cluster decided"),
            Err(error) => tracing::warn!(error, "what the owner of the cluster set is not understood"),
        }
        if let Some(deferred) = self.deferred.take() {
            self.carry_out(deferred.plan);
        }
    }
}

fn time(at: UnixMillis) -> String {
    let at = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    at.map_or_else(|| "the end of time".to_owned(), |at| at.to_string())
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
