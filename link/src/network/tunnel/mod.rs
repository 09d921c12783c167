//! Datagrams through TCP, for networks that let no UDP pass.
//!
//! ```text
//!   quinn -- name --> Carriers: which carrier has that name now?
//!                        |-- UDP ------------------------------------> UDP socket \
//!                        \-- TCP: capsules in TLS 1.3 in TCP (or in a proxy's CONNECT) -> listener --> quinn
//! ```
//! A tunnel is an HTTP/1.1 upgrade to `connect-udp` (RFC 9298) within TLS 1.3; what follows are DATAGRAM capsules (RFC
//! 9297). A listener is no proxy: whatever target a request names, datagrams go to its own QUIC endpoint, and nowhere
//! else.
//!
//! - `capsule`, `head`: the bytes; `flow`: one tunnel's two directions; `inbox`: what came out of it
//! - `dialer`: the dialling side's socket, which knows two carriers for one peer; `probe`: whether UDP gets through
//! - `listener`: the listening side; `proxy`: by way of an HTTP proxy; `ground`: what lies beneath
//!
//! # Why below QUIC
//! Everything that makes a link (who is who, revocation, sessions, lanes, plans, flow control) is in the QUIC connection.
//! A second carrier for frames would repeat all of it, and moving from one to the other would need a hand-over of
//! streams with its own ways to lose and to repeat messages. As another path of the same connection, a move is what QUIC
//! calls migration (RFC 9000, section 9): the connection, its streams and their bytes stay; datagrams that were lost
//! on the way are sent again, those that come twice are known by their number. The price is that losses of TCP's own
//! are waited for below QUIC, and TLS around QUIC's encryption: both only where nothing else gets through.
//!
//! # Names
//! QUIC knows paths by addresses. A connection that begins in a tunnel, and a tunnel at a listener, have names from
//! 100::/64, which is for discarding (RFC 6666): nobody can be there, no datagram of the network is believed to come from
//! there, and no log or policy takes one for a peer's address ([`Tunnels::origin`] gives that).
//!
//! # Queues
//! A tunnel keeps little: what QUIC hands over while TCP is not taking anything is dropped as a router would drop it, and
//! QUIC slows down. A longer queue would only make control wait behind bulk in it.
//!
//! # Who is let in
//! The outer TLS says to the dialling side that it talks to its mesh, and nothing about the dialling side: that is for
//! QUIC inside, as on UDP. So a tunnel is a stranger's until QUIC inside knows its peer, and strangers are bounded: in
//! number, per address, and in time.

mod capsule;
mod dialer;
pub(super) mod flow;
pub(super) mod ground;
mod head;
mod inbox;
mod listener;
mod probe;
mod proxy;
#[cfg(feature = "simulated")]
pub mod readers;
mod route;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

pub(crate) use dialer::Tunnel;
pub use dialer::{Carriers, Dialer, Place};
pub use listener::{Listener, Tunnels};
pub use proxy::{Proxies, Proxy, ProxyError};
pub use route::Carrier;

/// The network of names (RFC 6666).
const NAMES: u128 = 0x0100 << 112;
/// The port of every name.
const NAME_PORT: u16 = 443;

/// The name of that number.
fn name(number: u64) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from_bits(NAMES | u128::from(number)).into(), NAME_PORT)
}

/// Whether an address is a name, and nobody's address.
fn is_name(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V6(ip) => ip.to_bits() >> 64 == NAMES >> 64,
        IpAddr::V4(_) => false,
    }
}

/// An IPv4 address as IPv6 has it; any other one as it is.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into(),
        SocketAddr::V6(_) => address,
    }
}

/// An address as the system names it that has IPv4 as such.
fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddrV4::new(v4, v6.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// TCP does not get there.
    #[error("failed to connect to tcp {to}: {source}")]
    Connect {
        /// Where to: the listener, or the proxy.
        to: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The proxy does not let it through.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// Whoever answers is not believed, or speaks no TLS 1.3.
    #[error("TLS on tcp {to} failed: {source}")]
    Tls {
        /// Where.
        to: String,
        /// What TLS says.
        source: std::io::Error,
    },
    /// Whoever answers carries no datagrams.
    #[error("tcp {to} carries no links: {reason}")]
    Upgrade {
        /// Where.
        to: String,
        /// What it said instead.
        reason: String,
    },
    /// It takes too long.
    #[error("no tunnel within {0:?}")]
    Deadline(std::time::Duration),
    /// This network has none.
    #[error("links over TCP are turned off")]
    Off,
}
