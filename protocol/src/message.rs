//! Everything that travels on a link, by lane.
//!
//! | lane | stream | carries |
//! |---|---|---|
//! | control | one bidirectional, ordered, frames <= 64 KiB | [`Hello`], [`Welcome`], [`Control`] |
//! | telemetry | one unidirectional per class | [`crate::telemetry::TelemetryItem`] |
//! | blob | unidirectional, low priority, two at a time | [`BlobDelivery`]: blobs too big for control |
//! | call | one bidirectional per call | [`Request`], then [`Response`] |
//!
//! Control carries both an agent's own affairs and, between region and hub, those of the region's edges: the
//! `edge` field says whose.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::delegation::{EdgeRenewal, TablePart};
use crate::endpoints::SignedEndpoints;
use crate::enrolment::{JoinGrant, JoinRequest, Refusal, RenewGrant, RenewRequest};
use crate::id::{AgentId, Digest, EdgeId, Generation};
use crate::placement::SignedPlacement;
use crate::plan::SignedPlan;
use crate::recovery::{RecoverGrant, RecoverRequest};
use crate::report::Report;
use crate::telemetry::{StreamEpoch, TelemetryAck, TelemetryClass};
use crate::trust::{TrustChain, TrustKept};
use crate::{Extensions, UnixMillis};

/// The lower side's first frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Who it is; must be what its certificate says.
    pub agent: AgentId,
    /// Feature bits it offers; see [`crate::version`].
    pub features: u64,
    /// Program and version, for people.
    pub software: String,
    /// Distinguishes this run of the program from the one before; a higher one supersedes.
    pub incarnation: u64,
    /// The plan it has stored.
    pub stored: Option<PlanHead>,
    /// The plan it has carried out.
    pub applied: Option<Generation>,
    /// Its telemetry streams: epoch and the next number it will send.
    pub streams: Vec<StreamHead>,
    /// Sequence of its trust bundle.
    pub trust_sequence: u64,
    /// Addresses at which a region's edges can dial it, `host:port`; empty for edges.
    pub endpoints: Vec<String>,
    /// Its clock.
    pub time: UnixMillis,
    /// What it is: `os`, `arch`, `kubernetes`.
    pub facts: BTreeMap<String, String>,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// The upper side's answer: only now is the link up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Feature bits both sides have; see [`crate::version`].
    pub features: u64,
    /// Program and version, for people.
    pub software: String,
    /// What is durable of the agent's streams.
    pub acknowledged: Vec<TelemetryAck>,
    /// The upper side's clock.
    pub time: UnixMillis,
    /// Sequence of its trust bundle.
    pub trust_sequence: u64,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// Which plan an agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHead {
    /// Its generation.
    pub generation: Generation,
    /// The digest of its body.
    pub body: Digest,
}

/// Where a telemetry stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamHead {
    /// Its class.
    pub class: TelemetryClass,
    /// Its epoch.
    pub epoch: StreamEpoch,
    /// The number of the oldest item it still has.
    pub first: u64,
    /// The number the next new item will get.
    pub next: u64,
}

/// What travels on the control lane once the link is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Down: a plan, with as many of its blobs as the sender thinks are missing and fit the frame.
    Plan(PlanOffer),
    /// Up: the plan is stored durably, with everything it needs.
    PlanStored {
        /// Whose plan; `None` is the sender's own.
        edge: Option<EdgeId>,
        /// Which one.
        head: PlanHead,
    },
    /// Up: the plan was not accepted.
    PlanRefused {
        /// Whose plan; `None` is the sender's own.
        edge: Option<EdgeId>,
        /// Which one, as far as it could be read.
        generation: Option<Generation>,
        /// Why.
        refusal: Refusal,
    },
    /// Up: blobs of an offered plan that are still missing; answered by `Blobs` or a blob stream.
    BlobsWanted {
        /// For whose plan; `None` is the sender's own.
        edge: Option<EdgeId>,
        /// Which ones.
        digests: Vec<Digest>,
    },
    /// Down: blobs that fit a control frame.
    Blobs {
        /// For whose plan; `None` is the receiver's own.
        edge: Option<EdgeId>,
        /// The blobs.
        blobs: Vec<BlobPart>,
    },
    /// Up: observed state.
    Report {
        /// Whose; `None` is the sender's own.
        edge: Option<EdgeId>,
        /// The report.
        report: Box<Report>,
    },
    /// Down: the report, and all before it, were taken over by whoever answers for it. That of a full one is told at
    /// once, that of a change with the next message.
    ReportAck {
        /// Whose; `None` is the receiver's own.
        edge: Option<EdgeId>,
        /// Which one.
        sequence: u64,
    },
    /// Down: telemetry is durable at the receiver.
    TelemetryAcks(Vec<TelemetryAck>),
    /// Up, region only: an edge's link changed, or the list of links after connecting (`last` closes it).
    EdgeLinks {
        /// The links.
        links: Vec<EdgeLink>,
        /// Whether the list that was begun by the connection is complete with this one.
        last: bool,
    },
    /// Down, region only: the edge is not of this region any more; forget its plan and close its link.
    EdgeRemoved {
        /// Which one.
        edge: EdgeId,
        /// What to tell it.
        refusal: Refusal,
    },
    /// Down, from a hub of before: a trust bundle that nobody signed. Nobody takes it; see `TrustChain`.
    Trust(crate::enrolment::TrustBundle),
    /// Either: about to close, with what the other side should do about it.
    Goodbye(Refusal),
    /// Either: nothing; shows that the peer's program is alive.
    Ping {
        /// Returned in the answer.
        nonce: u64,
        /// Whether this is the answer.
        reply: bool,
    },
    /// Down, region only: who its edges are, so that it can renew their certificates while the hub is away.
    EdgeTable(TablePart),
    /// Up, region only: what it decided about a renewal while the hub was away.
    EdgeRenewed(EdgeRenewal),
    /// Down: where an edge links, or all edges of a region.
    Placement {
        /// Which edge of the region, `None` all of them; `None` is the receiver itself where that is an edge.
        edge: Option<EdgeId>,
        /// Where.
        placement: SignedPlacement,
    },
    /// Down: whom to trust from now on.
    TrustChain(TrustChain),
    /// Up: which bundles are stored; a region tells that of its edges too.
    TrustKept(Vec<TrustKept>),
    /// Down: where the sender listens, or, to a region, where its edges find it.
    Endpoints {
        /// Whether it is for the receiver's edges; else for the receiver itself.
        edges: bool,
        /// Where.
        list: SignedEndpoints,
    },
}

/// A plan on its way down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOffer {
    /// For which edge of the region; `None` is the receiver's own plan.
    pub edge: Option<EdgeId>,
    /// The signed header.
    pub plan: SignedPlan,
    /// Blobs the sender thinks are missing: the body first.
    pub blobs: Vec<BlobPart>,
}

/// A blob, whole or as the difference to one that the receiver has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobPart {
    /// What must come out; verified before use.
    pub digest: Digest,
    /// The blob that serves as dictionary, if any.
    pub base: Option<Digest>,
    /// Size of what comes out, in bytes; checked against the limit before allocation.
    pub size: u32,
    /// A zstd frame.
    pub compressed: Bytes,
}

/// A blob on a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobDelivery {
    /// For which edge of the region; `None` is the receiver's own.
    pub edge: Option<EdgeId>,
    /// The blob.
    pub part: BlobPart,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// An edge's link as its region sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeLink {
    /// Which edge.
    pub edge: EdgeId,
    /// Whether it is up.
    pub up: bool,
    /// Since when.
    pub since: UnixMillis,
    /// Program and version; empty if it never linked.
    pub software: String,
    /// The plan it has stored.
    pub stored: Option<PlanHead>,
    /// The plan that the region holds for it.
    pub held: Option<PlanHead>,
}

/// A call that wants an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// A device wants to become an agent. Relayed by a region on behalf of the device.
    Join(JoinRequest),
    /// An agent wants a fresh certificate.
    Renew(RenewRequest),
    /// Down: the part of a query that this region can answer (the `telemetry` crate's encoding).
    Query(Bytes),
    /// Up, region only: a join token for the cluster that the region just made, for its edge agent.
    ClusterToken {
        /// Namespace of the `ClusterDeployment`.
        namespace: String,
        /// Its name.
        name: String,
        /// Public half of the token key that the region drew.
        public_key: Bytes,
        /// The token's name.
        token: crate::enrolment::TokenId,
    },
    /// Down: a question about an agent's cluster; the answer is an encoded [`crate::inquiry::Findings`].
    Inquire {
        /// Which edge of the region; `None` is the receiver itself.
        edge: Option<EdgeId>,
        /// The question.
        inquiry: crate::inquiry::Inquiry,
    },
    /// Up: an agent that wants to return asks for a challenge. Relayed by a region on behalf of the agent.
    Challenge(AgentId),
    /// Up: an agent returns. Relayed likewise.
    Recover(RecoverRequest),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Accepted.
    Joined(JoinGrant),
    /// Renewed.
    Renewed(RenewGrant),
    /// The region's part of the answer (the `telemetry` crate's encoding), or an agent's findings.
    Answer(Bytes),
    /// The token is registered; it is valid until then.
    TokenRegistered {
        /// End of validity.
        not_after: UnixMillis,
    },
    /// No.
    Refused(Refusal),
    /// What the agent is to sign.
    Challenge(Bytes),
    /// Returned.
    Recovered(RecoverGrant),
}
