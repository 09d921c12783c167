//! The composition root: what the edge agent is made of and in which order it begins.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, Result};
use identity::{
    AgentIdentity, Clock, Entropy as _, FileStore, KeyStore, MeshClock, PlanVerifier, SealingKey,
    SystemClock, SystemEntropy,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use link::renewal::Renewal;
use link::{HelloFacts, HelloSource, Network, Profile, Recovery, Uplink, UplinkConfig, UplinkHandle};
use process::{Bound, Process};
use protocol::plan::{PlanHeader, SignedPlan};
use protocol::report::{ClusterReport, SpoolReport};
use protocol::version::Speaks;
use spool::Spool;
use state::{Engine, EngineHandle};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};

use crate::arguments::{LinkProfile, Run};
use crate::cost::Costs;
use crate::intake::{Intake, grpc, http};
use crate::sync::{PlanSync, Surroundings};
use crate::{delivery, enrolment, measure, owner, status, versions};

/// Runs the agent on `process` until that ends. Returns the addresses bound.
///
/// # Errors
/// When a part cannot begin; the error says which and why.
pub async fn run(arguments: Run, process: Process) -> Result<Bound> {
    let client = client(arguments.enroll.device.kubeconfig.clone()).await?;
    let network = enrolment::network(&arguments.enroll.device)?;
    serve(client, network, Arc::new(SystemClock), arguments, process).await
}

/// The same on a client, a network and a clock that are there already, as tests have them.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    client: kube::Client,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    arguments: Run,
    process: Process,
) -> Result<Bound> {
    let device = &arguments.enroll.device;
    let state = device.state.clone();
    std::fs::create_dir_all(&state).with_context(|| format!("failed to make {}", state.display()))?;
    let starting = process.readiness.guard("start");
    let mesh_clock = Arc::new(MeshClock::new(clock));
    let clock: Arc<dyn Clock> = mesh_clock.clone();
    // Telemetry is taken from the first moment on, enrolled or not.
    let spool = open_spool(&arguments, &clock)?;
    let intake = Intake::new(spool.clone(), Arc::clone(&clock), &process.metrics);
    let otlp_grpc = listen(&process, arguments.otlp_grpc, grpc::router(intake.clone())).await?;
    let otlp_http = listen(&process, arguments.otlp_http, http::router(intake.clone())).await?;
    let identity =
        enrolment::ensure(device, arguments.token.as_deref(), Arc::clone(&network), Arc::clone(&clock))
            .await?;
    mesh_clock.resume(&identity);
    let (identity_sender, identity) = watch::channel(Arc::new(identity));
    let engine =
        start_engine(client.clone(), state.join("state.sqlite"), &identity, &clock, &process).await?;
    let look = Arc::<Notify>::default();
    owner::follow(state.clone(), engine.clone(), Arc::clone(&look), &process);
    owner::config_map::follow(state.clone(), client.clone(), look, &process);
    let name = identity.borrow().name.clone();
    let speaks = Speaks::of_minor(arguments.protocol_minor);
    let hello = Hello { name, engine: engine.clone(), spool: spool.clone(), speaks };
    let config = UplinkConfig {
        identity: identity.clone(),
        incarnation: clock.now(),
        software: format!("edge-agent {}", env!("CARGO_PKG_VERSION")),
        profile: match arguments.link_profile {
            LinkProfile::Edge => Profile::edge(),
            LinkProfile::Near => Profile::near(),
        },
        network,
        clock: Arc::clone(&clock),
        entropy: Box::new(SystemEntropy),
        recovery: Some(Recovery { store: key_store(&state), identity: identity_sender.clone() }),
    };
    let (uplink, events) = Uplink::start(config, Arc::new(hello), &process.tasks, process.cancel.clone())?;
    let (acknowledged, acknowledgements) = mpsc::unbounded_channel();
    let surroundings = Arc::new(Here { spool: spool.clone(), otlp_grpc, otlp_http, speaks });
    PlanSync { engine: engine.clone(), uplink: uplink.clone(), surroundings, acknowledged }
        .start(events, &process);
    delivery::start(spool.clone(), uplink.clone(), acknowledgements, &process);
    keep_certificate(&state, identity_sender, &uplink, &clock, &process);
    versions::follow(state.clone(), &uplink, speaks, &process);
    measure::register(&process.metrics, engine.clone(), spool.clone(), uplink.clone());
    let interval = Duration::from_secs(arguments.metrics_interval);
    measure::start(intake, interval, Arc::clone(&clock), &process);
    let costs = Costs {
        client,
        engine: engine.clone(),
        spool: spool.clone(),
        interval: Duration::from_secs(arguments.cost_interval),
        clock,
    };
    costs.start(&process);
    let address = arguments.enroll.common.http.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    let http = process::http::serve(&process, address, status::router(engine, spool, uplink, speaks)).await?;
    drop(starting);
    let bound =
        Bound::by_this_process().with("http", http).with("otlpGrpc", otlp_grpc).with("otlpHttp", otlp_http);
    if let Some(path) = &arguments.enroll.common.bound_file {
        bound.write(path).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(bound)
}

fn open_spool(arguments: &Run, clock: &Arc<dyn Clock>) -> Result<Spool> {
    let path = arguments.enroll.device.state.join("spool.sqlite");
    let budgets = spool::Budgets { bytes_max: arguments.spool_bytes, ..spool::Budgets::default() };
    let now = Arc::clone(clock);
    let entropy = Box::new(|| SystemEntropy.below(u64::MAX));
    Spool::open(&path, budgets, Arc::new(move || now.now()), entropy)
        .with_context(|| format!("failed to open the spool {}", path.display()))
}

async fn start_engine(
    client: kube::Client,
    store: PathBuf,
    identity: &watch::Receiver<Arc<AgentIdentity>>,
    clock: &Arc<dyn Clock>,
    process: &Process,
) -> Result<EngineHandle> {
    let verifier = Arc::new(Verifier::new(identity.clone()));
    let agent = identity.borrow().agent.clone();
    let mut config = state::Config::new(client, agent.clone(), store, verifier);
    let key = SealingKey::of(&identity.borrow().device);
    config.opener =
        Arc::new(move |sealed: &[u8]| key.open(&agent, sealed).map_err(|error| error.to_string()));
    config.clock = Arc::new(EngineClock(Arc::clone(clock)));
    config.instance = identity.borrow().name.clone();
    config.local = owner::in_force(config.store.parent().unwrap_or(std::path::Path::new(".")));
    Engine::start(config, &process.tasks, process.cancel.clone())
        .await
        .context("failed to start the state engine")
}

fn key_store(state: &std::path::Path) -> Arc<dyn KeyStore> {
    Arc::new(FileStore::new(enrolment::directory(state)))
}

fn keep_certificate(
    state: &std::path::Path,
    identity: watch::Sender<Arc<AgentIdentity>>,
    uplink: &UplinkHandle,
    clock: &Arc<dyn Clock>,
    process: &Process,
) {
    let renewal = Renewal {
        uplink: uplink.clone(),
        store: key_store(state),
        identity,
        clock: Arc::clone(clock),
        entropy: Box::new(SystemEntropy),
        delegation: None,
    };
    process.tasks.spawn(renewal.run(process.cancel.clone()));
}

async fn listen(process: &Process, address: SocketAddr, router: axum::Router) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("failed to listen for OTLP on {address}; is another program using that port?")
    })?;
    let bound = listener.local_addr()?;
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "an OTLP endpoint failed");
        }
    });
    Ok(bound)
}

async fn client(kubeconfig: Option<PathBuf>) -> Result<kube::Client> {
    let config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(&path).with_context(|| format!("failed to read {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context("no cluster: give --kubeconfig FILE")?,
    };
    Ok(kube::Client::try_from(config)?)
}

/// Verifies plans by the keys of the newest identity.
struct Verifier {
    identity: watch::Receiver<Arc<AgentIdentity>>,
    /// The verifier of the identity last seen.
    made: RwLock<Option<(u64, Arc<PlanVerifier>)>>,
}

impl Verifier {
    fn new(identity: watch::Receiver<Arc<AgentIdentity>>) -> Self {
        Self { identity, made: RwLock::default() }
    }

    fn current(&self) -> Arc<PlanVerifier> {
        let identity = Arc::clone(&self.identity.borrow());
        let sequence = identity.trust.sequence;
        let made = self.made.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        match made {
            Some((of, verifier)) if of == sequence => verifier,
            _ => {
                let verifier = Arc::new(PlanVerifier::new(&identity.trust));
                *self.made.write().unwrap_or_else(std::sync::PoisonError::into_inner) =
                    Some((sequence, Arc::clone(&verifier)));
                verifier
            }
        }
    }
}

impl state::Verify for Verifier {
    fn verify(&self, plan: &SignedPlan) -> Result<PlanHeader, String> {
        self.current().verify(plan).map_err(|error| error.to_string())
    }
}

struct EngineClock(Arc<dyn Clock>);

impl state::Clock for EngineClock {
    fn now(&self) -> protocol::UnixMillis {
        self.0.now()
    }
}

/// What the agent tells at each connection.
struct Hello {
    name: String,
    engine: EngineHandle,
    spool: Spool,
    speaks: Speaks,
}

impl HelloSource for Hello {
    fn hello(&self) -> HelloFacts {
        HelloFacts {
            stored: self.engine.head(),
            applied: self.engine.applied(),
            streams: self.spool.streams(),
            facts: BTreeMap::from([("name".to_owned(), self.name.clone())]),
            speaks: self.speaks,
            ..HelloFacts::default()
        }
    }
}

/// What reports tell beside the engine's knowledge.
struct Here {
    spool: Spool,
    otlp_grpc: SocketAddr,
    otlp_http: SocketAddr,
    speaks: Speaks,
}

impl Surroundings for Here {
    fn spool(&self) -> SpoolReport {
        self.spool.report()
    }

    fn speaks(&self) -> Speaks {
        self.speaks
    }

    fn complete(&self, cluster: &mut ClusterReport) {
        cluster.otlp_grpc = self.otlp_grpc.to_string();
        cluster.otlp_http = self.otlp_http.to_string();
    }
}
