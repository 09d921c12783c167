//! Watching: initial objects, then changes, seen through selectors; bookmarks; 410 when the history is too short.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::read::matches;
use super::{Engine, convert};
use crate::error::ApiError;
use crate::registry::Kind;
use crate::selector::{FieldSelector, LabelSelector};
use crate::storage::{Change, Event, Follow, Followed};

/// What to watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct WatchOptions {
    pub(crate) namespace: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    /// None or 0: start with what is there.
    pub(crate) resource_version: Option<u64>,
    pub(crate) bookmarks: bool,
    /// Send what is there first, and a bookmark that says so.
    pub(crate) initial_events: bool,
}

/// One event as it goes to a client.
#[derive(Debug, Clone)]
pub(crate) struct WatchEvent {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub(crate) word: &'static str,
    pub(crate) object: Bytes,
}

/// A running watch.
#[derive(Debug)]
pub(crate) struct Watch {
    kind: Arc<Kind>,
    options: WatchOptions,
    follow: Follow,
    ready: VecDeque<WatchEvent>,
    ended: bool,
}

impl Engine {
    /// Starts a watch.
    ///
    /// # Errors
    /// 504 when the revision to start from is not reached yet.
    pub(crate) fn watch(&self, kind: &Arc<Kind>, options: WatchOptions) -> Result<Watch, ApiError> {
        let current = self.store.revision();
        let asked = options.resource_version.unwrap_or(0);
        if asked > current {
            return Err(ApiError::too_new(asked, current));
        }
        let mut ready = VecDeque::new();
        let from_scratch = asked == 0 || options.initial_events;
        let after = if from_scratch {
            let page = self.store.list(&kind.resource, options.namespace.as_deref());
            for (key, stored) in &page.objects {
                let bytes = convert::served_bytes(kind, &stored.bytes);
                if matches(key, &bytes, &options.labels, &options.fields) {
                    ready.push_back(WatchEvent { word: "ADDED", object: bytes });
                }
            }
            if options.initial_events && options.bookmarks {
                ready.push_back(bookmark(kind, page.revision, true));
            }
            page.revision
        } else {
            asked
        };
        let follow = self.store.follow(&kind.resource, after);
        Ok(Watch { kind: kind.clone(), options, follow, ready, ended: false })
    }
}

impl Watch {
    /// The next events, at least one; `None` when the watch has ended. Cancelling loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Vec<WatchEvent>> {
        loop {
            if !self.ready.is_empty() {
                return Some(self.ready.drain(..).collect());
            }
            if self.ended {
                return None;
            }
            match self.follow.next().await {
                Followed::Events(events) => {
                    let seen = events.iter().filter_map(|event| self.seen(event));
                    let seen: Vec<WatchEvent> = seen.collect();
                    self.ready.extend(seen);
                }
                Followed::TooOld(oldest) => {
                    let status = ApiError::expired(self.follow.revision(), oldest).status();
                    let object = status.to_string().into();
                    self.ready.push_back(WatchEvent { word: "ERROR", object });
                    self.ended = true;
                }
            }
        }
    }

    /// The bookmark of this moment, for clients that asked for bookmarks.
    pub(crate) fn bookmark(&self) -> Option<WatchEvent> {
        self.options.bookmarks.then(|| bookmark(&self.kind, self.follow.bookmark(), false))
    }

    /// An event as this watch sees it: objects come into view and leave it as their labels and fields change.
    fn seen(&self, event: &Event) -> Option<WatchEvent> {
        if self.options.namespace.as_deref().is_some_and(|namespace| *namespace != *event.key.namespace) {
            return None;
        }
        let in_view = |bytes: &Bytes| {
            let served = convert::served_bytes(&self.kind, bytes);
            matches(&event.key, &served, &self.options.labels, &self.options.fields).then_some(served)
        };
        let unselective = self.options.labels.is_empty() && !self.options.fields.needs_object();
        let now = in_view(&event.object);
        let before = match &event.previous {
            Some(_) if unselective => now.is_some(),
            Some(previous) => in_view(previous).is_some(),
            None => false,
        };
        let (word, object) = match (event.change, before, now) {
            (Change::Deleted, true, now) => {
                ("DELETED", now.unwrap_or_else(|| convert::served_bytes(&self.kind, &event.object)))
            }
            (Change::Deleted, false, _) | (_, false, None) => return None,
            (Change::Added | Change::Modified, true, Some(object)) => ("MODIFIED", object),
            (Change::Added | Change::Modified, false, Some(object)) => ("ADDED", object),
            (Change::Added | Change::Modified, true, None) => {
                ("DELETED", convert::served_bytes(&self.kind, &event.object))
            }
        };
        Some(WatchEvent { word, object })
    }
}

fn bookmark(kind: &Kind, revision: u64, end_of_initial_events: bool) -> WatchEvent {
    let mut object: Value = json!({
        "kind": kind.kind, "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null},
    });
    if end_of_initial_events {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    WatchEvent { word: "BOOKMARK", object: object.to_string().into() }
}
