//! The composition root: what the hub is made of and in which order it begins.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use identity::{Authority, Clock, SystemClock, SystemEntropy};
use kube::config::{KubeConfigOptions, Kubeconfig};
use link::{Network, Proxies, UdpNetwork};
use process::{Bound, Process};
use protocol::endpoints::Endpoint;
use tokio::sync::watch;

use crate::admission::{self, Webhooks};
use crate::agents::{Door, Server, Shown};
use crate::arguments::Arguments;
use crate::authority::{self, Registrar, Signer};
use crate::cache::Cache;
use crate::controller::{Controllers, Settings};
use crate::explain;
use crate::federation::{self, Federation};
use crate::inquire::{self, Inquirer};
use crate::leadership;
use crate::observed::Observed;
use crate::plans::PlanBook;
use crate::pod;
use crate::replicas::{self, Replica, Replicas};
use crate::state_management::Serving;
use crate::would;

/// Where the pages are, unless told otherwise.
const PAGES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// How often a replica that stands by looks whether the authority's keys were replaced.
const STANDING: Duration = Duration::from_secs(60);

/// Starts the hub: stands by until it leads, then runs on `process` until that ends. Returns the addresses bound.
///
/// # Errors
/// When a part cannot begin; the error says which and why.
pub async fn run(arguments: Arguments, process: Process) -> Result<Bound> {
    let client = client(arguments.kubeconfig.clone()).await?;
    let replica = arguments.replica.clone().unwrap_or_else(|| replica(&arguments.state));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let network = UdpNetwork::with(arguments.link_tcp, Proxies::default());
    serve(client, &replica, network, clock, arguments, process).await
}

/// The same on a client that is there already, as tests have it.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    client: kube::Client,
    replica: &str,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    arguments: Arguments,
    process: Process,
) -> Result<Bound> {
    let remote_bases = arguments.allow_remote_bases;
    let serving = arguments.serve_state_management.clone().map(|provider| Serving { provider });
    let webhooks = arguments.webhooks.map(|listen| Webhooks {
        listen,
        place: arguments.webhooks_at.clone(),
        failure_policy: arguments.webhooks_failure_policy.clone(),
    });
    let Arguments { advertise, system_namespace, trust_domain, state, helm, pod, common, .. } = &arguments;
    let (system_namespace, state, helm) = (system_namespace.clone(), state.clone(), helm.clone());
    std::fs::create_dir_all(&state).with_context(|| format!("failed to make {}", state.display()))?;
    let starting = process.readiness.guard("start");
    // Whoever stands by is alive, and can be asked for what it waits.
    let http = process::http::open(&process, common.http.unwrap_or(PAGES)).await?;
    let role = pod.clone().map(|pod| pod::label(client.clone(), &system_namespace, pod, &process));
    let home = Home { client: &client, namespace: &system_namespace, trust_domain, clock: &clock };
    let mut door = home.door(arguments.listen, network.clone(), &process).await?;
    let own = Replica { name: replica.to_owned(), endpoints: own_endpoints(advertise, door.local_addr()) };
    let replicas = replicas::keep(&client, &system_namespace, own, &process).await;
    door.knows(replicas.clone());
    let term = home.lead(&mut door, replica, &process).await?;
    let authority = Arc::new(home.authority().await?);
    let now = clock.clone();
    let plans = PlanBook::new(term, Arc::new(Signer(authority.clone())), Arc::new(move || now.now()));
    let observed = Observed::default();
    let settings = Settings {
        system_namespace: system_namespace.clone(),
        trust_domain: authority.trust_domain().to_owned(),
        state_dir: state,
        helm,
        remote_bases,
        term,
        serving: serving.clone(),
    };
    let controllers = Controllers::start(
        client.clone(),
        settings,
        authority.sealer(),
        plans.clone(),
        observed.clone(),
        &process,
    )
    .await;
    let webhooks = serve_webhooks(&client, &controllers.cache, &system_namespace, webhooks, &process).await?;
    let registrar =
        Registrar::new(client.clone(), system_namespace.clone(), authority.clone(), clock.clone());
    let registrar = if serving.is_some() { registrar.with_region_records() } else { registrar };
    registrar.knows(controllers.cache.join_tokens.clone());
    let server = Server {
        authority: authority.clone(),
        registrar: registrar.clone(),
        plans,
        observed: observed.clone(),
        roster: controllers.roster.clone(),
        network,
        clock: clock.clone(),
    };
    let (told, hub) = watch::channel(replicas::union(&replicas.borrow()));
    let teller = Teller { home: (client, system_namespace), authority, registrar, replicas, told };
    teller.tell().await?;
    let downlink = server.serve(door, hub, &process)?;
    process.tasks.spawn(teller.run(process.clone()));
    let federation = Federation::new(downlink.clone(), controllers.roster.clone(), observed.clone(), clock);
    let inquirer = Inquirer { explainer: controllers.explainer, downlink: downlink.clone(), observed };
    http.answer(pages(federation, inquirer));
    drop(starting);
    if let Some(role) = role {
        role.send_replace(pod::Role::Leader);
    }
    bound((http.address, downlink.local_addr(), webhooks), common.bound_file.as_deref())
}

/// Says where the hub serves.
fn bound(
    (http, link, webhooks): (SocketAddr, SocketAddr, Option<SocketAddr>),
    file: Option<&Path>,
) -> Result<Bound> {
    let bound = Bound::by_this_process().with("http", http).with("link", link);
    let bound = webhooks.into_iter().fold(bound, |bound, address| bound.with("webhooks", address));
    if let Some(file) = file {
        bound.write(file).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(bound)
}

/// Where the hub keeps what lasts.
struct Home<'a> {
    client: &'a kube::Client,
    namespace: &'a str,
    trust_domain: &'a str,
    clock: &'a Arc<dyn Clock>,
}

impl Home<'_> {
    /// The authority as it is kept now.
    async fn authority(&self) -> Result<Authority> {
        let Self { client, namespace, trust_domain, clock } = self;
        let mut entropy = SystemEntropy;
        let kept = authority::load_or_create(client, namespace, trust_domain, &***clock, &mut entropy);
        Ok(kept.await?)
    }

    /// A listener that sends everybody away.
    async fn door(&self, listen: SocketAddr, network: Arc<dyn Network>, process: &Process) -> Result<Door> {
        let authority = self.authority().await?;
        Ok(Door::open(listen, &authority, network, self.clock.clone(), process).await?)
    }

    /// Stands by until this replica leads; gives the term.
    async fn lead(&self, door: &mut Door, replica: &str, process: &Process) -> Result<u64> {
        let (leader, shown) = (door.leader(), door.shown());
        let leading = leadership::lead(self.client, self.namespace, replica, &leader, process);
        let standing = async {
            tokio::select! {
                term = leading => term,
                never = self.keep_shown(shown) => match never {},
            }
        };
        Ok(door.stand_by(standing).await?)
    }

    /// Follows the authority, whose keys the leader may replace.
    async fn keep_shown(&self, shown: Shown) -> Infallible {
        loop {
            tokio::time::sleep(STANDING).await;
            let renewed = match self.authority().await {
                Ok(authority) => shown.renew(&authority, &**self.clock).map_err(anyhow::Error::from),
                Err(error) => Err(error),
            };
            if let Err(error) = renewed {
                tracing::warn!(%error, "whoever comes is shown the certificate of before");
            }
        }
    }
}

/// Where regions reach this replica.
fn own_endpoints(advertise: &[Endpoint], bound: SocketAddr) -> Vec<Endpoint> {
    // Tokens name these, so the port must be known.
    if advertise.is_empty() { vec![Endpoint::new(bound.to_string())] } else { advertise.to_vec() }
}

/// Tells everybody where the replicas of the hub listen.
struct Teller {
    home: (kube::Client, String),
    authority: Arc<Authority>,
    registrar: Registrar,
    replicas: Replicas,
    told: watch::Sender<Vec<Endpoint>>,
}

impl Teller {
    /// Grants, tokens, and the regions that are linked.
    async fn tell(&self) -> Result<()> {
        let endpoints = replicas::union(&self.replicas.borrow());
        let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address.clone()).collect();
        self.registrar.listens_at(addresses.clone());
        self.told.send_if_modified(|told| {
            let changed = *told != endpoints;
            *told = endpoints;
            changed
        });
        let (client, namespace) = &self.home;
        Ok(authority::publish_trust(client, namespace, &self.authority, &addresses).await?)
    }

    async fn run(mut self, process: Process) {
        loop {
            tokio::select! {
                () = process.cancel.cancelled() => return,
                changed = self.replicas.changed() => if changed.is_err() { return },
            }
            let replicas: Vec<_> =
                self.replicas.borrow_and_update().iter().map(|one| one.name.clone()).collect();
            tracing::info!(?replicas, "the replicas of the hub changed");
            if let Err(error) = self.tell().await {
                tracing::warn!(%error, "new tokens name the endpoints of before");
            }
        }
    }
}

/// Everything the hub answers by HTTP.
fn pages(federation: Federation, inquirer: Inquirer) -> axum::Router {
    federation::router(federation)
        .merge(explain::router(inquirer.explainer.clone()))
        .merge(would::router(inquirer.explainer.clone()))
        .merge(inquire::router(inquirer))
}

/// Serves the webhooks, or sees to it that nobody asks for those of an earlier hub.
async fn serve_webhooks(
    client: &kube::Client,
    cache: &Cache,
    namespace: &str,
    webhooks: Option<Webhooks>,
    process: &Process,
) -> Result<Option<SocketAddr>> {
    match webhooks {
        Some(webhooks) => Ok(Some(admission::start(client, cache, namespace, webhooks, process).await?)),
        None => {
            admission::withdraw(client).await.context("failed to take away an earlier hub's webhooks")?;
            Ok(None)
        }
    }
}

async fn client(kubeconfig: Option<PathBuf>) -> Result<kube::Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(&path).with_context(|| format!("failed to read {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("no management cluster: give --kubeconfig FILE")?,
    };
    Ok(kube::Client::try_from(config)?)
}

/// A name that is the same after a restart and another on another machine or for another mesh.
fn replica(state: &std::path::Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
    format!("{}:{}", host.trim(), state.display())
}
