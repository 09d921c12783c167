//! What every Skein program is made of, whatever it does: arguments common to all, logs, metrics, the health
//! endpoint, readiness, and an orderly end.
//!
//! # Why a crate
//! The three agents never depend on each other (design: arrows), and each is a process with the same duties
//! towards whoever operates it. Those duties live here once, so that `/metrics`, `/readyz` and a log line
//! look the same everywhere.

pub mod arguments;
pub mod bound;
pub mod http;
mod logs;
pub mod metrics;
mod otlp;
pub mod readiness;
mod shutdown;
pub mod story;

pub use arguments::{Common, Proxying};
pub use bound::Bound;
pub use metrics::Registry;
pub use readiness::Readiness;

use std::future::Future;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a program's tasks may take from the signal to their end; then they are left as they are.
///
/// # Why these numbers
/// `skein up` promises five seconds. An agent has 3.5 s for its tasks and always 0.3 s more for the rest of its own
/// telemetry; its supervisor kills it after 4.1 s and takes itself at most 4.6 s. Were they the other way round, the
/// supervisor would be gone while an agent still ends, and nobody would see to it.
pub const DRAIN_DEADLINE: Duration = Duration::from_millis(3_500);
/// The same for a program that supervises others.
pub const SUPERVISOR_DEADLINE: Duration = Duration::from_millis(4_500);
/// What is always left for sending the rest of own telemetry; when tasks end sooner, there is more.
const FLUSH_MIN: Duration = Duration::from_millis(300);

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
    /// The vital task that panicked, if one did.
    pub broken: Arc<OnceLock<&'static str>>,
}

/// Ends the program when the task that holds it panics.
struct Vital {
    name: &'static str,
    broken: Arc<OnceLock<&'static str>>,
    cancel: CancellationToken,
}

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                "{} panicked: the program ends, for without it it would only look alive",
                self.name
            );
            let _ = self.broken.set(self.name);
            self.cancel.cancel();
        }
    }
}

impl Process {
    /// A program inside another one, as tests start it: no signals, no logs of its own.
    pub fn embedded() -> Self {
        Self::default()
    }

    /// Runs a task without which the program is of no use: if it panics, the program ends with an error, and whoever
    /// supervises it starts it anew from what is stored.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let vital = Vital { name, broken: self.broken.clone(), cancel: self.cancel.clone() };
        self.tasks.spawn(async move {
            let _vital = vital;
            task.await;
        });
    }

    /// Ends all tasks and waits for them, at most [`DRAIN_DEADLINE`].
    pub async fn drain(&self) {
        self.drain_within(DRAIN_DEADLINE).await;
    }

    async fn drain_within(&self, deadline: Duration) {
        self.cancel.cancel();
        self.metrics.clear();
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait()).await.is_err() {
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
    run_within(DRAIN_DEADLINE, name, common, app)
}

/// As [`run`], for a program that supervises others: it waits [`SUPERVISOR_DEADLINE`] for its end, longer than
/// they may take, so that it is the last to go.
pub fn supervise<F, Fut>(name: &'static str, common: Common, app: F) -> ExitCode
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    run_within(SUPERVISOR_DEADLINE, name, common, app)
}

fn run_within<F, Fut>(deadline: Duration, name: &'static str, common: Common, app: F) -> ExitCode
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut layers = Vec::new();
    let export = otlp::Export::prepare(name, &common, &mut layers);
    logs::start(name, &common, layers);
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
        let exporting = export.map(|export| export.start(&process));
        let started = tokio::select! {
            biased;
            started = app(process.clone()) => started,
            () = process.cancel.cancelled() => Ok(()),
        };
        let code = match started {
            Ok(()) => {
                process.cancel.cancelled().await;
                tracing::info!("{name} is ending");
                if process.broken.get().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
            }
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        };
        let last_metrics = exporting.as_ref().and_then(otlp::Exporting::last_metrics);
        let end = tokio::time::Instant::now() + deadline + FLUSH_MIN;
        process.drain_within(deadline).await;
        if let Some(exporting) = exporting {
            exporting.finish(last_metrics, end - tokio::time::Instant::now()).await;
        }
        code
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[allow(clippy::panic)]
    async fn a_program_whose_vital_task_panics_ends() {
        let process = Process::embedded();
        process.spawn_vital("a part", async { panic!("on purpose") });
        process.cancel.cancelled().await;
        assert_eq!(process.broken.get(), Some(&"a part"));
    }
}
