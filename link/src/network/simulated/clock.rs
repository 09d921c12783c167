//! The time of day in virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use identity::Clock;
use protocol::UnixMillis;
use tokio::time::Instant;

/// A time of day that follows virtual time.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    began: Instant,
    start: UnixMillis,
    /// How far the clock is set off, in milliseconds.
    offset: Arc<AtomicI64>,
}

impl VirtualClock {
    /// A clock that shows `start` now; must be made inside the runtime whose time it shall follow.
    pub fn new(start: UnixMillis) -> Self {
        Self { began: Instant::now(), start, offset: Arc::default() }
    }

    /// Another clock, right now, which can be set without setting this one.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { offset: Arc::default(), ..self.clone() }
    }

    /// Sets the clock forward or back.
    pub fn shift(&self, millis: i64) {
        self.offset.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> UnixMillis {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let offset = self.offset.load(Ordering::Relaxed);
        (self.start + elapsed).saturating_add_signed(offset)
    }
}
