//! A whole fleet in one process: the hub, one region and all edges, each with a Kubernetes API of its own (kube-local),
//! over QUIC on loopback. Nothing on the path is left out or mocked:
//! API write -> watch -> resolve -> render -> plan -> sign -> link -> region -> link -> store -> apply -> report -> status.
//!
//! - `board`: what the edges show, as applied objects and as status at the hub
//! - [`parts`]: what a fleet is made of, each startable by itself

mod board;
pub mod parts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use api::k0rdent::MultiClusterService;
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use identity::{Clock, SystemClock, TokenRole};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use link::Network;
use link::network::PooledNetwork;
use process::Process;
use serde_json::json;

use board::Board;
pub use board::Service;
use parts::SYSTEM;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// A fleet that is linked and in sync.
pub struct Fleet {
    hub: kube::Client,
    count: usize,
    edges: Vec<kube::Client>,
    applied: Board,
    status: Board,
    network: Arc<PooledNetwork>,
    process: Process,
    region: Process,
    _folder: tempfile::TempDir,
}

/// How long changes took, in milliseconds: until applied, and until the status at the hub said so.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Until the object on the last edge concerned was the new one.
    pub applied: Vec<f64>,
    /// Until the status of the last edge concerned told it.
    pub back: Vec<f64>,
}

/// How long a service that all edges newly have took, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct NewlyMatched {
    /// Until every object was applied.
    pub applied: f64,
    /// Until every ServiceSet said so.
    pub back: f64,
    /// Until the MultiClusterService counted all of them.
    pub summed: f64,
}

impl Fleet {
    /// Starts a fleet of so many edges; each has a service of its own, and all have one together.
    ///
    /// # Errors
    /// When a part does not come up in time.
    pub async fn start(count: usize) -> Result<Self> {
        let process = Process::embedded();
        let management = parts::cluster("hub", &process).await?;
        Self::begin(process, management.client(), count, None).await
    }

    /// Starts a fleet of one edge between clusters that are there already.
    ///
    /// # Errors
    /// When a part does not come up in time.
    pub async fn start_between(management: kube::Client, child: kube::Client) -> Result<Self> {
        Self::begin(Process::embedded(), management, 1, Some(child)).await
    }

    async fn begin(
        process: Process,
        hub: kube::Client,
        count: usize,
        child: Option<kube::Client>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-bench-").tempdir()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // The edges' traffic is counted, and not the region's with the hub.
        let pooled = PooledNetwork::new(8);
        let network: Arc<dyn Network> = Arc::clone(&pooled) as Arc<dyn Network>;
        let uplink: Arc<dyn Network> = PooledNetwork::new(1);
        parts::prepare(&hub, count).await?;
        let arguments = ["hub", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--state"];
        let state = folder.path().join("hub").display().to_string();
        let arguments = hub::arguments::Arguments::parse_from(arguments.into_iter().chain([state.as_str()]));
        hub::app::serve(hub.clone(), "bench", network.clone(), clock.clone(), arguments, process.clone())
            .await?;
        // Of its own, so that edges can be left alone.
        let region = Process::embedded();
        let running = parts::region(&hub, folder.path(), &uplink, &clock, &region).await?;
        let endpoint = running.downlink.local_addr().to_string();
        let token = parts::mint(&hub, TokenRole::Edge, vec![endpoint], i32::try_from(count)?).await?;
        let (seen, applied) = Board::new();
        let (told, status) = Board::new();
        board::watch_status(&hub, told, &process);
        let starts = futures::stream::iter(0..count).map(|edge| {
            let (seen, token, folder) =
                (seen.clone(), token.clone(), folder.path().join(format!("edge-{edge}")));
            let (network, clock, process) = (network.clone(), clock.clone(), process.clone());
            let child = child.clone();
            async move {
                let child = match child {
                    Some(child) => child,
                    None => parts::cluster(&format!("edge-{edge}"), &process).await?.client(),
                };
                parts::edge((edge, child), &token, &folder, network, clock, seen, process).await
            }
        });
        let edges = starts.buffered(16).try_collect().await?;
        let mut fleet =
            Self { hub, count, edges, applied, status, network: pooled, process, region, _folder: folder };
        for service in [Service::Own, Service::All] {
            fleet.applied.wait(0..count, service, 0).await.context("applied")?;
            fleet.status.wait(0..count, service, 0).await.context("status")?;
        }
        Ok(fleet)
    }

    /// Ends it.
    pub async fn end(self) {
        self.region.drain().await;
        self.process.drain().await;
    }

    /// The API of an edge's cluster.
    #[must_use]
    pub fn edge(&self, edge: usize) -> &kube::Client {
        &self.edges[edge]
    }

    /// Bytes between edges and region, both ways, since the start.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.network.dialled_bytes()
    }

    /// Takes the region away: from now on every edge is alone.
    pub async fn cut(&self) {
        self.region.drain().await;
    }

    /// Edits what a service is made of. Returns when the write was begun.
    ///
    /// # Errors
    /// When the API refuses.
    pub async fn write(&self, name: &str, edit: u32) -> Result<Instant> {
        let maps = Api::<ConfigMap>::namespaced(self.hub.clone(), SYSTEM);
        let patch = json!({"data": {"object.yaml": parts::object(name, edit)}});
        let written = Instant::now();
        maps.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(written)
    }

    /// Changes that concern one edge each, one after the other; no edge is met twice, so it may be called once.
    ///
    /// # Errors
    /// When one does not arrive.
    pub async fn change_one(&mut self, changes: usize) -> Result<Latencies> {
        let mut took = Latencies::default();
        for change in 0..changes.min(self.count) {
            // A prime step.
            let edge = (change * 7_919) % self.count;
            let written = self.write(&format!("own-{edge}"), 1).await?;
            took.applied
                .push(milliseconds(self.applied.wait(edge..edge + 1, Service::Own, 1).await? - written));
            took.back.push(milliseconds(self.status.wait(edge..edge + 1, Service::Own, 1).await? - written));
        }
        Ok(took)
    }

    /// Changes of the first edge's own service, so far apart; may be called once.
    ///
    /// # Errors
    /// When one does not arrive.
    pub async fn change_apart(&mut self, changes: u32, apart: Duration) -> Result<Latencies> {
        let mut took = Latencies::default();
        let mut ticks = tokio::time::interval(apart);
        for edit in 1..=changes {
            ticks.tick().await;
            let written = self.write("own-0", edit).await?;
            took.applied.push(milliseconds(self.applied.wait(0..1, Service::Own, edit).await? - written));
            took.back.push(milliseconds(self.status.wait(0..1, Service::Own, edit).await? - written));
        }
        Ok(took)
    }

    /// The given edit of what all edges have together.
    ///
    /// # Errors
    /// When it does not arrive everywhere.
    pub async fn change_all(&mut self, edit: u32, took: &mut Latencies) -> Result<()> {
        let written = self.write("all", edit).await?;
        let applied = self.applied.wait(0..self.count, Service::All, edit).await?;
        let back = self.status.wait(0..self.count, Service::All, edit).await?;
        took.applied.push(milliseconds(applied - written));
        took.back.push(milliseconds(back - written));
        Ok(())
    }

    /// A MultiClusterService that selects all edges, of which none had it.
    ///
    /// # Errors
    /// When it does not arrive everywhere.
    pub async fn match_newly(&mut self) -> Result<NewlyMatched> {
        let begun = Instant::now();
        parts::service(&self.hub, "new", &json!({"fleet": "bench"})).await?;
        let applied = self.applied.wait(0..self.count, Service::New, 0).await?;
        let back = self.status.wait(0..self.count, Service::New, 0).await?;
        let services = Api::<MultiClusterService>::all(self.hub.clone());
        let all = format!("{0}/{0}", self.count);
        let counts = move |object: Option<&MultiClusterService>| {
            let status = object.and_then(|object| object.status.as_ref());
            status.is_some_and(|status| status.conditions.iter().any(|one| one.message == all))
        };
        let summed = await_condition(services, "new", counts);
        tokio::time::timeout(DEADLINE, summed)
            .await
            .context("the MultiClusterService never counted all")??;
        Ok(NewlyMatched {
            applied: milliseconds(applied - begun),
            back: milliseconds(back - begun),
            summed: milliseconds(begun.elapsed()),
        })
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
