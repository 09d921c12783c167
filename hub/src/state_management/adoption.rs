//! Which sets are ours, and the target of each: the cluster it names, or the management cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use api::k0rdent::ServiceSet;
use kube::ResourceExt;

use crate::roster::ObjectName;
use crate::services::target::{TargetKind, TargetName};

/// What stands for the management cluster while no edge agent is enrolled for it; named as Sveltos names it.
pub fn management_cluster() -> TargetName {
    TargetName::new(TargetKind::Edge, "mgmt", "mgmt")
}

/// Whether a set is for the management cluster itself.
pub fn is_self_management(set: &ServiceSet) -> bool {
    let named = set.name_any().starts_with("management-");
    set.spec.cluster.is_empty() || (named && set.spec.provider.self_management == Some(true))
}

/// The target of a set; `management` stands for the management cluster.
pub fn target_of(set: &ServiceSet, management: &TargetName) -> TargetName {
    if is_self_management(set) {
        return management.clone();
    }
    let namespace = set.namespace().unwrap_or_default();
    TargetName::new(TargetKind::ClusterDeployment, &namespace, &set.spec.cluster)
}

/// Sets by target, and targets by set.
#[derive(Debug, Default)]
pub struct Adoption {
    targets: BTreeMap<TargetName, BTreeSet<ObjectName>>,
    sets: HashMap<ObjectName, TargetName>,
}

impl Adoption {
    /// Says where a set goes from now on, `None` for nowhere. Returns the targets concerned.
    pub fn put(&mut self, set: &ObjectName, target: Option<TargetName>) -> BTreeSet<TargetName> {
        let mut concerned = BTreeSet::new();
        let before = match target.clone() {
            Some(target) => self.sets.insert(set.clone(), target),
            None => self.sets.remove(set),
        };
        if let Some(before) = before.filter(|before| target.as_ref() != Some(before)) {
            if let Some(sets) = self.targets.get_mut(&before) {
                sets.remove(set);
                if sets.is_empty() {
                    self.targets.remove(&before);
                }
            }
            concerned.insert(before);
        }
        if let Some(target) = target {
            self.targets.entry(target.clone()).or_default().insert(set.clone());
            concerned.insert(target);
        }
        concerned
    }

    /// The sets of a target, in order.
    pub fn sets_of(&self, target: &TargetName) -> impl Iterator<Item = &ObjectName> {
        self.targets.get(target).into_iter().flatten()
    }

    /// The target of a set.
    pub fn target_of(&self, set: &ObjectName) -> Option<&TargetName> {
        self.sets.get(set)
    }

    /// All sets that are ours.
    pub fn sets(&self) -> Vec<ObjectName> {
        self.sets.keys().cloned().collect()
    }
}
