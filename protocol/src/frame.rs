//! Frames: how messages lie on a stream.
//!
//! ```text
//!  0        4       6       8                16
//!  | length | kind  | flags | sequence        | body: `length` bytes
//!  | u32    | u16   | u16   | u64, from 0     | at most FRAME_BODY_BYTES_MAX
//! ```
//!
//! All numbers are big-endian. A message longer than a frame is cut into frames of the same kind, all but the
//! last flagged [`MORE`], so nothing that shares a stream waits behind more than its limit. A kind that the
//! lane does not know is skipped, unless flagged [`REQUIRED`]. Sequence numbers count the frames of a stream;
//! a hole or a repetition means that a peer (never the transport) is broken. Every error closes the connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::lane::Lane;

/// Bytes of a header.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Longest frame, header included.
pub const CONTROL_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Longest body of a frame.
pub const FRAME_BODY_BYTES_MAX: usize = CONTROL_FRAME_BYTES_MAX - FRAME_HEADER_BYTES;
/// Most content of one Kubernetes object, as canonical JSON (etcd refuses more than 1.5 MiB by default).
pub const OBJECT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Longest encoded plan body.
pub const PLAN_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Flag: the message goes on in the next frame.
pub const MORE: u16 = 1;
/// Flag: who does not know this kind must close instead of skipping it.
pub const REQUIRED: u16 = 2;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body.
    pub length: u32,
    /// What the body is.
    pub kind: u16,
    /// [`MORE`], [`REQUIRED`]; other bits are ignored.
    pub flags: u16,
    /// Number of the frame on its stream, from 0.
    pub sequence: u64,
}

impl Header {
    /// The header's bytes.
    pub fn encode(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.length.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.kind.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.flags.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// Reads a header; every 16 bytes are one.
    pub fn decode(bytes: [u8; FRAME_HEADER_BYTES]) -> Self {
        let mut rest = &bytes[..];
        Self { length: rest.get_u32(), kind: rest.get_u16(), flags: rest.get_u16(), sequence: rest.get_u64() }
    }
}

/// One message, not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What the body is.
    pub kind: u16,
    /// The encoded value.
    pub body: Bytes,
}

/// Why a stream is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field exceeds the limit.
    #[error("frame of {length} bytes exceeds the limit of {limit}")]
    FrameTooLarge {
        /// Claimed length of the body.
        length: u32,
        /// What is allowed.
        limit: usize,
    },
    /// The frames of a message add up to more than its kind may have.
    #[error("message of kind {kind:#06x} exceeds its limit of {limit} bytes")]
    MessageTooLarge {
        /// The kind.
        kind: u16,
        /// What is allowed.
        limit: usize,
    },
    /// A frame was left out, repeated or moved.
    #[error("frame {got} came where frame {expected} was due")]
    Reordered {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// A message was interrupted by another one.
    #[error("message of kind {kind:#06x} was interrupted by kind {by:#06x}")]
    Interrupted {
        /// The unfinished message's kind.
        kind: u16,
        /// The kind that came instead.
        by: u16,
    },
    /// A frame announces more and carries nothing.
    #[error("frame {sequence} carries nothing and announces more")]
    Empty {
        /// Its number.
        sequence: u64,
    },
    /// A kind that must be understood is not.
    #[error("kind {kind:#06x} is required and not known on the {lane} lane")]
    UnknownRequired {
        /// The kind.
        kind: u16,
        /// The lane's name.
        lane: &'static str,
    },
    /// The stream ended inside a frame or a message.
    #[error("the stream ended inside a message, {missing} bytes or more are missing")]
    Truncated {
        /// How many at least.
        missing: usize,
    },
}

/// Numbers and cuts the messages of one stream.
#[derive(Debug, Default)]
pub struct FrameWriter {
    next: u64,
}

impl FrameWriter {
    /// The message's frames, back to back.
    pub fn write(&mut self, message: &Message) -> Bytes {
        let frames = message.body.len().div_ceil(FRAME_BODY_BYTES_MAX).max(1);
        let mut bytes = BytesMut::with_capacity(message.body.len() + frames * FRAME_HEADER_BYTES);
        let mut rest = &message.body[..];
        for left in (0..frames).rev() {
            let (body, behind) = rest.split_at(rest.len().min(FRAME_BODY_BYTES_MAX));
            let flags = if left == 0 { 0 } else { MORE };
            bytes.put_slice(&self.header(body.len(), message.kind, flags).encode());
            bytes.put_slice(body);
            rest = behind;
        }
        bytes.freeze()
    }

    fn header(&mut self, length: usize, kind: u16, flags: u16) -> Header {
        let sequence = self.next;
        self.next += 1;
        Header { length: u32::try_from(length).unwrap_or(u32::MAX), kind, flags, sequence }
    }
}

/// Puts the messages of one stream together again.
#[derive(Debug)]
pub struct FrameReader {
    lane: Lane,
    expected: u64,
    buffer: BytesMut,
    /// A message whose end has not come: its kind, its limit and what has come.
    partial: Option<(u16, usize, BytesMut)>,
    failed: Option<FrameError>,
}

impl FrameReader {
    /// A reader at the beginning of a stream of that lane.
    pub fn new(lane: Lane) -> Self {
        Self { lane, expected: 0, buffer: BytesMut::new(), partial: None, failed: None }
    }

    /// Takes what came. Call [`next`](Self::next) until it gives nothing before feeding more: what is
    /// buffered is then always less than one frame.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message.
    ///
    /// # Errors
    /// [`FrameError`]; after one, every call gives the same error.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot go on after None, a stream can")]
    pub fn next(&mut self) -> Result<Option<Message>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.advance();
        if let Err(error) = &result {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
            self.partial = None;
        }
        result
    }

    /// To be asked when the stream has ended.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when a frame or message is incomplete.
    pub fn finish(&self) -> Result<(), FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.buffer.is_empty() && self.partial.is_none() {
            return Ok(());
        }
        let due = match self.peek() {
            Some(header) => FRAME_HEADER_BYTES + header.length as usize,
            None => FRAME_HEADER_BYTES,
        };
        Err(FrameError::Truncated { missing: due.saturating_sub(self.buffer.len()) })
    }

    fn peek(&self) -> Option<Header> {
        self.buffer.first_chunk::<FRAME_HEADER_BYTES>().map(|bytes| Header::decode(*bytes))
    }

    fn advance(&mut self) -> Result<Option<Message>, FrameError> {
        while let Some(header) = self.peek() {
            let limit = self.check(header)?;
            let length = header.length as usize;
            if self.buffer.len() < FRAME_HEADER_BYTES + length {
                return Ok(None);
            }
            self.expected += 1;
            self.buffer.advance(FRAME_HEADER_BYTES);
            let body = self.buffer.split_to(length);
            if let Some(limit) = limit
                && let Some(message) = self.take(header, limit, body)
            {
                return Ok(Some(message));
            }
        }
        if self.buffer.is_empty() {
            // An idle stream keeps no memory.
            self.buffer = BytesMut::new();
        }
        Ok(None)
    }

    /// What can be said from the header alone; gives the limit of the message, nothing for a kind to skip.
    fn check(&self, header: Header) -> Result<Option<usize>, FrameError> {
        let Header { length, kind, flags, sequence } = header;
        if length as usize > FRAME_BODY_BYTES_MAX {
            return Err(FrameError::FrameTooLarge { length, limit: FRAME_BODY_BYTES_MAX });
        }
        if sequence != self.expected {
            return Err(FrameError::Reordered { expected: self.expected, got: sequence });
        }
        if flags & MORE != 0 && length == 0 {
            return Err(FrameError::Empty { sequence });
        }
        if let Some((open, _, _)) = &self.partial
            && *open != kind
        {
            return Err(FrameError::Interrupted { kind: *open, by: kind });
        }
        let Some(limit) = self.lane.limit(kind) else {
            return match flags & REQUIRED {
                0 => Ok(None),
                _ => Err(FrameError::UnknownRequired { kind, lane: self.lane.as_str() }),
            };
        };
        let so_far = self.partial.as_ref().map_or(0, |(_, _, bytes)| bytes.len());
        if so_far + length as usize > limit {
            return Err(FrameError::MessageTooLarge { kind, limit });
        }
        Ok(Some(limit))
    }

    fn take(&mut self, header: Header, limit: usize, body: BytesMut) -> Option<Message> {
        let kind = header.kind;
        let whole = match self.partial.take() {
            None => body,
            Some((_, _, mut bytes)) => {
                bytes.extend_from_slice(&body);
                bytes
            }
        };
        if header.flags & MORE != 0 {
            self.partial = Some((kind, limit, whole));
            return None;
        }
        Some(Message { kind, body: whole.freeze() })
    }
}
