//! Telemetry from the edges: stored, then acknowledged.
//!
//! Items are taken in batches: whatever has come while the store was busy is the next batch, so the acknowledgements
//! of a busy region are few. While the store does not keep up, nothing is read from the links, which slows down the
//! senders; control has lanes of its own.

use std::sync::Arc;
use std::time::Duration;

use link::DownlinkEvent;
use protocol::id::{AgentId, EdgeId};
use protocol::telemetry::TelemetryAck;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::edges::Edges;
use crate::store::{Arrival, Links, Store, StoreError};

/// Most items in a batch.
const BATCH_ITEMS_MAX: usize = 256;
/// Pause before a batch that could not be stored is tried again, for example while the disk is full.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Moves telemetry from the links to the store.
pub(crate) struct Intake {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) edges: Edges,
}

impl Intake {
    /// Runs until cancelled.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<DownlinkEvent>, cancel: CancellationToken) {
        while let Some(Some(first)) = cancel.run_until_cancelled(events.recv()).await {
            let mut batch: Vec<Arrival> = self.arrived(first).into_iter().collect();
            while batch.len() < BATCH_ITEMS_MAX
                && let Ok(next) = events.try_recv()
            {
                batch.extend(self.arrived(next));
            }
            let Some(acks) = cancel.run_until_cancelled(self.keep(batch)).await else { return };
            if !acks.is_empty() {
                self.edges.durable(acks);
            }
        }
    }

    /// Stores a batch, however long it takes: the links carry nothing more meanwhile.
    async fn keep(&self, batch: Vec<Arrival>) -> Vec<(EdgeId, TelemetryAck)> {
        let mut told = false;
        loop {
            match self.store.ingest(batch.clone()).await {
                Ok(acks) => {
                    return acks.into_iter().filter_map(|(agent, ack)| Some((agent.edge()?, ack))).collect();
                }
                Err(StoreError::Closed) => return Vec::new(),
                Err(error) if told => tracing::debug!(%error, "telemetry waits for the store"),
                Err(error) => tracing::error!(%error, "telemetry waits for the store"),
            }
            told = true;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    fn arrived(&self, event: DownlinkEvent) -> Option<Arrival> {
        let DownlinkEvent::Telemetry { peer, item } = event else { return None };
        let (name, cluster) = self.edges.shelf().named(peer.edge()?);
        Some(Arrival { agent: peer, edge: name, cluster, item })
    }
}

/// Which edges are linked, by the names under which their telemetry is kept.
pub(crate) fn links(edges: &Edges) -> Links {
    let names = edges.shelf().names();
    names.into_iter().map(|(edge, (name, _))| (name, edges.upward().is_up(edge))).collect()
}

/// An edge that left: its telemetry stays, it is not missed any longer.
pub(crate) async fn forget(store: Arc<dyn Store>, edge: EdgeId) {
    if let Err(error) = store.forget(AgentId::Edge(edge)).await {
        tracing::warn!(%edge, %error, "the store still misses an edge that left");
    }
}
