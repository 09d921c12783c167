//! What the hub makes of artifacts: charts that are read, trees and manifests, each once for all who use it.
//!
//! The crate `source` fetches, verifies and keeps; [`describe`] turns API objects into its plain descriptions; the
//! shelf holds charts that were read. What was good stays in force while a source fails, or brings what cannot be read.

pub mod describe;
pub mod flux;
mod kustomization;
pub mod lfs;
pub mod remote_base;
mod shelf;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use process::Process;
use protocol::UnixMillis;
use source::{Announce, Inspect};
pub use source::{Failure, Name, State};

use crate::cache::{Cache, Key, Kind};
use crate::plans::Clock;
pub use kustomization::{KUSTOMIZATIONS, Kustomization, Manifests, is_kustomization};
use shelf::Shelf;
pub use shelf::{FetchedChart, Wish};

/// Names of sources whose artifacts are packed charts begin so.
const CHARTS: &str = "HelmRepository/";

/// What is known of a chart.
#[derive(Debug, Clone, Default)]
pub struct ChartState {
    /// The newest that is good.
    pub chart: Option<Arc<FetchedChart>>,
    /// Why there is no newer one.
    pub failure: Option<Failure>,
}

/// All sources that anybody asked for. Clones share the content.
#[derive(Clone)]
pub struct Sources {
    sources: source::Sources,
    shelf: Arc<Shelf>,
    clock: Clock,
    remote_bases: bool,
    /// Sources that cannot be described, and since when.
    undescribed: Arc<Mutex<HashMap<Name, Failure>>>,
    /// Health rules that were read.
    pub health_rules: crate::services::health::Remembered,
}

impl Sources {
    /// Nothing asked for yet. `state` is a folder for cached artifacts.
    pub fn new(state: PathBuf, cache: Cache, clock: Clock, process: &Process) -> Self {
        let shelf = Arc::new(Shelf::new(state.join("good")));
        let reading = shelf.clone();
        // A packed chart that cannot be read counts as not fetched: the one before stays, also over a restart.
        let inspect: Inspect = Arc::new(move |name, artifact| {
            if name.name.starts_with(CHARTS) {
                reading.chart(artifact, &Wish::default()).map(drop)?;
            }
            Ok(())
        });
        let announce: Announce = Arc::new(move |name| cache.announce(key(name)));
        let limits = source::Limits::default();
        let settings = source::Settings { folder: state, limits, clock: clock.clone(), announce, inspect };
        let sources = source::Sources::new(settings, &process.tasks, &process.cancel);
        Self {
            sources,
            shelf,
            clock,
            remote_bases: false,
            undescribed: Arc::default(),
            health_rules: Default::default(),
        }
    }

    /// Whether kustomizations may name bases elsewhere.
    pub fn allowing_remote_bases(self, remote_bases: bool) -> Self {
        Self { remote_bases, ..self }
    }

    /// Whether kustomizations may name bases elsewhere.
    pub fn allows_remote_bases(&self) -> bool {
        self.remote_bases
    }

    /// What is known of a source; a description that cannot be made is a failure like any other.
    pub fn ask(&self, name: &Name, source: &Result<source::Source, String>) -> State {
        let mut undescribed = self.undescribed.lock().unwrap_or_else(PoisonError::into_inner);
        match source {
            Ok(source) => {
                undescribed.remove(name);
                drop(undescribed);
                self.sources.ask(name, source)
            }
            Err(message) => {
                let since = undescribed.get(name).map_or_else(|| (self.clock)(), |failure| failure.since);
                let failure = Failure { message: message.clone(), since };
                undescribed.insert(name.clone(), failure.clone());
                State { failure: Some(failure), ..self.sources.known(name) }
            }
        }
    }

    /// What is known of a source, without asking for more.
    pub fn known(&self, name: &Name) -> State {
        self.sources.known(name)
    }

    /// The chart in what is known of a source.
    pub fn chart(&self, name: &Name, state: State, wish: &Wish) -> ChartState {
        let State { artifact, failure } = state;
        let Some(artifact) = artifact else { return ChartState { chart: None, failure } };
        let (chart, unread) = self.shelf.chart_or_last(name, &artifact, wish, &self.clock);
        ChartState { chart, failure: failure.or(unread) }
    }

    /// The files of what is known of a source, below a folder.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub fn files(&self, artifact: &source::Artifact, folder: &str) -> Result<Arc<source::Tree>, String> {
        self.shelf.files(artifact, folder)
    }

    /// A kustomization as it was last good, what it builds to, and why there is nothing newer.
    ///
    /// # Errors
    /// Why it cannot be built, where it never could.
    pub fn kustomization(
        &self,
        wanted: Kustomization,
    ) -> Result<(Kustomization, Arc<Manifests>, Option<Failure>), String> {
        self.shelf.kustomization_or_last(wanted, &self.clock)
    }

    /// What a kustomization builds to in a namespace.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub fn built(&self, wanted: &Kustomization, namespace: &str) -> Result<Arc<Manifests>, String> {
        self.shelf.built(wanted, Some(namespace))
    }

    /// The files of an object by a key that changes with it, made when nobody asked before.
    ///
    /// # Errors
    /// Why they cannot be made.
    pub fn files_by_key(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<Arc<source::Tree>, String>,
    ) -> Result<Arc<source::Tree>, String> {
        self.shelf.files_by_key(key, make)
    }

    /// Sources that are followed, and how many of them fail.
    pub fn totals(&self) -> (usize, usize) {
        self.sources.totals()
    }
}

/// The key under which changes of a source are announced.
pub fn key(name: &Name) -> Key {
    Key::new(Kind::FetchedChart, &name.namespace, &name.name)
}

/// A failure for a person: why and since when.
pub fn told(failure: &Failure) -> String {
    format!("{} (since {})", failure.message, when(failure.since))
}

fn when(since: UnixMillis) -> String {
    let milliseconds = i64::try_from(since).unwrap_or_default();
    jiff::Timestamp::from_millisecond(milliseconds)
        .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}
