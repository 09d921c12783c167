//! The `metadata.managedFields` list of an object: reading it, changing it, writing it back.

use serde_json::{Map, Value, json};

use super::set::FieldSet;
use super::{Manager, Operation};

/// At most so many managers are remembered by their updates; older ones share the entry `ancient-changes`.
const UPDATE_MANAGERS_MAX: usize = 10;

/// One manager and what it owns.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
    pub(crate) time: Option<String>,
    pub(crate) fields: FieldSet,
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    pub(crate) list: Vec<Entry>,
}

impl Entry {
    pub(crate) fn of(manager: &Manager<'_>, fields: FieldSet) -> Entry {
        Entry {
            manager: manager.name.to_owned(),
            operation: manager.operation,
            api_version: manager.api_version.to_owned(),
            subresource: manager.subresource.to_owned(),
            time: Some(manager.time.to_owned()),
            fields,
        }
    }

    /// Whether the entry belongs to this manager. An applier is one manager across versions.
    pub(crate) fn is_of(&self, manager: &Manager<'_>) -> bool {
        self.manager == manager.name
            && self.operation == manager.operation
            && self.subresource == manager.subresource
            && (self.operation == Operation::Apply || self.api_version == manager.api_version)
    }

    fn parse(value: &Value) -> Option<Entry> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let operation = match text("operation")? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text("fieldsType") != Some("FieldsV1") {
            return None;
        }
        let api_version = text("apiVersion").filter(|version| !version.is_empty())?;
        Some(Entry {
            manager: text("manager").unwrap_or_default().to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: text("subresource").unwrap_or_default().to_owned(),
            time: text("time").map(str::to_owned),
            fields: value.get("fieldsV1").map(FieldSet::parse).unwrap_or_default(),
        })
    }

    fn emit(&self) -> Value {
        let mut entry = Map::new();
        if !self.manager.is_empty() {
            entry.insert("manager".to_owned(), json!(self.manager));
        }
        entry.insert("operation".to_owned(), json!(self.operation.as_str()));
        entry.insert("apiVersion".to_owned(), json!(self.api_version));
        if let Some(time) = &self.time {
            entry.insert("time".to_owned(), json!(time));
        }
        entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
        entry.insert("fieldsV1".to_owned(), self.fields.emit());
        if !self.subresource.is_empty() {
            entry.insert("subresource".to_owned(), json!(self.subresource));
        }
        Value::Object(entry)
    }

    /// What tells managers apart, in the order in which Kubernetes lists them in messages.
    pub(crate) fn identity(&self) -> (&str, &str, &str, &str) {
        let version = if self.operation == Operation::Apply { "" } else { self.api_version.as_str() };
        (&self.manager, self.operation.as_str(), version, &self.subresource)
    }
}

impl Entries {
    /// Reads a `managedFields` list; `None` when an entry in it cannot be read.
    pub(crate) fn parse(list: Option<&Value>) -> Option<Entries> {
        match list {
            None | Some(Value::Null) => Some(Entries::default()),
            Some(Value::Array(list)) => {
                list.iter().map(Entry::parse).collect::<Option<Vec<_>>>().map(|list| Entries { list })
            }
            Some(_) => None,
        }
    }

    /// Removes `fields` from every entry but the one at `except`; returns how many entries lost something.
    pub(crate) fn give_up(&mut self, except: Option<usize>, fields: &FieldSet) -> usize {
        let mut losers = 0;
        for (i, entry) in self.list.iter_mut().enumerate() {
            if Some(i) != except && entry.fields.intersects(fields) {
                entry.fields = entry.fields.difference(fields);
                losers += 1;
            }
        }
        losers
    }

    /// Merges the oldest updaters of a version until few enough are left.
    pub(crate) fn cap_updaters(&mut self) {
        let mut updaters: Vec<usize> = (0..self.list.len())
            .filter(|&i| self.list[i].operation == Operation::Update && !self.list[i].fields.is_empty())
            .collect();
        let mut length = updaters.len();
        if length <= UPDATE_MANAGERS_MAX {
            return;
        }
        updaters.sort_by(|&a, &b| {
            let (a, b) = (&self.list[a], &self.list[b]);
            a.time.cmp(&b.time).then_with(|| a.identity().cmp(&b.identity()))
        });
        let mut firsts: Vec<(String, usize)> = Vec::new();
        for at in updaters {
            if length <= UPDATE_MANAGERS_MAX {
                break;
            }
            let version = self.list[at].api_version.clone();
            let Some(&(_, first)) = firsts.iter().find(|(known, _)| *known == version) else {
                firsts.push((version, at));
                continue;
            };
            let moved = std::mem::take(&mut self.list[at].fields);
            let time = self.list[at].time.clone();
            let bucket = &mut self.list[first];
            "ancient-changes".clone_into(&mut bucket.manager);
            bucket.subresource.clear();
            bucket.fields = bucket.fields.union(&moved);
            bucket.time = time;
            length -= 1;
        }
    }

    /// Writes the list, in the order of Kubernetes: appliers first, then by time and name.
    pub(crate) fn emit(mut self) -> Option<Value> {
        self.list.retain(|entry| !entry.fields.is_empty());
        if self.list.is_empty() {
            return None;
        }
        self.list.sort_by(|a, b| {
            let by = |e: &Entry| (e.operation.as_str(), e.time.clone().unwrap_or_default());
            by(a).cmp(&by(b)).then_with(|| {
                (&a.manager, &a.api_version, &a.subresource).cmp(&(
                    &b.manager,
                    &b.api_version,
                    &b.subresource,
                ))
            })
        });
        Some(Value::Array(self.list.iter().map(Entry::emit).collect()))
    }
}
