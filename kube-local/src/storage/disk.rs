//! SQLite behind the store: one table of objects, WAL, one writer at a time, group commit.
//!
//! Changes queue up while a transaction runs and share the next one. `synchronous = NORMAL`: a committed change
//! survives the death of the process; only a power cut may undo the last ones. The database is held exclusively,
//! so that a second process is told so instead of corrupting the first one's view.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::watch;

use super::{Address, ObjectKey, Stored};

const FILE_NAME: &str = "kube-local.sqlite3";
const LOCK_WAIT: Duration = Duration::from_secs(2);
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS objects (
        resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        revision INTEGER NOT NULL, object BLOB NOT NULL,
        PRIMARY KEY (resource, namespace, name)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS cluster (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;";

/// Why a directory could not be opened as storage.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("failed to create the directory \"{path}\"")]
    CreateDirectory { path: PathBuf, source: std::io::Error },
    #[error("the database \"{path}\" is held by another process: stop it first, or use another directory")]
    Held { path: PathBuf },
    #[error("failed to open the database \"{path}\"")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("failed to read the database \"{path}\"")]
    Read { path: PathBuf, source: rusqlite::Error },
}

#[derive(Debug)]
struct Operation {
    address: Address,
    object: Option<Bytes>,
    revision: u64,
}

#[derive(Debug, Default)]
struct Queue {
    operations: Vec<Operation>,
    flushing: bool,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    revision: u64,
    /// The last failure and the newest revision that it held up.
    failure: Option<(u64, String)>,
}

/// A batch that became durable.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) revision: u64,
    pub(super) resources: BTreeSet<Arc<str>>,
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Disk {
    connection: Mutex<Connection>,
    queue: Mutex<Queue>,
    progress: watch::Sender<Progress>,
}

/// A database and what was found in it.
#[derive(Debug)]
pub(crate) struct OpenedDisk {
    pub(super) disk: Disk,
    pub(super) revision: u64,
    pub(super) objects: Vec<(String, ObjectKey, Stored)>,
}

impl OpenedDisk {
    /// Opens or creates the database in a directory. Blocks.
    ///
    /// # Errors
    /// `DiskError`, naming the path; `Held` when another process has it.
    pub(crate) fn open(directory: &Path) -> Result<Self, DiskError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| DiskError::CreateDirectory { path: directory.to_owned(), source })?;
        let path = directory.join(FILE_NAME);
        let connection = connect(&path).map_err(|source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                DiskError::Held { path: path.clone() }
            }
            _ => DiskError::Open { path: path.clone(), source },
        })?;
        let (revision, objects) =
            load(&connection).map_err(|source| DiskError::Read { path: path.clone(), source })?;
        let progress = watch::Sender::new(Progress { revision, ..Progress::default() });
        let disk = Disk { connection: Mutex::new(connection), queue: Mutex::default(), progress };
        Ok(Self { disk, revision, objects })
    }
}

fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(SCHEMA)?;
    // The first write takes the lock that exclusive mode then keeps.
    connection.execute("INSERT OR IGNORE INTO cluster VALUES ('revision', 1)", [])?;
    connection.execute("UPDATE cluster SET value = value WHERE key = 'revision'", [])?;
    Ok(connection)
}

type Loaded = (u64, Vec<(String, ObjectKey, Stored)>);

fn load(connection: &Connection) -> Result<Loaded, rusqlite::Error> {
    let revision: i64 =
        connection.query_row("SELECT value FROM cluster WHERE key = 'revision'", [], |row| row.get(0))?;
    let mut statement =
        connection.prepare("SELECT resource, namespace, name, revision, object FROM objects")?;
    let rows = statement.query_map([], |row| {
        let (namespace, name): (String, String) = (row.get(1)?, row.get(2)?);
        let (revision, bytes): (i64, Vec<u8>) = (row.get(3)?, row.get(4)?);
        let stored = Stored { revision: revision.unsigned_abs(), bytes: bytes.into() };
        Ok((row.get(0)?, ObjectKey::new(&namespace, &name), stored))
    })?;
    let objects = rows.collect::<Result<Vec<_>, _>>()?;
    Ok((revision.unsigned_abs(), objects))
}

impl Disk {
    fn queue(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Queues a change; true when the caller must start a flush because none is running.
    pub(super) fn enqueue(&self, address: Address, object: Option<Bytes>, revision: u64) -> bool {
        let mut queue = self.queue();
        queue.operations.push(Operation { address, object, revision });
        !std::mem::replace(&mut queue.flushing, true)
    }

    /// Writes what is queued in one transaction; `None` when nothing is left or the disk refused.
    pub(super) fn write_queued(&self) -> Option<Written> {
        let operations = {
            let mut queue = self.queue();
            if queue.operations.is_empty() {
                queue.flushing = false;
                return None;
            }
            std::mem::take(&mut queue.operations)
        };
        match self.write(&operations) {
            Ok(()) => {
                let revision =
                    operations.iter().map(|operation| operation.revision).max().unwrap_or_default();
                self.progress.send_modify(|progress| {
                    progress.revision = revision;
                    progress.failure = None;
                });
                let resources = operations.into_iter().map(|operation| operation.address.0).collect();
                Some(Written { revision, resources })
            }
            Err(error) => {
                tracing::error!(%error, "failed to write to disk; the changes stay queued");
                let mut queue = self.queue();
                let through = operations.iter().map(|operation| operation.revision).max().unwrap_or_default();
                let newer = std::mem::replace(&mut queue.operations, operations);
                queue.operations.extend(newer);
                queue.flushing = false;
                drop(queue);
                self.progress.send_modify(|progress| {
                    progress.failure = Some((through, error.to_string()));
                });
                None
            }
        }
    }

    fn write(&self, operations: &[Operation]) -> Result<(), rusqlite::Error> {
        let mut connection = self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let transaction = connection.transaction()?;
        {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO objects VALUES (?1, ?2, ?3, ?4, ?5)")?;
            let mut remove = transaction
                .prepare_cached("DELETE FROM objects WHERE resource = ?1 AND namespace = ?2 AND name = ?3")?;
            for operation in operations {
                let (resource, key) = &operation.address;
                let revision = i64::try_from(operation.revision).unwrap_or(i64::MAX);
                match &operation.object {
                    Some(bytes) => {
                        put.execute(params![&**resource, &*key.namespace, &*key.name, revision, &bytes[..]])?;
                    }
                    None => {
                        remove.execute(params![&**resource, &*key.namespace, &*key.name])?;
                    }
                }
            }
            let last = operations.iter().map(|operation| operation.revision).max().unwrap_or_default();
            let last = i64::try_from(last).unwrap_or(i64::MAX);
            transaction
                .prepare_cached("UPDATE cluster SET value = ?1 WHERE key = 'revision'")?
                .execute(params![last])?;
        }
        transaction.commit()
    }

    /// Waits until a revision is durable, or its write failed.
    pub(super) async fn durable(&self, revision: u64) -> Result<(), String> {
        let mut progress = self.progress.subscribe();
        let held_up = |now: &Progress| now.failure.as_ref().is_some_and(|(through, _)| *through >= revision);
        let reached = progress.wait_for(|now| now.revision >= revision || held_up(now)).await;
        match reached {
            Ok(now) if now.revision >= revision => Ok(()),
            Ok(now) => Err(now.failure.as_ref().map(|(_, text)| text.clone()).unwrap_or_default()),
            Err(_) => Err("the store was closed".to_owned()),
        }
    }
}
