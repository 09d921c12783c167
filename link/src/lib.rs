//! Links between the tiers: shells around [`protocol::session`], on QUIC.
//!
//! - [`uplink`]: dials, stays connected, reconnects; one per agent
//! - [`downlink`]: listens, admits, supersedes; one per hub or region
//! - [`mod@enrol`]: joining with a token; [`patience`]: when to ask again
//! - [`renewal`]: keeps a certificate fresh over the live link; [`recovery`]: returns after it has expired
//! - [`network`]: real UDP, or a simulated network in memory (feature `simulated`)
//! - [`network::tunnel`]: datagrams through TCP where UDP is blocked; `race` and `uplink::carriage` choose the carrier
//! - [`profile`]: windows, keep-alive and limits, checked against the window rule at start
//!
//! A link is one connection: a control stream that a [`protocol::session::Session`] drives, one unidirectional
//! stream per telemetry class, at most [`profile::BLOBS_MAX`] blob streams, one bidirectional stream per call.
//! Control has the highest priority, calls come next, then telemetry by class, then blobs.
//!
//! # Why
//! - One task per connection selects over everything that belongs to control; streams of other lanes have a
//!   task each while they live. Nothing waits on a timer except deadlines, keep-alive and reconnection.
//! - An idle stream or lane holds no buffer: thousands of idle edges cost their connections and little else.
//! - What is sent on the control lane of a link that dies is lost without a word: a link is no queue. Whoever
//!   sends states (plans, reports) sends them again on `Up`, and only acknowledgements tell what arrived.

//!
//! # Identity over time
//! - Revocation: [`DownlinkHandle::deny`] takes the set and ends the links it names.
//! - Renewal: `Request::Renew` reaches the region first, which asks the hub or answers by itself.
//! - Rotation: an uplink follows the chain of signed bundles ([`protocol::trust`]) and keeps it before it counts.

mod driver;
mod heard;
mod keeping;
mod lanes;
mod race;
mod transport;

pub mod downlink;
pub mod enrol;
pub mod network;
pub mod patience;
pub mod profile;
pub mod recovery;
pub mod renewal;
pub mod types;
pub mod uplink;

pub use downlink::{
    Admission, Admitted, Downlink, DownlinkConfig, DownlinkEvent, DownlinkEvents, DownlinkHandle,
};
pub use enrol::{EnrolParams, JoinError, JoinParams, enrol, join};
pub use network::{
    Carrier, Network, PooledNetwork, Proxies, Proxy, ProxyError, Tcp, Tunnels, UdpNetwork, Way,
};
pub use patience::{Next, Patience};
pub use profile::Profile;
pub use recovery::Recovery;
pub use types::{CallError, EndpointKeys, LinkState, PeerState, Reason, Responder, SendError};
pub use uplink::{HelloFacts, HelloSource, Uplink, UplinkConfig, UplinkEvent, UplinkHandle};

#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects, anything else fails it")]
mod tests;
