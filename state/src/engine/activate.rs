//! A plan becomes the one that is carried out: what is the same stays as it is, what changed is begun,
//! what left is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::id::Digest;
use protocol::plan::{DriftMode, ObjectKey, Removal, Unit, UnitId, UnitKind};
use protocol::report::{ObjectHealth, UnitState};
use tracing::Span;

use super::flap::Flap;
use super::others::Others;
use super::record::Record;
use super::rollback::Rejected;
use super::slot::{Held, Object, Slot, Work};
use super::{Accepted, Engine, Plan};
use crate::events::Regarding;
use crate::health::Judgement;
use crate::object::{ObjectId, Owner, Place};
use crate::rules::Rules;
use crate::store::{KeptUnit, Row, StoredPlan};

/// Units that leave are reported after those that stay.
const LEAVING_ORDER: u32 = u32::MAX / 2;

impl Engine {
    /// Takes up what a run before this one left.
    pub(super) fn resume(&mut self, plan: Option<StoredPlan>, units: Vec<KeptUnit>, rows: Vec<Row>) {
        let Some(StoredPlan { head, body, not_after, applied }) = plan else { return };
        let now = self.context.clock.now();
        for KeptUnit { record, good, rejection, recorded, tested } in units {
            let spec = Arc::new(record.spec);
            let good = good.map(|good| if good == *spec { Arc::clone(&spec) } else { Arc::new(good) });
            // What was given up is not begun again, wherever the run before this one was with it.
            let rejection = rejection.filter(|_| good.is_some());
            let unit = rejection.as_ref().and(good.clone()).unwrap_or_else(|| Arc::clone(&spec));
            let key = self.add(Arc::clone(&unit), now);
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            slot.good = good;
            slot.record.made = recorded;
            slot.record.look = recorded.is_some();
            slot.tested = tested;
            let returned = rejection.as_ref().is_none_or(|rejection| rejection.returned);
            slot.rejected = rejection.map(|rejection| Box::new(Rejected { rejection, wanted: None }));
            slot.state = record.state;
            slot.message = record.message;
            slot.since = record.since;
            slot.deployed = record.deployed;
            slot.in_force = returned && record.deployed == Some(slot.unit.hash);
            slot.repairs = record.repairs;
            slot.noted = Arc::ptr_eq(&unit, &spec);
            if slot.state == UnitState::Deployed && !slot.is_deployed() {
                // Another revision was begun, and how far it came is not known yet.
                slot.state = UnitState::Pending;
                slot.since = now;
            }
            if slot.rejected.is_some() && returned {
                (slot.state, slot.message) = slot.told(UnitState::Deployed, String::new());
            }
            if slot.is_deployed() {
                // As it was left; the watches tell if that is not true any more.
                let health = Judgement { health: ObjectHealth::Current, message: String::new() };
                slot.objects.iter_mut().for_each(|object| object.health.clone_from(&health));
            }
            self.events.tell(slot.retold(now), None);
        }
        for row in rows {
            self.unclaimed.insert(row.id.clone(), row);
        }
        self.view.show_head(head);
        if let Some(applied) = applied {
            self.applied = Some(applied);
            self.view.show_applied(applied);
        }
        self.activate(Accepted { head, plan: Plan { body, not_after }, story: Span::none() });
    }

    fn add(&mut self, unit: Arc<Unit>, now: u64) -> u32 {
        let key = self.next_slot;
        self.next_slot += 1;
        let owner = Owner::new(&self.context.agent, &unit.id);
        self.names.insert(unit.id.clone(), key);
        let slot = Slot {
            objects: unit.objects.iter().map(|_| Object::new(now)).collect(),
            leeway: unit.leeway(),
            rules: Rules::new(unit.health_rules()),
            others: Others::default(),
            flap: Flap::default(),
            tested: None,
            unit,
            owner,
            order: key,
            gone: Vec::new(),
            state: UnitState::Pending,
            message: String::new(),
            since: now,
            deployed: None,
            in_force: false,
            good: None,
            rejected: None,
            repairs: 0,
            record: Record::default(),
            leaving: false,
            running: None,
            prepared: false,
            followed: false,
            asked: false,
            blocked: None,
            failures: 0,
            retry_at: None,
            deadline: None,
            timed_out: false,
            ask_at: None,
            noted: false,
            deferred: None,
            told_deployed: None,
            stood: None,
        };
        self.slots.insert(key, slot);
        key
    }

    /// Carries out this plan from now on.
    pub(super) fn activate(&mut self, accepted: Accepted) {
        let Accepted { head, plan, story } = accepted;
        let body = &plan.body;
        if self.head.is_some_and(|current| current.generation > head.generation) {
            return;
        }
        self.story = tracing::debug_span!(parent: &story, "carry out", generation = %head.generation, units = body.units.len());
        tracing::info!(generation = %head.generation, units = body.units.len(), "carrying out a plan");
        self.head = Some(head);
        self.view.settings.send_if_modified(|settings| {
            let changed = *settings != body.settings;
            settings.clone_from(&body.settings);
            changed
        });
        self.forget_waiting(body);
        self.carry_out(plan);
    }

    /// Makes this the plan that is carried out, as far as nothing of it has to wait.
    pub(super) fn carry_out(&mut self, plan: Plan) {
        let waits = self.waits(&plan);
        let kept: BTreeSet<_> = plan.body.units.iter().map(|unit| unit.id.clone()).collect();
        for (position, unit) in plan.body.units.iter().enumerate().filter(|(at, _)| waits.lets_begin(*at)) {
            let key = match self.names.get(&unit.id) {
                Some(key) => *key,
                None => self.add(Arc::new(unit.clone()), self.context.clock.now()),
            };
            self.revise(key, unit.clone(), u32::try_from(position).unwrap_or(u32::MAX));
        }
        let stays = |id: &_| !kept.contains(id);
        let leaving: Vec<u32> = self.names.iter().filter(|(id, _)| stays(id)).map(|(_, key)| *key).collect();
        for key in leaving.into_iter().filter(|key| waits.lets_leave(*key)) {
            self.leave(key);
        }
        self.defer(plan, &waits);
        // What was to go may be wanted again, here or in another unit.
        for slot in self.slots.values_mut() {
            self.unclaimed.extend(slot.gone.drain(..).map(|row| (row.id.clone(), row)));
        }
        self.sort_out();
        for key in self.slots.keys().copied().collect::<Vec<_>>() {
            self.place(key);
        }
        self.seek();
        self.show_all();
        self.settle();
    }

    /// Gives a slot its new unit. A unit that did not change goes on as it was, unless it did not get far:
    /// then a new plan is a reason to try again at once.
    fn revise(&mut self, key: u32, unit: Unit, order: u32) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.order = order;
        let mut gave_up = false;
        if let Some(rejected) = &mut slot.rejected {
            if !slot.leaving && rejected.is(&unit) {
                rejected.wanted = Some(Arc::new(unit));
                return;
            }
            gave_up = true;
            slot.rejected = None;
            self.context.store.put_rejection(slot.owner.unit.clone(), None).forget();
        }
        let stuck = !slot.prepared && !slot.is_deployed() && slot.running.is_none();
        if *slot.unit != unit || slot.leaving || stuck {
            self.renew(key, Arc::new(unit));
        }
        if gave_up {
            self.assess(key);
        }
    }

    /// Carries out this unit in the place of the one before it.
    pub(super) fn renew(&mut self, key: u32, unit: Arc<Unit>) {
        let now = self.context.clock.now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.call_off();
        let new_revision = slot.unit.hash != unit.hash || slot.leaving;
        for (id, row) in take_over(slot, &unit, now, &mut self.index) {
            self.unclaimed.insert(id, row);
        }
        slot.noted = slot.noted && *slot.unit == *unit;
        let leeway = unit.leeway();
        if slot.leeway != leeway {
            // What is remembered of ownership leaves out other fields than those that matter now.
            for object in &mut slot.objects {
                object.work = Work::Write;
                object.drifted = false;
            }
            slot.leeway = leeway;
        }
        let rules = Rules::renewed(slot.rules.as_ref(), unit.health_rules());
        let same = match (&rules, &slot.rules) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        if !same {
            // What is there was judged by other rules.
            for object in slot.objects.iter_mut().filter(|object| object.work == Work::None) {
                object.work = Work::Check;
            }
            slot.rules = rules;
        }
        slot.unit = unit;
        if new_revision {
            slot.flap = Flap::default();
        }
        begin_anew(slot, new_revision, now);
        self.mounts.forget(key);
        slot.look_at_mounts();
        for (index, object) in slot.objects.iter().enumerate() {
            if let Some(place) = &object.place {
                self.index.insert(Arc::clone(&place.id), (key, index));
            }
        }
    }

    /// A unit leaves the plan.
    fn leave(&mut self, key: u32) {
        let now = self.context.clock.now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.order = LEAVING_ORDER.saturating_add(key);
        if slot.leaving {
            return;
        }
        slot.call_off();
        slot.stood = Some(Regarding::unit(&slot.unit));
        let objects = std::mem::take(&mut slot.objects);
        for (index, object) in objects.into_iter().enumerate() {
            let Some(place) = object.place else { continue };
            self.index.remove(&place.id);
            if let Some(held) = object.held {
                let row = row_of(&slot.unit, &slot.owner, &place, index, &held);
                self.unclaimed.insert(row.id.clone(), row);
            }
        }
        self.mounts.forget(key);
        slot.leaving = true;
        slot.rejected = None;
        slot.state = UnitState::Deleting;
        slot.message.clear();
        slot.since = now;
        slot.blocked = None;
        slot.failures = 0;
        slot.retry_at = None;
        self.context.store.put_state(&slot.record(), false).forget();
    }

    /// Parts with inventory that nothing wants any more.
    pub(super) fn sort_out(&mut self) {
        if self.unclaimed.is_empty() {
            return;
        }
        let wanted = self.slots.values().filter(|slot| !slot.leaving);
        let wanted: BTreeSet<ObjectId> = wanted.flat_map(|slot| variants(&slot.unit)).collect();
        self.part_with(&wanted);
    }

    /// Inventory that nothing in the plan wants goes with the unit it belongs to.
    fn part_with(&mut self, wanted: &BTreeSet<ObjectId>) {
        let unclaimed = std::mem::take(&mut self.unclaimed);
        let mut orphans = Vec::new();
        let by_text: BTreeMap<String, u32> =
            self.names.iter().map(|(id, key)| (id.to_string(), *key)).collect();
        for (id, row) in unclaimed {
            if wanted.contains(&id) {
                self.unclaimed.insert(id, row);
                continue;
            }
            match by_text.get(&row.unit).and_then(|key| self.slots.get_mut(key)) {
                Some(slot) => slot.gone.push(row),
                None => orphans.push(row),
            }
        }
        for row in orphans {
            self.adopt_orphan(row);
        }
    }

    /// Inventory whose unit is gone: it was to become another unit's, and that one did not come to it.
    fn adopt_orphan(&mut self, row: Row) {
        let Some(id) = unit_id(&row.unit) else {
            self.context.store.drop_rows(row.unit, vec![row.id]).forget();
            return;
        };
        let key = match self.names.get(&id) {
            Some(key) => *key,
            None => {
                let key = self.add(Arc::new(bare_unit(id)), self.context.clock.now());
                self.leave(key);
                key
            }
        };
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.gone.push(row);
        }
    }

    /// Finds out where the objects of a unit live, as far as their kinds are known.
    pub(super) fn place(&mut self, key: u32) {
        let Some(slot) = self.slots.get(&key) else { return };
        let unit = Arc::clone(&slot.unit);
        let unplaced: Vec<usize> =
            (0..slot.objects.len()).filter(|index| slot.objects[*index].place.is_none()).collect();
        for index in unplaced {
            let entry = &unit.objects[index];
            let ObjectKey { group, version, kind, .. } = &entry.key;
            let Some(resource) = self.context.discovery.known(group, version, kind) else { continue };
            let place = Place::of(&entry.key, &unit.id.namespace, resource);
            let taken = match self.make_room(key, &place.id) {
                Ok(taken) => taken,
                Err(refusal) => {
                    if let Some(slot) = self.slots.get_mut(&key) {
                        slot.objects[index].refused = Some(refusal);
                    }
                    continue;
                }
            };
            let row = self.unclaimed.remove(&*place.id).or(taken);
            self.watch(&place.resource);
            let kind = (place.id.group.clone(), place.id.kind.clone());
            let (told, blind) = (self.told.contains(&kind), self.blind.get(&kind).cloned());
            self.index.insert(Arc::clone(&place.id), (key, index));
            let Some(slot) = self.slots.get_mut(&key) else { return };
            slot.objects[index].blind = blind;
            let moved = row.as_ref().is_some_and(|row| row.unit != slot.owner.unit);
            settle_in(slot, index, place, row, told, self.context.clock.now());
            slot.look_at_mounts();
            if moved && let Some(row) = slot.row(index) {
                // From now on it goes with this unit.
                self.context.store.put_rows(vec![row]).forget();
            }
        }
    }

    /// The unit that comes first in the plan has an object that several want; what the inventory holds about
    /// the object moves with it.
    fn make_room(&mut self, key: u32, id: &ObjectId) -> Result<Option<Row>, String> {
        let Some((other_key, index)) = self.index.get(id).copied() else { return Ok(None) };
        if other_key == key {
            return Err("is listed twice in this unit".to_owned());
        }
        let first = |slots: &BTreeMap<u32, Slot>, key| {
            slots.get(key).map(|slot| (slot.order, slot.unit.id.to_string()))
        };
        let (mine, theirs) = (first(&self.slots, &key), first(&self.slots, &other_key));
        let text = |unit: Option<(u32, String)>| {
            let unit = unit.map_or_else(String::new, |(_, unit)| unit);
            format!("belongs to unit \"{unit}\", which comes first in the plan")
        };
        if theirs < mine {
            return Err(text(theirs));
        }
        let Some(other) = self.slots.get_mut(&other_key) else { return Ok(None) };
        other.call_off();
        let row = other.row(index);
        let object = &mut other.objects[index];
        object.place = None;
        object.held = None;
        object.work = Work::Write;
        object.drifted = false;
        object.refused = Some(text(mine));
        Self::retry(other);
        self.assess(other_key);
        Ok(row)
    }
}

/// Reads the text form of a unit's name.
fn unit_id(text: &str) -> Option<UnitId> {
    let (set, release) = text.split_once(':')?;
    let ((set_namespace, set_name), (namespace, name)) = (set.split_once('/')?, release.split_once('/')?);
    let own = str::to_owned;
    Some(UnitId {
        set_namespace: own(set_namespace),
        set_name: own(set_name),
        namespace: own(namespace),
        name: own(name),
    })
}

/// A unit of which only the name is known.
fn bare_unit(id: UnitId) -> Unit {
    Unit {
        id,
        kind: UnitKind::Resources,
        template: String::new(),
        version: String::new(),
        hash: Digest([0; 32]),
        priority: 0,
        depends_on: Vec::new(),
        objects: Vec::new(),
        hooks: Vec::new(),
        create_namespace: false,
        take_ownership: false,
        drift: DriftMode::Repair,
        removal: Removal::Prune,
        timeout_ms: 0,
        ext: Vec::new(),
    }
}

/// An object finds its place, and with it what is known about it. What the watch has told of its kind before
/// was not heard for this object, so then it is looked at.
fn settle_in(slot: &mut Slot, index: usize, place: Place, row: Option<Row>, told: bool, now: u64) {
    let left_alone = slot.left_alone();
    let digest = slot.unit.objects[index].digest;
    let object = &mut slot.objects[index];
    object.refused = None;
    object.place = Some(place);
    let Some(row) = row else { return };
    if row.unit != slot.owner.unit {
        // It must be written to be this unit's; until then it is only begun.
        object.held = Some(Held { digest: None, fields: None, adopted: row.adopted });
        return;
    }
    if row.digest == Some(digest) || left_alone {
        object.work = if told && !left_alone { Work::Check } else { Work::None };
        object.judge(Judgement { health: ObjectHealth::Current, message: String::new() }, now);
    }
    object.held = Some(Held { digest: row.digest, fields: row.fields, adopted: row.adopted });
}

/// Carries the objects that stay over to the new unit; returns the inventory of those that do not.
fn take_over(
    slot: &mut Slot,
    unit: &Unit,
    now: u64,
    index: &mut BTreeMap<Arc<ObjectId>, (u32, usize)>,
) -> Vec<(ObjectId, Row)> {
    let mut objects: Vec<Object> = unit.objects.iter().map(|_| Object::new(now)).collect();
    let mut old = BTreeMap::new();
    for (position, object) in std::mem::take(&mut slot.objects).into_iter().enumerate() {
        let entry = &slot.unit.objects[position];
        old.insert(entry.key.clone(), (object, entry.digest, position));
    }
    for (position, entry) in unit.objects.iter().enumerate() {
        let Some((mut object, digest, _)) = old.remove(&entry.key) else { continue };
        object.refused = None;
        if digest != entry.digest || object.held.as_ref().is_none_or(|held| held.digest != Some(entry.digest))
        {
            object.work = Work::Write;
            object.drifted = false;
            object.cause = None;
        }
        objects[position] = object;
    }
    slot.objects = objects;
    let mut left = Vec::new();
    for (object, _, position) in old.into_values() {
        let Some(place) = object.place else { continue };
        index.remove(&place.id);
        if let Some(held) = object.held {
            let row = row_of(&slot.unit, &slot.owner, &place, position, &held);
            left.push((row.id.clone(), row));
        }
    }
    left
}

/// Forgets how far the unit had come.
fn begin_anew(slot: &mut Slot, new_revision: bool, now: u64) {
    let came_back = slot.leaving;
    slot.leaving = false;
    slot.prepared = false;
    slot.asked = false;
    slot.blocked = None;
    slot.failures = 0;
    slot.retry_at = None;
    slot.objects.iter_mut().for_each(|object| object.preview = None);
    if slot.is_deployed() && !new_revision {
        return;
    }
    slot.in_force = false;
    slot.followed = false;
    slot.timed_out = false;
    slot.ask_at = None;
    slot.deadline = None;
    if came_back || (new_revision && !slot.left_alone()) {
        slot.state = UnitState::Pending;
        slot.message.clear();
        slot.since = now;
    }
}

fn row_of(unit: &Unit, owner: &Owner, place: &Place, index: usize, held: &Held) -> Row {
    Row {
        id: ObjectId::clone(&place.id),
        version: unit.objects.get(index).map(|entry| entry.key.version.clone()).unwrap_or_default(),
        unit: owner.unit.clone(),
        ordinal: u32::try_from(index).unwrap_or(u32::MAX),
        digest: held.digest,
        fields: held.fields,
        adopted: held.adopted,
    }
}

/// The identities an entry may turn out to have once the scope of its kind is known.
fn variants(unit: &Unit) -> impl Iterator<Item = ObjectId> + '_ {
    unit.objects.iter().flat_map(|entry| {
        let ObjectKey { group, kind, namespace, name, .. } = &entry.key;
        let own = if namespace.is_empty() { &unit.id.namespace } else { namespace };
        [String::new(), own.clone()].map(|namespace| ObjectId {
            group: group.clone(),
            kind: kind.clone(),
            namespace,
            name: name.clone(),
        })
    })
}
