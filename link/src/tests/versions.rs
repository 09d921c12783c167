//! Links between ends of different minor versions.

use protocol::message::Control;
use protocol::version::{Features, Lacks, Speaks};

use std::sync::Arc;

use identity::SeededEntropy;
use quinn::ConnectionError;

use super::world::{PORT, World, address, edge, simulate};
use crate::network::simulated::Conditions;
use crate::transport::{describe, quic_client};
use crate::{DownlinkEvent, UplinkEvent};

/// What an upper side and an edge that speak these know of each other: the features that both have, what the edge was
/// told, and what it takes its peer for.
fn linked(above: Speaks, below: Speaks) -> (Features, Lacks, Option<Speaks>) {
    let mut known = None;
    simulate(async {
        let mut world = World::new(31, Conditions::bad());
        world.speaks = (above, below);
        let mut above = world.region().await;
        let mut below = world.below(2);
        let UplinkEvent::Up(welcome) = below.next().await else { panic!("no welcome") };
        let (peer, _) = above.up().await;
        assert_eq!(above.handle.speaks(&peer), Some(world.speaks.1));
        assert_eq!(above.handle.peers()[0].speaks, world.speaks.1);
        // What both know works.
        let ping = Control::Ping { nonce: 7, reply: true };
        above.handle.send(&peer, ping.clone()).await.unwrap();
        assert!(matches!(below.next().await, UplinkEvent::Control(control) if control == ping));
        let state = below.handle.state();
        known = Some((Features(welcome.features), state.lacks, state.upper));
    });
    known.expect("the simulation ran to its end")
}

#[test]
fn an_agent_of_an_earlier_version_links_works_and_is_told_what_it_lacks() {
    let earlier = Speaks::of_minor(1);
    let (both, lacks, upper) = linked(Speaks::HERE, earlier);
    assert_eq!((both, upper), (earlier.features, Some(Speaks::HERE)));
    let names: Vec<_> = lacks.0.iter().map(|lack| (lack.name.as_str(), lack.since)).collect();
    assert_eq!(
        names,
        [("return", 2), ("placement", 2), ("trust-chain", 2), ("version", 3), ("endpoints", 3)]
    );
    assert!(lacks.0.iter().all(|lack| !lack.lost.is_empty()), "{lacks}");
}

#[test]
fn an_agent_that_tells_no_version_is_taken_for_the_last_one_that_did_not() {
    let (both, lacks, upper) = linked(Speaks::HERE, Speaks::SILENT);
    assert_eq!((both, upper), (Features::default(), Some(Speaks::HERE)));
    let names: Vec<_> = lacks.0.iter().map(|lack| lack.name.as_str()).collect();
    assert_eq!(names, ["version", "endpoints"]);
}

#[test]
fn an_agent_of_this_version_lacks_nothing_whoever_listens() {
    assert_eq!(
        linked(Speaks::HERE, Speaks::HERE),
        (Speaks::HERE.features, Lacks::default(), Some(Speaks::HERE))
    );
    // A listener of before tells nothing, and nothing is made of that.
    let (both, lacks, upper) = linked(Speaks::SILENT, Speaks::HERE);
    assert_eq!((both, lacks, upper), (Speaks::SILENT.features, Lacks::default(), Some(Speaks::SILENT)));
}

#[test]
fn an_agent_of_a_later_version_with_features_that_nobody_here_knows_links_too() {
    let later = Speaks { minor: 77, features: Features(u64::MAX) };
    let (both, lacks, upper) = linked(Speaks::HERE, later);
    assert_eq!((both, lacks, upper), (Speaks::HERE.features, Lacks::default(), Some(Speaks::HERE)));
}

/// What a dialler hears that offers that protocol.
async fn dial(world: &mut World, alpn: &str) -> ConnectionError {
    let identity = world.identity(&edge(2));
    let mut tls = identity::tls::client_config(&identity, Arc::new(world.clock.clone())).unwrap();
    tls.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let client = quic_client(tls, &world.profile, &mut SeededEntropy::new(1)).unwrap();
    let endpoint = world.network.node(address(2)).dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
    let (client, _) = client.attempt();
    let connecting = endpoint.connect_with(client, (address(1), PORT).into(), "skein.internal").unwrap();
    match connecting.await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    }
}

#[test]
fn an_agent_of_another_major_version_is_refused_with_words_that_name_both() {
    simulate(async {
        let mut world = World::new(32, Conditions::default());
        let mut above = world.region().await;
        let heard = describe(&dial(&mut world, "skein/2").await);
        let words = "\"above/1\" speaks protocol 1 and the agent protocol 2";
        assert!(heard.contains(words) && heard.contains("code 4"), "{heard}");
        match above.next().await {
            DownlinkEvent::Incompatible { peer, reason } => {
                assert_eq!(peer, edge(2));
                assert!(reason.contains(words) && reason.contains("a newer version of this end"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!((above.handle.incompatible(), above.handle.refusals()), (1, 1));
        assert_eq!(above.handle.peers(), []);
        // One that this end does not even know the name of.
        let heard = describe(&dial(&mut world, "skein/77").await);
        assert!(heard.contains("which is protocol 1"), "{heard}");
        assert_eq!((above.handle.incompatible(), above.handle.refusals()), (1, 2));
    });
}
