//! What the watches see: health, drift, deletion, nodes.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::plan::DriftMode;
use protocol::report::ObjectHealth;
use serde_json::Value;
use tokio::time::Instant;

use super::Engine;
use super::slot::{Object, Work};
use crate::events::Reason;
use crate::health::Judgement;
use crate::live::Live;
use crate::object::{self, ObjectId, Resource};
use crate::rules::{self, Rules};
use crate::watcher::{Seen, Sighting};

impl Engine {
    /// Takes in what a watch saw.
    pub(super) fn observe(&mut self, sighting: Sighting) {
        let Sighting { resource, seen } = sighting;
        if !matches!(seen, Seen::Lost(_) | Seen::Unwatched(_)) {
            self.told.insert((resource.group.clone(), resource.kind.clone()));
        }
        match seen {
            Seen::Live(live) => self.saw(&resource, &live),
            Seen::Gone(live) => {
                if resource.kind == "Node" && resource.group.is_empty() {
                    self.nodes.remove(&live.metadata.name);
                    self.count_nodes();
                }
                let id = resource.id(&live.metadata);
                self.record_changed(&id, &live, true);
                self.missing(&id, live.metadata.version());
                self.lost_other(&id);
            }
            Seen::Listed { names, version } => self.listed(&resource, &names, version),
            Seen::Lost(reason) => self.lost(&reason),
            Seen::Unwatched(reason) => self.unwatched(&resource, reason),
        }
    }

    /// A kind may not be watched (a reason), or may be watched again (none). What cannot be seen is not claimed to be
    /// well.
    fn unwatched(&mut self, resource: &Resource, reason: Option<String>) {
        let reason: Option<Arc<str>> = reason.map(|text| format!("cannot be watched: {text}").into());
        let kind = (resource.group.clone(), resource.kind.clone());
        match &reason {
            Some(reason) => {
                tracing::warn!(kind = kind.1, reason = &**reason, "the API server refuses a watch");
                self.unseen(&kind, reason);
                self.blind.insert(kind, Arc::clone(reason))
            }
            None => self.blind.remove(&kind),
        };
        let of_kind = |id: &ObjectId| id.group == resource.group && id.kind == resource.kind;
        let concerned: Vec<(u32, usize)> =
            self.index.iter().filter(|(id, _)| of_kind(id)).map(|(_, place)| *place).collect();
        for (key, index) in &concerned {
            if let Some(slot) = self.slots.get_mut(key) {
                slot.objects[*index].blind.clone_from(&reason);
            }
        }
        for key in concerned.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>() {
            self.assess(key);
        }
    }

    fn saw(&mut self, resource: &Arc<Resource>, live: &Live) {
        if resource.kind == "Node" && resource.group.is_empty() {
            self.nodes.insert(live.metadata.name.clone(), node_ready(live));
            self.count_nodes();
        }
        let id = resource.id(&live.metadata);
        self.record_changed(&id, live, false);
        self.mounted_changed(&id, live.metadata.version());
        let Some((key, index)) = self.index.get(&id).copied() else {
            self.saw_other(resource, live);
            return;
        };
        let now = self.context.clock.now();
        let manager = self.context.api.manager();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let (digest, mode) = (slot.unit.objects[index].digest, slot.unit.drift);
        let alone = slot.left_alone();
        let object = &mut slot.objects[index];
        let version = live.metadata.version();
        if version < object.version || alone {
            return;
        }
        let news = version > object.version;
        object.version = version;
        if news {
            slot.look_again();
        }
        let (object, leeway) = (&mut slot.objects[index], slot.leeway.of(index));
        if let Some(other) = slot.owner.taken_by(&live.metadata)
            && object.held.is_some()
        {
            tracing::warn!(object = %id, by = other, "was taken over");
            object.give_up(&other);
            let dropped = self.context.store.drop_rows(slot.owner.unit.clone(), vec![id]);
            let notice =
                slot.object_notice(index, Reason::TakenOver, &format!("was taken over by {other}"), now);
            self.events.tell(vec![notice], Some(dropped));
            Self::retry(slot);
            self.assess(key);
            return;
        }
        let ruled = |rules: &Rules| rules.concern(&resource.group, &resource.kind);
        let hidden = resource.metadata_only() && slot.rules.as_deref().is_some_and(ruled);
        let judgement = if hidden {
            // A rule looks at more than the watch shows.
            if object.work == Work::None && news {
                object.work = Work::Check;
            }
            object.health.clone()
        } else {
            rules::judge(slot.rules.as_deref(), resource, live)
        };
        let established = object::is_definition(&id.group, &id.kind)
            && judgement.health == ObjectHealth::Current
            && object.health.health != ObjectHealth::Current;
        object.judge(judgement, now);
        let fields = live.metadata.fields(manager, leeway.unwrap_or_default());
        if leeway.is_some_and(<[_]>::is_empty) {
            // Whatever it is, it is no drift.
        } else if object.writing {
            object.late = Some((version, fields));
            if let Some(fight) = object.fight.as_mut() {
                fight.met(live.metadata.other_manager(manager));
            }
        } else if !live.metadata.terminating() {
            let drifted = object.compare(digest, mode, fields);
            if drifted {
                object.fight().changed(live.metadata.other_manager(manager), Instant::now());
            }
        }
        self.assess(key);
        if established {
            // Watches of its kind may be waiting for it to be served.
            self.wake.notify_waiters();
            self.try_unknown_kinds();
        }
    }

    /// An object is not there, or lost our label.
    fn missing(&mut self, id: &ObjectId, version: u64) {
        self.mounted_changed(id, version);
        let Some((key, index)) = self.index.get(id).copied() else { return };
        let now = self.context.clock.now();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let mode = slot.unit.drift;
        if slot.left_alone() || slot.leeway.of(index).is_some_and(<[_]>::is_empty) {
            return;
        }
        let object = &mut slot.objects[index];
        if version < object.version {
            return;
        }
        object.version = version;
        slot.look_again();
        let object = &mut slot.objects[index];
        if object.writing {
            object.late = Some((version, None));
            return;
        }
        if object.held.as_ref().is_none_or(|held| held.digest.is_none()) {
            return;
        }
        tracing::debug!(object = %id, "is missing");
        object.judge(Judgement { health: ObjectHealth::NotFound, message: "is deleted".to_owned() }, now);
        if mode == DriftMode::Repair {
            object.work = Work::Write;
            object.drifted = true;
            object.fight().deleted(Instant::now());
            if object.due().is_none_or(|at| at <= Instant::now()) {
                // It is put back right now: what is seen meanwhile is not worth telling.
                return;
            }
        }
        self.assess(key);
    }

    /// All objects of a kind were listed: what was not among them is missing.
    fn listed(&mut self, resource: &Resource, names: &BTreeSet<(String, String)>, version: u64) {
        let gone: Vec<Arc<ObjectId>> = self
            .index
            .keys()
            .filter(|id| id.group == resource.group && id.kind == resource.kind)
            .filter(|id| !names.contains(&(id.namespace.clone(), id.name.clone())))
            .cloned()
            .collect();
        for id in gone {
            self.missing(&id, version);
        }
        self.seen_all(&(resource.group.clone(), resource.kind.clone()), Some(names));
    }

    /// A definition is established: units that wait for kinds try again.
    fn try_unknown_kinds(&mut self) {
        for slot in self.slots.values_mut() {
            if slot.running.is_none() && slot.objects.iter().any(|object| object.place.is_none()) {
                slot.asked = false;
                slot.retry_at = None;
                for object in slot.objects.iter_mut().filter(|object| object.place.is_none()) {
                    object.refused = None;
                }
            }
        }
    }

    fn count_nodes(&mut self) {
        let count = |ready: bool| self.nodes.values().filter(|node| **node || !ready).count();
        self.cluster.nodes_total = u32::try_from(count(false)).unwrap_or(u32::MAX);
        self.cluster.nodes_ready = u32::try_from(count(true)).unwrap_or(u32::MAX);
        self.view.show_cluster(&self.cluster);
    }
}

impl Object {
    /// Somebody else owns it now. It is asked for again from time to time, as one that was never ours.
    fn give_up(&mut self, other: &str) {
        self.held = None;
        self.work = Work::Write;
        self.drifted = false;
        self.refused = Some(format!("was taken over by {other}"));
    }

    /// Compares the fields that are ours with those that were ours after our last write; true if somebody
    /// changed any and it is to be put back.
    fn compare(
        &mut self,
        digest: protocol::id::Digest,
        mode: DriftMode,
        fields: Option<crate::live::Fields>,
    ) -> bool {
        let Some(held) = &self.held else { return false };
        if held.digest != Some(digest) || self.work == Work::Write || mode == DriftMode::Once {
            return false;
        }
        match (held.fields, fields) {
            (Some(ours), Some(now)) if ours == now => {
                self.differs = None;
                false
            }
            // The server keeps no record of ownership, or only the differences are wanted: look at values.
            (None, None) => {
                self.work = Work::Check;
                false
            }
            (Some(_) | None, _) if mode == DriftMode::Report => {
                self.work = Work::Check;
                false
            }
            (Some(_) | None, _) => {
                self.work = Work::Write;
                self.drifted = true;
                true
            }
        }
    }
}

fn node_ready(live: &Live) -> bool {
    let conditions = live.status.get("conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        condition.get("type").and_then(Value::as_str) == Some("Ready")
            && condition.get("status").and_then(Value::as_str) == Some("True")
    })
}
