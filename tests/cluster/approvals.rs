//! Devices that wait until a person lets them in: with `skein`, with kubectl, over deaths of hub, region and device.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skein_tests::mesh::{Mesh, PATIENCE};
use skein_tests::process::Process;
use skein_tests::wait;

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn devices_wait_for_a_person_who_lets_them_in_or_refuses_them() -> Result<()> {
    let mesh = Mesh::start(&["--edges", "1"]).await?;
    let token = mesh
        .skein(&["token", "create", "--region", "eu", "--max-uses", "3", "--approval", "manual"])?
        .trim()
        .to_owned();
    let mut first = enrol(&mesh, &token, "till-1")?;
    let mut second = enrol(&mesh, &token, "till-2")?;
    let mut third = enrol(&mesh, &token, "till-3")?;
    mesh.until("all three are shown", |mesh| {
        let shown = mesh.skein(&["approve", "--list"])?;
        Ok(["till-1", "till-2", "till-3"]
            .iter()
            .all(|name| shown.contains(&format!("kcm-system/{name}  region eu")))
            && shown.matches("spec.approval.policy is Manual").count() == 3)
    })
    .await?;
    let told = mesh.kubectl("hub", &["get", "events", "-A"])?;
    ensure!(told.contains("ApprovalPending"), "{told}");
    until_logged(&mut first, "a person has to approve Edge kcm-system/till-1").await?;
    // What waits is on disks: everybody dies, and nobody is let in or forgotten by that.
    mesh.kill("hub")?;
    first.kill();
    mesh.kill("region/eu")?;
    mesh.until("the hub answers", |mesh| Ok(mesh.skein(&["approve", "--list"]).is_ok())).await?;
    let key = edge(&mesh, "till-1")?["status"]["fingerprint"].as_str().context("no fingerprint")?.to_owned();
    let other = mesh.skein(&["approve", "till-1", "--fingerprint", "0123456789"]);
    let other = other.map_or_else(|error| format!("{error:#}"), |said| format!("accepted: {said}"));
    ensure!(other.contains(&key) && other.contains("0123456789"), "{other}");
    // One is let in while it is away.
    let said = mesh.skein(&["approve", "till-1", "--fingerprint", &key[..16]])?;
    ensure!(said.contains("kcm-system/till-1 is approved"), "{said}");
    let mut first = enrol(&mesh, &token, "till-1")?;
    until_linked(&mesh, &mut first, "till-1").await?;
    // One while it waits, with kubectl.
    let patch = r#"{"spec":{"approved":true}}"#;
    mesh.kubectl("hub", &["patch", "edge", "-n", "kcm-system", "till-2", "--type", "merge", "-p", patch])?;
    until_linked(&mesh, &mut second, "till-2").await?;
    // One is refused, hears of it, and changes nothing by asking; then somebody thinks better of it.
    mesh.skein(&["approve", "--deny", "till-3"])?;
    until_logged(&mut third, "it was refused: Edge kcm-system/till-3 says so").await?;
    ensure!(edge(&mesh, "till-3")?["status"]["link"] != "Up");
    third.kill();
    mesh.skein(&["approve", "till-3"])?;
    let mut third = enrol(&mesh, &token, "till-3")?;
    until_linked(&mesh, &mut third, "till-3").await?;
    let nobody = mesh.skein(&["approve", "--list"])?;
    ensure!(nobody.contains("nobody waits"), "{nobody}");
    Ok(())
}

/// A device that runs its agent; it has the same disk each time.
fn enrol(mesh: &Mesh, token: &str, name: &str) -> Result<Process> {
    let kubeconfig = mesh.skein(&["kubeconfig", "edge/edge-1"])?;
    let mut command = Command::new(mesh.program());
    command.arg("--state").arg(mesh.state().join(name));
    command.args(["enroll", token, "--kubeconfig", kubeconfig.trim(), "--name", name]);
    command.args(["--", "--link-profile", "near"]);
    for port in ["--otlp-http", "--otlp-grpc", "--http"] {
        command.args([port, "127.0.0.1:0"]);
    }
    Process::spawn(name, &mut command, &mesh.state().join(format!("{name}.log")))
}

fn edge(mesh: &Mesh, name: &str) -> Result<Value> {
    Ok(mesh.object("hub", &["edge", "-n", "kcm-system", name])?.unwrap_or_default())
}

async fn until_linked(mesh: &Mesh, device: &mut Process, name: &str) -> Result<()> {
    let linked =
        mesh.until("the edge is linked", |mesh| Ok(edge(mesh, name)?["status"]["link"] == "Up")).await;
    linked.with_context(|| device.log_tail(20))?;
    device.check_running()
}

async fn until_logged(device: &mut Process, text: &str) -> Result<()> {
    wait::until(text, PATIENCE, || {
        let there = device.log_tail(usize::MAX).contains(text);
        let alive = device.check_running();
        async move { alive.map(|()| there.then_some(())) }
    })
    .await
}
