//! Child processes that never outlive the test program.
//!
//! # Why
//! `Drop` is not enough: statics are never dropped, and a test program may be killed. So the first child
//! also starts a reaper, a small shell whose standard input is a pipe from this program. It is told
//! about each child; when the pipe closes, however this program ended, it kills those that are left and
//! removes the folders it was given.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::Context as _;

const REAPER: &str = r#"
trap '' INT TERM HUP
pids= folders= cgroups=
while read -r verb what; do
    case $verb in
        born) pids="$pids $what" ;;
        dead) left=; for pid in $pids; do [ "$pid" = "$what" ] || left="$left $pid"; done; pids=$left ;;
        folder) folders="$folders$what
" ;;
        cgroup) cgroups="$cgroups $what" ;;
    esac
done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null
for cgroup in $cgroups; do
    tries=0
    while [ -d "$cgroup" ] && [ "$tries" -lt 100 ]; do
        find "$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null | xargs -r kill -9 2>/dev/null
        find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
        [ ! -d "$cgroup" ] || sleep 0.1
        tries=$((tries + 1))
    done
done
printf %s "$folders" | while read -r folder; do rm -rf -- "$folder"; done
"#;

/// A running program whose output goes to a log file; killed (SIGKILL) when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with no standard input and its output appended to `log`.
    ///
    /// # Errors
    /// The log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("failed to open the log of {name}, '{}'", log.display()))?;
        let errors = output.try_clone().with_context(|| format!("failed to share the log of {name}"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("failed to start {name} ('{}')", command.get_program().display()))?;
        let process = Self { name: name.to_owned(), child, log: log.to_owned() };
        tell_reaper("born", process.child.id())?;
        Ok(process)
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines of its log, for error texts.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Checks that it still runs.
    ///
    /// # Errors
    /// It ended; the text holds the end of its log.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        match self.exited() {
            None => Ok(()),
            Some(status) => {
                anyhow::bail!(
                    "{} ended early ({status}); its log ends with:\n{}",
                    self.name,
                    self.log_tail(20)
                )
            }
        }
    }

    /// Kills it (SIGKILL) and waits until it is gone. Does nothing when it already ended.
    pub fn kill(&mut self) {
        // Both fail only for a child that was waited for before, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = tell_reaper("dead", self.child.id());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Has `folder` removed when this program ends, after its children are dead. For folders that statics own.
///
/// # Errors
/// The path holds a line break, or the reaper cannot be started.
pub fn remove_at_exit(folder: &Path) -> anyhow::Result<()> {
    let path = folder.to_str().filter(|path| !path.contains('\n'));
    tell_reaper("folder", path.with_context(|| format!("'{}' cannot be told to a shell", folder.display()))?)
}

/// Has the processes of a cgroup killed, and it and those below removed, when this program ends.
///
/// # Errors
/// The path holds white space, or the reaper cannot be started.
pub fn remove_cgroups_at_exit(cgroup: &Path) -> anyhow::Result<()> {
    let path = cgroup.to_str().filter(|path| !path.contains(char::is_whitespace));
    tell_reaper("cgroup", path.with_context(|| format!("'{}' cannot be told to a shell", cgroup.display()))?)
}

/// Runs a program to its end and answers what it wrote to standard output.
///
/// # Errors
/// It cannot be started, or it failed; the text holds what it wrote to standard error.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let done = command.output().with_context(|| format!("failed to start {command:?}"))?;
    let errors = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "{command:?} failed ({}):\n{errors}", done.status);
    String::from_utf8(done.stdout).with_context(|| format!("{command:?} wrote bytes that are not UTF-8"))
}

fn tell_reaper(verb: &str, what: impl std::fmt::Display) -> anyhow::Result<()> {
    static PIPE: OnceLock<Mutex<Option<ChildStdin>>> = OnceLock::new();
    let mut pipe = PIPE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.is_none() {
        *pipe = Some(start_reaper()?);
    }
    let pipe = pipe.as_mut().context("the reaper has no pipe")?;
    // One write per line: lines shorter than PIPE_BUF are never torn.
    pipe.write_all(format!("{verb} {what}\n").as_bytes()).context("failed to tell the reaper")
}

fn start_reaper() -> anyhow::Result<ChildStdin> {
    let mut reaper = Command::new("sh")
        .args([OsString::from("-c"), OsString::from(REAPER)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start the reaper ('sh')")?;
    reaper.stdin.take().context("the reaper has no standard input")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wait::until;

    fn alive(id: u32) -> bool {
        // A zombie that nobody waited for counts as dead.
        std::fs::read_to_string(format!("/proc/{id}/stat"))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
    }

    #[test]
    fn a_dropped_process_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        let process =
            Process::spawn("sleep", Command::new("sleep").arg("600"), &dir.path().join("log")).unwrap();
        let id = process.id();
        assert!(alive(id));
        drop(process);
        assert!(!alive(id));
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Process::spawn(
            "whiner",
            Command::new("sh").args(["-c", "echo it hurts >&2; exit 3"]),
            &dir.path().join("log"),
        )
        .unwrap();
        process.child.wait().unwrap();
        let text = process.check_running().unwrap_err().to_string();
        assert!(text.contains("whiner ended early") && text.ends_with("it hurts"), "{text}");
    }

    #[tokio::test]
    async fn the_reaper_kills_what_is_left_and_removes_its_folders() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("two  words");
        std::fs::create_dir(&folder).unwrap();
        let mut left = Command::new("sleep").arg("600").spawn().unwrap();
        let mut forgotten = Command::new("sleep").arg("600").spawn().unwrap();
        let mut pipe = start_reaper().unwrap();
        writeln!(pipe, "born {}\nborn {}\ndead {}", left.id(), forgotten.id(), forgotten.id()).unwrap();
        writeln!(pipe, "folder {}", folder.display()).unwrap();
        drop(pipe);
        until("the folder is gone", Duration::from_secs(10), || async {
            Ok((!folder.exists()).then_some(()))
        })
        .await
        .unwrap();
        assert!(!left.wait().unwrap().success());
        assert!(forgotten.try_wait().unwrap().is_none());
        forgotten.kill().unwrap();
        forgotten.wait().unwrap();
    }
}
