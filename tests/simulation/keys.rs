//! Where an edge keeps who it is, and what the hub's objects know of it: some were off for so long that their
//! certificate has expired.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api::k0rdent::{Region, RegionSpec};
use api::skein::{Edge, EdgeSpec};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::store::StoreError;
use identity::{AgentIdentity, DeviceKey, Entropy, KeyKind, KeyStore, SeededEntropy, TlsKey};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, PostParams};
use serde_json::json;

/// Where the objects of edges lie.
const NAMESPACE: &str = "default";

/// An edge's keys, which outlive its program.
pub(crate) struct Keys {
    identity: Mutex<AgentIdentity>,
    pending: Mutex<Option<TlsKey>>,
    entropy: Mutex<SeededEntropy>,
}

impl Keys {
    pub(crate) fn new(identity: AgentIdentity, seed: u64) -> Arc<Self> {
        let entropy = Mutex::new(SeededEntropy::new(seed));
        Arc::new(Self { identity: Mutex::new(identity), pending: Mutex::default(), entropy })
    }

    pub(crate) fn identity(&self) -> AgentIdentity {
        self.identity.lock().unwrap().clone()
    }
}

impl KeyStore for Keys {
    fn device_key(&self, _: &mut dyn Entropy) -> Result<DeviceKey, StoreError> {
        Ok(self.identity().device)
    }

    fn load(&self) -> Result<Option<AgentIdentity>, StoreError> {
        Ok(Some(self.identity()))
    }

    fn store(&self, identity: &AgentIdentity) -> Result<(), StoreError> {
        *self.identity.lock().unwrap() = identity.clone();
        *self.pending.lock().unwrap() = None;
        Ok(())
    }

    fn pending_key(&self) -> Result<TlsKey, StoreError> {
        let make = || TlsKey::generate_kind(KeyKind::Ed25519, &mut *self.entropy.lock().unwrap()).unwrap();
        Ok(self.pending.lock().unwrap().get_or_insert_with(make).clone())
    }
}

/// The definitions of edges and regions.
pub(crate) async fn define(client: &kube::Client) {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in api::skein_crds().into_iter().chain(api::k0rdent_crds()) {
        definitions.create(&PostParams::default(), &definition).await.unwrap();
    }
}

/// The object of an edge, as its enrolment left it.
pub(crate) async fn register(client: &kube::Client, name: &str, identity: &AgentIdentity) {
    let spec = EdgeSpec { region: identity.region.to_string(), ..EdgeSpec::default() };
    let mut edge = Edge::new(name, spec);
    let id = identity.agent.edge().unwrap().to_string();
    edge.metadata.labels = Some([("skein.dev/agent-id".to_owned(), id)].into());
    edge.metadata.annotations = Some(device_annotation(identity));
    Api::<Edge>::namespaced(client.clone(), NAMESPACE).create(&PostParams::default(), &edge).await.unwrap();
}

/// The object of a region, as its enrolment left it.
pub(crate) async fn register_region(client: &kube::Client, identity: &AgentIdentity) {
    let mut region = Region::new(identity.region.as_str(), RegionSpec::default());
    region.metadata.annotations = Some(device_annotation(identity));
    Api::<Region>::all(client.clone()).create(&PostParams::default(), &region).await.unwrap();
}

/// What an object says of the device of its agent.
pub(crate) fn device_annotation(identity: &AgentIdentity) -> BTreeMap<String, String> {
    [("skein.dev/device-key".to_owned(), STANDARD.encode(identity.device.public()))].into()
}

/// How often an edge has returned, as the hub counts.
pub(crate) async fn returns(client: &kube::Client, name: &str) -> u64 {
    let edge = Api::<Edge>::namespaced(client.clone(), NAMESPACE).get(name).await.unwrap();
    let annotations = edge.metadata.annotations.unwrap_or_default();
    assert!(!annotations.contains_key("skein.dev/quarantine"), "nobody was copied: {annotations:#?}");
    let kept = annotations.get("skein.dev/returns").map(|kept| serde_json::from_str(kept).unwrap());
    kept.unwrap_or(json!({"count": 0}))["count"].as_u64().unwrap()
}
