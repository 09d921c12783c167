//! Names and namespaces: prefixes, suffixes, namespaces, hashes, and the fields of other objects that hold a name.

use std::collections::BTreeMap;

use super::collection::Collection;
use super::config::Config;
use super::fields::{Create, FieldSpec};
use super::generate;
use super::identity::{Gvk, Id, NO_NAMESPACE};
use super::node::{Node, Tag};
use super::resource::Resource;
use super::schema::Schema;

/// Whether names of the kind stay what they are.
fn keeps_its_name(resource: &Resource, schema: &Schema) -> bool {
    let gvk = resource.original_id(schema).gvk;
    matches!(gvk.kind.as_str(), "CustomResourceDefinition" | "Namespace")
        || (gvk.kind == "APIService" && gvk.group == "apiregistration.k8s.io")
}

/// Puts a prefix before, or a suffix behind, the fields given.
///
/// # Errors
/// When a field is not a single value.
pub(crate) fn affix(
    collection: &mut Collection,
    text: &str,
    is_prefix: bool,
    specs: &[FieldSpec],
    schema: &Schema,
) -> Result<(), String> {
    for resource in &mut collection.all {
        if keeps_its_name(resource, schema) {
            continue;
        }
        let gvk = resource.original_id(schema).gvk;
        for spec in specs.iter().filter(|spec| gvk.is_selected(&spec.gvk)) {
            if spec.path == "metadata/name" && !text.is_empty() {
                if is_prefix { &mut resource.prefixes } else { &mut resource.suffixes }.push(text.to_owned());
                resource.remember(schema);
            }
            spec.edit(resource, Create::Scalar(Tag::Text), &mut |node| {
                let new =
                    if is_prefix { format!("{text}{}", node.raw()) } else { format!("{}{text}", node.raw()) };
                node.set_scalar(&new, Tag::Open)
            })?;
        }
    }
    Ok(())
}

/// Which subjects of role bindings get the namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Subjects {
    #[default]
    NamedDefault,
    ServiceAccounts,
    Nobody,
}

/// A namespace for everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespace {
    pub name: String,
    pub unset_only: bool,
    pub subjects: Subjects,
}

impl Namespace {
    /// Sets the namespace of all objects, and the fields given.
    ///
    /// # Errors
    /// When two objects become one, or a field is not a single value.
    pub(crate) fn apply(
        &self,
        collection: &mut Collection,
        specs: &[FieldSpec],
        schema: &Schema,
    ) -> Result<(), String> {
        for at in 0..collection.all.len() {
            let resource = &mut collection.all[at];
            if resource.is_gone() {
                continue;
            }
            resource.remember(schema);
            self.set(resource, specs, schema)?;
            let id = resource.id(schema);
            let same =
                collection.all.iter().filter(|one| one.name() == id.name && one.id(schema).is(&id)).count();
            if same != 1 {
                return Err(format!("namespace transformation produces ID conflict: {id}"));
            }
        }
        Ok(())
    }

    /// Sets the namespace of one object.
    ///
    /// # Errors
    /// When a field is not a single value.
    pub(crate) fn set(
        &self,
        resource: &mut Resource,
        specs: &[FieldSpec],
        schema: &Schema,
    ) -> Result<(), String> {
        let mut write = |node: &mut Node| self.write(node);
        if !schema.is_cluster_scoped(&resource.gvk()) {
            let own =
                FieldSpec { path: "metadata/namespace".to_owned(), create: true, ..FieldSpec::default() };
            own.edit(resource, Create::Scalar(Tag::Open), &mut write)?;
        }
        let is_binding = matches!(resource.kind(), "RoleBinding" | "ClusterRoleBinding");
        if is_binding
            && let Some(subjects) = resource.node.get_mut("subjects").filter(|found| !found.is_null())
        {
            let Node::List(items) = subjects else {
                return Err(format!("\"subjects\" is {}, expected a list", subjects.kind()));
            };
            for subject in items {
                let (field, value) = match self.subjects {
                    Subjects::NamedDefault => ("name", "default"),
                    Subjects::ServiceAccounts => ("kind", "ServiceAccount"),
                    Subjects::Nobody => continue,
                };
                if subject.get(field).is_some_and(|found| found.value() == value) {
                    if subject.get("namespace").is_none() {
                        subject.put("namespace", Node::open(""));
                    }
                    if let Some(namespace) = subject.get_mut("namespace") {
                        write(namespace)?;
                    }
                }
            }
        }
        for spec in specs {
            let of_subjects = matches!(spec.gvk.kind.as_str(), "RoleBinding" | "ClusterRoleBinding")
                && spec.path == "subjects/namespace";
            let of_others = spec.path == "metadata/name" && resource.api_version() != "v1";
            if spec.path != "metadata/namespace" && !of_others && !(is_binding && of_subjects) {
                spec.edit(resource, Create::Scalar(Tag::Text), &mut write)?;
            }
        }
        Ok(())
    }

    fn write(&self, node: &mut Node) -> Result<(), String> {
        if self.unset_only && !node.value().is_empty() {
            return Ok(());
        }
        node.set_scalar(&self.name, Tag::Text)
            .map_err(|reason| format!("namespace field specs must target scalar nodes: {reason}"))
    }
}

/// Appends the hash to the names of generated objects.
///
/// # Errors
/// When the data of one is no JSON.
pub(crate) fn hash(collection: &mut Collection, schema: &Schema) -> Result<(), String> {
    for resource in collection.all.iter_mut().filter(|one| one.needs_hash) {
        let hash = generate::hash(resource)?;
        resource.remember(schema);
        let name = format!("{}-{hash}", resource.name());
        resource.set_meta("name", &name);
    }
    Ok(())
}

/// What a reference may lead to.
struct Candidate {
    current: Id,
    former: Vec<Id>,
    prefixes: Vec<String>,
    suffixes: Vec<String>,
}

/// Everything as it was named before references are mended. No name changes while they are.
struct Directory {
    all: Vec<Candidate>,
    by_former_name: BTreeMap<String, Vec<usize>>,
}

impl Directory {
    fn of(collection: &Collection, schema: &Schema) -> Self {
        let all: Vec<Candidate> = collection
            .all
            .iter()
            .map(|resource| Candidate {
                current: resource.id(schema),
                former: resource.former_ids().collect(),
                prefixes: resource.prefixes.clone(),
                suffixes: resource.suffixes.clone(),
            })
            .collect();
        let mut by_former_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, candidate) in all.iter().enumerate() {
            for id in &candidate.former {
                let known = by_former_name.entry(id.name.clone()).or_default();
                if known.last() != Some(&at) {
                    known.push(at);
                }
            }
        }
        Self { all, by_former_name }
    }
}

/// Mends every field that holds the name of another object.
///
/// # Errors
/// When a name could mean several objects, or a field is not what the table says.
pub(crate) fn mend_references(
    collection: &mut Collection,
    config: &Config,
    schema: &Schema,
) -> Result<(), String> {
    let directory = Directory::of(collection, schema);
    for (at, resource) in collection.all.iter_mut().enumerate() {
        let original = resource.original_id(schema).gvk;
        let mut referrer: Option<Referrer<'_>> = None;
        for reference in &config.name_references {
            for spec in reference.fields.iter().filter(|spec| original.is_selected(&spec.gvk)) {
                let referrer = match &mut referrer {
                    Some(known) => known,
                    none => none.insert(Referrer::new(resource, at, &directory)?),
                };
                let role = spec.path.ends_with("roleRef/name").then(|| role_of(&resource.node)).flatten();
                // The object itself is meant, whatever its group and version were.
                let own = FieldSpec { gvk: resource.gvk(), path: spec.path.clone(), create: spec.create };
                let target = Target { referrer, kind: &reference.gvk, role };
                own.edit(resource, Create::Nothing, &mut |node| target.mend(node))?;
            }
        }
    }
    Ok(())
}

fn role_of(node: &Node) -> Option<Gvk> {
    let (group, kind) = (node.at(&["roleRef", "apiGroup"])?, node.at(&["roleRef", "kind"])?);
    Some(Gvk { group: group.raw().to_owned(), version: String::new(), kind: kind.raw().to_owned() })
}

/// An object whose references are mended, and whom it may refer to.
struct Referrer<'d> {
    directory: &'d Directory,
    own: &'d Candidate,
    /// Other namespaces in which a role binding names service accounts.
    namespaces: Vec<String>,
}

impl<'d> Referrer<'d> {
    fn new(resource: &Resource, at: usize, directory: &'d Directory) -> Result<Self, String> {
        let mut namespaces = Vec::new();
        if resource.kind() == "RoleBinding" {
            for subject in resource.node.get("subjects").map(Node::items).unwrap_or_default() {
                if subject.get("kind").is_some_and(|kind| kind.raw() == "ServiceAccount")
                    && let Some(namespace) = subject.get("namespace")
                {
                    if namespace.is_null() {
                        return Err(format!(
                            "a subject of {} has a blank namespace",
                            directory.all[at].current
                        ));
                    }
                    namespaces.push(namespace.raw().to_owned());
                }
            }
        }
        Ok(Self { directory, own: &directory.all[at], namespaces })
    }

    /// Whether the object may refer to the other at all.
    fn may_refer(&self, other: &Candidate) -> bool {
        self.own.current.cluster
            || other.current.cluster
            || other.current.same_namespace(&self.own.current)
            || self.namespaces.contains(&other.current.namespace)
    }
}

/// The kind that a field refers to.
struct Target<'r> {
    referrer: &'r Referrer<'r>,
    kind: &'r Gvk,
    role: Option<Gvk>,
}

impl Target<'_> {
    fn mend(&self, node: &mut Node) -> Result<(), String> {
        if node.is_null() {
            return Ok(());
        }
        match node {
            Node::Scalar(_) => self.mend_name(node),
            Node::Map(_) => self.mend_map(node),
            Node::List(items) => {
                items.iter_mut().filter(|item| !item.is_null()).try_for_each(|item| match item {
                    Node::Scalar(_) => self.mend_name(item),
                    Node::Map(_) => self.mend_map(item),
                    Node::List(_) => Err("expected a name or a map with a name, found a list".to_owned()),
                })
            }
        }
    }

    fn mend_name(&self, node: &mut Node) -> Result<(), String> {
        let Some(found) = self.select(node.raw(), |_| true, false)? else { return Ok(()) };
        if found.current.name == node.raw() {
            Ok(())
        } else {
            node.set_scalar(&found.current.name, Tag::Open)
        }
    }

    /// A map with a name and perhaps a namespace.
    fn mend_map(&self, node: &mut Node) -> Result<(), String> {
        let Some(name) = node.get("name") else {
            return Err("path config error; no 'name' field in node".to_owned());
        };
        let name = name.raw().to_owned();
        let namespace = node.get("namespace").map(|namespace| namespace.raw().to_owned());
        let found = match &namespace {
            None => self.select(&name, |_| true, true)?,
            Some(wanted) => {
                let original = |one: &Candidate| {
                    one.former.first().unwrap_or(&one.current).effective_namespace().to_owned()
                };
                let all = self.referrer.directory.all.iter().filter(|one| self.referrer.may_refer(one));
                let known = all.clone().any(|one| original(one) == *wanted) && wanted != NO_NAMESPACE;
                self.select(
                    &name,
                    |one| {
                        if known {
                            original(one) == *wanted
                        } else {
                            one.current.effective_namespace() == wanted
                        }
                    },
                    true,
                )?
            }
        };
        let Some(found) = found else { return Ok(()) };
        if found.current.name == name && found.current.namespace.is_empty() {
            return Ok(());
        }
        node.set("name", Node::open(&found.current.name));
        if !found.current.namespace.is_empty() {
            node.set("namespace", Node::open(&found.current.namespace));
        }
        Ok(())
    }

    /// The object that was called so.
    fn select(
        &self,
        name: &str,
        also: impl Fn(&Candidate) -> bool,
        with_namespace: bool,
    ) -> Result<Option<&Candidate>, String> {
        let referrer = self.referrer;
        let Some(known) = referrer.directory.by_former_name.get(name) else { return Ok(None) };
        let own = &referrer.own.current;
        let mut found: Vec<&Candidate> = known
            .iter()
            .map(|at| &referrer.directory.all[*at])
            .filter(|one| referrer.may_refer(one) && also(one))
            .filter(|one| one.former.iter().any(|id| id.gvk.is_selected(self.kind)))
            .filter(|one| {
                self.role.as_ref().is_none_or(|role| one.former.iter().any(|id| id.gvk.is_selected(role)))
            })
            .filter(|one| {
                own.cluster
                    || one.current.cluster
                    || one.current.gvk.kind == "ServiceAccount"
                    || own.same_namespace(&one.current)
            })
            .collect();
        if found.len() == 1 {
            return Ok(found.pop());
        }
        found.retain(|one| referrer.own.same_affixes(one, true));
        if found.len() > 1 {
            found.retain(|one| referrer.own.same_affixes(one, false));
        }
        let Some(first) = found.first().copied() else { return Ok(None) };
        let identical = found.iter().all(|one| {
            one.current.name == first.current.name
                && (!with_namespace || one.current.namespace == first.current.namespace)
        });
        if identical {
            return Ok(Some(first));
        }
        let ids: Vec<String> = found.iter().map(|one| one.current.to_string()).collect();
        Err(format!("found multiple possible referrals to \"{name}\": {}", ids.join(", ")))
    }
}

impl Candidate {
    /// Whether both went through the same last layers of prefixes and suffixes.
    fn same_affixes(&self, other: &Self, allow_empty: bool) -> bool {
        let same = |a: &[String], b: &[String]| {
            if a.is_empty() || b.is_empty() {
                return allow_empty || a.is_empty() && b.is_empty();
            }
            a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b)
        };
        same(&self.prefixes, &other.prefixes) && same(&self.suffixes, &other.suffixes)
    }
}
