//! A disk that is really full, at the edge: a small file system of its own under the agent's state.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skein_tests::mesh::{Mesh, PATIENCE};
use skein_tests::process::{Process, output};
use skein_tests::wait;

/// Room for the agent's state, some telemetry, and not much else.
const DISK_MIB: u64 = 40;

const SERVICE: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: page, namespace: kcm-system}
data:
  page.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {name: page, namespace: shop}
    data: {title: first}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {name: page, namespace: kcm-system}
spec:
  resources:
    deploymentType: Remote
    localSourceRef: {kind: ConfigMap, name: page}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: MultiClusterService
metadata: {name: page}
spec:
  clusterSelector: {matchLabels: {disk: small}}
  serviceSpec:
    services: [{name: page, namespace: shop, template: page}]
";

/// A file system in memory, as long as it lives.
struct Disk(PathBuf);

impl Disk {
    /// Fails where this program may not mount.
    fn mount(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let size = format!("size={DISK_MIB}m");
        output(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "skein-test"]).arg(folder))?;
        Ok(Self(folder.to_owned()))
    }

    /// Leaves no byte for anybody else.
    fn fill(&self) -> Result<()> {
        let filler = format!("of={}", self.0.join("filler").display());
        let mut dd = Command::new("dd");
        let filled = dd.args(["if=/dev/zero", &filler, "bs=4k", "oflag=append", "conv=notrunc"]).output()?;
        let said = String::from_utf8_lossy(&filled.stderr);
        ensure!(said.contains("No space left"), "dd did not fill the disk: {said}");
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: an agent that was just killed may hold files for a moment.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_full_disk_costs_the_oldest_telemetry_and_nothing_else() -> Result<()> {
    let mesh = Mesh::start(&["--edges", "1", "--regions", "eu"]).await?;
    let disk = match Disk::mount(&mesh.state().join("small")) {
        Ok(disk) => disk,
        Err(error) => {
            println!("skipped: a file system of its own needs root: {error:#}");
            return Ok(());
        }
    };
    let mut edge = enrol(&mesh, &disk).await?;
    let bound = std::fs::read_to_string(mesh.state().join("small.json"))?;
    let bound: Value = serde_json::from_str(&bound)?;
    let address = |role: &str| bound[role].as_str().map(str::to_owned).context("an address");
    let (otlp, http) = (address("otlpHttp")?, address("http")?);
    mesh.apply("hub", SERVICE)?;
    mesh.until("the service is there", |mesh| shows(mesh, "first")).await?;

    // Nothing leaves, and the disk is full with what others put there.
    mesh.skein(&["stop", "region/eu"])?;
    let mut taken = send(&otlp, 0..20).await?;
    disk.fill()?;
    taken.extend(send(&otlp, 20..160).await?);
    // What the agent gave up to help itself others take as well.
    disk.fill()?;
    taken.extend(send(&otlp, 160..300).await?);
    let newest = taken.contains(&299);
    ensure!(newest, "the newest is not taken on a full disk, but {taken:?}:\n{}", edge.log_tail(30));
    mesh.kubectl("edge/edge-1", &["delete", "configmap", "-n", "shop", "page"])?;
    mesh.until("drift is repaired on a full disk", |mesh| shows(mesh, "first")).await?;
    edge.check_running()?;
    let (gaps, dropped) = lost(&http).await?;
    ensure!(gaps > 0 && dropped > 0, "nothing was dropped: {gaps} gaps, {dropped} points");

    // A plan that cannot be stored is not carried out.
    mesh.skein(&["start", "region/eu"])?;
    mesh.apply("hub", &SERVICE.replace("title: first", "title: second"))?;
    mesh.until("the edge is linked again, its disk still full", |mesh| Ok(link(mesh)? == "Up")).await?;

    disk.free()?;
    mesh.until("the newest plan is carried out when there is space", |mesh| shows(mesh, "second")).await?;
    mesh.until("telemetry flows again, the newest included", |mesh| {
        let answer = mesh.skein(&["query", "count(skein_test_fill{n=\"299\"})"])?;
        Ok(answer.lines().any(|line| line.split_whitespace().last() == Some("1")))
    })
    .await?;
    let (_, dropped) = lost(&http).await?;
    // Of the edge's own measurements some are lost too, never more than is told.
    mesh.until("what is missing is what the gaps tell", |mesh| {
        let answer = mesh.skein(&["query", "count(skein_test_fill)"])?;
        let there = answer.lines().find_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        let missing = (taken.len() as u64).saturating_sub(there.unwrap_or_default());
        Ok(missing > 0 && missing <= dropped)
    })
    .await?;
    mesh.until("the hub tells of the gaps", |mesh| {
        let object = mesh.object("hub", &["edge", "-n", "kcm-system", "small"])?.unwrap_or_default();
        Ok(object["status"]["gaps"].as_u64() > Some(0))
    })
    .await?;
    edge.check_running()
}

async fn enrol(mesh: &Mesh, disk: &Disk) -> Result<Process> {
    let token = mesh.skein(&["token", "create", "--region", "eu", "--label", "disk=small"])?;
    let kubeconfig = mesh.skein(&["kubeconfig", "edge/edge-1"])?;
    let bound = mesh.state().join("small.json");
    let mut command = Command::new(mesh.program());
    command.arg("--state").arg(&disk.0).args(["enroll", token.trim(), "--kubeconfig", kubeconfig.trim()]);
    command.args(["--name", "small", "--", "--link-profile", "near", "--metrics-interval", "1"]);
    for port in ["--otlp-http", "--otlp-grpc", "--http"] {
        command.args([port, "127.0.0.1:0"]);
    }
    command.arg("--bound-file").arg(&bound);
    let mut edge = Process::spawn("edge", &mut command, &mesh.state().join("small.log"))?;
    let started = wait::until("the edge has started", PATIENCE, || {
        let there = bound.exists();
        let alive = edge.check_running();
        async move { alive.map(|()| there.then_some(())) }
    });
    let started = started.await;
    started.with_context(|| edge.log_tail(40))?;
    mesh.until("the edge is linked", |mesh| Ok(link(mesh)? == "Up")).await?;
    Ok(edge)
}

fn link(mesh: &Mesh) -> Result<String> {
    let object = mesh.object("hub", &["edge", "-n", "kcm-system", "small"])?.unwrap_or_default();
    Ok(object["status"]["link"].as_str().unwrap_or_default().to_owned())
}

fn shows(mesh: &Mesh, title: &str) -> Result<bool> {
    let map = mesh.object("edge/edge-1", &["configmap", "-n", "shop", "page"])?.unwrap_or_default();
    Ok(map["data"]["title"] == title)
}

/// Gaps, and points that were dropped, as the edge itself tells.
async fn lost(http: &str) -> Result<(u64, u64)> {
    let text = reqwest::get(format!("http://{http}/metrics")).await?.text().await?;
    let sum = |name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    };
    Ok((sum("skein_spool_gaps_total"), sum("skein_spool_dropped_points_total")))
}

/// Sends batches of one series each that do not compress, about 100 KiB; answers those that were taken.
async fn send(otlp: &str, numbers: std::ops::Range<u64>) -> Result<Vec<u64>> {
    let client = reqwest::Client::new();
    let mut taken = Vec::new();
    for number in numbers {
        let now = jiff::Timestamp::now().as_nanosecond().to_string();
        let text = |key: String, value: String| json!({"key": key, "value": {"stringValue": value}});
        let padding = (0..60u64).map(|index| text(format!("p{index}"), noise(number * 100 + index)));
        let attributes: Vec<Value> =
            std::iter::once(text("n".into(), number.to_string())).chain(padding).collect();
        let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
            "name": "skein_test_fill",
            "gauge": {"dataPoints": [{"asDouble": 1.0, "timeUnixNano": now, "attributes": attributes}]},
        }]}]}]});
        let answer = client.post(format!("http://{otlp}/v1/metrics")).json(&body).send().await?;
        if answer.status().is_success() {
            taken.push(number);
        }
    }
    Ok(taken)
}

/// 2,000 characters that look random, the same for the same seed.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut word = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..125).map(|_| format!("{:016x}", word())).collect()
}
