//! A region that was off until its certificate had expired.

use identity::recovery::check_recovery;
use link::DownlinkEvent;
use protocol::enrolment::RenewGrant;
use protocol::message::{Request, Response};
use protocol::recovery::RecoverGrant;

use super::world::{START, World, region_name, simulate};

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

#[test]
fn a_region_that_was_off_for_a_year_returns_and_shows_its_edges_the_new_certificate() {
    simulate(async {
        let mut world = World::new(10).await;
        let issued = START - YEAR_MS;
        let old = &mut world.region_identity;
        let csr = old.tls.signing_request().unwrap();
        old.chain = world.authority.issue(&old.agent, &csr, issued, &mut world.entropy).unwrap();
        (old.not_before, old.not_after) = identity::certificate::validity(&old.chain[0]).unwrap();
        let device = old.device.public();
        old.store(&world.folder.path().join("identity")).unwrap();

        let mut hub = world.hub().await;
        let _region = world.region().await;
        loop {
            let (request, responder) = match hub.next().await {
                DownlinkEvent::Recover { request, responder, .. } => (*request, responder),
                DownlinkEvent::Up { .. } => break,
                other => panic!("{other:?}"),
            };
            responder.respond(match request {
                Request::Challenge(agent) => {
                    Response::Challenge(world.authority.challenge(&agent, START, &mut world.entropy))
                }
                Request::Recover(request) => {
                    let returns = check_recovery(&request, &device, None).unwrap();
                    let chain = world
                        .authority
                        .issue(&request.agent, &request.csr, START, &mut world.entropy)
                        .unwrap();
                    let trust = world.authority.trust();
                    let renewed =
                        RenewGrant { chain, trust, endpoints: Vec::new(), time: START, ext: Vec::new() };
                    let (region, count) = (region_name(), returns.count);
                    Response::Recovered(RecoverGrant { renewed, region, count, ext: Vec::new() })
                }
                other => panic!("{other:?}"),
            });
        }
        let mut one = world.edge(11, None);
        one.up().await;
    });
}
