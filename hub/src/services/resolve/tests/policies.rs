//! What comes beside the services: `policyRefs`, health rules, and orders in annotations.

use api::names::label::HEALTH_RULE_TARGET;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::*;

fn map(namespace: &str, name: &str, more: Value, data: Value) -> ConfigMap {
    let mut metadata = json!({"name": name, "namespace": namespace});
    metadata.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    read(json!({"metadata": metadata, "data": data}))
}

fn manifest(name: &str, value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}})
        .to_string()
}

fn world(policy_refs: &Value) -> World {
    let world = World::new(json!({
        "provider": {"config": {"policyRefs": policy_refs}},
        "services": [service("a", "one")],
    }));
    world.cache.put(world.own.clone());
    world
}

#[test]
fn policies_of_maps_and_secrets_are_units_of_their_own_and_may_be_templates() {
    let world = world(&json!([
        {"kind": "ConfigMap", "name": "{{ .Cluster.metadata.name }}-policy"},
        {"kind": "Secret", "name": "login", "skipNamespaceCreation": true},
        {"kind": "ConfigMap", "name": "absent", "optional": true},
    ]));
    let template = json!({"annotations": {"projectsveltos.io/template": "ok"}});
    let text = manifest("of-policy", "{{ .Cluster.metadata.name }}");
    world.cache.put(map("default", "shop-policy", template, json!({"a.yaml": text})));
    let secret: Secret = read(json!({
        "metadata": {"name": "login", "namespace": "default"},
        "data": {"b.yaml": serde_json::to_value(k8s_openapi::ByteString(manifest("of-secret", "x").into_bytes())).unwrap()},
    }));
    world.cache.put(secret);
    assert_eq!(world.problems(), Vec::<String>::new());
    let resolution = world.resolve();
    let names: Vec<_> = resolution.sets[0].services.iter().map(|one| one.name.1.as_str()).collect();
    assert_eq!(names, ["a", "configmap-default-shop-policy", "secret-default-login"]);
    let built = |at: usize| resolution.sets[0].services[at].built.as_ref().unwrap();
    let content: Value = serde_json::from_slice(&built(1).content().unpack().objects[0].content).unwrap();
    assert_eq!(content["data"]["k"], "shop");
    assert_eq!((built(1).unit().create_namespace, built(2).unit().create_namespace), (true, false));
}

#[test]
fn a_broken_policy_harms_no_other_and_names_its_place() {
    let world = world(&json!([
        {"kind": "ConfigMap", "name": "fine"},
        {"kind": "ConfigMap", "name": "absent"},
        {"kind": "ConfigMap", "name": "fine", "namespace": "other"},
        {"remoteURL": {"url": "ftp://x.dev/a.yaml"}},
        {"kind": "ConfigMap", "name": "{{ .No.Such"},
        {"kind": "ConfigMap"},
    ]));
    world.cache.put(map("default", "fine", json!({}), json!({"a.yaml": manifest("x", "y")})));
    let problems = world.problems().join("\n");
    for part in [
        "configmap-default-absent: policyRefs[1]: failed to get ConfigMap default/absent",
        "policyref-2: policyRefs[2].namespace is \"other\": a ClusterDeployment reads its own namespace",
        "policyref-3: policyRefs[3].remoteURL.url does not begin with http://",
        "policyref-4: ",
        "policyref-5: policyRefs[5].name is empty",
    ] {
        assert!(problems.contains(part), "{part}\n{problems}");
    }
    assert_eq!(
        world.units(),
        ["shop a one []", "shop configmap-default-fine policyRefs ConfigMap default/fine []"]
    );
    let wrong = self::world(&json!({"kind": "ConfigMap"})).problems();
    assert!(wrong[0].starts_with("policyrefs: policyRefs is not understood"), "{wrong:?}");
}

#[test]
fn health_rules_of_three_tiers_add_up_for_kinds_that_the_service_has() {
    let world = World::new(json!({"services": [service("a", "one")]}));
    world.cache.put(world.own.clone());
    let rule = |kind: &str, text: &str| {
        json!([{"group": "", "version": "v1", "kind": kind, "scope": "Namespaced", "healthy": text, "message": "'m'"}])
            .to_string()
    };
    let label = |target: &str| json!({"labels": {HEALTH_RULE_TARGET: target}});
    let put = |namespace: &str, name: &str, target: &str, rules: String| {
        world.cache.put(map(namespace, name, label(target), json!({"rules": rules})));
    };
    put("kcm-system", "default-rules", "global", rule("ConfigMap", "true"));
    put("kcm-system", "of-a-name", "shop", rule("ConfigMap", "true"));
    put("default", "tenant", "global", rule("ConfigMap", "1 == 1"));
    put("default", "owner", "shop", rule("ConfigMap", "2 == 2"));
    put("default", "others", "another", rule("ConfigMap", "3 == 3"));
    put("default", "pods", "global", rule("Pod", "true"));
    put("default", "wrong", "global", rule("ConfigMap", "obj."));
    let resolution = world.resolve();
    let set = &resolution.sets[0];
    let rules = set.services[0].built.as_ref().unwrap().unit().health_rules();
    let sources: Vec<_> = rules.0.iter().map(|rule| rule.source.as_str()).collect();
    assert_eq!(sources, ["kcm-system/default-rules#0", "default/tenant#0", "default/owner#0"]);
    assert_eq!(set.health.len(), 1);
    assert!(set.health[0].starts_with("default/wrong#0 (ConfigMap): healthy: "), "{:?}", set.health);
}

#[test]
fn orders_in_annotations_and_wishes_of_the_config_reach_the_unit() {
    let mut world = World::new(json!({
        "provider": {"config": {"reloader": true, "pruneDefinitions": true}},
        "services": [service("a", "one")],
    }));
    let unit = |world: &World| world.body().units.remove(0);
    let plain = unit(&world);
    assert!(plain.reloads() && plain.prunes_definitions() && plain.not_after().is_none());
    world.own.metadata.annotations = Some(BTreeMap::from([
        ("skein.dev/not-after".to_owned(), "1970-01-01T00:00:01Z".to_owned()),
        ("skein.dev/emergency".to_owned(), "true".to_owned()),
    ]));
    let ordered = unit(&world);
    assert_eq!((ordered.not_after(), ordered.is_emergency()), (Some(1_000), true));
    assert_eq!(ordered.hash, plain.hash);
    world.own.metadata.annotations =
        Some(BTreeMap::from([("skein.dev/not-after".to_owned(), "later".to_owned())]));
    assert!(world.problems()[0].contains("annotation skein.dev/not-after is \"later\""));
}
