//! `MultiClusterService`: which clusters it selects, and how far its services are on each.

use std::collections::BTreeMap;

use api::conditions::{Gravity, kind, reason, status};
use api::k0rdent::{
    DeploymentState, MatchingCluster, MultiClusterService, MultiClusterServiceStatus, ServiceState,
    ServiceUpgradePaths,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::rolling::Told;
use super::sheet::Sheet;

/// One cluster that is selected.
pub(super) struct Matching {
    /// API version and kind of its object.
    pub kind: (&'static str, &'static str),
    /// Namespace of its object.
    pub namespace: String,
    /// Name of its object.
    pub name: String,
    /// UID of its object.
    pub uid: String,
    /// Whether it belongs to a region.
    pub regional: bool,
    /// Its services of this MultiClusterService.
    pub services: Vec<ServiceState>,
    /// The MultiClusterService that is not deployed there yet, if one comes first.
    pub blocked_by: Option<String>,
    /// Whether its turn in the rollout has not come.
    pub waits: bool,
}

/// What a MultiClusterService's status is made from.
pub(super) struct Facts<'a> {
    /// The object.
    pub object: &'a MultiClusterService,
    /// The clusters it selects, by namespace and name.
    pub clusters: Vec<Matching>,
    /// What is wrong with the templates it names.
    pub references: Option<String>,
    /// What is wrong with the dependencies between its services.
    pub dependencies: Option<String>,
    /// What is wrong with its dependencies on others.
    pub graph: Option<String>,
    /// How far the rollout is, if there is one, and whether it is over.
    pub rollout: Option<Told>,
    /// What deletion waits for: reason and message.
    pub deletion: Option<(&'static str, String)>,
    /// It is for the management cluster, and no edge agent is there.
    pub unmanaged: bool,
    /// Which templates its services may be upgraded to.
    pub upgrade_paths: Vec<ServiceUpgradePaths>,
    /// Now.
    pub now: Timestamp,
}

pub(super) fn status(facts: Facts<'_>) -> MultiClusterServiceStatus {
    let before = facts.object.status.clone().unwrap_or_default();
    let generation = facts.object.metadata.generation;
    let mut sheet = Sheet::new(&before.conditions, generation, facts.now);
    if let Some((reason, message)) = &facts.deletion {
        sheet.set(kind::DELETING, status::TRUE, reason, message.clone());
    }
    let valid = facts.references.is_none() && facts.dependencies.is_none() && facts.graph.is_none();
    for (type_, problem) in [
        (kind::SERVICES_REFERENCES_VALIDATION, &facts.references),
        (kind::SERVICES_DEPENDENCY_VALIDATION, &facts.dependencies),
        (kind::MULTI_CLUSTER_SERVICE_DEPENDENCY_VALIDATION, &facts.graph),
    ] {
        sheet.outcome(type_, problem.as_deref().map_or(Ok(""), Err));
    }
    let matching: Vec<_> =
        facts.clusters.iter().map(|cluster| matching(cluster, &before, facts.now)).collect();
    if !facts.object.spec.depends_on.is_empty() {
        let blocked: Vec<_> = facts
            .clusters
            .iter()
            .filter_map(|cluster| {
                let by = cluster.blocked_by.as_ref()?;
                Some(format!("{}/{} waits for MultiClusterService {by}", cluster.namespace, cluster.name))
            })
            .collect();
        if blocked.is_empty() {
            sheet.succeeded(kind::MULTI_CLUSTER_SERVICE_DEPENDENCY_READY, "");
        } else {
            sheet.set(
                kind::MULTI_CLUSTER_SERVICE_DEPENDENCY_READY,
                status::FALSE,
                reason::MULTI_CLUSTER_SERVICE_DEPENDENCY_NOT_READY,
                few(&blocked),
            );
        }
    }
    if facts.unmanaged {
        let message = super::serving::no_management_edge();
        sheet.set(kind::SELF_MANAGEMENT_READY, status::FALSE, reason::NO_MANAGEMENT_EDGE, message);
    }
    let ready = matching.iter().filter(|cluster| cluster.deployed).count();
    let total = matching.len() + usize::from(facts.unmanaged);
    let counted = format!("{ready}/{total}");
    if ready == total {
        sheet.set(kind::CLUSTER_IN_READY_STATE, status::TRUE, reason::SUCCEEDED, counted);
    } else {
        sheet.set(kind::CLUSTER_IN_READY_STATE, status::FALSE, reason::PROGRESSING, counted);
    }
    if let Some(rollout) = &facts.rollout {
        let holds = if rollout.complete { status::TRUE } else { status::FALSE };
        let reason = if rollout.complete { reason::SUCCEEDED } else { &rollout.status.reason };
        sheet.set(kind::ROLLOUT_COMPLETE, holds, reason, rollout.status.message.clone());
    }
    MultiClusterServiceStatus {
        conditions: sheet.ready(Gravity::of_multi_cluster_service),
        matching_clusters: matching,
        observed_generation: if valid { generation } else { before.observed_generation },
        rollout: facts.rollout.map(|rollout| rollout.status),
        services: together(&facts.clusters, &before.services, facts.now),
        services_upgrade_paths: facts.upgrade_paths,
    }
}

fn matching(cluster: &Matching, before: &MultiClusterServiceStatus, now: Timestamp) -> MatchingCluster {
    let unready = cluster.services.iter().find(|service| service.state != DeploymentState::Deployed);
    let nothing = cluster.waits || cluster.services.is_empty();
    let deployed = unready.is_none() && !nothing && cluster.blocked_by.is_none();
    let (reason, message) = match (&cluster.blocked_by, unready) {
        (Some(by), _) => (
            Some(reason::MULTI_CLUSTER_SERVICE_DEPENDENCY_NOT_READY.to_owned()),
            Some(format!("MultiClusterService {by} is not deployed on the cluster")),
        ),
        (None, Some(service)) => (Some(format!("{:?}", service.state)), Some(told(service))),
        (None, None) if cluster.waits => (
            Some(reason::WAITING_FOR_ROLLOUT.to_owned()),
            Some("the cluster's turn in the rollout has not come".to_owned()),
        ),
        (None, None) => (None, None),
    };
    let known = before.matching_clusters.iter().find(|known| {
        known.name.as_ref() == Some(&cluster.name)
            && known.namespace.as_ref() == Some(&cluster.namespace)
            && known.deployed == deployed
    });
    MatchingCluster {
        api_version: Some(cluster.kind.0.to_owned()),
        deployed,
        field_path: None,
        kind: Some(cluster.kind.1.to_owned()),
        last_transition_time: known.and_then(|known| known.last_transition_time.clone()).or(Some(Time(now))),
        message,
        name: Some(cluster.name.clone()),
        namespace: Some(cluster.namespace.clone()),
        reason,
        regional: cluster.regional,
        resource_version: None,
        uid: Some(cluster.uid.clone()),
    }
}

fn told(service: &ServiceState) -> String {
    let message = service.failure_message.as_deref().unwrap_or_default();
    let colon = if message.is_empty() { "" } else { ": " };
    format!("{}/{} is {:?}{colon}{message}", service.namespace, service.name, service.state)
}

/// One state per service over all clusters: the worst, with where it is.
///
/// k0rdent has the field and does not fill it.
fn together(clusters: &[Matching], before: &[ServiceState], now: Timestamp) -> Vec<ServiceState> {
    let mut all: BTreeMap<(String, String), (usize, usize, ServiceState, String)> = BTreeMap::new();
    for cluster in clusters {
        for service in &cluster.services {
            let place = format!("{}/{}", cluster.namespace, cluster.name);
            let name = (service.namespace.clone(), service.name.clone());
            let deployed = usize::from(service.state == DeploymentState::Deployed);
            match all.get_mut(&name) {
                None => {
                    all.insert(name, (deployed, 1, service.clone(), place));
                }
                Some((ready, total, worst, at)) => {
                    *ready += deployed;
                    *total += 1;
                    if weight(service.state) > weight(worst.state) {
                        *worst = service.clone();
                        *at = place;
                    }
                }
            }
        }
    }
    all.into_values()
        .map(|(ready, total, worst, place)| {
            let known = before.iter().find(|one| {
                one.name == worst.name && one.namespace == worst.namespace && one.state == worst.state
            });
            let message = (ready < total).then(|| {
                let detail =
                    worst.failure_message.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
                format!("deployed on {ready} of {total} clusters; {:?} on {place}{detail}", worst.state)
            });
            ServiceState {
                conditions: Vec::new(),
                failure_message: message,
                last_state_transition_time: known
                    .map_or(Time(now), |known| known.last_state_transition_time.clone()),
                // Clusters may differ in their values and so in their hashes.
                last_deployed_hash: worst.last_deployed_hash.clone().filter(|_| total == 1),
                ..worst
            }
        })
        .collect()
}

fn weight(state: DeploymentState) -> u8 {
    match state {
        DeploymentState::Deployed => 0,
        DeploymentState::Deleted => 1,
        DeploymentState::Deleting => 2,
        DeploymentState::Provisioning => 3,
        DeploymentState::Pending => 4,
        DeploymentState::Failed => 5,
    }
}

/// The first few of a list, and how many more there are.
fn few(list: &[String]) -> String {
    let shown = list.iter().take(5).map(String::as_str).collect::<Vec<_>>().join("; ");
    match list.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}
