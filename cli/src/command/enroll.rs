//! `skein enroll`: become an edge of a mesh and run its agent, in one step.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::label;

/// What to enrol, and as what.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The join token, as `skein token create` printed it
    token: String,
    /// The kubeconfig of the cluster to look after
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// The name under which it appears at the hub
    #[arg(long)]
    name: Option<String>,
    /// A label for it; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Further arguments for `edge-agent run`, after `--`
    #[arg(last = true)]
    further: Vec<OsString>,
}

/// The same as `edge-agent run --token TOKEN ...`; the state directory is the edge's own here.
pub(crate) fn run(arguments: Arguments, state: Option<PathBuf>) -> ExitCode {
    let mut agent: Vec<OsString> =
        vec!["edge-agent".into(), "run".into(), "--token".into(), arguments.token.into()];
    agent.extend(["--kubeconfig".into(), arguments.kubeconfig.into_os_string()]);
    agent.extend(arguments.name.into_iter().flat_map(|name| ["--name".into(), name.into()]));
    agent.extend(state.into_iter().flat_map(|state| ["--state".into(), state.into_os_string()]));
    let labels = arguments.labels.into_iter().map(|(key, value)| format!("{key}={value}"));
    agent.extend(labels.flat_map(|label| ["--label".into(), label.into()]));
    agent.extend(arguments.further);
    edge_agent::main_with(agent)
}
