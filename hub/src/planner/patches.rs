//! `provider.config.patches`: changes to rendered objects before they are deployed, by kustomize's rules.

use std::collections::BTreeMap;

use api::k0rdent::PatchSelector;
use protocol::id::Digest;
use render::{Limits, kustomize};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bundle::{Bundle, piece};
use super::canonical::canonical;

/// A change to some objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Patch {
    /// A strategic merge patch or a list of JSON 6902 operations, in YAML or JSON.
    pub patch: String,
    /// The objects; without it, the one that a strategic merge patch names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PatchSelector>,
}

/// Reads `patches` of a `provider.config`.
///
/// # Errors
/// What is not understood, and what is accepted.
pub fn read(config: Option<&Value>) -> Result<Vec<Patch>, String> {
    match config.and_then(|config| config.get("patches")) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
            format!(
                "patches is not understood: {error}; accepted is a list of {{patch: TEXT, target: SELECTOR}}"
            )
        }),
    }
}

/// What a patched bundle is remembered by.
pub(super) fn digest(bundle: &Bundle, patches: &[Patch]) -> Digest {
    let objects: Vec<_> = bundle.objects.iter().map(|piece| piece.entry.digest.to_string()).collect();
    let hooks: Vec<_> = bundle.hooks.iter().map(|piece| piece.entry.object.digest.to_string()).collect();
    Digest::of(&canonical(&json!([objects, hooks, patches])))
}

/// The bundle with its objects patched, in the same order. Hooks stay as they are.
///
/// # Errors
/// Which patch fails, and why.
pub(super) fn patched(bundle: &Bundle, patches: &[Patch], limits: &Limits) -> Result<Bundle, String> {
    let mut stream = Vec::new();
    for piece in &bundle.objects {
        stream.extend_from_slice(b"---\n");
        stream.extend_from_slice(&piece.content);
        stream.push(b'\n');
    }
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": ["objects.yaml"], "patches": patches, "sortOptions": {"order": "fifo"},
    });
    let files = BTreeMap::from([
        ("objects.yaml".to_owned(), stream),
        ("kustomization.yaml".to_owned(), kustomization.to_string().into_bytes()),
    ]);
    let objects = kustomize::build(&files, "", limits).map_err(|error| format!("patches: {error}"))?;
    let objects = objects.iter().map(piece).collect::<Result<Vec<_>, _>>()?;
    Bundle { objects, ..bundle.clone() }.admitted()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        let object = |kind: &str, name: &str, replicas: i64| {
            piece(&json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": {"tier": name}},
                "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}}}))
            .unwrap()
        };
        let objects = vec![object("StatefulSet", "zoo", 3), object("Deployment", "web", 1)];
        Bundle { objects, ..Bundle::default() }
    }

    fn apply(patches: Value) -> Result<Vec<Value>, String> {
        let patches = read(Some(&json!({"patches": patches})))?;
        let patched = patched(&bundle(), &patches, &Limits::default())?;
        Ok(patched.objects.iter().map(|piece| serde_json::from_slice(&piece.content).unwrap()).collect())
    }

    #[test]
    fn both_kinds_of_patches_change_what_they_select_and_the_order_stays() {
        let merge = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: c, image: i:2}]}}}";
        let operations = "- {op: replace, path: /spec/replicas, value: 5}\n- {op: add, path: /metadata/annotations, value: {a: b}}";
        let objects = apply(json!([
            {"patch": merge},
            {"patch": operations, "target": {"kind": "StatefulSet|Deployment", "labelSelector": "tier=zoo"}},
        ]))
        .unwrap();
        assert_eq!(objects[0]["metadata"]["name"], "zoo");
        assert_eq!(
            (&objects[0]["spec"]["replicas"], &objects[1]["spec"]["replicas"]),
            (&json!(5), &json!(1))
        );
        assert_eq!(objects[0]["metadata"]["annotations"], json!({"a": "b"}));
        assert_eq!(
            objects[1]["spec"]["template"]["spec"]["containers"],
            json!([{"name": "c", "image": "i:2"}])
        );
        assert_ne!(
            digest(&bundle(), &[]),
            digest(&bundle(), &read(Some(&json!({"patches": [{"patch": "a"}]}))).unwrap())
        );
    }

    #[test]
    fn what_is_wrong_with_a_patch_is_told() {
        let error = read(Some(&json!({"patches": [{"target": {}}]}))).unwrap_err();
        assert!(error.contains("missing field `patch`") && error.contains("accepted"), "{error}");
        let error = apply(
            json!([{"patch": "- {op: replace, path: /nowhere/at/all, value: 5}", "target": {"name": "web"}}]),
        );
        assert!(error.unwrap_err().starts_with("patches: "));
        let error =
            apply(json!([{"patch": "kind: Deployment\napiVersion: apps/v1\nmetadata: {name: ghost}"}]));
        assert!(error.unwrap_err().contains("ghost"));
    }
}
