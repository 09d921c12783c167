//! Serving an unmodified k0rdent: a stand-in plays KCM's part as it was observed live, with KCM's own definitions (so
//! whatever only our types know is dropped by the API server), and our hub is the provider.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]

mod support;

use hub::state_management::Serving;
use kube::api::{Patch, PatchParams, PostParams};
use protocol::id::AgentId;
use protocol::report::UnitState;
use serde_json::{Value, json};
use support::{Hub, K0RDENT, Setting, condition, has};

/// KCM as it treats a foreign provider.
struct Kcm {
    hub: Hub,
}

impl Kcm {
    /// KCM's definitions, one ClusterDeployment with a template, and a hub that serves.
    async fn start() -> Self {
        let serving = Some(Serving { provider: "skein".to_owned() });
        let hub = Hub::with(Setting { serving, ..Setting::default() }).await;
        hub.repository("default", "skein-charts").await;
        let kcm = Self { hub };
        kcm.cluster("shop-1").await;
        for namespace in ["default", "kcm-system"] {
            kcm.hub
                .apply(json!({
                    "apiVersion": K0RDENT, "kind": "ServiceTemplate",
                    "metadata": {"name": "web-0-1-0", "namespace": namespace},
                    "spec": {"helm": {"chartSpec": {
                        "chart": "web", "version": "0.1.0", "interval": "10m",
                        "sourceRef": {"kind": "HelmRepository", "name": "skein-charts"},
                    }}},
                }))
                .await;
        }
        kcm
    }

    async fn cluster(&self, name: &str) {
        self.hub
            .apply(json!({
                "apiVersion": K0RDENT, "kind": "ClusterDeployment",
                "metadata": {"name": name, "namespace": "default", "labels": {"site": "store"}},
                "spec": {"template": "adopted-cluster-1-0-2", "credential": "adopted"},
            }))
            .await;
    }

    /// What KCM does with a provider, every 10 s: asks adapter and provisioners, and writes the four conditions.
    async fn judge_provider(&self) -> Value {
        let smp = self.hub.until("StateManagementProvider", "", "skein", |_| true).await;
        for part in [&smp["spec"]["adapter"], &smp["spec"]["provisioner"][0]] {
            assert_eq!(part["readinessRule"], "self.data.ready == \"true\"");
            let text = |field: &str| part[field].as_str().unwrap().to_owned();
            let (kind, namespace, name) = (text("kind"), text("namespace"), text("name"));
            self.hub.until(&kind, &namespace, &name, |object| object["data"]["ready"] == "true").await;
        }
        assert_eq!(smp["spec"]["provisionerCRDs"][0]["group"], "skein.dev");
        let types = ["RBACReady", "AdapterReady", "ProvisionerReady", "ProvisionerCRDsReady"];
        let conditions: Vec<_> = types
            .iter()
            .map(|type_| {
                json!({
                    "type": type_, "status": "True", "reason": "Succeeded", "message": "",
                    "lastTransitionTime": "2026-11-21T00:00:00Z",
                })
            })
            .collect();
        let status = json!({"status": {"ready": true, "conditions": conditions}});
        let api = self.hub.api(&json!({"apiVersion": K0RDENT, "kind": "StateManagementProvider"}));
        api.patch_status("skein", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        smp
    }

    /// A set as KCM writes it: the selector's labels, and what is to be there now.
    async fn set(&self, (namespace, name): (&str, &str), labels: &Value, spec: Value) {
        let object = json!({
            "apiVersion": K0RDENT, "kind": "ServiceSet",
            "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec,
        });
        let api = self.hub.api(&object);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    async fn patch(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        let object = json!({"apiVersion": K0RDENT, "kind": kind, "metadata": {"namespace": namespace}});
        let api = self.hub.api(&object);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn until_set(&self, holds: impl Fn(&Value) -> bool + Send + Sync) -> Value {
        self.hub.until("ServiceSet", "default", "shop-1", holds).await
    }

    async fn enrol(&self) -> AgentId {
        let cluster = json!({"clusterDeployment": {"namespace": "default", "name": "shop-1"}});
        let edge = self.hub.enrol("shop-1", "default", "local", 1, cluster, json!({})).await;
        self.hub.link(&edge, true);
        edge
    }
}

fn ours() -> Value {
    json!({
        "ksm.k0rdent.mirantis.com/adapter": "skein", "k0rdent.mirantis.com/managed": "true",
        "k0rdent.mirantis.com/component": "kcm",
    })
}

fn web(values: &str) -> Value {
    json!({
        "cluster": "shop-1", "provider": {"name": "skein", "config": {"priority": 100}},
        "services": [{
            "name": "web", "namespace": "shop", "template": "web-0-1-0", "version": "0.1.0", "values": values,
        }],
    })
}

/// How KCM counts a set: what is deployed at the version that it wants.
fn counted(set: &Value) -> (usize, usize) {
    let wanted = set["spec"]["services"].as_array().unwrap();
    let told = set["status"]["services"].as_array().cloned().unwrap_or_default();
    let deployed = wanted.iter().filter(|service| {
        told.iter().any(|one| {
            ["name", "namespace", "version", "template"].iter().all(|field| one[*field] == service[*field])
                && one["state"] == "Deployed"
        })
    });
    (deployed.count(), wanted.len())
}

fn finalizers(set: &Value) -> Vec<&str> {
    set["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn a_set_of_an_unmodified_k0rdent_is_carried_out_told_and_let_go() {
    let mut kcm = Kcm::start().await;
    let smp = kcm.judge_provider().await;
    assert_eq!(smp["spec"]["selector"]["matchLabels"]["ksm.k0rdent.mirantis.com/adapter"], "skein");
    kcm.set(("default", "shop-1"), &ours(), web("replicaCount: 1")).await;
    let waits = |set: &Value| {
        set["status"]["services"][0]["failureMessage"].as_str().is_some_and(|text| {
            text.contains("skein token create --region local --cluster-deployment default/shop-1")
        })
    };
    let told = kcm.until_set(waits).await;
    assert_eq!((told["status"]["services"][0]["state"].as_str(), counted(&told)), (Some("Pending"), (0, 1)));

    let edge = kcm.enrol().await;
    kcm.hub.plan(&edge, |units| units.len() == 1).await;
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    let told = kcm.until_set(|set| set["status"]["deployed"] == true).await;
    assert_eq!((counted(&told), finalizers(&told)), ((1, 1), vec!["skein.dev/service-set"]));
    assert_eq!(told["status"]["provider"], json!({"ready": true}));
    assert_eq!(told["status"]["cluster"]["name"], "shop-1");
    assert_eq!(told["status"]["services"][0]["type"], "Helm");
    assert!(has(&told, "ServicesInReadyState", "True") && has(&told, "ServiceSetProfile", "True"));

    // Values are edited; the hub is killed before the edge has carried them out.
    kcm.patch("ServiceSet", "default", "shop-1", json!({"spec": web("replicaCount: 2")})).await;
    let head = kcm.hub.plans.get(&edge).unwrap().head;
    kcm.until_set(|set| set["status"]["deployed"] == false).await;
    assert!(kcm.hub.plans.get(&edge).unwrap().head.generation > head.generation);
    kcm.hub.restart().await;
    kcm.hub.plan(&edge, |units| units.len() == 1).await;
    kcm.hub.link(&edge, true);
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    kcm.until_set(|set| counted(set) == (1, 1) && set["status"]["deployed"] == true).await;

    // It is away: what is not carried out waits for it, and is not failed.
    kcm.hub.link(&AgentId::Region("local".parse().unwrap()), true);
    kcm.hub.link(&edge, false);
    kcm.patch("ServiceSet", "default", "shop-1", json!({"spec": web("replicaCount: 3")})).await;
    let away = kcm
        .until_set(|set| {
            let message = set["status"]["services"][0]["failureMessage"].as_str().unwrap_or_default();
            message.contains("waiting for the agent since")
        })
        .await;
    assert_eq!(away["status"]["services"][0]["state"], "Provisioning");
    kcm.hub.link(&edge, true);
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    kcm.until_set(|set| set["status"]["deployed"] == true).await;

    // It is deleted: first the services leave, then it goes.
    kcm.hub.delete(K0RDENT, "ServiceSet", "default", "shop-1").await;
    kcm.hub.plan(&edge, <[_]>::is_empty).await;
    let leaving = kcm.until_set(|set| set["status"]["services"][0]["state"] == "Deleting").await;
    assert_eq!(finalizers(&leaving), ["skein.dev/service-set"]);
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    kcm.hub.until_gone("ServiceSet", "default", "shop-1").await;
}

#[tokio::test]
async fn what_belongs_to_k0rdent_is_not_touched() {
    let kcm = Kcm::start().await;
    let before = kcm.hub.until("ClusterDeployment", "default", "shop-1", |_| true).await;
    kcm.hub
        .apply(json!({
            "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "all"},
            "spec": {
                "clusterSelector": {"matchLabels": {"site": "store"}},
                "serviceSpec": {"services": [{"name": "web", "namespace": "shop", "template": "web-0-1-0"}]},
            },
        }))
        .await;
    let service = kcm.hub.until("MultiClusterService", "", "all", |_| true).await;
    let template = kcm.hub.until("ServiceTemplate", "default", "web-0-1-0", |_| true).await;
    // Three sets: of Sveltos, of another provider with our labels, and ours.
    let theirs = json!({"ksm.k0rdent.mirantis.com/adapter": "kcm-controller-manager"});
    let foreign = |name: &str| {
        let mut spec = web("replicaCount: 1");
        spec["provider"]["name"] = json!(name);
        spec
    };
    kcm.set(("default", "a-theirs"), &theirs, foreign("ksm-projectsveltos")).await;
    kcm.set(("default", "b-mixed"), &ours(), foreign("ksm-projectsveltos")).await;
    kcm.set(("default", "shop-1"), &ours(), web("replicaCount: 1")).await;
    let edge = kcm.enrol().await;
    let units = kcm.hub.plan(&edge, |units| !units.is_empty()).await;
    assert_eq!(units.iter().map(|unit| unit.set_name.as_str()).collect::<Vec<_>>(), ["shop-1"]);
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    kcm.until_set(|set| set["status"]["deployed"] == true).await;
    for name in ["a-theirs", "b-mixed"] {
        let set = kcm.hub.until("ServiceSet", "default", name, |_| true).await;
        assert!(finalizers(&set).is_empty() && set["status"].is_null(), "{set:#}");
    }
    for (kind, namespace, name, before) in [
        ("ClusterDeployment", "default", "shop-1", &before),
        ("MultiClusterService", "", "all", &service),
        ("ServiceTemplate", "default", "web-0-1-0", &template),
    ] {
        let now = kcm.hub.until(kind, namespace, name, |_| true).await;
        assert_eq!(now["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"], "{now:#}");
    }

    // A set that is moved to another provider leaves the edge, and our finalizer leaves the set.
    kcm.patch("ServiceSet", "default", "shop-1", json!({"metadata": {"labels": theirs}})).await;
    kcm.hub.plan(&edge, <[_]>::is_empty).await;
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    kcm.until_set(|set| finalizers(set).is_empty()).await;
}

#[tokio::test]
async fn the_provider_comes_back_when_it_is_overwritten_and_pauses_when_it_is_suspended() {
    let kcm = Kcm::start().await;
    kcm.judge_provider().await;
    kcm.patch("StateManagementProvider", "", "skein", json!({"spec": {"provisioner": []}})).await;
    let whole = |smp: &Value| smp["spec"]["provisioner"].as_array().is_some_and(|list| list.len() == 1);
    kcm.hub.until("StateManagementProvider", "", "skein", whole).await;
    let said = json!({"data": {"ready": "false"}});
    let asked = kcm.hub.api(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "kcm-system"},
    }));
    asked.patch("skein-state-management", &PatchParams::default(), &Patch::Merge(said)).await.unwrap();
    kcm.judge_provider().await;

    kcm.set(("default", "shop-1"), &ours(), web("replicaCount: 1")).await;
    let edge = kcm.enrol().await;
    kcm.hub.plan(&edge, |units| units.len() == 1).await;
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    kcm.until_set(|set| set["status"]["deployed"] == true).await;
    let head = kcm.hub.plans.get(&edge).unwrap().head;
    kcm.patch("StateManagementProvider", "", "skein", json!({"spec": {"suspend": true}})).await;
    kcm.until_set(|set| has(set, "Paused", "True") && set["status"]["provider"]["suspended"] == true).await;
    kcm.patch("ServiceSet", "default", "shop-1", json!({"spec": web("replicaCount: 2")})).await;
    kcm.patch("StateManagementProvider", "", "skein", json!({"spec": {"suspend": false}})).await;
    let resumed = kcm.until_set(|set| has(set, "Paused", "False") && set["status"]["deployed"] == false);
    resumed.await;
    assert!(kcm.hub.plans.get(&edge).unwrap().head.generation > head.generation);
}

#[tokio::test]
async fn a_set_for_the_management_cluster_waits_for_the_edge_that_says_it_is_there() {
    let kcm = Kcm::start().await;
    let spec = json!({
        "cluster": "", "multiClusterService": "own", "provider": {"name": "skein", "selfManagement": true},
        "services": [{"name": "web", "namespace": "shop", "template": "web-0-1-0", "version": "0.1.0"}],
    });
    kcm.set(("kcm-system", "management-1234abcd"), &ours(), spec).await;
    let until =
        |holds: fn(&Value) -> bool| kcm.hub.until("ServiceSet", "kcm-system", "management-1234abcd", holds);
    let waits = until(|set| !condition(set, "ServiceSetProfile").is_null()).await;
    let message = condition(&waits, "ServiceSetProfile")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("--label k0rdent.mirantis.com/management-cluster=true"), "{message}");
    let label = json!({"k0rdent.mirantis.com/management-cluster": "true"});
    let edge = kcm.hub.enrol("hub-edge", "kcm-system", "local", 5, json!({}), label).await;
    kcm.hub.link(&edge, true);
    kcm.hub.plan(&edge, |units| units.len() == 1).await;
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    let told = until(|set| set["status"]["deployed"] == true).await;
    assert_eq!(
        (told["status"]["cluster"]["kind"].as_str(), counted(&told)),
        (Some("SveltosCluster"), (1, 1))
    );
    // Without the label it is nobody's any more.
    let unlabelled = json!({"metadata": {"labels": {"k0rdent.mirantis.com/management-cluster": null}}});
    let api = kcm.hub.api(&json!({
        "apiVersion": "skein.dev/v1alpha1", "kind": "Edge", "metadata": {"namespace": "kcm-system"},
    }));
    api.patch("hub-edge", &PatchParams::default(), &Patch::Merge(unlabelled)).await.unwrap();
    kcm.hub.plan(&edge, <[_]>::is_empty).await;
    until(|set| set["status"]["deployed"] == false).await;
}

#[tokio::test]
async fn a_cluster_that_goes_is_not_waited_for_when_nobody_can_be_heard_on_it() {
    let kcm = Kcm::start().await;
    kcm.set(("default", "shop-1"), &ours(), web("replicaCount: 1")).await;
    let edge = kcm.enrol().await;
    kcm.hub.plan(&edge, |units| units.len() == 1).await;
    kcm.hub.carry_out(&edge, UnitState::Deployed);
    kcm.until_set(|set| set["status"]["deployed"] == true).await;
    kcm.hub.link(&AgentId::Region("local".parse().unwrap()), true);
    kcm.hub.link(&edge, false);
    // KCM holds its ClusterDeployment while its sets are there.
    let hold = json!({"metadata": {"finalizers": ["k0rdent.mirantis.com/cluster-deployment"]}});
    kcm.patch("ClusterDeployment", "default", "shop-1", hold).await;
    kcm.hub.delete(K0RDENT, "ServiceSet", "default", "shop-1").await;
    let waits = kcm.until_set(|set| set["status"]["services"][0]["state"] == "Deleting").await;
    assert!(has(&waits, "ServiceSetStatusesCollected", "Unknown"), "{waits:#}");
    kcm.hub.delete(K0RDENT, "ClusterDeployment", "default", "shop-1").await;
    kcm.hub.until_gone("ServiceSet", "default", "shop-1").await;
}

#[tokio::test]
async fn our_own_services_for_the_management_cluster_wait_for_its_edge_too() {
    let hub = Hub::start().await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "ServiceTemplate",
        "metadata": {"name": "web-0-1-0", "namespace": "kcm-system"},
        "spec": {"helm": {"chartSpec": {
            "chart": "web", "version": "0.1.0",
            "sourceRef": {"kind": "HelmRepository", "name": "skein-charts"},
        }}},
    }))
    .await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "own"},
        "spec": {"serviceSpec": {
            "provider": {"selfManagement": true},
            "services": [{"name": "web", "namespace": "shop", "template": "web-0-1-0"}],
        }},
    }))
    .await;
    let waits =
        hub.until("MultiClusterService", "", "own", |own| has(own, "SelfManagementReady", "False")).await;
    assert_eq!(condition(&waits, "ClusterInReadyState")["message"], "0/1");
    let paths = &waits["status"]["servicesUpgradePaths"][0];
    assert_eq!((&paths["template"], &paths["namespace"]), (&json!("web-0-1-0"), &json!("shop")));
    let label = json!({"k0rdent.mirantis.com/management-cluster": "true"});
    let edge = hub.enrol("hub-edge", "kcm-system", "eu", 5, json!({}), label.clone()).await;
    // A second one that says so is not it.
    let other = hub.enrol("other", "kcm-system", "eu", 6, json!({}), label).await;
    hub.link(&edge, true);
    let units = hub.plan(&edge, |units| units.len() == 1).await;
    assert!(units[0].set_name.starts_with("management-") && units[0].set_namespace == "kcm-system");
    hub.carry_out(&edge, UnitState::Deployed);
    let ready = |own: &Value| condition(own, "ClusterInReadyState")["message"] == "1/1";
    let ready = hub.until("MultiClusterService", "", "own", ready).await;
    assert!(condition(&ready, "SelfManagementReady").is_null());
    let set = hub.until("ServiceSet", "kcm-system", &units[0].set_name, |_| true).await;
    assert_eq!(
        (&set["spec"]["cluster"], &set["spec"]["provider"]["selfManagement"]),
        (&json!(""), &json!(true))
    );
    assert!(hub.plans.get(&other).is_none_or(|plan| plan.content.body().units.is_empty()));

    // Switched off, the services go, and the set with them.
    let off = json!({"spec": {"serviceSpec": {"provider": {"selfManagement": false}}}});
    let api = hub.api(&json!({"apiVersion": K0RDENT, "kind": "MultiClusterService"}));
    api.patch("own", &PatchParams::default(), &Patch::Merge(off)).await.unwrap();
    hub.plan(&edge, <[_]>::is_empty).await;
    hub.carry_out(&edge, UnitState::Deployed);
    hub.until_gone("ServiceSet", "kcm-system", &units[0].set_name).await;
}
