//! What a thousand clusters in one process cost, and how soon a watcher sees a write.
//!
//! `cargo run -p kube-local --example footprint -- [CLUSTERS [OBJECTS]]`

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube_local::{Cluster, Options, Simulate};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const WRITES: u32 = 2000;

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn config_map(name: &str) -> anyhow::Result<ConfigMap> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "data": {"key": "x".repeat(500)}}))?)
}

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u32| arguments.next().map_or(Ok(default), |text| text.parse());
    let clusters = number(1000).context("CLUSTERS must be a number")?;
    let objects = number(10).context("OBJECTS must be a number")?;
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let before = resident_mib();
    let begun = Instant::now();
    let mut all = Vec::new();
    for index in 0..clusters {
        let simulate = Simulate { workloads: true, ..Simulate::default() };
        let name = format!("cluster-{index}");
        let cluster = Cluster::open(Options { name, simulate, ..Options::default() }).await?;
        cluster.run_controllers(&tasks, cancel.clone());
        let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
        for object in 0..objects {
            api.create(&PostParams::default(), &config_map(&format!("m{object}"))?).await?;
        }
        all.push((cluster, api));
    }
    println!(
        "{clusters} clusters of {objects} objects with controllers: {:.2} s, {:.0} MiB",
        begun.elapsed().as_secs_f64(),
        resident_mib() - before
    );

    let (_, api) = all.first().context("at least one cluster")?;
    let version = api.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let mut watch = api.watch(&WatchParams::default(), &version).await?.boxed();
    let mut took: Vec<Duration> = Vec::new();
    let begun = Instant::now();
    for turn in 0..WRITES {
        let patch = Patch::Merge(json!({"data": {"turn": turn.to_string()}}));
        let params = PatchParams::default();
        let written = Instant::now();
        let (patched, seen) = tokio::join!(api.patch("m0", &params, &patch), async { watch.next().await });
        patched?;
        seen.context("the watch ended")??;
        took.push(written.elapsed());
    }
    took.sort();
    println!(
        "write to watch: p50 {:?}, p99 {:?}, {:.0} writes/s",
        took[took.len() / 2],
        took[took.len() * 99 / 100],
        f64::from(WRITES) / begun.elapsed().as_secs_f64()
    );
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}
