//! Two replicas of the hub on a real API server: the one that leads is killed, and the region goes to the other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skein_tests::control_plane::ControlPlane;
use skein_tests::process::{Process, output};
use skein_tests::{mesh, parts, wait};
use tempfile::TempDir;

use crate::fleet::{PATIENCE, SYSTEM, until, until_gone};

const REGION: &str =
    "{apiVersion: k0rdent.mirantis.com/v1beta1, kind: Region, metadata: {name: eu}, spec: {}}";

/// A management cluster with replicas of the hub, and a region's agent.
struct Stage {
    // Fields drop in order: agents before the cluster they work on, files last.
    region: Option<Process>,
    hubs: Vec<Hub>,
    management: ControlPlane,
    folder: TempDir,
}

/// One replica.
struct Hub {
    name: &'static str,
    process: Process,
}

fn address() -> Result<SocketAddr> {
    Ok(std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}

impl Stage {
    async fn start() -> Result<Self> {
        let parts = parts::require_parts()?;
        let folder = tempfile::Builder::new().prefix("skein-replicas-").tempdir()?;
        let management = ControlPlane::start(&parts, &folder.path().join("management")).await?;
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        output(management.kubectl().args(["apply", "--server-side", "-f"]).arg(crds))?;
        output(management.kubectl().args(["create", "namespace", SYSTEM]))?;
        let manifest = folder.path().join("region.yaml");
        std::fs::write(&manifest, REGION)?;
        output(management.kubectl().args(["apply", "--server-side", "-f"]).arg(manifest))?;
        Ok(Self { region: None, hubs: Vec::new(), management, folder })
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Starts a replica that listens there and is told of there.
    fn hub(&mut self, name: &'static str, listen: SocketAddr, advertise: &str) -> Result<()> {
        let folder = self.place(name)?;
        let mut command = Command::new(mesh::slim("hub")?);
        command.arg("--kubeconfig").arg(self.management.kubeconfig());
        command.args(["--listen", &listen.to_string(), "--advertise", advertise, "--replica", name]);
        command.args(["--link-tcp", "off"]).arg("--state").arg(&folder);
        command.env("SKEIN_BOUND_FILE", folder.join("bound.json")).env("SKEIN_HTTP", "127.0.0.1:0");
        let process = Process::spawn(name, &mut command, &folder.join("log"))?;
        self.hubs.push(Hub { name, process });
        Ok(())
    }

    /// Waits until the log of a replica says that.
    async fn hub_says(&mut self, name: &str, what: &str) -> Result<()> {
        let hub = self.hubs.iter_mut().find(|hub| hub.name == name).context("no such replica")?;
        wait::until(&format!("replica {name} says \"{what}\""), PATIENCE, || {
            let said = std::fs::read_to_string(hub.process.log()).is_ok_and(|log| log.contains(what));
            let alive = hub.process.check_running();
            async move { alive.map(|()| said.then_some(())) }
        })
        .await
    }

    /// Kills a replica with SIGKILL.
    fn kill(&mut self, name: &str) -> Result<()> {
        let at = self.hubs.iter().position(|hub| hub.name == name).context("no such replica")?;
        self.hubs.remove(at).process.kill();
        Ok(())
    }

    /// Enrols and starts the agent of the region.
    async fn region(&mut self) -> Result<()> {
        let folder = self.place("region")?;
        let mut token = Command::new(mesh::program()?);
        token.args(["token", "create", "--role", "region", "--region", "eu", "--kubeconfig"]);
        let token = output(token.arg(self.management.kubeconfig()))?;
        let listen = address()?.to_string();
        let mut command = Command::new(mesh::slim("regional-agent")?);
        command.args(["run", "--token", token.trim(), "--listen", &listen, "--link-tcp", "off"]);
        command.arg("--kubeconfig").arg(self.management.kubeconfig()).arg("--state").arg(&folder);
        command.env("SKEIN_BOUND_FILE", folder.join("bound.json")).env("SKEIN_HTTP", "127.0.0.1:0");
        self.region = Some(Process::spawn("region", &mut command, &folder.join("log"))?);
        self.linked("linked at first", |link| link["state"] == "up").await.map(|_| ())
    }

    /// Waits until the region's link is as that says.
    async fn linked(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let bound = self.folder.path().join("region/bound.json");
        let region = self.region.as_mut().context("there is no region")?;
        let seen = wait::until(what, PATIENCE, || {
            let alive = region.check_running();
            let (bound, holds) = (&bound, &holds);
            async move {
                alive?;
                let Ok(bound) = process::Bound::read(bound) else { return Ok(None) };
                let address = bound.addresses.get("http").context("the region serves no HTTP")?;
                let status: Value = reqwest::get(format!("http://{address}/status")).await?.json().await?;
                Ok(Some(status["link"].clone()).filter(holds))
            }
        });
        let seen = seen.await;
        seen.with_context(|| region.log_tail(40))
    }

    /// Waits until the region keeps a list of these endpoints.
    async fn listed(&self, wanted: &[String]) -> Result<()> {
        let folder = self.folder.path().join("region");
        let mut wanted = wanted.to_vec();
        wanted.sort();
        let mut last = Vec::new();
        let seen = wait::until("the region keeps the list", PATIENCE, || {
            let identity = identity::AgentIdentity::load(&regional_agent::enrolment::directory(&folder));
            let listed = identity.ok().and_then(|identity| identity.placed.listed);
            last = listed.map(|listed| listed.endpoints).unwrap_or_default();
            let mut told: Vec<_> = last.iter().map(ToString::to_string).collect();
            told.sort();
            let seen = (told == wanted).then_some(());
            async move { Ok(seen) }
        });
        let seen = seen.await;
        let said = self.region.as_ref().map(|region| region.log_tail(40)).unwrap_or_default();
        let hubs: Vec<_> = self.hubs.iter().map(|hub| hub.process.log_tail(30)).collect();
        seen.with_context(|| format!("the region keeps {last:?}\n{said}\n{}", hubs.join("\n")))
    }
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn the_leader_is_killed_and_the_region_is_linked_to_the_other_replica() -> Result<()> {
    let mut stage = Stage::start().await?;
    let (a, b) = (address()?.to_string(), address()?.to_string());
    stage.hub("a", a.parse()?, &a)?;
    stage.hub_says("a", "leading").await?;
    stage.hub("b", b.parse()?, &format!("{b}=10"))?;
    stage.hub_says("b", "standing by").await?;
    let trust = ["get", "configmap", "skein-trust", "-n", SYSTEM, "-o", "jsonpath={.data.hubEndpoints}"];
    until(&stage.management, "new tokens name both replicas", &trust, &b).await?;
    until(&stage.management, "new tokens name both replicas", &trust, &a).await?;
    stage.region().await?;
    stage.listed(&[format!("{a}=10"), format!("{b}=10")]).await?;
    let link = stage.linked("the region is linked to the leader", |link| link["endpoint"] == *a).await?;
    ensure!(link["failovers"] == 0, "{link}");

    let killed = Instant::now();
    stage.kill("a")?;
    let at_b = |link: &Value| link["state"] == "up" && link["endpoint"] == *b;
    let link = stage.linked("the region is linked to the other replica", at_b).await?;
    let took = killed.elapsed();
    println!(
        "fail-over of a region to another replica of the hub after SIGKILL: {:.1} s",
        took.as_secs_f64()
    );
    ensure!(took < Duration::from_secs(90), "that took {took:?}");
    ensure!(link["failovers"] == 1, "{link}");
    let region = ["get", "region", "eu", "-o", "yaml"];
    until(&stage.management, "the object says so", &region, "link: Up").await?;
    // What is dead is told of no more, and what is back stands by and is told of again.
    let leases = ["get", "leases", "-n", SYSTEM, "-l", "skein.dev/hub-replica", "-o", "yaml"];
    until_gone(&stage.management, "the dead replica is forgotten", &leases, "holderIdentity: a").await?;
    stage.listed(&[format!("{b}=10")]).await?;
    stage.hub("a", a.parse()?, &format!("{a}=20"))?;
    stage.hub_says("a", "standing by").await?;
    stage.listed(&[format!("{b}=10"), format!("{a}=20")]).await?;
    let link = stage.linked("it stays where it is", |link| link["state"] == "up").await?;
    ensure!(link["endpoint"] == *b && link["failovers"] == 1 && link["handovers"] == 0, "{link}");
    Ok(())
}
