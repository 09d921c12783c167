//! The state file: its tables, and what happens when it is damaged.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use super::StoreError;

/// Raised with every change of the tables; an older program refuses a newer file.
const VERSION: i64 = 3;

/// One process at a time: two engines on one plan would undo each other's work. Pages are 4 KiB; 128 KiB of cache are enough for an inventory of thousands.
const PRAGMAS: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -128;
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_autocheckpoint = 256;
    PRAGMA journal_size_limit = 4194304;
";

const TABLES: &str = "
    CREATE TABLE plan (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        header BLOB NOT NULL, key_id BLOB NOT NULL, signature BLOB NOT NULL,
        applied_term INTEGER, applied_counter INTEGER
    ) STRICT;
    CREATE TABLE blob (digest BLOB PRIMARY KEY, content BLOB NOT NULL) STRICT;
    CREATE TABLE unit (
        id TEXT PRIMARY KEY, spec BLOB NOT NULL, good BLOB, deployed BLOB,
        state INTEGER NOT NULL, message TEXT NOT NULL, since INTEGER NOT NULL, repairs INTEGER NOT NULL,
        revision INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL DEFAULT 0,
        rejected BLOB, rejection TEXT, returned INTEGER NOT NULL DEFAULT 0,
        recorded BLOB, test_order TEXT, test_result TEXT
    ) STRICT;
    CREATE TABLE revision (number INTEGER PRIMARY KEY AUTOINCREMENT) STRICT;
    CREATE TABLE object (
        grp TEXT NOT NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        version TEXT NOT NULL, unit TEXT NOT NULL, ordinal INTEGER NOT NULL,
        digest BLOB, fields BLOB, adopted INTEGER NOT NULL,
        PRIMARY KEY (grp, kind, namespace, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE hook (
        unit TEXT NOT NULL, run TEXT NOT NULL, position INTEGER NOT NULL,
        PRIMARY KEY (unit, run, position)
    ) STRICT, WITHOUT ROWID;
";

/// What a file of version 1 lacks.
const SINCE_1: &str = "
    ALTER TABLE unit ADD COLUMN rejected BLOB;
    ALTER TABLE unit ADD COLUMN rejection TEXT;
    ALTER TABLE unit ADD COLUMN returned INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE unit ADD COLUMN recorded BLOB;
";

/// What a file of version 2 lacks.
const SINCE_2: &str = "
    ALTER TABLE unit ADD COLUMN test_order TEXT;
    ALTER TABLE unit ADD COLUMN test_result TEXT;
";

/// Opens the file. A damaged one is set aside and a new one begun: the plan comes again from above, and what
/// was applied is recognised by its annotations.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .map_err(|error| StoreError::Open { path: path.to_owned(), detail: error.to_string() })?;
    }
    match prepare(path) {
        Ok(connection) => Ok(connection),
        Err(Problem::Sqlite(error)) if damaged(&error) => {
            let aside = set_aside(path)?;
            tracing::error!(
                path = %path.display(), aside = %aside.display(), %error,
                "the state file is damaged; it was set aside and a new one is begun"
            );
            prepare(path).map_err(|error| failed(path, &error))
        }
        Err(error) => Err(failed(path, &error)),
    }
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}{hint}", hint = if busy(.0) { "; another process has it open" } else { "" })]
    Sqlite(rusqlite::Error),
    #[error(
        "it has version {0}, this program knows {VERSION}: it was written by a newer program; start that one again, or move \
         the file away, then the plan comes again from above"
    )]
    Newer(i64),
}

fn failed(path: &Path, problem: &Problem) -> StoreError {
    StoreError::Open { path: path.to_owned(), detail: problem.to_string() }
}

fn busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn prepare(path: &Path) -> Result<Connection, Problem> {
    let mut connection = Connection::open(path).map_err(Problem::Sqlite)?;
    match set_up(&mut connection).map_err(Problem::Sqlite)? {
        VERSION => Ok(connection),
        version => Err(Problem::Newer(version)),
    }
}

/// Makes what is missing; returns the file's version.
fn set_up(connection: &mut Connection) -> Result<i64, rusqlite::Error> {
    connection.set_prepared_statement_cache_capacity(16);
    connection.busy_timeout(std::time::Duration::from_secs(3))?;
    connection.execute_batch(PRAGMAS)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let missing = match version {
        0 => vec![TABLES],
        1 => vec![SINCE_1, SINCE_2],
        2 => vec![SINCE_2],
        VERSION => {
            connection.execute_batch(super::history::TABLE)?;
            return Ok(version);
        }
        _ => return Ok(version),
    };
    let transaction = connection.transaction()?;
    for tables in missing {
        transaction.execute_batch(tables)?;
    }
    transaction.execute_batch(super::history::TABLE)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(VERSION)
}

/// Renames the file and its companions to the first free `<name>.damaged-N`.
fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = (1..1000u32)
        .map(|number| with(&format!(".damaged-{number}")))
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| with(".damaged"));
    for companion in ["-wal", "-shm"] {
        // They are of no use without the file, and may be missing.
        let _ = std::fs::remove_file(with(companion));
    }
    std::fs::rename(path, &aside)
        .map_err(|error| StoreError::Open { path: path.to_owned(), detail: error.to_string() })?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_set_aside_and_a_new_one_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        std::fs::write(&path, [b'x'; 8192]).unwrap();
        drop(open(&path).unwrap());
        assert!(folder.path().join("state.db.damaged-1").exists());
        drop(open(&path).unwrap());
    }

    #[test]
    fn a_file_that_is_in_use_is_refused_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let first = open(&path).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("another process has it open"), "{error}");
        drop(first);
        drop(open(&path).unwrap());
    }

    #[test]
    fn a_file_of_the_first_version_gets_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let columns = |connection: &Connection| -> Vec<String> {
            let mut statement = connection.prepare("SELECT name FROM pragma_table_info('unit')").unwrap();
            statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let fresh = columns(&open(&path).unwrap());
        let old = Connection::open(&path).unwrap();
        for column in ["rejected", "rejection", "returned", "recorded", "test_order", "test_result"] {
            old.execute(&format!("ALTER TABLE unit DROP COLUMN {column}"), []).unwrap();
        }
        old.pragma_update(None, "user_version", 1).unwrap();
        std::mem::drop(old);
        assert_eq!(columns(&open(&path).unwrap()), fresh);
        assert_eq!(columns(&open(&path).unwrap()), fresh);
    }

    #[test]
    fn a_file_of_a_newer_program_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = open(&path).unwrap_err().to_string();
        for part in ["version 99", "knows 3", "newer program", "move the file away"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let version: i64 = Connection::open(&path)
            .and_then(|file| file.query_row("PRAGMA user_version", [], |row| row.get(0)))
            .unwrap();
        assert_eq!((version, std::fs::read_dir(folder.path()).unwrap().count()), (99, 1));
    }
}
