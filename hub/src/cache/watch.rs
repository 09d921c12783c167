//! One watch: lists, then follows, for as long as the process runs.
//!
//! An object that cannot be read is left out and remembered with the reason; the watch goes on. A kind that is not
//! installed counts as listed and empty, and is looked for again with backoff.

use std::collections::BTreeSet;

use futures::StreamExt;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Error, Event, watcher};
use kube::{Resource, ResourceExt};
use process::Process;
use source::causes;
use tokio::sync::mpsc;

use super::{Cache, Cached, Key};
use crate::roster::ObjectName;

/// Follows a kind; drops `listed` once all its objects are in the store.
pub(super) fn start<K: Cached>(
    cache: &Cache,
    client: &kube::Client,
    process: &Process,
    listed: mpsc::Sender<()>,
) {
    let api = Api::<DeserializeGuard<K>>::all(client.clone());
    let (cache, cancel) = (cache.clone(), process.cancel.clone());
    process.tasks.spawn(async move {
        let mut watch =
            Watch::<K> { cache, listing: None, listed: Some(listed), store: std::marker::PhantomData };
        let mut events = watcher(api, Config::default()).default_backoff().boxed();
        while let Some(Some(event)) = cancel.run_until_cancelled(events.next()).await {
            match event {
                Ok(event) => watch.take(event),
                Err(error) => watch.failed(&error),
            }
        }
    });
}

struct Watch<K> {
    cache: Cache,
    /// Names seen since the list began.
    listing: Option<BTreeSet<ObjectName>>,
    listed: Option<mpsc::Sender<()>>,
    store: std::marker::PhantomData<K>,
}

impl<K: Cached> Watch<K> {
    fn take(&mut self, event: Event<DeserializeGuard<K>>) {
        match event {
            Event::Init => self.listing = Some(BTreeSet::new()),
            Event::InitApply(object) => {
                let name = name(&object);
                if let Some(listing) = &mut self.listing {
                    listing.insert(name);
                }
                self.put(object);
            }
            Event::InitDone => {
                let listed = self.listing.take().unwrap_or_default();
                for (namespace, name) in K::store(&self.cache).names() {
                    if !listed.contains(&(namespace.clone(), name.clone())) {
                        self.cache.remove::<K>(&namespace, &name);
                    }
                }
                self.listed = None;
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => {
                let (namespace, name) = name(&object);
                self.cache.set_invalid(Key::new(K::KIND, &namespace, &name), None);
                self.cache.remove::<K>(&namespace, &name);
            }
        }
    }

    fn put(&self, object: DeserializeGuard<K>) {
        let (namespace, name) = name(&object);
        let key = Key::new(K::KIND, &namespace, &name);
        match object.0 {
            Ok(object) => {
                self.cache.set_invalid(key, None);
                self.cache.put(object);
            }
            // What was read before stays in force: nothing is taken away because an edit cannot be read.
            Err(invalid) => self.cache.set_invalid(key, Some(invalid.error)),
        }
    }

    fn failed(&mut self, error: &Error) {
        let kind = K::kind(&());
        if not_installed(error) {
            tracing::debug!(%kind, "the kind is not installed");
            self.listed = None;
        } else {
            tracing::warn!(%kind, error = %causes(error), "a watch failed and is begun again");
        }
    }
}

fn name<K: Resource>(object: &K) -> ObjectName {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn not_installed(error: &Error) -> bool {
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) => {
            matches!(error, kube::Error::Api(status) if status.code == 404)
        }
        Error::WatchError(_) | Error::WatchFailed(_) | Error::NoResourceVersion => false,
    }
}
