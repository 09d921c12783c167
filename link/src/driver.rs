//! The shell of one session: moves bytes between a control stream and the state machine, decides nothing.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use protocol::enrolment::Refusal;
use protocol::frame::{FrameReader, Message};
use protocol::lane::Lane;
use protocol::message::Welcome;
use protocol::session::{Close, CloseCode, Event, Session, State, Transmit};
use quinn::{Chunk, Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};
use tokio::time::Instant;

use crate::transport::{close, describe};

/// Frames that may wait for the stream before no more messages are taken.
const OUTBOX_BYTES_MAX: usize = 64 * 1024;
/// With so much waiting, nothing more is read either: more than messages of this side ever add up to, so only
/// a peer that asks for answers and does not take them gets here, and waits for itself.
const OUTBOX_FULL_BYTES: usize = OUTBOX_BYTES_MAX + 2 * protocol::lane::CONTROL_BYTES_MAX;
/// Most bytes taken from the stream at once.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A connection, and why this side broke it if it did.
#[derive(Debug)]
pub(crate) struct Carrier {
    pub(crate) connection: Connection,
    fault: OnceLock<Close>,
    end: OnceLock<ConnectionError>,
}

impl Carrier {
    pub(crate) fn new(connection: Connection) -> Arc<Self> {
        Arc::new(Self { connection, fault: OnceLock::new(), end: OnceLock::new() })
    }

    /// Why the connection is gone, if it is: what the other side or the network did to it, rather than this side.
    pub(crate) fn end(&self) -> Option<&ConnectionError> {
        if let Some(error) = self.connection.close_reason() {
            // A close of this side hides what was before.
            return Some(self.end.get_or_init(|| error));
        }
        None
    }

    /// Closes the connection from any of its tasks; the first reason stays.
    pub(crate) fn fail(&self, with: Close) {
        close(&self.connection, self.fault.get_or_init(|| with));
    }
}

/// A session on its stream.
pub(crate) struct Driver {
    session: Session,
    carrier: Arc<Carrier>,
    send: SendStream,
    recv: RecvStream,
    reader: FrameReader,
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
    began: Instant,
}

/// What moved.
enum Moved {
    Wrote(Result<quinn::Written, WriteError>),
    Read(Result<Option<Chunk>, ReadError>),
    Deadline,
}

impl Driver {
    pub(crate) fn new(
        session: impl FnOnce(u64) -> Session,
        carrier: Arc<Carrier>,
        send: SendStream,
        recv: RecvStream,
    ) -> Self {
        // Fails only on a stream that is closed already, and then reading says so.
        let _ = send.set_priority(crate::lanes::CONTROL_PRIORITY);
        Self {
            session: session(0),
            carrier,
            send,
            recv,
            reader: FrameReader::new(Lane::Control),
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            began: Instant::now(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.session.state() == State::Closed
    }

    /// Whether another message may be sent now.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox_bytes < OUTBOX_BYTES_MAX
    }

    pub(crate) fn send(&mut self, message: &Message) {
        // A message for a link that just ended is lost as if it had been under way.
        let _ = self.session.send(message);
        self.collect();
    }

    pub(crate) fn welcome(&mut self, welcome: &Welcome) {
        self.session.welcome(welcome);
        self.collect();
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        let now = self.now();
        self.session.refuse(refusal, now);
        self.collect();
    }

    pub(crate) fn close(&mut self, refusal: Refusal) {
        let now = self.now();
        self.session.close(refusal, now);
        self.collect();
    }

    /// Moves bytes until the session has something to say.
    pub(crate) async fn event(&mut self) -> Event {
        loop {
            if let Some(event) = self.turn(true).await {
                return event;
            }
        }
    }

    /// Moves bytes until the session has something to say, or, if there was no room for messages at the start, until
    /// there is: then there is no event, and who has messages is to look again. Only writes while `reading` is false,
    /// and then has no events. Cancellation loses nothing.
    pub(crate) async fn turn(&mut self, reading: bool) -> Option<Event> {
        let full = !self.has_room();
        loop {
            self.collect();
            if reading && let Some(event) = self.session.poll_event() {
                return Some(event);
            }
            if self.is_closed() {
                return std::future::pending().await;
            }
            if full && self.has_room() {
                return None;
            }
            match self.step(reading).await {
                Moved::Wrote(Ok(written)) => self.wrote(written),
                Moved::Wrote(Err(_)) => self.lost(),
                Moved::Read(Ok(Some(chunk))) => self.read(&chunk.bytes),
                Moved::Read(Ok(None)) => match self.reader.finish() {
                    Ok(()) => self.broken(Close::new(CloseCode::Unexpected, "the control stream was ended")),
                    Err(error) => self.session.handle_error(&error),
                },
                Moved::Read(Err(ReadError::Reset(_))) => {
                    self.broken(Close::new(CloseCode::Unexpected, "the control stream was reset"));
                }
                Moved::Read(Err(_)) => self.lost(),
                Moved::Deadline => {
                    let now = self.now();
                    self.session.handle_timeout(now);
                }
            }
        }
    }

    /// Until the session is over and the connection closed.
    pub(crate) async fn finish(&mut self) {
        while !self.is_closed() {
            self.event().await;
        }
    }

    async fn step(&mut self, reading: bool) -> Moved {
        let deadline = self.session.poll_timeout().map(|(at, _)| self.began + Duration::from_millis(at));
        let writing = !self.outbox.is_empty();
        let reading = reading && self.outbox_bytes < OUTBOX_FULL_BYTES;
        let frames = self.outbox.make_contiguous();
        tokio::select! {
            biased;
            written = self.send.write_chunks(frames), if writing => Moved::Wrote(written),
            chunk = self.recv.read_chunk(READ_BYTES_MAX, true), if reading => Moved::Read(chunk),
            () = tokio::time::sleep_until(deadline.unwrap_or(self.began)), if deadline.is_some() => Moved::Deadline,
            // While neither reading nor writing, only this tells that the connection is gone.
            error = self.carrier.connection.closed(), if !reading => Moved::Read(Err(error.into())),
        }
    }

    fn wrote(&mut self, written: quinn::Written) {
        self.outbox_bytes = self.outbox_bytes.saturating_sub(written.bytes);
        self.outbox.drain(..written.chunks);
    }

    fn read(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes);
        loop {
            match self.reader.next() {
                Ok(Some(message)) => self.session.handle_frame(&message),
                Ok(None) => return,
                Err(error) => return self.session.handle_error(&error),
            }
        }
    }

    /// The connection is gone, or this side closed it.
    fn lost(&mut self) {
        if let Some(fault) = self.carrier.fault.get() {
            return self.session.handle_fault(fault.clone());
        }
        let detail = match self.carrier.end() {
            Some(error) => describe(error),
            None => "the peer does not take control messages any more".to_owned(),
        };
        self.session.handle_lost(detail);
        // After a stopped stream the connection may live on.
        close(&self.carrier.connection, &Close::new(CloseCode::Done, "the control stream is gone"));
    }

    fn broken(&mut self, with: Close) {
        self.carrier.fail(with);
        self.lost();
    }

    fn collect(&mut self) {
        while let Some(transmit) = self.session.poll_transmit() {
            match transmit {
                Transmit::Frames(bytes) => {
                    self.outbox_bytes += bytes.len();
                    self.outbox.push_back(bytes);
                }
                Transmit::Close(with) => self.carrier.fail(with),
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
