//! Every message against its committed bytes, and every decoder against perturbed ones.
//!
//! `SKEIN_BLESS=1 cargo test -p protocol` writes the golden files anew. A golden that changes breaks every
//! deployed agent: within a major version only new files may appear.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

mod samples;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::codec::{Wire, decode, encode};
use protocol::delegation::{EdgeTable, Standings, TablePart};
use protocol::endpoints::{EndpointList, Priorities, SignedEndpoints};
use protocol::enrolment::{
    JoinGrant, JoinRequest, Refusal, RenewGrant, RenewRequest, SOURCE_EXTENSION, TrustBundle, from_source,
    source,
};
use protocol::frame::{FrameReader, FrameWriter, Message};
use protocol::id::AgentId;
use protocol::lane::{Framed, Lane};
use protocol::message::{
    BlobDelivery, BlobPart, Control, Hello, PlanHead, PlanOffer, Request, Response, Welcome,
};
use protocol::placement::{Placement, SignedPlacement};
use protocol::plan::{PlanBody, PlanHeader, SignedPlan};
use protocol::policy::{ChartHead, Leeways};
use protocol::report::Report;
use protocol::session::{Session, Transmit};
use protocol::telemetry::{TelemetryAck, TelemetryContent, TelemetryItem};
use protocol::trust::{TrustChain, TrustKept};
use protocol::version::{Lacks, Speaks};

const LANES: [Lane; 7] =
    [Lane::Control, Lane::Telemetry, Lane::Blob, Lane::Request, Lane::Response, Lane::Join, Lane::Recover];

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The text of a golden file equals this, or becomes it when blessed.
fn assert_golden(name: &str, text: &str) {
    let path = golden(name);
    if std::env::var_os("SKEIN_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, text, "{} differs: SKEIN_BLESS=1 writes it anew", path.display());
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

/// Everything that is stored or signed as bytes of its own, beside the messages.
fn bodies() -> Vec<(&'static str, Bytes)> {
    vec![
        ("body-plan-header", encode(&samples::plan_header())),
        ("body-edge-table", encode(&samples::edge_table())),
        ("body-placement", encode(&samples::placement())),
        ("body-endpoint-list", encode(&samples::endpoint_list())),
        ("body-endpoint-priorities", encode(&Priorities(vec![0, 10, 300]))),
        ("body-standings", encode(&samples::standings())),
        ("body-chart-head", encode(&samples::chart_head())),
        ("body-leeways", encode(&samples::leeways())),
        ("body-plan-body", encode(&samples::plan_body())),
        ("body-signed-plan", encode(&samples::signed_plan())),
        ("body-speaks", encode(&Speaks::of_minor(3))),
        ("body-lacks", encode(&Lacks(vec![samples::lack()]))),
        ("body-report", encode(&samples::report())),
        ("body-trust-bundle", encode(&samples::trust())),
        ("body-findings", encode(&samples::findings())),
    ]
}

#[test]
fn every_message_has_the_bytes_that_were_committed() {
    for (name, message) in samples::messages() {
        assert_golden(&format!("{name}.hex"), &hex(&FrameWriter::default().write(&message)));
    }
    for (name, body) in bodies() {
        assert_golden(&format!("{name}.hex"), &hex(&body));
    }
}

#[test]
fn no_golden_file_is_left_over_and_every_kind_has_one() {
    let expected: BTreeSet<String> = samples::messages()
        .iter()
        .map(|(name, _)| *name)
        .chain(bodies().iter().map(|(name, _)| *name))
        .map(|name| format!("{name}.hex"))
        .collect();
    let found: BTreeSet<String> = std::fs::read_dir(golden(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".hex"))
        .collect();
    assert_eq!(found, expected);
    let kinds: BTreeSet<u16> = samples::messages().iter().map(|(_, message)| message.kind).collect();
    let known: BTreeSet<u16> =
        (0..=u16::MAX).filter(|kind| LANES.iter().any(|lane| lane.limit(*kind).is_some())).collect();
    assert_eq!(kinds, known);
}

#[test]
fn where_a_join_comes_from_is_what_the_last_relay_says() {
    let request = samples::join_request();
    assert_eq!(source(&request), None);
    let forged = from_source(request.clone(), "192.0.2.1:1".parse().unwrap());
    let relayed = from_source(forged, "[2001:db8::1]:4711".parse().unwrap());
    assert_eq!(source(&relayed), Some("[2001:db8::1]:4711".parse().unwrap()));
    assert_eq!(relayed.ext.len(), request.ext.len() + 1);
    let mut odd = request;
    for text in [&b"10.0.0.1"[..], b"", b"\xff\xfe", &[b'1'; 70]] {
        odd.ext = vec![(SOURCE_EXTENSION, bytes::Bytes::copy_from_slice(text))];
        assert_eq!(source(&odd), None, "{text:?}");
    }
}

fn reads_back<T: Framed + PartialEq + std::fmt::Debug>(value: &T) {
    let message = value.to_message().unwrap();
    assert_eq!(T::from_message(&message).as_ref(), Ok(value));
    let other = Message { kind: message.kind + 1, body: message.body };
    assert!(T::from_message(&other).is_err(), "a body under another kind's number");
}

#[test]
fn every_message_reads_back_and_only_under_its_own_kind() {
    reads_back(&samples::hello());
    reads_back(&samples::welcome());
    reads_back(&samples::refusal());
    reads_back(&samples::blob());
    samples::controls().iter().for_each(|(_, value)| reads_back(value));
    samples::telemetry().iter().for_each(|(_, value)| reads_back(value));
    samples::requests().iter().for_each(|(_, value)| reads_back(value));
    samples::responses().iter().for_each(|(_, value)| reads_back(value));
}

#[test]
fn a_long_message_is_cut_and_put_together_again() {
    let mut delivery = samples::blob();
    delivery.part.compressed =
        Bytes::from((0..1_000_000).map(|n: u32| n.to_le_bytes()[1]).collect::<Vec<u8>>());
    let message = delivery.to_message().unwrap();
    let frames = FrameWriter::default().write(&message);
    let mut reader = FrameReader::new(Lane::Blob);
    let mut got = Vec::new();
    for piece in frames.chunks(10_007) {
        reader.feed(piece);
        got.extend(reader.next().unwrap());
    }
    assert_eq!(got, [message]);
    assert_eq!(reader.finish(), Ok(()));
}

/// Decodes as everything there is; what decodes must encode to something that decodes to the same.
fn decode_as_everything(bytes: &[u8]) {
    fn one<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(value) = decode::<T>(bytes, 1 << 20) {
            assert_eq!(decode::<T>(&encode(&value), 1 << 20), Ok(value));
        }
    }
    one::<AgentId>(bytes);
    one::<BlobDelivery>(bytes);
    one::<BlobPart>(bytes);
    one::<Control>(bytes);
    one::<EdgeTable>(bytes);
    one::<EndpointList>(bytes);
    one::<Priorities>(bytes);
    one::<SignedEndpoints>(bytes);
    one::<Placement>(bytes);
    one::<SignedPlacement>(bytes);
    one::<Standings>(bytes);
    one::<TablePart>(bytes);
    one::<Hello>(bytes);
    one::<JoinGrant>(bytes);
    one::<JoinRequest>(bytes);
    one::<ChartHead>(bytes);
    one::<Leeways>(bytes);
    one::<PlanBody>(bytes);
    one::<PlanHead>(bytes);
    one::<PlanHeader>(bytes);
    one::<PlanOffer>(bytes);
    one::<Refusal>(bytes);
    one::<RenewGrant>(bytes);
    one::<RenewRequest>(bytes);
    one::<Report>(bytes);
    one::<Request>(bytes);
    one::<Response>(bytes);
    one::<SignedPlan>(bytes);
    one::<Speaks>(bytes);
    one::<Lacks>(bytes);
    one::<TelemetryAck>(bytes);
    one::<TelemetryContent>(bytes);
    one::<TelemetryItem>(bytes);
    one::<TrustBundle>(bytes);
    one::<TrustChain>(bytes);
    one::<TrustKept>(bytes);
    one::<Welcome>(bytes);
}

/// A change to some bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Truncate(prop::sample::Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => at().prop_map(Change::Remove),
        1 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => at().prop_map(Change::Truncate),
    ]
}

fn perturb(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Change::Truncate(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

/// A session in each state, fed with a stream.
fn feed_sessions(bytes: &[u8]) {
    let up = || {
        let mut session = Session::upper(0);
        session.handle_frame(&samples::hello().to_message().unwrap());
        session.welcome(&samples::welcome());
        session
    };
    for mut session in [Session::upper(0), Session::lower(&samples::hello(), 0).unwrap(), up()] {
        let mut reader = FrameReader::new(Lane::Control);
        reader.feed(bytes);
        loop {
            match reader.next() {
                Ok(Some(message)) => session.handle_frame(&message),
                Ok(None) => break,
                Err(error) => {
                    session.handle_error(&error);
                    break;
                }
            }
        }
        while let Some(transmit) = session.poll_transmit() {
            if let Transmit::Close(close) = transmit {
                assert!(close.reason.len() <= protocol::session::CLOSE_REASON_BYTES_MAX);
            }
        }
        while session.poll_event().is_some() {}
    }
}

proptest! {
    #[test]
    fn perturbed_messages_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        let messages = samples::messages();
        let (_, message) = which.get(&messages);
        decode_as_everything(&perturb(message.body.to_vec(), &changes));
        let frames = FrameWriter::default().write(message);
        let stream = perturb(frames.to_vec(), &changes);
        for lane in LANES {
            let mut reader = FrameReader::new(lane);
            reader.feed(&stream);
            while let Ok(Some(message)) = reader.next() {
                decode_as_everything(&message.body);
            }
            // Whatever it says, it says it again.
            prop_assert_eq!(reader.finish(), reader.finish());
        }
        feed_sessions(&stream);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_as_everything(&bytes);
        feed_sessions(&bytes);
        let part = BlobPart {
            digest: protocol::id::Digest::of(&bytes),
            base: None,
            size: 1000,
            compressed: Bytes::from(bytes.clone()),
        };
        let _ = part.open(Some(&bytes), 10_000);
        let _ = BlobPart { base: Some(protocol::id::Digest([0; 32])), ..part }.open(Some(&bytes), 10_000);
    }

    #[test]
    fn perturbed_blobs_never_panic_and_never_give_other_content(
        content in prop::collection::vec(any::<u8>(), 0..2000),
        base in prop::collection::vec(any::<u8>(), 1..2000),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        let mut part = BlobPart::make(&content, Some((protocol::id::Digest::of(&base), &base)));
        prop_assert_eq!(part.open(Some(&base), 2000).unwrap(), Bytes::from(content.clone()));
        part.compressed = Bytes::from(perturb(part.compressed.to_vec(), &changes));
        if let Ok(opened) = part.open(Some(&base), 2000) {
            prop_assert_eq!(opened, Bytes::from(content));
        }
    }

    #[test]
    fn how_a_stream_is_cut_into_packets_makes_no_difference(
        cuts in prop::collection::vec(1_usize..200, 1..400),
    ) {
        let mut writer = FrameWriter::default();
        let sent: Vec<Message> =
            samples::controls().iter().map(|(_, control)| control.to_message().unwrap()).collect();
        let stream: Vec<u8> = sent.iter().flat_map(|message| writer.write(message)).collect();
        let mut reader = FrameReader::new(Lane::Control);
        let (mut got, mut rest) = (Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            reader.feed(piece);
            while let Some(message) = reader.next().unwrap() {
                got.push(message);
            }
            rest = behind;
        }
        prop_assert_eq!(got, sent);
    }
}
