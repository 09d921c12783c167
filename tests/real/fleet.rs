//! A fleet on real Kubernetes: one is the management cluster, another the child of an edge; hub, region and edge are
//! processes between them, started by the lines of README's "Run it for real" as they stand there.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skein_tests::control_plane::ControlPlane;
use skein_tests::process::{Process, output};
use skein_tests::{mesh, parts, wait};
use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const SYSTEM: &str = "kcm-system";
const README: &str = include_str!("../../README.md");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The fleet, with one edge that is labelled `site=berlin`.
pub(crate) struct Fleet {
    // Fields drop in order: agents before the clusters they work on, files last.
    agents: Vec<Process>,
    pub(crate) management: ControlPlane,
    pub(crate) child: ControlPlane,
    pub(crate) folder: TempDir,
}

impl Fleet {
    /// Does what README says.
    pub(crate) async fn start() -> Result<Self> {
        Self::begin(None).await
    }

    /// The same with an edge agent that may do on the child what these manifests give to the user `edge`.
    pub(crate) async fn start_limited(rights: &str) -> Result<Self> {
        Self::begin(Some(rights)).await
    }

    async fn begin(rights: Option<&str>) -> Result<Self> {
        let parts = parts::require_parts()?;
        let folder = tempfile::Builder::new().prefix("skein-real-").tempdir()?;
        let (hub_folder, child_folder) = (folder.path().join("management"), folder.path().join("child"));
        let (management, child) = tokio::try_join!(
            ControlPlane::start(&parts, &hub_folder),
            ControlPlane::start(&parts, &child_folder)
        )?;
        let edge = match rights {
            None => std::fs::read_to_string(child.kubeconfig())?,
            Some(rights) => {
                let file = folder.path().join("rights.yaml");
                std::fs::write(&file, rights)?;
                output(child.kubectl().args(["apply", "--server-side", "-f"]).arg(file))?;
                child.kubeconfig_of("edge", "edges")?
            }
        };
        let mut reader = Reader::new(folder.path(), &parts, &management, &edge)?;
        for line in lines() {
            reader.follow(line, &management).await?;
        }
        let agents = reader.agents;
        ensure!(agents.len() == 3, "README starts {} programs, not hub, region and edge", agents.len());
        Ok(Self { agents, management, child, folder })
    }

    /// Asks the hub as an operator does.
    pub(crate) fn skein(&self, arguments: &[&str]) -> Result<String> {
        let bound = process::Bound::read(&self.folder.path().join("home/hub/bound.json"))?;
        let address = bound.addresses.get("http").context("the hub serves no HTTP")?;
        let hub = format!("http://{address}");
        output(Command::new(mesh::program()?).args(arguments).args(["--hub", &hub]))
    }

    /// Ends the edge agent in order: it says goodbye.
    pub(crate) async fn stop_edge(&mut self) -> Result<()> {
        ensure!(self.agents.len() == 3, "the edge is stopped already");
        // The edge goes first: see `Reader::start`.
        let mut edge = self.agents.remove(0);
        output(Command::new("kill").args(["-TERM", &edge.id().to_string()]))?;
        let ended = wait::until("the edge has ended", PATIENCE, || {
            let ended = edge.exited().map(|_| ());
            async move { Ok(ended) }
        });
        ended.await
    }

    /// Applies a manifest on the management cluster.
    pub(crate) fn apply(&self, manifest: &str) -> Result<String> {
        let file = self.folder.path().join("manifest.yaml");
        std::fs::write(&file, manifest)?;
        output(self.management.kubectl().args(["apply", "--server-side", "-f"]).arg(file))
    }
}

/// The commands of the section, in order.
fn lines() -> Vec<&'static str> {
    let section = README.split("\n## ").find(|section| section.starts_with("Run it for real"));
    let blocks = section.unwrap_or_default().split("```").skip(1).step_by(2);
    blocks.flat_map(str::lines).filter(|line| !line.trim().is_empty()).collect()
}

/// Somebody who reads README, in a folder that has what it takes for granted: the project's `deploy`, the programs on
/// the path, a kubeconfig in its place, and one for the region and for the edge.
struct Reader {
    home: PathBuf,
    hub: String,
    region: String,
    token: String,
    agents: Vec<Process>,
}

impl Reader {
    fn new(folder: &Path, parts: &Path, management: &ControlPlane, edge: &str) -> Result<Self> {
        let home = folder.join("home");
        std::fs::create_dir_all(home.join("bin"))?;
        std::fs::create_dir_all(home.join(".kube"))?;
        std::fs::copy(management.kubeconfig(), home.join(".kube/config"))?;
        std::fs::copy(management.kubeconfig(), home.join("regional.yaml"))?;
        std::fs::write(home.join("edge.yaml"), edge)?;
        let link = |from: &Path, to: &str| std::os::unix::fs::symlink(from, home.join(to));
        link(&Path::new(ROOT).join("deploy"), "deploy")?;
        link(&parts.join("kubectl"), "bin/kubectl")?;
        link(&mesh::program()?, "bin/skein")?;
        for program in ["hub", "regional-agent"] {
            link(&mesh::slim(program)?, &format!("bin/{program}"))?;
        }
        let address =
            || -> Result<String> { Ok(std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string()) };
        Ok(Self { home, hub: address()?, region: address()?, token: String::new(), agents: Vec::new() })
    }

    /// Types one line, with the places and the token that a reader fills in.
    async fn follow(&mut self, line: &str, management: &ControlPlane) -> Result<()> {
        let edge = self.home.join("edge");
        let filled = line
            .replace("0.0.0.0:8443", &self.hub)
            .replace("hub.example.com:8443", &self.hub)
            .replace("0.0.0.0:8444", &self.region)
            .replace("eu.example.com:8444", &self.region)
            .replace("/var/lib/skein/edge", &edge.display().to_string())
            .replace("skein1...", &self.token);
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        match words.as_slice() {
            ["hub", ..] => self.start("hub", &filled).await,
            ["regional-agent", "run"] => {
                self.start("region", &filled).await?;
                let region = ["get", "region", "eu", "-o", "yaml"];
                until(management, "the region is linked", &region, "link: Up").await
            }
            ["skein", "enroll"] => self.start("edge", &filled).await,
            ["skein", "token"] => {
                self.token = output(&mut self.shell(&filled))?.trim().to_owned();
                Ok(())
            }
            _ => output(&mut self.shell(&filled)).map(|_| ()),
        }
        .with_context(|| format!("README says: {line}"))
    }

    fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(&self.home).env("HOME", &self.home);
        shell.env("PATH", format!("{}:{path}", self.home.join("bin").display()));
        for variable in ["KUBECONFIG", "XDG_STATE_HOME", "SKEIN_STATE"] {
            shell.env_remove(variable);
        }
        shell
    }

    /// Starts a program and waits until it serves. It gets a state folder and ports of its own: others run here too.
    async fn start(&mut self, name: &str, line: &str) -> Result<()> {
        let folder = self.home.join(name);
        std::fs::create_dir_all(&folder)?;
        let bound = folder.join("bound.json");
        let mut command = self.shell(&format!("exec {line}"));
        command.env("SKEIN_STATE", &folder).env("SKEIN_BOUND_FILE", &bound);
        for variable in ["SKEIN_HTTP", "SKEIN_OTLP_GRPC", "SKEIN_OTLP_HTTP"] {
            command.env(variable, "127.0.0.1:0");
        }
        let mut process = Process::spawn(name, &mut command, &folder.join("log"))?;
        let what = format!("{name} has started");
        let started = wait::until(&what, PATIENCE, || {
            let there = bound.exists();
            let alive = process.check_running();
            async move { alive.map(|()| there.then_some(())) }
        });
        let started = started.await;
        started.with_context(|| process.log_tail(40))?;
        // The edge goes first: agents end before what they talk to.
        self.agents.insert(0, process);
        Ok(())
    }
}

/// Runs kubectl until it answers what is wanted.
pub(crate) async fn until(
    cluster: &ControlPlane,
    what: &str,
    arguments: &[&str],
    wanted: &str,
) -> Result<()> {
    answered(cluster.kubectl(), what, arguments, |text| text.contains(wanted)).await
}

/// Runs kubectl until its answer lacks what must go.
pub(crate) async fn until_gone(
    cluster: &ControlPlane,
    what: &str,
    arguments: &[&str],
    unwanted: &str,
) -> Result<()> {
    answered(cluster.kubectl(), what, arguments, |text| !text.contains(unwanted)).await
}

/// Runs kubectl until its answer is words that are all this one.
pub(crate) async fn until_all(
    cluster: &ControlPlane,
    what: &str,
    arguments: &[&str],
    wanted: &str,
) -> Result<()> {
    let all = |text: &str| !text.trim().is_empty() && text.split_whitespace().all(|word| word == wanted);
    answered(cluster.kubectl(), what, arguments, all).await
}

/// Runs Helm until it answers what is wanted.
pub(crate) async fn until_helm(
    cluster: &ControlPlane,
    what: &str,
    arguments: &[&str],
    wanted: &str,
) -> Result<()> {
    answered(cluster.helm(), what, arguments, |text| text.contains(wanted)).await
}

async fn answered(
    mut program: std::process::Command,
    what: &str,
    arguments: &[&str],
    holds: impl Fn(&str) -> bool,
) -> Result<()> {
    program.args(arguments);
    let mut last = String::new();
    let seen = wait::until(what, PATIENCE, || {
        let answer = output(&mut program);
        let seen = answer.as_ref().is_ok_and(|text| holds(text)).then_some(());
        last = answer.unwrap_or_else(|error| format!("{error:#}"));
        async move { Ok(seen) }
    });
    let seen = seen.await;
    seen.with_context(|| format!("{arguments:?} last said: {last}"))
}
