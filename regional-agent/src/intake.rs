//! Telemetry from the edges: stored, then acknowledged.
//!
//! Items are taken in batches: whatever has come while the store was busy is the next batch, so the acknowledgements
//! of a busy region are few. While the store does not keep up, nothing is read from the links, which slows down the
//! senders; control has lanes of its own.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use link::DownlinkEvent;
use protocol::id::EdgeId;
use protocol::telemetry::{TelemetryAck, TelemetryItem};
use tokio::sync::mpsc;

use crate::edges::Edges;
use crate::edges::shelf::Shelf;

/// Most items in a batch.
const BATCH_ITEMS_MAX: usize = 256;

/// An item and whose it is.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// From which edge.
    pub edge: EdgeId,
    /// What it is called.
    pub name: String,
    /// What its cluster is called.
    pub cluster: String,
    /// The item.
    pub item: TelemetryItem,
}

/// Where telemetry goes, and who answers queries about it.
pub trait Telemetry: Send + Sync + 'static {
    /// Stores items, each stream's in the order given; what is answered is durable.
    fn ingest(&self, items: Vec<Arrived>) -> BoxFuture<'_, Vec<(EdgeId, TelemetryAck)>>;

    /// What is durable of an edge's streams.
    fn acknowledged(&self, edge: EdgeId) -> BoxFuture<'_, Vec<TelemetryAck>>;

    /// Answers a query of the hub; both are in the `telemetry` crate's encoding.
    fn query(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// Moves telemetry from the links to the store.
pub(crate) struct Intake {
    pub(crate) telemetry: Arc<dyn Telemetry>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) edges: Edges,
}

impl Intake {
    /// Runs until the listener ends.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<DownlinkEvent>) {
        while let Some(first) = events.recv().await {
            let mut batch: Vec<Arrived> = self.arrived(first).into_iter().collect();
            while batch.len() < BATCH_ITEMS_MAX
                && let Ok(next) = events.try_recv()
            {
                batch.extend(self.arrived(next));
            }
            let acks = self.telemetry.ingest(batch).await;
            if !acks.is_empty() {
                self.edges.durable(acks);
            }
        }
    }

    fn arrived(&self, event: DownlinkEvent) -> Option<Arrived> {
        let DownlinkEvent::Telemetry { peer, item } = event else { return None };
        let edge = peer.edge()?;
        let (name, cluster) = self.shelf.named(edge);
        Some(Arrived { edge, name, cluster, item })
    }
}

/// No store: nothing is durable here, so nothing is acknowledged and edges keep what they have.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStore;

impl Telemetry for NoStore {
    fn ingest(&self, _: Vec<Arrived>) -> BoxFuture<'_, Vec<(EdgeId, TelemetryAck)>> {
        std::future::ready(Vec::new()).boxed()
    }

    fn acknowledged(&self, _: EdgeId) -> BoxFuture<'_, Vec<TelemetryAck>> {
        std::future::ready(Vec::new()).boxed()
    }

    fn query(&self, _: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        std::future::ready(Err("this region keeps no telemetry".to_owned())).boxed()
    }
}
