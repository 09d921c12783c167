//! The commands that ask or tell a running mesh.

pub(crate) mod approve;
pub(crate) mod ca;
pub(crate) mod cost;
pub(crate) mod diff;
pub(crate) mod enroll;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod kubeconfig;
pub(crate) mod part;
pub(crate) mod query;
pub(crate) mod render;
pub(crate) mod rollout;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod token;

use std::path::PathBuf;

use serde_json::Value;

use crate::hub_api;
use crate::state_dir::StateDir;

/// Prints a result. This is the only place where `skein` writes to standard output.
///
/// A reader that went away (`skein status | head`) is no failure.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// What is said of every question to the hub.
#[derive(Debug, clap::Args)]
pub(crate) struct Asking {
    /// The hub's HTTP address
    #[arg(long, value_name = "URL", env = "SKEIN_HUB")]
    hub: Option<String>,
    /// How to show the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

impl Asking {
    /// Where the hub answers: as given, or that of the mesh in the state directory.
    ///
    /// # Errors
    /// When there is neither.
    fn url(&self, state: Option<PathBuf>) -> anyhow::Result<String> {
        hub_api::hub_url(self.hub.as_deref(), StateDir::find(state).ok().as_ref())
    }

    /// Prints the answer for programs, or as `told` tells it.
    ///
    /// # Errors
    /// Never for JSON that was read.
    fn show(&self, answer: &Value, told: impl FnOnce(&Value) -> String) -> anyhow::Result<()> {
        print(&match self.output {
            Output::Json => serde_json::to_string_pretty(answer)?,
            Output::Table => told(answer),
        });
        Ok(())
    }
}

/// A text, or nothing.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

/// A table without borders, as kubectl prints it.
pub(crate) fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A label of the form `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("label \"{text}\" is not of the form key=value")),
    }
}
