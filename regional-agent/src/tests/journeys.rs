//! Plans down, reports up, with the hub here and away.

use std::time::Duration;

use link::{DownlinkEvent, UplinkEvent};
use protocol::enrolment::{JoinRequest, Refusal, RefusalReason, TokenId};
use protocol::id::Digest;
use protocol::message::{Control, Request, Response};
use protocol::offer::reminder;
use protocol::report::UnitState;
use protocol::telemetry::{StreamEpoch, TelemetryAck, TelemetryClass, TelemetryContent, TelemetryItem};
use telemetry::promql::{Grid, Params, Value};
use telemetry::query::{Answered, QueryAnswer, QueryRequest};
use telemetry::{Batch, Labels, Sample, Series};

use super::world::{World, edge, region as region_id, report, simulate};

#[test]
fn a_plan_goes_down_and_what_became_of_it_goes_up() {
    simulate(async {
        let mut world = World::new(1).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        assert!(hub.listed().await.is_empty());
        let mut one = world.edge(11, None);
        one.up().await;
        assert_eq!(hub.link_of(11, true).await.held, None);
        let plan = world.edge_plan(11, 1, &["{\"a\":1}", "{\"b\":1}"]);
        hub.offer(11, &plan, None).await;
        let offer = one.offered().await;
        assert_eq!((offer.plan, offer.edge, offer.blobs.len()), (plan.signed.clone(), None, 3));
        one.send(Control::PlanStored { edge: None, head: plan.head }).await;
        assert_eq!(hub.stored_by(11).await, plan.head);
        one.send(Control::Report {
            edge: None,
            report: Box::new(report(1, true, &[("web", UnitState::Deployed)])),
        })
        .await;
        let told = hub.report_of(11).await;
        assert!(told.full && told.units.len() == 1);
        let acknowledged = one
            .expect(|event| match event {
                UplinkEvent::Control(Control::ReportAck { edge: None, sequence }) => Some(*sequence),
                _ => None,
            })
            .await;
        assert_eq!(acknowledged, 1);
    });
}

#[test]
fn a_changed_field_travels_as_a_difference_to_the_edge_too() {
    simulate(async {
        let mut world = World::new(2).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        let first = world.edge_plan(11, 1, &["{\"a\":1}", "{\"b\":1}"]);
        hub.offer(11, &first, None).await;
        one.offered().await;
        one.send(Control::PlanStored { edge: None, head: first.head }).await;
        hub.stored_by(11).await;
        let second = world.edge_plan(11, 2, &["{\"a\":1}", "{\"b\":2}"]);
        hub.offer(11, &second, Some(&first)).await;
        let offer = one.offered().await;
        assert_eq!(offer.plan, second.signed);
        assert_eq!(offer.blobs.len(), 2);
        assert!(offer.blobs.iter().all(|blob| blob.base.is_some()));
        // The older one does not come back.
        hub.offer(11, &first, None).await;
        let refusal = hub
            .control(|control| match control {
                Control::PlanRefused { edge: Some(_), refusal, .. } => Some(refusal.clone()),
                _ => None,
            })
            .await;
        assert_eq!(refusal.reason, RefusalReason::Superseded);
    });
}

#[test]
fn missing_blobs_are_asked_for_at_the_hub_and_given_to_the_edge_that_asks() {
    simulate(async {
        let mut world = World::new(3).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        let plan = world.edge_plan(11, 1, &["{\"a\":1}"]);
        let mut offer = plan.offer(edge(11), None).offer;
        offer.blobs.clear();
        hub.send(Control::Plan(offer)).await;
        assert_eq!(hub.wanted_for_edges().await, [plan.head.body]);
        let parts = plan.parts();
        hub.send(Control::Blobs { edge: Some(edge(11)), blobs: parts[..1].to_vec() }).await;
        assert_eq!(hub.wanted_for_edges().await, [parts[1].digest]);
        hub.send(Control::Blobs { edge: Some(edge(11)), blobs: parts[1..].to_vec() }).await;
        one.offered().await;
        // A digest of another plan is not given away.
        let other = world.edge_plan(12, 1, &["{\"secret\":1}"]);
        hub.offer(12, &other, None).await;
        let secret = *other.blobs.keys().next().unwrap();
        one.send(Control::BlobsWanted { edge: None, digests: vec![secret, parts[1].digest] }).await;
        let given = one
            .expect(|event| match event {
                UplinkEvent::Control(Control::Blobs { blobs, .. }) => Some(blobs.clone()),
                _ => None,
            })
            .await;
        assert_eq!(given.iter().map(|blob| blob.digest).collect::<Vec<_>>(), [parts[1].digest]);
    });
}

#[test]
fn a_blob_that_came_before_its_plan_is_asked_for_when_the_offer_is_repeated() {
    simulate(async {
        let mut world = World::new(8).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        let plan = world.edge_plan(11, 1, &["{\"a\":1}", "{\"b\":2}"]);
        let parts = plan.parts();
        let pause = Duration::from_secs(1);
        hub.handle.send_blob(&region_id(), Some(edge(11)), parts[1].clone()).await.unwrap();
        tokio::time::sleep(pause).await;
        let mut offer = plan.offer(edge(11), None).offer;
        offer.blobs.truncate(1);
        hub.send(Control::Plan(offer)).await;
        assert_eq!(hub.wanted_for_edges().await.len(), 2);
        hub.handle.send_blob(&region_id(), Some(edge(11)), parts[2].clone()).await.unwrap();
        tokio::time::sleep(pause).await;
        hub.send(Control::Plan(reminder(Some(edge(11)), &plan.signed))).await;
        assert_eq!(hub.wanted_for_edges().await, [parts[1].digest]);
        hub.send(Control::Blobs { edge: Some(edge(11)), blobs: parts[1..2].to_vec() }).await;
        assert_eq!(one.offered().await.plan, plan.signed);
    });
}

#[test]
fn an_edge_hears_its_offer_again_when_all_its_blobs_have_left() {
    simulate(async {
        let mut world = World::new(9).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        // Text that does not compress, more than fits an offer.
        let large = |seed: u8| -> String {
            (0..900_u32).map(|n| Digest::of(&[&[seed], &n.to_le_bytes()[..]].concat()).to_string()).collect()
        };
        let contents = [1, 2].map(|seed| format!("{{\"a\":\"{}\"}}", large(seed)));
        let plan = world.edge_plan(11, 1, &[&contents[0], &contents[1]]);
        hub.offer(11, &plan, None).await;
        let (mut come, mut again) = (one.offered().await.blobs.len(), None);
        while come < 3 || again.is_none() {
            match one.next().await {
                UplinkEvent::Blob(..) => come += 1,
                UplinkEvent::Control(Control::Plan(offer)) => again = Some(offer),
                UplinkEvent::Up(_)
                | UplinkEvent::Down(_)
                | UplinkEvent::Control(_)
                | UplinkEvent::Request(..) => {}
            }
        }
        let again = again.unwrap();
        assert_eq!((again.plan, again.blobs.len()), (plan.signed.clone(), 0));
        one.send(Control::PlanStored { edge: None, head: plan.head }).await;
        assert_eq!(hub.stored_by(11).await, plan.head);
    });
}

#[test]
fn a_region_that_restarts_while_the_hub_is_away_serves_its_edges() {
    simulate(async {
        let mut world = World::new(4).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        hub.link_of(11, true).await;
        let plan = world.edge_plan(11, 7, &["{\"a\":1}"]);
        hub.offer(11, &plan, None).await;
        one.offered().await;
        one.cancel.cancel();
        hub.link_of(11, false).await;
        hub.end().await;
        region.end().await;

        let region = world.region().await;
        let mut one = world.edge(11, None);
        let offer = one.offered().await;
        assert_eq!((offer.plan, offer.blobs.len()), (plan.signed.clone(), 2));
        one.send(Control::PlanStored { edge: None, head: plan.head }).await;
        one.send(Control::Report {
            edge: None,
            report: Box::new(report(1, true, &[("web", UnitState::Pending)])),
        })
        .await;
        one.send(Control::Report {
            edge: None,
            // That of a change would be acknowledged with the next message.
            report: Box::new(report(2, true, &[("web", UnitState::Deployed)])),
        })
        .await;
        let sequence = |event: &UplinkEvent| match event {
            UplinkEvent::Control(Control::ReportAck { sequence, .. }) => Some(*sequence),
            _ => None,
        };
        while one.expect(sequence).await < 2 {}
        assert!(!region.running.uplink.state().up);

        let mut hub = world.hub().await;
        let listed = hub.listed().await;
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].up, listed[0].stored, listed[0].held),
            (true, Some(plan.head), Some(plan.head))
        );
        let told = hub.report_of(11).await;
        assert!(told.full);
        assert_eq!(told.units[0].state, UnitState::Deployed);
        region.end().await;
    });
}

#[test]
fn an_edge_that_left_the_region_is_refused_also_after_a_restart_until_it_returns() {
    simulate(async {
        let mut world = World::new(5).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        let refusal = Refusal {
            reason: RefusalReason::Revoked,
            message: "moved away".to_owned(),
            retry_after_ms: None,
        };
        hub.send(Control::EdgeRemoved { edge: edge(11), refusal }).await;
        let reason = one
            .expect(|event| match event {
                UplinkEvent::Down(reason) => Some(reason.to_string()),
                _ => None,
            })
            .await;
        assert!(reason.contains("moved away"), "{reason}");
        region.end().await;
        hub.expect(|event| matches!(event, DownlinkEvent::Down { .. }).then_some(())).await;
        let _region = world.region().await;
        let mut states = one.handle.watch();
        states.wait_for(|state| !state.up && state.reason.contains("moved away")).await.unwrap();
        hub.listed().await;
        hub.offer(11, &world.edge_plan(11, 3, &["{}"]), None).await;
        one.offered().await;
    });
}

#[test]
fn a_join_is_relayed_and_told_to_wait_while_the_hub_is_away() {
    simulate(async {
        let mut world = World::new(6).await;
        let region = world.region().await;
        let mut one = world.edge(11, None);
        one.up().await;
        // An edge may not ask for a join; that is for strangers.
        let bytes = bytes::Bytes::new;
        let request = JoinRequest {
            token: TokenId([1; 16]),
            device_key: bytes(),
            csr: bytes(),
            token_proof: bytes(),
            device_proof: bytes(),
            name: "shop".to_owned(),
            labels: Default::default(),
            facts: Default::default(),
            ext: Vec::new(),
        };
        let answer = one.handle.call(Request::Join(request), std::time::Duration::from_secs(60)).await;
        assert!(
            matches!(answer, Ok(Response::Refused(refusal)) if refusal.reason == RefusalReason::Forbidden)
        );
        let identity = super::world::identity(
            &world.authority,
            &mut world.entropy,
            &protocol::id::AgentId::Edge(edge(11)),
            super::world::address(2),
            8444,
        );
        let tls = identity::TlsKey::generate().unwrap();
        let renew = identity::make_renew_request(&identity, &tls).unwrap();
        let answer = one.handle.call(Request::Renew(renew), std::time::Duration::from_secs(60)).await;
        match answer {
            Ok(Response::Refused(refusal)) => {
                assert_eq!(refusal.reason, RefusalReason::Unavailable);
                assert!(refusal.retry_after_ms.is_some());
            }
            other => panic!("expected a refusal, got {other:?}"),
        }
        region.end().await;
    });
}

#[test]
fn an_edge_that_takes_nothing_delays_no_other_and_gets_the_newest_in_the_end() {
    simulate(async {
        let mut world = World::new(7).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        // Its owner does not read events.
        let mut stuck = world.edge(12, None);
        hub.link_of(12, true).await;
        let mut quick = world.edge(11, None);
        hub.link_of(11, true).await;
        let rounds = 300;
        for round in 1..=rounds {
            let content = format!("{{\"round\":{round}}}");
            hub.offer(12, &world.edge_plan(12, round, &[&content]), None).await;
            let plan = world.edge_plan(11, round, &[&content]);
            hub.offer(11, &plan, None).await;
            if round % 50 == 0 {
                while quick.offered().await.plan != plan.signed {}
                quick.send(Control::PlanStored { edge: None, head: plan.head }).await;
                assert_eq!(hub.stored_by(11).await, plan.head);
            }
        }
        let newest = world.edge_plan(12, rounds, &[&format!("{{\"round\":{rounds}}}")]);
        let mut offers = 1;
        while stuck.offered().await.plan != newest.signed {
            offers += 1;
        }
        assert!(offers <= rounds, "{offers}");
    });
}

#[test]
fn telemetry_is_acknowledged_once_it_is_durable_and_answers_the_hub() {
    simulate(async {
        let mut world = World::new(8).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        let at = i64::try_from(super::world::START).unwrap();
        let labels = Labels::from_pairs([("__name__", "orders_total"), ("job", "shop")]);
        let series = vec![Series { labels, samples: vec![Sample::new(at, 42.0)] }];
        let payload = telemetry::wire::encode(&Batch { series });
        let content = TelemetryContent::Batch {
            payload,
            points: 1,
            first: super::world::START,
            last: super::world::START,
        };
        let (class, epoch) = (TelemetryClass::Metrics, StreamEpoch(7));
        one.handle.send_telemetry(TelemetryItem { class, epoch, sequence: 1, content }).await.unwrap();
        let acks = one
            .expect(|event| match event {
                UplinkEvent::Control(Control::TelemetryAcks(acks)) => Some(acks.clone()),
                _ => None,
            })
            .await;
        assert_eq!(acks, [TelemetryAck { class, epoch, through: 1 }]);
        let params = Params::new(Grid::instant(at));
        let grid = params.grid;
        let question =
            QueryRequest::Evaluate { expr: "sum by (region, edge) (orders_total)".to_owned(), params };
        let deadline = std::time::Duration::from_secs(30);
        let answer =
            hub.handle.call(&super::world::region(), Request::Query(question.encode()), deadline).await;
        let Ok(Response::Answer(answer)) = answer else { panic!("expected an answer, got {answer:?}") };
        let answer = QueryAnswer::decode(&answer, grid).unwrap();
        let Ok(Answered::Value(Value::Vector(vector))) = answer.result else { panic!("{:?}", answer.result) };
        assert_eq!((vector.len(), vector[0].values.clone()), (1, vec![42.0]));
        assert_eq!(vector[0].labels.get("region"), "eu");
        assert_eq!(vector[0].labels.get("edge"), "edge-11");
        assert_eq!(answer.edges[0].link_up, Some(true));
    });
}

#[test]
fn a_newer_trust_bundle_is_kept_and_told_to_the_edges() {
    simulate(async {
        let mut world = World::new(9).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        hub.link_of(11, true).await;
        let unsigned = protocol::enrolment::TrustBundle { sequence: 9, ..world.authority.trust() };
        hub.send(Control::Trust(unsigned)).await;
        let mut stranger = identity::SeededEntropy::new(77);
        let other = identity::Authority::create("fleet.example", super::world::START, &mut stranger).unwrap();
        let both = identity::Replaced { root: true, plan_key: true };
        let forged = other.keyring().introduce("x", both, super::world::START, &mut stranger).unwrap();
        other.adopt(forged);
        hub.send(Control::TrustChain(other.chain().unwrap())).await;
        let next =
            world.authority.keyring().introduce("x", both, super::world::START, &mut stranger).unwrap();
        world.authority.adopt(next);
        let newer = world.authority.trust();
        hub.send(Control::TrustChain(world.authority.chain().unwrap())).await;
        // The edge hears the chain as the hub signed it, and nothing of what came before.
        let told = one
            .expect(|event| match event {
                UplinkEvent::Control(Control::TrustChain(chain)) => Some(chain.clone()),
                _ => None,
            })
            .await;
        assert_eq!(told, world.authority.chain().unwrap());
        // The region says that it keeps it, and what its edges say.
        let own = hub.kept(None, newer.sequence).await;
        assert!(identity::lineage::is_kept(&own, &region_id(), &world.region_identity.device.public()));
        let taken = one.identity().trusting(&told).unwrap().unwrap();
        one.send(Control::TrustKept(vec![taken.trust_kept()])).await;
        let said = hub.kept(Some(edge(11)), newer.sequence).await;
        assert!(identity::lineage::is_kept(&said, &taken.agent, &taken.device.public()));
        region.end().await;
        let kept = identity::AgentIdentity::load(&world.folder.path().join("identity")).unwrap();
        assert_eq!(kept.trust, newer);
    });
}

#[test]
fn the_region_carries_out_its_own_plan_and_reports_it() {
    simulate(async {
        let mut world = World::new(10).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        let object = "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"1\"},\"kind\":\"ConfigMap\",\"metadata\":\
                      {\"name\":\"map-0\",\"namespace\":\"shop\"}}";
        hub.listed().await;
        let plan = world.plan(super::world::region(), 1, &[object]);
        let mut offer = plan.offer(edge(0), None).offer;
        offer.edge = None;
        // The objects follow when they are asked for.
        offer.blobs.truncate(1);
        hub.send(Control::Plan(offer)).await;
        let wanted = hub
            .control(|control| match control {
                Control::BlobsWanted { edge: None, digests } => Some(digests.clone()),
                _ => None,
            })
            .await;
        assert_eq!(wanted, plan.blobs.keys().copied().collect::<Vec<_>>());
        hub.send(Control::Blobs { edge: None, blobs: plan.parts()[1..].to_vec() }).await;
        hub.control(|control| match control {
            Control::PlanStored { edge: None, head } => (*head == plan.head).then_some(()),
            _ => None,
        })
        .await;
        hub.control(|control| match control {
            Control::Report { edge: None, report } => {
                report.units.iter().any(|unit| unit.state == UnitState::Deployed).then_some(())
            }
            _ => None,
        })
        .await;
        let maps = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(world.client(), "shop");
        assert!(maps.get_opt("map-0").await.unwrap().is_some());
    });
}

#[test]
fn a_device_joins_through_its_region_and_its_telemetry_carries_the_name_the_hub_granted() {
    simulate(async {
        let mut world = World::new(11).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let scope = identity::token::TokenScope {
            endpoints: vec!["10.0.0.2:8444".to_owned()],
            pins: world.authority.pins(),
            not_after: u64::MAX,
            region: super::world::region_name(),
            role: identity::TokenRole::Edge,
        };
        let (token, _) = identity::JoinToken::mint(scope, &mut world.entropy);
        let directory = world.folder.path().join("device");
        let mut entropy = identity::SystemEntropy;
        let joining = link::enrol(link::EnrolParams {
            token: &token,
            directory: directory.clone(),
            name: "my-wish".to_owned(),
            labels: Default::default(),
            facts: Default::default(),
            network: world.network.node(super::world::address(13)),
            clock: std::sync::Arc::new(world.clock.clone()),
            entropy: &mut entropy,
            deadline: std::time::Duration::from_secs(20),
        });
        let mut issuing = identity::SeededEntropy::new(1);
        let granting = async {
            loop {
                let DownlinkEvent::Request { request: Request::Join(request), responder, .. } =
                    hub.next().await
                else {
                    continue;
                };
                let agent = protocol::id::AgentId::Edge(edge(13));
                let now = super::world::START;
                let chain = world.authority.issue(&agent, &request.csr, now, &mut issuing).unwrap();
                return responder.respond(Response::Joined(protocol::enrolment::JoinGrant {
                    agent,
                    name: "shop-13".to_owned(),
                    region: super::world::region_name(),
                    chain,
                    trust: world.authority.trust(),
                    endpoints: vec!["10.0.0.2:8444".to_owned()],
                    time: now,
                    ext: vec![world.authority.vouch(&world.authority.trust()).unwrap()],
                }));
            }
        };
        let (joined, ()) = futures::join!(joining, granting);
        assert_eq!(joined.unwrap().name, "shop-13");
        // The edge says another name; the hub's counts.
        let mut one = world.edge(13, None);
        one.up().await;
        hub.link_of(13, true).await;
        assert_eq!(region.running.edges.shelf().named(edge(13)).0, "shop-13");
    });
}
