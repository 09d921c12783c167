//! What changed, told to whoever asked: a set of keys per subscriber, so that a burst of changes of one thing is
//! heard once and a slow subscriber misses nothing and costs at most one entry per key.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// The telling side.
pub struct Announcer<T>(Arc<Mutex<Vec<Weak<Pending<T>>>>>);

/// The listening side; dropping it ends the subscription.
pub struct Changes<T>(Arc<Pending<T>>);

struct Pending<T> {
    keys: Mutex<BTreeSet<T>>,
    some: Notify,
}

impl<T> Clone for Announcer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Announcer<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Ord + Clone> Announcer<T> {
    /// A subscription that hears every change from now on.
    pub fn subscribe(&self) -> Changes<T> {
        let pending = Arc::new(Pending { keys: Mutex::default(), some: Notify::new() });
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|one| one.strong_count() > 0);
        subscribers.push(Arc::downgrade(&pending));
        Changes(pending)
    }

    /// Tells every subscriber that this changed.
    pub fn announce(&self, key: &T) {
        let subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for pending in subscribers.iter().filter_map(Weak::upgrade) {
            pending.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
            pending.some.notify_one();
        }
    }
}

impl<T: Ord> Changes<T> {
    /// Everything that changed since the last call, in order; waits until there is something.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> BTreeSet<T> {
        loop {
            let keys = self.take();
            if !keys.is_empty() {
                return keys;
            }
            self.0.some.notified().await;
        }
    }

    /// Everything that changed since the last call; empty when nothing did.
    pub fn take(&mut self) -> BTreeSet<T> {
        std::mem::take(&mut *self.0.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_heard_once_and_by_everyone() {
        let announcer = Announcer::default();
        let (mut one, mut other) = (announcer.subscribe(), announcer.subscribe());
        for key in [2, 1, 2] {
            announcer.announce(&key);
        }
        assert_eq!(one.next().await, BTreeSet::from([1, 2]));
        assert!(one.take().is_empty());
        assert_eq!(other.next().await, BTreeSet::from([1, 2]));
        drop(other);
        announcer.announce(&3);
        assert_eq!(one.next().await, BTreeSet::from([3]));
    }
}
