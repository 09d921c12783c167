//! A hub that follows a script, a real regional agent, edges that follow a script, over real QUIC in memory.
//!
//! Time is real here: the agent waits for its files by threads of their own, and virtual time would run away
//! meanwhile. Nothing waits for time to pass.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::authority::LEAF_VALIDITY_MS;
use identity::tls::Accepts;
use identity::{
    AgentIdentity, Authority, Clock as _, DeviceKey, Entropy as _, KeyKind, SeededEntropy, TlsKey, Trust,
};
use link::network::simulated::{Conditions, SimulatedNetwork, VirtualClock};
use link::{
    Admission, Admitted, Downlink, DownlinkConfig, DownlinkEvent, DownlinkEvents, DownlinkHandle,
    EndpointKeys, HelloFacts, Profile, Responder, Uplink, UplinkConfig, UplinkEvent, UplinkHandle,
};
use process::Process;
use protocol::enrolment::Refusal;
use protocol::id::{AgentId, Digest, EdgeId, Generation, RegionName};
use protocol::message::{BlobPart, Control, EdgeLink, Hello, PlanHead, PlanOffer, Request};
use protocol::offer::{self, Content};
use protocol::plan::{
    DriftMode, ObjectEntry, ObjectKey, PlanBody, PlanHeader, Removal, SignedPlan, Unit, UnitId, UnitKind,
};
use protocol::report::{Report, UnitReport, UnitState};
use protocol::version::Speaks;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{Running, Settings, World as Surroundings, serve};
use crate::edges::register::Renewals;

pub(crate) const START: u64 = 1_790_000_000_000;
const HUB_PORT: u16 = 8443;
pub(crate) const REGION_PORT: u16 = 8444;
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test.
pub(crate) fn simulate(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Whatever one of these waits for in vain, it ends and says which one it was.
    runtime
        .block_on(async { tokio::time::timeout(4 * PATIENCE, test).await.expect("the test ends in time") });
}

pub(crate) fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

pub(crate) fn edge(number: u8) -> EdgeId {
    EdgeId([number; 16])
}

pub(crate) fn region() -> AgentId {
    AgentId::Region(region_name())
}

pub(crate) fn region_name() -> RegionName {
    "eu".parse().unwrap()
}

struct Everybody;

impl Admission for Everybody {
    fn admit<'a>(&'a self, _: &'a AgentId, _: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        std::future::ready(Ok(Admitted::default())).boxed()
    }
}

/// A signed plan and everything it needs.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) signed: SignedPlan,
    pub(crate) head: PlanHead,
    pub(crate) body: PlanBody,
    pub(crate) encoded: Bytes,
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
}

impl Plan {
    /// The offer of this plan to somebody who holds `known`.
    pub(crate) fn offer(&self, edge: EdgeId, known: Option<&Plan>) -> offer::Prepared {
        let content = |plan: &'_ Plan| (plan.encoded.clone(), plan.head.body);
        let (encoded, digest) = content(self);
        let other = known.map(content);
        let other = known.zip(other.as_ref()).map(|(plan, (encoded, digest))| Content {
            body: &plan.body,
            encoded,
            digest: *digest,
        });
        let blob = |digest: &Digest| {
            let old = known.and_then(|known| known.blobs.get(digest));
            self.blobs.get(digest).or(old).cloned()
        };
        let content = Content { body: &self.body, encoded: &encoded, digest };
        offer::prepare(Some(edge), &self.signed, &content, other.as_ref(), blob)
    }

    /// Every blob, whole.
    pub(crate) fn parts(&self) -> Vec<BlobPart> {
        let body = BlobPart::make(&self.encoded, None);
        std::iter::once(body).chain(self.blobs.values().map(|blob| BlobPart::make(blob, None))).collect()
    }
}

pub(crate) struct World {
    pub(crate) network: SimulatedNetwork,
    pub(crate) clock: VirtualClock,
    pub(crate) authority: Authority,
    pub(crate) entropy: SeededEntropy,
    pub(crate) folder: TempDir,
    cluster: kube_local::Cluster,
    pub(crate) region_identity: AgentIdentity,
    /// What edges speak that begin from now on.
    pub(crate) speaks: Speaks,
}

impl World {
    pub(crate) async fn new(seed: u64) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let authority =
            Authority::create_kind("fleet.example", KeyKind::Ed25519, START, &mut entropy).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let region_identity = identity(&authority, &mut entropy, &region(), address(1), HUB_PORT);
        region_identity.store(&folder.path().join("identity")).unwrap();
        let conditions = Conditions { latency: Duration::from_millis(1), ..Conditions::default() };
        Self {
            network: SimulatedNetwork::new(seed, conditions),
            clock: VirtualClock::new(START),
            authority,
            entropy,
            folder,
            cluster: kube_local::Cluster::open(kube_local::Options::default()).await.unwrap(),
            region_identity,
            speaks: Speaks::HERE,
        }
    }

    /// The regional cluster.
    pub(crate) fn client(&self) -> kube::Client {
        self.cluster.client()
    }

    /// A plan of configuration maps with these contents.
    pub(crate) fn plan(&self, agent: AgentId, generation: u64, contents: &[&str]) -> Plan {
        self.plan_with(agent, generation, contents, |_| {})
    }

    /// The same with its unit changed before it is signed.
    pub(crate) fn plan_with(
        &self,
        agent: AgentId,
        generation: u64,
        contents: &[&str],
        change: impl FnOnce(&mut Unit),
    ) -> Plan {
        let text = str::to_owned;
        let bytes = |content: &&str| Bytes::from(content.as_bytes().to_vec());
        let blobs = contents.iter().map(|content| (Digest::of(content.as_bytes()), bytes(content))).collect();
        let objects = contents.iter().enumerate().map(|(index, content)| ObjectEntry {
            key: ObjectKey {
                group: String::new(),
                version: text("v1"),
                kind: text("ConfigMap"),
                namespace: text("shop"),
                name: format!("map-{index}"),
            },
            digest: Digest::of(content.as_bytes()),
        });
        let mut unit = Unit {
            id: unit_id("web"),
            kind: UnitKind::Resources,
            template: text("web"),
            version: text("1"),
            hash: Digest::of(contents.concat().as_bytes()),
            priority: 0,
            depends_on: Vec::new(),
            objects: objects.collect(),
            hooks: Vec::new(),
            create_namespace: true,
            take_ownership: false,
            drift: DriftMode::Repair,
            removal: Removal::Prune,
            timeout_ms: 0,
            ext: Vec::new(),
        };
        change(&mut unit);
        let body = PlanBody { units: vec![unit], ..PlanBody::default() };
        let encoded = body.encode();
        let head =
            PlanHead { generation: Generation { term: 1, counter: generation }, body: Digest::of(&encoded) };
        let header = PlanHeader {
            agent,
            generation: head.generation,
            body: head.body,
            issued_at: START,
            not_after: None,
            ext: Vec::new(),
        };
        Plan { signed: self.authority.sign_plan(&header), head, body, encoded, blobs }
    }

    pub(crate) fn edge_plan(&self, number: u8, generation: u64, contents: &[&str]) -> Plan {
        self.plan(AgentId::Edge(edge(number)), generation, contents)
    }

    /// The hub, on node 1.
    pub(crate) async fn hub(&mut self) -> Hub {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let config = DownlinkConfig {
            listen: SocketAddr::new(address(1), HUB_PORT),
            identity: self.authority.hub_identity(self.clock.now(), &mut self.entropy).unwrap(),
            trust: Trust::new(self.authority.trust()).unwrap(),
            accepts: Accepts::Regions,
            software: "hub/1".to_owned(),
            speaks: Speaks::HERE,
            profile: Profile::near(),
            peers_max: 10,
            keys: Some(EndpointKeys::from_secret(self.authority.link_secret())),
            network: self.network.node(address(1)),
            clock: Arc::new(self.clock.clone()),
        };
        let (handle, events) =
            Downlink::bind(config, Arc::new(Everybody), &tasks, cancel.clone()).await.unwrap();
        Hub { handle, events, tasks, cancel }
    }

    /// The region's agent, on node 2, with whatever its folder holds.
    pub(crate) async fn region(&mut self) -> Region {
        let settings = self.settings();
        self.region_with(settings).await
    }

    /// The usual settings of the region's agent.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            hub_profile: Profile::near(),
            edge_profile: Profile::near(),
            ..Settings::new(self.folder.path().to_owned(), SocketAddr::new(address(2), REGION_PORT))
        }
    }

    /// The region's agent, set up like this.
    pub(crate) async fn region_with(&mut self, settings: Settings) -> Region {
        let process = Process::embedded();
        let seed = self.entropy.below(u64::MAX);
        let surroundings = Surroundings {
            client: self.cluster.client(),
            network: self.network.node(address(2)),
            clock: Arc::new(self.clock.clone()),
            entropy: Arc::new(move || Box::new(SeededEntropy::new(seed))),
        };
        let (_, running) =
            serve(settings, self.region_identity.clone(), surroundings, process.clone()).await.unwrap();
        Region { running, process }
    }

    /// An edge on a node of that number, which says that it has stored this.
    pub(crate) fn edge(&mut self, number: u8, stored: Option<PlanHead>) -> Edge {
        let agent = AgentId::Edge(edge(number));
        let identity = identity(&self.authority, &mut self.entropy, &agent, address(2), REGION_PORT);
        self.edge_as(identity, number, stored)
    }

    /// The same with this identity.
    pub(crate) fn edge_as(&mut self, identity: AgentIdentity, number: u8, stored: Option<PlanHead>) -> Edge {
        let (sender, receiver) = watch::channel(Arc::new(identity));
        let cancel = CancellationToken::new();
        let config = UplinkConfig {
            identity: receiver,
            incarnation: self.clock.now(),
            software: "edge/1".to_owned(),
            profile: Profile::near(),
            network: self.network.node(address(number)),
            clock: Arc::new(self.clock.clone()),
            entropy: Box::new(SeededEntropy::new(self.entropy.below(u64::MAX))),
            recovery: None,
        };
        let facts = BTreeMap::from([("name".to_owned(), format!("edge-{number}"))]);
        let speaks = self.speaks;
        let source =
            Arc::new(move || HelloFacts { stored, facts: facts.clone(), speaks, ..HelloFacts::default() });
        let (handle, events) = Uplink::start(config, source, &TaskTracker::new(), cancel.clone()).unwrap();
        Edge { handle, events, cancel, identity: sender }
    }
}

pub(crate) fn identity(
    authority: &Authority,
    entropy: &mut SeededEntropy,
    agent: &AgentId,
    above: IpAddr,
    port: u16,
) -> AgentIdentity {
    let device = DeviceKey::generate(entropy);
    let tls = TlsKey::generate_kind(KeyKind::Ed25519, entropy).unwrap();
    let chain = authority.issue(agent, &tls.signing_request().unwrap(), START, entropy).unwrap();
    AgentIdentity {
        agent: agent.clone(),
        name: agent.to_string(),
        region: region_name(),
        chain,
        tls,
        device,
        trust: authority.trust(),
        endpoints: vec![format!("{above}:{port}")],
        not_before: START,
        not_after: START + LEAF_VALIDITY_MS,
        returns: 0,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

pub(crate) fn unit_id(name: &str) -> UnitId {
    let text = str::to_owned;
    UnitId {
        set_namespace: text("default"),
        set_name: text("set"),
        namespace: text("shop"),
        name: text(name),
    }
}

/// A report of units in these states.
pub(crate) fn report(sequence: u64, full: bool, units: &[(&str, UnitState)]) -> Report {
    let unit = |(name, state): &(&str, UnitState)| UnitReport {
        id: unit_id(name),
        version: "1".to_owned(),
        template: "web".to_owned(),
        deployed_hash: None,
        state: *state,
        message: String::new(),
        since: START,
        drift_repairs: 0,
        objects_total: 1,
        objects_ready: 1,
        objects: Vec::new(),
    };
    Report { sequence, at: START, full, units: units.iter().map(unit).collect(), ..Report::default() }
}

pub(crate) struct Hub {
    pub(crate) handle: DownlinkHandle,
    pub(crate) events: DownlinkEvents,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Hub {
    pub(crate) async fn next(&mut self) -> DownlinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event comes").expect("listening")
    }

    /// The next thing that `pick` wants, skipping others.
    pub(crate) async fn expect<T>(&mut self, mut pick: impl FnMut(&DownlinkEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(&self.next().await) {
                return found;
            }
        }
    }

    /// What the region says when it links next.
    pub(crate) async fn hello(&mut self) -> Hello {
        self.expect(|event| match event {
            DownlinkEvent::Up { hello, .. } => Some((**hello).clone()),
            _ => None,
        })
        .await
    }

    /// Where the answer to the next request that `is_it` goes, skipping others.
    pub(crate) async fn expect_request(&mut self, is_it: impl Fn(&Request) -> bool) -> Responder {
        loop {
            if let DownlinkEvent::Request { request, responder, .. } = self.next().await
                && is_it(&request)
            {
                return responder;
            }
        }
    }

    /// The next control message that `pick` wants, skipping others.
    pub(crate) async fn control<T>(&mut self, mut pick: impl FnMut(&Control) -> Option<T>) -> T {
        self.expect(|event| match event {
            DownlinkEvent::Control { control, .. } => pick(control),
            _ => None,
        })
        .await
    }

    /// Waits until the region has listed its edges.
    pub(crate) async fn listed(&mut self) -> Vec<EdgeLink> {
        let mut all = Vec::new();
        self.control(|control| match control {
            Control::EdgeLinks { links, last } => {
                all.extend(links.clone());
                last.then(|| std::mem::take(&mut all))
            }
            _ => None,
        })
        .await
    }

    /// The blobs that the region asks for next, for one of its edges.
    pub(crate) async fn wanted_for_edges(&mut self) -> Vec<Digest> {
        self.control(|control| match control {
            Control::BlobsWanted { edge: Some(_), digests } => Some(digests.clone()),
            _ => None,
        })
        .await
    }

    /// The next message about an edge's link in which `held` is as wanted.
    pub(crate) async fn link_of(&mut self, number: u8, up: bool) -> EdgeLink {
        self.control(|control| match control {
            Control::EdgeLinks { links, .. } => {
                links.iter().find(|link| link.edge == edge(number) && link.up == up).cloned()
            }
            _ => None,
        })
        .await
    }

    /// The next word of that edge, or of the region itself, that it keeps the trust bundle of that sequence.
    pub(crate) async fn kept(&mut self, edge: Option<EdgeId>, sequence: u64) -> protocol::trust::TrustKept {
        self.control(|control| match control {
            Control::TrustKept(kept) => {
                kept.iter().find(|kept| kept.edge == edge && kept.sequence == sequence).cloned()
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn report_of(&mut self, number: u8) -> Report {
        self.control(|control| match control {
            Control::Report { edge: Some(about), report } if *about == edge(number) => {
                Some((**report).clone())
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn stored_by(&mut self, number: u8) -> PlanHead {
        self.control(|control| match control {
            Control::PlanStored { edge: Some(about), head } if *about == edge(number) => Some(*head),
            _ => None,
        })
        .await
    }

    pub(crate) async fn send(&self, control: Control) {
        self.handle.send(&region(), control).await.unwrap();
    }

    /// Sends a plan as the difference to what the region holds.
    pub(crate) async fn offer(&self, number: u8, plan: &Plan, known: Option<&Plan>) {
        let prepared = plan.offer(edge(number), known);
        self.send(Control::Plan(prepared.offer)).await;
        for part in prepared.later {
            self.handle.send_blob(&region(), Some(edge(number)), part).await.unwrap();
        }
    }

    /// Ends as a process that is killed; its address answers no more.
    pub(crate) async fn end(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

pub(crate) struct Region {
    pub(crate) running: Running,
    process: Process,
}

impl Region {
    /// Waits until renewals stand as `holds` says.
    pub(crate) async fn until(&self, holds: impl Fn(&Renewals) -> bool) {
        let register = self.running.edges.register();
        let reached = async {
            while !holds(&register.renewals()) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("renewals are still {:?}", register.renewals());
        }
    }

    /// Ends in order.
    pub(crate) async fn end(self) {
        let Self { running, process } = self;
        drop(running);
        process.drain().await;
        assert!(process.tasks.is_empty(), "{} tasks went on", process.tasks.len());
    }
}

pub(crate) struct Edge {
    pub(crate) handle: UplinkHandle,
    pub(crate) events: mpsc::Receiver<UplinkEvent>,
    pub(crate) cancel: CancellationToken,
    identity: watch::Sender<Arc<AgentIdentity>>,
}

impl Edge {
    pub(crate) fn identity(&self) -> AgentIdentity {
        (**self.identity.borrow()).clone()
    }

    pub(crate) async fn next(&mut self) -> UplinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event comes").expect("running")
    }

    pub(crate) async fn expect<T>(&mut self, mut pick: impl FnMut(&UplinkEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(&self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn up(&mut self) {
        self.expect(|event| matches!(event, UplinkEvent::Up(_)).then_some(())).await;
    }

    /// The next offer.
    pub(crate) async fn offered(&mut self) -> PlanOffer {
        self.expect(|event| match event {
            UplinkEvent::Control(Control::Plan(offer)) => Some(offer.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn send(&self, control: Control) {
        self.handle.send(control).await.unwrap();
    }
}
