//! The SQLite file: schema, and every statement.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use protocol::telemetry::{Gap, StreamEpoch, TelemetryClass, TelemetryContent, TelemetryItem};
use rusqlite::{Connection, OptionalExtension, params};

use crate::command::Batch;
use crate::lane::{Tally, number, reason_number, reason_of};

type Result<T> = rusqlite::Result<T>;

/// Raised with every change of the schema; an older program refuses a newer file, and leaves it alone.
pub(crate) const SCHEMA_VERSION: i64 = 1;

/// `items`: a batch has a payload and no reason, a gap has a reason and no payload.
const SCHEMA: &str = "
    CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL,
        gaps_made INTEGER NOT NULL, points_dropped INTEGER NOT NULL) STRICT;
    CREATE TABLE lanes (class INTEGER PRIMARY KEY, next INTEGER NOT NULL, offered INTEGER NOT NULL) STRICT;
    CREATE TABLE items (class INTEGER NOT NULL, sequence INTEGER NOT NULL, pushed INTEGER NOT NULL,
        first INTEGER NOT NULL, last INTEGER NOT NULL, points INTEGER NOT NULL, batches INTEGER NOT NULL,
        reason INTEGER, check_sum INTEGER NOT NULL, payload BLOB, PRIMARY KEY (class, sequence)) STRICT;
    CREATE TABLE states (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    PRAGMA user_version = 1;
";

/// Most pages SQLite can number.
const PAGES_MAX: i64 = 0xffff_fffe;

/// Pages of the log that are moved into the database, usually and on a full disk.
const LOG_PAGES: i64 = 1000;
const LOG_PAGES_HELD: i64 = 64;

/// Pages given back to the file system per commit when the file has many that are free.
const VACUUM_PAGES: i64 = 256;

pub(crate) struct Database {
    connection: Connection,
    pub(crate) epoch: StreamEpoch,
    /// Pages the file may have while the disk has room.
    pages_max: i64,
}

/// An item as it is stored.
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
    pub(crate) gap: Gap,
    pub(crate) is_gap: bool,
    pub(crate) pushed: u64,
}

impl Database {
    /// Opens the file, makes the schema in a new one, and checks that all of it can be read.
    pub(crate) fn open(
        path: &Path,
        file_bytes_max: Option<u64>,
        epoch: impl FnOnce() -> u64,
    ) -> Result<(Self, Tally)> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -1024)?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20)?;
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages_max = file_bytes_max.map_or(PAGES_MAX, |bytes| {
            (bytes.min(i64::MAX as u64) as i64 / page.max(1)).clamp(16, PAGES_MAX)
        });
        connection.pragma_update(None, "max_page_count", pages_max)?;
        connection.set_prepared_statement_cache_capacity(32);
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version == 0 {
            connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA}"))?;
            connection.execute("INSERT INTO meta VALUES (1, ?1, 0, 0)", [epoch() as i64])?;
            for class in TelemetryClass::ALL {
                connection.execute("INSERT INTO lanes VALUES (?1, 1, 0)", [number(class) as i64])?;
            }
            connection.execute_batch("COMMIT")?;
        } else if version != SCHEMA_VERSION {
            return Err(damaged(&format!("spool has schema version {version}")));
        }
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(damaged(&verdict));
        }
        let epoch: i64 = connection.query_row("SELECT epoch FROM meta", [], |row| row.get(0))?;
        let database = Self { connection, epoch: StreamEpoch(epoch as u64), pages_max };
        let tally = database.tally()?;
        Ok((database, tally))
    }

    fn tally(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        (tally.gaps_made, tally.points_dropped) =
            self.connection.query_row("SELECT gaps_made, points_dropped FROM meta", [], |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
            })?;
        for class in TelemetryClass::ALL {
            let lane = tally.lane_mut(class);
            (lane.next, lane.offered) = self.connection.query_row(
                "SELECT next, offered FROM lanes WHERE class = ?1",
                [number(class) as i64],
                |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))),
            )?;
            (lane.batches, lane.gaps, lane.bytes) = self.connection.query_row(
                "SELECT count(*) FILTER (WHERE reason IS NULL), count(*) FILTER (WHERE reason IS NOT NULL),
                 coalesce(sum(length(payload)), 0) FROM items WHERE class = ?1",
                [number(class) as i64],
                |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), unsigned(row.get(2)?))),
            )?;
            lane.oldest = self.oldest_number(class)?;
        }
        Ok(tally)
    }

    pub(crate) fn begin(&self) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    /// Writes the tallies that changed, and commits.
    pub(crate) fn commit(&self, before: &Tally, after: &Tally) -> Result<()> {
        for class in TelemetryClass::ALL {
            let (old, new) = (before.lane(class), after.lane(class));
            if (old.next, old.offered) != (new.next, new.offered) {
                self.connection
                    .prepare_cached("UPDATE lanes SET next = ?2, offered = ?3 WHERE class = ?1")?
                    .execute(params![number(class) as i64, new.next as i64, new.offered as i64])?;
            }
        }
        if (before.gaps_made, before.points_dropped) != (after.gaps_made, after.points_dropped) {
            self.connection
                .prepare_cached("UPDATE meta SET gaps_made = ?1, points_dropped = ?2")?
                .execute([after.gaps_made as i64, after.points_dropped as i64])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    pub(crate) fn roll_back(&self) {
        if !self.connection.is_autocommit() {
            // A rollback that fails leaves nothing behind either: the next open rolls back.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Gives pages back when many are free.
    pub(crate) fn shrink(&self) -> Result<()> {
        let free: i64 = self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free > 4 * VACUUM_PAGES {
            self.connection.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
        }
        Ok(())
    }

    /// Moves the write-ahead log into the database; the next commit begins the log anew, in the room that it has.
    pub(crate) fn checkpoint(&self) {
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()));
    }

    /// Lets the file grow by so many bytes and no more: what comes takes the place of what was dropped.
    pub(crate) fn hold(&self, growth_bytes: u64) -> Result<()> {
        let number = |name| self.connection.pragma_query_value::<i64, _>(None, name, |row| row.get(0));
        let growth = i64::try_from(growth_bytes).unwrap_or(i64::MAX) / number("page_size")?.max(1);
        let pages = number("page_count")?.saturating_add(growth).clamp(16, self.pages_max);
        self.connection.pragma_update(None, "max_page_count", pages)?;
        // A log that is moved often stays small, and leaves the room to the database.
        self.connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_HELD)
    }

    /// Lets the file grow as it may again.
    pub(crate) fn let_go(&self) -> Result<()> {
        self.connection.pragma_update(None, "max_page_count", self.pages_max)?;
        self.connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)
    }

    pub(crate) fn insert(&self, sequence: u64, pushed: u64, batch: &Batch) -> Result<()> {
        self.connection
            .prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, NULL, ?7, ?8)")?
            .execute(params![
                number(batch.class) as i64,
                sequence as i64,
                pushed as i64,
                batch.first as i64,
                batch.last as i64,
                i64::from(batch.points),
                check_sum(&batch.payload),
                &batch.payload[..],
            ])?;
        if let Some((name, value)) = &batch.state {
            self.connection
                .prepare_cached(
                    "INSERT INTO states VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
                )?
                .execute(params![name, &value[..]])?;
        }
        Ok(())
    }

    /// Puts a gap where its number is, over whatever was there.
    pub(crate) fn put_gap(&self, class: TelemetryClass, sequence: u64, gap: &Gap) -> Result<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO items VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6, ?7, 0, NULL)")?
            .execute(params![
                number(class) as i64,
                sequence as i64,
                gap.first as i64,
                gap.last as i64,
                gap.points as i64,
                gap.batches as i64,
                reason_number(gap.reason),
            ])
            .map(drop)
    }

    pub(crate) fn delete(&self, class: TelemetryClass, sequence: u64) -> Result<()> {
        self.connection
            .prepare_cached("DELETE FROM items WHERE class = ?1 AND sequence = ?2")?
            .execute([number(class) as i64, sequence as i64])
            .map(drop)
    }

    pub(crate) fn delete_through(&self, class: TelemetryClass, through: u64) -> Result<()> {
        self.connection
            .prepare_cached("DELETE FROM items WHERE class = ?1 AND sequence <= ?2")?
            .execute([number(class) as i64, through as i64])
            .map(drop)
    }

    /// Batches, gaps and bytes up to a number.
    pub(crate) fn count_through(&self, class: TelemetryClass, through: u64) -> Result<(u64, u64, u64)> {
        self.connection
            .prepare_cached(
                "SELECT count(*) FILTER (WHERE reason IS NULL), count(*) FILTER (WHERE reason IS NOT NULL),
                 coalesce(sum(length(payload)), 0) FROM items WHERE class = ?1 AND sequence <= ?2",
            )?
            .query_row([number(class) as i64, through as i64], |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), unsigned(row.get(2)?)))
            })
    }

    /// The oldest batch of a lane.
    pub(crate) fn oldest_batch(&self, class: TelemetryClass) -> Result<Option<Stored>> {
        self.connection
            .prepare_cached(
                "SELECT sequence, pushed, first, last, points, batches, reason, coalesce(length(payload), 0)
                 FROM items WHERE class = ?1 AND reason IS NULL ORDER BY sequence LIMIT 1",
            )?
            .query_row([number(class) as i64], stored)
            .optional()
    }

    /// The item before a number.
    pub(crate) fn before(&self, class: TelemetryClass, sequence: u64) -> Result<Option<Stored>> {
        self.connection
            .prepare_cached(
                "SELECT sequence, pushed, first, last, points, batches, reason, coalesce(length(payload), 0)
                 FROM items WHERE class = ?1 AND sequence < ?2 ORDER BY sequence DESC LIMIT 1",
            )?
            .query_row([number(class) as i64, sequence as i64], stored)
            .optional()
    }

    /// The oldest number that an item of the lane stands for.
    pub(crate) fn oldest_number(&self, class: TelemetryClass) -> Result<Option<u64>> {
        self.connection
            .prepare_cached(
                "SELECT sequence, pushed, first, last, points, batches, reason, coalesce(length(payload), 0)
                 FROM items WHERE class = ?1 ORDER BY sequence LIMIT 1",
            )?
            .query_row([number(class) as i64], stored)
            .optional()
            .map(|found| found.map(|item| (item.sequence + 1).saturating_sub(item.gap.batches.max(1)).max(1)))
    }

    /// Items after a number, up to so many bytes but at least one; and the numbers of damaged ones.
    pub(crate) fn read(
        &self,
        class: TelemetryClass,
        after: u64,
        limit_bytes: usize,
    ) -> Result<(Vec<TelemetryItem>, Vec<u64>)> {
        let mut statement = self.connection.prepare_cached(
            "SELECT sequence, pushed, first, last, points, batches, reason, coalesce(length(payload), 0),
             payload, check_sum FROM items WHERE class = ?1 AND sequence > ?2 ORDER BY sequence",
        )?;
        let mut rows = statement.query([number(class) as i64, after.min(i64::MAX as u64) as i64])?;
        let (mut items, mut damaged, mut bytes) = (Vec::new(), Vec::new(), 0usize);
        while let Some(row) = rows.next()? {
            let item = stored(row)?;
            bytes = bytes.saturating_add(item.bytes as usize + 64);
            if bytes > limit_bytes && !items.is_empty() {
                break;
            }
            let content = if item.is_gap {
                TelemetryContent::Gap(item.gap)
            } else {
                let payload: Vec<u8> = row.get(8)?;
                if check_sum(&payload) != row.get::<_, i64>(9)? {
                    damaged.push(item.sequence);
                    continue;
                }
                TelemetryContent::Batch {
                    payload: payload.into(),
                    points: u32::try_from(item.gap.points).unwrap_or(u32::MAX),
                    first: item.gap.first,
                    last: item.gap.last,
                }
            };
            items.push(TelemetryItem { class, epoch: self.epoch, sequence: item.sequence, content });
        }
        Ok((items, damaged))
    }

    /// One item.
    pub(crate) fn item(&self, class: TelemetryClass, sequence: u64) -> Result<Option<Stored>> {
        self.before(class, sequence + 1).map(|found| found.filter(|item| item.sequence == sequence))
    }

    pub(crate) fn counts(&self) -> Result<crate::quarantine::Counts> {
        crate::quarantine::Counts::of(&self.connection)
    }

    pub(crate) fn state(&self, name: &str) -> Result<Option<Bytes>> {
        self.connection
            .prepare_cached("SELECT value FROM states WHERE name = ?1")?
            .query_row([name], |row| row.get::<_, Vec<u8>>(0))
            .optional()
            .map(|found| found.map(Bytes::from))
    }

    pub(crate) fn put_state(&self, name: &str, value: &[u8]) -> Result<()> {
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO states VALUES (?1, ?2)")?
            .execute(params![name, value])
            .map(drop)
    }
}

fn stored(row: &rusqlite::Row<'_>) -> Result<Stored> {
    let reason: Option<i64> = row.get(6)?;
    Ok(Stored {
        sequence: unsigned(row.get(0)?),
        pushed: unsigned(row.get(1)?),
        bytes: unsigned(row.get(7)?),
        is_gap: reason.is_some(),
        gap: Gap {
            batches: unsigned(row.get(5)?),
            points: unsigned(row.get(4)?),
            first: unsigned(row.get(2)?),
            last: unsigned(row.get(3)?),
            reason: reason_of(reason.unwrap_or(0)),
        },
    })
}

/// SQLite has no unsigned integers; ours are stored by their bits.
pub(crate) fn unsigned(value: i64) -> u64 {
    value as u64
}

/// The version of a file that a newer program wrote; nothing for one that this program knows, cannot read, or must make.
pub(crate) fn newer(path: &Path) -> Option<i64> {
    let file = path.exists().then(|| Connection::open(path).ok())??;
    let version = file.pragma_query_value(None, "user_version", |row| row.get(0)).ok()?;
    (version > SCHEMA_VERSION).then_some(version)
}

fn check_sum(payload: &[u8]) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    i64::from_le_bytes(first)
}

fn damaged(why: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(why.to_owned()),
    )
}

/// What an error says about the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No room.
    Full,
    /// The file is not what it should be.
    Damaged,
    /// Somebody else has the file.
    InUse,
    /// Anything else.
    Other,
}

impl Trouble {
    pub(crate) fn of(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let Some(code) = error.sqlite_error_code() else {
            // A value of the wrong type or out of range: only damage explains it.
            return Self::Damaged;
        };
        if code == ErrorCode::DiskFull {
            Self::Full
        } else if matches!(
            code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation
        ) || error
            .sqlite_error()
            .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
        {
            Self::Damaged
        } else if matches!(code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) {
            Self::InUse
        } else {
            Self::Other
        }
    }
}
