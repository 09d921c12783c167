//! A hub or region that listens, agents that dial, a network between them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::authority::LEAF_VALIDITY_MS;
use identity::tls::Accepts;
use identity::{
    AgentIdentity, Authority, Clock as _, DeviceKey, Entropy as _, KeyKind, KeyStore, LinkIdentity,
    SeededEntropy, TlsKey, Trust,
};
use protocol::enrolment::Refusal;
use protocol::id::{AgentId, EdgeId, RegionName};
use protocol::message::Hello;
use protocol::version::Speaks;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::network::simulated::{Conditions, SimulatedNetwork, VirtualClock, runtime};
use crate::{
    Admission, Admitted, Downlink, DownlinkConfig, DownlinkEvent, DownlinkEvents, DownlinkHandle,
    EndpointKeys, HelloFacts, Profile, Recovery, Uplink, UplinkConfig, UplinkEvent, UplinkHandle,
};

/// When every test begins.
pub(crate) const START: u64 = 1_790_000_000_000;
/// The listener's port.
pub(crate) const PORT: u16 = 4433;
/// No test waits longer, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs a test in virtual time.
pub(crate) fn simulate(test: impl Future<Output = ()>) {
    runtime().unwrap().block_on(async {
        tokio::time::timeout(Duration::from_secs(30 * 24 * 3600), test).await.expect("the test ends");
    });
}

/// The address of node `number`; 1 is the listener.
pub(crate) fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

pub(crate) fn edge(number: u8) -> AgentId {
    AgentId::Edge(EdgeId([number; 16]))
}

pub(crate) fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

/// Admits everybody, unless told otherwise.
#[derive(Default)]
pub(crate) struct Gate(pub(crate) Mutex<Option<Refusal>>);

impl Admission for Gate {
    fn admit<'a>(&'a self, _: &'a AgentId, _: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        async move { self.0.lock().unwrap().clone().map_or(Ok(Admitted::default()), Err) }.boxed()
    }
}

pub(crate) struct World {
    pub(crate) network: SimulatedNetwork,
    pub(crate) clock: VirtualClock,
    pub(crate) authority: Authority,
    pub(crate) entropy: SeededEntropy,
    pub(crate) gate: Arc<Gate>,
    pub(crate) profile: Profile,
    /// What listeners and diallers speak that begin from now on.
    pub(crate) speaks: (Speaks, Speaks),
    pub(crate) tasks: TaskTracker,
}

/// A listener.
pub(crate) struct Above {
    pub(crate) handle: DownlinkHandle,
    pub(crate) events: DownlinkEvents,
    pub(crate) cancel: CancellationToken,
}

/// A dialler.
pub(crate) struct Below {
    pub(crate) agent: AgentId,
    pub(crate) handle: UplinkHandle,
    pub(crate) events: mpsc::Receiver<UplinkEvent>,
    pub(crate) cancel: CancellationToken,
    /// Keeps the channel open.
    pub(crate) identity: watch::Sender<Arc<AgentIdentity>>,
}

impl World {
    pub(crate) fn new(seed: u64, conditions: Conditions) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let authority =
            Authority::create_kind("fleet.example", KeyKind::Ed25519, START, &mut entropy).unwrap();
        Self {
            network: SimulatedNetwork::new(seed, conditions),
            clock: VirtualClock::new(START),
            authority,
            entropy,
            gate: Arc::default(),
            profile: Profile::edge(),
            speaks: (Speaks::HERE, Speaks::HERE),
            tasks: TaskTracker::new(),
        }
    }

    /// The identity of an agent of region `eu` that dials node 1.
    pub(crate) fn identity(&mut self, agent: &AgentId) -> AgentIdentity {
        self.identity_of(agent, "eu", self.clock.now())
    }

    pub(crate) fn identity_of(&mut self, agent: &AgentId, name: &str, issued: u64) -> AgentIdentity {
        let device = DeviceKey::generate(&mut self.entropy);
        let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut self.entropy).unwrap();
        let csr = tls.signing_request().unwrap();
        let chain = self.authority.issue(agent, &csr, issued, &mut self.entropy).unwrap();
        AgentIdentity {
            agent: agent.clone(),
            name: "some-name".to_owned(),
            region: region(name),
            chain,
            tls,
            device,
            trust: self.authority.trust(),
            endpoints: vec![format!("{}:{PORT}", address(1))],
            not_before: issued,
            not_after: issued + LEAF_VALIDITY_MS,
            returns: 0,
            clock_ahead_ms: 0,
            placed: identity::Placed::default(),
            lineage: protocol::trust::TrustChain::default(),
        }
    }

    /// The regional agent `eu` on node 1.
    pub(crate) async fn region(&mut self) -> Above {
        let shown = self.identity(&AgentId::Region(region("eu"))).link_identity();
        self.above(shown, Accepts::Edges).await
    }

    /// The hub on node 1.
    pub(crate) async fn hub(&mut self) -> Above {
        let shown = self.authority.hub_identity(self.clock.now(), &mut self.entropy).unwrap();
        self.above(shown, Accepts::Regions).await
    }

    pub(crate) async fn above(&mut self, identity: LinkIdentity, accepts: Accepts) -> Above {
        self.above_at(1, identity, accepts).await
    }

    /// A listener on node `number`.
    pub(crate) async fn above_at(&mut self, number: u8, identity: LinkIdentity, accepts: Accepts) -> Above {
        let cancel = CancellationToken::new();
        let config = DownlinkConfig {
            listen: (address(number), PORT).into(),
            identity,
            trust: Trust::new(self.authority.trust()).unwrap(),
            accepts,
            software: "above/1".to_owned(),
            speaks: self.speaks.0,
            profile: self.profile.clone(),
            peers_max: 1000,
            keys: Some(EndpointKeys::from_secret(self.authority.link_secret())),
            network: self.network.node(address(number)),
            clock: Arc::new(self.clock.clone()),
        };
        let admission = Arc::clone(&self.gate) as Arc<dyn Admission>;
        let (handle, events) = Downlink::bind(config, admission, &self.tasks, cancel.clone()).await.unwrap();
        Above { handle, events, cancel }
    }

    /// An edge of region `eu` on node `number`, dialling.
    pub(crate) fn below(&mut self, number: u8) -> Below {
        let identity = self.identity(&edge(number));
        self.dial(identity, number, 1)
    }

    pub(crate) fn dial(&mut self, identity: AgentIdentity, node: u8, incarnation: u64) -> Below {
        let clock = Arc::new(self.clock.clone());
        self.dial_by(identity, (node, incarnation), clock, None)
    }

    /// A dialler that goes by that clock, and returns by itself when it has a store.
    pub(crate) fn dial_by(
        &mut self,
        identity: AgentIdentity,
        (node, incarnation): (u8, u64),
        clock: Arc<dyn identity::Clock>,
        store: Option<Arc<dyn KeyStore>>,
    ) -> Below {
        let agent = identity.agent.clone();
        let (sender, receiver) = watch::channel(Arc::new(identity));
        let cancel = CancellationToken::new();
        let config = UplinkConfig {
            identity: receiver,
            incarnation,
            software: "below/1".to_owned(),
            profile: self.profile.clone(),
            network: self.network.node(address(node)),
            clock,
            entropy: Box::new(SeededEntropy::new(self.entropy.below(u64::MAX))),
            recovery: store.map(|store| Recovery { store, identity: sender.clone() }),
        };
        let speaks = self.speaks.1;
        let source = Arc::new(move || HelloFacts { speaks, ..HelloFacts::default() });
        let (handle, events) = Uplink::start(config, source, &self.tasks, cancel.clone()).unwrap();
        Below { agent, handle, events, cancel, identity: sender }
    }
}

impl Above {
    pub(crate) async fn next(&mut self) -> DownlinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event comes").expect("listening")
    }

    /// The next `Up`, skipping nothing.
    pub(crate) async fn up(&mut self) -> (AgentId, Hello) {
        match self.next().await {
            DownlinkEvent::Up { peer, hello } => (peer, *hello),
            other => panic!("expected Up, got {other:?}"),
        }
    }

    /// The next `Down`, skipping nothing; gives its reason.
    pub(crate) async fn down(&mut self) -> (AgentId, String) {
        match self.next().await {
            DownlinkEvent::Down { peer, reason } => (peer, reason.to_string()),
            other => panic!("expected Down, got {other:?}"),
        }
    }
}

impl Below {
    pub(crate) async fn next(&mut self) -> UplinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event comes").expect("running")
    }

    pub(crate) async fn up(&mut self) {
        match self.next().await {
            UplinkEvent::Up(welcome) => assert_eq!(welcome.software, "above/1"),
            other => panic!("expected Up, got {other:?}"),
        }
    }

    pub(crate) async fn down(&mut self) -> String {
        match self.next().await {
            UplinkEvent::Down(reason) => reason.to_string(),
            other => panic!("expected Down, got {other:?}"),
        }
    }

    /// Waits until an attempt has failed and gives the reason.
    pub(crate) async fn failure(&self) -> String {
        let mut states = self.handle.watch();
        let failed = |state: &crate::LinkState| state.attempts > 0 && state.reason != "not connected yet";
        let state = tokio::time::timeout(PATIENCE, states.wait_for(failed)).await.expect("it fails").unwrap();
        assert!(!state.up);
        state.reason.clone()
    }
}
