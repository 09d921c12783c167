//! Devices that wait for approval: kept here until the hub speaks of the edge that each would be.
//!
//! ```text
//!   join --> hub: wait --seat free?--> kept --news of the edge, or KEEP is over--> the hub is asked again --> answer
//!                          \--no-----> answer: come back in N ms
//! ```
//! # Why
//! An approved edge gets a plan at once, and one that was refused is told of at once: so the region hears of a decision
//! in the moment in which it is made, and nobody has to ask all the time. A device that is kept costs a connection and
//! an entry here; more than [`SEATS`] are sent away, and the hub says for how long. The hub is asked again before the
//! device is answered: what the region heard is no proof.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::id::EdgeId;
use tokio::sync::watch;

/// Devices that are kept at a time: half of the places that a listener has for those without a certificate.
pub(super) const SEATS: usize = 128;
/// How long a device is kept. It waits for its answer for 30 s, of which the hub may take its part.
pub(super) const KEEP: Duration = Duration::from_secs(15);
/// When a device that was kept is to ask again, in milliseconds: at once, a little spread.
pub(super) const AGAIN_MS: u64 = 200;

/// The devices that are kept, by the edges that they would be; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<BTreeMap<EdgeId, watch::Sender<()>>>>);

/// A device's seat; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    waiting: Waiting,
    edge: EdgeId,
    news: watch::Receiver<()>,
}

impl Waiting {
    /// A seat for the device that would be that edge; one that asks again takes the seat of before. Take it before the
    /// hub is asked, so that no news is missed. Nothing when all are taken.
    pub(super) fn seat(&self, edge: EdgeId) -> Option<Seat> {
        let mut seats = self.lock();
        if seats.len() >= SEATS && !seats.contains_key(&edge) {
            return None;
        }
        let (sender, news) = watch::channel(());
        seats.insert(edge, sender);
        Some(Seat { waiting: self.clone(), edge, news })
    }

    /// There is news of that edge.
    pub(super) fn wake(&self, edge: EdgeId) {
        if let Some(seat) = self.lock().get(&edge) {
            seat.send_replace(());
        }
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<EdgeId, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Until there is news since this was last called. False when the device has asked anew, and waits there.
    pub(super) async fn news(&mut self) -> bool {
        self.news.changed().await.is_ok()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.waiting.lock();
        // The seat may be somebody else's by now.
        if seats.get(&self.edge).is_some_and(|sender| sender.subscribe().same_channel(&self.news)) {
            seats.remove(&self.edge);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn edge(number: u8) -> EdgeId {
        EdgeId([number; 16])
    }

    #[test]
    fn news_wake_the_device_they_are_about_also_when_they_came_first() {
        let waiting = Waiting::default();
        let (mut one, mut two) = (waiting.seat(edge(1)).unwrap(), waiting.seat(edge(2)).unwrap());
        waiting.wake(edge(1));
        waiting.wake(edge(3));
        assert_eq!(one.news().now_or_never(), Some(true));
        assert_eq!((one.news().now_or_never(), two.news().now_or_never()), (None, None));
        drop((one, two));
        assert_eq!(waiting.count(), 0);
    }

    #[test]
    fn who_asks_again_takes_the_seat_of_before_and_keeps_it_when_that_one_leaves() {
        let waiting = Waiting::default();
        let mut old = waiting.seat(edge(1)).unwrap();
        let mut new = waiting.seat(edge(1)).unwrap();
        assert_eq!(old.news().now_or_never(), Some(false));
        drop(old);
        assert_eq!(waiting.count(), 1);
        waiting.wake(edge(1));
        assert_eq!(new.news().now_or_never(), Some(true));
    }

    #[test]
    fn no_more_are_kept_than_there_are_seats() {
        let waiting = Waiting::default();
        let of = |number: usize| EdgeId((number as u128).to_be_bytes());
        let mut seats: Vec<_> = (0..SEATS).map(|number| waiting.seat(of(number)).unwrap()).collect();
        assert!(waiting.seat(of(SEATS)).is_none());
        assert!(waiting.seat(of(0)).is_some(), "whoever has one may ask again");
        seats.pop();
        assert!(waiting.seat(of(SEATS)).is_some());
    }
}
