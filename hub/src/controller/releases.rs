//! Which revision of a MultiClusterService each target has: read from annotations and Secrets as they change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::k0rdent::{MultiClusterService, ServiceSpec};
use api::names::annotation;
use api::skein::{RolloutPhase, RolloutStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use protocol::UnixMillis;
use protocol::id::Generation;
use protocol::plan::UnitId;

use crate::cache::Cache;
use crate::rollout::record::{self, Part, revision_of, short};
use crate::rollout::state::State;
use crate::rollout::steady::Steady;
use crate::roster::ObjectName;
use crate::services::claim::Released;

/// What is known of all rollouts.
pub(super) struct Releases {
    /// When the hub started.
    pub started: UnixMillis,
    /// What sets had failed with when they were planned with the revision they have.
    pub begun: HashMap<ObjectName, Begun>,
    /// How sets' targets have been since they were given what they have.
    pub steady: HashMap<ObjectName, Steady>,
    books: HashMap<String, Book>,
    /// MultiClusterServices without a rollout, as they are: what they say is what everybody has.
    plain: HashMap<String, Arc<MultiClusterService>>,
    /// What sets were given and that is not in the API yet.
    under_way: HashMap<ObjectName, Given>,
}

/// A set that was planned with a revision.
pub(super) struct Begun {
    /// The revision.
    pub revision: String,
    /// The plan that brought it.
    pub generation: Option<Generation>,
    /// Units that had failed before, and since when.
    pub failed: BTreeMap<UnitId, UnixMillis>,
}

/// A revision that a set was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// The revision.
    pub revision: String,
    /// When; 0 for what it had anyway.
    pub at: UnixMillis,
    /// Whether that is not in the API yet.
    pub in_flight: bool,
}

type Revision = (String, Arc<ServiceSpec>);

/// One rollout.
#[derive(Default)]
struct Book {
    service: Option<String>,
    /// What the object says now.
    current: Option<Revision>,
    /// What everybody had when there was no rollout yet.
    baseline: Option<Revision>,
    /// What is remembered, as it is in its Secret.
    state: Option<State>,
    /// What is to be remembered, and on its way there.
    writing: Option<State>,
    /// Revisions that are in their Secrets.
    revisions: BTreeMap<String, Arc<ServiceSpec>>,
    /// The phase, wave and revision that were told last.
    told: Option<(RolloutPhase, String, String)>,
}

impl Book {
    fn body(&self, revision: &str) -> Option<Revision> {
        let known = [&self.current, &self.baseline].into_iter().flatten().find(|one| one.0 == revision);
        known.cloned().or_else(|| Some((revision.to_owned(), self.revisions.get(revision)?.clone())))
    }
}

impl Default for Releases {
    fn default() -> Self {
        Self {
            started: now_millis(),
            begun: HashMap::new(),
            steady: HashMap::new(),
            books: HashMap::new(),
            plain: HashMap::new(),
            under_way: HashMap::new(),
        }
    }
}

impl Releases {
    /// Whether there is no rollout at all: then nothing here costs anything.
    pub(super) fn is_empty(&self) -> bool {
        self.books.is_empty()
    }

    /// A MultiClusterService is another one now, or gone.
    pub(super) fn service_changed(&mut self, name: &str, object: Option<Arc<MultiClusterService>>) {
        let before = self.plain.remove(name);
        let Some(object) = object else {
            self.books.remove(&short(name));
            return;
        };
        if object.spec.rollout.is_none() {
            self.plain.insert(name.to_owned(), object);
            return;
        }
        let revision = |object: &MultiClusterService| {
            let spec = object.spec.service_spec.clone().unwrap_or_default();
            (revision_of(&spec), Arc::new(spec))
        };
        let book = self.books.entry(short(name)).or_default();
        book.service = Some(name.to_owned());
        book.current = Some(revision(&object));
        if let Some(before) = before {
            book.baseline = Some(revision(&before));
        } else if book.baseline.is_none() {
            book.baseline.clone_from(&book.current);
        }
    }

    /// A Secret is another one now, or gone; gives the MultiClusterService whose it is.
    pub(super) fn secret_changed(&mut self, name: &str, secret: Option<&Secret>) -> Option<String> {
        let (of, part) = record::read_name(name)?;
        if secret.is_none() && !self.books.contains_key(of) {
            return None;
        }
        let book = self.books.entry(of.to_owned()).or_default();
        match part {
            Part::State => {
                book.state = secret.and_then(record::read_state);
                if book.state.is_some() && book.state == book.writing {
                    book.writing = None;
                }
            }
            Part::Revision(revision) => {
                match secret.and_then(|secret| record::read_revision(secret, &revision)) {
                    Some(spec) => book.revisions.insert(revision, Arc::new(spec)),
                    None => book.revisions.remove(&revision),
                };
            }
        }
        book.service.clone()
    }

    /// The revision that a target is to have; `None` when there is no rollout.
    pub(super) fn of(
        &self,
        cache: &Cache,
        service: &MultiClusterService,
        set: &ObjectName,
    ) -> Option<Released> {
        service.spec.rollout.as_ref()?;
        let name = service.name_any();
        let (_, current) = self.current(service);
        let released = |revision: Option<Revision>| match revision {
            Some((revision, spec)) => Released { revision: Some(revision), spec },
            None => Released { revision: None, spec: current.clone() },
        };
        let book = self.books.get(&short(&name));
        let object = cache.service_sets.get(&set.0, &set.1);
        let given = object.as_ref().and_then(|object| object.annotations().get(annotation::ROLLOUT_REVISION));
        let state = book
            .and_then(|book| book.state.as_ref())
            .filter(|state| Some(&state.owner) == service.metadata.uid.as_ref());
        let completed = state.and_then(|state| state.completed.as_ref());
        if let Some(revision) =
            given.or(completed).and_then(|revision| book?.body(revision)).or_else(|| book?.body(completed?))
        {
            return Some(released(Some(revision)));
        }
        // Nothing is remembered yet: whoever has something keeps it.
        let has = object.is_some_and(|object| !object.spec.services.is_empty());
        let kept = if state.is_none() && has { book.and_then(|book| book.baseline.clone()) } else { None };
        Some(released(kept))
    }

    /// The revision that the object names now.
    pub(super) fn current(&self, service: &MultiClusterService) -> Revision {
        let known = self.books.get(&short(&service.name_any())).and_then(|book| book.current.clone());
        known.unwrap_or_else(|| {
            let spec = service.spec.service_spec.clone().unwrap_or_default();
            (revision_of(&spec), Arc::new(spec))
        })
    }

    /// What everybody had before there was a rollout.
    pub(super) fn baseline(&self, service: &str) -> Option<Revision> {
        let book = self.books.get(&short(service))?;
        book.baseline.clone().filter(|_| book.state.is_none())
    }

    /// What is remembered or on its way to be.
    pub(super) fn state(&self, service: &str, uid: &str) -> Option<State> {
        let book = self.books.get(&short(service))?;
        book.writing.clone().or_else(|| book.state.clone()).filter(|state| state.owner == uid)
    }

    /// Whether this is what is remembered.
    pub(super) fn is_durable(&self, service: &str, state: &State) -> bool {
        self.books
            .get(&short(service))
            .is_some_and(|book| book.state.as_ref() == Some(state) && book.writing.is_none())
    }

    /// This is to be remembered.
    pub(super) fn writing(&mut self, service: &str, state: &State) {
        let book = self.books.entry(short(service)).or_default();
        book.writing = (book.state.as_ref() != Some(state)).then(|| state.clone());
    }

    /// Whether a revision is in its Secret.
    pub(super) fn is_noted(&self, service: &str, revision: &str) -> bool {
        self.books.get(&short(service)).is_some_and(|book| book.revisions.contains_key(revision))
    }

    /// Revisions that the rollout itself does not need.
    pub(super) fn unused(&self, service: &str) -> Vec<String> {
        let Some(book) = self.books.get(&short(service)) else { return Vec::new() };
        let state = book.state.clone().unwrap_or_default();
        let current = book.current.as_ref().map(|current| &current.0);
        let needed = |one: &String| {
            *one == state.revision || Some(one) == state.completed.as_ref() || Some(one) == current
        };
        book.revisions.keys().filter(|one| !needed(one)).cloned().collect()
    }

    /// What a set was given.
    pub(super) fn given(&self, cache: &Cache, service: &str, set: &ObjectName) -> Option<Given> {
        if let Some(given) = self.under_way.get(set) {
            return Some(given.clone());
        }
        let given = written(cache, set)?;
        self.books.get(&short(service))?.body(&given.revision)?;
        Some(given)
    }

    /// A set is given a revision.
    pub(super) fn give(&mut self, set: &ObjectName, revision: &str, at: UnixMillis) {
        let given = Given { revision: revision.to_owned(), at, in_flight: true };
        self.under_way.insert(set.clone(), given);
    }

    /// A set is gone.
    pub(super) fn gone(&mut self, set: &ObjectName) {
        self.under_way.remove(set);
        self.begun.remove(set);
        self.steady.remove(set);
    }

    /// What must still be written of a set.
    pub(super) fn under_way(&mut self, cache: &Cache, set: &ObjectName) -> Option<Given> {
        let given = self.under_way.get(set)?;
        let gone = cache.service_sets.get(&set.0, &set.1).is_none();
        if gone || written(cache, set).is_some_and(|one| one.revision == given.revision && one.at == given.at)
        {
            self.under_way.remove(set);
            return None;
        }
        Some(given.clone())
    }

    /// A MultiClusterService has no rollout any more: its Secrets that are to go.
    pub(super) fn forget(&mut self, service: &str) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let short = short(service);
        let Some(book) = self.books.remove(&short) else { return Vec::new() };
        let revisions = book.revisions.into_keys().map(Part::Revision);
        let state = book.state.map(|_| Part::State);
        revisions.chain(state).map(|part| record::secret_name(&short, &part)).collect()
    }

    /// Whether phase, wave or revision is another one than was told last.
    pub(super) fn is_news(&mut self, service: &str, before: &RolloutStatus, after: &RolloutStatus) -> bool {
        let key = |status: &RolloutStatus| (status.phase, status.wave.clone(), status.revision.clone());
        let book = self.books.entry(short(service)).or_default();
        let known = book.told.get_or_insert_with(|| key(before));
        let now = key(after);
        let news = *known != now;
        *known = now;
        news
    }
}

/// What the API says that a set was given.
fn written(cache: &Cache, set: &ObjectName) -> Option<Given> {
    let object = cache.service_sets.get(&set.0, &set.1)?;
    let annotations = object.annotations();
    let at = annotations.get(annotation::ROLLOUT_RELEASED).and_then(|at| at.parse::<Timestamp>().ok());
    Some(Given {
        revision: annotations.get(annotation::ROLLOUT_REVISION)?.clone(),
        at: at.and_then(|at| u64::try_from(at.as_millisecond()).ok()).unwrap_or_default(),
        in_flight: false,
    })
}

/// The time, in milliseconds since the epoch.
pub(super) fn now_millis() -> UnixMillis {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}
