//! Management, Region and Release.

use std::collections::{BTreeMap, BTreeSet};

use api::k0rdent::{ClusterDeployment, Management, Provider, ProviderTemplate, Region, Release};
use api::names::LOCAL_REGION;
use kube::ResourceExt;

use super::super::review::{Request, Verdict};
use super::super::world::World;
use super::{named, parsed};

/// Keys under which a kubeconfig is looked for when the Region names none.
const KUBECONFIG_KEYS: [&str; 2] = ["value", "value.yaml"];

pub(super) fn create_management(request: &Request, world: &World<'_>) -> Verdict {
    match parsed::<Management>(&request.object) {
        Ok(object) => release_is_ready(&object.spec.release, world).err().unwrap_or_default(),
        Err(refusal) => refusal,
    }
}

pub(super) fn update_management(request: &Request, world: &World<'_>) -> Verdict {
    let objects = parsed::<Management>(&request.object)
        .and_then(|new| parsed::<Management>(&request.old_object).map(|old| (old, new)));
    let (old, new) = match objects {
        Ok(objects) => objects,
        Err(refusal) => return refusal,
    };
    if new.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    if old.spec.release != new.spec.release
        && let Err(refusal) = release_is_ready(&new.spec.release, world)
    {
        return refusal;
    }
    let kept = removal_is_allowed((&old.spec.providers, &new.spec.providers), None, world);
    if let Err(why) = kept {
        return Verdict::refuse(format!(
            "spec.providers: Forbidden: {why} and cannot be removed from the Management {}",
            new.name_any()
        ))
        .warn("Some of the providers cannot be removed");
    }
    match contracts_agree(&new.spec.providers, new.spec.core.as_ref(), &new.spec.release, world) {
        Ok(()) => Verdict::default(),
        Err(why) => Verdict::refuse(format!("the Management is invalid: {why}"))
            .warn("The Management object has incompatible CAPI contract versions in ProviderTemplates"),
    }
}

pub(super) fn delete_management(world: &World<'_>) -> Verdict {
    let forbidden = |kind: &str| {
        Verdict::refuse("management deletion is forbidden")
            .warn(format!("The Management object can't be removed if {kind} objects still exist"))
    };
    if !world.cache.regions.is_empty() {
        return forbidden("Region");
    }
    if !world.cache.cluster_deployments.is_empty() {
        return forbidden("ClusterDeployment");
    }
    Verdict::default()
}

fn release_is_ready(name: &str, world: &World<'_>) -> Result<(), Verdict> {
    let release = world.others.releases.iter().find(|release| release.name_any() == name);
    let why = match release {
        None => format!("failed to get Release {name}: Release.k0rdent.mirantis.com \"{name}\" not found"),
        Some(release) if !release.status.as_ref().is_some_and(|status| status.ready) => {
            format!("release \"{name}\" status is not ready")
        }
        Some(_) => return Ok(()),
    };
    Err(Verdict::refuse(format!("spec.release: Forbidden: {why}")))
}

/// Providers that are taken away must not be needed by a cluster there. `region` is `None` for the management cluster.
fn removal_is_allowed(
    (old, new): (&[Provider], &[Provider]),
    region: Option<&str>,
    world: &World<'_>,
) -> Result<(), String> {
    let kept: BTreeSet<_> = new.iter().map(|provider| provider.name.as_str()).collect();
    let removed: Vec<_> = old.iter().filter(|provider| !kept.contains(provider.name.as_str())).collect();
    if removed.is_empty() {
        return Ok(());
    }
    let clusters = world.cache.cluster_deployments.list();
    let needed: BTreeSet<String> = clusters
        .iter()
        .filter(|cluster| region_of(cluster, world).as_deref() == region)
        .filter_map(|cluster| {
            let namespace = cluster.namespace().unwrap_or_default();
            world.cache.cluster_templates.get(&namespace, &cluster.spec.template)
        })
        .flat_map(|template| template.status.clone().map(|status| status.providers).unwrap_or_default())
        .collect();
    let exposed = |provider: &Provider| exposed(provider, world).iter().any(|one| needed.contains(one));
    let held: Vec<_> =
        removed.iter().filter(|one| exposed(one)).map(|provider| provider.name.as_str()).collect();
    match held.as_slice() {
        [] => Ok(()),
        [one] => Err(format!("provider {one} is required by at least one ClusterDeployment")),
        many => Err(format!("providers {} are required by at least one ClusterDeployment", many.join(","))),
    }
}

/// The region of a cluster; `None` for the management cluster.
fn region_of(cluster: &ClusterDeployment, world: &World<'_>) -> Option<String> {
    let written = cluster.status.as_ref().and_then(|status| status.region.clone());
    let credential = cluster.spec.credential.as_deref().and_then(|name| {
        world.cache.credentials.get(&cluster.namespace().unwrap_or_default(), name)?.spec.region.clone()
    });
    credential.or(written).filter(|region| !region.is_empty() && region != LOCAL_REGION)
}

/// The providers that a component brings, as its template says.
fn exposed(provider: &Provider, world: &World<'_>) -> Vec<String> {
    let release = world.others.management.as_ref().map(|management| management.spec.release.clone());
    let release = release.and_then(|name| world.others.releases.iter().find(|one| one.name_any() == name));
    let template = provider.template.clone().or_else(|| {
        release?.spec.providers.iter().find(|one| one.name == provider.name).map(|one| one.template.clone())
    });
    let found = template.and_then(|name| template_of(&name, world));
    found.and_then(|template| template.status.clone()).map(|status| status.providers).unwrap_or_default()
}

fn template_of<'w>(name: &str, world: &World<'w>) -> Option<&'w ProviderTemplate> {
    world.others.provider_templates.iter().find(|template| template.name_any() == name)
}

/// Every provider must know a contract of the Cluster API that is installed, and whatever clusters use of it must stay.
fn contracts_agree(
    providers: &[Provider],
    core: Option<&api::k0rdent::Core>,
    release: &str,
    world: &World<'_>,
) -> Result<(), String> {
    let release = world.others.releases.iter().find(|one| one.name_any() == release);
    let capi = core.and_then(|core| core.capi.as_ref()).and_then(|capi| capi.template.clone());
    let capi = capi.or_else(|| release.map(|release| release.spec.capi.template.clone()));
    let Some(capi) = capi.and_then(|name| template_of(&name, world)) else { return Ok(()) };
    let offered: BTreeMap<String, String> =
        capi.status.as_ref().map(|status| status.capi_contracts.clone()).unwrap_or_default();
    if offered.is_empty() {
        return Ok(());
    }
    let mut wrong = Vec::new();
    for provider in providers {
        let name = provider.template.clone().or_else(|| {
            release?
                .spec
                .providers
                .iter()
                .find(|one| one.name == provider.name)
                .map(|one| one.template.clone())
        });
        let Some(template) = name.and_then(|name| template_of(&name, world)) else { continue };
        let Some(status) = template.status.as_ref().filter(|status| !status.capi_contracts.is_empty()) else {
            continue;
        };
        for contract in status.capi_contracts.keys().filter(|contract| !offered.contains_key(*contract)) {
            wrong.push(format!(
                "core CAPI contract versions does not support {contract} version in the ProviderTemplate {}",
                template.name_any()
            ));
        }
        let offers: BTreeSet<&str> =
            status.capi_contracts.values().flat_map(|list| list.split('_')).collect();
        for of in &status.providers {
            for contract in needs(of, world) {
                if !offers.contains(contract.as_str()) {
                    wrong.push(format!(
                        "missing contract version {contract} for {of} provider that is required by one or more ClusterDeployment objects"
                    ));
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// The contracts of a provider that clusters need.
fn needs(provider: &str, world: &World<'_>) -> BTreeSet<String> {
    let mut needs = BTreeSet::new();
    for cluster in world.cache.cluster_deployments.list() {
        let namespace = cluster.namespace().unwrap_or_default();
        let Some(template) = world.cache.cluster_templates.get(&namespace, &cluster.spec.template) else {
            continue;
        };
        let contracts = template.status.as_ref().map(|status| status.provider_contracts.clone());
        if let Some(contract) = contracts.and_then(|contracts| contracts.get(provider).cloned()) {
            needs.insert(contract);
        }
    }
    needs
}

pub(super) fn create_region(request: &Request, world: &World<'_>) -> Verdict {
    let object = match parsed::<Region>(&request.object) {
        Ok(object) => object,
        Err(refusal) => return refusal,
    };
    if let Some(of) = &object.spec.kube_config {
        let at = format!("{}/{}", world.system_namespace, of.name);
        let Some(secret) = world.cache.secrets.get(world.system_namespace, &of.name) else {
            return Verdict::refuse(format!("failed to get Secret {at}: Secret \"{}\" not found", of.name));
        };
        let has = |key: &str| secret.data.as_ref().is_some_and(|data| data.contains_key(key));
        let key = of.key.clone().filter(|key| !key.is_empty());
        let there = key.as_deref().map_or_else(|| KUBECONFIG_KEYS.iter().any(|key| has(key)), has);
        if !there {
            let key = key.unwrap_or_else(|| KUBECONFIG_KEYS[0].to_owned());
            return Verdict::refuse(format!("kubeConfig Secret does not have {key} key defined"));
        }
    }
    if let Some(of) = &object.spec.cluster_deployment
        && world.cache.cluster_deployments.get(&of.namespace, &of.name).is_none()
    {
        return Verdict::refuse(format!(
            "failed to get ClusterDeployment {}/{}: ClusterDeployment.k0rdent.mirantis.com \"{}\" not found",
            of.namespace, of.name, of.name
        ));
    }
    Verdict::default()
}

pub(super) fn update_region(request: &Request, world: &World<'_>) -> Verdict {
    let objects = parsed::<Region>(&request.object)
        .and_then(|new| parsed::<Region>(&request.old_object).map(|old| (old, new)));
    let (old, new) = match objects {
        Ok(objects) => objects,
        Err(refusal) => return refusal,
    };
    if new.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let name = new.name_any();
    let kept = removal_is_allowed((&old.spec.providers, &new.spec.providers), Some(&name), world);
    if let Err(why) = kept {
        return Verdict::refuse(format!(
            "spec.providers: Forbidden: {why} and cannot be removed from the Region {name}"
        ))
        .warn("Some of the providers cannot be removed");
    }
    let release = world.others.management.as_ref().map(|management| management.spec.release.clone());
    let release = release.unwrap_or_default();
    match contracts_agree(&new.spec.providers, new.spec.core.as_ref(), &release, world) {
        Ok(()) => Verdict::default(),
        Err(why) => Verdict::refuse(format!("the Region {name} is invalid: {why}")).warn(format!(
            "The Region {name} object has incompatible CAPI contract versions in ProviderTemplates"
        )),
    }
}

pub(super) fn delete_region(request: &Request, world: &World<'_>) -> Verdict {
    let (_, name) = named(&request.old_object);
    let clusters = world.cache.cluster_deployments.list();
    if clusters.iter().any(|cluster| region_of(cluster, world).as_deref() == Some(&name)) {
        return Verdict::refuse("region deletion is forbidden").warn(
            "The Region object can't be removed while any ClusterDeployment objects deployed in that Region still exist",
        );
    }
    Verdict::default()
}

/// The templates that a Release names.
pub(super) fn templates_of(release: &Release) -> BTreeSet<String> {
    let spec = &release.spec;
    let core = [&spec.kcm, &spec.capi].into_iter().chain(&spec.regional).map(|core| core.template.clone());
    core.chain(spec.providers.iter().map(|provider| provider.template.clone()))
        .filter(|name| !name.is_empty())
        .collect()
}

pub(super) fn delete_release(request: &Request, world: &World<'_>) -> Verdict {
    let release = match parsed::<Release>(&request.old_object) {
        Ok(release) => release,
        Err(refusal) => return refusal,
    };
    let Some(management) = &world.others.management else { return Verdict::default() };
    if management.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let name = release.name_any();
    if management.spec.release == name {
        return Verdict::refuse(format!("release {name} is still in use"));
    }
    let core = management.spec.core.as_ref();
    let named = core
        .into_iter()
        .flat_map(|core| [&core.kcm, &core.capi])
        .flatten()
        .filter_map(|component| component.template.clone())
        .chain(management.spec.providers.iter().filter_map(|provider| provider.template.clone()));
    let own = templates_of(&release);
    let used: BTreeSet<_> = named.filter(|template| own.contains(template)).collect();
    if used.is_empty() {
        return Verdict::default();
    }
    let used: Vec<_> = used.into_iter().collect();
    Verdict::refuse(format!(
        "the following ProviderTemplates associated with the Release are still in use: {}",
        used.join(", ")
    ))
}
