//! What must survive: the plan, its blobs, and the inventory of what was applied, in one SQLite file.
//!
//! One thread owns the connection; everything else sends it work and awaits the answer, so no runtime thread
//! ever waits for a disk, and writes have one order. Every write is all or nothing and durable when it is
//! answered (WAL, `synchronous = FULL`); writes that wait in line together share one commit, which spares the
//! flash of a small device.
//!
//! # Why a thread of its own
//! A connection pool or `spawn_blocking` would cost a page cache or a stack per concurrent caller; the edge
//! has 12 MB for everything.

mod history;
mod plan;
mod schema;
mod unit;

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rusqlite::Connection;
use tokio::sync::oneshot;

pub(crate) use plan::{Offer, OfferResult, StoredPlan};
pub(crate) use unit::{KeptUnit, Rejection, Row, TestRun, UnitRecord, fingerprint};

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

/// Writes that may share one transaction.
const GROUP_MAX: usize = 64;

/// Work for the thread.
enum Work {
    Read(Box<dyn FnOnce(&Connection) + Send>),
    Write(Box<dyn Write>),
}

/// A write in line.
trait Write: Send {
    /// Carries it out inside a savepoint.
    fn run(&mut self, connection: &Connection) -> Result<(), rusqlite::Error>;
    /// Tells the result after the commit, or why there was none.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
    fn operation(&self) -> &'static str;
}

struct WriteOf<F, R> {
    operation: &'static str,
    write: Option<F>,
    result: Option<R>,
    answer: oneshot::Sender<Result<R, StoreError>>,
}

impl<R: Send, F: FnOnce(&Connection) -> Result<R, rusqlite::Error> + Send> Write for WriteOf<F, R> {
    fn run(&mut self, connection: &Connection) -> Result<(), rusqlite::Error> {
        if let Some(write) = self.write.take() {
            self.result = Some(write(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let result = match (failure, self.result) {
            (None, Some(result)) => Ok(result),
            (Some(failure), _) => Err(failure),
            (None, None) => Err(StoreError::Closed),
        };
        if let Err(Err(error)) = self.answer.send(result) {
            tracing::error!(%error, "a write that nobody waited for was lost; it is repeated after a restart");
        }
    }

    fn operation(&self) -> &'static str {
        self.operation
    }
}

/// A handle of the store; the file is closed when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Store {
    sender: mpsc::Sender<Work>,
}

impl Store {
    /// Opens or makes the file and starts its thread. The receiver resolves when the file is closed.
    pub(crate) fn open(path: &Path) -> Result<(Self, oneshot::Receiver<()>), StoreError> {
        #[cfg(test)]
        let faults = std::sync::Arc::<crate::faults::Faults>::default();
        Self::open_with(
            path,
            #[cfg(test)]
            faults,
        )
    }

    /// Opens with crash points, in tests.
    pub(crate) fn open_with(
        path: &Path,
        #[cfg(test)] faults: std::sync::Arc<crate::faults::Faults>,
    ) -> Result<(Self, oneshot::Receiver<()>), StoreError> {
        let connection = schema::open(path)?;
        let (sender, receiver) = mpsc::channel::<Work>();
        let (closed, closing) = oneshot::channel();
        std::thread::Builder::new()
            .name("state-store".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                Thread {
                    connection,
                    receiver,
                    #[cfg(test)]
                    faults,
                }
                .run();
                // The other side may be gone: then nobody waits for the file.
                let _ = closed.send(());
            })
            .map_err(|error| StoreError::Open { path: path.to_owned(), detail: error.to_string() })?;
        Ok((Self { sender }, closing))
    }

    /// Reads.
    async fn read<R: Send + 'static>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Connection) -> Result<R, rusqlite::Error> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        let work = Work::Read(Box::new(move |connection| {
            // Whoever asked may be gone.
            let _ = answer.send(read(connection));
        }));
        self.sender.send(work).map_err(|_| StoreError::Closed)?;
        match answered.await {
            Ok(result) => result.map_err(|error| failed(operation, &error)),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Writes, all or nothing; durable when the receiver gets its answer. The write is in line as soon as this
    /// returns, awaited or not; writes that wait in line together share one commit.
    fn write<R: Send + 'static>(
        &self,
        operation: &'static str,
        write: impl FnOnce(&Connection) -> Result<R, rusqlite::Error> + Send + 'static,
    ) -> Written<R> {
        let (answer, answered) = oneshot::channel();
        let work = Work::Write(Box::new(WriteOf { operation, write: Some(write), result: None, answer }));
        let sent = self.sender.send(work).is_ok();
        Written { answered: sent.then_some(answered) }
    }
}

/// The thread that owns the connection.
struct Thread {
    connection: Connection,
    receiver: mpsc::Receiver<Work>,
    #[cfg(test)]
    faults: std::sync::Arc<crate::faults::Faults>,
}

impl Thread {
    /// Works until the last handle is dropped.
    fn run(mut self) {
        let mut next = None;
        while let Some(work) = next.take().or_else(|| self.receiver.recv().ok()) {
            match work {
                Work::Read(read) => read(&self.connection),
                Work::Write(write) => {
                    let mut group = vec![write];
                    while group.len() < GROUP_MAX {
                        match self.receiver.try_recv() {
                            Ok(Work::Write(write)) => group.push(write),
                            Ok(read @ Work::Read(_)) => {
                                next = Some(read);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit(group);
                }
            }
        }
    }

    /// Carries out writes in one transaction; one that fails takes nothing with it.
    fn commit(&mut self, mut group: Vec<Box<dyn Write>>) {
        let mut failures: Vec<Option<String>> = Vec::with_capacity(group.len());
        let committed = self.connection.transaction().and_then(|mut transaction| {
            for write in &mut group {
                #[cfg(test)]
                if self.faults.dies_before() {
                    return Err(rusqlite::Error::InvalidQuery);
                }
                let savepoint = transaction.savepoint()?;
                match write.run(&savepoint) {
                    Ok(()) => {
                        savepoint.commit()?;
                        failures.push(None);
                    }
                    Err(error) => failures.push(Some(error.to_string())),
                }
            }
            transaction.commit()
        });
        let common = committed.err().map(|error| error.to_string());
        let failures = failures.into_iter().chain(std::iter::repeat(None));
        for (write, failure) in group.into_iter().zip(failures) {
            #[cfg(test)]
            if self.faults.dies_after() {
                continue;
            }
            let operation = write.operation();
            let detail = common.clone().or(failure);
            write.answer(detail.map(|detail| StoreError::Operate { operation, detail }));
        }
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
