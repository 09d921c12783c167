//! Reading one object, and lists with selectors, pages and consistent continuation.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Engine, convert, key_of};
use crate::error::ApiError;
use crate::registry::Kind;
use crate::selector::{FieldSelector, LabelSelector};
use crate::storage::{ObjectKey, Page, Stored};

/// How the `resourceVersion` of a list is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum VersionMatch {
    #[default]
    NotOlderThan,
    Exact,
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListOptions {
    /// None: all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
    /// 0: no limit.
    pub(crate) limit: usize,
    pub(crate) token: Option<String>,
    pub(crate) resource_version: u64,
    pub(crate) version_match: VersionMatch,
}

/// A list, or a page of one.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) revision: u64,
    pub(crate) token: Option<String>,
    pub(crate) remaining: Option<usize>,
    pub(crate) items: Vec<Bytes>,
}

impl Engine {
    /// One object as served.
    pub(crate) fn find(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Stored> {
        let stored = self.store.find(&kind.resource, &key_of(kind, namespace, name))?;
        Some(Stored { revision: stored.revision, bytes: convert::served_bytes(kind, &stored.bytes) })
    }

    /// One object as served, decoded.
    pub(crate) fn read(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Value> {
        self.live(kind, &key_of(kind, namespace, name))
    }

    /// A list.
    ///
    /// # Errors
    /// 400 for a malformed token, 410 when the revision asked for is forgotten, 504 when it is not reached yet.
    pub(crate) fn list(&self, kind: &Arc<Kind>, options: &ListOptions) -> Result<Listed, ApiError> {
        let (page, after) = self.page(kind, options)?;
        let mut items = Vec::new();
        let (mut last, mut more) = (None, 0_usize);
        for (key, stored) in &page.objects {
            if after.as_ref().is_some_and(|after| key <= after) {
                continue;
            }
            let bytes = convert::served_bytes(kind, &stored.bytes);
            if !matches(key, &bytes, &options.labels, &options.fields) {
                continue;
            }
            if options.limit > 0 && items.len() == options.limit {
                more += 1;
                continue;
            }
            items.push(bytes);
            last = Some(key);
        }
        let token = last.filter(|_| more > 0).map(|key| continue_token(page.revision, key));
        let selected = !options.labels.is_empty() || !options.fields.is_empty();
        let remaining = (more > 0 && !selected).then_some(more);
        Ok(Listed { revision: page.revision, token, remaining, items })
    }

    fn page(&self, kind: &Kind, options: &ListOptions) -> Result<(Page, Option<ObjectKey>), ApiError> {
        let namespace = options.namespace.as_deref();
        if let Some(token) = &options.token {
            let (revision, after) = parse_token(token)?;
            let page = self.store.list_at(&kind.resource, namespace, revision);
            return Ok((page.ok_or_else(ApiError::continue_expired)?, Some(after)));
        }
        let current = self.store.revision();
        if options.resource_version > current {
            return Err(ApiError::too_new(options.resource_version, current));
        }
        if options.version_match == VersionMatch::Exact && options.resource_version > 0 {
            let asked = options.resource_version;
            let page = self.store.list_at(&kind.resource, namespace, asked);
            return Ok((page.ok_or_else(|| ApiError::expired(asked, current))?, None));
        }
        Ok((self.store.list(&kind.resource, namespace), None))
    }
}

/// Whether an object matches both selectors; decodes it only when it must.
pub(super) fn matches(
    key: &ObjectKey,
    bytes: &Bytes,
    labels: &LabelSelector,
    fields: &FieldSelector,
) -> bool {
    if labels.is_empty() && !fields.needs_object() {
        return fields.matches(&key.namespace, &key.name, &Value::Null);
    }
    let object: Value = serde_json::from_slice(bytes).unwrap_or_default();
    labels.matches(object.pointer("/metadata/labels")) && fields.matches(&key.namespace, &key.name, &object)
}

fn continue_token(revision: u64, last: &ObjectKey) -> String {
    let token =
        json!({"v": "meta.k8s.io/v1", "rv": revision, "namespace": &*last.namespace, "name": &*last.name});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

fn parse_token(token: &str) -> Result<(u64, ObjectKey), ApiError> {
    let bad =
        || ApiError::bad_request(format!("invalid continue token: continue key is not valid: \"{token}\""));
    let decoded = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let token: Value = serde_json::from_slice(&decoded).map_err(|_| bad())?;
    let revision = token["rv"].as_u64().ok_or_else(bad)?;
    let word = |field: &str| token[field].as_str().map(str::to_owned).ok_or_else(bad);
    Ok((revision, ObjectKey::new(&word("namespace")?, &word("name")?)))
}
