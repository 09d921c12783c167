//! The edge agent: applies the hub's plan on its cluster and keeps it applied, takes telemetry and counts cost,
//! with or without a link.
//!
//! ```text
//!  uplink --plans--> sync --> state engine --> the cluster
//!     ^                |                          |
//!     +----reports-----+                          v pods
//!     ^                             intake --> spool <-- cost, own metrics
//!     +----------telemetry-- delivery --+
//! ```
//! - [`enrolment`]: becomes an agent with a token, and stays one
//! - [`sync`]: plans down, reports up
//! - [`intake`]: OTLP over gRPC and HTTP
//! - [`delivery`]: the spool's content up, acknowledgements down
//! - [`owner`]: what the owner of the device allows
//! - [`measure`]: the agent's own metrics; [`cost`]: what the cluster's pods cost

pub mod app;
pub mod arguments;
pub mod cost;
pub mod delivery;
pub mod enrolment;
pub mod intake;
pub mod measure;
pub mod owner;
mod status;
pub mod sync;
mod versions;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use jiff::Timestamp;

use arguments::{Arguments, Command};

/// Runs the program with these arguments, the first of which is its name.
pub fn main_with(arguments: Vec<OsString>) -> ExitCode {
    let Arguments { command } = Arguments::parse_from(arguments);
    match command {
        Command::Enroll(enroll) => process::run("edge-agent", enroll.common.clone(), async move |process| {
            enrolment::enroll(&enroll).await?;
            process.cancel.cancel();
            Ok(())
        }),
        Command::Run(run) => process::run("edge-agent", run.enroll.common.clone(), async move |process| {
            app::run(run, process).await.map(|_| ())
        }),
        Command::Hold(hold) => told(owner::hold(&hold, Timestamp::now())),
        Command::Release(release) => told(owner::release(&release)),
        Command::Windows(windows) => told(owner::windows(&windows, Timestamp::now())),
        Command::Status(status) => told(owner::status(&status, Timestamp::now())),
    }
}

/// Tells what was done, or why not.
fn told(outcome: anyhow::Result<String>) -> ExitCode {
    let (written, code) = match outcome {
        Ok(text) => (writeln!(std::io::stdout(), "{text}"), ExitCode::SUCCESS),
        Err(error) => (writeln!(std::io::stderr(), "error: {error:#}"), ExitCode::FAILURE),
    };
    // Whoever closed the pipe does not want to know.
    written.map_or(ExitCode::FAILURE, |()| code)
}
