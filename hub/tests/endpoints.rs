//! Where the hub and its regions listen: told as signed lists, by whoever leads, with what all replicas say of themselves.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::wildcard_enum_match_arm)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub::agents::{Door, Server};
use hub::authority::Registrar;
use hub::plans::PlanBook;
use hub::replicas::{self, Replica, Replicas};
use identity::endpoints::read_endpoints;
use identity::{
    AgentIdentity, Authority, Clock as _, DeviceKey, PlanVerifier, SystemClock, SystemEntropy, TlsKey,
};
use link::{HelloFacts, Profile, UdpNetwork, Uplink, UplinkConfig, UplinkEvent, UplinkHandle};
use process::Process;
use protocol::endpoints::{Endpoint, EndpointList, Listener};
use protocol::enrolment::RefusalReason;
use protocol::id::AgentId;
use protocol::message::Control;
use protocol::version::Speaks;
use support::{Hub, PATIENCE};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn authority() -> Arc<Authority> {
    Arc::new(Authority::create("fleet.example", SystemClock.now(), &mut SystemEntropy).unwrap())
}

fn replica(name: &str, endpoints: &[&str]) -> Replica {
    let endpoints = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    Replica { name: name.to_owned(), endpoints }
}

/// The agent of region `eu`, dialling.
struct Region {
    link: UplinkHandle,
    events: mpsc::Receiver<UplinkEvent>,
    verifier: PlanVerifier,
    _identity: watch::Sender<Arc<AgentIdentity>>,
    _cancel: DropGuard,
}

impl Region {
    fn dial(
        authority: &Authority,
        address: SocketAddr,
        speaks: Speaks,
        listed: Option<identity::Listed>,
    ) -> Self {
        let agent = AgentId::Region("eu".parse().unwrap());
        let tls = TlsKey::generate().unwrap();
        let csr = tls.signing_request().unwrap();
        let chain = authority.issue(&agent, &csr, SystemClock.now(), &mut SystemEntropy).unwrap();
        let (not_before, not_after) = identity::certificate::validity(&chain[0]).unwrap();
        let identity = AgentIdentity {
            agent,
            name: "eu".to_owned(),
            region: "eu".parse().unwrap(),
            chain,
            tls,
            device: DeviceKey::from_seed([9; 32]),
            trust: authority.trust(),
            endpoints: vec![address.to_string()],
            not_before,
            not_after,
            returns: 0,
            clock_ahead_ms: 0,
            placed: identity::Placed { listed, ..identity::Placed::default() },
            lineage: protocol::trust::TrustChain::default(),
        };
        let (sender, receiver) = watch::channel(Arc::new(identity));
        let cancel = CancellationToken::new();
        let config = UplinkConfig {
            identity: receiver,
            incarnation: SystemClock.now(),
            software: "region/1".to_owned(),
            profile: Profile::region(),
            network: UdpNetwork::shared(),
            clock: Arc::new(SystemClock),
            entropy: Box::new(SystemEntropy),
            recovery: None,
        };
        let endpoints =
            ["eu-2.example:8444=20", "eu.example:8444=5"].map(|text| text.parse().unwrap()).to_vec();
        let source =
            Arc::new(move || HelloFacts { speaks, endpoints: endpoints.clone(), ..HelloFacts::default() });
        let (link, events) = Uplink::start(config, source, &TaskTracker::new(), cancel.clone()).unwrap();
        let (verifier, cancel) = (PlanVerifier::new(&authority.trust()), cancel.drop_guard());
        Self { link, events, verifier, _identity: sender, _cancel: cancel }
    }

    /// The next list of that listener that it is told.
    async fn list(&mut self, of: &Listener) -> EndpointList {
        let found = async {
            loop {
                let event = self.events.recv().await.expect("it runs");
                if let UplinkEvent::Control(Control::Endpoints { edges, list }) = event
                    && edges == (*of != Listener::Hub)
                {
                    return read_endpoints(&self.verifier, of, &list).unwrap();
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("a list comes")
    }
}

fn told(list: &EndpointList) -> Vec<String> {
    list.endpoints.iter().map(Endpoint::to_string).collect()
}

fn eu() -> Listener {
    Listener::Region("eu".parse().unwrap())
}

#[tokio::test]
async fn regions_are_told_where_all_replicas_listen_and_their_edges_where_they_do() {
    let hub = Hub::start().await;
    let (authority, clock) = (authority(), Arc::new(SystemClock));
    let registrar =
        Registrar::new(hub.client.clone(), "kcm-system".to_owned(), authority.clone(), clock.clone());
    let server = Server {
        authority: authority.clone(),
        registrar,
        plans: PlanBook::new(4, Arc::new(hub::authority::Signer(authority.clone())), Arc::new(|| 0)),
        observed: hub.observed.clone(),
        roster: hub.controllers.roster.clone(),
        network: UdpNetwork::shared(),
        clock: clock.clone(),
    };
    let door = Door::open(ANY, &authority, UdpNetwork::shared(), clock, &hub.process).await.unwrap();
    let address = door.local_addr();
    let (replicas, told_of) = watch::channel(vec!["a:8443".parse().unwrap()]);
    server.serve(door, told_of, &hub.process).unwrap();
    let mut region = Region::dial(&authority, address, Speaks::HERE, None);
    let first = region.list(&Listener::Hub).await;
    assert_eq!(told(&first), ["a:8443=10"]);
    // The priorities of a region's endpoints come from the region.
    assert_eq!(told(&region.list(&eu()).await), ["eu.example:8444=5", "eu-2.example:8444=20"]);
    // Whoever is linked hears of another replica at once.
    replicas.send(vec!["a:8443".parse().unwrap(), "b:8443=3".parse().unwrap()]).unwrap();
    let second = region.list(&Listener::Hub).await;
    assert_eq!(told(&second), ["b:8443=3", "a:8443=10"]);
    assert!(second.generation > first.generation);
    drop(region);
    // Whoever says that it has the list is not told it again; its edges' list comes, which is sent after the hub's.
    let EndpointList { generation, endpoints, .. } = second;
    let listed = Some(identity::Listed { generation, endpoints, before: Vec::new() });
    let mut knowing = Region::dial(&authority, address, Speaks::HERE, listed);
    let mut seen = Vec::new();
    while !seen.contains(&true) {
        let event = tokio::time::timeout(PATIENCE, knowing.events.recv()).await.unwrap().unwrap();
        if let UplinkEvent::Control(Control::Endpoints { edges, .. }) = event {
            seen.push(edges);
        }
    }
    assert_eq!(seen, [true]);
    drop(knowing);
    // One of before is told nothing of the kind, and where its edges link as ever: that is sent after it.
    let mut before = Region::dial(&authority, address, Speaks::SILENT, None);
    let last = async {
        loop {
            match before.events.recv().await.unwrap() {
                UplinkEvent::Control(Control::Endpoints { .. }) => return false,
                UplinkEvent::Control(Control::Placement { .. }) => return true,
                _ => {}
            }
        }
    };
    assert!(tokio::time::timeout(PATIENCE, last).await.unwrap());
}

async fn until(replicas: &mut Replicas, what: &str, wanted: &[&str]) {
    let is = |known: &Vec<Replica>| {
        let mut names: Vec<_> = known.iter().map(|replica| replica.name.as_str()).collect();
        names.sort_unstable();
        names == wanted
    };
    tokio::time::timeout(PATIENCE, replicas.wait_for(is)).await.expect(what).unwrap();
}

#[tokio::test]
async fn replicas_find_each_other_and_forget_whoever_ended() {
    let hub = Hub::start().await;
    let process = Process::embedded();
    let mut first =
        replicas::keep(&hub.client, "kcm-system", replica("a", &["a:8443=20"]), &hub.process).await;
    until(&mut first, "alone", &["a"]).await;
    let second = replicas::keep(&hub.client, "kcm-system", replica("b", &["b:8443"]), &process).await;
    // Whoever comes knows all at once.
    assert_eq!(replicas::union(&second.borrow()).len(), 2);
    until(&mut first, "the other one is seen", &["a", "b"]).await;
    let union: Vec<_> = replicas::union(&first.borrow()).iter().map(Endpoint::to_string).collect();
    assert_eq!(union, ["b:8443=10", "a:8443=20"]);
    process.cancel.cancel();
    until(&mut first, "the other one is gone", &["a"]).await;
}

#[tokio::test]
async fn a_replica_that_stands_by_says_so_at_once_and_names_the_leader() {
    let hub = Hub::start().await;
    let (authority, clock) = (authority(), Arc::new(SystemClock));
    let mut door = Door::open(ANY, &authority, UdpNetwork::shared(), clock, &hub.process).await.unwrap();
    let (address, leader) = (door.local_addr(), door.leader());
    let (_known, replicas) =
        watch::channel(vec![replica("b", &["b:1"]), replica("a", &["a:8443", "c:8443=20"])]);
    door.knows(replicas);
    let cancel = CancellationToken::new();
    let ended = cancel.clone();
    let standing = TaskTracker::new().spawn(async move { door.stand_by(ended.cancelled()).await });
    let began = Instant::now();
    let region = Region::dial(&authority, address, Speaks::HERE, None);
    let mut states = region.link.watch();
    let refused = states.wait_for(|state| state.reason.contains("nobody leads yet"));
    tokio::time::timeout(PATIENCE, refused).await.expect("it is refused").unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "refused after {took:?}");
    leader.send_replace("a".to_owned());
    let named = "stands by; replica \"a\" leads, at a:8443 and c:8443";
    let refused = states.wait_for(|state| state.reason.contains(named));
    tokio::time::timeout(PATIENCE, refused).await.expect("it is told whom to ask").unwrap();
    // Nobody is let in, also not to join.
    let token_scope = identity::token::TokenScope {
        endpoints: vec![address.to_string()],
        pins: authority.pins(),
        not_after: SystemClock.now() + 60_000,
        region: "eu".parse().unwrap(),
        role: identity::TokenRole::Region,
    };
    let (token, _) = identity::JoinToken::mint(token_scope, &mut SystemEntropy);
    let folder = tempfile::tempdir().unwrap();
    let refused = link::enrol(link::EnrolParams {
        token: &token,
        directory: folder.path().to_owned(),
        name: "eu".to_owned(),
        labels: std::collections::BTreeMap::new(),
        facts: std::collections::BTreeMap::new(),
        network: UdpNetwork::shared(),
        clock: Arc::new(SystemClock),
        entropy: &mut SystemEntropy,
        deadline: PATIENCE,
    })
    .await
    .unwrap_err();
    let link::JoinError::Refused(refusal) = refused else { unreachable!("{refused}") };
    assert_eq!(refusal.reason, RefusalReason::Unavailable);
    assert!(refusal.message.contains(named), "{}", refusal.message);
    cancel.cancel();
    standing.await.unwrap();
}
