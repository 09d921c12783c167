//! The hub: controllers, planner, authority and link server on the management cluster.
//!
//! - [`cache`]: the API objects as they are, in memory, with changes announced per key
//! - [`controller`]: from changes to plans and statuses, one module per kind
//! - [`services`]: which services a cluster is to have; pure
//! - [`planner`]: services and rendered bundles as plans; pure
//! - [`state_management`]: serving the ServiceSets of another k0rdent
//! - [`content`]: charts and manifests out of what the crate `source` fetches
//! - [`admission`]: k0rdent's webhooks
//! - [`leadership`], [`replicas`]: which replica leads, and where each of them listens
//! - [`authority`], [`agents`]: who becomes an agent, and the links to them
//! - [`rollout`]: how a new revision of services reaches a fleet; pure
//! - [`explain`]: why a service is what it is
//! - [`federation`]: queries and cost over all regions
//! - [`plans`]: the newest plan of every agent; [`observed`]: what agents reported; [`roster`]: who belongs here

pub mod admission;
pub mod agents;
pub mod app;
pub mod arguments;
pub mod authority;
pub mod cache;
pub mod changes;
pub mod content;
pub mod controller;
pub mod explain;
pub mod federation;
pub mod inquire;
pub mod leadership;
pub mod observed;
pub mod planner;
pub mod plans;
mod pod;
pub mod replicas;
pub mod rollout;
pub mod roster;
pub mod services;
pub mod state_management;
pub mod would;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Runs the program with these arguments, the first of which is its name.
pub fn main_with(arguments: Vec<OsString>) -> ExitCode {
    let arguments = arguments::Arguments::parse_from(arguments);
    let common = arguments.common.clone();
    process::run("hub", common, async move |process| app::run(arguments, process).await.map(|_| ()))
}
