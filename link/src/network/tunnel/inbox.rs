//! Datagrams out of tunnels, until QUIC takes them.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn::AsyncUdpSocket;
use quinn::udp::{RecvMeta, Transmit};

/// Datagrams waiting, and who is to hear of them.
#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    datagrams_max: usize,
    /// Whose turn it is: datagrams of tunnels do not hold up those of the socket, nor the other way round.
    socket_first: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    datagrams: VecDeque<(SocketAddr, Bytes)>,
    waker: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(datagrams_max: usize) -> Self {
        Self { state: Mutex::default(), datagrams_max, socket_first: AtomicBool::new(false) }
    }

    /// Adds a datagram of somebody, or drops it when there are too many.
    pub(super) fn push(&self, from: SocketAddr, datagram: &[u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.datagrams.len() >= self.datagrams_max {
            return;
        }
        state.datagrams.push_back((from, Bytes::copy_from_slice(datagram)));
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    /// Takes what there is, here or in the socket, in turn; `received` sees what came from the socket.
    pub(super) fn poll(
        &self,
        socket: &dyn AsyncUdpSocket,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        received: impl FnOnce(&[IoSliceMut<'_>], &mut [RecvMeta]),
    ) -> Poll<io::Result<usize>> {
        let socket_first = self.socket_first.fetch_xor(true, Ordering::Relaxed);
        if !socket_first && let Some(count) = self.take(None, buffers, metas) {
            return Poll::Ready(Ok(count));
        }
        if let Poll::Ready(polled) = socket.poll_recv(context, buffers, metas) {
            if let Ok(count) = &polled {
                received(buffers, &mut metas[..*count]);
            }
            return Poll::Ready(polled);
        }
        match self.take(Some(context), buffers, metas) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Poll::Pending,
        }
    }

    fn take(
        &self,
        context: Option<&Context<'_>>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Option<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()) {
            let Some((from, datagram)) = state.datagrams.pop_front() else { break };
            let length = datagram.len().min(buffer.len());
            buffer[..length].copy_from_slice(&datagram[..length]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (from, length, length);
            count += 1;
        }
        if count == 0
            && let Some(context) = context
        {
            state.waker = Some(context.waker().clone());
        }
        (count > 0).then_some(count)
    }
}

/// The single datagrams of what QUIC hands over at once.
pub(super) fn datagrams<'a>(transmit: &Transmit<'a>) -> impl Iterator<Item = &'a [u8]> {
    let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
    transmit.contents.chunks(size)
}
