//! A ServiceSet as a claim.
//!
//! KCM has resolved chains and dependencies: it writes into a set what is to be there now, and the next step when what is
//! there is reported as deployed. So a claim of a set has neither.

use api::k0rdent::{Service, ServiceSet, ServiceSpec, ServiceWithValues};
use kube::ResourceExt;

use crate::services::claim::{Claim, Owner};
use crate::services::provider::Carrying;

/// What the set claims; nothing when it is being deleted.
pub fn claim(set: &ServiceSet) -> Option<Claim> {
    if set.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let spec = ServiceSpec {
        provider: Some(set.spec.provider.clone()),
        services: set.spec.services.iter().map(service).collect(),
        ..ServiceSpec::default()
    };
    let of = set.spec.multi_cluster_service.clone().filter(|name| !name.is_empty());
    Some(Claim {
        owner: of.map_or(Owner::ClusterDeployment, Owner::MultiClusterService),
        set: (set.namespace().unwrap_or_default(), set.name_any()),
        created: set.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        carrying: Carrying::of(&spec).ordered(set.annotations()),
        depends_on: Vec::new(),
        spec,
        release: None,
    })
}

fn service(one: &ServiceWithValues) -> Service {
    Service {
        helm_action: one.helm_action,
        helm_options: one.helm_options.clone(),
        name: one.name.clone(),
        namespace: one.namespace.clone(),
        template: one.template.clone(),
        values: one.values.clone(),
        values_from: one.values_from.clone(),
        version: one.version.clone(),
        ..Service::default()
    }
}
