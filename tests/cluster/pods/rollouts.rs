//! A release is deployed when its pods really run: every kind of workload, at install and at upgrade; and workloads roll
//! when the ConfigMap that they mount changes.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::stage::{Stage, stage};

/// One of each kind; all are ready late, and all answer what the ConfigMap says.
const WORKLOADS: &str = r#"
{{- define "pod" }}
metadata: {labels: {app: {{ . }}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: skein.test/actor:1
    args: [serve, late=3]
    env: [{name: TEXT, value: "{{ . }} "}, {name: RELEASE, value: "{{ $.Chart }}"}]
    readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}
    volumeMounts: [{name: config, mountPath: /config}]
  volumes: [{name: config, configMap: {name: page}}]
{{- end }}
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {text: {{ .Values.text | quote }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {{- include "pod" "web" | nindent 4 }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: store}
spec:
  replicas: 2
  serviceName: store
  selector: {matchLabels: {app: store}}
  template: {{- include "pod" "store" | nindent 4 }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template: {{- include "pod" "agent" | nindent 4 }}
---
apiVersion: batch/v1
kind: Job
metadata: {name: seed-{{ .Chart.Version | replace "." "-" }}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "skein.test/actor:1", args: [exit, "0", after=1]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.77.{{ .Values.address }}
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"#;

/// What a node gets from a service.
pub(super) async fn answers(stage: &Stage, node: usize, address: &str) -> Result<String> {
    let nodes = stage.nodes.read().await;
    let fetch = format!(
        "printf 'GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' | socat -t2 -T2 - TCP:{address},connect-timeout=2"
    );
    nodes.on_node(node, "sh", &["-c", &fetch])
}

fn replicas(object: &Value, wanted: u64, keys: &[&str]) -> bool {
    keys.iter().all(|key| object["status"][*key] == wanted)
}

/// All pods of all workloads are ready, and of the newest revision.
fn all_ready(stage: &Stage, name: &str) -> Result<()> {
    let deployment = stage.object(&["deployment", "web", "-n", name])?;
    ensure!(replicas(&deployment, 2, &["replicas", "updatedReplicas", "readyReplicas"]), "{deployment:#}");
    let store = stage.object(&["statefulset", "store", "-n", name])?;
    ensure!(replicas(&store, 2, &["replicas", "updatedReplicas", "readyReplicas"]), "{store:#}");
    let agent = stage.object(&["daemonset", "agent", "-n", name])?;
    ensure!(
        replicas(&agent, 2, &["updatedNumberScheduled", "numberReady", "desiredNumberScheduled"]),
        "{agent:#}"
    );
    Ok(())
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_release_is_deployed_when_its_pods_are_ready_and_not_before() -> Result<()> {
    const NAME: &str = "rolled";
    let Some(stage) = stage().await? else { return Ok(()) };
    let _shared = stage.share().await;
    for version in ["0.1.0", "0.2.0"] {
        stage.publish(NAME, version, &[("workloads.yaml", &WORKLOADS.replace("{{ $.Chart }}", version))])?;
    }
    let service = |text: &str| json!({"helmOptions": {"timeout": "90s"}, "values": format!("text: {text}\naddress: 2")});
    let reloading = json!({"spec": {"serviceSpec": {"provider": {"config": {"reloader": true}}}}});
    stage.release(NAME, "0.1.0", &service("one"), &reloading)?;
    stage.until_told(NAME, ("0.1.0", "Deployed"), "").await?;
    all_ready(stage, NAME)?;
    let seeded = stage.object(&["job", "seed-0-1-0", "-n", NAME])?;
    ensure!(seeded["status"]["startTime"].is_string(), "{seeded:#}");
    for node in 0..2 {
        let answer = answers(stage, node, "10.96.77.2:80").await?;
        ensure!(answer.ends_with("web one"), "{answer}");
    }

    // An upgrade: deployed when no pod of before is left and all are ready.
    stage.release(NAME, "0.2.0", &service("one"), &reloading)?;
    stage.until_told(NAME, ("0.2.0", "Deployed"), "").await?;
    all_ready(stage, NAME)?;
    let environment = "jsonpath={.items[*].spec.containers[0].env[1].value}";
    let running = stage.child(&["get", "pods", "-n", NAME, "-l", "app", "-o", environment])?;
    ensure!(running.split(' ').all(|version| version == "0.2.0"), "{running}");
    ensure!(stage.object(&["job", "seed-0-1-0", "-n", NAME])?.is_null(), "the job of before is not pruned");

    // Only the ConfigMap changes: real pods are replaced, and what they read is the new text.
    stage.release(NAME, "0.2.0", &service("two"), &reloading)?;
    stage
        .until("the workloads roll", || {
            let store = stage.object(&["statefulset", "store", "-n", NAME])?;
            Ok(store["metadata"]["generation"].as_u64() > Some(2))
        })
        .await?;
    stage.until("all is ready again", || all_ready(stage, NAME).map(|()| true)).await?;
    let answer = answers(stage, 0, "10.96.77.2:80").await?;
    ensure!(answer.ends_with("web two"), "{answer}");
    stage.until_told(NAME, ("0.2.0", "Deployed"), "").await?;
    stage.remove(NAME).await
}
