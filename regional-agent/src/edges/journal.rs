//! The shelf on disk: one SQLite file, one writer thread, many changes per commit.
//!
//! # Why durability may lag
//! Nothing is acknowledged because it is in this file. What is lost with a crash was either held by nobody, and
//! the hub sends it again when the region does not list it, or an edge has it already and refuses older ones.
//! So commits are grouped and not synced one by one; the write-ahead log keeps every commit whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use protocol::codec::{decode, encode};
use protocol::endpoints::SignedEndpoints;
use protocol::enrolment::Refusal;
use protocol::id::{Digest, EdgeId};
use protocol::placement::SignedPlacement;
use protocol::plan::SignedPlan;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

/// Most changes in one commit.
const COMMIT_CHANGES_MAX: usize = 512;
/// The thread needs little: SQLite keeps its working memory on the heap.
const STACK_BYTES: usize = 512 * 1024;
/// Longest refusal or plan header that is read back.
const RECORD_BYTES_MAX: usize = 64 * 1024;

/// Raised with every change of the tables; an older program refuses a newer file, and leaves it alone. Files of before
/// have none.
const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS plans (edge BLOB PRIMARY KEY, signed BLOB NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS blobs (digest BLOB PRIMARY KEY, content BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS removed (edge BLOB PRIMARY KEY, refusal BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS placements (edge BLOB PRIMARY KEY, signed BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS endpoints (one INTEGER PRIMARY KEY CHECK (one = 1), signed BLOB NOT NULL);
    CREATE TABLE IF NOT EXISTS names (edge BLOB PRIMARY KEY, name TEXT NOT NULL, cluster TEXT NOT NULL) WITHOUT ROWID;
";

/// Why the shelf cannot be kept on disk.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened or read.
    #[error("failed to open the shelf of plans \"{}\": {detail}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What SQLite or the system says.
        detail: String,
    },
    /// A newer program wrote it.
    #[error(
        "the shelf of plans \"{}\" has version {version}, this program knows {VERSION}: it was written by a newer program; \
         start that one again, or move the file away, then the hub sends the plans again",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
}

/// A change of the shelf.
#[derive(Debug)]
pub(super) enum Change {
    /// An edge's plan is replaced.
    Plan { edge: EdgeId, signed: SignedPlan, body: Bytes },
    /// A blob is needed from now on.
    Blob { digest: Digest, content: Bytes },
    /// A blob is not needed any more.
    Unneeded(Digest),
    /// An edge is not of this region any more.
    Removed { edge: EdgeId, refusal: Refusal },
    /// An edge is of this region again.
    Returned(EdgeId),
    /// Where an edge links, or all of them.
    Placed { edge: Option<EdgeId>, signed: SignedPlacement },
    /// Where an edge links is not of interest any more.
    Unplaced(EdgeId),
    /// Where the region listens.
    Listed(SignedEndpoints),
    /// What an edge is called.
    Named { edge: EdgeId, name: String, cluster: String },
}

/// What the file held.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) plans: Vec<(EdgeId, SignedPlan, Bytes)>,
    pub(super) blobs: BTreeMap<Digest, Bytes>,
    pub(super) removed: BTreeMap<EdgeId, Refusal>,
    pub(super) names: BTreeMap<EdgeId, (String, String)>,
    pub(super) placements: Vec<(Option<EdgeId>, SignedPlacement)>,
    pub(super) endpoints: Option<SignedEndpoints>,
}

/// Sends changes to the writer thread. Dropping it waits until the thread has written all of them: whoever opens
/// the file next finds it complete, and finds no second writer.
#[derive(Debug)]
pub(super) struct Journal {
    /// `None` only while it is dropped.
    changes: Option<mpsc::Sender<Change>>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.changes.take());
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::warn!("the writer of the shelf of plans panicked; the hub sends again what is missing");
        }
    }
}

impl Journal {
    /// Opens or makes the file. A damaged one is put aside: it is a cache, and the hub has everything.
    pub(super) fn open(path: &Path) -> Result<(Self, Contents), JournalError> {
        let failed = |detail: String| JournalError::Open { path: path.to_owned(), detail };
        if let Some(version) = newer(path) {
            return Err(JournalError::Newer { path: path.to_owned(), version });
        }
        let (connection, contents) = match open(path) {
            Ok(opened) => opened,
            Err(error) => {
                let aside = path.with_extension("damaged");
                tracing::warn!(%error, aside = %aside.display(), "the shelf of plans is damaged and put aside");
                std::fs::rename(path, &aside).map_err(|source| failed(format!("{error}; {source}")))?;
                for suffix in ["-wal", "-shm"] {
                    let mut name = path.as_os_str().to_owned();
                    name.push(suffix);
                    // Usually there is none.
                    let _ = std::fs::remove_file(name);
                }
                open(path).map_err(|error| failed(error.to_string()))?
            }
        };
        let (changes, receiver) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("shelf".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || write(connection, &receiver))
            .map_err(|error| failed(error.to_string()))?;
        Ok((Self { changes: Some(changes), writer: Some(writer) }, contents))
    }

    /// Puts a change in line.
    pub(super) fn note(&self, change: Change) {
        if self.changes.as_ref().is_none_or(|changes| changes.send(change).is_err()) {
            tracing::warn!("a change of the shelf of plans is not kept on disk; its writer is gone");
        }
    }
}

/// The version of a file that a newer program wrote.
fn newer(path: &Path) -> Option<i64> {
    let file = path.exists().then(|| Connection::open(path).ok())??;
    let version = file.pragma_query_value(None, "user_version", |row| row.get(0)).ok()?;
    (version > VERSION).then_some(version)
}

fn open(path: &Path) -> rusqlite::Result<(Connection, Contents)> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.execute_batch(SCHEMA)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    let contents = read(&connection)?;
    Ok((connection, contents))
}

/// Rows that do not read back are left out; the hub sends what is missing.
fn read(connection: &Connection) -> rusqlite::Result<Contents> {
    let mut contents = Contents::default();
    let mut rows = connection.prepare("SELECT edge, signed, body FROM plans")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let signed: Vec<u8> = row.get(1)?;
        if let (Ok(edge), Ok(signed)) = (row.get::<_, [u8; 16]>(0), decode(&signed, RECORD_BYTES_MAX)) {
            contents.plans.push((EdgeId(edge), signed, Bytes::from(row.get::<_, Vec<u8>>(2)?)));
        }
    }
    let mut rows = connection.prepare("SELECT digest, content FROM blobs")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (digest, content): ([u8; 32], Vec<u8>) = (row.get(0)?, row.get(1)?);
        contents.blobs.insert(Digest(digest), Bytes::from(content));
    }
    let mut rows = connection.prepare("SELECT edge, refusal FROM removed")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (edge, refusal): ([u8; 16], Vec<u8>) = (row.get(0)?, row.get(1)?);
        if let Ok(refusal) = decode(&refusal, RECORD_BYTES_MAX) {
            contents.removed.insert(EdgeId(edge), refusal);
        }
    }
    let mut rows = connection.prepare("SELECT edge, name, cluster FROM names")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        contents.names.insert(EdgeId(row.get(0)?), (row.get(1)?, row.get(2)?));
    }
    let mut rows = connection.prepare("SELECT edge, signed FROM placements")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (edge, signed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if let Ok(signed) = decode(&signed, RECORD_BYTES_MAX) {
            contents.placements.push((edge.try_into().ok().map(EdgeId), signed));
        }
    }
    let signed = connection.query_row("SELECT signed FROM endpoints", [], |row| row.get::<_, Vec<u8>>(0));
    contents.endpoints = signed.optional()?.and_then(|signed| decode(&signed, RECORD_BYTES_MAX).ok());
    Ok(contents)
}

fn write(mut connection: Connection, changes: &mpsc::Receiver<Change>) {
    while let Ok(first) = changes.recv() {
        let mut batch = vec![first];
        while batch.len() < COMMIT_CHANGES_MAX
            && let Ok(next) = changes.try_recv()
        {
            batch.push(next);
        }
        if let Err(error) = commit(&mut connection, &batch) {
            tracing::warn!(%error, changes = batch.len(), "the shelf of plans is not kept on disk");
        }
    }
    // Makes the next start quick; without it the log is read.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).optional();
}

fn commit(connection: &mut Connection, batch: &[Change]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for change in batch {
        apply(&transaction, change)?;
    }
    transaction.commit()
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| {
        transaction.prepare_cached(sql)?.execute(params).map(|_| ())
    };
    match change {
        Change::Plan { edge, signed, body } => run(
            "INSERT OR REPLACE INTO plans (edge, signed, body) VALUES (?1, ?2, ?3)",
            params![edge.0, &encode(signed)[..], &body[..]],
        ),
        Change::Blob { digest, content } => run(
            "INSERT OR REPLACE INTO blobs (digest, content) VALUES (?1, ?2)",
            params![digest.0, &content[..]],
        ),
        Change::Unneeded(digest) => run("DELETE FROM blobs WHERE digest = ?1", params![digest.0]),
        Change::Removed { edge, refusal } => {
            run("DELETE FROM plans WHERE edge = ?1", params![edge.0])?;
            run("DELETE FROM names WHERE edge = ?1", params![edge.0])?;
            run(
                "INSERT OR REPLACE INTO removed (edge, refusal) VALUES (?1, ?2)",
                params![edge.0, &encode(refusal)[..]],
            )
        }
        Change::Returned(edge) => run("DELETE FROM removed WHERE edge = ?1", params![edge.0]),
        Change::Placed { edge, signed } => run(
            "INSERT OR REPLACE INTO placements (edge, signed) VALUES (?1, ?2)",
            // That of all edges has no edge.
            params![edge.as_ref().map_or(&[][..], |edge| &edge.0[..]), &encode(signed)[..]],
        ),
        Change::Unplaced(edge) => run("DELETE FROM placements WHERE edge = ?1", params![edge.0]),
        Change::Listed(signed) => {
            run("INSERT OR REPLACE INTO endpoints (one, signed) VALUES (1, ?1)", params![&encode(signed)[..]])
        }
        Change::Named { edge, name, cluster } => run(
            "INSERT OR REPLACE INTO names (edge, name, cluster) VALUES (?1, ?2, ?3)",
            params![edge.0, name, cluster],
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_newer_program_is_refused_with_what_helps_and_one_of_before_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edges.sqlite");
        let (journal, _) = Journal::open(&path).unwrap();
        let edge = EdgeId([1; 16]);
        journal.note(Change::Named { edge, name: "till".to_owned(), cluster: "shop".to_owned() });
        drop(journal);
        let set = |version: i64| {
            Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        };
        set(7);
        let error = Journal::open(&path).unwrap_err().to_string();
        for part in ["version 7", "knows 1", "newer program", "move the file away"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!path.with_extension("damaged").exists());
        // Before, nobody wrote a version.
        set(0);
        let (_, contents) = Journal::open(&path).unwrap();
        assert_eq!(contents.names.get(&edge), Some(&("till".to_owned(), "shop".to_owned())));
    }
}
