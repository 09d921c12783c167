//! Putting one object back again and again: a person is answered at once, whoever rewrites at once is damped.
//!
//! # Why
//! What matters is how long an object stayed as we wrote it. A person who deletes it once a second leaves it alone for
//! nearly that second; a controller that wants something else answers our write within milliseconds. So heat rises with
//! every repair and falls with the time for which nobody touched the object; the pauses that we make ourselves cool
//! nothing, for the object is not as it should be then. Hot, the next repair waits, at most [`CALM_CAP`]: that is also
//! the longest time until a field is ours again after the rival is gone, and two writes in that time are no load. Who
//! comes back slowly and for ever costs at most [`REPAIRS_IN_A_ROW`] repairs before he is damped as well.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff;

/// Repairs that are made at once, however soon they are undone.
const REPAIRS_AT_ONCE: u32 = 5;
/// Repairs in a row after which somebody who takes his time is named.
const REPAIRS_TOLD: u32 = 30;
/// Repairs in a row after which somebody who takes his time is damped too.
const REPAIRS_IN_A_ROW: u32 = 60;
/// An object that nobody touched for so long is not fought over any more.
const PEACE: Duration = Duration::from_secs(60);
/// How long an object must stay as it is to make up for one repair.
const COOLING: Duration = Duration::from_millis(500);
const CALM_BASE: Duration = Duration::from_secs(1);
/// The longest wait for the next repair.
const CALM_CAP: Duration = Duration::from_secs(30);
/// Heat at which waiting is longest; a rival that is gone is soon forgotten.
const HEAT_MAX: Duration = COOLING.saturating_mul(REPAIRS_AT_ONCE + 6);

/// Repairs of one object in a row.
#[derive(Debug)]
pub(super) struct Fight {
    repairs: u32,
    /// How long it would have to be left alone to be cold.
    heat: Duration,
    /// It was worth telling since it was last left in peace.
    told: bool,
    last: Instant,
    /// Somebody changed it since the last repair.
    seen: bool,
    not_before: Instant,
    /// Whoever changed it last; nobody is known for what is deleted.
    rival: Option<String>,
    deleted: bool,
}

impl Fight {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            repairs: 0,
            heat: Duration::ZERO,
            told: false,
            last: now,
            seen: false,
            not_before: now,
            rival: None,
            deleted: false,
        }
    }

    /// Somebody changed the object.
    pub(super) fn changed(&mut self, rival: Option<&str>, now: Instant) {
        self.cool(now);
        self.deleted = false;
        self.met(rival);
    }

    /// This is who wrote last, should it turn out that it matters.
    pub(super) fn met(&mut self, rival: Option<&str>) {
        if let Some(rival) = rival {
            self.rival = Some(rival.to_owned());
        }
    }

    /// Somebody deleted the object.
    pub(super) fn deleted(&mut self, now: Instant) {
        self.cool(now);
        self.deleted = true;
    }

    /// The object was as it should be until now.
    fn cool(&mut self, now: Instant) {
        if std::mem::replace(&mut self.seen, true) {
            return;
        }
        let left_alone = now.saturating_duration_since(self.last);
        if left_alone > PEACE {
            (self.repairs, self.told, self.rival) = (0, false, None);
        }
        self.heat = self.heat.saturating_sub(left_alone);
        if self.over() == 0 {
            self.not_before = now;
        }
    }

    /// How far it is beyond what is answered at once.
    fn over(&self) -> u32 {
        let hot = u32::try_from(self.heat.as_millis() / COOLING.as_millis()).unwrap_or(u32::MAX);
        hot.saturating_sub(REPAIRS_AT_ONCE).max(self.repairs.saturating_sub(REPAIRS_IN_A_ROW))
    }

    /// It was put back.
    pub(super) fn repaired(&mut self, now: Instant, seed: &str) {
        self.cool(now);
        self.seen = false;
        self.heat = (self.heat + COOLING).min(HEAT_MAX);
        self.repairs = self.repairs.saturating_add(1);
        self.last = now;
        let over = self.over();
        self.told |= over > 0 || self.repairs > REPAIRS_TOLD;
        self.not_before = match over.checked_sub(1) {
            Some(failures) => now + backoff::delay(CALM_BASE, CALM_CAP, failures, seed),
            None => now,
        };
    }

    /// The moment from which the object may be put back.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// What somebody did last.
    pub(super) fn what(&self) -> String {
        match (&self.rival, self.deleted) {
            (_, true) => "was deleted".to_owned(),
            (Some(rival), false) => format!("was changed by \"{rival}\""),
            (None, false) => "was changed".to_owned(),
        }
    }

    /// Whether it is worth telling.
    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// When it is over, if nobody touches the object until then.
    pub(super) fn ends(&self) -> Instant {
        self.last + PEACE
    }

    /// What is told of it. The count is rough, so that it is not told at every repair.
    pub(super) fn told(&self) -> Option<String> {
        if !self.is_told() {
            return None;
        }
        let mut more_than = REPAIRS_AT_ONCE;
        while more_than.saturating_mul(2) < self.repairs {
            more_than *= 2;
        }
        let who = match (&self.rival, self.deleted) {
            (_, true) => "somebody deletes it and this unit puts it back".to_owned(),
            (Some(rival), false) => format!("\"{rival}\" and this unit fight over it"),
            (None, false) => "another manager and this unit fight over it".to_owned(),
        };
        Some(format!("was put back more than {more_than} times in a row: {who}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody who changes the object this long after each repair; the waits before the repairs.
    fn waits(after: Duration, times: u32) -> Vec<Duration> {
        let mut now = Instant::now();
        let mut fight = Fight::new(now);
        let mut waits = Vec::new();
        for _ in 0..times {
            now += after;
            fight.changed(Some("rival"), now);
            let at = fight.not_before().max(now);
            waits.push(at - now);
            now = at;
            fight.repaired(now, "unit");
        }
        waits
    }

    #[test]
    fn a_person_who_deletes_once_a_second_is_answered_at_once() {
        for after in [500, 700, 900, 1_000, 3_000] {
            let waits = waits(Duration::from_millis(after), REPAIRS_IN_A_ROW);
            assert!(waits.iter().all(Duration::is_zero), "{after} ms: {waits:?}");
        }
    }

    #[test]
    fn who_comes_now_and_then_is_not_called_a_rival_before_he_does_it_all_the_time() {
        let mut now = Instant::now();
        let mut fight = Fight::new(now);
        for times in 1..=40 {
            now += Duration::from_secs(3);
            fight.deleted(now);
            fight.repaired(now, "unit");
            assert_eq!(fight.is_told(), times > REPAIRS_TOLD, "{times}");
        }
    }

    #[test]
    fn whoever_rewrites_at_once_is_damped_and_costs_two_writes_in_half_a_minute() {
        for after in [0, 1, 20, 100] {
            let waits = waits(Duration::from_millis(after), 40);
            let at_once = waits.iter().take_while(|wait| wait.is_zero()).count();
            assert!((5..=8).contains(&at_once), "{after} ms: {waits:?}");
            assert!(waits.iter().all(|wait| *wait <= CALM_CAP), "{waits:?}");
            let last = waits[20..].iter().min().copied().unwrap_or_default();
            assert!(last >= CALM_CAP / 3, "{after} ms: {waits:?}");
        }
    }

    #[test]
    fn whoever_takes_his_time_for_ever_is_damped_after_a_while() {
        let waits = waits(Duration::from_secs(2), 80);
        assert!(waits[..usize::try_from(REPAIRS_IN_A_ROW).unwrap()].iter().all(Duration::is_zero));
        assert!(waits[70..].iter().all(|wait| *wait >= CALM_CAP / 3), "{waits:?}");
    }

    #[test]
    fn a_fight_that_is_over_is_forgotten() {
        let mut now = Instant::now();
        let mut fight = Fight::new(now);
        for _ in 0..20 {
            fight.changed(Some("rival"), now);
            now = now.max(fight.not_before());
            fight.repaired(now, "unit");
        }
        assert!(fight.told().unwrap().contains("\"rival\""), "{:?}", fight.told());
        // A few seconds of peace, and the next change is put back at once.
        now += Duration::from_secs(4);
        fight.deleted(now);
        assert!(fight.not_before() <= now, "{fight:?}");
        fight.repaired(now, "unit");
        assert!(fight.told().unwrap().contains("somebody deletes it"));
        now = fight.ends() + Duration::from_secs(1);
        fight.changed(None, now);
        fight.repaired(now, "unit");
        assert!(!fight.is_told() && fight.not_before() <= now);
    }

    #[test]
    fn the_count_is_told_in_doublings() {
        let mut fight = Fight::new(Instant::now());
        let mut told = Vec::new();
        for _ in 0..90 {
            fight.repaired(Instant::now(), "unit");
            told.extend(fight.told());
        }
        told.dedup();
        let counts: Vec<&str> = told.iter().filter_map(|text| text.split_whitespace().nth(5)).collect();
        assert_eq!(counts, ["5", "10", "20", "40", "80"]);
    }
}
