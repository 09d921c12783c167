//! A live object, as little of it as the engine needs, decoded for a moment and dropped.
//!
//! # Why field ownership decides about drift
//! Server-side apply records which fields our manager owns. Every write by somebody else that changes such
//! a field takes it out of our set, and nothing else does: defaulting, status, and fields that others add
//! leave it alone. So drift is exactly "our set is not what it was after our last apply". A digest of that
//! set is all that is kept per object, a metadata-only watch is enough to see it, and the content of Secrets
//! never travels to the agent. Comparing values would need the object's schema to tell a default or another
//! spelling of a quantity from a change.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::field_set;

/// Digest of the set of fields that our manager owns.
pub(crate) type Fields = [u8; 16];

/// A live object. For kinds without a status of interest only metadata is fetched.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Live {
    #[serde(default)]
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: Value,
    #[serde(default)]
    pub(crate) status: Value,
    /// Everything else, for health rules.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

/// The metadata of a live object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) generation: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) creation_timestamp: String,
    #[serde(deserialize_with = "nullable")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) deletion_timestamp: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) finalizers: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) managed_fields: Vec<Managed>,
    /// Whether another object owns it.
    #[serde(rename = "ownerReferences", deserialize_with = "not_empty")]
    pub(crate) owned: bool,
}

/// Whether a list has items.
fn not_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<Vec<serde::de::IgnoredAny>>::deserialize(deserializer)?.is_some_and(|list| !list.is_empty()))
}

/// Go servers write an empty list or map as `null`.
pub(crate) fn nullable<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Managed {
    manager: String,
    operation: String,
    subresource: String,
    time: String,
    #[serde(rename = "fieldsV1")]
    fields: Option<Box<RawValue>>,
}

impl Meta {
    /// The resource version as a number: they grow within a kind (Kubernetes KEP-5504). 0 where it is none.
    pub(crate) fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }

    /// The fields that `manager` applied and still owns, without those that others may change (JSON pointers).
    pub(crate) fn fields(&self, manager: &str, except: &[String]) -> Option<Fields> {
        let ours = self.managed_fields.iter().find(|entry| {
            entry.manager == manager && entry.operation == "Apply" && entry.subresource.is_empty()
        })?;
        let owned = ours.fields.as_ref()?.get();
        let digest = match except {
            [] => blake3::hash(owned.as_bytes()),
            except => blake3::hash(field_set::without(owned, except)?.as_bytes()),
        };
        digest.as_bytes()[..16].try_into().ok()
    }

    /// Who else wrote to the object last, if it is known.
    pub(crate) fn other_manager(&self, manager: &str) -> Option<&str> {
        self.managed_fields
            .iter()
            .filter(|entry| entry.manager != manager && entry.subresource != "status")
            .max_by(|a, b| a.time.cmp(&b.time))
            .map(|entry| entry.manager.as_str())
    }

    /// Whether the object is being deleted.
    pub(crate) fn terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    pub(crate) metadata: PageMeta,
    #[serde(deserialize_with = "nullable")]
    pub(crate) items: Vec<Live>,
}

/// The metadata of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMeta {
    pub(crate) resource_version: String,
    #[serde(rename = "continue")]
    pub(crate) continuation: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(managed: &str) -> Meta {
        serde_json::from_str(&format!(r#"{{"name":"a","managedFields":{managed}}}"#)).unwrap()
    }

    #[test]
    fn the_owned_set_changes_with_fields_and_not_with_time_or_other_managers() {
        let ours = r#"{"manager":"skein","operation":"Apply","time":"T1","fieldsV1":{"f:data":{"f:a":{}}}}"#;
        let later = ours.replace("T1", "T2");
        let lost = ours.replace("f:a", "f:b");
        let other =
            r#"{"manager":"kubectl","operation":"Update","time":"T3","fieldsV1":{"f:data":{"f:b":{}}}}"#;
        let first = meta(&format!("[{ours}]")).fields("skein", &[]).unwrap();
        assert_eq!(meta(&format!("[{later},{other}]")).fields("skein", &[]), Some(first));
        assert_ne!(meta(&format!("[{lost}]")).fields("skein", &[]), Some(first));
        assert_eq!(meta(&format!("[{other}]")).fields("skein", &[]), None);
        assert_eq!(meta(&format!("[{ours},{other}]")).other_manager("skein"), Some("kubectl"));
    }
}
