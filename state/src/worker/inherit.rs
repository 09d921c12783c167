//! What a release of Helm's leaves behind when a unit takes it over: objects that only the revision before had are
//! deleted, as Helm's own upgrade would have done.
//!
//! Only objects that Helm itself marked as this release's are touched, never those of any unit, and never definitions or
//! namespaces. Source: Helm, `pkg/kube`, "Update", and its ownership metadata.

use serde::Deserialize;
use serde_json::Value;

use super::prune::kept;
use super::{Trouble, Worker};
use crate::live::Live;
use crate::object::{self, ObjectId, Place, UNIT_LABEL};

/// What of a document of a manifest says which object it is.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    api_version: String,
    kind: String,
    metadata: Metadata,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
}

/// The objects of a manifest; documents that are none are passed over.
fn named(manifest: &str) -> Vec<Named> {
    let mut documents = vec![String::new()];
    for line in manifest.lines() {
        if line == "---" || line.starts_with("--- ") {
            documents.push(String::new());
        } else if let Some(document) = documents.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    let read = documents.iter().filter_map(|text| serde_saphyr::from_str::<Value>(text).ok());
    let named = read.filter_map(|value| serde_json::from_value::<Named>(value).ok());
    named.filter(|named| !named.kind.is_empty() && !named.metadata.name.is_empty()).collect()
}

impl Worker {
    /// Deletes what this manifest of the release has, and the unit has not.
    pub(super) async fn leave_behind(&self, manifest: &str) -> Result<(), Trouble> {
        for named in named(manifest).into_iter().rev() {
            self.still_wanted()?;
            let Named { api_version, kind, metadata } = named;
            let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
            if object::is_definition(group, &kind) || object::is_namespace(group, &kind) {
                continue;
            }
            let api = &self.context.api;
            let resource = self.context.discovery.resolve(api, group, version, &kind).await;
            // A kind that is not served any more has no objects.
            let Some(resource) = resource.map_err(Trouble::api)? else { continue };
            let own =
                if metadata.namespace.is_empty() { &self.unit.id.namespace } else { &metadata.namespace };
            let namespace = if resource.namespaced { own.clone() } else { String::new() };
            let id = ObjectId { group: group.to_owned(), kind, namespace, name: metadata.name };
            let wanted = self.unit.objects.iter().any(|entry| {
                let key = &entry.key;
                let there = if key.namespace.is_empty() { &self.unit.id.namespace } else { &key.namespace };
                key.group == id.group
                    && key.kind == id.kind
                    && key.name == id.name
                    && (id.namespace.is_empty() || *there == id.namespace)
            });
            if wanted {
                continue;
            }
            let place = Place { id: std::sync::Arc::new(id), resource };
            let live = api.get(&place).await.map_err(|error| Trouble::about(&place, error))?;
            let Some(live) = live.filter(|live| self.helm_left(live)) else { continue };
            tracing::info!(object = %place.id, unit = self.owner.unit, "is no longer part of the release");
            // One that changed in between is looked at again with the next try.
            api.delete(&place, &live.metadata).await.map_err(|error| Trouble::about(&place, error))?;
        }
        Ok(())
    }

    /// Whether Helm has this object for the release, nobody else wants it, and it may go.
    fn helm_left(&self, live: &Live) -> bool {
        let meta = &live.metadata;
        let says = |key: &str, value: &str| meta.annotations.get(key).is_some_and(|text| text == value);
        says("meta.helm.sh/release-name", &self.unit.id.name)
            && says("meta.helm.sh/release-namespace", &self.unit.id.namespace)
            && meta.labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "Helm")
            && !meta.labels.contains_key(UNIT_LABEL)
            && !meta.terminating()
            && !kept(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_objects_of_a_manifest_are_read_as_helm_writes_it() {
        let manifest = "---\n# Source: a/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n\
                        data:\n  text: |\n    --- not here\n--- # next\napiVersion: apps/v1\nkind: Deployment\n\
                        metadata: {name: b, namespace: other}\n---\n# nothing\n---\n{broken\n";
        let one = |api: &str, kind: &str, name: &str, namespace: &str| Named {
            api_version: api.into(),
            kind: kind.into(),
            metadata: Metadata { name: name.into(), namespace: namespace.into() },
        };
        assert_eq!(
            named(manifest),
            [one("v1", "ConfigMap", "a", ""), one("apps/v1", "Deployment", "b", "other")]
        );
    }
}
