//! The spool against faults and against a model.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use protocol::telemetry::{Gap, GapReason, TelemetryAck, TelemetryClass, TelemetryContent, TelemetryItem};

use super::*;

const METRICS: TelemetryClass = TelemetryClass::Metrics;
const EVENTS: TelemetryClass = TelemetryClass::Events;
const LOGS: TelemetryClass = TelemetryClass::Logs;

#[derive(Clone, Default)]
struct Now(Arc<AtomicU64>);

impl Clock for Now {
    fn now(&self) -> UnixMillis {
        self.0.load(Ordering::Relaxed)
    }
}

fn budgets(lane_bytes: u64, bytes_max: u64) -> Budgets {
    Budgets::uniform(LaneBudget { bytes_max: lane_bytes, age_max_ms: 1000 }, bytes_max)
}

fn open(path: &Path, budgets: Budgets, now: &Now) -> Spool {
    static EPOCH: AtomicU64 = AtomicU64::new(1);
    let entropy = Box::new(|| EPOCH.fetch_add(1, Ordering::Relaxed));
    Spool::open(path, budgets, Arc::new(now.clone()), entropy).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn push(spool: &Spool, class: TelemetryClass, size: usize, at: u64) -> Result<u64, PushError> {
    spool.push(class, Bytes::from(vec![7; size]), 10, at, at).await
}

/// Batches, points, first, last and reason.
type GapShape = (u64, u64, u64, u64, GapReason);

/// Number and, for a gap, batches, points, first, last and reason.
fn shape(items: &[TelemetryItem]) -> Vec<(u64, Option<GapShape>)> {
    items
        .iter()
        .map(|item| match &item.content {
            TelemetryContent::Batch { .. } => (item.sequence, None),
            TelemetryContent::Gap(Gap { batches, points, first, last, reason }) => {
                (item.sequence, Some((*batches, *points, *first, *last, *reason)))
            }
        })
        .collect()
}

async fn all(spool: &Spool, class: TelemetryClass) -> Vec<TelemetryItem> {
    spool.peek(class, 0, usize::MAX).await
}

#[test]
fn a_batch_survives_a_kill_as_soon_as_push_returns() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copy) = (folder.path().join("spool"), folder.path().join("copy"));
    let now = Now::default();
    block_on(async {
        let spool = open(&path, budgets(1000, 5000), &now);
        let state = Bytes::from_static(b"ledger");
        let batch = Bytes::from_static(b"batch");
        assert_eq!(spool.push_with_state(METRICS, batch, 3, 1, 2, "cost", state.clone()).await, Ok(1));
        // What a killed process leaves behind: the files as they are now.
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(folder.path().join("spool-wal"), folder.path().join("copy-wal")).unwrap();
        let copied = open(&copy, budgets(1000, 5000), &now);
        assert_eq!(all(&copied, METRICS).await, all(&spool, METRICS).await);
        assert_eq!(copied.state("cost").await, Some(state));
        assert_eq!(copied.streams(), spool.streams());
        assert_eq!(push(&copied, METRICS, 5, 0).await, Ok(2));
    });
}

#[test]
fn acknowledged_batches_go_and_numbers_go_on_after_a_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let now = Now::default();
    block_on(async {
        let spool = open(&path, budgets(1000, 5000), &now);
        for _ in 0..3 {
            push(&spool, METRICS, 10, 5).await.unwrap();
        }
        let epoch = spool.streams()[0].epoch;
        spool.acknowledge(TelemetryAck { class: METRICS, epoch, through: 2 }).await;
        let stale = protocol::telemetry::StreamEpoch(epoch.0 + 99);
        spool.acknowledge(TelemetryAck { class: METRICS, epoch: stale, through: 3 }).await;
        assert_eq!(shape(&all(&spool, METRICS).await), [(3, None)]);
        spool.close().await;
        let spool = open(&path, budgets(1000, 5000), &now);
        assert_eq!(push(&spool, METRICS, 10, 5).await, Ok(4));
        let head = spool.streams().into_iter().find(|head| head.class == METRICS).unwrap();
        assert_eq!((head.epoch, head.first, head.next), (epoch, 3, 5));
        assert_eq!((spool.report().items, spool.report().bytes), (2, 20));
    });
}

#[test]
fn over_budget_the_oldest_become_one_exact_gap() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let spool = open(&folder.path().join("spool"), budgets(100, 5000), &Now::default());
        for at in 1..=5 {
            push(&spool, METRICS, 40, at).await.unwrap();
        }
        let expected = [(3, Some((3, 30, 1, 3, GapReason::Bytes))), (4, None), (5, None)];
        assert_eq!(shape(&all(&spool, METRICS).await), expected);
        assert_eq!((spool.report().gaps, spool.report().points_dropped), (1, 30));
        let refused = push(&spool, METRICS, 101, 6).await;
        assert_eq!(refused, Err(PushError::NoRoom { class: METRICS, size: 101, limit: 100 }));
    });
}

#[test]
fn a_batch_that_may_have_been_sent_leaves_a_gap_of_its_own_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let now = Now::default();
    block_on(async {
        let spool = open(&path, budgets(100, 5000), &now);
        push(&spool, METRICS, 40, 1).await.unwrap();
        push(&spool, METRICS, 40, 2).await.unwrap();
        assert_eq!(spool.peek(METRICS, 0, 1).await.len(), 1, "a limit still gives one");
        spool.close().await;
        let spool = open(&path, budgets(100, 5000), &now);
        for at in 3..=5 {
            push(&spool, METRICS, 40, at).await.unwrap();
        }
        let own = |at| Some((1, 10, at, at, GapReason::Bytes));
        assert_eq!(
            shape(&all(&spool, METRICS).await),
            [(1, own(1)), (2, own(2)), (3, own(3)), (4, None), (5, None)]
        );
    });
}

#[test]
fn lanes_that_share_a_budget_drop_the_lowest_priority_first() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let spool = open(&folder.path().join("spool"), budgets(100, 100), &Now::default());
        push(&spool, LOGS, 50, 1).await.unwrap();
        push(&spool, METRICS, 50, 2).await.unwrap();
        push(&spool, EVENTS, 50, 3).await.unwrap();
        assert_eq!(shape(&all(&spool, LOGS).await), [(1, Some((1, 10, 1, 1, GapReason::Bytes)))]);
        assert_eq!(shape(&all(&spool, METRICS).await), [(1, None)]);
        push(&spool, EVENTS, 50, 4).await.unwrap();
        let refused = push(&spool, LOGS, 50, 5).await;
        assert_eq!(refused, Err(PushError::NoRoom { class: LOGS, size: 50, limit: 100 }));
        assert_eq!(shape(&all(&spool, EVENTS).await), [(1, None), (2, None)]);
        assert_eq!(spool.report().points_dropped, 30, "also the batch that was not taken in");
    });
}

#[test]
fn what_is_too_old_becomes_a_gap_with_that_reason() {
    let folder = tempfile::tempdir().unwrap();
    let now = Now::default();
    block_on(async {
        let spool = open(&folder.path().join("spool"), budgets(1000, 5000), &now);
        push(&spool, METRICS, 10, 1).await.unwrap();
        now.0.store(500, Ordering::Relaxed);
        push(&spool, METRICS, 10, 2).await.unwrap();
        now.0.store(1200, Ordering::Relaxed);
        spool.expire().await;
        assert_eq!(shape(&all(&spool, METRICS).await), [(1, Some((1, 10, 1, 1, GapReason::Age))), (2, None)]);
    });
}

#[test]
fn a_damaged_file_is_replaced_and_its_loss_reported() {
    let now = Now::default();
    let damages: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes[..200].fill(0x5a),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes[4096..].fill(0xff),
    ];
    for damage in damages {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        block_on(async {
            let spool = open(&path, budgets(100_000, 500_000), &now);
            for at in 1..=20 {
                push(&spool, METRICS, 2000, at).await.unwrap();
            }
            let epoch = spool.streams()[0].epoch;
            spool.close().await;
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let _ = std::fs::remove_file(folder.path().join("spool-wal"));
            let spool = open(&path, budgets(100_000, 500_000), &now);
            assert_ne!(spool.streams()[0].epoch, epoch);
            let items = shape(&all(&spool, METRICS).await);
            assert_eq!(items, [(1, Some((20, 200, 1, 20, GapReason::Corrupt)))]);
            assert_eq!(push(&spool, METRICS, 10, 21).await, Ok(2));
            assert!(folder.path().join("spool.damaged").exists());
        });
    }
}

#[test]
fn the_file_of_a_newer_program_is_refused_with_what_helps_and_keeps_what_it_holds() {
    let (now, folder) = (Now::default(), tempfile::tempdir().unwrap());
    let path = folder.path().join("spool");
    block_on(async {
        let spool = open(&path, budgets(100_000, 500_000), &now);
        push(&spool, METRICS, 2000, 1).await.unwrap();
        spool.close().await;
    });
    let set = |version: i64| {
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
    };
    set(7);
    let refused = Spool::open(&path, budgets(100_000, 500_000), Arc::new(now.clone()), Box::new(|| 1));
    let error = refused.err().unwrap().to_string();
    for part in ["version 7", "knows 1", "newer program", "move the file away"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!folder.path().join("spool.damaged").exists());
    set(1);
    block_on(async {
        let spool = open(&path, budgets(100_000, 500_000), &now);
        assert_eq!(all(&spool, METRICS).await.len(), 1);
    });
}

#[test]
fn a_payload_altered_on_disk_is_a_gap_not_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let now = Now::default();
    block_on(async {
        let spool = open(&path, budgets(100_000, 500_000), &now);
        for at in 1..=3 {
            push(&spool, METRICS, 20_000, at).await.unwrap();
        }
        spool.close().await;
        let mut bytes = std::fs::read(&path).unwrap();
        // Deep in the overflow pages of a payload, where SQLite itself checks nothing.
        let run = bytes.windows(64).rposition(|window| window.iter().all(|byte| *byte == 7)).unwrap();
        bytes[run] = 8;
        std::fs::write(&path, bytes).unwrap();
        let spool = open(&path, budgets(100_000, 500_000), &now);
        let items = all(&spool, METRICS).await;
        let gaps = items.iter().filter(|item| matches!(item.content, TelemetryContent::Gap(_))).count();
        assert_eq!((items.len(), gaps), (3, 1));
        assert_eq!(spool.report().points_dropped, 10);
    });
}

#[test]
fn a_full_disk_costs_the_oldest_of_the_lowest_priority() {
    let folder = tempfile::tempdir().unwrap();
    let now = Now::default();
    let small = Budgets { file_bytes_max: Some(400 << 10), ..budgets(10 << 20, 50 << 20) };
    block_on(async {
        let spool = open(&folder.path().join("spool"), small, &now);
        push(&spool, EVENTS, 10_000, 1).await.unwrap();
        for at in 1..=100 {
            push(&spool, LOGS, 10_000, at).await.unwrap();
        }
        let logs = shape(&all(&spool, LOGS).await);
        let (last, dropped) = logs[0];
        let (batches, points, first, newest, reason) = dropped.unwrap();
        assert_eq!((batches, points, first, newest), (last, 10 * last, 1, last));
        assert_eq!(reason, GapReason::DiskFull);
        assert_eq!(logs.len() as u64, 1 + 100 - last, "every number is a batch or in the gap");
        assert_eq!(shape(&all(&spool, EVENTS).await), [(1, None)], "events are not touched");
        let events = push(&spool, EVENTS, 200_000, 2).await;
        assert_eq!(events, Ok(2), "events push logs out");
    });
}

#[test]
fn a_disk_full_of_higher_priority_refuses_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let now = Now::default();
    let small = Budgets { file_bytes_max: Some(400 << 10), ..budgets(10 << 20, 50 << 20) };
    block_on(async {
        let spool = open(&folder.path().join("spool"), small, &now);
        for at in 1..=30 {
            push(&spool, EVENTS, 10_000, at).await.unwrap();
        }
        let mut refused = 0;
        for at in 1..=20 {
            refused +=
                u64::from(push(&spool, LOGS, 100_000, at).await == Err(PushError::DiskFull { class: LOGS }));
        }
        assert_eq!(refused, 20);
        assert_eq!(spool.report().points_dropped, 200);
        let epoch = spool.streams()[0].epoch;
        spool.acknowledge(TelemetryAck { class: EVENTS, epoch, through: 30 }).await;
        assert_eq!(push(&spool, LOGS, 10_000, 21).await, Ok(21));
        let gap = Some((20, 200, 1, 20, GapReason::DiskFull));
        assert_eq!(shape(&all(&spool, LOGS).await), [(20, gap), (21, None)]);
    });
}

#[test]
fn a_batch_that_no_link_carries_or_whose_sender_comes_again_is_refused_without_being_counted() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let spool = open(&folder.path().join("spool"), budgets(64 << 20, 64 << 20), &Now::default());
        let limit = protocol::lane::TELEMETRY_PAYLOAD_BYTES_MAX;
        let refused = spool.offer(METRICS, Bytes::from(vec![7; limit + 1]), 10, 1, 1).await;
        let (size, limit) = (limit as u64 + 1, limit as u64);
        assert_eq!(refused, Err(PushError::NoRoom { class: METRICS, size, limit }));
        assert_eq!(spool.report().points_dropped, 0);
        assert_eq!(spool.offer(METRICS, Bytes::from(vec![7; 100]), 10, 1, 1).await, Ok(1));
    });
}

#[test]
fn a_second_process_is_told_that_the_spool_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let now = Now::default();
    let held = open(&path, budgets(10, 10), &now);
    let second = Spool::open(&path, budgets(10, 10), Arc::new(now.clone()), Box::new(|| 1));
    assert!(matches!(second, Err(OpenError::InUse { .. })));
    block_on(held.close());
    open(&path, budgets(10, 10), &now);
}

#[test]
fn many_pushes_at_once_share_commits_and_keep_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let spool = open(&folder.path().join("spool"), budgets(1 << 20, 8 << 20), &Now::default());
        let mut set = tokio::task::JoinSet::new();
        for at in 0..300 {
            let spool = spool.clone();
            set.spawn(async move { push(&spool, METRICS, 10, at).await.unwrap() });
        }
        let mut numbers = set.join_all().await;
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=300).collect::<Vec<_>>());
        assert!(spool.snapshot.borrow().revision < 150, "{}", spool.snapshot.borrow().revision);
    });
}

/// What a receiver knows of a stream.
#[derive(Default)]
struct Receiver {
    through: u64,
    batches: BTreeMap<u64, u64>,
    lost_points: u64,
    lost_batches: u64,
}

impl Receiver {
    fn take(&mut self, items: &[TelemetryItem]) {
        for item in items {
            let (covers, lost) = match &item.content {
                TelemetryContent::Batch { .. } => (1, None),
                TelemetryContent::Gap(gap) => (gap.batches.max(1), Some(gap)),
            };
            if item.sequence <= self.through {
                continue;
            }
            assert_eq!(item.sequence - covers, self.through, "no hole and no overlap");
            self.through = item.sequence;
            match lost {
                None => drop(self.batches.insert(item.sequence, 10)),
                Some(gap) => {
                    self.lost_points += gap.points;
                    self.lost_batches += gap.batches;
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Push { class: usize, size: usize },
    Send { class: usize, limit: usize },
    Acknowledge { class: usize },
    Time { by: u64 },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0usize..5, 1usize..60).prop_map(|(class, size)| Step::Push { class, size }),
        2 => (0usize..5, 1usize..500).prop_map(|(class, limit)| Step::Send { class, limit }),
        1 => (0usize..5).prop_map(|class| Step::Acknowledge { class }),
        1 => (0u64..700).prop_map(|by| Step::Time { by }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_is_received_once_or_counted_once(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let now = Now::default();
        block_on(async {
            let limits = || budgets(120, 260);
            let mut spool = open(&path, limits(), &now);
            let mut pushed = [0u64; 5];
            let mut receivers: [Receiver; 5] = Default::default();
            for step in steps {
                match step {
                    Step::Push { class, size } => {
                        pushed[class] += 1;
                        let _ = push(&spool, TelemetryClass::ALL[class], size, pushed[class]).await;
                    }
                    Step::Send { class, limit } => {
                        let after = receivers[class].through;
                        receivers[class].take(&spool.peek(TelemetryClass::ALL[class], after, limit).await);
                    }
                    Step::Acknowledge { class } => {
                        let (class, through) = (TelemetryClass::ALL[class], receivers[class].through);
                        let epoch = spool.streams()[0].epoch;
                        spool.acknowledge(TelemetryAck { class, epoch, through }).await;
                    }
                    Step::Time { by } => drop(now.0.fetch_add(by, Ordering::Relaxed)),
                    Step::Reopen => {
                        spool.close().await;
                        spool = open(&path, limits(), &now);
                    }
                }
            }
            for (index, receiver) in receivers.iter_mut().enumerate() {
                receiver.take(&spool.peek(TelemetryClass::ALL[index], receiver.through, usize::MAX).await);
                let received = receiver.batches.len() as u64;
                assert_eq!(received + receiver.lost_batches, pushed[index]);
                assert_eq!(receiver.lost_points, 10 * receiver.lost_batches);
                assert_eq!(receiver.through, pushed[index]);
            }
        });
    }
}
