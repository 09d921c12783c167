//! Templates in use, and chains.

use api::k0rdent::{ClusterTemplateChain, SupportedTemplate};
use api::names::label;
use kube::ResourceExt;

use super::super::review::{Request, Verdict};
use super::super::world::World;
use super::{named, parsed};

const FORBIDDEN: &str = "template deletion is forbidden";
const CHAIN_INVALID: &str = "the template chain spec is invalid";

/// What is wrong with the upgrades of a chain by itself.
pub fn chain_faults(supported: &[SupportedTemplate]) -> Vec<String> {
    let mut faults = Vec::new();
    for template in supported {
        for upgrade in &template.available_upgrades {
            if !supported.iter().any(|one| one.name == upgrade.name) {
                faults.push(format!(
                    "template {} is allowed for upgrade but is not present in the list of '.spec.supportedTemplates'",
                    upgrade.name
                ));
            }
        }
        let versioned =
            template.available_upgrades.iter().filter(|upgrade| upgrade.version.is_some()).count();
        if versioned != 0 && versioned != template.available_upgrades.len() {
            faults.push(format!(
                "template {} has mixed version/no-version available upgrades: either all or none should have version set",
                template.name
            ));
        }
    }
    faults
}

pub(super) fn create_chain(request: &Request, world: &World<'_>) -> Verdict {
    // Both kinds of chains have the same spec.
    let chain = match parsed::<ClusterTemplateChain>(&request.object) {
        Ok(chain) => chain,
        Err(refusal) => return refusal,
    };
    let supported = &chain.spec.supported_templates;
    let faults = chain_faults(supported);
    if !faults.is_empty() {
        return Verdict { warnings: faults, ..Verdict::refuse(CHAIN_INVALID) };
    }
    let namespace = chain.namespace().unwrap_or_default();
    let managed = chain.labels().get(label::MANAGED).map(String::as_str) == Some("true");
    if managed && namespace != world.system_namespace {
        // Its templates are copied here because of it.
        return Verdict::default();
    }
    let exists = |name: &str| match request.kind.kind.as_str() {
        "ClusterTemplateChain" => world.cache.cluster_templates.get(&namespace, name).is_some(),
        _ => world.cache.service_templates.get(&namespace, name).is_some(),
    };
    let missing: Vec<_> = supported
        .iter()
        .enumerate()
        .filter(|(_, template)| !exists(&template.name))
        .map(|(at, template)| format!("spec.supportedTemplates[{at}].name: Not found: \"{}\"", template.name))
        .collect();
    if missing.is_empty() { Verdict::default() } else { Verdict::refuse(missing.join("\n")) }
}

pub(super) fn delete_cluster(request: &Request, world: &World<'_>) -> Verdict {
    let (namespace, name) = named(&request.old_object);
    let clusters = world.cache.cluster_deployments.in_namespace(&namespace);
    if clusters.iter().any(|cluster| cluster.spec.template == name) {
        return Verdict::refuse(FORBIDDEN)
            .warn("The ClusterTemplate object can't be removed if ClusterDeployment objects referencing it still exist");
    }
    let chains = world.cache.cluster_template_chains.in_namespace(&namespace);
    let chains = chains.iter().map(|chain| (chain.name_any(), &chain.spec.supported_templates));
    managed("ClusterTemplate", &request.old_object, &name, chains)
}

pub(super) fn delete_service(request: &Request, world: &World<'_>) -> Verdict {
    let (namespace, name) = named(&request.old_object);
    let clusters = world.cache.cluster_deployments.in_namespace(&namespace);
    let uses = |spec: Option<&api::k0rdent::ServiceSpec>| {
        spec.is_some_and(|spec| spec.services.iter().any(|service| service.template == name))
    };
    if clusters.iter().any(|cluster| uses(cluster.spec.service_spec.as_ref())) {
        return Verdict::refuse(FORBIDDEN)
            .warn("The ServiceTemplate object can't be removed if ClusterDeployment objects referencing it still exist");
    }
    if namespace == world.system_namespace {
        let all = world.cache.multi_cluster_services.list();
        let users: Vec<_> =
            all.iter().filter(|one| uses(one.spec.service_spec.as_ref())).map(|one| one.name_any()).collect();
        if !users.is_empty() {
            return Verdict::refuse(FORBIDDEN).warn(format!(
                "The {name} ServiceTemplate object can't be removed if MultiClusterService objects [{}] referencing it still exist",
                users.join(" ")
            ));
        }
    }
    let chains = world.cache.service_template_chains.in_namespace(&namespace);
    let chains = chains.iter().map(|chain| (chain.name_any(), &chain.spec.supported_templates));
    managed("ServiceTemplate", &request.old_object, &name, chains)
}

/// A copy that a chain made goes with the chain.
fn managed<'a>(
    kind: &str,
    object: &serde_json::Value,
    name: &str,
    chains: impl Iterator<Item = (String, &'a Vec<SupportedTemplate>)>,
) -> Verdict {
    let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    let owned = |chain: &str| {
        owners.iter().any(|owner| owner["kind"] == format!("{kind}Chain") && owner["name"] == chain)
    };
    let holds: Vec<_> = chains
        .filter(|(chain, supported)| owned(chain) && supported.iter().any(|one| one.name == name))
        .map(|(chain, _)| chain)
        .collect();
    if holds.is_empty() {
        return Verdict::default();
    }
    Verdict::refuse(FORBIDDEN).warn(format!(
        "The {kind} object can't be removed if it is managed by {kind}Chain: {}",
        holds.join(", ")
    ))
}

pub(super) fn delete_provider(request: &Request, world: &World<'_>) -> Verdict {
    let (_, name) = named(&request.old_object);
    let releases: Vec<_> = world
        .others
        .releases
        .iter()
        .filter(|release| super::installation::templates_of(release).contains(&name))
        .map(kube::ResourceExt::name_any)
        .collect();
    if !releases.is_empty() {
        return Verdict::refuse(FORBIDDEN).warn(format!(
            "The ProviderTemplate {name} cannot be removed while it is part of existing Releases: {}",
            releases.join(", ")
        ));
    }
    let used = world.others.management.as_ref().is_some_and(|management| {
        let core = management.spec.core.as_ref();
        let core = core.into_iter().flat_map(|core| [&core.kcm, &core.capi]).flatten();
        let mut named = core
            .filter_map(|component| component.template.as_ref())
            .chain(management.spec.providers.iter().filter_map(|provider| provider.template.as_ref()));
        named.any(|template| *template == name)
    });
    if used {
        return Verdict::refuse(FORBIDDEN).warn(format!(
            "The ProviderTemplate {name} cannot be removed while it is used in the Management spec"
        ));
    }
    Verdict::default()
}
