//! Moments at which objects are looked at again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::storage::Address;

/// Objects to look at again at a moment.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeMap<Instant, BTreeSet<Address>>);

impl Timers {
    /// Looks at an object again after a while.
    pub(crate) fn after(&mut self, delay: Duration, address: Address) {
        self.0.entry(Instant::now() + delay).or_default().insert(address);
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|(moment, _)| *moment)
    }

    pub(crate) fn due(&mut self) -> BTreeSet<Address> {
        let later = self.0.split_off(&(Instant::now() + Duration::from_nanos(1)));
        std::mem::replace(&mut self.0, later).into_values().flatten().collect()
    }
}
