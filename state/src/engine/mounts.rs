//! Which workloads use which ConfigMaps and Secrets, for units whose workloads roll when those change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::report::UnitState;

use super::Engine;
use super::slot::{Slot, Work};
use crate::object::{ObjectId, Resource, is_workload};

/// Who uses what, and in which version it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Mounts(BTreeMap<ObjectId, Mounted>);

#[derive(Debug, Default)]
struct Mounted {
    version: u64,
    /// Slot and position of the workloads.
    users: BTreeSet<(u32, usize)>,
}

impl Mounts {
    /// Whether objects of this kind of the core group are used.
    pub(super) fn of_kind(&self, kind: &str) -> bool {
        matches!(kind, "ConfigMap" | "Secret") && self.0.keys().any(|id| id.kind == kind)
    }

    /// Forgets the workloads of a unit.
    pub(super) fn forget(&mut self, slot: u32) {
        self.0.retain(|_, mounted| {
            mounted.users.retain(|(user, _)| *user != slot);
            !mounted.users.is_empty()
        });
    }

    fn note(&mut self, user: (u32, usize), used: Vec<(ObjectId, u64)>) {
        self.0.retain(|_, mounted| {
            mounted.users.remove(&user);
            !mounted.users.is_empty()
        });
        for (id, version) in used {
            let mounted = self.0.entry(id).or_default();
            mounted.version = mounted.version.max(version);
            mounted.users.insert(user);
        }
    }

    /// The workloads that have to look at an object that was seen in this version.
    fn changed(&mut self, id: &ObjectId, version: u64) -> Vec<(u32, usize)> {
        match self.0.get_mut(id) {
            Some(mounted) if mounted.version < version => {
                mounted.version = version;
                mounted.users.iter().copied().collect()
            }
            Some(_) | None => Vec::new(),
        }
    }
}

impl Slot {
    /// Which objects use what is not known: their writing tells.
    pub(super) fn look_at_mounts(&mut self) {
        if !self.unit.reloads() || self.left_alone() || self.unit.is_dry_run() {
            return;
        }
        for (object, entry) in self.objects.iter_mut().zip(&self.unit.objects) {
            if is_workload(&entry.key.group, &entry.key.kind) && object.work == Work::None {
                object.work = Work::Write;
            }
        }
    }
}

impl Engine {
    /// A workload was looked at.
    pub(super) fn mounts(
        &mut self,
        key: u32,
        index: usize,
        used: Vec<(ObjectId, u64)>,
        kinds: &[Arc<Resource>],
    ) {
        let before: Vec<bool> = kinds.iter().map(|kind| self.mounts.of_kind(&kind.kind)).collect();
        self.mounts.note((key, index), used);
        for (kind, whole) in kinds.iter().zip(before) {
            if whole {
                continue;
            }
            // From now on all objects of the kind matter, not only ours.
            if let Some(cancel) = self.watches.remove(&(kind.group.clone(), kind.kind.clone())) {
                cancel.cancel();
            }
            self.watch(kind);
        }
    }

    /// A ConfigMap or Secret was seen, or is gone: those who use it are looked at when it is another one.
    pub(super) fn mounted_changed(&mut self, id: &ObjectId, version: u64) {
        for (key, index) in self.mounts.changed(id, version) {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            let may = !slot.leaving && !slot.left_alone() && !slot.unit.is_dry_run();
            let Some(object) = slot.objects.get_mut(index).filter(|_| may) else { continue };
            tracing::debug!(object = %id, unit = slot.owner.unit, "what a workload uses has changed");
            if object.writing {
                // The write under way may have seen what was there before.
                object.again = true;
            } else {
                object.work = Work::Write;
            }
            if slot.state == UnitState::Deployed {
                slot.retry_at = None;
            }
        }
    }
}
