//! What each service settled as, one row after the other: the newest [`KEPT`] of each.
//!
//! # Why the table is made at every start
//! An older program ignores a table that it does not know, so this one needs no new version of the file.

use protocol::UnixMillis;
use protocol::id::Digest;
use protocol::inquiry::Revision;
use rusqlite::{Connection, params};

use super::unit::{state_number, state_of};
use super::{Store, StoreError, Written};

/// Rows kept for each service.
pub(crate) const KEPT: u32 = 20;
/// Rows kept in all, those of services that left among them.
const KEPT_IN_ALL: u32 = 2_000;
/// Longest message kept, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// Makes the table where it is missing.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS history (
        number INTEGER PRIMARY KEY AUTOINCREMENT, unit TEXT NOT NULL, at INTEGER NOT NULL,
        version TEXT NOT NULL, template TEXT NOT NULL, hash BLOB NOT NULL,
        state INTEGER NOT NULL, message TEXT NOT NULL, in_force TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS history_of_unit ON history (unit, number);
";

impl Store {
    /// Notes what a service settled as. The same again only renews the message.
    pub(crate) fn put_history(&self, unit: String, revision: Revision) -> Written<()> {
        self.write("note a revision", move |connection| note(connection, &unit, &revision))
    }

    /// What services settled as, by service, the newest first.
    pub(crate) async fn history(&self) -> Result<Vec<(String, Revision)>, StoreError> {
        self.read("read the history", |connection| {
            connection
                .prepare(
                    "SELECT unit, at, version, template, hash, state, message, in_force
                     FROM history ORDER BY unit, number DESC",
                )?
                .query_map([], |row| {
                    let revision = Revision {
                        at: row.get::<_, i64>(1)?.cast_unsigned(),
                        version: row.get(2)?,
                        template: row.get(3)?,
                        hash: Digest(row.get(4)?),
                        state: state_of(row.get(5)?),
                        message: row.get(6)?,
                        in_force: row.get(7)?,
                    };
                    Ok((row.get(0)?, revision))
                })?
                .collect()
        })
        .await
    }
}

fn note(connection: &Connection, unit: &str, revision: &Revision) -> Result<(), rusqlite::Error> {
    let Revision { at, version, template, hash, state, message, in_force } = revision;
    let at: UnixMillis = *at;
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let renewed = connection
        .prepare_cached(
            "UPDATE history SET message = ?5 WHERE number = (SELECT max(number) FROM history WHERE unit = ?1)
             AND hash = ?2 AND state = ?3 AND in_force = ?4",
        )?
        .execute(params![unit, hash.0, state_number(*state), in_force, message])?;
    if renewed > 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT INTO history (unit, at, version, template, hash, state, message, in_force)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            unit,
            at.cast_signed(),
            version,
            template,
            hash.0,
            state_number(*state),
            message,
            in_force
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM history WHERE unit = ?1 AND number <=
             (SELECT number FROM history WHERE unit = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![unit, KEPT])?;
    connection
        .prepare_cached("DELETE FROM history WHERE number <= (SELECT max(number) FROM history) - ?1")?
        .execute(params![KEPT_IN_ALL])
        .map(|_| ())
}
