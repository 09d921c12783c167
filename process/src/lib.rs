//! What every Skein program is made of, whatever it does: arguments common to all, logs, metrics, the health
//! endpoint, readiness, and an orderly end.
//!
//! # Why a crate
//! The three agents never depend on each other (design: arrows), and each is a process with the same duties
//! towards whoever operates it. Those duties live here once, so that `/metrics`, `/readyz` and a log line
//! look the same everywhere.

pub mod arguments;
pub mod bound;
mod export;
pub mod http;
pub mod logs;
pub mod metrics;
pub mod readiness;
mod shutdown;

pub use arguments::Common;
pub use bound::Bound;
pub use metrics::Registry;
pub use readiness::Readiness;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a program may take from the signal to its end; then it is left as it is.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(4);

/// A running program: who owns its tasks, who ends it, and what it tells about itself.
#[derive(Clone, Default)]
pub struct Process {
    /// Owner of every task of the program.
    pub tasks: TaskTracker,
    /// Cancelled when the program is to end.
    pub cancel: CancellationToken,
    /// What is still missing before the program can do its work.
    pub readiness: Readiness,
    /// The program's own metrics.
    pub metrics: Registry,
}

impl Process {
    /// A program inside another one, as tests start it: no signals, no logs of its own.
    pub fn embedded() -> Self {
        Self::default()
    }

    /// Ends all tasks and waits for them, at most [`DRAIN_DEADLINE`].
    pub async fn drain(&self) {
        self.cancel.cancel();
        self.metrics.clear();
        self.tasks.close();
        if tokio::time::timeout(DRAIN_DEADLINE, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "tasks were still running at the deadline");
        }
    }
}

/// Runs a program until it is told to end or fails: starts logs and the runtime, calls `app`, waits for a signal, drains.
///
/// `app` returns once everything is wired and running on `process.tasks`. The exit code is 0 after an orderly
/// end and 1 when `app` fails; the reason is logged and printed.
pub fn run<F, Fut>(name: &'static str, common: Common, app: F) -> ExitCode
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    logs::start(name, &common);
    if common.exit_with_parent {
        shutdown::follow_parent();
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "failed to start the runtime");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async move {
        let process = Process::embedded();
        shutdown::cancel_on_signal(&process);
        if let Some(endpoint) = &common.otlp_endpoint {
            export::start(name, endpoint, &process);
        }
        let started = tokio::select! {
            biased;
            started = app(process.clone()) => started,
            () = process.cancel.cancelled() => Ok(()),
        };
        if let Err(error) = started {
            tracing::error!("{error:#}");
            process.drain().await;
            return ExitCode::FAILURE;
        }
        process.cancel.cancelled().await;
        tracing::info!("{name} is ending");
        process.drain().await;
        ExitCode::SUCCESS
    });
    runtime.shutdown_background();
    code
}

/// Two workers suffice: the programs wait more than they compute, and an edge counts its megabytes.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().min(8)))
        .max_blocking_threads(16)
        .enable_all()
        .build()
}
