//! Hub, region and edge as platform teams install them: by the real Helm from our chart, in pods without privileges, with
//! the permissions that the chart gives and no other.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use skein_tests::nodes::{NODES, SKEIN_IMAGE};
use skein_tests::process::output;

use super::stage::{Stage, stage};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The namespace of all of it.
const NAMESPACE: &str = "kcm-system";
/// Addresses of the Services, of those that are never drawn: without a name service, tokens have these.
const HUB: &str = "10.96.0.77";
const REGION: &str = "10.96.0.78";
/// Who the pods run as.
const USER: &str = "65532";
const REGIONS: &str =
    "apiVersion: k0rdent.mirantis.com/v1beta1\nkind: Region\nmetadata: {name: pod}\nspec: {}\n";
const SERVICE: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: notice, namespace: kcm-system}
data: {notice.yaml: "{apiVersion: v1, kind: ConfigMap, metadata: {name: notice, namespace: default}, data: {text: TEXT}}"}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {name: notice, namespace: kcm-system}
spec: {resources: {deploymentType: Remote, path: "", localSourceRef: {kind: ConfigMap, name: notice}}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: MultiClusterService
metadata: {name: notice}
spec:
  clusterSelector: {matchLabels: {site: in-a-pod}}
  serviceSpec: {services: [{name: notice, namespace: default, template: notice}]}
"#;

/// The installation.
struct Installed<'a> {
    stage: &'a Stage,
    folder: &'a Path,
}

impl Installed<'_> {
    async fn helm(&self, arguments: &[&str]) -> Result<String> {
        output(self.stage.nodes.read().await.plane.helm().args(["--namespace", NAMESPACE]).args(arguments))
    }

    /// Installs a role and waits as Helm does.
    async fn install(&self, role: &str, settings: &[String]) -> Result<()> {
        let chart = format!("{ROOT}/deploy/charts/skein");
        let (name, tag) = SKEIN_IMAGE;
        let mut all = vec![
            format!("role={role}"),
            format!("image.repository={name}"),
            format!("image.tag={tag}"),
            "image.pullPolicy=Never".to_owned(),
        ];
        if role != "hub" {
            let folder = self.folder.join(role);
            std::fs::create_dir_all(&folder)?;
            std::os::unix::fs::chown(&folder, Some(USER.parse()?), Some(USER.parse()?))?;
            all.push(format!("persistence.hostPath={}", folder.display()));
            all.push(format!("nodeSelector.kubernetes\\.io/hostname={}", NODES[0]));
        }
        all.extend_from_slice(settings);
        let release = format!("skein-{role}");
        let mut arguments =
            vec!["install", &release, &chart, "--create-namespace", "--wait", "--timeout", "120s"];
        arguments.extend(all.iter().flat_map(|setting| ["--set", setting.as_str()]));
        let installed = self.helm(&arguments).await;
        installed.map(|_| ()).with_context(|| self.story(role))
    }

    /// What a role's pods say, for errors.
    fn story(&self, role: &str) -> String {
        let selector = format!("app.kubernetes.io/component={role}");
        let ask = |arguments: &[&str]| {
            self.stage.child(&[arguments, &["-n", NAMESPACE, "-l", &selector]].concat()).unwrap_or_default()
        };
        format!("{}\n{}", ask(&["describe", "pods"]), ask(&["logs", "--prefix", "--tail=60"]))
    }

    fn apply(&self, name: &str, text: &str) -> Result<()> {
        let file = self.folder.join(name);
        std::fs::write(&file, text)?;
        self.stage.child(&["apply", "--server-side", "-f", &file.display().to_string()]).map(|_| ())
    }

    async fn token(&self, arguments: &[&str]) -> Result<String> {
        let nodes = self.stage.nodes.read().await;
        let mut skein = Command::new(self.stage.mesh.program());
        skein.args(["token", "create", "--region", "pod"]).args(arguments);
        let token = output(skein.arg("--kubeconfig").arg(nodes.plane.kubeconfig()))?;
        Ok(token.trim().to_owned())
    }

    /// The pod that leads; nothing while none or more than one that is ready does.
    fn leader(&self) -> Result<Option<String>> {
        let pods = self.stage.object(&["pods", "-n", NAMESPACE, "-l", "skein.dev/role=leader"])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let mut names = pods
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .filter_map(|pod| pod["metadata"]["name"].as_str());
        Ok(names.next().filter(|_| names.next().is_none()).map(str::to_owned))
    }

    async fn until_says(&self, text: &str) -> Result<()> {
        let what = format!("the service says {text}");
        let there = self.stage.until(&what, || {
            Ok(self.stage.object(&["configmap", "notice", "-n", "default"])?["data"]["text"] == text)
        });
        there.await.with_context(|| ["hub", "region", "edge"].map(|role| self.story(role)).join("\n"))
    }

    async fn all(&self) -> Result<()> {
        self.install(
            "hub",
            &[
                "replicas=2".to_owned(),
                format!("advertise[0]={HUB}:8443"),
                "service.type=ClusterIP".to_owned(),
                format!("service.clusterIP={HUB}"),
                "rbac.readAll=false".to_owned(),
            ],
        )
        .await?;
        self.apply("region.yaml", REGIONS)?;
        let mut first = None;
        self.stage
            .until("one of two replicas leads", || {
                first = self.leader()?;
                Ok(first.is_some())
            })
            .await?;
        let token = self.token(&["--role", "region"]).await?;
        self.install(
            "region",
            &[
                format!("token.value={token}"),
                format!("advertise[0]={REGION}:8444"),
                "service.type=ClusterIP".to_owned(),
                format!("service.clusterIP={REGION}"),
            ],
        )
        .await?;
        let token = self.token(&["--label", "site=in-a-pod"]).await?;
        self.install("edge", &[format!("token.value={token}"), "name=in-a-pod".to_owned()]).await?;
        self.apply("service.yaml", &SERVICE.replace("TEXT", "first"))?;
        self.until_says("first").await?;

        // The one that leads is gone: the Service leads to the other one, and those below find it there.
        let first = first.context("nobody led")?;
        self.stage.child(&["delete", "pod", &first, "-n", NAMESPACE, "--force", "--grace-period=0"])?;
        self.stage
            .until("another replica leads", || Ok(self.leader()?.is_some_and(|leader| leader != first)))
            .await?;
        self.apply("service.yaml", &SERVICE.replace("TEXT", "second"))?;
        self.until_says("second").await?;
        for role in ["hub", "region", "edge"] {
            let story = self.story(role);
            ensure!(!story.to_lowercase().contains("forbidden"), "{role} lacks a permission:\n{story}");
        }
        Ok(())
    }
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_chart_installs_hub_region_and_edge_in_pods_without_privileges() -> Result<()> {
    let Some(stage) = stage().await? else { return Ok(()) };
    let _shared = stage.share().await;
    let folder = tempfile::Builder::new().prefix("skein-installed-").tempdir()?;
    // The pods' user goes through it.
    output(Command::new("chmod").arg("0755").arg(folder.path()))?;
    stage.nodes.read().await.import_skein(stage.mesh.program())?;
    stage.child(&["apply", "--server-side", "-f", &format!("{ROOT}/deploy/crds")])?;
    let installed = Installed { stage, folder: folder.path() };
    let all = installed.all().await;
    for role in ["edge", "region", "hub"] {
        let _ = installed.helm(&["uninstall", &format!("skein-{role}"), "--wait", "--timeout", "60s"]).await;
    }
    all
}
