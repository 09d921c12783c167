//! What is known of kinds: which lists merge by which keys, and which kinds have no namespace.
//!
//! `merge_keys.txt` and `cluster_kinds.txt` hold what the OpenAPI document of Kubernetes 1.21.2 says, the one that
//! kustomize 5.8 carries. A type is a line of its name and the `apiVersion:kind`s that have it; below it, indented,
//! its fields that lead to a merged list: `.` a type, `[]` a list of it, `{}` a map of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;

use super::identity::Gvk;

/// How a field holds its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One,
    List,
    Map,
}

#[derive(Clone, Debug)]
struct Field {
    shape: Shape,
    kind: Option<usize>,
    /// The keys by which items merge; none at all for a list that is replaced.
    merge: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
struct Type {
    fields: BTreeMap<String, Field>,
    /// What the values of a map have.
    rest: Option<Field>,
}

/// Kinds and their types.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    types: Vec<Type>,
    kinds: BTreeMap<(String, String), usize>,
    cluster: BTreeSet<(String, String)>,
}

/// A place in the schema: a type, or a list or map of it.
#[derive(Clone, Debug)]
pub(crate) enum Place<'s> {
    Type(usize),
    List { items: Option<usize>, merge: Option<&'s [String]> },
    Map(Option<usize>),
}

impl Schema {
    /// What kustomize knows by itself.
    pub(crate) fn built_in() -> Arc<Self> {
        static BUILT_IN: OnceLock<Arc<Schema>> = OnceLock::new();
        let made = BUILT_IN.get_or_init(|| {
            let mut schema = Self::default();
            schema.read_types(include_str!("merge_keys.txt"));
            schema.read_cluster_kinds();
            Arc::new(schema)
        });
        Arc::clone(made)
    }

    fn read_cluster_kinds(&mut self) {
        let pairs = include_str!("cluster_kinds.txt").lines().filter_map(|line| line.split_once(' '));
        self.cluster.extend(pairs.map(|(version, kind)| (version.to_owned(), kind.to_owned())));
    }

    fn read_types(&mut self, text: &str) {
        let names = text.lines().filter(|line| !line.starts_with(' '));
        let names: BTreeMap<&str, usize> = names
            .filter_map(|line| line.split(' ').next())
            .enumerate()
            .map(|(at, name)| (name, at))
            .collect();
        for line in text.lines() {
            let Some(field) = line.strip_prefix(' ') else {
                for (version, kind) in line.split(' ').skip(1).filter_map(|name| name.rsplit_once(':')) {
                    self.kinds.insert((version.to_owned(), kind.to_owned()), self.types.len());
                }
                self.types.push(Type::default());
                continue;
            };
            let mut words = field.split(' ');
            let (Some(name), Some(sign), Some(kind)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let shape = match sign {
                "[]" => Shape::List,
                "{}" => Shape::Map,
                _ => Shape::One,
            };
            let merge = words.next().map(|_| words.map(str::to_owned).collect());
            let field = Field { shape, kind: names.get(kind).copied(), merge };
            if let Some(last) = self.types.last_mut() {
                last.fields.insert(name.to_owned(), field);
            }
        }
    }

    /// A schema of the user's own: an OpenAPI 2 document. It stands alone, only the scopes of kinds are kept.
    ///
    /// # Errors
    /// When it has no definitions that are maps.
    pub(crate) fn custom(document: &Json) -> Result<Self, String> {
        let mut schema = Self::default();
        schema.read_cluster_kinds();
        let empty = serde_json::Map::new();
        let definitions = match document.get("definitions") {
            None | Some(Json::Null) => &empty,
            Some(Json::Object(definitions)) => definitions,
            Some(_) => return Err("\"definitions\" is not a map".to_owned()),
        };
        let names: BTreeMap<&str, usize> =
            definitions.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        schema.types = vec![Type::default(); names.len()];
        for (at, definition) in definitions.values().enumerate() {
            let made = schema.define(definition, &names);
            schema.types[at] = made;
            for (version, kind) in group_version_kinds(definition) {
                schema.kinds.insert((version, kind), at);
            }
        }
        schema.read_paths(document);
        Ok(schema)
    }

    fn read_paths(&mut self, document: &Json) {
        let Some(Json::Object(paths)) = document.get("paths") else { return };
        let mut scopes: BTreeMap<(String, String), bool> = BTreeMap::new();
        for (path, operations) in paths {
            let Some(found) =
                operations.get("get").and_then(|get| get.get("x-kubernetes-group-version-kind"))
            else {
                continue;
            };
            let Some(kind) = group_version_kind(found) else { continue };
            let namespaced = scopes.entry(kind).or_default();
            *namespaced |= path.contains("namespaces/{namespace}");
        }
        self.cluster.extend(scopes.into_iter().filter(|(_, namespaced)| !namespaced).map(|(kind, _)| kind));
    }

    fn define(&mut self, definition: &Json, names: &BTreeMap<&str, usize>) -> Type {
        let mut made = Type::default();
        if let Some(Json::Object(properties)) = definition.get("properties") {
            for (name, property) in properties {
                let field = self.field(property, names);
                made.fields.insert(name.clone(), field);
            }
        }
        if let Some(rest @ Json::Object(_)) = definition.get("additionalProperties") {
            made.rest = Some(self.field(rest, names));
        }
        made
    }

    fn field(&mut self, property: &Json, names: &BTreeMap<&str, usize>) -> Field {
        if let Some(target) = property.get("$ref").and_then(Json::as_str) {
            let name = target.rsplit('/').next().unwrap_or_default();
            return Field { shape: Shape::One, kind: names.get(name).copied(), merge: None };
        }
        if let Some(items) = property.get("items") {
            let strategy =
                property.get("x-kubernetes-patch-strategy").and_then(Json::as_str).unwrap_or_default();
            let merge = strategy.split(',').any(|one| one == "merge").then(|| merge_keys(property));
            let kind = self.nested(items, names);
            return Field { shape: Shape::List, kind, merge };
        }
        let kind = self.nested(property, names);
        Field { shape: Shape::One, kind, merge: None }
    }

    /// A type that stands in the middle of another.
    fn nested(&mut self, definition: &Json, names: &BTreeMap<&str, usize>) -> Option<usize> {
        if let Some(target) = definition.get("$ref").and_then(Json::as_str) {
            return names.get(target.rsplit('/').next().unwrap_or_default()).copied();
        }
        let has = |name: &str| definition.get(name).is_some_and(Json::is_object);
        if !has("properties") && !has("additionalProperties") {
            return None;
        }
        let made = self.define(definition, names);
        self.types.push(made);
        Some(self.types.len() - 1)
    }

    /// The type of a kind.
    pub(crate) fn of(&self, api_version: &str, kind: &str) -> Option<Place<'_>> {
        self.kinds.get(&(api_version.to_owned(), kind.to_owned())).map(|at| Place::Type(*at))
    }

    /// Whether a kind is known to have no namespace.
    pub(crate) fn is_cluster_scoped(&self, gvk: &Gvk) -> bool {
        self.cluster.contains(&(gvk.api_version(), gvk.kind.clone()))
    }

    /// The place of a field.
    pub(crate) fn below(&self, place: &Place<'_>, field: &str) -> Option<Place<'_>> {
        match place {
            Place::Type(at) => {
                let known = self.types.get(*at)?;
                let field = known.fields.get(field).or(known.rest.as_ref())?;
                Some(match field.shape {
                    Shape::One => Place::Type(field.kind?),
                    Shape::Map => Place::Map(field.kind),
                    Shape::List => Place::List { items: field.kind, merge: field.merge.as_deref() },
                })
            }
            Place::Map(kind) => kind.map(Place::Type),
            Place::List { .. } => None,
        }
    }
}

impl Place<'_> {
    /// The place of the items of a list.
    pub(crate) fn items<'s>(&self) -> Option<Place<'s>> {
        match self {
            Self::List { items, .. } => items.map(Place::Type),
            Self::Type(_) | Self::Map(_) => None,
        }
    }

    /// The keys by which items merge.
    pub(crate) fn merge_keys(&self) -> Option<&[String]> {
        match self {
            Self::List { merge, .. } => *merge,
            Self::Type(_) | Self::Map(_) => None,
        }
    }
}

fn merge_keys(property: &Json) -> Vec<String> {
    if let Some(keys) = property.get("x-kubernetes-list-map-keys").and_then(Json::as_array) {
        return keys.iter().filter_map(Json::as_str).map(str::to_owned).collect();
    }
    property
        .get("x-kubernetes-patch-merge-key")
        .and_then(Json::as_str)
        .map(str::to_owned)
        .into_iter()
        .collect()
}

fn group_version_kinds(definition: &Json) -> Vec<(String, String)> {
    let found = definition.get("x-kubernetes-group-version-kind").and_then(Json::as_array);
    found.into_iter().flatten().filter_map(group_version_kind).collect()
}

fn group_version_kind(entry: &Json) -> Option<(String, String)> {
    let text = |name: &str| entry.get(name).and_then(Json::as_str);
    let (group, version, kind) = (text("group").unwrap_or_default(), text("version")?, text("kind")?);
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some((api_version, kind.to_owned()))
}
