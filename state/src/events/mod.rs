//! Events on the cluster: what somebody who works there sees with `kubectl get events` and `kubectl describe`.
//!
//! ```text
//!  engine ── Told (notices, the write they wait for) ──> recorder ── book ──> one request at a time ──> API server
//! ```
//!
//! The engine never waits: what does not fit into the queue is dropped and counted. The recorder tells something only
//! when what it tells of is on the disk, a moment later than the work itself, and gives up for a while where the API
//! server does not take Events.
//!
//! # Why names say what Events tell
//! An Event's name is a digest of what it says. What is told again after a crash meets the Event that is there, and
//! what happens again raises its count, also over restarts.

mod book;
mod event;
mod recorder;

use std::sync::Arc;

use protocol::UnixMillis;
use protocol::id::AgentId;
use protocol::plan::{ObjectKey, Unit};
use tokio::sync::mpsc;

pub(crate) use recorder::Recorder;

use crate::object::{ObjectId, Place};
use crate::store::Written;
use crate::view::View;

/// Batches of notices that may wait.
const QUEUE: usize = 64;
/// Most notices of one batch.
const BATCH_MAX: usize = 16;
/// Kinds in which people look for what became of a service.
const WORKLOADS: [(&str, &str); 5] = [
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];
/// Kinds of core that live in a namespace, for services without a workload.
const NAMESPACED: [&str; 4] = ["ConfigMap", "Service", "ServiceAccount", "Secret"];

/// What an Event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regarding {
    pub(crate) id: ObjectId,
    pub(crate) version: String,
}

impl Regarding {
    /// An object whose place is known.
    pub(crate) fn place(place: &Place) -> Self {
        Self { id: ObjectId::clone(&place.id), version: place.resource.version.clone() }
    }

    /// An object of which only what the plan says is known.
    pub(crate) fn key(key: &ObjectKey, release_namespace: &str) -> Self {
        let namespace = if key.namespace.is_empty() { release_namespace } else { &key.namespace };
        let id = ObjectId {
            group: key.group.clone(),
            kind: key.kind.clone(),
            namespace: namespace.to_owned(),
            name: key.name.clone(),
        };
        Self { id, version: key.version.clone() }
    }

    /// A namespace.
    pub(crate) fn namespace(name: &str) -> Self {
        let name = if name.is_empty() { "default" } else { name };
        let id = ObjectId {
            group: String::new(),
            kind: "Namespace".to_owned(),
            namespace: String::new(),
            name: name.to_owned(),
        };
        Self { id, version: "v1".to_owned() }
    }

    /// The object that stands for a unit: its first workload, else something of its own in the release's namespace,
    /// else that namespace. The same before and after a restart, whatever is known of the cluster.
    pub(crate) fn unit(unit: &Unit) -> Self {
        let (own, mut keys) = (&unit.id.namespace, unit.objects.iter().map(|entry| &entry.key));
        let here = |key: &ObjectKey| key.namespace.is_empty() || key.namespace == *own;
        let workload =
            |key: &&ObjectKey| here(key) && WORKLOADS.contains(&(key.group.as_str(), key.kind.as_str()));
        let namespaced =
            |key: &&ObjectKey| here(key) && key.group.is_empty() && NAMESPACED.contains(&key.kind.as_str());
        let found = keys.clone().find(workload).or_else(|| keys.find(namespaced));
        match found {
            Some(key) if !own.is_empty() => Self::key(key, own),
            Some(_) | None => Self::namespace(own),
        }
    }
}

/// Why an Event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A service is on the cluster for the first time.
    Deployed,
    /// Another revision of it is.
    Upgraded,
    /// It is healthy again.
    Recovered,
    /// It failed.
    Failed,
    /// It is healthy and unhealthy in turns.
    Flapping,
    /// A revision is given up.
    RollingBack,
    /// The last good one is in force again.
    RolledBack,
    /// A service is off the cluster.
    Uninstalled,
    /// An object was put back.
    DriftRepaired,
    /// Somebody fights over an object.
    Contested,
    /// An object belongs to somebody else.
    AdoptionRefused,
    /// The API server does not take an object.
    ApplyRefused,
    /// Another agent took an object over.
    TakenOver,
    /// Something waits for the owner of the cluster, or for a window.
    Deferred,
    /// The time of an order is over.
    Expired,
    /// What a dry run found.
    WouldChange,
}

impl Reason {
    /// The Event's `reason`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Deployed => "Deployed",
            Self::Upgraded => "Upgraded",
            Self::Recovered => "Recovered",
            Self::Failed => "Failed",
            Self::Flapping => "Flapping",
            Self::RollingBack => "RollingBack",
            Self::RolledBack => "RolledBack",
            Self::Uninstalled => "Uninstalled",
            Self::DriftRepaired => "DriftRepaired",
            Self::Contested => "Contested",
            Self::AdoptionRefused => "AdoptionRefused",
            Self::ApplyRefused => "ApplyRefused",
            Self::TakenOver => "TakenOver",
            Self::Deferred => "Deferred",
            Self::Expired => "Expired",
            Self::WouldChange => "WouldChange",
        }
    }

    /// The Event's `action`.
    fn action(self) -> &'static str {
        match self {
            Self::Deployed
            | Self::Upgraded
            | Self::Failed
            | Self::AdoptionRefused
            | Self::ApplyRefused
            | Self::WouldChange => "Apply",
            Self::Recovered | Self::Flapping => "Watch",
            Self::RollingBack | Self::RolledBack => "RollBack",
            Self::Uninstalled => "Uninstall",
            Self::DriftRepaired | Self::Contested | Self::TakenOver => "Repair",
            Self::Deferred | Self::Expired => "Defer",
        }
    }

    fn is_warning(self) -> bool {
        match self {
            Self::Deployed
            | Self::Upgraded
            | Self::Recovered
            | Self::Uninstalled
            | Self::DriftRepaired
            | Self::Deferred
            | Self::WouldChange => false,
            Self::Failed
            | Self::Flapping
            | Self::RollingBack
            | Self::RolledBack
            | Self::Contested
            | Self::AdoptionRefused
            | Self::ApplyRefused
            | Self::TakenOver
            | Self::Expired => true,
        }
    }
}

/// Something worth an Event.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    /// The unit it is of.
    pub(crate) unit: String,
    /// Whether it is about that object, and not about the unit that the object stands for.
    pub(crate) of_object: bool,
    pub(crate) regarding: Regarding,
    pub(crate) reason: Reason,
    pub(crate) note: String,
    pub(crate) at: UnixMillis,
    /// It may have been told before: if so, it did not happen again.
    pub(crate) once: bool,
}

/// Notices, and the write after which they are true.
pub(crate) struct Told {
    notices: Vec<Notice>,
    after: Option<Written<()>>,
}

/// Where the engine tells what happened.
pub(crate) struct Events {
    sender: mpsc::Sender<Told>,
    view: Arc<View>,
}

impl Events {
    /// A queue, and its end for the recorder.
    pub(crate) fn new(view: Arc<View>) -> (Self, mpsc::Receiver<Told>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender, view }, receiver)
    }

    /// Tells this once `after` is durable. Never waits; what there is no room for is dropped and counted.
    pub(crate) fn tell(&self, mut notices: Vec<Notice>, after: Option<Written<()>>) {
        if notices.is_empty() {
            return;
        }
        let mut dropped = notices.len().saturating_sub(BATCH_MAX);
        notices.truncate(BATCH_MAX);
        let count = notices.len();
        // A closed queue means that the engine ends.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.sender.try_send(Told { notices, after }) {
            dropped += count;
        }
        if dropped > 0 {
            self.view.lock().metrics.events_dropped_total += u64::try_from(dropped).unwrap_or(u64::MAX);
        }
    }
}

/// Who writes the Events of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    controller: &'static str,
    instance: String,
}

impl Reporter {
    pub(crate) fn new(agent: &AgentId, instance: String) -> Self {
        let controller = match agent {
            AgentId::Edge(_) => "skein.dev/edge-agent",
            AgentId::Region(_) => "skein.dev/regional-agent",
        };
        Self { controller, instance }
    }
}
