//! The body of a watch: one JSON object a line, until the time is up or the client goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::ApiBody;
use super::negotiate::Shape;
use crate::engine::{Watch, WatchEvent};
use crate::registry::Kind;
use crate::table::{self, IncludeObject};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Where the client names none.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How events are written.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) kind: Arc<Kind>,
    pub(super) shape: Shape,
    pub(super) include: IncludeObject,
}

struct Running {
    watch: Watch,
    form: Form,
    columns_sent: bool,
    bookmarks: tokio::time::Interval,
    deadline: Instant,
    over: bool,
}

/// The stream of a watch.
pub(super) fn body(watch: Watch, form: Form, timeout_seconds: Option<u64>) -> ApiBody {
    let timeout = timeout_seconds.map_or(TIMEOUT, Duration::from_secs);
    let now = Instant::now();
    let mut bookmarks = interval_at(now + BOOKMARK_EVERY, BOOKMARK_EVERY);
    bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let running =
        Running { watch, form, columns_sent: false, bookmarks, deadline: now + timeout, over: false };
    ApiBody::stream(stream::unfold(running, |mut running| async move {
        let chunk = running.next().await?;
        Some((chunk, running))
    }))
}

impl Running {
    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            let events = tokio::select! {
                biased;
                events = self.watch.next() => match events {
                    Some(events) => events,
                    None => return None,
                },
                () = sleep_until(self.deadline) => {
                    self.over = true;
                    self.watch.bookmark().into_iter().collect()
                }
                _ = self.bookmarks.tick() => self.watch.bookmark().into_iter().collect(),
            };
            if !events.is_empty() {
                return Some(self.encode(&events));
            }
        }
        None
    }

    fn encode(&mut self, events: &[WatchEvent]) -> Bytes {
        let size = events.iter().map(|event| event.object.len() + 40).sum();
        let mut bytes = BytesMut::with_capacity(size);
        for event in events {
            let object = self.shaped(event);
            bytes.put_slice(b"{\"type\":\"");
            bytes.put_slice(event.word.as_bytes());
            bytes.put_slice(b"\",\"object\":");
            bytes.put_slice(&object);
            bytes.put_slice(b"}\n");
        }
        bytes.freeze()
    }

    fn shaped(&mut self, event: &WatchEvent) -> Bytes {
        if self.form.shape == Shape::Object || event.word == "ERROR" {
            return event.object.clone();
        }
        let object: Value = serde_json::from_slice(&event.object).unwrap_or_default();
        let shaped = match (self.form.shape, event.word) {
            (Shape::Metadata, _) => table::partial_metadata(&object),
            (_, "BOOKMARK") => {
                let version = object["metadata"]["resourceVersion"].clone();
                json!({
                    "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version},
                    "columnDefinitions": null,
                    "rows": [{"cells": [], "object": table::partial_metadata(&object)}],
                })
            }
            _ => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                let first = !std::mem::replace(&mut self.columns_sent, true);
                table::table(&self.form.kind, &[object], metadata, self.form.include, first)
            }
        };
        shaped.to_string().into()
    }
}
