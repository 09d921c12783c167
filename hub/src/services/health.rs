//! k0rdent's health rules: CEL rules in ConfigMaps that carry the label `k0rdent.mirantis.com/health-rule-target`, in
//! three tiers that add to each other: `global` in the system namespace, `global` in the namespace of the set, and the
//! name of the set's owner there.
//!
//! A rule that is wrong is left out, and the set's condition `ServiceSetHealthRules` tells which one and why. Rules travel
//! with the units that they concern and are run on their cluster, all the time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::names::label::HEALTH_RULE_TARGET;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use protocol::plan::UnitKind;
use protocol::policy::{HealthRule, HealthRules};
use serde::Deserialize;

use super::claim::{Claim, Owner};
use super::target::Target;
use super::template::Sight;
use crate::cache::Kind;
use crate::planner::bundle::Bundle;

/// Key of a ConfigMap's data.
const RULES: &str = "rules";
/// Value of the label for rules that are for everybody.
const GLOBAL: &str = "global";
/// Most rules of one ConfigMap.
const RULES_MAX: usize = 256;
/// What is announced when rules come to a namespace.
pub const TIER_KEY: &str = "?health-rules";

/// Rules and what is wrong with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Those that can be run.
    pub rules: Vec<HealthRule>,
    /// Those that cannot, and why.
    pub problems: Vec<String>,
}

/// What ConfigMaps were read to, by name and version.
#[derive(Debug, Clone, Default)]
pub struct Remembered(Arc<Mutex<Memory>>);

/// By namespace and name: the version that was read, and what it says.
type Memory = BTreeMap<(String, String), (String, Arc<Found>)>;

#[derive(Deserialize)]
struct Written {
    group: String,
    #[expect(dead_code, reason = "rules are for a kind, in whatever version its objects are applied")]
    version: String,
    kind: String,
    scope: Scope,
    healthy: String,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
enum Scope {
    Namespaced,
    Cluster,
}

/// The rules for a set.
pub fn rules(sight: &Sight<'_>, claim: &Claim, target: &Target) -> Found {
    let owner = match &claim.owner {
        Owner::ClusterDeployment => &target.name.name,
        Owner::MultiClusterService(name) => name,
    };
    let mut all = Found::default();
    let mut tiers = vec![(sight.system_namespace, GLOBAL), (claim.set.0.as_str(), GLOBAL)];
    tiers.dedup();
    tiers.push((claim.set.0.as_str(), owner));
    for (namespace, wanted) in tiers {
        sight.view.note(Kind::ConfigMap, namespace, TIER_KEY);
        for map in sight.view.unrecorded().config_maps.with_health_rules(namespace) {
            sight.view.note(Kind::ConfigMap, namespace, &map.name_any());
            if map.labels().get(HEALTH_RULE_TARGET).is_none_or(|label| label != wanted) {
                continue;
            }
            let found = sight.sources.health_rules.of(&map);
            all.rules.extend(found.rules.iter().cloned());
            all.problems.extend(found.problems.iter().cloned());
        }
    }
    all
}

/// Whether a ConfigMap says that it holds rules.
pub fn has_rules(map: &ConfigMap) -> bool {
    map.labels().contains_key(HEALTH_RULE_TARGET)
}

impl Found {
    /// The rules for a service: those for kinds of which its bundle has objects, and for a chart all of them, because
    /// they are asked of what others make for its release as well.
    pub fn of(&self, kind: UnitKind, bundle: &Bundle) -> HealthRules {
        if kind == UnitKind::Helm {
            return HealthRules(self.rules.clone());
        }
        let concerns = |rule: &&HealthRule| {
            let keys = bundle.objects.iter().map(|piece| &piece.entry.key);
            keys.into_iter().any(|key| key.group == rule.group && key.kind == rule.kind)
        };
        HealthRules(self.rules.iter().filter(concerns).cloned().collect())
    }
}

impl Remembered {
    fn of(&self, map: &ConfigMap) -> Arc<Found> {
        let name = (map.namespace().unwrap_or_default(), map.name_any());
        let version = map.resource_version().unwrap_or_default();
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, found)) = memory.get(&name)
            && !version.is_empty()
            && *known == version
        {
            return Arc::clone(found);
        }
        let found = Arc::new(read(map));
        memory.insert(name, (version, Arc::clone(&found)));
        found
    }
}

/// Reads the rules of a ConfigMap.
fn read(map: &ConfigMap) -> Found {
    let source = format!("{}/{}", map.namespace().unwrap_or_default(), map.name_any());
    let text = map.data.as_ref().and_then(|data| data.get(RULES));
    let Some(text) = text else {
        return Found { problems: vec![format!("{source}: it has no key \"{RULES}\"")], ..Found::default() };
    };
    // A list is read as the value of a key, for only maps are documents here.
    let document = format!("{RULES}:\n {}\n", text.trim_end().replace('\n', "\n "));
    let written = match render::parse_values(&document).map(|mut values| values[RULES].take()) {
        Ok(serde_json::Value::Array(written)) => written,
        Ok(serde_json::Value::Null) => Vec::new(),
        Ok(_) => return wrong(&source, "it is no list of rules"),
        Err(error) => return wrong(&source, &error.to_string()),
    };
    if written.len() > RULES_MAX {
        return wrong(&source, &format!("it has {} rules, at most {RULES_MAX} are accepted", written.len()));
    }
    let mut found = Found::default();
    for (at, rule) in written.into_iter().enumerate() {
        let source = format!("{source}#{at}");
        match serde_json::from_value::<Written>(rule) {
            Ok(Written { group, kind, scope, healthy, message, .. }) => {
                let cluster_scoped = scope == Scope::Cluster;
                let rule = HealthRule { source, group, kind, cluster_scoped, healthy, message };
                match state::check_rule(&rule) {
                    Ok(()) => found.rules.push(rule),
                    Err(error) => found.problems.push(format!("{} ({}): {error}", rule.source, rule.kind)),
                }
            }
            Err(error) => found.problems.push(format!(
                "{source}: {error}; a rule has group, version, kind, scope (Namespaced or Cluster), healthy and message"
            )),
        }
    }
    found
}

fn wrong(source: &str, why: &str) -> Found {
    Found { problems: vec![format!("{source}: key \"{RULES}\": {why}")], ..Found::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(rules: &str) -> ConfigMap {
        serde_json::from_value(json!({
            "metadata": {"name": "rules", "namespace": "kcm-system", "labels": {HEALTH_RULE_TARGET: "global"}},
            "data": {"rules": rules},
        }))
        .unwrap()
    }

    #[test]
    fn rules_are_read_as_k0rdents_documentation_writes_them() {
        let found = read(&map(
            "- group: batch\n  version: v1\n  kind: Job\n  scope: Namespaced\n  healthy: |\n    has(obj.status.succeeded) && int(obj.status.succeeded) > 0\n  message: |\n    !has(obj.status.succeeded) || int(obj.status.succeeded) == 0\n      ? \"job has not completed successfully yet\"\n      : \"\"\n",
        ));
        assert_eq!(found.problems, Vec::<String>::new());
        let rule = &found.rules[0];
        assert_eq!((rule.source.as_str(), rule.kind.as_str()), ("kcm-system/rules#0", "Job"));
        assert!(rule.healthy.contains("int(obj.status.succeeded) > 0") && !rule.cluster_scoped);
        assert_eq!(read(&map("[]")), Found::default());
    }

    #[test]
    fn a_rule_that_is_wrong_is_named_and_the_others_stay() {
        let found = read(&map(
            "- {group: '', version: v1, kind: A, scope: Cluster, healthy: 'obj.(', message: \"'x'\"}\n- {group: '', version: v1, kind: B, scope: Galaxy, healthy: 'true', message: \"'x'\"}\n- {group: '', version: v1, kind: C, scope: Cluster, healthy: 'true', message: \"'x'\"}\n- {group: ''}\n",
        ));
        assert_eq!(found.rules.len(), 1);
        assert!(found.rules[0].cluster_scoped && found.rules[0].source.ends_with("#2"));
        let problems = found.problems.join("\n");
        for part in ["rules#0 (A): healthy: ", "rules#1: unknown variant `Galaxy`", "rules#3: missing field"]
        {
            assert!(problems.contains(part), "{part}: {problems}");
        }
        for (text, part) in [("a: b", "no list of rules"), ("- [", "kcm-system/rules: key \"rules\": ")] {
            assert!(read(&map(text)).problems[0].contains(part), "{:?}", read(&map(text)).problems);
        }
    }

    #[test]
    fn a_chart_has_all_rules_for_its_release_may_make_anything() {
        let rule =
            "- {group: '', version: v1, kind: Pod, scope: Namespaced, healthy: 'true', message: \"'x'\"}\n";
        let (found, bundle) = (read(&map(rule)), Bundle::default());
        assert_eq!(found.of(UnitKind::Helm, &bundle).0, found.rules);
        assert_eq!(found.of(UnitKind::Resources, &bundle).0, Vec::new());
    }
}
