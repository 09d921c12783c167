//! The table of a region's edges, by which it renews their certificates while the hub is away.
//!
//! It is sent when the region links, some seconds after one of its edges came, changed or went, and from time to time,
//! for a region stops renewing when its table is too old. That an edge was revoked does not wait for it: that is told at
//! once, as every removal.

use std::time::Duration;

use identity::{Authority, Clock};
use protocol::codec::encode;
use protocol::delegation::{EdgeStanding, EdgeTable, PART_EDGES_MAX, Standings, TABLE_EDGES_MAX, TablePart};
use protocol::id::{Digest, Generation, RegionName};

use crate::roster::Roster;

/// How often an unchanged table is signed anew.
pub(super) const REFRESH: Duration = Duration::from_secs(6 * 3600);
/// Changes come in crowds: so long is waited for more of them.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The table as it is now, in parts that each fit a control message.
pub(super) fn parts(
    authority: &Authority,
    roster: &Roster,
    region: &RegionName,
    generation: Generation,
    clock: &dyn Clock,
) -> Vec<TablePart> {
    let standings = standings(roster, region);
    let table = EdgeTable {
        region: region.clone(),
        generation,
        issued_at: clock.now(),
        edges: u32::try_from(standings.0.len()).unwrap_or(u32::MAX),
        digest: Digest::of(&encode(&standings)),
        ext: Vec::new(),
    };
    let signed = authority.sign_table(&table);
    if standings.0.is_empty() {
        return vec![signed];
    }
    let part = |(index, entries): (usize, &[EdgeStanding])| TablePart {
        first: u32::try_from(index * PART_EDGES_MAX).unwrap_or(u32::MAX),
        entries: Standings(entries.to_vec()),
        ..signed.clone()
    };
    standings.0.chunks(PART_EDGES_MAX).enumerate().map(part).collect()
}

/// The edges of a region whose device keys are known, in ascending order.
fn standings(roster: &Roster, region: &RegionName) -> Standings {
    let edges = roster.of_region(region).into_iter().filter_map(|edge| {
        let listed = roster.edge(&edge).filter(|listed| listed.region == *region)?;
        let device = listed.device.clone()?;
        Some(EdgeStanding { edge, device_key: device.key, returns: device.returns, denied: listed.revoked })
    });
    let standings: Vec<_> = edges.take(TABLE_EDGES_MAX).collect();
    if standings.len() == TABLE_EDGES_MAX {
        tracing::warn!(%region, "the table of the region's edges is full: others are not renewed while the hub is away");
    }
    Standings(standings)
}
