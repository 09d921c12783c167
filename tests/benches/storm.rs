//! What thousands of links cost a regional agent, and what happens when all of them come back at once.
//!
//! `cargo bench -p skein-tests --bench storm [-- EDGES=N OUTAGE=SECONDS]` (default 10000 and 120). The regional agent is
//! a process of its own, as it is installed; edges have a connection each to it, real handshakes and certificates, and
//! verify their plans; what they would apply is left out. The line of most of them is cut until both ends have given the
//! links up and every edge waits for its longest pause, as after an hour or a year; meanwhile each gets a newer plan.
//! Some links live on: how long a plan and its receipt take on them, hub to edge and back, is measured all the time.
//! Edges and hub run on the same processors. `SKEIN_LOG=link=info` shows what edges say meanwhile. Prints a table and a
//! line `BENCH {..}` for each measure; aims are judged, not enforced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use link::{Network, PooledNetwork};
use skein_tests::crowd::{Crowd, SOCKETS, Scene};
use skein_tests::measure::{self, Aim, Table, quantile};

/// As the programs have it whose parts run here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The first argument of a process of this program that is the regional agent.
const AS_REGION: &str = "--as-region";
/// Links that live on.
const LIVE: usize = 100;
/// How long nothing happens while that is measured.
const IDLE: Duration = Duration::from_secs(60);
/// What everything is given to come to rest first.
const REST: Duration = Duration::from_secs(20);
/// How often a plan goes down one of the links that live on.
const PACE: Duration = Duration::from_millis(20);

fn main() -> std::process::ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == AS_REGION) {
        arguments.remove(1);
        return regional_agent::main_with(arguments);
    }
    if let Ok(filter) = std::env::var("SKEIN_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    let given = |name: &str| {
        std::env::args().skip(1).find_map(|one| one.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    let (edges, outage) = (given("EDGES").unwrap_or(10_000), given("OUTAGE").unwrap_or(120));
    let outage = Duration::from_secs(u64::try_from(outage).unwrap_or(u64::MAX));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    measure::ended(runtime.context("no runtime").and_then(|runtime| runtime.block_on(whole(edges, outage))))
}

async fn whole(edges: usize, outage: Duration) -> Result<()> {
    let mut scene = Scene::start(AS_REGION).await?;
    let empty = scene.region_usage();
    let live: Arc<dyn Network> = PooledNetwork::new(1);
    let live = scene.crowd(LIVE, &live).await?;
    let line = PooledNetwork::new(SOCKETS);
    let network: Arc<dyn Network> = line.clone();
    let begun = Instant::now();
    let crowd = scene.crowd(edges, &network).await?;
    let table = Table::new("storm", &format!("{edges} edges and {LIVE} more at one regional agent"));
    table.row("first links, and plans in force", begun.elapsed().as_secs_f64(), "s", Aim::None);
    idle(&table, &scene, (&crowd, &line), empty.resident_bytes).await;
    let mut calm = control(&mut scene, &live, tokio::time::sleep(IDLE / 6)).await?.1;
    table.row("control on a live link, calm, p99", quantile(&mut calm, 0.99), "ms", Aim::None);
    storm(&table, &mut scene, &live, (&crowd, &line), outage).await?;
    scene.end().await;
    Ok(())
}

/// What links cost that say nothing.
async fn idle(table: &Table, scene: &Scene, (crowd, line): (&Crowd, &PooledNetwork), empty: f64) {
    // Idle is what this measures, so time has to pass.
    tokio::time::sleep(REST).await;
    let (before, bytes) = (scene.region_usage(), line.dialled_bytes());
    tokio::time::sleep(IDLE).await;
    let (after, bytes) = (scene.region_usage(), line.dialled_bytes() - bytes);
    let seconds = IDLE.as_secs_f64();
    let mib = 1_048_576.0;
    table.row("idle: memory of the regional agent", after.resident_bytes / mib, "MiB", Aim::AtMost(600.0));
    let each = (after.resident_bytes - empty) / crowd.len() as f64 / 1_024.0;
    table.row("idle: of it for each edge", each, "KiB", Aim::None);
    let share = (after.processor_seconds - before.processor_seconds) / seconds * 100.0;
    table.row("idle: share of one processor", share, "%", Aim::AtMost(5.0));
    let bits = bytes as f64 * 8.0 / crowd.len() as f64 / seconds / 1_000.0;
    table.row("idle: each link, both ways", bits, "kbit/s", Aim::AtMost(0.1));
}

/// All come back at once.
async fn storm(
    table: &Table,
    scene: &mut Scene,
    live: &Crowd,
    (crowd, line): (&Crowd, &PooledNetwork),
    outage: Duration,
) -> Result<()> {
    line.shut(true);
    crowd.alone().await?;
    scene.change(crowd);
    tokio::time::sleep(outage).await;
    let before = scene.region_usage();
    let begun = Instant::now();
    line.shut(false);
    let (linked, mut during) = control(scene, live, crowd.linked()).await?;
    linked?;
    let all_linked = begun.elapsed().as_secs_f64();
    scene.agrees(crowd).await?;
    let converged = begun.elapsed().as_secs_f64();
    let after = scene.region_usage();
    let mut moments = crowd.linked_after(begun);
    table.row("storm: linked again, p50", quantile(&mut moments, 0.5), "s", Aim::None);
    table.row("storm: linked again, the last one", all_linked, "s", Aim::None);
    table.row("storm: every new plan in force, told at the hub", converged, "s", Aim::AtMost(15.0));
    table.row("storm: control on a live link, p50", quantile(&mut during, 0.5), "ms", Aim::None);
    table.row("storm: control on a live link, p99", quantile(&mut during, 0.99), "ms", Aim::AtMost(250.0));
    table.row("storm: control on a live link, plans measured", during.len() as f64, "", Aim::None);
    let spent = after.processor_seconds - before.processor_seconds;
    table.row("storm: processor time of the regional agent", spent, "s", Aim::None);
    let mib = 1_048_576.0;
    table.row("storm: memory of the regional agent, highest", after.peak_bytes / mib, "MiB", Aim::None);
    Ok(())
}

/// Sends plans down live links until `until` ends: what it gave, and how long each took to be in force and told at the hub.
async fn control<T>(
    scene: &mut Scene,
    live: &Crowd,
    until: impl Future<Output = T>,
) -> Result<(T, Vec<f64>)> {
    let mut until = std::pin::pin!(until);
    let mut took = Vec::new();
    let mut edge = 0;
    loop {
        // One that was begun is finished: the slow ones are those that count.
        took.push(scene.round_trip(live, edge).await?.as_secs_f64() * 1_000.0);
        tokio::select! {
            ended = &mut until => return Ok((ended, took)),
            () = tokio::time::sleep(PACE) => edge += 1,
        }
    }
}
