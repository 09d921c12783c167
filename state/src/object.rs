//! Objects on the cluster: what names them, where they live, and how an object shows whose it is.

use std::fmt;
use std::sync::Arc;

use protocol::id::Digest;
use protocol::plan::{ObjectEntry, ObjectKey, Unit, UnitId};
use serde_json::{Map, Value};

use crate::live::Meta;

/// Label of every applied object; its value names the release, its presence is what the watches select.
/// As annotation it carries the whole text of the [`UnitId`].
pub const UNIT_LABEL: &str = "skein.dev/unit";
/// Annotation that names the agent that applies the object.
pub const AGENT_ANNOTATION: &str = "skein.dev/agent";
/// Annotation of hook objects: the event and the number of the revision they were run for.
pub const HOOK_ANNOTATION: &str = "skein.dev/hook";

/// Longest label value in bytes (Kubernetes).
const LABEL_BYTES_MAX: usize = 63;

/// What an object is, whatever API version it is reached through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, kind, namespace, name } = self;
        let dot = if group.is_empty() { "" } else { "." };
        let slash = if namespace.is_empty() { "" } else { "/" };
        write!(f, "{kind}{dot}{group} {namespace}{slash}{name}")
    }
}

impl ObjectId {
    /// The key under which reports name the object.
    pub(crate) fn key(&self, version: &str) -> ObjectKey {
        ObjectKey {
            group: self.group.clone(),
            version: version.to_owned(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// A kind as the API server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

impl Resource {
    /// Path of the collection in all namespaces.
    pub(crate) fn path(&self) -> String {
        self.path_in("")
    }

    fn path_in(&self, namespace: &str) -> String {
        let Self { group, version, plural, .. } = self;
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        if namespace.is_empty() {
            format!("{root}/{plural}")
        } else {
            format!("{root}/namespaces/{}/{plural}", escape(namespace))
        }
    }

    /// The identity of an object of this kind.
    pub(crate) fn id(&self, meta: &Meta) -> ObjectId {
        ObjectId {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
        }
    }

    /// Whether metadata says all there is to know: kinds without a status to wait for.
    pub(crate) fn metadata_only(&self) -> bool {
        matches!(
            (self.group.as_str(), self.kind.as_str()),
            ("", "ConfigMap" | "Secret" | "ServiceAccount" | "LimitRange" | "ResourceQuota" | "Endpoints")
                | ("rbac.authorization.k8s.io", _)
                | ("admissionregistration.k8s.io", _)
                | ("scheduling.k8s.io" | "storage.k8s.io" | "node.k8s.io" | "discovery.k8s.io", _)
                | ("networking.k8s.io", "NetworkPolicy" | "IngressClass")
                | ("coordination.k8s.io", _)
        )
    }
}

/// Where an object is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: Arc<ObjectId>,
    pub(crate) resource: Arc<Resource>,
}

impl Place {
    /// The place of a plan's entry, once its kind is known: a namespaced object that names no namespace
    /// goes into the release's, a cluster-scoped one has none whatever it says.
    pub(crate) fn of(key: &ObjectKey, release_namespace: &str, resource: Arc<Resource>) -> Self {
        let namespace = match (resource.namespaced, key.namespace.is_empty()) {
            (false, _) => String::new(),
            (true, true) => release_namespace.to_owned(),
            (true, false) => key.namespace.clone(),
        };
        let id =
            ObjectId { group: key.group.clone(), kind: key.kind.clone(), namespace, name: key.name.clone() };
        Self { id: Arc::new(id), resource }
    }

    /// Path of the object.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection(), escape(&self.id.name))
    }

    /// Path of the collection in the object's namespace.
    pub(crate) fn collection(&self) -> String {
        self.resource.path_in(&self.id.namespace)
    }
}

/// Percent-encodes what may not stand in a path segment.
fn escape(segment: &str) -> String {
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The label value for a unit: `<namespace>.<name>` of the release, or a digest where that is no label value.
pub(crate) fn label_value(unit: &UnitId) -> String {
    let text = format!("{}.{}", unit.namespace, unit.name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    let valid = text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(plain)
        && ends(text.bytes().next())
        && ends(text.bytes().last());
    if valid { text } else { Digest::of(unit.to_string().as_bytes()).to_string()[..32].to_owned() }
}

/// Whose an object is.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) agent: String,
    pub(crate) unit: String,
    pub(crate) label: String,
}

impl Owner {
    pub(crate) fn new(agent: &str, unit: &UnitId) -> Self {
        Self { agent: agent.to_owned(), unit: unit.to_string(), label: label_value(unit) }
    }

    /// Whether the live object says that it belongs to this unit of this agent.
    pub(crate) fn owns(&self, meta: &Meta) -> bool {
        meta.annotations.get(UNIT_LABEL) == Some(&self.unit)
            && meta.annotations.get(AGENT_ANNOTATION) == Some(&self.agent)
    }

    /// Whether the live object says that it belongs to a unit of this agent.
    pub(crate) fn agent_owns(&self, meta: &Meta) -> bool {
        meta.annotations.get(AGENT_ANNOTATION) == Some(&self.agent)
    }

    /// The other agent that the live object says it belongs to, if any. Units of the same agent are told
    /// apart by the inventory.
    pub(crate) fn taken_by(&self, meta: &Meta) -> Option<String> {
        let agent = meta.annotations.get(AGENT_ANNOTATION).filter(|agent| **agent != self.agent)?;
        let unit = meta.annotations.get(UNIT_LABEL).map_or("unknown", String::as_str);
        Some(format!("unit \"{unit}\" of {agent}"))
    }

    /// What is sent to the API server: the blob with the marks of ownership, in its namespace, without what
    /// only a server may set.
    pub(crate) fn dress(&self, blob: &[u8], place: &Place, hook: Option<&str>) -> Result<Vec<u8>, String> {
        let value: Value = serde_json::from_slice(blob).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(mut object) = value else {
            return Err("not a JSON object".to_owned());
        };
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        if kind != place.id.kind {
            return Err(format!("kind is \"{kind}\", the plan says \"{}\"", place.id.kind));
        }
        let metadata = child(&mut object, "metadata")?;
        let name = metadata.get("name").and_then(Value::as_str).unwrap_or_default();
        if name != place.id.name {
            return Err(format!("metadata.name is \"{name}\", the plan says \"{}\"", place.id.name));
        }
        for field in
            ["managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"]
        {
            metadata.remove(field);
        }
        if place.resource.namespaced {
            metadata.insert("namespace".to_owned(), Value::String(place.id.namespace.clone()));
        } else {
            metadata.remove("namespace");
        }
        child(metadata, "labels")?.insert(UNIT_LABEL.to_owned(), Value::String(self.label.clone()));
        let annotations = child(metadata, "annotations")?;
        annotations.insert(UNIT_LABEL.to_owned(), Value::String(self.unit.clone()));
        annotations.insert(AGENT_ANNOTATION.to_owned(), Value::String(self.agent.clone()));
        if let Some(run) = hook {
            annotations.insert(HOOK_ANNOTATION.to_owned(), Value::String(run.to_owned()));
        }
        object.remove("status");
        serde_json::to_vec(&object).map_err(|error| format!("not JSON: {error}"))
    }
}

/// The object under a key, made when missing or null.
fn child<'a>(object: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Map<String, Value>, String> {
    let entry = object.entry(key).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut().ok_or_else(|| format!("\"{key}\" is not a JSON object"))
}

/// Whether the key is that of a CustomResourceDefinition.
pub(crate) fn is_definition(group: &str, kind: &str) -> bool {
    group == "apiextensions.k8s.io" && kind == "CustomResourceDefinition"
}

/// Whether the key is that of a Namespace.
pub(crate) fn is_namespace(group: &str, kind: &str) -> bool {
    group.is_empty() && kind == "Namespace"
}

/// Whether objects of the kind run pods from a template that is rolled out when it changes.
pub(crate) fn is_workload(group: &str, kind: &str) -> bool {
    group == "apps" && matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet")
}

/// The stage in which an entry is applied: namespaces, then definitions, then all else in the unit's order.
pub(crate) fn stage(entry: &ObjectEntry) -> u8 {
    let ObjectKey { group, kind, .. } = &entry.key;
    match () {
        () if is_namespace(group, kind) => 0,
        () if is_definition(group, kind) => 1,
        () => 2,
    }
}

/// Indices of a unit's objects in the order in which they are applied.
pub(crate) fn apply_order(unit: &Unit) -> Vec<usize> {
    let mut order: Vec<usize> = (0..unit.objects.len()).collect();
    order.sort_by_key(|&index| stage(&unit.objects[index]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit_id(name: &str) -> UnitId {
        UnitId {
            set_namespace: "default".into(),
            set_name: "web".into(),
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn place(namespaced: bool, namespace: &str) -> Place {
        let key = ObjectKey {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: namespace.into(),
            name: "a".into(),
        };
        let resource = Resource {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            plural: "configmaps".into(),
            namespaced,
        };
        Place::of(&key, "shop", Arc::new(resource))
    }

    #[test]
    fn a_label_value_is_readable_where_it_can_be_and_always_valid() {
        assert_eq!(label_value(&unit_id("web")), "shop.web");
        let long = label_value(&unit_id(&"x".repeat(80)));
        assert_eq!(long.len(), 32);
        assert_ne!(long, label_value(&unit_id(&"x".repeat(81))));
        assert_eq!(label_value(&unit_id("we b")).len(), 32);
    }

    #[test]
    fn an_object_without_namespace_goes_into_that_of_the_release_unless_its_kind_has_none() {
        assert_eq!(place(true, "").path(), "/api/v1/namespaces/shop/configmaps/a");
        assert_eq!(place(true, "other").path(), "/api/v1/namespaces/other/configmaps/a");
        assert_eq!(place(false, "other").path(), "/api/v1/configmaps/a");
    }

    #[test]
    fn a_dressed_object_names_its_owner_and_loses_what_only_a_server_sets() {
        let blob = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","labels":null,
            "uid":"1","resourceVersion":"7","managedFields":[]},"data":{"k":"v"},"status":{}}"#;
        let owner = Owner::new("edge/1", &unit_id("web"));
        let dressed: Value =
            serde_json::from_slice(&owner.dress(blob, &place(true, ""), None).unwrap()).unwrap();
        let wanted = serde_json::json!({"apiVersion":"v1","kind":"ConfigMap","data":{"k":"v"},"metadata":{
            "name":"a","namespace":"shop","labels":{"skein.dev/unit":"shop.web"},
            "annotations":{"skein.dev/unit":"default/web:shop/web","skein.dev/agent":"edge/1"}}});
        assert_eq!(dressed, wanted);
    }

    #[test]
    fn a_malformed_object_is_refused_with_the_field_and_the_value() {
        let owner = Owner::new("edge/1", &unit_id("web"));
        for (blob, part) in [
            (&b"nonsense"[..], "not JSON"),
            (b"[]", "not a JSON object"),
            (br#"{"kind":"Secret","metadata":{"name":"a"}}"#, "kind is \"Secret\""),
            (br#"{"kind":"ConfigMap","metadata":{"name":"b"}}"#, "metadata.name is \"b\""),
            (
                br#"{"kind":"ConfigMap","metadata":{"name":"a","labels":[]}}"#,
                "\"labels\" is not a JSON object",
            ),
        ] {
            let error = owner.dress(blob, &place(true, ""), None).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
