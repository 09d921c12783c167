//! Any store in the place where the region's telemetry goes.

use bytes::Bytes;
use futures::future::BoxFuture;
use protocol::id::{AgentId, EdgeId};
use protocol::telemetry::TelemetryAck;

use super::{Arrival, Links, Store};
use crate::intake::{Arrived, Telemetry};

impl<S: Store> Telemetry for S {
    fn ingest(&self, items: Vec<Arrived>) -> BoxFuture<'_, Vec<(EdgeId, TelemetryAck)>> {
        let arrivals = items
            .into_iter()
            .map(|Arrived { edge, name, cluster, item }| Arrival {
                agent: AgentId::Edge(edge),
                edge: name,
                cluster,
                item,
            })
            .collect();
        Box::pin(async move {
            match Store::ingest(self, arrivals).await {
                Ok(acks) => acks.into_iter().filter_map(|(agent, ack)| Some((agent.edge()?, ack))).collect(),
                Err(error) => {
                    tracing::warn!(%error, "telemetry is not acknowledged and will come again");
                    Vec::new()
                }
            }
        })
    }

    fn acknowledged(&self, edge: EdgeId) -> BoxFuture<'_, Vec<TelemetryAck>> {
        Store::acknowledged(self, AgentId::Edge(edge))
    }

    fn query(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            Store::answer(self, request, Links::new()).await.map_err(|error| error.to_string())
        })
    }
}
