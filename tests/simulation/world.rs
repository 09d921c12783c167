//! The parts: how they start, how they end, and what is between them.

pub(crate) mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::skein::{Edge, EdgeSpec, EdgeStatus};
use hub::agents::Server;
use hub::authority::{Registrar, Signer};
use hub::federation::{self, Federation};
use hub::observed::Observed;
use hub::plans::{PlanBook, SignPlan};
use hub::roster::{Roster, Standby};
use identity::{AgentIdentity, Authority, Clock as _, Entropy as _, KeyKind, MeshClock, SeededEntropy};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ObjectMeta, PostParams};
use link::network::simulated::{Conditions, SimulatedNetwork, VirtualClock};
use link::renewal::Renewal;
use link::{Profile, Recovery, Uplink, UplinkConfig, UplinkHandle};
use process::Process;
use protocol::id::{AgentId, EdgeId};
use protocol::message::PlanHead;
use protocol::plan::{PlanHeader, SignedPlan};
use regional_agent::app::{Running, Settings, World as Surroundings, serve};
use skein_tests::{identities, plans};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::edge::{Disk, Program};
use super::keys::{self, Keys};
use super::model::Model;
use super::pace::Waiting;

/// When every story begins.
pub(crate) const START: u64 = 1_790_000_000_000;
/// In milliseconds.
const YEAR: u64 = 365 * 24 * 3600 * 1000;
/// The regions' names.
pub(crate) const REGIONS: [&str; 3] = ["eu", "us", "ap"];
/// Where the hub's own objects are.
pub(crate) const NAMESPACE: &str = "kcm-system";
const HUB_PORT: u16 = 8443;
pub(crate) const REGION_PORT: u16 = 8444;
/// A part that ended leaves its address and its files within this many seconds.
const SECONDS_TO_LEAVE: u32 = 120;

pub(crate) fn hub_address() -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 1).into()
}

pub(crate) fn region_address(region: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 2 + u8::try_from(region).unwrap()).into()
}

pub(crate) fn edge_address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, number).into()
}

pub(crate) fn edge_id(number: u8) -> EdgeId {
    EdgeId([number; 16])
}

fn name_of(number: u8) -> String {
    format!("edge-{number}")
}

/// Whether an edge was off for so long that its certificate has expired when the story begins.
fn was_long_off(number: u8) -> bool {
    number % 4 == 3
}

/// The region of an edge.
pub(crate) fn region_of(number: u8) -> usize {
    usize::from(number) % REGIONS.len()
}

/// A hub while it runs.
pub(crate) struct Hub {
    process: Process,
    pub(crate) plans: PlanBook,
    pub(crate) observed: Observed,
    pub(crate) roster: Roster,
    federation: Federation,
}

/// A region: its folder, and its agent while it runs.
pub(crate) struct Region {
    folder: TempDir,
    identity: AgentIdentity,
    pub(crate) running: Option<(Process, Running)>,
}

/// An edge: its disk, and its program while it runs.
pub(crate) struct EdgePlace {
    pub(crate) number: u8,
    pub(crate) version: u64,
    pub(crate) disk: Arc<Mutex<Disk>>,
    /// The machine's, which may be set to anything.
    pub(crate) clock: VirtualClock,
    pub(crate) keys: Arc<Keys>,
    pub(crate) link: Option<UplinkHandle>,
    running: Option<(TaskTracker, CancellationToken)>,
}

/// What an edge's program suffers from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ills {
    /// It dies between storing a plan and acting on it.
    pub(crate) dies_after_storing: bool,
    /// It takes this long before it looks at anything that it is told.
    pub(crate) slow: Option<Duration>,
}

impl EdgePlace {
    /// Sets the machine's clock, so many milliseconds ahead of the right one.
    pub(crate) fn set_clock(&self, right: &VirtualClock, ahead: i64) {
        let (now, wanted) = (self.clock.now(), right.now().saturating_add_signed(ahead));
        self.clock.shift(i64::try_from(wanted).unwrap() - i64::try_from(now).unwrap());
    }
}

/// Signs plans, and tells the model of each before anybody can have it.
struct Telling {
    signer: Signer,
    model: Arc<Mutex<Model>>,
}

impl SignPlan for Telling {
    fn sign(&self, header: &PlanHeader) -> SignedPlan {
        if let Some(edge) = header.agent.edge() {
            let head = PlanHead { generation: header.generation, body: header.body };
            self.model.lock().unwrap().signed(edge, head);
        }
        self.signer.sign(header)
    }
}

pub(crate) struct World {
    pub(crate) network: SimulatedNetwork,
    pub(crate) clock: VirtualClock,
    pub(crate) authority: Arc<Authority>,
    pub(crate) entropy: SeededEntropy,
    pub(crate) model: Arc<Mutex<Model>>,
    cluster: kube_local::Cluster,
    profile: Profile,
    pub(crate) waiting: Waiting,
    pub(crate) term: u64,
    /// Whether the hub begins with the authority in its Secret.
    keeps_authority: bool,
    /// Whether edges look after their certificates.
    pub(crate) renews: bool,
    /// Edges whose objects were edited: the region they name now.
    pub(crate) moved: BTreeMap<u8, usize>,
    /// What stands in for `eu`, if anything does.
    pub(crate) standby: Option<Standby>,
    pub(crate) hub: Option<Hub>,
    pub(crate) regions: Vec<Region>,
    pub(crate) edges: Vec<EdgePlace>,
}

impl World {
    /// All parts, none of which runs.
    pub(crate) async fn new(seed: u64, edges: u8, profile: Profile) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let authority =
            Authority::create_kind("fleet.example", KeyKind::Ed25519, START, &mut entropy).unwrap();
        let model = Arc::new(Mutex::new(Model::default()));
        let mut world = Self {
            network: SimulatedNetwork::new(seed, Conditions::default()),
            clock: VirtualClock::new(START),
            authority: Arc::new(authority),
            entropy,
            model,
            cluster: kube_local::Cluster::open(kube_local::Options::default()).await.unwrap(),
            profile,
            waiting: Waiting::default(),
            term: 0,
            keeps_authority: false,
            renews: false,
            moved: BTreeMap::new(),
            standby: None,
            hub: None,
            regions: Vec::new(),
            edges: Vec::new(),
        };
        let client = world.cluster.client();
        keys::define(&client).await;
        let metadata = ObjectMeta { name: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        for name in REGIONS {
            let agent = AgentId::Region(name.parse().unwrap());
            let above = SocketAddr::new(hub_address(), HUB_PORT);
            let identity = world.identity(&agent, name, above);
            let folder = folder();
            identity.store(&folder.path().join("identity")).unwrap();
            world.regions.push(Region { folder, identity, running: None });
        }
        for region in &world.regions {
            keys::register_region(&client, &region.identity).await;
        }
        for number in 1..=edges {
            let region = region_of(number);
            let above = SocketAddr::new(region_address(region), REGION_PORT);
            let place = world.edge_place(number, REGIONS[region], above);
            keys::register(&client, &name_of(number), &place.keys.identity()).await;
            world.edges.push(place);
            if number.is_multiple_of(2) {
                world.network.tell(edge_address(number));
            }
        }
        world
    }

    /// An edge whose program has not run yet; some were enrolled a year ago, and off since then.
    pub(crate) fn edge_place(&mut self, number: u8, region: &str, above: SocketAddr) -> EdgePlace {
        let issued = if was_long_off(number) { START - YEAR } else { START };
        let identity = self.identity_of(&AgentId::Edge(edge_id(number)), region, above, issued);
        let keys = Keys::new(identity, self.entropy.below(u64::MAX));
        let epoch = self.entropy.below(1 << 40);
        let disk = Disk::new(edge_id(number), epoch, self.model.clone());
        EdgePlace {
            number,
            version: 0,
            disk: Arc::new(Mutex::new(disk)),
            clock: self.clock.another(),
            keys,
            link: None,
            running: None,
        }
    }

    pub(crate) fn identity(&mut self, agent: &AgentId, region: &str, above: SocketAddr) -> AgentIdentity {
        self.identity_of(agent, region, above, START)
    }

    fn identity_of(
        &mut self,
        agent: &AgentId,
        region: &str,
        above: SocketAddr,
        issued: u64,
    ) -> AgentIdentity {
        let region = region.parse().unwrap();
        let above = above.to_string();
        let kind = (issued, KeyKind::Ed25519);
        identities::issued(&self.authority, (agent, &region), &above, kind, &mut self.entropy).unwrap()
    }

    /// All clocks go on at once, as over times in which nothing happens.
    pub(crate) fn shift_clocks(&self, millis: i64) {
        self.clock.shift(millis);
        self.edges.iter().for_each(|place| place.clock.shift(millis));
    }

    pub(crate) async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// The hub as it begins: a new term, the same objects.
    pub(crate) async fn start_hub(&mut self) {
        self.term += 1;
        let roster = Roster::default();
        REGIONS.iter().for_each(|name| roster.set_region(name, true));
        roster.set_standby(REGIONS[0], self.standby.clone());
        (0..self.edges.len()).for_each(|index| roster.put_edge(&self.object(index)));
        roster.completed();
        let clock = self.clock.clone();
        if self.keeps_authority {
            let (client, domain) = (self.cluster.client(), self.authority.trust_domain().to_owned());
            let kept =
                hub::authority::load_or_create(&client, NAMESPACE, &domain, &self.clock, &mut self.entropy);
            self.authority = Arc::new(kept.await.unwrap());
        }
        let signer = Signer(self.authority.clone());
        let signer = Arc::new(Telling { signer, model: self.model.clone() });
        let plans = PlanBook::new(self.term, signer, Arc::new(move || clock.now()));
        let observed = Observed::default();
        for attempt in 0.. {
            let process = Process::embedded();
            let clock = Arc::new(self.clock.clone());
            let client = self.cluster.client();
            let registrar =
                Registrar::new(client, NAMESPACE.to_owned(), self.authority.clone(), clock.clone());
            registrar.listens_at(vec![SocketAddr::new(hub_address(), HUB_PORT).to_string()]);
            let server = Server {
                authority: self.authority.clone(),
                registrar,
                plans: plans.clone(),
                observed: observed.clone(),
                roster: roster.clone(),
                network: self.network.node(hub_address()),
                clock: clock.clone(),
            };
            match server.start(SocketAddr::new(hub_address(), HUB_PORT), &process).await {
                Ok(downlink) => {
                    let federation = Federation::new(downlink, roster.clone(), observed.clone(), clock);
                    self.hub = Some(Hub { process, plans, observed, roster, federation });
                    break;
                }
                Err(error) => assert!(attempt < SECONDS_TO_LEAVE, "the hub does not start: {error}"),
            }
            self.pass(1.0).await;
        }
        for index in 0..self.edges.len() {
            self.publish(index);
        }
    }

    /// The authority is in its Secret from now on, and each hub begins with what it finds there.
    pub(crate) async fn keep_authority(&mut self) {
        let data = self.authority.to_secret().into_iter().map(|(part, bytes)| (part, ByteString(bytes)));
        let metadata = ObjectMeta { name: Some("skein-authority".to_owned()), ..ObjectMeta::default() };
        let secret = Secret { metadata, data: Some(data.collect()), ..Secret::default() };
        let secrets = Api::<Secret>::namespaced(self.cluster.client(), NAMESPACE);
        secrets.create(&PostParams::default(), &secret).await.unwrap();
        self.keeps_authority = true;
    }

    /// The management cluster.
    pub(crate) fn client(&self) -> kube::Client {
        self.cluster.client()
    }

    /// The region that an edge's object names.
    pub(crate) fn home(&self, number: u8) -> usize {
        self.moved.get(&number).copied().unwrap_or_else(|| region_of(number))
    }

    /// The object of an edge as it is now.
    fn object(&self, index: usize) -> Edge {
        let place = &self.edges[index];
        let region = REGIONS[self.home(place.number)].to_owned();
        let mut edge = Edge::new(&name_of(place.number), EdgeSpec { region, ..EdgeSpec::default() });
        edge.metadata.namespace = Some(NAMESPACE.to_owned());
        edge.metadata.annotations = Some(keys::device_annotation(&place.keys.identity()));
        let agent_id = Some(edge_id(place.number).to_string());
        edge.status = Some(EdgeStatus { agent_id, ..EdgeStatus::default() });
        edge
    }

    /// Somebody edits the region of an edge's object.
    pub(crate) fn move_edge(&mut self, index: usize, region: usize) {
        self.moved.insert(self.edges[index].number, region);
        if let Some(hub) = &self.hub {
            hub.roster.put_edge(&self.object(index));
        }
    }

    /// Somebody edits what stands in for `eu`.
    pub(crate) fn set_standby(&mut self, region: usize, active: bool) {
        self.standby = Some(Standby { region: REGIONS[region].parse().unwrap(), active });
        if let Some(hub) = &self.hub {
            hub.roster.set_standby(REGIONS[0], self.standby.clone());
        }
    }

    /// The hub dies; nobody hears of it.
    pub(crate) async fn crash_hub(&mut self) {
        let Some(hub) = self.hub.take() else { return };
        self.network.isolate(hub_address());
        let process = hub.process.clone();
        drop(hub);
        process.drain().await;
        self.network.rejoin(hub_address());
    }

    /// Publishes the present version of an edge's configuration.
    pub(crate) fn publish(&self, index: usize) {
        let (Some(hub), place) = (&self.hub, &self.edges[index]) else { return };
        let (body, blobs) = plans::body(place.number.into(), place.version);
        let id = edge_id(place.number);
        hub.plans.publish(&AgentId::Edge(id), body, blobs);
    }

    pub(crate) async fn start_region(&mut self, region: usize) {
        let seed = self.entropy.below(u64::MAX);
        for attempt in 0.. {
            let place = &self.regions[region];
            let listen = SocketAddr::new(region_address(region), REGION_PORT);
            let settings = Settings {
                edge_profile: self.profile.clone(),
                speaks: versions::of_region(region),
                ..Settings::new(place.folder.path().to_owned(), listen)
            };
            let surroundings = Surroundings {
                client: self.cluster.client(),
                network: self.network.node(region_address(region)),
                clock: Arc::new(self.clock.clone()),
                entropy: Arc::new(move || Box::new(SeededEntropy::new(seed))),
            };
            let process = Process::embedded();
            let kept = AgentIdentity::load(&place.folder.path().join("identity")).unwrap();
            match serve(settings, kept, surroundings, process.clone()).await {
                Ok((_, running)) => {
                    self.waiting.begins(region, running.telemetry.waiting());
                    self.regions[region].running = Some((process, running));
                    return;
                }
                Err(error) => {
                    process.drain().await;
                    assert!(attempt < SECONDS_TO_LEAVE, "region {region} does not start: {error:#}");
                }
            }
            self.pass(1.0).await;
        }
    }

    /// The region's agent dies; nobody hears of it.
    pub(crate) async fn crash_region(&mut self, region: usize) {
        let Some((process, running)) = self.regions[region].running.take() else { return };
        self.network.isolate(region_address(region));
        self.waiting.ends(region);
        drop(running);
        process.drain().await;
        self.network.rejoin(region_address(region));
    }

    pub(crate) fn start_edge(&mut self, index: usize, ills: Ills) {
        let mut place = self.edges.remove(index);
        self.run_edge(&mut place, ills);
        self.edges.insert(index, place);
    }

    /// Starts an edge's program on its disk.
    pub(crate) fn run_edge(&mut self, place: &mut EdgePlace, ills: Ills) {
        let clock = Arc::new(MeshClock::new(Arc::new(place.clock.clone())));
        clock.resume(&place.keys.identity());
        let (shown, identity) = watch::channel(Arc::new(place.keys.identity()));
        let cancel = CancellationToken::new();
        let trusted = identity.clone();
        let config = UplinkConfig {
            identity,
            incarnation: self.clock.now(),
            software: "edge/1".to_owned(),
            profile: self.profile.clone(),
            network: self.network.node(edge_address(place.number)),
            clock: clock.clone(),
            entropy: Box::new(SeededEntropy::new(self.entropy.below(u64::MAX))),
            recovery: Some(Recovery { store: place.keys.clone(), identity: shown.clone() }),
        };
        let disk = place.disk.clone();
        let source = Arc::new(move || disk.lock().unwrap().hello());
        let tasks = TaskTracker::new();
        let (link, events) = Uplink::start(config, source, &tasks, cancel.clone()).unwrap();
        place.link = Some(link.clone());
        if self.renews {
            let renewal = Renewal {
                uplink: link.clone(),
                store: place.keys.clone(),
                identity: shown,
                clock,
                entropy: Box::new(SeededEntropy::new(self.entropy.below(u64::MAX))),
                delegation: None,
            };
            tasks.spawn(renewal.run(cancel.clone()));
        }
        let program =
            Program { disk: place.disk.clone(), identity: trusted, link, ills, sequence: 0, partial: None };
        let ended = cancel.clone();
        tasks.spawn(async move {
            ended.run_until_cancelled(program.run(events)).await;
            ended.cancel();
        });
        place.running = Some((tasks, cancel));
    }

    /// The edge's program dies; nobody hears of it.
    pub(crate) async fn crash_edge(&mut self, index: usize) {
        let Some((tasks, cancel)) = self.edges[index].running.take() else { return };
        let address = edge_address(self.edges[index].number);
        self.network.isolate(address);
        cancel.cancel();
        tasks.close();
        tasks.wait().await;
        self.network.rejoin(address);
    }

    /// Warnings of the federation about a question to all regions.
    pub(crate) async fn ask(&self) -> Result<Vec<String>, String> {
        let hub = self.hub.as_ref().ok_or("no hub runs")?;
        let request = http::Request::get("/api/v1/query?query=sum(items_total)")
            .body(axum::body::Body::empty())
            .unwrap();
        let response = federation::router(hub.federation.clone()).oneshot(request).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if answer["status"] != "success" {
            return Err(format!("the question failed: {answer}"));
        }
        let warnings = answer["warnings"].as_array().cloned().unwrap_or_default();
        Ok(warnings.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Why not everything is as it was last published, if it is not.
    pub(crate) fn unsettled(&self) -> Option<String> {
        let model = self.model.lock().unwrap();
        let hub = self.hub.as_ref()?;
        self.edges.iter().find_map(|place| {
            let id = edge_id(place.number);
            let newest = model.newest(id);
            let seen = hub.observed.agent(&AgentId::Edge(id));
            let applied = seen.as_ref().and_then(|seen| seen.applied);
            let link = seen.as_ref().is_some_and(|seen| seen.link.up);
            if model.acted_on(id) != newest {
                return Some(format!("{id} acts on {:?}, the newest is {newest:?}", model.acted_on(id)));
            }
            if applied != newest.map(|head| head.generation) || !link {
                return Some(format!(
                    "the hub believes that {id} applied {applied:?}, link {link}; it is {newest:?}"
                ));
            }
            versions::misjudged(&hub.observed, id)
        })
    }

    /// Items that wait in outboxes.
    pub(crate) fn waiting(&self) -> usize {
        self.edges.iter().map(|place| place.disk.lock().unwrap().waiting()).sum()
    }

    /// That those came back whose certificate had expired, once each, and that nobody was taken for somebody else.
    pub(crate) async fn check_returns(&self) -> Result<(), String> {
        for place in &self.edges {
            let name = name_of(place.number);
            let (counted, wanted) =
                (keys::returns(&self.cluster.client(), &name).await, u64::from(was_long_off(place.number)));
            if (counted, place.keys.identity().returns) != (wanted, wanted) {
                return Err(format!("{name} returned {counted} times, and should have {wanted} times"));
            }
        }
        Ok(())
    }

    /// Ends everything and reads what the regions' stores hold.
    pub(crate) async fn end(mut self) -> Arc<Mutex<Model>> {
        for index in 0..self.edges.len() {
            self.crash_edge(index).await;
        }
        self.crash_hub().await;
        if self.standby.is_some() {
            // Edges were served by more than one region. Each item is in some store, and in none twice; it may be in two,
            // when an edge changed over before the first one had acknowledged it.
            let (mut rows, mut gaps) = (Vec::new(), BTreeMap::new());
            for region in 0..self.regions.len() {
                self.crash_region(region).await;
                let (more, told) = stored(self.regions[region].folder.path());
                let elsewhere: BTreeSet<Vec<u8>> = rows.iter().cloned().collect();
                rows.extend(more.into_iter().filter(|row| !elsewhere.contains(row)));
                told.into_iter().for_each(|(agent, count)| *gaps.entry(agent).or_default() += count);
            }
            let edges = self.edges.iter().map(|place| edge_id(place.number)).collect();
            self.model.lock().unwrap().check_store(&edges, &rows, &gaps);
            return self.model;
        }
        for region in 0..self.regions.len() {
            self.crash_region(region).await;
            let numbers = self.edges.iter().map(|place| place.number);
            let edges: BTreeSet<_> =
                numbers.filter(|number| region_of(*number) == region).map(edge_id).collect();
            let (rows, gaps) = stored(self.regions[region].folder.path());
            self.model.lock().unwrap().check_store(&edges, &rows, &gaps);
        }
        self.model
    }
}

/// A folder in memory where the machine has such.
fn folder() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Payloads and gaps in a region's store.
fn stored(folder: &std::path::Path) -> (Vec<Vec<u8>>, BTreeMap<String, u64>) {
    let store = rusqlite::Connection::open(folder.join("telemetry.sqlite")).unwrap();
    let mut rows = store.prepare("SELECT payload FROM batches").unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let sum = "SELECT agent, sum(batches) FROM gaps JOIN senders ON senders.id = sender GROUP BY agent";
    let mut gaps = store.prepare(sum).unwrap();
    let gaps = gaps.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).unwrap();
    let gaps =
        gaps.map(|gap| gap.map(|(agent, sum)| (agent, u64::try_from(sum).unwrap())).unwrap()).collect();
    (rows, gaps)
}
