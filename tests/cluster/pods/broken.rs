//! Upgrades whose containers cannot run: the image is missing, the program crashes, memory is not enough. The edge goes
//! back to what ran, alone if it must, and says why.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stage::{Stage, stage};

/// A server, or what its values make of it.
const SERVER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 1
  progressDeadlineSeconds: 600
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: {{ .Values.image | default "skein.test/actor:1" }}
        args: {{ .Values.args | default (list "serve") | toJson }}
        resources: {limits: {memory: {{ .Values.memory | default "64Mi" }}}}
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
"#;

/// Installs a server that runs.
async fn install(stage: &Stage, name: &str) -> Result<()> {
    stage.publish(name, "0.1.0", &[("server.yaml", SERVER)])?;
    stage.publish(name, "0.2.0", &[("server.yaml", SERVER)])?;
    stage.release(name, "0.1.0", &json!({"helmOptions": {"timeout": "60s"}}), &Value::Null)?;
    stage.until_told(name, ("0.1.0", "Deployed"), "").await.map(|_| ())
}

/// Upgrades it to what cannot run.
fn upgrade(stage: &Stage, name: &str, values: &str) -> Result<()> {
    stage.release(name, "0.2.0", &json!({"helmOptions": {"timeout": "20s"}, "values": values}), &Value::Null)
}

fn runs(stage: &Stage, name: &str) -> Result<bool> {
    let server = stage.object(&["deployment", "server", "-n", name])?;
    let container = &server["spec"]["template"]["spec"]["containers"][0];
    let status = &server["status"];
    Ok(container["args"] == json!(["serve"])
        && container["image"] == skein_tests::nodes::IMAGE
        && status["readyReplicas"] == 1
        && status["replicas"] == 1)
}

async fn goes_back(name: &str, values: &str, why: &str) -> Result<()> {
    let Some(stage) = stage().await? else { return Ok(()) };
    let _shared = stage.share().await;
    install(stage, name).await?;
    upgrade(stage, name, values)?;
    let told = stage.until_told(name, ("0.2.0", "Failed"), "was rolled back to version \"0.1.0\"").await?;
    let message = told["failureMessage"].as_str().unwrap_or_default();
    ensure!(message.contains(why), "the message should tell of {why:?}: {message}");
    stage.until("what ran before runs again", || runs(stage, name)).await?;
    stage.remove(name).await
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn an_image_that_is_missing_leads_back() -> Result<()> {
    goes_back("imageless", "image: 127.0.0.1:1/nothing:1", "127.0.0.1:1/nothing:1").await
}

// Whether it waits to be restarted or has just ended again is the moment's matter: its end is told in both.
#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_program_that_crashes_leads_back() -> Result<()> {
    goes_back("crashing", "args: [exit, \"7\", say=bye]", "ended with code 7").await
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn what_the_kernel_kills_for_its_memory_leads_back_also_while_the_link_is_cut() -> Result<()> {
    const NAME: &str = "hungry";
    let Some(stage) = stage().await? else { return Ok(()) };
    let _alone = stage.alone().await;
    install(stage, NAME).await?;
    upgrade(stage, NAME, "args: [eat]\nmemory: 24Mi")?;
    stage
        .until("the upgrade has begun", || {
            let server = stage.object(&["deployment", "server", "-n", NAME])?;
            Ok(server["spec"]["template"]["spec"]["containers"][0]["args"] == json!(["eat"]))
        })
        .await?;
    stage.mesh.skein(&["stop", "region/eu"])?;
    stage
        .until("the kernel has killed it", || {
            let pods = stage.child(&["get", "pods", "-n", NAME, "-o", "json"])?;
            Ok(pods.contains("OOMKilled"))
        })
        .await?;
    stage.until("what ran before runs again, without a link", || runs(stage, NAME)).await?;
    let hub = stage.told(NAME)?;
    ensure!(hub["state"] != "Deployed" || hub["version"] == "0.1.0", "nobody can know yet: {hub:#}");
    stage.mesh.skein(&["start", "region/eu"])?;
    let told = stage.until_told(NAME, ("0.2.0", "Failed"), "was rolled back to version \"0.1.0\"").await?;
    let message = told["failureMessage"].as_str().context("a message")?;
    // The runtime does not always say that it was for memory, of each of its containers.
    ensure!(message.contains("ended with code 137"), "{message}");
    stage.remove(NAME).await
}
