//! A cluster of two nodes with real containers: the real control plane, and for each node a containerd, a kubelet and
//! a kube-proxy, all in namespaces of their own. It needs root, cgroup v1 and what `tests/parts/nodes/install` gets;
//! ready about 10 s after nothing, about 1 GiB.
//!
//! Images come from no registry: all are [`IMAGE`], a static program (`tests/parts/nodes/actor.rs`) that plays the part
//! its arguments name.
//!
//! # Why
//! Each node is a process namespace whose first process dies with the program that holds it, so a node is killed, with
//! all its containers, as by pulling its plug: one SIGKILL. Networks are held by programs of their own, so that
//! a node finds its cable where it was when it comes back. Nothing of the machine is changed but cgroups, named after
//! the test program; those of a program that is gone are removed by the next one.

mod cgroups;
mod image;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::sync::OnceCell;

use crate::control_plane::{ControlPlane, Site};
use crate::process::{Process, output, remove_at_exit};
use crate::wait::until;
use crate::{parts, wait};

pub use image::{IMAGE, SKEIN_IMAGE};

/// The nodes.
pub const NODES: [&str; 2] = ["node-1", "node-2"];
const READY_WITHIN: Duration = Duration::from_secs(120);

/// The cluster. Dropping it kills all of it and removes its cgroups.
#[derive(Debug)]
pub struct Nodes {
    // Fields drop in order: nodes before what they talk to and live in.
    nodes: [Option<Process>; 2],
    scheduler: Process,
    /// The real control plane.
    pub plane: ControlPlane,
    cables: [Process; 2],
    network: Process,
    _cgroups: cgroups::Cgroups,
    parts: PathBuf,
    dir: PathBuf,
}

/// Why this machine cannot have nodes with real containers, if it cannot.
#[must_use]
pub fn impossible() -> Option<String> {
    if output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() != "0") {
        return Some("nodes with real containers need root".to_owned());
    }
    if let Err(error) = cgroups::allowed() {
        return Some(format!("nodes with real containers need cgroups (v1): {error:#}"));
    }
    let mut unshare = Command::new("unshare");
    let tried =
        output(unshare.args(["-mnpf", "--mount-proc", "--kill-child", "mount", "--make-rshared", "/"]));
    let error = tried.err()?;
    Some(format!("nodes with real containers need namespaces of their own: {error:#}"))
}

/// The cluster that the tests of one program share, started by the first that asks.
///
/// # Errors
/// The parts are not installed, or it did not start; the next caller tries again.
pub async fn shared() -> Result<&'static tokio::sync::RwLock<Nodes>> {
    static SHARED: OnceCell<tokio::sync::RwLock<Nodes>> = OnceCell::const_new();
    SHARED
        .get_or_try_init(|| async {
            let dir = tempfile::Builder::new().prefix("skein-nodes-").tempdir()?.keep();
            remove_at_exit(&dir)?;
            Ok(tokio::sync::RwLock::new(Nodes::start(&dir).await?))
        })
        .await
}

impl Nodes {
    /// Starts a cluster with its files in `dir`. Returns when both nodes are ready.
    ///
    /// # Errors
    /// The parts are not installed, a program ended early, or a node was not ready in time; the text holds logs.
    pub async fn start(dir: &Path) -> Result<Self> {
        let parts = parts::node_parts().context("run tests/parts/nodes/install")?;
        std::fs::create_dir_all(dir)?;
        let cgroups = cgroups::Cgroups::make(&NODES)?;
        let image = image::actor(dir)?;
        let mut network = Command::new("unshare");
        let network = held("network", network.args(["-n", "sleep", "infinity"]), dir).await?;
        let plug = |name: &'static str| {
            let mut cable = Site::of(network.id()).command(Path::new("unshare"));
            cable.args(["-n", "sleep", "infinity"]);
            async move { held(name, &mut cable, dir).await }
        };
        let cables = [plug(NODES[0]).await?, plug(NODES[1]).await?];
        connect(&network, &cables)?;
        let plane = ControlPlane::start_at(&parts, &dir.join("plane"), Site::of(network.id())).await?;
        let mut scheduler = Site::of(network.id()).command(&parts.join("kube-scheduler"));
        scheduler.arg(format!("--kubeconfig={}", plane.dir().join("inside.kubeconfig").display()));
        scheduler.args(["--leader-elect=false", "--secure-port=0"]);
        let scheduler = Process::spawn("kube-scheduler", &mut scheduler, &dir.join("scheduler.log"))?;
        for (index, name) in NODES.iter().enumerate() {
            furnish(&dir.join(name), index, &plane, &cgroups.of(name))
                .with_context(|| format!("failed to furnish {name}"))?;
            std::fs::copy(&image, dir.join(name).join("images/actor.tar"))?;
        }
        let mut all = Self {
            nodes: [None, None],
            scheduler,
            plane,
            cables,
            network,
            _cgroups: cgroups,
            parts,
            dir: dir.to_owned(),
        };
        for index in 0..NODES.len() {
            all.power_on(index)?;
        }
        for index in 0..NODES.len() {
            all.until_ready(index).await?;
        }
        Ok(all)
    }

    /// Kills a node with all that runs on it, as by pulling its plug.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index] = None;
    }

    /// Starts a node that was killed and waits until it is ready.
    ///
    /// # Errors
    /// It was not ready in time; the text holds the end of its log.
    pub async fn revive(&mut self, index: usize) -> Result<()> {
        self.power_on(index)?;
        self.until_ready(index).await
    }

    /// Gives the nodes the image with Skein's own programs ([`SKEIN_IMAGE`]).
    ///
    /// # Errors
    /// It could not be made, or a node did not take it.
    pub fn import_skein(&self, program: &Path) -> Result<()> {
        let dir = tempfile::Builder::new().prefix("skein-image-").tempdir_in(&self.dir)?;
        let archive = image::skein(dir.path(), program)?;
        for node in self.nodes.iter().flatten() {
            // The mounts of its first process: containerd's socket is among them.
            let mut import = Command::new("nsenter");
            import.arg("-t").arg(node.id().to_string()).args(["-m", "--", "ctr", "--address"]);
            import.args(["/run/containerd/containerd.sock", "--namespace", "k8s.io", "images", "import"]);
            output(import.arg(&archive))?;
        }
        Ok(())
    }

    /// Runs a command in the network of a node.
    ///
    /// # Errors
    /// It failed; the text holds what it said.
    pub fn on_node(&self, index: usize, program: &str, arguments: &[&str]) -> Result<String> {
        output(Site::of(self.cables[index].id()).command(Path::new(program)).args(arguments))
    }

    /// Whether all its programs run, and what those that do not said last.
    ///
    /// # Errors
    /// One has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.network.check_running()?;
        self.scheduler.check_running()?;
        self.nodes.iter_mut().flatten().try_for_each(Process::check_running)
    }

    fn power_on(&mut self, index: usize) -> Result<()> {
        ensure!(self.nodes[index].is_none(), "{} runs", NODES[index]);
        let folder = self.dir.join(NODES[index]);
        let mut node = Site::of(self.cables[index].id()).command(Path::new("unshare"));
        node.args(["-mpf", "--mount-proc", "--kill-child", "--propagation", "private", "--"]);
        node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/parts/nodes/node")).arg(NODES[index]);
        node.arg(address(index).to_string()).arg(&folder).arg(&self.parts);
        self.nodes[index] = Some(Process::spawn(NODES[index], &mut node, &folder.join("node.log"))?);
        Ok(())
    }

    async fn until_ready(&mut self, index: usize) -> Result<()> {
        let name = NODES[index];
        let mut kubectl = self.plane.kubectl();
        kubectl.args(["get", "node", name, "--ignore-not-found", "-o"]);
        kubectl.arg("jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.spec.taints}");
        let what = format!("{name} is ready");
        let ready = until(&what, READY_WITHIN, || {
            let running = self.check_running();
            let answer = output(&mut kubectl).unwrap_or_default();
            async move { running.map(|()| (answer.trim() == "True").then_some(())) }
        });
        let ready = ready.await;
        ready.with_context(|| self.logs(name))
    }

    fn logs(&self, name: &str) -> String {
        let tail = |file: &str| {
            let text = std::fs::read_to_string(self.dir.join(name).join(file)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{file}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        ["node.log", "import.log", "containerd.log", "kubelet.log", "kube-proxy.log"].map(tail).join("\n")
    }
}

/// A program that holds a network namespace; returns when it is in there.
async fn held(name: &str, command: &mut Command, dir: &Path) -> Result<Process> {
    let mut process = Process::spawn(name, command, &dir.join("network.log"))?;
    let at = PathBuf::from(format!("/proc/{}/comm", process.id()));
    wait::until(&format!("{name} has its network"), Duration::from_secs(20), || {
        let there = std::fs::read_to_string(&at).is_ok_and(|program| program.trim() == "sleep");
        let running = process.check_running();
        async move { running.map(|()| there.then_some(())) }
    })
    .await?;
    Ok(process)
}

/// A node's address.
fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(172, 30, 0, 11 + u8::try_from(index).unwrap_or_default())
}

/// A bridge with the control plane on it, a cable to every node, and the ways to their pods.
fn connect(network: &Process, cables: &[Process; 2]) -> Result<()> {
    let ip = |process: &Process, arguments: &str| -> Result<()> {
        let mut ip = Site::of(process.id()).command(Path::new("ip"));
        output(ip.args(arguments.split(' '))).map(|_| ())
    };
    ip(network, "link set lo up")?;
    ip(network, "link add fabric type bridge")?;
    ip(network, "addr add 172.30.0.1/24 dev fabric")?;
    ip(network, "link set fabric up")?;
    for (index, cable) in cables.iter().enumerate() {
        let end = format!("node{index} up");
        let peer = format!("link add node{index} type veth peer name eth0 netns {}", cable.id());
        ip(network, &peer)?;
        ip(network, &format!("link set node{index} master fabric"))?;
        ip(network, &format!("link set {end}"))?;
        ip(cable, "link set lo up")?;
        ip(cable, &format!("addr add {}/24 dev eth0", address(index)))?;
        ip(cable, "link set eth0 up")?;
        ip(cable, "route add default via 172.30.0.1")?;
    }
    for (index, _) in cables.iter().enumerate() {
        let route = format!("route add 10.244.{index}.0/24 via {}", address(index));
        ip(network, &route)?;
        for (other, cable) in cables.iter().enumerate().filter(|(other, _)| *other != index) {
            ip(cable, &route).with_context(|| NODES[other])?;
        }
    }
    Ok(())
}

/// The files of a node.
fn furnish(folder: &Path, index: usize, plane: &ControlPlane, cgroup: &str) -> Result<()> {
    std::fs::create_dir_all(folder.join("images"))?;
    std::fs::create_dir_all(folder.join("cni"))?;
    let path = folder.display();
    let containerd = format!(
        "version = 2\nroot = '{path}/containerd'\nstate = '/run/containerd'\n\
         disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.snapshotter.v1.btrfs', \
         'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.aufs', \
         'io.containerd.snapshotter.v1.devmapper', 'io.containerd.internal.v1.tracing', \
         'io.containerd.tracing.processor.v1.otlp']\n\
         [grpc]\naddress = '/run/containerd/containerd.sock'\n\
         [plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = '{IMAGE}'\ndisable_apparmor = true\n\
         restrict_oom_score_adj = true\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\n\
         runtime_type = 'io.containerd.runc.v2'\n\
         [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\nSystemdCgroup = false\n\
         [plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/usr/lib/cni'\nconf_dir = '{path}/cni'\n"
    );
    let cni = serde_json::json!({"cniVersion": "0.4.0", "name": "pods", "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
        "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}],
            "ranges": [[{"subnet": format!("10.244.{index}.0/24")}]]},
    }]});
    let authority = plane.dir().join("ca.crt");
    let kubelet = serde_json::json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": false, "cgroupDriver": "cgroupfs", "cgroupRoot": cgroup, "failSwapOn": false,
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%",
            "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"},
        "authentication": {"x509": {"clientCAFile": authority}, "anonymous": {"enabled": false},
            "webhook": {"enabled": true}},
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "resolvConf": "", "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "2s", "nodeLeaseDurationSeconds": 6,
        "featureGates": {"KubeletCrashLoopBackOffMax": true},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
    });
    let name = NODES[index];
    for (file, text) in [
        ("containerd.toml", containerd),
        ("cni/10-pods.conflist", cni.to_string()),
        ("kubelet.yaml", kubelet.to_string()),
        ("kubelet.kubeconfig", plane.kubeconfig_of(&format!("system:node:{name}"), "system:nodes")?),
        ("kube-proxy.kubeconfig", plane.kubeconfig_of("system:kube-proxy", "system:node-proxiers")?),
    ] {
        std::fs::write(folder.join(file), text).with_context(|| file.to_owned())?;
    }
    Ok(())
}
