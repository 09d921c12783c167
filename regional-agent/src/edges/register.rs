//! By what a region renews its edges while the hub is away: the hub's newest table of them, and an issuing certificate.
//!
//! ```text
//!   parts --signed? newer?--> pending --all entries here, digest right--> file --> table
//! ```
//! A table is on disk, synced, before it counts: what the hub has denied is denied after a power cut too, and a table
//! that is older than the newest one is refused, whoever sends it.
//!
//! # Why the hub is asked first
//! It knows more than its table of a moment ago, and what it issues needs no region to be believed. Only when it cannot
//! be asked, or cannot decide, does the region.
//!
//! # What runs out, and when
//! From the newest table on, edges are renewed for the time that a table may be old (7 days, a setting). What was
//! issued last is valid for 7 days more. The region's own certificate may expire meanwhile: links that are up stay,
//! and edges accept their region for 7 days longer than its certificate says ([`identity::tls::REGION_GRACE_MS`]). An
//! edge whose certificate has expired is away until the hub is back, and returns by itself then.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity::{Clock, RegionIssuer, SystemEntropy};
use protocol::UnixMillis;
use protocol::codec::{DecodeError, decode, encode};
use protocol::delegation::{
    EdgeRenewal, EdgeStanding, EdgeTable, STANDINGS_BYTES_MAX, Standings, TABLE_BYTES_MAX, TABLE_EDGES_MAX,
    TablePart,
};
use protocol::enrolment::{Refusal, RefusalReason, RenewGrant, RenewRequest, TrustBundle};
use protocol::id::{Digest, EdgeId, Generation, RegionName};
use tokio::sync::watch;

use crate::keys::PlanKeys;

/// Longest file: all entries and their header.
const FILE_BYTES_MAX: usize = STANDINGS_BYTES_MAX + 2 * TABLE_BYTES_MAX;

/// Why a table is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The hub did not sign it.
    #[error("the table of edges is not the hub's: {0}")]
    Signature(#[source] identity::PlanError),
    /// It is another region's.
    #[error("the table of edges is for region \"{0}\"")]
    Region(RegionName),
    /// A newer one is held.
    #[error("table of edges {offered} is older than {held}, which is held")]
    Older {
        /// Its generation.
        offered: Generation,
        /// The one that is held.
        held: Generation,
    },
    /// Its parts do not make up what the header says.
    #[error("table of edges {generation} is incomplete or altered: {detail}")]
    Parts {
        /// Which one.
        generation: Generation,
        /// What is wrong.
        detail: String,
    },
    /// It cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// It cannot be kept, and so does not count.
    #[error("failed to keep the table of edges in \"{}\"", path.display())]
    Keep {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// How renewals went, and what they go by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewals {
    /// Renewed by this region.
    pub issued: u64,
    /// Refused by this region.
    pub refused: u64,
    /// Tables from the hub that were not taken.
    pub tables_refused: u64,
    /// When the hub signed the newest table; 0 without one.
    pub table_issued_at: UnixMillis,
    /// Edges in it.
    pub table_edges: u64,
    /// End of the issuing certificate's validity; 0 without one.
    pub issuer_not_after: UnixMillis,
}

/// The register.
pub struct Register {
    region: RegionName,
    keys: PlanKeys,
    path: PathBuf,
    age_max: Duration,
    clock: Arc<dyn Clock>,
    issuer: watch::Receiver<Option<Arc<RegionIssuer>>>,
    inner: Mutex<Inner>,
    issued: AtomicU64,
    refused: AtomicU64,
    tables_refused: AtomicU64,
}

#[derive(Default)]
struct Inner {
    table: Option<Table>,
    pending: Option<Table>,
}

#[derive(Debug, Clone)]
struct Table {
    header: EdgeTable,
    /// The header as it was signed.
    part: TablePart,
    edges: BTreeMap<EdgeId, EdgeStanding>,
}

impl Table {
    fn of(part: &TablePart, header: EdgeTable) -> Self {
        let part = TablePart { first: 0, entries: Standings::default(), ..part.clone() };
        Self { header, part, edges: BTreeMap::new() }
    }

    fn entries(&self) -> Standings {
        Standings(self.edges.values().cloned().collect())
    }

    fn parts_error(&self, detail: impl Into<String>) -> TableError {
        TableError::Parts { generation: self.header.generation, detail: detail.into() }
    }

    /// That the entries are those that the header was signed for.
    fn check(self) -> Result<Self, TableError> {
        if Digest::of(&encode(&self.entries())) == self.header.digest {
            return Ok(self);
        }
        Err(self.parts_error("its entries have another digest"))
    }
}

impl Register {
    /// The register kept in that file; what is damaged there counts as nothing, the hub sends it again.
    pub fn open(
        region: RegionName,
        path: &Path,
        keys: PlanKeys,
        age_max: Duration,
        clock: Arc<dyn Clock>,
        issuer: watch::Receiver<Option<Arc<RegionIssuer>>>,
    ) -> Self {
        let register = Self {
            region,
            keys,
            path: path.to_owned(),
            age_max,
            clock,
            issuer,
            inner: Mutex::default(),
            issued: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            tables_refused: AtomicU64::new(0),
        };
        match register.read() {
            Ok(table) => register.lock().table = table,
            Err(error) => {
                tracing::warn!(%error, "the kept table of edges is not used; the hub sends another")
            }
        }
        register
    }

    fn read(&self) -> Result<Option<Table>, TableError> {
        let kept = |source| TableError::Keep { path: self.path.clone(), source };
        let length = match fs::metadata(&self.path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(kept(error)),
        };
        if length > FILE_BYTES_MAX as u64 {
            let (what, size) = ("table of edges", usize::try_from(length).unwrap_or(usize::MAX));
            return Err(DecodeError::TooLarge { what, size, limit: FILE_BYTES_MAX }.into());
        }
        let part: TablePart = decode(&fs::read(&self.path).map_err(kept)?, FILE_BYTES_MAX)?;
        let mut table = Table::of(&part, self.header(&part)?);
        table.edges = part.entries.0.into_iter().map(|entry| (entry.edge, entry)).collect();
        table.check().map(Some)
    }

    fn header(&self, part: &TablePart) -> Result<EdgeTable, TableError> {
        let header = self.keys.verify_table(part).map_err(TableError::Signature)?;
        if header.region == self.region { Ok(header) } else { Err(TableError::Region(header.region)) }
    }

    /// Whose edges they are.
    pub fn region(&self) -> &RegionName {
        &self.region
    }

    /// Takes a part of a table from the hub. Gives the edges that it denies once it is complete and on disk; call it
    /// where waiting for a disk is allowed.
    ///
    /// # Errors
    /// [`TableError`]; the table before goes on to count.
    pub fn take(&self, part: TablePart) -> Result<Option<Vec<EdgeId>>, TableError> {
        let taken = self.try_take(part);
        if taken.is_err() {
            self.tables_refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    fn try_take(&self, part: TablePart) -> Result<Option<Vec<EdgeId>>, TableError> {
        let header = self.header(&part)?;
        let mut inner = self.lock();
        match inner.table.as_ref().map(|table| table.header.generation) {
            Some(held) if header.generation < held => {
                return Err(TableError::Older { offered: header.generation, held });
            }
            Some(held) if header.generation == held => return Ok(None),
            Some(_) | None => {}
        }
        let mut table = match inner.pending.take().filter(|pending| pending.header == header) {
            Some(pending) => pending,
            None => Table::of(&part, header),
        };
        extend(&mut table, part)?;
        if table.edges.len() < table.header.edges as usize {
            inner.pending = Some(table);
            return Ok(None);
        }
        drop(inner);
        let table = table.check()?;
        self.keep(&table)?;
        let denied = table.edges.values().filter(|entry| entry.denied).map(|entry| entry.edge).collect();
        self.lock().table = Some(table);
        Ok(Some(denied))
    }

    /// Writes the table beside the one before, and puts it in its place.
    fn keep(&self, table: &Table) -> Result<(), TableError> {
        let bytes = encode(&TablePart { entries: table.entries(), ..table.part.clone() });
        let new = self.path.with_extension("new");
        let written = || {
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            self.path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
        };
        written().map_err(|source| TableError::Keep { path: self.path.clone(), source })
    }

    /// Renews an edge's certificate for the hub, which could not: `why` is what the edge is told if nor can the region.
    /// Gives the answer, and what the hub is to hear of it.
    ///
    /// # Errors
    /// The [`Refusal`] to send, where the hub is to hear nothing: the region renews nobody.
    pub fn renew(
        &self,
        edge: EdgeId,
        request: &RenewRequest,
        why: Refusal,
    ) -> Result<(Result<RenewGrant, Refusal>, EdgeRenewal), Refusal> {
        let (now, issuer) = (self.clock.now(), self.issuer.borrow().clone());
        let inner = self.lock();
        let (Some(issuer), Some(table)) = (issuer, &inner.table) else { return Err(why) };
        if self.age_max.is_zero() {
            return Err(why);
        }
        let age_max = u64::try_from(self.age_max.as_millis()).unwrap_or(u64::MAX);
        let known = (&table.header, table.edges.get(&edge));
        let renewed = issuer.renew(request, known, age_max, now, &mut SystemEntropy).map_err(|refusal| {
            // What time will cure is worth another try.
            let passes = refusal.reason == RefusalReason::Unavailable;
            let retry_after_ms = if passes { why.retry_after_ms } else { refusal.retry_after_ms };
            Refusal { retry_after_ms, ..refusal }
        });
        drop(inner);
        let counter = if renewed.is_ok() { &self.issued } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        let not_after = renewed.as_ref().ok().and_then(|chain| {
            identity::certificate::validity(chain.first()?).ok().map(|(_, not_after)| not_after)
        });
        let refusal = renewed.as_ref().err().cloned();
        let news = EdgeRenewal { edge, at: now, not_after, refusal, ext: Vec::new() };
        let grant = renewed.map(|chain| RenewGrant {
            chain,
            // Nothing new: an edge believes only bundles that a root has signed.
            trust: TrustBundle::default(),
            endpoints: Vec::new(),
            time: now,
            ext: Vec::new(),
        });
        Ok((grant, news))
    }

    /// How renewals went.
    pub fn renewals(&self) -> Renewals {
        let inner = self.lock();
        let table = inner.table.as_ref();
        let issuer = self.issuer.borrow();
        Renewals {
            issued: self.issued.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            tables_refused: self.tables_refused.load(Ordering::Relaxed),
            table_issued_at: table.map_or(0, |table| table.header.issued_at),
            table_edges: table.map_or(0, |table| table.edges.len() as u64),
            issuer_not_after: issuer.as_ref().map_or(0, |issuer| issuer.not_after()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the entries of a part behind those that are there.
fn extend(table: &mut Table, part: TablePart) -> Result<(), TableError> {
    let (have, edges) = (table.edges.len(), table.header.edges as usize);
    if edges > TABLE_EDGES_MAX {
        return Err(table.parts_error(format!("{edges} edges, at most {TABLE_EDGES_MAX} are accepted")));
    }
    if part.first as usize != have || have + part.entries.0.len() > edges {
        let (first, more) = (part.first, part.entries.0.len());
        return Err(table.parts_error(format!("{more} entries from {first} on, {have} of {edges} are here")));
    }
    if part.entries.0.is_empty() && edges > 0 {
        return Err(table.parts_error("a part has no entries"));
    }
    table.edges.extend(part.entries.0.into_iter().map(|entry| (entry.edge, entry)));
    Ok(())
}
