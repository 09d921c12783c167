//! What attackers try at a listener, one row each: what they are told, what the listener's log says, and that it costs
//! their neighbours nothing.
//!
//! Where else the rest of the list is held to its promise:
//!
//! | attempt | where |
//! |---|---|
//! | a request for a certificate that asks for an authority or other names | identity `tests/authority.rs`, `tests/issuer.rs`; tests' fuzz target `csr` |
//! | a token used again, altered, withdrawn | `joins`, identity `tests/joining.rs`; fuzz targets `token`, `join` |
//! | a plan that is forged, altered, another's, or older | regional-agent `tests/malice.rs`, tests' `simulation/malice.rs`; fuzz target `signed` |
//! | an edge that reports or renews for another, telemetry under another's name | regional-agent `tests/malice.rs`, `store` |
//! | every kind of bad frame, bad telemetry, bad calls | `strangers`; fuzz targets `frames`, `session`, `bodies` |
//! | hundreds who want to join and say nothing | `strangers` |

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use identity::tls::Accepts;
use identity::{AgentIdentity, Clock as _, DenySet, SeededEntropy};
use protocol::frame::{FRAME_BODY_BYTES_MAX, FrameWriter, Header, MORE};
use protocol::id::AgentId;
use protocol::lane::{CONTROL, HELLO, REQUEST, TELEMETRY};
use quinn::Connection;

use super::strangers::{Raw, neighbour, still_up};
use super::world::{PORT, START, World, address, edge, region, simulate};
use crate::network::simulated::Conditions;

/// What a listener logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines of the listener.
    fn of_listener(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned();
        let lines =
            text.lines().filter(|line| line.contains("link refused") || line.contains("link is down"));
        lines.map(str::to_owned).collect()
    }
}

/// Runs a test in virtual time, with what is logged.
fn logged<T: Future<Output = ()>>(test: impl FnOnce(Log) -> T) {
    // Without one for all threads, what tests beside this one log first may be taken for what nobody listens to.
    static EVERYWHERE: std::sync::Once = std::sync::Once::new();
    EVERYWHERE.call_once(|| {
        let sink = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(std::io::sink);
        let _ = tracing::subscriber::set_global_default(sink.finish());
    });
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || simulate(test(log)));
}

/// Asserts that a line of the log names a reason.
fn says(log: &Log, what: &str, reason: &str) {
    let lines = log.of_listener();
    assert!(lines.iter().any(|line| line.contains(reason)), "{what}: no {reason:?} in {lines:#?}");
}

/// An attempt by certificate: who tries, what it is told, what the listener logs.
struct Attempt {
    what: &'static str,
    identity: fn(&mut World) -> AgentIdentity,
    told: &'static str,
    logged: &'static str,
}

const DAY_MS: u64 = 24 * 3600 * 1000;

const ATTEMPTS: [Attempt; 6] = [
    Attempt {
        what: "a certificate of another authority",
        identity: |world| {
            let mut other = World::new(99, Conditions::default());
            let trust = world.authority.trust();
            AgentIdentity { trust, ..other.identity(&edge(10)) }
        },
        told: "unknown_ca",
        logged: "UnknownIssuer",
    },
    Attempt {
        what: "a certificate of the right authority for another trust domain",
        identity: |world| {
            let mut secret = world.authority.to_secret();
            secret.insert("trust-domain".to_owned(), b"other.example".to_vec());
            let other = identity::Authority::from_secret(&secret).unwrap();
            let mut identity = world.identity(&edge(10));
            let csr = identity.tls.signing_request().unwrap();
            identity.chain = other.issue(&edge(10), &csr, world.clock.now(), &mut world.entropy).unwrap();
            identity
        },
        told: "certificate_unknown",
        logged: "other.example",
    },
    Attempt {
        what: "a certificate that has expired",
        identity: |world| world.identity_of(&edge(10), "eu", START - 8 * DAY_MS),
        told: "certificate_expired",
        logged: "expired",
    },
    Attempt {
        what: "a certificate that is not valid yet",
        identity: |world| world.identity_of(&edge(10), "eu", START + 2 * DAY_MS),
        told: "is not valid yet",
        logged: "not valid yet",
    },
    Attempt {
        what: "an agent that was revoked",
        identity: |world| world.identity(&edge(11)),
        told: "revoked",
        logged: "Revoked",
    },
    Attempt {
        what: "a regional agent at a region",
        identity: |world| {
            let region = world.identity(&AgentId::Region(region("us")));
            AgentIdentity { chain: region.chain, tls: region.tls, ..world.identity(&edge(10)) }
        },
        told: "certificate_unknown",
        logged: "region/us",
    },
];

#[test]
fn whoever_shows_a_wrong_certificate_is_told_why_and_so_is_the_owner_of_the_listener() {
    logged(|log| async move {
        let mut world = World::new(70, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        above.handle.deny(DenySet { agents: [edge(11)].into(), ..DenySet::default() });
        for (number, attempt) in (10..).zip(&ATTEMPTS) {
            let identity = (attempt.identity)(&mut world);
            let stranger = world.dial(identity, number, 1);
            let reason = stranger.failure().await;
            assert!(reason.contains(attempt.told), "{}: {reason}", attempt.what);
            says(&log, attempt.what, attempt.logged);
            stranger.cancel.cancel();
        }
        assert!(above.handle.refusals() >= 6);
        assert_eq!(above.handle.peers().len(), 1);
        still_up(&mut above, &below).await;
    });
}

#[test]
fn an_edge_s_certificate_makes_no_region_in_either_direction() {
    logged(|log| async move {
        let mut world = World::new(71, Conditions::default());
        // It dials the hub.
        let hub = world.hub().await;
        let mut agent = world.identity(&AgentId::Region(region("eu")));
        let pretender = world.identity(&edge(4));
        (agent.chain, agent.tls) = (pretender.chain, pretender.tls);
        let below = world.dial(agent, 4, 1);
        let reason = below.failure().await;
        assert!(reason.contains("certificate_unknown"), "{reason}");
        says(&log, "an edge at the hub", "edge/04040404");
        hub.cancel.cancel();
        drop(hub);
        tokio::time::sleep(Duration::from_secs(5)).await;
        // It listens as a region.
        let fake = world.identity(&edge(9)).link_identity();
        let _above = world.above(fake, Accepts::Edges).await;
        let below = world.below(3);
        let reason = below.failure().await;
        assert!(reason.contains("does not verify"), "{reason}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        says(&log, "an edge as a region", "certificate chain does not verify");
    });
}

fn frame(length: usize, kind: u16, flags: u16, sequence: u64) -> Vec<u8> {
    let header = Header { length: u32::try_from(length).unwrap(), kind, flags, sequence };
    [&header.encode()[..], &vec![0; length.min(FRAME_BODY_BYTES_MAX)]].concat()
}

/// Frames of one message without an end, up to so many bytes.
fn endless(kind: u16, first: u64, bytes: usize) -> Vec<u8> {
    let frames = bytes.div_ceil(FRAME_BODY_BYTES_MAX) as u64;
    (first..=first + frames).flat_map(|sequence| frame(FRAME_BODY_BYTES_MAX, kind, MORE, sequence)).collect()
}

#[test]
fn whatever_is_too_long_ends_its_link_with_the_limit_in_words_at_both_ends() {
    logged(|log| async move {
        let mut world = World::new(72, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let rows: [(&str, &str, Vec<u8>, &str); 6] = [
            (
                "a frame",
                "control",
                frame(70_000, CONTROL, 0, 1),
                "frame of 70000 bytes exceeds the limit of 65520",
            ),
            (
                "a control message",
                "control",
                endless(CONTROL, 1, 1 << 20),
                "message of kind 0x0100 exceeds its limit of 1048576 bytes",
            ),
            (
                "a greeting in an open link",
                "control",
                frame(32, HELLO, 0, 1),
                "a message of kind 0x0001 has no place in state Up",
            ),
            (
                "telemetry",
                "uni",
                endless(TELEMETRY, 0, 4 << 20),
                "message of kind 0x0200 exceeds its limit of 4194304 bytes",
            ),
            (
                "a request",
                "call",
                endless(REQUEST + 3, 0, 1 << 20),
                "message of kind 0x0403 exceeds its limit of 1048576 bytes",
            ),
            (
                "a frame that comes twice",
                "control",
                frame(8, CONTROL, 0, 0),
                "frame 0 came where frame 1 was due",
            ),
        ];
        for (number, (what, lane, bytes, reason)) in (20..).zip(rows) {
            let raw = Raw::connect(&mut world, number).await;
            let mut control = raw.open(&FrameWriter::default().write(&raw.hello())).await;
            assert_eq!(above.up().await.0, raw.agent);
            // The listener closes while the rest is still on its way.
            match lane {
                "control" => drop(control.write_all(&bytes).await),
                "uni" => drop(raw.connection.open_uni().await.unwrap().write_all(&bytes).await),
                _ => drop(raw.connection.open_bi().await.unwrap().0.write_all(&bytes).await),
            }
            let (_, told) = raw.closed().await;
            assert!(told.contains(reason), "{what}: {told}");
            let (peer, heard) = above.down().await;
            assert!(peer == raw.agent && heard.contains(reason), "{what}: {heard}");
            says(&log, what, reason);
        }
        still_up(&mut above, &below).await;
    });
}

#[test]
fn whoever_says_hello_letter_by_letter_has_ten_seconds_for_it() {
    logged(|log| async move {
        let mut world = World::new(73, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let began = tokio::time::Instant::now();
        let mut slow = Vec::new();
        for number in 20..60 {
            let raw = Raw::connect(&mut world, number).await;
            let send = raw.open(&[0]).await;
            slow.push((raw, send));
        }
        for at in 1..12 {
            tokio::time::sleep_until(began + Duration::from_secs(at)).await;
            for (_, send) in &mut slow {
                drop(send.write_all(&[0]).await);
            }
        }
        for (raw, _) in &slow {
            assert_eq!(raw.closed().await, (3, "no hello within 10 s".to_owned()));
        }
        says(&log, "a slow hello", "no hello within 10 s");
        assert_eq!(above.handle.refusals(), 40);
        assert!(log.of_listener().len() <= 25, "forty at once are not forty lines: {:#?}", log.of_listener());
        still_up(&mut above, &below).await;
    });
}

/// A dialling side that keeps tickets and sends before it is let in.
fn eager(world: &World, identity: &AgentIdentity) -> quinn::ClientConfig {
    let mut tls = identity::tls::client_config(identity, Arc::new(world.clock.clone())).unwrap();
    tls.resumption = quinn::rustls::client::Resumption::in_memory_sessions(8);
    tls.enable_early_data = true;
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(world.profile.lower(&mut SeededEntropy::new(3)));
    config
}

#[test]
fn nobody_resumes_a_session_or_sends_before_the_certificate_is_checked() {
    logged(|log| async move {
        let mut world = World::new(74, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let identity = world.identity(&edge(10));
        let config = eager(&world, &identity);
        let network = world.network.node(address(10));
        let endpoint = network.dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
        let connect =
            || endpoint.connect_with(config.clone(), (address(1), PORT).into(), "skein.internal").unwrap();
        for attempt in 0..3 {
            let connecting = match connect().into_0rtt() {
                Ok(_) => panic!("attempt {attempt} sends early"),
                Err(connecting) => connecting,
            };
            let connection: Connection = connecting.await.unwrap();
            let raw = Raw { agent: edge(10), connection, endpoint: endpoint.clone() };
            let _control = raw.open(&FrameWriter::default().write(&raw.hello())).await;
            assert_eq!(above.up().await.0, edge(10));
            raw.connection.close(0_u32.into(), b"again");
            assert_eq!(above.down().await.0, edge(10));
        }
        // What was let in before is not let in again once it is denied.
        above.handle.deny(DenySet { agents: [edge(10)].into(), ..DenySet::default() });
        let refused = match connect().await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        };
        assert!(refused.to_string().contains("Revoked"), "{refused}");
        says(&log, "a revoked agent with a ticket", "Revoked");
        still_up(&mut above, &below).await;
    });
}

#[test]
fn handshakes_that_are_begun_and_left_are_in_nobodys_way() {
    logged(|log| async move {
        let mut world = World::new(75, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let identity = world.identity(&edge(10));
        let client = eager(&world, &identity);
        let target = (address(1), PORT).into();
        let begun = std::env::var("SKEIN_HALF_OPEN").ok().map_or(3_000, |count| count.parse().unwrap());
        let mut open = Vec::new();
        for node in 20..220 {
            // They send, and hear nothing of what they are answered.
            world.network.cut(address(1), address(node));
            let network = world.network.node(address(node));
            let endpoint = network.dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
            let connect = || endpoint.connect_with(client.clone(), target, "skein.internal").unwrap();
            open.extend((0..begun / 200).map(|_| connect()));
            tokio::task::yield_now().await;
        }
        let asked = tokio::time::Instant::now();
        let mut newcomer = world.below(11);
        newcomer.up().await;
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(above.up().await.0, edge(11));
        still_up(&mut above, &below).await;
        // Until the last of those that were taken has had its time.
        tokio::time::sleep(Duration::from_secs(30)).await;
        says(&log, "a handshake left", "the handshake did not end in time");
        let lines = log.of_listener().len();
        assert!(lines <= 1_000 && lines as u64 <= above.handle.refusals() + 10, "{lines} lines");
        still_up(&mut above, &below).await;
        drop(open);
    });
}

#[test]
fn a_connection_that_speaks_no_protocol_of_ours_is_told_so() {
    simulate(async {
        let mut world = World::new(76, Conditions::default());
        let (mut above, below) = neighbour(&mut world).await;
        let identity = world.identity(&edge(10));
        let mut tls = identity::tls::client_config(&identity, Arc::new(world.clock.clone())).unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let network = world.network.node(address(10));
        let endpoint = network.dialer(quinn::EndpointConfig::default()).unwrap().endpoint;
        let client = quinn::ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint.connect_with(client, (address(1), PORT).into(), "skein.internal").unwrap();
        let told = connecting.await.unwrap_err().to_string();
        assert!(told.contains("doesn't support any known protocol"), "{told}");
        assert_eq!(above.handle.refusals(), 1);
        still_up(&mut above, &below).await;
    });
}
