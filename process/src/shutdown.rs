//! The end of a program: signals, and the death of the parent.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};

use crate::Process;

/// Cancels the process at the first SIGINT or SIGTERM.
pub(crate) fn cancel_on_signal(process: &Process) {
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        match signal(kind) {
            Ok(mut stream) => {
                let cancel = process.cancel.clone();
                process.tasks.spawn(async move {
                    tokio::select! {
                        _ = stream.recv() => cancel.cancel(),
                        () = cancel.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "failed to listen for a signal; the program can only be killed")
            }
        }
    }
}

/// Asks the kernel for SIGTERM when the parent dies, also if it died before the asking.
pub(crate) fn follow_parent() {
    let before = getppid();
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::warn!(%error, "failed to bind this program's life to its parent's");
    }
    if getppid() != before {
        tracing::warn!("the parent is gone already");
        std::process::exit(1);
    }
}
