//! Plans: verified, stored, refused, completed blob by blob.

use protocol::enrolment::RefusalReason;
use protocol::id::{AgentId, EdgeId, Generation};
use protocol::message::BlobPart;
use protocol::plan::PlanHeader;
use protocol::{codec, id::Digest};

use super::{Planned, World, config_map, plan_of, sign};
use crate::Offered;

fn generation(counter: u64) -> Generation {
    Generation { term: 1, counter }
}

fn refused(offered: &Offered) -> RefusalReason {
    match offered {
        Offered::Refused(refusal) => refusal.reason,
        other @ (Offered::Stored(_) | Offered::Missing(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plan_that_was_altered_or_is_for_another_agent_is_refused() {
    let world = World::new().await;
    let running = world.start().await;
    let (mut plan, blobs) = world.plan(vec![]);
    let header: PlanHeader = codec::decode(&plan.header, 1 << 16).unwrap();
    plan.signature = bytes::Bytes::from_static(b"bad");
    assert_eq!(refused(&running.handle().offer(plan, blobs.clone()).await), RefusalReason::ProofInvalid);
    let other = PlanHeader { agent: AgentId::Edge(EdgeId([8; 16])), ..header.clone() };
    assert_eq!(refused(&running.handle().offer(sign(&other), blobs.clone()).await), RefusalReason::Forbidden);
    let late = PlanHeader { not_after: Some(1), ..header };
    assert_eq!(refused(&running.handle().offer(sign(&late), blobs).await), RefusalReason::OutOfScope);
    assert_eq!(running.handle().head(), None);
}

#[tokio::test]
async fn a_lower_generation_is_refused_and_the_same_plan_again_is_no_news() {
    let world = World::new().await;
    let running = world.start().await;
    let first = plan_of(vec![Planned::new("a", vec![config_map("a", "1")])], generation(1));
    let second = plan_of(vec![Planned::new("a", vec![config_map("a", "2")])], generation(2));
    let twin = plan_of(vec![Planned::new("a", vec![config_map("a", "3")])], generation(2));
    running.offer(second.clone()).await;
    running.offer(second.clone()).await;
    let handle = running.handle();
    assert_eq!(refused(&handle.offer(first.0, first.1).await), RefusalReason::Superseded);
    assert_eq!(refused(&handle.offer(twin.0, twin.1).await), RefusalReason::Malformed);
    running.kill().await;
    let running = world.start().await;
    assert_eq!(running.handle().head().map(|head| head.generation), Some(generation(2)));
    running.offer(second).await;
}

#[tokio::test]
async fn an_incomplete_offer_names_what_is_missing_and_is_completed_by_blobs() {
    let world = World::new().await;
    let running = world.start().await;
    let objects = vec![config_map("a", "1"), config_map("b", "1"), config_map("c", "1")];
    let (plan, blobs) = plan_of(vec![Planned::new("a", objects)], generation(1));
    let digests: Vec<Digest> = blobs.iter().map(|blob| blob.digest).collect();
    let handle = running.handle();
    assert_eq!(handle.offer(plan, vec![]).await, Offered::Missing(vec![digests[0]]));
    assert_eq!(handle.blobs(vec![blobs[0].clone()]).await, Offered::Missing(digests[1..].to_vec()));
    let mut broken = blobs[1].clone();
    broken.digest = digests[3];
    let some = vec![broken, blobs[2].clone()];
    assert_eq!(handle.blobs(some).await, Offered::Missing(vec![digests[1], digests[3]]));
    assert!(handle.head().is_none());
    let rest = vec![blobs[3].clone(), blobs[1].clone()];
    assert!(matches!(handle.blobs(rest).await, Offered::Stored(_)));
}

#[tokio::test]
async fn a_difference_is_opened_with_the_blob_it_rests_on_even_if_that_comes_later() {
    let world = World::new().await;
    let running = world.start().await;
    let (old, new) = (config_map("a", "one"), config_map("a", "two"));
    let first = plan_of(vec![Planned::new("a", vec![old.clone()])], generation(1));
    running.offer(first).await;
    let (plan, mut blobs) = plan_of(vec![Planned::new("a", vec![new.clone()])], generation(2));
    let (old, new) = (serde_json::to_vec(&old).unwrap(), serde_json::to_vec(&new).unwrap());
    blobs[1] = BlobPart::make(&new, Some((Digest::of(&old), &old)));
    running.offer((plan, blobs)).await;

    let (base, top) = (config_map("b", "base"), config_map("c", "base"));
    let (plan, mut blobs) = plan_of(vec![Planned::new("b", vec![base.clone(), top.clone()])], generation(3));
    let (base, top) = (serde_json::to_vec(&base).unwrap(), serde_json::to_vec(&top).unwrap());
    blobs[2] = BlobPart::make(&top, Some((Digest::of(&base), &base)));
    blobs.reverse();
    running.offer((plan, blobs)).await;

    let (plan, mut blobs) = plan_of(vec![Planned::new("d", vec![config_map("d", "x")])], generation(4));
    let content = serde_json::to_vec(&config_map("d", "x")).unwrap();
    blobs[1] = BlobPart::make(&content, Some((Digest::of(b"never sent"), b"never sent")));
    let missing = vec![blobs[1].digest];
    assert_eq!(running.handle().offer(plan, blobs).await, Offered::Missing(missing));
}

#[tokio::test]
async fn blobs_of_plans_that_are_past_are_deleted_and_those_in_use_kept() {
    let world = World::new().await;
    let mut running = world.start().await;
    let object = |value: &str| vec![config_map("a", value)];
    let mut digests = Vec::new();
    for counter in 1..=4 {
        let plan = plan_of(vec![Planned::new("a", object(&counter.to_string()))], generation(counter));
        digests.push(plan.1[1].digest);
        running.carry_out(plan).await;
    }
    running.kill().await;
    let (store, _closed) = crate::store::Store::open(&world.file()).unwrap();
    store.collect().durable().await.unwrap();
    assert!(store.blob(digests[3]).await.unwrap().is_some());
    assert!(store.blob(digests[0]).await.unwrap().is_none());
    assert!(store.blob(digests[1]).await.unwrap().is_none());
}
