//! A device whose agent is of an earlier protocol version: it links, works, is told what it lacks, and is upgraded.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skein_tests::mesh::Mesh;
use skein_tests::process::Process;

/// A service of one object for devices with this label; DryRun says that nothing may be written.
fn service(name: &str, mode: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}-manifests, namespace: kcm-system}}
data:
  map.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {{name: {name}}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {{name: {name}, namespace: kcm-system}}
spec:
  resources:
    deploymentType: Remote
    localSourceRef: {{kind: ConfigMap, name: {name}-manifests}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: MultiClusterService
metadata: {{name: {name}}}
spec:
  clusterSelector: {{matchLabels: {{site: old}}}}
  serviceSpec:
    syncMode: {mode}
    services: [{{name: {name}, namespace: default, template: {name}}}]
"#
    )
}

/// The device, its agent started as one of that minor version, with the same disk each time.
fn device(mesh: &Mesh, token: &str, minor: &str) -> Result<Process> {
    let kubeconfig = mesh.skein(&["kubeconfig", "edge/edge-1"])?;
    let mut command = Command::new(mesh.program());
    command.args(["agent", "edge-agent", "run", "--token", token, "--kubeconfig", kubeconfig.trim()]);
    command.args(["--name", "old", "--link-profile", "near", "--protocol-minor", minor, "--state"]);
    command.arg(mesh.state().join("old"));
    for port in ["--otlp-http", "--otlp-grpc", "--http"] {
        command.args([port, "127.0.0.1:0"]);
    }
    Process::spawn("old", &mut command, &mesh.state().join("old.log"))
}

fn current(mesh: &Mesh) -> Result<Value> {
    let edge = mesh.object("hub", &["edge", "-n", "kcm-system", "old"])?.unwrap_or_default();
    let conditions = edge["status"]["conditions"].as_array().cloned().unwrap_or_default();
    Ok(conditions.into_iter().find(|one| one["type"] == "AgentCurrent").unwrap_or_default())
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_device_of_an_earlier_version_works_is_told_what_it_lacks_and_gets_the_rest_when_it_is_upgraded()
-> Result<()> {
    let mesh = Mesh::start(&["--edges", "1"]).await?;
    let token = mesh.skein(&["token", "create", "--region", "eu", "--label", "site=old"])?.trim().to_owned();
    let mut old = device(&mesh, &token, "0")?;
    mesh.apply("hub", &service("plain", "Continuous"))?;
    mesh.apply("hub", &service("careful", "DryRun"))?;
    let there = |mesh: &Mesh, name: &str| mesh.object("edge/edge-1", &["configmap", "-n", "default", name]);
    let works = mesh.until("it works", |mesh| Ok(there(mesh, "plain")?.is_some())).await;
    works.with_context(|| old.log_tail(20))?;
    let told = |mesh: &Mesh| -> Result<bool> {
        let condition = current(mesh)?;
        Ok(condition["reason"] == "AgentOlder" && condition["message"].to_string().contains("dry-run (1.1)"))
    };
    mesh.until("the hub tells what it lacks", told).await?;
    mesh.until("the service tells why it is not sent", |mesh| {
        let sets = mesh.object("hub", &["servicesets", "-A"])?.unwrap_or_default().to_string();
        Ok(sets.contains("speaks protocol 1.0 and lacks dry-run (1.1)"))
    })
    .await?;
    ensure!(there(&mesh, "careful")?.is_none(), "a dry run was carried out");
    let log = old.log_tail(usize::MAX);
    ensure!(log.matches("this agent lacks what its peer has").count() == 1, "{log}");
    let state = mesh.state().join("old");
    let status = |mesh: &Mesh| {
        let mut command = Command::new(mesh.program());
        command.args(["agent", "edge-agent", "status", "--state"]).arg(&state);
        skein_tests::process::output(&mut command)
    };
    let shown = status(&mesh)?;
    ensure!(shown.contains("speaks protocol 1.0") && shown.contains("dry-run (1.1)"), "{shown}");
    let answer = mesh.skein(&["history", "edge/old"]).unwrap_or_else(|error| format!("{error:#}"));
    ensure!(answer.contains("inquiry (1.1)"), "{answer}");
    old.kill();
    let _new = device(&mesh, &token, "3")?;
    mesh.until("it has everything", |mesh| Ok(current(mesh)?["status"] == "True")).await?;
    mesh.until("the dry run tells what it would do", |mesh| {
        let sets = mesh.object("hub", &["servicesets", "-A"])?.unwrap_or_default().to_string();
        Ok(!sets.contains("lacks dry-run") && sets.contains("dry run, nothing was written"))
    })
    .await?;
    ensure!(!status(&mesh)?.contains("lacks"), "what it lacked is still shown");
    Ok(())
}
