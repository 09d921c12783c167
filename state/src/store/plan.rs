//! Plans and blobs: an offer is stored whole or not at all, and never goes back in generations.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::codec;
use protocol::frame::{OBJECT_BYTES_MAX, PLAN_BODY_BYTES_MAX};
use protocol::id::{Digest, Generation};
use protocol::message::{BlobPart, PlanHead};
use protocol::plan::{KeyId, PlanBody, PlanHeader, SignedPlan, Unit};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError, Written};

/// A verified plan and the blobs that came with it.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) plan: SignedPlan,
    pub(crate) header: PlanHeader,
    pub(crate) blobs: Vec<BlobPart>,
}

/// What became of an offer.
#[derive(Debug)]
pub(crate) enum OfferResult {
    /// It is the current plan now.
    Stored(PlanBody),
    /// It is the plan that was stored already.
    Known,
    /// These blobs are missing still; those that came are kept.
    Missing(Vec<Digest>),
    /// A plan of this generation or a higher one is stored.
    Stale(PlanHead),
    /// The body does not decode.
    Malformed(String),
}

/// The current plan.
#[derive(Debug)]
pub(crate) struct StoredPlan {
    pub(crate) head: PlanHead,
    pub(crate) body: PlanBody,
    /// After this moment nothing of it is to be begun.
    pub(crate) not_after: Option<UnixMillis>,
    pub(crate) applied: Option<Generation>,
}

impl Store {
    /// Takes an offer; when it is answered as stored it is durable.
    pub(crate) async fn offer(&self, offer: Offer) -> Result<OfferResult, StoreError> {
        self.write("store the plan", move |transaction| take(transaction, &offer)).durable().await
    }

    /// The current plan, if there is one.
    pub(crate) async fn plan(&self) -> Result<Option<StoredPlan>, StoreError> {
        self.read("read the plan", |connection| {
            let Some(header) = header(connection)? else { return Ok(None) };
            let head = PlanHead { generation: header.generation, body: header.body };
            let Some(content) = content(connection, head.body)? else { return Ok(None) };
            let Ok(body) = codec::decode::<PlanBody>(&content, PLAN_BODY_BYTES_MAX) else { return Ok(None) };
            let applied = connection.query_row(
                "SELECT applied_term, applied_counter FROM plan WHERE applied_term IS NOT NULL",
                [],
                |row| Ok(Generation { term: unsigned(row.get(0)?), counter: unsigned(row.get(1)?) }),
            );
            let (not_after, applied) = (header.not_after, applied.optional()?);
            Ok(Some(StoredPlan { head, body, not_after, applied }))
        })
        .await
    }

    /// Content of a blob.
    pub(crate) async fn blob(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.read("read a blob", move |connection| Ok(content(connection, digest)?.map(Bytes::from))).await
    }

    /// Notes which plan was carried out.
    pub(crate) fn applied(&self, generation: Generation) -> Written<()> {
        self.write("note the applied plan", move |transaction| {
            let Generation { term, counter } = generation;
            transaction
                .execute(
                    "UPDATE plan SET applied_term = ?1, applied_counter = ?2",
                    params![term.cast_signed(), counter.cast_signed()],
                )
                .map(|_| ())
        })
    }

    /// Deletes the blobs that neither the plan nor any unit on the cluster, as begun or as last healthy,
    /// refers to.
    pub(crate) fn collect(&self) -> Written<()> {
        self.write("delete unused blobs", move |transaction| {
            let mut roots = BTreeSet::new();
            if let Some(head) = head(transaction)? {
                roots.insert(head.body);
                if let Some(content) = content(transaction, head.body)?
                    && let Ok(body) = codec::decode::<PlanBody>(&content, PLAN_BODY_BYTES_MAX)
                {
                    roots.extend(body.digests());
                }
            }
            let mut units = transaction.prepare("SELECT spec, good FROM unit")?;
            let mut rows = units.query([])?;
            while let Some(row) = rows.next()? {
                let (spec, good): (Vec<u8>, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
                for bytes in [Some(spec), good].into_iter().flatten() {
                    if let Ok(unit) = postcard::from_bytes::<Unit>(&bytes) {
                        roots.extend(unit.objects.iter().map(|entry| entry.digest));
                        roots.extend(unit.hooks.iter().map(|hook| hook.object.digest));
                    }
                }
            }
            let stored = stored(transaction)?;
            let mut doomed = stored.difference(&roots);
            doomed.try_for_each(|digest| {
                transaction.execute("DELETE FROM blob WHERE digest = ?1", params![digest.0]).map(|_| ())
            })
        })
    }
}

fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}

/// The head of the stored plan.
fn head(connection: &Connection) -> Result<Option<PlanHead>, rusqlite::Error> {
    let header = header(connection)?;
    Ok(header.map(|header| PlanHead { generation: header.generation, body: header.body }))
}

fn header(connection: &Connection) -> Result<Option<PlanHeader>, rusqlite::Error> {
    let header: Option<Vec<u8>> =
        connection.query_row("SELECT header FROM plan", [], |row| row.get(0)).optional()?;
    Ok(header.and_then(|bytes| codec::decode::<PlanHeader>(&bytes, PLAN_BODY_BYTES_MAX).ok()))
}

fn content(connection: &Connection, digest: Digest) -> Result<Option<Vec<u8>>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT content FROM blob WHERE digest = ?1")?
        .query_row(params![digest.0], |row| row.get(0))
        .optional()
}

/// Every digest that is stored: one pass over an index, where a look-up for each would be a thousand.
fn stored(connection: &Connection) -> Result<BTreeSet<Digest>, rusqlite::Error> {
    let mut statement = connection.prepare_cached("SELECT digest FROM blob")?;
    let digests = statement.query_map([], |row| row.get(0).map(Digest))?;
    digests.collect()
}

fn has(connection: &Connection, digest: Digest) -> Result<bool, rusqlite::Error> {
    connection.prepare_cached("SELECT 1 FROM blob WHERE digest = ?1")?.exists(params![digest.0])
}

fn take(transaction: &Connection, offer: &Offer) -> Result<OfferResult, rusqlite::Error> {
    let head = head(transaction)?;
    let offered = PlanHead { generation: offer.header.generation, body: offer.header.body };
    if let Some(stored) = head {
        if stored == offered {
            return Ok(OfferResult::Known);
        }
        if stored.generation >= offered.generation {
            return Ok(OfferResult::Stale(stored));
        }
    }
    keep_blobs(transaction, &offer.blobs, offered.body)?;
    let Some(content) = content(transaction, offered.body)? else {
        return Ok(OfferResult::Missing(vec![offered.body]));
    };
    let body = match codec::decode::<PlanBody>(&content, PLAN_BODY_BYTES_MAX) {
        Ok(body) => body,
        Err(error) => return Ok(OfferResult::Malformed(error.to_string())),
    };
    let stored = stored(transaction)?;
    let missing: Vec<Digest> = body.digests().filter(|digest| !stored.contains(digest)).collect();
    if !missing.is_empty() {
        return Ok(OfferResult::Missing(missing));
    }
    let SignedPlan { header, key_id: KeyId(key), signature } = &offer.plan;
    transaction.execute(
        "INSERT INTO plan (id, header, key_id, signature) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET header = ?1, key_id = ?2, signature = ?3",
        params![header.as_ref(), key, signature.as_ref()],
    )?;
    Ok(OfferResult::Stored(body))
}

/// Verifies and keeps what came. What does not verify is left out, so it stays missing and is asked for
/// again, whole; a difference may rest on a blob that comes later in the same offer.
fn keep_blobs(transaction: &Connection, parts: &[BlobPart], body: Digest) -> Result<(), rusqlite::Error> {
    let mut waiting: Vec<&BlobPart> = parts.iter().collect();
    let mut fresh: BTreeMap<Digest, ()> = BTreeMap::new();
    loop {
        let before = waiting.len();
        let mut later = Vec::new();
        for part in waiting {
            if fresh.contains_key(&part.digest) || has(transaction, part.digest)? {
                continue;
            }
            let base = match part.base {
                Some(digest) => match content(transaction, digest)? {
                    Some(bytes) => Some(bytes),
                    None => {
                        later.push(part);
                        continue;
                    }
                },
                None => None,
            };
            let limit = if part.digest == body { PLAN_BODY_BYTES_MAX } else { OBJECT_BYTES_MAX };
            match part.open(base.as_deref(), limit) {
                Ok(bytes) => {
                    transaction
                        .prepare_cached("INSERT OR IGNORE INTO blob (digest, content) VALUES (?1, ?2)")?
                        .execute(params![part.digest.0, bytes.as_ref()])?;
                    fresh.insert(part.digest, ());
                }
                Err(error) => tracing::warn!(%error, "a blob was not accepted"),
            }
        }
        if later.is_empty() || later.len() == before {
            return Ok(());
        }
        waiting = later;
    }
}
