//! Where an edge links: the region it belongs to, and where else it may go.
//!
//! ```text
//!   hub                              old region                         edge                    new region
//!    | plan -------------------------------------------------------------------------------------> |
//!    | Placement {edge, new region} --> | kept; told at once, or when    |                          |
//!    |                                  | the edge links: -------------> | stored                   |
//!    |                                  |                                | -- dials, is welcomed -> |
//!    |                                  | <-------------------- goodbye  |                          |
//!    | <---------------------------------------------------------------------- the edge is linked   |
//!    | EdgeRemoved ------------------> | drops its plan, keeps the placement                         |
//! ```
//! A placement is signed by the hub like a plan. It is for one edge, and then it may name another region than the one
//! the edge links to; or it is for all edges of a region, and then it tells them where that listens and which regions
//! stand in for it. An edge takes one that is newer than the last it took, and never one for somebody else.
//!
//! # Why
//! The edge decides by the hub's signature alone: the region that hands it over can delay that, but it cannot send an
//! edge anywhere. So a region also keeps the placements of edges that left: whoever comes with an old disk is told where
//! its region is, while the hub is away too. Stand-ins are told beforehand, because afterwards there is nobody to tell.
//!
//! An agent that does not know the message skips it and stays where it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::{EdgeId, Generation, RegionName};
use crate::plan::KeyId;
use crate::{Extensions, UnixMillis};

/// What a placement's signature begins with, so that it is none of anything else.
pub const PLACEMENT_CONTEXT: &[u8] = b"skein placement v1\0";
/// Longest encoded placement.
pub const PLACEMENT_BYTES_MAX: usize = 16 * 1024;
/// Most endpoints of a region.
pub const ENDPOINTS_MAX: usize = 16;
/// Longest endpoint, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 300;
/// Most regions that stand in for another.
pub const STANDBYS_MAX: usize = 4;
/// Extension of an edge's Hello: the generation of the placement it took last (16 bytes: term, counter; big-endian).
pub const PLACEMENT_EXTENSION: u16 = 6;

/// Where a region listens for edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Which region.
    pub region: RegionName,
    /// Its addresses, `host:port`, in order of preference.
    pub endpoints: Vec<String>,
}

/// Where one edge, or every edge of a region, links; what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// For which edge; `None` is every edge that belongs to `home.region` already.
    pub edge: Option<EdgeId>,
    /// The region it belongs to.
    pub home: Site,
    /// Regions that stand in while that one does not answer, in order of preference.
    pub standbys: Vec<Site>,
    /// Grows with every placement: term of leadership, and count inside the term.
    pub generation: Generation,
    /// The hub's time when it was signed.
    pub issued_at: UnixMillis,
    /// Room for later minor versions.
    pub ext: Extensions,
}

impl Placement {
    /// What is wrong with its size, in words; nothing when all is well.
    pub fn flaw(&self) -> Option<String> {
        if self.standbys.len() > STANDBYS_MAX {
            return Some(format!("{} standbys, at most {STANDBYS_MAX} are accepted", self.standbys.len()));
        }
        std::iter::once(&self.home).chain(&self.standbys).find_map(|site| {
            let (region, count) = (&site.region, site.endpoints.len());
            if !(1..=ENDPOINTS_MAX).contains(&count) {
                return Some(format!("region \"{region}\" has {count} endpoints, accepted are 1 to {ENDPOINTS_MAX}"));
            }
            let long = site.endpoints.iter().map(String::len).find(|length| *length > ENDPOINT_BYTES_MAX)?;
            Some(format!("an endpoint of region \"{region}\" has {long} bytes, at most {ENDPOINT_BYTES_MAX} are accepted"))
        })
    }
}

/// A placement on its way down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPlacement {
    /// The encoded [`Placement`].
    pub placement: Bytes,
    /// Which of the hub's keys signed it.
    pub key_id: KeyId,
    /// That key's signature (64 bytes) over [`PLACEMENT_CONTEXT`] and `placement`.
    pub signature: Bytes,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// The extension by which an edge tells the placement it took last.
pub fn told(generation: Generation) -> (u16, Bytes) {
    let bytes = [generation.term.to_be_bytes(), generation.counter.to_be_bytes()].concat();
    (PLACEMENT_EXTENSION, Bytes::from(bytes))
}

/// The placement that an edge says it took last; nothing when it took none, or is of before.
pub fn said(told: &Extensions) -> Option<Generation> {
    let (_, bytes) = told.iter().find(|(tag, _)| *tag == PLACEMENT_EXTENSION)?;
    let (term, counter) = bytes.split_first_chunk::<8>()?;
    let (term, counter) = (u64::from_be_bytes(*term), u64::from_be_bytes(counter.try_into().ok()?));
    Some(Generation { term, counter })
}
