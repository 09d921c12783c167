//! The newest plan of every agent, with the content of everything it names.
//!
//! The planner publishes, the link server offers. A plan whose body equals the one before keeps its generation,
//! so that recomputing costs nothing on any link. Blobs are kept once, however many plans name them, as long as
//! a plan or its predecessor does: the predecessor's serve as dictionaries for the difference.
//!
//! # Why nothing is stored
//! A plan is a function of the API objects. After a restart they give the same bodies; their generations belong
//! to a new term and so outbid those of before (invariant 2).

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::codec::{decode, encode};
use protocol::id::{AgentId, Digest, Generation};
use protocol::message::PlanHead;
use protocol::plan::{ORIGIN, PlanBody, PlanHeader, SignedPlan};

use crate::changes::{Announcer, Changes};
use crate::planner::parcel::Blob;

/// Signs plans with the hub's key.
pub trait SignPlan: Send + Sync + 'static {
    /// The header as it travels, with the signature over it.
    fn sign(&self, header: &PlanHeader) -> SignedPlan;
}

/// The time now, in milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default())
}

/// The body of a plan, as its bytes: between changes nobody looks at what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub encoded: Bytes,
    /// The digest of its bytes.
    pub digest: Digest,
}

impl Content {
    /// What the agent is to have.
    pub fn body(&self) -> PlanBody {
        decode(&self.encoded, self.encoded.len()).expect("what was encoded here can be decoded")
    }
}

/// The newest plan of an agent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose.
    pub agent: AgentId,
    /// Generation and digest of the body.
    pub head: PlanHead,
    /// The header, signed.
    pub signed: SignedPlan,
    /// The body.
    pub content: Arc<Content>,
    /// The content of the plan before, whose blobs are still in the book.
    pub previous: Option<Arc<Content>>,
    /// When it was published.
    pub issued_at: UnixMillis,
    /// The trace it is a part of.
    pub(crate) origin: Option<[u8; 25]>,
}

/// All plans. Clones share the content.
#[derive(Clone)]
pub struct PlanBook(Arc<Book>);

struct Book {
    term: u64,
    counter: AtomicU64,
    signer: Arc<dyn SignPlan>,
    clock: Clock,
    shelf: RwLock<Shelf>,
    announcer: Announcer<AgentId>,
}

#[derive(Default)]
struct Shelf {
    plans: BTreeMap<AgentId, Arc<Plan>>,
    blobs: HashMap<Digest, Kept>,
}

struct Kept {
    content: Blob,
    /// Plans and predecessors that name it.
    users: usize,
}

impl PlanBook {
    /// An empty book of a term of leadership.
    pub fn new(term: u64, signer: Arc<dyn SignPlan>, clock: Clock) -> Self {
        Self(Arc::new(Book {
            term,
            counter: AtomicU64::new(0),
            signer,
            clock,
            shelf: RwLock::default(),
            announcer: Announcer::default(),
        }))
    }

    /// Makes this the newest plan of the agent, unless it already has exactly this body.
    ///
    /// `blobs` holds the content of every object the body names; content that is in the book already may be
    /// left out. Returns the head of the newest plan, and whether it is new.
    pub fn publish<B: Into<Blob>>(
        &self,
        agent: &AgentId,
        body: PlanBody,
        blobs: impl IntoIterator<Item = (Digest, B)>,
    ) -> (PlanHead, bool) {
        let encoded = encode(&body);
        let digest = Digest::of(&encoded);
        let mut shelf = self.0.shelf.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = shelf.plans.get(agent).filter(|plan| plan.content.digest == digest) {
            return (plan.head, false);
        }
        let counter = self.0.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let head = PlanHead { generation: Generation { term: self.0.term, counter }, body: digest };
        let issued_at = (self.0.clock)();
        let _span = tracing::debug_span!("plan", %agent, generation = %head.generation).entered();
        let origin = process::story::origin();
        let header = PlanHeader {
            agent: agent.clone(),
            generation: head.generation,
            body: digest,
            issued_at,
            not_after: None,
            ext: origin.iter().map(|origin| (ORIGIN, Bytes::copy_from_slice(origin))).collect(),
        };
        let content = Arc::new(Content { encoded, digest });
        shelf.keep(&content, &body, blobs.into_iter().map(|(digest, blob)| (digest, blob.into())).collect());
        let before = shelf.plans.get(agent).cloned();
        if let Some(previous) = before.as_ref().and_then(|plan| plan.previous.clone()) {
            shelf.release(&previous);
        }
        let plan = Plan {
            agent: agent.clone(),
            head,
            signed: tracing::debug_span!("sign").in_scope(|| self.0.signer.sign(&header)),
            content,
            previous: before.map(|plan| plan.content.clone()),
            origin,
            issued_at,
        };
        shelf.plans.insert(agent.clone(), Arc::new(plan));
        drop(shelf);
        self.0.announcer.announce(agent);
        (head, true)
    }

    /// Signs every plan anew, with a generation of its own: the key of before is about to be retired.
    pub fn sign_anew(&self) {
        let mut shelf = self.0.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let agents: Vec<_> = shelf.plans.keys().cloned().collect();
        for plan in shelf.plans.values_mut() {
            let counter = self.0.counter.fetch_add(1, Ordering::Relaxed) + 1;
            let generation = Generation { term: self.0.term, counter };
            let header = PlanHeader {
                agent: plan.agent.clone(),
                generation,
                body: plan.head.body,
                issued_at: (self.0.clock)(),
                not_after: None,
                ext: Vec::new(),
            };
            let head = PlanHead { generation, ..plan.head };
            let (signed, issued_at) = (self.0.signer.sign(&header), header.issued_at);
            *plan = Arc::new(Plan { head, signed, issued_at, origin: None, ..(**plan).clone() });
        }
        drop(shelf);
        agents.iter().for_each(|agent| self.0.announcer.announce(agent));
    }

    /// Forgets an agent that is gone.
    pub fn withdraw(&self, agent: &AgentId) {
        let mut shelf = self.0.shelf.write().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = shelf.plans.remove(agent) else { return };
        shelf.release(&plan.content);
        if let Some(previous) = &plan.previous {
            shelf.release(previous);
        }
        drop(shelf);
        self.0.announcer.announce(agent);
    }

    /// The newest plan of an agent.
    pub fn get(&self, agent: &AgentId) -> Option<Arc<Plan>> {
        self.shelf().plans.get(agent).cloned()
    }

    /// The content of a blob: of an object, or of a body.
    pub fn blob(&self, digest: &Digest) -> Option<Bytes> {
        let blob = self.shelf().blobs.get(digest).map(|kept| kept.content.clone())?;
        blob.content(digest)
    }

    /// Agents that have a plan, in order.
    pub fn agents(&self) -> Vec<AgentId> {
        self.shelf().plans.keys().cloned().collect()
    }

    /// Number and bytes of the blobs in the book, packed as they are.
    pub fn blob_totals(&self) -> (usize, u64) {
        let shelf = self.shelf();
        (shelf.blobs.len(), shelf.blobs.values().map(|kept| kept.content.size() as u64).sum())
    }

    /// Agents whose plan is another from now on, or gone.
    pub fn subscribe(&self) -> Changes<AgentId> {
        self.0.announcer.subscribe()
    }

    /// The term of leadership whose plans these are.
    pub fn term(&self) -> u64 {
        self.0.term
    }

    fn shelf(&self) -> std::sync::RwLockReadGuard<'_, Shelf> {
        self.0.shelf.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn keep(&mut self, content: &Content, body: &PlanBody, blobs: HashMap<Digest, Blob>) {
        let own = (content.digest, Some(Blob::Whole(content.encoded.clone())));
        let objects = body.digests().map(|digest| (digest, blobs.get(&digest).cloned()));
        for (digest, bytes) in std::iter::once(own).chain(objects) {
            match (self.blobs.get_mut(&digest), bytes) {
                (Some(kept), _) => kept.users += 1,
                (None, Some(content)) => {
                    self.blobs.insert(digest, Kept { content, users: 1 });
                }
                (None, None) => tracing::error!(%digest, "a plan names a blob that nobody gave"),
            }
        }
    }

    fn release(&mut self, content: &Content) {
        for digest in std::iter::once(content.digest).chain(content.body().digests()) {
            let Some(kept) = self.blobs.get_mut(&digest) else { continue };
            kept.users -= 1;
            if kept.users == 0 {
                self.blobs.remove(&digest);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use protocol::plan::{DriftMode, KeyId, ObjectEntry, ObjectKey, Removal, Unit, UnitId, UnitKind};

    /// Signs nothing.
    pub(crate) struct Unsigned;

    impl SignPlan for Unsigned {
        fn sign(&self, header: &PlanHeader) -> SignedPlan {
            SignedPlan { header: encode(header), key_id: KeyId([0; 8]), signature: Bytes::new() }
        }
    }

    pub(crate) fn book() -> PlanBook {
        PlanBook::new(3, Arc::new(Unsigned), Arc::new(|| 7))
    }

    fn body(content: &'static [u8]) -> (PlanBody, Vec<(Digest, Bytes)>) {
        let digest = Digest::of(content);
        let text = str::to_owned;
        let key = ObjectKey {
            group: text(""),
            version: text("v1"),
            kind: text("ConfigMap"),
            namespace: text("default"),
            name: text("one"),
        };
        let unit = Unit {
            id: UnitId {
                set_namespace: text("default"),
                set_name: text("set"),
                namespace: text("default"),
                name: text("one"),
            },
            kind: UnitKind::Resources,
            template: text("t"),
            version: text("1"),
            hash: digest,
            priority: 0,
            depends_on: Vec::new(),
            objects: vec![ObjectEntry { key, digest }],
            hooks: Vec::new(),
            create_namespace: true,
            take_ownership: false,
            drift: DriftMode::Repair,
            removal: Removal::Prune,
            timeout_ms: 1,
            ext: Vec::new(),
        };
        let body = PlanBody { units: vec![unit], ..PlanBody::default() };
        (body, vec![(digest, Bytes::from_static(content))])
    }

    fn agent() -> AgentId {
        AgentId::Region("eu".parse().unwrap())
    }

    #[test]
    fn the_same_body_keeps_its_generation() {
        let book = book();
        let mut changes = book.subscribe();
        let (one, blobs) = body(b"1");
        let (head, new) = book.publish(&agent(), one.clone(), blobs.clone());
        assert!(new);
        assert_eq!(head.generation, Generation { term: 3, counter: 1 });
        assert_eq!(changes.take().len(), 1);
        assert_eq!(book.publish(&agent(), one, blobs), (head, false));
        assert!(changes.take().is_empty());
    }

    #[test]
    fn blobs_live_as_long_as_a_plan_or_its_predecessor_names_them() {
        let book = book();
        for content in [&b"1"[..], b"2", b"3"] {
            let (next, blobs) = body(Box::leak(content.to_vec().into_boxed_slice()));
            book.publish(&agent(), next, blobs);
        }
        assert_eq!(book.blob(&Digest::of(b"1")), None);
        assert_eq!(book.blob(&Digest::of(b"2")).as_deref(), Some(&b"2"[..]));
        let plan = book.get(&agent()).unwrap();
        assert_eq!(book.blob(&plan.head.body), Some(plan.content.encoded.clone()));
        book.withdraw(&agent());
        assert_eq!(book.blob_totals(), (0, 0));
    }
}
