//! Which carrier a connection has, and what of it is without an answer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::dialer::Tunnel;

/// Datagrams that are sent again when the carrier changes.
const REPEATED_MAX: usize = 16;
/// So many datagrams without an answer, and a pause, are silence: fewer may be acknowledgements, which have none.
const SILENCE_DATAGRAMS: u32 = 3;

/// What carries a link's datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// UDP.
    Udp,
    /// A tunnel through TCP.
    Tcp,
}

impl Carrier {
    /// As metrics, logs and statuses name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// One connection's way out.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) real: SocketAddr,
    pub(super) carrier: Carrier,
    pub(super) tunnel: Option<Arc<Tunnel>>,
    sent: VecDeque<Bytes>,
    unanswered: u32,
    silent_since: Option<Instant>,
}

impl Route {
    pub(super) fn new(real: SocketAddr, tunnel: Option<Arc<Tunnel>>) -> Self {
        let carrier = if tunnel.is_some() { Carrier::Tcp } else { Carrier::Udp };
        Self { real, carrier, tunnel, sent: VecDeque::new(), unanswered: 0, silent_since: None }
    }

    /// A datagram leaves; says whether silence begins with it.
    pub(super) fn sends(&mut self, datagram: &[u8], now: Instant) -> bool {
        if self.sent.len() == REPEATED_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(Bytes::copy_from_slice(datagram));
        self.unanswered = self.unanswered.saturating_add(1);
        if self.unanswered != SILENCE_DATAGRAMS {
            return false;
        }
        self.silent_since = Some(now);
        true
    }

    /// A datagram came by that carrier.
    pub(super) fn receives(&mut self, by: Carrier) {
        if by == self.carrier && self.unanswered > 0 {
            self.answered();
        }
    }

    /// Until when silence is patience; nothing while there is none.
    pub(super) fn silent_at(&self, patience: Duration) -> Option<Instant> {
        self.silent_since.map(|since| since + patience)
    }

    /// Moves on, and gives what has no answer yet.
    pub(super) fn moves(&mut self, to: Option<Arc<Tunnel>>) -> Vec<Bytes> {
        self.carrier = if to.is_some() { Carrier::Tcp } else { Carrier::Udp };
        if to.is_some() {
            self.tunnel = to;
        }
        let unanswered = self.sent.iter().cloned().collect();
        self.answered();
        unanswered
    }

    fn answered(&mut self) {
        self.sent.clear();
        self.unanswered = 0;
        self.silent_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_several_datagrams_without_an_answer_are_silence() {
        let mut route = Route::new(([10, 0, 0, 1], 1).into(), None);
        let (now, patience) = (Instant::now(), Duration::from_secs(2));
        assert!(!route.sends(&[1], now) && !route.sends(&[2], now));
        assert_eq!(route.silent_at(patience), None);
        assert!(route.sends(&[3], now) && !route.sends(&[4], now));
        assert_eq!(route.silent_at(patience), Some(now + patience));
        route.receives(Carrier::Tcp);
        assert!(route.silent_at(patience).is_some(), "what came by another carrier is no answer");
        route.receives(Carrier::Udp);
        assert_eq!(route.silent_at(patience), None);
        (0..40).for_each(|number| {
            route.sends(&[number], now);
        });
        let repeated = route.moves(None);
        assert_eq!(repeated.len(), REPEATED_MAX);
        assert_eq!(repeated.last().map(|last| last[0]), Some(39));
        assert_eq!(route.moves(None).len(), 0);
    }
}
