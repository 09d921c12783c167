//! The shelf in memory and on disk.

use super::*;
use identity::{Authority, KeyKind, SeededEntropy};
use protocol::plan::{DriftMode, ObjectEntry, ObjectKey, PlanHeader, Removal, Unit, UnitId, UnitKind};

struct World {
    authority: Authority,
    folder: tempfile::TempDir,
}

struct Plan {
    signed: SignedPlan,
    head: PlanHead,
    parts: Vec<BlobPart>,
}

impl World {
    fn new() -> Self {
        let mut entropy = SeededEntropy::new(1);
        let authority = Authority::create_kind("fleet.example", KeyKind::Ed25519, 0, &mut entropy).unwrap();
        Self { authority, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("edges.sqlite")
    }

    fn shelf(&self) -> Shelf {
        Shelf::open(&self.path(), PlanKeys::new(&self.authority.trust())).unwrap()
    }

    fn plan(&self, edge: EdgeId, counter: u64, objects: &[&str]) -> Plan {
        let text = str::to_owned;
        let entry = |(index, content): (usize, &&str)| ObjectEntry {
            key: ObjectKey {
                group: String::new(),
                version: text("v1"),
                kind: text("ConfigMap"),
                namespace: text("shop"),
                name: format!("map-{index}"),
            },
            digest: Digest::of(content.as_bytes()),
        };
        let unit = Unit {
            id: UnitId {
                set_namespace: text("default"),
                set_name: text("set"),
                namespace: text("shop"),
                name: text("web"),
            },
            kind: UnitKind::Resources,
            template: text("web"),
            version: text("1"),
            hash: Digest::of(objects.concat().as_bytes()),
            priority: 0,
            depends_on: Vec::new(),
            objects: objects.iter().enumerate().map(entry).collect(),
            hooks: Vec::new(),
            create_namespace: true,
            take_ownership: false,
            drift: DriftMode::Repair,
            removal: Removal::Prune,
            timeout_ms: 0,
            ext: Vec::new(),
        };
        let encoded = PlanBody { units: vec![unit], ..PlanBody::default() }.encode();
        let head = PlanHead { generation: Generation { term: 1, counter }, body: Digest::of(&encoded) };
        let header = PlanHeader {
            agent: AgentId::Edge(edge),
            generation: head.generation,
            body: head.body,
            issued_at: 0,
            not_after: None,
            ext: Vec::new(),
        };
        let parts = std::iter::once(&encoded[..]).chain(objects.iter().map(|object| object.as_bytes()));
        let parts = parts.map(|content| BlobPart::make(content, None)).collect();
        Plan { signed: self.authority.sign_plan(&header), head, parts }
    }
}

const ONE: EdgeId = EdgeId([1; 16]);
const TWO: EdgeId = EdgeId([2; 16]);

fn reason(taken: Taken) -> RefusalReason {
    match taken {
        Taken::Refused { refusal, .. } => refusal.reason,
        other @ (Taken::Held(_) | Taken::Known | Taken::Missing(_)) => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_plan_is_held_when_nothing_is_missing_and_never_goes_back() {
    let world = World::new();
    let shelf = world.shelf();
    let (old, new) = (world.plan(ONE, 1, &["a"]), world.plan(ONE, 2, &["a", "b"]));
    assert_eq!(shelf.offer(ONE, new.signed.clone(), Vec::new()), Taken::Missing(vec![new.head.body]));
    assert_eq!(shelf.head(ONE), None);
    let missing = shelf.blobs(ONE, new.parts[..2].to_vec());
    assert_eq!(missing, Taken::Missing(vec![new.parts[2].digest]));
    assert_eq!(shelf.blobs(ONE, new.parts[2..].to_vec()), Taken::Held(new.head));
    assert_eq!(shelf.offer(ONE, new.signed.clone(), Vec::new()), Taken::Known);
    assert_eq!(reason(shelf.offer(ONE, old.signed.clone(), old.parts.clone())), RefusalReason::Superseded);
    drop(shelf);
    let shelf = world.shelf();
    assert_eq!(shelf.fill(), Fill { blobs: 2, ..world_fill(&new) });
    assert_eq!(reason(shelf.offer(ONE, old.signed, old.parts)), RefusalReason::Superseded);
}

fn world_fill(plan: &Plan) -> Fill {
    Fill { plans: 1, blobs: 0, bytes: plan.parts.iter().map(|part| u64::from(part.size)).sum() }
}

#[test]
fn blobs_are_shared_among_edges_and_go_with_the_last_plan_that_needs_them() {
    let world = World::new();
    let shelf = world.shelf();
    let (one, two) = (world.plan(ONE, 1, &["shared", "one"]), world.plan(TWO, 1, &["shared"]));
    shelf.offer(ONE, one.signed, one.parts);
    // The shared blob is here already.
    assert_eq!(shelf.offer(TWO, two.signed, two.parts[..1].to_vec()), Taken::Held(two.head));
    assert_eq!(shelf.fill().blobs, 2);
    let next = world.plan(ONE, 2, &["other"]);
    shelf.offer(ONE, next.signed, next.parts);
    assert_eq!(shelf.fill().blobs, 2);
    let gone = Refusal { reason: RefusalReason::Revoked, message: String::new(), retry_after_ms: None };
    shelf.remove(TWO, gone);
    assert_eq!((shelf.fill().blobs, shelf.fill().plans), (1, 1));
    shelf.remove(
        ONE,
        Refusal { reason: RefusalReason::Revoked, message: String::new(), retry_after_ms: None },
    );
    assert_eq!(shelf.fill(), Fill::default());
}

#[test]
fn the_same_body_in_a_new_generation_is_held_without_being_sent_again() {
    let world = World::new();
    let shelf = world.shelf();
    let (old, new) = (world.plan(ONE, 1, &["a", "b"]), world.plan(ONE, 2, &["a", "b"]));
    shelf.offer(ONE, old.signed, old.parts);
    assert_eq!(shelf.offer(ONE, new.signed, Vec::new()), Taken::Held(new.head));
    assert_eq!(shelf.fill().blobs, 2);
    drop(shelf);
    assert_eq!(world.shelf().head(ONE), Some(new.head));
}

#[test]
fn the_hubs_parts_are_forwarded_as_they_came_to_an_edge_that_has_the_plan_before() {
    let world = World::new();
    let shelf = world.shelf();
    let (old, new) = (world.plan(ONE, 1, &["a", "b"]), world.plan(ONE, 2, &["a", "c"]));
    shelf.offer(ONE, old.signed, old.parts);
    shelf.stored(ONE, Some(old.head.body));
    let parts = vec![new.parts[0].clone(), new.parts[2].clone()];
    shelf.offer(ONE, new.signed, parts.clone());
    assert_eq!(shelf.prepare(ONE).unwrap().offer.blobs, parts);
    // To another one, everything goes.
    shelf.stored(ONE, None);
    assert_eq!(shelf.prepare(ONE).unwrap().offer.blobs.len(), 3);
}

#[test]
fn a_damaged_file_is_put_aside_and_a_plan_that_does_not_verify_is_left_out() {
    let world = World::new();
    std::fs::write(world.path(), b"this is not a database, it only stands where one should be").unwrap();
    let shelf = world.shelf();
    assert!(world.path().with_extension("damaged").exists());
    let plan = world.plan(ONE, 1, &["a"]);
    shelf.offer(ONE, plan.signed.clone(), plan.parts.clone());
    drop(shelf);
    let shelf = world.shelf();
    assert_eq!(shelf.fill(), Fill { blobs: 1, ..world_fill(&plan) });
    drop(shelf);
    let others =
        Authority::create_kind("fleet.example", KeyKind::Ed25519, 0, &mut SeededEntropy::new(2)).unwrap();
    let shelf = Shelf::open(&world.path(), PlanKeys::new(&others.trust())).unwrap();
    assert_eq!(shelf.fill(), Fill::default());
}
