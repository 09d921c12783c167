//! The agents as child processes: started, watched, restarted with backoff, stopped.
//!
//! Each child has one owner task. A child that ends without being told to is started again: at once the first
//! time, then after a growing pause that is forgotten when it lived for [`STEADY`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ports::{Carrier, Ports};

/// A child that lived this long counts as healthy again.
const STEADY: Duration = Duration::from_secs(20);
/// Longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a child may take to end when asked to: a little more than it allows itself, and less than
/// [`process::SUPERVISOR_DEADLINE`], so that whoever does not end is killed by its supervisor and not orphaned.
const STOP_DEADLINE: Duration = Duration::from_millis(4_100);

/// Attributes of whatever sends OTLP, by the OpenTelemetry specification.
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// A port that an agent is told to bind.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// Its name in the mesh's record.
    pub(crate) role: String,
    /// The options that name its address.
    pub(crate) options: &'static [&'static str],
    /// What it carries.
    pub(crate) carrier: Carrier,
}

/// One agent to run.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// `hub`, `region/NAME` or `edge/NAME`.
    pub(crate) part: String,
    /// Arguments of this program that turn it into the agent.
    pub(crate) arguments: Vec<OsString>,
    /// Addresses that are added to them. They are chosen at each start: somebody else may have taken a port meanwhile.
    pub(crate) ports: Vec<Port>,
    /// Where its log goes.
    pub(crate) log: PathBuf,
    /// Where it writes the addresses it bound.
    pub(crate) bound: PathBuf,
}

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Runs with this process id.
    Running(u32),
    /// Ended by itself; will be started again.
    Restarting,
    /// Was told to stop.
    Stopped,
}

struct Supervised {
    wanted: watch::Sender<bool>,
    doing: watch::Receiver<Doing>,
    removed: CancellationToken,
}

/// All children.
#[derive(Clone)]
pub(crate) struct Children {
    program: PathBuf,
    ports: Ports,
    tasks: TaskTracker,
    cancel: CancellationToken,
    children: Arc<Mutex<BTreeMap<String, Supervised>>>,
}

impl Children {
    /// No children yet; they run `program` and end when `cancel` does.
    pub(crate) fn new(program: PathBuf, ports: Ports, tasks: TaskTracker, cancel: CancellationToken) -> Self {
        Self { program, ports, tasks, cancel, children: Arc::default() }
    }

    /// Supervises an agent from now on; does nothing if that part is supervised already.
    pub(crate) fn supervise(&self, spec: Spec, wanted: bool) {
        let mut children = self.lock();
        if children.contains_key(&spec.part) {
            return;
        }
        let (wanted, wanted_receiver) = watch::channel(wanted);
        let (doing_sender, doing) = watch::channel(Doing::Stopped);
        let removed = self.cancel.child_token();
        children.insert(spec.part.clone(), Supervised { wanted, doing, removed: removed.clone() });
        let (program, ports) = (self.program.clone(), self.ports.clone());
        let links = BTreeMap::new();
        let (wanted, doing) = (wanted_receiver, doing_sender);
        let keeper = Keeper { program, ports, spec, links, linked: false, wanted, doing };
        self.tasks.spawn(keeper.keep(removed));
    }

    /// Stops supervising an agent and ends it.
    pub(crate) fn remove(&self, part: &str) {
        if let Some(child) = self.lock().remove(part) {
            child.removed.cancel();
        }
    }

    /// Says whether a part is to run, and waits until it does or does not. `None` if there is no such part.
    pub(crate) async fn want(&self, part: &str, run: bool) -> Option<Doing> {
        let mut doing = {
            let children = self.lock();
            let child = children.get(part)?;
            child.wanted.send_replace(run);
            child.doing.clone()
        };
        let reached = doing.wait_for(|doing| matches!(doing, Doing::Running(_)) == run).await;
        reached.ok().map(|doing| *doing)
    }

    /// What each part is doing.
    pub(crate) fn doing(&self) -> BTreeMap<String, Doing> {
        self.lock().iter().map(|(part, child)| (part.clone(), *child.doing.borrow())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Supervised>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Owns one child.
struct Keeper {
    program: PathBuf,
    ports: Ports,
    spec: Spec,
    /// Addresses of its links at the last start.
    links: BTreeMap<String, SocketAddr>,
    /// Whether it ever bound them: from then on other agents dial them, and they do not change.
    linked: bool,
    wanted: watch::Receiver<bool>,
    doing: watch::Sender<Doing>,
}

impl Keeper {
    async fn keep(mut self, removed: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            tokio::select! {
                biased;
                () = removed.cancelled() => return,
                wanted = self.wanted.wait_for(|wanted| *wanted) => if wanted.is_err() { return },
            }
            let since = tokio::time::Instant::now();
            match self.spawn() {
                Ok(child) => {
                    if self.watch(child, &removed).await {
                        failures = 0;
                        continue;
                    }
                }
                Err(error) => {
                    tracing::error!(part = self.spec.part, error = format!("{error:#}"), "failed to start")
                }
            }
            failures = if since.elapsed() > STEADY { 1 } else { failures + 1 };
            self.doing.send_replace(Doing::Restarting);
            let pause = pause(failures);
            tokio::select! {
                () = removed.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                _ = self.wanted.changed() => {}
            }
        }
    }

    fn spawn(&mut self) -> Result<Child> {
        let arguments = self.arguments()?;
        let log = OpenOptions::new().create(true).append(true).open(&self.spec.log)?;
        // An old file would name addresses that nobody listens on.
        let _ = std::fs::remove_file(&self.spec.bound);
        let child = Command::new(&self.program)
            .args(arguments)
            .env(ATTRIBUTES, attributes(&self.spec.part, std::env::var(ATTRIBUTES).ok()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // The terminal's Ctrl-C is for the supervisor, which stops the children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        self.doing.send_replace(Doing::Running(child.id().unwrap_or_default()));
        Ok(child)
    }

    /// The arguments of this start.
    fn arguments(&mut self) -> Result<Vec<OsString>> {
        self.linked |= self.spec.bound.exists();
        let mut arguments = self.spec.arguments.clone();
        for Port { role, options, carrier } in &self.spec.ports {
            let address = match self.links.get(role) {
                Some(address) if self.linked => *address,
                _ => self.ports.address(role, *carrier)?,
            };
            if *carrier == Carrier::Link {
                self.links.insert(role.clone(), address);
            }
            arguments
                .extend(options.iter().flat_map(|option| [(*option).into(), address.to_string().into()]));
        }
        Ok(arguments)
    }

    /// Waits for the child's end. True if the end was wanted.
    async fn watch(&mut self, mut child: Child, removed: &CancellationToken) -> bool {
        let pid = child.id();
        let ended = tokio::select! {
            ended = child.wait() => Some(ended),
            () = removed.cancelled() => None,
            _ = self.wanted.wait_for(|wanted| !*wanted) => None,
        };
        if let Some(status) = ended {
            let part = &self.spec.part;
            let status =
                status.map_or_else(|error| error.to_string(), |status: ExitStatus| status.to_string());
            tracing::warn!(part, status, log = %self.spec.log.display(), "ended by itself and is started again");
            return false;
        }
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_DEADLINE, child.wait()).await.is_err() {
            tracing::warn!(part = self.spec.part, "did not end in time and is killed");
            let _ = child.kill().await;
        }
        self.doing.send_replace(Doing::Stopped);
        true
    }
}

/// What a child's own telemetry tells of itself: which part of the mesh it is, beside what the user wants told.
fn attributes(part: &str, given: Option<String>) -> String {
    let given = given.filter(|given| !given.trim().is_empty());
    given.map_or_else(|| format!("skein.part={part}"), |given| format!("skein.part={part},{given}"))
}

/// Nothing before the first restart, then 200 ms doubling up to [`PAUSE_MAX`].
fn pause(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        more => PAUSE_MAX.min(Duration::from_millis(100) * 2_u32.saturating_pow(more - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::{Record, StateDir};

    fn shell(name: &str, script: &str) -> (Children, Spec) {
        let folder = std::env::temp_dir().join(format!("skein-child-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let spec = Spec {
            part: name.into(),
            arguments: vec!["-c".into(), script.into()],
            ports: Vec::new(),
            log: folder.join("log"),
            bound: folder.join("bound.json"),
        };
        let state = StateDir::find(Some(folder)).unwrap();
        let ports = Ports::new(state, Record::default());
        (Children::new("/bin/sh".into(), ports, TaskTracker::new(), CancellationToken::new()), spec)
    }

    #[test]
    fn the_pause_before_a_restart_grows_and_is_bounded() {
        assert_eq!(pause(1), Duration::ZERO);
        assert_eq!(pause(2), Duration::from_millis(200));
        assert_eq!(pause(5), Duration::from_millis(1600));
        assert_eq!(pause(40), PAUSE_MAX);
    }

    #[test]
    fn a_child_tells_which_part_it_is_beside_what_is_given() {
        assert_eq!(attributes("hub", None), "skein.part=hub");
        assert_eq!(attributes("edge/e", Some("a=b".to_owned())), "skein.part=edge/e,a=b");
    }

    #[tokio::test]
    async fn a_killed_child_comes_back_with_another_process_id() {
        let (children, spec) = shell("killed", "exec tail -f /dev/null");
        children.supervise(spec, true);
        let Some(Doing::Running(first)) = children.want("killed", true).await else { panic!("not running") };
        kill_process(Pid::from_raw(i32::try_from(first).unwrap()).unwrap(), Signal::KILL).unwrap();
        let mut doing = children.lock()["killed"].doing.clone();
        let again = doing.wait_for(|doing| matches!(doing, Doing::Running(pid) if *pid != first));
        tokio::time::timeout(Duration::from_secs(20), again).await.unwrap().unwrap();
        children.cancel.cancel();
    }

    #[tokio::test]
    async fn a_child_whose_port_was_taken_is_told_another_one_and_keeps_its_link() {
        let (children, mut spec) = shell("taken", "true");
        let _ = std::fs::remove_file(&spec.bound);
        spec.ports = ["link", "http"]
            .map(|role| Port { role: role.into(), options: &["--a"], carrier: Carrier::Link })
            .into();
        spec.ports[1].carrier = Carrier::Tcp;
        let (_, wanted) = watch::channel(true);
        let (doing, _) = watch::channel(Doing::Stopped);
        let (program, ports, links) = (children.program.clone(), children.ports.clone(), BTreeMap::new());
        let mut keeper = Keeper { program, ports, spec, links, linked: false, wanted, doing };
        let told = |keeper: &mut Keeper| -> [SocketAddr; 2] {
            let arguments = keeper.arguments().unwrap();
            [3, 5].map(|at| arguments[at].to_str().unwrap().parse().unwrap())
        };
        let first = told(&mut keeper);
        assert_eq!(told(&mut keeper), first);
        let takers = first.map(|address| std::net::TcpListener::bind(address).unwrap());
        let second = told(&mut keeper);
        assert!(second[0] != first[0] && second[1] != first[1], "nobody dials it yet");
        drop(takers);
        std::fs::write(&keeper.spec.bound, "{}").unwrap();
        let takers = second.map(|address| std::net::TcpListener::bind(address).unwrap());
        let third = told(&mut keeper);
        std::fs::remove_file(&keeper.spec.bound).unwrap();
        assert!(third[0] == second[0] && third[1] != second[1], "its link is what others dial");
        assert_eq!(told(&mut keeper), third, "also where it failed to bind it");
        drop(takers);
    }

    #[tokio::test]
    async fn a_stopped_child_stays_stopped_until_it_is_wanted() {
        let (children, spec) = shell("stopped", "exec tail -f /dev/null");
        children.supervise(spec, true);
        assert!(matches!(children.want("stopped", true).await, Some(Doing::Running(_))));
        assert_eq!(children.want("stopped", false).await, Some(Doing::Stopped));
        assert!(matches!(children.want("stopped", true).await, Some(Doing::Running(_))));
        assert_eq!(children.want("nobody", true).await, None);
        children.cancel.cancel();
    }
}
