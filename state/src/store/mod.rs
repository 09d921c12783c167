//! What must survive: the plan, its blobs, and the inventory of what was applied, in one SQLite file.
//!
//! One thread owns the connection; everything else sends it work and awaits the answer, so no runtime thread
//! ever waits for a disk, and writes have one order. Every write is one transaction, durable when it is
//! answered (WAL, `synchronous = FULL`).
//!
//! # Why a thread of its own
//! A connection pool or `spawn_blocking` would cost a page cache or a stack per concurrent caller; the edge
//! has 12 MB for everything.

mod plan;
mod schema;
mod unit;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

pub(crate) use plan::{Offer, OfferResult, StoredPlan};
pub(crate) use unit::{Row, UnitRecord};

/// The thread needs little: SQLite keeps its working memory on the heap.
const STACK_BYTES: usize = 512 * 1024;

/// Why the store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("failed to open the state file \"{}\": {detail}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What SQLite or the system says.
        detail: String,
    },
    /// An operation failed; nothing of it was stored.
    #[error("failed to {operation} in the state file: {detail}")]
    Operate {
        /// What was to be done.
        operation: &'static str,
        /// What SQLite says, for example that the disk is full.
        detail: String,
    },
    /// The store was shut down.
    #[error("the state file is closed")]
    Closed,
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle of the store; the file is closed when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Store {
    sender: mpsc::Sender<Work>,
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<crate::faults::Faults>,
}

impl Store {
    /// Opens or makes the file and starts its thread. The receiver resolves when the file is closed.
    pub(crate) fn open(path: &Path) -> Result<(Self, oneshot::Receiver<()>), StoreError> {
        let mut connection = schema::open(path)?;
        let (sender, receiver) = mpsc::channel::<Work>();
        let (closed, closing) = oneshot::channel();
        std::thread::Builder::new()
            .name("state-store".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                while let Ok(work) = receiver.recv() {
                    work(&mut connection);
                }
                drop(connection);
                // The other side may be gone: then nobody waits for the file.
                let _ = closed.send(());
            })
            .map_err(|error| StoreError::Open { path: path.to_owned(), detail: error.to_string() })?;
        let store = Self {
            sender,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        };
        Ok((store, closing))
    }

    /// Reads.
    async fn read<R: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> Result<R, rusqlite::Error> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let _ = answer.send(read(connection));
        });
        self.sender.send(work).map_err(|_| StoreError::Closed)?;
        match answered.await {
            Ok(result) => result.map_err(|error| failed(operation, &error)),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Writes in one transaction; durable when the receiver gets its answer. The write is in line as soon as
    /// this returns, awaited or not.
    fn write<R: Send + 'static>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Transaction<'_>) -> Result<R, rusqlite::Error> + Send + 'static,
    ) -> Written<R> {
        let (answer, answered) = oneshot::channel();
        #[cfg(test)]
        let faults = std::sync::Arc::clone(&self.faults);
        let work: Work = Box::new(move |connection| {
            #[cfg(test)]
            if faults.dies_before() {
                return;
            }
            let result = connection.transaction().and_then(|transaction| {
                let result = write(&transaction)?;
                transaction.commit()?;
                Ok(result)
            });
            #[cfg(test)]
            if faults.dies_after() {
                return;
            }
            let result = result.map_err(|error| failed(operation, &error));
            if let Err(Err(error)) = answer.send(result) {
                tracing::error!(%error, "a write that nobody waited for was lost; it is repeated after a restart");
            }
        });
        let sent = self.sender.send(work).is_ok();
        Written { answered: sent.then_some(answered) }
    }
}

/// A write on its way.
#[must_use = "await it, or forget it on purpose"]
pub(crate) struct Written<R> {
    answered: Option<oneshot::Receiver<Result<R, StoreError>>>,
}

impl<R> Written<R> {
    /// Waits until the write is durable.
    pub(crate) async fn durable(self) -> Result<R, StoreError> {
        match self.answered {
            Some(answered) => answered.await.unwrap_or(Err(StoreError::Closed)),
            None => Err(StoreError::Closed),
        }
    }

    /// Goes on at once: what is lost with a crash is found out and done again.
    pub(crate) fn forget(self) {}
}

fn failed(operation: &'static str, error: &rusqlite::Error) -> StoreError {
    StoreError::Operate { operation, detail: error.to_string() }
}
