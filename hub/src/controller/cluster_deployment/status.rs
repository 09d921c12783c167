//! Step 4: what is true of the cluster, from its plan and from what its region reported.

use api::conditions::{Gravity, kind, reason, status};
use api::k0rdent::{ClusterDeployment, ClusterDeploymentStatus, ServiceState, ServiceUpgradePaths};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use protocol::report::{ObjectHealth, UnitReport, UnitState};

use super::ClusterPlan;
use crate::controller::sheet::Sheet;
use crate::controller::since;
use crate::observed::AgentView;
use crate::services::template::Lack;

/// What a ClusterDeployment's status is made from.
pub(in crate::controller) struct Facts<'a> {
    /// The object.
    pub deployment: &'a ClusterDeployment,
    /// Its part in its region's plan.
    pub plan: &'a ClusterPlan,
    /// What its region reported, if anything ever.
    pub region: Option<&'a AgentView>,
    /// The report of its unit.
    pub unit: Option<&'a UnitReport>,
    /// Its services, of all sets.
    pub services: Vec<ServiceState>,
    /// Services of its own and of MultiClusterServices: ready and all.
    pub ready: (usize, usize),
    /// What is wrong with the templates of its own services.
    pub references: Option<String>,
    /// What is wrong with the dependencies of its own services.
    pub dependencies: Option<String>,
    /// Which templates it may be upgraded to.
    pub upgrades: Vec<String>,
    /// Which templates its services may be upgraded to.
    pub upgrade_paths: Vec<ServiceUpgradePaths>,
    /// Kubernetes version that its edge reports.
    pub kubernetes_version: Option<String>,
    /// What deletion waits for: reason and message.
    pub deletion: Option<(&'static str, String)>,
    /// Now.
    pub now: Timestamp,
}

pub(in crate::controller) fn status(facts: Facts<'_>) -> ClusterDeploymentStatus {
    let before = facts.deployment.status.clone().unwrap_or_default();
    let mut sheet = Sheet::new(&before.conditions, facts.deployment.metadata.generation, facts.now);
    let plan = facts.plan;
    if let Some((reason, message)) = &facts.deletion {
        sheet.set(kind::DELETING, status::TRUE, reason, message.clone());
    }
    if plan.paused {
        let region = plan.region.as_ref().map(ToString::to_string).unwrap_or_default();
        sheet.set(kind::PAUSED, status::TRUE, reason::PAUSED, format!("Related Region {region} is paused"));
    } else {
        sheet.set(kind::PAUSED, status::FALSE, reason::NOT_PAUSED, "");
    }
    template(&mut sheet, plan);
    if let Some(why) = plan.planned.as_ref().and_then(|built| built.content().by_helm.as_deref()) {
        let message = format!("the chart is rendered by the helm binary: {why}");
        sheet.set(kind::HELM_FALLBACK, status::TRUE, reason::RENDERED_BY_HELM, message);
    }
    credential(&mut sheet, plan);
    release(&mut sheet, &facts);
    summary(&mut sheet, &facts);
    services(&mut sheet, &facts);
    let failed = sheet.get(kind::TEMPLATE_READY).is_some_and(|one| one.status != status::TRUE)
        || sheet.get(kind::HELM_CHART_READY).is_some_and(|one| one.status != status::TRUE);
    let now = facts.now;
    ClusterDeploymentStatus {
        available_upgrades: facts.upgrades,
        conditions: sheet.ready(|condition| gravity(condition, now)),
        k8s_version: facts
            .kubernetes_version
            .or_else(|| plan.template.as_ref().ok().and_then(|template| template.spec.k8s_version.clone()))
            .or(before.k8s_version),
        observed_generation: if failed {
            before.observed_generation
        } else {
            facts.deployment.metadata.generation
        },
        region: plan
            .region
            .as_ref()
            .ok()
            .map(ToString::to_string)
            .filter(|name| name != api::names::LOCAL_REGION),
        services: facts.services,
        services_upgrade_paths: facts.upgrade_paths,
    }
}

fn gravity(condition: &Condition, now: Timestamp) -> Gravity {
    match condition.type_.as_str() {
        // On its way is not failed.
        kind::HELM_RELEASE_READY if condition.reason == reason::PROGRESSING => {
            Gravity::Warning(condition.message.clone())
        }
        _ => Gravity::of_cluster_deployment(condition, now),
    }
}

fn template(sheet: &mut Sheet, plan: &ClusterPlan) {
    match &plan.template {
        Ok(_) => sheet.succeeded(kind::TEMPLATE_READY, "Template is valid"),
        Err(Lack::Waiting(message)) => return sheet.unknown(kind::TEMPLATE_READY, message.clone()),
        Err(lack) => return sheet.failed(kind::TEMPLATE_READY, lack.message()),
    }
    match (&plan.chart, &plan.stale) {
        (Ok(()), None) => sheet.succeeded(kind::HELM_CHART_READY, "Helm chart is valid"),
        (Ok(()), Some(why)) => {
            sheet.succeeded(
                kind::HELM_CHART_READY,
                format!("Helm chart is valid; its source cannot be read now: {why}"),
            );
        }
        (Err(why), _) => sheet.failed(kind::HELM_CHART_READY, why.clone()),
    }
}

fn credential(sheet: &mut Sheet, plan: &ClusterPlan) {
    match &plan.credential {
        Ok(credential) if credential.status.as_ref().is_some_and(|status| status.ready) => {
            sheet.succeeded(kind::CREDENTIAL_READY, "Credential is Ready");
        }
        Ok(credential) => {
            let (namespace, name) = (credential.namespace().unwrap_or_default(), credential.name_any());
            sheet.failed(kind::CREDENTIAL_READY, format!("the Credential {namespace}/{name} is not Ready"));
        }
        Err(why) => sheet.failed(kind::CREDENTIAL_READY, why.clone()),
    }
}

/// `HelmReleaseReady`: whether the rendered objects are in the region.
fn release(sheet: &mut Sheet, facts: &Facts<'_>) {
    if facts.deployment.spec.dry_run && facts.plan.planned.is_none() {
        return;
    }
    let region = match &facts.plan.region {
        Ok(region) => region.to_string(),
        // Nothing was released, and the condition would say that something was: a deletion would wait for it. Why there is
        // no region is told by CredentialReady.
        Err(_) => return,
    };
    let Some(planned) = &facts.plan.planned else {
        return sheet.keep(kind::HELM_RELEASE_READY);
    };
    let wanted = planned.hash;
    let unit = facts.unit.filter(|unit| *unit.version == *planned.version);
    let settled =
        unit.is_some_and(|unit| unit.deployed_hash == Some(wanted) && unit.state == UnitState::Deployed);
    if settled || unit.is_some_and(applied) {
        let message =
            format!("Helm release reconciliation succeeded for release {}", facts.deployment.name_any());
        return sheet.set(kind::HELM_RELEASE_READY, status::TRUE, "InstallSucceeded", message);
    }
    match facts.region {
        None => sheet.unknown(
            kind::HELM_RELEASE_READY,
            format!("waiting for region {region}: its agent has not linked yet"),
        ),
        Some(view) if !view.link.up => sheet.unknown(
            kind::HELM_RELEASE_READY,
            format!("waiting for region {region} since {}", since(view.link.since)),
        ),
        Some(_) => match unit {
            Some(unit) if unit.state == UnitState::Failed => {
                sheet.set(kind::HELM_RELEASE_READY, status::FALSE, "InstallFailed", unit.message.clone());
            }
            Some(unit) => sheet.unknown(kind::HELM_RELEASE_READY, progress(unit)),
            None => sheet.unknown(kind::HELM_RELEASE_READY, format!("on its way to region {region}")),
        },
    }
}

/// Every object is on the cluster, whether healthy or not: what Helm calls released.
fn applied(unit: &UnitReport) -> bool {
    let on_the_way = unit.state == UnitState::Provisioning || unit.state == UnitState::Deployed;
    let missing =
        |health| matches!(health, ObjectHealth::NotFound | ObjectHealth::Refused | ObjectHealth::Failed);
    on_the_way
        && unit.objects_total > 0
        && unit.objects_ready + u32::try_from(unit.objects.len()).unwrap_or(u32::MAX) >= unit.objects_total
        && !unit.objects.iter().any(|object| missing(object.health))
}

fn progress(unit: &UnitReport) -> String {
    if unit.message.is_empty() {
        format!("{} of {} objects are ready", unit.objects_ready, unit.objects_total)
    } else {
        unit.message.clone()
    }
}

/// `CAPIClusterSummary`, from the health of the `Cluster` object that the region reports.
fn summary(sheet: &mut Sheet, facts: &Facts<'_>) {
    let Some(planned) = &facts.plan.planned else {
        return sheet.keep(kind::CAPI_CLUSTER_SUMMARY);
    };
    if !planned.content().has_cluster {
        return;
    }
    let is_cluster = |group: &str, kind: &str| group == "cluster.x-k8s.io" && kind == "Cluster";
    let Some(unit) = facts.unit else {
        return sheet.set(
            kind::CAPI_CLUSTER_SUMMARY,
            status::FALSE,
            reason::CAPI_CLUSTER_MISSING,
            "the Cluster does not exist yet",
        );
    };
    let object = unit.objects.iter().find(|object| is_cluster(&object.key.group, &object.key.kind));
    match object {
        None if unit.state == UnitState::Deployed || unit.objects_ready > 0 => {
            sheet.succeeded(kind::CAPI_CLUSTER_SUMMARY, "");
        }
        None => sheet.set(
            kind::CAPI_CLUSTER_SUMMARY,
            status::FALSE,
            reason::CAPI_CLUSTER_MISSING,
            "the Cluster does not exist yet",
        ),
        Some(object) => {
            let reason = match object.health {
                ObjectHealth::NotFound => reason::CAPI_CLUSTER_MISSING,
                ObjectHealth::Terminating => reason::DELETING,
                ObjectHealth::Failed | ObjectHealth::Refused => reason::FAILED,
                ObjectHealth::Current | ObjectHealth::InProgress => reason::PROGRESSING,
            };
            sheet.set(kind::CAPI_CLUSTER_SUMMARY, status::FALSE, reason, object.message.clone());
        }
    }
}

fn services(sheet: &mut Sheet, facts: &Facts<'_>) {
    let (ready, total) = facts.ready;
    let own = facts.deployment.spec.service_spec.as_ref().is_some_and(|spec| !spec.services.is_empty());
    if own {
        sheet.outcome(kind::SERVICES_REFERENCES_VALIDATION, facts.references.as_deref().map_or(Ok(""), Err));
        sheet
            .outcome(kind::SERVICES_DEPENDENCY_VALIDATION, facts.dependencies.as_deref().map_or(Ok(""), Err));
    }
    let counted = format!("{ready}/{total}");
    if ready == total {
        sheet.set(kind::SERVICES_IN_READY_STATE, status::TRUE, reason::SUCCEEDED, counted);
    } else {
        let failed = facts.services.iter().any(|one| one.state == api::k0rdent::DeploymentState::Failed);
        let reason = if failed { reason::FAILED } else { reason::PROGRESSING };
        sheet.set(kind::SERVICES_IN_READY_STATE, status::FALSE, reason, counted);
    }
}
