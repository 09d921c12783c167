//! The harness itself: a real control plane starts, answers, survives a kill of its API server, and leaves
//! nothing behind.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use skein_tests::control_plane::{ControlPlane, shared};
use skein_tests::parts::require_parts;
use skein_tests::process::output;
use skein_tests::wait::until;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_control_plane_starts_and_namespaces_can_be_created() {
    let plane = shared().await.unwrap();
    let client = plane.client().await.unwrap();
    let version = client.apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"), "{version:?}");

    let name = plane.namespace("harness").await.unwrap();
    let found = Api::<Namespace>::all(client).get(&name).await.unwrap();
    assert_eq!(found.status.unwrap().phase.as_deref(), Some("Active"));
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn the_controller_manager_gives_each_namespace_its_service_account() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("accounts").await.unwrap();
    let accounts = Api::<ServiceAccount>::namespaced(plane.client().await.unwrap(), &namespace);
    until("the default service account", SOON, || async { Ok(accounts.get_opt("default").await?) })
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn server_side_apply_records_who_owns_which_field() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("apply").await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(plane.client().await.unwrap(), &namespace);
    let desired = |value: &str| {
        Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"colour": value},
        }))
    };

    let applied = maps.patch("settings", &PatchParams::apply("skein"), &desired("blue")).await.unwrap();
    assert_eq!(applied.data.as_ref().unwrap()["colour"], "blue");
    assert_eq!(applied.managed_fields()[0].manager.as_deref(), Some("skein"));

    let again = maps.patch("settings", &PatchParams::apply("skein"), &desired("blue")).await.unwrap();
    assert_eq!(again.resource_version(), applied.resource_version());

    let refused = maps.patch("settings", &PatchParams::apply("somebody"), &desired("red")).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 409), "{refused}");
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn kubectl_and_helm_talk_to_it() {
    let plane = shared().await.unwrap();
    let namespace = plane.namespace("tools").await.unwrap();
    let listed = output(plane.kubectl().args(["get", "namespace", &namespace, "-o", "name"])).unwrap();
    assert_eq!(listed.trim(), format!("namespace/{namespace}"));

    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("web");
    output(plane.helm().arg("create").arg(&chart)).unwrap();
    output(plane.helm().args(["install", "--namespace", &namespace, "web"]).arg(&chart)).unwrap();
    let deployments =
        output(plane.kubectl().args(["get", "deployments", "-o", "name", "-n", &namespace])).unwrap();
    assert_eq!(deployments.trim(), "deployment.apps/web");
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn what_was_written_survives_a_killed_api_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut plane = ControlPlane::start(&require_parts().unwrap(), dir.path()).await.unwrap();
    let maps = Api::<ConfigMap>::namespaced(plane.client().await.unwrap(), "default");
    let map = ConfigMap { data: Some([("k".to_owned(), "v".to_owned())].into()), ..ConfigMap::default() };
    let map = ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some("kept".into()), ..Default::default() },
        ..map
    };
    maps.create(&PostParams::default(), &map).await.unwrap();

    let (url, before) = (plane.url().to_owned(), plane.apiserver_id());
    plane.kill_apiserver();
    assert!(maps.get("kept").await.is_err());
    plane.restart_apiserver().await.unwrap();

    assert_eq!(plane.url(), url);
    assert_ne!(plane.apiserver_id(), before);
    assert_eq!(maps.get("kept").await.unwrap().data.unwrap()["k"], "v");
}
