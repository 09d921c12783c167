//! What the CEL rules of the schemas refuse, with which message, and what they let through.

#![allow(clippy::unwrap_used)]

use kube_cel::Validator;
use serde_json::{Value, json};

/// A kind, its old spec, its new spec, and the message of the refusal.
#[derive(Clone)]
struct Case(&'static str, Value, Value, &'static str);

const FINE: &str = "";
const IMMUTABLE: &str = "Spec is immutable";

#[test]
fn rules_refuse_what_they_should_and_nothing_else() {
    let crds = api::all_crds();
    for Case(kind, old, new, expected) in [service_templates(), other_kinds(), updates()].concat() {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let schema = serde_json::to_value(schema).unwrap();
        let object = |spec: &Value| json!({"metadata": {"name": "x"}, "spec": spec});
        let old_object = if old.is_null() { None } else { Some(object(&old)) };
        let result = Validator::new().validate(&schema, &object(&new), old_object.as_ref());
        let messages: Vec<String> =
            result.err().into_iter().flat_map(|errors| errors.into_vec()).map(|e| e.message).collect();
        if expected == FINE {
            assert!(messages.is_empty(), "{kind} {new}: {messages:?}");
        } else {
            assert!(
                messages.iter().any(|message| message == expected),
                "{kind} {new}: {messages:?}, not {expected:?}"
            );
        }
    }
}

fn window(from: &str, until: &str) -> Value {
    json!({"policy": "Automatic", "from": from, "until": until})
}

fn creation(kind: &'static str, spec: Value, message: &'static str) -> Case {
    Case(kind, Value::Null, spec, message)
}

fn service_templates() -> Vec<Case> {
    let chart = json!({"chartSpec": {"chart": "web"}});
    let local =
        |kind: &str| json!({"deploymentType": "Remote", "localSourceRef": {"kind": kind, "name": "m"}});
    let git = json!({"url": "https://example.com", "interval": "1m"});
    let bucket = |more: Value| {
        let mut bucket = json!({"bucketName": "b", "endpoint": "e", "interval": "1m"});
        bucket.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"resources": {"remoteSourceSpec": {"bucket": bucket}}})
    };
    vec![
        creation("ServiceTemplate", json!({"helm": chart}), FINE),
        creation("ServiceTemplate", json!({"resources": local("ConfigMap")}), FINE),
        creation("ServiceTemplate", json!({}), "One of Helm, Kustomize, or Resources must be specified."),
        creation(
            "ServiceTemplate",
            json!({"helm": chart, "resources": local("ConfigMap")}),
            "Helm, Kustomize and Resources are mutually exclusive.",
        ),
        creation(
            "ServiceTemplate",
            json!({"helm": {}}),
            "one of chartSpec, chartRef or chartSource must be set",
        ),
        creation(
            "ServiceTemplate",
            json!({"helm": {"chartSpec": {"chart": "a"}, "chartRef": {"kind": "HelmChart", "name": "a"}}}),
            "chartSpec, chartSource and chartRef are mutually exclusive",
        ),
        creation(
            "ServiceTemplate",
            json!({"helm": {"chartSource": local("Secret")}}),
            "Secret and ConfigMap are not supported as Helm chart sources",
        ),
        creation(
            "ServiceTemplate",
            json!({"kustomize": {}}),
            "One of LocalSource or RemoteSource must be specified.",
        ),
        creation(
            "ServiceTemplate",
            json!({"kustomize": {"remoteSourceSpec": {"git": git, "oci": git}}}),
            "Git, Bucket and OCI are mutually exclusive.",
        ),
        creation(
            "ServiceTemplate",
            json!({"helm": {"chartSpec": {"chart": "a", "verify": {"provider": "cosign"}, "sourceRef": {"kind": "Bucket", "name": "b"}}}}),
            "spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'",
        ),
        creation("ServiceTemplate", bucket(json!({"provider": "aws", "serviceAccountName": "s"})), FINE),
        creation(
            "ServiceTemplate",
            bucket(json!({"serviceAccountName": "s"})),
            "ServiceAccountName is not supported for the 'generic' Bucket provider",
        ),
    ]
}

fn other_kinds() -> Vec<Case> {
    let token = |more: Value| {
        let mut token = json!({"role": "Edge", "region": "eu", "notAfter": "2027-01-01T00:00:00Z", "publicKey": "k", "maxUses": 1});
        token.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        token
    };
    vec![
        creation("Region", json!({}), FINE),
        creation("Region", json!({"kubeConfig": {"name": "k"}}), FINE),
        creation(
            "Region",
            json!({"kubeConfig": {"name": "k"}, "clusterDeployment": {"name": "a", "namespace": "b"}}),
            "at most one of kubeConfig or clusterDeployment may be set",
        ),
        creation(
            "ClusterTemplate",
            json!({"helm": {"chartSource": {"localSourceRef": {"kind": "GitRepository", "name": "g"}}}}),
            ".spec.helm.chartSource is not supported for ClusterTemplates",
        ),
        creation(
            "MultiClusterService",
            json!({"serviceSpec": {"policyRefs": [{"kind": "Secret", "remoteURL": {"url": "https://x"}}]}}),
            "either remoteURL or kind must be set, but not both",
        ),
        creation(
            "AccessManagement",
            json!({"accessRules": [{"targetNamespaces": {"list": ["a"], "stringSelector": "a=b"}}]}),
            "only one of list, selector, stringSelector can be specified",
        ),
        creation("JoinToken", token(json!({"clusterDeployment": {"name": "a", "namespace": "b"}})), FINE),
        creation(
            "JoinToken",
            token(json!({"role": "Region", "clusterDeployment": {"name": "a", "namespace": "b"}})),
            "clusterDeployment is only for the role Edge",
        ),
        creation("JoinToken", token(json!({"approval": {"policy": "Manual"}})), FINE),
        creation(
            "JoinToken",
            token(json!({"role": "Region", "approval": {"policy": "Manual"}})),
            "approval is only for the role Edge: a Region object is made by hand",
        ),
        creation(
            "JoinToken",
            token(json!({"approval": {"policy": "Manual", "count": 2}})),
            "count, from, labels, sourceCidrs and until are only for the policy Automatic",
        ),
        creation(
            "JoinToken",
            token(json!({"approval": window("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")})),
            FINE,
        ),
        creation(
            "JoinToken",
            token(json!({"approval": window("2026-01-02T00:00:00Z", "2026-01-02T00:00:00Z")})),
            "from must be before until",
        ),
    ]
}

fn updates() -> Vec<Case> {
    let provider = |name: &str| json!({"template": "t", "serviceSpec": {"provider": {"name": name}}});
    let token = |region: &str, revoked: bool| json!({"role": "Edge", "region": region, "notAfter": "2027-01-01T00:00:00Z", "publicKey": "k", "maxUses": 1, "revoked": revoked});
    let chart = |name: &str| json!({"helm": {"chartSpec": {"chart": name}}});
    let credential = |region: &str| json!({"identityRef": {"name": "i"}, "region": region});
    vec![
        Case("ServiceTemplate", chart("a"), chart("a"), FINE),
        Case("ServiceTemplate", chart("a"), chart("b"), IMMUTABLE),
        Case("ClusterTemplate", chart("a"), chart("b"), IMMUTABLE),
        Case("ClusterTemplateChain", json!({}), json!({"supportedTemplates": [{"name": "a"}]}), IMMUTABLE),
        Case("ClusterDeployment", provider(""), provider("a"), FINE),
        Case("ClusterDeployment", provider("a"), provider("b"), "Provider name is immutable once set"),
        Case("Credential", credential("eu"), credential("us"), "Region is immutable"),
        Case("Credential", json!({"identityRef": {"name": "i"}}), credential("us"), FINE),
        Case(
            "Region",
            json!({"kubeConfig": {"name": "a"}}),
            json!({"kubeConfig": {"name": "b"}}),
            "kubeConfig is immutable",
        ),
        Case("Edge", json!({"region": "eu"}), json!({"region": "eu", "revoked": true}), FINE),
        Case("Edge", json!({"region": "eu"}), json!({"region": "us"}), FINE),
        creation("Region", json!({"standby": "us"}), FINE),
        creation("Region", json!({"standby": "us", "lost": true}), FINE),
        creation("Region", json!({"lost": false}), FINE),
        creation("Region", json!({"lost": true}), "a lost region needs a standby that takes over its edges"),
        Case("JoinToken", token("eu", false), token("eu", true), FINE),
        Case("JoinToken", token("eu", true), token("eu", false), "a revoked token stays revoked"),
        Case(
            "JoinToken",
            token("eu", false),
            token("us", false),
            "a token cannot change: revoke it and make another",
        ),
    ]
}
