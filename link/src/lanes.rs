//! The lanes beside control: telemetry, blobs, calls.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::frame::{FrameReader, FrameWriter, Message};
use protocol::lane::{Framed, Lane};
use protocol::message::{BlobDelivery, Control, Request, Response};
use protocol::session::{Close, CloseCode};
use protocol::telemetry::{TelemetryClass, TelemetryItem};
use quinn::{ReadError, RecvStream, SendStream, VarInt};
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};

use crate::driver::Carrier;
use crate::profile::{BLOBS_MAX, CALLS_MAX};
use crate::types::{CallError, Responder, SendError};

/// Control goes before everything.
pub(crate) const CONTROL_PRIORITY: i32 = 10;
/// A person may be waiting for a call.
const CALL_PRIORITY: i32 = 5;
/// The most urgent telemetry; each further class is one lower.
const TELEMETRY_PRIORITY: i32 = 0;
/// Blobs fill what is left.
const BLOB_PRIORITY: i32 = -10;

/// Control messages that may wait for the driver.
const COMMANDS_MAX: usize = 64;
/// Most bytes taken from a stream at once.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How long a request may take to come in.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A stream that was given up in the middle of a message.
const ABANDONED: VarInt = VarInt::from_u32(1);

/// The sending side of a live link.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) carrier: Arc<Carrier>,
    commands: mpsc::Sender<Message>,
    telemetry: [Mutex<Option<LaneStream>>; TelemetryClass::ALL.len()],
    blobs: Semaphore,
    calls: Semaphore,
}

/// A telemetry stream; reset instead of ended when a message was cut off by a dropped future.
#[derive(Debug)]
struct LaneStream {
    send: SendStream,
    writer: FrameWriter,
    whole: bool,
}

impl LaneStream {
    fn new(send: SendStream, priority: i32) -> Self {
        // Fails only on a closed stream, and then writing says so.
        let _ = send.set_priority(priority);
        Self { send, writer: FrameWriter::default(), whole: true }
    }

    async fn write(&mut self, message: &Message) -> Result<(), SendError> {
        self.whole = false;
        let frames: Bytes = self.writer.write(message);
        self.send.write_chunk(frames).await.map_err(|_| SendError::Down)?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for LaneStream {
    fn drop(&mut self) {
        if !self.whole {
            let _ = self.send.reset(ABANDONED);
        }
    }
}

impl Live {
    /// The link's sending side, and the queue that its driver empties.
    pub(crate) fn new(carrier: Arc<Carrier>) -> (Arc<Self>, mpsc::Receiver<Message>) {
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let permits = |count: u32| Semaphore::new(count as usize);
        let live = Self {
            carrier,
            commands,
            telemetry: Default::default(),
            blobs: permits(BLOBS_MAX),
            calls: permits(CALLS_MAX),
        };
        (Arc::new(live), queue)
    }

    pub(crate) async fn send(&self, control: &Control) -> Result<(), SendError> {
        self.commands.send(control.to_message()?).await.map_err(|_| SendError::Down)
    }

    pub(crate) fn try_send(&self, control: &Control) -> Result<(), SendError> {
        self.commands.try_send(control.to_message()?).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Busy,
            mpsc::error::TrySendError::Closed(_) => SendError::Down,
        })
    }

    /// Writes the item to its class' stream; waits while the peer or the network takes no more.
    pub(crate) async fn send_telemetry(&self, item: &TelemetryItem) -> Result<(), SendError> {
        let message = item.to_message()?;
        let index = TelemetryClass::ALL.iter().position(|class| *class == item.class).unwrap_or(0);
        let mut lane = self.telemetry[index].lock().await;
        if lane.as_ref().is_none_or(|stream| !stream.whole) {
            *lane = None;
            let send = self.carrier.connection.open_uni().await.map_err(|_| SendError::Down)?;
            let below = i32::try_from(index).unwrap_or(0);
            *lane = Some(LaneStream::new(send, TELEMETRY_PRIORITY - below));
        }
        match lane.as_mut() {
            Some(stream) => stream.write(&message).await,
            None => Err(SendError::Down),
        }
    }

    /// Sends a blob on a stream of its own; waits for its turn and until the network has taken it.
    pub(crate) async fn send_blob(&self, blob: &BlobDelivery) -> Result<(), SendError> {
        let message = blob.to_message()?;
        let _turn = self.blobs.acquire().await.map_err(|_| SendError::Down)?;
        let send = self.carrier.connection.open_uni().await.map_err(|_| SendError::Down)?;
        let mut stream = LaneStream::new(send, BLOB_PRIORITY);
        stream.write(&message).await?;
        stream.send.finish().map_err(|_| SendError::Down)
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call(&self, request: &Request, deadline: Duration) -> Result<Response, CallError> {
        let message = request.to_message()?;
        let exchange = async {
            let _turn = self.calls.acquire().await.map_err(|_| CallError::Down)?;
            let (send, recv) = self.carrier.connection.open_bi().await.map_err(|_| CallError::Down)?;
            ask(send, recv, &message).await
        };
        tokio::time::timeout(deadline, exchange).await.map_err(|_| CallError::Deadline(deadline))?
    }
}

/// Writes a request to a fresh stream and reads the response.
pub(crate) async fn ask(
    send: SendStream,
    recv: RecvStream,
    message: &Message,
) -> Result<Response, CallError> {
    let mut stream = LaneStream::new(send, CALL_PRIORITY);
    stream.write(message).await.map_err(|_| CallError::Down)?;
    stream.send.finish().map_err(|_| CallError::Down)?;
    let mut reading = Reading::new(recv, Lane::Response);
    match reading.next().await {
        Ok(Some(answer)) => {
            Response::from_message(&answer).map_err(|error| CallError::Malformed(error.to_string()))
        }
        Ok(None) => Err(CallError::Malformed("the stream ended without an answer".to_owned())),
        Err(Broken::Gone) => Err(CallError::Down),
        Err(Broken::Frames(error)) => Err(CallError::Malformed(error)),
    }
}

/// Why a stream gives nothing more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The stream was given up or the connection is gone: nobody is to blame.
    Gone,
    /// The peer sent something that it must not.
    Frames(String),
}

/// A stream as messages.
pub(crate) struct Reading {
    recv: RecvStream,
    reader: FrameReader,
}

impl Reading {
    pub(crate) fn new(recv: RecvStream, lane: Lane) -> Self {
        Self { recv, reader: FrameReader::new(lane) }
    }

    /// The next message; nothing after an orderly end.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, Broken> {
        let frames = |error: protocol::frame::FrameError| Broken::Frames(error.to_string());
        loop {
            if let Some(message) = self.reader.next().map_err(frames)? {
                return Ok(Some(message));
            }
            match self.recv.read_chunk(READ_BYTES_MAX, true).await {
                Ok(Some(chunk)) => self.reader.feed(&chunk.bytes),
                Ok(None) => {
                    self.reader.finish().map_err(frames)?;
                    return Ok(None);
                }
                Err(ReadError::Reset(_) | ReadError::ConnectionLost(_) | ReadError::ClosedStream) => {
                    return Err(Broken::Gone);
                }
                Err(ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => return Err(Broken::Gone),
            }
        }
    }
}

/// Reads a unidirectional stream to its end, handing on each value; a bad one closes the connection.
pub(crate) async fn receive<T: Framed, E>(
    carrier: Arc<Carrier>,
    recv: RecvStream,
    lane: Lane,
    sink: mpsc::Sender<E>,
    wrap: impl Fn(T) -> E,
) {
    let mut reading = Reading::new(recv, lane);
    loop {
        let error = match reading.next().await {
            Ok(None) | Err(Broken::Gone) => return,
            Err(Broken::Frames(error)) => error,
            Ok(Some(message)) => match T::from_message(&message) {
                Ok(value) => {
                    if !hand_on(&carrier, &sink, wrap(value)).await {
                        return;
                    }
                    continue;
                }
                Err(error) => error.to_string(),
            },
        };
        return carrier.fail(Close::new(CloseCode::Malformed, format!("{} lane: {error}", lane.as_str())));
    }
}

/// Reads one call, hands it on as what `wrap` makes of it and writes the answer; a bad one closes the connection.
pub(crate) async fn answer<E>(
    carrier: Arc<Carrier>,
    send: SendStream,
    recv: RecvStream,
    lane: Lane,
    sink: mpsc::Sender<E>,
    wrap: impl Fn(Request, Responder) -> Option<E>,
) {
    let mut reading = Reading::new(recv, lane);
    let malformed = |error: String| {
        carrier.fail(Close::new(CloseCode::Malformed, format!("{} lane: {error}", lane.as_str())));
    };
    let mut stream = LaneStream::new(send, CALL_PRIORITY);
    let response = match tokio::time::timeout(REQUEST_TIMEOUT, reading.next()).await {
        Err(_) | Ok(Err(Broken::Gone)) => {
            stream.whole = false;
            return;
        }
        Ok(Err(Broken::Frames(error))) => return malformed(error),
        // A kind of request that this side does not know was skipped.
        Ok(Ok(None)) => refusal(RefusalReason::Incompatible, "the request is not known here"),
        Ok(Ok(Some(message))) => match Request::from_message(&message) {
            Err(error) => return malformed(error.to_string()),
            Ok(request) => {
                let (sender, receiver) = oneshot::channel();
                // Without an event the responder is dropped, which is answered below.
                if let Some(event) = wrap(request, Responder(sender))
                    && !hand_on(&carrier, &sink, event).await
                {
                    return;
                }
                let gone = stream.send.stopped();
                tokio::select! {
                    biased;
                    answer = receiver => answer
                        .unwrap_or_else(|_| refusal(RefusalReason::Unavailable, "nobody answers at the moment")),
                    // The caller gave up; whoever responds finds out by itself.
                    _ = gone => return,
                }
            }
        },
    };
    let message = response.to_message().or_else(|error| {
        refusal(RefusalReason::Unavailable, &format!("the answer cannot be sent: {error}")).to_message()
    });
    if let Ok(message) = message
        && stream.write(&message).await.is_ok()
    {
        let _ = stream.send.finish();
    }
}

/// Waits for the owner as long as the connection lives; says whether the owner has it.
async fn hand_on<E>(carrier: &Carrier, sink: &mpsc::Sender<E>, event: E) -> bool {
    tokio::select! {
        biased;
        sent = sink.send(event) => sent.is_ok(),
        _ = carrier.connection.closed() => false,
    }
}

fn refusal(reason: RefusalReason, message: &str) -> Response {
    Response::Refused(Refusal { reason, message: message.to_owned(), retry_after_ms: None })
}
