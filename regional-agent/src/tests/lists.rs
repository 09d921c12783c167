//! Where the region listens, as the hub signed it for its edges; and where the hub does.

use std::time::Duration;

use identity::{FileStore, KeyStore as _, Listed};
use link::UplinkEvent;
use protocol::endpoints::{Endpoint, EndpointList, Known, Listener, SignedEndpoints};
use protocol::id::{AgentId, Generation};
use protocol::message::Control;
use protocol::version::{Features, Speaks};

use super::world::{Edge, REGION_PORT, START, World, address, edge, identity, region_name, simulate};

fn list(of: Listener, endpoints: &[&str], counter: u64) -> EndpointList {
    EndpointList {
        of,
        endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
        generation: Generation { term: 1, counter },
        issued_at: START,
        ext: Vec::new(),
    }
}

fn signed(world: &World, endpoints: &[&str], counter: u64) -> SignedEndpoints {
    world.authority.sign_endpoints(&list(Listener::Region(region_name()), endpoints, counter))
}

impl Edge {
    /// The next list it is told.
    async fn listed(&mut self) -> SignedEndpoints {
        self.expect(|event| match event {
            UplinkEvent::Control(Control::Endpoints { edges: false, list }) => Some(list.clone()),
            _ => None,
        })
        .await
    }

    /// Nothing of the kind comes for a while.
    async fn hears_of_none(&mut self) {
        let heard = tokio::time::timeout(Duration::from_secs(5), self.listed()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

#[test]
fn edges_hear_of_a_list_at_once_when_they_link_and_after_a_restart_unless_they_have_it() {
    simulate(async {
        let mut world = World::new(30).await;
        let mut hub = world.hub().await;
        let region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        world.speaks = Speaks::SILENT;
        let mut before = world.edge(12, None);
        before.up().await;
        world.speaks = Speaks::HERE;
        let first = signed(&world, &["10.0.0.2:8444=5", "eu.example:8444=20"], 3);
        hub.send(Control::Endpoints { edges: true, list: first.clone() }).await;
        assert_eq!(one.listed().await, first);
        before.hears_of_none().await;
        // The same again, signed anew, is kept for those who come, and no news for those who are there.
        let again = signed(&world, &["10.0.0.2:8444=5", "eu.example:8444=20"], 4);
        hub.send(Control::Endpoints { edges: true, list: again.clone() }).await;
        one.hears_of_none().await;

        region.end().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut late = world.edge(13, None);
        late.up().await;
        assert_eq!(late.listed().await, again);
        let mut knowing =
            identity(&world.authority, &mut world.entropy, &AgentId::Edge(edge(14)), address(2), REGION_PORT);
        let EndpointList { generation, endpoints, .. } =
            list(Listener::Hub, &["10.0.0.2:8444=5", "eu.example:8444=20"], 3);
        knowing.placed.listed = Some(Listed { generation, endpoints, before: Vec::new() });
        let mut knowing = world.edge_as(knowing, 14, None);
        knowing.up().await;
        knowing.hears_of_none().await;
    });
}

#[test]
fn no_forged_misdirected_or_older_list_reaches_an_edge() {
    simulate(async {
        let mut world = World::new(31).await;
        let mut hub = world.hub().await;
        let _region = world.region().await;
        hub.listed().await;
        let mut one = world.edge(11, None);
        one.up().await;
        let stranger = World::new(99).await;
        let us = Listener::Region("us".parse().unwrap());
        for list in [
            signed(&stranger, &["10.0.0.9:1"], 9),
            world.authority.sign_endpoints(&list(us, &["10.0.0.9:1"], 9)),
            world.authority.sign_endpoints(&list(Listener::Hub, &["10.0.0.9:1"], 9)),
            world.authority.sign_endpoints(&list(Listener::Region(region_name()), &[], 9)),
        ] {
            hub.send(Control::Endpoints { edges: true, list }).await;
        }
        let newest = signed(&world, &["10.0.0.2:8444"], 8);
        hub.send(Control::Endpoints { edges: true, list: newest.clone() }).await;
        assert_eq!(one.listed().await, newest);
        hub.send(Control::Endpoints { edges: true, list: signed(&world, &["10.0.0.9:1"], 7) }).await;
        one.hears_of_none().await;
    });
}

#[test]
fn a_region_keeps_where_the_hub_listens_tells_that_it_has_it_and_where_it_listens_itself() {
    simulate(async {
        let mut world = World::new(32).await;
        let mut hub = world.hub().await;
        let mut settings = world.settings();
        settings.advertise =
            vec!["eu-2.example:8444=20".parse().unwrap(), "eu.example:8444=5".parse().unwrap()];
        let region = world.region_with(settings.clone()).await;
        let hello = hub.hello().await;
        assert_eq!(hello.endpoints, ["eu.example:8444", "eu-2.example:8444"]);
        let named = protocol::endpoints::named(&hello.endpoints, &hello.ext);
        assert_eq!(
            named.iter().map(Endpoint::to_string).collect::<Vec<_>>(),
            ["eu.example:8444=5", "eu-2.example:8444=20"]
        );
        assert!(Features(hello.features).has(Features::ENDPOINTS) && Known::told(&hello.ext).is_none());
        let told = list(Listener::Hub, &["10.0.0.1:8443", "10.0.0.7:8443=20"], 2);
        hub.send(Control::Endpoints { edges: false, list: world.authority.sign_endpoints(&told) }).await;
        let store = FileStore::new(world.folder.path().join("identity"));
        let kept = async {
            loop {
                let kept = store.load().unwrap().unwrap();
                if kept.placed.listed.is_some() {
                    return kept;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let kept = tokio::time::timeout(Duration::from_secs(60), kept).await.expect("it is kept");
        assert_eq!(kept.preferred(), told.endpoints);
        region.end().await;
        world.region_identity = kept;
        let _region = world.region_with(settings).await;
        assert_eq!(Known::told(&hub.hello().await.ext), Some(told.known()));
    });
}
