//! ClusterDeployments.

use api::k0rdent::{ClusterDeployment, ClusterTemplate, Service};
use kube::ResourceExt;
use source::version::{Constraint, lenient};

use super::super::defaults::found_template;
use super::super::review::{Request, Verdict};
use super::super::world::World;
use super::{named, parsed, providers};
use crate::cache::Cache;
use crate::services::judge;

const INVALID: &str = "the ClusterDeployment is invalid";

fn invalid(why: impl std::fmt::Display) -> Verdict {
    Verdict::refuse(format!("{INVALID}: {why}"))
}

/// Whether the template can be used.
///
/// # Errors
/// k0rdent's message.
pub fn template_is_valid(template: &ClusterTemplate) -> Result<(), String> {
    let status = template.status.as_ref();
    if status.is_some_and(|status| status.valid) {
        return Ok(());
    }
    let why = status.and_then(|status| status.validation_error.clone()).unwrap_or_default();
    let (namespace, name) = (template.namespace().unwrap_or_default(), template.name_any());
    Err(format!("the ClusterTemplate {namespace}/{name} is invalid with the error: {why}"))
}

pub(super) fn create(request: &Request, world: &World<'_>) -> Verdict {
    let object = match parsed::<ClusterDeployment>(&request.object) {
        Ok(object) => object,
        Err(refusal) => return refusal,
    };
    let namespace = object.namespace().unwrap_or_default();
    let template = match found_template(world, &namespace, &object.spec.template) {
        Ok(template) => template,
        Err(why) => return invalid(why),
    };
    let checked = template_is_valid(&template)
        .map_err(invalid)
        .and_then(|()| environment(&object, &template, world))
        .and_then(|()| providers::credential(&object, &template, world).map_err(invalid))
        .and_then(|()| services(&namespace, asked(&object), world).map_err(invalid));
    checked.err().unwrap_or_default()
}

pub(super) fn update(request: &Request, world: &World<'_>) -> Verdict {
    let objects = parsed::<ClusterDeployment>(&request.object)
        .and_then(|new| parsed::<ClusterDeployment>(&request.old_object).map(|old| (old, new)));
    let (old, new) = match objects {
        Ok(objects) => objects,
        Err(refusal) => return refusal,
    };
    // What is leaving is not judged: else nothing could take its finalizers.
    if new.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let namespace = new.namespace().unwrap_or_default();
    if old.spec.data_source.is_some() != new.spec.data_source.is_some() {
        return invalid("spec.dataSource cannot be added or removed after creation");
    }
    let template = match found_template(world, &namespace, &new.spec.template) {
        Ok(template) => template,
        Err(why) => return invalid(why),
    };
    let mut warnings = Vec::new();
    if old.spec.template != new.spec.template {
        if let Err(refusal) = upgrade(&old, &new, world) {
            return refusal;
        }
        let checked =
            template_is_valid(&template).map_err(invalid).and_then(|()| environment(&new, &template, world));
        if let Err(refusal) = checked {
            return refusal;
        }
        warnings.extend(renamed(&old, &template, world));
    }
    let mut checked = Ok(());
    if old.spec.credential != new.spec.credential || old.spec.template != new.spec.template {
        checked = providers::credential(&new, &template, world);
    }
    if checked.is_ok()
        && old.spec.service_spec.as_ref().map(|spec| &spec.services)
            != new.spec.service_spec.as_ref().map(|spec| &spec.services)
    {
        checked = services(&namespace, asked(&new), world);
    }
    match checked {
        Ok(()) => Verdict { warnings, ..Verdict::default() },
        Err(why) => invalid(why),
    }
}

pub(super) fn delete(request: &Request, world: &World<'_>) -> Verdict {
    let (namespace, name) = named(&request.old_object);
    let regions = world.cache.regions.list();
    let region = regions.iter().find(|region| {
        let cluster = region.spec.cluster_deployment.as_ref();
        cluster.is_some_and(|cluster| cluster.name == name && cluster.namespace == namespace)
    });
    match region {
        Some(region) => Verdict::refuse(format!(
            "ClusterDeployment cannot be deleted: referenced by Region \"{}\"",
            region.name_any()
        )),
        None => Verdict::default(),
    }
}

fn asked(object: &ClusterDeployment) -> &[Service] {
    object.spec.service_spec.as_ref().map(|spec| spec.services.as_slice()).unwrap_or_default()
}

/// Providers that the template needs, and Kubernetes versions that the services take.
fn environment(
    object: &ClusterDeployment,
    template: &ClusterTemplate,
    world: &World<'_>,
) -> Result<(), Verdict> {
    providers::required(object, template, world).map_err(|why| {
        invalid(format!("failed to validate required providers: {why}"))
            .warn("Failed to validate required providers")
    })?;
    compatible(object, template, world.cache).map_err(|why| {
        invalid(format!("failed to validate k8s compatibility: {why}"))
            .warn("Failed to validate k8s version compatibility with ServiceTemplates")
    })
}

/// Whether the cluster's Kubernetes satisfies what the services need.
///
/// # Errors
/// k0rdent's message.
pub fn compatible(
    object: &ClusterDeployment,
    template: &ClusterTemplate,
    cache: &Cache,
) -> Result<(), String> {
    let version = template.status.as_ref().and_then(|status| status.k8s_version.clone());
    let Some(version) = version.filter(|version| !version.is_empty()) else { return Ok(()) };
    let namespace = object.namespace().unwrap_or_default();
    let read = lenient(&version).ok_or_else(|| {
        format!(
            "failed to parse k8s version {version} of the ClusterTemplate {namespace}/{}",
            template.name_any()
        )
    })?;
    for service in asked(object).iter().filter(|service| !service.disable) {
        let Some(of) = cache.service_templates.get(&namespace, &service.template) else { continue };
        let constraint = of.status.as_ref().and_then(|status| status.k8s_constraint.clone());
        let Some(text) = constraint.filter(|constraint| !constraint.is_empty()) else { continue };
        let constraint = Constraint::parse(&text).map_err(|error| error.to_string())?;
        if !constraint.matches(&read) {
            return Err(format!(
                "k8s version {version} of the ClusterTemplate {namespace}/{} does not satisfy k8s constraint {text} from the ServiceTemplate {namespace}/{} referred in the ClusterDeployment {namespace}/{}",
                template.name_any(),
                service.template,
                object.name_any()
            ));
        }
    }
    Ok(())
}

/// Whether some chain allows the step; without a chain for the old template there is none to forbid it.
fn upgrade(old: &ClusterDeployment, new: &ClusterDeployment, world: &World<'_>) -> Result<(), Verdict> {
    let (from, to) = (&old.spec.template, &new.spec.template);
    let allowed = old.status.as_ref().map(|status| status.available_upgrades.clone()).unwrap_or_default();
    if allowed.contains(to) {
        return Ok(());
    }
    let chains = world.cache.cluster_template_chains.in_namespace(&new.namespace().unwrap_or_default());
    let steps = chains.iter().flat_map(|chain| &chain.spec.supported_templates);
    let reaches = steps
        .filter(|step| step.name == *from)
        .any(|step| step.available_upgrades.iter().any(|upgrade| upgrade.name == *to));
    if reaches {
        return Ok(());
    }
    let warning =
        format!("Cluster can't be upgraded from {from} to {to}. This upgrade sequence is not allowed");
    Err(Verdict::refuse("cluster upgrade is forbidden").warn(warning))
}

/// What is told when the chart has another name: Flux makes the release anew.
fn renamed(old: &ClusterDeployment, template: &ClusterTemplate, world: &World<'_>) -> Option<String> {
    let namespace = old.namespace().unwrap_or_default();
    let before = world.cache.cluster_templates.get(&namespace, &old.spec.template)?;
    let chart =
        |template: &ClusterTemplate| template.spec.helm.chart_spec.as_ref().map(|chart| chart.chart.clone());
    let (from, to) = (chart(&before)?, chart(template)?);
    (from != to).then(|| {
        format!(
            "Helm chart name changed from \"{from}\" to \"{to}\": Flux will uninstall the existing release and reinstall it as a new release, which may cause service disruption or resource recreation"
        )
    })
}

/// Templates, chains, names and dependencies of services.
///
/// # Errors
/// k0rdent's messages, one a line.
pub fn services(namespace: &str, services: &[Service], world: &World<'_>) -> Result<(), String> {
    judge::references(world.cache, namespace, services)?;
    judge::dependencies(services).map_err(|why| format!("some services have invalid dependencies\n{why}"))
}
