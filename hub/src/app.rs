//! The composition root: what the hub is made of and in which order it begins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use identity::{Clock, SystemClock, SystemEntropy};
use kube::config::{KubeConfigOptions, Kubeconfig};
use link::{Network, Proxies, UdpNetwork};
use process::{Bound, Process};

use crate::admission::{self, Webhooks};
use crate::agents::Server;
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
use crate::state_management::Serving;
use crate::would;

/// Where the pages are, unless told otherwise.
const PAGES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);

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
    let Arguments { listen, advertise, system_namespace, trust_domain, state, helm, pod, common, .. } =
        arguments;
    std::fs::create_dir_all(&state).with_context(|| format!("failed to make {}", state.display()))?;
    let starting = process.readiness.guard("start");
    // Whoever stands by is alive, and can be asked for what it waits.
    let http = process::http::open(&process, common.http.unwrap_or(PAGES)).await?;
    let role = pod.map(|pod| pod::label(client.clone(), &system_namespace, pod, &process));
    let term = leadership::lead(&client, &system_namespace, replica, &process).await?;
    let authority =
        authority::load_or_create(&client, &system_namespace, &trust_domain, &*clock, &mut SystemEntropy)
            .await?;
    let authority = Arc::new(authority);
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
    let downlink = server.start(listen, &process).await?;
    // Tokens name these, so the port must be known.
    let endpoints = if advertise.is_empty() { vec![downlink.local_addr().to_string()] } else { advertise };
    registrar.listens_at(endpoints.clone());
    authority::publish_trust(&client, &system_namespace, &authority, &endpoints).await?;
    let federation = Federation::new(downlink.clone(), controllers.roster.clone(), observed.clone(), clock);
    let inquirer = Inquirer { explainer: controllers.explainer, downlink: downlink.clone(), observed };
    http.answer(pages(federation, inquirer));
    drop(starting);
    if let Some(role) = role {
        role.send_replace(pod::Role::Leader);
    }
    let bound = Bound::by_this_process().with("http", http.address).with("link", downlink.local_addr());
    let bound = webhooks.into_iter().fold(bound, |bound, address| bound.with("webhooks", address));
    if let Some(path) = &common.bound_file {
        bound.write(path).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(bound)
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
