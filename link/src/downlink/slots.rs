//! When those who are turned away, or told of a restart, may come back: one after the other.
//!
//! # Why
//! A handshake costs about a third of a millisecond of one core, twice that with what follows. Thousands who come back
//! when they like come in the same second as often as not, and live links wait behind them. So each is told a moment of
//! its own; an uplink keeps to it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// From one slot to the next: a core is a third full of handshakes then.
const SPACING: Duration = Duration::from_millis(1);
/// Nobody is sent away for longer; when all slots up to then are given, they are given again.
const LONGEST: Duration = Duration::from_secs(30);

/// The slots of a listener.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<Option<Instant>>);

impl Slots {
    /// The next slot that is not sooner than `least`, in milliseconds from now.
    pub(crate) fn next(&self, least: Duration) -> u64 {
        let now = Instant::now();
        let first = now + least;
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = next.filter(|slot| *slot <= first + LONGEST).map_or(first, |slot| slot.max(first));
        *next = Some(slot + SPACING);
        u64::try_from((slot - now).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slots_are_one_after_the_other_and_never_beyond_the_longest() {
        let (slots, least) = (Slots::default(), Duration::from_millis(100));
        let given: Vec<u64> = (0..10_000).map(|_| slots.next(least)).collect();
        assert_eq!(given, (100..10_100).collect::<Vec<_>>());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(slots.next(least), 100);
        let longest = (0..100_000).map(|_| slots.next(least)).max();
        assert_eq!(longest, Some(30_100));
    }
}
