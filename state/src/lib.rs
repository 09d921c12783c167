//! Desired state to actual state, on one cluster.
//!
//! An [`Engine`] takes signed plans, stores each durably before it acts on it, and makes it true on the cluster
//! and keeps it true: server-side apply with one field manager, hooks, health by kstatus rules, drift repair
//! from watches, prune by inventory. It goes on from its store after any crash, with or without an uplink.
//! Edge agents and regional agents use it alike.
//!
//! - [`Config`], [`Verify`], [`Clock`]: what an engine is given
//! - [`EngineHandle`]: offering plans, reading reports; [`Exchange`], [`Reporter`]: doing so for the tier above
//! - inside: `store` (SQLite), `engine` (decisions, one task), `worker` (requests), `watcher` (one per kind),
//!   `events` (what people on the cluster are told)
//!
//! # Why
//! - **Who decides about drift**: the record of field ownership, not values (see `live`).
//! - **Whose an object is**: the inventory says which unit has it, annotations on the object say which agent.
//!   Inventory rows are written before an object is touched, so nothing that was begun can be forgotten; an object
//!   that another agent's annotation claims is never written or deleted.
//! - **Moves between units** are a change of one inventory row: the object itself is neither deleted nor made
//!   again.
//! - **A plan that changes while a unit is worked on** calls the worker off; requests under way are waited for,
//!   because a request that nobody waits for may take effect after the next decision.
//! - **The last healthy revision** of each unit and its blobs are kept, so that a unit can be rolled back
//!   without an uplink.

mod api;
mod backoff;
mod board;
mod config;
mod difference;
mod discovery;
mod engine;
mod events;
mod exchange;
#[cfg(test)]
mod faults;
mod field_set;
mod handle;
mod health;
mod inquiry;
mod live;
mod local;
mod object;
mod release;
mod rules;
mod store;
#[cfg(test)]
mod tests;
mod view;
mod watcher;
mod worker;

pub use config::{Clock, Config, FIELD_MANAGER, NoKey, Open, SystemClock, Verify};
pub use engine::{Engine, StartError};
pub use exchange::{Exchange, Reporter, Upward};
pub use handle::{EngineHandle, Offered, Reports};
pub use local::{Local, LocalHold, Opening, Window, Windows};
pub use object::{AGENT_ANNOTATION, HOOK_ANNOTATION, UNIT_LABEL};
pub use rules::check_rule;
pub use store::StoreError;
pub use view::Metrics;
