//! Management, regions, releases, and what is in use.

use api::k0rdent::{ClusterDeployment, Credential, MultiClusterService, ProviderTemplate, Region, Release};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

use super::{Stage, cluster, object, services, text, typed};
use crate::admission::review::Operation;

/// A release with a template for AWS, and a Management that uses it.
fn installed(stage: &mut Stage) {
    let release = |name: &str, ready: bool| {
        typed::<Release>(object(
            "Release",
            name,
            &json!({
                "version": "1", "kcm": {"template": "kcm-1"}, "capi": {"template": "capi-1"},
                "providers": [{"name": "aws", "template": "aws-1"}, {"name": "azure", "template": "azure-1"}],
            }),
            &json!({"ready": ready}),
        ))
    };
    stage.others.releases = vec![release("kcm-1", true), release("kcm-2", false)];
    let template = |name: &str, providers: Value, contracts: Value| {
        typed::<ProviderTemplate>(object(
            "ProviderTemplate",
            name,
            &json!({}),
            &json!({
                "valid": true, "providers": providers, "capiContracts": contracts,
            }),
        ))
    };
    stage.others.provider_templates = vec![
        template("capi-1", json!([]), json!({"v1beta1": ""})),
        template("aws-1", json!(["infrastructure-aws"]), json!({"v1beta1": "v1beta1_v1beta2"})),
        template("aws-old", json!(["infrastructure-aws"]), json!({"v1beta1": "v1beta1"})),
        template("future", json!(["infrastructure-x"]), json!({"v1beta9": "v1"})),
        template("azure-1", json!(["bootstrap-k0sproject-k0smotron"]), json!({"v1beta1": "v1"})),
    ];
}

fn management(release: &str, providers: &Value) -> Value {
    json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "Management", "metadata": {"name": "kcm"},
        "spec": {"release": release, "providers": providers},
    })
}

#[test]
fn an_installation_keeps_what_its_clusters_need() {
    let mut stage = Stage::new();
    installed(&mut stage);
    let all = json!([{"name": "aws"}, {"name": "azure"}]);
    assert_eq!(text(&stage.create(&management("kcm-1", &all))), "");
    assert_eq!(
        text(&stage.create(&management("kcm-2", &all))),
        "spec.release: Forbidden: release \"kcm-2\" status is not ready"
    );
    assert_eq!(
        text(&stage.create(&management("gone", &all))),
        "spec.release: Forbidden: failed to get Release gone: Release.k0rdent.mirantis.com \"gone\" not found"
    );
    let update = |stage: &Stage, release: &str, providers: &Value| {
        stage.ask(Operation::Update, &management("kcm-1", &all), &management(release, providers))
    };
    assert_eq!(text(&update(&stage, "kcm-1", &json!([]))), "");
    stage.cache.put::<ClusterDeployment>(typed(cluster(&json!({}))));
    let refused = update(&stage, "kcm-1", &json!([{"name": "azure"}]));
    assert_eq!(
        text(&refused),
        "spec.providers: Forbidden: provider aws is required by at least one ClusterDeployment and cannot be removed from the Management kcm"
    );
    assert_eq!(refused.warnings, ["Some of the providers cannot be removed"]);
    let refused = update(&stage, "kcm-1", &json!([]));
    assert_eq!(
        text(&refused),
        "spec.providers: Forbidden: providers aws,azure are required by at least one ClusterDeployment and cannot be removed from the Management kcm"
    );
    let more = json!([{"name": "aws"}, {"name": "azure"}, {"name": "x", "template": "future"}]);
    let refused = update(&stage, "kcm-1", &more);
    assert_eq!(
        text(&refused),
        "the Management is invalid: core CAPI contract versions does not support v1beta9 version in the ProviderTemplate future"
    );
    assert_eq!(
        refused.warnings,
        ["The Management object has incompatible CAPI contract versions in ProviderTemplates"]
    );
    let older = json!([{"name": "aws", "template": "aws-old"}, {"name": "azure"}]);
    assert_eq!(
        text(&update(&stage, "kcm-1", &older)),
        "the Management is invalid: missing contract version v1beta2 for infrastructure-aws provider that is required by one or more ClusterDeployment objects"
    );
    assert_eq!(
        text(&update(&stage, "kcm-2", &all)),
        "spec.release: Forbidden: release \"kcm-2\" status is not ready"
    );

    let release = serde_json::to_value(&stage.others.releases[0]).unwrap();
    let release = |name: &str| {
        let mut one = release.clone();
        one["kind"] = json!("Release");
        one["metadata"]["name"] = json!(name);
        one
    };
    assert_eq!(text(&stage.delete(&release("kcm-1"))), "release kcm-1 is still in use");
    assert_eq!(text(&stage.delete(&release("kcm-0"))), "");
    let named = management("kcm-1", &json!([{"name": "aws", "template": "aws-1"}]));
    stage.others.management = Some(typed(named));
    assert_eq!(
        text(&stage.delete(&release("kcm-0"))),
        "the following ProviderTemplates associated with the Release are still in use: aws-1"
    );
    let template = |name: &str| object("ProviderTemplate", name, &json!({}), &Value::Null);
    assert_eq!(
        stage.delete(&template("aws-1")).warnings,
        ["The ProviderTemplate aws-1 cannot be removed while it is part of existing Releases: kcm-1, kcm-2"]
    );
    stage.others.releases.clear();
    assert_eq!(
        stage.delete(&template("aws-1")).warnings,
        ["The ProviderTemplate aws-1 cannot be removed while it is used in the Management spec"]
    );
    assert_eq!(text(&stage.delete(&template("aws-old"))), "");
}

#[test]
fn a_region_names_what_is_there_and_keeps_what_its_clusters_need() {
    let mut stage = Stage::new();
    let region = |spec: &Value| json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "Region", "metadata": {"name": "eu"}, "spec": spec});
    let secret = json!({"metadata": {"name": "kc", "namespace": "kcm-system"}, "data": {"value": "eA=="}});
    stage.cache.put::<Secret>(typed(secret));
    stage.cache.put::<ClusterDeployment>(typed(cluster(&json!({}))));
    for (spec, refused) in [
        (json!({}), ""),
        (json!({"kubeConfig": {"name": "kc"}}), ""),
        (json!({"kubeConfig": {"name": "kc", "key": "value"}}), ""),
        (json!({"kubeConfig": {"name": "kc", "key": "k"}}), "kubeConfig Secret does not have k key defined"),
        (
            json!({"kubeConfig": {"name": "no"}}),
            "failed to get Secret kcm-system/no: Secret \"no\" not found",
        ),
        (json!({"clusterDeployment": {"name": "ours", "namespace": "team"}}), ""),
        (
            json!({"clusterDeployment": {"name": "no", "namespace": "team"}}),
            "failed to get ClusterDeployment team/no: ClusterDeployment.k0rdent.mirantis.com \"no\" not found",
        ),
    ] {
        assert_eq!(text(&stage.create(&region(&spec))), refused, "{spec}");
    }
    installed(&mut stage);
    let placed = json!({"region": "eu", "identityRef": {"kind": "AWSClusterStaticIdentity", "name": "i"}});
    stage.cache.put::<Credential>(typed(object("Credential", "cred", &placed, &json!({"ready": true}))));
    let old = region(&json!({"providers": [{"name": "aws"}]}));
    let refused = stage.ask(Operation::Update, &old, &region(&json!({"providers": []})));
    assert_eq!(
        text(&refused),
        "spec.providers: Forbidden: provider aws is required by at least one ClusterDeployment and cannot be removed from the Region eu"
    );
    let future = region(&json!({"providers": [{"name": "aws"}, {"name": "x", "template": "future"}]}));
    let refused = text(&stage.ask(Operation::Update, &old, &future));
    assert_eq!(
        refused,
        "the Region eu is invalid: core CAPI contract versions does not support v1beta9 version in the ProviderTemplate future"
    );
}

#[test]
fn what_is_in_use_is_not_deleted() {
    let stage = Stage::new();
    let old = |kind: &str, name: &str| object(kind, name, &json!({"template": "t"}), &Value::Null);
    let region = json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "Region", "metadata": {"name": "eu"},
        "spec": {"clusterDeployment": {"namespace": "team", "name": "hub"}},
    });
    stage.cache.put::<Region>(typed(region));
    assert_eq!(
        text(&stage.delete(&old("ClusterDeployment", "hub"))),
        "ClusterDeployment cannot be deleted: referenced by Region \"eu\""
    );
    assert_eq!(text(&stage.delete(&old("ClusterDeployment", "ours"))), "");

    let used = cluster(&services(&json!([{"name": "a", "template": "web"}])));
    stage.cache.put::<ClusterDeployment>(typed(used));
    let forbidden = "template deletion is forbidden";
    let verdict = stage.delete(&old("ClusterTemplate", "aws-1"));
    assert_eq!(
        (text(&verdict).as_str(), verdict.warnings[0].as_str()),
        (
            forbidden,
            "The ClusterTemplate object can't be removed if ClusterDeployment objects referencing it still exist"
        )
    );
    assert_eq!(text(&stage.delete(&old("ClusterTemplate", "aws-2"))), "");
    let mut managed = old("ClusterTemplate", "aws-2");
    managed["metadata"]["ownerReferences"] = json!([{"kind": "ClusterTemplateChain", "name": "aws"}]);
    let verdict = stage.delete(&managed);
    assert_eq!(
        (text(&verdict).as_str(), verdict.warnings[0].as_str()),
        (
            forbidden,
            "The ClusterTemplate object can't be removed if it is managed by ClusterTemplateChain: aws"
        )
    );
    let verdict = stage.delete(&old("ServiceTemplate", "web"));
    assert_eq!(
        verdict.warnings,
        [
            "The ServiceTemplate object can't be removed if ClusterDeployment objects referencing it still exist"
        ]
    );
    let service = object(
        "MultiClusterService",
        "all",
        &services(&json!([{"name": "a", "template": "shared"}])),
        &Value::Null,
    );
    stage.cache.put::<MultiClusterService>(typed(service));
    let mut shared = old("ServiceTemplate", "shared");
    assert_eq!(text(&stage.delete(&shared)), "");
    shared["metadata"]["namespace"] = json!("kcm-system");
    let verdict = stage.delete(&shared);
    assert_eq!(
        verdict.warnings,
        [
            "The shared ServiceTemplate object can't be removed if MultiClusterService objects [all] referencing it still exist"
        ]
    );
}

#[test]
fn an_installation_and_what_clusters_name_stay_while_there_are_clusters() {
    let stage = Stage::new();
    let old = |kind: &str, name: &str| object(kind, name, &json!({"template": "t"}), &Value::Null);
    let region = json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "Region", "metadata": {"name": "eu"},
        "spec": {"clusterDeployment": {"namespace": "team", "name": "hub"}},
    });
    stage.cache.put::<Region>(typed(region.clone()));
    stage
        .cache
        .put::<ClusterDeployment>(typed(cluster(&json!({"clusterAuth": "auth", "auditPolicy": "audit"}))));
    assert_eq!(
        text(&stage.delete(&old("ClusterAuthentication", "auth"))),
        "cannot delete ClusterAuthentication team/auth: it is still referenced by one or more ClusterDeployments"
    );
    assert_eq!(
        text(&stage.delete(&old("ClusterAuditPolicy", "audit"))),
        "cannot delete ClusterAuditPolicy team/audit: it is still referenced by one or more ClusterDeployments"
    );
    assert_eq!(text(&stage.delete(&old("ClusterAuthentication", "other"))), "");
    let verdict = stage.delete(&object("Management", "kcm", &json!({"release": "r"}), &Value::Null));
    assert_eq!(
        (text(&verdict).as_str(), verdict.warnings[0].as_str()),
        (
            "management deletion is forbidden",
            "The Management object can't be removed if Region objects still exist"
        )
    );
    stage.cache.remove::<Region>("", "eu");
    let verdict = stage.delete(&object("Management", "kcm", &json!({"release": "r"}), &Value::Null));
    assert_eq!(
        verdict.warnings,
        ["The Management object can't be removed if ClusterDeployment objects still exist"]
    );
    let placed = object("Credential", "cred", &json!({"region": "eu", "identityRef": {}}), &Value::Null);
    stage.cache.put::<Credential>(typed(placed));
    let verdict = stage.delete(&region);
    assert_eq!(
        (text(&verdict).as_str(), verdict.warnings[0].as_str()),
        (
            "region deletion is forbidden",
            "The Region object can't be removed while any ClusterDeployment objects deployed in that Region still exist"
        )
    );
    stage.cache.remove::<ClusterDeployment>("team", "ours");
    assert_eq!(text(&stage.delete(&region)), "");
}
