//! Links between live peers.

use std::time::Duration;

use bytes::Bytes;
use identity::DenySet;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::AgentId;
use protocol::message::{BlobPart, Control, Request, Response};
use protocol::telemetry::{StreamEpoch, TelemetryClass, TelemetryContent, TelemetryItem};
use protocol::version::Speaks;
use tokio::time::Instant;

use super::world::{World, address, edge, region, simulate};
use crate::network::simulated::Conditions;
use crate::{CallError, DownlinkEvent, SendError, UplinkEvent};

fn ping(nonce: u64) -> Control {
    Control::Ping { nonce, reply: true }
}

fn item(class: TelemetryClass, sequence: u64, bytes: usize) -> TelemetryItem {
    let payload = Bytes::from(vec![0x5a; bytes]);
    let content = TelemetryContent::Batch { payload, points: 1, first: 1, last: 2 };
    TelemetryItem { class, epoch: StreamEpoch(7), sequence, content }
}

#[test]
fn a_link_is_up_on_both_sides_with_the_features_that_both_have() {
    simulate(async {
        let mut world = World::new(1, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        match below.next().await {
            UplinkEvent::Up(welcome) => assert_eq!(welcome.features, Speaks::HERE.features.0),
            other => panic!("{other:?}"),
        }
        let (peer, hello) = above.up().await;
        assert_eq!((peer, hello.software.as_str()), (edge(2), "below/1"));
        let state = below.handle.state();
        assert!(state.up && state.rtt.is_some() && state.software == "above/1");
        assert_eq!(above.handle.peers().len(), 1);
    });
}

#[test]
fn control_keeps_its_order_in_both_directions_over_a_bad_network() {
    simulate(async {
        let mut world = World::new(2, Conditions::bad());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        for nonce in 0..500 {
            below.handle.send(ping(nonce)).await.unwrap();
            above.handle.send(&below.agent, ping(nonce)).await.unwrap();
            match below.next().await {
                UplinkEvent::Control(control) => assert_eq!(control, ping(nonce)),
                other => panic!("{other:?}"),
            }
            match above.next().await {
                DownlinkEvent::Control { control, .. } => assert_eq!(control, ping(nonce)),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn a_control_message_longer_than_a_frame_arrives_whole() {
    simulate(async {
        let mut world = World::new(3, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        let part = |bytes: usize| BlobPart {
            digest: protocol::id::Digest([1; 32]),
            base: None,
            size: 0,
            compressed: Bytes::from(vec![7; bytes]),
        };
        let long = Control::Blobs { edge: None, blobs: vec![part(500_000)] };
        above.handle.send(&below.agent, long.clone()).await.unwrap();
        match below.next().await {
            UplinkEvent::Control(control) => assert_eq!(control, long),
            other => panic!("{other:?}"),
        }
        let endless = Control::Blobs { edge: None, blobs: vec![part(2_000_000)] };
        let refused = above.handle.send(&below.agent, endless).await;
        assert!(matches!(refused, Err(SendError::TooLarge(_))), "{refused:?}");
        let blob = part(5_000_000);
        above.handle.send_blob(&below.agent, None, blob.clone()).await.unwrap();
        match below.next().await {
            UplinkEvent::Blob(part, None) => assert_eq!(part, blob),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn large_messages_in_a_row_all_arrive_although_the_other_side_says_nothing() {
    simulate(async {
        let mut world = World::new(8, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        // Two fill what may wait for the stream.
        let large = |number: u8| {
            let digest = protocol::id::Digest([number; 32]);
            let compressed = Bytes::from(vec![number; 40_000]);
            Control::Blobs { edge: None, blobs: vec![BlobPart { digest, base: None, size: 0, compressed }] }
        };
        for number in 0..20 {
            above.handle.send(&below.agent, large(number)).await.unwrap();
        }
        for number in 0..20 {
            match below.next().await {
                UplinkEvent::Control(control) => assert_eq!(control, large(number)),
                other => panic!("{other:?}"),
            }
        }
        let sender = below.handle.clone();
        world.tasks.spawn(async move {
            for number in 0..100 {
                sender.send(large(number)).await.unwrap();
            }
        });
        for number in 0..100 {
            match above.next().await {
                DownlinkEvent::Control { control, .. } => assert_eq!(control, large(number)),
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn calls_are_answered_in_both_directions_and_end_at_their_deadline() {
    simulate(async {
        let mut world = World::new(4, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        let ask = Request::Query(Bytes::from_static(b"up"));
        let (peer, deadline) = (edge(2), Duration::from_secs(5));
        let (answer, ()) = tokio::join!(below.handle.call(ask.clone(), deadline), async {
            match above.next().await {
                DownlinkEvent::Request { responder, .. } => {
                    responder.respond(Response::Answer(Bytes::from_static(b"yes")));
                }
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(answer, Ok(Response::Answer(Bytes::from_static(b"yes"))));
        let (answer, ()) = tokio::join!(above.handle.call(&peer, ask.clone(), deadline), async {
            match below.next().await {
                UplinkEvent::Request(_, responder) => drop(responder),
                other => panic!("{other:?}"),
            }
        });
        assert!(
            matches!(&answer, Ok(Response::Refused(refusal)) if refusal.reason == RefusalReason::Unavailable),
            "{answer:?}"
        );
        let (answer, held) = tokio::join!(below.handle.call(ask, deadline), above.next());
        assert_eq!(answer, Err(CallError::Deadline(deadline)));
        drop(held);
    });
}

#[test]
fn a_flood_of_telemetry_does_not_delay_control_on_a_thin_line() {
    simulate(async {
        let thin = Conditions {
            latency: Duration::from_millis(30),
            bandwidth: Some(2_000_000),
            ..Conditions::default()
        };
        let mut world = World::new(5, thin);
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        let (mut control, mut telemetry) = above.events.split();
        for class in TelemetryClass::ALL {
            let handle = below.handle.clone();
            world.tasks.spawn(async move {
                let mut sequence = 0;
                while handle.send_telemetry(item(class, sequence, 16 * 1024)).await.is_ok() {
                    sequence += 1;
                }
            });
        }
        world.tasks.spawn(async move { while telemetry.recv().await.is_some() {} });
        tokio::time::sleep(Duration::from_secs(10)).await;
        let mut worst = Duration::ZERO;
        for nonce in 0..40 {
            let sent = Instant::now();
            below.handle.send(ping(nonce)).await.unwrap();
            assert!(matches!(control.recv().await, Some(DownlinkEvent::Control { .. })));
            worst = worst.max(sent.elapsed());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // Measured with the same line: 1 s with default windows, never with windows that bulk can fill.
        assert!(worst < Duration::from_millis(1_600), "{worst:?}");
    });
}

#[test]
fn telemetry_arrives_in_order_per_class_and_survives_an_abandoned_send() {
    simulate(async {
        let mut world = World::new(6, Conditions::bad());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        // Too much for the windows: given up in the middle of a message.
        let big = item(TelemetryClass::Logs, 0, 900_000);
        let given_up =
            tokio::time::timeout(Duration::from_millis(50), below.handle.send_telemetry(big)).await;
        assert!(given_up.is_err());
        for sequence in 1..50 {
            below.handle.send_telemetry(item(TelemetryClass::Logs, sequence, 1000)).await.unwrap();
            match above.next().await {
                DownlinkEvent::Telemetry { item, .. } => assert_eq!(item.sequence, sequence),
                other => panic!("{other:?}"),
            }
        }
        assert!(below.handle.state().up);
    });
}

#[test]
fn a_link_comes_back_after_a_partition_and_says_so_on_both_sides() {
    simulate(async {
        let mut world = World::new(7, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        world.network.partition(address(1), address(2));
        assert_eq!(below.down().await, "no packet came within the idle timeout");
        assert_eq!(below.handle.send(ping(1)).await, Err(SendError::Down));
        let (peer, _) = above.down().await;
        assert_eq!(peer, edge(2));
        world.network.heal(address(1), address(2));
        below.up().await;
        above.up().await;
        below.handle.send(ping(2)).await.unwrap();
        assert!(matches!(above.next().await, DownlinkEvent::Control { .. }));
    });
}

#[test]
fn a_restarted_listener_is_noticed_long_before_the_idle_timeout() {
    simulate(async {
        let mut world = World::new(8, Conditions::default());
        let shown = world.identity(&AgentId::Region(region("eu"))).link_identity();
        let mut above = world.above(shown.clone(), identity::tls::Accepts::Edges).await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        // As kill -9: the node falls silent, and what listens again knows nothing.
        world.network.isolate(address(1));
        above.cancel.cancel();
        drop(above);
        tokio::time::sleep(Duration::from_secs(6)).await;
        world.network.rejoin(address(1));
        let mut above = world.above(shown, identity::tls::Accepts::Edges).await;
        let began = Instant::now();
        let reason = below.down().await;
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        assert!(reason.contains("restarted"), "{reason}");
        below.up().await;
        above.up().await;
    });
}

#[test]
fn a_listener_that_stops_says_goodbye_and_is_found_again() {
    simulate(async {
        let mut world = World::new(9, Conditions::default());
        let mut above = world.region().await;
        let mut below = world.below(2);
        below.up().await;
        above.up().await;
        above.cancel.cancel();
        assert_eq!(below.down().await, "the listener restarts");
        while above.events.recv().await.is_some_and(|event| !matches!(event, DownlinkEvent::Down { .. })) {}
        drop(above);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut above = world.region().await;
        let began = Instant::now();
        below.up().await;
        above.up().await;
        assert!(began.elapsed() < Duration::from_secs(40));
        below.cancel.cancel();
        let (_, reason) = above.down().await;
        assert_eq!(reason, "the agent stops");
    });
}

#[test]
fn a_newer_run_of_an_agent_supersedes_the_older_which_is_told() {
    simulate(async {
        let mut world = World::new(10, Conditions::default());
        let mut above = world.region().await;
        let identity = world.identity(&edge(2));
        let mut older = world.dial(identity.clone(), 2, 1);
        older.up().await;
        above.up().await;
        let mut newer = world.dial(identity, 3, 2);
        newer.up().await;
        let (_, reason) = above.down().await;
        assert_eq!(reason, "another link of the same agent is newer");
        let (peer, hello) = above.up().await;
        assert_eq!((peer, hello.incarnation), (edge(2), 2));
        assert_eq!(older.down().await, "another link of the same agent is newer");
        // The older run keeps trying and is turned away, without the newer one noticing.
        let reason = older.failure().await;
        assert!(reason.contains("a later run of the same agent is linked"), "{reason}");
        assert!(newer.handle.state().up);
        assert_eq!(above.handle.peers().len(), 1);
    });
}

#[test]
fn an_agent_that_is_denied_loses_its_link_and_gets_no_other() {
    simulate(async {
        let mut world = World::new(11, Conditions::default());
        let mut above = world.region().await;
        let (mut bad, mut good) = (world.below(2), world.below(3));
        bad.up().await;
        good.up().await;
        above.up().await;
        above.up().await;
        let began = Instant::now();
        above.handle.deny(DenySet { agents: [edge(2)].into(), ..DenySet::default() });
        assert_eq!(bad.down().await, "this agent was revoked");
        assert!(began.elapsed() < Duration::from_secs(1));
        let reason = bad.failure().await;
        assert!(reason.contains("revoked"), "{reason}");
        assert!(good.handle.state().up);
        assert_eq!(above.handle.peers().len(), 1);
    });
}

#[test]
fn a_refusal_by_the_owner_reaches_the_agent_with_its_text() {
    simulate(async {
        let mut world = World::new(12, Conditions::default());
        let above = world.region().await;
        let refusal = Refusal {
            reason: RefusalReason::Unavailable,
            message: "not of this region".to_owned(),
            retry_after_ms: Some(60_000),
        };
        *world.gate.0.lock().unwrap() = Some(refusal);
        let mut below = world.below(2);
        let reason = below.failure().await;
        assert!(reason.contains("refused: not of this region"), "{reason}");
        *world.gate.0.lock().unwrap() = None;
        let began = Instant::now();
        below.up().await;
        assert!(began.elapsed() >= Duration::from_secs(59), "{:?}", began.elapsed());
        drop(above);
    });
}

#[test]
fn an_expired_certificate_is_refused_on_either_side() {
    simulate(async {
        let mut world = World::new(13, Conditions::default());
        let above = world.region().await;
        let long_ago = super::world::START - 8 * 24 * 3600 * 1000;
        let expired = world.identity_of(&edge(2), "eu", long_ago);
        let below = world.dial(expired, 2, 1);
        let reason = below.failure().await;
        assert!(reason.contains("certificate_expired"), "{reason}");
        assert!(above.handle.peers().is_empty());
        above.cancel.cancel();
        drop(above);
        tokio::time::sleep(Duration::from_secs(5)).await;
        // Longer ago than an edge puts up with.
        let longer_ago = long_ago - identity::tls::REGION_GRACE_MS;
        let shown = world.identity_of(&AgentId::Region(region("eu")), "eu", longer_ago).link_identity();
        let _above = world.above(shown, identity::tls::Accepts::Edges).await;
        let below = world.below(3);
        let reason = below.failure().await;
        assert!(reason.contains("expired"), "{reason}");
    });
}

#[test]
fn a_region_with_another_name_and_a_peer_of_another_tier_are_refused() {
    simulate(async {
        let mut world = World::new(14, Conditions::default());
        let above = world.region().await;
        let stranger = world.identity_of(&edge(2), "us", super::world::START);
        let below = world.dial(stranger, 2, 1);
        let reason = below.failure().await;
        assert!(reason.contains("region/eu") && reason.contains("region/us"), "{reason}");
        // An edge that plays the region: its certificate is not for listening.
        above.cancel.cancel();
        drop(above);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let fake = world.identity(&edge(9)).link_identity();
        let above = world.above(fake, identity::tls::Accepts::Edges).await;
        let below = world.below(3);
        let reason = below.failure().await;
        assert!(reason.contains("does not verify"), "{reason}");
        above.cancel.cancel();
        drop(above);
        tokio::time::sleep(Duration::from_secs(5)).await;
        // An edge that dials the hub: the hub links with regions only.
        let _hub = world.hub().await;
        let mut agent = world.identity(&AgentId::Region(region("eu")));
        let pretender = world.identity(&edge(4));
        (agent.chain, agent.tls) = (pretender.chain, pretender.tls);
        let below = world.dial(agent, 4, 1);
        let reason = below.failure().await;
        assert!(reason.contains("certificate_unknown"), "{reason}");
    });
}

#[test]
fn a_certificate_of_another_mesh_is_refused() {
    simulate(async {
        let mut world = World::new(15, Conditions::default());
        let _above = world.region().await;
        let mut other = World::new(99, Conditions::default());
        let mut stranger = other.identity(&edge(2));
        let below = world.dial(stranger.clone(), 2, 1);
        let reason = below.failure().await;
        assert!(reason.to_lowercase().contains("unknown"), "{reason}");
        // Also when it believes this mesh.
        stranger.trust = world.authority.trust();
        let below = world.dial(stranger, 3, 1);
        let reason = below.failure().await;
        assert!(reason.contains("unknown_ca"), "{reason}");
    });
}

#[test]
fn the_same_seed_gives_the_same_run_packet_by_packet() {
    let run = |seed: u64| {
        let mut trace = 0;
        simulate(async {
            let mut world = World::new(seed, Conditions::bad());
            let mut above = world.region().await;
            let mut below = world.below(2);
            below.up().await;
            above.up().await;
            for nonce in 0..50 {
                below.handle.send(ping(nonce)).await.unwrap();
                above.next().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            trace = world.network.statistics().trace;
        });
        trace
    };
    assert_eq!(run(21), run(21));
    assert_ne!(run(21), run(22));
}
