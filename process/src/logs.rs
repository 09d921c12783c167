//! Log lines, to standard error.

use tracing_subscriber::EnvFilter;

use crate::arguments::{Common, LogFormat};

/// Noise from below that says nothing about Skein, unless asked for by name.
const QUIET: &str = "quinn=warn,quinn_proto=warn,rustls=warn,hyper=warn,h2=warn,tower=warn,kube_client=warn,kube_runtime=warn,reqwest=warn";

/// Starts logging for the program `name`. A filter that cannot be read is replaced by `info`, and said so.
pub fn start(name: &str, common: &Common) {
    let (filter, problem) = match EnvFilter::try_new(format!("{QUIET},{}", common.log)) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(format!("{QUIET},info")), Some(error)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match common.log_format {
        LogFormat::Json => builder.json().with_current_span(true).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
    };
    if let (Ok(()), Some(error)) = (started, problem) {
        tracing::warn!(filter = common.log, %error, "the log filter cannot be read; \"info\" is used instead");
    }
    tracing::debug!(program = name, version = env!("CARGO_PKG_VERSION"), "logging");
}
