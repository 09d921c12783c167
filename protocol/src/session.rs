//! The control lane as a state machine: no sockets, no clock, no tasks.
//!
//! ```text
//!            lower side                                     upper side
//!
//!  new: Hello out --> AwaitingWelcome          AwaitingHello <-- new
//!                      |  Welcome in            |  Hello in: ask who admits
//!                      |                      Deciding
//!                      |                        |  welcome(): Welcome out
//!                      v                        v
//!                      Up  <-- Control in, out -->  Up
//!                      |                        |
//!     refuse(), close(): Refused or Goodbye out |
//!                      v                        v
//!                   Draining  (until the peer closes, or DRAIN_MS)
//!                      |
//!   any: Refused or Goodbye in, anything wrong, a deadline, lost()
//!                      v
//!                   Closed   one Closed event, and nothing after it
//! ```
//!
//! The shell feeds `handle_*`, then drains [`Session::poll_transmit`] and [`Session::poll_event`] and arms
//! [`Session::poll_timeout`]. The whole event x state matrix is `protocol/tests/golden/session-matrix.txt`.
//!
//! # Why
//! `connect()` succeeding says nothing: with TLS 1.3 the lower side completes before its certificate was
//! looked at. So a link is up with the Welcome, not before, and each greeting has a deadline.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::enrolment::{Refusal, RefusalReason};
use crate::frame::{FrameError, FrameWriter, Message};
use crate::lane::{Framed, HELLO, REFUSED, WELCOME};
use crate::message::{Control, Hello, Welcome};

/// A greeting must have come within this time, in milliseconds.
pub const GREETING_MS: u64 = 10_000;
/// A peer that was told to go has this long to close, in milliseconds.
pub const DRAIN_MS: u64 = 500;
/// Longest reason text in a close, in bytes; it must fit one packet.
pub const CLOSE_REASON_BYTES_MAX: usize = 512;

/// Which end of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Dials, says Hello.
    Lower,
    /// Listens, says Welcome.
    Upper,
}

/// Where a session stands; see the diagram above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Lower: Hello is out.
    AwaitingWelcome,
    /// Upper: nothing came yet.
    AwaitingHello,
    /// Upper: Hello is in, whoever admits is thinking.
    Deciding,
    /// Control flows.
    Up,
    /// The peer was told why and should close.
    Draining,
    /// Over.
    Closed,
}

/// Application close codes of a connection; part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// Nothing is wrong.
    Done,
    /// A frame or body is malformed, too large, out of order or truncated.
    Malformed,
    /// A message came that has no place in this state or on this lane.
    Unexpected,
    /// A greeting did not come in time.
    Timeout,
    /// The peer was refused and told why.
    Refused,
    /// Another link of the same agent is newer.
    Superseded,
    /// The peer does not take what it is sent.
    TooSlow,
    /// The program ends or restarts.
    GoingAway,
}

impl CloseCode {
    /// Its number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Malformed => 1,
            Self::Unexpected => 2,
            Self::Timeout => 3,
            Self::Refused => 4,
            Self::Superseded => 5,
            Self::TooSlow => 6,
            Self::GoingAway => 7,
        }
    }
}

/// Close the connection with this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: CloseCode,
    /// The reason, for a person; at most [`CLOSE_REASON_BYTES_MAX`] bytes.
    pub reason: String,
}

impl Close {
    /// A close with the reason cut to what fits.
    pub fn new(code: CloseCode, reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        cut(&mut reason);
        Self { code, reason }
    }
}

/// What the shell is to do on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// Write these frames to the control stream.
    Frames(Bytes),
    /// Close the connection; nothing follows.
    Close(Close),
}

/// What the shell is to tell its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Upper: the peer said Hello; answer with [`Session::welcome`] or [`Session::refuse`].
    Hello(Box<Hello>),
    /// Lower: the link is up.
    Up(Box<Welcome>),
    /// A control message.
    Control(Control),
    /// The session is over.
    Closed(Ending),
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The peer refused this side or said goodbye.
    Peer(Refusal),
    /// The connection went away.
    Lost(String),
    /// This side closed it.
    Local(Close),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Peer(refusal) => write!(f, "{}", refusal.message),
            Self::Lost(detail) => f.write_str(detail),
            Self::Local(close) => f.write_str(&close.reason),
        }
    }
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// Hello or Welcome must have come.
    Greeting,
    /// The peer must have closed.
    Drain,
}

/// A message cannot be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link is not up")]
pub struct NotUp;

/// One end of a link's control lane.
#[derive(Debug)]
pub struct Session {
    side: Side,
    state: State,
    writer: FrameWriter,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    deadline: Option<(u64, Timeout)>,
    /// What to close with once the peer had its time.
    draining: Option<Close>,
}

impl Session {
    /// The lower side; says Hello at once. `now` is any monotonic clock in milliseconds.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] when the Hello is longer than the peer takes.
    pub fn lower(hello: &Hello, now: u64) -> Result<Self, DecodeError> {
        let message = hello.to_message()?;
        let mut session = Self::new(Side::Lower, State::AwaitingWelcome, now);
        session.write(&message);
        Ok(session)
    }

    /// The upper side; waits for Hello.
    pub fn upper(now: u64) -> Self {
        Self::new(Side::Upper, State::AwaitingHello, now)
    }

    fn new(side: Side, state: State, now: u64) -> Self {
        Self {
            side,
            state,
            writer: FrameWriter::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            deadline: Some((now + GREETING_MS, Timeout::Greeting)),
            draining: None,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes a message of the control stream.
    pub fn handle_frame(&mut self, message: &Message) {
        match (self.state, self.side, message.kind) {
            (State::Draining | State::Closed, _, _) => {}
            (State::AwaitingWelcome, Side::Lower, WELCOME) => {
                self.with(Welcome::from_message(message), |session, welcome| {
                    session.deadline = None;
                    session.state = State::Up;
                    session.events.push_back(Event::Up(Box::new(welcome)));
                });
            }
            (State::AwaitingWelcome, Side::Lower, REFUSED) => {
                self.with(Refusal::from_message(message), Self::leave);
            }
            (State::AwaitingHello, Side::Upper, HELLO) => {
                self.with(Hello::from_message(message), |session, hello| {
                    session.deadline = None;
                    session.state = State::Deciding;
                    session.events.push_back(Event::Hello(Box::new(hello)));
                });
            }
            (State::Up, _, kind) if !matches!(kind, HELLO | WELCOME | REFUSED) => {
                self.with(Control::from_message(message), Self::control);
            }
            (
                State::AwaitingWelcome | State::AwaitingHello | State::Deciding | State::Up,
                Side::Lower | Side::Upper,
                kind,
            ) => {
                let reason = format!("a message of kind {kind:#06x} has no place in state {:?}", self.state);
                self.fail(CloseCode::Unexpected, reason);
            }
        }
    }

    /// Takes an error of the control stream's frames.
    pub fn handle_error(&mut self, error: &FrameError) {
        self.fail(CloseCode::Malformed, error.to_string());
    }

    /// Takes note that time has passed.
    pub fn handle_timeout(&mut self, now: u64) {
        let Some((_, timeout)) = self.deadline.filter(|(at, _)| *at <= now) else { return };
        match timeout {
            Timeout::Greeting => {
                let missing = if self.side == Side::Lower { "welcome" } else { "hello" };
                self.fail(CloseCode::Timeout, format!("no {missing} within {} s", GREETING_MS / 1000));
            }
            Timeout::Drain => {
                if let Some(close) = self.draining.take() {
                    self.transmits.push_back(Transmit::Close(close.clone()));
                    self.end(Ending::Local(close));
                }
            }
        }
    }

    /// Takes note that the connection is gone.
    pub fn handle_lost(&mut self, detail: impl Into<String>) {
        let ending = self.draining.take().map_or_else(|| Ending::Lost(detail.into()), Ending::Local);
        self.end(ending);
    }

    /// Takes note that this side closed the connection for a reason outside the control lane.
    pub fn handle_fault(&mut self, close: Close) {
        self.draining = None;
        self.end(Ending::Local(close));
    }

    /// Upper: lets the peer in. Without effect unless a Hello waits for the answer.
    pub fn welcome(&mut self, welcome: &Welcome) {
        if self.state != State::Deciding {
            return;
        }
        match welcome.to_message() {
            Ok(message) => {
                self.write(&message);
                self.state = State::Up;
            }
            Err(error) => self.fail(CloseCode::GoingAway, error.to_string()),
        }
    }

    /// Upper: turns the peer away. Without effect unless a Hello waits for the answer.
    pub fn refuse(&mut self, refusal: Refusal, now: u64) {
        if self.state == State::Deciding {
            self.tell(&bounded(refusal.clone()), &refusal, now);
        }
    }

    /// Sends a control message.
    ///
    /// # Errors
    /// [`NotUp`] before the Welcome and after the end.
    pub fn send(&mut self, message: &Message) -> Result<(), NotUp> {
        if self.state != State::Up {
            return Err(NotUp);
        }
        self.write(message);
        Ok(())
    }

    /// Ends the link, telling the peer why and what to do about it.
    pub fn close(&mut self, refusal: Refusal, now: u64) {
        match self.state {
            State::Up => self.tell(&Control::Goodbye(bounded(refusal.clone())), &refusal, now),
            State::AwaitingWelcome | State::AwaitingHello | State::Deciding => {
                self.fail(close_code(refusal.reason), refusal.message);
            }
            State::Draining | State::Closed => {}
        }
    }

    /// What to do on the wire; call until it gives nothing.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What to tell the owner; call until it gives nothing.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), and why.
    pub fn poll_timeout(&self) -> Option<(u64, Timeout)> {
        self.deadline
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Goodbye(refusal) => self.leave(refusal),
            Control::Ping { nonce, reply: false } => {
                if let Ok(message) = (Control::Ping { nonce, reply: true }).to_message() {
                    self.write(&message);
                }
            }
            other @ (Control::Plan(_)
            | Control::PlanStored { .. }
            | Control::PlanRefused { .. }
            | Control::BlobsWanted { .. }
            | Control::Blobs { .. }
            | Control::Report { .. }
            | Control::ReportAck { .. }
            | Control::TelemetryAcks(_)
            | Control::EdgeLinks { .. }
            | Control::EdgeRemoved { .. }
            | Control::Trust(_)
            | Control::Ping { .. }
            | Control::EdgeTable(_)
            | Control::EdgeRenewed(_)
            | Control::Placement { .. }
            | Control::TrustChain(_)
            | Control::TrustKept(_)
            | Control::Endpoints { .. }) => self.events.push_back(Event::Control(other)),
        }
    }

    /// Goes on with a decoded value, or closes.
    fn with<T>(&mut self, decoded: Result<T, DecodeError>, then: impl FnOnce(&mut Self, T)) {
        match decoded {
            Ok(value) => then(self, value),
            Err(error) => self.fail(CloseCode::Malformed, error.to_string()),
        }
    }

    fn write(&mut self, message: &Message) {
        self.transmits.push_back(Transmit::Frames(self.writer.write(message)));
    }

    /// The peer told this side to go.
    fn leave(&mut self, refusal: Refusal) {
        self.transmits.push_back(Transmit::Close(Close::new(CloseCode::Done, "as asked")));
        self.end(Ending::Peer(refusal));
    }

    /// Tells the peer to go and waits until it does.
    fn tell<M: Framed>(&mut self, last: &M, refusal: &Refusal, now: u64) {
        if let Ok(message) = last.to_message() {
            self.write(&message);
        }
        self.draining = Some(Close::new(close_code(refusal.reason), refusal.message.clone()));
        self.deadline = Some((now + DRAIN_MS, Timeout::Drain));
        self.state = State::Draining;
    }

    fn fail(&mut self, code: CloseCode, reason: String) {
        if matches!(self.state, State::Draining | State::Closed) {
            return;
        }
        let close = Close::new(code, reason);
        self.transmits.push_back(Transmit::Close(close.clone()));
        self.end(Ending::Local(close));
    }

    fn end(&mut self, ending: Ending) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.deadline = None;
            self.events.push_back(Event::Closed(ending));
        }
    }
}

/// Shortens a text to what fits a close, between two characters.
fn cut(text: &mut String) {
    if text.len() > CLOSE_REASON_BYTES_MAX {
        let end = (0..=CLOSE_REASON_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
}

/// The refusal with a text that fits a greeting.
fn bounded(mut refusal: Refusal) -> Refusal {
    cut(&mut refusal.message);
    refusal
}

/// The close code that goes with a refusal.
fn close_code(reason: RefusalReason) -> CloseCode {
    match reason {
        RefusalReason::Superseded => CloseCode::Superseded,
        RefusalReason::Unavailable => CloseCode::GoingAway,
        RefusalReason::Malformed => CloseCode::Malformed,
        RefusalReason::TokenUnknown
        | RefusalReason::TokenExpired
        | RefusalReason::TokenUsed
        | RefusalReason::TokenRevoked
        | RefusalReason::ProofInvalid
        | RefusalReason::OutOfScope
        | RefusalReason::ApprovalPending
        | RefusalReason::Revoked
        | RefusalReason::Incompatible
        | RefusalReason::Forbidden => CloseCode::Refused,
    }
}
