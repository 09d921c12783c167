#![allow(dead_code, reason = "each test crate uses its part of the samples")]
#![allow(unreachable_pub, reason = "shared by test crates")]
//! One value of every message, with every field filled.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::delegation::{EdgeRenewal, EdgeStanding, EdgeTable, Standings, TablePart};
use protocol::endpoints::{EndpointList, Listener, SignedEndpoints};
use protocol::enrolment::{
    JoinGrant, JoinRequest, PlanKey, Refusal, RefusalReason, RenewGrant, RenewRequest, TokenId, TrustBundle,
    from_source,
};
use protocol::frame::Message;
use protocol::id::{AgentId, Digest, EdgeId, Generation};
use protocol::inquiry::{Aspect, Finding, Findings, Inquiry, Line, ObjectFindings, Revision, UnitFindings};
use protocol::lane::Framed;
use protocol::message::{
    BlobDelivery, BlobPart, Control, EdgeLink, Hello, PlanHead, PlanOffer, Request, Response, StreamHead,
    Welcome,
};
use protocol::placement::{Placement, SignedPlacement, Site};
use protocol::plan::{
    DriftMode, HookDeletion, HookEntry, HookEvent, KeyId, ObjectEntry, ObjectKey, PlanBody, PlanHeader,
    Removal, SignedPlan, Unit, UnitId, UnitKind,
};
use protocol::policy::{ChartHead, Leeway, Leeways};
use protocol::recovery::{RecoverGrant, RecoverRequest};
use protocol::report::{
    ClusterReport, ObjectHealth, ObjectReport, Report, SpoolReport, UnitReport, UnitState,
};
use protocol::telemetry::{
    Gap, GapReason, StreamEpoch, TelemetryAck, TelemetryClass, TelemetryContent, TelemetryItem,
};
use protocol::trust::{RootSignature, SignedTrust, TrustChain, TrustKept};
use protocol::version::Lack;

const TIME: u64 = 1_790_000_000_000;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn ext() -> protocol::Extensions {
    vec![(7, bytes("later"))]
}

pub fn edge() -> EdgeId {
    EdgeId([0xe1; 16])
}

pub fn refusal() -> Refusal {
    let message = "the token was used already".to_owned();
    Refusal { reason: RefusalReason::TokenUsed, message, retry_after_ms: Some(1500) }
}

fn generation() -> Generation {
    Generation { term: 3, counter: 41 }
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn head() -> PlanHead {
    PlanHead { generation: generation(), body: digest(0xb0) }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn unit_id() -> UnitId {
    UnitId {
        set_namespace: "default".to_owned(),
        set_name: "shop-1".to_owned(),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    }
}

fn part() -> BlobPart {
    BlobPart { digest: digest(0xd1), base: Some(digest(0xd0)), size: 300, compressed: bytes("zstd frame") }
}

pub fn plan_header() -> PlanHeader {
    PlanHeader {
        agent: AgentId::Edge(edge()),
        generation: generation(),
        body: digest(0xb0),
        issued_at: TIME,
        not_after: Some(TIME + 1),
        ext: ext(),
    }
}

pub fn signed_plan() -> SignedPlan {
    let header = protocol::codec::encode(&plan_header());
    SignedPlan { header, key_id: KeyId([5; 8]), signature: Bytes::from(vec![6; 64]) }
}

pub fn chart_head() -> ChartHead {
    ChartHead { name: "web".to_owned(), version: "1.2.3".to_owned(), app_version: "v4".to_owned() }
}

pub fn leeways() -> Leeways {
    let some = Leeway { object: 1, paths: vec!["/spec/replicas".to_owned()] };
    Leeways(vec![some, Leeway { object: 300, paths: Vec::new() }])
}

pub fn plan_body() -> PlanBody {
    let entry = |name: &str, byte| ObjectEntry { key: key(name), digest: digest(byte) };
    let hook = HookEntry {
        object: entry("migrate", 2),
        events: vec![HookEvent::PreInstall, HookEvent::Test],
        weight: -5,
        deletion: vec![HookDeletion::BeforeCreation, HookDeletion::Failed],
    };
    let unit = Unit {
        id: unit_id(),
        kind: UnitKind::Helm,
        template: "web-1-2-3".to_owned(),
        version: "1.2.3".to_owned(),
        hash: digest(9),
        priority: -1,
        depends_on: vec![unit_id()],
        objects: vec![entry("web", 1)],
        hooks: vec![hook],
        create_namespace: true,
        take_ownership: false,
        drift: DriftMode::Report,
        removal: Removal::Leave,
        timeout_ms: 300_000,
        ext: ext(),
    };
    PlanBody { units: vec![unit], settings: map(&[("prices", "{}")]), ext: ext() }
}

pub fn report() -> Report {
    let object = ObjectReport {
        key: key("web"),
        health: ObjectHealth::InProgress,
        message: "1 of 2 ready".to_owned(),
        since: TIME,
    };
    let unit = UnitReport {
        id: unit_id(),
        version: "1.2.3".to_owned(),
        template: "web-1-2-3".to_owned(),
        deployed_hash: Some(digest(9)),
        state: UnitState::Provisioning,
        message: "waits".to_owned(),
        since: TIME,
        drift_repairs: 2,
        objects_total: 4,
        objects_ready: 3,
        objects: vec![object],
    };
    let cluster = ClusterReport {
        kubernetes_version: "v1.36.3".to_owned(),
        reachable: true,
        nodes_total: 3,
        nodes_ready: 2,
        otlp_grpc: "127.0.0.1:4317".to_owned(),
        otlp_http: "127.0.0.1:4318".to_owned(),
    };
    Report {
        sequence: 12,
        at: TIME,
        full: true,
        stored: Some(generation()),
        applied: None,
        units: vec![unit],
        cluster: Some(cluster),
        spool: SpoolReport { items: 1, bytes: 2, gaps: 3, points_dropped: 4 },
        ext: ext(),
    }
}

pub fn trust() -> TrustBundle {
    TrustBundle {
        sequence: 2,
        trust_domain: "fleet.example".to_owned(),
        roots: vec![bytes("root")],
        plan_keys: vec![PlanKey { id: KeyId([5; 8]), public_key: Bytes::from(vec![8; 32]) }],
    }
}

pub fn hello() -> Hello {
    let stream = StreamHead { class: TelemetryClass::Metrics, epoch: StreamEpoch(77), first: 5, next: 9 };
    Hello {
        agent: AgentId::Region("eu".parse().unwrap()),
        features: 3,
        software: "regional-agent/0.1.0".to_owned(),
        incarnation: 4,
        stored: Some(head()),
        applied: Some(generation()),
        streams: vec![stream],
        trust_sequence: 2,
        endpoints: vec!["eu.example:4433".to_owned()],
        time: TIME,
        facts: map(&[("arch", "aarch64"), ("os", "linux")]),
        ext: ext(),
    }
}

fn ack() -> TelemetryAck {
    TelemetryAck { class: TelemetryClass::Logs, epoch: StreamEpoch(77), through: 300 }
}

pub fn welcome() -> Welcome {
    Welcome {
        features: 1,
        software: "hub/0.1.0".to_owned(),
        acknowledged: vec![ack()],
        time: TIME,
        trust_sequence: 2,
        ext: ext(),
    }
}

pub fn join_request() -> JoinRequest {
    JoinRequest {
        token: TokenId([1; 16]),
        device_key: Bytes::from(vec![2; 32]),
        csr: bytes("csr"),
        token_proof: Bytes::from(vec![3; 64]),
        device_proof: Bytes::from(vec![4; 64]),
        name: "shop-1".to_owned(),
        labels: map(&[("tier", "shop")]),
        facts: map(&[("os", "linux")]),
        ext: ext(),
    }
}

pub fn join_grant() -> JoinGrant {
    JoinGrant {
        agent: AgentId::Edge(edge()),
        name: "shop-1".to_owned(),
        region: "eu".parse().unwrap(),
        chain: vec![bytes("leaf")],
        trust: trust(),
        endpoints: vec!["eu.example:4433".to_owned()],
        time: TIME,
        ext: ext(),
    }
}

pub fn renew_request() -> RenewRequest {
    let agent = AgentId::Edge(edge());
    RenewRequest { agent, csr: bytes("csr"), device_proof: Bytes::from(vec![4; 64]), ext: ext() }
}

pub fn renew_grant() -> RenewGrant {
    RenewGrant {
        chain: vec![bytes("leaf")],
        trust: trust(),
        endpoints: vec!["eu.example:4433".to_owned()],
        time: TIME,
        ext: ext(),
    }
}

pub fn recover_request() -> RecoverRequest {
    RecoverRequest {
        agent: AgentId::Edge(edge()),
        csr: bytes("csr"),
        challenge: bytes("challenge"),
        count: 3,
        device_proof: Bytes::from(vec![4; 64]),
        ext: ext(),
    }
}

pub fn recover_grant() -> RecoverGrant {
    RecoverGrant { renewed: renew_grant(), region: "eu".parse().unwrap(), count: 4, ext: ext() }
}

pub fn standings() -> Standings {
    let standing = |byte, denied| EdgeStanding {
        edge: EdgeId([byte; 16]),
        device_key: Bytes::from(vec![byte; 32]),
        returns: 300,
        denied,
    };
    Standings(vec![standing(1, false), standing(2, true)])
}

pub fn edge_table() -> EdgeTable {
    EdgeTable {
        region: "eu".parse().unwrap(),
        generation: generation(),
        issued_at: TIME,
        edges: 2,
        digest: digest(0xe0),
        ext: ext(),
    }
}

pub fn table_part() -> TablePart {
    TablePart {
        table: protocol::codec::encode(&edge_table()),
        key_id: KeyId([5; 8]),
        signature: Bytes::from(vec![6; 64]),
        first: 300,
        entries: standings(),
        ext: ext(),
    }
}

pub fn placement() -> Placement {
    let site = |region: &str, endpoints: &[&str]| Site {
        region: region.parse().unwrap(),
        endpoints: endpoints.iter().map(|text| (*text).to_owned()).collect(),
    };
    Placement {
        edge: Some(edge()),
        home: site("us", &["us.example:4433", "10.0.0.3:4433"]),
        standbys: vec![site("ap", &["ap.example:4433"])],
        generation: generation(),
        issued_at: TIME,
        ext: ext(),
    }
}

pub fn signed_placement() -> SignedPlacement {
    SignedPlacement {
        placement: protocol::codec::encode(&placement()),
        key_id: KeyId([5; 8]),
        signature: Bytes::from(vec![6; 64]),
        ext: ext(),
    }
}

pub fn endpoint_list() -> EndpointList {
    let endpoints = vec!["eu.example:4433=0".parse().unwrap(), "[2001:db8::3]:4433=300".parse().unwrap()];
    let of = Listener::Region("eu".parse().unwrap());
    EndpointList { of, endpoints, generation: generation(), issued_at: TIME, ext: ext() }
}

pub fn signed_endpoints() -> SignedEndpoints {
    SignedEndpoints {
        list: protocol::codec::encode(&endpoint_list()),
        key_id: KeyId([5; 8]),
        signature: Bytes::from(vec![6; 64]),
        ext: ext(),
    }
}

pub fn edge_renewal() -> EdgeRenewal {
    let (not_after, refusal) = (Some(TIME + 1), Some(refusal()));
    EdgeRenewal { edge: edge(), at: TIME, not_after, refusal, ext: ext() }
}

pub fn lack() -> Lack {
    Lack { name: "dry-run".to_owned(), since: 300, lost: "it would be carried out".to_owned() }
}

pub fn trust_chain() -> TrustChain {
    let signed = RootSignature { root: [7; 32], signature: Bytes::from(vec![8; 70]) };
    let step =
        SignedTrust { bundle: protocol::codec::encode(&trust()), signatures: vec![signed], ext: ext() };
    TrustChain { steps: vec![step], crosses: vec![bytes("cross")], ext: ext() }
}

pub fn trust_kept() -> TrustKept {
    let proof = Bytes::from(vec![9; 64]);
    TrustKept { edge: Some(edge()), sequence: 300, root: [7; 32], proof, ext: ext() }
}

pub fn controls() -> Vec<(&'static str, Control)> {
    let edge = Some(edge());
    let link = EdgeLink {
        edge: self::edge(),
        up: true,
        since: TIME,
        software: "edge-agent/0.1.0".to_owned(),
        stored: Some(head()),
        held: None,
    };
    let offer = PlanOffer { edge, plan: signed_plan(), blobs: vec![part()] };
    vec![
        ("control-plan", Control::Plan(offer)),
        ("control-plan-stored", Control::PlanStored { edge, head: head() }),
        (
            "control-plan-refused",
            Control::PlanRefused { edge, generation: Some(generation()), refusal: refusal() },
        ),
        ("control-blobs-wanted", Control::BlobsWanted { edge: None, digests: vec![digest(1), digest(2)] }),
        ("control-blobs", Control::Blobs { edge, blobs: vec![part()] }),
        ("control-report", Control::Report { edge, report: Box::new(report()) }),
        ("control-report-ack", Control::ReportAck { edge: None, sequence: 12 }),
        ("control-telemetry-acks", Control::TelemetryAcks(vec![ack()])),
        ("control-edge-links", Control::EdgeLinks { links: vec![link], last: true }),
        ("control-edge-removed", Control::EdgeRemoved { edge: self::edge(), refusal: refusal() }),
        ("control-trust", Control::Trust(trust())),
        ("control-goodbye", Control::Goodbye(refusal())),
        ("control-ping", Control::Ping { nonce: 300, reply: false }),
        ("control-edge-table", Control::EdgeTable(table_part())),
        ("control-edge-renewed", Control::EdgeRenewed(edge_renewal())),
        ("control-placement", Control::Placement { edge, placement: signed_placement() }),
        ("control-trust-chain", Control::TrustChain(trust_chain())),
        ("control-trust-kept", Control::TrustKept(vec![trust_kept()])),
        ("control-endpoints", Control::Endpoints { edges: true, list: signed_endpoints() }),
    ]
}

pub fn telemetry() -> Vec<(&'static str, TelemetryItem)> {
    let item = |sequence, content| TelemetryItem {
        class: TelemetryClass::Metrics,
        epoch: StreamEpoch(77),
        sequence,
        content,
    };
    let batch = TelemetryContent::Batch { payload: bytes("batch"), points: 500, first: TIME, last: TIME + 9 };
    let gap = Gap { batches: 2, points: 900, first: TIME, last: TIME + 9, reason: GapReason::DiskFull };
    vec![("telemetry-batch", item(5, batch)), ("telemetry-gap", item(6, TelemetryContent::Gap(gap)))]
}

pub fn requests() -> Vec<(&'static str, Request)> {
    let token = Request::ClusterToken {
        namespace: "default".to_owned(),
        name: "shop-1".to_owned(),
        public_key: Bytes::from(vec![8; 32]),
        token: TokenId([1; 16]),
    };
    vec![
        ("request-join", Request::Join(join_request())),
        (
            "request-join-relayed",
            Request::Join(from_source(join_request(), "10.0.0.7:4711".parse().unwrap())),
        ),
        ("request-renew", Request::Renew(renew_request())),
        ("request-query", Request::Query(bytes("up"))),
        ("request-cluster-token", token),
        ("request-inquire", Request::Inquire { edge: Some(EdgeId([2; 16])), inquiry: inquiry() }),
        ("request-challenge", Request::Challenge(AgentId::Edge(edge()))),
        ("request-recover", Request::Recover(recover_request())),
    ]
}

pub fn responses() -> Vec<(&'static str, Response)> {
    vec![
        ("response-joined", Response::Joined(join_grant())),
        ("response-renewed", Response::Renewed(renew_grant())),
        ("response-answer", Response::Answer(bytes("1"))),
        ("response-token-registered", Response::TokenRegistered { not_after: TIME }),
        ("response-refused", Response::Refused(refusal())),
        ("response-challenge", Response::Challenge(bytes("challenge"))),
        ("response-recovered", Response::Recovered(recover_grant())),
    ]
}

pub fn blob() -> BlobDelivery {
    BlobDelivery { edge: Some(edge()), part: part(), ext: ext() }
}

/// Every message under the name of its golden file.
pub fn messages() -> Vec<(&'static str, Message)> {
    fn framed<T: Framed>(all: Vec<(&'static str, T)>) -> impl Iterator<Item = (&'static str, Message)> {
        all.into_iter().map(|(name, value)| (name, value.to_message().unwrap()))
    }
    framed(vec![("hello", hello())])
        .chain(framed(vec![("welcome", welcome())]))
        .chain(framed(vec![("refused", refusal())]))
        .chain(framed(controls()))
        .chain(framed(telemetry()))
        .chain(framed(vec![("blob", blob())]))
        .chain(framed(requests()))
        .chain(framed(responses()))
        .collect()
}

pub fn inquiry() -> Inquiry {
    Inquiry { service: "shop.web".to_owned(), aspect: Aspect::History }
}

pub fn findings() -> Findings {
    let line =
        Line { path: ".spec.replicas".to_owned(), live: Some("5".to_owned()), desired: Some("3".to_owned()) };
    let object = |name: &str, finding, lines| ObjectFindings { key: key(name), finding, lines };
    let revision = Revision {
        at: TIME,
        version: "1.1.0".to_owned(),
        template: "web-1-1-0".to_owned(),
        hash: digest(6),
        state: UnitState::Failed,
        message: "was rolled back".to_owned(),
        in_force: "1.0.0".to_owned(),
    };
    Findings {
        at: TIME,
        plan: Some(generation()),
        units: vec![UnitFindings {
            id: unit_id(),
            version: "1.1.0".to_owned(),
            same: 4,
            objects: vec![
                object("web", Finding::Differs, vec![line]),
                object("gone", Finding::Missing, Vec::new()),
                object("dark", Finding::Unknown("refused".to_owned()), Vec::new()),
            ],
            revisions: vec![revision],
        }],
        left_out: 2,
    }
}
