//! From an API write at the hub to the applied object at the edge, and back to status at the hub.
//!
//! One process holds the hub, one region and all edges, each with a Kubernetes API of its own; see
//! [`skein_tests::fleet`].
//!
//! `cargo bench -p skein-tests --bench propagation [-- EDGES ...]` (default 100 and 1000). Prints a table and a line
//! `BENCH {..}` for each measure; aims are judged, not enforced. `SKEIN_LOG` shows the log.

use std::time::Instant;

use anyhow::{Context, Result};
use skein_tests::fleet::{Fleet, Latencies, milliseconds};
use skein_tests::measure::{Aim, Table, Usage, quantile};
use skein_tests::spans::Spans;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// As the programs have it whose parts run here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Changes that concern one edge.
const SINGLE_CHANGES: usize = 60;
/// Changes that concern all edges.
const FLEET_CHANGES: u32 = 5;

fn main() -> Result<()> {
    let counts: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 1_000] } else { counts };
    let filter = EnvFilter::try_from_env("SKEIN_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    let spans = Spans::default();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter);
    tracing_subscriber::registry().with(log).with(spans.layer()).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for count in counts {
        runtime.block_on(measure(count, &spans)).with_context(|| format!("with {count} edges"))?;
    }
    Ok(())
}

async fn measure(count: usize, spans: &Spans) -> Result<()> {
    let begun = Instant::now();
    let mut fleet = Fleet::start(count).await?;
    let linked = begun.elapsed().as_secs_f64();
    let own = std::process::id();
    let idle = Usage::of(own);
    let Latencies { mut applied, mut back } = fleet.change_one(SINGLE_CHANGES).await?;
    let (begun, bytes) = (Usage::of(own), fleet.bytes());
    let mut all = Latencies::default();
    for edit in 1..=FLEET_CHANGES {
        fleet.change_all(edit, &mut all).await?;
    }
    let changes = f64::from(FLEET_CHANGES) * count as f64;
    let spent = (Usage::of(own).processor_seconds - begun.processor_seconds) / changes;
    let bytes = (fleet.bytes() - bytes) as f64 / changes;
    // Once more, watched: that costs time of its own, so it is not among the others.
    spans.watch(true);
    fleet.change_all(FLEET_CHANGES + 1, &mut Latencies::default()).await?;
    spans.watch(false);
    let aim = |most: f64| if count >= 1_000 { Aim::AtMost(most) } else { Aim::None };
    let table = Table::new("propagation", &format!("{count} edges, linked and in sync after {linked:.1} s"));
    let row = |measure: &str, value: f64, unit: &str, aim: Aim| {
        table.row(&format!("{measure} ({count} edges)"), value, unit, aim);
    };
    row("one edge: applied, p50", quantile(&mut applied, 0.5), "ms", aim(10.0));
    row("one edge: applied, p99", quantile(&mut applied, 0.99), "ms", aim(40.0));
    row("one edge: status back, p50", quantile(&mut back, 0.5), "ms", aim(15.0));
    row("one edge: status back, p99", quantile(&mut back, 0.99), "ms", aim(60.0));
    row("all edges: applied, p50", quantile(&mut all.applied, 0.5), "ms", Aim::None);
    row("all edges: status back, p50", quantile(&mut all.back, 0.5), "ms", aim(1_000.0));
    row("all edges: processor time per edge, its API included", spent * 1_000.0, "ms", Aim::None);
    row("all edges: bytes per edge, both ways", bytes, "B", aim(1_024.0));
    for (name, busy) in spans.take() {
        let busy = milliseconds(busy) / count as f64;
        row(&format!("all edges: busy per edge in {name}"), busy, "ms", Aim::None);
    }
    let share = idle.resident_bytes / 1_024.0 / count as f64;
    row("resident memory per edge, its API included", share, "KiB", Aim::None);
    fleet.end().await;
    Ok(())
}
