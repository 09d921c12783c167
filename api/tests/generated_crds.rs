//! The CRDs in `deploy/crds/` are the ones the types generate. `SKEIN_BLESS=1 cargo test -p api` rewrites them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds")
}

/// File name -> text.
fn generated() -> BTreeMap<String, String> {
    let file = |crd: &CustomResourceDefinition| {
        let (plural, group) = (&crd.spec.names.plural, &crd.spec.group);
        (format!("{group}_{plural}.yaml"), api::to_yaml(crd).unwrap())
    };
    api::all_crds().iter().map(file).collect()
}

fn committed() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.insert(name, fs::read_to_string(path).unwrap());
        }
    }
    files
}

#[test]
fn generated_crds_are_the_committed_ones() {
    let generated = generated();
    if env::var_os("SKEIN_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for name in committed().keys().filter(|name| !generated.contains_key(*name)) {
            fs::remove_file(folder().join(name)).unwrap();
        }
        for (name, text) in &generated {
            fs::write(folder().join(name), text).unwrap();
        }
    }
    let committed = committed();
    assert_eq!(generated.keys().collect::<Vec<_>>(), committed.keys().collect::<Vec<_>>());
    for (name, text) in &generated {
        assert!(
            *text == committed[name],
            "deploy/crds/{name} is out of date: SKEIN_BLESS=1 cargo test -p api --test generated_crds"
        );
    }
}

#[test]
fn generation_gives_the_same_bytes_every_time() {
    assert_eq!(generated(), generated());
}

#[test]
fn the_files_read_back_as_the_crds_they_were_made_from() {
    for crd in api::all_crds() {
        let text = api::to_yaml(&crd).unwrap();
        let back: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, crd);
    }
}

#[test]
fn every_field_is_described() {
    for crd in api::all_crds() {
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for top in ["spec", "status"] {
            if schema["properties"][top].is_object() {
                described(&schema["properties"][top], &format!("{} {top}", crd["spec"]["names"]["kind"]));
            }
        }
    }
}

fn described(schema: &serde_json::Value, path: &str) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let text = field["description"].as_str().unwrap_or_default();
        assert!(text.len() > 3, "{path} has no description");
        described(field, &path);
        described(&field["items"], &path);
    }
}
