//! Agents that choose among endpoints: fail over, come back, and follow a list that changes.

use std::sync::Arc;
use std::time::Duration;

use identity::tls::Accepts;
use identity::{AgentIdentity, FileStore, KeyStore as _, Listed};
use protocol::endpoints::{EndpointList, Known, Listener, SignedEndpoints, mark};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, Generation};
use protocol::message::Control;
use protocol::version::Features;
use tokio::time::Instant;

use super::world::{Above, Below, PORT, World, address, edge, region, simulate};
use crate::network::simulated::Conditions;
use crate::{DownlinkEvent, LinkState, UplinkEvent};

/// No change of a link takes longer, in virtual time.
const LONG: Duration = Duration::from_secs(3600);

fn at(node: u8) -> String {
    format!("{}:{PORT}", address(node))
}

fn generation(counter: u64) -> Generation {
    Generation { term: 1, counter }
}

/// A list of region `eu`: addresses with priorities.
fn list(endpoints: &[(String, u16)], counter: u64) -> EndpointList {
    let endpoints = endpoints
        .iter()
        .map(|(address, priority)| format!("{address}={priority}").parse().unwrap())
        .collect();
    let of = Listener::Region(region("eu"));
    EndpointList { of, endpoints, generation: generation(counter), issued_at: 1, ext: Vec::new() }
}

/// A listener of region `eu` on that node.
async fn listener(world: &mut World, node: u8) -> Above {
    let shown = world.identity(&AgentId::Region(region("eu"))).link_identity();
    world.above_at(node, shown, Accepts::Edges).await
}

/// An edge on node 2 that has taken that list.
struct Device {
    below: Below,
    store: FileStore,
    _folder: tempfile::TempDir,
}

impl Device {
    fn start(world: &mut World, listed: Option<EndpointList>) -> Self {
        let mut identity = world.identity(&edge(2));
        identity.placed.listed = listed.map(|EndpointList { generation, endpoints, .. }| Listed {
            generation,
            endpoints,
            before: Vec::new(),
        });
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path());
        store.store(&identity).unwrap();
        let clock = Arc::new(world.clock.clone());
        let below = world.dial_by(identity, (2, 1), clock, Some(Arc::new(store.clone())));
        Self { below, store, _folder: folder }
    }

    fn kept(&self) -> AgentIdentity {
        self.store.load().unwrap().unwrap()
    }

    /// Waits until the link is as that says.
    async fn until(&self, is: impl FnMut(&LinkState) -> bool) -> LinkState {
        let mut states = self.below.handle.watch();
        let state = tokio::time::timeout(LONG, states.wait_for(is)).await.expect("it becomes so").unwrap();
        state.clone()
    }

    /// Nothing happens to the link for so long that a move would have come.
    async fn hears_nothing(&mut self) {
        let heard = tokio::time::timeout(Duration::from_secs(1800), self.below.events.recv()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// Takes what the link tells, so that it does not wait.
    fn take_events(&mut self) {
        let (_, nothing) = tokio::sync::mpsc::channel(1);
        let mut events = std::mem::replace(&mut self.below.events, nothing);
        tokio_util::task::TaskTracker::new().spawn(async move { while events.recv().await.is_some() {} });
    }

    async fn linked_at(&self, endpoint: &str) -> LinkState {
        self.until(|state| state.up && state.endpoint == endpoint).await
    }
}

/// Takes what comes up, so that nobody waits.
fn drain(mut above: Above) -> tokio_util::sync::CancellationToken {
    let cancel = above.cancel.clone();
    tokio_util::task::TaskTracker::new().spawn(async move { while above.events.recv().await.is_some() {} });
    cancel
}

#[test]
fn an_agent_fails_over_within_the_dial_timeout_and_comes_back() {
    simulate(async {
        let mut world = World::new(41, Conditions::default());
        let mut first = listener(&mut world, 1).await;
        let mut second = listener(&mut world, 3).await;
        let listed = list(&[(at(3), 20), (at(1), 5)], 7);
        let mut device = Device::start(&mut world, Some(listed.clone()));
        let (_, hello) = first.up().await;
        device.below.up().await;
        assert!(Features(hello.features).has(Features::ENDPOINTS));
        let known = Known { generation: generation(7), mark: mark(&listed.endpoints) };
        assert_eq!(Known::told(&hello.ext), Some(known));
        world.network.isolate(address(1));
        device.below.down().await;
        let lost = Instant::now();
        device.below.up().await;
        second.up().await;
        let took = lost.elapsed();
        let timeout = world.profile.connect_timeout + world.profile.retry_base;
        assert!(took <= timeout + Duration::from_secs(1), "linked to the second after {took:?}");
        let state = device.below.handle.state();
        assert_eq!((state.endpoint.clone(), state.failovers, state.handovers), (at(3), 1, 0));
        // Later it comes back, and has the new link before it leaves the old one.
        world.network.rejoin(address(1));
        let back = Instant::now();
        let (mut down, mut up) = (None, None);
        while up.is_none() {
            match device.below.next().await {
                UplinkEvent::Down(_) => down = Some(Instant::now()),
                UplinkEvent::Up(_) => up = Some(Instant::now()),
                other => panic!("{other:?}"),
            }
        }
        assert!(back.elapsed() <= Duration::from_secs(60), "back after {:?}", back.elapsed());
        let gap = up.unwrap() - down.unwrap();
        assert!(gap < Duration::from_millis(5), "no link for {gap:?}");
        let state = device.below.handle.state();
        assert_eq!((state.endpoint, state.failovers, state.handovers), (at(1), 1, 1));
        assert!(second.down().await.1.contains("linked by another endpoint"));
    });
}

#[test]
fn who_cannot_serve_now_sends_an_agent_to_the_next_endpoint_at_once() {
    simulate(async {
        let mut world = World::new(42, Conditions::default());
        let standby = listener(&mut world, 1).await;
        drain(standby);
        let message = "this replica stands by".to_owned();
        let refusal = Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms: Some(1000) };
        *world.gate.0.lock().unwrap() = Some(refusal);
        // The second one has a gate of its own.
        world.gate = Arc::default();
        drain(listener(&mut world, 3).await);
        let began = Instant::now();
        let mut device = Device::start(&mut world, Some(list(&[(at(1), 0), (at(3), 0)], 1)));
        device.below.up().await;
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(device.below.handle.state().endpoint, at(3));
    });
}

#[test]
fn where_all_replicas_stand_by_an_agent_asks_again_soon_and_from_another_port() {
    simulate(async {
        let mut world = World::new(43, Conditions::default());
        drain(listener(&mut world, 1).await);
        let message = "this replica stands by".to_owned();
        let refusal = Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms: Some(1000) };
        *world.gate.0.lock().unwrap() = Some(refusal);
        let mut device = Device::start(&mut world, Some(list(&[(at(1), 0), (at(9), 0)], 1)));
        // Also where another endpoint is silent: its silence is not what decides when to ask again.
        device.until(|state| state.attempts >= 2).await;
        *world.gate.0.lock().unwrap() = None;
        let began = Instant::now();
        device.below.up().await;
        let took = began.elapsed();
        let bound = world.profile.connect_timeout + Duration::from_millis(1500);
        assert!(took <= bound, "{took:?}");
    });
}

async fn tell(above: &Above, device: &Device, list: SignedEndpoints) {
    above.handle.send(&device.below.agent, Control::Endpoints { edges: false, list }).await.unwrap();
}

#[test]
fn a_list_that_changes_moves_a_live_link_only_when_its_endpoint_is_gone() {
    simulate(async {
        let mut world = World::new(44, Conditions::default());
        let mut first = listener(&mut world, 1).await;
        let mut second = listener(&mut world, 3).await;
        let mut device = Device::start(&mut world, None);
        device.below.up().await;
        first.up().await;
        let stays = world.authority.sign_endpoints(&list(&[(at(1), 10), (at(3), 10)], 2));
        tell(&first, &device, stays.clone()).await;
        // Whoever is told next has taken it: the lane is ordered.
        first.handle.send(&device.below.agent, Control::Ping { nonce: 1, reply: true }).await.unwrap();
        assert!(matches!(device.below.next().await, UplinkEvent::Control(_)));
        assert_eq!(device.kept().preferred().len(), 2);
        assert_eq!(device.kept().placed.listed.unwrap().generation, generation(2));
        device.hears_nothing().await;
        // Neither an old one nor a stranger's changes anything.
        let stranger = World::new(99, Conditions::default()).authority;
        tell(&first, &device, stranger.sign_endpoints(&list(&[(at(3), 10)], 9))).await;
        tell(&first, &device, world.authority.sign_endpoints(&list(&[(at(3), 10)], 1))).await;
        device.hears_nothing().await;
        assert_eq!(device.kept().preferred().len(), 2);
        let told = Instant::now();
        tell(&first, &device, world.authority.sign_endpoints(&list(&[(at(3), 10)], 3))).await;
        assert!(first.down().await.1.contains("linked by another endpoint"));
        second.up().await;
        let state = device.linked_at(&at(3)).await;
        assert!(told.elapsed() <= Duration::from_secs(4), "{:?}", told.elapsed());
        assert_eq!((state.failovers, state.handovers), (0, 1));
        assert_eq!(device.kept().fallbacks(), [at(1)]);
    });
}

#[test]
fn a_list_that_leads_nowhere_ends_no_live_link_and_keeps_nobody_away() {
    simulate(async {
        let mut world = World::new(45, Conditions::default());
        let mut only = listener(&mut world, 1).await;
        let mut device = Device::start(&mut world, None);
        device.below.up().await;
        only.up().await;
        tell(&only, &device, world.authority.sign_endpoints(&list(&[(at(8), 1), (at(9), 1)], 2))).await;
        device.hears_nothing().await;
        // A restart: what is listed comes first, and then what was known before.
        let identity = device.kept();
        device.below.cancel.cancel();
        only.down().await;
        let began = Instant::now();
        let clock = Arc::new(world.clock.clone());
        let store = Arc::new(device.store.clone());
        let mut again = world.dial_by(identity, (4, 2), clock, Some(store));
        again.up().await;
        let took = began.elapsed();
        assert!(took <= 3 * 2 * world.profile.connect_timeout + Duration::from_secs(5), "{took:?}");
        assert_eq!(again.handle.state().endpoint, at(1));
    });
}

#[test]
fn two_endpoints_of_one_listener_are_moved_between_without_a_pause() {
    simulate(async {
        let mut world = World::new(46, Conditions::default());
        world.network.name("eu.example", address(1));
        let mut only = listener(&mut world, 1).await;
        let mut device = Device::start(&mut world, None);
        device.below.up().await;
        only.up().await;
        let named = format!("eu.example:{PORT}");
        tell(&only, &device, world.authority.sign_endpoints(&list(&[(named.clone(), 1)], 2))).await;
        only.down().await;
        let lost = Instant::now();
        only.up().await;
        device.linked_at(&named).await;
        assert!(lost.elapsed() < Duration::from_secs(1), "{:?}", lost.elapsed());
        assert_eq!(device.below.handle.state().handovers, 1);
    });
}

#[test]
fn a_better_endpoint_that_loses_its_links_is_not_run_to_again_and_again() {
    simulate(async {
        let mut world = World::new(47, Conditions::default());
        let first = listener(&mut world, 1).await;
        drain(listener(&mut world, 3).await);
        let mut device = Device::start(&mut world, Some(list(&[(at(1), 0), (at(3), 10)], 1)));
        device.take_events();
        let agent = device.below.agent.clone();
        let handle = first.handle.clone();
        drain(first);
        // Whenever somebody is linked to the first one it throws them out after a moment, and is away for a while.
        let began = Instant::now();
        let mut thrown = 0;
        while began.elapsed() < Duration::from_secs(2 * 3600) {
            device.linked_at(&at(1)).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            world.network.isolate(address(1));
            let message = "thrown out".to_owned();
            handle
                .close(&agent, Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms: None });
            device.linked_at(&at(3)).await;
            world.network.rejoin(address(1));
            thrown += 1;
        }
        assert!((4..=24).contains(&thrown), "moved {thrown} times in two hours");
        let state = device.below.handle.state();
        assert_eq!(state.failovers, thrown, "{state:?}");
    });
}

#[test]
fn a_fleet_spreads_over_endpoints_of_one_priority() {
    simulate(async {
        let mut world = World::new(48, Conditions::default());
        let mut listeners = [listener(&mut world, 1).await, listener(&mut world, 3).await];
        let listed = list(&[(at(1), 10), (at(3), 10)], 1);
        let mut fleet = Vec::new();
        for number in 10..50 {
            let mut identity = world.identity(&edge(number));
            let EndpointList { generation, endpoints, .. } = listed.clone();
            identity.placed.listed = Some(Listed { generation, endpoints, before: Vec::new() });
            fleet.push(world.dial(identity, number, 1));
        }
        for below in &mut fleet {
            below.up().await;
        }
        let counts = listeners.each_ref().map(|above| above.handle.peers().len());
        assert_eq!(counts.iter().sum::<usize>(), 40);
        assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
        assert!(matches!(listeners[0].next().await, DownlinkEvent::Up { .. }));
    });
}
