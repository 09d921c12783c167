//! The latest events of one shelf, bounded in count and bytes, and following them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{ObjectKey, Store};

/// A shelf remembers this many events, and `PER_OBJECT` more for each object it holds, so that a client that has
/// just listed a large shelf can still follow it ...
const EVENTS: usize = 1024;
/// ... in this many bytes, and `PER_OBJECT` times the bytes it holds: a thousand small clusters stay small ...
const BYTES: usize = 512 * 1024;
const PER_OBJECT: usize = 4;
/// ... but never fewer than this many events, however large their objects.
const EVENTS_MIN: usize = 64;

/// How much a shelf holds now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    pub(super) objects: usize,
    pub(super) bytes: usize,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) revision: u64,
    pub(crate) change: Change,
    pub(crate) key: ObjectKey,
    /// The new state; of a deletion the last one.
    pub(crate) object: Bytes,
    pub(crate) previous: Option<Bytes>,
}

#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Event>,
    bytes: usize,
    /// Events up to this revision are gone.
    forgotten: u64,
}

impl History {
    pub(super) fn new(forgotten: u64) -> Self {
        Self { events: VecDeque::new(), bytes: 0, forgotten }
    }

    pub(super) fn push(&mut self, event: Event, held: Held) {
        self.bytes += event.object.len();
        self.events.push_back(event);
        let events_max = EVENTS + PER_OBJECT * held.objects;
        let bytes_max = BYTES + PER_OBJECT * held.bytes;
        while self.events.len() > events_max || (self.bytes > bytes_max && self.events.len() > EVENTS_MIN) {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.object.len();
            self.forgotten = oldest.revision;
        }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Events after a revision, oldest first.
    pub(super) fn after(&self, revision: u64) -> impl DoubleEndedIterator<Item = &Event> {
        let start = self.events.partition_point(|event| event.revision <= revision);
        self.events.range(start..)
    }
}

/// A cursor over the events of one shelf.
#[derive(Debug)]
pub(crate) struct Follow {
    store: Arc<Store>,
    resource: Arc<str>,
    revision: u64,
    changed: watch::Receiver<u64>,
}

/// What a cursor found.
#[derive(Debug)]
pub(crate) enum Followed {
    Events(Vec<Event>),
    /// Events were forgotten before they were read; the oldest known revision.
    TooOld(u64),
}

impl Store {
    /// A cursor that yields what happens to a resource after a revision.
    pub(crate) fn follow(self: &Arc<Self>, resource: &Arc<str>, after: u64) -> Follow {
        let changed = self.lock().shelf(resource).changed.subscribe();
        Follow { store: self.clone(), resource: resource.clone(), revision: after, changed }
    }
}

impl Follow {
    /// The revision up to which everything was yielded.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision a bookmark may name: everything of this resource up to it was yielded.
    pub(crate) fn bookmark(&self) -> u64 {
        let state = self.store.lock();
        let pending = state.shelves.get(&self.resource).is_some_and(|shelf| {
            shelf.history.after(self.revision).any(|event| event.revision <= state.published)
        });
        if pending { self.revision } else { state.published.max(self.revision) }
    }

    fn ready(&mut self) -> Followed {
        let state = self.store.lock();
        let Some(shelf) = state.shelves.get(&self.resource) else { return Followed::Events(Vec::new()) };
        if self.revision < shelf.history.forgotten() {
            return Followed::TooOld(shelf.history.forgotten());
        }
        let published = state.published;
        let events: Vec<Event> = shelf
            .history
            .after(self.revision)
            .take_while(|event| event.revision <= published)
            .cloned()
            .collect();
        if let Some(last) = events.last() {
            self.revision = last.revision;
        }
        Followed::Events(events)
    }

    /// Waits for the next events; cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Followed {
        loop {
            self.changed.borrow_and_update();
            match self.ready() {
                Followed::Events(events) if events.is_empty() => {
                    // The sender lives in the store, which this cursor keeps alive.
                    if self.changed.changed().await.is_err() {
                        return Followed::Events(Vec::new());
                    }
                }
                found @ (Followed::Events(_) | Followed::TooOld(_)) => return found,
            }
        }
    }
}
