//! The plans of the region's edges, held so that they can be served while the hub is away.
//!
//! ```text
//!  offer --verify--> pending --all blobs here--> current --newer one came--> previous --edge has stored--> gone
//! ```
//! Every plan is verified against the hub's keys, for the edge it names, before it is kept; every blob is verified
//! by its digest. A generation never goes back. Blobs are shared by digest among all edges and counted.
//! An edge is given only blobs of its own plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use identity::endpoints::EndpointsError;
use identity::placement::PlacementError;
use protocol::codec::decode;
use protocol::endpoints::{EndpointList, Known, LIST_BYTES_MAX, Listener, SignedEndpoints};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::frame::{OBJECT_BYTES_MAX, PLAN_BODY_BYTES_MAX};
use protocol::id::{AgentId, Digest, EdgeId, Generation, RegionName};
use protocol::message::{BlobPart, PlanHead, PlanOffer};
use protocol::offer::{self, Content, INLINE_BYTES_MAX, Prepared};
use protocol::placement::SignedPlacement;
use protocol::plan::{PlanBody, SignedPlan};
use protocol::version::{self, Features};

use super::journal::{Change, Contents, Journal, JournalError};
use super::placements::{Kept, Placements};
use crate::keys::PlanKeys;

/// What became of an offer from the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is complete and the edge's current plan now.
    Held(PlanHead),
    /// It was held before, or nothing waits for these blobs.
    Known,
    /// These blobs are missing still.
    Missing(Vec<Digest>),
    /// It is not accepted.
    Refused {
        /// Which one, if it could be read.
        generation: Option<Generation>,
        /// Why.
        refusal: Refusal,
    },
}

/// How much is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    /// Edges with a plan.
    pub plans: u64,
    /// Blobs.
    pub blobs: u64,
    /// Bytes of blobs and bodies.
    pub bytes: u64,
}

/// The shelf.
#[derive(Debug)]
pub struct Shelf {
    keys: PlanKeys,
    journal: Journal,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    slots: BTreeMap<EdgeId, Slot>,
    blobs: BTreeMap<Digest, Counted>,
    removed: BTreeMap<EdgeId, Refusal>,
    names: BTreeMap<EdgeId, (String, String)>,
    placements: Placements,
    /// Where the region listens, as the hub signed it.
    endpoints: Option<(Known, SignedEndpoints)>,
}

#[derive(Debug)]
struct Counted {
    content: Bytes,
    uses: u32,
}

#[derive(Debug, Default)]
struct Slot {
    current: Option<Held>,
    /// What the edge has, while it has not stored the current one.
    previous: Option<Held>,
    pending: Option<Pending>,
    /// Body of the plan that the edge was last known to have, or was last offered.
    assumed: Option<Digest>,
    /// The hub's parts, fit for an edge that has the plan with this body.
    reusable: Option<(Digest, Vec<BlobPart>)>,
}

#[derive(Debug)]
struct Held {
    signed: SignedPlan,
    head: PlanHead,
    encoded: Bytes,
}

/// An offer that waits for blobs.
#[derive(Debug)]
struct Pending {
    signed: SignedPlan,
    head: PlanHead,
    body: Option<PlanBody>,
    blobs: BTreeMap<Digest, Bytes>,
    parts: Vec<BlobPart>,
}

impl Held {
    /// The body; verified when it was taken.
    fn body(&self) -> PlanBody {
        decode(&self.encoded, PLAN_BODY_BYTES_MAX).unwrap_or_default()
    }
}

impl Shelf {
    /// Opens the shelf kept in a file. Plans that do not verify any more, or whose blobs are damaged, are left out.
    ///
    /// # Errors
    /// [`JournalError`] when the file cannot be had.
    pub fn open(path: &Path, keys: PlanKeys) -> Result<Self, JournalError> {
        let (journal, contents) = Journal::open(path)?;
        let inner = Inner::restore(contents, &keys, &journal);
        Ok(Self { keys, journal, inner: Mutex::new(inner) })
    }

    /// Takes a plan for an edge, with some or all of its blobs.
    pub fn offer(&self, edge: EdgeId, signed: SignedPlan, parts: Vec<BlobPart>) -> Taken {
        let header = match self.keys.verify_for(&AgentId::Edge(edge), &signed) {
            Ok(header) => header,
            Err(error) => return refuse(None, RefusalReason::ProofInvalid, error.to_string()),
        };
        let head = PlanHead { generation: header.generation, body: header.body };
        let mut inner = self.lock();
        if inner.removed.remove(&edge).is_some() {
            self.journal.note(Change::Returned(edge));
        }
        let slot = inner.slots.entry(edge).or_default();
        let newest =
            [slot.current.as_ref().map(|held| held.head), slot.pending.as_ref().map(|held| held.head)];
        if let Some(newer) = newest.into_iter().flatten().find(|known| known.generation > head.generation) {
            let text =
                format!("plan {} is older than plan {}, which is held", head.generation, newer.generation);
            return refuse(Some(head.generation), RefusalReason::Superseded, text);
        }
        match slot.current.as_ref().map(|held| held.head) {
            Some(current) if current == head => return Taken::Known,
            Some(current) if current.generation == head.generation => {
                let text = format!("plan {} is held with another body", head.generation);
                return refuse(Some(head.generation), RefusalReason::Malformed, text);
            }
            Some(_) | None => {}
        }
        let before = slot.pending.take();
        // What came for an offer that was overtaken may serve this one.
        let blobs = before.map(|pending| pending.blobs).unwrap_or_default();
        slot.pending = Some(Pending { signed, head, body: None, blobs, parts: Vec::new() });
        inner.fill(edge, parts, &self.journal)
    }

    /// Takes blobs for the offer that waits for them.
    pub fn blobs(&self, edge: EdgeId, parts: Vec<BlobPart>) -> Taken {
        self.lock().fill(edge, parts, &self.journal)
    }

    /// The plan that is held for an edge.
    pub fn head(&self, edge: EdgeId) -> Option<PlanHead> {
        self.lock().slots.get(&edge)?.current.as_ref().map(|held| held.head)
    }

    /// The plan itself.
    pub fn signed(&self, edge: EdgeId) -> Option<SignedPlan> {
        self.lock().slots.get(&edge)?.current.as_ref().map(|held| held.signed.clone())
    }

    /// The edges that have a plan here.
    pub fn edges(&self) -> Vec<EdgeId> {
        let inner = self.lock();
        inner.slots.iter().filter(|(_, slot)| slot.current.is_some()).map(|(edge, _)| *edge).collect()
    }

    /// The edge was offered its current plan; the next difference may build on it.
    pub fn offered(&self, edge: EdgeId) {
        if let Some(slot) = self.lock().slots.get_mut(&edge) {
            slot.assumed = slot.current.as_ref().map(|held| held.head.body);
        }
    }

    /// The edge is known to have the plan with this body, or to have none that is known.
    pub fn stored(&self, edge: EdgeId, body: Option<Digest>) {
        let mut inner = self.lock();
        let Some(slot) = inner.slots.get_mut(&edge) else { return };
        slot.assumed = body;
        if body.is_some() && body == slot.current.as_ref().map(|held| held.head.body) {
            slot.reusable = None;
            let previous = slot.previous.take();
            inner.drop_held(previous, &self.journal);
        }
    }

    /// The current plan for an edge, and what it asks for that is not among these features; nothing when it asks for no
    /// more.
    pub fn beyond(&self, edge: EdgeId, features: Features) -> Option<(Generation, Features)> {
        if features.has(version::NEEDED) {
            return None;
        }
        let inner = self.lock();
        let current = inner.slots.get(&edge)?.current.as_ref()?;
        let lacking = version::needed_by(&current.body()).without(features);
        (!lacking.is_empty()).then_some((current.head.generation, lacking))
    }

    /// The offer of the current plan for an edge, as the difference to what the edge is assumed to have.
    pub fn prepare(&self, edge: EdgeId) -> Option<Prepared> {
        let inner = self.lock();
        let slot = inner.slots.get(&edge)?;
        let current = slot.current.as_ref()?;
        if let Some((base, parts)) = &slot.reusable
            && slot.assumed == Some(*base)
        {
            return Some(split(current.signed.clone(), parts));
        }
        let assumed = slot.assumed;
        let known = [Some(current), slot.previous.as_ref()].into_iter().flatten();
        let known = known.into_iter().find(|held| assumed == Some(held.head.body));
        let known = known.map(|held| (held.body(), held));
        let known = known.as_ref().map(|(body, held)| Content {
            body,
            encoded: &held.encoded,
            digest: held.head.body,
        });
        let body = current.body();
        let content = Content { body: &body, encoded: &current.encoded, digest: current.head.body };
        let blob = |digest: &Digest| inner.blobs.get(digest).map(|blob| blob.content.clone());
        Some(offer::prepare(None, &current.signed, &content, known.as_ref(), blob))
    }

    /// The blobs that an edge asked for, as far as its current plan has them: what fits the control lane, the rest.
    pub fn answer(&self, edge: EdgeId, wanted: &[Digest]) -> (Vec<BlobPart>, Vec<BlobPart>) {
        let inner = self.lock();
        let Some(current) = inner.slots.get(&edge).and_then(|slot| slot.current.as_ref()) else {
            return Default::default();
        };
        let own: BTreeSet<Digest> = current.body().digests().collect();
        offer::answer(wanted, |digest| {
            if *digest == current.head.body {
                return Some(current.encoded.clone());
            }
            let blob = inner.blobs.get(digest).filter(|_| own.contains(digest));
            blob.map(|blob| blob.content.clone())
        })
    }

    /// The edge is not of this region any more: its plan goes, and it is refused from now on.
    pub fn remove(&self, edge: EdgeId, refusal: Refusal) {
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.remove(&edge) {
            inner.drop_held(slot.current, &self.journal);
            inner.drop_held(slot.previous, &self.journal);
        }
        inner.names.remove(&edge);
        inner.removed.insert(edge, refusal.clone());
        self.journal.note(Change::Removed { edge, refusal });
    }

    /// Why an edge is refused, if it was removed.
    pub fn removed(&self, edge: EdgeId) -> Option<Refusal> {
        self.lock().removed.get(&edge).cloned()
    }

    /// Keeps where an edge links, or all edges of the region. Says whether that is news.
    ///
    /// # Errors
    /// [`PlacementError`] when it is not the hub's, or not for that edge.
    pub fn place(&self, edge: Option<EdgeId>, signed: SignedPlacement) -> Result<bool, PlacementError> {
        let kept = Kept::read(&self.keys, edge, signed.clone())?;
        let news = self.lock().placements.take(edge, kept);
        if news {
            self.journal.note(Change::Placed { edge, signed });
        }
        Ok(news)
    }

    /// Keeps where the region listens. Says whether edges that know the list before are to hear of it.
    ///
    /// # Errors
    /// [`EndpointsError`] when it is not the hub's, or not of this region.
    pub fn list(&self, region: &RegionName, signed: SignedEndpoints) -> Result<bool, EndpointsError> {
        let known = self.keys.verify_endpoints(&Listener::Region(region.clone()), &signed)?.known();
        let mut inner = self.lock();
        let before = inner.endpoints.as_ref().map(|(known, _)| *known);
        if let Some(before) = before.filter(|before| known.generation <= before.generation) {
            let (generation, taken) = (known.generation, before.generation);
            return if generation == taken {
                Ok(false)
            } else {
                Err(EndpointsError::Older { generation, taken })
            };
        }
        inner.endpoints = Some((known, signed.clone()));
        drop(inner);
        self.journal.note(Change::Listed(signed));
        Ok(Known::wants(before, known))
    }

    /// Where the region listens, for an edge that has the list `known`.
    pub fn list_for(&self, known: Option<Known>) -> Option<SignedEndpoints> {
        let inner = self.lock();
        let (list, signed) = inner.endpoints.as_ref()?;
        Known::wants(known, *list).then(|| signed.clone())
    }

    /// The edge is of this region: what was kept of its place elsewhere is history.
    pub fn belongs_here(&self, edge: EdgeId, region: &RegionName) {
        if self.lock().placements.forget(edge, |placed| placed != region) {
            self.journal.note(Change::Unplaced(edge));
        }
    }

    /// The edge is of no region any more.
    pub fn displace(&self, edge: EdgeId) {
        if self.lock().placements.forget(edge, |_| true) {
            self.journal.note(Change::Unplaced(edge));
        }
    }

    /// What an edge that took the placement `taken` is to be told of its place.
    pub fn placement_for(&self, edge: EdgeId, taken: Option<Generation>) -> Option<SignedPlacement> {
        self.lock().placements.news_for(edge, taken)
    }

    /// Whether it is kept where that edge links.
    pub fn is_placed(&self, edge: EdgeId) -> bool {
        self.lock().placements.is_placed(edge)
    }

    /// Learns what an edge is called, for the labels of its telemetry.
    pub fn name(&self, edge: EdgeId, name: &str, cluster: &str) {
        let mut inner = self.lock();
        let names = (name.to_owned(), cluster.to_owned());
        if inner.names.get(&edge) != Some(&names) {
            inner.names.insert(edge, names);
            self.journal.note(Change::Named { edge, name: name.to_owned(), cluster: cluster.to_owned() });
        }
    }

    /// Whether it is known what an edge is called.
    pub fn is_named(&self, edge: EdgeId) -> bool {
        self.lock().names.contains_key(&edge)
    }

    /// The names of an edge and its cluster; its id where they are not known.
    pub fn named(&self, edge: EdgeId) -> (String, String) {
        let known = self.lock().names.get(&edge).cloned();
        known.unwrap_or_else(|| (edge.to_string(), edge.to_string()))
    }

    /// All edges whose names are known.
    pub fn names(&self) -> BTreeMap<EdgeId, (String, String)> {
        self.lock().names.clone()
    }

    /// How much is held.
    pub fn fill(&self) -> Fill {
        let inner = self.lock();
        let size = |bytes: &Bytes| bytes.len() as u64;
        let bodies = inner.slots.values().filter_map(|slot| slot.current.as_ref());
        let (mut plans, mut bytes) = (0, inner.blobs.values().map(|blob| size(&blob.content)).sum());
        for held in bodies {
            plans += 1;
            bytes += size(&held.encoded);
        }
        Fill { plans, blobs: inner.blobs.len() as u64, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The list from disk, if it verifies still; whose it is was looked at when it was taken.
fn restore_list(signed: SignedEndpoints, keys: &PlanKeys) -> Option<(Known, SignedEndpoints)> {
    let of = decode::<EndpointList>(&signed.list, LIST_BYTES_MAX).ok()?.of;
    match keys.verify_endpoints(&of, &signed) {
        Ok(list) => Some((list.known(), signed)),
        Err(error) => {
            tracing::warn!(%error, "a kept list of endpoints is left out");
            None
        }
    }
}

impl Inner {
    fn restore(contents: Contents, keys: &PlanKeys, journal: &Journal) -> Self {
        let Contents { plans, blobs, removed, names, placements, endpoints } = contents;
        let placements = Placements::restore(placements, keys);
        let endpoints = endpoints.and_then(|signed| restore_list(signed, keys));
        let mut inner = Self { removed, names, placements, endpoints, ..Self::default() };
        let sound = |digest: &Digest| blobs.get(digest).filter(|content| Digest::of(content) == *digest);
        for (edge, signed, encoded) in plans {
            let Ok(header) = keys.verify_stored(&AgentId::Edge(edge), &signed) else {
                tracing::warn!(%edge, "a plan on the shelf does not verify and is left out");
                continue;
            };
            let body = (Digest::of(&encoded) == header.body)
                .then(|| decode::<PlanBody>(&encoded, PLAN_BODY_BYTES_MAX));
            let Some(Ok(body)) = body else { continue };
            let digests: Vec<Digest> = body.digests().collect();
            let found: Option<Vec<_>> =
                digests.iter().map(|digest| Some((*digest, sound(digest)?.clone()))).collect();
            let Some(found) = found else { continue };
            for (digest, content) in found {
                inner.blobs.entry(digest).or_insert(Counted { content, uses: 0 }).uses += 1;
            }
            let head = PlanHead { generation: header.generation, body: header.body };
            let slot = Slot { current: Some(Held { signed, head, encoded }), ..Slot::default() };
            inner.slots.insert(edge, slot);
        }
        for digest in blobs.keys().filter(|digest| !inner.blobs.contains_key(digest)) {
            journal.note(Change::Unneeded(*digest));
        }
        inner
    }

    /// Opens parts for the pending offer of an edge, and completes it when nothing is missing.
    fn fill(&mut self, edge: EdgeId, parts: Vec<BlobPart>, journal: &Journal) -> Taken {
        let Some(slot) = self.slots.get_mut(&edge) else { return Taken::Known };
        let Some(mut pending) = slot.pending.take() else { return Taken::Known };
        let held = [slot.current.as_ref(), slot.previous.as_ref()];
        let bodies: Vec<_> =
            held.into_iter().flatten().map(|held| (held.head.body, held.encoded.clone())).collect();
        for part in parts {
            pending.open(&part, &bodies, &self.blobs);
            pending.parts.push(part);
        }
        // A new term publishes the same bodies anew.
        if let Some((digest, body)) = bodies.into_iter().find(|(digest, _)| *digest == pending.head.body) {
            pending.blobs.entry(digest).or_insert(body);
        }
        if let Err(detail) = pending.read_body() {
            let text = format!("the body of plan {} does not decode: {detail}", pending.head.generation);
            return refuse(Some(pending.head.generation), RefusalReason::Malformed, text);
        }
        let missing: Vec<Digest> = match &pending.body {
            None => vec![pending.head.body],
            Some(body) => {
                let here =
                    |digest: &Digest| self.blobs.contains_key(digest) || pending.blobs.contains_key(digest);
                body.digests().filter(|digest| !here(digest)).collect()
            }
        };
        if !missing.is_empty() {
            slot.pending = Some(pending);
            return Taken::Missing(missing);
        }
        self.complete(edge, pending, journal)
    }

    /// Makes a pending offer the current plan.
    fn complete(&mut self, edge: EdgeId, mut pending: Pending, journal: &Journal) -> Taken {
        let body = pending.body.take().unwrap_or_default();
        let encoded = pending.blobs.remove(&pending.head.body).unwrap_or_default();
        for digest in body.digests() {
            match self.blobs.get_mut(&digest) {
                Some(blob) => blob.uses += 1,
                None => {
                    let content = pending.blobs.remove(&digest).unwrap_or_default();
                    journal.note(Change::Blob { digest, content: content.clone() });
                    self.blobs.insert(digest, Counted { content, uses: 1 });
                }
            }
        }
        let (signed, head) = (pending.signed.clone(), pending.head);
        journal.note(Change::Plan { edge, signed: signed.clone(), body: encoded.clone() });
        let Some(slot) = self.slots.get_mut(&edge) else { return Taken::Known };
        slot.reusable = slot.current.as_ref().and_then(|old| pending.reusable(old, &body));
        let old = slot.current.replace(Held { signed, head, encoded });
        // Only what the edge may have is of use as a base.
        let assumed = slot.assumed;
        let mut superfluous = Vec::new();
        for held in [slot.previous.take(), old].into_iter().flatten() {
            if assumed == Some(held.head.body) && slot.previous.is_none() {
                slot.previous = Some(held);
            } else {
                superfluous.push(held);
            }
        }
        for held in superfluous {
            self.drop_held(Some(held), journal);
        }
        Taken::Held(head)
    }

    fn drop_held(&mut self, held: Option<Held>, journal: &Journal) {
        for digest in held.iter().flat_map(|held| held.body().digests().collect::<Vec<_>>()) {
            let Some(blob) = self.blobs.get_mut(&digest) else { continue };
            blob.uses -= 1;
            if blob.uses == 0 {
                self.blobs.remove(&digest);
                journal.note(Change::Unneeded(digest));
            }
        }
    }
}

impl Pending {
    /// Opens a part, if it can be; whatever cannot be is asked for whole.
    fn open(&mut self, part: &BlobPart, bodies: &[(Digest, Bytes)], blobs: &BTreeMap<Digest, Counted>) {
        if self.blobs.contains_key(&part.digest) {
            return;
        }
        let limit = if part.digest == self.head.body { PLAN_BODY_BYTES_MAX } else { OBJECT_BYTES_MAX };
        let base = part.base.and_then(|base| {
            let body = bodies.iter().find(|(digest, _)| *digest == base).map(|(_, body)| body.clone());
            let blob = || blobs.get(&base).map(|blob| blob.content.clone());
            body.or_else(blob).or_else(|| self.blobs.get(&base).cloned())
        });
        match part.open(base.as_deref(), limit) {
            Ok(content) => {
                self.blobs.insert(part.digest, content);
            }
            Err(error) => tracing::debug!(%error, "a blob is not usable and asked for again"),
        }
    }

    fn read_body(&mut self) -> Result<(), String> {
        if self.body.is_none()
            && let Some(encoded) = self.blobs.get(&self.head.body)
        {
            self.body = Some(decode(encoded, PLAN_BODY_BYTES_MAX).map_err(|error| error.to_string())?);
        }
        Ok(())
    }

    /// The hub's parts, if they bring an edge from the old plan to this one without help.
    fn reusable(&mut self, old: &Held, body: &PlanBody) -> Option<(Digest, Vec<BlobPart>)> {
        let mut had: BTreeSet<Digest> = old.body().digests().collect();
        had.insert(old.head.body);
        let parts = std::mem::take(&mut self.parts);
        let brought: BTreeSet<Digest> = parts.iter().map(|part| part.digest).collect();
        let grounded = parts.iter().all(|part| part.base.is_none_or(|base| had.contains(&base)));
        let there = |digest: Digest| had.contains(&digest) || brought.contains(&digest);
        let whole = there(self.head.body) && body.digests().all(there);
        let once = brought.len() == parts.len();
        (grounded && whole && once).then_some((old.head.body, parts))
    }
}

/// Parts as an offer: in order, as many as fit.
fn split(plan: SignedPlan, parts: &[BlobPart]) -> Prepared {
    let (mut blobs, mut later, mut room) = (Vec::new(), Vec::new(), INLINE_BYTES_MAX);
    for part in parts {
        // 80 bytes for digests and lengths.
        let size = part.compressed.len() + 80;
        if size <= room {
            room -= size;
            blobs.push(part.clone());
        } else {
            later.push(part.clone());
        }
    }
    Prepared { offer: PlanOffer { edge: None, plan, blobs }, later }
}

fn refuse(generation: Option<Generation>, reason: RefusalReason, message: String) -> Taken {
    Taken::Refused { generation, refusal: Refusal { reason, message, retry_after_ms: None } }
}

#[cfg(test)]
mod tests;
