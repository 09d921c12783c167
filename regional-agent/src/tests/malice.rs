//! A region carries plans and cannot make them: whatever it alters is refused where it is to be obeyed.

use std::sync::Arc;

use bytes::Bytes;
use link::UplinkEvent;
use protocol::enrolment::RefusalReason;
use protocol::id::AgentId;
use protocol::message::{BlobPart, Control, PlanHead};
use protocol::plan::SignedPlan;
use protocol::report::UnitState;
use state::{Config, Engine, EngineHandle, Offered};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::world::{World, edge, report, simulate};
use crate::edges::shelf::{Shelf, Taken};
use crate::keys::PlanKeys;

/// The engine of edge 11, as the edge agent has it.
async fn engine(world: &World) -> EngineHandle {
    let cluster = kube_local::Cluster::open(kube_local::Options::default()).await.unwrap();
    let keys = Arc::new(PlanKeys::new(&world.authority.trust()));
    let config =
        Config::new(cluster.client(), AgentId::Edge(edge(11)), world.folder.path().join("edge.sqlite"), keys);
    Engine::start(config, &TaskTracker::new(), CancellationToken::new()).await.unwrap()
}

fn reason(offered: Offered) -> RefusalReason {
    match offered {
        Offered::Refused(refusal) => refusal.reason,
        other @ (Offered::Stored(_) | Offered::Missing(_)) => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn an_edge_refuses_an_altered_plan_and_the_plan_of_another_edge() {
    simulate(async {
        let world = World::new(1).await;
        let engine = engine(&world).await;
        let plan = world.edge_plan(11, 5, &["{\"a\":1}"]);
        let mut header = plan.signed.header.to_vec();
        for at in 0..header.len() {
            header[at] ^= 1;
            let altered = SignedPlan { header: Bytes::from(header.clone()), ..plan.signed.clone() };
            assert_eq!(reason(engine.offer(altered, plan.parts()).await), RefusalReason::ProofInvalid);
            header[at] ^= 1;
        }
        let other = world.edge_plan(12, 6, &["{\"a\":1}"]);
        assert_eq!(reason(engine.offer(other.signed.clone(), other.parts()).await), RefusalReason::Forbidden);
        let region = world.plan(super::world::region(), 6, &["{\"a\":1}"]);
        assert_eq!(
            reason(engine.offer(region.signed.clone(), region.parts()).await),
            RefusalReason::Forbidden
        );
        assert_eq!(engine.head(), None);
    });
}

#[test]
fn an_edge_does_not_take_other_blobs_for_those_of_its_plan() {
    simulate(async {
        let world = World::new(2).await;
        let engine = engine(&world).await;
        let plan = world.edge_plan(11, 5, &["{\"a\":1}"]);
        let wanted: Vec<_> = plan.blobs.keys().copied().collect();
        let mut parts = plan.parts();
        // Says that it is the blob, and is another one.
        parts[1] = BlobPart { digest: wanted[0], ..BlobPart::make(b"{\"a\":2}", None) };
        assert_eq!(engine.offer(plan.signed.clone(), parts).await, Offered::Missing(wanted));
        assert_eq!(engine.head(), None);
    });
}

#[test]
fn a_region_holds_only_what_the_hub_signed_for_that_edge() {
    simulate(async {
        let world = World::new(3).await;
        let keys = PlanKeys::new(&world.authority.trust());
        let shelf = Shelf::open(&world.folder.path().join("edges.sqlite"), keys).unwrap();
        let plan = world.edge_plan(12, 5, &["{\"a\":1}"]);
        let taken = shelf.offer(edge(11), plan.signed.clone(), plan.parts());
        assert!(
            matches!(taken, Taken::Refused { refusal, .. } if refusal.reason == RefusalReason::ProofInvalid)
        );
        assert_eq!(shelf.offer(edge(12), plan.signed.clone(), plan.parts()), Taken::Held(plan.head));
    });
}

#[test]
fn an_edge_that_speaks_for_another_loses_its_link_and_the_hub_hears_nothing_of_it() {
    simulate(async {
        let mut world = World::new(4).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let (mut bad, mut good) = (world.edge(11, None), world.edge(12, None));
        bad.up().await;
        good.up().await;
        let others = Some(edge(12));
        let lie = |sequence| Box::new(report(sequence, true, &[("web", UnitState::Failed)]));
        let head: PlanHead = world.edge_plan(12, 9, &["{}"]).head;
        for control in [
            Control::Report { edge: others, report: lie(1) },
            Control::PlanStored { edge: others, head },
            Control::BlobsWanted { edge: others, digests: Vec::new() },
        ] {
            bad.send(control).await;
            let told = bad
                .expect(|event| match event {
                    UplinkEvent::Down(reason) => Some(reason.to_string()),
                    _ => None,
                })
                .await;
            let (own, other) = (edge(11), edge(12));
            assert!(told.contains(&format!("edge/{own} may not speak for edge/{other}")), "{told}");
            bad.up().await;
        }
        bad.send(Control::Trust(world.authority.trust())).await;
        let told = bad
            .expect(|event| match event {
                UplinkEvent::Down(reason) => Some(reason.to_string()),
                _ => None,
            })
            .await;
        assert!(told.contains("an edge may not send that message"), "{told}");
        // What the other says of itself is the first that the hub hears of it.
        good.send(Control::Report {
            edge: None,
            report: Box::new(report(7, true, &[("web", UnitState::Deployed)])),
        })
        .await;
        let heard = hub.report_of(12).await;
        assert_eq!(heard.units[0].state, UnitState::Deployed);
    });
}
