//! The durable outbox of telemetry at an agent.
//!
//! ```text
//! push ---> lane per class ---> peek ---> link ---> receiver
//!            |  over budget, too old,        |
//!            |  disk full, damaged           v
//!            +--> gap record           acknowledge: delete
//! ```
//!
//! A batch is durable when [`Spool::push`] returns: SQLite in WAL mode with `synchronous=FULL`, one writer
//! thread, and one commit for all that wait (group commit). Numbers run from 1 without holes inside an
//! epoch; an epoch ends when the file was lost. What has to be dropped leaves a [`protocol::telemetry::Gap`]
//! in its place, and the gap travels like a batch (invariant 6). Nothing here panics on a full or damaged
//! disk.
//!
//! # Which numbers a gap stands for
//! A gap of `n` batches with the number `s` stands for the numbers `s - max(n, 1) + 1` to `s` (those below 1
//! are of an earlier epoch). So a receiver that has everything up to `t` has everything up to `s` after it
//! took a gap with `s - max(n, 1) <= t`. Gaps grow together only while it is certain that none of what they
//! stand for was ever handed out: a batch that may have been sent is replaced by a gap of its own, with the
//! same number, which a receiver that has the batch recognises as a duplicate. Counts are exact therefore.
//! To know this after a crash, the number up to which batches may have been handed out is committed ahead of
//! handing them out.
//!
//! # Priorities
//! Lanes have budgets of their own. Where they share (the budget for all, the disk) the lowest lane gives
//! way first: logs, traces, metrics, cost, events.

mod ballast;
mod budget;
mod command;
mod database;
mod lane;
mod quarantine;
mod recovery;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::message::StreamHead;
use protocol::report::SpoolReport;
use protocol::telemetry::{TelemetryAck, TelemetryClass, TelemetryItem};
use tokio::sync::{mpsc, oneshot, watch};

pub use budget::{Budgets, LaneBudget};
pub use command::Snapshot;
use command::{Batch, Command};

/// Most commands that wait for the writer; more make their callers wait.
const QUEUE_MAX: usize = 1024;

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixMillis;
}

impl<F: Fn() -> UnixMillis + Send + Sync + 'static> Clock for F {
    fn now(&self) -> UnixMillis {
        self()
    }
}

/// Draws random numbers, for epochs.
pub type Entropy = Box<dyn FnMut() -> u64 + Send>;

/// Why there is no spool.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("failed to open spool \"{}\": another process has it open", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "spool \"{}\" has version {version}, this program knows {known}: it was written by a newer program; start that one \
         again, or move the file away and lose what waits in it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The newest version that is understood.
        known: i64,
    },
    /// Neither the file nor a fresh one in its place can be used.
    #[error("failed to open spool \"{}\"", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The damaged file cannot be moved aside.
    #[error("failed to move damaged spool \"{}\" aside", path.display())]
    Quarantine {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No thread.
    #[error("failed to start the spool's writer thread")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
}

/// Why a batch is not in the spool. [`Spool::push`] counts it as a gap in each case but [`PushError::Closed`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// Bigger than its lane may ever be or than what a link carries, or no room that its priority may claim.
    #[error("batch of {size} bytes does not fit into lane {}, which may hold {limit} bytes", class.as_str())]
    NoRoom {
        /// Its lane.
        class: TelemetryClass,
        /// Its size.
        size: u64,
        /// The room it could have had.
        limit: u64,
    },
    /// The disk is full and nothing of lower priority is left to drop.
    #[error("disk is full: a batch of lane {} was dropped and counted", class.as_str())]
    DiskFull {
        /// Its lane.
        class: TelemetryClass,
    },
    /// SQLite failed in another way.
    #[error("failed to write to the spool: {0}")]
    Write(String),
    /// The spool is closed.
    #[error("spool is closed")]
    Closed,
}

/// The spool; clones share it.
#[derive(Clone)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    snapshot: watch::Receiver<Snapshot>,
}

impl Spool {
    /// Opens or makes the spool at `path`.
    ///
    /// A file that is damaged is moved aside (`<path>.damaged`) and replaced by a new one with a new epoch,
    /// whose first items are gaps with what is known to be lost.
    ///
    /// # Errors
    /// [`OpenError`] when another process has it or the folder cannot be written.
    pub fn open(
        path: impl AsRef<Path>,
        budgets: Budgets,
        clock: Arc<dyn Clock>,
        entropy: Entropy,
    ) -> Result<Self, OpenError> {
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let snapshot = writer::start(path.as_ref(), budgets, clock, entropy, queue)?;
        Ok(Self { commands, snapshot })
    }

    /// Adds a batch; it is durable when this returns its number.
    ///
    /// # Errors
    /// [`PushError`]; the batch is then counted in a gap.
    pub async fn push(
        &self,
        class: TelemetryClass,
        payload: Bytes,
        points: u32,
        first: UnixMillis,
        last: UnixMillis,
    ) -> Result<u64, PushError> {
        self.push_batch(Batch { class, payload, points, first, last, state: None, counted: true }).await
    }

    /// As [`Spool::push`], for a batch whose sender keeps it until it is taken and will come again: one that is not
    /// taken in is not lost, so it is not counted.
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn offer(
        &self,
        class: TelemetryClass,
        payload: Bytes,
        points: u32,
        first: UnixMillis,
        last: UnixMillis,
    ) -> Result<u64, PushError> {
        self.push_batch(Batch { class, payload, points, first, last, state: None, counted: false }).await
    }

    /// Adds a batch and, in the same transaction, sets the state of that name: what was made of the state
    /// and the state itself are durable together or not at all.
    ///
    /// # Errors
    /// [`PushError`]; the state is then unchanged, and the batch is not counted as lost: it can be made again.
    #[expect(clippy::too_many_arguments, reason = "a batch's parts, and a name and a value")]
    pub async fn push_with_state(
        &self,
        class: TelemetryClass,
        payload: Bytes,
        points: u32,
        first: UnixMillis,
        last: UnixMillis,
        name: &str,
        value: Bytes,
    ) -> Result<u64, PushError> {
        let state = Some((name.to_owned(), value));
        self.push_batch(Batch { class, payload, points, first, last, state, counted: false }).await
    }

    async fn push_batch(&self, batch: Batch) -> Result<u64, PushError> {
        self.call(|reply| Command::Push { batch, reply }).await.unwrap_or(Err(PushError::Closed))
    }

    /// The state of that name; `None` when there is none.
    pub async fn state(&self, name: &str) -> Option<Bytes> {
        let name = name.to_owned();
        self.call(|reply| Command::State { name, reply }).await.flatten()
    }

    /// Items of a stream after a number, oldest first, up to so many bytes but at least one.
    pub async fn peek(&self, class: TelemetryClass, after: u64, limit_bytes: usize) -> Vec<TelemetryItem> {
        self.call(|reply| Command::Peek { class, after, limit_bytes, reply }).await.unwrap_or_default()
    }

    /// Forgets what the receiver has; an acknowledgement of another epoch is ignored.
    pub async fn acknowledge(&self, ack: TelemetryAck) {
        self.call(|reply| Command::Acknowledge { ack, reply }).await;
    }

    /// Drops what is too old now; pushes do it for themselves.
    pub async fn expire(&self) {
        self.call(|reply| Command::Expire { reply }).await;
    }

    /// Where each stream stands.
    pub fn streams(&self) -> Vec<StreamHead> {
        self.snapshot.borrow().streams.clone()
    }

    /// What waits, and what was dropped.
    pub fn report(&self) -> SpoolReport {
        self.snapshot.borrow().report
    }

    /// Changes whenever anything in the spool does.
    pub fn changed(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }

    /// Closes the file; other handles answer [`PushError::Closed`] from now on.
    pub async fn close(self) {
        self.call(|reply| Command::Close { reply }).await;
    }

    async fn call<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests;
