//! What the regional agent can be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use process::{Common, Proxying};
use protocol::endpoints::Endpoint;

/// The regional agent of a Skein mesh: serves a region's edges and runs its control planes, also while the hub is away.
///
/// It dials the hub over QUIC (UDP) and listens for the region's edges. It applies the region's own plan on the
/// regional cluster, holds the plans of its edges, and stores their telemetry.
#[derive(Debug, Parser)]
#[command(name = "regional-agent", version, max_term_width = 100)]
pub struct Arguments {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Become the agent of a region with a join token, and end
    Enroll(Enroll),
    /// Run; with --token, become the agent of a region first if this one is none yet
    Run(Run),
}

/// Arguments of `enroll`.
#[derive(Debug, Clone, clap::Args)]
pub struct Enroll {
    /// The join token, as `skein token create` printed it
    #[arg(value_name = "TOKEN")]
    pub token: String,
    /// Folder for identity, plans and telemetry; losing it means enrolling again
    #[arg(long, value_name = "DIR", env = "SKEIN_STATE", default_value = "/var/lib/skein/region")]
    pub state: PathBuf,
    /// Links through TCP where UDP is blocked: off, prefer, require (do not start when the port to listen on is taken)
    #[arg(long, value_name = "WHEN", env = "SKEIN_LINK_TCP", default_value = "prefer")]
    pub link_tcp: link::Tcp,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become help text")]
    pub proxying: Proxying,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become help text")]
    pub common: Common,
}

/// Arguments of `run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Run {
    /// A join token, used only while this agent is not enrolled
    #[arg(long, value_name = "TOKEN", env = "SKEIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Folder for identity, plans and telemetry; losing it means enrolling again
    #[arg(long, value_name = "DIR", env = "SKEIN_STATE", default_value = "/var/lib/skein/region")]
    pub state: PathBuf,
    /// The regional cluster; inside a pod its own cluster, else what kubectl would use
    #[arg(long, value_name = "FILE", env = "SKEIN_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Where edges dial in (UDP, and TCP unless --link-tcp off)
    #[arg(long, value_name = "IP:PORT", env = "SKEIN_LISTEN", default_value = "0.0.0.0:8444")]
    pub listen: SocketAddr,
    /// Addresses that edges are told to dial, joined by commas; the lowest priority is dialled first, equal ones as each
    /// edge draws, 10 when none is given [default: the address bound]
    #[arg(long, value_name = "HOST:PORT[=PRIORITY]", env = "SKEIN_ADVERTISE", value_delimiter = ',')]
    pub advertise: Vec<Endpoint>,
    /// Unix socket of the host of embedded control planes; `skein up` has one
    #[arg(long, value_name = "SOCKET", env = "SKEIN_EMBEDDED_HOST")]
    pub embedded_host: Option<PathBuf>,
    /// What the links are tuned for [default: near with --embedded-host, else wide]
    #[arg(long, value_enum, env = "SKEIN_LINK_PROFILE")]
    pub link_profile: Option<LinkProfile>,
    /// Who sums up Cluster API's Clusters [default: embedded with --embedded-host, else external]
    #[arg(long, value_enum, env = "SKEIN_CAPI_CORE")]
    pub capi_core: Option<CapiCore>,
    /// For how many days without the hub to renew certificates of edges, at most 14; 0 leaves that to the hub
    #[arg(
        long,
        value_name = "DAYS",
        env = "SKEIN_RENEW_ALONE",
        default_value_t = 7,
        value_parser = clap::value_parser!(u8).range(0..=14)
    )]
    pub renew_alone: u8,
    /// Links through TCP where UDP is blocked: off, prefer, require (do not start when the port to listen on is taken)
    #[arg(long, value_name = "WHEN", env = "SKEIN_LINK_TCP", default_value = "prefer")]
    pub link_tcp: link::Tcp,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become help text")]
    pub proxying: Proxying,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment would become help text")]
    pub common: Common,
}

/// What links are tuned for. Both ends of a link are to be tuned alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LinkProfile {
    /// The hub in another data centre, edges behind thin lines and NAT
    Wide,
    /// All on one machine: faults are noticed within seconds
    Near,
}

/// Who sums up Cluster API's Clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CapiCore {
    /// This agent: no Cluster API is installed
    Embedded,
    /// Cluster API's own core
    External,
}
