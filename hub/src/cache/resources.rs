//! Objects of kinds that nobody knows beforehand: those that `templateResourceRefs` name.
//!
//! The first question about a kind begins a watch of that kind; until it has listed, objects are unknown, which is not
//! the same as missing. A kind that is not installed counts as empty and is looked for again from time to time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use process::Process;
use serde_json::Value;
use source::causes;

use super::{Cache, Key, Kind};
use crate::roster::ObjectName;

/// How long until a kind that is not installed is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Most kinds that are watched; a kind beyond is refused.
const KINDS_MAX: usize = 128;

/// API version and kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKind {
    /// Group and version, `v1` for the core group.
    pub api_version: String,
    /// The kind.
    pub kind: String,
}

/// What is known of an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It is there.
    Object(Arc<Value>),
    /// It is not there, and why that is known.
    Absent(String),
    /// Its kind is being listed.
    Unknown,
}

/// Where the kinds are watched.
struct Source {
    client: kube::Client,
    process: Process,
    cache: Cache,
}

#[derive(Default)]
struct Listing {
    /// Whether all objects are known; why there are none where the kind is not served.
    listed: Option<Result<(), String>>,
    objects: BTreeMap<ObjectName, Arc<Value>>,
}

/// The objects by kind. Clones share the content.
#[derive(Clone, Default)]
pub struct Resources(Arc<Shared>);

#[derive(Default)]
struct Shared {
    source: OnceLock<Source>,
    kinds: Mutex<BTreeMap<ResourceKind, Listing>>,
}

/// The key under which changes of an object are announced.
pub fn resource_key(kind: &ResourceKind, namespace: &str, name: &str) -> Key {
    Key::new(Kind::Resource, namespace, &format!("{}/{}/{name}", kind.api_version, kind.kind))
}

impl Resources {
    /// From now on kinds can be watched.
    pub(super) fn begin(&self, cache: &Cache, client: &kube::Client, process: &Process) {
        // A second call would be a second watch of the same cache; there is none.
        let _ = self.0.source.set(Source {
            client: client.clone(),
            process: process.clone(),
            cache: cache.clone(),
        });
    }

    fn kinds(&self) -> MutexGuard<'_, BTreeMap<ResourceKind, Listing>> {
        self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the object; the first question about a kind begins its watch.
    pub(super) fn get(&self, kind: &ResourceKind, namespace: &str, name: &str) -> Found {
        let mut kinds = self.kinds();
        if !kinds.contains_key(kind) {
            if kinds.len() >= KINDS_MAX {
                return Found::Absent(format!("more than {KINDS_MAX} kinds are referred to by templates"));
            }
            kinds.insert(kind.clone(), Listing::default());
            drop(kinds);
            self.start(kind);
            return Found::Unknown;
        }
        let Some(listing) = kinds.get(kind) else { return Found::Unknown };
        let ResourceKind { kind, .. } = kind;
        let at = (namespace.to_owned(), name.to_owned());
        // Cluster-scoped objects are found whatever namespace the reference says.
        let object = listing.objects.get(&at).or_else(|| listing.objects.get(&(String::new(), at.1.clone())));
        match (object, &listing.listed) {
            (Some(object), _) => Found::Object(object.clone()),
            (None, Some(Ok(()))) => Found::Absent(format!("{kind} \"{name}\" not found")),
            (None, Some(Err(why))) => Found::Absent(why.clone()),
            (None, None) => Found::Unknown,
        }
    }

    /// Puts an object in as a watch would, and counts its kind as listed.
    pub(super) fn put(&self, object: Value) -> Option<Key> {
        let (kind, (namespace, name)) = named(&object)?;
        let mut kinds = self.kinds();
        let listing = kinds.entry(kind.clone()).or_default();
        listing.listed = Some(Ok(()));
        listing.objects.insert((namespace.clone(), name.clone()), Arc::new(object));
        Some(resource_key(&kind, &namespace, &name))
    }

    fn start(&self, kind: &ResourceKind) {
        let Some(Source { client, process, cache }) = self.0.source.get() else {
            self.kinds().entry(kind.clone()).or_default().listed = Some(Ok(()));
            return;
        };
        let follow = Follow {
            resources: self.clone(),
            kind: kind.clone(),
            client: client.clone(),
            cache: cache.clone(),
        };
        let cancel = process.cancel.clone();
        process.tasks.spawn(async move {
            cancel.run_until_cancelled(follow.run()).await;
        });
    }
}

/// The watch of one kind.
struct Follow {
    resources: Resources,
    kind: ResourceKind,
    client: kube::Client,
    cache: Cache,
}

impl Follow {
    async fn run(self) {
        let ResourceKind { api_version, kind } = &self.kind;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let resource = loop {
            match kube::discovery::pinned_kind(&self.client, &wanted).await {
                Ok((resource, _)) => break resource,
                Err(error) => {
                    let why = format!("kind {kind} of {api_version} is not served: {}", causes(&error));
                    self.listed(Err(why));
                }
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        self.watch(&resource).await;
    }

    async fn watch(&self, resource: &ApiResource) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
        let mut events = watcher(api, Config::default()).default_backoff().boxed();
        let mut listing: Option<BTreeMap<ObjectName, ()>> = None;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listing = Some(BTreeMap::new()),
                Ok(Event::InitApply(object)) => {
                    if let (Some(name), Some(listing)) = (self.keep(object), &mut listing) {
                        listing.insert(name, ());
                    }
                }
                Ok(Event::InitDone) => {
                    let listed = listing.take().unwrap_or_default();
                    self.keep_only(&listed);
                    self.listed(Ok(()));
                }
                Ok(Event::Apply(object)) => {
                    self.keep(object);
                }
                Ok(Event::Delete(object)) => {
                    let name = (
                        object.metadata.namespace.unwrap_or_default(),
                        object.metadata.name.unwrap_or_default(),
                    );
                    self.drop_one(&name);
                }
                Err(error) => {
                    tracing::warn!(kind = self.kind.kind, error = %causes(&error), "a watch failed and is begun again");
                }
            }
        }
    }

    fn keep(&self, mut object: DynamicObject) -> Option<ObjectName> {
        object.metadata.managed_fields = None;
        object.types = Some(kube::api::TypeMeta {
            api_version: self.kind.api_version.clone(),
            kind: self.kind.kind.clone(),
        });
        let name = (
            object.metadata.namespace.clone().unwrap_or_default(),
            object.metadata.name.clone().unwrap_or_default(),
        );
        let value = serde_json::to_value(&object).ok()?;
        let before = {
            let mut kinds = self.resources.kinds();
            let listing = kinds.entry(self.kind.clone()).or_default();
            listing.objects.insert(name.clone(), Arc::new(value.clone()))
        };
        if before.is_none_or(|before| *before != value) {
            self.cache.announce(resource_key(&self.kind, &name.0, &name.1));
        }
        Some(name)
    }

    fn keep_only(&self, listed: &BTreeMap<ObjectName, ()>) {
        let known: Vec<_> = {
            let kinds = self.resources.kinds();
            kinds.get(&self.kind).map(|listing| listing.objects.keys().cloned().collect()).unwrap_or_default()
        };
        for name in known.iter().filter(|name| !listed.contains_key(*name)) {
            self.drop_one(name);
        }
    }

    fn drop_one(&self, name: &ObjectName) {
        if let Some(listing) = self.resources.kinds().get_mut(&self.kind) {
            listing.objects.remove(name);
        }
        self.cache.announce(resource_key(&self.kind, &name.0, &name.1));
    }

    /// Whoever asked for an object of the kind asks again.
    fn listed(&self, outcome: Result<(), String>) {
        let changed = {
            let mut kinds = self.resources.kinds();
            let listing = kinds.entry(self.kind.clone()).or_default();
            listing.listed.replace(outcome.clone()) != Some(outcome)
        };
        if changed {
            self.cache.announce(listing_key(&self.kind));
        }
    }
}

/// The key under which it is announced that a kind is listed, or not served.
pub(super) fn listing_key(kind: &ResourceKind) -> Key {
    Key::new(Kind::Resource, "", &format!("{}/{}/", kind.api_version, kind.kind))
}

fn named(object: &Value) -> Option<(ResourceKind, ObjectName)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let kind = ResourceKind { api_version: text("/apiVersion")?, kind: text("/kind")? };
    Some((kind, (text("/metadata/namespace").unwrap_or_default(), text("/metadata/name")?)))
}
