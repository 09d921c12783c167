//! What the cluster's pods cost, counted here so that an outage of any link loses nothing.
//!
//! Pods and nodes are listed at each interval; the ledger charges the time since the last one. Ledger and counters go
//! into the spool in one transaction, so no crash charges a moment twice or not at all.

mod facts;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::Clock;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use process::Process;
use protocol::lane::TELEMETRY_PAYLOAD_BYTES_MAX;
use protocol::telemetry::TelemetryClass;
use spool::Spool;
use state::EngineHandle;
use telemetry::cost::{Ledger, PriceBook};
use telemetry::wire;

use crate::intake::extent;

/// Objects per page of a list: bounds what is in memory at once.
const PAGE: u32 = 100;
/// The setting of the plan that holds the price book.
const PRICES: &str = "prices";
/// Name of the ledger among the spool's states.
const LEDGER: &str = "cost-ledger";

/// What counting needs.
pub struct Costs {
    /// The cluster.
    pub client: kube::Client,
    /// The plan's settings hold the prices.
    pub engine: EngineHandle,
    /// Where the counters go.
    pub spool: Spool,
    /// How often to count.
    pub interval: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a round was not counted; the next one makes good for it.
#[derive(Debug, thiserror::Error)]
enum CountError {
    #[error("failed to list {0}")]
    List(&'static str, #[source] kube::Error),
    #[error("failed to spool the cost")]
    Spool(#[source] spool::PushError),
}

impl Costs {
    /// Counts until the process ends.
    pub fn start(self, process: &Process) {
        let cancel = process.cancel.clone();
        process.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.run() => {}
            }
        });
    }

    async fn run(self) {
        let mut ledger = self.load().await;
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.count(&mut ledger).await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "cost is counted later");
            }
        }
    }

    async fn count(&self, ledger: &mut Ledger) -> Result<(), CountError> {
        let (mut pods, mut nodes) = (Vec::new(), Vec::new());
        let now = i64::try_from(self.clock.now()).unwrap_or(i64::MAX);
        self.pages::<Pod>("pods", |page| pods.extend(page.iter().filter_map(facts::pod))).await?;
        self.pages::<Node>("nodes", |page| nodes.extend(page.iter().map(facts::node))).await?;
        ledger.advance(now, pods, nodes, &self.prices());
        let (batch, next) = ledger.write_out();
        let mut parts = wire::encode_within(&batch, TELEMETRY_PAYLOAD_BYTES_MAX);
        let Some(last) = parts.pop() else { return Ok(()) };
        for part in parts {
            // Without the ledger: should the last part fail, the same is said again and stored once.
            let (points, first, last) = extent(&part);
            self.spool
                .offer(TelemetryClass::Cost, part.payload, points, first, last)
                .await
                .map_err(CountError::Spool)?;
        }
        let (points, from, to) = extent(&last);
        let kept = Bytes::from(next.encode());
        self.spool
            .push_with_state(TelemetryClass::Cost, last.payload, points, from, to, LEDGER, kept)
            .await
            .map_err(CountError::Spool)?;
        *ledger = next;
        Ok(())
    }

    /// The ledger that was kept; a new one when there is none, or none that can be read.
    async fn load(&self) -> Ledger {
        let Some(bytes) = self.spool.state(LEDGER).await else { return Ledger::default() };
        Ledger::decode(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "the cost ledger is begun anew");
            Ledger::default()
        })
    }

    async fn pages<K>(&self, what: &'static str, mut take: impl FnMut(&[K])) -> Result<(), CountError>
    where
        K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let api = Api::<K>::all(self.client.clone());
        let mut parameters = ListParams::default().limit(PAGE);
        loop {
            let page = api.list(&parameters).await.map_err(|error| CountError::List(what, error))?;
            take(&page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters = parameters.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    /// The plan's price book; OpenCost's defaults while the plan has none or one that cannot be read.
    fn prices(&self) -> PriceBook {
        let settings = self.engine.settings();
        let settings = settings.borrow();
        let Some(text) = settings.get(PRICES) else { return PriceBook::default() };
        PriceBook::from_json(text).unwrap_or_else(|error| {
            tracing::warn!(%error, "the price book cannot be used; default prices are");
            PriceBook::default()
        })
    }
}
