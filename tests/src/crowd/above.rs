//! What a crowd is linked to: the hub's link server with what it serves, and a regional agent as a program runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::skein::{Edge, EdgeSpec, EdgeStatus};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hub::agents::Server;
use hub::authority::{Registrar, Signer};
use hub::observed::Observed;
use hub::plans::{self, PlanBook};
use hub::roster::Roster;
use identity::{AgentIdentity, Authority, Clock, KeyKind, SystemClock, SystemEntropy};
use link::network::PooledNetwork;
use process::{Bound, Process};
use protocol::id::{AgentId, EdgeId, Generation};
use protocol::plan::PlanBody;

use super::{edge_id, region_state};
use crate::fleet::parts;
use crate::measure::Usage;
use crate::plans::Blobs;
use crate::process::Process as Program;
use crate::{identities, wait};

/// The region.
pub(super) const REGION: &str = "eu";
const NAMESPACE: &str = "skein-system";
/// How long the region may take to begin.
const DEADLINE: Duration = Duration::from_secs(60);

/// Hub and region.
pub(super) struct Above {
    pub(super) plans: PlanBook,
    pub(super) observed: Observed,
    roster: Roster,
    region: Program,
    bound: SocketAddr,
}

impl Above {
    /// Starts both.
    pub(super) async fn start(
        authority: &Arc<Authority>,
        as_region: &str,
        folder: &Path,
        process: &Process,
    ) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let roster = Roster::default();
        roster.set_region(REGION, true);
        roster.completed();
        let plans = PlanBook::new(1, Arc::new(Signer(authority.clone())), plans::system_clock());
        let observed = Observed::default();
        let management = parts::cluster("hub", process).await?;
        let registrar =
            Registrar::new(management.client(), NAMESPACE.to_owned(), authority.clone(), clock.clone());
        let server = Server {
            authority: authority.clone(),
            registrar,
            plans: plans.clone(),
            observed: observed.clone(),
            roster: roster.clone(),
            network: PooledNetwork::new(1),
            clock: clock.clone(),
        };
        let downlink = server.start("127.0.0.1:0".parse()?, process).await?;
        let identity = identities::issued(
            authority,
            (&AgentId::Region(REGION.parse()?), &REGION.parse()?),
            &downlink.local_addr().to_string(),
            (clock.now(), KeyKind::P256),
            &mut SystemEntropy,
        )?;
        identity.store(&region_state(folder).join("identity"))?;
        let (region, bound) = region(as_region, folder, process).await?;
        Ok(Self { plans, observed, roster, region, bound })
    }

    /// Where edges dial.
    pub(super) fn edges_dial(&self) -> SocketAddr {
        self.bound
    }

    /// The end of the region's log.
    pub(super) fn log_tail(&self) -> String {
        self.region.log_tail(20)
    }

    pub(super) fn region_usage(&self) -> Usage {
        Usage::of(self.region.id())
    }

    /// Puts an edge among those that belong to the region, as its object would.
    pub(super) fn enrolled(&self, identity: &AgentIdentity) -> Result<()> {
        let id = identity.agent.edge().context("an edge's identity")?;
        let mut edge =
            Edge::new(&id.to_string(), EdgeSpec { region: REGION.to_owned(), ..EdgeSpec::default() });
        edge.metadata.namespace = Some(NAMESPACE.to_owned());
        let device = STANDARD.encode(identity.device.public());
        edge.metadata.annotations = Some([("skein.dev/device-key".to_owned(), device)].into());
        edge.status = Some(EdgeStatus { agent_id: Some(id.to_string()), ..EdgeStatus::default() });
        self.roster.put_edge(&edge);
        Ok(())
    }

    /// Deletes an edge's object.
    pub(super) fn revoke(&self, number: u64) {
        self.roster.remove_edge(NAMESPACE, &edge_id(number).to_string());
    }

    /// Makes this an edge's plan.
    pub(super) fn publish(&self, id: EdgeId, (body, blobs): (PlanBody, Blobs)) -> Generation {
        self.plans.publish(&AgentId::Edge(id), body, blobs).0.generation
    }

    /// Whether the hub knows that an agent is linked and acts on at least that plan.
    pub(super) fn acts_on(&self, agent: &AgentId, generation: Generation) -> bool {
        self.observed
            .agent(agent)
            .is_some_and(|seen| seen.link.up && seen.applied.is_some_and(|applied| applied >= generation))
    }
}

/// The regional agent and where it listens for edges.
async fn region(as_region: &str, folder: &Path, process: &Process) -> Result<(Program, SocketAddr)> {
    let cluster = parts::cluster(REGION, process).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let kubeconfig = folder.join("region.kubeconfig");
    std::fs::write(&kubeconfig, cluster.kubeconfig(&format!("http://{}", listener.local_addr()?), None))?;
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move { cluster.serve(listener, None, cancel).await });
    let file = folder.join("region.bound");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(as_region).arg("run").arg("--kubeconfig").arg(&kubeconfig);
    command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--link-profile", "wide"]);
    command.args(["--log", "warn", "--exit-with-parent"]);
    command.arg("--state").arg(region_state(folder)).arg("--bound-file").arg(&file);
    let mut program = Program::spawn("regional-agent", &mut command, &folder.join("region.log"))?;
    let bound = wait::until("where the region listens", DEADLINE, || {
        let bound = program.check_running().map(|()| {
            Bound::read(&file).ok().and_then(|bound| bound.addresses.get("link")?.to_string().parse().ok())
        });
        std::future::ready(bound)
    });
    let bound = bound.await?;
    Ok((program, bound))
}
