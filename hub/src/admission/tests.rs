//! Every rule with its exact text, and everything that is filled in.

mod clusters;
mod installation;
mod shared;

use api::k0rdent::{
    ClusterTemplate, ClusterTemplateChain, Credential, Management, ProviderInterface, ServiceTemplate,
    ServiceTemplateChain,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::review::{Operation, Request, Verdict, read};
use super::rules;
use super::world::{Others, World};
use crate::cache::Cache;

fn object(kind: &str, name: &str, spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": kind,
        "metadata": {"name": name, "namespace": "team"}, "spec": spec, "status": status,
    })
}

fn typed<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

/// A world in which the ClusterDeployment `ours` is right.
struct Stage {
    cache: Cache,
    others: Others,
}

impl Stage {
    fn new() -> Self {
        let cache = Cache::default();
        let chart = |name: &str| {
            json!({"helm": {"chartSpec": {
                "chart": name, "interval": "10m", "sourceRef": {"kind": "HelmRepository", "name": "r"},
            }}})
        };
        let status = json!({
            "valid": true, "k8sVersion": "v1.31.2", "config": {"workers": 2},
            "providers": ["infrastructure-aws", "bootstrap-k0sproject-k0smotron"],
            "providerContracts": {"infrastructure-aws": "v1beta2"},
        });
        for name in ["aws-1", "aws-2", "aws-9"] {
            cache.put::<ClusterTemplate>(typed(object("ClusterTemplate", name, &chart("aws"), &status)));
        }
        let invalid = json!({"valid": false, "validationError": "no chart"});
        cache.put::<ClusterTemplate>(typed(object("ClusterTemplate", "broken", &chart("aws"), &invalid)));
        cache.put::<ClusterTemplate>(typed(object("ClusterTemplate", "other", &chart("eks"), &status)));
        for (name, status) in [
            ("web", json!({"valid": true})),
            ("new", json!({"valid": true, "k8sConstraint": ">= 1.33"})),
            ("bad", json!({"valid": false, "validationError": "no chart"})),
        ] {
            cache.put::<ServiceTemplate>(typed(object("ServiceTemplate", name, &chart(name), &status)));
        }
        let steps = |from: &str, to: &str| json!({"supportedTemplates": [{"name": from, "availableUpgrades": [{"name": to}]}, {"name": to}]});
        let valid = json!({"valid": true});
        let chain = object("ClusterTemplateChain", "aws", &steps("aws-1", "aws-2"), &valid);
        cache.put::<ClusterTemplateChain>(typed(chain));
        let chain = object("ClusterTemplateChain", "more", &steps("aws-1", "other"), &valid);
        cache.put::<ClusterTemplateChain>(typed(chain));
        let chain = object("ServiceTemplateChain", "web", &steps("web", "new"), &valid);
        cache.put::<ServiceTemplateChain>(typed(chain));
        let faulty = json!({"valid": false, "validationError": "no way"});
        let chain = object("ServiceTemplateChain", "faulty", &steps("web", "new"), &faulty);
        cache.put::<ServiceTemplateChain>(typed(chain));
        let identity = |kind: &str| json!({"identityRef": {"kind": kind, "name": "i", "namespace": "team"}});
        for (name, spec, ready) in [
            ("cred", identity("AWSClusterStaticIdentity"), true),
            ("unready", identity("AWSClusterStaticIdentity"), false),
            ("secret", identity("Secret"), true),
            ("empty", json!({"identityRef": {}}), true),
        ] {
            let credential = object("Credential", name, &spec, &json!({"ready": ready}));
            cache.put::<Credential>(typed(credential));
        }
        let management = json!({"spec": {"release": "kcm-1"}, "metadata": {"name": "kcm"}, "status": {
            "availableProviders": ["infrastructure-aws", "bootstrap-k0sproject-k0smotron"],
            "capiContracts": {"infrastructure-aws": {"v1beta1": "v1beta1_v1beta2"}},
        }});
        let mut interface = object(
            "ProviderInterface",
            "aws",
            &json!({
                "clusterIdentities": [{"group": "g", "version": "v1", "kind": "AWSClusterStaticIdentity"}],
            }),
            &Value::Null,
        );
        interface["metadata"]["labels"] = json!({"cluster.x-k8s.io/provider": "infrastructure-aws"});
        let others = Others {
            management: Some(typed::<Management>(management)),
            provider_interfaces: vec![typed::<ProviderInterface>(interface)],
            ..Others::default()
        };
        Self { cache, others }
    }

    fn ask(&self, operation: Operation, old: &Value, new: &Value) -> Verdict {
        rules::judge(&request(operation, old, new), &self.world())
    }

    fn world(&self) -> World<'_> {
        World { cache: &self.cache, system_namespace: "kcm-system", others: &self.others }
    }

    fn create(&self, object: &Value) -> Verdict {
        self.ask(Operation::Create, &Value::Null, object)
    }

    fn delete(&self, object: &Value) -> Verdict {
        self.ask(Operation::Delete, object, &Value::Null)
    }
}

fn request(operation: Operation, old: &Value, new: &Value) -> Request {
    let kind = if new.is_null() { &old["kind"] } else { &new["kind"] };
    let operation = format!("{operation:?}").to_uppercase();
    let review = json!({"request": {
        "uid": "u", "kind": {"group": "k0rdent.mirantis.com", "version": "v1beta1", "kind": kind},
        "operation": operation, "object": new, "oldObject": old,
    }});
    read(review.to_string().as_bytes()).unwrap()
}

fn cluster(change: &Value) -> Value {
    let mut spec = json!({"template": "aws-1", "credential": "cred", "config": {}});
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    object("ClusterDeployment", "ours", &spec, &Value::Null)
}

fn services(services: &Value) -> Value {
    json!({"serviceSpec": {"services": services}})
}

fn text(verdict: &Verdict) -> String {
    verdict.refused.clone().unwrap_or_default()
}
