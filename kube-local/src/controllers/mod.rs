//! What runs beside the API of every cluster, in ONE task: it sleeps until something changed or a moment has come,
//! takes the set of changed objects and lets each controller look at them. Controllers are level-triggered: they
//! see which object to look at, never what happened to it, so a restart takes the same path.

mod accounts;
mod events;
mod garbage;
mod namespaces;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::simulate::{Settings, Workloads};
use crate::timers::Timers;

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
