//! Selecting objects outside of a build, by the rules for the targets of patches.

use serde_json::Value as Json;

use super::identity::Gvk;
use super::selector::{Compiled, Selector};

/// What a target says: regular expressions over the whole text, and label selectors; empty parts select everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target<'a> {
    /// API group.
    pub group: &'a str,
    /// API version without the group.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Name.
    pub name: &'a str,
    /// Namespace.
    pub namespace: &'a str,
    /// Label selector over the labels.
    pub labels: &'a str,
    /// Label selector over the annotations.
    pub annotations: &'a str,
}

/// A target ready for use.
pub struct Targets(Compiled);

impl Targets {
    /// Reads a target.
    ///
    /// # Errors
    /// Which expression or label selector is malformed.
    pub fn new(target: Target<'_>) -> Result<Self, String> {
        let own = str::to_owned;
        let selector = Selector {
            gvk: Gvk { group: own(target.group), version: own(target.version), kind: own(target.kind) },
            name: own(target.name),
            namespace: own(target.namespace),
            labels: own(target.labels),
            annotations: own(target.annotations),
        };
        selector.compile().map(Self)
    }

    /// Whether an object is meant; one that names no namespace lives in `namespace`.
    pub fn select(&self, object: &Json, namespace: &str) -> bool {
        let text = |pointer: &str| object.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let own = str::to_owned;
        let gvk = Gvk { group: own(group), version: own(version), kind: own(text("/kind")) };
        let namespace = Some(text("/metadata/namespace")).filter(|own| !own.is_empty()).unwrap_or(namespace);
        self.0.matches_gvk(&gvk)
            && self.0.matches_name(text("/metadata/name"))
            && self.0.matches_namespace(namespace)
            && self.0.matches_texts(&|field, key| {
                object.get("metadata")?.get(field)?.get(key)?.as_str().map(str::to_owned)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_of_a_target_counts_and_expressions_mean_the_whole_text() {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {
            "name": "web-1", "labels": {"tier": "front"}, "annotations": {"team": "shop"}}});
        let usual = Target::default();
        let table = [
            (usual, true),
            (Target { group: "apps", version: "v1", kind: "Deployment", ..usual }, true),
            (Target { name: "web-.*", namespace: "x", ..usual }, true),
            (Target { name: "web", ..usual }, false),
            (Target { kind: "Deploy", ..usual }, false),
            (Target { group: "batch", ..usual }, false),
            (Target { version: "v2", ..usual }, false),
            (Target { namespace: "y", ..usual }, false),
            (Target { labels: "tier in (front,back)", annotations: "team=shop", ..usual }, true),
            (Target { labels: "!tier", ..usual }, false),
            (Target { annotations: "team!=shop", ..usual }, false),
        ];
        for (target, selected) in table {
            assert_eq!(Targets::new(target).unwrap().select(&object, "x"), selected, "{target:?}");
        }
        assert!(Targets::new(Target { name: "(", ..usual }).is_err());
        assert!(Targets::new(Target { labels: "a in", ..usual }).is_err());
    }
}
