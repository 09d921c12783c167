//! The regional agent: serves a region's edges and carries out the region's own plan, with or without the hub.
//!
//! ```text
//!             hub
//!              |  uplink
//!          hub_link -------------+------------------+
//!              |                 |                  |
//!          own_plan            edges             queries
//!              |            shelf | upward          |
//!        state engine            |               store
//!              |              downlink --telemetry--^
//!      regional cluster          |
//!              |               edges
//!        control_plane
//! ```
//! - [`enrolment`]: becomes an agent with a token, and stays one
//! - [`hub_link`]: what the hub sends, and to whom it goes
//! - [`own_plan`]: the region's own plan, executed by `state`
//! - [`edges`]: the edges' links, plans and reports
//! - [`intake`]: the edges' telemetry, stored and acknowledged; [`store`]: where it is kept and queried
//! - [`control_plane`]: hosted control planes

pub mod app;
pub mod arguments;
pub mod control_plane;
pub mod edges;
pub mod enrolment;
pub mod hub_link;
pub mod intake;
pub mod keys;
mod measure;
pub mod own_plan;
pub mod status;
pub mod store;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

/// Runs the program with these arguments, the first of which is its name.
pub fn main_with(arguments: Vec<OsString>) -> ExitCode {
    let Arguments { command } = Arguments::parse_from(arguments);
    match command {
        Command::Enroll(enroll) => {
            process::run("regional-agent", enroll.common.clone(), async move |process| {
                enrolment::enroll(&enroll).await?;
                process.cancel.cancel();
                Ok(())
            })
        }
        Command::Run(run) => process::run("regional-agent", run.common.clone(), async move |process| {
            app::run(run, process).await.map(|_| ())
        }),
    }
}
