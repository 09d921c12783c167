//! One tunnel's two directions, the same at both ends.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::capsule::{decode, encode};

/// Bytes of datagrams that may wait for TCP.
const QUEUE_BYTES_MAX: usize = 64 * 1024;
/// Bytes handed to TLS at once.
const BATCH_BYTES: usize = 8 * 1024;
/// How long TCP may take nothing before the tunnel is given up.
const STALL: Duration = Duration::from_secs(30);
/// Bytes read at once.
const READ_BYTES: usize = 8 * 1024;

/// A stream of bytes in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Datagrams that wait for TCP.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    datagrams: VecDeque<Bytes>,
    bytes: usize,
    dropped: u64,
}

impl Queue {
    /// Adds a datagram, or drops it when there are too many.
    pub(super) fn push(&self, datagram: &[u8]) {
        let mut waiting = self.lock();
        if waiting.bytes + datagram.len() > QUEUE_BYTES_MAX {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += datagram.len();
        waiting.datagrams.push_back(Bytes::copy_from_slice(datagram));
        drop(waiting);
        self.filled.notify_one();
    }

    /// Datagrams that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Some datagrams, as capsules.
    async fn batch(&self, batch: &mut Vec<u8>) {
        batch.clear();
        loop {
            {
                let mut waiting = self.lock();
                while batch.len() < BATCH_BYTES
                    && let Some(datagram) = waiting.datagrams.pop_front()
                {
                    waiting.bytes -= datagram.len();
                    // Longer ones than capsules carry are those of nobody's links.
                    let _ = encode(&datagram, batch);
                }
            }
            if !batch.is_empty() {
                return;
            }
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries datagrams in both directions until one ends; says why. `buffer` has what was read already.
///
/// `idle` is how long the other side may say nothing.
pub(super) async fn carry(
    stream: impl Stream,
    mut buffer: BytesMut,
    queue: &Queue,
    idle: Option<Duration>,
    deliver: impl Fn(&[u8]),
) -> String {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = async {
        loop {
            loop {
                match decode(&mut buffer) {
                    Ok(Some(datagram)) => deliver(&datagram),
                    Ok(None) => break,
                    Err(error) => return error.to_string(),
                }
            }
            buffer.reserve(READ_BYTES);
            let read = reader.read_buf(&mut buffer);
            let read = match idle {
                Some(idle) => tokio::time::timeout(idle, read).await,
                None => Ok(read.await),
            };
            match read {
                Ok(Ok(0)) => return "the other side ended the tunnel".to_owned(),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return format!("the tunnel broke: {error}"),
                Err(_) => return "nothing came through the tunnel for too long".to_owned(),
            }
        }
    };
    let writing = async {
        let mut batch = Vec::new();
        loop {
            queue.batch(&mut batch).await;
            let written = async {
                writer.write_all(&batch).await?;
                writer.flush().await
            };
            match tokio::time::timeout(STALL, written).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return format!("the tunnel broke: {error}"),
                Err(_) => return "the other side of the tunnel takes nothing".to_owned(),
            }
        }
    };
    tokio::select! {
        biased;
        ended = reading => ended,
        ended = writing => ended,
    }
}
