//! All sources that anybody asked for, and what is known of each.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::artifact::Artifact;
use crate::error::SourceError;
use crate::fetch::Fetcher;
use crate::follow;
use crate::limits::Limits;
use crate::origin::Source;

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
/// Tells that what is known of a source is another thing now.
pub type Announce = Arc<dyn Fn(&Name) + Send + Sync>;
/// Says whether its users can do anything with an artifact; if not, why.
pub type Inspect = Arc<dyn Fn(&Name, &Artifact) -> Result<(), String> + Send + Sync>;

/// Intervals without a question after which askers are reminded; after one more the source is let go.
const UNASKED_MAX: u32 = 6;

/// What a source is called by those who ask for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Namespace of whoever describes the source.
    pub namespace: String,
    /// Kind and name of whoever describes it, and what of it is wanted.
    pub name: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known of a source.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The newest that is good.
    pub artifact: Option<Arc<Artifact>>,
    /// Why there is no newer one.
    pub failure: Option<Failure>,
}

/// Why something could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub message: String,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
}

/// What [`Sources`] works with.
pub struct Settings {
    /// A folder for cached artifacts and for git to work in.
    pub folder: PathBuf,
    /// What nothing may exceed.
    pub limits: Limits,
    /// The time.
    pub clock: Clock,
    /// Who hears of changes.
    pub announce: Announce,
    /// Who judges artifacts; a refused one counts as a failed fetch.
    pub inspect: Inspect,
}

/// All sources that anybody asked for. Clones share the content.
#[derive(Clone)]
pub struct Sources(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) fetcher: Fetcher,
    pub(crate) inspect: Inspect,
    announce: Announce,
    clock: Clock,
    entries: Mutex<HashMap<Name, Entry>>,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

struct Entry {
    state: State,
    description: watch::Sender<Source>,
    /// Intervals since somebody asked.
    unasked: u32,
}

impl Sources {
    /// Nothing asked for yet. Every source becomes a task of `tasks` until `cancel`.
    pub fn new(settings: Settings, tasks: &TaskTracker, cancel: &CancellationToken) -> Self {
        let Settings { folder, limits, clock, announce, inspect } = settings;
        Self(Arc::new(Shared {
            fetcher: Fetcher::new(&folder, limits, clock.clone()),
            inspect,
            announce,
            clock,
            entries: Mutex::default(),
            tasks: tasks.clone(),
            cancel: cancel.clone(),
        }))
    }

    /// What is known of a source now; the first question starts following it, a new description fetches at once.
    pub fn ask(&self, name: &Name, source: &Source) -> State {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(name) {
            entry.unasked = 0;
            entry.description.send_if_modified(|known| {
                let changed = known != source;
                known.clone_from(source);
                changed
            });
            return entry.state.clone();
        }
        let kept = self.0.fetcher.store.load(&name.to_string(), &follow::fingerprint(source));
        let (artifact, known) = kept.unzip();
        // What the limits or the reader of today refuse is no use, however good it was.
        let artifact = artifact.filter(|artifact| (self.0.inspect)(name, artifact).is_ok()).map(Arc::new);
        let known = known.flatten().filter(|_| artifact.is_some());
        let state = State { artifact, failure: None };
        let (sender, receiver) = watch::channel(source.clone());
        entries.insert(name.clone(), Entry { state: state.clone(), description: sender, unasked: 0 });
        drop(entries);
        let (sources, name) = (self.clone(), name.clone());
        self.0.tasks.spawn(async move {
            let cancel = sources.0.cancel.clone();
            cancel.run_until_cancelled(follow::follow(&sources, &name, receiver, known)).await;
        });
        state
    }

    /// What is known of a source now, without asking for more.
    pub fn known(&self, name: &Name) -> State {
        self.lock().get(name).map(|entry| entry.state.clone()).unwrap_or_default()
    }

    /// Sources that are followed, and how many of them fail.
    pub fn totals(&self) -> (usize, usize) {
        let entries = self.lock();
        (entries.len(), entries.values().filter(|entry| entry.state.failure.is_some()).count())
    }

    /// Takes over the outcome of a fetch (`None`: nothing new) and announces it when it is another one.
    pub(crate) fn settle(&self, name: &Name, outcome: Result<Option<Arc<Artifact>>, SourceError>) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(name) else { return };
        let changed = match outcome {
            Ok(artifact) => {
                let healed = entry.state.failure.take().is_some();
                let new = artifact
                    .filter(|artifact| entry.state.artifact.as_ref().is_none_or(|known| known != artifact));
                let changed = new.is_some();
                if let Some(artifact) = new {
                    tracing::info!(
                        source = %name, revision = %artifact.revision, digest = %artifact.digest, "source fetched"
                    );
                    entry.state.artifact = Some(artifact);
                }
                changed || healed
            }
            Err(error) => self.failed(name, entry, error.to_string()),
        };
        drop(entries);
        if changed {
            (self.0.announce)(name);
        }
    }

    /// What was fetched before stays; where there is nothing, that is told.
    pub(crate) fn suspended(&self, name: &Name) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(name) else { return };
        let changed = if entry.state.artifact.is_some() {
            entry.state.failure.take().is_some()
        } else {
            let message = "the source is suspended and was never fetched: set suspend to false";
            self.failed(name, entry, message.to_owned())
        };
        drop(entries);
        if changed {
            (self.0.announce)(name);
        }
    }

    fn failed(&self, name: &Name, entry: &mut Entry, message: String) -> bool {
        let known = entry.state.failure.as_ref();
        if known.is_some_and(|failure| failure.message == message) {
            return false;
        }
        tracing::warn!(source = %name, why = %message, "source not fetched");
        let since = known.map_or_else(|| (self.0.clock)(), |failure| failure.since);
        entry.state.failure = Some(Failure { message, since });
        true
    }

    /// Whether to go on following. Who decides by what it read asks again only when something changes: so askers are
    /// reminded by an announcement before a source is let go.
    pub(crate) fn still_wanted(&self, name: &Name) -> bool {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(name) else { return false };
        entry.unasked += 1;
        let unasked = entry.unasked;
        if unasked > UNASKED_MAX {
            entries.remove(name);
            drop(entries);
            tracing::info!(source = %name, "nobody asks for the source any more");
            self.0.fetcher.store.forget(&name.to_string());
            return false;
        }
        drop(entries);
        if unasked == UNASKED_MAX {
            (self.0.announce)(name);
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
