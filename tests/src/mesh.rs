//! A whole mesh as a newcomer runs it: `skein up` in a state directory of its own, driven by the command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, output};
use crate::{parts, wait};

/// How long a part of the mesh may take for what it should do in a second or two: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running `skein up`. Everything it started ends when this is dropped.
#[derive(Debug)]
pub struct Mesh {
    program: PathBuf,
    kubectl: PathBuf,
    state: TempDir,
    arguments: Vec<String>,
    up: Option<Process>,
}

impl Mesh {
    /// Starts a new mesh and waits until it is ready.
    ///
    /// # Errors
    /// When the program or kubectl is missing, or the mesh does not become ready; the text holds its output.
    pub async fn start(arguments: &[&str]) -> Result<Self> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let kubectl = parts::require_parts()?.join("kubectl");
        let state = tempfile::Builder::new().prefix("skein-").tempdir()?;
        let mut mesh = Self { program: program()?, kubectl, state, arguments, up: None };
        mesh.up().await?;
        Ok(mesh)
    }

    /// Starts `skein up` again on the same state directory and waits until it is ready.
    ///
    /// # Errors
    /// As [`Mesh::start`].
    pub async fn up(&mut self) -> Result<()> {
        let log = self.state.path().join("up.log");
        let _ = std::fs::remove_file(&log);
        let mut command = Command::new(&self.program);
        command.arg("up").arg("--state").arg(self.state.path()).args(&self.arguments);
        let mut up = Process::spawn("skein up", &mut command, &log)?;
        let ready = wait::until("skein up is ready", PATIENCE, || {
            let told = std::fs::read_to_string(&log).unwrap_or_default().contains("ready in ");
            let alive = up.check_running();
            async move { alive.map(|()| told.then_some(())) }
        });
        let ready = ready.await;
        let told = up.log_tail(60);
        self.up = Some(up);
        ready.with_context(|| format!("skein up said:\n{told}"))
    }

    /// What `skein up` has told so far.
    pub fn told(&self) -> String {
        self.up.as_ref().map(|up| up.log_tail(200)).unwrap_or_default()
    }

    /// The process id of `skein up`.
    pub fn pid(&self) -> Option<u32> {
        self.up.as_ref().map(Process::id)
    }

    /// Sends Ctrl-C to `skein up` and waits for its end.
    ///
    /// # Errors
    /// When it does not end, or not in order.
    pub async fn interrupt(&mut self) -> Result<()> {
        let mut up = self.up.take().context("skein up is not running")?;
        output(Command::new("kill").args(["-INT", &up.id().to_string()]))?;
        let ended = wait::until("skein up has ended", PATIENCE, || {
            let ended = up.exited();
            async move { Ok(ended) }
        });
        let ended = ended.await?;
        ensure!(ended.success(), "skein up ended with {ended}");
        Ok(())
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Runs `skein` with these arguments on this mesh.
    ///
    /// # Errors
    /// When it fails; the text holds what it said.
    pub fn skein(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new(&self.program).arg("--state").arg(self.state.path()).args(arguments))
    }

    /// The program itself, for what runs on.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// `skein status -o json`.
    ///
    /// # Errors
    /// When it fails or prints something else.
    pub fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.skein(&["status", "-o", "json"])?)?)
    }

    /// What status says of an edge.
    ///
    /// # Errors
    /// When it says nothing of that edge.
    pub fn edge(&self, name: &str) -> Result<Value> {
        let status = self.status()?;
        let edges = status["edges"].as_array().cloned().unwrap_or_default();
        edges
            .into_iter()
            .find(|edge| edge["name"] == name)
            .with_context(|| format!("no edge {name} in {status:#}"))
    }

    /// The process id of a part: `hub`, `region/NAME`, `edge/NAME`.
    ///
    /// # Errors
    /// When it has none.
    pub fn pid_of(&self, part: &str) -> Result<u32> {
        let status = self.status()?;
        let row = match part.split_once('/') {
            None => Some(&status["hub"]),
            Some((kind, name)) => {
                let list = if kind == "region" { "regions" } else { "edges" };
                status[list].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == name))
            }
        };
        let pid = row.and_then(|row| row["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok());
        pid.with_context(|| format!("{part} does not run: {status:#}"))
    }

    /// Kills a part as `kill -9` does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, part: &str) -> Result<()> {
        let pid = self.pid_of(part)?;
        output(Command::new("kill").args(["-9", &pid.to_string()])).map(|_| ())
    }

    /// Runs the real kubectl against the cluster of a part.
    ///
    /// # Errors
    /// When it fails; the text holds what it said.
    pub fn kubectl(&self, part: &str, arguments: &[&str]) -> Result<String> {
        let kubeconfig = self.skein(&["kubeconfig", part])?;
        output(Command::new(&self.kubectl).env("KUBECONFIG", kubeconfig.trim()).args(arguments))
    }

    /// The same with text on its standard input (`-f -`).
    ///
    /// # Errors
    /// As [`Mesh::kubectl`].
    pub fn apply(&self, part: &str, manifest: &str) -> Result<String> {
        let file = self.state.path().join("manifest.yaml");
        std::fs::write(&file, manifest)?;
        self.kubectl(part, &["apply", "-f", &file.display().to_string()])
    }

    /// An object of the cluster of a part, as JSON; `None` when there is none.
    ///
    /// # Errors
    /// When kubectl fails otherwise.
    pub fn object(&self, part: &str, arguments: &[&str]) -> Result<Option<Value>> {
        let all: Vec<&str> = ["get", "-o", "json", "--ignore-not-found"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let text = self.kubectl(part, &all)?;
        if text.trim().is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&text)?)) }
    }

    /// Waits until a condition holds; what it last saw is in the error.
    ///
    /// # Errors
    /// When it does not hold within [`PATIENCE`].
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> Result<bool>) -> Result<()> {
        let mut last = String::new();
        let waited = wait::until(what, PATIENCE, || {
            let answer = match holds(self) {
                Ok(true) => Some(()),
                Ok(false) => None,
                Err(error) => {
                    last = format!("{error:#}");
                    None
                }
            };
            async move { Ok(answer) }
        });
        let waited = waited.await;
        if waited.is_err() {
            let status = self.skein(&["status"]).unwrap_or_default();
            bail!("{what}: not seen within {PATIENCE:?}; last error: {last}\n{status}\n{}", self.told());
        }
        Ok(())
    }

    /// The hub's address.
    ///
    /// # Errors
    /// When status does not know it.
    pub fn hub_url(&self) -> Result<String> {
        let status = self.status()?;
        status["hub"]["url"].as_str().map(str::to_owned).with_context(|| format!("no hub url in {status:#}"))
    }
}

/// The `skein` program: `SKEIN_BIN`, else the one built beside this test.
///
/// # Errors
/// When neither is there.
pub fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("SKEIN_BIN").filter(|value| !value.is_empty()) {
        return Ok(named.into());
    }
    built("skein", "cargo build")
}

/// A program that is built beside this test for itself: `hub`, `regional-agent`, `edge-agent`.
///
/// # Errors
/// When it is not there.
pub fn slim(name: &str) -> Result<PathBuf> {
    built(name, &format!("cargo build -p {name}"))
}

fn built(name: &str, command: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let beside = test.ancestors().nth(2).context("tests run from a target folder")?.join(name);
    if beside.is_file() {
        return Ok(beside);
    }
    bail!("{} is not built: run `{command}`", beside.display())
}
