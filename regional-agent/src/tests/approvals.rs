//! Devices that wait for approval, kept by their region until the hub speaks of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::join::edge_for;
use identity::token::TokenScope;
use identity::{DeviceKey, JoinToken, KeyKind, SeededEntropy, TlsKey, TokenRole, make_join_request};
use link::{DownlinkEvent, JoinError, JoinParams, Responder, join};
use protocol::enrolment::{
    JoinGrant, JoinRequest, Refusal, RefusalReason, TELLS_SOURCE, from_source, source,
};
use protocol::id::{AgentId, EdgeId};
use protocol::message::{Control, Request, Response};

use super::world::{Hub, REGION_PORT, START, World, address, region_name, simulate};

/// A device, and what it asks.
struct Device {
    token: JoinToken,
    request: JoinRequest,
    id: EdgeId,
}

impl Device {
    fn new(world: &mut World) -> Self {
        let scope = TokenScope {
            endpoints: vec![format!("{}:{REGION_PORT}", address(2))],
            pins: world.authority.pins(),
            not_after: START + 3_600_000,
            region: region_name(),
            role: TokenRole::Edge,
        };
        let (token, _) = JoinToken::mint(scope, &mut world.entropy);
        let key = DeviceKey::generate(&mut world.entropy);
        let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut world.entropy).unwrap();
        let none = BTreeMap::new;
        let request = make_join_request(&token, &key, &tls, "till-1", none(), none()).unwrap();
        let id = edge_for(token.id, &request.device_key);
        // It would like to come from elsewhere.
        let request = from_source(request, "192.0.2.1:1".parse().unwrap());
        Self { token, request, id }
    }

    async fn join(&self, world: &World) -> Result<JoinGrant, JoinError> {
        join(JoinParams {
            token: &self.token,
            request: self.request.clone(),
            network: world.network.node(address(7)),
            clock: Arc::new(world.clock.clone()),
            entropy: &mut SeededEntropy::new(7),
            deadline: Duration::from_secs(30),
        })
        .await
    }
}

impl Hub {
    /// The next join that the region relays.
    async fn asked(&mut self) -> (JoinRequest, Responder) {
        loop {
            if let DownlinkEvent::Request { request: Request::Join(request), responder, .. } =
                self.next().await
            {
                return (request, responder);
            }
        }
    }
}

fn refused(reason: RefusalReason, message: &str, retry_after_ms: u64) -> Response {
    Response::Refused(Refusal { reason, message: message.to_owned(), retry_after_ms: Some(retry_after_ms) })
}

#[test]
fn a_device_that_waits_is_answered_as_soon_as_the_hub_speaks_of_its_edge() {
    simulate(async {
        let mut world = World::new(30).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        let hello = hub.expect(|event| match event {
            DownlinkEvent::Up { hello, .. } => Some((**hello).clone()),
            _ => None,
        });
        assert!(hello.await.facts.contains_key(TELLS_SOURCE));
        hub.listed().await;

        // Approved: the edge gets a plan.
        let device = Device::new(&mut world);
        let agent = AgentId::Edge(device.id);
        let plan = world.plan(agent.clone(), 1, &["one"]);
        let mut entropy = SeededEntropy::new(8);
        let chain = world.authority.issue(&agent, &device.request.csr, START, &mut entropy).unwrap();
        let script = async {
            let (request, responder) = hub.asked().await;
            // What the device says of it is not what the hub hears.
            assert_eq!(source(&request).map(|from| from.ip()), Some(address(7)));
            responder.respond(refused(RefusalReason::ApprovalPending, "wait", 60_000));
            hub.send(Control::Plan(plan.offer(device.id, None).offer)).await;
            let (_, responder) = hub.asked().await;
            assert_eq!(region.running.edges.waiting(), 1);
            responder.respond(Response::Joined(JoinGrant {
                agent: agent.clone(),
                name: "till-1".to_owned(),
                region: region_name(),
                chain,
                trust: world.authority.trust(),
                endpoints: Vec::new(),
                time: START,
                ext: Vec::new(),
            }));
        };
        let (grant, ()) = tokio::join!(device.join(&world), script);
        assert_eq!(grant.unwrap().agent, agent);

        // Refused: the edge is revoked.
        let device = Device::new(&mut world);
        let script = async {
            hub.asked().await.1.respond(refused(RefusalReason::ApprovalPending, "wait", 60_000));
            let refusal = Refusal {
                reason: RefusalReason::Revoked,
                message: "the edge was revoked".to_owned(),
                retry_after_ms: None,
            };
            hub.send(Control::EdgeRemoved { edge: device.id, refusal }).await;
            hub.asked().await.1.respond(refused(RefusalReason::Revoked, "no", 600_000));
        };
        let (answer, ()) = tokio::join!(device.join(&world), script);
        let Err(JoinError::Refused(refusal)) = answer else { panic!("{answer:?}") };
        assert_eq!((refusal.reason, refusal.message.as_str()), (RefusalReason::Revoked, "no"));
        region.end().await;
    });
}

#[test]
fn nobody_is_kept_who_does_not_wait_for_the_answer() {
    simulate(async {
        let mut world = World::new(31).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let device = Device::new(&mut world);
        {
            let asking = device.join(&world);
            tokio::pin!(asking);
            let asked = async {
                hub.asked().await.1.respond(refused(RefusalReason::ApprovalPending, "wait", 60_000));
                while region.running.edges.waiting() == 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                answer = &mut asking => panic!("{answer:?}"),
                () = asked => {}
            }
        }
        // The device is gone, and its seat is free again.
        while region.running.edges.waiting() > 0 {
            tokio::task::yield_now().await;
        }
        region.end().await;
    });
}
