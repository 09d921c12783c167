//! What runs beside the API of every cluster, in ONE task: it sleeps until something changed or a moment has come,
//! takes the set of changed objects and lets each controller look at them. Controllers are level-triggered: they
//! see which object to look at, never what happened to it, so a restart takes the same path.

mod accounts;
mod events;
mod garbage;
mod namespaces;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::Simulate;
use crate::engine::Engine;
use crate::simulate::Workloads;
use crate::storage::Address;

/// What the controllers of a cluster need to know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) kubernetes_version: String,
    pub(crate) simulate: Simulate,
}

/// Objects to look at again at a moment.
#[derive(Debug, Default)]
pub(crate) struct Timers(BTreeMap<Instant, BTreeSet<Address>>);

impl Timers {
    /// Looks at an object again after a while.
    pub(crate) fn after(&mut self, delay: Duration, address: Address) {
        self.0.entry(Instant::now() + delay).or_default().insert(address);
    }

    fn next(&self) -> Option<Instant> {
        self.0.first_key_value().map(|(moment, _)| *moment)
    }

    fn due(&mut self) -> BTreeSet<Address> {
        let later = self.0.split_off(&(Instant::now() + Duration::from_nanos(1)));
        std::mem::replace(&mut self.0, later).into_values().flatten().collect()
    }
}

/// Runs all controllers until cancelled.
pub(crate) async fn run(engine: Arc<Engine>, settings: Settings, cancel: CancellationToken) {
    let mut activity = engine.store.follow_changes();
    let mut timers = Timers::default();
    let mut workloads = settings.simulate.workloads.then(|| Workloads::new(engine.clone(), &settings));
    if let Some(workloads) = &mut workloads {
        workloads.start();
    }
    loop {
        activity.borrow_and_update();
        let mut changed = engine.store.take_dirty();
        for address in timers.due() {
            changed.entry(address).or_default();
        }
        if changed.is_empty() {
            let next = timers.next();
            let moment = async {
                match next {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = activity.changed() => if changed.is_err() { return },
                () = moment => {}
            }
            continue;
        }
        for (address, removed) in changed {
            if cancel.is_cancelled() {
                return;
            }
            namespaces::look(&engine, &address);
            accounts::look(&engine, &address);
            events::look(&engine, &address, &mut timers);
            garbage::look(&engine, &address, &removed);
            if let Some(workloads) = &mut workloads {
                workloads.look(&address, &mut timers);
            }
        }
        // One turn at a time: clients of a single-threaded runtime must get theirs.
        tokio::task::yield_now().await;
    }
}
