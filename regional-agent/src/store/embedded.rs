//! The embedded store: open, reload, and the handle.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::UnixMillis;
use protocol::id::AgentId;
use protocol::message::StreamHead;
use protocol::telemetry::{TelemetryAck, TelemetryClass};
use telemetry::Millis;
use tokio::sync::{mpsc, oneshot};

use super::answer::Reader;
use super::catalog::{Catalog, external};
use super::disk::{self, Disk, is_damage, is_in_use};
use super::index::Index;
use super::writer::{Command, Writer, decoded};
use super::{Arrival, Limits, Links, Store, StoreError};

/// Most commands that wait for the writer; more make their callers wait.
const QUEUE_MAX: usize = 256;

/// What an embedded store is given.
#[derive(Clone)]
pub struct Settings {
    /// The SQLite file.
    pub path: PathBuf,
    /// The region's name: the label `region`.
    pub region: String,
    /// What it keeps.
    pub limits: Limits,
    /// The time of day.
    pub now: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
}

/// A store in one file and in memory; clones share it.
#[derive(Clone)]
pub struct Embedded {
    commands: mpsc::Sender<Command>,
    reader: Reader,
    waiting: Arc<AtomicUsize>,
}

/// How big a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreSize {
    /// Series in memory.
    pub series: usize,
    /// Bytes in memory, roughly.
    pub memory_bytes: usize,
}

impl Embedded {
    /// Opens or makes the store, and reads back what it holds.
    ///
    /// A file that is damaged is moved aside (`<path>.damaged`) and replaced; every answer about earlier times says
    /// so from then on.
    ///
    /// # Errors
    /// [`StoreError`] when another process has it or the folder cannot be written.
    pub fn open(settings: Settings) -> Result<Self, StoreError> {
        let Settings { path, region, limits, now } = settings;
        let (disk, catalog, index) = open_or_replace(&path, &region, &limits, &now)?;
        let (index, catalog) = (Arc::new(index), Arc::new(RwLock::new(catalog)));
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let writer =
            Writer { disk, limits, index: index.clone(), catalog: catalog.clone(), now, expired_at: 0 };
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| StoreError::Thread { source })?;
        Ok(Self { commands, reader: Reader { index, catalog }, waiting: Arc::default() })
    }

    /// How big it is.
    pub fn size(&self) -> StoreSize {
        let size = self.reader.index.size();
        StoreSize { series: size.series, memory_bytes: size.bytes }
    }

    /// Drops what is too old or too much now; the store does it by itself as items come.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub async fn expire(&self) -> Result<(), StoreError> {
        self.call(|reply| Command::Expire { reply }).await
    }

    /// Closes the file.
    pub async fn close(self) {
        let _ = self.call(|reply| Command::Close { reply }).await;
    }

    /// Where PromQL reads.
    pub fn source(&self) -> impl telemetry::promql::Source + '_ {
        Shared(&self.reader.index)
    }

    async fn call<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| StoreError::Closed)?;
        let _waits = Waits::begin(&self.waiting);
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

/// Somebody who waits for an answer, as long as it is there.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The index behind a reference.
struct Shared<'a>(&'a Index);

impl telemetry::promql::Source for Shared<'_> {
    fn select(
        &self,
        selection: &telemetry::promql::Selection<'_>,
        sink: &mut telemetry::promql::Sink<'_>,
    ) -> Result<(), telemetry::promql::Error> {
        self.0.select(selection, sink)
    }
}

impl Store for Embedded {
    fn waiting(&self) -> Arc<AtomicUsize> {
        self.waiting.clone()
    }

    fn ingest(
        &self,
        arrivals: Vec<Arrival>,
    ) -> BoxFuture<'_, Result<Vec<(AgentId, TelemetryAck)>, StoreError>> {
        Box::pin(self.call(|reply| Command::Ingest { arrivals, reply }))
    }

    fn announce(&self, agent: AgentId, heads: Vec<StreamHead>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.call(|reply| Command::Announce { agent, heads, reply }))
    }

    fn acknowledged(&self, agent: AgentId) -> BoxFuture<'_, Vec<TelemetryAck>> {
        let catalog = self.reader.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let acknowledged = catalog.acknowledged(&agent);
        Box::pin(std::future::ready(acknowledged))
    }

    fn forget(&self, agent: AgentId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.call(|reply| Command::Forget { agent, reply }))
    }

    fn answer(&self, request: Bytes, links: Links) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let reader = self.reader.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || reader.answer(&request, &links))
                .await
                .map_err(|error| StoreError::Question(error.to_string()))?
        })
    }
}

type Opened = (Disk, Catalog, Index);

fn open_or_replace(
    path: &Path,
    region: &str,
    limits: &Limits,
    now: &Arc<dyn Fn() -> UnixMillis + Send + Sync>,
) -> Result<Opened, StoreError> {
    let failed = |error: rusqlite::Error| {
        if is_in_use(&error) {
            StoreError::InUse { path: path.to_owned() }
        } else {
            StoreError::Open { path: path.to_owned(), source: error }
        }
    };
    if let Some(version) = disk::newer(path) {
        return Err(StoreError::Newer { path: path.to_owned(), version, known: disk::SCHEMA_VERSION });
    }
    match load(path, region, limits) {
        Err(error) if is_damage(&error) => {
            tracing::error!(path = %path.display(), %error, "telemetry store is damaged: moving it aside and starting anew");
            set_aside(path).map_err(|source| StoreError::Quarantine { path: path.to_owned(), source })?;
            let (disk, mut catalog, index) = load(path, region, limits).map_err(failed)?;
            let until = Millis::try_from(now()).unwrap_or(Millis::MAX);
            let text = format!(
                "the store was damaged and replaced at {}: what it held before is lost",
                telemetry::query::time_text(until)
            );
            disk.insert_note(until, &text).map_err(failed)?;
            catalog.notes.push((until, text));
            Ok((disk, catalog, index))
        }
        result => result.map_err(failed),
    }
}

fn load(path: &Path, region: &str, limits: &Limits) -> rusqlite::Result<Opened> {
    let disk = Disk::open(path)?;
    let catalog = disk.catalog(region)?;
    let index = Index::new(limits.series_max);
    let mut unread = 0u64;
    disk.each_batch(|stored| match decoded(stored.class, &stored.payload) {
        Ok(batch) => {
            let labels = external(region, &stored.edge, &stored.cluster);
            index.add(batch, &labels, stored.class == TelemetryClass::Cost);
        }
        Err(_) => unread += 1,
    })?;
    if unread > 0 {
        tracing::warn!(batches = unread, "some stored telemetry batches cannot be read");
    }
    Ok((disk, catalog, index))
}

fn set_aside(path: &Path) -> std::io::Result<()> {
    let beside = |suffix: &str| {
        let mut name = OsString::from(path.as_os_str());
        name.push(suffix);
        PathBuf::from(name)
    };
    for suffix in ["", "-wal", "-shm"] {
        let to = beside(&format!(".damaged{suffix}"));
        let _ = std::fs::remove_file(&to);
        match std::fs::rename(beside(suffix), to) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
