//! A bounded queue between what the program tells and what the network takes.
//!
//! Whoever puts something in never waits: what finds the queue full is dropped and counted. One task takes items
//! out in batches; it sleeps without a timer while there are none, so that silence costs nothing.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::settings::{Batching, Signal};
use crate::metrics::{Counter, Gathering};

/// What became of a signal's items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcomes {
    /// Taken by the receiver.
    pub(crate) sent: Counter,
    /// Not taken, after all attempts.
    pub(crate) failed: Counter,
    /// Found the queue full, or came after the end.
    pub(crate) overflowed: Counter,
}

impl Outcomes {
    /// Tells the counts.
    pub(crate) fn measure(&self, signal: Signal, gathering: &mut Gathering) {
        const NAME: &str = "skein_own_telemetry_items_total";
        const HELP: &str =
            "Own spans and log records, and requests with own metrics, by what became of them.";
        let counters = [("sent", &self.sent), ("failed", &self.failed), ("overflowed", &self.overflowed)];
        for (outcome, counter) in counters {
            let labels = [("outcome", outcome), ("signal", signal.name())];
            gathering.counter(NAME, HELP, &labels, counter.count() as f64);
        }
    }
}

/// The end that is put into.
#[derive(Debug, Clone)]
pub(crate) struct Queue<T> {
    sender: mpsc::Sender<T>,
    outcomes: Outcomes,
}

impl<T> Queue<T> {
    /// A queue and the end that is taken from.
    pub(crate) fn new(batching: &Batching, outcomes: Outcomes) -> (Self, mpsc::Receiver<T>) {
        let (sender, receiver) = mpsc::channel(batching.queue_max);
        (Self { sender, outcomes }, receiver)
    }

    /// Puts an item in, or drops it.
    pub(crate) fn put(&self, item: T) {
        if self.sender.try_send(item).is_err() {
            self.outcomes.overflowed.increment();
        }
    }
}

/// Sends what is in a queue until `end`, then what is left in it.
pub(crate) async fn empty<T, F, Fut>(
    signal: Signal,
    mut receiver: mpsc::Receiver<T>,
    batching: Batching,
    outcomes: Outcomes,
    end: CancellationToken,
    send: F,
) where
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let mut health = Health::new(signal, outcomes);
    while !end.is_cancelled() {
        let mut batch = Vec::new();
        let received = tokio::select! {
            received = receiver.recv_many(&mut batch, batching.batch_max) => received,
            () = end.cancelled() => break,
        };
        if received == 0 {
            return;
        }
        fill(&mut batch, &mut receiver, &batching, &end).await;
        let count = batch.len();
        health.after(count, send(batch).await);
    }
    receiver.close();
    loop {
        let mut batch = Vec::new();
        if receiver.recv_many(&mut batch, batching.batch_max).await == 0 {
            return;
        }
        let count = batch.len();
        health.after(count, send(batch).await);
    }
}

/// Waits for others to go with the first items: until the batch is full, its time is over or the end has come.
async fn fill<T>(
    batch: &mut Vec<T>,
    receiver: &mut mpsc::Receiver<T>,
    batching: &Batching,
    end: &CancellationToken,
) {
    let wait = tokio::time::sleep(batching.delay);
    tokio::pin!(wait);
    while batch.len() < batching.batch_max {
        let room = batching.batch_max - batch.len();
        tokio::select! {
            biased;
            received = receiver.recv_many(batch, room) => if received == 0 { return },
            () = &mut wait => return,
            () = end.cancelled() => return,
        }
    }
}

/// Counts what became of a signal, and tells in the log only when that changes: a receiver that is away for a
/// day is one line, not one a second.
pub(crate) struct Health {
    signal: Signal,
    outcomes: Outcomes,
    away: bool,
}

impl Health {
    /// Nothing is wrong yet.
    pub(crate) fn new(signal: Signal, outcomes: Outcomes) -> Self {
        Self { signal, outcomes, away: false }
    }

    /// Takes the result of sending `count` items.
    pub(crate) fn after(&mut self, count: usize, result: Result<(), String>) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let signal = self.signal.name();
        match result {
            Ok(()) => {
                self.outcomes.sent.add(count);
                if std::mem::take(&mut self.away) {
                    let lost = self.outcomes.failed.count() + self.outcomes.overflowed.count();
                    tracing::info!(signal, lost, "own telemetry is taken again");
                }
            }
            Err(error) => {
                self.outcomes.failed.add(count);
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(
                        signal,
                        error,
                        "own telemetry is not taken; it is dropped and counted until it is"
                    );
                }
            }
        }
    }
}

/// At most this long is waited for one sending, whatever the exporter thinks.
pub(crate) const SEND_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio_util::task::TaskTracker;

    use super::*;

    fn batching(queue_max: usize, batch_max: usize) -> Batching {
        Batching { queue_max, batch_max, delay: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn what_finds_the_queue_full_is_dropped_and_counted() {
        let outcomes = Outcomes::default();
        let (queue, _receiver) = Queue::new(&batching(2, 2), outcomes.clone());
        (0..5).for_each(|item| queue.put(item));
        assert_eq!(outcomes.overflowed.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn items_go_in_batches_in_order_and_the_rest_goes_at_the_end() {
        let (outcomes, end) = (Outcomes::default(), CancellationToken::new());
        let (queue, receiver) = Queue::new(&batching(8, 3), outcomes.clone());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&sent);
        let task =
            empty(Signal::Logs, receiver, batching(8, 3), outcomes.clone(), end.clone(), move |batch| {
                record.lock().unwrap().push(batch);
                std::future::ready(Ok(()))
            });
        let task = TaskTracker::new().spawn(task);
        (0..4).for_each(|item| queue.put(item));
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.put(4);
        end.cancel();
        task.await.unwrap();
        assert_eq!(*sent.lock().unwrap(), [vec![0, 1, 2], vec![3, 4]]);
        assert_eq!(outcomes.sent.count(), 5);
        queue.put(9);
        assert_eq!(outcomes.overflowed.count(), 1, "what comes after the end is counted too");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_counted_and_the_next_batch_is_tried_all_the_same() {
        let (outcomes, end) = (Outcomes::default(), CancellationToken::new());
        let (queue, receiver) = Queue::new(&batching(8, 2), outcomes.clone());
        (0..4).for_each(|item| queue.put(item));
        drop(queue);
        empty(Signal::Traces, receiver, batching(8, 2), outcomes.clone(), end, |batch| {
            std::future::ready(if batch[0] == 0 { Err("away".to_owned()) } else { Ok(()) })
        })
        .await;
        assert_eq!((outcomes.failed.count(), outcomes.sent.count()), (2, 2));
    }
}
