//! Tables over whole resolutions: objects in, units out. No chart is needed: manifests do.

mod kustomizations;
mod one_by_one;
mod policies;
mod templates;

use std::collections::BTreeMap;

use api::k0rdent::{ClusterDeployment, MultiClusterService};
use process::Process;
use serde_json::{Value, json};

use super::*;
use crate::cache::{Cache, View};
use crate::content::Sources;
use crate::planner;
use crate::planner::rendering::{Bundles, Seed, Seeds};
use crate::services::claim::{claims, set_name};

struct NoSeeds;

impl Seeds for NoSeeds {
    fn load(&self, _: (&str, &str), _: &str) -> Option<Seed> {
        None
    }
    fn store(&self, _: (&str, &str), _: &str, _: Seed) {}
    fn draw(&self) -> Seed {
        Seed { bytes: [0; 32], time: 0 }
    }
}

/// Units that are there, and the template each is at.
#[derive(Default)]
struct There(BTreeMap<String, (String, bool)>);

impl Knowledge for There {
    fn is_there(&self, unit: &UnitId) -> bool {
        self.0.contains_key(&unit.name)
    }
    fn stands_at(&self, unit: &UnitId) -> Option<(String, bool)> {
        self.0.get(&unit.name).cloned()
    }
}

struct World {
    cache: Cache,
    sources: Sources,
    own: ClusterDeployment,
    services: Vec<Arc<MultiClusterService>>,
    there: There,
}

impl World {
    /// Templates `one`, `two` and `three` of one ConfigMap each, and a cluster with these services of its own.
    fn new(own: Value) -> Self {
        let cache = Cache::default();
        let sources = Sources::new(
            std::env::temp_dir().join("skein-no-charts"),
            cache.clone(),
            Arc::new(|| 0),
            &Process::embedded(),
        );
        for name in ["one", "two", "three"] {
            cache.put::<k8s_openapi::api::core::v1::ConfigMap>(read(json!({
                "metadata": {"name": name, "namespace": "default"},
                "data": {"a.yaml": json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"from": name},
                }).to_string()},
            })));
            cache.put::<api::k0rdent::ServiceTemplate>(read(json!({
                "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"resources": {
                    "deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": name},
                }},
            })));
        }
        let own = read(json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ClusterDeployment",
            "metadata": {
                "name": "shop", "namespace": "default", "labels": {"zone": "a"},
                "creationTimestamp": "2026-01-02T00:00:00Z",
            },
            "spec": {"template": "t", "serviceSpec": own},
        }));
        Self { cache, sources, own, services: Vec::new(), there: There::default() }
    }

    /// Adds a MultiClusterService that selects the cluster.
    fn with(mut self, name: &str, created: &str, more: Value, spec: Value) -> Self {
        let mut all = json!({"clusterSelector": {"matchLabels": {"zone": "a"}}, "serviceSpec": spec});
        all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        self.services.push(Arc::new(read(json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
            "metadata": {"name": name, "creationTimestamp": created}, "spec": all,
        }))));
        self
    }

    fn chain(self, pairs: Value) -> Self {
        self.cache.put::<ServiceTemplateChain>(read(json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplateChain",
            "metadata": {"name": "way", "namespace": "default"}, "spec": {"supportedTemplates": pairs},
        })));
        self
    }

    fn at(mut self, service: &str, template: &str, deployed: bool) -> Self {
        self.there.0.insert(service.to_owned(), (template.to_owned(), deployed));
        self
    }

    fn resolve(&self) -> Resolution {
        let target = Target::of_cluster(&self.own, Some("eu".to_owned()), None);
        let sight =
            Sight { view: View::new(&self.cache), sources: &self.sources, system_namespace: "kcm-system" };
        let claims = claims(&target, Some(&self.own), &self.services, |_| false, |_, _| None);
        resolve(
            &target,
            &claims,
            &sight,
            &Bundles::new(Box::new(NoSeeds), identity::Sealer::new([0; 32]), None),
            &self.there,
        )
    }

    fn body(&self) -> protocol::plan::PlanBody {
        let resolution = self.resolve();
        let services = resolution.sets.iter().flat_map(|set| &set.services);
        let units = services.filter_map(|service| service.built.as_ref()).map(|built| built.unit());
        planner::body(units.collect::<Vec<_>>(), BTreeMap::new())
    }

    /// Set, service, template and what it waits for, of each unit in the order of the plan.
    fn units(&self) -> Vec<String> {
        self.body()
            .units
            .iter()
            .map(|unit| {
                let after: Vec<_> = unit.depends_on.iter().map(|on| on.name.as_str()).collect();
                format!("{} {} {} {after:?}", unit.id.set_name, unit.id.name, unit.template)
            })
            .collect()
    }

    /// The problem of each service that has one.
    fn problems(&self) -> Vec<String> {
        let resolution = self.resolve();
        let services = resolution.sets.iter().flat_map(|set| &set.services);
        services
            .filter_map(|one| Some(format!("{}: {}", one.name.1, one.problem.as_ref()?.message)))
            .collect()
    }
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

fn service(name: &str, template: &str) -> Value {
    json!({"name": name, "namespace": "default", "template": template})
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-03T00:00:00Z";

#[test]
fn services_of_all_sets_are_in_one_plan_by_priority_and_with_their_dependencies() {
    let mut second = service("b", "two");
    second["dependsOn"] = json!([{"name": "a"}]);
    let world = World::new(json!({"services": [second, service("a", "one")]})).with(
        "urgent",
        LATE,
        json!({}),
        json!({"services": [service("c", "three")], "provider": {"config": {"priority": 500}}}),
    );
    let urgent = set_name("shop", "urgent");
    assert_eq!(
        world.units(),
        [format!("{urgent} c three []"), "shop a one []".to_owned(), "shop b two [\"a\"]".to_owned()]
    );
    assert!(world.problems().is_empty());
}

#[test]
fn the_same_objects_in_another_order_give_the_same_bytes() {
    let sets = |order: [usize; 3]| {
        let all = [("x", EARLY, "one"), ("y", EARLY, "two"), ("z", LATE, "three")];
        let mut world = World::new(json!({"services": [service("a", "one"), service("b", "two")]}));
        for at in order {
            let (name, created, template) = all[at];
            world = world.with(name, created, json!({}), json!({"services": [service(name, template)]}));
        }
        // Names decide between equals, whatever order a list has.
        world.services.sort_by_key(|one| kube::ResourceExt::name_any(&**one));
        protocol::codec::encode(&world.body())
    };
    let first = sets([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(sets(order), first, "{order:?}");
    }
    let own = |services: [&str; 2]| {
        let list: Vec<_> = services.iter().map(|name| service(name, "one")).collect();
        protocol::codec::encode(&World::new(json!({"services": list})).body())
    };
    assert_eq!(own(["a", "b"]), own(["b", "a"]));
}

#[test]
fn a_release_belongs_to_the_higher_priority_and_between_equals_to_the_older() {
    let claim = |priority: i32| json!({"services": [service("a", "two")], "provider": {"config": {"priority": priority}}});
    let own = || World::new(json!({"services": [service("a", "one")]}));
    let older = own().with("other", EARLY, json!({}), claim(100));
    assert_eq!(older.units(), [format!("{} a two []", set_name("shop", "other"))]);
    let younger = own().with("other", LATE, json!({}), claim(100));
    assert_eq!(younger.units(), ["shop a one []"]);
    let weaker = own().with("other", EARLY, json!({}), claim(99));
    assert_eq!(weaker.units(), ["shop a one []"]);
    assert_eq!(
        weaker.problems(),
        ["a: conflict: release default/a is managed by ServiceSet default/shop with priority 100"]
    );
}

#[test]
fn what_cannot_be_built_holds_back_only_what_waits_for_it() {
    let mut waiting = service("b", "two");
    waiting["dependsOn"] = json!([{"name": "a"}]);
    let spec = json!({"services": [service("a", "nowhere"), waiting, service("c", "three")]});
    let world = World::new(spec.clone());
    assert_eq!(world.units(), ["shop c three []"]);
    let problems = world.problems();
    assert!(
        problems[0].contains("ServiceTemplate.k0rdent.mirantis.com \"nowhere\" not found"),
        "{problems:?}"
    );
    assert_eq!(problems[1], "b: waiting for service default/a");
    let sets = world.resolve().sets;
    assert!(sets[0].references.as_ref().unwrap().starts_with("some services have invalid templates\n"));
    // What is there already goes on.
    assert_eq!(World::new(spec).at("b", "two", true).units(), ["shop b two []", "shop c three []"]);
}

#[test]
fn a_multi_cluster_service_waits_for_those_it_depends_on_where_they_are() {
    let world =
        World::new(json!({})).with("base", LATE, json!({}), json!({"services": [service("a", "one")]})).with(
            "top",
            EARLY,
            json!({"dependsOn": ["base", "elsewhere"]}),
            json!({"services": [service("b", "two")]}),
        );
    let units = world.units();
    assert!(units.contains(&format!("{} b two [\"a\"]", set_name("shop", "top"))), "{units:?}");
}

#[test]
fn an_uninstalled_service_has_no_unit_and_a_disabled_one_only_if_it_is_there() {
    let (mut off, mut gone) = (service("a", "one"), service("b", "two"));
    off["disable"] = json!(true);
    gone["helmAction"] = json!("Uninstall");
    let spec = json!({"services": [off, gone]});
    let world = World::new(spec.clone());
    assert!(world.units().is_empty() && world.problems().is_empty());
    assert_eq!(world.resolve().sets[0].spec.services.len(), 2);
    assert_eq!(World::new(spec).at("a", "one", true).units(), ["shop a one []"]);
}

#[test]
fn upgrades_follow_the_chain_one_step_at_a_time() {
    let mut wanted = service("a", "three");
    wanted["templateChain"] = json!("way");
    let world = || {
        World::new(json!({"services": [wanted.clone()]})).chain(json!([
            {"name": "one", "availableUpgrades": [{"name": "two"}]},
            {"name": "two", "availableUpgrades": [{"name": "three"}]},
            {"name": "three"},
        ]))
    };
    assert_eq!(world().units(), ["shop a three []"]);
    assert_eq!(world().at("a", "one", true).units(), ["shop a two []"]);
    assert_eq!(world().at("a", "two", false).units(), ["shop a two []"]);
    assert_eq!(world().at("a", "two", true).units(), ["shop a three []"]);
    let backwards = json!([{"name": "one"}, {"name": "three", "availableUpgrades": [{"name": "one"}]}]);
    let stuck = World::new(json!({"services": [wanted.clone()]})).chain(backwards).at("a", "one", true);
    assert_eq!(stuck.units(), ["shop a one []"]);
}

#[test]
fn values_that_are_missing_are_named() {
    let mut spec = service("a", "one");
    spec["valuesFrom"] = json!([{"kind": "Secret", "name": "hidden"}]);
    assert_eq!(
        World::new(json!({"services": [spec]})).problems(),
        ["a: failed to get Secret default/hidden named in valuesFrom: Secret \"hidden\" not found"]
    );
}

#[test]
fn a_dependency_that_is_not_defined_stops_the_set_with_k0rdents_words() {
    let mut spec = service("a", "one");
    spec["dependsOn"] = json!([{"name": "ghost"}]);
    let world = World::new(json!({"services": [spec]}));
    assert!(world.units().is_empty());
    assert_eq!(
        world.resolve().sets[0].dependencies.as_deref(),
        Some(
            "failed service dependency validation: dependency default/ghost of service default/a is not defined as a service"
        )
    );
}

#[test]
fn what_others_may_change_and_when_to_give_up_goes_with_the_unit_in_both_spellings() {
    let exclusion = json!([{"paths": ["/data/from"], "target": {"kind": "ConfigMap"}}]);
    let services = json!([service("a", "one")]);
    let config = json!({"driftExclusions": exclusion, "maxConsecutiveFailures": 3});
    let current = World::new(json!({"services": services, "provider": {"config": config}}));
    let deprecated = World::new(json!({"services": services, "driftExclusions": exclusion}));
    for (world, tries) in [(current, Some(3)), (deprecated, None)] {
        let unit = world.body().units.remove(0);
        assert_eq!(unit.leeway().of(0), Some(&["/data/from".to_owned()][..]));
        assert_eq!(unit.rollback_after(), tries);
    }
    let dry = json!({"services": services, "syncMode": "DryRun"});
    assert!(World::new(dry).body().units[0].is_dry_run());
    let wrong = json!({"services": services, "provider": {"config": {"driftIgnore": [{"name": "["}]}}});
    let problems = World::new(wrong).problems();
    assert!(
        problems[0].starts_with("a: spec.serviceSpec.provider.config.driftIgnore[0]: the expression \"[\""),
        "{problems:?}"
    );
}

#[test]
fn a_set_that_stops_at_conflicts_begins_nothing_while_it_has_one() {
    let both = json!([service("a", "one"), service("b", "two")]);
    let set = |stop: bool| {
        let spec = json!({"services": both, "priority": 1, "stopOnConflict": stop});
        let stronger = json!({"services": [service("a", "three")], "priority": 200});
        World::new(spec).with("strong", "2026-01-01T00:00:00Z", json!({}), stronger)
    };
    assert_eq!(set(false).units().len(), 2);
    assert_eq!(set(true).units(), [format!("{} a three []", set_name("shop", "strong"))]);
    let problems = set(true).problems();
    assert!(problems[1].contains("release default/a of this set is in conflict"), "{problems:?}");
    let alone = World::new(json!({"services": both, "stopOnConflict": true}));
    assert_eq!(alone.units().len(), 2);
}

#[test]
fn patches_are_templates_and_change_what_is_deployed() {
    let patch = json!([{"patch": "- {op: replace, path: /data/from, value: \"{{ .Cluster.metadata.name }}\"}", "target": {"kind": "ConfigMap"}}]);
    let world = |patches: Value| {
        World::new(json!({"services": [service("a", "one")], "provider": {"config": {"patches": patches}}}))
    };
    let resolution = world(patch).resolve();
    let built = resolution.sets[0].services[0].built.as_ref().unwrap();
    let object: Value = serde_json::from_slice(&built.content().unpack().objects[0].content).unwrap();
    assert_eq!(object["data"]["from"], "shop");
    let problems = world(json!([{"patch": "- {op: remove, path: /ghost}", "target": {}}])).problems();
    assert!(problems[0].contains(": patches: ") && problems[0].contains("/ghost"), "{problems:?}");
}
