//! What is decided about joins, returns and renewals: every event in every state, as golden files say. `SKEIN_BLESS=1
//! cargo test -p identity --test machines` writes them anew.
//!
//! ```text
//!   join     token:  fresh --a device--> used by it --the same again--> the same answer
//!                      \--expired, withdrawn, used up--> refused
//!   recover  record: count n --shows n--> n + 1 --the same request again--> n + 1
//!                      \--shows less, with another key--> cloned
//!   renew    peer:   itself, or the region for its edge --> granted, if the device key signed
//! ```

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use identity::recovery::{Barred, Returns, check_recovery, make_recover_request};
use identity::token::TokenScope;
use identity::{
    AgentIdentity, Authority, DeviceKey, JoinToken, KeyKind, SeededEntropy, TlsKey, TokenRecord, TokenRole,
    TokenUse, check_join, check_renewal, make_join_request, make_renew_request,
};
use protocol::enrolment::{JoinRequest, Refusal};
use protocol::id::{AgentId, EdgeId};
use protocol::recovery::RecoverRequest;

const NOW: u64 = 1_790_000_000_000;

fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SKEIN_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "SKEIN_BLESS=1 writes {path} anew");
}

fn told(refusal: &Refusal) -> String {
    format!("{:?}: {}", refusal.reason, refusal.message)
}

fn tls(entropy: &mut SeededEntropy) -> TlsKey {
    TlsKey::generate_kind(KeyKind::Ed25519, entropy).unwrap()
}

#[test]
fn joins() {
    let mut entropy = SeededEntropy::new(1);
    let authority = Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut entropy).unwrap();
    let scope = TokenScope {
        endpoints: vec!["eu.example:4433".to_owned()],
        pins: authority.pins(),
        not_after: NOW + 1000,
        region: "eu".parse().unwrap(),
        role: TokenRole::Edge,
    };
    let (token, public_key) = JoinToken::mint(scope, &mut entropy);
    let device = DeviceKey::from_seed([7; 32]);
    let none = BTreeMap::new;
    let request = make_join_request(&token, &device, &tls(&mut entropy), "till", none(), none()).unwrap();
    let used = |seed: u8| TokenUse {
        device_key: DeviceKey::from_seed([seed; 32]).public(),
        agent: AgentId::Edge(EdgeId([seed; 16])),
    };
    let record = |uses: Vec<TokenUse>| TokenRecord {
        public_key: public_key.clone(),
        not_after: NOW + 1000,
        uses_max: 2,
        uses,
        revoked: false,
        region: "eu".parse().unwrap(),
        role: TokenRole::Edge,
        name: None,
        labels: none(),
    };
    let late = |record: TokenRecord| TokenRecord { not_after: NOW - 5000, ..record };
    let withdrawn = |record: TokenRecord| TokenRecord { revoked: true, ..record };
    let states = [
        ("fresh", record(vec![])),
        ("used by another", record(vec![used(1)])),
        ("used up by others", record(vec![used(1), used(2)])),
        ("used by this one", record(vec![used(7)])),
        ("used up, also by it", record(vec![used(1), used(7)])),
        ("expired", late(record(vec![]))),
        ("expired, used by it", late(record(vec![used(7)]))),
        ("withdrawn", withdrawn(record(vec![]))),
        ("withdrawn, used by it", withdrawn(record(vec![used(7)]))),
    ];
    let crowded: BTreeMap<_, _> = (0..65).map(|number| (number.to_string(), String::new())).collect();
    let events = [
        ("asks", request.clone()),
        ("without the token", JoinRequest { token_proof: Bytes::from(vec![0; 64]), ..request.clone() }),
        ("without its key", JoinRequest { device_proof: Bytes::from(vec![0; 64]), ..request.clone() }),
        ("with another key", JoinRequest { device_key: used(9).device_key, ..request.clone() }),
        ("with a short key", JoinRequest { device_key: Bytes::from_static(&[1; 31]), ..request.clone() }),
        ("with 65 labels", JoinRequest { labels: crowded, ..request.clone() }),
        ("with no name", JoinRequest { name: String::new(), ..request }),
    ];
    let mut text = String::new();
    for (state, record) in &states {
        for (event, request) in &events {
            let next = match check_join(request, record, NOW) {
                Ok(decision) => {
                    let fresh = decision.agent != used(7).agent;
                    let bound = if decision.binding.is_some() { "bound" } else { "not bound again" };
                    format!("granted, {}, {bound}", if fresh { "a new id" } else { "the id of before" })
                }
                Err(refusal) => told(&refusal),
            };
            writeln!(text, "{state:<21} | {event:<17} | {next}").unwrap();
        }
    }
    golden("join.txt", &text);
}

fn identity(entropy: &mut SeededEntropy, agent: AgentId, returns: u64) -> AgentIdentity {
    AgentIdentity {
        agent,
        name: "till".to_owned(),
        region: "eu".parse().unwrap(),
        chain: Vec::new(),
        tls: tls(entropy),
        device: DeviceKey::from_seed([7; 32]),
        trust: protocol::enrolment::TrustBundle::default(),
        endpoints: Vec::new(),
        not_before: NOW,
        not_after: NOW,
        returns,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

#[test]
fn returns() {
    let mut entropy = SeededEntropy::new(2);
    let agent = AgentId::Edge(EdgeId([7; 16]));
    let (one, two) = (tls(&mut entropy), tls(&mut entropy));
    let mut asks = |count: u64, key: &TlsKey| {
        let identity = identity(&mut entropy, agent.clone(), count);
        make_recover_request(&identity, key, Bytes::from_static(b"challenge")).unwrap()
    };
    let events: Vec<(&str, RecoverRequest)> = vec![
        ("shows 0, key 1", asks(0, &one)),
        ("shows 1, key 1", asks(1, &one)),
        ("shows 1, key 2", asks(1, &two)),
        ("shows 2, key 1", asks(2, &one)),
        ("shows 2, key 2", asks(2, &two)),
        ("shows 9, key 2", asks(9, &two)),
        ("shows the largest", asks(u64::MAX, &one)),
        ("another challenge", RecoverRequest { challenge: Bytes::from_static(b"other"), ..asks(2, &one) }),
        ("another count", RecoverRequest { count: 3, ..asks(2, &one) }),
        ("without its key", RecoverRequest { device_proof: Bytes::from(vec![0; 64]), ..asks(2, &one) }),
    ];
    let device = DeviceKey::from_seed([7; 32]).public();
    let key = check_recovery(&events[1].1, &device, None).unwrap().key;
    let states = [
        ("never returned", None),
        ("returned twice, last by key 1", Some(Returns { count: 2, key })),
        ("returned nine times, by key 1", Some(Returns { count: 9, key })),
    ];
    let name = |found: &[u8; 32]| if *found == key { "key 1" } else { "key 2" };
    let mut text = String::new();
    for (state, known) in &states {
        for (event, request) in &events {
            let next = match check_recovery(request, &device, known.as_ref()) {
                Ok(next) if Some(next) == *known => "the answer of before".to_owned(),
                Ok(next) => format!("returned, {} times, by {}", next.count, name(&next.key)),
                Err(Barred::Refused(refusal)) => told(&refusal),
                Err(Barred::Cloned { shown, key, .. }) => format!("cloned: shows {shown}, by {}", name(&key)),
            };
            writeln!(text, "{state:<29} | {event:<17} | {next}").unwrap();
        }
    }
    golden("recover.txt", &text);
}

#[test]
fn renewals() {
    let mut entropy = SeededEntropy::new(3);
    let region = |name: &str| AgentId::Region(name.parse().unwrap());
    let edge = |number: u8| AgentId::Edge(EdgeId([number; 16]));
    let device = DeviceKey::from_seed([7; 32]).public();
    let mut text = String::new();
    for agent in [edge(7), region("eu")] {
        let identity = identity(&mut entropy, agent.clone(), 0);
        let right = make_renew_request(&identity, &tls(&mut entropy)).unwrap();
        let mut wrong = right.clone();
        wrong.device_proof = Bytes::from(vec![0; 64]);
        for peer in [edge(7), edge(8), region("eu"), region("us")] {
            for (event, request) in [("by its key", &right), ("not by its key", &wrong)] {
                let next = check_renewal(request, &device, &peer)
                    .map_or_else(|refusal| told(&refusal), |()| "granted".to_owned());
                writeln!(text, "{agent} | over the link of {peer} | {event:<14} | {next}").unwrap();
            }
        }
    }
    golden("renew.txt", &text);
}
