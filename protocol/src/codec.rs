//! Bodies as bytes: postcard, whole values only.
//!
//! postcard is positional, so every [`Wire`] type is frozen: it never gains, loses or moves a field within a
//! major version (its `ext` list is where later minor versions add). The golden bytes under
//! `protocol/tests/golden` hold every type to that. A limit is checked before anything is decoded, and a
//! decoder allocates in proportion to the bytes it was given, never to a length those bytes claim.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::delegation::{EdgeTable, Standings, TablePart};
use crate::endpoints::{EndpointList, Priorities, SignedEndpoints};
use crate::enrolment::{JoinGrant, JoinRequest, Refusal, RenewGrant, RenewRequest, TrustBundle};
use crate::id::AgentId;
use crate::inquiry::{Findings, Inquiry};
use crate::message::{
    BlobDelivery, BlobPart, Control, Hello, PlanHead, PlanOffer, Request, Response, Welcome,
};
use crate::placement::{Placement, SignedPlacement};
use crate::plan::{PlanBody, PlanHeader, SignedPlan};
use crate::policy::{ChartHead, HealthRules, Leeways};
use crate::report::Report;
use crate::telemetry::{TelemetryAck, TelemetryContent, TelemetryItem};
use crate::trust::{TrustChain, TrustKept};
use crate::version::{Lacks, Speaks};

/// A type that crosses the wire or is stored as it crossed.
pub trait Wire: Serialize + DeserializeOwned {
    /// What errors call it.
    const NAME: &'static str;
}

/// Why bytes are not a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than it may be.
    #[error("{what} of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// What was expected.
        what: &'static str,
        /// Bytes there are.
        size: usize,
        /// Bytes there may be.
        limit: usize,
    },
    /// Cut off, altered, or of another version.
    #[error("{what} of {size} bytes is malformed: {detail}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// Bytes there are.
        size: usize,
        /// What the decoder says.
        detail: String,
    },
    /// More bytes than the value has.
    #[error("{what} is followed by {extra} bytes that do not belong to it")]
    Trailing {
        /// What was expected.
        what: &'static str,
        /// Bytes left over.
        extra: usize,
    },
}

/// The value's bytes; equal values give equal bytes.
pub fn encode<T: Wire>(value: &T) -> Bytes {
    // Only sequences of unknown length and custom serializers can fail, and no wire type has either.
    Bytes::from(postcard::to_stdvec(value).expect("wire types have known lengths"))
}

/// Reads a value that takes up all of `bytes`.
///
/// # Errors
/// [`DecodeError`] when there are more than `limit` bytes, or they are not exactly one value.
pub fn decode<T: Wire>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    let (what, size) = (T::NAME, bytes.len());
    if size > limit {
        return Err(DecodeError::TooLarge { what, size, limit });
    }
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(|error| DecodeError::Malformed {
        what,
        size,
        detail: error.to_string(),
    })?;
    if rest.is_empty() { Ok(value) } else { Err(DecodeError::Trailing { what, extra: rest.len() }) }
}

/// Declares wire types with the words errors use for them.
macro_rules! wire {
    ($($type:ty => $name:literal),* $(,)?) => {
        $(impl Wire for $type { const NAME: &'static str = $name; })*
    };
}

wire! {
    AgentId => "agent id",
    BlobDelivery => "blob delivery",
    BlobPart => "blob",
    ChartHead => "chart head",
    Control => "control message",
    EdgeTable => "header of a table of edges",
    EndpointList => "list of endpoints",
    Priorities => "priorities of endpoints",
    SignedEndpoints => "signed list of endpoints",
    Placement => "placement",
    SignedPlacement => "signed placement",
    Findings => "findings",
    Hello => "hello",
    Inquiry => "inquiry",
    JoinGrant => "join grant",
    JoinRequest => "join request",
    HealthRules => "health rules",
    Lacks => "list of lacking features",
    Leeways => "leeways",
    PlanBody => "plan body",
    PlanHead => "plan head",
    PlanHeader => "plan header",
    PlanOffer => "plan offer",
    Refusal => "refusal",
    RenewGrant => "renewal grant",
    RenewRequest => "renewal request",
    Report => "report",
    Request => "request",
    Response => "response",
    SignedPlan => "signed plan",
    Speaks => "protocol version",
    Standings => "entries of a table of edges",
    TablePart => "table of edges",
    TelemetryAck => "telemetry acknowledgement",
    TelemetryContent => "telemetry content",
    TelemetryItem => "telemetry item",
    TrustBundle => "trust bundle",
    TrustChain => "trust chain",
    TrustKept => "acknowledgement of a trust bundle",
    Welcome => "welcome",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Generation;

    fn header() -> PlanHeader {
        PlanHeader {
            agent: AgentId::Region("eu".parse().unwrap()),
            generation: Generation { term: 1, counter: 2 },
            body: crate::id::Digest([7; 32]),
            issued_at: 3,
            not_after: None,
            ext: vec![(9, Bytes::from_static(b"later"))],
        }
    }

    #[test]
    fn a_value_reads_back_and_nothing_may_follow_it() {
        let bytes = encode(&header());
        assert_eq!(decode::<PlanHeader>(&bytes, bytes.len()), Ok(header()));
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(
            decode::<PlanHeader>(&longer, 1000),
            Err(DecodeError::Trailing { what: "plan header", extra: 1 })
        );
    }

    #[test]
    fn a_value_beyond_the_limit_is_refused_before_it_is_read() {
        let bytes = encode(&header());
        let error = decode::<PlanHeader>(&bytes, bytes.len() - 1).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { .. }), "{error}");
    }

    #[test]
    fn a_claimed_length_beyond_the_bytes_is_an_error_and_allocates_nothing() {
        // Forty units claimed to be 2^60 long, with nothing behind.
        let claim = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(decode::<PlanBody>(&claim, 100).is_err());
    }
}
