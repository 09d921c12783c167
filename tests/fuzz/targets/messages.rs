//! Frames, messages, sessions, bodies and blobs.

use protocol::codec::{Wire, decode, encode};
use protocol::delegation::{EdgeTable, Standings, TablePart};
use protocol::endpoints::{EndpointList, Priorities, SignedEndpoints};
use protocol::enrolment::{JoinGrant, JoinRequest, Refusal, RenewGrant, RenewRequest, TrustBundle};
use protocol::frame::{FrameReader, FrameWriter, Message};
use protocol::id::AgentId;
use protocol::inquiry::{Findings, Inquiry};
use protocol::lane::{Framed, Lane};
use protocol::message::{
    BlobDelivery, BlobPart, Control, Hello, PlanHead, PlanOffer, Request, Response, Welcome,
};
use protocol::placement::{Placement, SignedPlacement};
use protocol::plan::{PlanBody, PlanHeader, SignedPlan};
use protocol::policy::{ChartHead, HealthRules, Leeways};
use protocol::report::Report;
use protocol::session::{Close, CloseCode, Session, State, Transmit};
use protocol::telemetry::{TelemetryAck, TelemetryContent, TelemetryItem};
use protocol::version::{Lacks, Speaks};

use super::chosen;

/// Longest body that is tried.
const BYTES_MAX: usize = 1 << 20;

const LANES: [Lane; 7] =
    [Lane::Control, Lane::Telemetry, Lane::Blob, Lane::Request, Lane::Response, Lane::Join, Lane::Recover];

/// What was read writes the same again, under its own kind.
fn rewritten<T: Framed + PartialEq + std::fmt::Debug>(message: &Message) {
    let Ok(value) = T::from_message(message) else { return };
    let again = value.to_message().expect("what was read is not too long to be written");
    assert_eq!(again.kind, message.kind, "the value belongs to the kind it was read under");
    assert_eq!(T::from_message(&again).as_ref(), Ok(&value));
}

fn read_on(lane: Lane, message: &Message) {
    match lane {
        Lane::Control => {
            rewritten::<Hello>(message);
            rewritten::<Welcome>(message);
            rewritten::<Refusal>(message);
            rewritten::<Control>(message);
        }
        Lane::Telemetry => rewritten::<TelemetryItem>(message),
        Lane::Blob => rewritten::<BlobDelivery>(message),
        Lane::Request | Lane::Join | Lane::Recover => rewritten::<Request>(message),
        Lane::Response => rewritten::<Response>(message),
    }
}

/// A lane, the size of pieces, and a stream of frames in them.
pub(super) fn frames(bytes: &[u8]) {
    let Some((lane, bytes)) = chosen(bytes) else { return };
    let Some((piece, bytes)) = chosen(bytes) else { return };
    let lane = LANES[lane % LANES.len()];
    let (mut reader, mut found, mut writer) = (FrameReader::new(lane), Vec::new(), FrameWriter::default());
    for piece in bytes.chunks(piece + 1) {
        reader.feed(piece);
        loop {
            match reader.next() {
                Ok(Some(message)) => {
                    let limit =
                        lane.limit(message.kind).expect("a kind that the lane does not know is skipped");
                    assert!(message.body.len() <= limit, "{} bytes of at most {limit}", message.body.len());
                    read_on(lane, &message);
                    found.push(message);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(), Err(error), "an error stays");
                    return;
                }
            }
        }
    }
    drop(reader.finish());
    // What was read, written and read anew, is the same.
    let mut again = FrameReader::new(lane);
    for message in found {
        again.feed(&writer.write(&message));
        assert_eq!(again.next(), Ok(Some(message)));
    }
    assert_eq!(again.finish(), Ok(()));
}

/// A side, and what its peer says on the control stream, with time passing between.
pub(super) fn session(bytes: &[u8]) {
    let Some((side, bytes)) = chosen(bytes) else { return };
    let mut session = match side % 2 {
        0 => Session::upper(0),
        _ => {
            let Ok(hello) = decode::<Hello>(HELLO, BYTES_MAX) else { return };
            Session::lower(&hello, 0).expect("the Hello is short")
        }
    };
    let (mut reader, mut now) = (FrameReader::new(Lane::Control), 0);
    for piece in bytes.chunks(side / 2 + 1) {
        reader.feed(piece);
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
        now += 1;
        session.handle_timeout(now);
        while let Some(transmit) = session.poll_transmit() {
            // What closes a connection fits into the frame that does it.
            if let Transmit::Close(Close { reason, .. }) = transmit {
                assert!(reason.len() <= 1024, "a reason of {} bytes", reason.len());
            }
        }
        while session.poll_event().is_some() {}
    }
    session.handle_fault(Close::new(CloseCode::Malformed, "the end"));
    assert_eq!(session.state(), State::Closed);
    assert!(session.poll_timeout().is_none(), "a closed session waits for nothing");
}

/// The Hello of a lower side, as `hello.hex` among the golden files has its body.
const HELLO: &[u8] = include_bytes!("../corpora/bodies/seed-hello").split_at(1).1;

fn body<T: Wire + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let Ok(value) = decode::<T>(bytes, BYTES_MAX) else { return };
    let again = encode(&value);
    assert!(again.len() <= bytes.len(), "the shortest form is longer: {} of {}", again.len(), bytes.len());
    assert_eq!(decode::<T>(&again, BYTES_MAX).as_ref(), Ok(&value));
}

/// Readers of bodies, in the order in which corpora number them.
const BODIES: [fn(&[u8]); 38] = [
    body::<AgentId>,
    body::<BlobDelivery>,
    body::<BlobPart>,
    body::<ChartHead>,
    body::<Control>,
    body::<EdgeTable>,
    body::<Placement>,
    body::<SignedPlacement>,
    body::<Findings>,
    body::<Hello>,
    body::<Inquiry>,
    body::<JoinGrant>,
    body::<JoinRequest>,
    body::<HealthRules>,
    body::<Leeways>,
    body::<PlanBody>,
    body::<PlanHead>,
    body::<PlanHeader>,
    body::<PlanOffer>,
    body::<Refusal>,
    body::<RenewGrant>,
    body::<RenewRequest>,
    body::<Report>,
    body::<Request>,
    body::<Response>,
    body::<SignedPlan>,
    body::<Standings>,
    body::<TablePart>,
    body::<TelemetryAck>,
    body::<TelemetryContent>,
    body::<TelemetryItem>,
    body::<TrustBundle>,
    body::<Welcome>,
    body::<Lacks>,
    body::<Speaks>,
    body::<EndpointList>,
    body::<Priorities>,
    body::<SignedEndpoints>,
];

/// A type, and the bytes of a value.
pub(super) fn bodies(bytes: &[u8]) {
    let Some((at, bytes)) = chosen(bytes) else { return };
    BODIES[at % BODIES.len()](bytes);
}

/// A blob, whole or as a difference to a base.
pub(super) fn blob(bytes: &[u8]) {
    const BASE: &[u8] = b"{\"kind\":\"ConfigMap\",\"data\":{\"a\":\"one\",\"b\":\"two\"}}";
    let Ok(part) = decode::<BlobPart>(bytes, BYTES_MAX) else { return };
    for base in [None, Some(BASE)] {
        if let Ok(content) = part.open(base, BYTES_MAX) {
            assert_eq!(protocol::id::Digest::of(&content), part.digest);
            let base = base.map(|base| (protocol::id::Digest::of(base), base));
            let again = BlobPart::make(&content, base);
            assert_eq!(again.open(base.map(|(_, base)| base), BYTES_MAX).as_ref(), Ok(&content));
        }
    }
}
