//! A real Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager as child processes.
//!
//! Tests that only need a real API share one per test program ([`shared`]) and keep apart by namespace;
//! those that kill it start their own ([`ControlPlane::start`]). It is ready about 3 s after nothing and
//! takes about 420 MiB. There are no nodes and no scheduler: pods stay pending.
//!
//! # Why
//! The API server is ready when every check of `/readyz` holds except the two hooks that fill in bootstrap
//! roles and priority classes (a second of waiting that an administrator does not need) and the namespace
//! `default` exists; the controller manager, when it made the first service account. Its default of 20
//! requests a second would take 5 s for that, hence its limits below.
//! Ports lie below the kernel's ephemeral range, so that an API server which was killed finds its port free
//! when it comes back, although its clients keep dialling.

mod certificates;
mod site;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::OnceCell;

use crate::parts::require_parts;
use crate::process::{Process, remove_at_exit};
use crate::wait::until;
use certificates::Certificates;
pub use site::Site;

const READY_WITHIN: Duration = Duration::from_secs(90);
const READY: &str = "/readyz?exclude=poststarthook/rbac/bootstrap-roles&exclude=poststarthook/scheduling/bootstrap-system-priority-classes";
const ATTEMPTS: usize = 5;
/// The administrator's kubeconfig for programs beside the API server.
const INSIDE: &str = "inside.kubeconfig";
const PORT_FIRST: u16 = 20_000;
const PORT_COUNT: u16 = 12_000;

/// A running control plane. Dropping it kills all of it; its folder stays.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields drop in order: an API server must not outlive its etcd by much, it would wait for it.
    controller_manager: Option<Process>,
    apiserver: Option<Process>,
    etcd: Process,
    // Carries connections into its network namespace, where it has one.
    relay: Vec<Process>,
    parts: PathBuf,
    dir: PathBuf,
    site: Site,
    certificates: Arc<Certificates>,
    ports: Ports,
    url: String,
    kubeconfig: PathBuf,
    /// Without controllers, and without the admission that waits for their service accounts.
    bare: bool,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    apiserver: u16,
}

/// The control plane that the tests of one program share, started by the first that asks. Use a namespace
/// of your own ([`ControlPlane::namespace`]) and clean up what is cluster-wide.
///
/// # Errors
/// The parts are not installed, or it did not start; the next caller tries again.
pub async fn shared() -> anyhow::Result<&'static ControlPlane> {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| async {
            let dir = tempfile::Builder::new().prefix("skein-control-plane-").tempdir()?.keep();
            remove_at_exit(&dir)?;
            ControlPlane::start(&require_parts()?, &dir).await
        })
        .await
}

impl ControlPlane {
    /// Starts one with the binaries in `parts` and its certificates, data and logs in `dir`, which is made
    /// when absent. Returns when it is ready.
    ///
    /// # Errors
    /// A binary is missing, ended early or was not ready within 90 s; the text holds the end of its log.
    pub async fn start(parts: &Path, dir: &Path) -> anyhow::Result<Self> {
        Self::begin(parts, dir, Site::here(), false).await
    }

    /// As [`ControlPlane::start`], with its programs at `site`, for clusters with nodes. From this program's own
    /// network it is reached at [`ControlPlane::url`] all the same.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_at(parts: &Path, dir: &Path, site: Site) -> anyhow::Result<Self> {
        Self::begin(parts, dir, site, false).await
    }

    /// As [`ControlPlane::start`], of API server and etcd alone: what is written stays as it is written.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn start_bare(parts: &Path, dir: &Path) -> anyhow::Result<Self> {
        Self::begin(parts, dir, Site::here(), true).await
    }

    async fn begin(parts: &Path, dir: &Path, site: Site, bare: bool) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("failed to make '{}'", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("failed to resolve '{}'", dir.display()))?;
        let certificates = Arc::new(Certificates::write(&dir)?);
        let mut attempt = 1;
        loop {
            match Self::attempt(parts, &dir, (&certificates, &site), bare).await {
                Err(error) if attempt < ATTEMPTS && is_port_clash(&error) => attempt += 1,
                outcome => {
                    return outcome.with_context(|| format!("no control plane in '{}'", dir.display()));
                }
            }
        }
    }

    async fn attempt(
        parts: &Path,
        dir: &Path,
        (certificates, site): (&Arc<Certificates>, &Site),
        bare: bool,
    ) -> anyhow::Result<Self> {
        let ports = Ports::free()?;
        let url = format!("https://127.0.0.1:{}", ports.apiserver);
        let kubeconfig = dir.join("admin.kubeconfig");
        let text = certificates.kubeconfig(&url);
        std::fs::write(&kubeconfig, text).context("failed to write the kubeconfig")?;
        let text = certificates.kubeconfig(&site.url(ports.apiserver));
        std::fs::write(dir.join(INSIDE), text)
            .context("failed to write the kubeconfig of its own network")?;
        let mut etcd = etcd_command(site.command(&parts.join("etcd")), dir, ports);
        let etcd = Process::spawn("etcd", &mut etcd, &dir.join("etcd.log"))?;
        let mut plane = Self {
            controller_manager: None,
            apiserver: None,
            etcd,
            relay: site.relay(dir, ports.apiserver)?,
            parts: parts.to_owned(),
            dir: dir.to_owned(),
            site: site.clone(),
            certificates: Arc::clone(certificates),
            ports,
            url,
            kubeconfig,
            bare,
        };
        plane.restart_apiserver().await?;
        if !bare {
            plane.start_controller_manager().await?;
        }
        Ok(plane)
    }

    /// The administrator's kubeconfig: self-contained, so it can also become the content of a Secret.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A kubeconfig for programs at its [`Site`]: of this user, in this group.
    ///
    /// # Errors
    /// The certificate cannot be made.
    pub fn kubeconfig_of(&self, user: &str, group: &str) -> anyhow::Result<String> {
        self.certificates.kubeconfig_of(user, group, &self.site.url(self.ports.apiserver))
    }

    /// `https://127.0.0.1:PORT`, the same for its whole life.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its folder, with the logs of its programs (`etcd.log`, `kube-apiserver.log`,
    /// `kube-controller-manager.log`).
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id of the API server, while it runs.
    #[must_use]
    pub fn apiserver_id(&self) -> Option<u32> {
        self.apiserver.as_ref().map(Process::id)
    }

    /// An administrator's client. It belongs to the runtime it is made in, so each test makes its own.
    ///
    /// # Errors
    /// The kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    /// A `kubectl` that talks to it as the administrator.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        self.tool("kubectl")
    }

    /// A `helm` that talks to it as the administrator and keeps its files in [`ControlPlane::dir`].
    #[must_use]
    pub fn helm(&self) -> Command {
        let mut helm = self.tool("helm");
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            helm.env(variable, self.dir.join("helm").join(folder));
        }
        helm
    }

    /// Creates a namespace with this prefix and a name that nobody else uses; answers the name.
    ///
    /// # Errors
    /// The API server refused it.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        let namespace: k8s_openapi::api::core::v1::Namespace = serde_json::from_value(serde_json::json!({
            "metadata": {"generateName": format!("{prefix}-")},
        }))?;
        let namespaces = kube::Api::all(self.client().await?);
        let created = namespaces.create(&kube::api::PostParams::default(), &namespace).await?;
        created.metadata.name.context("the API server named no namespace")
    }

    /// Kills the API server (SIGKILL). Clients see refused connections until [`Self::restart_apiserver`].
    pub fn kill_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// Starts the API server on its old port and data, killing it first when it runs; returns when ready.
    ///
    /// # Errors
    /// It ended early or was not ready within 90 s; the text holds the end of its log.
    pub async fn restart_apiserver(&mut self) -> anyhow::Result<()> {
        self.kill_apiserver();
        let log = self.dir.join("kube-apiserver.log");
        let command = self.site.command(&self.parts.join("kube-apiserver"));
        let mut command = apiserver_command(command, &self.dir, self.ports);
        command.args(self.site.apiserver_arguments());
        if self.bare {
            command.arg("--disable-admission-plugins=ServiceAccount");
        }
        self.apiserver = Some(Process::spawn("kube-apiserver", &mut command, &log)?);
        let client = self.client().await?;
        self.wait_for("the API server is ready", || is_ready(&client)).await
    }

    async fn start_controller_manager(&mut self) -> anyhow::Result<()> {
        let log = self.dir.join("kube-controller-manager.log");
        let command = self.site.command(&self.parts.join("kube-controller-manager"));
        let mut command = controller_manager_command(command, &self.dir);
        command.args(self.site.controller_manager_arguments());
        self.controller_manager = Some(Process::spawn("kube-controller-manager", &mut command, &log)?);
        let client = self.client().await?;
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        self.wait_for("the controller manager works", || answers(&client, account)).await
    }

    /// Waits for `condition` while all programs run; an error tells what they logged last.
    async fn wait_for<F: Future<Output = bool>>(
        &mut self,
        what: &str,
        condition: impl Fn() -> F,
    ) -> anyhow::Result<()> {
        let outcome = until(what, READY_WITHIN, || {
            let running = self.check_running();
            let holds = condition();
            async {
                running?;
                Ok(holds.await.then_some(()))
            }
        })
        .await;
        outcome.with_context(|| self.log_tails())
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.parts.join(name));
        command.env("KUBECONFIG", &self.kubeconfig).current_dir(&self.dir);
        command
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        std::iter::once(&self.etcd).chain(&self.relay).chain(&self.apiserver).chain(&self.controller_manager)
    }

    fn check_running(&mut self) -> anyhow::Result<()> {
        self.etcd.check_running()?;
        self.relay.iter_mut().try_for_each(Process::check_running)?;
        self.apiserver.iter_mut().chain(&mut self.controller_manager).try_for_each(Process::check_running)
    }

    fn log_tails(&self) -> String {
        let tails =
            self.processes().map(|process| format!("{} says:\n{}", process.name(), process.log_tail(10)));
        tails.collect::<Vec<_>>().join("\n")
    }
}

async fn is_ready(client: &Client) -> bool {
    answers(client, READY).await && answers(client, "/api/v1/namespaces/default").await
}

async fn answers(client: &Client, path: &str) -> bool {
    match http::Request::get(path).body(Vec::new()) {
        Ok(request) => client.request_text(request).await.is_ok(),
        Err(_) => false,
    }
}

fn is_port_clash(error: &anyhow::Error) -> bool {
    format!("{error:#}").to_lowercase().contains("address already in use")
}

impl Ports {
    /// Three ports that were free a moment ago. Another process may take one before its program listens:
    /// that is a clash, and the start is tried again with others.
    fn free() -> anyhow::Result<Self> {
        Ok(Self { etcd: free_port()?, etcd_peer: free_port()?, apiserver: free_port()? })
    }
}

/// Walks the ports from a place that differs between processes, and never offers one twice in a row.
fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(97) % u32::from(PORT_COUNT);
    for _ in 0..PORT_COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = u16::try_from((start + step) % u32::from(PORT_COUNT)).unwrap_or_default();
        let port = PORT_FIRST + offset;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port from {PORT_FIRST} to {}", PORT_FIRST + PORT_COUNT - 1)
}

fn etcd_command(mut command: Command, dir: &Path, ports: Ports) -> Command {
    let client = format!("http://127.0.0.1:{}", ports.etcd);
    let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
    // A data folder of an attempt with other ports would make etcd refuse its own peer URL.
    let data = dir.join(format!("etcd-{}", ports.etcd));
    command
        .args(["--name", "skein", "--log-level", "warn", "--unsafe-no-fsync"])
        .arg("--data-dir")
        .arg(data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .arg(format!("--initial-cluster=skein={peer}"));
    command
}

fn apiserver_command(mut command: Command, dir: &Path, ports: Ports) -> Command {
    command
        .current_dir(dir)
        .arg(format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd))
        .arg(format!("--secure-port={}", ports.apiserver))
        .args([
            "--tls-cert-file=apiserver.crt",
            "--tls-private-key-file=apiserver.key",
            "--client-ca-file=ca.crt",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.pub",
            "--service-account-signing-key-file=sa.key",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--profiling=false",
            "--kubelet-client-certificate=admin.crt",
            "--kubelet-client-key=admin.key",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
        ]);
    command
}

fn controller_manager_command(mut command: Command, dir: &Path) -> Command {
    command.current_dir(dir).arg(format!("--kubeconfig={INSIDE}")).args([
        "--secure-port=0",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        "--service-account-private-key-file=sa.key",
        "--root-ca-file=ca.crt",
        "--cluster-signing-cert-file=ca.crt",
        "--cluster-signing-key-file=ca.key",
        "--kube-api-qps=1000",
        "--kube-api-burst=1000",
    ]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offered_ports_differ_and_lie_below_the_ephemeral_range() {
        let ports = Ports::free().unwrap();
        let all = [ports.etcd, ports.etcd_peer, ports.apiserver];
        for (index, port) in all.iter().enumerate() {
            assert!((PORT_FIRST..PORT_FIRST + PORT_COUNT).contains(port));
            assert!(!all[..index].contains(port));
        }
    }
}
