//! What becomes of a datagram.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use identity::{Entropy as _, SeededEntropy};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Statistics;
use super::conditions::Conditions;
use super::socket::Inbox;
use super::stream::{Knock, Wire};
use super::translation::Translation;

/// Port of the first socket that asks for a free one.
const FIRST_FREE_PORT: u16 = 40_000;
/// Bytes of IP and UDP headers around a datagram, for bandwidth.
const HEADER_BYTES: u64 = 28;

/// A datagram that arrives.
pub(super) struct Delivery {
    pub inbox: Arc<Inbox>,
    /// Where it seems to come from.
    pub from: SocketAddr,
    pub at: Instant,
    pub sequence: u64,
}

/// All that the network is.
pub(super) struct Inner {
    pub(super) entropy: SeededEntropy,
    pub(super) began: Instant,
    pub(super) conditions: Conditions,
    pub(super) paths: BTreeMap<(IpAddr, IpAddr), Conditions>,
    pub(super) cut: BTreeSet<(IpAddr, IpAddr)>,
    pub(super) isolated: BTreeSet<IpAddr>,
    /// Nodes that know when they are isolated.
    pub(super) told: BTreeSet<IpAddr>,
    /// Nodes whose datagrams are lost, and whose streams are held up.
    pub(super) udp_blocked: BTreeSet<IpAddr>,
    pub(super) tcp_blocked: BTreeSet<IpAddr>,
    /// Who listens for streams.
    pub(super) doors: BTreeMap<SocketAddr, mpsc::UnboundedSender<Knock>>,
    pub(super) wires: Vec<Wire>,
    pub(super) names: BTreeMap<String, IpAddr>,
    pub(super) inboxes: BTreeMap<SocketAddr, Weak<Inbox>>,
    pub(super) ports: BTreeMap<IpAddr, u16>,
    pub(super) lines: BTreeMap<IpAddr, Instant>,
    pub(super) sequence: u64,
    pub(super) endpoints: u64,
    pub(super) statistics: Statistics,
    pub(super) translation: Translation,
    /// Until when a path loses everything.
    pub(super) bursts: BTreeMap<(IpAddr, IpAddr), Instant>,
}

impl Inner {
    /// The address, with a free port if it has none.
    pub(super) fn claim(&mut self, mut address: SocketAddr) -> io::Result<SocketAddr> {
        if address.port() == 0 {
            let port = self.ports.entry(address.ip()).or_insert(FIRST_FREE_PORT);
            *port = port.checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?;
            address.set_port(*port);
        }
        let taken = self.inboxes.get(&address).is_some_and(|inbox| inbox.strong_count() > 0);
        if taken { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(address) }
    }

    fn chance(&mut self, share: f64) -> bool {
        const STEPS: u64 = 1 << 32;
        // The draw happens in any case, so that conditions do not shift what comes after.
        #[expect(clippy::cast_precision_loss, reason = "32 bits fit a double")]
        let drawn = self.entropy.below(STEPS) as f64 / STEPS as f64;
        drawn < share
    }

    fn mix(&mut self, value: u64) {
        self.statistics.trace = (self.statistics.trace ^ value).wrapping_mul(0x0100_0000_01b3);
    }

    /// One datagram; gives a delivery for each copy that arrives.
    pub(super) fn route(&mut self, from: SocketAddr, to: SocketAddr, bytes: usize) -> Vec<Delivery> {
        let now = Instant::now();
        let length = u64::try_from(bytes).unwrap_or(u64::MAX);
        let at = u64::try_from((now - self.began).as_micros()).unwrap_or(u64::MAX);
        for value in [at, length, u64::from(from.port()), u64::from(to.port())] {
            self.mix(value);
        }
        self.statistics.sent += 1;
        self.statistics.bytes += length;
        let path = (from.ip(), to.ip());
        let conditions = self.conditions_of(path);
        let (lost, twice) = (self.chance(conditions.loss), self.chance(conditions.duplication));
        let severed = self.cut.contains(&path)
            || self.udp_blocked.contains(&path.0)
            || self.udp_blocked.contains(&path.1)
            || self.isolated.contains(&path.0)
            || self.isolated.contains(&path.1)
            || conditions.datagram_bytes.is_some_and(|longest| bytes > longest)
            || self.is_in_burst(path, &conditions, now);
        let shown = self.translation.outward(from);
        let inbox = self.translation.inward(to);
        let inbox = inbox.and_then(|to| self.inboxes.get(&to)).and_then(Weak::upgrade);
        let line = self.line(path.0, &conditions, length, now);
        let (Some(inbox), Some(waited), false, false) = (inbox, line, lost, severed) else {
            self.statistics.dropped += 1;
            return Vec::new();
        };
        let copies = if twice { 2 } else { 1 };
        let jitter = u64::try_from(conditions.jitter.as_micros()).unwrap_or(u64::MAX);
        (0..copies)
            .map(|_| {
                self.sequence += 1;
                let late = Duration::from_micros(self.entropy.below(jitter));
                Delivery {
                    inbox: Arc::clone(&inbox),
                    from: shown,
                    at: now + waited + conditions.latency + late,
                    sequence: self.sequence,
                }
            })
            .collect()
    }

    /// How the path behaves.
    pub(super) fn conditions_of(&self, path: (IpAddr, IpAddr)) -> Conditions {
        self.paths.get(&path).copied().unwrap_or(self.conditions)
    }

    /// Whether the path loses everything now; this datagram may be the one that begins it.
    fn is_in_burst(&mut self, path: (IpAddr, IpAddr), conditions: &Conditions, now: Instant) -> bool {
        let begins = self.chance(conditions.bursts.share);
        let longest = u64::try_from(conditions.bursts.longest.as_micros()).unwrap_or(u64::MAX);
        let length = Duration::from_micros(self.entropy.below(longest));
        let until = self.bursts.entry(path).or_insert(now);
        if begins {
            *until = (*until).max(now + length);
        }
        *until > now
    }

    /// How long the sender's line takes; nothing when its queue is full.
    fn line(
        &mut self,
        source: IpAddr,
        conditions: &Conditions,
        bytes: u64,
        now: Instant,
    ) -> Option<Duration> {
        let Some(bandwidth) = conditions.bandwidth else { return Some(Duration::ZERO) };
        let free = self.lines.get(&source).copied().unwrap_or(now).max(now);
        let time = |bytes: u64| Duration::from_micros(bytes.saturating_mul(8_000_000) / bandwidth.max(1));
        if free - now > time(conditions.queue_bytes) {
            return None;
        }
        let done = free + time(bytes + HEADER_BYTES);
        self.lines.insert(source, done);
        Some(done - now)
    }
}
