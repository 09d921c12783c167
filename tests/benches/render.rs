//! What rendering costs: one chart, ten thousand clusters, a very large chart, and a chart that a thousand services use.
//!
//! `cargo bench -p skein-tests --bench render`. Helm's cost is measured in the same run where the real parts are
//! installed. Prints a table and a line `BENCH {..}` for each measure; aims are judged, not enforced.

#[path = "render/charts.rs"]
mod charts;
#[path = "render/downloads.rs"]
mod downloads;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use hub::content::FetchedChart;
use hub::planner::rendering::{Bundles, Options, Request, Seed, Seeds};
use hub::services::resolve::Renderer;
use hub::services::template::Body;
use identity::Sealer;
use render::{Capabilities, Chart, Entropy, Input, Limits, NoCluster, Release, Rendered, parse_values};
use serde_json::Value;
use skein_tests::measure::{Aim, Table, Usage, quantile};

/// Renders of the small chart, and of the large one.
const SMALL_RENDERS: usize = 500;
const LARGE_RENDERS: usize = 10;
/// `helm template` of the small chart.
const HELM_RENDERS: usize = 20;
/// Clusters with values of their own, and the threads that render for them.
const CLUSTERS: usize = 10_000;
const THREADS: usize = 2;
/// Services that use one version of one chart.
const SERVICES: usize = 1_000;

fn main() -> Result<()> {
    let table = Table::new("render", "rendering, in process");
    small(&table)?;
    clusters(&table)?;
    large(&table)?;
    let downloads = tokio::runtime::Runtime::new()?.block_on(downloads::count(SERVICES, charts::small()))?;
    table.row("downloads for 1,000 services of one chart version", downloads, "", Aim::AtMost(1.0));
    Ok(())
}

/// Nothing is random.
struct Zeros;

impl Entropy for Zeros {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        vec![0; count]
    }

    fn now_unix_seconds(&mut self) -> i64 {
        0
    }
}

fn rendered(chart: &Chart, values: &Value) -> Result<Rendered> {
    let (capabilities, limits) = (Capabilities::default(), Limits::default());
    let release =
        Release { name: "bench", namespace: "apps", revision: 1, is_install: true, is_upgrade: false };
    let input = Input {
        chart,
        release,
        values,
        integers: false,
        capabilities: &capabilities,
        limits: &limits,
        skip_crds: false,
        skip_schema_validation: false,
    };
    Ok(render::render(&input, &mut Zeros, &NoCluster)?)
}

/// Milliseconds that each of `count` renders took.
fn timed(chart: &Chart, values: &Value, count: usize) -> Result<Vec<f64>> {
    (0..count)
        .map(|_| {
            let begun = Instant::now();
            rendered(chart, values)?;
            Ok(begun.elapsed().as_secs_f64() * 1_000.0)
        })
        .collect()
}

fn own_processor_seconds() -> f64 {
    Usage::of(std::process::id()).processor_seconds
}

fn small(table: &Table) -> Result<()> {
    let chart = Chart::from_files(charts::small())?;
    let values = parse_values(&charts::values(7))?;
    let objects = rendered(&chart, &values)?.objects.len();
    timed(&chart, &values, 20)?;
    let before = own_processor_seconds();
    let mut times = timed(&chart, &values, SMALL_RENDERS)?;
    let ours = (own_processor_seconds() - before) / SMALL_RENDERS as f64 * 1_000.0;
    let name = format!("one warm render, {objects} objects, median");
    table.row(&name, quantile(&mut times, 0.5), "ms", Aim::AtMost(2.0));
    table.row("the same, 99 of 100", quantile(&mut times, 0.99), "ms", Aim::None);
    table.row("processor time of one", ours, "ms", Aim::None);
    // Without the real parts there is nothing to stand beside.
    if let Ok(helm) = helm_milliseconds() {
        table.row("processor time of helm template, same chart", helm, "ms", Aim::None);
        table.row("helm's processor time over ours", helm / ours, "x", Aim::AtLeast(50.0));
    }
    Ok(())
}

/// Processor time of `helm template`, its start included, as the shell counts it.
fn helm_milliseconds() -> Result<f64> {
    let helm = skein_tests::parts::require_parts()?.join("helm");
    let folder = tempfile::tempdir()?;
    let chart = folder.path().join("chart");
    for (path, data) in charts::small() {
        let path = chart.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(path, data)?;
    }
    std::fs::write(folder.path().join("values.yaml"), charts::values(7))?;
    let script = "TIMEFORMAT='%U %S'; time (for _ in $(seq $1); do \
                  \"$0\" template bench chart -n apps -f values.yaml >/dev/null || exit 1; done)";
    let mut command = Command::new("/bin/bash");
    command.arg("-c").arg(script).arg(helm).arg(HELM_RENDERS.to_string()).current_dir(folder.path());
    let output = command.env("HOME", folder.path()).output().context("failed to run bash")?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "helm refused: {text}");
    let line = text.lines().last().unwrap_or_default();
    let seconds: f64 = line.split(' ').filter_map(|part| part.parse::<f64>().ok()).sum();
    Ok(seconds / HELM_RENDERS as f64 * 1_000.0)
}

/// No seed is kept: the charts here are not random.
struct NoSeeds;

impl Seeds for NoSeeds {
    fn load(&self, _: (&str, &str), _: &str) -> Option<Seed> {
        None
    }

    fn store(&self, _: (&str, &str), _: &str, _: Seed) {}

    fn draw(&self) -> Seed {
        Seed { bytes: [0; 32], time: 0 }
    }
}

/// Through the hub's renderer: values, chart, bundle, digests.
fn clusters(table: &Table) -> Result<()> {
    let chart = Chart::from_files(charts::small())?;
    let content = source::Content::Tree(Arc::new(charts::small().into_iter().collect()));
    let (version, digest) = ("1.0.0".to_owned(), "small".to_owned());
    let chart = FetchedChart { version, digest, bytes: 0, content, chart };
    let body = Body::Chart(Arc::new(chart));
    let bundles = Bundles::new(Box::new(NoSeeds), Sealer::new([0; 32]), None);
    let one = |cluster: usize| {
        let documents = [charts::values(cluster)];
        let request = Request {
            body: &body,
            namespace: "apps",
            name: "bench",
            documents: &documents,
            kubernetes_version: Some("v1.36.0"),
            labels: &[],
            store: None,
            patches: &[],
            options: Options::default(),
        };
        bundles.render(&request).map(|bundle| bundle.size()).map_err(|lack| anyhow::anyhow!(lack.message))
    };
    one(CLUSTERS)?;
    let before = Usage::of(std::process::id()).resident_bytes;
    let (begun, next) = (Instant::now(), AtomicUsize::new(0));
    let results: Vec<Result<usize>> = std::thread::scope(|scope| {
        let work = || -> Result<usize> {
            let mut bytes = 0;
            loop {
                let cluster = next.fetch_add(1, Ordering::Relaxed);
                if cluster >= CLUSTERS {
                    return Ok(bytes);
                }
                bytes += one(cluster)?;
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<usize>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a renderer panicked")))
        };
        threads.into_iter().map(join).collect()
    });
    let seconds = begun.elapsed().as_secs_f64();
    let bytes = results.into_iter().sum::<Result<usize>>()?;
    let grown = (Usage::of(std::process::id()).resident_bytes - before) / 1e6;
    table.row("10,000 clusters with values of their own, 2 threads", seconds, "s", Aim::AtMost(15.0));
    table.row("resident memory grown by", grown, "MB", Aim::AtMost(200.0));
    table.row("bundles rendered", bytes as f64 / 1e6, "MB", Aim::None);
    Ok(())
}

fn large(table: &Table) -> Result<()> {
    let files = charts::large();
    let crds: usize =
        files.iter().filter(|(path, _)| path.starts_with("crds/")).map(|(_, data)| data.len()).sum();
    let chart = Chart::from_files(files)?;
    let values = Value::Null;
    let begun = Instant::now();
    let objects = rendered(&chart, &values)?.objects.len();
    let cold = begun.elapsed().as_secs_f64() * 1_000.0;
    let mut times = timed(&chart, &values, LARGE_RENDERS)?;
    let name = format!("largest chart, {objects} objects, {:.1} MB of CRDs", crds as f64 / 1e6);
    table.row(&name, quantile(&mut times, 0.5), "ms", Aim::AtMost(300.0));
    table.row("the same, the first time", cold, "ms", Aim::None);
    Ok(())
}
