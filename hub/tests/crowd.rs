//! One token that many devices use at once, at two registrars, and registrars whose every write may fail or be their last.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::wildcard_enum_match_arm)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::skein::{Edge, JoinRole, JoinToken, JoinTokenSpec};
use base64::Engine as _;
use hub::authority::Registrar;
use identity::token::TokenScope;
use identity::{
    Authority, Clock as _, DeviceKey, SystemClock, SystemEntropy, TlsKey, TokenRole, make_join_request,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams, PostParams};
use kube::client::Body;
use protocol::enrolment::{JoinRequest, RefusalReason};
use protocol::id::AgentId;
use protocol::message::Response;
use support::Hub;

const NAMESPACE: &str = "kcm-system";

struct Stage {
    hub: Hub,
    authority: Arc<Authority>,
    token: identity::JoinToken,
}

async fn stage(max_uses: i32) -> Stage {
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
    let region = "eu".parse().unwrap();
    // A hub that others disturb all the time says so, and the device asks again.
    let ask = async |device: u8| loop {
        let request = stage.request(device);
        let response = hubs[usize::from(device % 2)].join(Some(&region), &request).await;
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
    let region = "eu".parse().unwrap();
    let mut device = 0;
    let mut all = BTreeSet::new();
    for at in 0.. {
        let mut survived = true;
        for done in [false, true] {
            device += 1;
            let request = stage.request(device);
            let dead = stage.registrar(dying(&stage.hub.client, at, done));
            survived &= joined(&dead.join(Some(&region), &request).await).is_some();
            // The device has no answer, or one; the next hub gives it, and the same one again.
            let next = stage.registrar(stage.hub.client.clone());
            let agent = joined(&next.join(Some(&region), &request).await).expect("the device is let in");
            assert_eq!(joined(&next.join(Some(&region), &request).await), Some(agent.clone()));
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
