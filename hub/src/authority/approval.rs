//! Devices that wait until a person lets them in.
//!
//! ```text
//!                       JoinToken.status.uses[].approval      Edge.spec.approved
//!   first ask -> bind --absent: conditions are met----------> absent ------------------> joined
//!                     \--why it waits-----------------------> false --a person: true---> joined
//!                                                               \-----spec.revoked-----> refused
//! ```
//! # Why
//! Whether a device waits is stored in the write that binds the token to it, so it is decided once, whoever dies; and a
//! device that waits counts as a use, so a token makes no more Edges than devices may join. The answer of a person is a
//! field of the Edge, which kubectl and GitOps can write, and which belongs to the one device whose id the object has.
//! Nobody waits at the hub: it answers at once, and the region keeps the device until it hears of the Edge.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::skein::{ApprovalPolicy, Edge, JoinApproval, JoinRole, JoinToken, JoinTokenUse};
use identity::approval::{Asking, CidrError, Conditions, Policy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use process::Process;
use protocol::UnixMillis;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::RegionName;
use serde::{Deserialize, Serialize};

use super::device;
use super::token::spki_hash;

/// Annotation: where and when the device of an Edge first asked, and why it had to wait.
pub(super) const ASKS: &str = "skein.dev/asks";
/// When a device that waits is to ask again, if nobody keeps it: at the soonest, and so much later for each that waits.
const RETRY_MS: (u64, u64) = (30_000, 60);
/// When a device that was refused is to ask again: somebody may have changed their mind.
const DENIED_RETRY_MS: u64 = 600_000;

/// A device that asked, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Asks {
    /// When, RFC 3339.
    pub at: String,
    /// From where, as far as the region told.
    pub from: String,
    /// Why it waits.
    pub why: String,
}

/// What an Edge tells of a device that had to wait.
pub(crate) fn waiting(annotations: &BTreeMap<String, String>) -> Option<Asks> {
    serde_json::from_str(annotations.get(ASKS)?).ok()
}

/// SHA-256 of the device's key, as its owner sees it there.
pub(crate) fn fingerprint(annotations: &BTreeMap<String, String>) -> Option<String> {
    device::device_key(annotations).map(|key| spki_hash(&key))
}

/// How somebody asks: through which region, and from which address, as far as that vouches for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// The region that relays it; `None` for one that dialled the hub itself.
    pub via: Option<&'a RegionName>,
    /// The address.
    pub from: Option<IpAddr>,
}

/// Why the device is to wait that is about to be bound to the token; nothing when it is let in.
pub(super) fn waits(
    token: &JoinToken,
    labels: &BTreeMap<String, String>,
    asked: Asked<'_>,
    now: UnixMillis,
) -> Option<String> {
    let approval = token.spec.approval.as_ref()?;
    if token.spec.role != JoinRole::Edge {
        return None;
    }
    let uses = token.status.iter().flat_map(|status| &status.uses);
    let admitted = uses.filter(|used: &&JoinTokenUse| used.approval.is_none()).count();
    let admitted = u32::try_from(admitted).unwrap_or(u32::MAX);
    match policy(approval) {
        Ok(policy) => policy.waits(&Asking { labels, from: asked.from, admitted, now }),
        // The definition refuses most of what cannot be read; of the rest a person hears here.
        Err(error) => Some(format!("spec.approval.sourceCidrs: {error}")),
    }
}

fn policy(approval: &JoinApproval) -> Result<Policy, CidrError> {
    let JoinApproval { count, from, labels, policy, source_cidrs, until } = approval;
    let millis = |time: &Time| u64::try_from(time.0.as_millisecond()).unwrap_or_default();
    match policy {
        ApprovalPolicy::Manual => Ok(Policy::Manual),
        ApprovalPolicy::Automatic => Ok(Policy::Automatic(Conditions {
            count: count.map(|count| u32::try_from(count).unwrap_or_default()),
            from: from.as_ref().map(millis),
            until: until.as_ref().map(millis),
            labels: labels.clone(),
            sources: source_cidrs.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        })),
    }
}

/// What a device is told whose Edge does not let it in.
pub(super) fn held_back(edge: &Edge, others: usize) -> Option<Refusal> {
    let (name, namespace) = (edge.name_any(), edge.namespace().unwrap_or_default());
    if edge.spec.revoked {
        let message = format!("it was refused: Edge {namespace}/{name} says so (spec.revoked)");
        let retry_after_ms = Some(DENIED_RETRY_MS);
        return Some(Refusal { reason: RefusalReason::Revoked, message, retry_after_ms });
    }
    if edge.spec.is_approved() {
        return None;
    }
    let why = waiting(edge.annotations()).map_or_else(String::new, |asks| format!(" ({})", asks.why));
    let key = fingerprint(edge.annotations()).unwrap_or_default();
    let message = format!(
        "a person has to approve Edge {namespace}/{name}{why}; the key of this device is SHA256:{key}"
    );
    let (least, each) = RETRY_MS;
    let retry_after_ms = Some(least + each.saturating_mul(others as u64));
    Some(Refusal { reason: RefusalReason::ApprovalPending, message, retry_after_ms })
}

/// How joins ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Joined,
    Pending,
    Denied,
    Refused,
    Unavailable,
}

/// How often each was.
#[derive(Debug, Default)]
pub(super) struct Outcomes([AtomicU64; 5]);

impl Outcomes {
    const ALL: [(Outcome, &str); 5] = [
        (Outcome::Joined, "joined"),
        (Outcome::Pending, "pending"),
        (Outcome::Denied, "denied"),
        (Outcome::Refused, "refused"),
        (Outcome::Unavailable, "unavailable"),
    ];

    pub(super) fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }

    /// Puts them among the process's metrics.
    pub(super) fn register(self: &Arc<Self>, process: &Process) {
        let read = Arc::clone(self);
        process.metrics.source(move |gathering| {
            for (outcome, name) in Self::ALL {
                let help =
                    "Requests to join, by how they ended; a device that waits for approval asks again.";
                let labels = [("outcome", name)];
                gathering.counter("skein_hub_joins_total", help, &labels, read.of(outcome) as f64);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use api::skein::EdgeSpec;

    use super::*;

    #[test]
    fn a_device_is_told_what_it_waits_for_and_is_spread_when_many_wait() {
        let mut edge = Edge::new("till-1", EdgeSpec { approved: Some(false), ..EdgeSpec::default() });
        edge.metadata.namespace = Some("kcm-system".to_owned());
        let device = identity::DeviceKey::from_seed([1; 32]);
        let mut told = device::annotations(&device.public(), &Vec::new());
        let asks = Asks { at: String::new(), from: "10.0.0.7:5".to_owned(), why: "spec.x".to_owned() };
        told.insert(ASKS.to_owned(), serde_json::to_string(&asks).unwrap());
        edge.metadata.annotations = Some(told);
        let refusal = held_back(&edge, 0).unwrap();
        assert_eq!(refusal.reason, RefusalReason::ApprovalPending);
        for part in ["kcm-system/till-1", "(spec.x)", &spki_hash(&device.public())] {
            assert!(refusal.message.contains(part), "{}", refusal.message);
        }
        // 10,000 that wait ask 16 times a second at most, all together.
        let pause = held_back(&edge, 10_000).unwrap().retry_after_ms.unwrap();
        assert!(10_000_000 / pause <= 16, "{pause}");
        edge.spec.revoked = true;
        assert_eq!(held_back(&edge, 0).unwrap().reason, RefusalReason::Revoked);
        edge.spec.revoked = false;
        for approved in [None, Some(true)] {
            edge.spec.approved = approved;
            assert_eq!(held_back(&edge, 0), None);
        }
    }
}
