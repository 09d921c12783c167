//! What the hub can be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use process::Common;
use protocol::endpoints::Endpoint;

use crate::admission::Place;

/// The hub of a Skein mesh: runs on the management cluster, holds the API objects, plans and signs.
///
/// It reads k0rdent's and Skein's objects from the management cluster, renders and signs a plan for every
/// agent, and takes reports. Regional agents dial in over QUIC (UDP), or through TCP on the
/// same port number where UDP is blocked.
#[derive(Debug, Parser)]
#[command(name = "hub", version, max_term_width = 100)]
pub struct Arguments {
    /// The management cluster; inside a pod its own cluster, else what kubectl would use
    #[arg(long, value_name = "FILE", env = "SKEIN_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Where regional agents dial in (UDP, and TCP unless --link-tcp off)
    #[arg(long, value_name = "IP:PORT", env = "SKEIN_LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,
    /// Take links through TCP on the same port number too, for those who have no UDP: off, prefer (say so and go on when
    /// the port is taken), require
    #[arg(long, value_name = "WHEN", env = "SKEIN_LINK_TCP", default_value = "prefer")]
    pub link_tcp: link::Tcp,
    /// Addresses of this replica that regional agents are told to dial, joined by commas; the lowest priority is dialled
    /// first, equal ones as each agent draws, 10 when none is given [default: the address bound]
    #[arg(long, value_name = "HOST:PORT[=PRIORITY]", env = "SKEIN_ADVERTISE", value_delimiter = ',')]
    pub advertise: Vec<Endpoint>,
    /// Namespace of shared templates, tokens and the hub's own objects
    #[arg(long, value_name = "NAMESPACE", env = "SKEIN_SYSTEM_NAMESPACE", default_value = api::names::SYSTEM_NAMESPACE)]
    pub system_namespace: String,
    /// Trust domain of all identities; cannot change once the mesh exists
    #[arg(long, value_name = "DOMAIN", env = "SKEIN_TRUST_DOMAIN", default_value = "skein.local")]
    pub trust_domain: String,
    /// Folder for caches; may be lost
    #[arg(long, value_name = "DIR", env = "SKEIN_STATE", default_value = "/var/lib/skein/hub")]
    pub state: PathBuf,
    /// A helm binary for charts that need what the built-in engine lacks
    #[arg(long, value_name = "FILE", env = "SKEIN_HELM")]
    pub helm: Option<PathBuf>,
    /// Let kustomizations name bases elsewhere (Git repositories, manifests behind URLs)
    #[arg(long, env = "SKEIN_ALLOW_REMOTE_BASES")]
    pub allow_remote_bases: bool,
    /// Carry out the ServiceSets of another k0rdent that runs here, as its StateManagementProvider of this name [default
    /// name: skein]; k0rdent's own kinds are left to it
    #[arg(
        long,
        value_name = "NAME",
        env = "SKEIN_SERVE_STATE_MANAGEMENT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = api::names::SKEIN_STATE_MANAGEMENT_PROVIDER,
    )]
    pub serve_state_management: Option<String>,
    /// Serve k0rdent's admission webhooks here (TLS), and tell the API server of them
    #[arg(long, value_name = "IP:PORT", env = "SKEIN_WEBHOOKS", conflicts_with = "serve_state_management")]
    pub webhooks: Option<SocketAddr>,
    /// Where the API server finds the webhooks: HOST:PORT or NAMESPACE/SERVICE, with or without :PORT [default: where they listen]
    #[arg(long, value_name = "PLACE", env = "SKEIN_WEBHOOKS_AT")]
    pub webhooks_at: Option<Place>,
    /// What the API server does when the webhooks do not answer
    #[arg(
        long,
        value_name = "POLICY",
        env = "SKEIN_WEBHOOKS_FAILURE_POLICY",
        default_value = "Fail",
        value_parser = ["Fail", "Ignore"],
    )]
    pub webhooks_failure_policy: String,
    /// Name of this replica in the lease [default: the host's name and the state folder]
    #[arg(long, value_name = "NAME", env = "SKEIN_REPLICA")]
    pub replica: Option<String>,
    /// The pod this replica runs in, in the system namespace: its label skein.dev/role says "leader" or "standby"
    #[arg(long, value_name = "NAME", env = "SKEIN_POD")]
    pub pod: Option<String>,
    /// Common to all programs
    #[command(flatten)]
    pub common: Common,
}
