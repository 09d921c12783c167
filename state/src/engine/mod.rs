//! The engine: one task that knows what is wanted and what is there, and lets workers close the difference.
//!
//! ```text
//!  offer ──> store ──> plan ──┐                    ┌──> worker (apply, hooks, remove) ──> API server
//!                             ├──> engine ─────────┤          │
//!  watches ──> sightings ─────┤      │             └──> view (reports)
//!  workers ──> news ──────────┘      └──> store (inventory, states)
//! ```
//!
//! Level-triggered: every input only changes what is known, then the same two questions are asked of each
//! unit concerned: what does it amount to (`assess`), and is a step due (`schedule`). After a restart all
//! inputs come again by themselves: the plan from the store, the objects from the watches.
//!
//! # Why one task
//! All decisions are taken in one place without locks or awaits, so they are in one order; only workers,
//! watches and the store's thread wait for anything, and they are told apart from the task by channels.

mod activate;
mod announce;
mod ask;
mod dry_run;
mod fight;
mod flap;
mod hold;
mod mounts;
mod news;
mod observe;
mod others;
mod record;
mod rollback;
mod schedule;
mod slot;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::UnixMillis;
use protocol::id::Generation;
use protocol::message::PlanHead;
use protocol::plan::{PlanBody, UnitId};
use protocol::report::ClusterReport;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::api::Api;
use crate::backoff;
use crate::board::Board;
use crate::config::Config;
use crate::discovery::Discovery;
use crate::events::{Events, Recorder, Reporter};
use crate::handle::EngineHandle;
use crate::local::Local;
use crate::object::{ObjectId, Resource};
use crate::store::{Row, Store, StoreError};
use crate::view::View;
use crate::watcher::{Sighting, Watcher};
use crate::worker::{Context, News};
use slot::Slot;

/// Workers at once: keeps the load on a small API server bounded.
const WORKERS_CONCURRENT: usize = 8;
/// Sightings and news that may queue; senders wait beyond.
const QUEUE: usize = 64;
const PROBE_BASE: Duration = Duration::from_millis(100);
const PROBE_CAP: Duration = Duration::from_secs(15);

/// Why an engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state file cannot be used.
    #[error("failed to start the state engine")]
    Store(#[source] StoreError),
}

/// A plan that was stored just now.
pub(crate) struct Accepted {
    pub(crate) head: PlanHead,
    pub(crate) plan: Plan,
    /// Who offered it.
    pub(crate) story: Span,
}

/// What is wanted, and until when it may be begun.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) body: PlanBody,
    pub(crate) not_after: Option<UnixMillis>,
}

/// What the owner of the cluster allows, or why that is not understood.
pub(crate) type Allowed = Arc<Result<Local, String>>;

/// Turns the desired state of one cluster into its actual state.
pub struct Engine {
    context: Arc<Context>,
    view: Arc<View>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    head: Option<PlanHead>,
    applied: Option<Generation>,
    slots: BTreeMap<u32, Slot>,
    names: BTreeMap<UnitId, u32>,
    next_slot: u32,
    next_run: u64,
    /// Where each object belongs.
    index: BTreeMap<Arc<ObjectId>, (u32, usize)>,
    /// Inventory that no object of the plan has claimed yet, because its kind is not known.
    unclaimed: BTreeMap<ObjectId, Row>,
    watches: BTreeMap<(String, String), CancellationToken>,
    /// Kinds of which the watch has told something.
    told: BTreeSet<(String, String)>,
    /// Kinds that may not be watched, and why.
    blind: BTreeMap<(String, String), Arc<str>>,
    sightings: mpsc::Sender<Sighting>,
    wake: Arc<Notify>,
    cluster: ClusterReport,
    /// Whether the API server answers; unknown at first.
    reachable: Option<bool>,
    probing: bool,
    nodes: BTreeMap<String, bool>,
    probes: mpsc::Sender<String>,
    /// When blobs that are past are deleted.
    collect_at: Option<Instant>,
    /// The newest plan, while something of it is held back.
    deferred: Option<hold::Deferred>,
    /// What the owner of the cluster allows.
    local: Allowed,
    allowed: watch::Receiver<Allowed>,
    /// Which workloads use which ConfigMaps and Secrets.
    mounts: mounts::Mounts,
    /// Kinds that health rules name.
    sought: others::Sought,
    /// What people on the cluster are told.
    events: Events,
    /// Which units they were told to wait, and why.
    told_waits: BTreeMap<UnitId, String>,
    /// Open while a plan is being carried out.
    story: Span,
}

/// Where inputs come from.
struct Inputs {
    accepted: mpsc::UnboundedReceiver<Accepted>,
    news: mpsc::Receiver<News>,
    sightings: mpsc::Receiver<Sighting>,
    probes: mpsc::Receiver<String>,
}

impl Engine {
    /// Opens the store, takes up the plan that is in it, and goes on with it. Tasks end when `cancel` is
    /// cancelled; whatever they were doing then is taken up again by the next start.
    ///
    /// # Errors
    /// [`StartError`] when the state file cannot be opened or read.
    pub async fn start(
        config: Config,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<EngineHandle, StartError> {
        let (store, closed) = Store::open(&config.store).map_err(StartError::Store)?;
        tasks.spawn(async move {
            // Shutdown is complete when the file is closed.
            let _ = closed.await;
        });
        Self::launch(config, store, tasks, cancel).await
    }

    /// Starts with an open store.
    pub(crate) async fn launch(
        config: Config,
        store: Store,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) -> Result<EngineHandle, StartError> {
        let plan = store.plan().await.map_err(StartError::Store)?;
        let (units, rows) = store.inventory().await.map_err(StartError::Store)?;
        let (news, news_in) = mpsc::channel(QUEUE);
        let (sightings, sightings_in) = mpsc::channel(QUEUE);
        let (probes, probes_in) = mpsc::channel(1);
        let (accepted, accepted_in) = mpsc::unbounded_channel();
        let local: Allowed = Arc::new(config.local);
        let (allow, allowed) = watch::channel(Arc::clone(&local));
        let view = Arc::new(View::default());
        let (events, waiting) = Events::new(Arc::clone(&view));
        let reporter = Reporter::new(&config.agent, config.instance);
        let context = Context {
            api: Api::new(config.client, config.field_manager),
            store: store.clone(),
            discovery: Discovery::default(),
            board: Arc::new(Board::default()),
            agent: config.agent.to_string(),
            clock: Arc::clone(&config.clock),
            opener: config.opener,
            news,
        };
        let context = Arc::new(context);
        let (shared, delay) = (Arc::clone(&context), config.events_delay);
        let recorder = Recorder::new(shared, Arc::clone(&view), waiting, reporter, delay);
        tasks.spawn(cancel.clone().run_until_cancelled_owned(recorder.run()));
        let mut engine = Self {
            context: Arc::clone(&context),
            view: Arc::clone(&view),
            tasks: tasks.clone(),
            cancel: cancel.clone(),
            head: None,
            applied: None,
            slots: BTreeMap::new(),
            names: BTreeMap::new(),
            next_slot: 1,
            next_run: 1,
            index: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            watches: BTreeMap::new(),
            told: BTreeSet::new(),
            blind: BTreeMap::new(),
            sightings,
            wake: Arc::new(Notify::new()),
            cluster: ClusterReport::default(),
            reachable: None,
            probing: false,
            nodes: BTreeMap::new(),
            probes,
            collect_at: None,
            deferred: None,
            local,
            allowed,
            mounts: mounts::Mounts::default(),
            sought: others::Sought::default(),
            events,
            told_waits: BTreeMap::new(),
            story: Span::none(),
        };
        engine.resume(plan, units, rows);
        let inputs =
            Inputs { accepted: accepted_in, news: news_in, sightings: sightings_in, probes: probes_in };
        tasks.spawn(cancel.run_until_cancelled_owned(engine.run(inputs)));
        Ok(EngineHandle::new(config.agent, config.verifier, context, view, accepted, allow))
    }

    /// The loop: one input at a time, plans first.
    async fn run(mut self, mut inputs: Inputs) {
        self.watch(&Arc::new(node_resource()));
        self.probe();
        self.schedule();
        self.view.turn_over();
        loop {
            let timer = self.next_timer();
            tokio::select! {
                biased;
                Some(accepted) = inputs.accepted.recv() => self.activate(accepted),
                Ok(()) = self.allowed.changed() => self.allow(),
                Some(news) = inputs.news.recv() => self.hear(news),
                Some(version) = inputs.probes.recv() => self.reached(version),
                Some(sighting) = inputs.sightings.recv() => self.observe(sighting),
                () = sleep_until(timer) => self.tick(),
            }
            self.schedule();
            self.view.turn_over();
        }
    }

    /// Watches a kind, unless it is watched.
    fn watch(&mut self, resource: &Arc<Resource>) {
        let key = (resource.group.clone(), resource.kind.clone());
        if self.watches.contains_key(&key) {
            return;
        }
        let all = key == (String::new(), "Node".to_owned())
            || self.mounts.of_kind(&key.1)
            || self.sought.names(&key.0, &key.1);
        let watcher = Watcher {
            api: self.context.api.clone(),
            resource: Arc::clone(resource),
            all,
            board: Arc::clone(&self.context.board),
            sightings: self.sightings.clone(),
            wake: Arc::clone(&self.wake),
            refused: false,
        };
        let cancel = self.cancel.child_token();
        self.tasks.spawn(cancel.clone().run_until_cancelled_owned(watcher.run()));
        self.watches.insert(key, cancel);
    }

    /// Ends watches of kinds that nothing is of any more. A worker may wait for what a watch sees, so not while
    /// one is at work.
    fn unwatch(&mut self) {
        if self.slots.values().any(|slot| slot.running.is_some()) {
            return;
        }
        let used: BTreeSet<(&str, &str)> =
            self.index.keys().map(|id| (id.group.as_str(), id.kind.as_str())).collect();
        let records = self.has_records();
        let (told, blind, mounts, sought) = (&mut self.told, &mut self.blind, &self.mounts, &self.sought);
        self.watches.retain(|(group, kind), cancel| {
            let keep = used.contains(&(group.as_str(), kind.as_str()))
                || sought.names(group, kind)
                || (group.is_empty()
                    && (kind == "Node" || mounts.of_kind(kind) || kind == "Secret" && records));
            if !keep {
                cancel.cancel();
                told.remove(&(group.clone(), kind.clone()));
                blind.remove(&(group.clone(), kind.clone()));
            }
            keep
        });
    }

    /// The API server does not answer: units keep their state until it does.
    fn lost(&mut self, reason: &str) {
        if self.reachable != Some(false) {
            tracing::warn!(reason, "the API server does not answer");
        }
        self.reachable = Some(false);
        self.cluster.reachable = false;
        self.view.show_cluster(&self.cluster);
        self.probe();
    }

    /// Asks the API server for its version until it answers.
    fn probe(&mut self) {
        if self.probing {
            return;
        }
        self.probing = true;
        let (context, probes) = (Arc::clone(&self.context), self.probes.clone());
        let asking = async move {
            let mut failures = 0;
            loop {
                match context.api.version().await {
                    Ok(version) => {
                        // A closed channel means that the engine ends.
                        let _ = probes.send(version).await;
                        return;
                    }
                    Err(error) => tracing::debug!(%error, "the API server does not tell its version"),
                }
                tokio::time::sleep(backoff::delay(PROBE_BASE, PROBE_CAP, failures, &context.agent)).await;
                failures += 1;
            }
        };
        self.tasks.spawn(self.cancel.clone().run_until_cancelled_owned(asking));
    }

    /// The API server answers.
    fn reached(&mut self, version: String) {
        self.probing = false;
        if self.reachable == Some(false) {
            tracing::info!(version, "the API server answers again");
            self.wake.notify_waiters();
            for slot in self.slots.values_mut() {
                slot.retry_at = None;
            }
        }
        self.reachable = Some(true);
        self.cluster.reachable = true;
        self.cluster.kubernetes_version = version;
        self.view.show_cluster(&self.cluster);
    }
}

fn node_resource() -> Resource {
    Resource {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "Node".to_owned(),
        plural: "nodes".to_owned(),
        namespaced: false,
    }
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
