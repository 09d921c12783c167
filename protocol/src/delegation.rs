//! Renewal by the region: what the hub hands down so that edges renew while it is away.
//!
//! ```text
//!   hub                                          region                              edge
//!    | <---- Renew, asks for an issuing certificate |                                  |
//!    | certificate, issuing certificate ----------> |                                  |
//!    | EdgeTable {generation, time, edges} -------> |                                  |
//!   (away)                                          | <---------------- Renew {proof} |
//!                                                   | leaf, issuing certificate -----> |
//!    | <------------------------ EdgeRenewed {edge} |  (once the hub is back)
//! ```
//! The table says who the region's edges are: their device keys, how often each has returned, and who is denied. Its
//! header is signed by the hub and holds the digest of the entries; generation and time let a region refuse an older
//! one and stop when the newest one is too old. An unchanged table is signed anew from time to time.
//!
//! # Why extensions
//! The issuing certificate travels among the extensions of a region's own renewal: a hub or region of before ignores
//! them, and both go on as they did. It is renewed whenever the region's own certificate is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::enrolment::{Refusal, statement};
use crate::id::{AgentId, Digest, EdgeId, Generation, RegionName};
use crate::plan::KeyId;
use crate::{Extensions, UnixMillis};

/// Extension of a region's renewal request: the device key's signature (64 bytes) over [`issuer_statement`] and the
/// certificate signing request (DER) of the issuing key; of the grant: the issuing certificate (DER).
pub const ISSUER_EXTENSION: u16 = 4;
/// Extension of a renewal request: how often the device has returned (8 bytes, big-endian) and the device key's
/// signature (64 bytes) over [`returns_statement`].
pub const RETURNS_EXTENSION: u16 = 5;

/// What a table's signature begins with, so that it is none of anything else.
pub const TABLE_CONTEXT: &[u8] = b"skein edge table v1\0";
/// Most edges in a table.
pub const TABLE_EDGES_MAX: usize = 100_000;
/// Most entries in one part: it stays below the limit of a control message.
pub const PART_EDGES_MAX: usize = 8_192;
/// Longest encoded header of a table.
pub const TABLE_BYTES_MAX: usize = 1_024;
/// Longest list of all entries of a table, encoded.
pub const STANDINGS_BYTES_MAX: usize = TABLE_EDGES_MAX * 80;

/// The bytes with which a device asks for an issuing certificate.
pub fn issuer_statement(agent: &AgentId, csr: &[u8]) -> Vec<u8> {
    statement(b"skein issuer v1\0", &[agent.to_string().as_bytes(), csr])
}

/// The bytes with which a device says how often it has returned.
pub fn returns_statement(agent: &AgentId, csr: &[u8], count: u64) -> Vec<u8> {
    statement(b"skein returns v1\0", &[agent.to_string().as_bytes(), csr, &count.to_be_bytes()])
}

/// The header of a table; what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeTable {
    /// Whose edges.
    pub region: RegionName,
    /// Grows with every table: term of leadership, and count inside the term.
    pub generation: Generation,
    /// The hub's time when it was signed.
    pub issued_at: UnixMillis,
    /// How many entries it has.
    pub edges: u32,
    /// Digest of all entries, encoded as [`Standings`].
    pub digest: Digest,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// What the hub knows of an edge of the region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeStanding {
    /// Which edge.
    pub edge: EdgeId,
    /// Public key of its device (Ed25519, 32 bytes).
    pub device_key: Bytes,
    /// How often it has returned.
    pub returns: u64,
    /// Whether it was revoked.
    pub denied: bool,
}

/// Entries of a table, in ascending order of edges.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standings(pub Vec<EdgeStanding>);

/// A table, or a part of one, on its way down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePart {
    /// The encoded [`EdgeTable`], the same in all parts.
    pub table: Bytes,
    /// Which of the hub's keys signed it.
    pub key_id: KeyId,
    /// That key's signature (64 bytes) over [`TABLE_CONTEXT`] and `table`.
    pub signature: Bytes,
    /// How many entries come before these.
    pub first: u32,
    /// Entries; none only in a table that has none.
    pub entries: Standings,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// What a region decided about a renewal while the hub was away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeRenewal {
    /// Which edge.
    pub edge: EdgeId,
    /// When.
    pub at: UnixMillis,
    /// End of the new certificate's validity; nothing when there is none.
    pub not_after: Option<UnixMillis>,
    /// Why it was refused.
    pub refusal: Option<Refusal>,
    /// Room for later minor versions.
    pub ext: Extensions,
}
