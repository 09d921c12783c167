//! kube-rs in process: the API as its clients see it.

use std::collections::BTreeMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube_local::{Cluster, Options};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

async fn cluster() -> Cluster {
    Cluster::open(Options::default()).await.unwrap()
}

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data: BTreeMap<String, String> =
        data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
}

fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("expected a Status, got {other}"),
    }
}

#[tokio::test]
async fn objects_are_created_read_changed_and_deleted() {
    let cluster = cluster().await;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let created = api.create(&PostParams::default(), &config_map("a", &[("k", "1")])).await.unwrap();
    assert!(created.metadata.uid.is_some());
    assert!(created.metadata.creation_timestamp.is_some());
    let again = api.create(&PostParams::default(), &config_map("a", &[])).await.unwrap_err();
    assert_eq!(code(&again), 409);
    assert!(again.to_string().contains("configmaps \"a\" already exists"), "{again}");

    let mut changed = api.get("a").await.unwrap();
    changed.data = Some([("k".to_owned(), "2".to_owned())].into());
    let replaced = api.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, created.metadata.resource_version);
    let conflict = api.replace("a", &PostParams::default(), &changed).await.unwrap_err();
    assert_eq!(code(&conflict), 409);

    let patch = Patch::Merge(json!({"data": {"k": null, "j": "3"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap(), [("j".to_owned(), "3".to_owned())].into());
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(&api.get("a").await.unwrap_err()), 404);
}

#[tokio::test]
async fn a_watch_sees_what_happens_after_the_list() {
    let cluster = cluster().await;
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    api.create(&PostParams::default(), &config_map("before", &[])).await.unwrap();
    let list = api.list(&ListParams::default()).await.unwrap();
    let version = list.metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    api.create(&PostParams::default(), &config_map("after", &[])).await.unwrap();
    api.delete("after", &DeleteParams::default()).await.unwrap();
    let WatchEvent::Added(added) = watch.next().await.unwrap().unwrap() else { panic!("expected ADDED") };
    assert_eq!(added.metadata.name.as_deref(), Some("after"));
    let WatchEvent::Deleted(deleted) = watch.next().await.unwrap().unwrap() else { panic!("expected DELETED") };
    assert!(deleted.metadata.resource_version > added.metadata.resource_version);
}

#[tokio::test]
async fn deleting_a_namespace_deletes_what_is_in_it() {
    let cluster = cluster().await;
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    cluster.run_controllers(&tasks, cancel.clone());
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "team");
    maps.create(&PostParams::default(), &config_map("a", &[])).await.unwrap();
    let uid = namespaces.get("team").await.unwrap().metadata.uid.unwrap();
    namespaces.delete("team", &DeleteParams::default()).await.unwrap();
    let gone = kube::runtime::wait::conditions::is_deleted(&uid);
    kube::runtime::wait::await_condition(namespaces.clone(), "team", gone).await.unwrap();
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
    let refused = maps.create(&PostParams::default(), &config_map("b", &[])).await.unwrap_err();
    assert_eq!(code(&refused), 404);
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}
