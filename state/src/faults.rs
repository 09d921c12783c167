//! Crash points for tests: every write of the store and every API call is one.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tokio::sync::Notify;

/// Counts points; at the chosen one the process "dies": from then on nothing is done and nothing answers.
#[derive(Default)]
pub(crate) struct Faults {
    armed: AtomicBool,
    passed: AtomicI64,
    fatal: AtomicI64,
    dead: AtomicBool,
    /// Writes to the API server that still go through before a connection breaks; counted down, two per request.
    unbroken: AtomicI64,
    pub(crate) died: Notify,
}

impl Faults {
    /// Dies at the given point; points are counted from 0, two per operation: before and after its effect.
    pub(crate) fn arm(&self, fatal: i64) {
        self.fatal.store(fatal, Ordering::SeqCst);
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Whether the fatal point was reached.
    pub(crate) fn dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// The process was started again: it dies no more.
    pub(crate) fn revive(&self) {
        self.armed.store(false, Ordering::SeqCst);
        self.dead.store(false, Ordering::SeqCst);
    }

    /// How many points were passed.
    pub(crate) fn passed(&self) -> i64 {
        self.passed.load(Ordering::SeqCst)
    }

    fn point(&self) -> bool {
        let number = self.passed.fetch_add(1, Ordering::SeqCst);
        if self.armed.load(Ordering::SeqCst) && number == self.fatal.load(Ordering::SeqCst) {
            self.dead.store(true, Ordering::SeqCst);
            self.died.notify_one();
        }
        self.dead()
    }

    /// The connection to the API server breaks, once, at the given point of its writes: before or after the effect.
    pub(crate) fn break_at(&self, point: i64) {
        self.unbroken.store(point + 1, Ordering::SeqCst);
    }

    /// Whether the connection breaks here.
    pub(crate) fn breaks(&self) -> bool {
        self.unbroken.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// How many points of the connection were passed, if none was to break.
    pub(crate) fn unbroken(&self) -> i64 {
        -self.unbroken.load(Ordering::SeqCst)
    }

    /// Before an operation's effect.
    pub(crate) fn dies_before(&self) -> bool {
        self.dead() || self.point()
    }

    /// After an operation's effect, before its answer.
    pub(crate) fn dies_after(&self) -> bool {
        self.dead() || self.point()
    }
}
