//! What others may change about the objects of a service: `driftIgnore` names objects, `driftExclusions` fields of
//! objects (k0rdent's, which are Sveltos').
//!
//! The hub finds the objects that are meant, because it has their labels at hand; the edge is told by position.

use std::collections::BTreeMap;

use api::k0rdent::{DriftExclusion, PatchSelector};
use protocol::policy::{Leeway, Leeways};
use render::kustomize::{Target, Targets};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bundle::Bundle;

/// What others may change, as a `serviceSpec` says it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latitude {
    ignored: Vec<PatchSelector>,
    excluded: Vec<DriftExclusion>,
}

impl Latitude {
    /// Reads `provider.config`.
    ///
    /// # Errors
    /// Which field is wrong, and what is accepted.
    pub fn read(config: Option<&Value>) -> Result<Self, String> {
        let latitude =
            Self { ignored: list(config, "driftIgnore")?, excluded: list(config, "driftExclusions")? };
        for (at, selector) in latitude.ignored.iter().enumerate() {
            targets(selector).map_err(|error| format!("driftIgnore[{at}]: {error}"))?;
        }
        for (at, DriftExclusion { paths, target }) in latitude.excluded.iter().enumerate() {
            let field = format!("driftExclusions[{at}]");
            if paths.is_empty() {
                return Err(format!(
                    "{field}.paths is empty: name the fields, or use driftIgnore for whole objects"
                ));
            }
            if let Some(path) = paths.iter().find(|path| !path.starts_with('/')) {
                return Err(format!(
                    "{field}.paths: \"{path}\" is no JSON pointer; those begin with a slash, as in \"/spec/replicas\""
                ));
            }
            let selector = target.clone().unwrap_or_default();
            targets(&selector).map_err(|error| format!("{field}.target: {error}"))?;
        }
        Ok(latitude)
    }

    /// What others may change about the objects of a bundle whose release is in `namespace`.
    pub fn of(&self, bundle: &Bundle, namespace: &str) -> Leeways {
        if self.ignored.is_empty() && self.excluded.is_empty() {
            return Leeways::default();
        }
        let all = |selector: &PatchSelector| targets(selector).ok();
        let ignored: Vec<Targets> = self.ignored.iter().filter_map(all).collect();
        let excluded: Vec<(Targets, &Vec<String>)> = self
            .excluded
            .iter()
            .filter_map(|one| Some((all(&one.target.clone().unwrap_or_default())?, &one.paths)))
            .collect();
        let mut leeways = BTreeMap::<u32, Vec<String>>::new();
        for (position, piece) in (0u32..).zip(&bundle.objects) {
            let Ok(object) = serde_json::from_slice::<Value>(&piece.content) else { continue };
            if ignored.iter().any(|targets| targets.select(&object, namespace)) {
                leeways.insert(position, Vec::new());
                continue;
            }
            let paths: Vec<String> = excluded
                .iter()
                .filter(|(targets, _)| targets.select(&object, namespace))
                .flat_map(|(_, paths)| paths.iter().cloned())
                .collect();
            if !paths.is_empty() {
                leeways.insert(position, paths);
            }
        }
        Leeways(leeways.into_iter().map(|(object, paths)| Leeway { object, paths }).collect())
    }
}

fn list<T: DeserializeOwned>(config: Option<&Value>, field: &str) -> Result<Vec<T>, String> {
    match config.and_then(|config| config.get(field)) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
            format!("{field} is not understood: {error}; accepted is a list as in serviceSpec.{field}")
        }),
    }
}

fn targets(selector: &PatchSelector) -> Result<Targets, String> {
    let text = |field: &'_ Option<String>| field.clone().unwrap_or_default();
    let PatchSelector { annotation_selector, group, kind, label_selector, name, namespace, version } =
        selector;
    let parts = [group, version, kind, name, namespace, label_selector, annotation_selector].map(text);
    let [group, version, kind, name, namespace, labels, annotations] = &parts;
    Targets::new(Target { group, version, kind, name, namespace, labels, annotations })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::bundle::piece;
    use serde_json::json;

    fn read(config: Value) -> Result<Latitude, String> {
        Latitude::read(Some(&config))
    }

    #[test]
    fn objects_and_fields_are_found_by_their_selectors() {
        let object = |kind: &str, name: &str, tier: &str| {
            let metadata = json!({"name": name, "labels": {"tier": tier}});
            piece(&json!({"apiVersion": "apps/v1", "kind": kind, "metadata": metadata})).unwrap()
        };
        let objects = vec![
            object("Deployment", "web", "front"),
            object("Deployment", "api", "back"),
            object("DaemonSet", "log", "back"),
            object("StatefulSet", "db", "data"),
        ];
        let bundle = Bundle { objects, ..Bundle::default() };
        let latitude = read(json!({
            "driftIgnore": [{"labelSelector": "tier=data"}],
            "driftExclusions": [
                {"paths": ["/spec/replicas"], "target": {"kind": "Deployment", "namespace": "shop"}},
                {"paths": ["/metadata/labels/x"], "target": {"name": "web|db"}},
            ],
        }));
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let wanted = vec![
            Leeway { object: 0, paths: paths(&["/spec/replicas", "/metadata/labels/x"]) },
            Leeway { object: 1, paths: paths(&["/spec/replicas"]) },
            Leeway { object: 3, paths: Vec::new() },
        ];
        assert_eq!(latitude.unwrap().of(&bundle, "shop"), Leeways(wanted));
        assert_eq!(Latitude::read(None).unwrap().of(&bundle, "shop"), Leeways::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            (json!({"driftIgnore": [{"name": "("}]}), "driftIgnore[0]: the expression \"(\""),
            (json!({"driftIgnore": {"kind": "Pod"}}), "driftIgnore is not understood"),
            (json!({"driftExclusions": [{"paths": []}]}), "driftExclusions[0].paths is empty"),
            (json!({"driftExclusions": [{"paths": ["spec"]}]}), "\"spec\" is no JSON pointer"),
            (
                json!({"driftExclusions": [{"paths": ["/a"], "target": {"labelSelector": "a in"}}]}),
                "driftExclusions[0].target",
            ),
        ];
        for (config, part) in table {
            let error = read(config.clone()).unwrap_err();
            assert!(error.contains(part), "{config}: {error}");
        }
    }
}
