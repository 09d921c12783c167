//! Objects to plans and reports to statuses, on a Kubernetes API in process, with agents that are played.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use protocol::id::AgentId;
use protocol::report::{Report, UnitState};
use serde_json::{Value, json};
use support::{Hub, condition, has};

const K0RDENT: &str = "k0rdent.mirantis.com/v1beta1";

fn region(name: &str) -> AgentId {
    AgentId::Region(name.parse().unwrap())
}

#[tokio::test]
async fn the_first_cluster_travels_down_and_its_status_comes_back() {
    let hub = Hub::start().await;
    hub.apply_file("deploy/examples/first-cluster.yaml").await;
    let eu = region("eu");
    hub.link(&eu, true);
    let units = hub.plan(&eu, |units| units.len() == 1).await;
    assert_eq!(units[0].to_string(), "default/shop-1:default/shop-1");
    let plan = hub.plans.get(&eu).unwrap();
    let body = plan.content.body();
    let kinds: Vec<_> = body.units[0].objects.iter().map(|object| object.key.kind.as_str()).collect();
    assert!(kinds.contains(&"Cluster") && kinds.contains(&"HostedControlPlane"), "{kinds:?}");
    let cluster = body.units[0].objects.iter().find(|object| object.key.kind == "Cluster").unwrap();
    let content: serde_json::Value =
        serde_json::from_slice(&hub.plans.blob(&cluster.digest).unwrap()).unwrap();
    assert_eq!(content["metadata"]["labels"]["helm.toolkit.fluxcd.io/name"], "shop-1");
    assert_eq!(content["metadata"]["labels"]["env"], "demo");

    hub.carry_out(&eu, UnitState::Deployed);
    let cluster = json!({"clusterDeployment": {"namespace": "default", "name": "shop-1"}});
    let edge = hub.enrol("shop-1", "default", "eu", 1, cluster, json!({})).await;
    let units = hub.plan(&edge, |units| units.len() == 2).await;
    assert_eq!(units[0].set_name, "shop-1");
    assert_eq!(units[1].name, "banner");
    hub.until("ServiceSet", "default", "shop-1", |set| set["spec"]["cluster"] == "shop-1").await;
    hub.link(&edge, true);
    hub.carry_out(&edge, UnitState::Deployed);

    let set = hub.until("ServiceSet", "default", "shop-1", |set| set["status"]["deployed"] == true).await;
    assert_eq!(set["metadata"]["labels"]["ksm.k0rdent.mirantis.com/adapter"], "kcm-controller-manager");
    assert_eq!(set["metadata"]["ownerReferences"][0]["kind"], "ClusterDeployment");
    assert_eq!(set["status"]["services"][0]["state"], "Deployed");
    let deployment = hub.until("ClusterDeployment", "default", "shop-1", |it| has(it, "Ready", "True")).await;
    assert_eq!(condition(&deployment, "ServicesInReadyState")["message"], "2/2");
    assert_eq!(condition(&deployment, "TemplateReady")["message"], "Template is valid");
    assert_eq!(deployment["status"]["region"], "eu");
    assert_eq!(deployment["metadata"]["finalizers"][0], "k0rdent.mirantis.com/cluster-deployment");
    let service = hub.until("MultiClusterService", "", "banner", |it| has(it, "Ready", "True")).await;
    assert_eq!(condition(&service, "ClusterInReadyState")["message"], "1/1");
    assert_eq!(service["status"]["matchingClusters"][0]["name"], "shop-1");
    let edge = hub.until("Edge", "default", "shop-1", |it| has(it, "Ready", "True")).await;
    assert_eq!(edge["status"]["services"], json!({"ready": 2, "total": 2}));
    hub.until("Region", "", "eu", |it| has(it, "Ready", "True")).await;
    hub.until("ServiceTemplate", "default", "web-0-1-0", |it| it["status"]["valid"] == true).await;
    hub.until("ClusterTemplate", "default", "embedded-cluster-0-1-0", |it| it["status"]["valid"] == true)
        .await;
    hub.until("Credential", "default", "embedded-eu", |it| it["status"]["ready"] == true).await;
}

#[tokio::test]
async fn deletion_waits_for_the_region_and_says_since_when() {
    let hub = Hub::start().await;
    hub.apply_file("deploy/examples/first-cluster.yaml").await;
    let eu = region("eu");
    hub.link(&eu, true);
    hub.plan(&eu, |units| units.len() == 1).await;
    hub.carry_out(&eu, UnitState::Deployed);
    hub.until("ClusterDeployment", "default", "shop-1", |it| has(it, "HelmReleaseReady", "True")).await;
    let cluster = json!({"clusterDeployment": {"namespace": "default", "name": "shop-1"}});
    hub.enrol("shop-1", "default", "eu", 1, cluster, json!({})).await;
    hub.link(&eu, false);
    hub.delete("k0rdent.mirantis.com/v1beta1", "ClusterDeployment", "default", "shop-1").await;
    let deployment =
        hub.until("ClusterDeployment", "default", "shop-1", |it| has(it, "Deleting", "True")).await;
    assert_eq!(condition(&deployment, "Deleting")["reason"], "WaitingForHelmReleaseDeletion");
    let message = condition(&deployment, "Deleting")["message"].as_str().unwrap();
    assert_eq!(message, "waiting for region eu since 2023-11-14T22:13:20Z");
    // The plan without the cluster is there for the region to find, and nothing else waits.
    hub.plan(&eu, <[_]>::is_empty).await;
    hub.link(&eu, true);
    hub.carry_out(&eu, UnitState::Deployed);
    hub.until_gone("ClusterDeployment", "default", "shop-1").await;
    hub.until_gone("Edge", "default", "shop-1").await;
    hub.until_gone("ServiceSet", "default", "shop-1").await;
}

#[tokio::test]
async fn a_hold_of_an_edge_travels_in_its_plan() {
    let hub = Hub::start().await;
    let hold = json!({"reason": "stocktaking", "until": "2999-01-01T00:00:00Z"});
    let edge = hub.enrol("store-1", "kcm-system", "eu", 7, json!({"hold": hold}), json!({})).await;
    hub.link(&edge, true);
    hub.plan(&edge, <[_]>::is_empty).await;
    let plan = hub.plans.get(&edge).unwrap();
    let told = plan.content.body().settings[protocol::policy::HOLD].parse::<serde_json::Value>().unwrap();
    assert_eq!(told, hold);
}

#[tokio::test]
async fn an_enrolled_edge_gets_services_by_its_labels_and_loses_them_with_the_labels() {
    let hub = Hub::start().await;
    hub.apply_file("deploy/examples/enrolled-edges.yaml").await;
    hub.link(&region("eu"), true);
    let edge = hub.enrol("store-12", "kcm-system", "eu", 7, json!({}), json!({"site": "store"})).await;
    let units = hub.plan(&edge, |units| units.len() == 1).await;
    let set = units[0].set_name.clone();
    assert!(set.starts_with("store-12-"), "{set}");
    let plan = hub.plans.get(&edge).unwrap();
    let prices = plan.content.body().settings["prices"].parse::<serde_json::Value>().unwrap();
    assert_eq!(prices["default"]["cpu"], 0.035);
    let texts: Vec<_> = plan.content.body().digests().filter_map(|digest| hub.plans.blob(&digest)).collect();
    assert!(texts.iter().any(|text| String::from_utf8_lossy(text).contains("Store store-12")));
    hub.link(&edge, true);
    hub.carry_out(&edge, UnitState::Deployed);
    hub.until("ServiceSet", "kcm-system", &set, |it| it["status"]["deployed"] == true).await;
    hub.until("Edge", "kcm-system", "store-12", |it| it["status"]["services"]["ready"] == 1).await;

    let bare = json!({
        "apiVersion": "skein.dev/v1alpha1", "kind": "Edge",
        "metadata": {"name": "store-12", "namespace": "kcm-system", "labels": {"site": null}},
    });
    let patch = kube::api::Patch::Merge(&bare);
    hub.api(&bare).patch("store-12", &kube::api::PatchParams::default(), &patch).await.unwrap();
    hub.plan(&edge, <[_]>::is_empty).await;
    // What was there is gone before the plan counts as applied.
    let gone = Report { sequence: 2, full: true, ..Report::default() };
    hub.observed.report(&edge, gone, 1_700_000_000_001);
    hub.until("ServiceSet", "kcm-system", &set, |it| {
        it["status"]["services"].as_array().is_none_or(Vec::is_empty)
    })
    .await;
    hub.carry_out(&edge, UnitState::Deployed);
    hub.until_gone("ServiceSet", "kcm-system", &set).await;
}

#[tokio::test]
async fn a_hub_that_restarts_without_its_charts_uninstalls_nothing() {
    let mut hub = Hub::start().await;
    hub.apply_file("deploy/examples/enrolled-edges.yaml").await;
    hub.link(&region("eu"), true);
    let edge = hub.enrol("store-12", "kcm-system", "eu", 7, json!({}), json!({"site": "store"})).await;
    let set = hub.plan(&edge, |units| units.len() == 1).await[0].set_name.clone();
    hub.link(&edge, true);
    hub.carry_out(&edge, UnitState::Deployed);
    hub.until("ServiceSet", "kcm-system", &set, |it| it["status"]["deployed"] == true).await;
    // Neither the repository nor the cached archives are there any more.
    std::fs::remove_dir_all(hub.state.path().join("charts")).unwrap();
    hub.apply(json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
        "metadata": {"name": "skein-charts", "namespace": "kcm-system"}, "spec": {"url": "http://127.0.0.1:9/charts/"},
    }))
    .await;
    hub.restart().await;
    let object = hub
        .until("Edge", "kcm-system", "store-12", |it| {
            condition(it, "UpToDate")["message"].as_str().is_some_and(|text| text.contains("held back"))
        })
        .await;
    assert!(hub.plans.get(&edge).is_none(), "{object:#?}");
}

#[tokio::test]
async fn what_is_missing_is_named_in_the_condition_that_k0rdent_has_for_it() {
    let hub = Hub::start().await;
    hub.apply(json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ClusterDeployment",
        "metadata": {"name": "lost", "namespace": "default"},
        "spec": {
            "template": "nowhere", "credential": "nobody",
            "serviceSpec": {"services": [{"name": "web", "namespace": "web", "template": "none"}]},
        },
    }))
    .await;
    let lost = hub.until("ClusterDeployment", "default", "lost", |it| has(it, "Ready", "False")).await;
    for (type_, text) in [
        ("TemplateReady", "ClusterTemplate.k0rdent.mirantis.com \"nowhere\" not found"),
        (
            "CredentialReady",
            "failed to get Credential default/nobody referred in the ClusterDeployment default/lost",
        ),
        ("ServicesReferencesValidation", "some services have invalid templates"),
    ] {
        let message = condition(&lost, type_)["message"].as_str().unwrap_or_default();
        assert!(has(&lost, type_, "False") && message.contains(text), "{type_}: {message}");
    }
}

/// A ServiceTemplate of one manifest in both namespaces that matter to a MultiClusterService.
async fn template(hub: &Hub, name: &str, manifest: &str) {
    for namespace in ["kcm-system", "default"] {
        hub.apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
            "data": {"all.yaml": manifest},
        }))
        .await;
        hub.apply(json!({
            "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": name, "namespace": namespace},
            "spec": {"resources": {
                "deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": name},
            }},
        }))
        .await;
    }
}

fn manifest(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}).to_string()
}

async fn service(hub: &Hub, name: &str, template: &str, depends_on: &[&str]) {
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": name},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}}, "dependsOn": depends_on,
            "serviceSpec": {"services": [{"name": name, "namespace": "default", "template": template}]},
        },
    }))
    .await;
}

#[tokio::test]
async fn a_service_that_others_depend_on_is_kept_until_they_are_gone() {
    let hub = Hub::start().await;
    template(&hub, "plain", &manifest("plain")).await;
    service(&hub, "base", "plain", &[]).await;
    service(&hub, "top", "plain", &["base"]).await;
    service(&hub, "lost", "plain", &["nobody"]).await;
    hub.link(&region("eu"), true);
    let edge = hub.enrol("store-1", "kcm-system", "eu", 3, json!({}), json!({"site": "store"})).await;
    hub.plan(&edge, |units| units.len() == 3).await;
    let lost = hub
        .until("MultiClusterService", "", "lost", |it| {
            has(it, "MultiClusterServiceDependencyValidation", "False")
        })
        .await;
    assert_eq!(
        condition(&lost, "MultiClusterServiceDependencyValidation")["message"],
        "failed MCS dependency validation: dependency nobody of lost is not defined"
    );
    let top = hub
        .until("MultiClusterService", "", "top", |it| has(it, "MultiClusterServiceDependencyReady", "False"))
        .await;
    assert_eq!(top["status"]["matchingClusters"][0]["reason"], "MultiClusterServiceDependencyNotReady");
    hub.link(&edge, true);
    hub.carry_out(&edge, UnitState::Deployed);
    hub.until("MultiClusterService", "", "top", |it| has(it, "Ready", "True")).await;

    hub.delete(K0RDENT, "MultiClusterService", "", "base").await;
    let base = hub.until("MultiClusterService", "", "base", |it| has(it, "Deleting", "True")).await;
    assert_eq!(
        condition(&base, "Deleting")["message"],
        "failed to delete MultiClusterService base because 1 other MultiClusterServices depend on it"
    );
    assert_eq!(hub.plan(&edge, |units| !units.is_empty()).await.len(), 3);
    hub.delete(K0RDENT, "MultiClusterService", "", "top").await;
    hub.plan(&edge, |units| units.len() == 1).await;
    hub.carry_out(&edge, UnitState::Deployed);
    hub.until_gone("MultiClusterService", "", "top").await;
    hub.until_gone("MultiClusterService", "", "base").await;
}

#[tokio::test]
async fn a_set_that_is_gone_from_its_edge_waits_for_no_other_service() {
    let hub = Hub::start().await;
    template(&hub, "plain", &manifest("plain")).await;
    service(&hub, "slow", "plain", &[]).await;
    service(&hub, "leaving", "plain", &[]).await;
    hub.link(&region("eu"), true);
    let edge = hub.enrol("store-1", "kcm-system", "eu", 3, json!({}), json!({"site": "store"})).await;
    let units = hub.plan(&edge, |units| units.len() == 2).await;
    hub.link(&edge, true);
    hub.report(&edge, UnitState::Provisioning, None);
    let set = &units.iter().find(|unit| unit.name == "leaving").unwrap().set_name;
    hub.until("ServiceSet", "kcm-system", set, |it| it["status"]["services"][0]["state"] == "Provisioning")
        .await;

    hub.delete(K0RDENT, "MultiClusterService", "", "leaving").await;
    hub.plan(&edge, |units| units.len() == 1).await;
    let deleting = |it: &serde_json::Value| it["status"]["services"][0]["state"] == "Deleting";
    hub.until("ServiceSet", "kcm-system", set, deleting).await;
    hub.report(&edge, UnitState::Provisioning, None);
    hub.until_gone("ServiceSet", "kcm-system", set).await;
    hub.until_gone("MultiClusterService", "", "leaving").await;
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_fails_its_service_and_leaves_what_was_there() {
    let hub = Hub::start().await;
    template(&hub, "plain", &manifest("plain")).await;
    service(&hub, "base", "plain", &[]).await;
    hub.link(&region("eu"), true);
    let edge = hub.enrol("store-1", "kcm-system", "eu", 3, json!({}), json!({"site": "store"})).await;
    let set = hub.plan(&edge, |units| units.len() == 1).await[0].set_name.clone();
    hub.link(&edge, true);
    hub.carry_out(&edge, UnitState::Deployed);
    hub.until("ServiceSet", "kcm-system", &set, |it| it["status"]["deployed"] == true).await;
    let before = hub.plans.get(&edge).unwrap().head;
    hub.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "plain", "namespace": "kcm-system"},
        "data": {"all.yaml": "kind: [unclosed"},
    }))
    .await;
    let failed = hub
        .until("ServiceSet", "kcm-system", &set, |it| it["status"]["services"][0]["state"] == "Failed")
        .await;
    let message = failed["status"]["services"][0]["failureMessage"].as_str().unwrap();
    let expected = "ConfigMap kcm-system/plain: all.yaml: document 1: failed to read the YAML";
    assert!(message.starts_with(expected), "{message}");
    assert_eq!(condition(&failed, "ServiceSetProfile")["reason"], "ServiceSetHelmChartsBuildFailed");
    assert_eq!(hub.plans.get(&edge).unwrap().head, before);
}

#[tokio::test]
async fn a_paused_set_stays_what_it_is() {
    let hub = Hub::start().await;
    template(&hub, "plain", &manifest("plain")).await;
    service(&hub, "base", "plain", &[]).await;
    hub.link(&region("eu"), true);
    let edge = hub.enrol("store-1", "kcm-system", "eu", 3, json!({}), json!({"site": "store"})).await;
    let set = hub.plan(&edge, |units| units.len() == 1).await[0].set_name.clone();
    hub.until("ServiceSet", "kcm-system", &set, |it| it["status"]["services"][0]["name"] == "base").await;
    let annotated = |value: serde_json::Value| {
        json!({
            "apiVersion": K0RDENT, "kind": "ServiceSet",
            "metadata": {
                "name": set, "namespace": "kcm-system",
                "annotations": {"k0rdent.mirantis.com/service-set-paused": value},
            },
        })
    };
    let pause = annotated(json!("true"));
    let merge = |object: serde_json::Value| kube::api::Patch::Merge(object);
    let parameters = kube::api::PatchParams::default();
    hub.api(&pause).patch(&set, &parameters, &merge(pause.clone())).await.unwrap();
    hub.until("ServiceSet", "kcm-system", &set, |it| has(it, "Paused", "True")).await;
    let head = hub.plans.get(&edge).unwrap().head;
    template(&hub, "other", &manifest("other")).await;
    service(&hub, "base", "other", &[]).await;
    hub.until("MultiClusterService", "", "base", |it| it["status"]["observedGeneration"] == 2).await;
    assert_eq!(hub.plans.get(&edge).unwrap().head, head);
    let go_on = annotated(serde_json::Value::Null);
    hub.api(&go_on).patch(&set, &parameters, &merge(go_on.clone())).await.unwrap();
    let mut changes = hub.plans.subscribe();
    while hub.plans.get(&edge).unwrap().content.body().units[0].template != "other" {
        tokio::time::timeout(support::PATIENCE, changes.next()).await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_whose_credential_is_gone_stays_in_its_region_also_after_a_restart() {
    let mut hub = Hub::start().await;
    hub.apply_file("deploy/examples/first-cluster.yaml").await;
    let eu = region("eu");
    hub.link(&eu, true);
    hub.plan(&eu, |units| units.len() == 1).await;
    hub.carry_out(&eu, UnitState::Deployed);
    hub.until("ClusterDeployment", "default", "shop-1", |it| {
        has(it, "HelmReleaseReady", "True") && it["status"]["region"] == "eu"
    })
    .await;
    hub.delete(K0RDENT, "Credential", "default", "embedded-eu").await;
    hub.until("ClusterDeployment", "default", "shop-1", |it| has(it, "CredentialReady", "False")).await;
    assert_eq!(hub.plans.get(&eu).unwrap().content.body().units.len(), 1);
    hub.restart().await;
    let object = hub
        .until("Region", "", "eu", |it| {
            it["status"]["agent"]["message"].as_str().is_some_and(|text| text.contains("held back"))
        })
        .await;
    assert!(hub.plans.get(&eu).is_none(), "{object:#?}");
}

#[tokio::test]
async fn a_service_for_no_cluster_yet_is_judged_as_at_the_door_and_again_when_its_template_comes() {
    let hub = Hub::start().await;
    let asked = |name: &str| {
        json!({
            "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "early"},
            "spec": {
                "clusterSelector": {"matchLabels": {"site": "nowhere"}},
                "serviceSpec": {"services": [
                    {"name": name, "namespace": "shop", "template": "late", "templateChain": "late"},
                ]},
            },
        })
    };
    let says = |it: &Value, type_: &str, part: &str| {
        condition(it, type_)["message"].as_str().is_some_and(|text| text.contains(part))
    };
    hub.apply(asked("No_Label")).await;
    hub.until("MultiClusterService", "", "early", |it| {
        says(it, "ServicesDependencyValidation", "service name \"No_Label\" is not a DNS-1123 label")
            && says(
                it,
                "ServicesReferencesValidation",
                "ServiceTemplate.k0rdent.mirantis.com \"late\" not found",
            )
            && says(
                it,
                "ServicesReferencesValidation",
                "ServiceTemplateChain.k0rdent.mirantis.com \"late\" not found",
            )
    })
    .await;
    hub.apply(asked("fine")).await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": "late", "namespace": "kcm-system"},
        "spec": {"helm": {"chartSpec": {"chart": "web", "version": "0.1.0", "interval": "10m",
            "sourceRef": {"kind": "HelmRepository", "name": "skein-charts"}}}},
    }))
    .await;
    let chain = |supported: &str| {
        json!({
            "apiVersion": K0RDENT, "kind": "ServiceTemplateChain",
            "metadata": {"name": "late", "namespace": "kcm-system"},
            "spec": {"supportedTemplates": [{"name": supported}]},
        })
    };
    hub.apply(chain("other")).await;
    hub.until("MultiClusterService", "", "early", |it| {
        says(it, "ServicesReferencesValidation", "ServiceTemplateChain kcm-system/late")
            && has(it, "ServicesDependencyValidation", "True")
    })
    .await;
    hub.delete(K0RDENT, "ServiceTemplateChain", "kcm-system", "late").await;
    hub.apply(chain("late")).await;
    hub.until("MultiClusterService", "", "early", |it| has(it, "ServicesReferencesValidation", "True")).await;
}
