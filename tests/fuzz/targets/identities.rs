//! Tokens, requests for certificates, certificates, and what hub and regions sign.
//!
//! All keys follow from one seed, so that corpora hold what verifies.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use identity::join::accept_grant;
use identity::recovery::{Returns, check_recovery, make_recover_request};
use identity::renewal::accept_renewal;
use identity::token::TokenScope;
use identity::{
    AgentIdentity, Authority, DeviceKey, JoinToken, KeyKind, PeerCertificate, PlanVerifier, RegionIssuer,
    SealingKey, SeededEntropy, TlsKey, TokenRecord, TokenRole, Trust, check_join, check_renewal,
    make_join_request, make_renew_request,
};
use protocol::codec::{Wire, decode, encode};
use protocol::delegation::{EdgeTable, TablePart};
use protocol::endpoints::{Endpoint, EndpointList, Listener, SignedEndpoints};
use protocol::enrolment::{JoinGrant, JoinRequest, RenewGrant, RenewRequest, TrustBundle};
use protocol::id::{AgentId, Digest, EdgeId, Generation};
use protocol::message::Request;
use protocol::placement::{Placement, SignedPlacement, Site};
use protocol::plan::{PlanHeader, SignedPlan};
use protocol::recovery::RecoverRequest;
use protocol::sealed::{Sealed, ToldKey};

use super::chosen;

const NOW: u64 = 1_790_000_000_000;
const HOUR: u64 = 3_600_000;
const BYTES_MAX: usize = 1 << 20;
const DOMAIN: &str = "fleet.example";

/// A hub, and a device that is about to join it, joins it and lives.
pub(crate) struct Mesh {
    authority: Authority,
    pub(crate) token: JoinToken,
    record: TokenRecord,
    device: DeviceKey,
    tls: TlsKey,
    pub(crate) joining: JoinRequest,
    pub(crate) granted: JoinGrant,
    identity: AgentIdentity,
    pub(crate) renewing: RenewRequest,
    pub(crate) renewed: RenewGrant,
    pub(crate) returning: RecoverRequest,
    pub(crate) plan: SignedPlan,
    pub(crate) table: TablePart,
    pub(crate) placement: SignedPlacement,
    pub(crate) endpoints: SignedEndpoints,
    pub(crate) sealed: Bytes,
}

pub(crate) static MESH: LazyLock<Mesh> = LazyLock::new(Mesh::new);

fn edge() -> AgentId {
    AgentId::Edge(EdgeId([7; 16]))
}

fn key(entropy: &mut SeededEntropy) -> TlsKey {
    TlsKey::generate_kind(KeyKind::Ed25519, entropy).expect("an Ed25519 key can be made")
}

impl Mesh {
    fn new() -> Self {
        let mut entropy = SeededEntropy::new(77);
        let authority = Authority::create_kind(DOMAIN, KeyKind::Ed25519, NOW, &mut entropy);
        let authority = authority.expect("a mesh can be made");
        let region: protocol::id::RegionName = "eu".parse().expect("a name");
        let endpoints = vec!["eu.example:4433".to_owned()];
        let (pins, not_after, role) = (authority.pins(), NOW + HOUR, TokenRole::Edge);
        let scope =
            TokenScope { endpoints: endpoints.clone(), pins, not_after, region: region.clone(), role };
        let (token, public_key) = JoinToken::mint(scope, &mut entropy);
        let (uses, labels) = (Vec::new(), BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        let record = TokenRecord {
            public_key,
            not_after,
            uses_max: 1,
            uses,
            revoked: false,
            region: region.clone(),
            role,
            name: None,
            labels,
        };
        let (device, tls, next) = (DeviceKey::generate(&mut entropy), key(&mut entropy), key(&mut entropy));
        let wish = BTreeMap::from([("a".to_owned(), "wish".to_owned())]);
        let joining = make_join_request(&token, &device, &tls, "shop-1", wish.clone(), wish);
        let joining = joining.expect("an Ed25519 key signs");
        let (trust, chain) = (authority.trust(), authority.issue(&edge(), &joining.csr, NOW, &mut entropy));
        let granted = JoinGrant {
            agent: edge(),
            name: "shop-1".to_owned(),
            region: region.clone(),
            chain: chain.expect("the request is sound"),
            trust: trust.clone(),
            endpoints: endpoints.clone(),
            time: NOW,
            ext: vec![authority.vouch(&trust).expect("the root signs")],
        };
        let identity = accept_grant(&token, device.clone(), tls.clone(), granted.clone());
        let identity = identity.expect("the grant is sound");
        let renewing = make_renew_request(&identity, &next).expect("an Ed25519 key signs");
        let chain = authority.issue(&edge(), &renewing.csr, NOW, &mut entropy).expect("the request is sound");
        let ext = granted.ext.clone();
        let renewed = RenewGrant { chain, trust, endpoints: endpoints.clone(), time: NOW, ext };
        let challenge = authority.challenge(&edge(), NOW, &mut entropy);
        let returning = make_recover_request(&identity, &next, challenge).expect("an Ed25519 key signs");
        let signed = authority.sign_endpoints(&list(&region, &endpoints));
        let (plan, table, placement) = words(&authority, Site { region, endpoints });
        let public = SealingKey::of(&device).public();
        let sealed = authority.sealer().seal(&edge(), &public, b"a secret").expect("a key that fits");
        Self {
            authority,
            token,
            record,
            device,
            tls,
            joining,
            granted,
            identity,
            renewing,
            renewed,
            returning,
            plan,
            table,
            placement,
            endpoints: signed,
            sealed,
        }
    }
}

/// Where a region listens.
fn list(region: &protocol::id::RegionName, endpoints: &[String]) -> EndpointList {
    EndpointList {
        of: Listener::Region(region.clone()),
        endpoints: endpoints.iter().map(Endpoint::new).collect(),
        generation: Generation { term: 1, counter: 2 },
        issued_at: NOW,
        ext: Vec::new(),
    }
}

/// A plan, a table of edges and a placement, signed.
fn words(authority: &Authority, home: Site) -> (SignedPlan, TablePart, SignedPlacement) {
    let generation = Generation { term: 1, counter: 2 };
    let plan = authority.sign_plan(&PlanHeader {
        agent: edge(),
        generation,
        body: Digest::of(b"body"),
        issued_at: NOW,
        not_after: None,
        ext: Vec::new(),
    });
    let digest = Digest::of(&encode(&protocol::delegation::Standings::default()));
    let region = home.region.clone();
    let table = EdgeTable { region, generation, issued_at: NOW, edges: 0, digest, ext: Vec::new() };
    let placement = Placement {
        edge: Some(EdgeId([7; 16])),
        home,
        standbys: Vec::new(),
        generation,
        issued_at: NOW,
        ext: Vec::new(),
    };
    (plan, authority.sign_table(&table), authority.sign_placement(&placement))
}

fn read<T: Wire>(bytes: &[u8]) -> Option<T> {
    decode(bytes, BYTES_MAX).ok()
}

/// The text of a token.
pub(super) fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match JoinToken::parse(text) {
        Ok(token) => assert_eq!(JoinToken::parse(&token.to_string()), Ok(token)),
        Err(error) => {
            assert!(error.to_string().len() <= 1024, "{} bytes of an error", error.to_string().len())
        }
    }
}

/// A request for a certificate: whatever it wishes for, the leaf has the names that policy gives, and signs nobody.
pub(super) fn csr(bytes: &[u8]) {
    let Ok(chain) = MESH.authority.issue(&edge(), bytes, NOW, &mut SeededEntropy::new(1)) else { return };
    assert_eq!(chain.len(), 1, "the hub's chains are a leaf");
    let leaf = &chain[0];
    let read = PeerCertificate::read(&leaf[..].into()).expect("what was issued can be read");
    assert_eq!(read.agent(DOMAIN), Ok(edge()));
    let (_, not_after) = identity::certificate::validity(leaf).expect("it has a validity");
    assert!(not_after <= NOW + 8 * 24 * HOUR, "it lives longer than policy has it");
    // Basic constraints (2.5.29.19) of an authority are not in it.
    assert!(!leaf.windows(9).any(|nine| nine == [0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x05, 0x30]));
}

/// A request to join.
pub(super) fn join(bytes: &[u8]) {
    let Some(request) = read::<JoinRequest>(bytes) else { return };
    if let Ok(decision) = check_join(&request, &MESH.record, NOW) {
        // Nobody but the token's holder makes a proof over another key or another request for a certificate.
        assert_eq!((&request.device_key, &request.csr), (&MESH.joining.device_key, &MESH.joining.csr));
        assert_eq!(decision.labels.get("a").map(String::as_str), Some("b"), "the token's labels prevail");
    }
}

/// A grant to a newcomer, or the grant of a renewal.
pub(super) fn grant(bytes: &[u8]) {
    let Some((which, bytes)) = chosen(bytes) else { return };
    if which % 2 == 0 {
        let Some(grant) = read::<JoinGrant>(bytes) else { return };
        let taken = accept_grant(&MESH.token, MESH.device.clone(), MESH.tls.clone(), grant);
        if let Ok(identity) = taken {
            assert_eq!((identity.agent, identity.trust), (edge(), MESH.granted.trust.clone()));
        }
    } else {
        let Some(grant) = read::<RenewGrant>(bytes) else { return };
        if let Ok(identity) = accept_renewal(&MESH.identity, MESH.tls.clone(), grant) {
            assert_eq!((identity.agent, identity.trust), (edge(), MESH.granted.trust.clone()));
        }
    }
}

/// A request to renew, and a challenge with a request to return.
pub(super) fn recover(bytes: &[u8]) {
    let Some((which, bytes)) = chosen(bytes) else { return };
    let key = MESH.device.public();
    if which % 2 == 0 {
        let Some(request) = read::<RenewRequest>(bytes) else { return };
        if check_renewal(&request, &key, &edge()).is_ok() {
            assert_eq!(request.csr, MESH.renewing.csr);
        }
        drop(identity::issuer::wished_issuer(&request, &key));
    } else {
        let Some(Request::Recover(request)) = read::<Request>(bytes) else { return };
        if MESH.authority.check_challenge(&request.agent, &request.challenge, NOW).is_ok() {
            assert_eq!(request.challenge, MESH.returning.challenge);
        }
        let known = Returns { count: MESH.returning.count, key: [0; 32] };
        if check_recovery(&request, &key, Some(&known)).is_ok() {
            assert_eq!((&request.csr, request.count), (&MESH.returning.csr, MESH.returning.count));
        }
    }
}

/// A certificate, alone and as a link's chain.
pub(super) fn certificate(bytes: &[u8]) {
    let der = bytes.into();
    if let Ok(read) = PeerCertificate::read(&der) {
        drop(read.agent(DOMAIN));
    }
    drop(identity::certificate::validity(bytes));
    drop(identity::certificate::spki_hash(bytes));
    drop(identity::certificate::peer_agent(&[der], DOMAIN));
}

/// An issuing certificate that a region is given.
pub(super) fn issuer(bytes: &[u8]) {
    let certificate = Bytes::copy_from_slice(bytes);
    let entropy = &mut SeededEntropy::new(2);
    let made = RegionIssuer::new(&MESH.identity, certificate, MESH.tls.clone(), NOW, entropy);
    assert!(made.is_err(), "the hub gave that key no issuing certificate");
}

/// A trust bundle.
pub(super) fn trust(bytes: &[u8]) {
    let Some(bundle) = read::<TrustBundle>(bytes) else { return };
    drop(PlanVerifier::new(&bundle));
    let sequence = bundle.sequence;
    if let Ok(trust) = Trust::new(bundle.clone()) {
        assert_eq!(trust.bundle().sequence, sequence);
        assert!(matches!(trust.set_bundle(bundle), Ok(false)), "the same bundle is no news");
    }
}

/// A plan's header, a part of a table of edges, a placement or a list of endpoints, with a signature: what the hub did not
/// sign is refused.
pub(super) fn signed(bytes: &[u8]) {
    let Some((which, bytes)) = chosen(bytes) else { return };
    let verifier = PlanVerifier::new(&MESH.identity.trust);
    match which % 4 {
        0 => {
            let Some(plan) = read::<SignedPlan>(bytes) else { return };
            if verifier.verify_for(&edge(), &plan).is_ok() {
                assert_eq!(plan.header, MESH.plan.header);
            }
        }
        1 => {
            let Some(part) = read::<TablePart>(bytes) else { return };
            if verifier.verify_table(&part).is_ok() {
                assert_eq!(part.table, MESH.table.table);
            }
        }
        2 => {
            let Some(placement) = read::<SignedPlacement>(bytes) else { return };
            if identity::placement::read_placement(&verifier, &placement).is_ok() {
                assert_eq!(placement.placement, MESH.placement.placement);
            }
            drop(MESH.identity.placed_by(&placement));
        }
        _ => {
            let Some(list) = read::<SignedEndpoints>(bytes) else { return };
            if MESH.identity.listed_by(&list).is_ok() {
                assert_eq!(list.list, MESH.endpoints.list);
            }
        }
    }
}

/// A sealed blob, and a key to seal to.
pub(super) fn sealed(bytes: &[u8]) {
    if let Some(sealed) = Sealed::read(bytes) {
        assert_eq!(sealed.write(), bytes);
    }
    if SealingKey::of(&MESH.device).open(&edge(), bytes).is_ok() {
        assert_eq!(bytes, MESH.sealed, "the hub sealed nothing else");
    }
    if let Some(told) = ToldKey::read(bytes) {
        assert_eq!(told.write(), bytes);
    }
    drop(identity::sealing::verified_key(bytes, &MESH.device.public()));
}
