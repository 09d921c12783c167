//! A link's life: how soon it is back after an outage, on which carrier, how soon it is closed; and the spool behind it.
//!
//! `cargo bench -p skein-tests --bench link [-- PART ...]`; parts are `outage`, `revocation`, `carriers` (on a kernel that
//! drops UDP; needs root, iproute2 and iptables) and `spool`; default all. The regional agent is a process of its own,
//! edges are real links with little behind them. Prints a table and a line `BENCH {..}` for each measure; aims are judged,
//! not enforced. What thousands of links cost is the benchmark `storm`.

#[path = "link/carriers.rs"]
mod carriers;
#[path = "link/spool.rs"]
mod spool;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use link::{Network, PooledNetwork};
use skein_tests::crowd::{SOCKETS, Scene};
use skein_tests::measure::{Aim, Table, ended, quantile};

/// As the programs have it whose parts run here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first argument of a process of this program that is the regional agent.
const AS_REGION: &str = "--as-region";
/// Links of each kind whose return is measured.
const LINKS: usize = 200;
/// How long they are away after both ends have given them up.
const OUTAGE: Duration = Duration::from_secs(60);
/// Edges that are taken out, one after the other.
const REVOKED: usize = 50;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let first = arguments.get(1).and_then(|first| first.to_str()).unwrap_or_default().to_owned();
    if first == AS_REGION {
        arguments.remove(1);
        return regional_agent::main_with(arguments);
    }
    let ran = match first.as_str() {
        carriers::INSIDE => run(carriers::inside()),
        spool::AS_SPOOL => run(spool::alone()),
        _ => run(measure()),
    };
    ended(ran)
}

fn run(what: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(what)
}

async fn measure() -> Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).filter(|one| !one.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    if wanted("outage") {
        outage().await?;
    }
    if wanted("revocation") {
        revocation().await?;
    }
    if wanted("carriers") {
        carriers::measure()?;
    }
    if wanted("spool") {
        spool::measure()?;
    }
    Ok(())
}

/// How soon links are back, where the machine tells that the network is, and where it does not.
async fn outage() -> Result<()> {
    let mut scene = Scene::start(AS_REGION).await?;
    let table =
        Table::new("link", &format!("{LINKS} links after an outage of {} s and more", OUTAGE.as_secs()));
    let rows = [
        ("told by the system", PooledNetwork::telling(SOCKETS), 0.5),
        ("not told", PooledNetwork::new(SOCKETS), 15.0),
    ];
    for (name, line, aim) in rows {
        let network: Arc<dyn Network> = line.clone();
        let crowd = scene.crowd(LINKS, &network).await?;
        line.shut(true);
        crowd.alone().await?;
        // The pauses between attempts have grown to the longest.
        tokio::time::sleep(OUTAGE).await;
        let begun = Instant::now();
        line.shut(false);
        crowd.linked().await?;
        let mut moments = crowd.linked_after(begun);
        table.row(&format!("outage ends, {name}: linked, p50"), quantile(&mut moments, 0.5), "s", Aim::None);
        let last = quantile(&mut moments, 1.0);
        table.row(&format!("outage ends, {name}: linked, the last one"), last, "s", Aim::AtMost(aim));
    }
    scene.end().await;
    Ok(())
}

/// How soon a link is closed once the hub knows that the edge is out.
async fn revocation() -> Result<()> {
    let mut scene = Scene::start(AS_REGION).await?;
    let network: Arc<dyn Network> = PooledNetwork::new(1);
    let mut crowd = scene.crowd(REVOKED, &network).await?;
    let mut took = Vec::new();
    for edge in 0..REVOKED {
        let closed = scene.revoke(&mut crowd, edge).await.context("an edge that is out")?;
        took.push(closed.as_secs_f64() * 1_000.0);
    }
    let table = Table::new("link", &format!("{REVOKED} edges taken out, one after the other"));
    table.row("revocation: link closed, p50", quantile(&mut took, 0.5), "ms", Aim::None);
    table.row("revocation: link closed, the slowest", quantile(&mut took, 1.0), "ms", Aim::AtMost(1_000.0));
    scene.end().await;
    Ok(())
}
