//! Whether objects of any kind exist that Credentials name: asked for once and again from time to time, since their kinds
//! are not known beforehand. Secrets are in the cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DynamicObject};
use kube::core::GroupVersionKind;
use process::Process;

use super::credential::Identity;
use crate::cache::{Cache, Key, Kind};

/// How often to look for what is missing, and for what was there.
const LOOK: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(900));

#[derive(Clone)]
pub(super) struct Identities(Arc<Shared>);

struct Shared {
    client: kube::Client,
    cache: Cache,
    process: Process,
    known: Mutex<HashMap<Key, Identity>>,
}

impl Identities {
    pub(super) fn new(client: kube::Client, cache: Cache, process: &Process) -> Self {
        Self(Arc::new(Shared { client, cache, process: process.clone(), known: Mutex::default() }))
    }

    /// What is known of the object, and the key under which changes are announced.
    pub(super) fn look_up(&self, reference: &ObjectReference, default_namespace: &str) -> (Identity, Key) {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (kind, name) = (text(&reference.kind), text(&reference.name));
        let namespace = reference.namespace.clone().unwrap_or_else(|| default_namespace.to_owned());
        if kind == "Secret" {
            let key = Key::new(Kind::Secret, &namespace, &name);
            let identity = match self.0.cache.secrets.get(&namespace, &name) {
                Some(_) => Identity::Exists,
                None => Identity::Missing(format!(
                    "failed to get Secret {namespace}/{name}: secrets \"{name}\" not found"
                )),
            };
            return (identity, key);
        }
        let api_version = text(&reference.api_version);
        let key = Key::new(Kind::Identity, &namespace, &format!("{api_version}/{kind}/{name}"));
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = known.get(&key) {
            return (identity.clone(), key);
        }
        known.insert(key.clone(), Identity::Unknown);
        drop(known);
        let (identities, at) = (self.clone(), key.clone());
        self.0.process.tasks.spawn(async move {
            let cancel = identities.0.process.cancel.clone();
            cancel.run_until_cancelled(identities.follow(at, api_version, kind, namespace, name)).await;
        });
        (Identity::Unknown, key)
    }

    async fn follow(&self, key: Key, api_version: String, kind: String, namespace: String, name: String) {
        loop {
            let identity = self.ask(&api_version, &kind, &namespace, &name).await;
            let wait = if identity == Identity::Exists { LOOK.1 } else { LOOK.0 };
            let changed = {
                let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.insert(key.clone(), identity.clone()) != Some(identity)
            };
            if changed {
                self.0.cache.announce(key.clone());
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn ask(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Identity {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let failed =
            |why: String| Identity::Missing(format!("failed to get {kind} {namespace}/{name}: {why}"));
        let resource = GroupVersionKind::gvk(group, version, kind);
        let (resource, capabilities) = match kube::discovery::pinned_kind(&self.0.client, &resource).await {
            Ok(found) => found,
            Err(error) => return failed(error.to_string()),
        };
        let api: Api<DynamicObject> = match capabilities.scope {
            kube::discovery::Scope::Namespaced => {
                Api::namespaced_with(self.0.client.clone(), namespace, &resource)
            }
            kube::discovery::Scope::Cluster => Api::all_with(self.0.client.clone(), &resource),
        };
        match api.get_opt(name).await {
            Ok(Some(_)) => Identity::Exists,
            Ok(None) => failed(format!("{} \"{name}\" not found", resource.plural)),
            Err(error) => failed(error.to_string()),
        }
    }
}
