//! Readiness as a set of named guards: the program is ready when none is held.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is still missing before the program can do its work.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, u64>>>);

/// Holds readiness back until it is dropped.
pub struct Guard {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Something that must happen first; dropping the guard says that it did.
    pub fn guard(&self, name: &'static str) -> Guard {
        *self.held().entry(name).or_default() += 1;
        Guard { name, readiness: self.clone() }
    }

    /// The names of the guards that are held, in order.
    pub fn missing(&self) -> Vec<&'static str> {
        self.held().keys().copied().collect()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let missing = {
            let mut held = self.readiness.held();
            match held.get_mut(self.name) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    held.remove(self.name);
                }
            }
            held.keys().copied().collect::<Vec<_>>()
        };
        if missing.is_empty() {
            tracing::info!("ready");
        } else {
            tracing::debug!(done = self.name, ?missing, "not ready");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_ready_when_the_last_guard_is_dropped() {
        let readiness = Readiness::default();
        let (store, link) = (readiness.guard("store"), readiness.guard("link"));
        assert_eq!(readiness.missing(), ["link", "store"]);
        drop(store);
        assert_eq!(readiness.missing(), ["link"]);
        drop(link);
        assert!(readiness.missing().is_empty());
    }
}
