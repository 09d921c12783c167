//! Which kinds the API serves: ONE static table of built-in kinds (`builtin`), shared by every cluster in the
//! process, and the kinds that CustomResourceDefinitions add (`custom`).

mod builtin;
mod custom;
mod openapi;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

pub(crate) use builtin::Builtin;
pub(crate) use custom::{Custom, custom_kinds, default_definition, establish, validate_definition};
pub(crate) use openapi::builtin_schemas;

use crate::fields::MergeSchema;
use crate::names::NameRule;
use crate::schema::Schema;

/// Where the scale subresource finds its numbers, as field paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) spec_replicas: Vec<String>,
    pub(crate) status_replicas: Vec<String>,
    pub(crate) label_selector: Option<Vec<String>>,
}

/// What clients may do with a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verbs {
    /// Everything.
    All,
    /// Only create: reviews, which are answered and not stored.
    Review,
}

/// One served kind in one version.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: Arc<str>,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// The shelf of the store: `plural.group`; kinds that are views of the same objects share one.
    pub(crate) resource: Arc<str>,
    /// The `apiVersion` in which objects are stored.
    pub(crate) stored_api_version: String,
    pub(crate) status: bool,
    pub(crate) scale: Option<Scale>,
    /// Whether `metadata.generation` is kept.
    pub(crate) generation: bool,
    pub(crate) verbs: Verbs,
    pub(crate) names: NameRule,
    pub(crate) origin: Origin,
}

/// Where a kind comes from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A row of the table.
    Builtin(&'static Builtin, Box<BuiltinRules>),
    /// A CustomResourceDefinition.
    Custom(Box<Custom>),
}

/// What is worked out once per process for a row of the table, on first use.
#[derive(Debug, Default)]
pub(crate) struct BuiltinRules {
    merge: OnceLock<MergeSchema>,
    schema: OnceLock<Option<Schema>>,
}

impl Kind {
    /// `group/version`, or `version` for the core group.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, or `pods`.
    pub(crate) fn qualified_plural(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Deployment.apps`, or `Pod`.
    pub(crate) fn qualified_kind(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// How maps and lists of this kind merge.
    pub(crate) fn merge_schema(&self) -> &MergeSchema {
        match &self.origin {
            Origin::Builtin(row, rules) => {
                rules.merge.get_or_init(|| MergeSchema::builtin(row.group, row.kind))
            }
            Origin::Custom(custom) => &custom.merge,
        }
    }

    /// The structural schema: of a custom kind, or, for field validation, of a built-in one.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        match &self.origin {
            Origin::Builtin(row, rules) => {
                rules.schema.get_or_init(|| builtin_schemas().structural(row)).as_ref()
            }
            Origin::Custom(custom) => custom.schema.as_ref(),
        }
    }

    pub(crate) fn custom(&self) -> Option<&Custom> {
        match &self.origin {
            Origin::Builtin(..) => None,
            Origin::Custom(custom) => Some(custom),
        }
    }

    pub(crate) fn builtin(&self) -> Option<&'static Builtin> {
        match &self.origin {
            Origin::Builtin(row, _) => Some(row),
            Origin::Custom(_) => None,
        }
    }

    /// Whether this is the given built-in kind.
    pub(crate) fn is(&self, group: &str, kind: &str) -> bool {
        *self.group == *group && self.kind == kind
    }

    /// Whether a field selector may name this field.
    pub(crate) fn selects_field(&self, field: &str) -> bool {
        if field == "metadata.name" || (field == "metadata.namespace" && self.namespaced) {
            return true;
        }
        match &self.origin {
            Origin::Builtin(row, _) => row.selectable.contains(&field),
            Origin::Custom(custom) => custom.selectable.iter().any(|one| one == field),
        }
    }

    /// Whether PUT without a resourceVersion overwrites (built-in kinds) or is refused (custom kinds).
    pub(crate) fn unconditional_update(&self) -> bool {
        self.builtin().is_some()
    }
}

/// The kinds of one cluster at one moment. Cheap to copy: the built-in part is shared by the process.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    builtin: &'static Kinds,
    custom: Kinds,
}

/// (group, version, plural) -> kind
type Kinds = BTreeMap<(String, String, String), Arc<Kind>>;

impl Registry {
    /// The built-in kinds alone.
    pub(crate) fn new() -> Self {
        static BUILTIN: OnceLock<Kinds> = OnceLock::new();
        let builtin = BUILTIN.get_or_init(|| keyed(builtin::kinds()));
        Self { builtin, custom: Kinds::new() }
    }

    /// Replaces all kinds of one CustomResourceDefinition (`resource` is its name).
    pub(crate) fn set_custom(&mut self, resource: &str, kinds: Vec<Kind>) {
        self.custom.retain(|_, kind| &*kind.resource != resource);
        self.custom.extend(keyed(kinds.into_iter().map(Arc::new).collect()));
    }

    /// The kind behind a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.builtin.get(&key).or_else(|| self.custom.get(&key)).cloned()
    }

    /// The kind an object names by `apiVersion` and `kind`.
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.all().find(|one| *one.group == *group && one.version == version && one.kind == kind).cloned()
    }

    /// A kind of the store's shelf, in its preferred version.
    pub(crate) fn by_resource(&self, resource: &str) -> Option<Arc<Kind>> {
        self.all()
            .find(|kind| &*kind.resource == resource && kind.stored_api_version == kind.api_version())
            .cloned()
    }

    /// Every kind, sorted by group, version and plural.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.builtin.values().chain(self.custom.values())
    }

    /// Served groups with their versions, the preferred version first. The core group is `""`.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
        for kind in self.all() {
            let group = kind.group.to_string();
            let versions = groups.entry((builtin::group_rank(&group), group)).or_default();
            if !versions.contains(&kind.version) {
                versions.push(kind.version.clone());
            }
        }
        let mut groups: Vec<(String, Vec<String>)> =
            groups.into_iter().map(|((_, group), versions)| (group, versions)).collect();
        for (_, versions) in &mut groups {
            versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        }
        groups
    }
}

fn keyed(kinds: Vec<Arc<Kind>>) -> Kinds {
    kinds
        .into_iter()
        .map(|kind| ((kind.group.to_string(), kind.version.clone(), kind.plural.clone()), kind))
        .collect()
}

/// Kubernetes' version priority: v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > anything else.
fn version_rank(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..digits].parse() else { return (0, 0, 0) };
    let (stage, minor) = match &rest[digits..] {
        "" => (3, "0"),
        beta if beta.starts_with("beta") => (2, &beta[4..]),
        alpha if alpha.starts_with("alpha") => (1, &alpha[5..]),
        _ => return (0, 0, 0),
    };
    (stage, major, minor.parse().unwrap_or(0))
}

/// The pieces of a dotted field path such as `.spec.replicas`.
pub(crate) fn field_path(text: &str) -> Vec<String> {
    text.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect()
}

/// A pointer into an object by owned path steps.
pub(crate) fn at_path<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| value.get(step.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ranked_as_kubernetes_ranks_them() {
        let mut versions = vec!["v1alpha1", "v1", "v10", "foo", "v1beta2", "v2", "v1beta1"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }

    #[test]
    fn every_row_of_the_table_is_found_by_path_and_by_kind() {
        let registry = Registry::new();
        assert!(registry.all().count() > 50);
        for kind in registry.all() {
            assert!(registry.find(&kind.group, &kind.version, &kind.plural).is_some());
            assert!(registry.by_kind(&kind.api_version(), &kind.kind).is_some(), "{}", kind.kind);
        }
        assert_eq!(registry.groups()[0].0, "");
    }
}
