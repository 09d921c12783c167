//! Which Events are written, and when: what is the same is counted, what is too much is left out. Pure: time is an
//! argument.
//!
//! # Limits
//! - one object gives rise to [`OBJECT_BURST`] Events, and to another one each [`OBJECT_EVERY`];
//! - one that happens again is written at most every [`REPEAT_BASE`], ever more rarely, at last every [`REPEAT_CAP`];
//!   its count misses nothing;
//! - all together are [`BURST`] requests, then one each [`EVERY`]; what waits then is at most [`ENTRIES_MAX`] Events.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::UnixMillis;
use tokio::time::Instant;

use super::{Notice, event};
use crate::object::ObjectId;

/// Events of one object at once.
const OBJECT_BURST: u32 = 8;
/// Time that gives an object another Event.
const OBJECT_EVERY: Duration = Duration::from_secs(60);
/// Events that may be written at once.
const BURST: u32 = 25;
/// Time that allows another one.
const EVERY: Duration = Duration::from_secs(1);
/// Least time between two writes of one Event.
const REPEAT_BASE: Duration = Duration::from_secs(10);
/// And the longest.
const REPEAT_CAP: Duration = Duration::from_secs(15 * 60);
/// Events that are remembered.
const ENTRIES_MAX: usize = 256;
/// An Event that did not happen again for so long is not remembered; the API server may have forgotten it too.
const FORGET: Duration = Duration::from_secs(30 * 60);
/// Failed writes after which an Event is left out.
const TRIES_MAX: u32 = 10;

/// An allowance that grows with time.
#[derive(Debug)]
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn grow(&mut self, most: u32, every: Duration, now: Instant) {
        let passed = now.saturating_duration_since(self.since).as_millis() / every.as_millis();
        let gained = u32::try_from(passed).unwrap_or(u32::MAX);
        if self.left.saturating_add(gained) >= most {
            (self.left, self.since) = (most, now);
        } else {
            self.left += gained;
            self.since += every * gained;
        }
    }

    fn take(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// An Event that is remembered.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it was told last.
    pub(super) notice: Notice,
    /// When it was told first.
    pub(super) first: UnixMillis,
    /// Of the object it is about, once that was asked for.
    pub(super) uid: Option<String>,
    /// How often the API server's Event says that it happened.
    pub(super) written: u32,
    /// How often it happened since.
    pub(super) more: u32,
    /// When that is to be written.
    due: Instant,
    writes: u32,
    tries: u32,
    last: Instant,
}

/// What is remembered of Events.
#[derive(Debug)]
pub(super) struct Book {
    /// By the Event's namespace and name.
    entries: BTreeMap<(String, String), Entry>,
    objects: BTreeMap<ObjectId, Allowance>,
    pace: Allowance,
}

impl Book {
    pub(super) fn new(now: Instant) -> Self {
        let pace = Allowance { left: BURST, since: now };
        Self { entries: BTreeMap::new(), objects: BTreeMap::new(), pace }
    }

    /// Takes a notice that is to be written after `wait`; false if there is no room for it.
    pub(super) fn note(&mut self, notice: Notice, wait: Duration, now: Instant) -> bool {
        let key = (event::namespace(&notice.regarding).to_owned(), event::name(&notice));
        if let Some(entry) = self.entries.get_mut(&key) {
            if notice.once {
                return true;
            }
            if entry.more == 0 {
                let repeat = REPEAT_BASE.saturating_mul(1u32 << entry.writes.min(16)).min(REPEAT_CAP);
                entry.due = (now + wait).max(entry.last + repeat);
            }
            entry.more = entry.more.saturating_add(1);
            entry.notice = notice;
            return true;
        }
        if !self.has_room(now) || !self.allows(&notice.regarding.id, now) {
            return false;
        }
        let first = notice.at;
        let (uid, due) = (None, now + wait);
        let entry = Entry { notice, first, uid, written: 0, more: 1, due, writes: 0, tries: 0, last: now };
        self.entries.insert(key, entry);
        true
    }

    /// Whether another Event can be remembered; forgets old ones for that.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.entries.len() < ENTRIES_MAX {
            return true;
        }
        self.entries.retain(|_, entry| entry.more > 0 || entry.last + FORGET > now);
        let idle = self.entries.iter().filter(|(_, entry)| entry.more == 0);
        let oldest = idle.min_by_key(|(_, entry)| entry.last).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest.filter(|_| self.entries.len() >= ENTRIES_MAX) {
            self.entries.remove(&oldest);
        }
        self.entries.len() < ENTRIES_MAX
    }

    /// Whether an object may have another Event.
    fn allows(&mut self, id: &ObjectId, now: Instant) -> bool {
        if self.objects.len() >= ENTRIES_MAX {
            self.objects.retain(|_, allowance| {
                allowance.grow(OBJECT_BURST, OBJECT_EVERY, now);
                allowance.left < OBJECT_BURST
            });
        }
        if self.objects.len() >= ENTRIES_MAX && !self.objects.contains_key(id) {
            return false;
        }
        let fresh = || Allowance { left: OBJECT_BURST, since: now };
        let allowance = self.objects.entry(id.clone()).or_insert_with(fresh);
        allowance.grow(OBJECT_BURST, OBJECT_EVERY, now);
        allowance.take()
    }

    /// When the next one is to be written.
    pub(super) fn due(&self) -> Option<Instant> {
        let first = self.entries.values().filter(|entry| entry.more > 0).map(|entry| entry.due).min()?;
        Some(if self.pace.left > 0 { first } else { first.max(self.pace.since + EVERY) })
    }

    /// The one to write now, which counts as a request.
    pub(super) fn next(&mut self, now: Instant) -> Option<(String, String)> {
        self.pace.grow(BURST, EVERY, now);
        let waiting = self.entries.iter().filter(|(_, entry)| entry.more > 0 && entry.due <= now);
        let key = waiting.min_by_key(|(_, entry)| entry.due).map(|(key, _)| key.clone())?;
        self.pace.take().then_some(key)
    }

    pub(super) fn entry(&mut self, key: &(String, String)) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// It was written, with this count.
    pub(super) fn written(&mut self, key: &(String, String), count: u32, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.written = count;
            entry.more = 0;
            entry.writes += 1;
            entry.tries = 0;
            entry.last = now;
        }
    }

    /// It could not be written now; false if it is given up.
    pub(super) fn later(&mut self, key: &(String, String), at: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return true };
        entry.tries += 1;
        entry.due = at;
        let stays = entry.tries < TRIES_MAX;
        if !stays {
            self.entries.remove(key);
        }
        stays
    }

    pub(super) fn remove(&mut self, key: &(String, String)) -> Option<Entry> {
        self.entries.remove(key)
    }

    /// Forgets all; tells how many waited.
    pub(super) fn clear(&mut self) -> u64 {
        let waiting = self.entries.values().filter(|entry| entry.more > 0).count();
        self.entries.clear();
        self.objects.clear();
        u64::try_from(waiting).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Reason, Regarding};
    use protocol::plan::ObjectKey;

    fn notice(object: &str, note: &str) -> Notice {
        let key = ObjectKey {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: "shop".into(),
            name: object.into(),
        };
        Notice {
            unit: "default/set:shop/web".into(),
            of_object: true,
            regarding: Regarding::key(&key, "shop"),
            reason: Reason::DriftRepaired,
            note: note.into(),
            at: 1,
            once: false,
        }
    }

    /// Writes all that is due until nothing waits; the moments since the start, and counts.
    fn write(book: &mut Book, now: &mut Instant) -> Vec<u32> {
        let mut counts = Vec::new();
        while let Some(due) = book.due() {
            *now = (*now).max(due);
            let Some(key) = book.next(*now) else { panic!("due and nothing to write") };
            let entry = book.entry(&key).unwrap();
            let count = entry.written + entry.more;
            counts.push(count);
            book.written(&key, count, *now);
        }
        counts
    }

    #[test]
    fn what_happens_again_is_one_event_that_counts_and_is_written_ever_more_rarely() {
        let begin = Instant::now();
        let (mut book, mut now) = (Book::new(begin), begin);
        let mut written = Vec::new();
        // Every second for an hour.
        for second in 0..3_600u32 {
            let at = begin + Duration::from_secs(u64::from(second));
            while let Some(due) = book.due().filter(|due| *due <= at) {
                let key = book.next(due.max(now)).unwrap();
                let entry = book.entry(&key).unwrap();
                let count = entry.written + entry.more;
                written.push(count);
                book.written(&key, count, due);
            }
            now = at;
            assert!(book.note(notice("a", "was changed"), Duration::from_secs(1), at));
        }
        written.extend(write(&mut book, &mut now));
        assert_eq!(written.last(), Some(&3_600), "{written:?}");
        assert!((5..16).contains(&written.len()), "{written:?}");
    }

    #[test]
    fn one_object_cannot_flood() {
        let begin = Instant::now();
        let mut book = Book::new(begin);
        let noted = |book: &mut Book, from: usize, now| {
            let texts = (from..from + 100).map(|text| text.to_string());
            texts.filter(|text| book.note(notice("a", text), Duration::ZERO, now)).count()
        };
        assert_eq!(noted(&mut book, 0, begin), 8);
        assert!(book.note(notice("b", "another object"), Duration::ZERO, begin));
        assert_eq!(noted(&mut book, 100, begin + Duration::from_secs(59)), 0);
        assert_eq!(noted(&mut book, 200, begin + Duration::from_secs(125)), 2);
        assert_eq!(noted(&mut book, 300, begin + Duration::from_secs(86_400)), 8);
    }

    #[test]
    fn many_objects_cannot_flood_together() {
        let begin = Instant::now();
        let (mut book, mut now) = (Book::new(begin), begin);
        let taken = (0..1_000).filter(|one| book.note(notice(&one.to_string(), "x"), Duration::ZERO, begin));
        assert_eq!(taken.count(), ENTRIES_MAX);
        let mut at_once = 0;
        while book.due().is_some_and(|due| due <= begin) {
            let key = book.next(begin).unwrap();
            book.written(&key, 1, begin);
            at_once += 1;
        }
        assert_eq!(at_once, 25);
        assert_eq!(write(&mut book, &mut now).len(), ENTRIES_MAX - 25);
        assert_eq!(now - begin, Duration::from_secs(256 - 25));
        // Now there is room, for what was written may be forgotten.
        assert!(book.note(notice("another", "x"), Duration::ZERO, now));
    }

    #[test]
    fn what_was_told_before_the_restart_is_no_repetition() {
        let now = Instant::now();
        let mut book = Book::new(now);
        let again = Notice { once: true, ..notice("a", "x") };
        assert!(book.note(again.clone(), Duration::ZERO, now) && book.note(again, Duration::ZERO, now));
        assert_eq!(write(&mut book, &mut now.clone()), [1]);
    }

    #[test]
    fn what_cannot_be_written_is_given_up_in_the_end() {
        let now = Instant::now();
        let mut book = Book::new(now);
        book.note(notice("a", "x"), Duration::ZERO, now);
        let key = book.next(now).unwrap();
        let tries = (1..).find(|_| !book.later(&key, now)).unwrap();
        assert_eq!((tries, book.due()), (TRIES_MAX, None));
    }
}
