//! kube-rs in process: the API as its clients see it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
    PropagationPolicy, WatchEvent, WatchParams,
};
use kube::runtime::wait::{self, Condition};
use kube::runtime::{WatchStreamExt, conditions, watcher};
use kube_local::{Cluster, Options};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What comes within two minutes.
async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), coming).await.expect("it comes within two minutes")
}

async fn await_condition<K>(
    api: Api<K>,
    name: &str,
    condition: impl Condition<K>,
) -> Result<Option<K>, wait::Error>
where
    K: Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + kube::Resource + 'static,
{
    soon(wait::await_condition(api, name, condition)).await
}

struct Running {
    cluster: Cluster,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Running {
    async fn start() -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let cluster = Cluster::open(Options::default()).await.unwrap();
        cluster.run_controllers(&tasks, cancel.clone());
        Self { cluster, tasks, cancel }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        soon(self.tasks.wait()).await;
    }
}

async fn cluster() -> Cluster {
    Cluster::open(Options::default()).await.unwrap()
}

fn maps(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client(), "default")
}

fn config_map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data: BTreeMap<String, String> =
        data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    from(json!({"metadata": {"name": name}, "data": data}))
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn status(error: kube::Error) -> kube::core::Status {
    let text = error.to_string();
    let kube::Error::Api(status) = error else { panic!("expected a Status, got {text}") };
    *status
}

fn post() -> PostParams {
    PostParams::default()
}

async fn widgets(cluster: &Cluster, schema: Value) -> Api<DynamicObject> {
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                }},
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client());
    definitions.create(&post(), &from(definition)).await.unwrap();
    let established = conditions::is_crd_established();
    await_condition(definitions, "widgets.example.com", established).await.unwrap();
    let resource = ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("example.com", "v1", "Widget"));
    Api::namespaced_with(cluster.client(), "default", &resource)
}

fn widget_schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1},
            "replicas": {"type": "integer", "default": 2},
        }},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn widget(name: &str, spec: Value) -> DynamicObject {
    from(json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}))
}

#[tokio::test]
async fn objects_are_created_read_changed_and_deleted() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let created = api.create(&post(), &config_map("a", &[("k", "1")])).await.unwrap();
    assert!(created.metadata.uid.is_some());
    assert!(created.metadata.creation_timestamp.is_some());
    let again = status(api.create(&post(), &config_map("a", &[])).await.unwrap_err());
    assert_eq!((again.code, again.message.as_str()), (409, "configmaps \"a\" already exists"));

    let mut changed = api.get("a").await.unwrap();
    changed.data = Some([("k".to_owned(), "2".to_owned())].into());
    let replaced = api.replace("a", &post(), &changed).await.unwrap();
    assert_ne!(replaced.metadata.resource_version, created.metadata.resource_version);
    let conflict = status(api.replace("a", &post(), &changed).await.unwrap_err());
    assert_eq!(
        conflict.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes \
         to the latest version and try again"
    );

    let patch = Patch::Merge(json!({"data": {"k": null, "j": "3"}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(patched.data.unwrap(), [("j".to_owned(), "3".to_owned())].into());
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let gone = status(api.get("a").await.unwrap_err());
    assert_eq!((gone.code, gone.reason.as_str()), (404, "NotFound"));
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_resource_version() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let created = api.create(&post(), &config_map("a", &[("k", "1")])).await.unwrap();
    let replaced = api.replace("a", &post(), &created).await.unwrap();
    assert_eq!(replaced.metadata.resource_version, created.metadata.resource_version);
    let apply = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "1"}}));
    let first = api.patch("b", &PatchParams::apply("me"), &apply).await.unwrap();
    let second = api.patch("b", &PatchParams::apply("me"), &apply).await.unwrap();
    assert_eq!(first.metadata.resource_version, second.metadata.resource_version);
}

#[tokio::test]
async fn pages_of_a_list_are_of_one_moment() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    for number in 0..5 {
        api.create(&post(), &config_map(&format!("m{number}"), &[])).await.unwrap();
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (2, Some(3)));
    api.delete("m3", &DeleteParams::default()).await.unwrap();
    api.create(&post(), &config_map("m5", &[])).await.unwrap();
    let token = first.metadata.continue_.unwrap();
    let rest = api.list(&ListParams::default().limit(10).continue_token(&token)).await.unwrap();
    let names: Vec<String> = rest.items.into_iter().filter_map(|item| item.metadata.name).collect();
    assert_eq!(names, ["m2", "m3", "m4"], "as it was when the first page was read");
    assert_eq!(rest.metadata.resource_version, first.metadata.resource_version);
}

#[tokio::test]
async fn selectors_choose_and_unknown_fields_are_refused() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    for (name, app) in [("a", "x"), ("b", "y"), ("c", "x")] {
        let map = json!({"metadata": {"name": name, "labels": {"app": app}}});
        api.create(&post(), &from(map)).await.unwrap();
    }
    let names = |list: kube::core::ObjectList<ConfigMap>| -> Vec<String> {
        list.items.into_iter().filter_map(|item| item.metadata.name).collect()
    };
    assert_eq!(names(api.list(&ListParams::default().labels("app in (x)")).await.unwrap()), ["a", "c"]);
    assert_eq!(names(api.list(&ListParams::default().fields("metadata.name=b")).await.unwrap()), ["b"]);
    let refused = status(api.list(&ListParams::default().fields("data.x=1")).await.unwrap_err());
    assert_eq!(refused.code, 400);
    assert!(refused.message.contains("\"data.x\" is not a known field selector"), "{}", refused.message);
    let deleted =
        api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=x")).await;
    assert_eq!(names(deleted.unwrap().left().unwrap()), ["a", "c"]);
    assert_eq!(names(api.list(&ListParams::default()).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn names_are_generated_and_checked() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let made = api.create(&post(), &from(json!({"metadata": {"generateName": "run-"}}))).await.unwrap();
    let name = made.metadata.name.unwrap();
    assert!(name.starts_with("run-") && name.len() == 9, "{name}");
    let refused = status(api.create(&post(), &config_map("Bad_Name", &[])).await.unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert!(
        refused.message.starts_with(
            "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 \
             subdomain must consist of"
        ),
        "{}",
        refused.message
    );
    let elsewhere: Api<ConfigMap> = Api::namespaced(cluster.client(), "nowhere");
    let missing = status(elsewhere.create(&post(), &config_map("a", &[])).await.unwrap_err());
    assert_eq!((missing.code, missing.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}

#[tokio::test]
async fn dry_run_changes_nothing() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let dry = PostParams { dry_run: true, ..post() };
    let made = api.create(&dry, &config_map("a", &[])).await.unwrap();
    assert!(made.metadata.uid.is_some());
    assert!(api.get_opt("a").await.unwrap().is_none());
    api.create(&post(), &config_map("a", &[("k", "1")])).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    let patched =
        api.patch("a", &PatchParams { dry_run: true, ..PatchParams::default() }, &patch).await.unwrap();
    assert_eq!(patched.data.unwrap()["k"], "2");
    api.delete("a", &DeleteParams::default().dry_run()).await.unwrap();
    assert_eq!(api.get("a").await.unwrap().data.unwrap()["k"], "1");
}

#[tokio::test]
async fn preconditions_guard_a_delete() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    api.create(&post(), &config_map("a", &[])).await.unwrap();
    let wrong = Preconditions { uid: Some("other".to_owned()), resource_version: None };
    let refused = api.delete("a", &DeleteParams::default().preconditions(wrong)).await.unwrap_err();
    assert_eq!(status(refused).code, 409);
    assert!(api.get("a").await.is_ok());
}

#[tokio::test]
async fn server_side_apply_owns_conflicts_and_forces() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let object = |data: Value| Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data}));
    let one = PatchParams::apply("one");
    let made = api.patch("a", &one, &object(json!({"x": "1", "y": "1"}))).await.unwrap();
    assert_eq!(made.metadata.managed_fields.unwrap()[0].manager.as_deref(), Some("one"));
    let refused = api.patch("a", &PatchParams::apply("two"), &object(json!({"x": "2"}))).await.unwrap_err();
    let refused = status(refused);
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    let causes = refused.details.unwrap().causes;
    assert_eq!((causes[0].reason.as_str(), causes[0].field.as_str()), ("FieldManagerConflict", ".data.x"));
    let forced = PatchParams::apply("two").force();
    let taken = api.patch("a", &forced, &object(json!({"x": "2"}))).await.unwrap();
    assert_eq!(taken.data.unwrap()["x"], "2");
    let left = api.patch("a", &one, &object(json!({}))).await.unwrap();
    let data = left.data.unwrap();
    assert_eq!(
        (data.get("x").map(String::as_str), data.get("y")),
        (Some("2"), None),
        "what one left is gone"
    );
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let cluster = cluster().await;
    let api = maps(&cluster);
    let map = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    api.create(&post(), &from(map)).await.unwrap();
    let marked = api.delete("a", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    let add = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}));
    let refused = status(api.patch("a", &PatchParams::default(), &add).await.unwrap_err());
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains("no new finalizers can be added"), "{}", refused.message);
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("a", &PatchParams::default(), &release).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn deleting_a_namespace_deletes_what_is_in_it() {
    let running = Running::start().await;
    let namespaces: Api<Namespace> = Api::all(running.cluster.client());
    namespaces.create(&post(), &from(json!({"metadata": {"name": "team"}}))).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(running.cluster.client(), "team");
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    maps.create(&post(), &from(held)).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(running.cluster.client(), "team");
    let exists = |account: Option<&ServiceAccount>| account.is_some();
    await_condition(accounts, "default", exists).await.unwrap();

    let uid = namespaces.get("team").await.unwrap().metadata.uid.unwrap();
    let marked = namespaces.delete("team", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert_eq!(marked.status.unwrap().phase.as_deref(), Some("Terminating"));
    let refused = status(maps.create(&post(), &config_map("b", &[])).await.unwrap_err());
    assert_eq!(refused.code, 403);
    assert!(refused.message.contains("because it is being terminated"), "{}", refused.message);
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &release).await.unwrap();
    await_condition(namespaces, "team", conditions::is_deleted(&uid)).await.unwrap();
    assert!(maps.list(&ListParams::default()).await.unwrap().items.is_empty());
    running.stop().await;
}

fn owned(name: &str, owner: &ConfigMap) -> ConfigMap {
    from(json!({"metadata": {"name": name, "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name, "uid": owner.metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    }]}}))
}

#[tokio::test]
async fn dependents_follow_their_owner_as_the_policy_says() {
    let running = Running::start().await;
    let api = maps(&running.cluster);
    for policy in [PropagationPolicy::Background, PropagationPolicy::Foreground, PropagationPolicy::Orphan] {
        let owner = api.create(&post(), &config_map("owner", &[])).await.unwrap();
        let child = api.create(&post(), &owned("child", &owner)).await.unwrap();
        let grandchild = api.create(&post(), &owned("grandchild", &child)).await.unwrap();
        let params = DeleteParams { propagation_policy: Some(policy.clone()), ..DeleteParams::default() };
        api.delete("owner", &params).await.unwrap();
        let uid = |object: &ConfigMap| object.metadata.uid.clone().unwrap();
        await_condition(api.clone(), "owner", conditions::is_deleted(&uid(&owner))).await.unwrap();
        if matches!(policy, PropagationPolicy::Orphan) {
            let freed =
                |map: Option<&ConfigMap>| map.is_some_and(|map| map.metadata.owner_references.is_none());
            await_condition(api.clone(), "child", freed).await.unwrap();
            assert!(api.get("grandchild").await.unwrap().metadata.owner_references.is_some());
        } else {
            await_condition(api.clone(), "child", conditions::is_deleted(&uid(&child))).await.unwrap();
            await_condition(api.clone(), "grandchild", conditions::is_deleted(&uid(&grandchild)))
                .await
                .unwrap();
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn foreground_deletion_waits_for_a_dependent_that_is_held() {
    let running = Running::start().await;
    let api = maps(&running.cluster);
    let owner = api.create(&post(), &config_map("owner", &[])).await.unwrap();
    let mut held = owned("held", &owner);
    held.metadata.finalizers = Some(vec!["example.com/hold".to_owned()]);
    api.create(&post(), &held).await.unwrap();
    api.delete("owner", &DeleteParams::foreground()).await.unwrap();
    let marked = |map: Option<&ConfigMap>| map.is_some_and(|map| map.metadata.deletion_timestamp.is_some());
    await_condition(api.clone(), "held", marked).await.unwrap();
    assert!(api.get("owner").await.unwrap().metadata.deletion_timestamp.is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &release).await.unwrap();
    await_condition(api, "owner", conditions::is_deleted(&owner.metadata.uid.unwrap())).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn an_object_whose_owner_never_existed_is_collected() {
    let running = Running::start().await;
    let api = maps(&running.cluster);
    let ghost: ConfigMap = from(json!({"metadata": {"name": "ghost", "uid": "no-such-uid"}}));
    let made = api.create(&post(), &owned("orphan", &ghost)).await.unwrap();
    await_condition(api, "orphan", conditions::is_deleted(&made.metadata.uid.unwrap())).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn custom_kinds_are_served_at_once_defaulted_pruned_and_validated() {
    let cluster = cluster().await;
    let api = widgets(&cluster, widget_schema()).await;
    let made = api.create(&post(), &widget("a", json!({"size": 3, "unknown": 1}))).await.unwrap();
    assert_eq!(made.data["spec"], json!({"size": 3, "replicas": 2}), "defaulted and pruned");
    assert_eq!(made.metadata.generation, Some(1));
    let refused = status(api.create(&post(), &widget("b", json!({"size": 0}))).await.unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (422, "Invalid"));
    assert_eq!(
        refused.message,
        "Widget.example.com \"b\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than \
         or equal to 1"
    );
    let strict = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::apply("me")
    };
    let typo = json!({"apiVersion": "example.com/v1", "kind": "Widget", "spec": {"size": 1, "sise": 2}});
    let refused = status(api.patch("c", &strict, &Patch::Apply(typo)).await.unwrap_err());
    assert_eq!(refused.code, 500);
    assert!(refused.message.ends_with(".spec.sise: field not declared in schema"), "{}", refused.message);
}

#[tokio::test]
async fn status_is_its_own_part_and_generation_counts_only_spec() {
    let cluster = cluster().await;
    let api = widgets(&cluster, widget_schema()).await;
    let mut with_status = widget("a", json!({"size": 3}));
    with_status.data["status"] = json!({"ready": true});
    let made = api.create(&post(), &with_status).await.unwrap();
    assert!(made.data.get("status").is_none(), "status is dropped on create");
    let patch = Patch::Merge(json!({"status": {"ready": true}, "spec": {"size": 9}}));
    let patched = api.patch_status("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((&patched.data["status"]["ready"], &patched.data["spec"]["size"]), (&json!(true), &json!(3)));
    assert_eq!(patched.metadata.generation, Some(1));
    let patch = Patch::Merge(json!({"status": {"ready": false}, "spec": {"size": 9}}));
    let patched = api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!((&patched.data["status"]["ready"], &patched.data["spec"]["size"]), (&json!(true), &json!(9)));
    assert_eq!(patched.metadata.generation, Some(2));
    let labelled = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let labelled = api.patch("a", &PatchParams::default(), &labelled).await.unwrap();
    assert_eq!(labelled.metadata.generation, Some(2));
    let scale = api.get_scale("a").await.unwrap();
    assert_eq!(scale.spec.unwrap().replicas, Some(2));
    let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
    api.patch_scale("a", &PatchParams::default(), &five).await.unwrap();
    assert_eq!(api.get("a").await.unwrap().data["spec"]["replicas"], 5);
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_and_their_dependents_along() {
    let running = Running::start().await;
    let api = widgets(&running.cluster, widget_schema()).await;
    let owner = api.create(&post(), &widget("a", json!({"size": 3}))).await.unwrap();
    let maps = maps(&running.cluster);
    let dependent = json!({"metadata": {"name": "dependent", "ownerReferences": [{
        "apiVersion": "example.com/v1", "kind": "Widget", "name": "a", "uid": owner.metadata.uid,
    }]}});
    let dependent: ConfigMap = maps.create(&post(), &from(dependent)).await.unwrap();
    let definitions: Api<CustomResourceDefinition> = Api::all(running.cluster.client());
    definitions.delete("widgets.example.com", &DeleteParams::default()).await.unwrap();
    assert!(definitions.get_opt("widgets.example.com").await.unwrap().is_none());
    assert_eq!(status(api.get("a").await.unwrap_err()).code, 404);
    let gone = conditions::is_deleted(dependent.metadata.uid.as_deref().unwrap());
    await_condition(maps, "dependent", gone).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_malformed_definition_is_refused_with_the_field_that_is_wrong() {
    let cluster = cluster().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.client());
    let definition = json!({
        "metadata": {"name": "wrong"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true}],
        },
    });
    let refused = status(definitions.create(&post(), &from(definition)).await.unwrap_err());
    assert_eq!(refused.code, 422);
    for part in [
        "metadata.name: Invalid value: \"wrong\": must be spec.names.plural+\".\"+spec.group",
        "spec.versions[0].schema.openAPIV3Schema: Required value",
    ] {
        assert!(refused.message.contains(part), "{}", refused.message);
    }
}

#[tokio::test]
async fn deployments_are_checked_as_clients_expect() {
    let cluster = cluster().await;
    let api: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    let deployment = |selector: &str, label: &str| -> Deployment {
        from(json!({"metadata": {"name": "web"}, "spec": {
            "selector": {"matchLabels": {"app": selector}},
            "template": {"metadata": {"labels": {"app": label}}, "spec": {"containers": [{"name": "a", "image": "b"}]}},
        }}))
    };
    let refused = status(api.create(&post(), &deployment("web", "other")).await.unwrap_err());
    assert_eq!(
        refused.message,
        "Deployment.apps \"web\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: \
         `selector` does not match template `labels`"
    );
    let made = api.create(&post(), &deployment("web", "web")).await.unwrap();
    assert_eq!(made.spec.as_ref().unwrap().replicas, Some(1));
    let mut changed = made;
    changed.spec.as_mut().unwrap().selector.match_labels =
        Some([("app".to_owned(), "new".to_owned())].into());
    let labels = Some([("app".to_owned(), "new".to_owned())].into());
    changed.spec.as_mut().unwrap().template.metadata.as_mut().unwrap().labels = labels;
    let refused = status(api.replace("web", &post(), &changed).await.unwrap_err());
    assert!(refused.message.contains("spec.selector: Invalid value"), "{}", refused.message);
    assert!(refused.message.ends_with("field is immutable"), "{}", refused.message);
}
