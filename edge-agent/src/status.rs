//! What the agent says of itself at `/status`, also while nobody above can hear it.

use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use link::UplinkHandle;
use protocol::report::UnitState;
use serde_json::{Value, json};
use spool::Spool;
use state::EngineHandle;

/// The endpoint.
pub(crate) fn router(engine: EngineHandle, spool: Spool, uplink: UplinkHandle) -> Router {
    Router::new().route("/status", get(async move || Json(status(&engine, &spool, &uplink))))
}

fn status(engine: &EngineHandle, spool: &Spool, uplink: &UplinkHandle) -> Value {
    let link = uplink.state();
    let metrics = engine.metrics();
    let waiting = spool.report();
    let ready = metrics.units.get(UnitState::Deployed.as_str()).copied().unwrap_or_default();
    let since = i64::try_from(link.since).ok().and_then(|since| Timestamp::from_millisecond(since).ok());
    json!({
        "link": {
            "state": if link.up { "up" } else { "down" },
            "since": since.map(|since| since.to_string()),
            "reason": link.reason,
            "peer": link.remote.map(|remote| remote.to_string()),
        },
        "generation": {
            "desired": engine.head().map(|head| head.generation.to_string()),
            "applied": engine.applied().map(|generation| generation.to_string()),
        },
        "services": {"ready": ready, "total": metrics.units.values().sum::<u64>()},
        "spool": {"items": waiting.items, "bytes": waiting.bytes},
        "gaps": waiting.gaps,
    })
}
