//! Certificates of a region's issuer on real connections, and how a region comes by its issuer.

use std::sync::Arc;
use std::time::Duration;

use identity::authority::LEAF_VALIDITY_MS;
use identity::issuer::wished_issuer;
use identity::tls::{Accepts, REGION_GRACE_MS};
use identity::{AgentIdentity, Clock as _, DenySet, FileStore, KeyKind, RegionIssuer, SeededEntropy, TlsKey};
use protocol::enrolment::{RenewGrant, RenewRequest};
use protocol::id::AgentId;
use protocol::message::{Request, Response};
use tokio::sync::watch;

use super::world::{Above, Below, START, World, edge, region, simulate};
use crate::DownlinkEvent;
use crate::network::simulated::Conditions;
use crate::renewal::{Delegation, Renewal};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The issuer of that region.
fn issuer(world: &mut World, name: &str) -> RegionIssuer {
    let agent = world.identity_of(&AgentId::Region(region(name)), name, world.clock.now());
    let key = TlsKey::generate_kind(KeyKind::Ed25519, &mut world.entropy).unwrap();
    let csr = key.signing_request().unwrap();
    let now = world.clock.now();
    let told = world.authority.delegate(&region(name), &csr, now, &mut world.entropy).unwrap();
    RegionIssuer::granted(&agent, key, &vec![told], now, &mut world.entropy).unwrap().unwrap()
}

/// An edge whose certificate that issuer issued now.
fn issued(world: &mut World, issuer: &RegionIssuer, number: u8) -> AgentIdentity {
    let now = world.clock.now();
    let mut identity = world.identity_of(&edge(number), "eu", now);
    let csr = identity.tls.signing_request().unwrap();
    identity.chain = issuer.issue(&edge(number), &csr, now, &mut world.entropy).unwrap();
    identity
}

#[test]
fn a_region_takes_its_own_issuer_s_edges_and_tells_those_of_another_why_not() {
    simulate(async {
        let mut world = World::new(91, Conditions::default());
        let mut above = world.region().await;
        let (eu, us) = (issuer(&mut world, "eu"), issuer(&mut world, "us"));
        let own = issued(&mut world, &eu, 2);
        let mut own = world.dial(own, 2, 1);
        own.up().await;
        assert_eq!(above.up().await.0, edge(2));
        let foreign = issued(&mut world, &us, 3);
        let foreign = world.dial(foreign, 3, 1);
        let reason = foreign.failure().await;
        assert!(reason.contains("certificate_unknown"), "{reason}");
        // As soon as the region's issuer is denied, so is who comes with it; and the link of who is denied ends.
        above.handle.deny(DenySet { agents: [AgentId::Region(region("eu"))].into(), ..DenySet::default() });
        let late = issued(&mut world, &eu, 4);
        let reason = world.dial(late, 4, 1).failure().await;
        assert!(reason.contains("revoked"), "{reason}");
        assert!(own.handle.state().up);
        above.handle.deny(DenySet { agents: [edge(2)].into(), ..DenySet::default() });
        assert_eq!(own.down().await, "this agent was revoked");
    });
}

#[test]
fn a_hub_takes_nobody_whom_a_region_issued_for() {
    simulate(async {
        let mut world = World::new(92, Conditions::default());
        let _hub = world.hub().await;
        let eu = issuer(&mut world, "eu");
        for agent in [edge(2), AgentId::Region(region("eu")), AgentId::Region(region("us"))] {
            let mut identity = world.identity_of(&AgentId::Region(region("eu")), "eu", START);
            let csr = identity.tls.signing_request().unwrap();
            identity.chain = eu.issue(&agent, &csr, START, &mut world.entropy).unwrap();
            let reason = world.dial(identity, 2, 1).failure().await;
            assert!(reason.contains("certificate_unknown"), "{agent}: {reason}");
        }
    });
}

#[test]
fn a_region_whose_certificate_has_expired_keeps_its_links_and_takes_new_ones_for_a_while() {
    simulate(async {
        let mut world = World::new(93, Conditions::default());
        let eu = issuer(&mut world, "eu");
        let shown = world.identity_of(&AgentId::Region(region("eu")), "eu", START).link_identity();
        let mut above = world.above(shown, Accepts::Edges).await;
        let mut first = world.below(2);
        first.up().await;
        above.up().await;
        world.clock.shift(LEAF_VALIDITY_MS.cast_signed() + 3_600_000);
        let later = issued(&mut world, &eu, 3);
        let mut later = world.dial(later, 3, 1);
        later.up().await;
        assert!(first.handle.state().up);
        world.clock.shift(REGION_GRACE_MS.cast_signed());
        let last = issued(&mut world, &eu, 4);
        let reason = world.dial(last, 4, 1).failure().await;
        assert!(reason.contains("expired"), "{reason}");
        assert!(first.handle.state().up && later.handle.state().up);
    });
}

/// A region's uplink that looks after its certificates.
fn renewing(
    world: &mut World,
    directory: &std::path::Path,
) -> (Below, watch::Receiver<Option<Arc<RegionIssuer>>>) {
    let identity = world.identity(&AgentId::Region(region("eu")));
    let below = world.dial(identity, 2, 1);
    let store = Arc::new(FileStore::new(directory));
    let issuer = watch::Sender::new(None);
    let published = issuer.subscribe();
    let renewal = Renewal {
        uplink: below.handle.clone(),
        store: store.clone(),
        identity: below.identity.clone(),
        clock: Arc::new(world.clock.clone()),
        entropy: Box::new(SeededEntropy::new(1)),
        delegation: Some(Delegation { store, issuer }),
    };
    world.tasks.spawn(renewal.run(below.cancel.clone()));
    (below, published)
}

/// The next renewal within that time.
async fn asked(above: &mut Above, within: Duration) -> Option<(RenewRequest, crate::Responder)> {
    loop {
        match tokio::time::timeout(within, above.events.recv()).await.ok()?.unwrap() {
            DownlinkEvent::Request { request: Request::Renew(request), responder, .. } => {
                return Some((request, responder));
            }
            DownlinkEvent::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn grant(world: &mut World, request: &RenewRequest, delegates: bool) -> Response {
    let now = world.clock.now();
    let chain = world.authority.issue(&request.agent, &request.csr, now, &mut world.entropy).unwrap();
    let mut ext = Vec::new();
    if delegates {
        let (_, wish) = request.ext.iter().find(|(tag, _)| *tag == 4).unwrap();
        let told = world.authority.delegate(&region("eu"), &wish[64..], now, &mut world.entropy);
        ext.push(told.unwrap());
    }
    let (trust, endpoints) = (world.authority.trust(), Vec::new());
    Response::Renewed(RenewGrant { chain, trust, endpoints, time: now, ext })
}

#[test]
fn a_region_asks_for_its_issuer_as_soon_as_it_links_and_renews_it_with_its_own_certificate() {
    simulate(async {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::new(94, Conditions::default());
        let mut above = world.hub().await;
        let (below, mut published) = renewing(&mut world, directory.path());
        let (request, responder) = asked(&mut above, DAY).await.unwrap();
        let device = below.identity.borrow().device.public();
        assert!(wished_issuer(&request, &device).unwrap().is_some());
        // The hub cannot now: it is asked again.
        drop(responder);
        let (request, responder) = asked(&mut above, DAY).await.unwrap();
        responder.respond(grant(&mut world, &request, true));
        published.changed().await.unwrap();
        let first = published.borrow_and_update().clone().unwrap();
        let (kept, _) = FileStore::new(directory.path()).issuer().unwrap().unwrap();
        assert_eq!(kept, *first.certificate());
        let began = world.clock.now();
        let (request, responder) = asked(&mut above, 6 * DAY).await.unwrap();
        assert!(world.clock.now() - began > LEAF_VALIDITY_MS * 3 / 10);
        responder.respond(grant(&mut world, &request, true));
        published.changed().await.unwrap();
        let second = published.borrow_and_update().clone().unwrap();
        assert!(second.not_after() > first.not_after());
        assert_ne!(second.key().spki_hash(), first.key().spki_hash());
    });
}

#[test]
fn a_hub_of_before_is_asked_once_and_the_region_goes_on_without_an_issuer() {
    simulate(async {
        let directory = tempfile::tempdir().unwrap();
        let mut world = World::new(95, Conditions::default());
        let mut above = world.hub().await;
        let (below, published) = renewing(&mut world, directory.path());
        let (request, responder) = asked(&mut above, DAY).await.unwrap();
        responder.respond(grant(&mut world, &request, false));
        assert!(asked(&mut above, 2 * DAY).await.is_none());
        assert!(published.borrow().is_none() && below.handle.state().up);
        let renewed = below.identity.borrow().chain.clone();
        assert_eq!(
            identity::certificate::spki_hash(&renewed[0]).unwrap(),
            below.identity.borrow().tls.spki_hash()
        );
        // With its own certificate it asks again.
        let (request, _) = asked(&mut above, 5 * DAY).await.unwrap();
        let device = below.identity.borrow().device.public();
        assert!(wished_issuer(&request, &device).unwrap().is_some());
    });
}
