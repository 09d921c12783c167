//! Where the programs of a control plane run: here, or in a network namespace that nodes share with them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::process::Process;

/// The address of a control plane in a network namespace of its own.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);

/// A network.
#[derive(Debug, Clone)]
pub struct Site {
    /// The process whose network namespace it is; none: this program's.
    namespace: Option<u32>,
}

impl Site {
    /// The network of this program: only loopback is used.
    #[must_use]
    pub fn here() -> Self {
        Self { namespace: None }
    }

    /// The network namespace of a process, which has the address 172.30.0.1.
    #[must_use]
    pub fn of(process: u32) -> Self {
        Self { namespace: Some(process) }
    }

    /// A command that runs there.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let Some(process) = self.namespace else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{process}/ns/net")).arg("--").arg(program);
        command
    }

    pub(super) fn url(&self, port: u16) -> String {
        let address = if self.namespace.is_some() { ADDRESS } else { Ipv4Addr::LOCALHOST };
        format!("https://{address}:{port}")
    }

    /// Programs that carry connections to the port of this program's loopback into the namespace. A socket that is a
    /// file is of no network namespace.
    pub(super) fn relay(&self, dir: &Path, port: u16) -> anyhow::Result<Vec<Process>> {
        if self.namespace.is_none() {
            return Ok(Vec::new());
        }
        let socket = dir.join(format!("relay-{port}"));
        let socket = socket.to_str().context("a folder with a plain name")?;
        let mut inner = self.command(Path::new("socat"));
        inner.arg(format!("UNIX-LISTEN:{socket},fork,backlog=128"));
        inner.arg(format!("TCP:{ADDRESS}:{port},nodelay"));
        let mut outer = Command::new("socat");
        outer.arg(format!("TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=128"));
        outer.arg(format!("UNIX-CONNECT:{socket}"));
        let log = dir.join("relay.log");
        Ok(vec![
            Process::spawn("inner relay", &mut inner, &log)?,
            Process::spawn("outer relay", &mut outer, &log)?,
        ])
    }

    /// What the API server needs to know. With nodes it is in the endpoints of the service `kubernetes`, and pods do
    /// not wait for minutes on a node that is gone.
    pub(super) fn apiserver_arguments(&self) -> Vec<String> {
        let address = if self.namespace.is_some() { ADDRESS } else { Ipv4Addr::LOCALHOST };
        let mut arguments = vec![format!("--advertise-address={address}")];
        arguments.extend(match self.namespace {
            None => {
                ["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none"].map(str::to_owned).to_vec()
            }
            Some(_) => [
                "--bind-address=0.0.0.0",
                "--default-not-ready-toleration-seconds=2",
                "--default-unreachable-toleration-seconds=2",
            ]
            .map(str::to_owned)
            .to_vec(),
        });
        arguments
    }

    /// Nodes that do not tell of themselves are gone after 8 s.
    pub(super) fn controller_manager_arguments(&self) -> &'static [&'static str] {
        match self.namespace {
            None => &[],
            Some(_) => &["--node-monitor-period=1s", "--node-monitor-grace-period=8s"],
        }
    }
}
