//! Services through hub, region and edge, each step with one of the three killed or stopped in the middle of it: what
//! two sets want, patches, test hooks, what cannot be changed, a veto, a rollback, a hand-over, an uninstall.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skein_tests::mesh::{Mesh, PATIENCE};
use skein_tests::process::Process;
use skein_tests::wait;

use crate::charts::{Charts, template_name};

const EDGE: &str = "edge/edge-1";
const NAME: &str = "shop";

/// Whose it is and which version.
const PAGE: &str = "{apiVersion: v1, kind: ConfigMap, metadata: {name: page}, \
     data: {owner: {{ .Values.owner }}, version: {{ .Chart.Version }}}}";

/// A Deployment of pods with this label.
fn web(label: &str) -> String {
    let labels = json!({"app": label});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web"}]}},
    }})
    .to_string()
}

const TRY: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: try, annotations: {helm.sh/hook: test}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: try, image: try}]}}}
"#;

/// The mesh and its charts.
struct Stage {
    mesh: Mesh,
    charts: Charts,
}

impl Stage {
    async fn set() -> Result<Self> {
        let mesh = Mesh::start(&["--regions", "eu", "--edges", "1"]).await?;
        let charts = Charts::serve(mesh.state().join("charts"))?;
        let publish = |version: &str, templates: &[(&str, &str)]| charts.publish(NAME, version, templates);
        let (before, after) = (web("before"), web("after"));
        publish("0.1.0", &[("page.yaml", PAGE), ("web.yaml", &before), ("try.yaml", TRY)])?;
        publish("0.2.0", &[("page.yaml", PAGE), ("web.yaml", &after)])?;
        publish("0.3.0", &[("page.yaml", PAGE), ("web.yaml", &after)])?;
        let broken = "{apiVersion: v1, kind: ConfigMap, metadata: {name: Not_A_Name}}";
        publish("0.4.0", &[("page.yaml", PAGE), ("broken.yaml", broken)])?;
        Ok(Self { mesh, charts })
    }

    /// Declares what a set wants of the shop: who owns it, which version, and what else is said.
    fn declare(&self, owner: &str, version: &str, config: &Value) -> Result<()> {
        let mut services = vec![json!({
            "name": NAME, "namespace": NAME, "template": template_name(NAME, version), "values": format!("owner: {owner}"),
            "helmOptions": {"upgradeOptions": {"recreate": true}},
        })];
        if owner == "weak" {
            services.push(
                json!({"name": "extra", "namespace": "extra", "template": template_name(NAME, "0.1.0"),
                "values": "owner: extra"}),
            );
        }
        let [repository, template] = self.charts.objects(NAME, version);
        let set = json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService", "metadata": {"name": owner},
            "spec": {
                "clusterSelector": {"matchLabels": {"k0rdent.mirantis.com/region": "eu"}},
                "serviceSpec": {"services": services, "provider": {"config": config}},
            },
        });
        let text = [repository, template, set].map(|object| object.to_string()).join("\n---\n");
        self.mesh.apply("hub", &text).map(|_| ())
    }

    fn strong(&self, version: &str) -> Result<()> {
        let patch = r#"[{"op": "add", "path": "/data/patched", "value": "yes"}]"#;
        let patches = json!([{"target": {"kind": "ConfigMap", "name": "page"}, "patch": patch}]);
        let config = json!({"priority": 200, "maxConsecutiveFailures": 1, "patches": patches});
        self.declare("strong", version, &config)
    }

    /// An object of the shop on the edge.
    fn object(&self, kind: &str, name: &str) -> Result<Value> {
        Ok(self.mesh.object(EDGE, &[kind, "-n", NAME, name])?.unwrap_or_default())
    }

    /// What the hub tells of a service of a set.
    fn told(&self, owner: &str, service: &str) -> Result<Value> {
        let sets = self.mesh.object("hub", &["servicesets", "-A"])?.unwrap_or_default();
        let sets = sets["items"].as_array().cloned().unwrap_or_default();
        let of_owner = sets.iter().filter(|set| set["spec"]["multiClusterService"] == owner);
        let services = of_owner.filter_map(|set| set["status"]["services"].as_array()).flatten();
        Ok(services.into_iter().find(|told| told["name"] == service).cloned().unwrap_or_default())
    }

    async fn until_told(&self, owner: &str, service: &str, state: &str, words: &str) -> Result<()> {
        let what = format!("{service} of {owner} is {state} with \"{words}\"");
        let seen = self.mesh.until(&what, |_| {
            let told = self.told(owner, service)?;
            let message = told["failureMessage"].as_str().unwrap_or_default();
            Ok(told["state"] == state && message.contains(words))
        });
        seen.await.with_context(|| format!("last told: {:#}", self.told(owner, service).unwrap_or_default()))
    }

    /// Waits until the page says this owner and version.
    async fn until_page(&self, owner: &str, version: &str) -> Result<Value> {
        let what = format!("the page is {owner}'s, {version}");
        let shown = || self.object("configmap", "page");
        let wanted = |page: &Value| page["data"]["owner"] == owner && page["data"]["version"] == version;
        self.mesh.until(&what, |_| Ok(wanted(&shown()?))).await?;
        shown()
    }

    /// Kills a part once it runs again after the last time.
    async fn kill(&self, part: &str) -> Result<()> {
        self.mesh.until(&format!("{part} runs"), |mesh| mesh.kill(part).map(|()| true)).await
    }
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn every_operation_on_a_service_ends_as_declared_whoever_dies_in_the_middle() -> Result<()> {
    let stage = Stage::set().await?;
    conflict(&stage).await?;
    tests_on_demand(&stage).await?;
    immutable(&stage).await?;
    veto(&stage).await?;
    rollback(&stage).await?;
    hand_over(&stage).await?;
    uninstall(&stage).await
}

/// Two sets want the same release: the stronger one has it, with its patches, and the other one begins nothing at all.
async fn conflict(stage: &Stage) -> Result<()> {
    stage.strong("0.1.0")?;
    stage.kill("region/eu").await?;
    stage.declare("weak", "0.1.0", &json!({"priority": 100, "stopOnConflict": true}))?;
    let page = stage.until_page("strong", "0.1.0").await?;
    ensure!(page["data"]["patched"] == "yes", "the patch is missing: {page:#}");
    stage.until_told("strong", NAME, "Deployed", "").await?;
    stage.until_told("weak", "extra", "Failed", "stopOnConflict is set").await?;
    let extra = stage.mesh.object(EDGE, &["configmap", "-n", "extra", "page"])?;
    ensure!(extra.is_none(), "a set with a conflict has begun: {extra:#?}");
    Ok(())
}

/// The tests are asked for at the hub; the edge dies while they run, and runs none twice.
async fn tests_on_demand(stage: &Stage) -> Result<()> {
    ensure!(stage.object("job", "try")?.is_null(), "a test ran that nobody asked for");
    let mesh = &stage.mesh;
    let mut command = Command::new(mesh.program());
    command.arg("--state").arg(mesh.state()).args(["test", "shop.shop", "on", EDGE, "--timeout", "100"]);
    let mut asking = Process::spawn("skein test", &mut command, &mesh.state().join("test.log"))?;
    mesh.until("the test has begun", |_| Ok(!stage.object("job", "try")?.is_null())).await?;
    let first = stage.object("job", "try")?["metadata"]["uid"].clone();
    stage.kill(EDGE).await?;
    let ended = wait::until("skein test has ended", PATIENCE, || {
        let ended = asking.exited();
        async move { Ok(ended) }
    });
    let status = ended.await.with_context(|| asking.log_tail(20))?;
    let said = asking.log_tail(20);
    ensure!(status.success() && said.contains("passed"), "{status}: {said}");
    ensure!(stage.object("job", "try")?["metadata"]["uid"] == first, "the test ran twice");
    Ok(())
}

/// A Deployment whose selector changes cannot be changed: it is made anew, while the hub is away and the edge dies; a
/// deletion by hand in that time is put back.
async fn immutable(stage: &Stage) -> Result<()> {
    let before = stage.object("deployment", "web")?["metadata"]["uid"].clone();
    stage.strong("0.2.0")?;
    stage.kill("hub").await?;
    stage
        .mesh
        .until("it is made anew", |_| {
            let web = stage.object("deployment", "web")?;
            Ok(web["spec"]["selector"]["matchLabels"]["app"] == "after" && web["metadata"]["uid"] != before)
        })
        .await?;
    stage.mesh.kubectl(EDGE, &["delete", "configmap", "-n", NAME, "page", "--wait=false"])?;
    stage.kill(EDGE).await?;
    stage.until_page("strong", "0.2.0").await?;
    stage.until_told("strong", NAME, "Deployed", "").await
}

/// The owner of the cluster has a word, by kubectl on the cluster itself.
async fn veto(stage: &Stage) -> Result<()> {
    let local = json!({"holds": [{"namespace": NAME, "service": NAME, "reason": "the till is counted"}]});
    let (name, file) = ("skein-local", format!("--from-literal=local.json={local}"));
    let namespace = ["create", "namespace", "skein-system"];
    stage.mesh.kubectl(EDGE, &namespace)?;
    stage.mesh.kubectl(EDGE, &["create", "configmap", name, "-n", "skein-system", &file])?;
    stage
        .mesh
        .until("the edge has heard of it", |mesh| {
            let folder = mesh.state().join("agents").join("edge-edge-1");
            Ok(folder.join("owner-config-map.json").exists())
        })
        .await?;
    stage.strong("0.3.0")?;
    stage
        .until_told("strong", NAME, "Provisioning", "by the owner of this cluster: the till is counted")
        .await?;
    stage.kill(EDGE).await?;
    stage.kill("hub").await?;
    stage.until_told("strong", NAME, "Provisioning", "the till is counted").await?;
    let page = stage.object("configmap", "page")?;
    ensure!(page["data"]["version"] == "0.2.0", "the veto was not heard: {page:#}");
    stage.mesh.kubectl(EDGE, &["delete", "configmap", name, "-n", "skein-system"])?;
    stage.until_page("strong", "0.3.0").await.map(|_| ())
}

/// A revision that the API refuses is given up, although hub and edge die in the middle.
async fn rollback(stage: &Stage) -> Result<()> {
    stage.strong("0.4.0")?;
    stage.kill("hub").await?;
    stage.kill(EDGE).await?;
    stage.until_told("strong", NAME, "Failed", "was rolled back to version \"0.3.0\"").await?;
    stage.until_page("strong", "0.3.0").await.map(|_| ())
}

/// The winner goes: the loser takes over what there is, without deleting it, and begins what it had held back.
async fn hand_over(stage: &Stage) -> Result<()> {
    let before = stage.object("configmap", "page")?["metadata"]["uid"].clone();
    stage.mesh.kubectl("hub", &["delete", "multiclusterservice", "strong", "--wait=false"])?;
    stage.kill(EDGE).await?;
    let page = stage.until_page("weak", "0.1.0").await?;
    ensure!(page["metadata"]["uid"] == before, "it was deleted and made again: {page:#}");
    ensure!(page["data"]["patched"].is_null(), "the patch of the other set is still there: {page:#}");
    stage.until_told("weak", NAME, "Deployed", "").await?;
    stage.until_told("weak", "extra", "Deployed", "").await
}

/// Nothing is left, although the edge is down when it is asked for, and the region dies.
async fn uninstall(stage: &Stage) -> Result<()> {
    let mesh = &stage.mesh;
    mesh.skein(&["stop", EDGE])?;
    mesh.kubectl("hub", &["delete", "multiclusterservice", "weak", "--wait=false"])?;
    stage.kill("region/eu").await?;
    mesh.skein(&["start", EDGE])?;
    mesh.until("nothing is left", |mesh| {
        let left = mesh.kubectl(EDGE, &["get", "deploy,cm,secret", "-A", "-o", "name"])?;
        Ok(!left.contains("page") && !left.contains("web") && !left.contains("sh.helm.release"))
    })
    .await?;
    mesh.until("the set is gone", |mesh| {
        let sets = mesh.object("hub", &["servicesets", "-A"])?.unwrap_or_default();
        Ok(sets["items"].as_array().is_none_or(Vec::is_empty))
    })
    .await
}
