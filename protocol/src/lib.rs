//! The contract between hub, regional agents and edge agents.
//!
//! Everything here is pure: no sockets, no clock, no randomness. Time and entropy are arguments,
//! so that the same input always gives the same bytes (invariant 12).
//!
//! - [`id`]: who and what: agents, generations, digests
//! - [`plan`]: the complete desired state of one agent, and how it is signed and addressed
//! - [`policy`]: how a unit is carried out where that is not as usual
//! - [`offer`]: what of a plan must travel to a receiver that has another one
//! - [`report`]: observed state on its way up
//! - [`inquiry`]: questions that only an agent can answer
//! - [`telemetry`]: the envelope of durable telemetry: streams, batches, gaps, acknowledgements
//! - [`enrolment`]: join, renewal, trust bundles; [`recovery`]: the return after expiry; [`trust`]: how trust changes
//! - [`message`]: everything that travels on a link, by lane
//! - [`codec`]: values as bytes; [`blob`]: content as differences
//! - [`version`]: major and minor versions, and what an agent of an earlier one lacks
//! - [`lane`] and [`frame`]: kinds, limits, and how messages lie on a stream
//! - [`session`]: the control lane as a state machine without I/O

pub mod blob;
pub mod codec;
pub mod delegation;
pub mod endpoints;
pub mod enrolment;
pub mod frame;
pub mod id;
pub mod inquiry;
pub mod lane;
pub mod message;
pub mod offer;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod recovery;
pub mod report;
pub mod sealed;
pub mod session;
pub mod telemetry;
pub mod trust;
pub mod version;

/// Fields that a later minor version adds: (tag, bytes) pairs that an older reader keeps and ignores.
///
/// postcard is positional, so a struct that crosses the wire never gains a field; it gains a tag here.
pub type Extensions = Vec<(u16, bytes::Bytes)>;

/// Milliseconds since the Unix epoch, UTC.
pub type UnixMillis = u64;
