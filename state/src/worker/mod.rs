//! Workers carry out one step of one unit: apply, run hooks, remove. They hold no state that matters: a
//! worker may end at any await, as in a crash, and the next one goes on from what is stored and what the
//! cluster has. One that is called off finishes the requests it has made, so that their outcome is known,
//! and makes no more.

mod apply;
mod compare;
mod hook;
mod inherit;
mod preview;
mod prune;
mod record;
mod reload;
mod secrecy;
mod why;
mod write;

use std::sync::Arc;
use std::time::Duration;

use protocol::UnixMillis;
use protocol::id::Digest;
use protocol::plan::{HookEvent, Unit};
use protocol::policy::Leeways;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use preview::Preview;
pub(crate) use why::has_pods;

use crate::api::{Api, ApiError, Failure};
use crate::board::Board;
use crate::config::{Clock, Open};
use crate::discovery::Discovery;
use crate::health::Judgement;
use crate::live::Fields;
use crate::object::{ObjectId, Owner, Place, Resource};
use crate::rules::Rules;
use crate::store::{Row, Store, StoreError};

/// Requests of one worker in flight at once.
const CALLS_CONCURRENT: usize = 8;
/// How long a worker waits for a deleted object to vanish before it gives its turn to others.
const REMOVAL_WAIT: Duration = Duration::from_secs(30);

/// What workers work with.
pub(crate) struct Context {
    pub(crate) api: Api,
    pub(crate) store: Store,
    pub(crate) discovery: Discovery,
    pub(crate) board: Arc<Board>,
    pub(crate) agent: String,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) opener: Arc<dyn Open>,
    pub(crate) news: mpsc::Sender<News>,
}

impl Context {
    fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Asks for a watch of this kind, before something is waited for.
    pub(crate) async fn watch(&self, resource: &Arc<Resource>) {
        let news = News { slot: 0, run: 0, event: Event::Watch(Arc::clone(resource)) };
        // A closed channel means that the engine ends, and this worker with it.
        let _ = self.news.send(news).await;
    }

    /// What a plan names by this digest, opened. On disk it stays sealed.
    async fn content(&self, digest: Digest) -> Result<Content, Trouble> {
        match self.store.blob(digest).await {
            Ok(Some(bytes)) if protocol::sealed::is_sealed(&bytes) => match self.opener.open(&bytes) {
                Ok(opened) => Ok(Content { json: opened.into(), sealed: true }),
                Err(error) => Err(Trouble::Failed(format!("sealed content {digest} does not open: {error}"))),
            },
            Ok(Some(json)) => Ok(Content { json, sealed: false }),
            Ok(None) => Err(Trouble::Failed(format!("blob {digest} is missing in the state file"))),
            Err(error) => Err(Trouble::Failed(error.to_string())),
        }
    }
}

/// The content of a blob.
struct Content {
    /// The object.
    json: bytes::Bytes,
    /// Whether it came sealed, so that nothing of it may be told.
    sealed: bool,
}

/// An object to write or to look at.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Its index in the unit.
    pub(crate) index: usize,
    pub(crate) place: Place,
    pub(crate) digest: Digest,
    /// Its inventory row; none if it was never touched.
    pub(crate) row: Option<Row>,
    /// Only compare.
    pub(crate) check: bool,
    /// Take every field even if another manager owns it.
    pub(crate) force: bool,
}

/// One step of one unit.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) slot: u32,
    pub(crate) run: u64,
    pub(crate) unit: Arc<Unit>,
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) owner: Owner,
    pub(crate) step: Step,
    /// Cancelled when the job is called off.
    pub(crate) cancel: CancellationToken,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Step {
    /// Write and check objects, then remove those that left the unit.
    Apply {
        items: Vec<Item>,
        /// Kinds that were not known when the step began are waited for after the definitions.
        unplaced: bool,
        gone: Vec<Row>,
        /// Hooks to run before the objects.
        before: Option<HookEvent>,
    },
    /// Look what applying these objects would do.
    Preview(Vec<Item>),
    /// Ask for kinds (group, version, kind) that are not known.
    Discover(Vec<(String, String, String)>),
    /// Run the hooks after the objects, and note that the revision is deployed.
    Finish(HookEvent),
    /// Run the test hooks, by this order.
    Test(String),
    /// Keep Helm's record of what is deployed, and of the revision that was given up for it.
    Record(Option<Failed>),
    /// Remove all of the unit.
    Remove { rows: Vec<Row> },
}

impl Step {
    /// What it is, for traces.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Preview(_) => "preview",
            Self::Discover(_) => "discover",
            Self::Finish(_) => "finish",
            Self::Test(_) => "test",
            Self::Record(_) => "record",
            Self::Remove { .. } => "remove",
        }
    }
}

/// A revision that was given up.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) unit: Arc<Unit>,
    /// Why.
    pub(crate) reason: String,
}

/// What a worker has to tell.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) slot: u32,
    pub(crate) run: u64,
    pub(crate) event: Event,
}

/// The kinds of news.
#[derive(Debug)]
pub(crate) enum Event {
    /// Kinds are needed: watch them.
    Watch(Arc<Resource>),
    /// The API server does not serve this kind (group, name).
    Unserved((String, String)),
    /// New objects are about to be entered into the inventory, and then written.
    Begun(Vec<Row>),
    /// Objects were written, refused or compared.
    Outcomes(Vec<(usize, Outcome)>),
    /// A workload uses these ConfigMaps and Secrets, as they were in these versions; kinds that are to be watched.
    Mounts { index: usize, used: Vec<(ObjectId, u64)>, kinds: Vec<Arc<Resource>> },
    /// Why pods of these workloads do not run, as far as they say.
    Causes(Vec<(ObjectId, Option<String>)>),
    /// Objects that left the unit are gone, or no longer ours; so many were deleted.
    Pruned { ids: Vec<ObjectId>, deleted: u64 },
    /// The step is over.
    End(End),
}

/// What became of an object.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is as desired.
    Written { row: Box<Row>, version: u64, health: Judgement },
    /// It cannot be written like this.
    Refused(String),
    /// It belongs to somebody else.
    Foreign(String),
    /// It could not be written now.
    Failed(String),
    /// It differs from what is desired, in this.
    Differs(String),
    /// This would become of it.
    Would(Preview),
    /// It does not differ.
    Same { fields: Option<Fields>, version: u64, health: Judgement },
}

impl Outcome {
    /// Whether it could not be written.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Foreign(_) | Self::Failed(_))
    }
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Done; outcomes tell how well.
    Complete,
    /// New kinds are served now: look again.
    Again,
    /// It cannot go on, for this reason; later perhaps.
    Blocked(String),
    /// The API server does not answer.
    Unreachable(String),
    /// The test hooks were run: how many, or which one failed.
    Tested { order: String, result: Result<usize, String> },
    /// The unit is off the cluster.
    Removed,
    /// It was called off.
    Stopped,
}

/// Why a step does not go on.
#[derive(Debug, Clone)]
enum Trouble {
    /// The job was called off.
    Stopped,
    Unreachable(String),
    Failed(String),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Stopped => Self::Stopped,
            Trouble::Unreachable(text) => Self::Unreachable(text),
            Trouble::Failed(text) => Self::Blocked(text),
        }
    }
}

impl Trouble {
    /// A request about an object failed.
    fn about(place: &Place, error: ApiError) -> Self {
        match error.failure {
            Failure::Unreachable => Self::Unreachable(error.text),
            Failure::Busy | Failure::NotFound | Failure::Conflict | Failure::Gone | Failure::Refused => {
                Self::Failed(format!("{}: {}", place.id, error.text))
            }
        }
    }

    fn store(error: &StoreError) -> Self {
        Self::Failed(error.to_string())
    }

    fn api(error: ApiError) -> Self {
        match error.failure {
            Failure::Unreachable => Self::Unreachable(error.text),
            Failure::Busy | Failure::NotFound | Failure::Conflict | Failure::Gone | Failure::Refused => {
                Self::Failed(error.text)
            }
        }
    }
}

/// A worker: the context and the job.
pub(crate) struct Worker {
    context: Arc<Context>,
    slot: u32,
    run: u64,
    unit: Arc<Unit>,
    owner: Owner,
    /// What others may change.
    leeway: Leeways,
    /// What its objects must satisfy.
    rules: Option<Arc<Rules>>,
    cancel: CancellationToken,
}

impl Worker {
    /// Carries out a job and tells how it ended.
    pub(crate) async fn carry_out(context: Arc<Context>, job: Job) {
        let Job { slot, run, unit, rules, owner, step, cancel } = job;
        let leeway = unit.leeway();
        let worker = Self { context, slot, run, unit, owner, leeway, rules, cancel };
        let end = match step {
            Step::Apply { items, unplaced, gone, before } => {
                worker.apply(items, unplaced, gone, before).await
            }
            Step::Preview(items) => worker.preview(items).await,
            Step::Discover(kinds) => worker.discover(kinds).await,
            Step::Finish(event) => worker.finish(event).await,
            Step::Test(order) => worker.test(&order).await,
            Step::Record(failed) => worker.record(failed.as_ref()).await,
            Step::Remove { rows } => worker.remove(rows).await,
        };
        let end = end.unwrap_or_else(End::from);
        worker.tell(Event::End(end)).await;
    }

    async fn discover(&self, kinds: Vec<(String, String, String)>) -> Result<End, Trouble> {
        for (group, version, kind) in kinds {
            let asked = self.context.discovery.resolve(&self.context.api, &group, &version, &kind).await;
            asked.map_err(Trouble::api)?;
        }
        Ok(End::Again)
    }

    /// A unit with hooks is deployed only when that is stored: what follows must be an upgrade, also after a
    /// crash, or hooks would run that belong to another moment.
    async fn finish(&self, event: HookEvent) -> Result<End, Trouble> {
        self.run_hooks(event).await?;
        self.still_wanted()?;
        let noted = self.context.store.put_deployed(&self.unit);
        noted.durable().await.map_err(|error| Trouble::store(&error))?;
        Ok(End::Complete)
    }

    /// Whether to go on.
    fn still_wanted(&self) -> Result<(), Trouble> {
        if self.cancel.is_cancelled() { Err(Trouble::Stopped) } else { Ok(()) }
    }

    /// Waits for something other than an answer, as long as the job is not called off.
    async fn wait<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Trouble> {
        self.cancel.run_until_cancelled(waiting).await.ok_or(Trouble::Stopped)
    }

    async fn tell(&self, event: Event) {
        // A closed channel means that the engine ends, and this worker with it.
        let _ = self.context.news.send(News { slot: self.slot, run: self.run, event }).await;
    }
}
