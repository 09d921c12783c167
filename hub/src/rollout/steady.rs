//! What a target is like when moments are left out: links that come and go, and failures that pass by.
//!
//! # Why this is remembered, and only here
//! A link that breaks for a second each minute would begin a deadline anew each minute, and an object that is refused
//! once and taken at the next try is no reason to stop a fleet. Both need to know what was before; the planner is a
//! function of what is now. The status keeps it for a hub that starts anew ([`Steady::clock`]). The time without a hub
//! counts like any other, but nobody is late before his agent had time to be heard again.

use api::skein::RolloutClock;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use protocol::UnixMillis;

use super::facts::{Health, Link};

/// What was seen of a target since it was given what it has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steady {
    /// What it was given, and when.
    given: (String, UnixMillis),
    /// Since when it would be connected, had it been so without a break.
    from: Option<UnixMillis>,
    /// Since when it is away.
    away: Option<UnixMillis>,
    /// Since when it fails, but for moments.
    failing: Option<UnixMillis>,
    /// Since when it fails no more.
    calm: Option<UnixMillis>,
    /// A hub before this one saw it.
    resumed: bool,
}

fn moment(at: UnixMillis) -> MicroTime {
    let at = Timestamp::from_millisecond(at.cast_signed()).unwrap_or(Timestamp::MAX);
    MicroTime(at)
}

fn millis(at: &MicroTime) -> UnixMillis {
    u64::try_from(at.0.as_millisecond()).unwrap_or_default()
}

impl Steady {
    /// As a hub before this one wrote it down.
    pub fn resume(clock: &RolloutClock) -> Self {
        let at = |at: &Option<MicroTime>| at.as_ref().map(millis);
        Self {
            given: (clock.revision.clone(), millis(&clock.given)),
            from: at(&clock.connected),
            away: at(&clock.away),
            failing: at(&clock.failing),
            calm: at(&clock.calm),
            resumed: true,
        }
    }

    /// What is written down of it, for a set (namespace and name).
    pub fn clock(&self, set: &str) -> RolloutClock {
        let at = |at: Option<UnixMillis>| at.map(moment);
        RolloutClock {
            away: at(self.away),
            calm: at(self.calm),
            connected: at(self.from),
            failing: at(self.failing),
            given: moment(self.given.1),
            revision: self.given.0.clone(),
            set: set.to_owned(),
        }
    }

    /// Whether a hub before this one saw it with what it was given.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Takes note of how the target is, and gives that without its moments: `Link::Up` since when it would be connected
    /// without breaks, `Health::Failed` since when it fails. `grace` is the longest moment.
    pub fn see(
        &mut self,
        (revision, at): (&str, UnixMillis),
        (link, health): (Link, Health),
        (now, grace): (UnixMillis, UnixMillis),
    ) -> (Link, Health) {
        if (self.given.0.as_str(), self.given.1) != (revision, at) {
            *self = Self { given: (revision.to_owned(), at), ..Self::default() };
        }
        (self.link(link), self.health(health, now, grace))
    }

    fn link(&mut self, link: Link) -> Link {
        match (link, self.from) {
            (Link::Up(since), None) => {
                let from = since.max(self.given.1);
                self.from = Some(from);
                Link::Up(from)
            }
            (Link::Up(since), Some(from)) => {
                let gone = self.away.take().map_or(0, |away| since.saturating_sub(away));
                self.from = Some(from + gone);
                Link::Up(from + gone)
            }
            (Link::Away(Some(since)), Some(from)) => {
                self.away.get_or_insert(since.max(from));
                link
            }
            (Link::Away(_) | Link::Unsettled, _) => link,
        }
    }

    fn health(&mut self, health: Health, now: UnixMillis, grace: UnixMillis) -> Health {
        if self.calm.is_some_and(|calm| now.saturating_sub(calm) >= grace) {
            (self.failing, self.calm) = (None, None);
        }
        match health {
            Health::Failed(_) => {
                self.calm = None;
                Health::Failed(*self.failing.get_or_insert(now))
            }
            Health::Ready | Health::Waiting => {
                if self.failing.is_some() {
                    self.calm.get_or_insert(now);
                }
                health
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: UnixMillis = 10_000;
    const GIVEN: (&str, UnixMillis) = ("r2", 1_000);

    fn failing(steady: &mut Steady, now: UnixMillis, health: Health) -> Option<UnixMillis> {
        match steady.see(GIVEN, (Link::Up(1), health), (now, GRACE)).1 {
            Health::Failed(since) => Some(now - since),
            Health::Ready | Health::Waiting => None,
        }
    }

    #[test]
    fn what_is_written_down_goes_on_as_if_the_hub_had_never_been_away() {
        let mut steady = Steady::default();
        steady.see(GIVEN, (Link::Up(1), Health::Failed(0)), (2_000, GRACE));
        steady.see(GIVEN, (Link::Away(Some(5_000)), Health::Waiting), (6_000, GRACE));
        let mut resumed = Steady::resume(&steady.clock("default/shop"));
        assert!(resumed.is_resumed());
        for (link, health, now) in [
            (Link::Up(8_000), Health::Failed(0), 8_500),
            (Link::Up(8_000), Health::Ready, 9_000),
            (Link::Up(8_000), Health::Failed(0), 30_000),
        ] {
            let expected = steady.see(GIVEN, (link, health), (now, GRACE));
            assert_eq!(resumed.see(GIVEN, (link, health), (now, GRACE)), expected);
        }
        let other = resumed.see(("r3", 40_000), (Link::Up(1), Health::Waiting), (40_000, GRACE));
        assert_eq!((other.0, resumed.is_resumed()), (Link::Up(40_000), false));
    }

    #[test]
    fn a_failure_that_comes_and_goes_is_one_and_one_that_stays_away_is_over() {
        let mut steady = Steady::default();
        assert_eq!(failing(&mut steady, 2_000, Health::Failed(0)), Some(0));
        assert_eq!(failing(&mut steady, 4_000, Health::Ready), None);
        assert_eq!(failing(&mut steady, 13_000, Health::Failed(0)), Some(11_000));
        assert_eq!(failing(&mut steady, 14_000, Health::Waiting), None);
        assert_eq!(failing(&mut steady, 24_000, Health::Failed(0)), Some(0));
        // What it was given last is another matter.
        let other = steady.see(("r3", 25_000), (Link::Up(1), Health::Failed(0)), (26_000, GRACE));
        assert_eq!(other, (Link::Up(25_000), Health::Failed(26_000)));
    }

    proptest! {
        #[test]
        fn time_connected_adds_up_however_often_the_link_breaks(
            steps in proptest::collection::vec((any::<bool>(), 1..50_000_u64), 1..60),
        ) {
            let mut steady = Steady::default();
            let (mut now, mut connected, mut up) = (GIVEN.1, 0, true);
            let mut link = Link::Up(now);
            for (flips, passes) in steps {
                let (seen, _) = steady.see(GIVEN, (link, Health::Waiting), (now, GRACE));
                if let Link::Up(from) = seen {
                    prop_assert_eq!(now - from, connected);
                }
                now += passes;
                connected += if up { passes } else { 0 };
                if flips {
                    up = !up;
                    link = if up { Link::Up(now) } else { Link::Away(Some(now)) };
                }
            }
        }

        #[test]
        fn only_what_fails_for_longer_than_a_moment_or_again_and_again_counts(
            steps in proptest::collection::vec((any::<bool>(), 1..20_000_u64), 1..60),
        ) {
            let mut steady = Steady::default();
            let mut now = GIVEN.1;
            // When it last began to fail after having been well for longer than a moment.
            let (mut began, mut well): (Option<u64>, Option<u64>) = (None, None);
            for (fails, passes) in steps {
                let seen = failing(&mut steady, now, if fails { Health::Failed(0) } else { Health::Ready });
                if fails {
                    if well.is_some_and(|well| now - well >= GRACE) {
                        began = None;
                    }
                    well = None;
                    began.get_or_insert(now);
                } else {
                    well.get_or_insert(now);
                }
                prop_assert_eq!(seen, began.filter(|_| fails).map(|began| now - began));
                now += passes;
            }
        }
    }
}
