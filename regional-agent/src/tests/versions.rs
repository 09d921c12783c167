//! Edges of earlier versions at this region, and this region as one of an earlier version.

use std::time::Duration;

use link::UplinkEvent;
use protocol::enrolment::RefusalReason;
use protocol::id::{AgentId, Generation};
use protocol::inquiry::{Aspect, Inquiry};
use protocol::message::{Control, Request, Response};
use protocol::placement::{Placement, Site};
use protocol::version::Speaks;

use super::world::{START, World, edge, region, report, simulate};
use crate::app::Settings;

const DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn an_edge_of_before_gets_its_plan_and_nothing_that_it_would_not_understand() {
    simulate(async {
        let mut world = World::new(40).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        world.speaks = Speaks::of_minor(0);
        let mut one = world.edge(11, None);
        one.up().await;
        hub.link_of(11, true).await;
        let placement = world.authority.sign_placement(&Placement {
            edge: Some(edge(11)),
            home: Site { region: "us".parse().unwrap(), endpoints: vec!["us.example:4433".to_owned()] },
            standbys: Vec::new(),
            generation: Generation { term: 1, counter: 1 },
            issued_at: START,
            ext: Vec::new(),
        });
        hub.send(Control::Placement { edge: Some(edge(11)), placement }).await;
        hub.offer(11, &world.edge_plan(11, 1, &["a"]), None).await;
        let first = one
            .expect(|event| match event {
                UplinkEvent::Control(control @ (Control::Placement { .. } | Control::Plan(_))) => {
                    Some(control.clone())
                }
                _ => None,
            })
            .await;
        assert!(matches!(first, Control::Plan(_)), "{first:?}");
        let inquiry = Inquiry { service: String::new(), aspect: Aspect::History };
        let request = Request::Inquire { edge: Some(edge(11)), inquiry };
        match hub.handle.call(&region(), request, DEADLINE).await.unwrap() {
            Response::Refused(refusal) => {
                assert_eq!(refusal.reason, RefusalReason::Incompatible);
                assert!(
                    refusal.message.contains("protocol 1.0") && refusal.message.contains("inquiry (1.1)")
                );
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_plan_that_an_edge_would_carry_out_wrongly_is_kept_from_it_while_the_hub_does_not_know() {
    simulate(async {
        let mut world = World::new(41).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        // It was planned for an agent that knew dry runs, and was put back while the region held the plan.
        let agent = AgentId::Edge(edge(11));
        let dry = world.plan_with(agent, 1, &["a"], |unit| unit.set_dry_run(true));
        hub.offer(11, &dry, None).await;
        world.speaks = Speaks::of_minor(0);
        let mut one = world.edge(11, None);
        one.up().await;
        let refusal = hub
            .control(|control| match control {
                Control::PlanRefused { edge: Some(about), refusal, .. } if *about == edge(11) => {
                    Some(refusal.clone())
                }
                _ => None,
            })
            .await;
        assert_eq!(refusal.reason, RefusalReason::Incompatible);
        assert!(
            refusal.message.contains("dry-run (1.1): a dry run would be carried out"),
            "{}",
            refusal.message
        );
        // The hub plans anew.
        let plain = world.edge_plan(11, 2, &["a"]);
        hub.offer(11, &plain, Some(&dry)).await;
        assert_eq!(one.offered().await.plan, plain.signed);
    });
}

#[test]
fn a_region_of_before_hands_on_what_an_edge_tells_of_its_version() {
    simulate(async {
        let mut world = World::new(42).await;
        let mut hub = world.hub().await;
        let settings = Settings { speaks: Speaks::SILENT, ..world.settings() };
        let region = world.region_with(settings).await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        let speaks = Speaks::of_minor(1);
        for (sequence, full) in [(1, true), (2, false)] {
            let mut report = report(sequence, full, &[]);
            report.ext.extend(speaks.tell());
            one.send(Control::Report { edge: None, report: Box::new(report) }).await;
            assert_eq!(Speaks::told(&hub.report_of(11).await.ext), speaks);
        }
        let uplink = region.running.uplink.state();
        assert_eq!((uplink.upper, one.handle.state().upper), (Some(Speaks::HERE), Some(Speaks::SILENT)));
        let lacks: Vec<_> = uplink.lacks.0.into_iter().map(|lack| lack.name).collect();
        assert_eq!(lacks, ["version", "endpoints"]);
    });
}
