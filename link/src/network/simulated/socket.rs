//! Where datagrams wait until their time has come.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future as _;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Instant, Sleep};

use super::SimulatedNetwork;
use super::route::Delivery;

/// Datagrams of an inbox that are delivered before the reader must come again.
const BATCH: usize = 8;

/// Datagrams on their way to a socket, by time of arrival.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<InboxState>,
}

#[derive(Default)]
struct InboxState {
    datagrams: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    waker: Option<Waker>,
    alarm: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, InboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct SimulatedSocket {
    pub address: SocketAddr,
    pub network: SimulatedNetwork,
    pub inbox: Arc<Inbox>,
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedSocket({})", self.address)
    }
}

/// Sending never waits.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let deliveries =
            self.network.lock().route(self.address, transmit.destination, transmit.contents.len());
        for Delivery { inbox, from, at, sequence } in deliveries {
            let mut state = inbox.lock();
            state.datagrams.insert((at, sequence), (from, transmit.contents.to_vec()));
            // Only a new first datagram changes when its reader must wake.
            let first = state.datagrams.first_key_value().is_some_and(|(key, _)| *key == (at, sequence));
            if first && let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.inbox.lock();
        loop {
            let now = Instant::now();
            let mut count = 0;
            for (buffer, meta) in buffers.iter_mut().zip(metas.iter_mut()).take(BATCH) {
                let Some(entry) = state.datagrams.first_entry().filter(|entry| entry.key().0 <= now) else {
                    break;
                };
                let (from, datagram) = entry.remove();
                buffer[..datagram.len()].copy_from_slice(&datagram);
                *meta = RecvMeta::default();
                meta.addr = from;
                meta.len = datagram.len();
                meta.stride = datagram.len();
                meta.dst_ip = Some(self.address.ip());
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            state.waker = Some(context.waker().clone());
            let Some((&(next, _), _)) = state.datagrams.first_key_value() else {
                state.alarm = None;
                return Poll::Pending;
            };
            if state.alarm.as_ref().is_none_or(|(at, _)| *at != next) {
                state.alarm = Some((next, Box::pin(tokio::time::sleep_until(next))));
            }
            let Some((_, alarm)) = state.alarm.as_mut() else { return Poll::Pending };
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            state.alarm = None;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
