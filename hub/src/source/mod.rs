//! Where charts come from: repositories over HTTP and OCI registries, fetched by the hub itself.
//!
//! Whoever needs a chart asks for it; the first question starts following it: it is fetched, verified, read, kept by
//! digest, looked for again at its interval, and every change is announced. What was good stays in force while a
//! source fails, and the failure says since when. Archives are kept on disk as a cache, so that a hub that restarts
//! while a source is away can still plan.

mod archives;
pub mod flux;
mod follow;
mod http;
mod oci;
mod repository;
pub mod version;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use process::Process;
use protocol::UnixMillis;
use tokio::sync::watch;

pub use http::FetchError;

use crate::cache::{Cache, Key, Kind};
use crate::plans::Clock;

/// Which chart is wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChartRequest {
    /// Namespace of the repository object.
    pub namespace: String,
    /// Name of the repository object.
    pub repository: String,
    /// Name of the chart.
    pub chart: String,
    /// Version or range.
    pub version: String,
}

impl ChartRequest {
    /// The key under which changes are announced.
    pub fn key(&self) -> Key {
        let name = format!("{}/{}@{}", self.repository, self.chart, self.version);
        Key::new(Kind::FetchedChart, &self.namespace, &name)
    }
}

/// Where a chart comes from, as the repository object says now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Repository {
    /// `http://`, `https://` or `oci://`.
    pub url: String,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// Send the credentials to other hosts that the index names.
    pub pass_credentials: bool,
    /// An OCI registry that speaks plain HTTP.
    pub insecure: bool,
    /// How often to look for changes.
    pub interval: Duration,
    /// Changes when somebody asks for a fetch now.
    pub requested: String,
}

/// A packed chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its version.
    pub version: String,
    /// SHA-256 in hexadecimal.
    pub digest: String,
    /// The `.tgz`.
    pub content: Bytes,
}

/// A chart that was fetched and read.
#[derive(Debug)]
pub struct FetchedChart {
    /// Its version.
    pub version: String,
    /// SHA-256 of the archive in hexadecimal.
    pub digest: String,
    /// Bytes of the archive.
    pub bytes: u64,
    /// The chart.
    pub chart: render::Chart,
}

/// What is known of a chart.
#[derive(Debug, Clone, Default)]
pub struct ChartState {
    /// The newest that is good.
    pub chart: Option<Arc<FetchedChart>>,
    /// Why there is no newer one.
    pub failure: Option<Failure>,
}

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub message: String,
    /// Since when.
    pub since: UnixMillis,
}

/// All charts that anybody asked for. Clones share the content.
#[derive(Clone)]
pub struct Sources(Arc<Shared>);

struct Shared {
    follower: follow::Follower,
    charts: Mutex<HashMap<ChartRequest, Entry>>,
    process: Process,
    cache: Cache,
    clock: Clock,
}

struct Entry {
    state: ChartState,
    repository: watch::Sender<Repository>,
}

impl Sources {
    /// Nothing asked for yet. `state` is a folder for cached archives.
    ///
    /// # Errors
    /// [`FetchError`] when no HTTP client can be made.
    pub fn new(state: PathBuf, cache: Cache, clock: Clock, process: &Process) -> Result<Self, FetchError> {
        Ok(Self(Arc::new(Shared {
            follower: follow::Follower::new(state)?,
            charts: Mutex::default(),
            process: process.clone(),
            cache,
            clock,
        })))
    }

    /// What is known of a chart now; the first question starts following it.
    pub fn chart(&self, request: &ChartRequest, repository: &Repository) -> ChartState {
        let mut charts = self.lock();
        if let Some(entry) = charts.get(request) {
            entry.repository.send_if_modified(|known| {
                let changed = known != repository;
                known.clone_from(repository);
                changed
            });
            return entry.state.clone();
        }
        let (sender, receiver) = watch::channel(repository.clone());
        let kept = self.0.follower.kept(request, repository);
        let state = ChartState { chart: kept, failure: None };
        charts.insert(request.clone(), Entry { state: state.clone(), repository: sender });
        drop(charts);
        let (sources, request) = (self.clone(), request.clone());
        self.0.process.tasks.spawn(async move {
            let cancel = sources.0.process.cancel.clone();
            cancel.run_until_cancelled(follow::follow(&sources, &request, receiver)).await;
        });
        state
    }

    /// Charts that are followed, and how many of them fail.
    pub fn totals(&self) -> (usize, usize) {
        let charts = self.lock();
        (charts.len(), charts.values().filter(|entry| entry.state.failure.is_some()).count())
    }

    /// Takes over the outcome of a fetch and announces it when it is another one.
    fn settle(&self, request: &ChartRequest, outcome: Result<Arc<FetchedChart>, FetchError>) {
        let mut charts = self.lock();
        let Some(entry) = charts.get_mut(request) else { return };
        let changed = match outcome {
            Ok(chart) => {
                let same = entry.state.chart.as_ref().is_some_and(|known| known.digest == chart.digest);
                let healed = entry.state.failure.take().is_some();
                if !same {
                    tracing::info!(
                        chart = %request.chart, version = %chart.version, digest = %chart.digest, "chart fetched"
                    );
                    entry.state.chart = Some(chart);
                }
                !same || healed
            }
            Err(error) => {
                let message = error.to_string();
                let known = entry.state.failure.as_ref();
                let changed = known.is_none_or(|failure| failure.message != message);
                if changed {
                    tracing::warn!(chart = %request.chart, %error, "chart not fetched");
                    let since = known.map_or_else(|| (self.0.clock)(), |failure| failure.since);
                    entry.state.failure = Some(Failure { message, since });
                }
                changed
            }
        };
        drop(charts);
        if changed {
            self.0.cache.announce(request.key());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChartRequest, Entry>> {
        self.0.charts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
