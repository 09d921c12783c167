//! The task that writes Events: one request at a time, behind everything else.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::book::Book;
use super::{Notice, Regarding, Reporter, Told, event};
use crate::api::{ApiError, Failure};
use crate::backoff;
use crate::object::{ObjectId, Place, Resource};
use crate::store::StoreError;
use crate::view::View;
use crate::worker::Context;

const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_secs(60);
/// An API server that takes no Events of this agent is asked again after this time.
const REFUSED_WAIT: Duration = Duration::from_secs(10 * 60);

/// Writes Events.
pub(crate) struct Recorder {
    context: Arc<Context>,
    view: Arc<View>,
    waiting: mpsc::Receiver<Told>,
    reporter: Reporter,
    /// How long Events wait, so that they do not take the API server's time while a service is applied.
    delay: Duration,
    book: Book,
    resource: Arc<Resource>,
    /// Nothing is written before.
    not_before: Instant,
    failures: u32,
    /// The API server takes no Events of this agent; that was logged.
    refused: bool,
}

impl Recorder {
    pub(crate) fn new(
        context: Arc<Context>,
        view: Arc<View>,
        waiting: mpsc::Receiver<Told>,
        reporter: Reporter,
        delay: Duration,
    ) -> Self {
        let now = Instant::now();
        let resource = Arc::new(Resource {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Event".to_owned(),
            plural: "events".to_owned(),
            namespaced: true,
        });
        let (book, failures, refused) = (Book::new(now), 0, false);
        Self { context, view, waiting, reporter, delay, book, resource, not_before: now, failures, refused }
    }

    /// Writes until the engine is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.book.due().map(|due| due.max(self.not_before));
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = self.waiting.recv() => match told {
                    Some(told) => self.take(told).await,
                    None => return,
                },
                () = timer => self.write_next().await,
            }
        }
    }

    /// Takes notices once they are true.
    async fn take(&mut self, told: Told) {
        if let Some(after) = told.after
            && let Err(error) = after.durable().await
        {
            if !matches!(error, StoreError::Closed) {
                tracing::error!(%error, "a state that was to be told was not stored; it is repeated after a restart");
            }
            return;
        }
        let now = Instant::now();
        let silent = self.refused && now < self.not_before;
        let mut dropped = 0;
        for notice in told.notices {
            dropped += u64::from(silent || !self.book.note(notice, self.delay, now));
        }
        self.dropped(dropped);
    }

    fn dropped(&self, count: u64) {
        if count > 0 {
            self.view.lock().metrics.events_dropped_total += count;
        }
    }

    async fn write_next(&mut self) {
        let Some(key) = self.book.next(Instant::now()) else { return };
        match self.write(&key).await {
            Ok(count) => {
                if std::mem::take(&mut self.refused) {
                    tracing::info!("the API server takes Events again");
                }
                self.failures = 0;
                self.book.written(&key, count, Instant::now());
                self.view.lock().metrics.events_total += 1;
            }
            Err(error) => self.failed(&key, &error),
        }
    }

    /// Writes one; returns its count.
    async fn write(&mut self, key: &(String, String)) -> Result<u32, ApiError> {
        let context = Arc::clone(&self.context);
        let (namespace, name) = key;
        let id = ObjectId {
            group: String::new(),
            kind: "Event".to_owned(),
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let place = Place { id: Arc::new(id), resource: Arc::clone(&self.resource) };
        let Some(entry) = self.book.entry(key) else { return Ok(0) };
        if entry.written > 0 {
            let count = entry.written.saturating_add(entry.more);
            if context.api.merge(&place, &event::again(count, entry.notice.at)).await?.is_some() {
                return Ok(count);
            }
            // Events live for an hour; this one is over.
            (entry.written, entry.first) = (0, entry.notice.at);
        }
        if entry.uid.is_none() {
            entry.uid = Some(uid(&context, &entry.notice.regarding).await?);
        }
        let body = event::new(name, entry, &self.reporter).to_string().into_bytes();
        match context.api.create(&place, body).await {
            Ok(_) => Ok(entry.more),
            Err(error) if error.failure == Failure::Conflict => {
                let known = context.api.get_whole(&place).await?.unwrap_or_default();
                let count = event::count_with(&known, entry);
                if count > event::count(&known) {
                    context.api.merge(&place, &event::again(count, entry.notice.at)).await?;
                }
                Ok(count)
            }
            Err(error) => Err(error),
        }
    }

    fn failed(&mut self, key: &(String, String), error: &ApiError) {
        let now = Instant::now();
        let ending = error.text.contains("being terminated");
        match error.failure {
            Failure::Unreachable | Failure::Busy | Failure::Gone | Failure::Conflict => {
                let wait = backoff::delay(BACKOFF_BASE, BACKOFF_CAP, self.failures, &self.context.agent);
                self.failures = self.failures.saturating_add(1);
                self.not_before = now + wait;
                let stays = self.book.later(key, self.not_before);
                self.dropped(u64::from(!stays));
            }
            Failure::Refused if error.text.contains("forbidden") && !ending => {
                if !self.refused {
                    let error = error.text.as_str();
                    tracing::warn!(error, "the API server takes no Events: they are left out");
                }
                self.refused = true;
                self.not_before = now + REFUSED_WAIT;
                let waited = self.book.clear();
                self.dropped(waited);
            }
            Failure::NotFound | Failure::Refused => {
                tracing::debug!(error = error.text, event = key.1, "an Event was not taken");
                let Some(entry) = self.book.remove(key) else { return };
                // Where there is no namespace for it, it is told of the namespace.
                let gone = error.failure == Failure::NotFound || ending;
                let moved = gone && self.tell_of_namespace(entry.notice, now);
                self.dropped(u64::from(!moved));
            }
        }
    }

    fn tell_of_namespace(&mut self, notice: Notice, now: Instant) -> bool {
        if notice.regarding.id.namespace.is_empty() {
            return false;
        }
        let regarding = Regarding::namespace(&notice.regarding.id.namespace);
        let note = match notice.of_object {
            true => format!("{}: {}", notice.regarding.id, notice.note),
            false => notice.note.clone(),
        };
        self.book.note(Notice { regarding, note, ..notice }, Duration::ZERO, now)
    }
}

/// The uid of the object an Event is about, by which `kubectl describe` finds it; empty if there is none, or if that
/// may not be known.
async fn uid(context: &Context, regarding: &Regarding) -> Result<String, ApiError> {
    let ObjectId { group, kind, .. } = &regarding.id;
    let lost = |error: &ApiError| error.failure == Failure::Unreachable;
    let resource = match context.discovery.resolve(&context.api, group, &regarding.version, kind).await {
        Ok(Some(resource)) => resource,
        Err(error) if lost(&error) => return Err(error),
        Ok(None) | Err(_) => return Ok(String::new()),
    };
    let place = Place { id: Arc::new(regarding.id.clone()), resource };
    match context.api.metadata(&place).await {
        Ok(found) => Ok(found.map(|live| live.metadata.uid).unwrap_or_default()),
        Err(error) if lost(&error) => Err(error),
        Err(_) => Ok(String::new()),
    }
}
