//! Names, namespaces, labels and annotations: what Kubernetes accepts and how it says no.

use serde_json::{Value, json};

use crate::error::Cause;
use crate::object;

const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
    or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035_TEXT: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
    an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
    validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_TEXT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and \
    end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE_TEXT: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
    or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
    used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// Which names a kind accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// RFC 1123 subdomain: most kinds.
    Subdomain,
    /// RFC 1123 label: namespaces.
    Label,
    /// RFC 1035 label: services.
    Label1035,
    /// One path segment: RBAC.
    PathSegment,
}

impl NameRule {
    /// What is wrong with a name; empty when it is fine.
    pub(crate) fn complaints(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => bounded(name, 253, is_subdomain(name), SUBDOMAIN_TEXT),
            Self::Label => bounded(name, 63, is_label(name, false), LABEL_TEXT),
            Self::Label1035 => bounded(name, 63, is_label(name, true), LABEL_1035_TEXT),
            Self::PathSegment => path_segment(name),
        }
    }
}

fn bounded(text: &str, limit: usize, well_formed: bool, complaint: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.len() > limit {
        complaints.push(format!("must be no more than {limit} bytes"));
    }
    if !well_formed {
        complaints.push(complaint.to_owned());
    }
    complaints
}

fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ['/', '%']
        .iter()
        .filter(|one| name.contains(**one))
        .map(|one| format!("may not contain '{one}'"))
        .collect()
}

fn is_label(text: &str, letter_first: bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let start = if letter_first { first.is_ascii_lowercase() } else { plain(first) };
    start && plain(last) && bytes.iter().all(|byte| plain(byte) || *byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    !text.is_empty() && text.split('.').all(|part| is_label(part, false))
}

fn is_qualified_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Complaints about a label key, annotation key or finalizer.
pub(crate) fn qualified_name_complaints(key: &str) -> Vec<String> {
    let (prefix, part) = match key.split_once('/') {
        Some((prefix, part)) => (Some(prefix), part),
        None => (None, key),
    };
    let mut complaints = Vec::new();
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            complaints.push("prefix part must be non-empty".to_owned());
        } else if !is_subdomain(prefix) || prefix.len() > 253 {
            complaints.push(format!("prefix part {SUBDOMAIN_TEXT}"));
        }
    }
    if part.is_empty() {
        complaints.push("name part must be non-empty".to_owned());
    }
    if part.len() > 63 {
        complaints.push("name part must be no more than 63 bytes".to_owned());
    }
    if !is_qualified_part(part) {
        complaints.push(QUALIFIED_TEXT.to_owned());
    }
    complaints
}

/// Complaints about a label value.
pub(crate) fn label_value_complaints(value: &str) -> Vec<String> {
    bounded(value, 63, value.is_empty() || is_qualified_part(value), LABEL_VALUE_TEXT)
}

/// Everything wrong with an object's metadata, as causes under `metadata`.
pub(crate) fn metadata_causes(object: &Value, rule: NameRule, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = object::name(object);
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
    }
    if !name.is_empty() {
        for complaint in rule.complaints(name) {
            causes.push(Cause::invalid("metadata.name", &json!(name), &complaint));
        }
    }
    let namespace = object::namespace(object);
    if namespaced && !namespace.is_empty() {
        for complaint in NameRule::Label.complaints(namespace) {
            causes.push(Cause::invalid("metadata.namespace", &json!(namespace), &complaint));
        }
    }
    label_causes(object.pointer("/metadata/labels"), "metadata.labels", &mut causes);
    annotation_causes(object.pointer("/metadata/annotations"), &mut causes);
    for (index, finalizer) in object::finalizers(object).into_iter().enumerate() {
        if !finalizer.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(&finalizer) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(&format!("metadata.finalizers[{index}]"), &json!(finalizer), detail));
        }
    }
    causes
}

/// Everything wrong with a map of labels that stands at `field`.
pub(crate) fn label_causes(labels: Option<&Value>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flatten() {
        for complaint in qualified_name_complaints(key) {
            causes.push(Cause::invalid(field, &json!(key), &complaint));
        }
        for complaint in label_value_complaints(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(field, value, &complaint));
        }
    }
}

fn annotation_causes(annotations: Option<&Value>, causes: &mut Vec<Cause>) {
    let mut bytes = 0;
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flatten() {
        bytes += key.len() + value.as_str().map_or(0, str::len);
        for complaint in qualified_name_complaints(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), &complaint));
        }
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        causes.push(Cause {
            reason: "FieldValueTooLong".into(),
            message: format!("Too long: may not be more than {ANNOTATIONS_BYTES_MAX} bytes"),
            field: "metadata.annotations".into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-b.c", "0", "x1.y2"] {
            assert!(NameRule::Subdomain.complaints(good).is_empty(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", "."] {
            assert!(!NameRule::Subdomain.complaints(bad).is_empty(), "{bad}");
        }
        assert!(!NameRule::Label.complaints("a.b").is_empty());
        assert!(!NameRule::Label1035.complaints("1a").is_empty());
        assert!(NameRule::PathSegment.complaints("system:node").is_empty());
    }

    #[test]
    fn label_keys_and_values_are_checked() {
        assert!(qualified_name_complaints("app.kubernetes.io/name").is_empty());
        assert!(!qualified_name_complaints("/name").is_empty());
        assert!(!qualified_name_complaints("a b").is_empty());
        assert!(label_value_complaints("").is_empty());
        assert!(!label_value_complaints("a b").is_empty());
    }
}
