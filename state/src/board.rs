//! Where workers wait for what the watches see: a hook's Job to end, an object to be gone, a definition to
//! be established.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::health;
use crate::live::Live;
use crate::object::{ObjectId, Resource};
use protocol::report::ObjectHealth;

/// What a watch last saw of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nothing yet.
    #[default]
    Unknown,
    /// It is not there.
    Absent,
    /// It is there.
    Present {
        uid: String,
        health: ObjectHealth,
        message: String,
        /// How it ended, for kinds that run to an end.
        finished: Option<Result<(), String>>,
    },
}

impl Sight {
    /// What a live object amounts to.
    pub(crate) fn of(resource: &Resource, live: &Live) -> Self {
        let judgement = health::judge(&resource.group, &resource.kind, live);
        Self::Present {
            uid: live.metadata.uid.clone(),
            health: judgement.health,
            message: judgement.message,
            finished: health::finished(&resource.group, &resource.kind, live),
        }
    }
}

/// Who waits for what.
#[derive(Default)]
pub(crate) struct Board {
    waiting: Mutex<BTreeMap<ObjectId, watch::Sender<Sight>>>,
}

impl Board {
    /// What the watches see of an object from now on.
    pub(crate) fn follow(&self, id: &ObjectId) -> watch::Receiver<Sight> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, sender| sender.receiver_count() > 0);
        waiting.entry(id.clone()).or_insert_with(|| watch::Sender::new(Sight::Unknown)).subscribe()
    }

    /// A watch saw an object.
    pub(crate) fn saw(&self, id: &ObjectId, sight: impl FnOnce() -> Sight) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = waiting.get(id) {
            sender.send_replace(sight());
        }
    }

    /// A watch listed a kind: what it did not see is absent.
    pub(crate) fn listed(&self, resource: &Resource, seen: &dyn Fn(&ObjectId) -> bool) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, sender) in waiting.iter() {
            if id.group == resource.group && id.kind == resource.kind && !seen(id) {
                sender.send_replace(Sight::Absent);
            }
        }
    }
}
