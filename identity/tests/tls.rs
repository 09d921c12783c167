//! What a handshake negotiates, and that the second one is as full as the first.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::sync::Arc;

use identity::tls::{
    ALPN_JOIN, ALPN_LINK, Accepts, REGION_GRACE_MS, client_config, join_config, server_config,
};
use identity::token::TokenScope;
use identity::{
    AgentIdentity, Authority, Clock, DenySet, DeviceKey, JoinToken, SeededEntropy, TlsKey, TokenRole, Trust,
};
use protocol::id::{AgentId, EdgeId};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig,
    ServerConnection,
};

const NOW: u64 = 1_790_000_000_000;

#[derive(Debug, Clone, Copy)]
struct At(u64);

impl Clock for At {
    fn now(&self) -> u64 {
        self.0
    }
}

struct Scene {
    authority: Authority,
    trust: Arc<Trust>,
    edge: AgentIdentity,
    server: Arc<ServerConfig>,
}

fn identity(authority: &Authority, agent: AgentId) -> AgentIdentity {
    let mut entropy = SeededEntropy::new(3);
    let tls = TlsKey::generate().unwrap();
    let chain = authority.issue(&agent, &tls.signing_request().unwrap(), NOW, &mut entropy).unwrap();
    let (not_before, not_after) = identity::certificate::validity(&chain[0]).unwrap();
    AgentIdentity {
        agent,
        name: "some-name".to_owned(),
        region: "eu".parse().unwrap(),
        chain,
        tls,
        device: DeviceKey::generate(&mut entropy),
        trust: authority.trust(),
        endpoints: Vec::new(),
        not_before,
        not_after,
        returns: 0,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

fn scene() -> Scene {
    let authority = Authority::create("fleet.example", NOW, &mut SeededEntropy::new(1)).unwrap();
    let trust = Trust::new(authority.trust()).unwrap();
    let region = identity(&authority, AgentId::Region("eu".parse().unwrap()));
    let shown = region.link_identity();
    let server = server_config(&shown, Arc::clone(&trust), Accepts::Edges, Arc::new(At(NOW))).unwrap();
    let edge = identity(&authority, AgentId::Edge(EdgeId([7; 16])));
    Scene { authority, trust, edge, server: Arc::new(server) }
}

/// A whole handshake in memory, and a little data both ways; the first error of either side ends it.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), String> {
    let name = "skein.internal".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    for _ in 0..10 {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        let mut rest = &flight[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|error| format!("server: {error}"))?;
        }
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        let mut rest = &flight[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|error| format!("client: {error}"))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

#[test]
fn every_handshake_is_full_mutual_tls_1_3_with_post_quantum_key_exchange() {
    let scene = scene();
    let client = Arc::new(client_config(&scene.edge, Arc::new(At(NOW))).unwrap());
    for _ in 0..3 {
        let (client, server) = shake(&client, &scene.server).unwrap();
        assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(server.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(server.alpn_protocol(), Some(ALPN_LINK));
        let group = server.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
        let chain = server.peer_certificates().unwrap();
        assert_eq!(identity::certificate::peer_agent(chain, "fleet.example"), Ok(scene.edge.agent.clone()));
        assert_eq!(client.tls13_tickets_received(), 0, "no ticket, so nothing to resume with");
    }
    assert!(!scene.server.session_storage.can_cache());
    assert_eq!(scene.server.send_tls13_tickets, 0);
    assert_eq!(scene.server.max_early_data_size, 0);
    assert!(!client.enable_early_data);
}

#[test]
fn an_agent_that_was_linked_and_is_denied_does_not_get_in_again() {
    let scene = scene();
    let client = Arc::new(client_config(&scene.edge, Arc::new(At(NOW))).unwrap());
    shake(&client, &scene.server).unwrap();
    for deny in [
        DenySet { agents: [scene.edge.agent.clone()].into(), ..DenySet::default() },
        DenySet { keys: [scene.edge.tls.spki_hash()].into(), ..DenySet::default() },
    ] {
        scene.trust.set_deny(deny);
        let refused = shake(&client, &scene.server).map(|_| ()).unwrap_err();
        assert!(refused.contains("Revoked"), "{refused}");
    }
    scene.trust.set_deny(DenySet::default());
    shake(&client, &scene.server).unwrap();
}

#[test]
fn a_newer_bundle_counts_at_once_and_an_older_one_never() {
    let scene = scene();
    let client = Arc::new(client_config(&scene.edge, Arc::new(At(NOW))).unwrap());
    let other = Authority::create("fleet.example", NOW, &mut SeededEntropy::new(2)).unwrap();
    assert_eq!(scene.trust.set_bundle(other.trust()), Ok(false), "not newer");
    shake(&client, &scene.server).unwrap();
    let mut next = other.trust();
    next.sequence = 2;
    assert_eq!(scene.trust.set_bundle(next.clone()), Ok(true));
    let refused = shake(&client, &scene.server).map(|_| ()).unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    // As in a rotation: both roots.
    next.sequence = 3;
    next.roots.extend(scene.authority.trust().roots);
    assert_eq!(scene.trust.set_bundle(next), Ok(true));
    shake(&client, &scene.server).unwrap();
    let empty = protocol::enrolment::TrustBundle::default();
    assert!(scene.trust.set_bundle(empty).is_err());
}

#[test]
fn a_certificate_is_judged_by_the_given_clock() {
    let scene = scene();
    for (at, good) in [
        (scene.edge.not_before, true),
        (scene.edge.not_after, true),
        (scene.edge.not_before - 2_000, false),
        // The region's, which cannot renew while the hub is away.
        (scene.edge.not_after + REGION_GRACE_MS, true),
        (scene.edge.not_after + REGION_GRACE_MS + 2_000, false),
    ] {
        let client = Arc::new(client_config(&scene.edge, Arc::new(At(at))).unwrap());
        assert_eq!(shake(&client, &scene.server).is_ok(), good, "{at}");
    }
}

#[test]
fn a_join_shows_the_root_and_believes_only_the_pinned_one() {
    let scene = scene();
    let token = |pins| {
        let scope = TokenScope {
            endpoints: Vec::new(),
            pins,
            not_after: NOW,
            region: "eu".parse().unwrap(),
            role: TokenRole::Edge,
        };
        JoinToken::mint(scope, &mut SeededEntropy::new(4)).0
    };
    let join = |pins| Arc::new(join_config(&token(pins), Arc::new(At(NOW))).unwrap());
    let (client, server) = shake(&join(scene.authority.pins()), &scene.server).unwrap();
    assert_eq!(server.alpn_protocol(), Some(ALPN_JOIN));
    assert_eq!(server.peer_certificates(), None);
    assert_eq!(client.peer_certificates().unwrap().len(), 2);
    let refused = shake(&join(vec![[1; 32]]), &scene.server).map(|_| ()).unwrap_err();
    assert!(refused.contains("does not lead to a root that the join token pins"), "{refused}");
}
