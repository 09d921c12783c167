//! A release that the real Helm installed is taken over while its pods run, and stays one that Helm's own commands can
//! read and roll back.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use skein_tests::process::output;

use super::stage::{Stage, stage};

const NAME: &str = "inherited";
const SERVER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 1
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: main, image: "skein.test/actor:1", args: [serve], env: [{name: TEXT, value: "{{ .Values.text }}"}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: both}
data: {version: {{ .Chart.Version | quote }}}
"#;
const OLD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: old}\ndata: {a: b}\n";

async fn helm(stage: &Stage, arguments: &[&str]) -> Result<String> {
    output(stage.nodes.read().await.plane.helm().args(arguments))
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_release_that_helm_installed_is_taken_over_and_helm_can_still_roll_it_back() -> Result<()> {
    let Some(stage) = stage().await? else { return Ok(()) };
    let _shared = stage.share().await;
    stage.publish(NAME, "0.1.0", &[("server.yaml", SERVER), ("old.yaml", OLD)])?;
    stage.publish(NAME, "0.2.0", &[("server.yaml", SERVER)])?;
    let package = stage.package(NAME, "0.1.0");
    let install = ["install", NAME, &package, "-n", NAME, "--create-namespace", "--set", "text=helm"];
    helm(stage, &[&install[..], &["--wait", "--timeout", "60s"]].concat()).await?;
    let uid = |stage: &Stage| -> Result<Value> {
        Ok(stage.object(&["deployment", "server", "-n", NAME])?["metadata"]["uid"].clone())
    };
    let server = uid(stage)?;

    let service = json!({"helmOptions": {"timeout": "60s"}, "values": "text: skein"});
    stage.release(NAME, "0.2.0", &service, &Value::Null)?;
    stage.until_told(NAME, ("0.2.0", "Deployed"), "").await?;
    ensure!(uid(stage)? == server, "the deployment was made anew");
    stage
        .until("what only the old release had is gone", || {
            Ok(stage.object(&["configmap", "old", "-n", NAME])?.is_null())
        })
        .await?;
    let history = ["history", NAME, "-n", NAME, "-o", "json"];
    stage
        .until("Helm's history goes on", || {
            let secrets =
                stage.child(&["get", "secrets", "-n", NAME, "-l", "owner=helm,version=2", "-o", "name"])?;
            Ok(!secrets.is_empty())
        })
        .await?;
    let told: Value = serde_json::from_str(&helm(stage, &history).await?)?;
    ensure!(told[0]["status"] == "superseded" && told[1]["chart"] == "inherited-0.2.0", "{told:#}");

    // Somebody rolls back by hand. Helm finds that the fields have another owner; with force, what is declared is true
    // again, and Helm still reads its records.
    let rollback = ["rollback", NAME, "1", "-n", NAME];
    let refused = helm(stage, &rollback).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains("conflict with \"skein\""), "{refused}");
    helm(stage, &[&rollback[..], &["--force-conflicts"]].concat()).await?;
    stage
        .until("what is declared is there again", || {
            let both = stage.object(&["configmap", "both", "-n", NAME])?;
            let text = stage.object(&["deployment", "server", "-n", NAME])?;
            let text = &text["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"];
            Ok(both["data"]["version"] == "0.2.0" && text == "skein")
        })
        .await?;
    stage.until_told(NAME, ("0.2.0", "Deployed"), "").await?;
    stage
        .until("Helm's history ends with what is declared", || {
            let records = stage.object(&["secrets", "-n", NAME, "-l", "owner=helm"])?;
            let records = records["items"].as_array().cloned().unwrap_or_default();
            let number = |record: &Value| {
                record["metadata"]["labels"]["version"].as_str().and_then(|text| text.parse::<u32>().ok())
            };
            let last = records.iter().max_by_key(|record| number(record)).cloned().unwrap_or_default();
            let deployed = last["metadata"]["labels"]["status"] == "deployed";
            Ok(deployed && last["metadata"]["annotations"]["skein.dev/revision"].is_string())
        })
        .await?;
    let told: Value = serde_json::from_str(&helm(stage, &history).await?)?;
    let last = told.as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    ensure!(last["chart"] == "inherited-0.2.0" && last["status"] == "deployed", "{told:#}");
    stage.mesh.kubectl("hub", &["delete", "multiclusterservice", NAME, "--timeout=180s"])?;
    stage.until("the deployment is gone", || Ok(uid(stage)?.is_null())).await
}
