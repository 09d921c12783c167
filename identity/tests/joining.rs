//! Tokens, joins, renewals and plans, without a network.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;

use bytes::Bytes;
use identity::join::{GrantError, accept_grant};
use identity::renewal::accept_renewal;
use identity::token::TokenScope;
use identity::{
    AgentIdentity, Authority, DenySet, DeviceKey, JoinToken, KeyKind, PeerCertificate, PlanError,
    PlanVerifier, SeededEntropy, TlsKey, TokenError, TokenRecord, TokenRole, TokenUse, check_join,
    check_renewal, make_join_request, make_renew_request,
};
use proptest::prelude::*;
use protocol::enrolment::{JoinGrant, RefusalReason, RenewGrant};
use protocol::id::{AgentId, Digest, EdgeId, Generation};
use protocol::plan::PlanHeader;
use rustls_pki_types::CertificateDer;

const NOW: u64 = 1_790_000_000_000;
const HOUR: u64 = 3_600_000;

struct Scene {
    authority: Authority,
    entropy: SeededEntropy,
    token: JoinToken,
    record: TokenRecord,
    device: DeviceKey,
    tls: TlsKey,
}

fn scene(role: TokenRole) -> Scene {
    let mut entropy = SeededEntropy::new(9);
    let authority = Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut entropy).unwrap();
    let scope = TokenScope {
        endpoints: vec!["eu.example:4433".to_owned(), "[2001:db8::1]:4433".to_owned()],
        pins: authority.pins(),
        not_after: NOW + HOUR,
        region: "eu".parse().unwrap(),
        role,
    };
    let (token, public_key) = JoinToken::mint(scope, &mut entropy);
    let record = TokenRecord {
        public_key,
        not_after: token.not_after,
        uses_max: 1,
        uses: Vec::new(),
        revoked: false,
        region: token.region.clone(),
        role,
        name: None,
        labels: BTreeMap::from([("tier".to_owned(), "shop".to_owned())]),
    };
    let device = DeviceKey::generate(&mut entropy);
    let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut entropy).unwrap();
    Scene { authority, entropy, token, record, device, tls }
}

impl Scene {
    fn request(&self, name: &str) -> protocol::enrolment::JoinRequest {
        let labels =
            BTreeMap::from([("tier".to_owned(), "wish".to_owned()), ("a".to_owned(), "b".to_owned())]);
        make_join_request(&self.token, &self.device, &self.tls, name, labels, BTreeMap::new()).unwrap()
    }

    fn refused(&self, request: &protocol::enrolment::JoinRequest, now: u64) -> RefusalReason {
        check_join(request, &self.record, now).unwrap_err().reason
    }

    fn grant(&mut self, agent: &AgentId) -> JoinGrant {
        let csr = self.tls.signing_request().unwrap();
        JoinGrant {
            agent: agent.clone(),
            name: "shop-1".to_owned(),
            region: "eu".parse().unwrap(),
            chain: self.authority.issue(agent, &csr, NOW, &mut self.entropy).unwrap(),
            trust: self.authority.trust(),
            endpoints: vec!["eu.example:4433".to_owned()],
            time: NOW,
            ext: vec![self.authority.vouch(&self.authority.trust()).unwrap()],
        }
    }

    fn accept(&self, grant: JoinGrant) -> Result<AgentIdentity, GrantError> {
        accept_grant(&self.token, self.device.clone(), self.tls.clone(), grant)
    }
}

fn edge() -> AgentId {
    AgentId::Edge(EdgeId([7; 16]))
}

#[test]
fn a_token_reads_back_from_its_text_and_hides_its_secret() {
    let scene = scene(TokenRole::Edge);
    let text = scene.token.to_string();
    assert!(text.starts_with("skein1.") && !text.contains('\n'));
    assert_eq!(JoinToken::parse(&format!("  {text}\n")), Ok(scene.token.clone()));
    assert_eq!(scene.token.public_key(), scene.record.public_key);
    let debug = format!("{:?}", scene.token);
    assert!(debug.contains("eu.example") && !debug.contains("secret"), "{debug}");
}

#[test]
fn a_wrong_token_says_what_is_wrong_with_it() {
    let text = scene(TokenRole::Edge).token.to_string();
    let parse = |text: &str| JoinToken::parse(text).unwrap_err();
    assert_eq!(parse("k10.abc"), TokenError::Prefix("k10.abc".to_owned()));
    assert!(matches!(parse("skein1.ab*d"), TokenError::Encoding(_)));
    assert_eq!(parse(&"x".repeat(5000)), TokenError::Length(5000));
    for cut in 8..text.len() {
        assert_eq!(parse(&text[..cut]), TokenError::Checksum, "cut to {cut}");
    }
    let at = text.len() / 2;
    let other = if text.as_bytes()[at] == b'A' { 'B' } else { 'A' };
    let altered = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    assert_eq!(parse(&altered), TokenError::Checksum);
    assert!(parse(&altered).to_string().contains("cut off or altered"));
}

#[test]
fn a_join_gets_the_token_s_labels_first_and_the_device_s_name() {
    let scene = scene(TokenRole::Edge);
    let decision = check_join(&scene.request("shop-1"), &scene.record, NOW).unwrap();
    assert_eq!(decision.name, "shop-1");
    assert_eq!(decision.labels.get("tier").map(String::as_str), Some("shop"));
    assert_eq!(decision.labels.get("a").map(String::as_str), Some("b"));
    assert_eq!(decision.binding.unwrap().device_key, scene.device.public());
}

#[test]
fn a_name_of_the_token_prevails_and_a_bad_wish_is_refused() {
    let mut scene = scene(TokenRole::Edge);
    assert_eq!(scene.refused(&scene.request("Not A Name"), NOW), RefusalReason::OutOfScope);
    scene.record.name = Some("given".to_owned());
    let decision = check_join(&scene.request("Not A Name"), &scene.record, NOW).unwrap();
    assert_eq!(decision.name, "given");
}

#[test]
fn a_region_token_makes_exactly_its_region() {
    let scene = scene(TokenRole::Region);
    let decision = check_join(&scene.request("whatever"), &scene.record, NOW).unwrap();
    assert_eq!(decision.agent, AgentId::Region("eu".parse().unwrap()));
}

#[test]
fn the_same_device_gets_the_same_agent_and_another_device_is_refused() {
    let mut scene = scene(TokenRole::Edge);
    let request = scene.request("shop-1");
    let first = check_join(&request, &scene.record, NOW).unwrap();
    scene.record.uses.extend(first.binding.clone());
    let again = check_join(&request, &scene.record, NOW).unwrap();
    assert_eq!((again.agent, again.binding), (first.agent, None));
    scene.device = DeviceKey::generate(&mut SeededEntropy::new(10));
    assert_eq!(scene.refused(&scene.request("shop-2"), NOW), RefusalReason::TokenUsed);
    scene.record.uses_max = 2;
    assert!(check_join(&scene.request("shop-2"), &scene.record, NOW).is_ok());
}

#[test]
fn every_alteration_of_a_request_is_refused() {
    let scene = scene(TokenRole::Edge);
    let good = scene.request("shop-1");
    let other = DeviceKey::generate(&mut SeededEntropy::new(11));
    let mut replayed = good.clone();
    replayed.device_key = other.public();
    assert_eq!(scene.refused(&replayed, NOW), RefusalReason::ProofInvalid);
    let mut swapped = good.clone();
    swapped.csr = TlsKey::generate().unwrap().signing_request().unwrap();
    assert_eq!(scene.refused(&swapped, NOW), RefusalReason::ProofInvalid);
    let mut unproven = good.clone();
    unproven.device_proof = other.sign(b"something");
    assert_eq!(scene.refused(&unproven, NOW), RefusalReason::ProofInvalid);
    let mut short = good.clone();
    short.device_key = short.device_key.slice(..31);
    assert_eq!(scene.refused(&short, NOW), RefusalReason::Malformed);
    let mut wordy = good;
    wordy.facts = (0..100).map(|n| (n.to_string(), String::new())).collect();
    assert_eq!(scene.refused(&wordy, NOW), RefusalReason::Malformed);
}

#[test]
fn a_token_that_is_over_or_withdrawn_is_refused() {
    let mut scene = scene(TokenRole::Edge);
    let request = scene.request("shop-1");
    assert!(check_join(&request, &scene.record, NOW + HOUR).is_ok());
    assert_eq!(scene.refused(&request, NOW + HOUR + 1), RefusalReason::TokenExpired);
    scene.record.revoked = true;
    assert_eq!(scene.refused(&request, NOW), RefusalReason::TokenRevoked);
}

#[test]
fn a_grant_is_believed_only_if_it_is_what_the_token_promised() {
    let mut scene = scene(TokenRole::Edge);
    let good = scene.grant(&edge());
    let identity = scene.accept(good.clone()).unwrap();
    assert_eq!((identity.agent, identity.name.as_str()), (edge(), "shop-1"));
    let mut entropy = SeededEntropy::new(12);
    let other = Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut entropy).unwrap();
    let stranger = JoinGrant { trust: other.trust(), ..good.clone() };
    assert_eq!(scene.accept(stranger).unwrap_err(), GrantError::Root);
    // Whoever relays the grant puts in a root or a plan key, with or without a word of its own for it.
    let mut altered = good.clone();
    altered.trust.plan_keys.extend(other.trust().plan_keys);
    assert_eq!(scene.accept(altered.clone()).unwrap_err(), GrantError::Unvouched);
    altered.trust.roots.extend(other.trust().roots);
    altered.ext = vec![other.vouch(&altered.trust).unwrap()];
    assert_eq!(scene.accept(altered).unwrap_err(), GrantError::Unvouched);
    let bare = JoinGrant { ext: Vec::new(), ..good.clone() };
    assert_eq!(scene.accept(bare).unwrap_err(), GrantError::Unvouched);
    let moved = JoinGrant { region: "us".parse().unwrap(), ..good.clone() };
    assert!(matches!(scene.accept(moved), Err(GrantError::Scope { .. })));
    let promoted = scene.grant(&AgentId::Region("eu".parse().unwrap()));
    assert!(matches!(scene.accept(promoted), Err(GrantError::Scope { .. })));
    let renamed = JoinGrant { agent: AgentId::Edge(EdgeId([8; 16])), ..good.clone() };
    assert!(matches!(scene.accept(renamed), Err(GrantError::Certificate(text)) if text.contains("names")));
    let old = JoinGrant { time: NOW + 30 * 24 * HOUR, ..good.clone() };
    assert!(matches!(scene.accept(old), Err(GrantError::Certificate(_))));
    scene.tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut scene.entropy).unwrap();
    assert!(matches!(scene.accept(good), Err(GrantError::Certificate(text)) if text.contains("another key")));
}

#[test]
fn a_root_of_either_kind_vouches_for_its_bundle() {
    for kind in [KeyKind::P256, KeyKind::Ed25519] {
        let mut scene = scene(TokenRole::Edge);
        scene.authority = Authority::create_kind("fleet.example", kind, NOW, &mut scene.entropy).unwrap();
        scene.token.pins = scene.authority.pins();
        let mut grant = scene.grant(&edge());
        assert!(scene.accept(grant.clone()).is_ok(), "{kind:?}");
        grant.trust.sequence += 1;
        assert_eq!(scene.accept(grant).unwrap_err(), GrantError::Unvouched);
    }
}

#[test]
fn a_grant_that_names_no_endpoint_keeps_those_of_the_token() {
    let mut scene = scene(TokenRole::Edge);
    let mut grant = scene.grant(&edge());
    assert_eq!(scene.accept(grant.clone()).unwrap().endpoints, ["eu.example:4433"]);
    grant.endpoints.clear();
    assert_eq!(scene.accept(grant).unwrap().endpoints, scene.token.endpoints);
}

#[test]
fn renewal_needs_the_device_key_and_the_right_link() {
    let mut scene = scene(TokenRole::Edge);
    let grant = scene.grant(&edge());
    let identity = scene.accept(grant).unwrap();
    let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut scene.entropy).unwrap();
    let request = make_renew_request(&identity, &tls).unwrap();
    let device = scene.device.public();
    let region = AgentId::Region("eu".parse().unwrap());
    assert_eq!(check_renewal(&request, &device, &edge()), Ok(()));
    assert_eq!(check_renewal(&request, &device, &region), Ok(()), "relayed by its region");
    let other = AgentId::Edge(EdgeId([8; 16]));
    assert_eq!(check_renewal(&request, &device, &other).unwrap_err().reason, RefusalReason::Forbidden);
    let thief = DeviceKey::generate(&mut SeededEntropy::new(13)).public();
    assert_eq!(check_renewal(&request, &thief, &edge()).unwrap_err().reason, RefusalReason::ProofInvalid);

    let later = NOW + 4 * 24 * HOUR;
    let chain = scene.authority.issue(&edge(), &request.csr, later, &mut scene.entropy).unwrap();
    let mut trust = scene.authority.trust();
    trust.sequence = 0;
    let grant = RenewGrant { chain, trust, endpoints: Vec::new(), time: later, ext: Vec::new() };
    let renewed = accept_renewal(&identity, tls, grant.clone()).unwrap();
    assert!(renewed.not_after > identity.not_after);
    assert_eq!(renewed.trust, identity.trust, "an older bundle is not taken");
    assert_eq!(renewed.endpoints, identity.endpoints);
    assert!(accept_renewal(&identity, scene.tls.clone(), grant.clone()).is_err());

    // A newer bundle counts on the word of a root that is trusted already.
    let mut trust = scene.authority.trust();
    trust.sequence += 1;
    let vouched = vec![scene.authority.vouch(&trust).unwrap()];
    let newer = RenewGrant { trust: trust.clone(), ext: vouched.clone(), ..grant.clone() };
    let tls = renewed.tls.clone();
    assert_eq!(accept_renewal(&identity, tls.clone(), newer).unwrap().trust, trust);
    trust.plan_keys.clear();
    let altered = RenewGrant { trust, ext: vouched, ..grant };
    assert_eq!(accept_renewal(&identity, tls, altered).unwrap_err(), GrantError::Unvouched);
}

#[test]
fn renewal_is_due_around_half_life_and_not_for_all_at_once() {
    let mut scene = scene(TokenRole::Edge);
    let grant = scene.grant(&edge());
    let identity = scene.accept(grant).unwrap();
    let life = identity.not_after - identity.not_before;
    let due: Vec<u64> = (0..200)
        .map(|n| {
            let other = AgentIdentity { agent: AgentId::Edge(EdgeId([n; 16])), ..identity.clone() };
            other.needs_renewal_at() - other.not_before
        })
        .collect();
    assert!(due.iter().all(|at| (life * 4 / 10..=life * 6 / 10).contains(at)));
    let spread = due.iter().max().unwrap() - due.iter().min().unwrap();
    assert!(spread > life / 8, "{spread} of {life}");
    assert!(!identity.renewal_due(NOW) && identity.renewal_due(identity.not_after));
}

fn header(agent: &AgentId) -> PlanHeader {
    PlanHeader {
        agent: agent.clone(),
        generation: Generation { term: 1, counter: 2 },
        body: Digest([3; 32]),
        issued_at: NOW,
        not_after: None,
        ext: Vec::new(),
    }
}

#[test]
fn a_region_can_carry_a_plan_but_not_forge_one() {
    let mut scene = scene(TokenRole::Edge);
    let verifier = PlanVerifier::new(&scene.authority.trust());
    let plan = scene.authority.sign_plan(&header(&edge()));
    assert_eq!(verifier.verify_for(&edge(), &plan), Ok(header(&edge())));
    // The region has everything but the hub's key: it alters the header, signs with its own key, claims the id.
    let mut altered = plan.clone();
    let mut bytes = altered.header.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    altered.header = Bytes::from(bytes);
    assert_eq!(verifier.verify(&altered), Err(PlanError::Signature(plan.key_id)));
    let own = Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut scene.entropy).unwrap();
    let mut forged = own.sign_plan(&header(&edge()));
    assert_eq!(verifier.verify(&forged), Err(PlanError::UnknownKey(forged.key_id)));
    forged.key_id = plan.key_id;
    assert_eq!(verifier.verify(&forged), Err(PlanError::Signature(plan.key_id)));
    // A plan for somebody else, correctly signed, is not obeyed here.
    let others = scene.authority.sign_plan(&header(&AgentId::Edge(EdgeId([8; 16]))));
    assert!(matches!(verifier.verify_for(&edge(), &others), Err(PlanError::OtherAgent { .. })));
    // A signature for another purpose is none for a plan.
    let mut borrowed = plan;
    borrowed.signature = scene.device.sign(&borrowed.header);
    assert!(verifier.verify(&borrowed).is_err());
}

#[test]
fn the_deny_set_names_agents_keys_and_serials() {
    let mut scene = scene(TokenRole::Edge);
    let leaf = scene.grant(&edge()).chain.remove(0);
    let certificate = PeerCertificate::read(&CertificateDer::from(leaf.to_vec())).unwrap();
    let denied = |deny: DenySet| deny.denies(&edge(), &certificate);
    assert!(!denied(DenySet::default()));
    assert!(denied(DenySet { agents: [edge()].into(), ..DenySet::default() }));
    assert!(denied(DenySet { keys: [scene.tls.spki_hash()].into(), ..DenySet::default() }));
    assert!(denied(DenySet { serials: [certificate.serial.clone()].into(), ..DenySet::default() }));
}

#[test]
fn a_binding_survives_in_the_record_whatever_the_hub_forgot() {
    let mut scene = scene(TokenRole::Edge);
    let decided = check_join(&scene.request("shop-1"), &scene.record, NOW).unwrap();
    // The write of the binding was lost: the same device still becomes the same agent.
    assert_eq!(check_join(&scene.request("shop-1"), &scene.record, NOW).unwrap().agent, decided.agent);
    let bound = AgentId::Edge(EdgeId([9; 16]));
    scene.record.uses = vec![TokenUse { device_key: scene.device.public(), agent: bound.clone() }];
    assert_eq!(check_join(&scene.request("shop-1"), &scene.record, NOW).unwrap().agent, bound);
}

proptest! {
    #[test]
    fn no_text_makes_the_token_parser_panic(text in "\\PC{0,200}", tail in "[A-Za-z0-9_-]{0,300}") {
        let _ = JoinToken::parse(&text);
        let _ = JoinToken::parse(&format!("skein1.{tail}"));
    }
}
