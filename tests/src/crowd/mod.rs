//! Thousands of light edges at real links of one regional agent, which is a process of its own, below a hub without
//! controllers: what links cost, and what happens when all come back at once.
//!
//! ```text
//! this process:  hub (link server, plans, what it observed)
//!                  |  QUIC on loopback
//! a process:     regional agent, as a program runs it
//!                  |  QUIC on loopback, a connection for each edge
//! this process:  edges: uplink, verification of plans, receipts and reports; nothing is applied
//! ```
//! - `edge`: an edge
//! - `above`: the hub, and the regional agent below it

mod above;
mod edge;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use identity::{Authority, Clock as _, KeyKind, SystemClock, SystemEntropy};
use link::{Carrier, Network};
use process::Process;
use protocol::id::{AgentId, EdgeId, Generation};
use tokio::sync::watch;

use crate::measure::Usage;
use crate::{identities, plans};
use above::{Above, REGION};
use edge::Edge;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// Sockets for the edges of a crowd to share; fewer than edges, for a process may have 1,024 files.
pub const SOCKETS: usize = 16;

/// Edges on a network.
pub struct Crowd {
    edges: Vec<Edge>,
    count: watch::Receiver<usize>,
}

/// Crowds and what is above them.
pub struct Scene {
    above: Above,
    authority: Arc<Authority>,
    process: Process,
    numbers: u64,
    version: u64,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A hub, and a region as that program of this very executable which `as_region` asks for.
    ///
    /// # Errors
    /// When a part does not come up in time.
    pub async fn start(as_region: &str) -> Result<Self> {
        let process = Process::embedded();
        let folder = tempfile::Builder::new().prefix("skein-bench-").tempdir()?;
        let authority =
            Authority::create_kind("fleet.example", KeyKind::P256, SystemClock.now(), &mut SystemEntropy)?;
        let authority = Arc::new(authority);
        let above = Above::start(&authority, as_region, folder.path(), &process).await?;
        Ok(Self { above, authority, process, numbers: 0, version: 1, _folder: folder })
    }

    /// So many edges with a plan each that dial over this network. They are linked, and the hub knows.
    ///
    /// # Errors
    /// When one does not come up in time.
    pub async fn crowd(&mut self, size: usize, network: &Arc<dyn Network>) -> Result<Crowd> {
        let crowd = self.begin(size, network)?;
        crowd.linked().await.with_context(|| self.above.log_tail())?;
        self.agrees(&crowd).await?;
        Ok(crowd)
    }

    /// The same, not linked yet.
    ///
    /// # Errors
    /// When one cannot begin.
    pub fn begin(&mut self, size: usize, network: &Arc<dyn Network>) -> Result<Crowd> {
        let (told, count) = watch::channel(0);
        let region = REGION.parse()?;
        let mut made = Vec::new();
        for _ in 0..size {
            self.numbers += 1;
            let id = edge_id(self.numbers);
            let identity = identities::issued(
                &self.authority,
                (&AgentId::Edge(id), &region),
                &self.above.edges_dial().to_string(),
                (SystemClock.now(), KeyKind::P256),
                &mut SystemEntropy,
            )?;
            self.above.enrolled(&identity)?;
            made.push((self.numbers, identity));
        }
        for (number, _) in &made {
            self.above.publish(edge_id(*number), plans::body(*number, self.version));
        }
        let edges = made
            .into_iter()
            .map(|(number, identity)| {
                Edge::start(number, identity, network.clone(), told.clone(), &self.process)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Crowd { edges, count })
    }

    /// A newer plan for each edge.
    pub fn change(&mut self, crowd: &Crowd) {
        self.version = plain_after(self.version);
        for edge in &crowd.edges {
            self.above.publish(edge_id(edge.number), plans::body(edge.number, self.version));
        }
    }

    /// Waits until the hub knows of every edge that it is linked and acts on its newest plan.
    ///
    /// # Errors
    /// When it is not so in time.
    pub async fn agrees(&self, crowd: &Crowd) -> Result<()> {
        let mut changes = self.above.observed.subscribe();
        let mut missing: BTreeMap<AgentId, Generation> = crowd
            .edges
            .iter()
            .filter_map(|edge| {
                let agent = AgentId::Edge(edge_id(edge.number));
                Some((agent.clone(), self.above.plans.get(&agent)?.head.generation))
            })
            .collect();
        let all = async {
            missing.retain(|agent, generation| !self.above.acts_on(agent, *generation));
            while !missing.is_empty() {
                for agent in changes.next().await {
                    if missing.get(&agent).is_some_and(|generation| self.above.acts_on(&agent, *generation)) {
                        missing.remove(&agent);
                    }
                }
            }
        };
        let ended = tokio::time::timeout(DEADLINE, all).await;
        ended.with_context(|| format!("{} edges do not act on their plans", missing.len()))
    }

    /// A newer plan for one edge: how long until the hub has its receipt and its report.
    ///
    /// # Errors
    /// When they do not come in time.
    pub async fn round_trip(&mut self, crowd: &Crowd, edge: usize) -> Result<Duration> {
        let edge = &crowd.edges[edge % crowd.edges.len()];
        let agent = AgentId::Edge(edge_id(edge.number));
        let mut changes = self.above.observed.subscribe();
        self.version = plain_after(self.version);
        let begun = Instant::now();
        let generation = self.above.publish(edge_id(edge.number), plans::body(edge.number, self.version));
        let back = async {
            while !self.above.acts_on(&agent, generation) {
                changes.next().await;
            }
        };
        tokio::time::timeout(DEADLINE, back).await.context("a plan has no receipt")?;
        Ok(begun.elapsed())
    }

    /// Takes an edge out of the mesh: how long until its link is closed.
    ///
    /// # Errors
    /// When it does not come to pass in time.
    pub async fn revoke(&mut self, crowd: &mut Crowd, edge: usize) -> Result<Duration> {
        let edge = &mut crowd.edges[edge];
        let begun = Instant::now();
        self.above.revoke(edge.number);
        tokio::time::timeout(DEADLINE, edge.link.wait_for(|link| !link.up))
            .await
            .context("still linked")??;
        Ok(begun.elapsed())
    }

    /// Where edges dial the region.
    #[must_use]
    pub fn region_listens(&self) -> SocketAddr {
        self.above.edges_dial()
    }

    /// What the region's process uses.
    #[must_use]
    pub fn region_usage(&self) -> Usage {
        self.above.region_usage()
    }

    /// Ends everything.
    pub async fn end(self) {
        self.process.drain().await;
    }
}

impl Crowd {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Ends when every edge is linked, or with an error when not all are in time.
    pub fn linked(&self) -> impl Future<Output = Result<()>> + use<> {
        reaches(self.count.clone(), self.edges.len())
    }

    /// Ends when no edge is linked, or with an error when some still are in time.
    pub fn alone(&self) -> impl Future<Output = Result<()>> + use<> {
        reaches(self.count.clone(), 0)
    }

    /// Ends when that carrier has every link.
    ///
    /// # Errors
    /// When it does not have all in time.
    pub async fn carried(&mut self, by: Carrier) -> Result<()> {
        for edge in &mut self.edges {
            let on = edge.link.wait_for(|link| link.up && link.carrier == by);
            let waited = tokio::time::timeout(DEADLINE, on).await;
            waited.with_context(|| format!("edge {} is not carried by {}", edge.number, by.as_str()))??;
        }
        Ok(())
    }

    /// How long after `begun` each edge had its present link, in seconds.
    #[must_use]
    pub fn linked_after(&self, begun: Instant) -> Vec<f64> {
        let moments = self.edges.iter().filter_map(Edge::linked_at);
        moments.map(|moment| moment.saturating_duration_since(begun).as_secs_f64()).collect()
    }
}

async fn reaches(mut linked: watch::Receiver<usize>, wanted: usize) -> Result<()> {
    let waited = tokio::time::timeout(DEADLINE, linked.wait_for(|linked| *linked == wanted)).await;
    waited.with_context(|| format!("not {wanted} edges are linked"))??;
    Ok(())
}

/// The next version whose objects fit the control lane.
fn plain_after(version: u64) -> u64 {
    if plans::is_big(version + 1) { version + 2 } else { version + 1 }
}

/// The edge of that number.
fn edge_id(number: u64) -> EdgeId {
    let mut id = [0; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    (id[0], id[6], id[8]) = (1, 0x40, 0x80);
    EdgeId(id)
}

/// Where the region's state lies.
fn region_state(folder: &Path) -> std::path::PathBuf {
    folder.join("region")
}
