//! An object on its way through the layers, with what it was called before.

use super::identity::{Gvk, Id};
use super::node::{Node, Tag};
use super::schema::Schema;

/// What a generated object does to one of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Behavior {
    #[default]
    Unspecified,
    Create,
    Replace,
    Merge,
}

impl Behavior {
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "create" => Self::Create,
            "replace" => Self::Replace,
            "merge" => Self::Merge,
            _ => Self::Unspecified,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Merge => "merge",
        }
    }
}

/// Namespace, name and kind that an object had before a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Former {
    pub namespace: String,
    pub name: String,
    pub kind: String,
}

/// An object and its history.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Resource {
    /// The object; nothing once it was deleted.
    pub node: Node,
    pub former: Vec<Former>,
    pub prefixes: Vec<String>,
    pub suffixes: Vec<String>,
    pub behavior: Behavior,
    pub needs_hash: bool,
    pub may_change_name: bool,
    pub may_change_kind: bool,
    /// Names of the variables that read from it.
    pub variables: Vec<String>,
}

/// Annotations that only mean something during a build.
const INTERNAL: [&str; 19] = [
    "internal.config.kubernetes.io/previousKinds",
    "internal.config.kubernetes.io/previousNames",
    "internal.config.kubernetes.io/prefixes",
    "internal.config.kubernetes.io/suffixes",
    "internal.config.kubernetes.io/previousNamespaces",
    "internal.config.kubernetes.io/allowNameChange",
    "internal.config.kubernetes.io/allowKindChange",
    "internal.config.kubernetes.io/refBy",
    "internal.config.kubernetes.io/generatorBehavior",
    "internal.config.kubernetes.io/needsHashSuffix",
    "internal.config.kubernetes.io/path",
    "internal.config.kubernetes.io/index",
    "internal.config.kubernetes.io/seqindent",
    "internal.config.kubernetes.io/id",
    "internal.config.kubernetes.io/annotations-migration-resource-id",
    "config.kubernetes.io/path",
    "config.kubernetes.io/index",
    "config.k8s.io/id",
    "internal.config.kubernetes.io/helm-generated",
];

impl Resource {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            former: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            behavior: Behavior::Unspecified,
            needs_hash: false,
            may_change_name: false,
            may_change_kind: false,
            variables: Vec::new(),
        }
    }

    pub(crate) fn kind(&self) -> &str {
        self.node.get("kind").map_or("", Node::raw)
    }

    pub(crate) fn api_version(&self) -> &str {
        self.node.get("apiVersion").map_or("", Node::raw)
    }

    pub(crate) fn gvk(&self) -> Gvk {
        Gvk::new(self.api_version(), self.kind())
    }

    fn meta(&self, field: &str) -> &str {
        self.node.at(&["metadata", field]).map_or("", |node| if node.is_empty() { "" } else { node.raw() })
    }

    pub(crate) fn name(&self) -> &str {
        self.meta("name")
    }

    pub(crate) fn namespace(&self) -> &str {
        self.meta("namespace")
    }

    /// What it is called now.
    pub(crate) fn id(&self, schema: &Schema) -> Id {
        let gvk = self.gvk();
        Id {
            cluster: schema.is_cluster_scoped(&gvk),
            gvk,
            name: self.name().to_owned(),
            namespace: self.namespace().to_owned(),
        }
    }

    /// What it was called, oldest first. Group and version are today's.
    pub(crate) fn former_ids(&self) -> impl Iterator<Item = Id> {
        let gvk = self.gvk();
        self.former.iter().map(move |former| Id {
            gvk: Gvk { kind: former.kind.clone(), ..gvk.clone() },
            name: former.name.clone(),
            namespace: former.namespace.clone(),
            cluster: false,
        })
    }

    /// What it was called first.
    pub(crate) fn original_id(&self, schema: &Schema) -> Id {
        self.former_ids().next().unwrap_or_else(|| self.id(schema))
    }

    /// Remembers what it is called now.
    pub(crate) fn remember(&mut self, schema: &Schema) {
        let id = self.id(schema);
        let namespace = id.effective_namespace().to_owned();
        self.former.push(Former { namespace, name: id.name, kind: id.gvk.kind });
    }

    pub(crate) fn set_meta(&mut self, field: &str, value: &str) {
        if let Some(metadata) = self.node.map_at("metadata") {
            metadata.set(field, Node::open(value));
        }
    }

    pub(crate) fn set_namespace(&mut self, namespace: &str) {
        if !namespace.is_empty() {
            self.set_meta("namespace", namespace);
        } else if let Some(metadata) = self.node.get_mut("metadata") {
            metadata.remove("namespace");
        }
    }

    /// Labels or annotations as texts.
    pub(crate) fn meta_texts(&self, field: &str) -> Vec<(String, String)> {
        let found = self.node.at(&["metadata", field]).map(Node::entries).unwrap_or_default();
        found.iter().map(|(key, value)| (key.text.clone(), value.raw().to_owned())).collect()
    }

    pub(crate) fn annotation(&self, name: &str) -> Option<&str> {
        self.node.at(&["metadata", "annotations", name]).map(Node::raw)
    }

    /// Writes labels or annotations anew, sorted, every value a text.
    pub(crate) fn set_meta_texts(&mut self, field: &str, mut values: Vec<(String, String)>) {
        let Some(metadata) = self.node.map_at("metadata") else { return };
        metadata.remove(field);
        if values.is_empty() {
            return;
        }
        values.sort();
        let mut map = Node::Map(Vec::new());
        for (key, value) in values {
            map.put(&key, Node::text(&value));
        }
        metadata.put(field, map);
    }

    /// Sets one annotation, or removes it.
    pub(crate) fn set_annotation(&mut self, name: &str, value: Option<String>) {
        if self.is_gone() {
            return;
        }
        let mut all = self.meta_texts("annotations");
        all.retain(|(key, _)| key != name);
        all.extend(value.map(|value| (name.to_owned(), value)));
        self.set_meta_texts("annotations", all);
    }

    /// The history as kustomize keeps it: in annotations, which patches of JSON see.
    pub(crate) fn history(&self) -> Vec<(&'static str, String)> {
        let former = |field: fn(&Former) -> &str| {
            let all: Vec<&str> = self.former.iter().map(field).collect();
            all.join(",")
        };
        let generated = self.needs_hash || self.behavior != Behavior::Unspecified;
        let behavior = if generated { self.behavior.name() } else { "" };
        let hash = if self.needs_hash { "enabled" } else { "" };
        let mut all = vec![
            ("internal.config.kubernetes.io/generatorBehavior", behavior.to_owned()),
            ("internal.config.kubernetes.io/needsHashSuffix", hash.to_owned()),
            ("internal.config.kubernetes.io/prefixes", self.prefixes.join(",")),
            ("internal.config.kubernetes.io/previousKinds", former(|one| &one.kind)),
            ("internal.config.kubernetes.io/previousNames", former(|one| &one.name)),
            ("internal.config.kubernetes.io/previousNamespaces", former(|one| &one.namespace)),
            ("internal.config.kubernetes.io/suffixes", self.suffixes.join(",")),
        ];
        all.retain(|(_, text)| !text.is_empty());
        all
    }

    /// Removes the annotations that only mean something during a build.
    pub(crate) fn strip_internal_annotations(&mut self) {
        let mut all = self.meta_texts("annotations");
        if !all.is_empty() {
            all.retain(|(key, _)| !INTERNAL.contains(&key.as_str()));
            self.set_meta_texts("annotations", all);
        }
    }

    /// Takes labels, annotations, name, namespace and history of what it replaces.
    pub(crate) fn inherit(&mut self, old: &Self) {
        for field in ["labels", "annotations"] {
            let mut all = old.meta_texts(field);
            let own = self.meta_texts(field);
            all.retain(|(key, _)| !own.iter().any(|(known, _)| known == key));
            all.extend(own);
            self.set_meta_texts(field, all);
        }
        self.set_meta("name", old.name());
        self.set_namespace(old.namespace());
        self.former.clone_from(&old.former);
        self.prefixes.clone_from(&old.prefixes);
        self.suffixes.clone_from(&old.suffixes);
        self.behavior = old.behavior;
        self.needs_hash = self.needs_hash && old.needs_hash;
        self.variables.clone_from(&old.variables);
    }

    /// Adds the data of what it is merged into, where it has none of the same key.
    pub(crate) fn absorb_data(&mut self, old: &Self) {
        for field in ["data", "binaryData"] {
            let texts = |resource: &Self| -> Vec<(String, String)> {
                let found = resource.node.get(field).map(Node::entries).unwrap_or_default();
                found.iter().map(|(key, value)| (key.text.clone(), value.value().to_owned())).collect()
            };
            let own = texts(self);
            let mut all = texts(old);
            all.retain(|(key, _)| !own.iter().any(|(known, _)| known == key));
            all.extend(own);
            all.sort();
            self.node.remove(field);
            let mut map = Node::Map(Vec::new());
            for (key, value) in all {
                map.put(&key, Node::text(&value));
            }
            if !map.entries().is_empty() {
                self.node.put(field, map);
            }
        }
    }

    /// What kustomize demands of every object.
    ///
    /// # Errors
    /// When kind or name is missing.
    pub(crate) fn check(node: &Node) -> Result<(), String> {
        if !node.is_map() {
            return Err(format!("expected an object, found {}", node.kind()));
        }
        let filled =
            |found: Option<&Node>| found.is_some_and(|node| !node.is_empty() && !node.raw().is_empty());
        if !filled(node.get("kind")) {
            return Err("the field \"kind\" is missing".to_owned());
        }
        let is_list = node.get("kind").is_some_and(|kind| kind.raw().ends_with("List"));
        if !is_list && !filled(node.at(&["metadata", "name"])) {
            let kind = node.get("kind").map_or("", Node::raw);
            return Err(format!("the field \"metadata.name\" of the {kind} is missing"));
        }
        Ok(())
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.node.is_empty()
    }

    /// Sets the kind.
    pub(crate) fn set_kind(&mut self, kind: &str) {
        self.node.set("kind", Node::open(kind));
    }

    /// Sets one label as a text.
    pub(crate) fn set_label(&mut self, name: &str, value: &str) -> Result<(), String> {
        let metadata = self.node.map_at("metadata").ok_or("\"metadata\" is not a map")?;
        let labels = metadata.map_at("labels").ok_or("\"metadata.labels\" is not a map")?;
        let mut text = Node::text(value);
        if let Some(Node::Scalar(before)) = labels.get(name) {
            let mut kept = before.clone();
            value.clone_into(&mut kept.text);
            kept.tag = Tag::Text;
            text = Node::Scalar(kept);
        }
        labels.put(name, text);
        Ok(())
    }
}
