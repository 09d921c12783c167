//! Statuses that are decided at a moment to come, the first one first.
//!
//! # Why two orders
//! After every turn it is asked when the next one is due. With a plain map that looks at all of them, and ten thousand
//! clusters that change together make ten thousand entries.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::cache::Key;

/// When which status is decided.
#[derive(Debug, Default)]
pub(super) struct Later {
    at: BTreeMap<Key, Instant>,
    order: BTreeSet<(Instant, Key)>,
}

impl Later {
    /// Whoever waits for several moments is looked at at the first.
    pub(super) fn no_later_than(&mut self, key: Key, at: Instant) {
        match self.at.get_mut(&key) {
            Some(known) if *known <= at => return,
            Some(known) => {
                let before = std::mem::replace(known, at);
                self.order.remove(&(before, key.clone()));
            }
            None => {
                self.at.insert(key.clone(), at);
            }
        }
        self.order.insert((at, key));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// It was decided before its time.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some((key, at)) = self.at.remove_entry(key) {
            self.order.remove(&(at, key));
        }
    }

    /// Takes one whose time has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Key> {
        self.next().filter(|at| *at <= now)?;
        let (_, key) = self.order.pop_first()?;
        self.at.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cache::Kind;

    #[test]
    fn each_is_due_once_at_its_first_moment() {
        let (mut later, now) = (Later::default(), Instant::now());
        let key = |name: &str| Key::new(Kind::Edge, "default", name);
        let at = |seconds| now + Duration::from_secs(seconds);
        later.no_later_than(key("one"), at(3));
        later.no_later_than(key("two"), at(2));
        later.no_later_than(key("one"), at(1));
        later.no_later_than(key("one"), at(5));
        later.no_later_than(key("three"), at(1));
        later.forget(&key("three"));
        assert_eq!(later.next(), Some(at(1)));
        assert_eq!(later.pop(now), None);
        let due: Vec<_> = std::iter::from_fn(|| later.pop(at(9))).collect();
        assert_eq!(due, [key("one"), key("two")]);
        assert_eq!((later.next(), later.at.len()), (None, 0));
    }
}
