//! Who is of which version: a region, and every other edge, are of the version before. They say nothing of it, as
//! programs of that version do.

use hub::observed::Observed;
use protocol::id::{AgentId, EdgeId};
use protocol::version::Speaks;

/// What a region speaks.
pub(crate) fn of_region(region: usize) -> Speaks {
    if region == 1 { Speaks::SILENT } else { Speaks::HERE }
}

/// What an edge speaks. Edges of both versions are in each region.
pub(crate) fn of_edge(edge: EdgeId) -> Speaks {
    if edge.0[0] % 2 == 1 { Speaks::SILENT } else { Speaks::HERE }
}

/// What the hub believes wrongly of an edge's version, also when the region between them is the older one.
pub(crate) fn misjudged(observed: &Observed, edge: EdgeId) -> Option<String> {
    let believed = observed.agent(&AgentId::Edge(edge)).and_then(|view| view.speaks);
    let speaks = of_edge(edge);
    (believed != Some(speaks))
        .then(|| format!("the hub believes that {edge} speaks {believed:?}, it is {speaks:?}"))
}
