//! The agent's own metrics, read from its parts when they are gathered.

use link::UplinkHandle;
use process::Process;
use state::EngineHandle;

use crate::edges::Edges;

/// Adds the agent's parts to the metrics of the process.
pub(crate) fn register(process: &Process, uplink: UplinkHandle, edges: Edges, engine: EngineHandle) {
    process.metrics.source(move |gathering| {
        let up = f64::from(u8::from(uplink.state().up));
        gathering.gauge("skein_link_up", "Whether the link to the hub is up.", &[], up);
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
        let own = engine.metrics();
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
