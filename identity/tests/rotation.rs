//! Rotation of the root and of the plan-signing key, as the authority does it and agents follow.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use identity::join::{GrantError, accept_grant};
use identity::lineage::{follow, is_kept};
use identity::renewal::accept_renewal;
use identity::tls::{Accepts, join_config, recover_config, server_config};
use identity::token::TokenScope;
use identity::{
    AgentIdentity, Authority, Clock, DeviceKey, FileStore, JoinToken, KeyKind, KeyStore as _, LineageError,
    Phase, Placed, PlanVerifier, Replaced, SeededEntropy, TlsKey, TokenRole, Trust,
};
use protocol::codec::encode;
use protocol::enrolment::{JoinGrant, RenewGrant, TrustBundle};
use protocol::id::{AgentId, Digest, EdgeId, Generation};
use protocol::plan::PlanHeader;
use protocol::trust::{SignedTrust, TrustChain};
use rustls::{ClientConnection, ServerConnection};

const NOW: u64 = 1_790_000_000_000;
const BOTH: Replaced = Replaced { root: true, plan_key: true };

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now(&self) -> u64 {
        NOW
    }
}

fn entropy() -> SeededEntropy {
    SeededEntropy::new(5)
}

fn authority() -> Authority {
    Authority::create_kind("fleet.example", KeyKind::P256, NOW, &mut entropy()).unwrap()
}

/// One step of a rotation; after each one the authority is as it would be after a crash.
fn step(authority: &Authority, seed: u64) -> Authority {
    let keyring = authority.keyring();
    let next = match keyring.phase() {
        Phase::Steady => keyring.introduce("r", BOTH, NOW, &mut SeededEntropy::new(seed)),
        Phase::Introduced => keyring.change_over(),
        Phase::Changed => keyring.retire(),
    };
    Authority::from_secret(&authority.to_secret_with(&next.unwrap())).unwrap()
}

fn rotated(authority: &Authority, seed: u64) -> Authority {
    step(&step(&step(authority, seed), seed), seed)
}

fn agent() -> AgentId {
    AgentId::Edge(EdgeId([7; 16]))
}

fn identity(authority: &Authority) -> AgentIdentity {
    let tls = TlsKey::generate().unwrap();
    let chain = authority.issue(&agent(), &tls.signing_request().unwrap(), NOW, &mut entropy()).unwrap();
    AgentIdentity {
        agent: agent(),
        name: "store-7".to_owned(),
        region: "eu".parse().unwrap(),
        chain,
        tls,
        device: DeviceKey::from_seed([3; 32]),
        trust: authority.trust(),
        lineage: TrustChain::default(),
        endpoints: vec!["eu.example:4433".to_owned()],
        not_before: NOW,
        not_after: NOW + identity::authority::LEAF_VALIDITY_MS,
        returns: 0,
        clock_ahead_ms: 0,
        placed: Placed::default(),
    }
}

fn renewed(authority: &Authority, identity: &AgentIdentity) -> AgentIdentity {
    let tls = TlsKey::generate().unwrap();
    let chain = authority.issue(&agent(), &tls.signing_request().unwrap(), NOW, &mut entropy()).unwrap();
    let (trust, ext) = authority.vouched().unwrap();
    let grant = RenewGrant { chain, trust, endpoints: Vec::new(), time: NOW, ext };
    accept_renewal(identity, tls, grant).unwrap()
}

fn plan(authority: &Authority) -> protocol::plan::SignedPlan {
    authority.sign_plan(&PlanHeader {
        agent: agent(),
        generation: Generation { term: 1, counter: 1 },
        body: Digest([1; 32]),
        issued_at: NOW,
        not_after: None,
        ext: Vec::new(),
    })
}

#[test]
fn each_step_says_what_is_trusted_what_issues_and_what_signs_and_outlives_a_crash() {
    let first = authority();
    let (a, old_plan) = (first.trust().roots[0].clone(), plan(&first));
    let introduced = step(&first, 1);
    let bundle = introduced.trust();
    assert_eq!((bundle.sequence, bundle.roots.len(), &bundle.roots[0]), (2, 2, &a));
    let b = bundle.roots[1].clone();
    // The old keys go on: an agent that has heard of nothing believes what they make.
    assert_eq!(plan(&introduced).key_id, old_plan.key_id);
    assert!(!identity(&introduced).is_of_other_root());
    assert_eq!(introduced.pins().len(), 2);

    let changed = step(&introduced, 1);
    assert_eq!((changed.trust().sequence, changed.trust().roots), (3, vec![b.clone(), a]));
    assert_ne!(plan(&changed).key_id, old_plan.key_id);
    let both = PlanVerifier::new(&changed.trust());
    assert!(both.verify(&old_plan).is_ok() && both.verify(&plan(&changed)).is_ok());
    // Whoever heard of it while its certificate is by the old root has a reason to renew.
    let mut edge = identity(&introduced);
    edge = edge.trusting(&changed.chain().unwrap()).unwrap().unwrap();
    assert!(edge.is_of_other_root());
    assert!(!renewed(&changed, &edge).is_of_other_root());

    let retired = step(&changed, 1);
    assert_eq!((retired.trust().sequence, retired.trust().roots), (4, vec![b]));
    assert_eq!(retired.keyring().phase(), Phase::Steady);
    let alone = PlanVerifier::new(&retired.trust());
    assert!(alone.verify(&old_plan).is_err() && alone.verify(&plan(&retired)).is_ok());
    // What was stored before is obeyed, by the bundles that led here.
    let stored = PlanVerifier::remembering(&retired.trust(), &retired.chain().unwrap());
    assert_eq!(stored.verify_for(&agent(), &old_plan).unwrap().agent, agent());
    // The private keys of before are gone.
    let secret = retired.to_secret();
    assert!(!secret.keys().any(|part| part.starts_with("other-")), "{:?}", secret.keys());
    // Content is sealed as before: what was sealed then has the same bytes now.
    assert_eq!(first.to_secret()["sealing.key"], secret["sealing.key"]);
}

#[test]
fn a_step_out_of_turn_is_refused_by_name() {
    let first = authority();
    let keyring = first.keyring();
    for refused in [keyring.change_over(), keyring.retire()] {
        assert!(refused.unwrap_err().to_string().contains("in phase \"Steady\""));
    }
    let nothing = Replaced { root: false, plan_key: false };
    assert!(
        keyring
            .introduce("r", nothing, NOW, &mut entropy())
            .unwrap_err()
            .to_string()
            .contains("expected the root")
    );
    let introduced = step(&first, 1);
    let again = introduced.keyring().introduce("r", BOTH, NOW, &mut entropy());
    assert!(again.unwrap_err().to_string().contains("in phase \"Introduced\""));
    assert!(introduced.keyring().retire().unwrap_err().to_string().contains("begins in phase \"Changed\""));
}

#[test]
fn an_agent_that_was_away_for_three_rotations_follows_the_chain_and_nobody_else_leads_it() {
    let first = authority();
    let edge = identity(&first);
    let mut newest = first;
    for seed in 1..=3 {
        newest = rotated(&newest, seed);
    }
    let chain = newest.chain().unwrap();
    let taken = edge.trusting(&chain).unwrap().unwrap();
    assert_eq!((&taken.trust, &taken.lineage), (&newest.trust(), &chain));
    assert!(taken.trusting(&chain).unwrap().is_none(), "it has it already");

    // A stranger with the same history of numbers.
    let stranger = rotated(
        &Authority::create_kind("fleet.example", KeyKind::P256, NOW, &mut SeededEntropy::new(9)).unwrap(),
        8,
    );
    assert_eq!(
        edge.trusting(&stranger.chain().unwrap()).unwrap_err(),
        LineageError::Unsigned { newest: 4, known: 1 }
    );
    // One link of the chain is missing, altered, or its signature is another one's.
    let mut missing = chain.clone();
    missing.steps.remove(0);
    assert!(matches!(edge.trusting(&missing), Err(LineageError::Unsigned { newest: 10, known: 1 })));
    let mut altered = chain.clone();
    let mut bundle: TrustBundle = protocol::codec::decode(&altered.steps[0].bundle, 1 << 16).unwrap();
    bundle.plan_keys.extend(stranger.trust().plan_keys);
    altered.steps[0].bundle = encode(&bundle);
    assert!(matches!(edge.trusting(&altered), Err(LineageError::Unsigned { .. })));
    let mut swapped = chain.clone();
    swapped.steps[0].signatures = chain.steps[1].signatures.clone();
    assert!(matches!(edge.trusting(&swapped), Err(LineageError::Unsigned { .. })));
    // An older chain changes nothing.
    assert!(
        taken.trusting(&TrustChain { steps: chain.steps[..1].to_vec(), ..chain.clone() }).unwrap().is_none()
    );
    // Too long, or with too many roots.
    let long = TrustChain { steps: vec![chain.steps[0].clone(); 33], ..TrustChain::default() };
    assert!(matches!(follow(&edge.trust, &long), Err(LineageError::Size { count: 33, .. })));
    let wide = TrustBundle { roots: vec![Bytes::new(); 5], ..bundle };
    let wide = SignedTrust { bundle: encode(&wide), signatures: Vec::new(), ext: Vec::new() };
    let wide = TrustChain { steps: vec![wide], ..TrustChain::default() };
    assert!(matches!(follow(&edge.trust, &wide), Err(LineageError::Size { count: 5, .. })));
}

#[test]
fn what_is_kept_is_signed_by_the_device_for_that_bundle_root_and_agent_alone() {
    let authority = authority();
    let edge = identity(&authority);
    let kept = edge.trust_kept();
    assert_eq!((kept.sequence, kept.root), (1, authority.pins()[0]));
    let key = edge.device.public();
    assert!(is_kept(&kept, &agent(), &key));
    let other = AgentId::Edge(EdgeId([8; 16]));
    assert!(!is_kept(&kept, &other, &key));
    assert!(!is_kept(&protocol::trust::TrustKept { sequence: 2, ..kept.clone() }, &agent(), &key));
    assert!(!is_kept(&protocol::trust::TrustKept { root: [0; 32], ..kept.clone() }, &agent(), &key));
    assert!(!is_kept(&kept, &agent(), &DeviceKey::from_seed([4; 32]).public()));
}

#[test]
fn what_led_to_the_newest_bundle_is_stored_with_it() {
    let first = authority();
    let newest = rotated(&first, 1);
    let taken = identity(&first).trusting(&newest.chain().unwrap()).unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::new(folder.path());
    store.store(&taken).unwrap();
    let kept = store.load().unwrap().unwrap();
    assert_eq!((kept.trust, kept.lineage), (taken.trust, taken.lineage));
}

fn token(authority: &Authority) -> JoinToken {
    let scope = TokenScope {
        endpoints: vec!["eu.example:4433".to_owned()],
        pins: authority.pins(),
        not_after: NOW + 1,
        region: "eu".parse().unwrap(),
        role: TokenRole::Edge,
    };
    JoinToken::mint(scope, &mut entropy()).0
}

fn grant(authority: &Authority, tls: &TlsKey) -> JoinGrant {
    let chain = authority.issue(&agent(), &tls.signing_request().unwrap(), NOW, &mut entropy()).unwrap();
    let (trust, ext) = authority.vouched().unwrap();
    let (name, region) = ("store-7".to_owned(), "eu".parse().unwrap());
    JoinGrant { agent: agent(), name, region, chain, trust, endpoints: Vec::new(), time: NOW, ext }
}

#[test]
fn a_token_of_before_a_rotation_is_good_in_every_phase_of_it_and_after_the_next() {
    let mut authority = authority();
    let token = token(&authority);
    let device = || DeviceKey::from_seed([3; 32]);
    for number in 0..6 {
        authority = step(&authority, number / 3);
        let tls = TlsKey::generate().unwrap();
        let joined = accept_grant(&token, device(), tls.clone(), grant(&authority, &tls)).unwrap();
        assert_eq!(joined.trust, authority.trust());
        // Signatures differ each time, what is signed does not.
        let bundles = |chain: TrustChain| chain.steps.into_iter().map(|step| step.bundle).collect::<Vec<_>>();
        assert_eq!(bundles(joined.lineage), bundles(authority.chain().unwrap()));
        shakes(&authority, &mut joining(&token)).unwrap();
    }
    // Whoever relays it can leave out what leads there, not make it up.
    let tls = TlsKey::generate().unwrap();
    let mut cut = grant(&authority, &tls);
    cut.ext.retain(|(tag, _)| *tag != protocol::trust::CHAIN_EXTENSION);
    assert_eq!(accept_grant(&token, device(), tls.clone(), cut).unwrap_err(), GrantError::Root);
    let stranger = rotated(&Authority::create("fleet.example", NOW, &mut SeededEntropy::new(9)).unwrap(), 8);
    let foreign = accept_grant(&token, device(), tls.clone(), grant(&stranger, &tls));
    assert!(matches!(foreign, Err(GrantError::Lineage(_))), "{foreign:?}");
    let mut mixed = grant(&stranger, &tls);
    mixed.ext = grant(&authority, &tls).ext;
    assert_eq!(accept_grant(&token, device(), tls, mixed).unwrap_err(), GrantError::Unvouched);
    assert!(shakes(&stranger, &mut joining(&token)).is_err());
}

#[test]
fn who_returns_believes_a_listener_by_the_roots_that_followed_its_own_and_a_link_does_not() {
    let first = authority();
    let region = AgentIdentity { agent: AgentId::Region("eu".parse().unwrap()), ..identity(&first) };
    let mut newest = first;
    for seed in 1..=2 {
        newest = rotated(&newest, seed);
    }
    let name = identity::tls::SERVER_NAME.try_into().unwrap();
    let config = recover_config(&region, Arc::new(Now)).unwrap();
    shakes(&newest, &mut ClientConnection::new(Arc::new(config), name).unwrap()).unwrap();
    let name = identity::tls::SERVER_NAME.try_into().unwrap();
    let config = identity::tls::client_config(&region, Arc::new(Now)).unwrap();
    let error = shakes(&newest, &mut ClientConnection::new(Arc::new(config), name).unwrap()).unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

fn joining(token: &JoinToken) -> ClientConnection {
    let name = identity::tls::SERVER_NAME.try_into().unwrap();
    ClientConnection::new(Arc::new(join_config(token, Arc::new(Now)).unwrap()), name).unwrap()
}

/// A handshake with the hub of that authority.
fn shakes(authority: &Authority, client: &mut ClientConnection) -> Result<(), String> {
    let shown = authority.hub_identity(NOW, &mut entropy()).unwrap();
    let trust = Trust::new(authority.trust()).unwrap();
    let config = server_config(&shown, trust, Accepts::Regions, Arc::new(Now)).unwrap();
    let mut server = ServerConnection::new(Arc::new(config)).unwrap();
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|error| error.to_string())?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| error.to_string())?;
        }
        if !client.is_handshaking() && !server.is_handshaking() {
            return Ok(());
        }
    }
    Err("no end".to_owned())
}

#[test]
fn an_authority_of_before_goes_on_as_it_was() {
    let authority = authority();
    let mut secret: BTreeMap<_, _> = authority.to_secret();
    for part in ["rotation-phase", "lineage", "rotation", "sealing.key"] {
        secret.remove(part).unwrap();
    }
    let before = Authority::from_secret(&secret).unwrap();
    assert_eq!(before.trust(), authority.trust());
    assert_eq!(before.to_secret(), authority.to_secret());
}
