//! Who owns which field of an object: server-side apply and the upkeep of `metadata.managedFields`.
//!
//! Every manager owns a [`FieldSet`]. Applying merges the applied object into the live one, deletes what the same
//! applier owned before and no longer applies (unless somebody else owns it too), and refuses to change what
//! others own unless forced, in which case they lose it. Any other write is tracked by comparing before and
//! after: what changed belongs to the writer from then on. How lists and maps merge comes from a [`MergeSchema`].
//!
//! Pure: no clock, no storage. The time of an operation is part of its [`Manager`].
//!
//! Semantics: Kubernetes' "Server-Side Apply" reference and the structured merge of its API machinery.

mod builtin;
mod compare;
mod entries;
mod merge;
mod schema;
mod set;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};

pub use schema::MergeSchema;
pub(crate) use schema::{Graph, ListRule, ShapeId};
pub use set::{FieldSet, PathElement};

use entries::{Entries, Entry};

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// As written in `managedFields`.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// The field manager's name.
    pub name: &'a str,
    /// What it does.
    pub operation: Operation,
    /// The version of the API that it uses: `apps/v1`.
    pub api_version: &'a str,
    /// The subresource that it writes to; empty for the object itself.
    pub subresource: &'a str,
    /// Now, in RFC 3339 with seconds.
    pub time: &'a str,
}

/// A field that an applier wants to change and that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner's name.
    pub manager: String,
    /// How the owner came to own it.
    pub operation: Operation,
    /// The version of the API that the owner used.
    pub api_version: String,
    /// When the owner last changed something, in RFC 3339.
    pub time: Option<String>,
    /// The subresource that the owner wrote to; empty for the object itself.
    pub subresource: String,
    /// The field: `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    /// The owner as Kubernetes names it: `"kubectl" using apps/v1`.
    fn owner(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text += &format!(" with subresource {:?}", self.subresource);
        }
        if self.operation == Operation::Update {
            text += &format!(" using {}", self.api_version);
        }
        text
    }
}

/// The message of the cause in a Kubernetes Status: `conflict with "kubectl" using apps/v1`.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conflict with {}", self.owner())
    }
}

/// Why an object could not be applied. The texts are those of a Kubernetes API server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that would change (409, reason `Conflict`, one cause `FieldManagerConflict` each).
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The applied object sets `metadata.managedFields` (400).
    #[error("metadata.managedFields must be nil")]
    ManagedFields,
    /// The applied object is of another version than the request (400).
    #[error("invalid object type: {}, Kind={kind}", go_version(.specified))]
    Version {
        /// The object's `apiVersion`.
        specified: String,
        /// The object's kind.
        kind: String,
        /// The version of the request.
        expected: String,
    },
    /// The applied object does not fit the kind: duplicate or missing list keys, unknown fields, wrong types.
    #[error("failed to create typed patch object ({object}): {}", fault_text(.faults))]
    Invalid {
        /// Which object: `default/web; apps/v1, Kind=Deployment`.
        object: String,
        /// What is wrong with it, each with its path.
        faults: Vec<String>,
    },
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: {only}: {}", only.field);
    }
    let mut lines = Vec::new();
    let mut owner = None;
    for conflict in conflicts {
        let this = conflict.owner();
        if owner.as_ref() != Some(&this) {
            lines.push(format!("conflicts with {this}:"));
            owner = Some(this);
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// A version as Go prints it: the core group has an empty name before the slash.
fn go_version(version: &str) -> String {
    if version.contains('/') { version.to_owned() } else { format!("/{version}") }
}

fn fault_text(faults: &[String]) -> String {
    match faults {
        [only] => only.clone(),
        many => {
            let lines: Vec<_> = many.iter().map(|fault| format!("  {fault}")).collect();
            format!("errors:\n{}", lines.join("\n"))
        }
    }
}

/// Fields that nobody owns.
const UNOWNED: [&[&str]; 12] = [
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

fn strip(set: &mut FieldSet) {
    for path in UNOWNED {
        set.remove_fields(path);
    }
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Applies `applied` to `live` (`None` creates) and returns the merged object with its `managedFields`.
///
/// An apply that changes nothing returns `live` as it was, times included.
///
/// # Errors
/// [`ApplyError`]: others own what would change and `force` is not set, or the applied object is malformed.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    manager: &Manager<'_>,
    force: bool,
    schema: &MergeSchema,
) -> Result<Value, ApplyError> {
    check_applied(applied, manager, schema)?;
    let graph = &*schema.graph;
    let set = compare::field_set(graph, schema.root, applied);
    let Some(live) = live else {
        return Ok(create(applied, manager, set, schema));
    };
    let mut merged = live.clone();
    let known = take_managed_fields(&mut merged);
    let mut entries = Entries::parse(known.as_ref()).unwrap_or_default();
    let tracked = !entries.list.is_empty();
    if !tracked {
        entries.list.extend(before_first_apply(&merged, manager, schema));
    }
    let at = entries.list.iter().position(|entry| entry.is_of(manager));

    merge::merge(graph, schema.root, &mut merged, applied);
    if let Some(at) = at.filter(|at| !entries.list[*at].fields.is_subset(&set)) {
        let mut owned = set.clone();
        for entry in entries.list.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, entry)| entry) {
            owned = owned.union(&entry.fields);
        }
        merge::prune(graph, schema.root, &mut merged, &entries.list[at].fields, &owned);
    }
    let mut difference = compare::compare(graph, schema.root, live, &merged);
    difference.removed.remove_fields(&["metadata", "managedFields"]);
    let changed = difference.added.union(&difference.modified);
    if !force {
        let conflicts = find_conflicts(&entries, at, &changed);
        let conflicts = allowed_by_last_applied(conflicts, live, manager, schema);
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    let given_up = entries.give_up(at, &changed) + entries.give_up(at, &difference.removed);
    let touched = !same_but_managed(live, &merged);
    merge::drop_nulls(graph, schema.root, &mut merged);
    tidy_metadata(&mut merged);
    sync_last_applied(&mut merged, applied, manager);
    let mut stripped = set;
    strip(&mut stripped);
    let at = at.unwrap_or_else(|| {
        // Kubernetes notes no time for an applier that only joins in.
        entries.list.push(Entry { time: None, ..Entry::of(manager, FieldSet::default()) });
        entries.list.len() - 1
    });
    let entry = &mut entries.list[at];
    let kept =
        entry.fields == stripped && entry.api_version == manager.api_version && given_up == 0 && tracked;
    if kept && same_but_managed(live, &merged) {
        if let (Some(meta), Some(known)) = (merged.get_mut("metadata").and_then(Value::as_object_mut), known)
        {
            meta.insert("managedFields".to_owned(), known);
        }
        return Ok(merged);
    }
    entry.fields = stripped;
    manager.api_version.clone_into(&mut entry.api_version);
    if touched {
        entry.time = Some(manager.time.to_owned());
    }
    put_managed_fields(&mut merged, entries);
    Ok(merged)
}

fn check_applied(applied: &Value, manager: &Manager<'_>, schema: &MergeSchema) -> Result<(), ApplyError> {
    if applied.get("metadata").and_then(|meta| meta.get("managedFields")).is_some_and(Value::is_array) {
        return Err(ApplyError::ManagedFields);
    }
    let version = applied.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let kind = applied.get("kind").and_then(Value::as_str).unwrap_or_default();
    if version != manager.api_version {
        return Err(ApplyError::Version {
            specified: version.to_owned(),
            kind: kind.to_owned(),
            expected: manager.api_version.to_owned(),
        });
    }
    compare::check(&schema.graph, schema.root, applied).map_err(|faults| {
        let meta = |name: &str| {
            applied.get("metadata").and_then(|meta| meta.get(name)).and_then(Value::as_str).unwrap_or("")
        };
        let object = format!("{}/{}; {}, Kind={kind}", meta("namespace"), meta("name"), go_version(version));
        ApplyError::Invalid { object, faults }
    })
}

fn create(applied: &Value, manager: &Manager<'_>, mut set: FieldSet, schema: &MergeSchema) -> Value {
    let mut object = applied.clone();
    merge::drop_nulls(&schema.graph, schema.root, &mut object);
    tidy_metadata(&mut object);
    strip(&mut set);
    put_managed_fields(&mut object, Entries { list: vec![Entry::of(manager, set)] });
    object
}

/// Who owns what is there when an object is applied to for the first time and its fields were never tracked.
fn before_first_apply(live: &Value, manager: &Manager<'_>, schema: &MergeSchema) -> Option<Entry> {
    let difference = compare::compare(&schema.graph, schema.root, &schema.zero, live);
    let mut fields = difference.added.union(&difference.modified);
    strip(&mut fields);
    let updater =
        Manager { name: "before-first-apply", operation: Operation::Update, subresource: "", ..*manager };
    (!fields.is_empty()).then(|| Entry::of(&updater, fields))
}

fn find_conflicts(entries: &Entries, own: Option<usize>, changed: &FieldSet) -> Vec<Conflict> {
    let mut owners: Vec<(&Entry, FieldSet)> = Vec::new();
    for (i, entry) in entries.list.iter().enumerate() {
        if Some(i) != own && entry.fields.intersects(changed) {
            owners.push((entry, entry.fields.intersection(changed)));
        }
    }
    owners.sort_by(|(a, _), (b, _)| a.identity().cmp(&b.identity()));
    let conflict = |entry: &Entry, field| Conflict {
        manager: entry.manager.clone(),
        operation: entry.operation,
        api_version: entry.api_version.clone(),
        time: entry.time.clone(),
        subresource: entry.subresource.clone(),
        field,
    };
    owners
        .into_iter()
        .flat_map(|(entry, fields)| fields.paths().into_iter().map(move |field| conflict(entry, field)))
        .collect()
}

/// kubectl may take over, without force, what it wrote itself by client-side apply.
fn allowed_by_last_applied(
    conflicts: Vec<Conflict>,
    live: &Value,
    manager: &Manager<'_>,
    schema: &MergeSchema,
) -> Vec<Conflict> {
    if manager.name != "kubectl" || conflicts.is_empty() {
        return conflicts;
    }
    let annotation =
        live.get("metadata").and_then(|m| m.get("annotations")).and_then(|a| a.get(LAST_APPLIED));
    let Some(Ok(last)) = annotation.and_then(Value::as_str).map(serde_json::from_str::<Value>) else {
        return conflicts;
    };
    if last.get("apiVersion").and_then(Value::as_str) != Some(manager.api_version) {
        return conflicts;
    }
    let difference = compare::compare(&schema.graph, schema.root, &last, live);
    let allowed = compare::field_set(&schema.graph, schema.root, &last)
        .difference(&difference.modified)
        .difference(&difference.added)
        .difference(&difference.removed)
        .paths();
    conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.field)).collect()
}

/// Keeps kubectl's client-side annotation in step, where an object has it.
fn sync_last_applied(merged: &mut Value, applied: &Value, manager: &Manager<'_>) {
    if manager.name != "kubectl" {
        return;
    }
    let annotations = merged.get_mut("metadata").and_then(|meta| meta.get_mut("annotations"));
    let Some(slot) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) else { return };
    let mut config = applied.clone();
    if let Some(Value::Object(annotations)) =
        config.get_mut("metadata").and_then(|m| m.get_mut("annotations"))
    {
        annotations.remove(LAST_APPLIED);
    }
    // The API server writes it so that it could stand in HTML.
    let text = config.to_string().replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    *slot = Value::String(text + "\n");
}

/// Keeps `managedFields` of `new` right after a create, update or patch: what changed belongs to `manager`, and
/// nobody owns what is gone.
///
/// Ownership that `new` brings along is honoured, as Kubernetes does: an explicit list replaces the live one,
/// and `[{}]` resets it. Objects whose fields were never tracked stay untracked.
pub fn track_update(live: Option<&Value>, new: &mut Value, manager: &Manager<'_>, schema: &MergeSchema) {
    let brought = take_managed_fields(new);
    tidy_metadata(new);
    let reset = matches!(&brought, Some(Value::Array(list))
        if matches!(&list[..], [Value::Object(only)] if only.is_empty()));
    let of_live = || live.and_then(|live| live.get("metadata")).and_then(|meta| meta.get("managedFields"));
    let mut entries = match Entries::parse(brought.as_ref()) {
        _ if reset => Entries::default(),
        Some(entries) if !entries.list.is_empty() && manager.subresource.is_empty() => entries,
        _ => Entries::parse(of_live()).unwrap_or_default(),
    };
    if live.is_some() && entries.list.is_empty() {
        return;
    }
    let old = live.unwrap_or(&schema.zero);
    let mut difference = compare::compare(&schema.graph, schema.root, old, new);
    let mut changed = difference.added.union(&difference.modified);
    difference.removed.remove_fields(&["metadata", "managedFields"]);
    strip(&mut changed);
    entries.give_up(None, &difference.removed);
    if !changed.is_empty() {
        let at = entries.list.iter().position(|entry| entry.is_of(manager));
        entries.give_up(at, &changed);
        match at {
            Some(at) => {
                let entry = &mut entries.list[at];
                entry.fields = entry.fields.union(&changed);
                entry.time = Some(manager.time.to_owned());
            }
            None => entries.list.push(Entry::of(manager, changed)),
        }
    }
    entries.cap_updaters();
    put_managed_fields(new, entries);
}

/// Drops what an object's metadata does not keep when it is empty, as the typed metadata of Kubernetes does.
fn tidy_metadata(object: &mut Value) {
    let Some(Value::Object(meta)) = object.get_mut("metadata") else { return };
    meta.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    });
}

fn take_managed_fields(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

fn put_managed_fields(object: &mut Value, entries: Entries) {
    let Value::Object(object) = object else { return };
    let meta = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if let (Value::Object(meta), Some(list)) = (meta, entries.emit()) {
        meta.insert("managedFields".to_owned(), list);
    }
}

/// Whether two objects are equal when `managedFields` (which `merged` has not) is left out.
fn same_but_managed(live: &Value, merged: &Value) -> bool {
    let (Value::Object(live), Value::Object(merged)) = (live, merged) else { return live == merged };
    live.len() == merged.len()
        && live.iter().all(|(name, value)| match (name.as_str(), merged.get(name)) {
            ("metadata", Some(meta)) => {
                let (Value::Object(old), Value::Object(new)) = (value, meta) else { return value == meta };
                old.len() - usize::from(old.contains_key("managedFields")) == new.len()
                    && new.iter().all(|(name, value)| old.get(name) == Some(value))
            }
            (_, other) => other == Some(value),
        })
}
