//! From rendered text to objects: documents, hooks, and Helm's install order.

use std::borrow::{Borrow, Cow};
use std::fmt;

use serde_json::Value as Json;

use crate::limits::Limits;
use crate::yaml::read::read;

/// Why a text is not a list of Kubernetes objects.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A document is not YAML.
    #[error("document {document}: failed to read the YAML: {reason}")]
    Yaml {
        /// Which document, counted from 1.
        document: usize,
        /// Why.
        reason: String,
    },
    /// A document is something else than a map.
    #[error("document {document}: expected a map, got {got}")]
    NotAMap {
        /// Which document, counted from 1.
        document: usize,
        /// What it is.
        got: &'static str,
    },
    /// A document lacks what every object has.
    #[error("document {document}: the field \"{field}\" is missing or not a text")]
    Incomplete {
        /// Which document, counted from 1.
        document: usize,
        /// The field.
        field: &'static str,
    },
    /// The values are not a map.
    #[error("{reason}")]
    Values {
        /// Why.
        reason: String,
    },
}

/// A rendered object and the template it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The object.
    pub value: Json,
    /// Path of the template from the root chart (`shop/templates/service.yaml`).
    pub source: String,
    /// The document as the template wrote it.
    pub text: Box<str>,
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookEvent {
    /// Before the release is installed.
    PreInstall,
    /// After it was installed.
    PostInstall,
    /// Before it is deleted.
    PreDelete,
    /// After it was deleted.
    PostDelete,
    /// Before it is upgraded.
    PreUpgrade,
    /// After it was upgraded.
    PostUpgrade,
    /// Before it is rolled back.
    PreRollback,
    /// After it was rolled back.
    PostRollback,
    /// When a test is asked for.
    Test,
}

impl HookEvent {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "pre-install" => Self::PreInstall,
            "post-install" => Self::PostInstall,
            "pre-delete" => Self::PreDelete,
            "post-delete" => Self::PostDelete,
            "pre-upgrade" => Self::PreUpgrade,
            "post-upgrade" => Self::PostUpgrade,
            "pre-rollback" => Self::PreRollback,
            "post-rollback" => Self::PostRollback,
            "test" | "test-success" => Self::Test,
            _ => return None,
        })
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreDelete => "pre-delete",
            Self::PostDelete => "post-delete",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::PreRollback => "pre-rollback",
            Self::PostRollback => "post-rollback",
            Self::Test => "test",
        })
    }
}

/// When a hook's object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeletePolicy {
    /// Before the hook is created again (the default).
    BeforeHookCreation,
    /// Once it succeeded.
    HookSucceeded,
    /// Once it failed.
    HookFailed,
}

/// A hook: an object with its moments, order and end.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// The object.
    pub object: Object,
    /// When it runs.
    pub events: Vec<HookEvent>,
    /// Its place among the hooks of an event, lowest first.
    pub weight: i64,
    /// When it is deleted; never empty.
    pub delete_policies: Vec<DeletePolicy>,
}

/// Helm's order of installation by kind; kinds that are not listed come after, by name.
const INSTALL_ORDER: [&str; 38] = [
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// The kind as Helm reads it: of a number or a truth its text, the field in any case.
fn kind_of(value: &Json) -> Cow<'_, str> {
    let folded = || {
        let fields = value.as_object()?;
        fields.iter().find(|(key, _)| key.eq_ignore_ascii_case("kind")).map(|(_, kind)| kind)
    };
    match value.get("kind").or_else(folded) {
        Some(Json::String(kind)) => Cow::Borrowed(kind),
        Some(kind @ (Json::Bool(_) | Json::Number(_))) => Cow::Owned(kind.to_string()),
        _ => Cow::Borrowed(""),
    }
}

/// Where a kind stands in the install order.
fn rank(value: &Json) -> (usize, Cow<'_, str>) {
    let kind = kind_of(value);
    match INSTALL_ORDER.iter().position(|known| *known == kind) {
        Some(position) => (position, Cow::Borrowed("")),
        None => (INSTALL_ORDER.len(), kind),
    }
}

/// Sorts objects as Helm installs them; equal kinds keep their order.
pub(crate) fn sort_objects(objects: &mut [impl Borrow<Object>]) {
    objects.sort_by(|a, b| rank(&a.borrow().value).cmp(&rank(&b.borrow().value)));
}

/// Sorts hooks by kind, as Helm keeps them; an executor orders those of one event by weight.
pub(crate) fn sort_hooks(hooks: &mut [Hook]) {
    hooks.sort_by(|a, b| rank(&a.object.value).cmp(&rank(&b.object.value)));
}

/// The documents of a rendered file: Helm splits at every line that starts with `---`.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let text = text.trim_start();
    let mut documents = Vec::new();
    let mut start = 0;
    let mut line = 0;
    while line <= text.len() {
        if text[line..].starts_with("---") {
            documents.push(&text[start..line]);
            let rest = &text[line + 3..];
            start = line + 3 + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        }
        match text[line..].find('\n') {
            Some(end) => line += end + 1,
            None => break,
        }
    }
    documents.push(&text[start..]);
    documents.into_iter().map(str::trim_start).filter(|document| !document.is_empty()).collect()
}

fn type_name(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// A text as Helm reads annotations: numbers and truths become texts.
fn annotation(value: &Json, name: &str) -> Option<String> {
    match value.get("metadata")?.get("annotations")?.get(name)? {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Null => Some(String::new()),
        Json::Array(_) | Json::Object(_) => None,
    }
}

/// What Helm demands of an object's head. The type of its metadata has no name, so that a refusal begins with a dot there.
fn check_head(value: &Json) -> Result<(), String> {
    let wrong = |field: &str, got: &Json, want: &str| {
        let got = type_name(got);
        Err(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {got} into Go struct field {field} of type {want}"
        ))
    };
    let scalar = |value: &Json| !matches!(value, Json::Array(_) | Json::Object(_));
    for field in ["apiVersion", "kind"] {
        match value.get(field) {
            Some(found) if !scalar(found) => return wrong(&format!("SimpleHead.{field}"), found, "string"),
            _ => {}
        }
    }
    let metadata = match value.get("metadata") {
        None | Some(Json::Null) => return Ok(()),
        Some(Json::Object(metadata)) => metadata,
        Some(other) => {
            let fields =
                r#"Name string "json:\"name\""; Annotations map[string]string "json:\"annotations\"""#;
            return wrong("SimpleHead.metadata", other, &format!("struct {{ {fields} }}"));
        }
    };
    match metadata.get("name") {
        Some(name) if !scalar(name) => return wrong(".metadata.name", name, "string"),
        _ => {}
    }
    match metadata.get("annotations") {
        None | Some(Json::Null) => Ok(()),
        Some(Json::Object(annotations)) => match annotations.values().find(|value| !scalar(value)) {
            Some(bad) => wrong(".metadata.annotations", bad, "string"),
            None => Ok(()),
        },
        Some(other) => wrong(".metadata.annotations", other, "map[string]string"),
    }
}

/// One document of a rendered file, if it holds anything.
pub(crate) fn object(document: &str, limits: &Limits) -> Result<Option<Json>, String> {
    let value = read(document, limits).map_err(|error| format!("error converting YAML to JSON: {error}"))?;
    match &value {
        Json::Null => return Ok(None),
        Json::Object(_) => {}
        other => {
            let got = type_name(other);
            return Err(format!(
                "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {got} into Go value of type util.SimpleHead"
            ));
        }
    }
    check_head(&value)?;
    Ok(Some(value))
}

/// What an object is to Helm.
pub(crate) enum Sorted {
    Object(Object),
    Hook(Hook),
    /// A hook for an event that Helm does not know: it is skipped.
    Unknown,
}

/// Tells hooks from objects.
pub(crate) fn sort(value: Json, source: &str, text: &str) -> Sorted {
    let (source, text) = (source.to_owned(), Box::from(text));
    let Some(types) = annotation(&value, "helm.sh/hook") else {
        return Sorted::Object(Object { value, source, text });
    };
    let events: Option<Vec<HookEvent>> =
        types.split(',').map(|name| HookEvent::parse(&name.trim().to_lowercase())).collect();
    let Some(events) = events else {
        return Sorted::Unknown;
    };
    let weight =
        annotation(&value, "helm.sh/hook-weight").and_then(|weight| weight.parse().ok()).unwrap_or(0);
    let policies = annotation(&value, "helm.sh/hook-delete-policy").unwrap_or_default();
    let mut delete_policies: Vec<DeletePolicy> = policies
        .split(',')
        .filter_map(|policy| match policy.trim().to_lowercase().as_str() {
            "before-hook-creation" => Some(DeletePolicy::BeforeHookCreation),
            "hook-succeeded" => Some(DeletePolicy::HookSucceeded),
            "hook-failed" => Some(DeletePolicy::HookFailed),
            _ => None,
        })
        .collect();
    if delete_policies.is_empty() {
        delete_policies.push(DeletePolicy::BeforeHookCreation);
    }
    Sorted::Hook(Hook { object: Object { value, source, text }, events, weight, delete_policies })
}

/// Merges the documents of a values file, later ones over earlier ones.
pub(crate) fn merge_value_documents(text: &str, limits: &Limits) -> Result<Json, String> {
    let mut merged = serde_json::Map::new();
    let (documents, problem) = value_documents(text);
    for document in documents {
        let parsed = read(&document, limits).map_err(|error| {
            format!("cannot unmarshal yaml document: error converting YAML to JSON: {error}")
        })?;
        match parsed {
            Json::Null => {}
            Json::Object(entries) => overlay(&mut merged, entries),
            other => {
                let got = type_name(&other);
                return Err(format!(
                    "cannot unmarshal yaml document: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {got} into Go value of type map[string]interface {{}}"
                ));
            }
        }
    }
    problem.map_or(Ok(Json::Object(merged)), Err)
}

/// The documents of a values file up to a separator that is none, and what is wrong with that one. They are split at
/// lines of three dashes before YAML is looked at, as Kubernetes' reader does it: every line ends in `\n` from then on,
/// and a separator before any content stays.
fn value_documents(text: &str) -> (Vec<String>, Option<String>) {
    let mut documents = Vec::new();
    let mut current = String::new();
    for line in text.split_inclusive('\n') {
        let line = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        if let Some(rest) = line.strip_prefix("---").map(str::trim) {
            if !rest.is_empty() && !rest.starts_with('#') {
                let problem = format!("error reading yaml document: invalid Yaml document separator: {rest}");
                return (documents, Some(problem));
            }
            if !current.is_empty() {
                documents.push(std::mem::take(&mut current));
                continue;
            }
        }
        current.push_str(line);
        current.push('\n');
    }
    if !current.is_empty() {
        documents.push(current);
    }
    (documents, None)
}

pub(crate) fn overlay(into: &mut serde_json::Map<String, Json>, from: serde_json::Map<String, Json>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Json::Object(inner)), Json::Object(value)) => overlay(inner, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Reads a values file: YAML, numbers and truths as Helm reads them, later documents over earlier ones.
///
/// # Errors
/// When the text is not YAML or not a map.
pub fn parse_values(text: &str) -> Result<Json, ManifestError> {
    merge_value_documents(text, &Limits::default()).map_err(|reason| ManifestError::Values { reason })
}
