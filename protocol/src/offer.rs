//! From a plan to what must travel: the difference between what the receiver has and what it is to have.
//!
//! Used alike by the hub towards its regions and by a region towards its edges. The sender guesses from the
//! receiver's last plan which blobs are missing and puts as many as fit into the offer; the receiver asks for
//! what is still missing. So a wrong guess costs a round trip, never correctness.
//!
//! Blobs that do not fit the offer go on streams of their own, and may come before it; whoever gets one that nothing
//! waits for drops it. So when the last of them has left, the offer is repeated without blobs ([`reminder`]): who has
//! all says that it is stored, and who lacks some asks for them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::id::{Digest, EdgeId};
use crate::message::{BlobPart, PlanOffer};
use crate::plan::{ObjectEntry, ObjectKey, PlanBody, SignedPlan, UnitId};

/// Compressed bytes of blobs that an offer, or one answer to a request for blobs, carries on the control lane.
pub const INLINE_BYTES_MAX: usize = 40 * 1024;

/// A plan as its sender holds it.
pub struct Content<'a> {
    /// The body.
    pub body: &'a PlanBody,
    /// The body's bytes.
    pub encoded: &'a Bytes,
    /// Their digest.
    pub digest: Digest,
}

/// What to send.
pub struct Prepared {
    /// The offer, with the blobs that fit.
    pub offer: PlanOffer,
    /// Blobs that the receiver probably lacks and that did not fit; they go over the blob lane.
    pub later: Vec<BlobPart>,
}

/// Prepares the offer of `content` to a receiver that has `known`, or nothing.
///
/// `blob` finds the content of an object; one that cannot be found is left for the receiver to ask for.
pub fn prepare(
    edge: Option<EdgeId>,
    plan: &SignedPlan,
    content: &Content<'_>,
    known: Option<&Content<'_>>,
    blob: impl Fn(&Digest) -> Option<Bytes>,
) -> Prepared {
    let had: BTreeSet<Digest> = known.iter().flat_map(|known| known.body.digests()).collect();
    let bases = known.map(|known| objects(known.body)).unwrap_or_default();
    let base = known.map(|known| (known.digest, &known.encoded[..]));
    let body = (Some(content.digest) != known.map(|known| known.digest))
        .then(|| BlobPart::make(content.encoded, base));
    let mut sent = BTreeSet::new();
    let missing = entries(content.body).filter(|(_, entry)| !had.contains(&entry.digest));
    let parts = missing.filter(|(_, entry)| sent.insert(entry.digest)).filter_map(|(unit, entry)| {
        let bytes = blob(&entry.digest)?;
        let base = bases.get(&(unit, &entry.key)).and_then(|digest| Some((*digest, blob(digest)?)));
        Some(BlobPart::make(&bytes, base.as_ref().map(|(digest, bytes)| (*digest, &bytes[..]))))
    });
    let (blobs, later) = fill(body.into_iter().chain(parts));
    Prepared { offer: PlanOffer { edge, plan: plan.clone(), blobs }, later }
}

/// The offer of a plan again, after its blobs.
pub fn reminder(edge: Option<EdgeId>, plan: &SignedPlan) -> PlanOffer {
    PlanOffer { edge, plan: plan.clone(), blobs: Vec::new() }
}

/// Answers a request for blobs: what fits the control lane, and what goes over the blob lane. Blobs that the sender
/// does not have are left out.
pub fn answer(wanted: &[Digest], blob: impl Fn(&Digest) -> Option<Bytes>) -> (Vec<BlobPart>, Vec<BlobPart>) {
    fill(wanted.iter().filter_map(|digest| Some(BlobPart::make(&blob(digest)?, None))))
}

/// Parts for the control lane up to the limit, in order; all others after them.
fn fill(parts: impl Iterator<Item = BlobPart>) -> (Vec<BlobPart>, Vec<BlobPart>) {
    let (mut inline, mut later, mut room) = (Vec::new(), Vec::new(), INLINE_BYTES_MAX);
    for part in parts {
        // 80 bytes for digests and lengths.
        let size = part.compressed.len() + 80;
        if size <= room {
            room -= size;
            inline.push(part);
        } else {
            later.push(part);
        }
    }
    (inline, later)
}

/// Every object of a plan with its unit, hooks included.
fn entries(body: &PlanBody) -> impl Iterator<Item = (&UnitId, &ObjectEntry)> {
    body.units.iter().flat_map(|unit| {
        let hooks = unit.hooks.iter().map(|hook| &hook.object);
        unit.objects.iter().chain(hooks).map(move |entry| (&unit.id, entry))
    })
}

fn objects(body: &PlanBody) -> BTreeMap<(&UnitId, &ObjectKey), Digest> {
    entries(body).map(|(unit, entry)| ((unit, &entry.key), entry.digest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{DriftMode, KeyId, Removal, Unit, UnitKind};

    /// A plan of one unit with these objects, and their contents.
    fn plan(objects: &[&str]) -> (PlanBody, BTreeMap<Digest, Bytes>) {
        let text = str::to_owned;
        let blobs =
            objects.iter().map(|content| (Digest::of(content.as_bytes()), Bytes::from(text(content))));
        let entries = objects.iter().enumerate().map(|(index, content)| ObjectEntry {
            key: ObjectKey {
                group: text(""),
                version: text("v1"),
                kind: text("ConfigMap"),
                namespace: text("shop"),
                name: format!("map-{index}"),
            },
            digest: Digest::of(content.as_bytes()),
        });
        let unit = Unit {
            id: UnitId {
                set_namespace: text("d"),
                set_name: text("s"),
                namespace: text("shop"),
                name: text("web"),
            },
            kind: UnitKind::Helm,
            template: text("web"),
            version: text("1"),
            hash: Digest::of(objects.concat().as_bytes()),
            priority: 0,
            depends_on: Vec::new(),
            objects: entries.collect(),
            hooks: Vec::new(),
            create_namespace: true,
            take_ownership: false,
            drift: DriftMode::Repair,
            removal: Removal::Prune,
            timeout_ms: 0,
            ext: Vec::new(),
        };
        (PlanBody { units: vec![unit], ..PlanBody::default() }, blobs.collect())
    }

    fn signed() -> SignedPlan {
        SignedPlan { header: Bytes::from_static(b"header"), key_id: KeyId([0; 8]), signature: Bytes::new() }
    }

    fn offer(new: &[&str], old: Option<&[&str]>) -> Prepared {
        let (body, mut blobs) = plan(new);
        let encoded = body.encode();
        let content = Content { body: &body, digest: Digest::of(&encoded), encoded: &encoded };
        let old = old.map(plan);
        let old_encoded = old.as_ref().map(|(body, _)| body.encode());
        let known = old.as_ref().zip(old_encoded.as_ref()).map(|((body, contents), encoded)| {
            blobs.extend(contents.clone());
            Content { body, digest: Digest::of(encoded), encoded }
        });
        prepare(None, &signed(), &content, known.as_ref(), |digest| blobs.get(digest).cloned())
    }

    #[test]
    fn a_newcomer_gets_the_body_and_every_object_once() {
        let prepared = offer(&["a", "b", "a"], None);
        assert_eq!(prepared.offer.blobs.len(), 3);
        assert!(prepared.offer.blobs.iter().all(|blob| blob.base.is_none()));
        assert!(prepared.later.is_empty());
    }

    #[test]
    fn one_changed_field_among_a_hundred_objects_costs_less_than_a_kibibyte() {
        let objects: Vec<String> =
            (0..100).map(|n| format!("{{\"data\":{{\"v\":\"{}\"}}}}", Digest::of(&[n]))).collect();
        let old: Vec<&str> = objects.iter().map(String::as_str).collect();
        let mut new = old.clone();
        let changed = old[42].replacen("\"v\"", "\"w\"", 1);
        new[42] = &changed;
        let prepared = offer(&new, Some(&old));
        assert_eq!(prepared.offer.blobs.len(), 2);
        assert!(prepared.offer.blobs.iter().all(|blob| blob.base.is_some()));
        let bytes = crate::codec::encode(&prepared.offer).len();
        assert!(bytes < 1024, "{bytes} bytes");
    }

    #[test]
    fn what_does_not_fit_the_control_lane_goes_over_the_blob_lane() {
        // Pseudo-random text, so that it does not compress.
        let big = |seed: u8| -> String {
            (0..900_u32).map(|n| Digest::of(&[&[seed], &n.to_le_bytes()[..]].concat()).to_string()).collect()
        };
        let (one, two) = (big(1), big(2));
        let prepared = offer(&[&one, &two, "small"], None);
        assert_eq!(prepared.offer.blobs.len() + prepared.later.len(), 4);
        assert!(!prepared.later.is_empty());
        assert!(crate::codec::encode(&prepared.offer).len() < 64 * 1024);
    }

    #[test]
    fn an_unchanged_body_is_not_sent_again() {
        assert!(offer(&["a"], Some(&["a"])).offer.blobs.is_empty());
    }
}
