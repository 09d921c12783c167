//! What one linked edge is still to be sent.
//!
//! Everything here is state, not a queue: the newest offer, the newest acknowledgement. An edge that takes nothing
//! holds up only its own outbox, and that does not grow.
//!
//! # Why acknowledgements of reports wait
//! Nobody acts on one: the lane is reliable, and a new link begins with a full report. Alone, each would cost a packet
//! and its acknowledgement, a tenth of what a change costs an edge on a metered link. So that of a full report goes at
//! once, and the newest other one with the next message.

use std::collections::BTreeSet;

use protocol::UnixMillis;
use protocol::endpoints::SignedEndpoints;
use protocol::id::{Digest, EdgeId};
use protocol::message::{BlobPart, Control};
use protocol::offer::reminder;
use protocol::placement::SignedPlacement;
use protocol::telemetry::TelemetryAck;
use protocol::trust::TrustChain;
use protocol::version::{Features, Speaks};

use super::shelf::Shelf;

/// Most blobs an edge may ask for at a time: more than any plan has objects.
const WANTED_MAX: usize = 65_536;

/// A linked edge.
#[derive(Debug)]
pub(super) struct Session {
    /// Tells this link of the edge from the one before.
    pub(super) link: u64,
    pub(super) since: UnixMillis,
    /// What the edge has: what it would not understand it is not sent.
    speaks: Speaks,
    /// A task waits for the link to take a message.
    pub(super) waiting: bool,
    /// Blobs on their way on streams of their own; they need not be sent again.
    pub(super) in_flight: BTreeSet<Digest>,
    outbox: Outbox,
}

#[derive(Debug, Default)]
struct Outbox {
    offer: bool,
    remind: bool,
    report: Option<u64>,
    /// A message goes, or went: the acknowledgement goes with it.
    report_due: bool,
    acks: Vec<TelemetryAck>,
    wanted: Vec<Digest>,
    trust: Option<Box<TrustChain>>,
    placement: Option<Box<SignedPlacement>>,
    endpoints: Option<Box<SignedEndpoints>>,
    ping: Option<u64>,
}

/// The next thing to send.
pub(super) struct Outgoing {
    /// On the control lane.
    pub(super) message: Option<Control>,
    /// On the blob lane, afterwards.
    pub(super) blobs: Vec<BlobPart>,
}

impl Session {
    pub(super) fn new(link: u64, since: UnixMillis, speaks: Speaks) -> Self {
        Self { link, since, speaks, waiting: false, in_flight: BTreeSet::new(), outbox: Outbox::default() }
    }

    pub(super) fn speaks(&self) -> Speaks {
        self.speaks
    }

    pub(super) fn offer(&mut self) {
        self.outbox.offer = true;
    }

    /// All blobs of an offer have left.
    pub(super) fn remind(&mut self) {
        self.outbox.remind = true;
    }

    pub(super) fn acknowledge_report(&mut self, sequence: u64, full: bool) {
        self.outbox.report = Some(sequence);
        self.outbox.report_due |= full;
    }

    pub(super) fn acknowledge(&mut self, ack: TelemetryAck) {
        let same = |one: &&mut TelemetryAck| one.class == ack.class && one.epoch == ack.epoch;
        match self.outbox.acks.iter_mut().find(same) {
            Some(known) => known.through = known.through.max(ack.through),
            None => self.outbox.acks.push(ack),
        }
    }

    pub(super) fn want(&mut self, digests: Vec<Digest>) {
        self.outbox.wanted = digests;
        self.outbox.wanted.truncate(WANTED_MAX);
    }

    pub(super) fn trust(&mut self, chain: TrustChain) {
        if self.speaks.features.has(Features::TRUST_CHAIN) {
            self.outbox.trust = Some(Box::new(chain));
        }
    }

    pub(super) fn place(&mut self, signed: SignedPlacement) {
        if self.speaks.features.has(Features::PLACEMENT) {
            self.outbox.placement = Some(Box::new(signed));
        }
    }

    /// Where the region listens; for edges that take that.
    pub(super) fn list(&mut self, signed: SignedEndpoints) {
        if self.speaks.features.has(Features::ENDPOINTS) {
            self.outbox.endpoints = Some(Box::new(signed));
        }
    }

    pub(super) fn pong(&mut self, nonce: u64) {
        self.outbox.ping = Some(nonce);
    }

    /// Takes the next thing to send out of the outbox.
    pub(super) fn next(&mut self, edge: EdgeId, shelf: &Shelf) -> Option<Outgoing> {
        let outgoing = self.next_message(edge, shelf);
        let outbox = &mut self.outbox;
        outbox.report_due |= outgoing.is_some();
        if outgoing.is_some() || !std::mem::take(&mut outbox.report_due) {
            return outgoing;
        }
        let sequence = outbox.report.take()?;
        Some(Outgoing { message: Some(Control::ReportAck { edge: None, sequence }), blobs: Vec::new() })
    }

    fn next_message(&mut self, edge: EdgeId, shelf: &Shelf) -> Option<Outgoing> {
        let only = |message| Some(Outgoing { message: Some(message), blobs: Vec::new() });
        let outbox = &mut self.outbox;
        if let Some(nonce) = outbox.ping.take() {
            return only(Control::Ping { nonce, reply: true });
        }
        if let Some(chain) = outbox.trust.take() {
            return only(Control::TrustChain(*chain));
        }
        if let Some(placement) = outbox.placement.take() {
            return only(Control::Placement { edge: None, placement: *placement });
        }
        if let Some(list) = outbox.endpoints.take() {
            return only(Control::Endpoints { edges: false, list: *list });
        }
        if std::mem::take(&mut outbox.offer)
            && let Some(prepared) = shelf.prepare(edge)
        {
            shelf.offered(edge);
            return Some(Outgoing { message: Some(Control::Plan(prepared.offer)), blobs: prepared.later });
        }
        if std::mem::take(&mut outbox.remind)
            && let Some(plan) = shelf.signed(edge)
        {
            return only(Control::Plan(reminder(None, &plan)));
        }
        if !outbox.wanted.is_empty() {
            let wanted = std::mem::take(&mut outbox.wanted);
            let wanted: Vec<_> =
                wanted.into_iter().filter(|digest| !self.in_flight.contains(digest)).collect();
            let (blobs, later) = shelf.answer(edge, &wanted);
            let message = (!blobs.is_empty()).then_some(Control::Blobs { edge: None, blobs });
            return Some(Outgoing { message, blobs: later });
        }
        if !outbox.acks.is_empty() {
            return only(Control::TelemetryAcks(std::mem::take(&mut outbox.acks)));
        }
        None
    }
}
