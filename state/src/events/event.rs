//! The shape of an Event: core/v1, which `kubectl describe` and every older tool read, with the fields of
//! events.k8s.io/v1 (`reportingComponent`, `series`) filled as well.

use jiff::Timestamp;
use protocol::UnixMillis;
use protocol::id::Digest;
use serde_json::{Value, json};

use super::book::Entry;
use super::{Notice, Reason, Regarding, Reporter};

/// Longest message in bytes; the API server takes 1,024.
const NOTE_BYTES_MAX: usize = 1_000;
/// Longest part of an Event's name that is for people.
const STEM_BYTES_MAX: usize = 200;
/// Longest reporting instance (Kubernetes).
const INSTANCE_CHARS_MAX: usize = 128;

/// The namespace of an Event: its object's, and `default` for what is in none.
pub(super) fn namespace(regarding: &Regarding) -> &str {
    if regarding.id.namespace.is_empty() { "default" } else { &regarding.id.namespace }
}

/// The name of an Event, which says what it tells.
pub(super) fn name(notice: &Notice) -> String {
    let Notice { unit, regarding, note, .. } = notice;
    // After a restart nobody knows whether a revision was the first.
    let upgraded = notice.reason == Reason::Upgraded;
    let family = if upgraded { Reason::Deployed } else { notice.reason };
    let object = if notice.of_object { regarding.id.to_string() } else { String::new() };
    let text = format!("{unit}\n{object}\n{}\n{note}", family.as_str());
    let digest = Digest::of(text.as_bytes()).to_string();
    let stem = match notice.of_object {
        true => regarding.id.name.as_str(),
        false => unit.rsplit('/').next().unwrap_or_default(),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let stem: String = stem.chars().take(STEM_BYTES_MAX).map(plain).collect();
    let stem = stem.trim_matches('-');
    let stem = if stem.is_empty() { "skein" } else { stem };
    format!("{stem}.{}", &digest[..16])
}

/// A new Event.
pub(super) fn new(name: &str, entry: &Entry, reporter: &Reporter) -> Value {
    let Notice { regarding, reason, note, at, .. } = &entry.notice;
    let id = &regarding.id;
    let slash = if id.group.is_empty() { "" } else { "/" };
    let mut involved = json!({
        "apiVersion": format!("{}{slash}{}", id.group, regarding.version),
        "kind": id.kind,
        "name": id.name,
    });
    let uid = entry.uid.as_deref().unwrap_or_default();
    for (field, value) in [("namespace", id.namespace.as_str()), ("uid", uid)] {
        if !value.is_empty() {
            involved[field] = value.into();
        }
    }
    let instance: String = reporter.instance.chars().take(INSTANCE_CHARS_MAX).collect();
    let mut event = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace(regarding)},
        "involvedObject": involved,
        "reason": reason.as_str(),
        "message": shortened(note),
        "type": if reason.is_warning() { "Warning" } else { "Normal" },
        "action": reason.action(),
        "source": {"component": reporter.controller},
        "reportingComponent": reporter.controller,
        "reportingInstance": instance,
        "eventTime": micros(entry.first),
        "firstTimestamp": seconds(entry.first),
        "lastTimestamp": seconds(*at),
        "count": entry.more,
    });
    if entry.more > 1 {
        event["series"] = series(entry.more, *at);
    }
    event
}

/// What changes when it happened again.
pub(super) fn again(count: u32, at: UnixMillis) -> Value {
    json!({"count": count, "lastTimestamp": seconds(at), "series": series(count, at)})
}

fn series(count: u32, at: UnixMillis) -> Value {
    json!({"count": count, "lastObservedTime": micros(at)})
}

/// How often an Event of the API server says that it happened.
pub(super) fn count(event: &Value) -> u32 {
    let count = event.pointer("/series/count").or_else(|| event.get("count")).and_then(Value::as_u64);
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

/// How often it happened in all, where the API server has an Event of that name.
pub(super) fn count_with(known: &Value, entry: &Entry) -> u32 {
    let count = count(known);
    if entry.notice.once {
        return count;
    }
    // Only the answer to the request that made it was lost.
    let same = known.get("eventTime").and_then(Value::as_str) == Some(micros(entry.first).as_str());
    if same { count.max(entry.more) } else { count.saturating_add(entry.more) }
}

fn moment(at: UnixMillis) -> Timestamp {
    i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or(Timestamp::MAX)
}

/// `metav1.MicroTime` takes six digits, neither more nor fewer.
fn micros(at: UnixMillis) -> String {
    format!("{:.6}", moment(at))
}

fn seconds(at: UnixMillis) -> String {
    format!("{:.0}", moment(at))
}

fn shortened(note: &str) -> String {
    if note.len() <= NOTE_BYTES_MAX {
        return note.to_owned();
    }
    let end = (0..=NOTE_BYTES_MAX - 3).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_that_kubernetes_parses() {
        assert_eq!(micros(1_700_000_000_007), "2023-11-14T22:13:20.007000Z");
        assert_eq!(seconds(1_700_000_000_007), "2023-11-14T22:13:20Z");
        assert_eq!(micros(0), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn names_are_valid_whatever_the_object_is_called() {
        let notice = |name: &str| Notice {
            unit: "ns/set:shop/web".into(),
            of_object: true,
            regarding: Regarding { id: id(name), version: "v1".into() },
            reason: Reason::ApplyRefused,
            note: "x".into(),
            at: 0,
            once: false,
        };
        let long = "a".repeat(253);
        for (object, stem) in
            [("system:node", "system-node."), ("Ä", "skein."), (&long, "aaaa"), ("a.b-", "a-b.")]
        {
            let name = name(&notice(object));
            assert!(name.starts_with(stem) && name.len() <= 253, "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
            );
        }
        let unit = Notice { of_object: false, ..notice("a") };
        assert!(name(&unit).starts_with("web."), "{}", name(&unit));
        let other = Notice { regarding: Regarding { id: id("b"), version: "v1".into() }, ..unit.clone() };
        assert_eq!(name(&unit), name(&other), "about the unit, whatever object stands for it");
        let upgraded = Notice { reason: Reason::Upgraded, ..unit.clone() };
        let deployed = Notice { reason: Reason::Deployed, ..unit };
        assert_eq!(name(&upgraded), name(&deployed));
    }

    fn id(name: &str) -> crate::object::ObjectId {
        crate::object::ObjectId {
            group: "rbac.authorization.k8s.io".into(),
            kind: "ClusterRole".into(),
            namespace: String::new(),
            name: name.into(),
        }
    }

    #[test]
    fn long_notes_are_cut_between_characters() {
        let note = shortened(&"ä".repeat(600));
        assert!(note.len() <= NOTE_BYTES_MAX && note.ends_with("ä..."), "{}", note.len());
        assert_eq!(shortened("short"), "short");
    }
}
