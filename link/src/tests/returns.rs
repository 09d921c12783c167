//! Agents that come back after their certificate has expired, or whose clock is wrong.

use std::sync::Arc;
use std::time::Duration;

use identity::authority::{BACKDATE_MS, LEAF_VALIDITY_MS};
use identity::recovery::{Barred, Returns, check_recovery};
use identity::tls::Accepts;
use identity::{AgentIdentity, Clock, FileStore, KeyStore, MeshClock};
use protocol::enrolment::{Refusal, RefusalReason, RenewGrant};
use protocol::id::AgentId;
use protocol::message::{Request, Response};
use protocol::recovery::RecoverGrant;

use super::world::{Above, Below, PORT, START, World, address, edge, region, simulate};
use crate::DownlinkEvent;
use crate::network::simulated::{Conditions, VirtualClock};

const DAY_MS: u64 = 24 * 3600 * 1000;
const YEAR_MS: u64 = 365 * DAY_MS;

/// What the hub keeps of one edge.
struct Hub {
    device_key: bytes::Bytes,
    returns: Option<Returns>,
    refused: u32,
    /// Answers that get lost from now on.
    lost: u32,
}

impl Hub {
    fn of(identity: &AgentIdentity) -> Self {
        Self { device_key: identity.device.public(), returns: None, refused: 0, lost: 0 }
    }

    /// Answers until a link is up or a return is refused.
    async fn serve(&mut self, world: &mut World, above: &mut Above) {
        let refused = self.refused;
        loop {
            match above.next().await {
                DownlinkEvent::Recover { request, responder, .. } => {
                    let answer = self.answer(world, *request);
                    if self.lost > 0 && matches!(answer, Response::Recovered(_)) {
                        self.lost -= 1;
                    } else {
                        responder.respond(answer);
                    }
                }
                DownlinkEvent::Up { .. } => return,
                other => panic!("{other:?}"),
            }
            if self.refused > refused {
                return;
            }
        }
    }

    fn answer(&mut self, world: &mut World, request: Request) -> Response {
        let now = world.clock.now();
        let request = match request {
            Request::Challenge(agent) => {
                return Response::Challenge(world.authority.challenge(&agent, now, &mut world.entropy));
            }
            Request::Recover(request) => request,
            other => panic!("{other:?}"),
        };
        world.authority.check_challenge(&request.agent, &request.challenge, now).unwrap();
        match check_recovery(&request, &self.device_key, self.returns.as_ref()) {
            Ok(returns) => {
                self.returns = Some(returns);
                let chain =
                    world.authority.issue(&request.agent, &request.csr, now, &mut world.entropy).unwrap();
                let trust = world.authority.trust();
                let renewed = RenewGrant { chain, trust, endpoints: Vec::new(), time: now, ext: Vec::new() };
                Response::Recovered(RecoverGrant {
                    renewed,
                    region: region("eu"),
                    count: returns.count,
                    ext: Vec::new(),
                })
            }
            Err(Barred::Refused(refusal)) => panic!("{refusal:?}"),
            Err(Barred::Cloned { shown, known, .. }) => {
                self.refused += 1;
                let message = format!("cloned: {shown} after {}", known.count);
                let reason = RefusalReason::Forbidden;
                Response::Refused(Refusal { reason, message, retry_after_ms: None })
            }
        }
    }
}

/// A store that has this identity.
fn kept(identity: &AgentIdentity) -> (tempfile::TempDir, Arc<FileStore>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::new(directory.path()));
    store.store(identity).unwrap();
    (directory, store)
}

fn back(world: &mut World, identity: AgentIdentity, store: &Arc<FileStore>, node: u8) -> Below {
    let clock = Arc::new(world.clock.clone());
    world.dial_by(identity, (node, u64::from(node)), clock, Some(Arc::clone(store) as Arc<dyn KeyStore>))
}

#[test]
fn an_edge_that_was_off_for_a_year_comes_back_by_itself() {
    simulate(async {
        let mut world = World::new(81, Conditions::default());
        let mut above = world.region().await;
        let identity = world.identity_of(&edge(2), "eu", START - YEAR_MS);
        let (directory, store) = kept(&identity);
        let mut hub = Hub::of(&identity);
        let mut below = back(&mut world, identity.clone(), &store, 2);
        hub.serve(&mut world, &mut above).await;
        below.up().await;
        assert_eq!(hub.returns.unwrap().count, 1);
        let returned = AgentIdentity::load(directory.path()).unwrap();
        assert_eq!((returned.returns, returned.clock_ahead_ms), (1, 0));
        assert_eq!(returned.not_after, START / 1000 * 1000 + LEAF_VALIDITY_MS);
        assert_ne!(returned.tls.spki_hash(), identity.tls.spki_hash());
        assert_eq!(returned.tls.spki_hash(), hub.returns.unwrap().key);
        assert_eq!(below.identity.borrow().chain, returned.chain);
    });
}

#[test]
fn who_returns_asks_each_endpoint_and_not_only_a_replica_that_stands_by() {
    simulate(async {
        let mut world = World::new(90, Conditions::default());
        let mut above = world.region().await;
        let shown = world.identity(&AgentId::Region(region("eu"))).link_identity();
        let mut standby = world.above_at(3, shown, Accepts::Edges).await;
        let away = async move {
            while let Some(event) = standby.events.recv().await {
                if let DownlinkEvent::Recover { responder, .. } = event {
                    responder.refuse(RefusalReason::Unavailable, "this replica stands by");
                }
            }
        };
        world.tasks.spawn(away);
        let mut identity = world.identity_of(&edge(2), "eu", START - YEAR_MS);
        identity.endpoints.push(format!("{}:{PORT}", address(3)));
        let (_directory, store) = kept(&identity);
        let mut hub = Hub::of(&identity);
        let mut below = back(&mut world, identity, &store, 2);
        hub.serve(&mut world, &mut above).await;
        below.up().await;
        assert_eq!((hub.returns.unwrap().count, below.handle.state().attempts), (1, 0));
    });
}

#[test]
fn an_answer_that_gets_lost_is_asked_for_again_and_nobody_is_taken_for_a_clone() {
    simulate(async {
        let mut world = World::new(82, Conditions::default());
        let mut above = world.region().await;
        let identity = world.identity_of(&edge(2), "eu", START - YEAR_MS);
        let (_directory, store) = kept(&identity);
        let mut hub = Hub::of(&identity);
        hub.lost = 3;
        let mut below = back(&mut world, identity, &store, 2);
        hub.serve(&mut world, &mut above).await;
        below.up().await;
        assert_eq!((hub.lost, hub.refused, hub.returns.unwrap().count), (0, 0, 1));
        assert_eq!(below.identity.borrow().returns, 1);
    });
}

#[test]
fn the_second_of_two_devices_with_one_disk_is_found_out() {
    simulate(async {
        let mut world = World::new(83, Conditions::default());
        let mut above = world.region().await;
        let identity = world.identity_of(&edge(2), "eu", START - YEAR_MS);
        let (_one, first) = kept(&identity);
        let (_two, second) = kept(&identity);
        let mut hub = Hub::of(&identity);
        let mut below = back(&mut world, identity.clone(), &first, 2);
        hub.serve(&mut world, &mut above).await;
        below.up().await;
        let clone = back(&mut world, identity, &second, 3);
        hub.serve(&mut world, &mut above).await;
        assert!(clone.failure().await.contains("the return is refused: cloned: 0 after 1"));
        assert_eq!(hub.refused, 1);
        assert!(below.handle.state().up, "the one that came first is not touched");
    });
}

/// A clock that is off by so much.
#[derive(Debug)]
struct Off(VirtualClock, i64);

impl Clock for Off {
    fn now(&self) -> u64 {
        self.0.now().saturating_add_signed(self.1)
    }
}

fn resumed(machine: Arc<dyn Clock>, identity: &AgentIdentity) -> Arc<MeshClock> {
    let clock = MeshClock::new(machine);
    clock.resume(identity);
    Arc::new(clock)
}

#[test]
fn a_device_whose_clock_is_decades_off_links_and_learns_the_time() {
    let years = |years: i64| years * YEAR_MS.cast_signed();
    for (seed, off) in [(84, years(-30)), (85, years(30)), (86, -START.cast_signed())] {
        simulate(async move {
            let mut world = World::new(seed, Conditions::default());
            let mut above = world.region().await;
            // In force for a day; the region's certificate is younger.
            let identity = world.identity_of(&edge(2), "eu", START - DAY_MS);
            let (directory, store) = kept(&identity);
            let mut hub = Hub::of(&identity);
            let machine = Arc::new(Off(world.clock.clone(), off));
            let clock = resumed(machine.clone(), &identity);
            let mut below = world.dial_by(identity, (2, 1), clock.clone(), Some(store));
            hub.serve(&mut world, &mut above).await;
            below.up().await;
            assert!(clock.now().abs_diff(world.clock.now()) < 2_000, "{} ms", clock.now());
            // After a restart the clock is as wrong as before, and nobody needs to be asked again.
            let kept = AgentIdentity::load(directory.path()).unwrap();
            assert!(kept.clock_ahead_ms.abs_diff(-off) < 2_000, "{}", kept.clock_ahead_ms);
            let again = resumed(machine, &kept);
            assert!(again.now().abs_diff(world.clock.now()) < 2_000);
            // Somebody set the machine's clock meanwhile: then that counts.
            let set = resumed(Arc::new(world.clock.clone()), &kept);
            assert_eq!((set.now(), set.ahead_ms()), (world.clock.now(), 0));
            assert!(kept.not_before + BACKDATE_MS <= world.clock.now() + 2_000);
        });
    }
}

#[test]
fn an_agent_without_a_store_for_what_it_gets_stays_away_and_says_why() {
    simulate(async {
        let mut world = World::new(87, Conditions::default());
        let _above = world.region().await;
        let identity = world.identity_of(&edge(2), "eu", START - YEAR_MS);
        let below = world.dial(identity, 2, 1);
        let reason = below.failure().await;
        assert!(reason.contains("the certificate has expired"), "{reason}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!below.handle.state().up);
    });
}
