//! What the edge agent can be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use process::{Common, Proxying};
use protocol::version::MINOR;

/// The edge agent of a Skein mesh: applies services on one cluster and streams its telemetry and cost.
#[derive(Debug, Parser)]
#[command(name = "edge-agent", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Become an edge with a join token, and end
    Enroll(EnrollWithToken),
    /// Run; with --token, become an edge first if this device is none yet
    Run(Run),
    /// Hold back what is new on this cluster, or one service or namespace; what runs is kept
    Hold(Hold),
    /// Let go what `hold` held back
    Release(Release),
    /// Set the weekly maintenance windows in which anything new may begin
    Windows(SetWindows),
    /// Tell what is held back, when the maintenance windows are, and what the agent lacks if it is of an earlier version
    Status(Status),
}

/// Arguments of `hold`.
#[derive(Debug, Clone, clap::Args)]
pub struct Hold {
    /// Why, for whoever waits above
    #[arg(long)]
    pub reason: String,
    /// When the hold ends by itself: a time (2026-12-24T18:00:00Z) or a duration (8h) [default: when it is released]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// What
    #[command(flatten)]
    pub scope: Scope,
    /// Where
    #[command(flatten)]
    pub folder: Folder,
}

/// Arguments of `release`.
#[derive(Debug, Clone, clap::Args)]
pub struct Release {
    /// What
    #[command(flatten)]
    pub scope: Scope,
    /// Everything that is held, whatever it is
    #[arg(long)]
    pub all: bool,
    /// Where
    #[command(flatten)]
    pub folder: Folder,
}

/// Arguments of `windows`.
#[derive(Debug, Clone, clap::Args)]
pub struct SetWindows {
    /// Time zone: a name such as Europe/Berlin, or an offset such as +02:00
    #[arg(long, default_value = "UTC")]
    pub zone: String,
    /// Windows such as "Mon-Fri 22:00-05:00" or "Sat,Sun 00:00-24:00"; they take the place of those before
    #[arg(value_name = "WINDOW")]
    pub windows: Vec<String>,
    /// Have no windows: anything new may begin at any time
    #[arg(long, conflicts_with = "windows")]
    pub clear: bool,
    /// Where
    #[command(flatten)]
    pub folder: Folder,
}

/// Arguments of `status`.
#[derive(Debug, Clone, clap::Args)]
pub struct Status {
    /// Where
    #[command(flatten)]
    pub folder: Folder,
}

/// What is held; everything unless named.
#[derive(Debug, Clone, clap::Args)]
pub struct Scope {
    /// Only releases in this namespace
    #[arg(long)]
    pub namespace: Option<String>,
    /// Only releases of this name
    #[arg(long)]
    pub service: Option<String>,
}

/// The agent's state folder.
#[derive(Debug, Clone, clap::Args)]
pub struct Folder {
    /// The agent's state folder, as `run` was told
    #[arg(long, value_name = "DIR", env = "SKEIN_STATE", default_value = "/var/lib/skein/edge")]
    pub state: PathBuf,
}

/// Arguments of `enroll`.
#[derive(Debug, Clone, clap::Args)]
pub struct EnrollWithToken {
    /// The join token, as `skein token create` printed it
    #[arg(value_name = "TOKEN")]
    pub join_token: String,
    /// The device
    #[command(flatten)]
    pub device: Device,
    /// Common to all programs
    #[command(flatten)]
    pub common: Common,
}

/// What the device is called and where it keeps its state.
#[derive(Debug, Clone, clap::Args)]
pub struct Device {
    /// Folder for identity, plan and spool; losing it means enrolling again
    #[arg(long, value_name = "DIR", env = "SKEIN_STATE", default_value = "/var/lib/skein/edge")]
    pub state: PathBuf,
    /// The name under which the edge appears at the hub, unless its token names another [default: the host's]
    #[arg(long, env = "SKEIN_NAME")]
    pub name: Option<String>,
    /// A label for the edge; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Links through TCP where UDP is blocked: off, prefer, require
    #[arg(long, value_name = "WHEN", env = "SKEIN_LINK_TCP", default_value = "prefer")]
    pub link_tcp: link::Tcp,
    /// The proxy
    #[command(flatten)]
    pub proxying: Proxying,
    /// The cluster to look after; inside a pod its own cluster, else what kubectl would use
    #[arg(long, value_name = "FILE", env = "SKEIN_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

/// Arguments of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// A join token, used only while this device is not enrolled
    #[arg(long, value_name = "TOKEN", env = "SKEIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Where to take OTLP over gRPC
    #[arg(long, value_name = "IP:PORT", env = "SKEIN_OTLP_GRPC", default_value = "127.0.0.1:4317")]
    pub otlp_grpc: SocketAddr,
    /// Where to take OTLP over HTTP
    #[arg(long, value_name = "IP:PORT", env = "SKEIN_OTLP_HTTP", default_value = "127.0.0.1:4318")]
    pub otlp_http: SocketAddr,
    /// How often the agent measures itself, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub metrics_interval: u64,
    /// How often cost is counted, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub cost_interval: u64,
    /// Bytes of telemetry kept while they cannot be sent; the oldest is dropped beyond, and recorded as a gap
    #[arg(long, value_name = "BYTES", env = "SKEIN_SPOOL_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub spool_bytes: u64,
    /// The minor version of the protocol to take part with, as an agent of that version would: to try upgrades
    #[arg(long, value_name = "MINOR", hide = true, default_value_t = MINOR, value_parser = clap::value_parser!(u16).range(0..=i64::from(MINOR)))]
    pub protocol_minor: u16,
    /// What the link is tuned for
    #[arg(long, value_enum, default_value_t = LinkProfile::Edge)]
    pub link_profile: LinkProfile,
    /// Shared with `enroll`
    #[command(flatten)]
    pub enroll: Enroll,
}

/// What `run` shares with `enroll`.
#[derive(Debug, Clone, clap::Args)]
pub struct Enroll {
    /// The device
    #[command(flatten)]
    pub device: Device,
    /// Common to all programs
    #[command(flatten)]
    pub common: Common,
}

/// What a link is tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LinkProfile {
    /// Thin, perhaps metered, behind NAT
    Edge,
    /// All on one machine: faults are noticed within seconds
    Near,
}

/// A label of the form `key=value`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("label \"{text}\" is not of the form key=value")),
    }
}
