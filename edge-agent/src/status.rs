//! What the agent says of itself at `/status`, also while nobody above can hear it.

use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use link::UplinkHandle;
use protocol::report::UnitState;
use protocol::version::Speaks;
use serde_json::{Value, json};
use spool::Spool;
use state::EngineHandle;

use crate::versions;

/// The endpoint.
pub(crate) fn router(engine: EngineHandle, spool: Spool, uplink: UplinkHandle, speaks: Speaks) -> Router {
    Router::new().route("/status", get(async move || Json(status(&engine, &spool, &uplink, speaks))))
}

fn status(engine: &EngineHandle, spool: &Spool, uplink: &UplinkHandle, speaks: Speaks) -> Value {
    let link = uplink.state();
    let metrics = engine.metrics();
    let waiting = spool.report();
    let ready = metrics.units.get(UnitState::Deployed.as_str()).copied().unwrap_or_default();
    json!({
        "link": {
            "state": if link.up { "up" } else { "down" },
            "since": time(link.since),
            "reason": link.reason,
            "peer": link.remote.map(|remote| remote.to_string()),
            "endpoint": link.endpoint,
            "failovers": link.failovers,
            "handovers": link.handovers,
            "carrier": link.carrier.as_str(),
            "carrierSince": time(link.carrier_since),
            "carrierReason": link.carrier_reason,
            "protocol": link.upper.map(|upper| upper.to_string()),
            "probes": {"sent": link.probes, "answered": link.probes_answered},
        },
        "protocol": speaks.to_string(),
        "lacks": versions::lacks(&link.lacks),
        "generation": {
            "desired": engine.head().map(|head| head.generation.to_string()),
            "applied": engine.applied().map(|generation| generation.to_string()),
        },
        "services": {"ready": ready, "total": metrics.units.values().sum::<u64>()},
        "spool": {"items": waiting.items, "bytes": waiting.bytes},
        "gaps": waiting.gaps,
    })
}

/// RFC 3339; nothing for a time that is none.
fn time(at: protocol::UnixMillis) -> Option<String> {
    let time = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    time.map(|time| time.to_string())
}
