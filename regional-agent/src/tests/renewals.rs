//! The region renews its edges while the hub is away, and refuses whom the hub's table does not name.

use std::time::Duration;

use bytes::Bytes;
use identity::authority::LEAF_VALIDITY_MS;
use identity::issuer::{TABLE_AGE_MAX_MS, wished_issuer};
use identity::renewal::accept_renewal;
use identity::{AgentIdentity, Authority, Clock as _, KeyKind, SeededEntropy, TlsKey, make_renew_request};
use link::{CallError, DownlinkEvent};
use protocol::codec::encode;
use protocol::delegation::{EdgeRenewal, EdgeStanding, EdgeTable, Standings, TablePart};
use protocol::enrolment::{RefusalReason, RenewGrant};
use protocol::id::{Digest, EdgeId, Generation};
use protocol::message::{Control, Request, Response};

use super::world::{Edge, Hub, START, World, edge, region_name, simulate};

const CALL: Duration = Duration::from_secs(20);
const HOUR_MS: u64 = 3_600_000;

/// Gives the region the issuing certificate that it asks for when it links.
async fn delegate(hub: &mut Hub, world: &mut World) {
    loop {
        let DownlinkEvent::Request { peer, request: Request::Renew(request), responder } = hub.next().await
        else {
            continue;
        };
        assert_eq!(peer, request.agent);
        let device = world.region_identity.device.public();
        identity::check_renewal(&request, &device, &peer).unwrap();
        let now = world.clock.now();
        let csr = wished_issuer(&request, &device).unwrap().expect("it asks for an issuing certificate");
        let issuer = world.authority.delegate(&region_name(), csr, now, &mut world.entropy).unwrap();
        let chain = world.authority.issue(&peer, &request.csr, now, &mut world.entropy).unwrap();
        let (trust, endpoints) = (world.authority.trust(), Vec::new());
        let grant = RenewGrant { chain, trust, endpoints, time: now, ext: vec![issuer] };
        return responder.respond(Response::Renewed(grant));
    }
}

fn standing(identity: &AgentIdentity, number: u8) -> EdgeStanding {
    EdgeStanding { edge: edge(number), device_key: identity.device.public(), returns: 0, denied: false }
}

/// A table of these edges, whole.
fn table(authority: &Authority, counter: u64, issued_at: u64, entries: Vec<EdgeStanding>) -> TablePart {
    let entries = Standings(entries);
    let table = EdgeTable {
        region: region_name(),
        generation: Generation { term: 1, counter },
        issued_at,
        edges: u32::try_from(entries.0.len()).unwrap(),
        digest: Digest::of(&encode(&entries)),
        ext: Vec::new(),
    };
    TablePart { entries, ..authority.sign_table(&table) }
}

/// What the region answers to an edge that wants to renew.
async fn ask(one: &Edge) -> (TlsKey, Response) {
    let tls = TlsKey::generate().unwrap();
    let request = make_renew_request(&one.identity(), &tls).unwrap();
    let answer = one.handle.call(Request::Renew(request), CALL).await;
    let response = answer.unwrap_or_else(|error| match error {
        CallError::Refused(refusal) => Response::Refused(refusal),
        other => panic!("{other}"),
    });
    (tls, response)
}

async fn refused(one: &Edge) -> (RefusalReason, String) {
    match ask(one).await.1 {
        Response::Refused(refusal) => (refusal.reason, refusal.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_edge_renews_while_the_hub_is_away_also_after_a_restart_of_the_region_and_the_hub_hears_of_it() {
    simulate(async {
        let mut world = World::new(31).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        delegate(&mut hub, &mut world).await;
        let mut one = world.edge(11, None);
        one.up().await;
        let table = table(&world.authority, 1, START, vec![standing(&one.identity(), 11)]);
        hub.send(Control::EdgeTable(table)).await;
        region.until(|renewals| renewals.table_edges == 1 && renewals.issuer_not_after > 0).await;
        hub.end().await;
        region.end().await;

        let region = world.region().await;
        one.up().await;
        let (tls, response) = ask(&one).await;
        let Response::Renewed(grant) = response else { panic!("{response:?}") };
        let renewed = accept_renewal(&one.identity(), tls, grant).unwrap();
        assert!(renewed.not_after + HOUR_MS > world.clock.now() + LEAF_VALIDITY_MS, "{}", renewed.not_after);
        let renewals = region.running.edges.register().renewals();
        assert_eq!((renewals.issued, renewals.refused), (1, 0));
        // With what it got it links.
        one.cancel.cancel();
        let mut again = world.edge_as(renewed.clone(), 11, None);
        again.up().await;

        let mut hub = world.hub().await;
        let told: EdgeRenewal = hub
            .control(|control| match control {
                Control::EdgeRenewed(renewal) => Some(renewal.clone()),
                _ => None,
            })
            .await;
        assert_eq!((told.edge, told.not_after, told.refusal), (edge(11), Some(renewed.not_after), None));
    });
}

#[test]
fn without_the_hub_only_edges_of_a_young_table_renew_and_each_refusal_says_why() {
    simulate(async {
        let mut world = World::new(32).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        delegate(&mut hub, &mut world).await;
        let (mut listed, mut absent, mut copied) =
            (world.edge(11, None), world.edge(12, None), world.edge(13, None));
        for one in [&mut listed, &mut absent, &mut copied] {
            one.up().await;
        }
        let copy = EdgeStanding { returns: 2, ..standing(&copied.identity(), 13) };
        // As old as it may be, almost.
        let signed = START - TABLE_AGE_MAX_MS + HOUR_MS;
        let entries = vec![standing(&listed.identity(), 11), copy];
        hub.send(Control::EdgeTable(table(&world.authority, 1, signed, entries))).await;
        region.until(|renewals| renewals.table_edges == 2).await;
        hub.end().await;
        assert!(matches!(ask(&listed).await.1, Response::Renewed(_)));
        let (reason, message) = refused(&absent).await;
        assert_eq!(reason, RefusalReason::Forbidden);
        assert!(message.contains("not in the hub's table of the edges of \"eu\""), "{message}");
        let (reason, message) = refused(&copied).await;
        assert_eq!(reason, RefusalReason::Forbidden);
        assert!(message.contains("shows 0 returns, the hub knows of 2"), "{message}");
        world.clock.shift(2 * HOUR_MS.cast_signed());
        let (reason, message) = refused(&listed).await;
        assert_eq!(reason, RefusalReason::Unavailable);
        assert!(message.contains("169 h old, at most 168 h"), "{message}");
        let renewals = region.running.edges.register().renewals();
        assert_eq!((renewals.issued, renewals.refused), (1, 3));

        // The refusals are what the hub hears first.
        let mut hub = world.hub().await;
        let mut told = Vec::new();
        while told.len() < 3 {
            let renewal = hub.control(|control| match control {
                Control::EdgeRenewed(renewal) => Some(renewal.clone()),
                _ => None,
            });
            told.push(renewal.await);
        }
        assert!(told.iter().all(|renewal| renewal.refusal.is_some()), "{told:?}");
    });
}

#[test]
fn a_denied_edge_loses_its_link_at_once_and_an_older_table_does_not_bring_it_back() {
    simulate(async {
        let mut world = World::new(33).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        let good = standing(&one.identity(), 11);
        let older = table(&world.authority, 1, START, vec![good.clone()]);
        let denied = EdgeStanding { denied: true, ..good.clone() };
        let newest = table(&world.authority, 2, START, vec![denied]);
        hub.send(Control::EdgeTable(older.clone())).await;
        hub.send(Control::EdgeTable(newest.clone())).await;
        let told = std::time::Instant::now();
        let reason = one
            .expect(|event| match event {
                link::UplinkEvent::Down(reason) => Some(reason.to_string()),
                _ => None,
            })
            .await;
        assert!(reason.contains("the edge was revoked"), "{reason}");
        assert!(told.elapsed() < Duration::from_secs(1), "{:?}", told.elapsed());

        let stranger =
            Authority::create_kind("fleet.example", KeyKind::Ed25519, START, &mut SeededEntropy::new(5));
        let forged = table(&stranger.unwrap(), 9, START, vec![good.clone()]);
        let altered =
            TablePart { entries: Standings(vec![good.clone()]), ..table(&world.authority, 3, START, vec![]) };
        let swapped = TablePart {
            entries: Standings(vec![good.clone()]),
            ..table(&world.authority, 4, START, vec![EdgeStanding { denied: true, ..good }])
        };
        let late = TablePart { first: 7, ..newest.clone() };
        for (count, bad) in (1..).zip([older, forged, altered, swapped, late_of(&world, late)]) {
            hub.send(Control::EdgeTable(bad)).await;
            region.until(|renewals| renewals.tables_refused == count).await;
        }
        // Cut off from the hub it stays refused, also after a restart.
        hub.end().await;
        region.end().await;
        let _region = world.region().await;
        let mut states = one.handle.watch();
        states.wait_for(|state| !state.up && state.reason.contains("the edge was revoked")).await.unwrap();
    });
}

/// The same part of a table that is newer than all others.
fn late_of(world: &World, part: TablePart) -> TablePart {
    let newer = table(&world.authority, 10, START, part.entries.0.clone());
    TablePart { first: part.first, ..newer }
}

#[test]
fn a_table_in_parts_counts_when_it_is_whole() {
    simulate(async {
        let mut world = World::new(34).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let standing = |number: u8| EdgeStanding {
            edge: EdgeId([number; 16]),
            device_key: Bytes::from(vec![number; 32]),
            returns: 0,
            denied: false,
        };
        let whole = table(&world.authority, 5, START, (1..=9).map(standing).collect());
        let part = |first: usize, last: usize| TablePart {
            first: u32::try_from(first).unwrap(),
            entries: Standings(whole.entries.0[first..last].to_vec()),
            ..whole.clone()
        };
        hub.send(Control::EdgeTable(part(0, 4))).await;
        hub.send(Control::EdgeTable(part(4, 8))).await;
        // Nothing counts yet: what is sent instead is taken whole.
        hub.send(Control::EdgeTable(table(&world.authority, 6, START, vec![standing(1)]))).await;
        region.until(|renewals| renewals.table_edges == 1).await;
        let whole = table(&world.authority, 7, START, whole.entries.0.clone());
        let part = |first: usize, last: usize| TablePart {
            first: u32::try_from(first).unwrap(),
            entries: Standings(whole.entries.0[first..last].to_vec()),
            ..whole.clone()
        };
        hub.send(Control::EdgeTable(part(0, 4))).await;
        hub.send(Control::EdgeTable(part(4, 9))).await;
        region.until(|renewals| renewals.table_edges == 9).await;
        assert_eq!(region.running.edges.register().renewals().tables_refused, 0);
    });
}

#[test]
fn a_region_that_may_not_renew_alone_says_what_it_always_said() {
    simulate(async {
        let mut world = World::new(35).await;
        let mut hub = world.hub().await;
        let settings = crate::app::Settings { table_age_max: Duration::ZERO, ..world.settings() };
        let region = world.region_with(settings).await;
        delegate(&mut hub, &mut world).await;
        let mut one = world.edge(11, None);
        one.up().await;
        let table = table(&world.authority, 1, START, vec![standing(&one.identity(), 11)]);
        hub.send(Control::EdgeTable(table)).await;
        region.until(|renewals| renewals.table_edges == 1).await;
        hub.end().await;
        let (reason, message) = refused(&one).await;
        assert_eq!(reason, RefusalReason::Unavailable);
        assert!(message.contains("the hub cannot be asked now"), "{message}");
    });
}

#[test]
fn the_hub_decides_as_long_as_it_can() {
    simulate(async {
        let mut world = World::new(36).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        delegate(&mut hub, &mut world).await;
        let mut one = world.edge(11, None);
        one.up().await;
        let table = table(&world.authority, 1, START, vec![standing(&one.identity(), 11)]);
        hub.send(Control::EdgeTable(table)).await;
        region.until(|renewals| renewals.table_edges == 1).await;
        let answers = async {
            for reason in [RefusalReason::Revoked, RefusalReason::Unavailable] {
                let responder = hub.expect_request(|request| matches!(request, Request::Renew(_))).await;
                responder.refuse(reason, "the hub says so");
            }
        };
        let asks = async {
            assert_eq!(refused(&one).await, (RefusalReason::Revoked, "the hub says so".to_owned()));
            // It is there and cannot decide: its table can.
            assert!(matches!(ask(&one).await.1, Response::Renewed(_)));
        };
        futures::join!(answers, asks);
    });
}
