//! `GET /status`: how the agent stands, for people and scripts.

use axum::routing::get;
use axum::{Json, Router};
use link::UplinkHandle;
use protocol::UnixMillis;
use protocol::version::{Lack, MAJOR, Speaks};
use serde::Serialize;
use state::EngineHandle;

use crate::edges::Edges;

/// What `/status` is made of.
#[derive(Clone)]
pub struct Status {
    /// The region's name.
    pub region: String,
    /// The hub.
    pub uplink: UplinkHandle,
    /// The region's edges.
    pub edges: Edges,
    /// The region's own plan.
    pub engine: EngineHandle,
    /// The protocol version of this agent.
    pub speaks: Speaks,
}

/// The JSON of `/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    region: String,
    protocol: String,
    lacks: Vec<Lacking>,
    link: Link,
    edges: Edge,
    generation: Generations,
    services: Services,
    plans: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    state: &'static str,
    since: String,
    reason: String,
    protocol: Option<String>,
    endpoint: String,
    failovers: u64,
    handovers: u64,
    carrier: &'static str,
    carrier_since: String,
    carrier_reason: String,
}

/// A feature that the hub has and the region has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Lacking {
    feature: String,
    since: String,
    lost: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Edge {
    up: usize,
    total: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Generations {
    desired: Option<String>,
    applied: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Services {
    ready: u64,
    total: u64,
}

impl Status {
    /// The endpoint.
    pub fn router(self) -> Router {
        Router::new().route("/status", get(async move || Json(self.view())))
    }

    /// How the agent stands.
    pub fn view(&self) -> View {
        let link = self.uplink.state();
        let (up, total) = self.edges.upward().edges();
        let units = self.engine.metrics().units;
        View {
            region: self.region.clone(),
            protocol: self.speaks.to_string(),
            lacks: link.lacks.0.into_iter().map(lacking).collect(),
            link: Link {
                protocol: link.upper.map(|upper| upper.to_string()),
                state: if link.up { "up" } else { "down" },
                since: time(link.since),
                reason: link.reason,
                endpoint: link.endpoint,
                failovers: link.failovers,
                handovers: link.handovers,
                carrier: link.carrier.as_str(),
                carrier_since: time(link.carrier_since),
                carrier_reason: link.carrier_reason,
            },
            edges: Edge { up, total },
            generation: Generations {
                desired: self.engine.head().map(|head| head.generation.to_string()),
                applied: self.engine.applied().map(|generation| generation.to_string()),
            },
            services: Services {
                ready: units.get("Deployed").copied().unwrap_or_default(),
                total: units.values().sum(),
            },
            plans: self.edges.shelf().fill().plans,
        }
    }
}

fn lacking(lack: Lack) -> Lacking {
    Lacking { feature: lack.name, since: format!("{MAJOR}.{}", lack.since), lost: lack.lost }
}

/// RFC 3339; empty for a time that is none.
fn time(at: UnixMillis) -> String {
    let time = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
