//! Where what belongs to a region's agent is kept: in the `Region` object, or in a ConfigMap where that kind belongs to
//! another k0rdent (see [`crate::state_management`]).

use api::k0rdent::Region;
use api::names::REGION_RECORD_PREFIX;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use protocol::id::RegionName;

use super::device::Registered;
use crate::state_management::region_of;

/// Finds what is kept of regions.
#[derive(Debug, Clone)]
pub(super) enum Regions {
    /// `Region` objects.
    Objects,
    /// ConfigMaps in this namespace.
    Records(String),
}

impl Regions {
    /// What is kept of a region; `None` when there is no such region.
    pub(super) async fn find(
        &self,
        client: &kube::Client,
        name: &RegionName,
    ) -> kube::Result<Option<Registered>> {
        match self {
            Self::Objects => {
                let found = Api::<Region>::all(client.clone()).get_opt(name.as_str()).await?;
                Ok(found.map(|region| Registered::Region(Box::new(region))))
            }
            Self::Records(namespace) => {
                let records = Api::<ConfigMap>::namespaced(client.clone(), namespace);
                let found = records.get_opt(&format!("{REGION_RECORD_PREFIX}{name}")).await?;
                let found = found.filter(|record| region_of(record) == Some(name.as_str()));
                Ok(found.map(|record| Registered::Record(Box::new(record))))
            }
        }
    }

    /// How a missing region is made.
    pub(super) fn advice(&self, name: &RegionName) -> String {
        match self {
            Self::Objects => format!("there is no Region \"{name}\": create it first"),
            Self::Records(namespace) => format!(
                "there is no region \"{name}\": create the ConfigMap {namespace}/{REGION_RECORD_PREFIX}{name} with the label {}={name}",
                api::names::label::REGION_RECORD
            ),
        }
    }
}
