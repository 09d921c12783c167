//! Desired state to actual state, on one cluster.
//!
//! An [`Engine`] takes signed plans, stores each durably before it acts on it, and makes it true on the cluster
//! and keeps it true: server-side apply with one field manager, hooks, health by kstatus rules, drift repair
//! from watches, prune by inventory. It goes on from its store after any crash, with or without an uplink.
//! Edge agents and regional agents use it alike.
//!
//! - [`Config`], [`Verify`], [`Clock`]: what an engine is given
//! - [`EngineHandle`]: offering plans, reading reports
//! - inside: `store` (SQLite), `engine` (decisions, one task), `worker` (requests), `watcher` (one per kind)

mod api;
mod backoff;
mod board;
mod config;
mod difference;
mod discovery;
mod engine;
#[cfg(test)]
mod faults;
mod handle;
mod health;
mod live;
mod object;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod watcher;
mod worker;

pub use config::{Clock, Config, FIELD_MANAGER, SystemClock, Verify};
pub use engine::{Engine, StartError};
pub use handle::{EngineHandle, Offered, Reports};
pub use object::{AGENT_ANNOTATION, HOOK_ANNOTATION, UNIT_LABEL};
pub use store::StoreError;
pub use view::Metrics;
