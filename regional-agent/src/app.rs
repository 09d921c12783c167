//! The composition root: what the regional agent is made of and in which order it begins.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use identity::certificate::spki_hash;
use identity::issuer::TABLE_AGE_MAX_MS;
use identity::tls::Accepts;
use identity::{
    AgentIdentity, Clock, Entropy, FileStore, MeshClock, RegionIssuer, SealingKey, SystemClock,
    SystemEntropy, Trust,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use link::renewal::{Delegation, Renewal};
use link::{
    Downlink, DownlinkConfig, DownlinkEvents, DownlinkHandle, EndpointKeys, HelloFacts, Network, Profile,
    Recovery, Uplink, UplinkConfig,
};
use process::{Bound, Process};
use protocol::endpoints::{Endpoint, listed};
use protocol::enrolment::TELLS_SOURCE;
use protocol::id::{AgentId, RegionName};
use protocol::version::Speaks;
use state::{Engine, EngineHandle};
use tokio::sync::watch;

use crate::arguments::{CapiCore, LinkProfile, Run};
use crate::control_plane::driver::EmbeddedHost;
use crate::control_plane::{core, reconciler};
use crate::edges::register::Register;
use crate::edges::shelf::Shelf;
use crate::edges::{Edges, Prepared, Serving};
use crate::hub_link::HubLink;
use crate::keys::PlanKeys;
use crate::own_plan::OwnPlan;
use crate::status::Status;
use crate::store::{self, Embedded, Store};
use crate::{enrolment, measure};

/// Most edges that link at once.
const EDGES_MAX: usize = 20_000;
/// In a day.
const DAY_SECONDS: u64 = 24 * 3600;
/// How often the agent's own metrics are stored.
const METRICS_INTERVAL: Duration = Duration::from_secs(5);
/// Where HTTP is served unless told otherwise.
const HTTP_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 8081);

/// What a regional agent is given by the machine it runs on, or by a simulation.
#[derive(Clone)]
pub struct World {
    /// The regional cluster.
    pub client: kube::Client,
    /// Where datagrams go.
    pub network: Arc<dyn Network>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Randomness for tokens, keys and jitter; asked for a source of its own by each part.
    pub entropy: Arc<dyn Fn() -> Box<dyn Entropy> + Send + Sync>,
}

/// How a regional agent is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder for identity, plans and telemetry.
    pub state: PathBuf,
    /// Where edges dial in.
    pub listen: SocketAddr,
    /// Addresses that edges are told to dial; the address bound when empty.
    pub advertise: Vec<Endpoint>,
    /// Where HTTP is served, if it is.
    pub http: Option<SocketAddr>,
    /// How the link to the hub behaves.
    pub hub_profile: Profile,
    /// How the links to edges behave.
    pub edge_profile: Profile,
    /// Socket of the host of embedded control planes.
    pub embedded_host: Option<PathBuf>,
    /// Who sums up Clusters.
    pub capi_core: CapiCore,
    /// What of telemetry is kept.
    pub store_limits: store::Limits,
    /// How often the agent's own metrics are stored, if they are.
    pub metrics_interval: Option<Duration>,
    /// Whether hosted control planes are looked after.
    pub control_planes: bool,
    /// How old the hub's table of edges may be for the region to renew their certificates; zero: it never does.
    pub table_age_max: Duration,
    /// The protocol version and features that it takes part with, to the hub and to edges.
    pub speaks: Speaks,
}

impl Settings {
    /// The usual settings for that folder and address; no HTTP, no control planes, no metrics of its own.
    pub fn new(state: PathBuf, listen: SocketAddr) -> Self {
        Self {
            state,
            listen,
            advertise: Vec::new(),
            http: None,
            hub_profile: Profile::region(),
            edge_profile: Profile::edge(),
            embedded_host: None,
            capi_core: CapiCore::External,
            store_limits: store::Limits::default(),
            metrics_interval: None,
            control_planes: false,
            table_age_max: Duration::from_millis(TABLE_AGE_MAX_MS),
            speaks: Speaks::HERE,
        }
    }
}

/// Starts the regional agent on `process`; joins first if need be. Returns the addresses bound.
///
/// # Errors
/// When a part cannot begin; the error says which and why.
pub async fn run(arguments: Run, process: Process) -> Result<Bound> {
    let Run { token, state, kubeconfig, listen, advertise, embedded_host, link_profile, capi_core, .. } =
        arguments;
    let (renew_alone, common) = (arguments.renew_alone, arguments.common);
    std::fs::create_dir_all(&state).with_context(|| format!("failed to make {}", state.display()))?;
    let clock = Arc::new(MeshClock::new(Arc::new(SystemClock)));
    let network = enrolment::network(arguments.link_tcp, &arguments.proxying)?;
    // A token is not spent on an agent that has no cluster.
    let client = client(kubeconfig).await?;
    let joining = process.readiness.guard("enrolment");
    let identity =
        enrolment::ensure(&state, token.as_deref(), network.clone(), clock.clone(), &mut SystemEntropy)
            .await?;
    drop(joining);
    clock.resume(&identity);
    let (near, core) = match &embedded_host {
        Some(_) => (LinkProfile::Near, CapiCore::Embedded),
        None => (LinkProfile::Wide, CapiCore::External),
    };
    let (hub_profile, edge_profile) = match link_profile.unwrap_or(near) {
        LinkProfile::Wide => (Profile::region(), Profile::edge()),
        LinkProfile::Near => (Profile::near(), Profile::near()),
    };
    let settings = Settings {
        advertise,
        http: Some(common.http.unwrap_or(HTTP_DEFAULT)),
        embedded_host,
        capi_core: capi_core.unwrap_or(core),
        hub_profile,
        edge_profile,
        control_planes: true,
        metrics_interval: Some(METRICS_INTERVAL),
        table_age_max: Duration::from_secs(u64::from(renew_alone) * DAY_SECONDS),
        ..Settings::new(state, listen)
    };
    let world = World { client, network, clock, entropy: Arc::new(|| Box::new(SystemEntropy)) };
    let (bound, _) = serve(settings, identity, world, process).await?;
    if let Some(path) = &common.bound_file {
        bound.write(path).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(bound)
}

/// The handles of a running agent, for tests and benches.
#[derive(Clone)]
pub struct Running {
    /// The region's edges.
    pub edges: Edges,
    /// The links of the edges.
    pub downlink: DownlinkHandle,
    /// The link to the hub.
    pub uplink: link::UplinkHandle,
    /// The region's own plan.
    pub engine: EngineHandle,
    /// Where telemetry goes.
    pub telemetry: Arc<dyn Store>,
}

/// The same with everything the machine would give, as simulations have it: many regions fit into one process.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    settings: Settings,
    identity: AgentIdentity,
    world: World,
    process: Process,
) -> Result<(Bound, Running)> {
    let agent = identity.agent.clone();
    let AgentId::Region(region) = agent.clone() else { bail!("{agent} is not a region") };
    let starting = process.readiness.guard("start");
    let keys = PlanKeys::new(&identity.trust).remembering(&identity.trust, &identity.lineage);
    let shelf = Arc::new(Shelf::open(&settings.state.join("edges.sqlite"), keys.clone())?);
    let telemetry = store(&settings, &world, &region, &process).await?;
    let engine = engine(&settings, &identity, &world, &keys, &process).await?;
    let keystore = Arc::new(FileStore::new(enrolment::directory(&settings.state)));
    let issuer = watch::Sender::new(issuer(&keystore, &identity, &world));
    let register = register(&settings, &region, &keys, &world, issuer.subscribe());
    let prepared = Prepared::new(shelf, Arc::new(register));
    let edges = prepared.edges();
    let trust =
        Trust::new(identity.trust.clone()).context("the trust bundle of the identity cannot be used")?;
    let (downlink, downlink_events) =
        listen(&settings, &identity, &world, &trust, &prepared, telemetry.clone(), &process).await?;
    let endpoints = endpoints(&settings, &downlink);
    let trusted = (identity.trust.sequence, identity.lineage.clone());
    let (publish, published) = watch::channel(Arc::new(identity));
    let recovery = Recovery { store: keystore.clone(), identity: publish.clone() };
    let (uplink, events) = Uplink::start(
        uplink_config(&settings, &world, published.clone(), recovery),
        Arc::new(hello(engine.clone(), endpoints.clone(), settings.speaks)),
        &process.tasks,
        process.cancel.clone(),
    )?;
    let serving = Serving {
        downlink: downlink.clone(),
        events: downlink_events,
        uplink: uplink.clone(),
        store: telemetry.clone(),
        trust: trusted,
        clock: world.clock.clone(),
    };
    prepared.serve(serving, &process);
    let own = OwnPlan::start(engine.clone(), uplink.clone(), &process);
    let delegation = Delegation { store: keystore.clone(), issuer };
    keep_certificate(&uplink, delegation, publish, &world, &process);
    let follower = Follower { downlink: downlink.clone(), edges: edges.clone(), keys };
    process.tasks.spawn(follower.run(published.clone(), process.clone()));
    let hub_link = HubLink {
        uplink: uplink.clone(),
        own,
        edges: edges.clone(),
        engine: engine.clone(),
        telemetry: telemetry.clone(),
        process: process.clone(),
    };
    // Ends with the uplink, which says goodbye first.
    process.tasks.spawn(hub_link.run(events));
    measure::register(&process, uplink.clone(), downlink.tunnels(), edges.clone(), engine.clone());
    if let Some(interval) = settings.metrics_interval {
        let own = measure::Own { store: telemetry.clone(), agent, clock: world.clock.clone(), interval };
        process.tasks.spawn(own.run((world.entropy)(), process.clone()));
    }
    control_planes(&settings, &world, &uplink, &region, endpoints, published, &process)?;
    let mut bound = Bound::by_this_process().with("link", downlink.local_addr());
    if let Some(address) = settings.http {
        let status = Status {
            region: region.to_string(),
            uplink: uplink.clone(),
            edges: edges.clone(),
            engine: engine.clone(),
            speaks: settings.speaks,
        };
        bound = bound.with("http", process::http::serve(&process, address, status.router()).await?);
    }
    tracing::info!(%region, link = %downlink.local_addr(), "serving");
    drop(starting);
    Ok((bound, Running { edges, downlink, uplink, engine, telemetry }))
}

fn keep_certificate(
    uplink: &link::UplinkHandle,
    delegation: Delegation,
    identity: watch::Sender<Arc<AgentIdentity>>,
    world: &World,
    process: &Process,
) {
    let (clock, entropy) = (world.clock.clone(), (world.entropy)());
    let (store, delegation) = (delegation.store.clone(), Some(delegation));
    let renewal = Renewal { uplink: uplink.clone(), store, identity, clock, entropy, delegation };
    process.tasks.spawn(renewal.run(process.cancel.clone()));
}

/// By what edges are renewed while the hub is away.
fn register(
    settings: &Settings,
    region: &RegionName,
    keys: &PlanKeys,
    world: &World,
    issuer: watch::Receiver<Option<Arc<RegionIssuer>>>,
) -> Register {
    let (path, clock) = (settings.state.join("edges.table"), world.clock.clone());
    Register::open(region.clone(), &path, keys.clone(), settings.table_age_max, clock, issuer)
}

/// The issuing certificate that the region keeps, if it is of use still.
fn issuer(store: &FileStore, identity: &AgentIdentity, world: &World) -> Option<Arc<RegionIssuer>> {
    let (certificate, key) = store
        .issuer()
        .map_err(
            |error| tracing::warn!(%error, "the kept issuing certificate cannot be read; the hub is asked"),
        )
        .ok()??;
    RegionIssuer::new(identity, certificate, key, world.clock.now(), &mut SystemEntropy)
        .map_err(|error| tracing::warn!(%error, "the hub is asked for another one"))
        .ok()
        .map(Arc::new)
}

/// The identity's time of day as the engine wants it.
struct EngineClock(Arc<dyn Clock>);

impl state::Clock for EngineClock {
    fn now(&self) -> protocol::UnixMillis {
        self.0.now()
    }
}

async fn store(
    settings: &Settings,
    world: &World,
    region: &RegionName,
    process: &Process,
) -> Result<Arc<dyn Store>> {
    let clock = world.clock.clone();
    let settings = store::Settings {
        path: settings.state.join("telemetry.sqlite"),
        region: region.to_string(),
        limits: settings.store_limits,
        now: Arc::new(move || clock.now()),
    };
    // Reads back everything it holds.
    let opened = tokio::task::spawn_blocking(move || Embedded::open(settings)).await??;
    let (closing, cancel) = (opened.clone(), process.cancel.clone());
    process.tasks.spawn(async move {
        cancel.cancelled().await;
        closing.close().await;
    });
    Ok(Arc::new(opened))
}

/// Opens what the hub sealed to this region.
fn opener(identity: &AgentIdentity) -> Arc<dyn state::Open> {
    let (key, agent) = (SealingKey::of(&identity.device), identity.agent.clone());
    Arc::new(move |sealed: &[u8]| key.open(&agent, sealed).map_err(|error| error.to_string()))
}

async fn engine(
    settings: &Settings,
    identity: &AgentIdentity,
    world: &World,
    keys: &PlanKeys,
    process: &Process,
) -> Result<EngineHandle> {
    let store = settings.state.join("state.sqlite");
    let usual =
        state::Config::new(world.client.clone(), identity.agent.clone(), store, Arc::new(keys.clone()));
    // What a region carries out are clusters; services are held where they run.
    let config = state::Config {
        opener: opener(identity),
        clock: Arc::new(EngineClock(world.clock.clone())),
        instance: identity.name.clone(),
        ..usual
    };
    Engine::start(config, &process.tasks, process.cancel.clone())
        .await
        .context("failed to start the state engine")
}

async fn listen(
    settings: &Settings,
    identity: &AgentIdentity,
    world: &World,
    trust: &Arc<Trust>,
    prepared: &Prepared,
    telemetry: Arc<dyn Store>,
    process: &Process,
) -> Result<(DownlinkHandle, DownlinkEvents)> {
    let keystore = FileStore::new(enrolment::directory(&settings.state));
    let secret = keystore.secret("link", &mut *(world.entropy)())?;
    let config = DownlinkConfig {
        listen: settings.listen,
        identity: identity.link_identity(),
        trust: trust.clone(),
        accepts: Accepts::Edges,
        software: software(),
        speaks: settings.speaks,
        profile: settings.edge_profile.clone(),
        peers_max: EDGES_MAX,
        keys: Some(EndpointKeys::from_secret(secret)),
        network: world.network.clone(),
        clock: world.clock.clone(),
    };
    let bound =
        Downlink::bind(config, prepared.admission(telemetry), &process.tasks, process.cancel.clone()).await;
    bound.context("failed to listen for edges")
}

fn uplink_config(
    settings: &Settings,
    world: &World,
    identity: watch::Receiver<Arc<AgentIdentity>>,
    recovery: Recovery,
) -> UplinkConfig {
    UplinkConfig {
        identity,
        incarnation: world.clock.now(),
        software: software(),
        profile: settings.hub_profile.clone(),
        network: world.network.clone(),
        clock: world.clock.clone(),
        entropy: (world.entropy)(),
        recovery: Some(recovery),
    }
}

fn software() -> String {
    format!("regional-agent {}", env!("CARGO_PKG_VERSION"))
}

/// Where edges find the region, the best first.
fn endpoints(settings: &Settings, downlink: &DownlinkHandle) -> Vec<Endpoint> {
    if settings.advertise.is_empty() {
        vec![Endpoint::new(downlink.local_addr().to_string())]
    } else {
        listed(settings.advertise.iter().cloned())
    }
}

/// What the region tells the hub about itself at each connection.
fn hello(
    engine: EngineHandle,
    endpoints: Vec<Endpoint>,
    speaks: Speaks,
) -> impl Fn() -> HelloFacts + Send + Sync + 'static {
    let mut facts = enrolment::facts();
    facts.insert(TELLS_SOURCE.to_owned(), "true".to_owned());
    move || HelloFacts {
        stored: engine.head(),
        applied: engine.applied(),
        endpoints: endpoints.clone(),
        facts: facts.clone(),
        streams: Vec::new(),
        speaks,
    }
}

/// Tells the parts that hold keys or trust about each new identity.
struct Follower {
    downlink: DownlinkHandle,
    edges: Edges,
    keys: PlanKeys,
}

impl Follower {
    async fn run(self, mut identity: watch::Receiver<Arc<AgentIdentity>>, process: Process) {
        loop {
            tokio::select! {
                () = process.cancel.cancelled() => return,
                changed = identity.changed() => if changed.is_err() { return },
            }
            let identity = Arc::clone(&identity.borrow_and_update());
            if let Err(error) = self.downlink.set_identity(&identity.link_identity()) {
                tracing::error!(%error, "edges are still shown the certificate before");
            }
            match self.downlink.set_trust(identity.trust.clone()) {
                Ok(true) => {
                    self.keys.replace(&identity.trust);
                    self.edges.trust(identity.trust.sequence, identity.lineage.clone());
                }
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "the newer trust bundle is not used"),
            }
        }
    }
}

fn control_planes(
    settings: &Settings,
    world: &World,
    uplink: &link::UplinkHandle,
    region: &RegionName,
    endpoints: Vec<Endpoint>,
    identity: watch::Receiver<Arc<AgentIdentity>>,
    process: &Process,
) -> Result<()> {
    if !settings.control_planes {
        return Ok(());
    }
    let endpoints: Vec<_> = endpoints.into_iter().map(|endpoint| endpoint.address).collect();
    let host = settings.embedded_host.as_deref().map(EmbeddedHost::new).transpose()?;
    let join = move || {
        let identity = Arc::clone(&identity.borrow());
        // Of the root that issues, and of the one that will or did: the token outlives the change.
        let pins = identity.trust.roots.iter().filter_map(|root| spki_hash(root).ok()).collect();
        (endpoints.clone(), pins)
    };
    let context = reconciler::Context {
        client: world.client.clone(),
        host,
        uplink: uplink.clone(),
        region: region.clone(),
        join: Box::new(join),
    };
    reconciler::start(context, process);
    if settings.capi_core == CapiCore::Embedded {
        core::start(world.client.clone(), process);
    }
    Ok(())
}

async fn client(kubeconfig: Option<PathBuf>) -> Result<kube::Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(&path).with_context(|| format!("failed to read {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("no regional cluster: give --kubeconfig FILE")?,
    };
    Ok(kube::Client::try_from(config)?)
}
