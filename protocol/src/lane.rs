//! Lanes: which kinds of message may travel on which stream, and how long each may be.
//!
//! A message's kind is its place in this list for good. Kinds of one enum are numbered in the order of its
//! variants, so a reader that does not know a variant skips its frame without decoding it.

use crate::codec::{DecodeError, decode, encode};
use crate::enrolment::Refusal;
use crate::frame::Message;
use crate::message::{BlobDelivery, Control, Hello, Request, Response, Welcome};
use crate::telemetry::TelemetryItem;

/// Kind of [`Hello`].
pub const HELLO: u16 = 0x0001;
/// Kind of [`Welcome`].
pub const WELCOME: u16 = 0x0002;
/// Kind of a [`Refusal`] in place of a Welcome.
pub const REFUSED: u16 = 0x0003;
/// Kind of the first variant of [`Control`].
pub const CONTROL: u16 = 0x0100;
/// Kind of [`TelemetryItem`].
pub const TELEMETRY: u16 = 0x0200;
/// Kind of [`BlobDelivery`].
pub const BLOB: u16 = 0x0300;
/// Kind of the first variant of [`Request`].
pub const REQUEST: u16 = 0x0400;
/// Kind of the first variant of [`Response`].
pub const RESPONSE: u16 = 0x0500;

/// Variants of [`Control`].
const CONTROL_KINDS: u16 = 19;
/// Variants of [`Request`].
const REQUEST_KINDS: u16 = 7;
/// Variants of [`Response`].
const RESPONSE_KINDS: u16 = 7;

/// Longest greeting: Hello, Welcome or refusal.
pub const GREETING_BYTES_MAX: usize = 32 * 1024;
/// Longest control message, over all its frames.
pub const CONTROL_BYTES_MAX: usize = 1024 * 1024;
/// Longest telemetry item.
pub const TELEMETRY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest payload of a telemetry batch: what an item adds to it is less than the difference. Whoever fills a
/// spool refuses or splits longer ones, since they could never be sent.
pub const TELEMETRY_PAYLOAD_BYTES_MAX: usize = TELEMETRY_BYTES_MAX - 128;
/// Longest blob on the way: a compressed plan body, at worst a little longer than the body.
pub const BLOB_BYTES_MAX: usize = crate::frame::PLAN_BODY_BYTES_MAX + 128 * 1024;
/// Longest request.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;
/// Longest response: a region's part of a query's answer.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Kind of [`Request::Challenge`].
const CHALLENGE: u16 = REQUEST + 5;
/// Kind of [`Request::Recover`].
const RECOVER: u16 = REQUEST + 6;

/// Longest request of a peer that nobody knows yet, or not any more.
pub const STRANGER_BYTES_MAX: usize = 16 * 1024;

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The one bidirectional stream of a link, opened by the lower side.
    Control,
    /// A unidirectional stream of telemetry of one class.
    Telemetry,
    /// A unidirectional stream with one blob.
    Blob,
    /// The calling direction of a call's stream.
    Request,
    /// The answering direction of a call's stream.
    Response,
    /// The calling direction of a join, from a stranger.
    Join,
    /// The calling direction of a return, from an agent whose certificate has expired.
    Recover,
}

impl Lane {
    /// The longest message of that kind on this lane; nothing when the lane does not know the kind.
    pub fn limit(self, kind: u16) -> Option<usize> {
        let within = |first: u16, count: u16| (first..first + count).contains(&kind);
        match self {
            Self::Control if matches!(kind, HELLO | WELCOME | REFUSED) => Some(GREETING_BYTES_MAX),
            Self::Control if within(CONTROL, CONTROL_KINDS) => Some(CONTROL_BYTES_MAX),
            Self::Telemetry if kind == TELEMETRY => Some(TELEMETRY_BYTES_MAX),
            Self::Blob if kind == BLOB => Some(BLOB_BYTES_MAX),
            Self::Request if within(REQUEST, REQUEST_KINDS) => Some(REQUEST_BYTES_MAX),
            Self::Response if within(RESPONSE, RESPONSE_KINDS) => Some(RESPONSE_BYTES_MAX),
            Self::Join if kind == REQUEST => Some(STRANGER_BYTES_MAX),
            Self::Recover if matches!(kind, CHALLENGE | RECOVER) => Some(STRANGER_BYTES_MAX),
            Self::Control
            | Self::Telemetry
            | Self::Blob
            | Self::Request
            | Self::Response
            | Self::Join
            | Self::Recover => None,
        }
    }

    /// Its name in errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Telemetry => "telemetry",
            Self::Blob => "blob",
            Self::Request => "request",
            Self::Response => "response",
            Self::Join => "join",
            Self::Recover => "recover",
        }
    }
}

/// A value that is a message of its own.
pub trait Framed: crate::codec::Wire {
    /// Its kind.
    fn kind(&self) -> u16;

    /// The longest it may be.
    fn limit() -> usize;

    /// The value as a message.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] when the other side would refuse it.
    fn to_message(&self) -> Result<Message, DecodeError> {
        let (body, limit) = (encode(self), Self::limit());
        if body.len() > limit {
            return Err(DecodeError::TooLarge { what: Self::NAME, size: body.len(), limit });
        }
        Ok(Message { kind: self.kind(), body })
    }

    /// Reads the value from a message that may be of its kind.
    ///
    /// # Errors
    /// [`DecodeError`], also when the body is a variant that belongs to another kind.
    fn from_message(message: &Message) -> Result<Self, DecodeError> {
        let value: Self = decode(&message.body, Self::limit())?;
        if value.kind() == message.kind {
            return Ok(value);
        }
        let detail = format!("kind {:#06x} holds kind {:#06x}", message.kind, value.kind());
        Err(DecodeError::Malformed { what: Self::NAME, size: message.body.len(), detail })
    }
}

impl Framed for Hello {
    fn kind(&self) -> u16 {
        HELLO
    }
    fn limit() -> usize {
        GREETING_BYTES_MAX
    }
}

impl Framed for Welcome {
    fn kind(&self) -> u16 {
        WELCOME
    }
    fn limit() -> usize {
        GREETING_BYTES_MAX
    }
}

impl Framed for Refusal {
    fn kind(&self) -> u16 {
        REFUSED
    }
    fn limit() -> usize {
        GREETING_BYTES_MAX
    }
}

impl Framed for Control {
    fn kind(&self) -> u16 {
        CONTROL
            + match self {
                Self::Plan(_) => 0,
                Self::PlanStored { .. } => 1,
                Self::PlanRefused { .. } => 2,
                Self::BlobsWanted { .. } => 3,
                Self::Blobs { .. } => 4,
                Self::Report { .. } => 5,
                Self::ReportAck { .. } => 6,
                Self::TelemetryAcks(_) => 7,
                Self::EdgeLinks { .. } => 8,
                Self::EdgeRemoved { .. } => 9,
                Self::Trust(_) => 10,
                Self::Goodbye(_) => 11,
                Self::Ping { .. } => 12,
                Self::EdgeTable(_) => 13,
                Self::EdgeRenewed(_) => 14,
                Self::Placement { .. } => 15,
                Self::TrustChain(_) => 16,
                Self::TrustKept(_) => 17,
                Self::Endpoints { .. } => 18,
            }
    }
    fn limit() -> usize {
        CONTROL_BYTES_MAX
    }
}

impl Framed for TelemetryItem {
    fn kind(&self) -> u16 {
        TELEMETRY
    }
    fn limit() -> usize {
        TELEMETRY_BYTES_MAX
    }
}

impl Framed for BlobDelivery {
    fn kind(&self) -> u16 {
        BLOB
    }
    fn limit() -> usize {
        BLOB_BYTES_MAX
    }
}

impl Framed for Request {
    fn kind(&self) -> u16 {
        REQUEST
            + match self {
                Self::Join(_) => 0,
                Self::Renew(_) => 1,
                Self::Query(_) => 2,
                Self::ClusterToken { .. } => 3,
                Self::Inquire { .. } => 4,
                Self::Challenge(_) => CHALLENGE - REQUEST,
                Self::Recover(_) => RECOVER - REQUEST,
            }
    }
    fn limit() -> usize {
        REQUEST_BYTES_MAX
    }
}

impl Framed for Response {
    fn kind(&self) -> u16 {
        RESPONSE
            + match self {
                Self::Joined(_) => 0,
                Self::Renewed(_) => 1,
                Self::Answer(_) => 2,
                Self::TokenRegistered { .. } => 3,
                Self::Refused(_) => 4,
                Self::Challenge(_) => 5,
                Self::Recovered(_) => 6,
            }
    }
    fn limit() -> usize {
        RESPONSE_BYTES_MAX
    }
}
