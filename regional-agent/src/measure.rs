//! The agent's own metrics, read from its parts when they are gathered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use identity::{Clock, Entropy};
use link::{LinkState, Tunnels, UplinkHandle};
use process::{Process, Registry};
use protocol::id::AgentId;
use protocol::telemetry::{StreamEpoch, TelemetryAck, TelemetryClass, TelemetryContent, TelemetryItem};
use state::EngineHandle;
use telemetry::{Batch, Labels, Sample, Series};

use crate::edges::Edges;
use crate::store::{Arrival, Store};

/// The `job` label of the agent's own metrics.
const JOB: &str = "regional-agent";

/// Adds the agent's parts to the metrics of the process.
pub(crate) fn register(
    process: &Process,
    uplink: UplinkHandle,
    tunnels: Option<Arc<Tunnels>>,
    edges: Edges,
    engine: EngineHandle,
) {
    // The registry outlives the engine's file, which is to be closed when the process ends.
    let engine = Arc::new(Mutex::new(Some(engine)));
    let (held, cancel) = (engine.clone(), process.cancel.clone());
    process.tasks.spawn(async move {
        cancel.cancelled().await;
        held.lock().unwrap_or_else(PoisonError::into_inner).take();
    });
    process.metrics.source(move |gathering| {
        let link = uplink.state();
        let up = f64::from(u8::from(link.up));
        gathering.gauge("skein_link_up", "Whether the link to the hub is up.", &[], up);
        carrier_metrics(gathering, &link);
        if let Some(tunnels) = &tunnels {
            let help = "Tunnels of edges through TCP.";
            gathering.gauge("skein_region_tunnels", help, &[], tunnels.count() as f64);
            let help = "TCP connections turned away: too many whose peer is not known.";
            gathering.counter("skein_region_tunnels_refused_total", help, &[], tunnels.refused() as f64);
        }
        let (up, total) = edges.upward().edges();
        gathering.gauge("skein_region_edges_linked", "Edges whose link is up.", &[], up as f64);
        gathering.gauge("skein_region_edges", "Edges the region knows.", &[], total as f64);
        let fill = edges.shelf().fill();
        gathering.gauge("skein_region_plans", "Plans of edges held.", &[], fill.plans as f64);
        gathering.gauge("skein_region_blobs", "Blobs of plans held.", &[], fill.blobs as f64);
        gathering.gauge("skein_region_plan_bytes", "Bytes of plans and blobs held.", &[], fill.bytes as f64);
        let offers = edges.offers() as f64;
        gathering.counter("skein_region_offers_total", "Plans offered to edges.", &[], offers);
        let (merged, forwarded) = edges.upward().counts();
        gathering.counter("skein_region_reports_received_total", "Reports of edges.", &[], merged as f64);
        let help = "Reports of edges told to the hub, merged.";
        gathering.counter("skein_region_reports_forwarded_total", help, &[], forwarded as f64);
        renewals(gathering, &edges);
        let engine = engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(own) = engine.map(|engine| engine.metrics()) else { return };
        let help = "Objects written on the regional cluster.";
        gathering.counter("skein_region_applies_total", help, &[], own.applies_total as f64);
        let help = "Objects that could not be written on the regional cluster.";
        gathering.counter("skein_region_apply_errors_total", help, &[], own.apply_errors_total as f64);
        let help = "Objects of the regional cluster put back after somebody else changed them.";
        gathering.counter("skein_region_drift_repairs_total", help, &[], own.drift_repairs_total as f64);
        for (state, count) in own.units {
            let help = "Units of the region's own plan by state.";
            gathering.gauge("skein_region_units", help, &[("state", state)], count as f64);
        }
    });
}

/// What carries the uplink, and how often that changed.
fn carrier_metrics(gathering: &mut process::metrics::Gathering, link: &LinkState) {
    let labels = [("carrier", link.carrier.as_str())];
    let up = f64::from(u8::from(link.up));
    gathering.gauge("skein_link_carrier", "Whether the link is up, by what carries it.", &labels, up);
    let help = "How often the live link moved between UDP and TCP.";
    gathering.counter("skein_link_carrier_moves_total", help, &[], link.moves as f64);
    let help = "How often a link was lost and the next one went to another endpoint.";
    gathering.counter("skein_link_failovers_total", help, &[], link.failovers as f64);
    let help = "How often the live link moved to another endpoint, or region.";
    gathering.counter("skein_link_handovers_total", help, &[], link.handovers as f64);
    let lost = link.probes.saturating_sub(link.probes_answered);
    for (result, count) in [("answered", link.probes_answered), ("lost", lost)] {
        let help = "Probes by UDP while the link went through TCP.";
        gathering.counter("skein_link_probes_total", help, &[("result", result)], count as f64);
    }
}

/// How far the region can renew its edges' certificates without the hub, and how often it did.
fn renewals(gathering: &mut process::metrics::Gathering, edges: &Edges) {
    let renewals = edges.register().renewals();
    let name = "skein_region_renewals_total";
    let help = "Renewals of edges that the region decided without the hub.";
    for (result, count) in [("issued", renewals.issued), ("refused", renewals.refused)] {
        gathering.counter(name, help, &[("result", result)], count as f64);
    }
    let help = "Devices that are kept until somebody says whether they are let in.";
    gathering.gauge("skein_region_joins_waiting", help, &[], edges.waiting() as f64);
    let help = "Tables of edges from the hub that were not taken.";
    gathering.counter("skein_region_tables_refused_total", help, &[], renewals.tables_refused as f64);
    let seconds = |at: u64| at as f64 / 1000.0;
    let help = "When the hub signed the newest table of edges, in seconds since 1970; 0 without one.";
    let at = seconds(renewals.table_issued_at);
    gathering.gauge("skein_region_table_issued_timestamp_seconds", help, &[], at);
    let help = "Edges in the newest table.";
    gathering.gauge("skein_region_table_edges", help, &[], renewals.table_edges as f64);
    let help = "End of the issuing certificate's validity, in seconds since 1970; 0 without one.";
    let at = seconds(renewals.issuer_not_after);
    gathering.gauge("skein_region_issuer_expiry_timestamp_seconds", help, &[], at);
}

/// Stores the agent's own metrics like any other telemetry.
pub(crate) struct Own {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) agent: AgentId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) interval: Duration,
}

impl Own {
    /// Measures every interval until the process ends. The stream of the run before is continued.
    pub(crate) async fn run(self, mut entropy: Box<dyn Entropy>, process: Process) {
        let known = self.store.acknowledged(self.agent.clone()).await;
        let newest = known.into_iter().rfind(|ack| ack.class == TelemetryClass::Metrics);
        let class = TelemetryClass::Metrics;
        let fresh = || TelemetryAck { class, epoch: StreamEpoch(entropy.below(u64::MAX)), through: 0 };
        let mut stream = newest.unwrap_or_else(fresh);
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = process.cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let item = item(&process.metrics, self.clock.now(), &stream);
            let arrival =
                Arrival { agent: self.agent.clone(), edge: String::new(), cluster: String::new(), item };
            match self.store.ingest(vec![arrival]).await {
                Ok(_) => stream.through += 1,
                Err(error) => tracing::warn!(%error, "the agent's own metrics are not stored"),
            }
        }
    }
}

/// Every sample of the registry at one moment, as the next item of a stream.
fn item(registry: &Registry, now: u64, stream: &TelemetryAck) -> TelemetryItem {
    let at = i64::try_from(now).unwrap_or(i64::MAX);
    let families = registry.gather().into_iter();
    let mut series: Vec<Series> = families
        .flat_map(|family| {
            family.samples.into_iter().map(move |(labels, value)| {
                let own = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let names = [("__name__", family.name.as_str()), ("job", JOB)];
                let labels = Labels::from_pairs(names.into_iter().chain(own));
                Series { labels, samples: vec![Sample::new(at, value)] }
            })
        })
        .collect();
    series.sort_by(|one, other| one.labels.cmp(&other.labels));
    let points = u32::try_from(series.len()).unwrap_or(u32::MAX);
    let payload = telemetry::wire::encode(&Batch { series });
    TelemetryItem {
        class: stream.class,
        epoch: stream.epoch,
        sequence: stream.through + 1,
        content: TelemetryContent::Batch { payload, points, first: now, last: now },
    }
}
