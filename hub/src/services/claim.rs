//! Which sets of services a target is to have: its own, and one of every MultiClusterService that selects it.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::k0rdent::{ClusterDeployment, HelmAction, MultiClusterService, ServiceSpec};
use kube::ResourceExt;
use protocol::plan::UnitId;
use sha2::{Digest, Sha256};

use super::dependency::{ServiceName, name_of};
use super::provider::Carrying;
use super::selector::selects;
use super::target::Target;
use crate::roster::ObjectName;

/// Whose services they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The ClusterDeployment's own.
    ClusterDeployment,
    /// Those of the MultiClusterService of this name.
    MultiClusterService(String),
}

/// One set of services for one target.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Whose.
    pub owner: Owner,
    /// Namespace and name of the `ServiceSet`.
    pub set: ObjectName,
    /// When the owner was made, in seconds since the epoch: between equal priorities the older one keeps a release.
    pub created: i64,
    /// How the services are carried out.
    pub carrying: Carrying,
    /// MultiClusterServices whose services come first.
    pub depends_on: Vec<String>,
    /// The services.
    pub spec: ServiceSpec,
    /// How far a rollout is with the target, if there is one.
    pub release: Option<Release>,
}

/// How far a rollout is with a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// The revision that the target has; none, when its turn has not come.
    pub revision: Option<String>,
    /// The services that it gets when its turn comes for the first time.
    pub coming: Vec<ServiceName>,
}

/// What a target is to have of a MultiClusterService with a rollout.
#[derive(Debug, Clone)]
pub struct Released {
    /// The revision; none, when the target's turn has not come.
    pub revision: Option<String>,
    /// What the revision says; without one, what the newest says.
    pub spec: Arc<ServiceSpec>,
}

/// k0rdent's name for the set of a MultiClusterService on a cluster.
pub fn set_name(cluster: &str, multi_cluster_service: &str) -> String {
    let digest = hex::encode(Sha256::digest(multi_cluster_service));
    format!("{cluster}-{}", &digest[..8])
}

/// k0rdent's name for the set of a MultiClusterService on the management cluster.
pub fn self_management_set_name(multi_cluster_service: &str) -> String {
    set_name("management", multi_cluster_service)
}

impl Claim {
    /// Whether it is for the management cluster itself.
    pub fn is_self_management(&self) -> bool {
        self.carrying.provider.self_management == Some(true)
    }
}

/// The sets of a target, its own first, then by name of the MultiClusterService.
///
/// `kept` says whether a set exists already, for those that stay although the selector no longer matches; `released`
/// which revision a set is to be of, where there is a rollout.
pub fn claims(
    target: &Target,
    own: Option<&ClusterDeployment>,
    multi_cluster_services: &[Arc<MultiClusterService>],
    kept: impl Fn(&ObjectName) -> bool,
    released: impl Fn(&MultiClusterService, &ObjectName) -> Option<Released>,
) -> Vec<Claim> {
    let TargetNameParts { namespace, name } = parts(target);
    let mut claims = Vec::new();
    if let Some(deployment) = own
        && let Some(spec) = deployment.spec.service_spec.as_ref().filter(|spec| !spec.services.is_empty())
    {
        claims.push(Claim {
            owner: Owner::ClusterDeployment,
            set: (namespace.to_owned(), name.to_owned()),
            created: seconds(deployment),
            carrying: Carrying::of(spec).ordered(deployment.annotations()),
            depends_on: Vec::new(),
            spec: spec.clone(),
            release: None,
        });
    }
    for service in multi_cluster_services {
        let Some(given) = service.spec.service_spec.as_ref() else { continue };
        // With a rollout, services that are gone are on their way out.
        if given.services.is_empty() && service.spec.rollout.is_none() {
            continue;
        }
        if service.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let own = given.provider.as_ref().is_some_and(|provider| provider.self_management == Some(true));
        let management = target.management.as_ref().filter(|_| own);
        let set = if let Some(system) = management {
            (system.clone(), self_management_set_name(&service.name_any()))
        } else {
            let selected = selects(service.spec.cluster_selector.as_ref(), &target.labels);
            // Most services are for other targets: what follows is not for them to pay.
            if !selected && !service.spec.keep_services_on_selector_mismatch {
                continue;
            }
            let set = (namespace.to_owned(), set_name(name, &service.name_any()));
            if !selected && !kept(&set) {
                continue;
            }
            set
        };
        let (spec, release) = released(service, &set).map_or_else(|| (given.clone(), None), held_back);
        let mut carrying = Carrying::of(&spec).ordered(service.annotations());
        if management.is_none() {
            carrying.provider.self_management = None;
        }
        claims.push(Claim {
            owner: Owner::MultiClusterService(service.name_any()),
            set,
            created: seconds(&**service),
            carrying,
            depends_on: service.spec.depends_on.clone(),
            spec,
            release,
        });
    }
    claims
}

/// What a target has of a rollout; before its turn an empty set, which says so.
fn held_back(released: Released) -> (ServiceSpec, Option<Release>) {
    let mut spec = ServiceSpec::clone(&released.spec);
    let coming = match released.revision {
        Some(_) => Vec::new(),
        None => std::mem::take(&mut spec.services).iter().map(name_of).collect(),
    };
    (spec, Some(Release { revision: released.revision, coming }))
}

/// Which claim has which release: the higher priority, then the older owner, then the first by name.
pub fn winners(claims: &[Claim]) -> BTreeMap<ServiceName, usize> {
    let rank = |claim: &Claim| (std::cmp::Reverse(claim.carrying.priority), claim.created, claim.set.clone());
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by_key(|index| rank(&claims[*index]));
    let mut winners = BTreeMap::new();
    for index in order {
        for service in &claims[index].spec.services {
            if service.helm_action != Some(HelmAction::Uninstall) {
                winners.entry(name_of(service)).or_insert(index);
            }
        }
    }
    winners
}

/// Why a claim has not got a release: another one has.
pub fn conflict(winner: &Claim, (namespace, name): &ServiceName) -> String {
    format!(
        "conflict: release {namespace}/{name} is managed by ServiceSet {}/{} with priority {}",
        winner.set.0, winner.set.1, winner.carrying.priority
    )
}

/// The units of the MultiClusterServices that come first and select the target; those that do not select it do not
/// block (k0rdent).
pub fn claims_before(
    claims: &[Claim],
    depends_on: &[String],
    winners: &BTreeMap<ServiceName, usize>,
) -> Vec<UnitId> {
    let mut units = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let Owner::MultiClusterService(name) = &claim.owner else { continue };
        if !depends_on.contains(name) {
            continue;
        }
        for service in &claim.spec.services {
            let service = name_of(service);
            if winners.get(&service) == Some(&index) {
                units.push(unit_id(&claim.set, &service.0, &service.1));
            }
        }
        // Whose turn has not come is waited for.
        let coming = claim.release.iter().flat_map(|release| &release.coming);
        units.extend(coming.map(|service| unit_id(&claim.set, &service.0, &service.1)));
    }
    units
}

/// The unit of a release of a set.
pub fn unit_id(set: &ObjectName, namespace: &str, name: &str) -> UnitId {
    UnitId {
        set_namespace: set.0.clone(),
        set_name: set.1.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

struct TargetNameParts<'a> {
    namespace: &'a str,
    name: &'a str,
}

fn parts(target: &Target) -> TargetNameParts<'_> {
    TargetNameParts { namespace: &target.name.namespace, name: &target.name.name }
}

fn seconds<K: kube::Resource>(object: &K) -> i64 {
    object.meta().creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::names;
    use serde_json::json;

    fn multi(name: &str, zone: &str, keep: bool) -> Arc<MultiClusterService> {
        let object = json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService", "metadata": {"name": name},
            "spec": {
                "clusterSelector": {"matchLabels": {"zone": zone}}, "keepServicesOnSelectorMismatch": keep,
                "serviceSpec": {"services": [{"name": "web", "template": "web-1"}]},
            },
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_target_has_its_own_set_and_those_that_select_it_or_are_kept() {
        let deployment: ClusterDeployment = serde_json::from_value(json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ClusterDeployment",
            "metadata": {"name": "shop-1", "namespace": "default", "labels": {"zone": "a"}},
            "spec": {"template": "t", "serviceSpec": {"services": [{"name": "web", "template": "web-1"}]}},
        }))
        .unwrap();
        let target = Target::of_cluster(&deployment, None, None);
        let all = [multi("one", "a", false), multi("three", "b", true), multi("two", "b", false)];
        let sets: Vec<_> = claims(&target, Some(&deployment), &all, |_| true, |_, _| None)
            .into_iter()
            .map(|claim| claim.set.1)
            .collect();
        // sha256("one") and sha256("three"), first eight digits.
        assert_eq!(sets, ["shop-1", &set_name("shop-1", "one"), &set_name("shop-1", "three")]);
        assert_eq!(set_name("shop-1", "one"), "shop-1-7692c3ad");
        assert_eq!(claims(&target, Some(&deployment), &all, |_| false, |_, _| None).len(), 2);
    }

    #[test]
    fn self_management_is_for_the_management_cluster_alone_whatever_is_selected() {
        let mut own = MultiClusterService::clone(&multi("own", "a", false));
        let spec = own.spec.service_spec.as_mut().unwrap();
        spec.provider = serde_json::from_value(json!({"selfManagement": true})).unwrap();
        let all = [Arc::new(own), multi("other", "b", false)];
        let edge = |labels: serde_json::Value| {
            let object = json!({
                "apiVersion": "skein.dev/v1alpha1", "kind": "Edge",
                "metadata": {"name": "e", "namespace": "n", "labels": labels}, "spec": {"region": "local"},
            });
            Target::of_edge(&serde_json::from_value(object).unwrap(), "kcm-system")
        };
        let label = names::label::MANAGEMENT_CLUSTER;
        let made = claims(&edge(json!({label: "true", "zone": "a"})), None, &all, |_| false, |_, _| None);
        let digest = &set_name("x", "own")[2..];
        assert_eq!(made[0].set, ("kcm-system".to_owned(), format!("management-{digest}")));
        assert!(made.len() == 1 && made[0].is_self_management());
        // Its selector selects other clusters as ever.
        let selected = claims(&edge(json!({"zone": "a"})), None, &all, |_| false, |_, _| None);
        assert!(selected.len() == 1 && !selected[0].is_self_management());
        assert_eq!(selected[0].set.1, set_name("e", "own"));
        assert!(claims(&edge(json!({"zone": "c"})), None, &all, |_| false, |_, _| None).is_empty());
    }
}
