//! Paths that change under a live link, or do less than they promised.

use std::time::Duration;

use bytes::Bytes;
use protocol::message::{BlobPart, Control};
use tokio::time::Instant;

use super::world::{Above, Below, World, address, simulate};
use crate::network::simulated::{Bursts, Conditions};
use crate::{DownlinkEvent, UplinkEvent};

fn ping(nonce: u64) -> Control {
    Control::Ping { nonce, reply: true }
}

/// A message in each direction.
async fn both_ways(above: &mut Above, below: &mut Below, nonce: u64) {
    below.handle.send(ping(nonce)).await.unwrap();
    match above.next().await {
        DownlinkEvent::Control { control, .. } => assert_eq!(control, ping(nonce)),
        other => panic!("{other:?}"),
    }
    above.handle.send(&below.agent, ping(nonce)).await.unwrap();
    match below.next().await {
        UplinkEvent::Control(control) => assert_eq!(control, ping(nonce)),
        other => panic!("{other:?}"),
    }
}

fn blob(bytes: usize) -> BlobPart {
    let digest = protocol::id::Digest([1; 32]);
    BlobPart { digest, base: None, size: 0, compressed: Bytes::from(vec![7; bytes]) }
}

#[test]
fn a_router_that_forgets_the_edge_costs_no_link() {
    simulate(async {
        let mut world = World::new(90, Conditions::default());
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        let since = below.handle.state().since;
        for nonce in 0..20 {
            world.network.rebind(address(2));
            if nonce % 2 == 0 {
                // Idle when it happens: the next keep-alive shows the new place.
                tokio::time::sleep(world.profile.keep_alive * 2).await;
            }
            both_ways(&mut above, &mut below, nonce).await;
        }
        assert_eq!(below.handle.state().since, since, "it dialled again");
    });
}

#[test]
fn a_path_that_swallows_long_datagrams_is_used_with_short_ones() {
    simulate(async {
        let mut world = World::new(91, Conditions::default());
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        let since = below.handle.state().since;
        // Long enough that both sides found out how much the path carries.
        above.handle.send_blob(&below.agent, None, blob(3_000_000)).await.unwrap();
        assert!(matches!(below.next().await, UplinkEvent::Blob(..)));
        let narrow = Conditions { datagram_bytes: Some(1_250), ..Conditions::default() };
        world.network.set_conditions(narrow);
        above.handle.send_blob(&below.agent, None, blob(1_000_000)).await.unwrap();
        match below.next().await {
            UplinkEvent::Blob(part, None) => assert_eq!(part, blob(1_000_000)),
            other => panic!("{other:?}"),
        }
        both_ways(&mut above, &mut below, 1).await;
        assert_eq!(below.handle.state().since, since, "it dialled again");
    });
}

#[test]
fn what_is_lost_in_bursts_arrives() {
    simulate(async {
        let bursts = Bursts { share: 0.01, longest: Duration::from_secs(4) };
        let mut world = World::new(92, Conditions { bursts, ..Conditions::bad() });
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        for nonce in 0..200 {
            both_ways(&mut above, &mut below, nonce).await;
        }
    });
}

/// How long a link takes to be up again after an outage of ten minutes.
async fn outage(world: &World, below: &mut Below, above: &mut Above) -> Duration {
    world.network.isolate(address(2));
    match below.next().await {
        UplinkEvent::Down(_) => {}
        other => panic!("{other:?}"),
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.network.rejoin(address(2));
    let began = Instant::now();
    below.up().await;
    let took = began.elapsed();
    while !matches!(above.next().await, DownlinkEvent::Up { .. }) {}
    took
}

#[test]
fn whoever_hears_that_the_network_is_back_is_back_at_once() {
    simulate(async {
        let mut world = World::new(93, Conditions::default());
        world.network.tell(address(2));
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        for _ in 0..10 {
            let took = outage(&world, &mut below, &mut above).await;
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
    });
}

#[test]
fn whoever_hears_nothing_is_back_within_fifteen_seconds() {
    simulate(async {
        let latency = Duration::from_millis(300);
        let mut world = World::new(94, Conditions { latency, ..Conditions::default() });
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        for _ in 0..40 {
            let took = outage(&world, &mut below, &mut above).await;
            assert!(took < Duration::from_secs(15), "{took:?}");
        }
    });
}

#[test]
fn a_short_outage_that_is_told_of_costs_no_link_and_no_time() {
    simulate(async {
        let mut world = World::new(95, Conditions::default());
        world.network.tell(address(2));
        let (mut above, mut below) = (world.region().await, world.below(2));
        below.up().await;
        above.up().await;
        let since = below.handle.state().since;
        for nonce in 0..10 {
            world.network.isolate(address(2));
            below.handle.send(ping(nonce)).await.unwrap();
            tokio::time::sleep(Duration::from_secs(40)).await;
            world.network.rejoin(address(2));
            let began = Instant::now();
            match above.next().await {
                DownlinkEvent::Control { control, .. } => assert_eq!(control, ping(nonce)),
                other => panic!("{other:?}"),
            }
            assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        }
        assert_eq!(below.handle.state().since, since, "it dialled again");
    });
}
