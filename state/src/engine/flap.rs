//! A unit that is healthy and unhealthy in turns is told once as flapping, with a count, instead of at every turn:
//! reports, statuses and Events above stay few, and the state file is spared.
//!
//! What is decided is decided by what is true; only what is told is damped.

use std::time::Duration;

use protocol::report::{UnitReport, UnitState};
use tokio::time::Instant;

use super::slot::Slot;

/// How often a unit may stop being healthy before that is called flapping.
const TURNS_TOLD: u32 = 3;
/// A unit that was the same for so long flaps no more.
const CALM: Duration = Duration::from_secs(120);

/// How often a unit stopped being healthy, with less than [`CALM`] between two changes.
#[derive(Debug, Default)]
pub(super) struct Flap {
    turns: u32,
    since: Option<Instant>,
    last: Option<Instant>,
    /// The count that was told last.
    told: u32,
}

impl Flap {
    /// Its state changed; `left` tells that it stopped being healthy.
    pub(super) fn note(&mut self, left: bool, now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) > CALM) {
            *self = Self::default();
        }
        if self.turns == 0 && !left {
            return;
        }
        self.turns += u32::from(left);
        self.since.get_or_insert(now);
        self.last = Some(now);
    }

    /// Whether what is told is damped now.
    pub(super) fn is_active(&self, now: Instant) -> bool {
        self.turns > TURNS_TOLD && self.last.is_some_and(|last| now.duration_since(last) <= CALM)
    }

    /// When it is over, if nothing changes until then.
    pub(super) fn ends(&self) -> Option<Instant> {
        let last = self.last.filter(|_| self.told > 0)?;
        Some(last + CALM + Duration::from_millis(1))
    }

    /// Whether it was told and is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.told > 0 && !self.is_active(now)
    }

    /// The count that is worth telling now: 4, 8, 16, ...
    fn worth(&mut self) -> Option<u32> {
        let count = 1u32 << self.turns.ilog2();
        (count > self.told).then(|| {
            self.told = count;
            count
        })
    }
}

impl Slot {
    /// The report of a unit that flaps; `None` when there is nothing new to tell.
    pub(super) fn damped_report(&mut self, now: Instant) -> Option<UnitReport> {
        let count = self.flap.worth()?;
        let seconds = self.flap.since.map_or(0, |since| now.duration_since(since).as_secs());
        let mut report = self.report();
        let now_it = match (report.state, report.message.as_str()) {
            (UnitState::Deployed, _) | (_, "") => report.state.as_str().to_owned(),
            (state, message) => format!("{}: {message}", state.as_str()),
        };
        report.message = format!(
            "is flapping: stopped being healthy {count} times within {seconds} s, last as {now_it}; it is told again \
             when it was the same for {} s",
            CALM.as_secs()
        );
        report.state = UnitState::Provisioning;
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_told_at_powers_of_two_until_it_is_calm() {
        let mut flap = Flap::default();
        let mut told = Vec::new();
        for turn in 0..40u32 {
            flap.note(true, Instant::now());
            flap.note(false, Instant::now());
            if flap.is_active(Instant::now()) {
                told.extend(flap.worth());
            } else {
                assert!(turn < TURNS_TOLD);
            }
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        assert_eq!(told, [4, 8, 16, 32]);
        assert!(!flap.is_over(Instant::now()));
        tokio::time::advance(CALM).await;
        assert!(flap.is_over(Instant::now()) && flap.ends().is_some_and(|at| at <= Instant::now()));
        flap.note(true, Instant::now());
        assert!(!flap.is_active(Instant::now()) && !flap.is_over(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_now_and_then_does_not_flap() {
        let mut flap = Flap::default();
        for _ in 0..100 {
            flap.note(true, Instant::now());
            flap.note(false, Instant::now());
            tokio::time::advance(CALM + Duration::from_secs(1)).await;
            assert!(!flap.is_active(Instant::now()));
        }
    }
}
