//! One token that many devices use at once, at two registrars, and registrars whose every write may fail or be their
//! last; devices that wait until a person lets them in.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::wildcard_enum_match_arm)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::skein::{ApprovalPolicy, Edge, JoinApproval, JoinRole, JoinToken, JoinTokenSpec};
use base64::Engine as _;
use hub::authority::{Asked, Registrar};
use identity::recovery::make_recover_request;
use identity::token::TokenScope;
use identity::{
    AgentIdentity, Authority, Clock as _, DeviceKey, SystemClock, SystemEntropy, TlsKey, TokenRole,
    make_join_request, make_renew_request,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use protocol::enrolment::{JoinRequest, RefusalReason, from_source};
use protocol::id::{AgentId, EdgeId, RegionName};
use protocol::message::Response;
use serde_json::{Value, json};
use support::Hub;

const NAMESPACE: &str = "kcm-system";

/// A device that asks through that region, at an address that it vouches for.
fn through(region: &RegionName) -> Asked<'_> {
    Asked { via: Some(region), from: Some(std::net::IpAddr::from([10, 0, 0, 7])) }
}

struct Stage {
    hub: Hub,
    authority: Arc<Authority>,
    token: identity::JoinToken,
}

async fn stage(max_uses: i32) -> Stage {
    stage_with(max_uses, None).await
}

async fn stage_with(max_uses: i32, approval: Option<JoinApproval>) -> Stage {
    let hub = Hub::start().await;
    let now = SystemClock.now();
    let authority = Arc::new(Authority::create("fleet.example", now, &mut SystemEntropy).unwrap());
    let scope = TokenScope {
        endpoints: vec!["eu.example:4433".to_owned()],
        pins: authority.pins(),
        not_after: now + 3_600_000,
        region: "eu".parse().unwrap(),
        role: TokenRole::Edge,
    };
    let (token, public_key) = identity::JoinToken::mint(scope, &mut SystemEntropy);
    let id = hex::encode(token.id.0);
    let mut object = JoinToken::new(
        "crowd",
        JoinTokenSpec {
            approval,
            max_uses,
            not_after: Time(jiff::Timestamp::now() + Duration::from_secs(3600)),
            public_key: base64::engine::general_purpose::STANDARD.encode(public_key),
            region: "eu".to_owned(),
            role: JoinRole::Edge,
            token_id: Some(id.clone()),
            ..JoinTokenSpec::default()
        },
    );
    object.metadata.labels = Some(BTreeMap::from([("skein.dev/token-id".to_owned(), id)]));
    let tokens = Api::<JoinToken>::namespaced(hub.client.clone(), NAMESPACE);
    tokens.create(&PostParams::default(), &object).await.unwrap();
    Stage { hub, authority, token }
}

impl Stage {
    fn registrar(&self, client: kube::Client) -> Registrar {
        Registrar::new(client, NAMESPACE.to_owned(), self.authority.clone(), Arc::new(SystemClock))
    }

    fn request(&self, device: u8) -> JoinRequest {
        let (device, tls) = (DeviceKey::from_seed([device; 32]), TlsKey::generate().unwrap());
        let name = format!("till-{}", hex::encode(&device.public()[..4]));
        make_join_request(&self.token, &device, &tls, &name, BTreeMap::new(), BTreeMap::new()).unwrap()
    }

    async fn uses(&self) -> Vec<String> {
        let tokens = Api::<JoinToken>::namespaced(self.hub.client.clone(), NAMESPACE);
        let status = tokens.get("crowd").await.unwrap().status.unwrap_or_default();
        status.uses.into_iter().map(|used| used.agent_id).collect()
    }

    async fn edges(&self) -> BTreeSet<String> {
        let edges = Api::<Edge>::namespaced(self.hub.client.clone(), NAMESPACE);
        let listed = edges.list(&ListParams::default()).await.unwrap();
        listed
            .items
            .into_iter()
            .filter_map(|edge| edge.status?.agent_id)
            .map(|id| format!("edge/{id}"))
            .collect()
    }
}

fn joined(response: &Response) -> Option<AgentId> {
    match response {
        Response::Joined(grant) => Some(grant.agent.clone()),
        Response::Refused(_) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_a_crowd_with_one_token_as_many_join_as_may_also_at_two_hubs_at_once() {
    let stage = stage(5).await;
    let hubs = [stage.registrar(stage.hub.client.clone()), stage.registrar(stage.hub.client.clone())];
    let region: RegionName = "eu".parse().unwrap();
    // A hub that others disturb all the time says so, and the device asks again.
    let ask = async |device: u8| loop {
        let request = stage.request(device);
        let response = hubs[usize::from(device % 2)].join(through(&region), &request).await;
        match &response {
            Response::Refused(refusal) if refusal.reason == RefusalReason::Unavailable => {}
            _ => return response,
        }
    };
    let answers = futures::future::join_all((1..=12).map(ask)).await;
    let in_: BTreeSet<_> = answers.iter().filter_map(joined).map(|agent| agent.to_string()).collect();
    assert_eq!(in_.len(), 5);
    assert_eq!(stage.uses().await.into_iter().collect::<BTreeSet<_>>(), in_);
    assert_eq!(stage.edges().await, in_);
    for refused in answers.iter().filter(|answer| joined(answer).is_none()) {
        let Response::Refused(refusal) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal.reason, RefusalReason::TokenUsed);
    }
    // Whoever is in may ask again, and is the same; the count stays.
    let again: Vec<_> = futures::future::join_all((1..=12).map(ask)).await;
    let again: BTreeSet<_> = again.iter().filter_map(joined).map(|agent| agent.to_string()).collect();
    assert_eq!(again, in_);
    assert_eq!(stage.uses().await.len(), 5);
}

/// A client whose writes fail from the one of that number on; `done` says whether that one arrives, its answer being lost.
fn dying(client: &kube::Client, at: u64, done: bool) -> kube::Client {
    let (client, writes) = (client.clone(), Arc::new(AtomicU64::new(0)));
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (client, writes) = (client.clone(), Arc::clone(&writes));
        async move {
            if request.method() == http::Method::GET {
                return client.send(request).await;
            }
            let number = writes.fetch_add(1, Ordering::Relaxed);
            let answer =
                if number < at || number == at && done { Some(client.send(request).await) } else { None };
            match answer {
                Some(answer) if number < at => answer,
                _ => Err(kube::Error::Service("the hub died here".into())),
            }
        }
    });
    kube::Client::new(service, NAMESPACE)
}

#[tokio::test]
async fn a_hub_that_dies_at_any_write_of_a_join_loses_no_use_and_gives_none_twice() {
    let stage = stage(20).await;
    let region: RegionName = "eu".parse().unwrap();
    let mut device = 0;
    let mut all = BTreeSet::new();
    for at in 0.. {
        let mut survived = true;
        for done in [false, true] {
            device += 1;
            let request = stage.request(device);
            let dead = stage.registrar(dying(&stage.hub.client, at, done));
            survived &= joined(&dead.join(through(&region), &request).await).is_some();
            // The device has no answer, or one; the next hub gives it, and the same one again.
            let next = stage.registrar(stage.hub.client.clone());
            let agent = joined(&next.join(through(&region), &request).await).expect("the device is let in");
            assert_eq!(joined(&next.join(through(&region), &request).await), Some(agent.clone()));
            all.insert(agent.to_string());
            assert_eq!(stage.uses().await.len(), usize::from(device), "one use for each device");
            assert_eq!(stage.edges().await, all);
        }
        if survived {
            assert!(at >= 3, "a join writes the use, the Edge and its status: {at}");
            return;
        }
    }
}

fn manual() -> JoinApproval {
    JoinApproval { policy: ApprovalPolicy::Manual, ..JoinApproval::default() }
}

/// Why a device was not let in.
fn refused(response: &Response) -> (RefusalReason, String, Option<u64>) {
    let Response::Refused(refusal) = response else { panic!("{response:?}") };
    (refusal.reason, refusal.message.clone(), refusal.retry_after_ms)
}

impl Stage {
    /// The Edge of that device, once it is as `holds` says.
    async fn edge(&self, device: u8, holds: impl Fn(&Value) -> bool + Send + Sync) -> Value {
        self.hub.until("Edge", NAMESPACE, &self.request(device).name, holds).await
    }

    /// A person edits the Edge of that device.
    async fn edit(&self, device: u8, spec: Value) {
        let edges = Api::<Edge>::namespaced(self.hub.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"spec": spec}));
        edges.patch(&self.request(device).name, &PatchParams::default(), &patch).await.unwrap();
    }
}

#[tokio::test]
async fn a_device_waits_as_an_edge_until_a_person_lets_it_in_or_refuses_it() {
    let stage = stage_with(2, Some(manual())).await;
    let (registrar, region) =
        (stage.registrar(stage.hub.client.clone()), "eu".parse::<RegionName>().unwrap());
    let ask = async |device: u8| {
        let relayed = from_source(stage.request(device), "10.0.0.7:4711".parse().unwrap());
        registrar.join(through(&region), &relayed).await
    };
    let (reason, message, retry) = refused(&ask(1).await);
    assert_eq!(reason, RefusalReason::ApprovalPending);
    assert!(message.contains("spec.approval.policy is Manual") && retry.is_some(), "{message}");
    // It is there to be seen, with what a person goes by, and is nobody's edge yet.
    let edge = stage.edge(1, |edge| support::has(edge, "Approved", "False")).await;
    let shown = support::condition(&edge, "Approved")["message"].as_str().unwrap().to_owned();
    let key = edge["status"]["fingerprint"].as_str().unwrap().to_owned();
    for part in ["10.0.0.7:4711", key.as_str(), "policy is Manual", "skein approve till-"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(message.contains(&key), "both ends show the same key");
    assert_eq!(support::condition(&edge, "Approved")["reason"], "ApprovalPending");
    assert_eq!(edge["spec"]["approved"], false);
    let id: EdgeId = edge["status"]["agentId"].as_str().unwrap().parse().unwrap();
    assert!(stage.hub.controllers.roster.edge(&id).is_none());
    assert!(stage.hub.plans.get(&AgentId::Edge(id)).is_none());
    // The device knows its id and has its key; that gets it nothing by other ways.
    let challenge = match registrar.challenge(&AgentId::Edge(id)) {
        Response::Challenge(challenge) => challenge,
        other => panic!("{other:?}"),
    };
    let identity = waiting_identity(&stage, id);
    let tls = TlsKey::generate().unwrap();
    let recover = make_recover_request(&identity, &tls, challenge).unwrap();
    let (reason, ..) = refused(&registrar.recover("10.0.0.7:1", &recover).await);
    assert_eq!(reason, RefusalReason::ApprovalPending);
    let renew = make_renew_request(&identity, &tls).unwrap();
    let (reason, ..) = refused(&registrar.renew(&AgentId::Edge(id), &renew).await);
    assert_eq!(reason, RefusalReason::ApprovalPending);

    // Who waits counts: the token makes no more Edges than it may.
    assert_eq!(refused(&ask(2).await).0, RefusalReason::ApprovalPending);
    assert_eq!(refused(&ask(3).await).0, RefusalReason::TokenUsed);

    stage.edit(1, json!({"approved": true})).await;
    assert_eq!(joined(&ask(1).await), Some(AgentId::Edge(id)));
    stage.edge(1, |edge| support::has(edge, "Approved", "True")).await;
    stage.hub.plan(&AgentId::Edge(id), |_| true).await;
    // One approval is one device's.
    assert_eq!(refused(&ask(2).await).0, RefusalReason::ApprovalPending);
    stage.edit(2, json!({"revoked": true})).await;
    let (reason, message, retry) = refused(&ask(2).await);
    assert_eq!((reason, retry), (RefusalReason::Revoked, Some(600_000)), "{message}");
    let edge = stage.edge(2, |edge| support::condition(edge, "Approved")["reason"] == "Denied").await;
    assert!(stage.hub.plans.get(&AgentId::Edge(edge_id(&edge))).is_none());
    // Somebody changes their mind.
    stage.edit(2, json!({"approved": true, "revoked": false})).await;
    assert_eq!(joined(&ask(2).await), Some(AgentId::Edge(edge_id(&edge))));
    assert_eq!(stage.uses().await.len(), 2);
}

fn edge_id(edge: &Value) -> EdgeId {
    edge["status"]["agentId"].as_str().unwrap().parse().unwrap()
}

/// What device 1 would show, were it the edge it waits to be.
fn waiting_identity(stage: &Stage, id: EdgeId) -> AgentIdentity {
    let now = SystemClock.now();
    AgentIdentity {
        agent: AgentId::Edge(id),
        name: "till".to_owned(),
        region: "eu".parse().unwrap(),
        chain: Vec::new(),
        tls: TlsKey::generate().unwrap(),
        device: DeviceKey::from_seed([1; 32]),
        trust: stage.authority.trust(),
        endpoints: Vec::new(),
        not_before: now,
        not_after: now,
        returns: 0,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

#[tokio::test]
async fn conditions_let_in_as_many_as_they_say_at_two_hubs_and_the_others_wait() {
    let approval = JoinApproval {
        count: Some(3),
        source_cidrs: vec!["10.0.0.0/8".to_owned()],
        ..JoinApproval::default()
    };
    let stage = stage_with(8, Some(approval)).await;
    let hubs = [stage.registrar(stage.hub.client.clone()), stage.registrar(stage.hub.client.clone())];
    let region: RegionName = "eu".parse().unwrap();
    let ask = async |device: u8| loop {
        // Two of them ask from elsewhere; of one the region does not tell from where, whatever the device says.
        let from = match device {
            1 | 2 => Some([192, 0, 2, 1].into()),
            3 => None,
            _ => Some([10, 0, 0, 7].into()),
        };
        let request = from_source(stage.request(device), "10.0.0.7:4711".parse().unwrap());
        let response = hubs[usize::from(device % 2)].join(Asked { via: Some(&region), from }, &request).await;
        match &response {
            Response::Refused(refusal) if refusal.reason == RefusalReason::Unavailable => {}
            _ => return response,
        }
    };
    let answers = futures::future::join_all((1..=10).map(ask)).await;
    let in_ = answers.iter().filter_map(joined).count();
    let pending = answers.iter().filter(|answer| joined(answer).is_none());
    let mut why: Vec<_> = pending.map(refused).collect();
    assert_eq!(why.iter().filter(|(reason, ..)| *reason == RefusalReason::TokenUsed).count(), 2);
    why.retain(|(reason, ..)| *reason == RefusalReason::ApprovalPending);
    assert_eq!((in_, why.len()), (3, 5), "{why:?}");
    for (_, message, _) in &why {
        assert!(
            message.contains("spec.approval.count lets in 3")
                || message.contains("spec.approval.sourceCidrs")
        );
    }
    // Asking again changes nothing about it.
    let again = futures::future::join_all((1..=10).map(ask)).await;
    assert_eq!(again.iter().filter_map(joined).count(), 3);
    assert_eq!(stage.uses().await.len(), 8);
}

#[tokio::test]
async fn a_hub_that_dies_at_any_write_neither_loses_an_approval_nor_gives_one() {
    let stage = stage_with(40, Some(manual())).await;
    let region: RegionName = "eu".parse().unwrap();
    let mut device = 0;
    for at in 0.. {
        let mut survived = true;
        for done in [false, true] {
            device += 1;
            let request = stage.request(device);
            let dead = stage.registrar(dying(&stage.hub.client, at, done));
            let answer = refused(&dead.join(through(&region), &request).await).0;
            survived &= answer == RefusalReason::ApprovalPending;
            let next = stage.registrar(stage.hub.client.clone());
            let (reason, ..) = refused(&next.join(through(&region), &request).await);
            assert_eq!(reason, RefusalReason::ApprovalPending, "dead at write {at}, {done}");
            stage.edit(device, json!({"approved": true})).await;
            // The one that lets it in may die as well.
            let dead = stage.registrar(dying(&stage.hub.client, at, done));
            dead.join(through(&region), &request).await;
            let next = stage.registrar(stage.hub.client.clone());
            assert!(joined(&next.join(through(&region), &request).await).is_some(), "approved, dead at {at}");
            assert_eq!(stage.uses().await.len(), usize::from(device), "one use for each device");
        }
        if survived {
            assert!(at >= 3, "a device that waits is written as a use, an Edge and its status: {at}");
            return;
        }
    }
}
