//! Kustomizations: built for the namespace of the service, with what `valuesFrom` puts in.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::*;

/// A world whose template `one` is the folder of an archive in the ConfigMap `one`.
fn world(files: &[(&str, &str)], path: &str, kind: &str, service: Value) -> World {
    let mut all = json!({"name": "a", "template": "one", "namespace": "front"});
    all.as_object_mut().unwrap().extend(service.as_object().cloned().unwrap());
    let world = World::new(json!({"services": [all]}));
    world.cache.put(world.own.clone());
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let packed = archive.into_inner().unwrap().finish().unwrap();
    let mut map: ConfigMap = read(json!({"metadata": {"name": "one", "namespace": "default"}}));
    map.binary_data = Some(BTreeMap::from([("all.tar.gz".to_owned(), k8s_openapi::ByteString(packed))]));
    world.cache.put(map);
    world.cache.put::<api::k0rdent::ServiceTemplate>(read(json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
        "metadata": {"name": "one", "namespace": "default"},
        "spec": {kind: {
            "deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": "one"}, "path": path,
        }},
    })));
    world
}

fn first(world: &World) -> Value {
    let resolution = world.resolve();
    let service = &resolution.sets[0].services[0];
    assert!(service.problem.is_none(), "{:?}", service.problem);
    serde_json::from_slice(&service.built.as_ref().unwrap().content().unpack().objects[0].content).unwrap()
}

const TREE: &[(&str, &str)] = &[
    ("base/kustomization.yaml", "resources: [map.yaml]\n"),
    (
        "base/map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {zone: '{{ .zone }}', big: '{{ .zone | upper | quote }}'}\n",
    ),
    ("eu/kustomization.yaml", "resources: [../base]\nnamePrefix: eu-\nnamespace: elsewhere\n"),
];

#[test]
fn an_overlay_is_built_for_the_namespace_of_its_service() {
    let object = first(&world(TREE, "./eu", "kustomize", json!({})));
    assert_eq!(object["metadata"], json!({"name": "eu-web", "namespace": "front"}));
    // Without valuesFrom braces mean nothing.
    assert_eq!(object["data"]["zone"], "{{ .zone }}");
}

#[test]
fn keys_of_values_from_are_put_into_what_was_built() {
    let world = world(TREE, "eu", "kustomize", json!({"valuesFrom": [{"kind": "Secret", "name": "zones"}]}));
    let mut secret: Secret = read(json!({"metadata": {"name": "zones", "namespace": "default"}}));
    secret.data = Some(BTreeMap::from([("zone".to_owned(), k8s_openapi::ByteString(b"eu-west".to_vec()))]));
    world.cache.put(secret);
    assert_eq!(first(&world)["data"], json!({"zone": "eu-west", "big": "\"EU-WEST\""}));
}

#[test]
fn resources_that_are_a_kustomization_are_built_too() {
    let object = first(&world(TREE, "eu", "resources", json!({})));
    assert_eq!(object["metadata"]["name"], "eu-web");
    assert_eq!(object["metadata"]["namespace"], "elsewhere");
}

#[test]
fn what_cannot_be_built_names_source_file_and_cause() {
    let broken = [("kustomization.yaml", "resources: [gone.yaml]\n")];
    let problems = world(&broken, "", "kustomize", json!({})).problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("ConfigMap default/one: kustomization.yaml"), "{problems:?}");
    assert!(problems[0].contains("gone.yaml"), "{problems:?}");
    let nowhere = world(TREE, "us", "kustomize", json!({})).problems();
    assert!(nowhere[0].contains("no such file or folder \"us\""), "{nowhere:?}");
}
