//! Step 1: everything the ClusterDeployment names.

use std::sync::Arc;

use api::k0rdent::{ClusterDeployment, Credential, Region};
use api::names;
use kube::ResourceExt;

use super::{Found, FoundRegion};
use crate::services::template::Sight;

pub(super) fn dereference(deployment: &Arc<ClusterDeployment>, sight: &Sight<'_>) -> Found {
    let namespace = deployment.namespace().unwrap_or_default();
    let credential = match deployment.spec.credential.as_deref().filter(|name| !name.is_empty()) {
        None => Err("the ClusterDeployment names no Credential: spec.credential is empty".to_owned()),
        Some(name) => sight.view.get::<Credential>(&namespace, name).ok_or_else(|| {
            format!(
                "failed to get Credential {namespace}/{name} referred in the ClusterDeployment {namespace}/{}: Credential.k0rdent.mirantis.com \"{name}\" not found",
                deployment.name_any()
            )
        }),
    };
    let region = credential.as_ref().ok().map(|credential| {
        let name = credential.spec.region.clone().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| names::LOCAL_REGION.to_owned());
        let object = sight.view.get::<Region>("", &name);
        FoundRegion {
            exists: object.is_some() || name == names::LOCAL_REGION,
            paused: object
                .as_ref()
                .is_some_and(|region| region.annotations().contains_key(names::annotation::REGION_PAUSE)),
            annotations: object.map(|region| region.annotations().clone()).unwrap_or_default(),
            name,
        }
    });
    Found {
        template: sight.cluster_template(&namespace, &deployment.spec.template),
        credential,
        region,
        deployment: deployment.clone(),
    }
}
