//! Many agents at once, and links over time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use identity::authority::LEAF_VALIDITY_MS;
use identity::{Clock as _, FileStore, check_renewal};
use protocol::enrolment::RenewGrant;
use protocol::message::{Request, Response};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::world::{PORT, World, address, edge, simulate};
use crate::network::simulated::Conditions;
use crate::renewal::Renewal;
use crate::transport::link_client;
use crate::{DownlinkEvent, Reason, UplinkEvent};

#[test]
fn two_hundred_agents_come_back_after_an_outage_without_a_wave() {
    simulate(async {
        let mut world = World::new(70, Conditions::default());
        let mut above = world.region().await;
        let mut agents = Vec::new();
        for number in 10..210 {
            agents.push(world.below(number));
        }
        for _ in 0..agents.len() {
            above.up().await;
        }
        for agent in &mut agents {
            agent.up().await;
        }
        world.network.isolate(address(1));
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(agents.iter().all(|agent| !agent.handle.state().up));
        world.network.rejoin(address(1));
        let began = Instant::now();
        let mut back = BTreeSet::new();
        let mut moments = BTreeSet::new();
        while back.len() < agents.len() {
            match above.next().await {
                DownlinkEvent::Up { peer, .. } => {
                    back.insert(peer);
                    moments.insert(began.elapsed().as_millis() / 250);
                }
                DownlinkEvent::Down { peer, .. } => {
                    back.remove(&peer);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert!(moments.len() > 30, "they came in {} waves", moments.len());
        assert!(agents.iter().all(|agent| agent.agent != edge(1)));
    });
}

#[test]
fn whoever_was_answered_waits_in_line_and_does_not_come_again() {
    simulate(async {
        let mut world = World::new(77, Conditions::default());
        world.profile.connect_timeout = Duration::from_secs(4);
        let mut above = world.region().await;
        // So many say nothing once they are connected that all places are taken for 10 s.
        let identity = world.identity(&edge(9));
        let (clock, mut entropy) = (Arc::new(world.clock.clone()), identity::SeededEntropy::new(1));
        let client = link_client(&identity, &world.profile, clock, &mut entropy).unwrap();
        let mut silent = Vec::new();
        for node in 100..150 {
            let network = world.network.node(address(node));
            let endpoint = network.dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
            silent.extend((0..12).map(|_| {
                let (client, _) = client.attempt();
                TaskTracker::new().spawn(
                    endpoint.connect_with(client, (address(1), PORT).into(), "skein.internal").unwrap(),
                )
            }));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        let mut below = world.below(10);
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(!below.handle.state().up, "there was a place: nothing is shown");
        assert_eq!(below.handle.state().attempts, 0, "it gave its place in line away");
        below.up().await;
        assert_eq!(above.up().await.0, edge(10));
        assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
        drop(silent);
    });
}

#[test]
fn a_listener_that_restarts_tells_each_of_its_peers_a_moment_of_its_own_to_come_back() {
    simulate(async {
        let mut world = World::new(76, Conditions::default());
        let above = world.region().await;
        let mut agents: Vec<_> = (10..110).map(|number| world.below(number)).collect();
        for agent in &mut agents {
            agent.up().await;
        }
        above.cancel.cancel();
        drop(above);
        let mut slots = BTreeSet::new();
        for agent in &mut agents {
            match agent.next().await {
                UplinkEvent::Down(Reason::Peer(refusal)) => {
                    assert_eq!(refusal.message, "the listener restarts");
                    slots.insert(refusal.retry_after_ms.unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(slots, (100..200).collect());
        // Its socket is free when all have taken their leave.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let _above = world.region().await;
        let began = Instant::now();
        for agent in &mut agents {
            agent.up().await;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    });
}

#[test]
fn a_certificate_is_renewed_at_half_life_over_the_live_link() {
    simulate(async {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::new(71, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        let first = below.identity.borrow().clone();
        let renewal = Renewal {
            uplink: below.handle.clone(),
            store: Arc::new(FileStore::new(directory.path())),
            identity: below.identity.clone(),
            clock: Arc::new(world.clock.clone()),
            entropy: Box::new(identity::SeededEntropy::new(1)),
            delegation: None,
        };
        world.tasks.spawn(renewal.run(below.cancel.clone()));
        let DownlinkEvent::Request { peer, request: Request::Renew(request), responder } =
            tokio::time::timeout(Duration::from_secs(6 * 24 * 3600), above.events.recv())
                .await
                .unwrap()
                .unwrap()
        else {
            panic!("no renewal");
        };
        let now = world.clock.now();
        let age = now - first.not_before;
        assert!((LEAF_VALIDITY_MS * 4 / 10..LEAF_VALIDITY_MS * 6 / 10).contains(&age), "{age}");
        check_renewal(&request, &first.device.public(), &peer).unwrap();
        let chain = world.authority.issue(&peer, &request.csr, now, &mut world.entropy).unwrap();
        let (trust, endpoints) = (world.authority.trust(), Vec::new());
        responder.respond(Response::Renewed(RenewGrant {
            chain,
            trust,
            endpoints,
            time: now,
            ext: Vec::new(),
        }));
        let mut identities = below.identity.subscribe();
        let renewed =
            identities.wait_for(|identity| identity.not_after > first.not_after).await.unwrap().clone();
        assert_ne!(renewed.tls.spki_hash(), first.tls.spki_hash());
        assert_eq!(renewed.device.public(), first.device.public());
        assert!(below.handle.state().up, "the live link is not touched");
        let stored = identity::AgentIdentity::load(directory.path()).unwrap();
        assert_eq!(stored.chain, renewed.chain);
    });
}

#[test]
fn an_idle_link_lives_for_days_and_costs_less_than_a_tenth_of_a_kilobit() {
    simulate(async {
        let mut world = World::new(72, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = world.network.statistics();
        let day = Duration::from_secs(24 * 3600);
        tokio::time::sleep(day).await;
        let after = world.network.statistics();
        // With 28 bytes of IP and UDP headers each.
        let bytes = after.bytes - before.bytes + 28 * (after.sent - before.sent);
        let bits_per_second = bytes * 8 / day.as_secs();
        assert!(bits_per_second <= 100, "{bits_per_second} bit/s");
        assert!(below.handle.state().up);
        assert_eq!(above.handle.peers().len(), 1);
    });
}

#[test]
fn two_ends_with_different_profiles_do_not_lose_each_other_in_silence() {
    simulate(async {
        let mut world = World::new(73, Conditions::default());
        world.profile = crate::Profile::near();
        let mut above = world.region().await;
        world.profile = crate::Profile::edge();
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(below.handle.state().up);
        assert!(below.events.try_recv().is_err());
    });
}

#[test]
fn a_listener_ends_in_time_even_if_its_owner_does_not_listen() {
    simulate(async {
        let mut world = World::new(74, Conditions::default());
        let above = world.region().await;
        let agents: Vec<_> = (10..110).map(|number| world.below(number)).collect();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(above.handle.peers().len(), agents.len());
        for agent in &agents {
            // More than the owner's channel holds: the last ones wait in their links.
            for nonce in 0..20 {
                let sent = agent.handle.send(protocol::message::Control::Ping { nonce, reply: true });
                let _ = tokio::time::timeout(Duration::from_secs(1), sent).await;
            }
        }
        let began = Instant::now();
        above.cancel.cancel();
        agents.iter().for_each(|agent| agent.cancel.cancel());
        world.tasks.close();
        world.tasks.wait().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drop(above);
    });
}

#[test]
fn ups_and_downs_of_an_agent_alternate_whatever_the_network_does() {
    simulate(async {
        let mut world = World::new(75, Conditions::bad());
        world.profile = crate::Profile::near();
        let mut above = world.region().await;
        let _agents: Vec<_> = (10..40).map(|number| world.below(number)).collect();
        let network = world.network.clone();
        let cutter = async {
            let mut entropy = identity::SeededEntropy::new(1);
            for _ in 0..300 {
                let number = 10 + u8::try_from(identity::Entropy::below(&mut entropy, 30)).unwrap();
                network.partition(address(1), address(number));
                tokio::time::sleep(Duration::from_millis(identity::Entropy::below(&mut entropy, 4_000)))
                    .await;
                network.heal(address(1), address(number));
            }
        };
        let mut up = BTreeSet::new();
        let watcher = async {
            loop {
                match above.next().await {
                    DownlinkEvent::Up { peer, .. } => assert!(up.insert(peer)),
                    DownlinkEvent::Down { peer, .. } => assert!(up.remove(&peer)),
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::select! {
            biased;
            () = watcher => {}
            () = async { cutter.await; tokio::time::sleep(Duration::from_secs(60)).await } => {}
        }
        assert_eq!(up.len(), 30);
        assert_eq!(above.handle.peers().len(), 30);
    });
}
