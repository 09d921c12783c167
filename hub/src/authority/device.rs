//! What a device told of itself, kept in annotations of its Edge or Region.

use std::collections::BTreeMap;

use api::k0rdent::Region;
use api::skein::Edge;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use identity::sealing::{told_key, verified_key};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference};
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource, ResourceExt};
use protocol::Extensions;
use protocol::id::{IdError, RegionName};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::state_management::{endpoints_of, region_of};

/// Its device key, in base64.
const DEVICE_KEY: &str = "skein.dev/device-key";
/// Its sealing key with the device key's signature, in base64.
pub(crate) const SEALING_KEY: &str = "skein.dev/sealing-key";

/// Annotations of an object.
type Annotations = BTreeMap<String, String>;

/// The annotations that keep a device's key, and the sealing key among the extensions of its request. A sealing key
/// that the device key did not sign is left out: whoever relays a request cannot put in its own.
pub(crate) fn annotations(device_key: &Bytes, told: &Extensions) -> Annotations {
    let sealing =
        told_key(told, device_key).map(|key| (SEALING_KEY.to_owned(), STANDARD.encode(key.write())));
    let device = (DEVICE_KEY.to_owned(), STANDARD.encode(device_key));
    std::iter::once(device).chain(sealing).collect()
}

/// The device key that is kept.
pub(super) fn device_key(annotations: &Annotations) -> Option<Bytes> {
    Some(STANDARD.decode(annotations.get(DEVICE_KEY)?).ok()?.into())
}

/// The sealing key that is kept, if the device key vouches for it.
pub(crate) fn sealing_key(annotations: &Annotations) -> Option<[u8; 32]> {
    let told = STANDARD.decode(annotations.get(SEALING_KEY)?).ok()?;
    Some(verified_key(&told, &device_key(annotations)?)?.public)
}

/// The object of an agent that joined.
pub(super) enum Registered {
    Region(Box<Region>),
    /// A ConfigMap that stands for a region.
    Record(Box<ConfigMap>),
    Edge(Box<Edge>),
}

impl Registered {
    /// The region it belongs to.
    pub(super) fn region(&self) -> Result<RegionName, IdError> {
        match self {
            Self::Region(region) => region.name_any().parse(),
            Self::Record(record) => region_of(record).unwrap_or_default().parse(),
            Self::Edge(edge) => edge.spec.region.parse(),
        }
    }

    pub(super) fn annotations(&self) -> &Annotations {
        match self {
            Self::Region(region) => region.annotations(),
            Self::Record(record) => record.annotations(),
            Self::Edge(edge) => edge.annotations(),
        }
    }

    /// The region that stands in for this one now.
    pub(super) fn standing_in(&self) -> Option<RegionName> {
        match self {
            Self::Region(region) if region.spec.lost => region.spec.standby.as_ref()?.parse().ok(),
            Self::Region(_) | Self::Record(_) | Self::Edge(_) => None,
        }
    }

    /// Where edges find the agent of a region.
    pub(super) fn endpoints(&self) -> Vec<String> {
        match self {
            Self::Region(region) => {
                let agent = region.status.as_ref().and_then(|status| status.agent.as_ref());
                agent.map(|agent| agent.endpoints.clone()).unwrap_or_default()
            }
            Self::Record(record) => endpoints_of(record),
            Self::Edge(_) => Vec::new(),
        }
    }

    pub(super) fn is_revoked(&self) -> bool {
        matches!(self, Self::Edge(edge) if edge.spec.revoked)
    }

    /// What Events are about.
    pub(super) fn object_ref(&self) -> ObjectReference {
        match self {
            Self::Region(region) => region.object_ref(&()),
            Self::Record(record) => record.object_ref(&()),
            Self::Edge(edge) => edge.object_ref(&()),
        }
    }

    fn version(&self) -> Option<String> {
        match self {
            Self::Region(region) => region.resource_version(),
            Self::Record(record) => record.resource_version(),
            Self::Edge(edge) => edge.resource_version(),
        }
    }

    /// Sees to it that the object says what its device told.
    pub(super) async fn keep_told(&self, client: &kube::Client, told: &Annotations) -> kube::Result<()> {
        let kept = self.annotations();
        if told.iter().all(|(key, value)| kept.get(key) == Some(value)) {
            return Ok(());
        }
        self.annotate(client, told).await
    }

    /// Writes annotations.
    pub(super) async fn annotate(&self, client: &kube::Client, written: &Annotations) -> kube::Result<()> {
        self.patch(client, &json!({"metadata": {"annotations": written}})).await
    }

    /// Writes annotations unless the object was changed since it was read; says whether it did.
    pub(super) async fn annotate_as_read(
        &self,
        client: &kube::Client,
        written: &Annotations,
    ) -> kube::Result<bool> {
        let metadata = json!({"annotations": written, "resourceVersion": self.version()});
        match self.patch(client, &json!({"metadata": metadata})).await {
            Ok(()) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn patch(&self, client: &kube::Client, patch: &Value) -> kube::Result<()> {
        match self {
            Self::Region(region) => merge(&Api::all(client.clone()), &**region, patch).await,
            Self::Record(record) => {
                let namespace = record.namespace().unwrap_or_default();
                merge(&Api::namespaced(client.clone(), &namespace), &**record, patch).await
            }
            Self::Edge(edge) => {
                let namespace = edge.namespace().unwrap_or_default();
                merge(&Api::namespaced(client.clone(), &namespace), &**edge, patch).await
            }
        }
    }
}

async fn merge<K>(api: &Api<K>, object: &K, patch: &Value) -> kube::Result<()>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealing_key_is_kept_and_used_only_with_the_devices_signature() {
        let device = |seed| identity::DeviceKey::from_seed([seed; 32]);
        let told = |seed| vec![identity::sealing::told(&device(seed))];
        let own = device(1).public();
        let mut kept = annotations(&own, &told(1));
        assert_eq!(device_key(&kept), Some(own.clone()));
        assert_eq!(sealing_key(&kept), Some(identity::SealingKey::of(&device(1)).public()));
        let relayed = annotations(&own, &told(2));
        assert_eq!(relayed.keys().collect::<Vec<_>>(), [DEVICE_KEY]);
        // Whoever edits the object cannot redirect what is sealed either.
        kept.extend(annotations(&device(2).public(), &told(2)).remove_entry(SEALING_KEY));
        assert_eq!(sealing_key(&kept), None);
    }
}
