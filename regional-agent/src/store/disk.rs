//! The store's SQLite file.

use std::path::Path;
use std::time::Duration;

use protocol::id::AgentId;
use protocol::telemetry::{Gap, GapReason, StreamEpoch, TelemetryClass};
use rusqlite::{Connection, OptionalExtension, params};

use super::catalog::{Catalog, Position, Sender, StreamKey};

type Result<T> = rusqlite::Result<T>;

/// Raised with every change of the schema; an older program refuses a newer file, and leaves it alone.
pub(super) const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE senders (id INTEGER PRIMARY KEY, agent TEXT NOT NULL UNIQUE, edge TEXT NOT NULL,
        cluster TEXT NOT NULL, gone INTEGER NOT NULL) STRICT;
    CREATE TABLE streams (sender INTEGER NOT NULL, class INTEGER NOT NULL, epoch INTEGER NOT NULL,
        through INTEGER NOT NULL, watermark INTEGER NOT NULL, PRIMARY KEY (sender, class, epoch)) STRICT;
    CREATE TABLE ahead (sender INTEGER NOT NULL, class INTEGER NOT NULL, epoch INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, newest INTEGER NOT NULL,
        PRIMARY KEY (sender, class, epoch, first)) STRICT;
    CREATE TABLE batches (id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, edge TEXT NOT NULL,
        cluster TEXT NOT NULL, class INTEGER NOT NULL, last INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
    CREATE INDEX batches_by_age ON batches (class, last);
    CREATE TABLE gaps (id INTEGER PRIMARY KEY, sender INTEGER NOT NULL, class INTEGER NOT NULL,
        batches INTEGER NOT NULL, points INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
        reason INTEGER NOT NULL) STRICT;
    CREATE TABLE notes (until INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
    PRAGMA user_version = 1;
";

pub(super) struct Disk {
    connection: Connection,
    /// Bytes of payload.
    pub(super) bytes: u64,
}

/// A stored batch.
pub(super) struct StoredBatch {
    pub(super) edge: String,
    pub(super) cluster: String,
    pub(super) class: TelemetryClass,
    pub(super) payload: Vec<u8>,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -4096)?;
        connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
        connection.set_prepared_statement_cache_capacity(32);
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT"))?;
        } else if version != SCHEMA_VERSION {
            return Err(damaged(&format!("schema version {version}")));
        }
        let bytes: i64 =
            connection
                .query_row("SELECT coalesce(sum(length(payload)), 0) FROM batches", [], |row| row.get(0))?;
        Ok(Self { connection, bytes: bytes as u64 })
    }

    pub(super) fn begin(&self) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    pub(super) fn commit(&self) -> Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    pub(super) fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // A rollback that fails leaves nothing behind either: the next open rolls back.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Everything but the batches.
    pub(super) fn catalog(&self, region: &str) -> Result<Catalog> {
        let mut catalog = Catalog { region: region.to_owned(), ..Catalog::default() };
        let agents = self.senders(&mut catalog)?;
        let agent = |id: i64| agents.get(&id).cloned().ok_or_else(|| damaged("a row of an unknown sender"));
        let mut statement =
            self.connection.prepare("SELECT sender, class, epoch, through, watermark FROM streams")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key =
                (agent(row.get(0)?)?, class_of(row.get(1)?)?, StreamEpoch(row.get::<_, i64>(2)? as u64));
            let position =
                Position { through: unsigned(row, 3)?, watermark: unsigned(row, 4)?, ..Position::default() };
            catalog.streams.insert(key, position);
        }
        let mut statement =
            self.connection.prepare("SELECT sender, class, epoch, first, last, newest FROM ahead")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key =
                (agent(row.get(0)?)?, class_of(row.get(1)?)?, StreamEpoch(row.get::<_, i64>(2)? as u64));
            let ahead = &mut catalog.streams.entry(key).or_default().ahead;
            ahead.insert(unsigned(row, 3)?, (unsigned(row, 4)?, unsigned(row, 5)?));
        }
        let mut statement = self
            .connection
            .prepare("SELECT sender, class, batches, points, first, last, reason FROM gaps")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let gap = Gap {
                batches: unsigned(row, 2)?,
                points: unsigned(row, 3)?,
                first: unsigned(row, 4)?,
                last: unsigned(row, 5)?,
                reason: reason_of(row.get(6)?),
            };
            catalog.gaps.push((agent(row.get(0)?)?, class_of(row.get(1)?)?, gap));
        }
        let mut statement = self.connection.prepare("SELECT until, text FROM notes")?;
        catalog.notes =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_>>()?;
        Ok(catalog)
    }

    fn senders(&self, catalog: &mut Catalog) -> Result<std::collections::BTreeMap<i64, AgentId>> {
        let mut agents = std::collections::BTreeMap::new();
        let mut statement = self.connection.prepare("SELECT id, agent, edge, cluster, gone FROM senders")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let agent: AgentId =
                row.get::<_, String>(1)?.parse().map_err(|_| damaged("a sender that is no agent"))?;
            agents.insert(row.get(0)?, agent.clone());
            let sender = Sender { edge: row.get(2)?, cluster: row.get(3)?, gone: row.get(4)?, refused: 0 };
            catalog.senders.insert(agent, sender);
        }
        Ok(agents)
    }

    /// Gives every batch, in the order they came.
    pub(super) fn each_batch(&self, mut sink: impl FnMut(StoredBatch)) -> Result<()> {
        let mut statement =
            self.connection.prepare("SELECT edge, cluster, class, payload FROM batches ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sink(StoredBatch {
                edge: row.get(0)?,
                cluster: row.get(1)?,
                class: class_of(row.get(2)?)?,
                payload: row.get(3)?,
            });
        }
        Ok(())
    }

    /// Names a sender; its row.
    pub(super) fn put_sender(&self, agent: &AgentId, sender: &Sender) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO senders (agent, edge, cluster, gone) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (agent) DO UPDATE SET edge = ?2, cluster = ?3, gone = ?4",
            )?
            .execute(params![agent.to_string(), sender.edge, sender.cluster, sender.gone])
            .map(drop)
    }

    pub(super) fn sender(&self, agent: &AgentId) -> Result<i64> {
        self.connection
            .prepare_cached("SELECT id FROM senders WHERE agent = ?1")?
            .query_row([agent.to_string()], |row| row.get(0))
            .optional()?
            .ok_or_else(|| damaged("a sender without a row"))
    }

    pub(super) fn put_position(&self, sender: i64, key: &StreamKey, position: &Position) -> Result<()> {
        let (class, epoch) = (number(key.1), key.2.0 as i64);
        self.connection
            .prepare_cached(
                "INSERT INTO streams VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (sender, class, epoch) DO UPDATE SET through = ?4, watermark = ?5",
            )?
            .execute(params![sender, class, epoch, position.through as i64, position.watermark as i64])?;
        self.connection
            .prepare_cached("DELETE FROM ahead WHERE sender = ?1 AND class = ?2 AND epoch = ?3")?
            .execute(params![sender, class, epoch])?;
        for (first, (last, newest)) in &position.ahead {
            self.connection
                .prepare_cached("INSERT INTO ahead VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![sender, class, epoch, *first as i64, *last as i64, *newest as i64])?;
        }
        Ok(())
    }

    pub(super) fn insert_batch(
        &mut self,
        sender: i64,
        (edge, cluster): (&str, &str),
        class: TelemetryClass,
        last: u64,
        payload: &[u8],
    ) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO batches (sender, edge, cluster, class, last, payload) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![sender, edge, cluster, number(class), last as i64, payload])?;
        self.bytes += payload.len() as u64;
        Ok(())
    }

    pub(super) fn insert_gap(&self, sender: i64, class: TelemetryClass, gap: &Gap) -> Result<()> {
        self.connection
            .prepare_cached(
                "INSERT INTO gaps (sender, class, batches, points, first, last, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                sender,
                number(class),
                gap.batches as i64,
                gap.points as i64,
                gap.first as i64,
                gap.last as i64,
                reason_number(gap.reason),
            ])
            .map(drop)
    }

    pub(super) fn insert_note(&self, until: i64, text: &str) -> Result<()> {
        self.connection.execute("INSERT INTO notes VALUES (?1, ?2)", params![until, text]).map(drop)
    }

    /// Puts a note in place of those that end alike.
    pub(super) fn replace_note(&self, ending: &str, until: i64, text: &str) -> Result<()> {
        self.connection.execute("DELETE FROM notes WHERE text LIKE '%' || ?1", [ending])?;
        self.insert_note(until, text)
    }

    /// Deletes batches and gaps of a class that end before a time.
    pub(super) fn expire(&mut self, class: TelemetryClass, before: u64) -> Result<()> {
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        let bytes: i64 = self
            .connection
            .prepare_cached(
                "SELECT coalesce(sum(length(payload)), 0) FROM batches WHERE class = ?1 AND last < ?2",
            )?
            .query_row(params![number(class), before], |row| row.get(0))?;
        if bytes > 0 {
            self.connection
                .prepare_cached("DELETE FROM batches WHERE class = ?1 AND last < ?2")?
                .execute(params![number(class), before])?;
        }
        self.bytes = self.bytes.saturating_sub(bytes as u64);
        self.connection
            .prepare_cached("DELETE FROM gaps WHERE class = ?1 AND last < ?2")?
            .execute(params![number(class), before])?;
        Ok(())
    }

    pub(super) fn expire_notes(&self, before: i64) -> Result<()> {
        self.connection.execute("DELETE FROM notes WHERE until < ?1", [before]).map(drop)
    }

    /// A time before which lies about that share (in percent) of the batches of cost, or of everything else.
    pub(super) fn age_of_share(&self, cost: bool, percent: u64) -> Result<Option<u64>> {
        let (cost, class) = (i64::from(cost), number(TelemetryClass::Cost));
        let count: i64 = self.connection.query_row(
            "SELECT count(*) FROM batches WHERE (class = ?2) = ?1",
            params![cost, class],
            |row| row.get(0),
        )?;
        let skip = count.saturating_mul(percent as i64) / 100;
        self.connection
            .query_row(
                "SELECT last FROM batches WHERE (class = ?2) = ?1 ORDER BY last LIMIT 1 OFFSET ?3",
                params![cost, class, skip.min(count - 1).max(0)],
                |row| row.get::<_, i64>(0),
            )
            .optional()
            .map(|found| found.map(|last| last as u64 + 1))
    }

    /// Gives pages back to the file system.
    pub(super) fn shrink(&self) -> Result<()> {
        self.connection.execute_batch("PRAGMA incremental_vacuum(2048)")
    }
}

fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> Result<u64> {
    row.get::<_, i64>(column).map(|value| value as u64)
}

fn number(class: TelemetryClass) -> i64 {
    match class {
        TelemetryClass::Events => 0,
        TelemetryClass::Cost => 1,
        TelemetryClass::Metrics => 2,
        TelemetryClass::Traces => 3,
        TelemetryClass::Logs => 4,
    }
}

fn class_of(number: i64) -> Result<TelemetryClass> {
    usize::try_from(number)
        .ok()
        .and_then(|number| TelemetryClass::ALL.get(number).copied())
        .ok_or_else(|| damaged("a class that does not exist"))
}

fn reason_number(reason: GapReason) -> i64 {
    match reason {
        GapReason::Bytes => 0,
        GapReason::Age => 1,
        GapReason::DiskFull => 2,
        GapReason::Corrupt => 3,
    }
}

fn reason_of(number: i64) -> GapReason {
    match number {
        0 => GapReason::Bytes,
        1 => GapReason::Age,
        2 => GapReason::DiskFull,
        _ => GapReason::Corrupt,
    }
}

/// The version of a file that a newer program wrote; nothing for one that this program knows, cannot read, or must make.
pub(super) fn newer(path: &Path) -> Option<i64> {
    let file = path.exists().then(|| Connection::open(path).ok())??;
    let version = file.pragma_query_value(None, "user_version", |row| row.get(0)).ok()?;
    (version > SCHEMA_VERSION).then_some(version)
}

fn damaged(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(why.to_owned()),
    )
}

/// Whether an error means that the file is not what it should be.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, DatabaseCorrupt, NotADatabase};
    error
        .sqlite_error_code()
        .is_none_or(|code| matches!(code, DatabaseCorrupt | NotADatabase | ConstraintViolation))
}

/// Whether another process has the file.
pub(super) fn is_in_use(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    error.sqlite_error_code().is_some_and(|code| matches!(code, DatabaseBusy | DatabaseLocked))
}

/// Whether the disk is full.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}
