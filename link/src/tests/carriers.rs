//! Networks that let no UDP through, or no TCP, or each in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;
use protocol::message::Control;
use tokio::time::Instant;

use super::world::{Above, Below, World, address, simulate};
use crate::network::simulated::Conditions;
use crate::{Carrier, DownlinkEvent, LinkState, UplinkEvent, UplinkHandle};

/// Waits until the uplink is on that carrier; how long it took.
async fn carried(uplink: &UplinkHandle, by: Carrier, within: Duration) -> Duration {
    let began = Instant::now();
    let mut states = uplink.watch();
    let on = |state: &LinkState| state.up && state.carrier == by;
    let waited = tokio::time::timeout(within, states.wait_for(on)).await;
    assert!(waited.is_ok(), "not on {} after {within:?}: {:?}", by.as_str(), uplink.state());
    began.elapsed()
}

/// Sends numbered messages in both directions while the story goes on, one each 100 ms, and says that each of them came
/// once, in its order.
async fn counted(above: &mut Above, below: &mut Below, story: impl Future<Output = ()>) {
    let mut story = std::pin::pin!(story);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let (mut sent, mut up, mut down, mut over) = (0, 0, 0, false);
    let deadline = Instant::now() + Duration::from_secs(3600);
    while !over || up < sent || down < sent {
        assert!(Instant::now() < deadline, "sent {sent}, came up {up}, came down {down}");
        tokio::select! {
            biased;
            () = &mut story, if !over => over = true,
            event = above.events.recv() => match event {
                Some(DownlinkEvent::Control { control: Control::Ping { nonce, .. }, .. }) => {
                    up += 1;
                    assert_eq!(nonce, up);
                }
                other => panic!("{other:?}"),
            },
            event = below.events.recv() => match event {
                Some(UplinkEvent::Control(Control::Ping { nonce, .. })) => {
                    down += 1;
                    assert_eq!(nonce, down);
                }
                other => panic!("{other:?}"),
            },
            _ = ticks.tick(), if !over => {
                sent += 1;
                let ping = Control::Ping { nonce: sent, reply: true };
                below.handle.send(ping.clone()).await.unwrap();
                above.handle.send(&below.agent, ping).await.unwrap();
            }
        }
    }
    assert!(sent > 50);
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn where_udp_is_blocked_a_link_is_there_within_three_seconds_and_back_on_udp_within_a_minute() {
    for latency in [10, 150, 300] {
        simulate(async move {
            let conditions = Conditions { latency: Duration::from_millis(latency), ..Conditions::default() };
            let mut world = World::new(200 + latency, conditions);
            world.network.block_udp(address(2));
            let mut above = world.region().await;
            let began = Instant::now();
            let mut below = world.below(2);
            below.up().await;
            let took = began.elapsed();
            // Seven round trips of tunnel and link, behind the head start of UDP.
            let most = Duration::from_millis(if latency > 150 { 6_500 } else { 3_000 });
            assert!(took <= most, "{took:?} at {latency} ms");
            above.up().await;
            let state = below.handle.state();
            assert_eq!(state.carrier, Carrier::Tcp);
            assert_eq!(state.carrier_reason, "UDP gave no answer when the peer was dialled");
            let peer = above.handle.peers().remove(0);
            assert_eq!((peer.remote.ip(), peer.carrier), (address(2), Carrier::Tcp));
            let (network, uplink) = (world.network.clone(), below.handle.clone());
            counted(&mut above, &mut below, async move {
                pause(100).await;
                assert_eq!(uplink.state().carrier, Carrier::Tcp);
                network.unblock_udp(address(2));
                let took = carried(&uplink, Carrier::Udp, Duration::from_secs(60)).await;
                assert!(took > Duration::from_secs(1), "nobody told: {took:?}");
                pause(10).await;
            })
            .await;
            let after = below.handle.state();
            assert_eq!((after.since, after.moves), (state.since, 1), "it dialled again");
            let peer = above.handle.peers().remove(0);
            assert_eq!((peer.remote.ip(), peer.carrier), (address(2), Carrier::Udp));
            let until = Instant::now() + Duration::from_secs(30);
            while above.handle.tunnels().unwrap().count() > 0 {
                assert!(Instant::now() < until, "the tunnel is still there");
                pause(1).await;
            }
        });
    }
}

#[test]
fn a_link_outlives_udp_that_is_blocked_and_unblocked_again_and_again() {
    simulate(async {
        let mut world = World::new(210, Conditions::default());
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        let since = below.handle.state().since;
        let (network, uplink) = (world.network.clone(), below.handle.clone());
        counted(&mut above, &mut below, async move {
            for _ in 0..8 {
                network.block_udp(address(2));
                carried(&uplink, Carrier::Tcp, Duration::from_secs(4)).await;
                pause(7).await;
                network.unblock_udp(address(2));
                carried(&uplink, Carrier::Udp, Duration::from_secs(60)).await;
                pause(2).await;
            }
            // Blocked for less than a move takes.
            for _ in 0..20 {
                network.block_udp(address(2));
                tokio::time::sleep(Duration::from_millis(800)).await;
                network.unblock_udp(address(2));
                pause(1).await;
            }
        })
        .await;
        let state = below.handle.state();
        assert_eq!(state.since, since, "it dialled again");
        assert_eq!(state.moves, 16, "short outages are no reason to move");
    });
}

#[test]
fn an_idle_link_finds_its_way_before_its_idle_timeout() {
    simulate(async {
        let mut world = World::new(211, Conditions::default());
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        let since = below.handle.state().since;
        pause(60).await;
        world.network.block_udp(address(2));
        let took = carried(&below.handle, Carrier::Tcp, Duration::from_secs(25)).await;
        assert!(took > Duration::from_secs(5), "it had nothing to say: {took:?}");
        pause(3600).await;
        assert_eq!(below.handle.state().since, since);
        above.handle.send(&below.agent, Control::Ping { nonce: 1, reply: true }).await.unwrap();
        assert!(matches!(below.next().await, UplinkEvent::Control(_)));
        assert!(above.events.recv().now_or_never().is_none());
    });
}

#[test]
fn half_open_tunnels_are_noticed_and_replaced() {
    simulate(async {
        let mut world = World::new(212, Conditions::default());
        world.network.block_udp(address(2));
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        let since = below.handle.state().since;
        let network = world.network.clone();
        counted(&mut above, &mut below, async move {
            for _ in 0..5 {
                network.deaden(address(2));
                pause(20).await;
            }
        })
        .await;
        assert_eq!(below.handle.state().since, since, "it dialled again");
        // The old ones end by their idle timeout.
        pause(120).await;
        let tunnels = above.handle.tunnels().unwrap();
        assert_eq!((tunnels.count(), tunnels.refused()), (1, 0));
    });
}

#[test]
fn while_nothing_gets_through_neither_carrier_is_given_up() {
    simulate(async {
        let mut world = World::new(213, Conditions::default());
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        for freed_udp in [true, false, true, false] {
            world.network.block_udp(address(2));
            world.network.block_tcp(address(2));
            world.network.deaden(address(2));
            below.down().await;
            pause(300).await;
            let began = Instant::now();
            if freed_udp {
                world.network.unblock_udp(address(2));
            } else {
                world.network.unblock_tcp(address(2));
            }
            below.up().await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(20), "{took:?}");
            let by = if freed_udp { Carrier::Udp } else { Carrier::Tcp };
            assert_eq!(below.handle.state().carrier, by);
        }
        while !matches!(above.next().await, DownlinkEvent::Up { .. }) {}
    });
}

#[test]
fn a_network_that_lets_no_udp_through_is_remembered_for_a_while() {
    simulate(async {
        let mut world = World::new(214, Conditions::default());
        world.network.block_udp(address(2));
        let (mut above, mut below) = (world.region().await, world.below(2));
        let mut times = BTreeMap::new();
        for round in 0..3 {
            below.up().await;
            while !matches!(above.next().await, DownlinkEvent::Up { .. }) {}
            if round == 2 {
                break;
            }
            let refusal = protocol::enrolment::Refusal {
                reason: protocol::enrolment::RefusalReason::Unavailable,
                message: "again".to_owned(),
                retry_after_ms: Some(0),
            };
            above.handle.close(&below.agent, refusal);
            below.down().await;
            let began = Instant::now();
            carried(&below.handle, Carrier::Tcp, Duration::from_secs(3)).await;
            times.insert(round, began.elapsed());
        }
        // A pause of a quarter of a second at most, and no head start.
        assert!(times.values().all(|took| *took < Duration::from_millis(600)), "{times:?}");
    });
}

#[test]
fn a_path_that_swallows_the_datagrams_that_quic_needs_is_no_way_back() {
    simulate(async {
        let narrow = Conditions { datagram_bytes: Some(1_100), ..Conditions::default() };
        let mut world = World::new(215, narrow);
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        assert_eq!(below.handle.state().carrier, Carrier::Tcp);
        counted(&mut above, &mut below, pause(600)).await;
        let state = below.handle.state();
        assert_eq!((state.carrier, state.moves, state.probes_answered), (Carrier::Tcp, 0, 0));
        assert!(state.probes > 20, "{}", state.probes);
        world.network.set_conditions(Conditions::default());
        carried(&below.handle, Carrier::Udp, Duration::from_secs(60)).await;
    });
}

#[test]
fn a_link_in_a_tunnel_notices_that_its_peer_restarted() {
    simulate(async {
        let mut world = World::new(216, Conditions::default());
        world.network.block_udp(address(2));
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        above.cancel.cancel();
        let reason = below.down().await;
        assert!(reason.contains("restarts"), "{reason}");
        drop(above);
        // Its socket is free when all have taken their leave.
        pause(5).await;
        let mut above = world.region().await;
        below.up().await;
        above.up().await;
        assert_eq!(below.handle.state().carrier, Carrier::Tcp);
    });
}

#[test]
fn whoever_is_revoked_loses_its_link_in_a_tunnel_too_and_gets_no_other() {
    simulate(async {
        let mut world = World::new(217, Conditions::default());
        world.network.block_udp(address(2));
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        let deny = identity::DenySet { agents: [below.agent.clone()].into(), ..Default::default() };
        let began = Instant::now();
        above.handle.deny(deny);
        let reason = below.down().await;
        assert!(reason.contains("revoked"), "{reason}");
        assert!(began.elapsed() < Duration::from_secs(1));
        let failure = below.failure().await;
        assert!(failure.contains("revoked"), "{failure}");
        assert!(above.handle.peers().is_empty());
    });
}
