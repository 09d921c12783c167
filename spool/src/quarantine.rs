//! A damaged file: moved aside, and what can still be known of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use protocol::telemetry::{Gap, GapReason, TelemetryClass};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::database::unsigned;
use crate::lane::number;

/// What the damaged file held.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    /// What was lost, by class; no batches where nothing is known.
    pub(crate) lost: Vec<(TelemetryClass, Gap)>,
    /// States that could still be read.
    pub(crate) states: Vec<(String, Vec<u8>)>,
    /// Totals of the spool since it exists.
    pub(crate) gaps_made: u64,
    pub(crate) points_dropped: u64,
}

/// Counts written beside the database now and then, for the day it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Batches, points, first, last by class.
    pub(crate) lanes: Vec<(u64, u64, u64, u64)>,
    pub(crate) gaps_made: u64,
    pub(crate) points_dropped: u64,
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

impl Counts {
    /// Counts what waits in a database that can be read.
    pub(crate) fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let mut counts = Self::default();
        for class in TelemetryClass::ALL {
            let lane = connection.query_row(
                "SELECT coalesce(sum(batches), 0), coalesce(sum(points), 0), coalesce(min(first), 0),
                 coalesce(max(last), 0) FROM items WHERE class = ?1",
                [number(class) as i64],
                |row| {
                    Ok((
                        unsigned(row.get(0)?),
                        unsigned(row.get(1)?),
                        unsigned(row.get(2)?),
                        unsigned(row.get(3)?),
                    ))
                },
            )?;
            counts.lanes.push(lane);
        }
        (counts.gaps_made, counts.points_dropped) =
            connection.query_row("SELECT gaps_made, points_dropped FROM meta", [], |row| {
                Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
            })?;
        Ok(counts)
    }

    fn read(path: &Path) -> Option<Self> {
        postcard::from_bytes(&std::fs::read(beside(path, ".counts")).ok()?).ok()
    }

    /// Writes the counts; a torn write is worth nothing and costs nothing.
    pub(crate) fn write(&self, path: &Path) {
        let (target, fresh) = (beside(path, ".counts"), beside(path, ".counts.new"));
        if let Ok(bytes) = postcard::to_stdvec(self)
            && std::fs::write(&fresh, bytes).is_ok()
        {
            let _ = std::fs::rename(fresh, target);
        }
    }
}

/// Moves the file and its log to `<path>.damaged`, in place of one that is there already, and reads from it
/// what can be read.
pub(crate) fn set_aside(path: &Path) -> std::io::Result<Salvage> {
    let aside = beside(path, ".damaged");
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (beside(path, suffix), beside(&aside, suffix));
        let _ = std::fs::remove_file(&to);
        match std::fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&aside, flags).ok();
    let counts = connection
        .as_ref()
        .and_then(|connection| Counts::of(connection).ok())
        .or_else(|| Counts::read(path))
        .unwrap_or_default();
    let states = connection.as_ref().and_then(|connection| states(connection).ok()).unwrap_or_default();
    let lost = TelemetryClass::ALL.into_iter().map(|class| {
        let (batches, points, first, last) = counts.lanes.get(number(class)).copied().unwrap_or_default();
        (class, Gap { batches, points, first, last, reason: GapReason::Corrupt })
    });
    Ok(Salvage {
        lost: lost.collect(),
        states,
        gaps_made: counts.gaps_made,
        points_dropped: counts.points_dropped,
    })
}

fn states(connection: &Connection) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    connection
        .prepare("SELECT name, value FROM states")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
