//! Go templates in manifests and values: what they see, what is missing, and what is never told.

use std::sync::atomic::Ordering;

use api::k0rdent::ValuesFrom;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::*;
use crate::cache::resources::ResourceKind;
use crate::cache::view::key_of;
use crate::services::data::Data;
use crate::services::values::Documents;

/// A world whose template `one` is a template of that text.
fn world(text: &str, config: &Value) -> World {
    let world = World::new(json!({
        "provider": {"config": config},
        "services": [{"name": "a", "template": "one"}, {"name": "b", "template": "two"}],
    }));
    world.cache.put(world.own.clone());
    put_template(&world, text);
    world
}

fn put_template(world: &World, text: &str) {
    world.cache.put::<ConfigMap>(read(json!({
        "metadata": {
            "name": "one", "namespace": "default", "annotations": {"projectsveltos.io/template": "ok"},
        },
        "data": {"a.yaml": text},
    })));
}

fn thing(namespace: &str, name: &str, replicas: u8, ready: u8) -> Value {
    json!({
        "apiVersion": "x.dev/v1", "kind": "Thing",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": "1", "uid": "u", "ownerReferences": []},
        "spec": {"replicas": replicas}, "status": {"ready": ready},
    })
}

fn reference(name: &str, more: Value) -> Value {
    let mut reference =
        json!({"identifier": "Thing", "resource": {"apiVersion": "x.dev/v1", "kind": "Thing", "name": name}});
    reference.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({"templateResourceRefs": [reference]})
}

/// The content of the first object of service `a`.
fn content(world: &World) -> Value {
    let resolution = world.resolve();
    let service = resolution.sets[0].services.iter().find(|one| one.name.1 == "a").unwrap();
    assert!(service.problem.is_none(), "{:?}", service.problem);
    serde_json::from_slice(&service.built.as_ref().unwrap().content().unpack().objects[0].content).unwrap()
}

const SEES: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
data:
  cluster: {{ .Cluster.metadata.name }}
  labels: {{ .Labels.zone }}
  template: {{ .ClusterDeployment.spec.template }}
  region: {{ .Region.metadata.name }}
  replicas: "{{ getField "Thing" "spec.replicas" }}"
  direct: "{{ .MgmtResources.Thing.spec.replicas }}"
  indexed: "{{ (index .MgmtResources "Thing").spec.replicas }}"
  whole: "{{ (getResource "Thing").metadata.name }}"
  changed: {{ (chainRemoveField (chainSetField (getResource "Thing") "spec.extra.x" "y") "status") | toJson | quote }}
"#;

#[test]
fn templates_see_the_cluster_and_what_the_set_refers_to() {
    let world = world(SEES, &reference("{{ .Cluster.metadata.name }}-thing", json!({})));
    world.cache.put_resource(thing("default", "shop-thing", 3, 1));
    let data = content(&world)["data"].clone();
    assert_eq!(data["cluster"], "shop");
    assert_eq!(data["labels"], "a");
    assert_eq!(data["template"], "t");
    assert_eq!(data["region"], "eu");
    for field in ["replicas", "direct", "indexed"] {
        assert_eq!(data[field], "3", "{field}");
    }
    assert_eq!(data["whole"], "shop-thing");
    let changed: Value = serde_json::from_str(data["changed"].as_str().unwrap()).unwrap();
    assert_eq!(changed["spec"], json!({"replicas": 3, "extra": {"x": "y"}}));
    assert_eq!(changed.get("status"), None);
}

#[test]
fn a_copy_has_nothing_that_belongs_to_the_original_only() {
    for text in [r#"{{ copy "Thing" }}"#, r#"{{ setField "Thing" "metadata.name" "copy" }}"#] {
        let world = world(text, &reference("one", json!({})));
        world.cache.put_resource(thing("default", "one", 3, 1));
        let copy = content(&world);
        assert_eq!(copy["spec"], json!({"replicas": 3}));
        assert_eq!(copy.get("status"), None);
        let metadata = copy["metadata"].as_object().unwrap();
        assert_eq!(metadata.keys().collect::<Vec<_>>(), ["name", "namespace"]);
    }
}

#[test]
fn what_is_missing_fails_only_who_needs_it_unless_it_is_optional() {
    let missing = reference("none", json!({"optional": false}));
    let world_ = world(SEES, &missing);
    world_.cache.put_resource(thing("default", "other", 1, 1));
    assert_eq!(
        world_.problems(),
        ["a: templateResourceRefs \"Thing\": failed to get Thing default/none: Thing \"none\" not found"]
    );
    let text = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"has": "{{ hasKey .MgmtResources "Thing" }}"}}"#;
    let optional = world(text, &reference("none", json!({"optional": true})));
    optional.cache.put_resource(thing("default", "other", 1, 1));
    assert_eq!(content(&optional)["data"]["has"], "false");
    // What an optional object would have said is still no empty value.
    put_template(&optional, "a: {{ .MgmtResources.Thing.spec.x }}");
    let problem = optional.problems().remove(0);
    assert!(problem.starts_with("a: ") && problem.contains("one/a.yaml:1"), "{problem}");
}

#[test]
fn a_change_that_nothing_used_renders_nothing() {
    let world = world(SEES, &reference("one", json!({"watchFields": ["spec.replicas"]})));
    world.cache.put_resource(thing("default", "one", 3, 1));
    let target = Target::of_cluster(&world.own, Some("eu".to_owned()), None);
    let bundles = Bundles::new(Box::new(NoSeeds), identity::Sealer::new([0; 32]), None);
    let count = bundles.renders();
    let decide = || {
        let sight =
            Sight { view: View::new(&world.cache), sources: &world.sources, system_namespace: "kcm-system" };
        let claims = claims(&target, Some(&world.own), &[], |_| false, |_, _| None);
        resolve(&target, &claims, &sight, &bundles, &world.there);
        (count.load(Ordering::Relaxed), sight.view.into_read())
    };
    let (rendered, read) = decide();
    assert_eq!(rendered, 2);
    let kind = ResourceKind { api_version: "x.dev/v1".to_owned(), kind: "Thing".to_owned() };
    let key = key_of(&kind, "default", "one");
    // A field that is not watched wakes nobody; and even if it did, the same texts are not rendered again.
    world.cache.put_resource(thing("default", "one", 3, 2));
    assert!(!read[&key].concerns(&world.cache, &key));
    assert_eq!(decide().0, 2);
    world.cache.put_resource(thing("default", "one", 4, 2));
    assert!(read[&key].concerns(&world.cache, &key));
    assert_eq!(decide().0, 3);
}

#[test]
fn a_cluster_reads_secrets_of_its_own_namespace_only() {
    let refers = |namespace: &str| {
        json!({"templateResourceRefs": [{
            "identifier": "S", "resource": {"apiVersion": "v1", "kind": "Secret", "name": "s", "namespace": namespace},
        }]})
    };
    let text = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"x": "{{ (index .MgmtResources "S").data.k | b64dec }}"}}"#;
    for (namespace, allowed) in [("default", true), ("kcm-system", false)] {
        let world = world(text, &refers(namespace));
        world.cache.put::<Secret>(read(json!({
            "metadata": {"name": "s", "namespace": namespace}, "data": {"k": "aHVudGVyMg=="},
        })));
        if allowed {
            assert_eq!(content(&world)["data"]["x"], "hunter2");
        } else {
            assert!(world.problems()[0].contains("its own namespace"), "{:?}", world.problems());
        }
    }
}

fn documents(world: &World, from: Value, inline: &str) -> Result<Documents, String> {
    let target = Target::of_cluster(&world.own, Some("eu".to_owned()), None);
    let sight =
        Sight { view: View::new(&world.cache), sources: &world.sources, system_namespace: "kcm-system" };
    let claims = claims(&target, Some(&world.own), &[], |_| false, |_, _| None);
    let data = Data::new(&target, &claims[0], &sight);
    let from: Vec<ValuesFrom> = read(from);
    Documents::read(&sight, "default", &from, Some(inline), &data).map_err(|problem| problem.message)
}

#[test]
fn documents_come_in_order_and_only_marked_ones_are_templates() {
    let world = world("", &json!({}));
    let put = |name: &str, annotations: Value, data: Value| {
        world.cache.put::<ConfigMap>(read(json!({
            "metadata": {"name": name, "namespace": "default", "annotations": annotations}, "data": data,
        })));
    };
    put("plain", json!({}), json!({"b": "n: {{ .Values.x }}", "a": "n: 1"}));
    put("shop-marked", json!({"projectsveltos.io/template": "true"}), json!({"k": "n: {{ .Labels.zone }}"}));
    world.cache.put::<Secret>(read(json!({
        "metadata": {"name": "secret", "namespace": "default"}, "data": {"k": "cDogaHVudGVyMg=="},
    })));
    let from = json!([
        {"kind": "Secret", "name": "secret"},
        {"kind": "ConfigMap", "name": "plain"},
        {"kind": "ConfigMap", "name": "{{ .Cluster.metadata.name }}-marked"},
        {"kind": "ConfigMap", "name": "plain", "key": "a"},
        {"kind": "ConfigMap", "name": "none", "optional": true},
        {"kind": "ConfigMap", "name": "plain", "key": "none", "optional": true},
    ]);
    let read = documents(&world, from, "inline: {{ .Cluster.metadata.name }}").unwrap();
    assert_eq!(read.texts, ["p: hunter2", "n: 1", "n: {{ .Values.x }}", "n: a", "n: 1", "inline: shop"]);
    let names: Vec<_> = read.origins.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names[1], "ConfigMap default/plain key \"a\"");
    assert!(read.origins[0].secret && read.origins[3].template && !read.origins[2].template);
    for (entry, error) in [
        (
            json!([{"kind": "Secret", "name": "none"}]),
            "failed to get Secret default/none named in valuesFrom: Secret \"none\" not found",
        ),
        (
            json!([{"kind": "ConfigMap", "name": "plain", "key": "c"}]),
            "ConfigMap default/plain named in valuesFrom has no key \"c\"; it has a, b",
        ),
    ] {
        assert_eq!(documents(&world, entry, "").unwrap_err(), error);
    }
}

#[test]
fn a_broken_document_is_named_and_a_secret_is_never_quoted() {
    let world = world("", &json!({}));
    world.cache.put::<Secret>(read(json!({
        "metadata": {"name": "secret", "namespace": "default", "annotations": {"projectsveltos.io/template": "true"}},
        "stringData": {}, "data": {"k": k8s_openapi::ByteString(b"password: hunter2\nother: {{ fail \"hunter2\" }}\n".to_vec())},
    })));
    let error = documents(&world, json!([{"kind": "Secret", "name": "secret"}]), "").unwrap_err();
    assert!(error.contains("Secret default/secret key \"k\"") && error.contains(":2"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    let broken = documents(&world, json!([]), "a: [1\nb: 2\n").unwrap();
    let fault = broken.fault().unwrap();
    assert!(fault.starts_with("values: ") && fault.contains("line"), "{fault}");
}
