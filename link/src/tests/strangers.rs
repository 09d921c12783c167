//! Peers that have a certificate and no manners.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::{AgentIdentity, Clock as _, SeededEntropy};
use protocol::frame::{FRAME_BODY_BYTES_MAX, FrameWriter, Header, MORE, Message, REQUIRED};
use protocol::id::AgentId;
use protocol::lane::{CONTROL, Framed as _, HELLO, TELEMETRY};
use protocol::message::{Control, Hello};
use quinn::{Connection, ConnectionError, Endpoint, SendStream};

use super::world::{Above, Below, PORT, World, address, edge, simulate};
use crate::DownlinkEvent;
use crate::network::simulated::Conditions;
use crate::transport::link_client;

/// A connection without a session.
pub(super) struct Raw {
    pub(super) agent: AgentId,
    pub(super) connection: Connection,
    pub(super) endpoint: Endpoint,
}

impl Raw {
    pub(super) async fn connect(world: &mut World, number: u8) -> Self {
        let identity = world.identity(&edge(number));
        Self::connect_as(world, number, &identity).await
    }

    async fn connect_as(world: &mut World, number: u8, identity: &AgentIdentity) -> Self {
        let mut entropy = SeededEntropy::new(1);
        let client =
            link_client(identity, &world.profile, Arc::new(world.clock.clone()), &mut entropy).unwrap();
        let endpoint =
            world.network.node(address(number)).dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
        let target = (address(1), PORT).into();
        let (client, _) = client.attempt();
        let connection = endpoint.connect_with(client, target, "skein.internal").unwrap().await.unwrap();
        Self { agent: identity.agent.clone(), connection, endpoint }
    }

    pub(super) fn hello(&self) -> Message {
        let hello = Hello {
            agent: self.agent.clone(),
            features: 0,
            software: "raw/1".to_owned(),
            incarnation: 1,
            stored: None,
            applied: None,
            streams: Vec::new(),
            trust_sequence: 1,
            endpoints: Vec::new(),
            time: 1,
            facts: Default::default(),
            ext: Vec::new(),
        };
        hello.to_message().unwrap()
    }

    /// Opens the control stream with these bytes on it.
    pub(super) async fn open(&self, bytes: &[u8]) -> SendStream {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        // Kept open: a stopped stream would be another story.
        std::mem::forget(recv);
        send
    }

    /// With which code and reason the other side closed.
    pub(super) async fn closed(&self) -> (u64, String) {
        match tokio::time::timeout(Duration::from_secs(30), self.connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => {
                (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
            }
            other => panic!("expected a close, got {other:?}"),
        }
    }
}

pub(super) async fn neighbour(world: &mut World) -> (Above, Below) {
    let mut above = world.region().await;
    let mut below = world.below(2);
    below.up().await;
    above.up().await;
    (above, below)
}

pub(super) async fn still_up(above: &mut Above, below: &Below) {
    below.handle.send(Control::Ping { nonce: 5, reply: true }).await.unwrap();
    loop {
        match above.next().await {
            DownlinkEvent::Control { peer, control: Control::Ping { nonce: 5, .. } }
                if peer == below.agent =>
            {
                return;
            }
            DownlinkEvent::Down { peer, .. } => assert_ne!(peer, below.agent),
            _ => {}
        }
    }
}

fn frame(length: usize, kind: u16, flags: u16, sequence: u64, body: &[u8]) -> Vec<u8> {
    let header = Header { length: u32::try_from(length).unwrap(), kind, flags, sequence };
    [&header.encode()[..], body].concat()
}

#[test]
fn every_kind_of_bad_first_frame_closes_its_connection_with_a_reason_and_no_other() {
    simulate(async {
        let mut world = World::new(50, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let cases: [(&str, Vec<u8>, u64, &str); 7] = [
            (
                "oversized",
                frame(70_000, HELLO, 0, 0, b""),
                1,
                "frame of 70000 bytes exceeds the limit of 65520",
            ),
            ("reordered", frame(1, HELLO, 0, 7, b"x"), 1, "frame 7 came where frame 0 was due"),
            ("garbage", frame(3, HELLO, 0, 0, b"xyz"), 1, "hello of 3 bytes is malformed"),
            ("required", frame(3, 0x7777, REQUIRED, 0, b"xyz"), 1, "kind 0x7777 is required"),
            ("empty", frame(0, HELLO, MORE, 0, b""), 1, "carries nothing"),
            ("too soon", frame(1, CONTROL + 12, 0, 0, b"x"), 2, "has no place in state AwaitingHello"),
            ("endless", hello_without_end(), 1, "message of kind 0x0001 exceeds its limit of 32768 bytes"),
        ];
        for (number, (name, bytes, code, reason)) in (10..).zip(cases) {
            let raw = Raw::connect(&mut world, number).await;
            let _send = raw.open(&bytes).await;
            let (got, text) = raw.closed().await;
            assert!(got == code && text.contains(reason), "{name}: {got} {text}");
        }
        assert_eq!(above.handle.peers().len(), 1);
        still_up(&mut above, &below).await;
    });
}

fn hello_without_end() -> Vec<u8> {
    frame(FRAME_BODY_BYTES_MAX, HELLO, MORE, 0, &vec![0; FRAME_BODY_BYTES_MAX])
}

#[test]
fn a_silent_peer_is_closed_after_the_greeting_time() {
    simulate(async {
        let mut world = World::new(51, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let raw = Raw::connect(&mut world, 10).await;
        assert_eq!(raw.closed().await, (3, "no control stream came".to_owned()));
        let raw = Raw::connect(&mut world, 11).await;
        let _send = raw.open(b"\0\0").await;
        assert_eq!(raw.closed().await, (3, "no hello within 10 s".to_owned()));
        still_up(&mut above, &below).await;
    });
}

#[test]
fn a_truncated_frame_and_an_ended_control_stream_close_the_connection() {
    simulate(async {
        let mut world = World::new(52, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let raw = Raw::connect(&mut world, 10).await;
        let mut send = raw.open(&frame(100, HELLO, 0, 0, b"abc")).await;
        send.finish().unwrap();
        let (code, reason) = raw.closed().await;
        assert_eq!(
            (code, reason.as_str()),
            (1, "the stream ended inside a message, 97 bytes or more are missing")
        );
        let raw = Raw::connect(&mut world, 11).await;
        let mut send = raw.open(&FrameWriter::default().write(&raw.hello())).await;
        send.finish().unwrap();
        assert_eq!(raw.closed().await, (2, "the control stream was ended".to_owned()));
        still_up(&mut above, &below).await;
    });
}

#[test]
fn a_kind_that_nobody_knows_is_skipped_and_the_link_lives_on() {
    simulate(async {
        let mut world = World::new(53, Conditions::default());
        let mut above = world.region().await;
        let raw = Raw::connect(&mut world, 10).await;
        let mut writer = FrameWriter::default();
        let mut send = raw.open(&writer.write(&raw.hello())).await;
        above.up().await;
        let later = Message { kind: CONTROL + 99, body: Bytes::from(vec![1; 200_000]) };
        send.write_all(&writer.write(&later)).await.unwrap();
        let ping = Control::Ping { nonce: 1, reply: true };
        send.write_all(&writer.write(&ping.to_message().unwrap())).await.unwrap();
        match above.next().await {
            DownlinkEvent::Control { control, .. } => assert_eq!(control, ping),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn bad_telemetry_and_bad_calls_close_the_connection_of_their_sender() {
    simulate(async {
        let mut world = World::new(54, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let telemetry = frame(3, TELEMETRY, 0, 0, b"xyz");
        let raw = Raw::connect(&mut world, 10).await;
        let _control = raw.open(&FrameWriter::default().write(&raw.hello())).await;
        above.up().await;
        let mut uni = raw.connection.open_uni().await.unwrap();
        uni.write_all(&telemetry).await.unwrap();
        let (code, reason) = raw.closed().await;
        assert!(code == 1 && reason.starts_with("telemetry lane: telemetry item"), "{code} {reason}");
        let (peer, reason) = above.down().await;
        assert!(peer == raw.agent && reason.starts_with("telemetry lane"), "{reason}");
        let raw = Raw::connect(&mut world, 11).await;
        let _control = raw.open(&FrameWriter::default().write(&raw.hello())).await;
        above.up().await;
        raw.open(&telemetry[..10]).await.finish().unwrap();
        let (code, reason) = raw.closed().await;
        assert!(code == 1 && reason.starts_with("request lane"), "{code} {reason}");
        still_up(&mut above, &below).await;
    });
}

#[test]
fn a_hello_of_somebody_else_is_refused() {
    simulate(async {
        let mut world = World::new(55, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let mut identity = world.identity(&edge(10));
        identity.agent = below.agent.clone();
        let raw = Raw::connect_as(&mut world, 10, &identity).await;
        let _control = raw.open(&FrameWriter::default().write(&raw.hello())).await;
        let (code, reason) = raw.closed().await;
        assert_eq!(code, 4);
        assert!(reason.contains("the certificate is of edge/0a0a0a0a"), "{reason}");
        still_up(&mut above, &below).await;
    });
}

#[test]
fn a_link_without_a_certificate_is_refused_before_anything_is_read() {
    simulate(async {
        let mut world = World::new(56, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let identity = world.identity(&edge(10));
        let mut tls = identity::tls::client_config(&identity, Arc::new(world.clock.clone())).unwrap();
        tls.client_auth_cert_resolver = Arc::new(NoCertificate);
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let endpoint =
            world.network.node(address(10)).dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
        let client = quinn::ClientConfig::new(Arc::new(crypto));
        let target = (address(1), PORT).into();
        let connection = endpoint.connect_with(client, target, "skein.internal").unwrap().await.unwrap();
        let raw = Raw { agent: edge(10), connection, endpoint };
        let _control = raw.open(&FrameWriter::default().write(&raw.hello())).await;
        assert_eq!(raw.closed().await, (4, "a link needs a client certificate".to_owned()));
        assert_eq!(raw.endpoint.open_connections(), 1);
        still_up(&mut above, &below).await;
    });
}

#[test]
fn hundreds_who_want_to_join_and_say_nothing_are_in_nobodys_way() {
    simulate(async {
        let mut world = World::new(58, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let identity = world.identity(&edge(10));
        let tls = identity::tls::recover_config(&identity, Arc::new(world.clock.clone())).unwrap();
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let client = quinn::ClientConfig::new(Arc::new(crypto));
        let network = world.network.node(address(10));
        let endpoint = network.dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
        let target = (address(1), PORT).into();
        let mut silent = Vec::new();
        for _ in 0..300 {
            let connecting = endpoint.connect_with(client.clone(), target, "skein.internal").unwrap();
            silent.push(connecting.await.unwrap());
        }
        // The last ones found no place.
        let reason = silent.last().unwrap().closed().await.to_string();
        assert!(reason.contains("too many join or return"), "{reason}");
        let began = tokio::time::Instant::now();
        let mut newcomer = world.below(11);
        newcomer.up().await;
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(above.up().await.0, edge(11));
        still_up(&mut above, &below).await;
        // And the first ones have lost theirs, for they said nothing.
        let reason = silent[0].closed().await.to_string();
        assert!(reason.contains("no recover request came"), "{reason}");
    });
}

#[derive(Debug)]
struct NoCertificate;

impl quinn::rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[quinn::rustls::SignatureScheme],
    ) -> Option<Arc<quinn::rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn a_certificate_of_the_right_root_and_another_trust_domain_is_refused() {
    simulate(async {
        let mut world = World::new(57, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let mut secret = world.authority.to_secret();
        secret.insert("trust-domain".to_owned(), b"other.example".to_vec());
        let other = identity::Authority::from_secret(&secret).unwrap();
        let mut identity = world.identity(&edge(10));
        let csr = identity.tls.signing_request().unwrap();
        identity.chain = other.issue(&edge(10), &csr, world.clock.now(), &mut world.entropy).unwrap();
        let stranger = world.dial(identity, 10, 1);
        let reason = stranger.failure().await;
        assert!(reason.contains("certificate_unknown"), "{reason}");
        still_up(&mut above, &below).await;
    });
}
