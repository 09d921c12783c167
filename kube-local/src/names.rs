//! Names, namespaces, labels and annotations: what Kubernetes accepts and how it says no.

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
