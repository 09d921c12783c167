//! Edges that the hub has given to another region.

use link::UplinkEvent;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{EdgeId, Generation};
use protocol::message::Control;
use protocol::placement::{Placement, SignedPlacement, Site};

use super::world::{Edge, START, World, edge, simulate};

fn placement(world: &World, edge: Option<EdgeId>, region: &str, counter: u64) -> SignedPlacement {
    world.authority.sign_placement(&Placement {
        edge,
        home: Site { region: region.parse().unwrap(), endpoints: vec![format!("{region}.example:4433")] },
        standbys: Vec::new(),
        generation: Generation { term: 1, counter },
        issued_at: START,
        ext: Vec::new(),
    })
}

fn removed(number: u8, reason: RefusalReason, message: &str) -> Control {
    let refusal = Refusal { reason, message: message.to_owned(), retry_after_ms: None };
    Control::EdgeRemoved { edge: edge(number), refusal }
}

impl Edge {
    /// The next placement it is told.
    async fn placed(&mut self) -> SignedPlacement {
        self.expect(|event| match event {
            UplinkEvent::Control(Control::Placement { edge: None, placement }) => Some(placement.clone()),
            _ => None,
        })
        .await
    }

    async fn down(&mut self) -> String {
        self.expect(|event| match event {
            UplinkEvent::Down(reason) => Some(reason.to_string()),
            _ => None,
        })
        .await
    }
}

#[test]
fn an_edge_that_left_is_told_where_to_with_an_old_disk_and_after_a_restart_too_until_it_is_revoked() {
    simulate(async {
        let mut world = World::new(20).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        let there = placement(&world, Some(edge(11)), "us", 2);
        hub.send(Control::Placement { edge: Some(edge(11)), placement: there.clone() }).await;
        assert_eq!(one.placed().await, there);
        hub.send(removed(11, RefusalReason::OutOfScope, "the edge belongs to region \"us\" now")).await;
        assert!(one.down().await.contains("belongs to region \"us\" now"));
        one.cancel.cancel();

        region.end().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut old = world.edge(11, None);
        old.up().await;
        assert_eq!(old.placed().await, there);

        hub.send(removed(11, RefusalReason::Revoked, "the edge was revoked")).await;
        assert!(old.down().await.contains("was revoked"));
        old.cancel.cancel();
        let late = world.edge(11, None);
        let mut states = late.handle.watch();
        let refused = states.wait_for(|state| state.reason.contains("was revoked"));
        tokio::time::timeout(std::time::Duration::from_secs(30), refused)
            .await
            .expect("it is refused")
            .unwrap();
    });
}

#[test]
fn all_edges_are_told_what_is_said_to_all_but_no_forged_or_misdirected_word() {
    simulate(async {
        let mut world = World::new(21).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        let stranger = World::new(99).await;
        let forged = placement(&stranger, None, "us", 7);
        hub.send(Control::Placement { edge: None, placement: forged }).await;
        let misdirected = placement(&world, Some(edge(12)), "us", 6);
        hub.send(Control::Placement { edge: Some(edge(11)), placement: misdirected.clone() }).await;
        hub.send(Control::Placement { edge: None, placement: misdirected }).await;
        let newest = placement(&world, None, "eu", 5);
        hub.send(Control::Placement { edge: None, placement: newest.clone() }).await;
        assert_eq!(one.placed().await, newest);
        // One that is older changes nothing, and whoever links later hears the newest.
        hub.send(Control::Placement { edge: None, placement: placement(&world, None, "eu", 4) }).await;
        let mut two = world.edge(12, None);
        two.up().await;
        assert_eq!(two.placed().await, newest);
    });
}
