//! Virtual time must not run away from the threads that it does not know of: those that write the regions' stores.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest step of virtual time.
const STEP: Duration = Duration::from_millis(20);
/// Real time between two looks at what a thread does.
const LOOK: Duration = Duration::from_micros(20);
/// No thread takes longer, in real time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many wait for the store of each region that runs.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<BTreeMap<usize, Arc<AtomicUsize>>>>);

impl Waiting {
    pub(crate) fn begins(&self, region: usize, waiting: Arc<AtomicUsize>) {
        self.0.lock().unwrap().insert(region, waiting);
    }

    pub(crate) fn ends(&self, region: usize) {
        self.0.lock().unwrap().remove(&region);
    }

    fn any(&self) -> bool {
        self.0.lock().unwrap().values().any(|waiting| waiting.load(Ordering::Relaxed) > 0)
    }
}

/// Tells a story at that pace; how long it was, in virtual time.
pub(crate) async fn told(
    waiting: Waiting,
    story: impl Future<Output = Result<(), String>>,
) -> Result<Duration, String> {
    let begun = tokio::time::Instant::now();
    tokio::select! {
        told = story => told?,
        () = keep(waiting) => {}
    }
    Ok(begun.elapsed())
}

/// Lets no time pass while somebody waits for a store.
async fn keep(waiting: Waiting) {
    loop {
        tokio::time::sleep(STEP).await;
        let begun = Instant::now();
        while waiting.any() && begun.elapsed() < PATIENCE {
            std::thread::sleep(LOOK);
            // Those who were answered in the meantime are no longer counted once they have run.
            tokio::task::yield_now().await;
        }
    }
}
