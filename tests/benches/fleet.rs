//! Services on fleets: how fast they arrive, and what they cost.
//!
//! `cargo bench -p skein-tests --bench fleet [-- PART ...]`; parts are `change` (one edge among 1,000, and all of them),
//! `match` (1,000 edges newly matched), `drift` (put back, with and without a link), `resync` (10,000 light edges with
//! ten services each, the hub restarted), `real` (one edge between two real API servers, which `tests/parts/install`
//! builds); default all but `real`. `EDGES=N` takes another number of edges. Prints a table and a line `BENCH {..}` for
//! each measure; aims are judged, not enforced.

#[path = "fleet/drift.rs"]
mod drift;
#[path = "fleet/light.rs"]
mod light;
#[path = "fleet/real.rs"]
mod real;
#[path = "fleet/resync.rs"]
mod resync;

use std::process::ExitCode;

use anyhow::Result;
use skein_tests::fleet::{Fleet, Latencies};
use skein_tests::measure::{Aim, Table, ended, quantile};

/// As the programs have it whose parts run here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first argument of a process of this program that is the hub: its memory is to be that of a hub.
const AS_HUB: &str = "--as-hub";
/// Changes that concern one edge, and those that concern all.
const CHANGES: (usize, u32) = (60, 5);

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == AS_HUB) {
        arguments.remove(1);
        return hub::main_with(arguments);
    }
    ended(run())
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let edges = arguments.iter().find_map(|one| one.strip_prefix("EDGES=")?.parse().ok());
    let parts: Vec<_> = arguments.iter().filter(|one| !one.contains('=')).map(String::as_str).collect();
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if wanted("change") || wanted("match") {
        runtime.block_on(whole(edges.unwrap_or(1_000), wanted("change"), wanted("match")))?;
    }
    if wanted("drift") {
        runtime.block_on(drift::measure())?;
    }
    if parts.contains(&"real") {
        runtime.block_on(real::measure())?;
    }
    if wanted("resync") {
        runtime.block_on(resync::measure(edges.unwrap_or(10_000)))?;
    }
    Ok(())
}

/// Edges with everything: an agent and an API each.
async fn whole(edges: usize, change: bool, newly: bool) -> Result<()> {
    let mut fleet = Fleet::start(edges).await?;
    let table = Table::new("fleet", &format!("{edges} edges with an agent and an API each"));
    if change {
        let Latencies { mut applied, mut back } = fleet.change_one(CHANGES.0).await?;
        table.row("one edge: applied, p50", quantile(&mut applied, 0.5), "ms", Aim::AtMost(10.0));
        table.row("one edge: applied, p99", quantile(&mut applied, 0.99), "ms", Aim::AtMost(40.0));
        table.row("one edge: status back, p50", quantile(&mut back, 0.5), "ms", Aim::AtMost(15.0));
        table.row("one edge: status back, p99", quantile(&mut back, 0.99), "ms", Aim::AtMost(60.0));
        let mut all = Latencies::default();
        for edit in 1..=CHANGES.1 {
            fleet.change_all(edit, &mut all).await?;
        }
        table.row("all edges: applied, p50", quantile(&mut all.applied, 0.5), "ms", Aim::AtMost(1_000.0));
        table.row("all edges: status back, p50", quantile(&mut all.back, 0.5), "ms", Aim::AtMost(1_000.0));
    }
    if newly {
        let newly = fleet.match_newly().await?;
        table.row("all newly matched: applied", newly.applied, "ms", Aim::None);
        table.row("all newly matched: status back", newly.back, "ms", Aim::AtMost(5_000.0));
        table.row("all newly matched: counted as deployed", newly.summed, "ms", Aim::AtMost(5_000.0));
    }
    fleet.end().await;
    Ok(())
}
