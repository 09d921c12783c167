//! A node dies with all that runs on it, and comes back; the edge agent dies in the middle of things.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::stage::{EDGE, Stage, stage};

const SERVERS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 2
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway,
         labelSelector: {matchLabels: {app: server}}}
      containers:
      - name: main
        image: skein.test/actor:1
        args: [serve]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: skein.test/actor:1
        args: [serve]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
"#;

fn hook(name: &str, events: &str, seconds: u32) -> String {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "annotations": {
            "helm.sh/hook": events, "helm.sh/hook-delete-policy": "before-hook-creation",
        }},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": skein_tests::nodes::IMAGE,
                "args": ["exit", "0", format!("after={seconds}")]}],
        }}},
    })
    .to_string()
}

fn nodes_of(stage: &Stage, name: &str) -> Result<Vec<String>> {
    let path = "jsonpath={range .items[?(@.status.phase==\"Running\")]}{.spec.nodeName} {end}";
    let text = stage.child(&["get", "pods", "-n", name, "-l", "app=server", "-o", path])?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_node_that_dies_is_told_and_what_it_ran_comes_back_elsewhere() -> Result<()> {
    const NAME: &str = "spread";
    let Some(stage) = stage().await? else { return Ok(()) };
    let _alone = stage.alone().await;
    stage.publish(NAME, "0.1.0", &[("servers.yaml", SERVERS)])?;
    stage.release(NAME, "0.1.0", &json!({"helmOptions": {"timeout": "60s"}}), &Value::Null)?;
    stage.until_told(NAME, ("0.1.0", "Deployed"), "").await?;
    let mut placed = nodes_of(stage, NAME)?;
    placed.sort();
    ensure!(placed == ["node-1", "node-2"], "{placed:?}");

    stage.nodes.write().await.kill(1);
    let told = stage.until_told(NAME, ("0.1.0", "Provisioning"), "").await?;
    println!("told of the dead node: {told:#}");
    stage
        .until("both run on the node that is left", || {
            let server = stage.object(&["deployment", "server", "-n", NAME])?;
            Ok(server["status"]["availableReplicas"] == 2)
        })
        .await?;
    // The node's own agent is not there, and is wanted no more while the node is gone: nothing is hidden, nothing failed.
    let page = stage.mesh.skein(&["explain", &format!("edge/{EDGE}"), NAME])?;
    ensure!(page.contains(NAME), "{page}");

    stage.nodes.write().await.revive(1).await?;
    stage.until_told(NAME, ("0.1.0", "Deployed"), "").await?;
    stage
        .until("the node runs its part again", || {
            let agent = stage.object(&["daemonset", "agent", "-n", NAME])?;
            Ok(agent["status"]["numberReady"] == 2)
        })
        .await?;
    stage.remove(NAME).await
}

/// kill -9 of the edge agent in the middle of hooks, at install and at upgrade; its Jobs run on, once.
#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn an_edge_that_dies_in_the_middle_of_a_hook_waits_for_it_and_runs_it_once() -> Result<()> {
    const NAME: &str = "resumed";
    let Some(stage) = stage().await? else { return Ok(()) };
    let _alone = stage.alone().await;
    let before = hook("before", "pre-install,pre-upgrade", 4);
    for version in ["0.1.0", "0.2.0"] {
        stage.publish(NAME, version, &[("before.yaml", &before), ("servers.yaml", SERVERS)])?;
    }
    let mut last = Value::Null;
    for version in ["0.1.0", "0.2.0"] {
        stage.release(NAME, version, &json!({"helmOptions": {"timeout": "60s"}}), &Value::Null)?;
        let running = || -> Result<Value> { stage.object(&["job", "before", "-n", NAME]) };
        stage
            .until("the hook runs", || {
                let job = running()?;
                Ok(job["status"]["active"] == 1 && job["metadata"]["uid"] != last)
            })
            .await?;
        let uid = running()?["metadata"]["uid"].clone();
        stage.kill_edge();
        stage.start_edge().await?;
        stage.until_told(NAME, (version, "Deployed"), "").await?;
        ensure!(running()?["metadata"]["uid"] == uid, "the hook ran again");
        last = uid;
    }
    // And while it is taken away.
    stage.mesh.kubectl("hub", &["delete", "multiclusterservice", NAME, "--wait=false"])?;
    stage.kill_edge();
    stage.start_edge().await?;
    stage
        .until("all of it is gone", || {
            Ok(stage.child(&["get", "deploy,ds,rs", "-n", NAME, "-o", "name"])?.is_empty())
        })
        .await
}
