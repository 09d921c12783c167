//! What the authority issues, whatever it is asked for.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use identity::authority::{AuthorityError, BACKDATE_MS, LEAF_VALIDITY_MS};
use identity::certificate::{peer_agent, spki_hash, validity};
use identity::{Authority, KeyKind, PeerCertificate, SeededEntropy, TlsKey};
use proptest::prelude::*;
use protocol::id::{AgentId, EdgeId};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const NOW: u64 = 1_790_000_000_000;

fn authority() -> Authority {
    Authority::create("fleet.example", NOW, &mut SeededEntropy::new(1)).unwrap()
}

fn edge() -> AgentId {
    AgentId::Edge(EdgeId([7; 16]))
}

fn issue(authority: &Authority, agent: &AgentId, csr: &[u8]) -> Vec<u8> {
    let chain = authority.issue(agent, csr, NOW, &mut SeededEntropy::new(2)).unwrap();
    assert_eq!(chain.len(), 1);
    chain[0].to_vec()
}

#[test]
fn a_request_for_a_certificate_authority_gets_a_plain_leaf() {
    let key = KeyPair::generate().unwrap();
    let mut greedy = CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ServerAuth];
    greedy.subject_alt_names.push(SanType::URI("spiffe://fleet.example/hub".try_into().unwrap()));
    let csr = greedy.serialize_request(&key).unwrap();
    let der = issue(&authority(), &edge(), csr.der());
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    assert!(!leaf.is_ca());
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign());
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any);
    let names = &leaf.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 1);
    let facts = PeerCertificate::read(&CertificateDer::from(der.clone())).unwrap();
    assert_eq!(facts.spiffe, edge().spiffe("fleet.example"));
}

#[test]
fn a_leaf_names_its_agent_and_lives_for_seven_days() {
    let authority = authority();
    let tls = TlsKey::generate().unwrap();
    let der = issue(&authority, &edge(), &tls.signing_request().unwrap());
    assert_eq!(validity(&der).unwrap(), (NOW - BACKDATE_MS, NOW + LEAF_VALIDITY_MS));
    assert_eq!(spki_hash(&der).unwrap(), tls.spki_hash());
    let chain = [CertificateDer::from(der)];
    assert_eq!(peer_agent(&chain, "fleet.example"), Ok(edge()));
    assert!(peer_agent(&chain, "other.example").is_err());
    assert!(peer_agent(&[], "fleet.example").is_err());
}

#[test]
fn a_region_may_dial_and_listen_and_the_hub_only_listens() {
    let authority = authority();
    let csr = TlsKey::generate().unwrap().signing_request().unwrap();
    let usages = |der: &[u8]| {
        let (_, leaf) = X509Certificate::from_der(der).unwrap();
        let usages = leaf.extended_key_usage().unwrap().unwrap().value;
        (usages.client_auth, usages.server_auth)
    };
    assert_eq!(usages(&issue(&authority, &AgentId::Region("eu".parse().unwrap()), &csr)), (true, true));
    assert_eq!(usages(&issue(&authority, &edge(), &csr)), (true, false));
    let hub = authority.hub_identity(NOW, &mut SeededEntropy::new(3)).unwrap();
    assert_eq!(usages(&hub.chain[0]), (false, true));
}

#[test]
fn a_request_that_is_broken_forged_or_of_another_kind_of_key_is_refused() {
    let authority = authority();
    let mut csr = TlsKey::generate().unwrap().signing_request().unwrap().to_vec();
    let issue = |csr: &[u8]| authority.issue(&edge(), csr, NOW, &mut SeededEntropy::new(2));
    *csr.last_mut().unwrap() ^= 1;
    assert!(matches!(issue(&csr), Err(AuthorityError::Request(_))));
    assert!(matches!(issue(&csr[..20]), Err(AuthorityError::Request(_))));
    assert!(
        matches!(issue(&vec![0x30; 100_000]), Err(AuthorityError::Request(text)) if text.contains("100000"))
    );
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let csr = CertificateParams::default().serialize_request(&other).unwrap();
    assert!(matches!(issue(csr.der()), Err(AuthorityError::Request(text)) if text.contains("neither P-256")));
}

#[test]
fn an_authority_comes_back_from_its_secret_and_damage_is_named() {
    let first = authority();
    let secret = first.to_secret();
    let again = Authority::from_secret(&secret).unwrap();
    assert_eq!(again.trust(), first.trust());
    assert_eq!(again.pins(), first.pins());
    assert_eq!(again.link_secret(), first.link_secret());
    assert!(secret.values().all(|part| std::str::from_utf8(part).is_ok()));
    for part in secret.keys() {
        let mut missing = secret.clone();
        missing.remove(part);
        let error = Authority::from_secret(&missing).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("is missing"), "{error}");
        let mut damaged = secret.clone();
        damaged.insert(part.clone(), b"!?".to_vec());
        assert!(Authority::from_secret(&damaged).is_err(), "{part}");
    }
    let mut mixed = secret;
    mixed.insert("root.crt".to_owned(), authority().to_secret()["root.crt"].clone());
    assert!(Authority::from_secret(&mixed).unwrap_err().to_string().contains("does not belong to root.key"));
}

#[test]
fn a_trust_domain_that_is_no_dns_name_is_refused() {
    for domain in ["", "Fleet", "a..b", "-a", "a_b", &"a".repeat(300)] {
        assert!(Authority::create(domain, NOW, &mut SeededEntropy::new(1)).is_err(), "{domain}");
    }
}

#[test]
fn the_same_entropy_gives_the_same_authority_and_leaf() {
    let make = || {
        let mut entropy = SeededEntropy::new(5);
        let authority = Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut entropy).unwrap();
        let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut entropy).unwrap();
        authority.issue(&edge(), &tls.signing_request().unwrap(), NOW, &mut entropy).unwrap()
    };
    assert_eq!(make(), make());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn perturbed_requests_and_certificates_never_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut entropy = SeededEntropy::new(6);
        let authority = Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut entropy).unwrap();
        let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut entropy).unwrap();
        let csr = tls.signing_request().unwrap();
        let leaf = authority.issue(&edge(), &csr, NOW, &mut entropy).unwrap().remove(0);
        for original in [csr, leaf] {
            let mut bytes = original.to_vec();
            let index = at.index(bytes.len());
            bytes[index] = byte;
            let _ = authority.issue(&edge(), &bytes, NOW, &mut entropy);
            let _ = PeerCertificate::read(&CertificateDer::from(bytes.clone()));
            let _ = (validity(&bytes), spki_hash(&bytes));
            bytes.truncate(cut.index(bytes.len()));
            let _ = authority.issue(&edge(), &bytes, NOW, &mut entropy);
            let _ = PeerCertificate::read(&CertificateDer::from(bytes.clone()));
            let _ = (validity(&bytes), spki_hash(&bytes));
        }
    }
}
