//! What an edge takes of placements, and what it refuses.

#![allow(clippy::unwrap_used)]

use identity::placement::PlacementError;
use identity::{AgentIdentity, Authority, DeviceKey, KeyKind, Placed, PlanError, SeededEntropy, TlsKey};
use protocol::id::{AgentId, EdgeId, Generation};
use protocol::placement::{ENDPOINTS_MAX, Placement, STANDBYS_MAX, Site};

const NOW: u64 = 1_790_000_000_000;

fn authority(seed: u64) -> Authority {
    Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut SeededEntropy::new(seed)).unwrap()
}

fn site(region: &str) -> Site {
    Site { region: region.parse().unwrap(), endpoints: vec![format!("{region}.example:4433")] }
}

fn edge(authority: &Authority) -> AgentIdentity {
    let mut entropy = SeededEntropy::new(7);
    let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut entropy).unwrap();
    let agent = AgentId::Edge(EdgeId([1; 16]));
    let chain = authority.issue(&agent, &tls.signing_request().unwrap(), NOW, &mut entropy).unwrap();
    AgentIdentity {
        agent,
        name: "one".to_owned(),
        region: "eu".parse().unwrap(),
        chain,
        tls,
        device: DeviceKey::generate(&mut entropy),
        trust: authority.trust(),
        endpoints: site("eu").endpoints,
        not_before: NOW,
        not_after: NOW + 1,
        returns: 0,
        clock_ahead_ms: 0,
        placed: Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

fn placement(edge: Option<u8>, home: &str, standbys: &[&str], counter: u64) -> Placement {
    Placement {
        edge: edge.map(|byte| EdgeId([byte; 16])),
        home: site(home),
        standbys: standbys.iter().map(|region| site(region)).collect(),
        generation: Generation { term: 1, counter },
        issued_at: NOW,
        ext: Vec::new(),
    }
}

#[test]
fn an_edge_goes_where_the_hub_sends_it_and_remembers_where_it_came_from() {
    let hub = authority(1);
    let device = edge(&hub);
    let moved = hub.sign_placement(&placement(Some(1), "us", &["ap"], 2));
    let moved = device.placed_by(&moved).unwrap().unwrap();
    assert_eq!((moved.region.as_str(), &moved.endpoints), ("us", &site("us").endpoints));
    assert_eq!(moved.placed.elsewhere, [site("ap"), site("eu")]);
    // It is kept: what is read back is what was stored.
    let folder = tempfile::tempdir().unwrap();
    moved.store(folder.path()).unwrap();
    let read = AgentIdentity::load(folder.path()).unwrap();
    assert_eq!((read.placed, read.region), (moved.placed.clone(), moved.region.clone()));
    // Neither the same again nor an older one changes anything.
    for counter in [1, 2] {
        let old = hub.sign_placement(&placement(Some(1), "eu", &[], counter));
        assert!(moved.placed_by(&old).unwrap().is_none());
    }
    let back = hub.sign_placement(&placement(Some(1), "eu", &["us"], 3));
    assert_eq!(moved.placed_by(&back).unwrap().unwrap().placed.elsewhere, [site("us")]);
}

#[test]
fn what_is_said_to_all_edges_of_a_region_moves_none_and_concerns_no_other() {
    let hub = authority(1);
    let device = edge(&hub);
    let mut told = placement(None, "eu", &["us"], 1);
    told.home.endpoints = vec!["new.example:4433".to_owned()];
    let told = device.placed_by(&hub.sign_placement(&told)).unwrap().unwrap();
    assert_eq!((told.region.as_str(), &*told.endpoints[0]), ("eu", "new.example:4433"));
    assert_eq!(told.placed.elsewhere, [site("us")]);
    assert!(device.placed_by(&hub.sign_placement(&placement(None, "us", &[], 9))).unwrap().is_none());
}

#[test]
fn nobody_but_the_hub_sends_an_edge_anywhere() {
    let (hub, stranger) = (authority(1), authority(2));
    let device = edge(&hub);
    let forged = stranger.sign_placement(&placement(Some(1), "us", &[], 1));
    let refused = device.placed_by(&forged).unwrap_err();
    assert!(matches!(refused, PlacementError::Signature(PlanError::UnknownKey(_))), "{refused}");
    let mut altered = hub.sign_placement(&placement(Some(1), "us", &[], 1));
    altered.placement = protocol::codec::encode(&placement(Some(1), "ap", &[], 1));
    let refused = device.placed_by(&altered).unwrap_err();
    assert!(matches!(refused, PlacementError::Signature(PlanError::Signature(_))), "{refused}");
    let refused = device.placed_by(&hub.sign_placement(&placement(Some(2), "us", &[], 1))).unwrap_err();
    assert!(matches!(refused, PlacementError::OtherEdge { .. }), "{refused}");
}

#[test]
fn a_placement_of_a_wrong_size_is_refused_with_what_is_accepted() {
    let hub = authority(1);
    let device = edge(&hub);
    let refused = |change: &dyn Fn(&mut Placement)| {
        let mut wrong = placement(Some(1), "us", &["ap"], 1);
        change(&mut wrong);
        device.placed_by(&hub.sign_placement(&wrong)).unwrap_err().to_string()
    };
    let none = refused(&|wrong| wrong.home.endpoints.clear());
    assert!(none.contains("region \"us\" has 0 endpoints, accepted are 1 to 16"), "{none}");
    let many = refused(&|wrong| wrong.standbys[0].endpoints = vec![String::new(); ENDPOINTS_MAX + 1]);
    assert!(many.contains("region \"ap\" has 17 endpoints"), "{many}");
    let standbys = refused(&|wrong| wrong.standbys = vec![site("ap"); STANDBYS_MAX + 1]);
    assert!(standbys.contains("5 standbys, at most 4 are accepted"), "{standbys}");
    let long = refused(&|wrong| wrong.home.endpoints = vec!["x".repeat(301)]);
    assert!(long.contains("301 bytes, at most 300 are accepted"), "{long}");
}
