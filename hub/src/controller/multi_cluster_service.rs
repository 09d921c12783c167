//! `MultiClusterService`: which clusters it selects, and how far its services are on each.
//!
//! # Why the list of clusters may be cut
//! etcd takes objects of 1.5 MiB, and the API server keeps the last-applied spec and the managed fields in the same
//! object. Ten thousand clusters of 250 bytes would not fit, and a status that cannot be written tells nothing at all.
//! So those that are not ready come first, as many as fit, the conditions count all of them, and one condition says that
//! the list is cut; every cluster's own ServiceSet tells the rest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::conditions::{Gravity, kind, reason, status};
use api::k0rdent::{
    DeploymentState, MatchingCluster, MultiClusterService, MultiClusterServiceStatus, ServiceState,
    ServiceUpgradePaths,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::rolling::Told;
use super::sheet::Sheet;

/// Bytes of the list of clusters, as JSON.
pub(super) const LISTED_BYTES_MAX: usize = 800 * 1_024;
/// Bytes of what is told of one cluster: the whole text stands in its ServiceSet.
const TOLD_BYTES_MAX: usize = 1_024;

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
    /// The states of all its sets, and which of them is of this MultiClusterService.
    pub states: (Arc<Vec<Vec<ServiceState>>>, usize),
    /// The MultiClusterService that is not deployed there yet, if one comes first.
    pub blocked_by: Option<String>,
    /// Whether its turn in the rollout has not come.
    pub waits: bool,
}

impl Matching {
    /// Its services of this MultiClusterService.
    fn services(&self) -> &[ServiceState] {
        let (states, at) = &self.states;
        states.get(*at).map(Vec::as_slice).unwrap_or_default()
    }
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
    let known: Known<'_> =
        before.matching_clusters.iter().map(|known| ((&known.namespace, &known.name), known)).collect();
    let matching: Vec<_> =
        facts.clusters.iter().map(|cluster| matching(cluster, &known, facts.now)).collect();
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
    let (total, matching) = (matching.len(), listed(matching));
    if matching.len() < total {
        let message = format!(
            "matchingClusters lists {} of {total} clusters, those that are not ready first: more would not fit into \
             one object; the ServiceSets tell of all",
            matching.len()
        );
        sheet.set(kind::MATCHING_CLUSTERS_CUT, status::TRUE, reason::TOO_MANY_CLUSTERS, message);
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

/// Clusters as the status has them, by namespace and name.
type Known<'a> = HashMap<(&'a Option<String>, &'a Option<String>), &'a MatchingCluster>;

fn matching(cluster: &Matching, known: &Known<'_>, now: Timestamp) -> MatchingCluster {
    let services = cluster.services();
    let unready = services.iter().find(|service| service.state != DeploymentState::Deployed);
    let nothing = cluster.waits || services.is_empty();
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
    let (namespace, name) = (Some(cluster.namespace.clone()), Some(cluster.name.clone()));
    let known = known.get(&(&namespace, &name)).filter(|known| known.deployed == deployed);
    MatchingCluster {
        api_version: Some(cluster.kind.0.to_owned()),
        deployed,
        field_path: None,
        kind: Some(cluster.kind.1.to_owned()),
        last_transition_time: known.and_then(|known| known.last_transition_time.clone()).or(Some(Time(now))),
        message,
        name,
        namespace,
        reason,
        regional: cluster.regional,
        resource_version: None,
        uid: Some(cluster.uid.clone()),
    }
}

/// As many as fit into one object, in their order: all, or those that are not ready before those that are.
fn listed(all: Vec<MatchingCluster>) -> Vec<MatchingCluster> {
    let sizes: Vec<usize> = all.iter().map(size).collect();
    if sizes.iter().sum::<usize>() <= LISTED_BYTES_MAX {
        return all;
    }
    let mut room = LISTED_BYTES_MAX;
    let mut fits = vec![false; all.len()];
    for deployed in [false, true] {
        for (at, _) in all.iter().enumerate().filter(|(_, cluster)| cluster.deployed == deployed) {
            if sizes[at] <= room {
                room -= sizes[at];
                fits[at] = true;
            }
        }
    }
    all.into_iter().zip(fits).filter(|(_, fits)| *fits).map(|(cluster, _)| cluster).collect()
}

/// Bytes as JSON, at least.
fn size(cluster: &MatchingCluster) -> usize {
    // Names of all fields, quotes, commas and a time.
    const FRAME_BYTES: usize = 190;
    let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let message = cluster.message.as_ref().map_or(0, |message| json_bytes(message));
    let texts = [&cluster.api_version, &cluster.kind, &cluster.name, &cluster.namespace, &cluster.uid];
    FRAME_BYTES + texts.into_iter().map(of).sum::<usize>() + of(&cluster.reason) + message
}

/// Bytes of a text as JSON, without the quotes: control characters take six, quotes and backslashes two.
fn json_bytes(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            0..=0x1f => 6,
            b'"' | b'\\' => 2,
            _ => 1,
        })
        .sum()
}

fn told(service: &ServiceState) -> String {
    let message = service.failure_message.as_deref().unwrap_or_default();
    let colon = if message.is_empty() { "" } else { ": " };
    short(format!("{}/{} is {:?}{colon}{message}", service.namespace, service.name, service.state))
}

/// The beginning of a text, where it is long.
fn short(mut text: String) -> String {
    if text.len() > TOLD_BYTES_MAX {
        let end = (0..=TOLD_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push_str(" [...]");
    }
    text
}

/// One state per service over all clusters: the worst, with where it is.
///
/// k0rdent has the field and does not fill it.
fn together(clusters: &[Matching], before: &[ServiceState], now: Timestamp) -> Vec<ServiceState> {
    let mut all: BTreeMap<(String, String), (usize, usize, ServiceState, String)> = BTreeMap::new();
    for cluster in clusters {
        for service in cluster.services() {
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
                short(format!(
                    "deployed on {ready} of {total} clusters; {:?} on {place}{detail}",
                    worst.state
                ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ALL: usize = 10_000;

    fn state(failed: Option<&str>) -> ServiceState {
        serde_json::from_value(json!({"name": "web", "namespace": "shop", "template": "web", "type": "Helm",
            "state": if failed.is_some() { "Failed" } else { "Deployed" }, "failureMessage": failed,
            "lastStateTransitionTime": "2026-11-22T00:00:00Z"}))
        .unwrap()
    }

    fn service(status: Option<MultiClusterServiceStatus>) -> MultiClusterService {
        let object = json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
            "metadata": {"name": "fleet"}, "spec": {}});
        MultiClusterService { status, ..serde_json::from_value(object).unwrap() }
    }

    /// The status of a MultiClusterService on so many clusters, of which every n-th fails with a message.
    fn of(
        clusters: usize,
        failing: usize,
        message: &str,
        before: Option<MultiClusterServiceStatus>,
    ) -> MultiClusterServiceStatus {
        let clusters = (0..clusters).map(|at| Matching {
            kind: ("skein.dev/v1alpha1", "Edge"),
            namespace: "kcm-system".to_owned(),
            name: format!("{:a>50}-{at:05}", ""),
            uid: "00000000-0000-4000-8000-000000000000".to_owned(),
            regional: true,
            states: (Arc::new(vec![vec![state((at % failing == 0).then_some(message))]]), 0),
            waits: false,
            blocked_by: None,
        });
        status(Facts {
            object: &service(before),
            clusters: clusters.collect(),
            references: None,
            dependencies: None,
            graph: None,
            rollout: None,
            deletion: None,
            unmanaged: false,
            upgrade_paths: Vec::new(),
            now: "2026-11-22T00:00:00Z".parse().unwrap(),
        })
    }

    fn bytes(status: &MultiClusterServiceStatus) -> usize {
        serde_json::to_vec(status).unwrap().len()
    }

    fn cut(status: &MultiClusterServiceStatus) -> Option<&str> {
        let found = status.conditions.iter().find(|one| one.type_ == kind::MATCHING_CLUSTERS_CUT);
        found.map(|one| one.message.as_str())
    }

    #[test]
    fn the_status_of_ten_thousand_clusters_fits_into_an_object_of_etcd_and_shows_what_is_wrong() {
        let status = of(ALL, 100, "no space left on device \"/var\"", None);
        assert!(bytes(&status) < 1 << 20, "{} bytes", bytes(&status));
        let failing = status.matching_clusters.iter().filter(|cluster| !cluster.deployed).count();
        assert_eq!(failing, ALL / 100);
        assert!(status.matching_clusters.is_sorted_by_key(|cluster| cluster.name.clone()));
        let ready = status.conditions.iter().find(|one| one.type_ == kind::CLUSTER_IN_READY_STATE).unwrap();
        assert_eq!(ready.message, "9900/10000");
        let told = cut(&status).unwrap();
        let listed = status.matching_clusters.len();
        assert!(told.starts_with(&format!("matchingClusters lists {listed} of 10000 clusters")), "{told}");
        assert!(listed > 2_000, "{listed}");
    }

    #[test]
    fn ten_thousand_clusters_that_all_fail_with_long_texts_fit_as_well() {
        let text = "\u{7}\"".repeat(50_000);
        let status = of(ALL, 1, &text, None);
        assert!(bytes(&status) < 1 << 20, "{} bytes", bytes(&status));
        assert!(!status.matching_clusters.is_empty() && cut(&status).is_some());
    }

    #[test]
    fn a_thousand_clusters_are_all_listed_and_nothing_new_gives_the_same_status() {
        let status = of(1_000, 3, "no", None);
        assert_eq!((status.matching_clusters.len(), cut(&status)), (1_000, None));
        assert_eq!(of(1_000, 3, "no", Some(status.clone())), status);
    }
}
