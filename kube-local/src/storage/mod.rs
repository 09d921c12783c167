//! Where objects live: one shelf per resource, each with its objects (encoded) and the ring of its latest events,
//! one revision counter for the whole cluster, an index from owner to dependents, and, with `Storage::Disk`,
//! SQLite behind it. Knows nothing of HTTP, kinds or schemas.
//!
//! A change is visible to readers at once and to watchers when it is durable; whoever answers a client waits for
//! `Store::durable` first.

mod disk;
mod history;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) use disk::{DiskError, OpenedDisk};
pub(crate) use history::{Change, Event, Follow, Followed};
pub(crate) use snapshot::Page;

use disk::Disk;
use history::{Held, History};

use crate::object;

/// Namespace (empty for cluster-scoped objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectKey {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
}

impl ObjectKey {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn of(object: &Value) -> Self {
        Self::new(object::namespace(object), object::name(object))
    }
}

/// An object as stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) revision: u64,
    pub(crate) bytes: Bytes,
}

impl Stored {
    /// The decoded object.
    pub(crate) fn decode(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }
}

/// What controllers need to know of an object that is gone.
#[derive(Debug, Clone)]
pub(crate) struct Removed {
    pub(crate) uid: Box<str>,
    /// Its `ownerReferences`.
    pub(crate) owners: Vec<Value>,
}

/// A resource and a key in it: the address of an object in the store.
pub(crate) type Address = (Arc<str>, ObjectKey);

#[derive(Debug)]
struct Shelf {
    objects: BTreeMap<ObjectKey, Stored>,
    /// The bytes of `objects`.
    bytes: usize,
    history: History,
    changed: watch::Sender<u64>,
}

impl Shelf {
    fn insert(&mut self, key: ObjectKey, stored: Stored) -> Option<Stored> {
        self.bytes += stored.bytes.len();
        let previous = self.objects.insert(key, stored);
        self.bytes -= previous.as_ref().map_or(0, |stored| stored.bytes.len());
        previous
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Stored> {
        let previous = self.objects.remove(key);
        self.bytes -= previous.as_ref().map_or(0, |stored| stored.bytes.len());
        previous
    }

    fn held(&self) -> Held {
        Held { objects: self.objects.len(), bytes: self.bytes }
    }
}

#[derive(Debug, Default)]
struct State {
    revision: u64,
    /// Watchers see nothing newer than this.
    published: u64,
    /// Nothing older than this is known from histories: the revision at which the store was opened.
    opened_at: u64,
    shelves: BTreeMap<Arc<str>, Shelf>,
    /// owner uid -> dependents
    dependents: BTreeMap<Box<str>, BTreeSet<Address>>,
    /// Objects that controllers have not looked at since they changed.
    dirty: BTreeMap<Address, Vec<Removed>>,
    followed: bool,
}

impl State {
    fn shelf(&mut self, resource: &Arc<str>) -> &mut Shelf {
        let opened_at = self.opened_at;
        self.shelves.entry(resource.clone()).or_insert_with(|| Shelf {
            objects: BTreeMap::new(),
            bytes: 0,
            history: History::new(opened_at),
            changed: watch::Sender::new(opened_at),
        })
    }
}

/// The objects of one cluster.
#[derive(Debug)]
pub(crate) struct Store {
    state: Mutex<State>,
    disk: Option<Disk>,
    activity: watch::Sender<u64>,
}

impl Store {
    /// An empty store without a disk.
    pub(crate) fn in_memory() -> Self {
        // Kubernetes never hands out revision 0: clients read it as "any".
        let state = State { revision: 1, published: 1, opened_at: 1, ..State::default() };
        Self { state: Mutex::new(state), disk: None, activity: watch::Sender::new(1) }
    }

    /// The store that a disk holds.
    pub(crate) fn on_disk(opened: OpenedDisk) -> Self {
        let revision = opened.revision.max(1);
        let mut state = State { revision, published: revision, opened_at: revision, ..State::default() };
        for (resource, key, stored) in opened.objects {
            let resource: Arc<str> = resource.into();
            for owner in owners(&stored.bytes) {
                state.dependents.entry(owner).or_default().insert((resource.clone(), key.clone()));
            }
            state.shelf(&resource).insert(key, stored);
        }
        Self { state: Mutex::new(state), disk: Some(opened.disk), activity: watch::Sender::new(revision) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The revision of the latest change.
    pub(crate) fn revision(&self) -> u64 {
        self.lock().revision
    }

    /// The object behind a key.
    pub(crate) fn find(&self, resource: &str, key: &ObjectKey) -> Option<Stored> {
        self.lock().shelves.get(resource)?.objects.get(key).cloned()
    }

    /// Stores an object under a new revision, which is written into it.
    pub(crate) fn put(self: &Arc<Self>, resource: &Arc<str>, key: &ObjectKey, object: &mut Value) -> Stored {
        let mut state = self.lock();
        state.revision += 1;
        let revision = state.revision;
        let bytes = encode(object, revision);
        let stored = Stored { revision, bytes };
        let previous = state.shelf(resource).insert(key.clone(), stored.clone());
        let change = if previous.is_some() { Change::Modified } else { Change::Added };
        let event = Event {
            revision,
            change,
            key: key.clone(),
            object: stored.bytes.clone(),
            previous: previous.map(|stored| stored.bytes),
        };
        self.record(&mut state, resource, event, Some(stored.bytes.clone()));
        stored
    }

    /// Removes an object; `last` is its final state, which watchers get.
    pub(crate) fn remove(self: &Arc<Self>, resource: &Arc<str>, key: &ObjectKey, last: &mut Value) -> Stored {
        let mut state = self.lock();
        state.revision += 1;
        let revision = state.revision;
        let bytes = encode(last, revision);
        let previous = state.shelf(resource).remove(key).map(|stored| stored.bytes);
        let event =
            Event { revision, change: Change::Deleted, key: key.clone(), object: bytes.clone(), previous };
        self.record(&mut state, resource, event, None);
        Stored { revision, bytes }
    }

    /// Index, history, dirty set, disk and wake-ups of one change.
    fn record(self: &Arc<Self>, state: &mut State, resource: &Arc<str>, event: Event, stored: Option<Bytes>) {
        let revision = event.revision;
        let address = (resource.clone(), event.key.clone());
        let before = event.previous.as_ref().map(owners).unwrap_or_default();
        let after = stored.as_ref().map(owners).unwrap_or_default();
        for owner in before.difference(&after) {
            if let Some(dependents) = state.dependents.get_mut(owner) {
                dependents.remove(&address);
                if dependents.is_empty() {
                    state.dependents.remove(owner);
                }
            }
        }
        for owner in after.difference(&before) {
            state.dependents.entry(owner.clone()).or_default().insert(address.clone());
        }
        if state.followed {
            let removed = state.dirty.entry(address.clone()).or_default();
            if stored.is_none() {
                let last: Value = serde_json::from_slice(&event.object).unwrap_or_default();
                removed.push(Removed {
                    uid: object::uid(&last).into(),
                    owners: object::items(&last, &["metadata", "ownerReferences"]).to_vec(),
                });
            }
        }
        let shelf = state.shelf(resource);
        let held = shelf.held();
        shelf.history.push(event, held);
        match &self.disk {
            None => self.publish(state, revision, [resource]),
            Some(disk) => {
                if disk.enqueue(address, stored, revision) {
                    let store = self.clone();
                    // Owned by the store: it ends as soon as nothing is queued.
                    tokio::task::spawn_blocking(move || store.flush());
                }
            }
        }
    }

    fn publish<'a>(
        &self,
        state: &mut State,
        revision: u64,
        resources: impl IntoIterator<Item = &'a Arc<str>>,
    ) {
        state.published = state.published.max(revision);
        for resource in resources {
            if let Some(shelf) = state.shelves.get(resource) {
                shelf.changed.send_replace(revision);
            }
        }
        self.activity.send_replace(revision);
    }

    fn flush(&self) {
        let Some(disk) = &self.disk else { return };
        while let Some(written) = disk.write_queued() {
            let mut state = self.lock();
            self.publish(&mut state, written.revision, &written.resources);
        }
    }

    /// Waits until everything up to a revision is durable.
    ///
    /// # Errors
    /// The text of the disk's error when the write failed; it is tried again with the next one.
    pub(crate) async fn durable(&self, revision: u64) -> Result<(), String> {
        match &self.disk {
            None => Ok(()),
            Some(disk) => disk.durable(revision).await,
        }
    }

    /// Addresses of the objects that name this uid as an owner.
    pub(crate) fn dependents(&self, owner: &str) -> Vec<Address> {
        self.lock().dependents.get(owner).into_iter().flatten().cloned().collect()
    }

    /// Resources with at least one object, optionally only those with objects in one namespace.
    pub(crate) fn resources(&self, namespace: Option<&str>) -> Vec<Arc<str>> {
        let state = self.lock();
        let holds = |shelf: &Shelf| match namespace {
            None => !shelf.objects.is_empty(),
            Some(namespace) => snapshot::range(&shelf.objects, Some(namespace)).next().is_some(),
        };
        state.shelves.iter().filter(|(_, shelf)| holds(shelf)).map(|(resource, _)| resource.clone()).collect()
    }

    /// From now on changes are remembered for controllers; everything there is counts as changed.
    pub(crate) fn follow_changes(&self) -> watch::Receiver<u64> {
        let mut state = self.lock();
        state.followed = true;
        let everything: Vec<Address> = state
            .shelves
            .iter()
            .flat_map(|(resource, shelf)| shelf.objects.keys().map(|key| (resource.clone(), key.clone())))
            .collect();
        for address in everything {
            state.dirty.entry(address).or_default();
        }
        self.activity.send_modify(|_| {});
        self.activity.subscribe()
    }

    /// The objects that changed since the last call, with what was removed there.
    pub(crate) fn take_dirty(&self) -> BTreeMap<Address, Vec<Removed>> {
        std::mem::take(&mut self.lock().dirty)
    }
}

fn encode(object: &mut Value, revision: u64) -> Bytes {
    object::metadata(object).insert("resourceVersion".to_owned(), json!(revision.to_string()));
    // A `Value` always has an encoding: its keys are strings.
    serde_json::to_vec(object).unwrap_or_default().into()
}

/// The uids of an encoded object's owners; decodes only objects that have owners.
fn owners(bytes: &Bytes) -> BTreeSet<Box<str>> {
    const NEEDLE: &[u8] = b"\"ownerReferences\"";
    if !bytes.windows(NEEDLE.len()).any(|window| window == NEEDLE) {
        return BTreeSet::new();
    }
    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
    object::items(&object, &["metadata", "ownerReferences"])
        .iter()
        .filter_map(|owner| owner["uid"].as_str())
        .map(Box::from)
        .collect()
}
