//! What the hub hands to regions so that they renew their edges without it, what it makes of what they did, and how it
//! ends links of whoever is not to be here any more: with the real objects, over real links.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::wildcard_enum_match_arm)]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub::agents::Server;
use hub::authority::Registrar;
use hub::plans::PlanBook;
use identity::issuer::{TABLE_AGE_MAX_MS, issuer_wish};
use identity::{
    AgentIdentity, Authority, Clock as _, DeviceKey, PlanVerifier, RegionIssuer, SystemClock, SystemEntropy,
    TlsKey, make_renew_request,
};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Patch, PatchParams};
use link::{HelloFacts, Profile, UdpNetwork, Uplink, UplinkConfig, UplinkEvent, UplinkHandle};
use protocol::codec::encode;
use protocol::delegation::{EdgeRenewal, EdgeStanding, EdgeTable, ISSUER_EXTENSION, TablePart};
use protocol::enrolment::{Refusal, RefusalReason, RenewGrant};
use protocol::id::{AgentId, Digest, EdgeId};
use protocol::message::{Control, EdgeLink, Request, Response};
use protocol::version::Speaks;
use serde_json::{Value, json};
use support::{Hub, PATIENCE, condition};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

struct Stage {
    hub: Hub,
    authority: Arc<Authority>,
    registrar: Registrar,
    address: SocketAddr,
}

/// The agent of a region, linked.
struct Region {
    identity: AgentIdentity,
    link: UplinkHandle,
    events: mpsc::Receiver<UplinkEvent>,
    _identity: watch::Sender<Arc<AgentIdentity>>,
    _cancel: tokio_util::sync::DropGuard,
}

fn edge(number: u8) -> AgentId {
    AgentId::Edge(EdgeId([number; 16]))
}

async fn stage() -> Stage {
    let hub = Hub::start().await;
    let now = SystemClock.now();
    let authority = Arc::new(Authority::create("fleet.example", now, &mut SystemEntropy).unwrap());
    let clock = Arc::new(SystemClock);
    let namespace = "kcm-system".to_owned();
    let registrar = Registrar::new(hub.client.clone(), namespace, authority.clone(), clock.clone());
    registrar.listens_at(vec!["127.0.0.1:1".to_owned()]);
    let server = Server {
        authority: authority.clone(),
        registrar: registrar.clone(),
        plans: PlanBook::new(4, Arc::new(hub::authority::Signer(authority.clone())), Arc::new(|| 0)),
        observed: hub.observed.clone(),
        roster: hub.controllers.roster.clone(),
        network: UdpNetwork::shared(),
        clock,
    };
    let downlink = server.start(SocketAddr::from(([127, 0, 0, 1], 0)), &hub.process).await.unwrap();
    Stage { hub, authority, registrar, address: downlink.local_addr() }
}

impl Stage {
    fn identity(&self, agent: AgentId, region: &str, seed: u8) -> AgentIdentity {
        let (tls, now) = (TlsKey::generate().unwrap(), SystemClock.now());
        let csr = tls.signing_request().unwrap();
        let chain = self.authority.issue(&agent, &csr, now, &mut SystemEntropy).unwrap();
        let (not_before, not_after) = identity::certificate::validity(&chain[0]).unwrap();
        AgentIdentity {
            agent,
            name: region.to_owned(),
            region: region.parse().unwrap(),
            chain,
            tls,
            device: DeviceKey::from_seed([seed; 32]),
            trust: self.authority.trust(),
            endpoints: vec![self.address.to_string()],
            not_before,
            not_after,
            returns: 0,
            clock_ahead_ms: 0,
            placed: identity::Placed::default(),
            lineage: protocol::trust::TrustChain::default(),
        }
    }

    /// An edge with its device on record.
    async fn enrol(&self, name: &str, region: &str, number: u8) -> AgentId {
        let labels = json!({"skein.dev/agent-id": EdgeId([number; 16]).to_string()});
        let agent = self.hub.enrol(name, "kcm-system", region, number, json!({}), labels).await;
        self.hub.tell_sealing_key(name, "kcm-system", number).await;
        agent
    }

    async fn patch_edge(&self, name: &str, patch: Value) {
        let edge = json!({
            "apiVersion": "skein.dev/v1alpha1", "kind": "Edge", "metadata": {"namespace": "kcm-system"},
        });
        self.hub.api(&edge).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn region(&self, name: &str) -> Region {
        self.region_of(name, Speaks::HERE).await
    }

    /// A region whose agent speaks that.
    async fn region_of(&self, name: &str, speaks: Speaks) -> Region {
        let identity = self.identity(AgentId::Region(name.parse().unwrap()), name, 99);
        let key =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, identity.device.public());
        let object = json!({"apiVersion": support::K0RDENT, "kind": "Region", "metadata": {"name": name}});
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"skein.dev/device-key": key}}}));
        self.hub.api(&object).patch(name, &PatchParams::default(), &patch).await.unwrap();
        let (sender, receiver) = watch::channel(Arc::new(identity.clone()));
        let cancel = CancellationToken::new();
        let config = UplinkConfig {
            identity: receiver,
            incarnation: 1,
            software: "region/1".to_owned(),
            profile: Profile::region(),
            network: UdpNetwork::shared(),
            clock: Arc::new(SystemClock),
            entropy: Box::new(SystemEntropy),
            recovery: None,
        };
        let source = Arc::new(move || HelloFacts { speaks, ..HelloFacts::default() });
        let (link, events) = Uplink::start(config, source, &TaskTracker::new(), cancel.clone()).unwrap();
        let mut region = Region { identity, link, events, _identity: sender, _cancel: cancel.drop_guard() };
        region.expect(|event| matches!(event, UplinkEvent::Up(_)).then_some(())).await;
        region
    }

    async fn noted(&self, reason: &str, part: &str) {
        let said = |event: &Event| {
            event.reason.as_deref() == Some(reason)
                && event.note.as_ref().is_some_and(|note| note.contains(part))
        };
        self.hub.until_listed::<Event>(&format!("an Event {reason} with \"{part}\""), said).await;
    }
}

impl Region {
    async fn expect<T>(&mut self, mut pick: impl FnMut(UplinkEvent) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = pick(self.events.recv().await.expect("it runs")) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("it comes")
    }

    /// The next table, put together, that is as `holds` says.
    async fn table(
        &mut self,
        verifier: &PlanVerifier,
        holds: impl Fn(&BTreeMap<EdgeId, EdgeStanding>) -> bool,
    ) -> (EdgeTable, BTreeMap<EdgeId, EdgeStanding>) {
        self.expect(|event| {
            let UplinkEvent::Control(Control::EdgeTable(part)) = event else { return None };
            let TablePart { ref entries, first: 0, .. } = part else { panic!("one part holds so few") };
            let table = verifier.verify_table(&part).unwrap();
            assert_eq!(Digest::of(&encode(entries)), table.digest);
            assert_eq!(table.edges as usize, entries.0.len());
            let entries = part.entries.0.into_iter().map(|entry| (entry.edge, entry)).collect();
            holds(&entries).then_some((table, entries))
        })
        .await
    }

    async fn tell(&self, renewal: EdgeRenewal) {
        self.link.send(Control::EdgeRenewed(renewal)).await.unwrap();
    }

    /// Lists these edges as its own, none of which holds a plan.
    async fn list(&self, edges: &[u8]) {
        let link = |number: &u8| EdgeLink {
            edge: EdgeId([*number; 16]),
            up: true,
            since: 1,
            software: String::new(),
            stored: None,
            held: None,
        };
        let links = edges.iter().map(link).collect();
        self.link.send(Control::EdgeLinks { links, last: true }).await.unwrap();
    }

    async fn renew(&self, request: protocol::enrolment::RenewRequest) -> Result<RenewGrant, Refusal> {
        match self.link.call(Request::Renew(request), PATIENCE).await {
            Ok(Response::Renewed(grant)) => Ok(grant),
            Err(link::CallError::Refused(refusal)) | Ok(Response::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }
}

fn renewal(number: u8, refusal: Option<Refusal>) -> EdgeRenewal {
    EdgeRenewal { edge: EdgeId([number; 16]), at: 1, not_after: Some(2), refusal, ext: Vec::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_gets_a_signed_table_of_its_edges_and_a_newer_one_after_each_change() {
    let stage = stage().await;
    stage.enrol("one", "eu", 1).await;
    stage.enrol("other", "us", 2).await;
    let verifier = PlanVerifier::new(&stage.authority.trust());
    let mut region = stage.region("eu").await;
    let (first, edges) = region.table(&verifier, |edges| edges.len() == 1).await;
    assert_eq!((first.region.as_str(), first.generation.term), ("eu", 4));
    assert!(first.issued_at.abs_diff(SystemClock.now()) < TABLE_AGE_MAX_MS / 100);
    let one = &edges[&EdgeId([1; 16])];
    assert_eq!(one.device_key, DeviceKey::from_seed([1; 32]).public());
    assert_eq!((one.returns, one.denied), (0, false));

    let returned = r#"{"count":3,"key":"00","at":"then","from":"there"}"#;
    let patch =
        json!({"spec": {"revoked": true}, "metadata": {"annotations": {"skein.dev/returns": returned}}});
    stage.patch_edge("one", patch).await;
    let denied = |edges: &BTreeMap<EdgeId, EdgeStanding>| edges.values().any(|edge| edge.denied);
    let (second, edges) = region.table(&verifier, denied).await;
    assert!(second.generation > first.generation);
    assert_eq!(edges[&EdgeId([1; 16])].returns, 3);
    stage.hub.delete("skein.dev/v1alpha1", "Edge", "kcm-system", "one").await;
    region.table(&verifier, BTreeMap::is_empty).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_revoked_or_deleted_is_named_to_its_region_and_a_deleted_region_loses_its_link_within_a_second()
 {
    let stage = stage().await;
    stage.enrol("revoked", "eu", 1).await;
    stage.enrol("deleted", "eu", 2).await;
    let mut region = stage.region("eu").await;
    region.list(&[1, 2]).await;
    let known = stage.hub.controllers.roster.clone();
    for (number, name) in [(1, "revoked"), (2, "deleted")] {
        if name == "revoked" {
            stage.patch_edge(name, json!({"spec": {"revoked": true}})).await;
        } else {
            stage.hub.delete("skein.dev/v1alpha1", "Edge", "kcm-system", name).await;
        }
        let asked = Instant::now();
        let refusal = region
            .expect(|event| match event {
                UplinkEvent::Control(Control::EdgeRemoved { edge, refusal }) => {
                    (edge == EdgeId([number; 16])).then_some(refusal)
                }
                _ => None,
            })
            .await;
        assert_eq!(refusal.reason, RefusalReason::Revoked);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert!(known.edge(&EdgeId([number; 16])).is_none_or(|edge| edge.revoked));
    }
    stage.hub.delete(support::K0RDENT, "Region", "", "eu").await;
    let asked = Instant::now();
    let reason = region
        .expect(|event| match event {
            UplinkEvent::Down(reason) => Some(reason.to_string()),
            _ => None,
        })
        .await;
    assert!(reason.contains("no Region \"eu\" here any more"), "{reason}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_region_lacks_and_an_edge_that_it_refused_for_its_version_are_shown() {
    let stage = stage().await;
    stage.enrol("one", "eu", 1).await;
    let region = stage.region_of("eu", Speaks::of_minor(1)).await;
    let older = |it: &Value| {
        let current = condition(it, "AgentCurrent");
        let message = current["message"].as_str().unwrap_or_default();
        current["reason"] == "AgentOlder"
            && message.contains("\"region/1\" speaks protocol 1.1, this hub 1.3")
            && message.contains("delegated-renewal (1.2)")
            && !message.contains("dry-run")
    };
    let shown = stage.hub.until("Region", "", "eu", older).await;
    assert_eq!(shown["status"]["agent"]["protocol"], "1.1");
    let lacks = ["return", "delegated-renewal", "placement", "trust-chain", "version", "endpoints"];
    assert_eq!(shown["status"]["agent"]["lacks"], json!(lacks));
    let lacking: Vec<_> = region.link.state().lacks.0.into_iter().map(|lack| lack.name).collect();
    assert_eq!(lacking, lacks);
    // The region refuses an edge of another major version, and says so.
    let message = "\"regional-agent 1\" speaks protocol 1 and the agent protocol 2".to_owned();
    let refusal = Refusal { reason: RefusalReason::Incompatible, message, retry_after_ms: None };
    let edge = Some(EdgeId([1; 16]));
    region.link.send(Control::PlanRefused { edge, generation: None, refusal }).await.unwrap();
    let refused = |it: &Value| {
        let current = condition(it, "AgentCurrent");
        let message = current["message"].as_str().unwrap_or_default();
        current["reason"] == "AgentIncompatible" && message.contains("the agent protocol 2")
    };
    stage.hub.until("Edge", "kcm-system", "one", refused).await;
    // It links after all.
    region.list(&[1]).await;
    stage.hub.until("Edge", "kcm-system", "one", |it| condition(it, "AgentCurrent").is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_region_gets_an_issuing_certificate_and_only_for_itself() {
    let stage = stage().await;
    let one = stage.enrol("one", "eu", 1).await;
    let foreign = stage.enrol("foreign", "us", 2).await;
    let region = stage.region("eu").await;
    let (key, tls) = (TlsKey::generate().unwrap(), TlsKey::generate().unwrap());
    let asks = |identity: &AgentIdentity| {
        let mut request = make_renew_request(identity, &tls).unwrap();
        request.ext.push(issuer_wish(identity, &key).unwrap());
        request
    };
    let now = SystemClock.now();
    let grant = region.renew(asks(&region.identity)).await.unwrap();
    let issuer = RegionIssuer::granted(&region.identity, key.clone(), &grant.ext, now, &mut SystemEntropy);
    assert!(issuer.unwrap().is_some());
    // Of before: it asks for nothing and gets nothing.
    let plain = make_renew_request(&region.identity, &tls).unwrap();
    let grant = region.renew(plain).await.unwrap();
    assert!(grant.ext.iter().all(|(tag, _)| *tag != ISSUER_EXTENSION));
    // Somebody with the region's TLS key and another device.
    let thief = AgentIdentity { device: DeviceKey::from_seed([7; 32]), ..region.identity.clone() };
    let mut request = make_renew_request(&region.identity, &tls).unwrap();
    request.ext.push(issuer_wish(&thief, &key).unwrap());
    let refused = region.renew(request).await.unwrap_err();
    assert!(refused.message.contains("not by the device key"), "{}", refused.message);
    stage.noted("RenewalRefused", "the wish for an issuing certificate").await;

    // An edge that asks for one gets its certificate and nothing else.
    let edge = stage.identity(one, "eu", 1);
    let grant = region.renew(asks(&edge)).await.unwrap();
    assert!(grant.ext.iter().all(|(tag, _)| *tag != ISSUER_EXTENSION));
    let other = stage.identity(foreign, "us", 2);
    let refused = region.renew(asks(&other)).await.unwrap_err();
    assert_eq!(refused.reason, RefusalReason::Forbidden);
    stage.noted("RenewalRefused", "region/eu may not renew the certificate of edge/02020202").await;
    let us = AgentId::Region("us".parse().unwrap());
    let refused = match stage.registrar.renew(&us, &asks(&region.identity)).await {
        Response::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.reason, RefusalReason::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_region_decided_alone_is_held_against_the_objects() {
    let stage = stage().await;
    stage.enrol("fine", "eu", 1).await;
    stage.enrol("foreign", "us", 2).await;
    stage.enrol("revoked", "eu", 3).await;
    stage.enrol("refused", "eu", 4).await;
    stage.patch_edge("revoked", json!({"spec": {"revoked": true}})).await;
    let verifier = PlanVerifier::new(&stage.authority.trust());
    let mut region = stage.region("eu").await;
    region.table(&verifier, |edges| edges.len() == 3 && edges.values().any(|edge| edge.denied)).await;
    let reason = RefusalReason::Forbidden;
    let refusal = Refusal { reason, message: "a copy".to_owned(), retry_after_ms: None };
    region.tell(renewal(1, None)).await;
    region.tell(renewal(2, None)).await;
    region.tell(renewal(3, None)).await;
    region.tell(renewal(4, Some(refusal))).await;
    stage.noted("ForeignRenewal", &format!("it renewed {}", edge(2))).await;
    stage.noted("RevokedRenewed", "before it knew that it was revoked").await;
    stage.noted("RenewalRefused", "region \"eu\" refused the renewal while the hub was away: a copy").await;
    let families = stage.hub.process.metrics.gather();
    let counted = families.iter().find(|family| family.name == "skein_hub_region_renewals_total").unwrap();
    let of = |verdict: &str| {
        let is_it = |labels: &[(String, String)]| labels.iter().any(|(_, value)| value == verdict);
        counted.samples.iter().find(|(labels, _)| is_it(labels)).map(|(_, count)| *count)
    };
    for verdict in ["fine", "foreign", "revoked", "refused"] {
        assert_eq!(of(verdict), Some(1.0), "{verdict}");
    }
}
