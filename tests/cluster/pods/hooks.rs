//! Hooks are Jobs whose containers really run: in order, waited for, one that fails stops the release, and tests run
//! when they are asked for.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stage::{Stage, stage};

const NAME: &str = "hooked";

/// A hook that is a Job of one container.
fn hook(name: &str, events: &str, weight: i32, policy: &str, arguments: &[&str]) -> String {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "annotations": {
            "helm.sh/hook": events, "helm.sh/hook-weight": weight.to_string(), "helm.sh/hook-delete-policy": policy,
        }},
        "spec": {"backoffLimit": 0, "template": {"spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": skein_tests::nodes::IMAGE, "args": arguments}],
        }}},
    })
    .to_string()
}

/// What the hooks are around: a server that answers its version at a ClusterIP.
const SERVER: &str = r#"
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
      containers:
      - name: main
        image: skein.test/actor:1
        args: [serve, late=1]
        env: [{name: TEXT, value: "version {{ .Chart.Version }}"}]
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  clusterIP: 10.96.77.1
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080}]
"#;

fn templates(code: &str) -> Vec<(&'static str, String)> {
    let fetch = ["fetch", "10.96.77.1:80", "version {{ .Chart.Version }}"];
    let before = "before-hook-creation";
    let migrate = ["exit", code, "after=1", "say=migrated to {{ .Chart.Version }}"];
    let tested = ["fetch", "10.96.77.1:80", "{{ .Values.expected | default `version` }}", "within=3"];
    vec![
        ("server.yaml", SERVER.to_owned()),
        ("first.yaml", hook("first", "pre-install,pre-upgrade", -5, before, &["exit", "0", "after=1"])),
        ("second.yaml", hook("second", "pre-install,pre-upgrade", 5, before, &migrate)),
        ("passing.yaml", hook("passing", "pre-install", 1, "hook-succeeded", &["exit", "0"])),
        ("after.yaml", hook("after", "post-install,post-upgrade", 0, before, &fetch)),
        ("test.yaml", hook("try", "test", 0, before, &tested)),
    ]
}

fn publish(stage: &Stage, version: &str, code: &str) -> Result<()> {
    let templates = templates(code);
    let templates: Vec<(&str, &str)> = templates.iter().map(|(file, text)| (*file, text.as_str())).collect();
    stage.publish(NAME, version, &templates)
}

fn job(stage: &Stage, name: &str) -> Result<Value> {
    stage.object(&["job", name, "-n", NAME])
}

fn moment(job: &Value, which: &str) -> Result<jiff::Timestamp> {
    let text = job["status"][which].as_str().with_context(|| format!("no {which} in {job:#}"))?;
    Ok(text.parse()?)
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn hooks_run_in_containers_in_order_and_one_that_fails_stops_the_release() -> Result<()> {
    let Some(stage) = stage().await? else { return Ok(()) };
    let _shared = stage.share().await;
    publish(stage, "0.1.0", "0")?;
    publish(stage, "0.2.0", "3")?;
    publish(stage, "0.3.0", "0")?;
    let options = json!({"helmOptions": {"timeout": "60s"}});

    stage.release(NAME, "0.1.0", &options, &Value::Null)?;
    stage.until_told(NAME, ("0.1.0", "Deployed"), "").await?;
    let (first, second, after) = (job(stage, "first")?, job(stage, "second")?, job(stage, "after")?);
    ensure!(moment(&first, "completionTime")? <= moment(&second, "startTime")?, "{first:#} {second:#}");
    let server = stage.object(&["deployment", "server", "-n", NAME])?;
    let made: jiff::Timestamp =
        server["metadata"]["creationTimestamp"].as_str().unwrap_or_default().parse()?;
    ensure!(moment(&second, "completionTime")? <= made, "the server was made before its hooks ended");
    ensure!(made <= moment(&after, "startTime")?, "{after:#}");
    ensure!(job(stage, "passing")?.is_null(), "a hook that has succeeded should be deleted");
    let logs = stage.child(&["logs", "-n", NAME, "job/second"])?;
    ensure!(logs.trim() == "migrated to 0.1.0", "{logs}");
    // It saw all of the service, through its ClusterIP.
    let logs = stage.child(&["logs", "-n", NAME, "job/after"])?;
    ensure!(logs.trim() == "got version 0.1.0", "{logs}");

    tests_on_demand(stage, &options).await?;

    // The hook before the upgrade fails: nothing of the upgrade is seen, and the release is what it was.
    let twice = json!({"spec": {"serviceSpec": {"provider": {"config": {"maxConsecutiveFailures": 2}}}}});
    stage.release(NAME, "0.2.0", &options, &twice)?;
    let told = stage.until_told(NAME, ("0.2.0", "Failed"), "hook Job.batch hooked/second failed").await?;
    let message = told["failureMessage"].as_str().unwrap_or_default();
    ensure!(message.contains("rolled back to version \"0.1.0\""), "{message}");
    ensure!(message.contains("container \"main\" ended with code 3 (Error)"), "{message}");
    let image = "jsonpath={.spec.template.spec.containers[0].env[0].value}";
    let shown = stage.child(&["get", "deployment", "server", "-n", NAME, "-o", image])?;
    ensure!(shown == "version 0.1.0", "{shown}");

    stage.release(NAME, "0.3.0", &options, &Value::Null)?;
    stage.until_told(NAME, ("0.3.0", "Deployed"), "").await?;
    let logs = stage.child(&["logs", "-n", NAME, "job/after"])?;
    ensure!(logs.trim() == "got version 0.3.0", "{logs}");
    stage.remove(NAME).await
}

/// Test hooks: not of themselves, once for each order, and one that fails harms nobody.
async fn tests_on_demand(stage: &Stage, options: &Value) -> Result<()> {
    ensure!(job(stage, "try")?.is_null(), "a test ran that nobody asked for");
    let order = |value: &str| json!({"metadata": {"annotations": {"skein.dev/test": value}}});
    stage.release(NAME, "0.1.0", options, &order("one"))?;
    let told = "the hub tells of the test";
    stage.until(told, || Ok(job(stage, "try")?["status"]["succeeded"] == 1)).await?;
    let first = job(stage, "try")?["metadata"]["uid"].clone();
    // What is expected now is not what the server answers.
    let wrong = json!({"helmOptions": {"timeout": "60s"}, "values": "expected: version 9"});
    stage.release(NAME, "0.1.0", &wrong, &order("two"))?;
    stage.until("the second test fails", || Ok(job(stage, "try")?["status"]["failed"] == 1)).await?;
    ensure!(job(stage, "try")?["metadata"]["uid"] != first, "the test did not run again");
    stage.until_told(NAME, ("0.1.0", "Deployed"), "").await.map(|_| ())
}
