//! The mesh on this machine: which parts it has, and how each is started.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use process::Bound;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::children::{Children, Doing, Port, Spec};
use super::clusters::Clusters;
use super::ports::{Carrier, Ports};
use crate::state_dir::StateDir;

/// Everything the mesh on this machine is made of.
#[derive(Clone)]
pub(crate) struct Mesh {
    /// Where it keeps its state.
    pub(crate) state: StateDir,
    /// Its ports and record.
    pub(crate) ports: Ports,
    /// Its agents.
    pub(crate) children: Children,
    /// Its Kubernetes APIs.
    pub(crate) clusters: Clusters,
    /// Owner of its tasks.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when it is to end.
    pub(crate) cancel: CancellationToken,
    /// Owner of the tasks that keep the children.
    keepers: TaskTracker,
}

impl Mesh {
    /// The mesh of a state directory; nothing of it runs yet.
    ///
    /// # Errors
    /// When the path of this program is unknown.
    pub(crate) fn new(
        state: StateDir,
        ports: Ports,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) -> Result<Self> {
        let program = std::env::current_exe().context("the path of this program is unknown")?;
        let keepers = TaskTracker::new();
        let children = Children::new(program, ports.clone(), keepers.clone(), cancel.clone());
        let apis = CancellationToken::new();
        let clusters = Clusters::new(state.clone(), ports.clone(), tasks.clone(), apis.clone());
        let mesh = Self { state, ports, children, clusters, tasks, cancel, keepers };
        let ending = mesh.clone();
        // An agent that ends gives back its lease and writes its last status: its API outlives it.
        mesh.tasks.spawn(async move {
            ending.childless().await;
            apis.cancel();
        });
        Ok(mesh)
    }

    /// Waits for the end of the mesh and of every child.
    pub(crate) async fn childless(&self) {
        self.cancel.cancelled().await;
        self.keepers.close();
        self.keepers.wait().await;
    }

    /// Starts the hub.
    ///
    /// # Errors
    /// When no folder can be had.
    pub(crate) fn start_hub(&self) -> Result<()> {
        self.supervise("hub", "hub", &[], Vec::new(), vec![link("hub")])
    }

    /// Starts a region's agent; the token serves until it is enrolled.
    ///
    /// # Errors
    /// When no folder can be had.
    pub(crate) fn start_region(&self, name: &str, token: Option<&str>) -> Result<()> {
        let part = format!("region/{name}");
        let mut arguments: Vec<OsString> =
            vec!["--embedded-host".into(), self.state.socket().into_os_string()];
        arguments.extend(token.into_iter().flat_map(|token| ["--token".into(), token.into()]));
        self.supervise(&part, "regional-agent", &["run"], arguments, vec![link(&part)])
    }

    /// Starts an edge agent; the token serves until it is enrolled.
    ///
    /// # Errors
    /// When no folder can be had.
    pub(crate) fn start_edge(&self, name: &str, token: Option<&str>) -> Result<()> {
        let part = format!("edge/{name}");
        let otlp =
            vec![server(&part, "otlp-grpc", &["--otlp-grpc"]), server(&part, "otlp-http", &["--otlp-http"])];
        let mut arguments: Vec<OsString> = vec!["--name".into(), name.into()];
        arguments.extend(["--link-profile".into(), "near".into(), "--cost-interval".into(), "5".into()]);
        arguments.extend(token.into_iter().flat_map(|token| ["--token".into(), token.into()]));
        self.supervise(&part, "edge-agent", &["run"], arguments, otlp)
    }

    fn supervise(
        &self,
        part: &str,
        agent: &str,
        command: &[&str],
        own: Vec<OsString>,
        mut ports: Vec<Port>,
    ) -> Result<()> {
        let folder = self.state.agent(part);
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
        let mut arguments: Vec<OsString> = vec!["agent".into(), agent.into()];
        arguments.extend(command.iter().map(OsString::from));
        arguments.extend(own);
        arguments.extend(["--kubeconfig".into(), self.state.kubeconfig(part).into_os_string()]);
        arguments.extend(["--state".into(), folder.clone().into_os_string()]);
        arguments.extend(["--bound-file".into(), self.bound_file(part).into_os_string()]);
        arguments.push("--exit-with-parent".into());
        ports.push(server(part, "http", &["--http"]));
        let wanted = !self.ports.record().stopped.contains(part);
        let (log, bound) = (folder.join("log"), self.bound_file(part));
        let spec = Spec { part: part.to_owned(), arguments, ports, log, bound };
        self.children.supervise(spec, wanted);
        Ok(())
    }

    /// Starts or stops a part, and remembers it for the next `skein up`. `None` if there is no such part.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) async fn want(&self, part: &str, run: bool) -> Result<Option<Doing>> {
        let doing = self.children.want(part, run).await;
        if doing.is_some() {
            self.ports.change(|record| {
                if run {
                    record.stopped.remove(part);
                } else {
                    record.stopped.insert(part.to_owned());
                }
            })?;
        }
        Ok(doing)
    }

    /// Where a part writes the addresses it bound.
    pub(crate) fn bound_file(&self, part: &str) -> PathBuf {
        self.state.agent(part).join("bound.json")
    }

    /// Waits until a part has bound its addresses.
    ///
    /// # Errors
    /// When it has not within 20 seconds; its log says why.
    pub(crate) async fn bound(&self, part: &str) -> Result<Bound> {
        let path = self.bound_file(part);
        for _ in 0..2_000 {
            if let Ok(bound) = Bound::read(&path) {
                return Ok(bound);
            }
            tokio::select! {
                () = self.cancel.cancelled() => bail!("stopped while waiting for {part}"),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        bail!("{part} did not start within 20 s; see {}", self.state.agent(part).join("log").display())
    }
}

/// The port on which a part is dialled by the agents below it.
fn link(part: &str) -> Port {
    Port { role: format!("{part}/link"), options: &["--listen", "--advertise"], carrier: Carrier::Link }
}

/// A port on which a part serves TCP.
fn server(part: &str, role: &str, options: &'static [&'static str]) -> Port {
    Port { role: format!("{part}/{role}"), options, carrier: Carrier::Tcp }
}
