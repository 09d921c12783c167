//! The arguments every program takes.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Arguments common to all programs.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct Common {
    /// Address of the HTTP endpoint: /healthz, /readyz, /metrics and the program's own API. Port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", env = "SKEIN_HTTP")]
    pub http: Option<SocketAddr>,
    /// Write the addresses that were bound into this file, as JSON, once all of them are
    #[arg(long, value_name = "FILE", env = "SKEIN_BOUND_FILE")]
    pub bound_file: Option<PathBuf>,
    /// What to log: a level, or levels per module such as "info,link=debug"
    #[arg(long, value_name = "FILTER", env = "SKEIN_LOG", default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "SKEIN_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Send the program's own traces, logs and metrics by OTLP over HTTP to this collector, for example
    /// http://127.0.0.1:4318. The other OTEL_ variables of the OpenTelemetry specification hold too
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// End when the program that started this one ends
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}
