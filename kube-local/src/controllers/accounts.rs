//! Every namespace has a service account `default` and a config map `kube-root-ca.crt`.

use serde_json::{Value, json};

use crate::engine::{Engine, WriteOptions};
use crate::object;
use crate::storage::{Address, ObjectKey};

/// Makes what is missing when a namespace, or one of the two, changed.
pub(super) fn look(engine: &Engine, (resource, key): &Address) {
    let namespace = match &**resource {
        "namespaces" => &key.name,
        "serviceaccounts" if &*key.name == "default" => &key.namespace,
        "configmaps" if &*key.name == "kube-root-ca.crt" => &key.namespace,
        _ => return,
    };
    let Some(kind) = engine.kind("v1", "Namespace") else { return };
    let alive = engine.read(&kind, "", namespace).is_some_and(|namespace| !object::deleting(&namespace));
    if !alive {
        return;
    }
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    ensure(engine, "serviceaccounts", namespace, account);
    let authority = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-root-ca.crt", "annotations": {
            "kubernetes.io/description": "kube-local serves without TLS: there is no certificate authority.",
        }},
        "data": {"ca.crt": ""},
    });
    ensure(engine, "configmaps", namespace, authority);
}

fn ensure(engine: &Engine, resource: &str, namespace: &str, object: Value) {
    let key = ObjectKey::new(namespace, object::name(&object));
    if engine.store.find(resource, &key).is_some() {
        return;
    }
    let Some(kind) = engine.registry().by_resource(resource) else { return };
    let options = WriteOptions::controller("kube-controller-manager");
    if let Err(error) = engine.create(&kind, namespace, object, &options)
        && error.code != 409
    {
        tracing::warn!(%error, namespace, resource, "failed to create what every namespace has");
    }
}
