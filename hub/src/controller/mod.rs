//! From changes to plans and statuses.
//!
//! ```text
//! watches -> cache -> what read it? -> targets -> units -> plans -> (link server)
//!                          |                                 |
//!                          +-------> statuses <--------------+---- reports
//!                                       |
//!                                     writer -> API
//! ```
//!
//! One task decides, and decides synchronously: it reads the cache and what agents reported, publishes plans, and hands
//! writes to the writer. No request stands between a change and its plan; nothing is polled.
//!
//! # Why one task
//! Decisions take microseconds, a render about a millisecond and only when its input is new. One task needs no locks
//! between objects that concern each other, and the order of its work is its priority: plans first, statuses when no
//! plan waits.

mod absent;
mod cluster_deployment;
mod credential;
mod difference;
mod edge;
mod engine;
mod events;
mod explaining;
mod health;
mod identities;
mod join_token;
mod later;
mod multi_cluster_service;
mod planning;
mod price_book;
mod reconcile;
mod region;
mod releases;
mod rolling;
mod seeds;
mod service_set;
mod serving;
mod sets;
mod sheet;
mod template;
mod turn;
mod versions;
mod wakeups;
mod way;
mod would;
mod writer;

use std::path::PathBuf;

use identity::Sealer;
use jiff::Timestamp;
use process::Process;

use crate::cache::Cache;
use crate::content::Sources;
use crate::explain::Explainer;
use crate::observed::Observed;
use crate::plans::{PlanBook, system_clock};
use crate::roster::Roster;
use crate::state_management::Serving;

/// What the controllers must know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where shared templates, edges and tokens live.
    pub system_namespace: String,
    /// The trust domain of the mesh.
    pub trust_domain: String,
    /// A folder for caches.
    pub state_dir: PathBuf,
    /// A `helm` binary for charts that need what the engine lacks.
    pub helm: Option<PathBuf>,
    /// Whether kustomizations may name bases elsewhere.
    pub remote_bases: bool,
    /// The term of leadership.
    pub term: u64,
    /// Serving the ServiceSets of another k0rdent, instead of being one.
    pub serving: Option<Serving>,
}

/// The controllers.
pub struct Controllers;

/// What the controllers show to the other parts of the hub.
#[derive(Clone)]
pub struct ControllersHandle {
    /// Who belongs to the mesh.
    pub roster: Roster,
    /// The API objects.
    pub cache: Cache,
    /// The charts.
    pub sources: Sources,
    /// Why services are what they are.
    pub explainer: Explainer,
}

impl Controllers {
    /// Starts watching and deciding on `process`; the process is ready once every kind is listed and planned.
    #[allow(clippy::unused_async)] // Part of the agreed interface: starting may come to need the API.
    pub async fn start(
        client: kube::Client,
        settings: Settings,
        sealer: Sealer,
        plans: PlanBook,
        observed: Observed,
        process: &Process,
    ) -> ControllersHandle {
        let (cache, roster) = (Cache::default(), Roster::default());
        let sources = Sources::new(settings.state_dir.clone(), cache.clone(), system_clock(), process)
            .allowing_remote_bases(settings.remote_bases);
        let (explainer, questions) = Explainer::new();
        let handle = ControllersHandle {
            roster: roster.clone(),
            cache: cache.clone(),
            sources: sources.clone(),
            explainer,
        };
        metrics(&handle, &plans, process);
        if settings.serving.is_some() {
            serving::say_farewell(&client, &settings.system_namespace, settings.term, process);
        }
        let parts = engine::Parts { client, settings, sealer, cache, roster, sources, plans, observed };
        engine::start(parts, questions, process);
        handle
    }
}

fn metrics(handle: &ControllersHandle, plans: &PlanBook, process: &Process) {
    let (handle, plans) = (handle.clone(), plans.clone());
    process.metrics.source(move |gathering| {
        for (kind, count) in handle.cache.sizes() {
            let kind = format!("{kind:?}");
            gathering.gauge("skein_hub_objects", "Objects in the cache.", &[("kind", &kind)], count as f64);
        }
        let (followed, failing) = handle.sources.totals();
        gathering.gauge("skein_hub_charts", "Charts that are followed.", &[], followed as f64);
        gathering.gauge(
            "skein_hub_charts_failing",
            "Charts that cannot be fetched now.",
            &[],
            failing as f64,
        );
        let (blobs, bytes) = plans.blob_totals();
        gathering.gauge("skein_hub_plans", "Agents that have a plan.", &[], plans.agents().len() as f64);
        gathering.gauge("skein_hub_blobs", "Blobs that plans name.", &[], blobs as f64);
        gathering.gauge("skein_hub_blob_bytes", "Bytes of the blobs that plans name.", &[], bytes as f64);
    });
}

/// Milliseconds since the epoch as the API writes a time: whole seconds.
fn timestamp(millis: u64) -> Timestamp {
    let seconds = i64::try_from(millis / 1000).unwrap_or_default();
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The same as text.
pub(crate) fn since(millis: u64) -> String {
    timestamp(millis).to_string()
}
