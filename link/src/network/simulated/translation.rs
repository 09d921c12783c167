//! Network address translation: what others see a node's sockets as.
//!
//! A node that never was rebound is seen as it is. After [`Translation::rebind`] each of its sockets is seen at another
//! port, as behind a router that lost its table: what is sent to where it was seen before reaches nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Ports that sockets are seen at; below those that they have.
const SEEN_PORTS: std::ops::Range<u16> = 1_024..8_000;

/// Who is seen where.
#[derive(Default)]
pub(super) struct Translation {
    behind: BTreeSet<IpAddr>,
    outward: BTreeMap<SocketAddr, SocketAddr>,
    inward: BTreeMap<SocketAddr, SocketAddr>,
    next: u16,
}

impl Translation {
    /// From now on the node's sockets are seen somewhere else.
    pub(super) fn rebind(&mut self, node: IpAddr) {
        self.behind.insert(node);
        self.outward.retain(|socket, _| socket.ip() != node);
        self.inward.retain(|seen, _| seen.ip() != node);
    }

    /// Where the socket is seen.
    pub(super) fn outward(&mut self, socket: SocketAddr) -> SocketAddr {
        if !self.behind.contains(&socket.ip()) {
            return socket;
        }
        if let Some(seen) = self.outward.get(&socket) {
            return *seen;
        }
        let count = SEEN_PORTS.end - SEEN_PORTS.start;
        let seen = SocketAddr::new(socket.ip(), SEEN_PORTS.start + self.next % count);
        self.next = (self.next + 1) % count;
        self.outward.insert(socket, seen);
        self.inward.insert(seen, socket);
        seen
    }

    /// The socket that is seen there.
    pub(super) fn inward(&self, seen: SocketAddr) -> Option<SocketAddr> {
        if self.behind.contains(&seen.ip()) { self.inward.get(&seen).copied() } else { Some(seen) }
    }
}
