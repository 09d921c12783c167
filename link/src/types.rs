//! Words that both ends of a link share.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::UnixMillis;
use protocol::codec::DecodeError;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, RegionName};
use protocol::message::Response;
use protocol::version::{Lacks, Speaks};
use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use tokio::sync::oneshot;

use crate::network::Carrier;

/// Why a link ended; see [`protocol::session::Ending`].
pub use protocol::session::Ending as Reason;

/// A message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no link now; send it again when there is one.
    #[error("the link is down")]
    Down,
    /// The link takes nothing more at the moment.
    #[error("the link is busy")]
    Busy,
    /// The message is too long to be accepted by the other side; sending it again will not help.
    #[error(transparent)]
    TooLarge(#[from] DecodeError),
}

/// A call got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no link, or it broke before the answer came.
    #[error("the link is down")]
    Down,
    /// The answer did not come in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The request is too long to be accepted by the other side.
    #[error(transparent)]
    TooLarge(#[from] DecodeError),
    /// The peer said no.
    #[error("refused: {}", .0.message)]
    Refused(Refusal),
    /// The peer answered something unintelligible.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
}

/// Answers a call; dropping it answers "unavailable".
#[derive(Debug)]
pub struct Responder(pub(crate) oneshot::Sender<Response>);

impl Responder {
    /// A responder and where its answer appears, for tests of those who respond.
    pub fn channel() -> (Self, oneshot::Receiver<Response>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Until whoever asks does not wait for an answer any more.
    pub async fn given_up(&mut self) {
        self.0.closed().await;
    }

    /// Answers.
    pub fn respond(self, response: Response) {
        // Nobody listens any more when the link broke; the caller was told.
        let _ = self.0.send(response);
    }

    /// Answers no.
    pub fn refuse(self, reason: RefusalReason, message: impl Into<String>) {
        self.respond(Response::Refused(Refusal { reason, message: message.into(), retry_after_ms: None }));
    }
}

/// What an agent knows of its uplink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkState {
    /// Whether the Welcome came and the link lives.
    pub up: bool,
    /// Since when it is up or down.
    pub since: UnixMillis,
    /// The peer's program and version, the last one while down.
    pub software: String,
    /// The protocol version of the peer, the last one while down; nothing before the first link.
    pub upper: Option<Speaks>,
    /// What this agent lacks, as the peer told it last.
    pub lacks: Lacks,
    /// The region that an edge is linked to, the last one while down; its own unless another one stands in.
    pub region: Option<RegionName>,
    /// The endpoint that it was dialled by, the last one while down; empty before the first link.
    pub endpoint: String,
    /// The peer's address, the last one while down.
    pub remote: Option<SocketAddr>,
    /// Smoothed round-trip time, while up.
    pub rtt: Option<Duration>,
    /// Why it is down; empty while up.
    pub reason: String,
    /// Attempts that failed since it went down.
    pub attempts: u32,
    /// What carries it, the last one while down.
    pub carrier: Carrier,
    /// Since when that carries it.
    pub carrier_since: UnixMillis,
    /// Why that carries it; empty when it did from the start and is UDP.
    pub carrier_reason: String,
    /// How often a live link moved from one carrier to the other, since the start.
    pub moves: u64,
    /// How often a link was lost and the next one is by another endpoint, since the start.
    pub failovers: u64,
    /// How often a live link moved to another endpoint, or another region, since the start.
    pub handovers: u64,
    /// Probes by UDP while a tunnel was in use, since the start.
    pub probes: u64,
    /// Those of them that had an answer.
    pub probes_answered: u64,
}

/// What a listener knows of a live link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Who.
    pub peer: AgentId,
    /// Since when.
    pub since: UnixMillis,
    /// Program and version.
    pub software: String,
    /// Its protocol version, and what it has.
    pub speaks: Speaks,
    /// From where.
    pub remote: SocketAddr,
    /// What carries it.
    pub carrier: Carrier,
    /// Smoothed round-trip time.
    pub rtt: Duration,
}

/// Keys of a listener that should survive its restart, so that peers notice the restart in one round trip
/// instead of at their idle timeout.
#[derive(Clone)]
pub struct EndpointKeys {
    secret: [u8; 32],
}

impl EndpointKeys {
    /// Keys derived from a secret; the hub's is `Authority::link_secret`, a region keeps one in its store.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    pub(crate) fn config(&self) -> EndpointConfig {
        let reset = blake3::derive_key("skein stateless reset v1", &self.secret);
        let ids = blake3::derive_key("skein connection ids v1", &self.secret);
        let mut key = [0; 8];
        key.copy_from_slice(&ids[..8]);
        let key = u64::from_le_bytes(key);
        let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &reset);
        let mut config = EndpointConfig::new(Arc::new(hmac));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
        // By default 50 resets a second: thousands of agents would wait for theirs after a restart.
        config.min_reset_interval(Duration::from_millis(1));
        config
    }
}

impl fmt::Debug for EndpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointKeys")
    }
}
