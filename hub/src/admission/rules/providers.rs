//! Which providers a ClusterTemplate needs, which there are, and which identities they take.

use std::collections::BTreeMap;

use api::k0rdent::{ClusterDeployment, ClusterTemplate, Credential};
use api::names::label;
use kube::ResourceExt;

use super::super::world::World;

/// Start of the names of infrastructure providers.
const INFRASTRUCTURE: &str = "infrastructure-";
/// The provider of clusters that are there already.
const INTERNAL: &str = "infrastructure-internal";

/// What an installation has: providers, and their contracts by Cluster API contract.
type Deployed = (Vec<String>, BTreeMap<String, BTreeMap<String, String>>);

/// The Credential that a ClusterDeployment names, whether it is there or not.
fn credential_of(object: &ClusterDeployment, world: &World<'_>) -> Option<std::sync::Arc<Credential>> {
    let name = object.spec.credential.as_deref()?;
    world.cache.credentials.get(&object.namespace().unwrap_or_default(), name)
}

/// What there is where the cluster goes: in its region, or at the management cluster. `None` where nobody says.
fn deployed(object: &ClusterDeployment, world: &World<'_>) -> Option<Deployed> {
    let region = credential_of(object, world).and_then(|credential| credential.spec.region.clone());
    if let Some(region) = region.filter(|region| !region.is_empty() && region != api::names::LOCAL_REGION) {
        let region = world.cache.regions.get("", &region)?;
        // A region whose agent dials in says nothing of components.
        if region.spec.kube_config.is_none() && region.spec.cluster_deployment.is_none() {
            return None;
        }
        let status = region.status.clone()?;
        return Some((status.available_providers, status.capi_contracts));
    }
    let status = world.others.management.as_ref()?.status.clone()?;
    Some((status.available_providers, status.capi_contracts))
}

/// Every provider that the template needs is there, with the contract that it needs.
pub(super) fn required(
    object: &ClusterDeployment,
    template: &ClusterTemplate,
    world: &World<'_>,
) -> Result<(), String> {
    let Some((available, contracts)) = deployed(object, world) else { return Ok(()) };
    let Some(status) = template.status.as_ref() else { return Ok(()) };
    let mut missing: Vec<&str> = Vec::new();
    let mut unsatisfied = Vec::new();
    for provider in status.providers.iter().filter(|provider| *provider != INTERNAL) {
        if !available.contains(provider) {
            missing.push(provider);
            continue;
        }
        let Some(wanted) = status.provider_contracts.get(provider).filter(|one| !one.is_empty()) else {
            continue;
        };
        let offered = contracts.get(provider).cloned().unwrap_or_default();
        let satisfies = offered.values().any(|offered| offered.split('_').any(|one| one == wanted));
        if !satisfies {
            unsatisfied.push(format!("{provider} requires {wanted}"));
        }
    }
    let mut wrong = Vec::new();
    if !missing.is_empty() {
        missing.sort_unstable();
        let list = missing.join(" ");
        wrong.push(format!("one or more required providers are not deployed yet: [{list}]"));
    }
    if !unsatisfied.is_empty() {
        let list = unsatisfied.join(" ");
        wrong.push(format!(
            "one or more required provider contract versions does not satisfy deployed: [{list}]"
        ));
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    Err(format!("incompatible providers in ClusterDeployment {name}: {}", wrong.join("\n")))
}

/// The Credential is there, ready, and of a kind that the template's providers take.
pub(super) fn credential(
    object: &ClusterDeployment,
    template: &ClusterTemplate,
    world: &World<'_>,
) -> Result<(), String> {
    let (namespace, of) = (object.namespace().unwrap_or_default(), template.name_any());
    let providers = template.status.as_ref().map(|status| status.providers.clone()).unwrap_or_default();
    if providers.is_empty() {
        return Err(format!("no providers have been found in the ClusterTemplate {namespace}/{of}"));
    }
    let infrastructure: Vec<_> = providers.iter().filter(|one| one.starts_with(INFRASTRUCTURE)).collect();
    if infrastructure.is_empty() {
        return Err(format!(
            "no infrastructure providers have been found in the ClusterTemplate {namespace}/{of}"
        ));
    }
    let name = object.spec.credential.clone().unwrap_or_default();
    let credential = credential_of(object, world).ok_or_else(|| {
        format!(
            "failed to get Credential {namespace}/{name} referred in the ClusterDeployment {namespace}/{}: Credential.k0rdent.mirantis.com \"{name}\" not found",
            object.name_any()
        )
    })?;
    if !credential.status.as_ref().is_some_and(|status| status.ready) {
        return Err(format!("the Credential {namespace}/{name} is not Ready"));
    }
    let identity = &credential.spec.identity_ref;
    let kind = identity.kind.clone().unwrap_or_default();
    if kind.is_empty() && identity.name.as_deref().unwrap_or_default().is_empty() {
        return Err(format!("the Credential {namespace}/{name} does not have identityRef"));
    }
    for provider in infrastructure {
        takes(provider, &kind, &format!("{namespace}/{name}"), world)?;
    }
    Ok(())
}

/// Whether a provider takes identities of a kind.
fn takes(provider: &str, kind: &str, credential: &str, world: &World<'_>) -> Result<(), String> {
    let refused = || {
        format!(
            "provider {provider} does not support ClusterIdentity Kind {kind} from the Credential {credential}"
        )
    };
    if provider == INTERNAL {
        return if kind == "Secret" { Ok(()) } else { Err(refused()) };
    }
    let interfaces = &world.others.provider_interfaces;
    if interfaces.is_empty() {
        return Ok(());
    }
    let of =
        |labels: &BTreeMap<String, String>| labels.get(label::PROVIDER).is_some_and(|one| one == provider);
    let own: Vec<_> = interfaces.iter().filter(|interface| of(interface.labels())).collect();
    if own.is_empty() {
        return Err(format!("unsupported infrastructure provider {provider}"));
    }
    let accepted = own.iter().any(|interface| {
        interface.spec.cluster_identities.iter().any(|identity| identity.kind == kind)
            || interface.spec.cluster_identity_kinds.iter().any(|one| one == kind)
    });
    if accepted { Ok(()) } else { Err(refused()) }
}
