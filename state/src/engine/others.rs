//! Objects of others that belong to a release all the same: what its controllers and operators make. Health rules are
//! asked of those too, as k0rdent asks them: of the rule's kind, in the release's namespace (anywhere for kinds without
//! one), with the release's name as the value of one of [`LABELS`].
//!
//! Every kind that a rule names is watched whole, as long as there is such a rule. Nothing is kept of what is well.
//! Kinds of which only metadata is watched are left out: a rule looks at more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::plan::UnitId;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::slot::Slot;
use crate::api::ApiError;
use crate::backoff;
use crate::live::{Live, Meta};
use crate::object::{ObjectId, Resource};
use crate::worker::{Context, Event, News};

/// Labels by which objects name their release.
const LABELS: [&str; 4] = ["release", "app", "app.kubernetes.io/instance", "app.kubernetes.io/name"];
/// A kind that is not served may be defined at any time.
const SOUGHT_BASE: Duration = Duration::from_secs(1);
const SOUGHT_CAP: Duration = Duration::from_secs(60);

/// Group and name of a kind.
pub(super) type Kind = (String, String);

/// What is known of the kinds that rules name.
#[derive(Debug, Default)]
pub(super) struct Sought(BTreeMap<Kind, Seeking>);

#[derive(Debug)]
struct Seeking {
    /// Cancelled when no rule names it any more.
    cancel: CancellationToken,
    /// All of its objects were seen, or it is not served.
    seen: bool,
}

impl Sought {
    /// Whether a rule names this kind.
    pub(super) fn names(&self, group: &str, kind: &str) -> bool {
        self.0.keys().any(|(of, name)| of == group && name == kind)
    }
}

/// What health rules find wrong with objects that are not the unit's own.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// The rules they were judged by.
    rules: Option<Arc<crate::rules::Rules>>,
    /// What is wrong, and the version of the API it is seen through.
    pub(super) wrong: BTreeMap<ObjectId, (String, String)>,
    /// Kinds that were not looked at yet, and why.
    unseen: BTreeMap<Kind, String>,
}

impl Others {
    /// Why the unit waits for them. What was deployed stays so until something is found.
    pub(super) fn waiting(&self, in_force: bool) -> Option<String> {
        let wrong = self.wrong.iter().next().map(|(id, (text, _))| format!("{id}: {text}"));
        let unseen = self.unseen.iter().next().filter(|_| !in_force);
        wrong.or_else(|| unseen.map(|((_, kind), why)| format!("health rules for {kind}: {why}")))
    }
}

/// Whether an object says that it belongs to a release.
fn belongs(id: &UnitId, resource: &Resource, meta: &Meta) -> bool {
    (!resource.namespaced || meta.namespace == id.namespace)
        && LABELS.iter().any(|label| meta.labels.get(*label).is_some_and(|value| *value == id.name))
}

impl Slot {
    /// The kinds that its rules name.
    fn ruled_kinds(&self) -> BTreeSet<Kind> {
        let asks = !self.leaving && !self.left_alone() && !self.unit.is_dry_run();
        self.rules.as_deref().filter(|_| asks).map(crate::rules::Rules::kinds).unwrap_or_default()
    }

    /// What its rules say of an object of somebody else; whether that is news.
    fn judge_other(&mut self, resource: &Resource, live: &Live) -> bool {
        let id = resource.id(&live.metadata);
        let rules = self.rules.as_deref().filter(|rules| rules.concern(&resource.group, &resource.kind));
        let Some(rules) = rules else { return false };
        let asked = belongs(&self.unit.id, resource, &live.metadata) && !live.metadata.terminating();
        match rules.complaint(resource, live).filter(|_| asked) {
            Some(text) => {
                let wrong = (text, resource.version.clone());
                let before = self.others.wrong.insert(id, wrong.clone());
                before.as_ref() != Some(&wrong)
            }
            None => self.others.wrong.remove(&id).is_some(),
        }
    }
}

impl Engine {
    /// Watches what the rules of all units name, and nothing else on their account.
    pub(super) fn seek(&mut self) {
        let kinds: BTreeSet<Kind> = self.slots.values().flat_map(Slot::ruled_kinds).collect();
        let mut anew = BTreeSet::new();
        for slot in self.slots.values_mut() {
            let same = match (&slot.others.rules, &slot.rules) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            let ruled = slot.ruled_kinds();
            if same && (!ruled.is_empty() || slot.others.wrong.is_empty()) {
                continue;
            }
            slot.others = Others { rules: slot.rules.clone(), ..Others::default() };
            let unseen = ruled.iter().map(|kind| (kind.clone(), "not looked at yet".to_owned()));
            slot.others.unseen = unseen.collect();
            anew.extend(ruled);
        }
        self.sought.0.retain(|kind, seeking| {
            // What is there already is told by a new list.
            let stays = kinds.contains(kind) && !anew.contains(kind);
            if !stays {
                seeking.cancel.cancel();
            }
            stays
        });
        for kind in kinds {
            if !self.sought.0.contains_key(&kind) {
                self.seek_kind(kind);
            }
        }
    }

    fn seek_kind(&mut self, kind: Kind) {
        if let Some(cancel) = self.watches.remove(&kind) {
            cancel.cancel();
        }
        let cancel = self.cancel.child_token();
        let seeking = find(Arc::clone(&self.context), kind.clone());
        self.tasks.spawn(cancel.clone().run_until_cancelled_owned(seeking));
        self.sought.0.insert(kind, Seeking { cancel, seen: false });
    }

    /// An object that is nobody's here was seen.
    pub(super) fn saw_other(&mut self, resource: &Resource, live: &Live) {
        if resource.metadata_only() || !self.sought.names(&resource.group, &resource.kind) {
            return;
        }
        let slots = self.slots.iter_mut().filter(|(_, slot)| !slot.leaving);
        let news: Vec<u32> =
            slots.filter_map(|(key, slot)| slot.judge_other(resource, live).then_some(*key)).collect();
        news.into_iter().for_each(|key| self.assess(key));
    }

    /// Such an object is gone.
    pub(super) fn lost_other(&mut self, id: &ObjectId) {
        if !self.sought.names(&id.group, &id.kind) {
            return;
        }
        let slots = self.slots.iter_mut();
        let news: Vec<u32> =
            slots.filter_map(|(key, slot)| slot.others.wrong.remove(id).is_some().then_some(*key)).collect();
        news.into_iter().for_each(|key| self.assess(key));
    }

    /// All objects of a kind were seen (`names`), or it is not served (none).
    pub(super) fn seen_all(&mut self, kind: &Kind, names: Option<&BTreeSet<(String, String)>>) {
        let Some(seeking) = self.sought.0.get_mut(kind) else { return };
        seeking.seen = true;
        let mut news = Vec::new();
        for (key, slot) in &mut self.slots {
            let before = slot.others.wrong.len();
            let there = |id: &ObjectId| {
                names.is_some_and(|names| names.contains(&(id.namespace.clone(), id.name.clone())))
            };
            slot.others.wrong.retain(|id, _| (&id.group, &id.kind) != (&kind.0, &kind.1) || there(id));
            if slot.others.unseen.remove(kind).is_some() || slot.others.wrong.len() < before {
                news.push(*key);
            }
        }
        news.into_iter().for_each(|key| self.assess(key));
    }

    /// A kind may not be watched, for this reason.
    pub(super) fn unseen(&mut self, kind: &Kind, reason: &str) {
        let mut news = Vec::new();
        for (key, slot) in &mut self.slots {
            if slot.ruled_kinds().contains(kind) {
                slot.others.unseen.insert(kind.clone(), reason.to_owned());
                news.push(*key);
            }
        }
        news.into_iter().for_each(|key| self.assess(key));
    }
}

/// Finds out where the objects of a kind live, and has them watched; tells when there is no such kind.
async fn find(context: Arc<Context>, kind: Kind) {
    let mut failures = 0;
    loop {
        match resource(&context, &kind).await {
            Ok(Some(resource)) => return context.watch(&resource).await,
            Ok(None) => {
                let event = Event::Unserved(kind.clone());
                // A closed channel means that the engine ends.
                let _ = context.news.send(News { slot: 0, run: 0, event }).await;
            }
            Err(error) => {
                tracing::debug!(kind = kind.1, %error, "a kind that a health rule names is not known")
            }
        }
        tokio::time::sleep(backoff::delay(SOUGHT_BASE, SOUGHT_CAP, failures, &kind.1)).await;
        failures += 1;
    }
}

async fn resource(context: &Context, (group, kind): &Kind) -> Result<Option<Arc<Resource>>, ApiError> {
    let version = match group.as_str() {
        "" => Some("v1".to_owned()),
        group => context.api.preferred_version(group).await?,
    };
    match version {
        Some(version) => context.discovery.resolve(&context.api, group, &version, kind).await,
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_belongs_to_a_release_by_one_of_the_labels_and_its_namespace() {
        let unit = crate::tests::unit_id("web");
        let resource = |namespaced| Resource {
            group: String::new(),
            version: "v1".into(),
            kind: "Pod".into(),
            plural: "pods".into(),
            namespaced,
        };
        let meta = |namespace: &str, label: &str, value: &str| Meta {
            namespace: namespace.into(),
            labels: [(label.to_owned(), value.to_owned())].into(),
            ..Meta::default()
        };
        for label in LABELS {
            assert!(belongs(&unit, &resource(true), &meta("shop", label, "web")));
            assert!(!belongs(&unit, &resource(true), &meta("shop", label, "other")));
            assert!(!belongs(&unit, &resource(true), &meta("elsewhere", label, "web")));
            assert!(belongs(&unit, &resource(false), &meta("", label, "web")));
        }
        assert!(!belongs(&unit, &resource(true), &meta("shop", "tier", "web")));
    }
}
