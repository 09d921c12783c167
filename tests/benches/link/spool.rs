//! How much a spool takes in durably, in a process of its own for its memory.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use identity::{Clock as _, SystemClock};
use protocol::telemetry::TelemetryClass;
use skein_tests::measure::{Aim, Table, Usage};
use spool::{Budgets, Spool};
use telemetry::{Batch, Labels, Sample, Series};

/// The first argument of a process of this program that is the spool.
pub(crate) const AS_SPOOL: &str = "--as-spool";
/// Records in a batch.
const BATCH: u32 = 100;
/// Batches that are taken in.
const BATCHES: usize = 10_000;
/// Senders that wait for their batch to be durable, each with one at a time, as an agent's receivers do.
const SENDERS: usize = 16;

/// Starts the process.
pub(crate) fn measure() -> Result<()> {
    let ran = Command::new(std::env::current_exe()?).arg(AS_SPOOL).status()?;
    ensure!(ran.success(), "the measurement of the spool failed");
    Ok(())
}

/// What runs in it.
pub(crate) async fn alone() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("skein-bench-").tempdir()?;
    let clock = Arc::new(|| SystemClock.now());
    let mut drawn = 0;
    let entropy = Box::new(move || {
        drawn += 1;
        drawn
    });
    let spool = Spool::open(folder.path().join("spool.sqlite"), Budgets::default(), clock, entropy)?;
    let payload = batch();
    let own = std::process::id();
    let (written, used, begun) = (written()?, Usage::of(own), Instant::now());
    let sender = || async {
        for _ in 0..BATCHES / SENDERS {
            let now = SystemClock.now();
            spool.push(TelemetryClass::Metrics, payload.clone(), BATCH, now, now).await?;
        }
        anyhow::Ok(())
    };
    futures::future::try_join_all((0..SENDERS).map(|_| sender())).await?;
    let seconds = begun.elapsed().as_secs_f64();
    spool.close().await;
    let bytes = (BATCHES / SENDERS * SENDERS * payload.len()) as f64;
    let written = (self::written()? - written) / bytes;
    let after = Usage::of(own);
    let records = (BATCHES / SENDERS * SENDERS) as f64 * f64::from(BATCH);
    let table = Table::new(
        "link",
        &format!(
            "a spool on disk, batches of {BATCH} records and {} bytes, {SENDERS} senders",
            payload.len()
        ),
    );
    table.row("spool: durable intake", records / seconds, "records/s", Aim::AtLeast(50_000.0));
    table.row("spool: bytes written for each of payload", written, "", Aim::AtMost(3.0));
    let grown = after.peak_bytes - used.resident_bytes;
    table.row("spool: memory grown by it", grown / 1_048_576.0, "MiB", Aim::AtMost(10.0));
    let spent = (after.processor_seconds - used.processor_seconds) * 1e6 / records;
    table.row("spool: processor time for a million records", spent, "s", Aim::None);
    Ok(())
}

/// Records as an edge has them: a sample each of series that differ in a label.
fn batch() -> bytes::Bytes {
    let series = (0..BATCH).map(|number| {
        let (container, value) = (format!("container-{number}"), f64::from(number) * 1.618);
        let labels = Labels::from_pairs([
            ("__name__", "container_memory_working_set_bytes"),
            ("container", container.as_str()),
            ("namespace", "shop"),
        ]);
        Series { labels, samples: vec![Sample::new(1_790_000_000_000, value)] }
    });
    telemetry::wire::encode(&Batch { series: series.collect() })
}

/// What this process has had written to disks so far, in bytes.
fn written() -> Result<f64> {
    let counters = std::fs::read_to_string("/proc/self/io").context("the kernel counts no bytes")?;
    let line = counters.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes in /proc/self/io")?.trim().parse()?)
}
