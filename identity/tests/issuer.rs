//! What a region can issue, and that nobody believes anything else.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use bytes::Bytes;
use identity::authority::{AuthorityError, BACKDATE_MS, LEAF_VALIDITY_MS};
use identity::issuer::{ISSUER_VALIDITY_MS, TABLE_AGE_MAX_MS, issuer_wish, wished_issuer};
use identity::join::GrantError;
use identity::renewal::accept_renewal;
use identity::tls::{Accepts, REGION_GRACE_MS, client_config, join_config, server_config};
use identity::token::TokenScope;
use identity::{
    AgentIdentity, Authority, Clock, DenySet, DeviceKey, FileStore, JoinToken, KeyKind, LinkIdentity,
    PlanVerifier, RegionIssuer, SeededEntropy, TlsKey, TokenRole, Trust, make_renew_request,
};
use protocol::codec::encode;
use protocol::delegation::{EdgeStanding, EdgeTable, ISSUER_EXTENSION, RETURNS_EXTENSION, Standings};
use protocol::enrolment::{Refusal, RefusalReason, RenewGrant, RenewRequest, TrustBundle};
use protocol::id::{AgentId, Digest, EdgeId, Generation};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

const NOW: u64 = 1_790_000_000_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

#[derive(Debug, Clone, Copy)]
struct At(u64);

impl Clock for At {
    fn now(&self) -> u64 {
        self.0
    }
}

fn edge(number: u8) -> AgentId {
    AgentId::Edge(EdgeId([number; 16]))
}

fn region(name: &str) -> AgentId {
    AgentId::Region(name.parse().unwrap())
}

struct Scene {
    authority: Authority,
    entropy: SeededEntropy,
    /// Regional agent of `eu`.
    agent: AgentIdentity,
    issuer: RegionIssuer,
    /// Edge 7 of `eu`.
    edge: AgentIdentity,
}

fn identity(
    authority: &Authority,
    entropy: &mut SeededEntropy,
    agent: AgentId,
    of_region: &str,
) -> AgentIdentity {
    let tls = TlsKey::generate_kind(KeyKind::Ed25519, entropy).unwrap();
    let chain = authority.issue(&agent, &tls.signing_request().unwrap(), NOW, entropy).unwrap();
    let (not_before, not_after) = identity::certificate::validity(&chain[0]).unwrap();
    AgentIdentity {
        agent,
        name: "some-name".to_owned(),
        region: of_region.parse().unwrap(),
        chain,
        tls,
        device: DeviceKey::generate(entropy),
        trust: authority.trust(),
        endpoints: vec!["eu.example:4433".to_owned()],
        not_before,
        not_after,
        returns: 0,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

fn issuer_of(authority: &Authority, agent: &AgentIdentity, entropy: &mut SeededEntropy) -> RegionIssuer {
    let key = TlsKey::generate_kind(KeyKind::Ed25519, entropy).unwrap();
    let told = authority.delegate(&agent.region, &key.signing_request().unwrap(), NOW, entropy).unwrap();
    RegionIssuer::granted(agent, key, &vec![told], NOW, entropy).unwrap().unwrap()
}

fn scene() -> Scene {
    let mut entropy = SeededEntropy::new(1);
    let authority = Authority::create_kind("fleet.example", KeyKind::Ed25519, NOW, &mut entropy).unwrap();
    let agent = identity(&authority, &mut entropy, region("eu"), "eu");
    let issuer = issuer_of(&authority, &agent, &mut entropy);
    let edge = identity(&authority, &mut entropy, edge(7), "eu");
    Scene { authority, entropy, agent, issuer, edge }
}

impl Scene {
    fn standing(&self) -> EdgeStanding {
        let device_key = self.edge.device.public();
        EdgeStanding { edge: EdgeId([7; 16]), device_key, returns: 0, denied: false }
    }

    fn table(&self) -> EdgeTable {
        let entries = Standings(vec![self.standing()]);
        EdgeTable {
            region: "eu".parse().unwrap(),
            generation: Generation { term: 1, counter: 1 },
            issued_at: NOW,
            edges: 1,
            digest: Digest::of(&encode(&entries)),
            ext: Vec::new(),
        }
    }

    fn renew(&self, request: &RenewRequest, at: u64) -> Result<Vec<Bytes>, Refusal> {
        self.renew_by(request, &self.table(), Some(&self.standing()), at)
    }

    fn renew_by(
        &self,
        request: &RenewRequest,
        table: &EdgeTable,
        standing: Option<&EdgeStanding>,
        at: u64,
    ) -> Result<Vec<Bytes>, Refusal> {
        let mut entropy = SeededEntropy::new(5);
        self.issuer.renew(request, (table, standing), TABLE_AGE_MAX_MS, at, &mut entropy)
    }

    /// A certificate of the region's issuer with everything as somebody likes it.
    fn forged(&self, name: &str, forge: impl FnOnce(&mut CertificateParams)) -> (Vec<Bytes>, TlsKey) {
        let key = PrivatePkcs8KeyDer::from(self.issuer.key().pkcs8());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519).unwrap();
        let certificate = CertificateDer::from(&self.issuer.certificate()[..]);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).unwrap();
        let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut SeededEntropy::new(6)).unwrap();
        let own = PrivatePkcs8KeyDer::from(tls.pkcs8());
        let own = KeyPair::from_pkcs8_der_and_sign_algo(&own, &rcgen::PKCS_ED25519).unwrap();
        let mut params = CertificateParams::default();
        let at =
            |millis: u64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(millis / 1000);
        (params.not_before, params.not_after) = (at(NOW - BACKDATE_MS), at(NOW + DAY));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
        forge(&mut params);
        let leaf = params.signed_by(&own, &issuer).unwrap();
        (vec![Bytes::copy_from_slice(leaf.der()), self.issuer.certificate().clone()], tls)
    }

    fn grant(&self, chain: Vec<Bytes>) -> RenewGrant {
        let (trust, endpoints) = (TrustBundle::default(), Vec::new());
        RenewGrant { chain, trust, endpoints, time: NOW, ext: Vec::new() }
    }

    /// What somebody with that chain hears from a listener that shows this.
    fn dial(&self, identity: &AgentIdentity, shown: &LinkIdentity, accepts: Accepts) -> Result<(), String> {
        self.dial_with(identity, shown, accepts, DenySet::default())
    }

    fn dial_with(
        &self,
        identity: &AgentIdentity,
        shown: &LinkIdentity,
        accepts: Accepts,
        deny: DenySet,
    ) -> Result<(), String> {
        let trust = Trust::new(self.authority.trust()).unwrap();
        trust.set_deny(deny);
        let server = Arc::new(server_config(shown, trust, accepts, Arc::new(At(NOW))).unwrap());
        // Dials whoever listens: what that thinks of the dialler is the question.
        let token = JoinToken::mint(
            TokenScope {
                endpoints: Vec::new(),
                pins: self.authority.pins(),
                not_after: NOW,
                region: "eu".parse().unwrap(),
                role: TokenRole::Edge,
            },
            &mut SeededEntropy::new(4),
        );
        let mut client = join_config(&token.0, Arc::new(At(NOW))).unwrap();
        client.client_auth_cert_resolver =
            client_config(identity, Arc::new(At(NOW))).unwrap().client_auth_cert_resolver;
        shake(client, server)
    }
}

/// A handshake; the first error of either side ends it.
fn shake(client: rustls::ClientConfig, server: Arc<rustls::ServerConfig>) -> Result<(), String> {
    let mut client = ClientConnection::new(Arc::new(client), "skein.internal".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..10 {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut rest = &flight[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut rest = &flight[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| format!("client: {error}"))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

fn accepted(
    scene: &Scene,
    edge: &AgentIdentity,
    chain: Vec<Bytes>,
    tls: TlsKey,
) -> Result<AgentIdentity, String> {
    accept_renewal(edge, tls, scene.grant(chain)).map_err(|error: GrantError| error.to_string())
}

#[test]
fn an_edge_renewed_by_its_region_links_there_and_nowhere_else() {
    let mut scene = scene();
    let tls = TlsKey::generate().unwrap();
    let request = make_renew_request(&scene.edge, &tls).unwrap();
    let chain = scene.renew(&request, NOW + DAY).unwrap();
    assert_eq!(chain.len(), 2);
    let grant = RenewGrant { time: NOW + DAY, ..scene.grant(chain) };
    let renewed = accept_renewal(&scene.edge, tls, grant).unwrap();
    assert_eq!(renewed.not_after, NOW + DAY + LEAF_VALIDITY_MS);
    assert_eq!(
        (renewed.trust.clone(), renewed.endpoints.clone()),
        (scene.edge.trust.clone(), scene.edge.endpoints.clone())
    );

    let request = make_renew_request(&scene.edge, &renewed.tls).unwrap();
    let now = AgentIdentity { chain: scene.renew(&request, NOW).unwrap(), ..renewed };
    scene.dial(&now, &scene.agent.link_identity(), Accepts::Edges).unwrap();
    let us = identity(&scene.authority, &mut scene.entropy, region("us"), "us").link_identity();
    let refused = scene.dial(&now, &us, Accepts::Edges).unwrap_err();
    assert!(refused.contains("issued by region \"eu\"") && refused.contains("or region \"us\""), "{refused}");
    let hub = scene.authority.hub_identity(NOW, &mut scene.entropy).unwrap();
    let refused = scene.dial(&now, &hub, Accepts::Regions).unwrap_err();
    assert!(refused.contains("may not link here"), "{refused}");
    // A region that was revoked has an issuer that is worth nothing, by its name and by its key.
    let issuer = identity::certificate::spki_hash(scene.issuer.certificate()).unwrap();
    for deny in [
        DenySet { agents: [region("eu")].into(), ..DenySet::default() },
        DenySet { keys: [issuer].into(), ..DenySet::default() },
        DenySet { agents: [edge(7)].into(), ..DenySet::default() },
    ] {
        let refused = scene.dial_with(&now, &scene.agent.link_identity(), Accepts::Edges, deny).unwrap_err();
        assert!(refused.contains("Revoked"), "{refused}");
    }
}

#[test]
fn whatever_else_a_region_issues_is_refused_by_edge_region_and_hub() {
    let mut scene = scene();
    let eu = scene.agent.link_identity();
    let hub = scene.authority.hub_identity(NOW, &mut scene.entropy).unwrap();
    let own = edge(7).spiffe("fleet.example");
    let at = |millis: u64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(millis / 1000);
    type Forge = Box<dyn Fn(&mut CertificateParams)>;
    let cases: Vec<(&str, String, Forge, &str)> = vec![
        ("a region", region("us").spiffe("fleet.example"), Box::new(|_| {}), "issues for edges only"),
        ("itself", region("eu").spiffe("fleet.example"), Box::new(|_| {}), "issues for edges only"),
        ("the hub", "spiffe://fleet.example/hub".to_owned(), Box::new(|_| {}), "not an agent id"),
        ("another domain", edge(7).spiffe("other.example"), Box::new(|_| {}), "not an agent id"),
        (
            "a certificate authority",
            own.clone(),
            Box::new(|params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            }),
            "CaUsedAsEndEntity",
        ),
        (
            "a longer life",
            own.clone(),
            Box::new(move |params| params.not_after = at(NOW + LEAF_VALIDITY_MS + HOUR)),
            "at most",
        ),
        (
            "a listener",
            own.clone(),
            Box::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "RequiredEkuNotFound",
        ),
    ];
    for (what, name, forge, why) in cases {
        let (chain, tls) = scene.forged(&name, forge);
        let refused = accepted(&scene, &scene.edge, chain.clone(), tls.clone()).unwrap_err();
        let pretends = AgentIdentity { chain, tls, ..scene.edge.clone() };
        let by_region = scene.dial(&pretends, &eu, Accepts::Edges).unwrap_err();
        let by_hub = scene.dial(&pretends, &hub, Accepts::Regions).unwrap_err();
        println!("{what}: {refused} | {by_region} | {by_hub}");
        // Each says what it finds first: who may not link there at all, or what is wrong with the certificate.
        let told = |text: &str| {
            text.contains(why) || text.contains("may not link here") || text.contains("for edges only")
        };
        assert!(refused.contains("it names") || told(&refused), "{what}: {refused}");
        assert!(told(&by_region), "{what}: {by_region}");
        assert!(told(&by_hub), "{what}: {by_hub}");
    }
}

#[test]
fn an_edge_takes_only_its_own_region_s_issuer_and_only_for_itself() {
    let mut scene = scene();
    let us = identity(&scene.authority, &mut scene.entropy, region("us"), "us");
    let foreign = issuer_of(&scene.authority, &us, &mut scene.entropy);
    let csr = scene.edge.tls.signing_request().unwrap();
    let mut take = |issuer: &RegionIssuer, agent: AgentId| {
        let chain = issuer.issue(&agent, &csr, NOW, &mut scene.entropy).unwrap();
        accept_renewal(
            &scene.edge,
            scene.edge.tls.clone(),
            RenewGrant {
                chain,
                trust: TrustBundle::default(),
                endpoints: Vec::new(),
                time: NOW,
                ext: Vec::new(),
            },
        )
        .map(|_| ())
        .map_err(|error| error.to_string())
    };
    take(&scene.issuer, edge(7)).unwrap();
    let refused = take(&foreign, edge(7)).unwrap_err();
    assert!(refused.contains("issued by region \"us\"") && refused.contains("or region \"eu\""), "{refused}");
    let refused = take(&scene.issuer, edge(8)).unwrap_err();
    assert!(refused.contains("it names edge/08080808"), "{refused}");
}

#[test]
fn a_region_renews_only_who_the_table_says_and_only_while_that_is_young() {
    let scene = scene();
    let tls = TlsKey::generate().unwrap();
    let request = make_renew_request(&scene.edge, &tls).unwrap();
    let (table, standing) = (scene.table(), scene.standing());
    scene.renew(&request, NOW + TABLE_AGE_MAX_MS).unwrap();
    let refused = |refused: Result<Vec<Bytes>, Refusal>, reason, part: &str| {
        let refusal = refused.unwrap_err();
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert!(refusal.message.contains(part), "{}", refusal.message);
    };
    let stale = scene.renew(&request, NOW + TABLE_AGE_MAX_MS + HOUR);
    refused(stale, RefusalReason::Unavailable, "169 h old, at most 168 h");
    refused(scene.renew(&request, NOW - HOUR), RefusalReason::Unavailable, "clock is behind");
    let absent = scene.renew_by(&request, &table, None, NOW);
    refused(absent, RefusalReason::Forbidden, "not in the hub's table");
    let other = EdgeStanding { edge: EdgeId([8; 16]), ..standing.clone() };
    refused(
        scene.renew_by(&request, &table, Some(&other), NOW),
        RefusalReason::Forbidden,
        "not in the hub's",
    );
    let us = EdgeTable { region: "us".parse().unwrap(), ..table.clone() };
    refused(
        scene.renew_by(&request, &us, Some(&standing), NOW),
        RefusalReason::Forbidden,
        "not in the hub's",
    );
    let denied = EdgeStanding { denied: true, ..standing.clone() };
    refused(scene.renew_by(&request, &table, Some(&denied), NOW), RefusalReason::Revoked, "was revoked");
    let stolen = EdgeStanding { device_key: DeviceKey::from_seed([1; 32]).public(), ..standing.clone() };
    let by_another = scene.renew_by(&request, &table, Some(&stolen), NOW);
    refused(by_another, RefusalReason::ProofInvalid, "not by the device key");
    // A copied disk: the other device has returned meanwhile.
    let returned = EdgeStanding { returns: 2, ..standing };
    let copy = scene.renew_by(&request, &table, Some(&returned), NOW);
    refused(copy, RefusalReason::Forbidden, "shows 0 returns, the hub knows of 2");
    let genuine = AgentIdentity { returns: 2, ..scene.edge.clone() };
    let genuine = make_renew_request(&genuine, &tls).unwrap();
    scene.renew_by(&genuine, &table, Some(&returned), NOW).unwrap();
    // An edge of before says nothing of it.
    let mut silent = request.clone();
    silent.ext.retain(|(tag, _)| *tag != RETURNS_EXTENSION);
    scene.renew_by(&silent, &table, Some(&returned), NOW).unwrap();
    let altered = RenewRequest { csr: Bytes::from_static(b"no request"), ..request.clone() };
    refused(scene.renew(&altered, NOW), RefusalReason::ProofInvalid, "not by the device key");
    let agent = make_renew_request(&scene.agent, &tls).unwrap();
    refused(scene.renew(&agent, NOW), RefusalReason::Forbidden, "not in the hub's table");
}

#[test]
fn what_a_region_issues_does_not_outlive_its_issuer_and_that_ends() {
    let mut scene = scene();
    let end = scene.issuer.not_after();
    assert_eq!(end, NOW + ISSUER_VALIDITY_MS);
    let csr = scene.edge.tls.signing_request().unwrap();
    let chain = scene.issuer.issue(&edge(7), &csr, end - HOUR, &mut scene.entropy).unwrap();
    assert_eq!(identity::certificate::validity(&chain[0]).unwrap().1, end);
    let refused = scene.issuer.issue(&edge(7), &csr, end, &mut scene.entropy).unwrap_err();
    assert!(matches!(refused, AuthorityError::Expired { .. }), "{refused}");
    // Long enough for all that may be renewed without the hub.
    let renewed_at_the_latest = NOW + LEAF_VALIDITY_MS * 6 / 10;
    assert!(renewed_at_the_latest + TABLE_AGE_MAX_MS + LEAF_VALIDITY_MS <= end);
}

#[test]
fn an_issuing_certificate_is_given_to_a_device_that_asks_and_believed_when_it_works() {
    let mut scene = scene();
    let key = TlsKey::generate_kind(KeyKind::Ed25519, &mut scene.entropy).unwrap();
    let mut request = make_renew_request(&scene.agent, &scene.agent.tls).unwrap();
    let device = scene.agent.device.public();
    assert_eq!(wished_issuer(&request, &device), Ok(None));
    request.ext.push(issuer_wish(&scene.agent, &key).unwrap());
    let csr = wished_issuer(&request, &device).unwrap().unwrap();
    assert_eq!(csr, &key.signing_request().unwrap()[..]);
    let other = DeviceKey::from_seed([3; 32]).public();
    assert_eq!(wished_issuer(&request, &other).unwrap_err().reason, RefusalReason::ProofInvalid);
    let mut cut = request.clone();
    cut.ext.iter_mut().for_each(|(_, bytes)| bytes.truncate(9));
    assert_eq!(wished_issuer(&cut, &device).unwrap_err().reason, RefusalReason::ProofInvalid);

    let mut granted = |region: &str, key: &TlsKey, authority: &Authority| {
        let csr = key.signing_request().unwrap();
        let told = authority.delegate(&region.parse().unwrap(), &csr, NOW, &mut scene.entropy).unwrap();
        RegionIssuer::granted(&scene.agent, key.clone(), &vec![told], NOW, &mut scene.entropy)
    };
    assert!(granted("eu", &key, &scene.authority).unwrap().is_some());
    let refused = granted("us", &key, &scene.authority).unwrap_err().to_string();
    assert!(refused.contains("issued by region \"us\""), "{refused}");
    let stranger = Authority::create("fleet.example", NOW, &mut SeededEntropy::new(8)).unwrap();
    assert!(granted("eu", &key, &stranger).is_err());
    let leaf = vec![(ISSUER_EXTENSION, scene.agent.chain[0].clone())];
    let as_issuer =
        RegionIssuer::granted(&scene.agent, scene.agent.tls.clone(), &leaf, NOW, &mut scene.entropy);
    assert!(as_issuer.is_err(), "the certificate of an agent is no issuer's");
    assert!(
        RegionIssuer::granted(&scene.agent, key, &Vec::new(), NOW, &mut scene.entropy).unwrap().is_none()
    );
}

#[test]
fn an_issuer_comes_back_from_its_file_and_damage_is_named() {
    let mut scene = scene();
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    assert!(store.issuer().unwrap().is_none());
    store.store_issuer(&scene.issuer).unwrap();
    store.store_issuer(&scene.issuer).unwrap();
    let (certificate, key) = store.issuer().unwrap().unwrap();
    let again = RegionIssuer::new(&scene.agent, certificate, key, NOW, &mut scene.entropy).unwrap();
    assert_eq!(again.certificate(), scene.issuer.certificate());
    let path = directory.path().join("issuer.pem");
    let text = std::fs::read_to_string(&path).unwrap();
    for cut in [0, 40, text.len() - 10] {
        std::fs::write(&path, &text[..cut]).unwrap();
        let error = store.issuer().unwrap_err().to_string();
        assert!(error.contains("issuer.pem") && error.contains("is damaged"), "{error}");
    }
}

#[test]
fn a_table_is_the_hub_s_or_nothing() {
    let scene = scene();
    let verifier = PlanVerifier::new(&scene.authority.trust());
    let table = scene.table();
    let part = scene.authority.sign_table(&table);
    assert_eq!(verifier.verify_table(&part), Ok(table.clone()));
    for at in 0..part.table.len() {
        let mut altered = part.clone();
        let mut bytes = altered.table.to_vec();
        bytes[at] ^= 1;
        altered.table = bytes.into();
        assert!(verifier.verify_table(&altered).is_err(), "{at}");
    }
    let stranger = Authority::create("fleet.example", NOW, &mut SeededEntropy::new(8)).unwrap();
    assert!(verifier.verify_table(&stranger.sign_table(&table)).is_err());
}

#[test]
fn an_edge_takes_its_region_s_expired_certificate_for_a_while_and_a_region_takes_nobody_s() {
    let scene = scene();
    let end = scene.agent.not_after;
    let mut lasting = scene.edge.clone();
    let csr = lasting.tls.signing_request().unwrap();
    for (at, good) in
        [(end + HOUR, true), (end + REGION_GRACE_MS - HOUR, true), (end + REGION_GRACE_MS + HOUR, false)]
    {
        lasting.chain = scene.authority.issue(&edge(7), &csr, at, &mut SeededEntropy::new(2)).unwrap();
        let trust = Trust::new(scene.authority.trust()).unwrap();
        let shown = scene.agent.link_identity();
        let server = Arc::new(server_config(&shown, trust, Accepts::Edges, Arc::new(At(at))).unwrap());
        let client = client_config(&lasting, Arc::new(At(at))).unwrap();
        let shaken = shake(client, Arc::clone(&server));
        assert_eq!(shaken.is_ok(), good, "{at}: {shaken:?}");
        let old = client_config(&scene.edge, Arc::new(At(at))).unwrap();
        assert!(shake(old, server).is_err(), "an expired edge");
    }
    // Nor does a region take the hub's.
    let hub = scene.authority.hub_identity(NOW, &mut SeededEntropy::new(3)).unwrap();
    let trust = Trust::new(scene.authority.trust()).unwrap();
    let (_, end) = identity::certificate::validity(&hub.chain[0]).unwrap();
    let server = server_config(&hub, trust, Accepts::Regions, Arc::new(At(NOW))).unwrap();
    let client = client_config(&scene.agent, Arc::new(At(end + HOUR))).unwrap();
    assert!(shake(client, Arc::new(server)).unwrap_err().starts_with("client: "));
}
