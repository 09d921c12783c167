//! What `skein` can be asked, and who answers.

use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::command::{
    approve, ca, cost, diff, enroll, explain, history, kubeconfig, part, query, render, rollout, status,
    test, token,
};
use crate::state_dir::StateDir;
use crate::{hub_api, up};

/// A super control plane for fleets of Kubernetes clusters that reach to the edge.
#[derive(Debug, Parser)]
#[command(name = "skein", version, about, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    /// Where the mesh on this machine keeps its state [default: skein under the XDG state directory]
    #[arg(long, global = true, value_name = "DIR", env = "SKEIN_STATE")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole mesh on this machine: hub, regions, edges; nothing else needed
    Up(up::Arguments),
    /// Show hub, regions, edges, links, services and backlog
    Status(status::Arguments),
    /// Print the path of the kubeconfig of hub, region/NAME or edge/NAME
    Kubeconfig(kubeconfig::Arguments),
    /// Stop an agent of the mesh on this machine
    Stop(part::Arguments),
    /// Start an agent of the mesh on this machine again
    Start(part::Arguments),
    /// Join tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Let in devices that wait for approval, or refuse them; --list shows them
    Approve(approve::Arguments),
    /// The mesh's certificate authority: replace its root, or the key that signs plans
    #[command(subcommand)]
    Ca(ca::Command),
    /// Enrol this device and run its edge agent
    Enroll(enroll::Arguments),
    /// Ask PromQL of all regions
    Query(query::Arguments),
    /// Show what services are made of, and why they are not newer
    Explain(explain::Arguments),
    /// Show how what is live differs from what is wanted, asked of the edge
    Diff(diff::Arguments),
    /// Show which revisions of its services an edge had, and what became of them
    History(history::Arguments),
    /// Run the tests of a service's chart on its cluster now, and tell the result
    Test(test::Arguments),
    /// How far new services have come over the fleet: status, pause, resume, abort, promote
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Show what the fleet costs
    Cost(cost::Arguments),
    /// Render a chart as `helm template` does, in process
    Render(Box<render::Arguments>),
    /// Be one of the agents (what `skein up` starts)
    #[command(hide = true, disable_help_flag = true)]
    Agent {
        /// hub, regional-agent or edge-agent
        agent: String,
        /// Its own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// What [`agent`] knows.
const AGENTS: [&str; 3] = ["hub", "regional-agent", "edge-agent"];

/// Reads the arguments and does what they ask. Exit code 0, or 1 with the reason on standard error, or 2 for arguments
/// that cannot be read.
pub(crate) fn dispatch(arguments: Vec<OsString>) -> ExitCode {
    // Under the name of an agent it is that agent: an image needs this one program.
    let called = arguments.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str);
    if called.is_some_and(|called| AGENTS.contains(&called)) {
        return agent(&arguments);
    }
    // An agent reads its arguments itself, also those that `skein` would take for its own (--state).
    if arguments.get(1).is_some_and(|first| first == "agent") {
        return agent(&arguments[2..]);
    }
    let Arguments { state, command } = Arguments::parse_from(arguments);
    match command {
        Command::Up(arguments) => up::run(arguments, state),
        Command::Status(arguments) => asked(async { status::show(&StateDir::find(state)?, arguments).await }),
        Command::Kubeconfig(arguments) => report(kubeconfig::show(state, &arguments)),
        Command::Stop(arguments) => {
            asked(async { part::act(&StateDir::find(state)?, &arguments, "stop").await })
        }
        Command::Start(arguments) => {
            asked(async { part::act(&StateDir::find(state)?, &arguments, "start").await })
        }
        Command::Token(command) => asked(async { token::run(state, command).await }),
        Command::Approve(arguments) => asked(async { approve::run(state, arguments).await }),
        Command::Ca(command) => asked(async { ca::run(state, command).await }),
        Command::Enroll(arguments) => enroll::run(arguments, state),
        Command::Query(arguments) => asked(async { query::show(state, arguments).await }),
        Command::Explain(arguments) => asked(async { explain::show(state, arguments).await }),
        Command::Diff(arguments) => asked(async { diff::show(state, arguments).await }),
        Command::History(arguments) => asked(async { history::show(state, arguments).await }),
        Command::Test(arguments) => asked(async { test::run(state, arguments).await }),
        Command::Rollout(command) => asked(async { rollout::run(state, command).await }),
        Command::Cost(arguments) => asked(async { cost::show(state, arguments).await }),
        Command::Render(arguments) => report(render::show(&arguments)),
        Command::Agent { .. } => ExitCode::from(2),
    }
}

fn agent(arguments: &[OsString]) -> ExitCode {
    match arguments.first().map(Path::new).and_then(Path::file_name).and_then(OsStr::to_str) {
        Some("hub") => hub::main_with(arguments.to_vec()),
        Some("regional-agent") => regional_agent::main_with(arguments.to_vec()),
        Some("edge-agent") => edge_agent::main_with(arguments.to_vec()),
        _ => {
            complain("agent: expected hub, regional-agent or edge-agent");
            ExitCode::from(2)
        }
    }
}

/// Runs a command that asks others, on a runtime of its own.
fn asked(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    report(runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(command)))
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&hub_api::explain(&error));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where the tool speaks to its user")]
fn complain(message: &str) {
    eprintln!("skein: {message}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_two_arguments_of_a_command_are_in_each_others_way() {
        Arguments::command().debug_assert();
    }
}
