//! A UDP socket whose bytes are counted, and which may be cut off.

use std::fmt::Debug;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::Notify;

/// What passes sockets: bytes of UDP payload, both ways, or nothing while it is shut.
#[derive(Debug, Default)]
pub(super) struct Gate {
    bytes: AtomicU64,
    shut: AtomicBool,
    moved: Notify,
}

impl Gate {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Ends when that is so; asked whenever it opens or shuts.
    pub(super) async fn until(&self, holds: impl Fn() -> bool + Send) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            // From here on nothing is missed.
            moved.as_mut().enable();
            if holds() {
                return;
            }
            moved.await;
        }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) socket: Arc<dyn AsyncUdpSocket>,
    pub(super) gate: Arc<Gate>,
}

impl AsyncUdpSocket for Counted {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if !self.gate.is_shut() {
            self.socket.try_send(transmit)?;
            self.gate.add(transmit.contents.len());
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let polled = self.socket.poll_recv(context, buffers, metas);
            if let Poll::Ready(Ok(count)) = &polled {
                if self.gate.is_shut() {
                    continue;
                }
                self.gate.add(metas[..*count].iter().map(|meta| meta.len).sum());
            }
            return polled;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
