//! What an agent takes of lists of endpoints, what it refuses, and what it still tries when they lead nowhere.

#![allow(clippy::unwrap_used)]

use identity::endpoints::EndpointsError;
use identity::{AgentIdentity, Authority, DeviceKey, KeyKind, Placed, PlanError, SeededEntropy, TlsKey};
use proptest::prelude::*;
use protocol::endpoints::{Endpoint, EndpointList, LIST_BYTES_MAX, Listener, order};
use protocol::id::{AgentId, EdgeId, Generation};
use protocol::placement::{ENDPOINTS_MAX, Placement, Site};

const NOW: u64 = 1_790_000_000_000;

fn authority(seed: u64) -> Authority {
    Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut SeededEntropy::new(seed)).unwrap()
}

fn site(region: &str) -> Site {
    Site { region: region.parse().unwrap(), endpoints: vec![format!("{region}.example:4433")] }
}

fn agent(authority: &Authority, agent: AgentId) -> AgentIdentity {
    let mut entropy = SeededEntropy::new(7);
    let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut entropy).unwrap();
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

fn edge(authority: &Authority) -> AgentIdentity {
    agent(authority, AgentId::Edge(EdgeId([1; 16])))
}

fn eu() -> Listener {
    Listener::Region("eu".parse().unwrap())
}

fn list(of: Listener, endpoints: &[&str], counter: u64) -> EndpointList {
    EndpointList {
        of,
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
        generation: Generation { term: 1, counter },
        issued_at: NOW,
        ext: Vec::new(),
    }
}

fn addresses(endpoints: &[Endpoint]) -> Vec<&str> {
    endpoints.iter().map(|endpoint| &*endpoint.address).collect()
}

#[test]
fn a_list_is_kept_and_what_was_known_before_is_still_tried() {
    let hub = authority(1);
    let device = edge(&hub);
    assert_eq!(addresses(&device.preferred()), ["eu.example:4433"]);
    assert!(device.fallbacks().is_empty());
    let first = list(eu(), &["a:1=0", "b:1=20"], 2);
    let device = device.listed_by(&hub.sign_endpoints(&first)).unwrap().unwrap();
    assert_eq!(addresses(&device.preferred()), ["a:1", "b:1"]);
    assert_eq!(device.fallbacks(), ["eu.example:4433"]);
    // What is read back is what was stored.
    let folder = tempfile::tempdir().unwrap();
    device.store(folder.path()).unwrap();
    let read = AgentIdentity::load(folder.path()).unwrap();
    assert_eq!(read.placed, device.placed);
    let second = list(eu(), &["c:1", "b:1"], 3);
    let device = read.listed_by(&hub.sign_endpoints(&second)).unwrap().unwrap();
    assert_eq!(addresses(&device.preferred()), ["c:1", "b:1"]);
    assert_eq!(device.fallbacks(), ["eu.example:4433", "a:1"]);
    device.store(folder.path()).unwrap();
    assert_eq!(AgentIdentity::load(folder.path()).unwrap().placed, device.placed);
}

#[test]
fn an_older_list_does_not_come_back_and_the_same_one_is_no_news() {
    let hub = authority(1);
    let taken = list(eu(), &["a:1"], 5);
    let device = edge(&hub).listed_by(&hub.sign_endpoints(&taken)).unwrap().unwrap();
    assert!(device.listed_by(&hub.sign_endpoints(&taken)).unwrap().is_none());
    let refused = device.listed_by(&hub.sign_endpoints(&list(eu(), &["b:1"], 4))).unwrap_err();
    assert_eq!(refused.to_string(), "the list of endpoints has generation 1.4, and 1.5 was taken already");
}

#[test]
fn nobody_but_the_hub_says_where_to_dial_and_to_nobody_else_than_those_concerned() {
    let (hub, stranger) = (authority(1), authority(2));
    let device = edge(&hub);
    let refused = device.listed_by(&stranger.sign_endpoints(&list(eu(), &["a:1"], 1))).unwrap_err();
    assert!(matches!(refused, EndpointsError::Signature(PlanError::UnknownKey(_))), "{refused}");
    let mut altered = hub.sign_endpoints(&list(eu(), &["a:1"], 1));
    altered.list = protocol::codec::encode(&list(eu(), &["b:1"], 1));
    let refused = device.listed_by(&altered).unwrap_err();
    assert!(matches!(refused, EndpointsError::Signature(PlanError::Signature(_))), "{refused}");
    // A placement's signature is none of a list.
    let placement = Placement {
        edge: None,
        home: site("eu"),
        standbys: Vec::new(),
        generation: Generation { term: 1, counter: 1 },
        issued_at: NOW,
        ext: Vec::new(),
    };
    let placement = hub.sign_placement(&placement);
    let mut borrowed = hub.sign_endpoints(&list(eu(), &["a:1"], 1));
    (borrowed.list, borrowed.signature) = (placement.placement, placement.signature);
    let refused = device.listed_by(&borrowed).unwrap_err();
    assert!(matches!(refused, EndpointsError::Signature(PlanError::Signature(_))), "{refused}");
    let us = Listener::Region("us".parse().unwrap());
    let refused = device.listed_by(&hub.sign_endpoints(&list(us.clone(), &["a:1"], 1))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the list of endpoints is of region \"us\", expected is that of region \"eu\""
    );
    let refused = device.listed_by(&hub.sign_endpoints(&list(Listener::Hub, &["a:1"], 1))).unwrap_err();
    assert_eq!(refused.to_string(), "the list of endpoints is of the hub, expected is that of region \"eu\"");
    let region = agent(&hub, AgentId::Region("eu".parse().unwrap()));
    let refused = region.listed_by(&hub.sign_endpoints(&list(eu(), &["a:1"], 1))).unwrap_err();
    assert_eq!(refused.to_string(), "the list of endpoints is of region \"eu\", expected is that of the hub");
    assert!(region.listed_by(&hub.sign_endpoints(&list(Listener::Hub, &["a:1"], 1))).unwrap().is_some());
    // A region that stands in tells its guests of itself; that is none of theirs, and no fault.
    let mut guest = device;
    guest.placed.elsewhere = vec![site("us")];
    assert!(guest.listed_by(&hub.sign_endpoints(&list(us, &["a:1"], 1))).unwrap().is_none());
}

#[test]
fn a_list_of_a_wrong_form_is_refused_with_the_field_and_what_is_accepted() {
    let hub = authority(1);
    let device = edge(&hub);
    let refused = |change: &dyn Fn(&mut EndpointList)| {
        let mut wrong = list(eu(), &["a:1", "b:1"], 1);
        change(&mut wrong);
        device.listed_by(&hub.sign_endpoints(&wrong)).unwrap_err().to_string()
    };
    let none = refused(&|wrong| wrong.endpoints.clear());
    assert!(none.contains("endpoints: there are 0, accepted are 1 to 16"), "{none}");
    let many = |wrong: &mut EndpointList| {
        wrong.endpoints = (0..=ENDPOINTS_MAX).map(|number| Endpoint::new(format!("h{number}:1"))).collect();
    };
    let many = refused(&many);
    assert!(many.contains("endpoints: there are 17, accepted are 1 to 16"), "{many}");
    let port = refused(&|wrong| wrong.endpoints[1].address = "b:99999".to_owned());
    assert!(port.contains("endpoints[1]: \"b:99999\": port \"99999\" is none of 1 to 65535"), "{port}");
    let long = refused(&|wrong| wrong.endpoints[0].address = format!("{}:1", "x".repeat(300)));
    assert!(
        long.contains("endpoints[0]: ") && long.contains("302 bytes, at most 300 are accepted"),
        "{long}"
    );
    let twice = refused(&|wrong| wrong.endpoints[1].address = "a:1".to_owned());
    assert!(twice.contains("endpoints[1]: \"a:1\" is named twice"), "{twice}");
    let large = refused(&|wrong| wrong.ext = vec![(1, bytes::Bytes::from(vec![0; LIST_BYTES_MAX]))]);
    assert!(large.contains("exceeds the limit of 16384"), "{large}");
}

#[test]
fn a_list_does_not_follow_an_edge_to_another_region() {
    let hub = authority(1);
    let signed = hub.sign_endpoints(&list(eu(), &["a:1"], 5));
    let device = edge(&hub).listed_by(&signed).unwrap().unwrap();
    assert!(device.towards(&site("us")).placed.listed.is_none());
    let place = |home: &str, counter| Placement {
        edge: None,
        home: site(home),
        standbys: Vec::new(),
        generation: Generation { term: 1, counter },
        issued_at: NOW,
        ext: Vec::new(),
    };
    let stays = device.placed_by(&hub.sign_placement(&place("eu", 6))).unwrap().unwrap();
    assert_eq!(stays.placed.listed, device.placed.listed);
    let mut moving = place("us", 7);
    moving.edge = Some(EdgeId([1; 16]));
    let moved = stays.placed_by(&hub.sign_placement(&moving)).unwrap().unwrap();
    assert_eq!(
        (moved.placed.listed.clone(), moved.preferred()[0].address.as_str()),
        (None, "us.example:4433")
    );
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let endpoint = (0..5u16, 0..24u8)
        .prop_map(|(priority, host)| Endpoint { priority, address: format!("host-{host}:4433") });
    proptest::collection::vec(endpoint, 1..20).prop_map(protocol::endpoints::listed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is drawn, all are dialled, and none before one of a better priority.
    #[test]
    fn the_order_is_a_permutation_by_priority(endpoints in endpoints(), seed: u64) {
        use identity::Entropy as _;
        let mut entropy = SeededEntropy::new(seed);
        let drawn = order(&endpoints, |bound| entropy.below(bound));
        prop_assert!(drawn.is_sorted_by_key(|endpoint| endpoint.priority));
        let mut all: Vec<_> = drawn.into_iter().cloned().collect();
        all.sort();
        prop_assert_eq!(all, endpoints);
    }

    /// Whatever lists come in whatever order: the newest one is in force, each endpoint is tried once at most, and what
    /// the agent began with never gets lost.
    #[test]
    fn no_sequence_of_lists_leaves_an_agent_without_a_way(
        lists in proptest::collection::vec((endpoints(), 1..9u64), 1..8)
    ) {
        let hub = authority(1);
        let mut device = edge(&hub);
        let mut newest: Option<(u64, Vec<Endpoint>)> = None;
        for (endpoints, counter) in lists {
            let told = EndpointList { endpoints: endpoints.clone(), ..list(eu(), &[], counter) };
            let taken = device.listed_by(&hub.sign_endpoints(&told));
            let known = newest.as_ref().map_or(0, |(known, _)| *known);
            prop_assert_eq!(matches!(taken, Ok(Some(_))), counter > known);
            prop_assert_eq!(matches!(taken, Err(EndpointsError::Older { .. })), counter < known);
            if let Ok(Some(next)) = taken {
                device = next;
                newest = Some((counter, endpoints));
            }
            prop_assert_eq!(Some(device.preferred()), newest.clone().map(|(_, endpoints)| endpoints));
            let fallbacks = device.fallbacks();
            prop_assert!(fallbacks.contains(&"eu.example:4433".to_owned()));
            let mut all: Vec<_> = device.preferred().into_iter().map(|endpoint| endpoint.address).collect();
            all.extend(fallbacks);
            let count = all.len();
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), count);
            prop_assert!(count <= 2 * ENDPOINTS_MAX + 1);
        }
    }

    /// No bytes make a verifier panic, and none that were changed are taken.
    #[test]
    fn altered_lists_are_refused(at in 0..200usize, flip in 1..=255u8) {
        let hub = authority(1);
        let mut signed = hub.sign_endpoints(&list(eu(), &["a:1=0", "b:1"], 1));
        let mut bytes = signed.list.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        signed.list = bytes.into();
        prop_assert!(matches!(edge(&hub).listed_by(&signed), Err(EndpointsError::Signature(_))));
    }
}
