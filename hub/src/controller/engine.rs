//! The deciding task: takes changes, finds whom they concern, plans, then writes statuses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use api::k0rdent::ServiceState;
use identity::Sealer;
use jiff::Timestamp;
use process::Process;
use protocol::id::{AgentId, RegionName};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Settings;
use super::cluster_deployment::ClusterPlan;
use super::events::Events;
use super::identities::Identities;
use super::later::Later;
use super::releases::Releases;
use super::seeds::Secrets;
use super::writer::Writer;
use crate::cache::view::{Interest, Reads};
use crate::cache::{Cache, Change, Key, Kind};
use crate::changes::Changes;
use crate::content::Sources;
use crate::explain::Question;
use crate::observed::Observed;
use crate::planner::helm::Helm;
use crate::planner::rendering::Bundles;
use crate::plans::PlanBook;
use crate::roster::{ObjectName, Roster, Standby};
use crate::services::resolve::Resolution;
use crate::services::target::{Target, TargetName};
use crate::state_management::adoption::{Adoption, management_cluster};

/// Statuses of objects that sum up many others are written no more often than this.
const SUM_PAUSE: Duration = Duration::from_millis(20);
/// And for each cluster summed up this much longer: a list of clusters is written whole, 200 bytes for each, and etcd keeps
/// every version until it is compacted. So such statuses make at most 1.6 MB a second, however many reports come.
const SUM_PAUSE_PER_CLUSTER: Duration = Duration::from_micros(125);
/// How long the status of what was just planned waits for its agent's word.
const PLANNED_PAUSE: Duration = Duration::from_millis(150);
/// Statuses decided before new changes are looked for.
const STATUS_BATCH: usize = 8;
/// Writes that may wait: while there are more, no status is decided. What is decided late is decided once, from the newest
/// that is known, and takes no memory meanwhile; and whatever is urgent never waits behind ten thousand writes.
const WRITES_MAX: usize = 256;

/// What the engine is made of.
pub(super) struct Parts {
    pub client: kube::Client,
    pub settings: Settings,
    pub sealer: Sealer,
    pub cache: Cache,
    pub roster: Roster,
    pub sources: Sources,
    pub plans: PlanBook,
    pub observed: Observed,
}

/// Whoever decides again when something it read changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    /// The plan of a target.
    Plan(TargetName),
    /// The status of an object.
    Status(Key),
}

/// What was decided for a target.
pub(super) struct TargetState {
    /// The target.
    pub target: Target,
    /// Its services; those that cannot be built have the unit they had before.
    pub resolution: Resolution,
    /// A ClusterDeployment's part in its region's plan.
    pub cluster: Option<ClusterPlan>,
    /// Why its plan is held back.
    pub held: Option<String>,
    /// States of the services of each set, once somebody asked.
    pub states: Option<Arc<Vec<Vec<ServiceState>>>>,
}

/// The deciding task's knowledge.
pub(super) struct Engine {
    pub settings: Settings,
    pub cache: Cache,
    pub roster: Roster,
    pub sources: Sources,
    pub plans: PlanBook,
    pub observed: Observed,
    pub writer: Writer,
    pub events: Events,
    pub identities: Identities,
    pub bundles: Bundles,
    /// Which revision of what has a rollout each target has.
    pub releases: Releases,
    pub targets: BTreeMap<TargetName, TargetState>,
    /// Which target a ServiceSet belongs to, and its place in the resolution.
    pub sets: HashMap<ObjectName, (TargetName, usize)>,
    /// Sets that nobody wants any more, by the target whose agent they wait for.
    pub leaving: HashMap<TargetName, BTreeSet<Key>>,
    /// Targets of each region.
    pub by_region: BTreeMap<RegionName, BTreeSet<TargetName>>,
    /// Targets that have a set of a MultiClusterService.
    pub by_service: HashMap<String, BTreeSet<TargetName>>,
    /// Why the plan of a region is held back.
    pub held: BTreeMap<RegionName, String>,
    readers: HashMap<Key, BTreeSet<Subject>>,
    reads: HashMap<Subject, Reads>,
    pub dirty_targets: BTreeSet<TargetName>,
    pub dirty_regions: BTreeSet<RegionName>,
    pub dirty_statuses: BTreeSet<Key>,
    /// The status decided last.
    turn: Option<Key>,
    /// Statuses that must wait a moment, and until when.
    pub later: Later,
    /// What is decided in a moment, unless something decides it before.
    pub coming: Later,
    /// When statuses that sum up others may be decided again.
    not_before: HashMap<Key, Instant>,
    pub seen: HashMap<AgentId, super::wakeups::Seen>,
    /// Sets of another k0rdent that are served.
    pub adoption: Adoption,
    /// What stands for the management cluster, where sets of another k0rdent are served.
    pub management: TargetName,
}

/// Starts the engine; its readiness guard falls when everything that was listed is planned.
pub(super) fn start(parts: Parts, questions: mpsc::Receiver<Question>, process: &Process) {
    let mut changes = parts.cache.subscribe();
    let mut agents = parts.observed.subscribe();
    let mut listed = parts.cache.watch(&parts.client, process);
    let planned = process.readiness.guard("objects planned");
    let mut engine = Engine::new(parts, process);
    let renders = engine.bundles.renders();
    process.metrics.source(move |gathering| {
        let count = renders.load(std::sync::atomic::Ordering::Relaxed) as f64;
        gathering.counter(
            "skein_renders_total",
            "Charts and manifests rendered, and not only remembered.",
            &[],
            count,
        );
    });
    let cancel = process.cancel.clone();
    process.spawn_vital("the hub's planning", async move {
        let run = async {
            listed.recv().await;
            engine.take(changes.take(), agents.take());
            engine.roster.completed();
            engine.plan();
            engine.register();
            drop(planned);
            engine.run(changes, agents, questions).await;
        };
        cancel.run_until_cancelled(run).await;
    });
}

impl Engine {
    fn new(parts: Parts, process: &Process) -> Self {
        let Parts { client, settings, sealer, cache, roster, sources, plans, observed } = parts;
        let writer = Writer::new(client.clone(), process);
        let helm = settings.helm.clone();
        let helm =
            helm.map(|binary| Helm::new(binary, settings.state_dir.join("helm"), cache.clone(), process));
        Self {
            writer: writer.clone(),
            events: Events::new(client.clone(), process),
            identities: Identities::new(client, cache.clone(), process),
            bundles: Bundles::new(Box::new(Secrets { cache: cache.clone(), writer }), sealer, helm),
            releases: Releases::default(),
            settings,
            cache,
            roster,
            sources,
            plans,
            observed,
            targets: BTreeMap::new(),
            sets: HashMap::new(),
            leaving: HashMap::new(),
            by_region: BTreeMap::new(),
            by_service: HashMap::new(),
            held: BTreeMap::new(),
            readers: HashMap::new(),
            reads: HashMap::new(),
            dirty_targets: BTreeSet::new(),
            dirty_regions: BTreeSet::new(),
            dirty_statuses: BTreeSet::new(),
            turn: None,
            later: Later::default(),
            coming: Later::default(),
            not_before: HashMap::new(),
            seen: HashMap::new(),
            adoption: Adoption::default(),
            management: management_cluster(),
        }
    }

    async fn run(
        &mut self,
        mut changes: Changes<Change>,
        mut agents: Changes<AgentId>,
        mut questions: mpsc::Receiver<Question>,
    ) {
        loop {
            self.plan();
            let mut count = 0;
            while !self.writer.is_full(WRITES_MAX)
                && let Some(key) = self.next_status()
            {
                self.status(&key);
                count += 1;
                if count % STATUS_BATCH == 0 {
                    // Others share the processor; and whatever they brought comes first if it is a plan.
                    tokio::task::yield_now().await;
                    self.take(changes.take(), agents.take());
                    self.plan();
                }
            }
            let due = self.later.next().into_iter().chain(self.coming.next()).min();
            let full = !self.dirty_statuses.is_empty();
            let writer = self.writer.clone();
            tokio::select! {
                biased;
                changed = changes.next() => self.take(changed, agents.take()),
                reported = agents.next() => self.take(changes.take(), reported),
                Some(question) = questions.recv() => self.answer(question),
                () = writer.room(WRITES_MAX), if full => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.due(),
            }
        }
    }

    /// The status that is decided next: in turn, so that none waits for ever behind those that change all the time.
    fn next_status(&mut self) -> Option<Key> {
        let after = self.turn.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.dirty_statuses.range((after, Bound::Unbounded)).next();
        let next = next.or_else(|| self.dirty_statuses.first()).cloned()?;
        self.dirty_statuses.remove(&next);
        self.coming.forget(&next);
        self.turn = Some(next.clone());
        Some(next)
    }

    /// Statuses whose time has come.
    fn due(&mut self) {
        let now = Instant::now();
        while let Some(key) = self.later.pop(now).or_else(|| self.coming.pop(now)) {
            self.dirty_statuses.insert(key);
        }
    }

    /// Decides a status in a moment, so that several changes in a row cost one write.
    pub(super) fn soon(&mut self, key: Key) {
        self.coming.no_later_than(key, Instant::now() + SUM_PAUSE);
    }

    /// Decides the status of what was just planned, unless its agent reports before: then at once. What is through
    /// in a moment costs one write, and not another one that says that it is on its way.
    pub(super) fn planned(&mut self, key: Key) {
        self.coming.no_later_than(key, Instant::now() + PLANNED_PAUSE);
    }

    /// Decides a status of an object that sums up many others: at once, but not again within a moment.
    pub(super) fn sum(&mut self, key: Key) {
        let now = Instant::now();
        match self.not_before.get(&key).copied().filter(|at| *at > now) {
            Some(at) => {
                self.later.no_later_than(key, at);
            }
            None => {
                self.dirty_statuses.insert(key);
            }
        }
    }

    /// A sum over so many clusters was decided and took this long: sums never take more than a fifth of the time.
    pub(super) fn summed(&mut self, key: Key, took: Duration, clusters: usize) {
        let size = SUM_PAUSE_PER_CLUSTER * u32::try_from(clusters).unwrap_or(u32::MAX);
        self.not_before.insert(key, Instant::now() + SUM_PAUSE.max(took * 4).max(size));
    }

    /// Decides a status at a moment.
    pub(super) fn at(&mut self, key: Key, when: Timestamp) {
        let wait = when.duration_since(Timestamp::now());
        let wait = Duration::try_from(wait).unwrap_or_default().min(Duration::from_secs(86_400));
        self.later.no_later_than(key, Instant::now() + wait);
    }

    /// Finds whom changes concern.
    pub(super) fn take(&mut self, changes: BTreeSet<Change>, agents: BTreeSet<AgentId>) {
        // The roster first: everything else asks it.
        for change in &changes {
            self.enlist(&change.key);
        }
        for change in changes {
            self.changed(&change);
        }
        for agent in agents {
            self.reported(&agent);
        }
    }

    fn enlist(&self, key: &Key) {
        if key.kind == Kind::Edge {
            match self.cache.edges.get(&key.namespace, &key.name) {
                Some(edge) => self.roster.put_edge(&edge),
                None => self.roster.remove_edge(&key.namespace, &key.name),
            }
        } else if let Some(region) = self.recorded(key) {
            self.roster.set_region(region.as_str(), self.has_record(key));
        } else if key.kind == Kind::Region && self.settings.serving.is_none() {
            let region = self.cache.regions.get("", &key.name);
            self.roster.set_region(&key.name, region.is_some());
            let standby = region.and_then(|region| {
                let named = region.spec.standby.as_ref()?.parse().ok()?;
                Some(Standby { region: named, active: region.spec.lost })
            });
            self.roster.set_standby(&key.name, standby);
        }
    }

    /// Whoever read it decides again.
    pub(super) fn wake(&mut self, key: &Key) {
        for subject in self.readers.get(key).into_iter().flatten().cloned() {
            let interest = self.reads.get(&subject).and_then(|read| read.get(key));
            if interest.is_some_and(|interest| !interest.concerns(&self.cache, key)) {
                continue;
            }
            match subject {
                Subject::Plan(target) => {
                    self.dirty_targets.insert(target);
                }
                Subject::Status(key) => {
                    self.dirty_statuses.insert(key);
                }
            }
        }
    }

    /// Remembers what a decision read.
    pub(super) fn record(&mut self, subject: Subject, read: Reads) {
        let before = self.reads.get(&subject).cloned().unwrap_or_default();
        if before == read {
            return;
        }
        for key in before.keys().filter(|key| !read.contains_key(*key)) {
            if let Some(readers) = self.readers.get_mut(key) {
                readers.remove(&subject);
                if readers.is_empty() {
                    self.readers.remove(key);
                }
            }
        }
        for key in read.keys().filter(|key| !before.contains_key(*key)) {
            self.readers.entry(key.clone()).or_default().insert(subject.clone());
        }
        if read.is_empty() {
            self.reads.remove(&subject);
        } else {
            self.reads.insert(subject, read);
        }
    }

    /// What a plan was decided from: a change of any of it decides again.
    pub(super) fn watched(&self, target: &TargetName) -> Vec<String> {
        let reads = self.reads.get(&Subject::Plan(target.clone()));
        let told = reads.into_iter().flatten().map(|(key, interest)| {
            let name = if key.kind == Kind::FetchedChart {
                format!("source {} of {}", key.name, key.namespace)
            } else {
                key.to_string()
            };
            match interest {
                Interest::Whole => name,
                Interest::Parts(parts) => {
                    let parts: Vec<_> = parts.keys().map(ToString::to_string).collect();
                    format!("{name}, of it {}", parts.join(", "))
                }
            }
        });
        told.collect()
    }

    /// The time now as the API keeps it.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}
