//! Writing to the API beside the plans: coalesced per object, bounded in concurrency, retried with jitter.
//!
//! A write that is overtaken by a newer one of the same object is never sent. A refusal that only a change can cure
//! (conflict, not found, invalid) is dropped: the change will come by the watch and bring the decision back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::k0rdent::{
    ClusterDeployment, ClusterTemplate, ClusterTemplateChain, Credential, MultiClusterService, Region,
    ServiceSet, ServiceTemplate, ServiceTemplateChain, StateManagementProvider,
};
use api::skein::{Edge, JoinToken, PriceBook};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use process::Process;
use process::metrics::Counter;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore};

use crate::cache::{Key, Kind};
use crate::content::flux::{
    Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRepository, OCIRepository,
};

/// Writes in flight at once.
const CONCURRENCY: usize = 24;
/// First and longest wait before a write is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// What of an object is written; parts do not overtake each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Part {
    /// The object itself.
    Object,
    /// Its status.
    Status,
    /// Its finalizers.
    Finalizers,
    /// Its annotations of a rollout.
    Release,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Write {
    /// Make the object.
    Create(Value),
    /// Merge this into the object, or into its status.
    Patch(Value),
    /// Remove it, if it is the one of this UID.
    Delete(Option<String>),
}

/// Whoever writes. Clones share the queue.
#[derive(Clone)]
pub(super) struct Writer(Arc<Shared>);

struct Shared {
    client: kube::Client,
    process: Process,
    permits: Semaphore,
    slots: Mutex<HashMap<(Key, Part), Slot>>,
    /// Told whenever a write is done with.
    done: Notify,
    written: Counter,
    failed: Counter,
}

struct Slot {
    current: Write,
    next: Option<Write>,
    /// It failed and waits before it is tried again: whoever has something to write need not wait for it.
    resting: bool,
}

impl Writer {
    pub(super) fn new(client: kube::Client, process: &Process) -> Self {
        let writer = Self(Arc::new(Shared {
            client,
            process: process.clone(),
            permits: Semaphore::new(CONCURRENCY),
            slots: Mutex::default(),
            done: Notify::new(),
            written: process
                .metrics
                .counter("skein_hub_api_writes_total", "Writes to the API that were accepted."),
            failed: process
                .metrics
                .counter("skein_hub_api_write_errors_total", "Writes to the API that were not accepted."),
        }));
        let waiting = writer.clone();
        process.metrics.source(move |gathering| {
            let help = "Writes to the API that wait or are under way.";
            gathering.gauge("skein_hub_api_writes_waiting", help, &[], waiting.backlog() as f64);
        });
        writer
    }

    /// Writes soon; replaces what waits for the same part of the same object.
    pub(super) fn submit(&self, key: &Key, part: Part, write: Write) {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (key.clone(), part);
        if let Some(slot) = slots.get_mut(&at) {
            let newest = slot.next.as_ref().unwrap_or(&slot.current);
            if *newest != write {
                slot.next = Some(write);
            }
            return;
        }
        slots.insert(at.clone(), Slot { current: write, next: None, resting: false });
        drop(slots);
        let writer = self.clone();
        self.0.process.tasks.spawn(async move {
            let cancel = writer.0.process.cancel.clone();
            cancel.run_until_cancelled(writer.drain(at)).await;
        });
    }

    /// Writes that wait or are under way.
    fn backlog(&self) -> usize {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether so many writes wait or are under way, not counting those that failed and rest.
    pub(super) fn is_full(&self, most: usize) -> bool {
        let slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.len() >= most && slots.values().filter(|slot| !slot.resting).count() >= most
    }

    /// Waits until fewer writes wait or are under way.
    pub(super) async fn room(&self, most: usize) {
        loop {
            let done = self.0.done.notified();
            if !self.is_full(most) {
                return;
            }
            done.await;
        }
    }

    async fn drain(&self, at: (Key, Part)) {
        let mut failures = 0_u32;
        loop {
            let Some(write) = self.current(&at) else { return };
            let outcome = {
                let Ok(_permit) = self.0.permits.acquire().await else { return };
                self.send(&at.0, at.1, &write).await
            };
            match outcome {
                Ok(()) => self.0.written.increment(),
                Err(error) => {
                    self.0.failed.increment();
                    if transient(&error) {
                        failures = failures.saturating_add(1);
                        tracing::warn!(object = %at.0, %error, failures, "a write failed and is tried again");
                        self.rest(&at, true);
                        tokio::time::sleep(backoff(failures)).await;
                        self.rest(&at, false);
                        self.replace(&at);
                        continue;
                    }
                    tracing::debug!(object = %at.0, %error, "a write was refused");
                }
            }
            failures = 0;
            if !self.advance(&at) {
                return;
            }
        }
    }

    fn current(&self, at: &(Key, Part)) -> Option<Write> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).get(at).map(|slot| slot.current.clone())
    }

    fn rest(&self, at: &(Key, Part), resting: bool) {
        if let Some(slot) = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
            slot.resting = resting;
        }
        if resting {
            self.0.done.notify_one();
        }
    }

    /// A newer write takes the place of the one that failed.
    fn replace(&self, at: &(Key, Part)) {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(at)
            && let Some(next) = slot.next.take()
        {
            slot.current = next;
        }
    }

    /// Whether there is another write after the one that is done.
    fn advance(&self, at: &(Key, Part)) -> bool {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        match slots.get_mut(at).and_then(|slot| slot.next.take().map(|next| (slot, next))) {
            Some((slot, next)) => {
                slot.current = next;
                true
            }
            None => {
                slots.remove(at);
                self.0.done.notify_one();
                false
            }
        }
    }

    async fn send(&self, key: &Key, part: Part, write: &Write) -> Result<(), kube::Error> {
        let Some(resource) = resource(key.kind) else { return Ok(()) };
        let namespace = (!key.namespace.is_empty()).then_some(key.namespace.as_str());
        let requests = kube::core::Request::new(DynamicObject::url_path(&resource, namespace));
        let build = kube::Error::BuildRequest;
        let request = match write {
            Write::Create(object) => {
                let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
                requests.create(&PostParams::default(), body).map_err(build)?
            }
            Write::Patch(patch) => {
                let patch = Patch::Merge(patch);
                let parameters = PatchParams::default();
                match part {
                    Part::Status => requests.patch_subresource("status", &key.name, &parameters, &patch),
                    Part::Object | Part::Finalizers | Part::Release => {
                        requests.patch(&key.name, &parameters, &patch)
                    }
                }
                .map_err(build)?
            }
            Write::Delete(uid) => {
                let preconditions =
                    uid.clone().map(|uid| Preconditions { uid: Some(uid), ..Preconditions::default() });
                let parameters = DeleteParams { preconditions, ..DeleteParams::default() };
                requests.delete(&key.name, &parameters).map_err(build)?
            }
        };
        self.0.client.request_text(request).await.map(drop)
    }
}

/// Whether trying the same again can help.
fn transient(error: &kube::Error) -> bool {
    if let kube::Error::Api(status) = error { status.code == 429 || status.code >= 500 } else { true }
}

/// Full jitter over a doubling bound.
fn backoff(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    let bound = first.saturating_mul(1 << failures.min(16)).min(longest);
    let share = (getrandom::u64().unwrap_or_default() >> 11) as f64 / (1_u64 << 53) as f64;
    first + bound.mul_f64(share)
}

/// How the API calls a kind.
pub(super) fn resource(kind: Kind) -> Option<ApiResource> {
    fn of<K: Resource<DynamicType = ()>>() -> Option<ApiResource> {
        Some(ApiResource::erase::<K>(&()))
    }
    match kind {
        Kind::Region => of::<Region>(),
        Kind::Credential => of::<Credential>(),
        Kind::ClusterTemplate => of::<ClusterTemplate>(),
        Kind::ServiceTemplate => of::<ServiceTemplate>(),
        Kind::ClusterTemplateChain => of::<ClusterTemplateChain>(),
        Kind::ServiceTemplateChain => of::<ServiceTemplateChain>(),
        Kind::MultiClusterService => of::<MultiClusterService>(),
        Kind::ClusterDeployment => of::<ClusterDeployment>(),
        Kind::Edge => of::<Edge>(),
        Kind::ServiceSet => of::<ServiceSet>(),
        Kind::StateManagementProvider => of::<StateManagementProvider>(),
        Kind::JoinToken => of::<JoinToken>(),
        Kind::PriceBook => of::<PriceBook>(),
        Kind::ConfigMap => of::<ConfigMap>(),
        Kind::Secret => of::<Secret>(),
        Kind::HelmRepository => of::<HelmRepository>(),
        Kind::HelmChart => of::<HelmChart>(),
        Kind::GitRepository => of::<GitRepository>(),
        Kind::Bucket => of::<Bucket>(),
        Kind::OCIRepository => of::<OCIRepository>(),
        Kind::ExternalArtifact => of::<ExternalArtifact>(),
        Kind::FetchedChart | Kind::Identity | Kind::Resource | Kind::Plan => None,
    }
}
