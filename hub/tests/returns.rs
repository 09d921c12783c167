//! Agents that come back to the hub after their certificate has expired, with the real objects.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::wildcard_enum_match_arm)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hub::authority::Registrar;
use identity::recovery::{CHALLENGE_VALIDITY_MS, make_recover_request};
use identity::{AgentIdentity, Authority, Clock, DeviceKey, SystemEntropy, TlsKey};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Patch, PatchParams};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, EdgeId};
use protocol::message::Response;
use protocol::recovery::{RecoverGrant, RecoverRequest};
use serde_json::json;
use support::{Hub, condition, has};

const START: u64 = 1_790_000_000_000;
const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

#[derive(Debug, Clone, Default)]
struct Time(Arc<AtomicU64>);

impl Clock for Time {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Stage {
    hub: Hub,
    registrar: Registrar,
    clock: Time,
    /// The device as it was when it was switched off.
    device: AgentIdentity,
}

async fn stage() -> Stage {
    let hub = Hub::start().await;
    let (clock, id) = (Time::default(), EdgeId([7; 16]));
    clock.0.store(START, Ordering::Relaxed);
    let authority =
        Arc::new(Authority::create("fleet.example", START - YEAR_MS, &mut SystemEntropy).unwrap());
    let labels = json!({"skein.dev/agent-id": id.to_string()});
    let agent = hub.enrol("store-1", "kcm-system", "eu", 7, json!({}), labels).await;
    hub.tell_sealing_key("store-1", "kcm-system", 9).await;
    let tls = TlsKey::generate().unwrap();
    let csr = tls.signing_request().unwrap();
    let chain = authority.issue(&agent, &csr, START - YEAR_MS, &mut SystemEntropy).unwrap();
    let (not_before, not_after) = identity::certificate::validity(&chain[0]).unwrap();
    let device = AgentIdentity {
        agent,
        name: "store-1".to_owned(),
        region: "eu".parse().unwrap(),
        chain,
        tls,
        device: DeviceKey::from_seed([9; 32]),
        trust: authority.trust(),
        endpoints: vec!["eu.example:4433".to_owned()],
        not_before,
        not_after,
        returns: 0,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    };
    let registrar =
        Registrar::new(hub.client.clone(), "kcm-system".to_owned(), authority, Arc::new(clock.clone()));
    Stage { hub, registrar, clock, device }
}

impl Stage {
    fn challenge(&self, agent: &AgentId) -> Bytes {
        match self.registrar.challenge(agent) {
            Response::Challenge(challenge) => challenge,
            other => panic!("{other:?}"),
        }
    }

    /// What a device in that state asks for.
    fn request(&self, device: &AgentIdentity) -> RecoverRequest {
        make_recover_request(device, &TlsKey::generate().unwrap(), self.challenge(&device.agent)).unwrap()
    }

    async fn ask(&self, from: &str, request: &RecoverRequest) -> Result<RecoverGrant, Refusal> {
        match self.registrar.recover(from, request).await {
            Response::Recovered(grant) => Ok(grant),
            Response::Refused(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    async fn patch(&self, patch: serde_json::Value) {
        let edge = json!({
            "apiVersion": "skein.dev/v1alpha1", "kind": "Edge", "metadata": {"namespace": "kcm-system"},
        });
        let patch = Patch::Merge(patch);
        self.hub.api(&edge).patch("store-1", &PatchParams::default(), &patch).await.unwrap();
    }
}

#[tokio::test]
async fn an_edge_returns_and_a_copy_of_its_disk_is_quarantined_until_somebody_decides() {
    let stage = stage().await;
    let request = stage.request(&stage.device);
    let first = stage.ask("10.0.0.1:5", &request).await.unwrap();
    assert_eq!((first.count, first.region.as_str()), (1, "eu"));
    let (not_before, _) = identity::certificate::validity(&first.renewed.chain[0]).unwrap();
    assert!(not_before.abs_diff(START) <= identity::authority::BACKDATE_MS);
    // The answer got lost: the same again, which counts once.
    assert_eq!(stage.ask("10.0.0.1:5", &request).await.unwrap().count, 1);

    let copy = stage.request(&stage.device);
    let refused = stage.ask("10.0.0.2:5", &copy).await.unwrap_err();
    assert_eq!(refused.reason, RefusalReason::Forbidden);
    assert!(refused.message.contains("this disk is a copy"), "{}", refused.message);
    let edge =
        stage.hub.until("Edge", "kcm-system", "store-1", |edge| has(edge, "Quarantined", "True")).await;
    let message = condition(&edge, "Quarantined")["message"].as_str().unwrap();
    assert!(message.contains("10.0.0.1:5") && message.contains("10.0.0.2:5"), "{message}");
    let said = |event: &Event| event.reason.as_deref() == Some("CloneRefused");
    stage.hub.until_listed::<Event>("an Event says so", said).await;

    // The one that returned goes on.
    let device = AgentIdentity { returns: 1, ..stage.device.clone() };
    assert_eq!(stage.ask("10.0.0.1:5", &stage.request(&device)).await.unwrap().count, 2);
    // Somebody decides for the other one.
    stage
        .patch(
            json!({"metadata": {"annotations": {"skein.dev/returns": null, "skein.dev/quarantine": null}}}),
        )
        .await;
    assert_eq!(stage.ask("10.0.0.2:5", &stage.request(&stage.device)).await.unwrap().count, 1);
    stage.hub.until("Edge", "kcm-system", "store-1", |edge| condition(edge, "Quarantined").is_null()).await;
    // A record that was restored from a backup is behind: that is not the device's fault.
    let device = AgentIdentity { returns: 9, ..stage.device.clone() };
    assert_eq!(stage.ask("10.0.0.1:5", &stage.request(&device)).await.unwrap().count, 10);
}

#[tokio::test]
async fn nobody_returns_with_what_is_not_his_own_or_not_of_now() {
    let stage = stage().await;
    let refused = async |request: &RecoverRequest, reason, part: &str| {
        let refusal = stage.ask("10.0.0.1:5", request).await.unwrap_err();
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert!(refusal.message.contains(part), "{}", refusal.message);
    };
    let good = stage.request(&stage.device);
    let other = AgentIdentity { device: DeviceKey::from_seed([1; 32]), ..stage.device.clone() };
    refused(&stage.request(&other), RefusalReason::ProofInvalid, "not by the device key").await;
    let altered = RecoverRequest { count: 5, ..good.clone() };
    refused(&altered, RefusalReason::ProofInvalid, "not by the device key").await;
    let made_up = RecoverRequest { challenge: Bytes::from(vec![1; 56]), ..good.clone() };
    refused(&made_up, RefusalReason::ProofInvalid, "not one of this hub's for this agent").await;
    let empty = RecoverRequest { challenge: Bytes::new(), ..good.clone() };
    refused(&empty, RefusalReason::ProofInvalid, "not one of this hub's").await;
    let long = RecoverRequest { challenge: Bytes::from(vec![1; 1000]), ..good.clone() };
    refused(&long, RefusalReason::Malformed, "1000 bytes, at most 128").await;
    let foreign = stage.challenge(&AgentId::Edge(EdgeId([8; 16])));
    let foreign = make_recover_request(&stage.device, &TlsKey::generate().unwrap(), foreign).unwrap();
    refused(&foreign, RefusalReason::ProofInvalid, "for this agent").await;
    let unknown = AgentIdentity { agent: AgentId::Edge(EdgeId([8; 16])), ..stage.device.clone() };
    refused(&stage.request(&unknown), RefusalReason::Revoked, "its object was deleted").await;
    let garbage = RecoverRequest { csr: Bytes::from_static(b"no request"), ..good.clone() };
    refused(&garbage, RefusalReason::ProofInvalid, "not by the device key").await;

    stage.clock.0.fetch_add(CHALLENGE_VALIDITY_MS + 1, Ordering::Relaxed);
    refused(&good, RefusalReason::ProofInvalid, "too old").await;
    stage.patch(json!({"spec": {"revoked": true}})).await;
    refused(&stage.request(&stage.device), RefusalReason::Revoked, "was revoked").await;
}
