//! What a listener tells of peers that it does not let in: in the log, and never without bound.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::id::AgentId;
use tokio::time::Instant;

/// Refusals that are told within [`WINDOW`]; the others are counted, and their number is told with the next one.
const TOLD_MAX: u32 = 20;
/// See [`TOLD_MAX`].
const WINDOW: Duration = Duration::from_secs(1);

/// The present window: when it began, what was told in it, and what was not told since the last one that was.
#[derive(Debug)]
struct Told {
    since: Instant,
    told: u32,
    untold: u64,
}

/// Counts refusals and tells the first ones of each window.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    total: AtomicU64,
    versions: AtomicU64,
    told: Mutex<Option<Told>>,
}

impl Refusals {
    /// Somebody at `remote`, who may be known, was refused.
    pub(crate) fn tell(&self, remote: SocketAddr, peer: Option<&AgentId>, reason: impl Display) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let Some(untold) = self.untold() else { return };
        let peer = peer.map_or_else(|| "unknown".to_owned(), ToString::to_string);
        tracing::warn!(%remote, peer, %reason, untold, "link refused");
    }

    /// Another one was refused for its major version.
    pub(crate) fn tell_version(&self, remote: SocketAddr, peer: Option<&AgentId>, reason: impl Display) {
        self.versions.fetch_add(1, Ordering::Relaxed);
        self.tell(remote, peer, reason);
    }

    /// How many of them were refused for their major version.
    pub(crate) fn versions(&self) -> u64 {
        self.versions.load(Ordering::Relaxed)
    }

    /// How many there were.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// How many were not told before this one; nothing when this one is not told either.
    fn untold(&self) -> Option<u64> {
        let now = Instant::now();
        let mut slot = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = slot.get_or_insert(Told { since: now, told: 0, untold: 0 });
        if now.duration_since(told.since) >= WINDOW {
            (told.since, told.told) = (now, 0);
        }
        if told.told == TOLD_MAX {
            told.untold += 1;
            return None;
        }
        told.told += 1;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_are_told_twenty_in_a_second_and_the_others_are_counted() {
        let refusals = Refusals::default();
        let told: Vec<_> = (0..100).filter_map(|_| refusals.untold()).collect();
        assert_eq!(told, [0; 20]);
        tokio::time::advance(WINDOW).await;
        assert_eq!((refusals.untold(), refusals.untold()), (Some(80), Some(0)));
    }
}
