//! The hub: controllers, planner, authority and link server on the management cluster.
//!
//! - [`cache`]: the API objects as they are, in memory, with changes announced per key
//! - [`controller`]: from changes to plans and statuses, one module per kind
//! - [`services`]: which services a cluster is to have; pure
//! - [`planner`]: services and rendered bundles as plans; pure
//! - [`source`]: charts and manifests, fetched, verified and cached by digest
//! - [`plans`]: the newest plan of every agent; [`observed`]: what agents reported; [`roster`]: who belongs here

pub mod cache;
pub mod changes;
pub mod controller;
pub mod observed;
pub mod planner;
pub mod plans;
pub mod roster;
pub mod services;
pub mod source;
