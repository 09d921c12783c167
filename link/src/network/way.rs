//! How the machine reaches an address: by which interface and from which of its own addresses, as the kernel says.
//!
//! # Why the kernel is asked
//! A pause before dialling again, and the pause before a lost datagram is sent again, grow with the length of an outage.
//! Whoever hears that a cable is plugged in, or that a radio has found its network, need not wait for either. Of all that
//! happens to a machine's network (pods come and go, each with interfaces and routes of its own) only that counts which
//! leads to the peer, so at each notice the kernel is asked for the way there, and only another answer is news.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A way that leads somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The machine's own address on it.
    pub source: IpAddr,
    /// The kernel's number of the interface; 0 where nobody knows.
    pub interface: u32,
}

/// Stands for everywhere while nothing was dialled yet; reserved for documentation, so nobody is there.
pub const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);

/// The way there now; nothing when none leads there, or its cable is unplugged.
pub(super) fn way(to: SocketAddr) -> Option<Way> {
    kernel::way(to.ip()).unwrap_or_else(|_| by_socket(to))
}

/// Ends when the way there is another one than `from`; never where the kernel does not tell.
pub(super) async fn rerouted(to: SocketAddr, from: Option<Way>) {
    match kernel::Notices::subscribe() {
        Ok(mut notices) => {
            while way(to) == from {
                if let Err(error) = notices.next().await {
                    tracing::debug!(%error, "the kernel tells no more of the network");
                    std::future::pending::<()>().await;
                }
            }
        }
        Err(error) => {
            tracing::debug!(%error, "the kernel does not tell of the network");
            std::future::pending().await
        }
    }
}

/// What a socket that sends there would be bound to: nothing is sent.
fn by_socket(to: SocketAddr) -> Option<Way> {
    let any: IpAddr =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    let source = socket.local_addr().ok()?.ip();
    Some(Way { source, interface: 0 })
}

/// Elsewhere nobody tells.
#[cfg(not(target_os = "linux"))]
mod kernel {
    use super::{IpAddr, Way, io};

    pub(super) fn way(_: IpAddr) -> io::Result<Option<Way>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) struct Notices;

    impl Notices {
        pub(super) fn subscribe() -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        #[allow(clippy::unused_async, reason = "the same on every system")]
        pub(super) async fn next(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// Linux tells over netlink (rtnetlink(7)).
#[cfg(target_os = "linux")]
mod kernel {
    use rustix::fd::OwnedFd;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
    use tokio::net::UnixDatagram;

    use super::{IpAddr, Way, io};

    /// Interfaces, and addresses and routes of IPv4 and IPv6: the multicast groups of rtnetlink, as bits.
    const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
    const HEADER_BYTES: usize = 16;
    const ROUTE_BYTES: usize = 12;
    const LINK_BYTES: usize = 16;
    const ATTRIBUTE_BYTES: usize = 4;
    /// Message types.
    const NEW_LINK: u16 = 16;
    const GET_LINK: u16 = 18;
    const NEW_ROUTE: u16 = 24;
    const GET_ROUTE: u16 = 26;
    /// Attributes of a route.
    const DESTINATION: u16 = 1;
    const INTERFACE: u16 = 4;
    const SOURCE: u16 = 7;
    /// Of an interface: it is up, and its other end too.
    const RUNNING: u32 = 0x40;
    const REQUEST: u16 = 1;

    /// Tells that something about the machine's network changed.
    ///
    /// The runtime has no type for such sockets. What it does with datagrams between processes is what is done here:
    /// wait until there is one, and receive it.
    pub(super) struct Notices(UnixDatagram);

    impl Notices {
        pub(super) fn subscribe() -> io::Result<Self> {
            UnixDatagram::from_std(socket(GROUPS)?.into()).map(Self)
        }

        /// Waits for the next change, or for several that came at once.
        pub(super) async fn next(&mut self) -> io::Result<()> {
            let mut buffer = [0; 8192];
            told(self.0.recv(&mut buffer).await)?;
            loop {
                match self.0.try_recv(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    more => told(more)?,
                }
            }
        }
    }

    /// Whether something was told: more than fits was, too.
    fn told(received: io::Result<usize>) -> io::Result<()> {
        match received {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn socket(groups: u32) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(socket)
    }

    /// The way there; nothing when the kernel knows none, an error when it cannot be asked.
    pub(super) fn way(to: IpAddr) -> io::Result<Option<Way>> {
        let socket = socket(0)?;
        let (family, bytes) = match to {
            IpAddr::V4(to) => (AddressFamily::INET, to.octets().to_vec()),
            IpAddr::V6(to) => (AddressFamily::INET6, to.octets().to_vec()),
        };
        let mut body = vec![0; ROUTE_BYTES];
        let bits = u8::try_from(bytes.len() * 8).unwrap_or(u8::MAX);
        body[0] = u8::try_from(family.as_raw()).unwrap_or_default();
        body[1] = bits;
        let length = u16::try_from(ATTRIBUTE_BYTES + bytes.len()).unwrap_or(u16::MAX);
        body.extend(length.to_ne_bytes());
        body.extend(DESTINATION.to_ne_bytes());
        body.extend(bytes);
        let Some(route) = ask(&socket, GET_ROUTE, &body, NEW_ROUTE)? else { return Ok(None) };
        let attributes = || attributes(route.get(ROUTE_BYTES..).unwrap_or_default());
        let interface =
            attributes().find(|(kind, _)| *kind == INTERFACE).and_then(|(_, value)| number(value));
        let source = attributes().find(|(kind, _)| *kind == SOURCE).and_then(|(_, value)| address(value));
        let (Some(interface), Some(source)) = (interface, source) else { return Ok(None) };
        let mut body = [0; LINK_BYTES];
        body[4..8].copy_from_slice(&interface.to_ne_bytes());
        let link = ask(&socket, GET_LINK, &body, NEW_LINK)?;
        let flags = link.as_deref().and_then(|link| number(link.get(8..12)?));
        let runs = flags.is_some_and(|flags| flags & RUNNING != 0);
        Ok(runs.then_some(Way { source, interface }))
    }

    /// What the kernel answers, without the header; nothing when it answers with an error.
    fn ask(socket: &OwnedFd, kind: u16, body: &[u8], wanted: u16) -> io::Result<Option<Vec<u8>>> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        // Its number and the sender's: one question at a time needs neither.
        message.extend([0; 8]);
        message.extend(body);
        rustix::net::send(socket, &message, SendFlags::empty())?;
        // The kernel has answered when the question is sent.
        let mut buffer = vec![0; 32 * 1024];
        let (_, read) = rustix::net::recv(socket, &mut buffer, RecvFlags::DONTWAIT)?;
        buffer.truncate(read);
        let answered = buffer.get(4..6).is_some_and(|kind| kind == wanted.to_ne_bytes());
        let length = buffer.get(..4).and_then(number).and_then(|length| usize::try_from(length).ok());
        let end = length.unwrap_or_default().min(buffer.len());
        Ok(answered.then(|| buffer.get(HEADER_BYTES..end).unwrap_or_default().to_vec()))
    }

    /// Kind and value of each.
    fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
        std::iter::from_fn(move || {
            let short = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
            let (length, kind) = (usize::from(short(0)?), short(2)?);
            let value = rest.get(ATTRIBUTE_BYTES..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((kind, value))
        })
    }

    fn number(bytes: &[u8]) -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }

    fn address(bytes: &[u8]) -> Option<IpAddr> {
        match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
            _ => None,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn attributes_that_are_cut_off_end_the_list() {
            let whole: Vec<u8> =
                [[8_u16.to_ne_bytes(), 4_u16.to_ne_bytes()].concat(), vec![2, 0, 0, 0]].concat();
            assert_eq!(attributes(&whole).collect::<Vec<_>>(), [(4, &[2, 0, 0, 0][..])]);
            for end in 0..whole.len() {
                assert_eq!(attributes(&whole[..end]).count(), 0, "{end}");
            }
            let endless = [0; 8];
            assert_eq!(attributes(&endless).count(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_oneself_is_known_and_the_same_however_it_is_asked_for() {
        let own: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let found = way(own).unwrap();
        assert_eq!(found.source, own.ip());
        assert_eq!(by_socket(own).unwrap().source, found.source);
    }

    #[tokio::test]
    async fn another_way_than_the_one_named_is_news_at_once() {
        let own: SocketAddr = "127.0.0.1:9".parse().unwrap();
        rerouted(own, None).await;
        let same = rerouted(own, way(own));
        assert!(futures::FutureExt::now_or_never(same).is_none());
    }
}
