//! Events live for an hour.

use std::time::Duration;

use jiff::Timestamp;

use super::Timers;
use crate::engine::{DeleteOptions, Engine};
use crate::object::text;
use crate::storage::Address;

const LIFETIME: Duration = Duration::from_secs(3600);

/// Deletes an event that is old enough, or comes back when it will be.
pub(super) fn look(engine: &Engine, address: &Address, timers: &mut Timers) {
    let (resource, key) = address;
    if &**resource != "events" {
        return;
    }
    let Some(event) = engine.store.find(resource, key).map(|stored| stored.decode()) else { return };
    let seen = text(&event, &["lastTimestamp"]).or_else(|| text(&event, &["metadata", "creationTimestamp"]));
    let seen = seen.and_then(|text| text.parse::<Timestamp>().ok());
    let age = seen.map_or(0, |seen| Timestamp::now().as_second() - seen.as_second());
    let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
    if age < LIFETIME {
        timers.after(LIFETIME - age, address.clone());
        return;
    }
    let Some(kind) = engine.kind("v1", "Event") else { return };
    if let Err(error) = engine.delete(&kind, &key.namespace, &key.name, &DeleteOptions::default()) {
        tracing::debug!(%error, "an old event was not deleted");
    }
}
