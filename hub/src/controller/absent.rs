//! Why a service that somebody names is not for a target.

use api::k0rdent::{HelmAction, Service, ServiceSpec};
use kube::ResourceExt;

use super::engine::{Engine, TargetState};
use super::explaining::{described, is_named};
use crate::cache::Kind;
use crate::explain::Absent;
use crate::services::claim::Owner;
use crate::services::dependency::name_of;
use crate::services::selector::{mismatch, selects};
use crate::services::target::TargetKind;

impl Engine {
    /// Everywhere the service is named and does not lead to a unit of the target.
    pub(super) fn absent(&self, state: &TargetState, wanted: &str) -> Vec<Absent> {
        let mut all = Vec::new();
        if let Some(own) = self.own_spec(state) {
            for service in named(&own, wanted).filter(|one| !resolved(state, &Owner::ClusterDeployment, one))
            {
                let (because, cure) = switched_off(service, &described(&state.target));
                all.push(absent(described(&state.target), service, because, cure));
            }
        }
        for object in self.cache.multi_cluster_services.list() {
            let name = object.name_any();
            let owner = Owner::MultiClusterService(name.clone());
            let told = format!("MultiClusterService {name}");
            let Some(spec) = &object.spec.service_spec else { continue };
            for service in named(spec, wanted).filter(|one| !resolved(state, &owner, one)) {
                let selector = object.spec.cluster_selector.as_ref();
                let (because, cure) = if object.metadata.deletion_timestamp.is_some() {
                    ("it is being deleted".to_owned(), format!("make {told} again"))
                } else if !selects(selector, &state.target.labels) {
                    let why = mismatch(selector, &state.target.labels).join("; ");
                    let target = described(&state.target);
                    (
                        format!("its clusterSelector does not match {target}: {why}"),
                        format!("label {target}, or change spec.clusterSelector of {told}"),
                    )
                } else {
                    switched_off(service, &told)
                };
                all.push(absent(told.clone(), service, because, cure));
            }
        }
        let unread =
            self.cache.invalid().into_iter().filter(|(key, _)| key.kind == Kind::MultiClusterService);
        all.extend(unread.map(|(key, why)| Absent {
            owner: format!("MultiClusterService {}", key.name),
            namespace: String::new(),
            name: String::new(),
            because: format!("it cannot be read, so nobody knows whether it names the service: {why}"),
            cure: format!("correct MultiClusterService {}", key.name),
        }));
        all
    }

    /// What the target's own ClusterDeployment asks for.
    pub(super) fn own_spec(&self, state: &TargetState) -> Option<ServiceSpec> {
        let name = &state.target.name;
        if name.kind != TargetKind::ClusterDeployment {
            return None;
        }
        self.cache.cluster_deployments.get(&name.namespace, &name.name)?.spec.service_spec.clone()
    }
}

fn named<'a>(spec: &'a ServiceSpec, wanted: &str) -> impl Iterator<Item = &'a Service> {
    spec.services.iter().filter(move |service| is_named(&name_of(service), wanted))
}

fn resolved(state: &TargetState, owner: &Owner, service: &Service) -> bool {
    let name = name_of(service);
    let mut sets = state.resolution.sets.iter().filter(|set| set.owner == *owner);
    sets.any(|set| set.services.iter().any(|one| one.name == name))
}

/// Why a service of an object that is for the target is not in its set.
fn switched_off(service: &Service, owner: &str) -> (String, String) {
    let (namespace, name) = name_of(service);
    if service.helm_action == Some(HelmAction::Uninstall) {
        return (
            "its helmAction is Uninstall: it is removed where it is, and not installed".to_owned(),
            format!("take helmAction from service {namespace}/{name} of {owner}"),
        );
    }
    if service.disable {
        return (
            "it is disabled: it is not installed where it is not yet".to_owned(),
            format!("take disable from service {namespace}/{name} of {owner}"),
        );
    }
    ("the hub has not decided on it yet, or the target is being deleted".to_owned(), "ask again".to_owned())
}

fn absent(owner: String, service: &Service, because: String, cure: String) -> Absent {
    let (namespace, name) = name_of(service);
    Absent { owner, namespace, name, because, cure }
}
