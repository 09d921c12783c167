//! Units and the inventory: what was begun, what was healthy, and every object that was touched.
//!
//! An object's row is written before the object is: whatever a crash leaves on the cluster is in the
//! inventory. Its digest is written afterwards: a row without one says "begun".

use protocol::UnixMillis;
use protocol::id::Digest;
use protocol::plan::Unit;
use protocol::report::UnitState;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError, Written};
use crate::live::Fields;
use crate::object::ObjectId;

/// A unit as it was left.
#[derive(Debug, Clone)]
pub(crate) struct UnitRecord {
    /// The unit as it was last begun.
    pub(crate) spec: Unit,
    /// Hash with which it was last healthy.
    pub(crate) deployed: Option<Digest>,
    pub(crate) state: UnitState,
    pub(crate) message: String,
    pub(crate) since: UnixMillis,
    pub(crate) repairs: u64,
}

/// A unit with what it can go back to.
#[derive(Debug)]
pub(crate) struct KeptUnit {
    pub(crate) record: UnitRecord,
    /// The unit as it was when it was last healthy.
    pub(crate) good: Option<Unit>,
    pub(crate) rejection: Option<Rejection>,
    /// Of what Helm's record was made.
    pub(crate) recorded: Option<Digest>,
    /// The last run of its test hooks.
    pub(crate) tested: Option<TestRun>,
}

/// A run of test hooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestRun {
    /// The order for it.
    pub(crate) order: String,
    /// What came of it, for a person.
    pub(crate) result: String,
}

/// A revision that was given up.
#[derive(Debug, Clone)]
pub(crate) struct Rejection {
    /// Which one, by its [`fingerprint`].
    pub(crate) revision: Digest,
    /// Why.
    pub(crate) reason: String,
    /// The last good revision is in force again.
    pub(crate) returned: bool,
}

/// An object of the inventory.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: ObjectId,
    pub(crate) version: String,
    pub(crate) unit: String,
    /// Place in the order of installation.
    pub(crate) ordinal: u32,
    /// What was last applied; none while the first application is not confirmed.
    pub(crate) digest: Option<Digest>,
    /// The fields that were ours after that.
    pub(crate) fields: Option<Fields>,
    /// It was there before us, so it is not ours to delete.
    pub(crate) adopted: bool,
}

impl Store {
    /// All units and all objects, objects in order of installation per unit.
    pub(crate) async fn inventory(&self) -> Result<(Vec<KeptUnit>, Vec<Row>), StoreError> {
        self.read("read the inventory", |connection| {
            let mut statement = connection.prepare(
                "SELECT spec, deployed, state, message, since, repairs, good, rejected, rejection, returned, recorded,
                 test_order, test_result FROM unit ORDER BY id",
            )?;
            let mut rows = statement.query([])?;
            let mut units = Vec::new();
            while let Some(row) = rows.next()? {
                let spec: Vec<u8> = row.get(0)?;
                let Ok(spec) = postcard::from_bytes::<Unit>(&spec) else { continue };
                let record = UnitRecord {
                    spec,
                    deployed: row.get::<_, Option<[u8; 32]>>(1)?.map(Digest),
                    state: state_of(row.get(2)?),
                    message: row.get(3)?,
                    since: row.get::<_, i64>(4)?.cast_unsigned(),
                    repairs: row.get::<_, i64>(5)?.cast_unsigned(),
                };
                let good = row.get::<_, Option<Vec<u8>>>(6)?;
                let good = good.and_then(|good| postcard::from_bytes(&good).ok());
                let rejected = row.get::<_, Option<[u8; 32]>>(7)?.map(Digest);
                let rejection = match (rejected, row.get(8)?) {
                    (Some(revision), Some(reason)) => {
                        Some(Rejection { revision, reason, returned: row.get(9)? })
                    }
                    _ => None,
                };
                let recorded = row.get::<_, Option<[u8; 32]>>(10)?.map(Digest);
                let tested = match (row.get(11)?, row.get(12)?) {
                    (Some(order), Some(result)) => Some(TestRun { order, result }),
                    _ => None,
                };
                units.push(KeptUnit { record, good, rejection, recorded, tested });
            }
            let mut statement = connection.prepare(
                "SELECT grp, kind, namespace, name, version, unit, ordinal, digest, fields, adopted
                 FROM object ORDER BY unit, ordinal",
            )?;
            let objects = statement.query_map([], |row| {
                Ok(Row {
                    id: ObjectId {
                        group: row.get(0)?,
                        kind: row.get(1)?,
                        namespace: row.get(2)?,
                        name: row.get(3)?,
                    },
                    version: row.get(4)?,
                    unit: row.get(5)?,
                    ordinal: row.get(6)?,
                    digest: row.get::<_, Option<[u8; 32]>>(7)?.map(Digest),
                    fields: row.get(8)?,
                    adopted: row.get(9)?,
                })
            })?;
            Ok((units, objects.collect::<Result<_, _>>()?))
        })
        .await
    }

    /// The unit that has an object, by inventory.
    pub(crate) async fn unit_of(&self, id: &ObjectId) -> Result<Option<String>, StoreError> {
        let ObjectId { group, kind, namespace, name } = id.clone();
        self.read("read an object's unit", move |connection| {
            connection
                .prepare_cached(
                    "SELECT unit FROM object WHERE grp = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4",
                )?
                .query_row(params![group, kind, namespace, name], |row| row.get(0))
                .optional()
        })
        .await
    }

    /// Notes that a unit is begun and which objects are about to appear.
    pub(crate) fn begin(&self, unit: &Unit, now: UnixMillis, rows: Vec<Row>) -> Written<()> {
        let id = unit.id.to_string();
        let spec = postcard::to_stdvec(unit).expect("a unit consists of types that postcard encodes");
        self.write("begin a unit", move |transaction| {
            transaction.execute(
                "INSERT INTO unit (id, spec, state, message, since, repairs) VALUES (?1, ?2, ?3, '', ?4, 0)
                 ON CONFLICT (id) DO UPDATE SET spec = ?2",
                params![id, spec, state_number(UnitState::Provisioning), now.cast_signed()],
            )?;
            rows.iter().try_for_each(|row| put(transaction, row))
        })
    }

    /// Notes what was applied.
    pub(crate) fn put_rows(&self, rows: Vec<Row>) -> Written<()> {
        self.write("note applied objects", move |transaction| {
            rows.iter().try_for_each(|row| put(transaction, row))
        })
    }

    /// Forgets objects that are gone or no longer ours, unless another unit has taken them over.
    pub(crate) fn drop_rows(&self, unit: String, ids: Vec<ObjectId>) -> Written<()> {
        self.write("forget removed objects", move |transaction| {
            let mut statement = transaction.prepare_cached(
                "DELETE FROM object WHERE grp = ?1 AND kind = ?2 AND namespace = ?3 AND name = ?4 AND unit = ?5",
            )?;
            for ObjectId { group, kind, namespace, name } in &ids {
                statement.execute(params![group, kind, namespace, name, unit])?;
            }
            Ok(())
        })
    }

    /// Notes a unit's state; its spec only where it changed. A unit that is healthy with the hash of its spec
    /// is its own last good revision.
    pub(crate) fn put_state(&self, record: &UnitRecord, spec: bool) -> Written<()> {
        let id = record.spec.id.to_string();
        let encode =
            || postcard::to_stdvec(&record.spec).expect("a unit consists of types that postcard encodes");
        let spec = spec.then(encode);
        let UnitRecord { deployed, state, since, repairs, .. } = *record;
        let good = deployed == Some(record.spec.hash);
        let message = record.message.clone();
        self.write("note a unit's state", move |transaction| {
            let deployed = deployed.map(|digest| digest.0);
            let (state, since, repairs) = (state_number(state), since.cast_signed(), repairs.cast_signed());
            if let Some(spec) = spec {
                transaction
                    .prepare_cached(
                        "INSERT INTO unit (id, spec, state, message, since, repairs) VALUES (?1, ?2, 0, '', 0, 0)
                         ON CONFLICT (id) DO UPDATE SET spec = ?2",
                    )?
                    .execute(params![id, spec])?;
            }
            transaction
                .prepare_cached(
                    "UPDATE unit SET deployed = ?2, state = ?3, message = ?4, since = ?5, repairs = ?6,
                     good = CASE WHEN ?7 THEN spec ELSE good END WHERE id = ?1",
                )?
                .execute(params![id, deployed, state, message, since, repairs, good])
                .map(|_| ())
        })
    }

    /// The number under which a revision is being brought about: the same until it is deployed, also after a
    /// crash; another one whenever the unit changes, comes back to what it was, or begins a new life.
    pub(crate) async fn open_revision(&self, unit: &Unit, now: UnixMillis) -> Result<u64, StoreError> {
        let id = unit.id.to_string();
        let spec = postcard::to_stdvec(unit).expect("a unit consists of types that postcard encodes");
        self.write("open a revision", move |connection| {
            let open: Option<i64> = connection
                .query_row(
                    "SELECT revision FROM unit WHERE id = ?1 AND open AND spec = ?2",
                    params![id, spec],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(number) = open {
                return Ok(number.cast_unsigned());
            }
            connection.execute("INSERT INTO revision DEFAULT VALUES", [])?;
            let number = connection.last_insert_rowid();
            connection.execute("DELETE FROM revision WHERE number < ?1", params![number])?;
            connection.execute("DELETE FROM hook WHERE unit = ?1", params![id])?;
            connection.execute(
                "INSERT INTO unit (id, spec, state, message, since, repairs, revision, open)
                 VALUES (?1, ?2, ?3, '', ?4, 0, ?5, 1)
                 ON CONFLICT (id) DO UPDATE SET spec = ?2, revision = ?5, open = 1",
                params![id, spec, state_number(UnitState::Provisioning), now.cast_signed(), number],
            )?;
            Ok(number.cast_unsigned())
        })
        .durable()
        .await
    }

    /// The number of a unit's last revision.
    pub(crate) async fn last_revision(&self, id: String) -> Result<u64, StoreError> {
        self.read("read a unit's revision", move |connection| {
            let number: Option<i64> = connection
                .query_row("SELECT revision FROM unit WHERE id = ?1", params![id], |row| row.get(0))
                .optional()?;
            Ok(number.unwrap_or(0).cast_unsigned())
        })
        .await
    }

    /// Notes durably that a revision is healthy: what comes next is an upgrade, and what was given up for it is over.
    pub(crate) fn put_deployed(&self, unit: &Unit) -> Written<()> {
        let (id, hash) = (unit.id.to_string(), unit.hash.0);
        self.write("note that a unit is deployed", move |connection| {
            connection
                .execute(
                    "UPDATE unit SET good = spec, deployed = ?2, open = 0, returned = rejected IS NOT NULL
                     WHERE id = ?1",
                    params![id, hash],
                )
                .map(|_| ())
        })
    }

    /// Notes that a revision was given up, or that none is any more.
    pub(crate) fn put_rejection(&self, id: String, rejection: Option<Rejection>) -> Written<()> {
        let returned = rejection.as_ref().is_some_and(|rejection| rejection.returned);
        let (revision, reason) = rejection.map(|rejection| (rejection.revision.0, rejection.reason)).unzip();
        self.write("note that a revision was given up", move |connection| {
            connection
                .execute(
                    "UPDATE unit SET rejected = ?2, rejection = ?3, returned = ?4 WHERE id = ?1",
                    params![id, revision, reason, returned],
                )
                .map(|_| ())
        })
    }

    /// Notes what came of test hooks; what they had done by then counts no more.
    pub(crate) fn put_tested(&self, id: String, run: TestRun) -> Written<()> {
        self.write("note the result of tests", move |connection| {
            let TestRun { order, result } = run;
            connection.execute("DELETE FROM hook WHERE unit = ?1 AND run LIKE 'Test %'", params![id])?;
            connection
                .execute(
                    "UPDATE unit SET test_order = ?2, test_result = ?3 WHERE id = ?1",
                    params![id, order, result],
                )
                .map(|_| ())
        })
    }

    /// Notes of which revision Helm's record was made.
    pub(crate) fn put_recorded(&self, id: String, hash: Digest) -> Written<()> {
        self.write("note that a release was recorded", move |connection| {
            connection.execute("UPDATE unit SET recorded = ?2 WHERE id = ?1", params![id, hash.0]).map(|_| ())
        })
    }

    /// Forgets a unit that is removed, with its hooks. Its inventory went row by row; what is left of it is
    /// on its way to another unit.
    pub(crate) fn drop_unit(&self, id: String) -> Written<()> {
        self.write("forget a unit", move |transaction| {
            transaction.execute("DELETE FROM hook WHERE unit = ?1", params![id])?;
            transaction.execute("DELETE FROM unit WHERE id = ?1", params![id]).map(|_| ())
        })
    }

    /// Positions of the hooks of a run that have succeeded.
    pub(crate) async fn hooks_done(&self, unit: String, run: String) -> Result<Vec<u32>, StoreError> {
        self.read("read finished hooks", move |connection| {
            connection
                .prepare("SELECT position FROM hook WHERE unit = ?1 AND run = ?2")?
                .query_map(params![unit, run], |row| row.get(0))?
                .collect()
        })
        .await
    }

    /// Notes that a hook has succeeded.
    pub(crate) fn hook_done(&self, unit: String, run: String, position: u32) -> Written<()> {
        self.write("note a finished hook", move |transaction| {
            transaction
                .execute(
                    "INSERT OR IGNORE INTO hook (unit, run, position) VALUES (?1, ?2, ?3)",
                    params![unit, run, position],
                )
                .map(|_| ())
        })
    }
}

/// Tells one revision of a unit from another, patience and policy included.
pub(crate) fn fingerprint(unit: &Unit) -> Digest {
    Digest::of(&postcard::to_stdvec(unit).expect("a unit consists of types that postcard encodes"))
}

fn put(transaction: &Connection, row: &Row) -> Result<(), rusqlite::Error> {
    let ObjectId { group, kind, namespace, name } = &row.id;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO object
             (grp, kind, namespace, name, version, unit, ordinal, digest, fields, adopted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            group,
            kind,
            namespace,
            name,
            row.version,
            row.unit,
            row.ordinal,
            row.digest.map(|digest| digest.0),
            row.fields,
            row.adopted
        ])
        .map(|_| ())
}

pub(super) fn state_number(state: UnitState) -> i64 {
    match state {
        UnitState::Pending => 0,
        UnitState::Provisioning => 1,
        UnitState::Deployed => 2,
        UnitState::Failed => 3,
        UnitState::Deleting => 4,
        UnitState::Deleted => 5,
    }
}

pub(super) fn state_of(number: i64) -> UnitState {
    match number {
        1 => UnitState::Provisioning,
        2 => UnitState::Deployed,
        3 => UnitState::Failed,
        4 => UnitState::Deleting,
        5 => UnitState::Deleted,
        _ => UnitState::Pending,
    }
}
