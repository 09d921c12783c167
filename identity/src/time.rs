//! The clock that certificates are judged by.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::UnixMillis;
use rustls_pki_types::UnixTime;

use crate::agent::AgentIdentity;

/// A source of the time of day.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch, UTC.
    fn now(&self) -> UnixMillis;

    /// It is that time, as a certificate proves which was just issued. Only a clock that can be put right listens.
    fn set_right(&self, _now: UnixMillis) {}

    /// How far this clock is put ahead of the machine's, in milliseconds.
    fn ahead_ms(&self) -> i64 {
        0
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The machine's clock, put right by what certificates prove: a device without a battery wakes up in 1970, one with
/// a wrong battery in 2056, and both have to link before anybody can tell them the time.
///
/// Within [`CLOCK_TOLERANCE_MS`] the machine's clock is left alone.
#[derive(Debug)]
pub struct MeshClock {
    machine: Arc<dyn Clock>,
    ahead: AtomicI64,
    /// It cannot be earlier.
    floor: AtomicU64,
}

/// How far a machine's clock may be off before it is put right.
pub const CLOCK_TOLERANCE_MS: u64 = 5 * 60 * 1000;

impl MeshClock {
    /// The machine's clock, until something else is known.
    pub fn new(machine: Arc<dyn Clock>) -> Self {
        Self { machine, ahead: AtomicI64::new(0), floor: AtomicU64::new(0) }
    }

    /// Goes on as this identity left it: by the machine's clock, or by what it was put to last time when only that
    /// lies within the life of the certificate; and never before that was made.
    pub fn resume(&self, identity: &AgentIdentity) {
        let lives = |now: UnixMillis| (identity.not_before..=identity.not_after).contains(&now);
        let (raw, ahead) = (self.machine.now(), identity.clock_ahead_ms);
        let ahead = if !lives(raw) && lives(raw.saturating_add_signed(ahead)) { ahead } else { 0 };
        self.ahead.store(ahead, Ordering::Relaxed);
        self.floor.store(identity.not_before, Ordering::Relaxed);
    }
}

impl Clock for MeshClock {
    fn now(&self) -> UnixMillis {
        let put = self.machine.now().saturating_add_signed(self.ahead.load(Ordering::Relaxed));
        put.max(self.floor.load(Ordering::Relaxed))
    }

    fn set_right(&self, now: UnixMillis) {
        let raw = self.machine.now();
        let off = now.abs_diff(raw);
        let signed = i64::try_from(off).unwrap_or(i64::MAX);
        let ahead = match off <= CLOCK_TOLERANCE_MS {
            true => 0,
            false if now < raw => -signed,
            false => signed,
        };
        self.ahead.store(ahead, Ordering::Relaxed);
        self.floor.store(now.saturating_sub(CLOCK_TOLERANCE_MS), Ordering::Relaxed);
    }

    fn ahead_ms(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }
}

/// A clock as rustls wants it.
#[derive(Debug)]
pub(crate) struct TlsClock(pub(crate) Arc<dyn Clock>);

impl rustls::time_provider::TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

/// A time as webpki wants it.
pub(crate) fn unix_time(at: UnixMillis) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(at))
}
