//! Log lines to standard error, and whatever else listens to what the program tells.

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::arguments::{Common, LogFormat};

/// One listener.
pub(crate) type Layer = Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>;

/// Noise from below that says nothing about Skein, unless asked for by name.
const QUIET: &str = "quinn=warn,quinn_proto=warn,rustls=warn,hyper=warn,h2=warn,tower=warn,kube_client=warn,kube_runtime=warn,reqwest=warn";

/// The filter of a program told to log `wanted`, with `always` on top; what is wrong with it if `info` stands in.
pub(crate) fn filter(wanted: &str, always: &str) -> (EnvFilter, Option<String>) {
    match EnvFilter::try_new(format!("{QUIET},{wanted},{always}")) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(format!("{QUIET},info,{always}")), Some(error.to_string())),
    }
}

/// Starts logging for the program `name`, to standard error and to `others`. A filter that cannot be read is
/// replaced by `info`, and said so.
pub(crate) fn start(name: &str, common: &Common, others: Vec<Layer>) {
    let (filter, problem) = filter(&common.log, "");
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines: Layer = match common.log_format {
        LogFormat::Json => Box::new(lines.json().with_current_span(true).with_filter(filter)),
        LogFormat::Text => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            Box::new(lines.with_ansi(ansi).with_filter(filter))
        }
    };
    let mut layers = others;
    layers.push(lines);
    let started = tracing_subscriber::registry().with(layers).try_init();
    if let (Ok(()), Some(error)) = (started, problem) {
        tracing::warn!(filter = common.log, %error, "the log filter cannot be read; \"info\" is used instead");
    }
    tracing::debug!(program = name, version = env!("CARGO_PKG_VERSION"), "logging");
}
