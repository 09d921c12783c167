//! The agent's own metrics, into the spool like any other telemetry.

use std::sync::Arc;
use std::time::Duration;

use identity::Clock;
use link::{LinkState, UplinkHandle};
use process::metrics::Gathering;
use process::{Process, Registry};
use spool::Spool;
use state::EngineHandle;
use telemetry::{Batch, Labels, Sample, Series};

use crate::intake::{Intake, Sender};

/// Name of the agent's own `job` label.
const JOB: &str = "edge-agent";

/// Shows what the parts of the agent count.
pub fn register(registry: &Registry, engine: EngineHandle, spool: Spool, uplink: UplinkHandle) {
    registry.source(move |gathering| engine_metrics(gathering, &engine));
    registry.source(move |gathering| {
        let report = spool.report();
        gathering.gauge("skein_spool_items", "Telemetry batches that wait.", &[], report.items as f64);
        gathering.gauge("skein_spool_bytes", "Bytes of telemetry that wait.", &[], report.bytes as f64);
        gathering.counter("skein_spool_gaps_total", "Gap records made.", &[], report.gaps as f64);
        let dropped = report.points_dropped as f64;
        gathering.counter(
            "skein_spool_dropped_points_total",
            "Points dropped, recorded as gaps.",
            &[],
            dropped,
        );
    });
    registry.source(move |gathering| {
        let link = uplink.state();
        let up = if link.up { 1.0 } else { 0.0 };
        gathering.gauge("skein_link_up", "Whether the link to the region is up.", &[], up);
        carrier_metrics(gathering, &link);
    });
}

/// What carries the uplink, and how often that changed.
fn carrier_metrics(gathering: &mut Gathering, link: &LinkState) {
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

fn engine_metrics(gathering: &mut Gathering, engine: &EngineHandle) {
    let metrics = engine.metrics();
    let mut counter = |name, help, value: u64| gathering.counter(name, help, &[], value as f64);
    counter("skein_edge_applies_total", "Objects applied to the cluster.", metrics.applies_total);
    counter("skein_edge_apply_errors_total", "Objects the cluster did not take.", metrics.apply_errors_total);
    counter(
        "skein_edge_drift_repairs_total",
        "Objects put back after somebody changed them.",
        metrics.drift_repairs_total,
    );
    counter(
        "skein_edge_rollbacks_total",
        "Revisions given up for the last one that was healthy.",
        metrics.rollbacks_total,
    );
    counter("skein_edge_prunes_total", "Objects removed from the cluster.", metrics.prunes_total);
    counter("skein_edge_events_total", "Events written to the cluster.", metrics.events_total);
    counter(
        "skein_edge_events_dropped_total",
        "Events left out: too many at once, or refused by the API server.",
        metrics.events_dropped_total,
    );
    for (state, units) in &metrics.units {
        let labels = [("state", *state)];
        gathering.gauge("skein_edge_units", "Units of the plan by state.", &labels, *units as f64);
    }
}

/// Measures every `interval` until the process ends.
pub fn start(intake: Intake, interval: Duration, clock: Arc<dyn Clock>, process: &Process) {
    let (registry, cancel) = (process.metrics.clone(), process.cancel.clone());
    process.tasks.spawn(async move {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let batch = batch(&registry, i64::try_from(clock.now()).unwrap_or(i64::MAX));
            if let Err(error) = intake.keep(&batch, Sender::GivesUp).await {
                tracing::warn!(%error, "own metrics are lost");
            }
        }
    });
}

/// Every sample of the registry at one moment.
fn batch(registry: &Registry, at: i64) -> Batch {
    let mut series: Vec<Series> = registry
        .gather()
        .into_iter()
        .flat_map(|family| {
            family.samples.into_iter().map(move |(labels, value)| {
                let own = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let names = [("__name__", family.name.as_str()), ("job", JOB)];
                Series {
                    labels: Labels::from_pairs(names.into_iter().chain(own)),
                    samples: vec![Sample::new(at, value)],
                }
            })
        })
        .collect();
    series.sort_by(|one, other| one.labels.cmp(&other.labels));
    Batch { series }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_metrics_carry_the_job_and_their_labels() {
        let registry = Registry::default();
        registry
            .source(|gathering| gathering.gauge("skein_edge_units", "Units.", &[("state", "Deployed")], 2.0));
        let batch = batch(&registry, 7);
        let units = batch.series.iter().find(|series| series.labels.metric() == "skein_edge_units").unwrap();
        assert_eq!((units.labels.get("job"), units.labels.get("state")), ("edge-agent", "Deployed"));
        assert_eq!(units.samples, [Sample::new(7, 2.0)]);
    }
}
