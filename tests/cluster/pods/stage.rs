//! What the tests with real containers share: one mesh, one cluster of two nodes, one edge agent on it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use skein_tests::mesh::Mesh;
use skein_tests::nodes::{self, Nodes};
use skein_tests::process::{Process, output, remove_at_exit};
use skein_tests::wait;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::charts::{Charts, template_name};

/// Nothing takes longer, on a busy machine either: pods are ready in seconds, nodes are given up after eight.
const PATIENCE: Duration = Duration::from_secs(180);
/// The name of the edge.
pub(crate) const EDGE: &str = "pods";

/// The stage. Tests that disturb others (nodes die, links are cut) take it alone.
pub(crate) struct Stage {
    pub(crate) mesh: Mesh,
    pub(crate) nodes: &'static RwLock<Nodes>,
    edge: Mutex<Option<Process>>,
    charts: Charts,
    token: String,
    /// Held to read by tests that share the stage, to write by those that need it for themselves.
    alone: RwLock<()>,
}

/// The stage, or `None` where there cannot be one: why is told.
pub(crate) async fn stage() -> Result<Option<&'static Stage>> {
    static STAGE: OnceCell<Stage> = OnceCell::const_new();
    if let Some(reason) = nodes::impossible() {
        // Past what the harness hides of tests that succeed.
        let test = std::thread::current().name().unwrap_or("pods").to_owned();
        writeln!(std::io::stderr(), "{test} is skipped: {reason}")?;
        return Ok(None);
    }
    STAGE.get_or_try_init(Stage::set).await.map(Some)
}

impl Stage {
    async fn set() -> Result<Self> {
        // The mesh is a static's and never dropped.
        let (mesh, nodes) =
            tokio::try_join!(Mesh::start(&["--edges", "1", "--regions", "eu"]), nodes::shared())?;
        remove_at_exit(mesh.state())?;
        let charts = Charts::serve(mesh.state().join("charts"))?;
        let token = mesh.skein(&["token", "create", "--region", "eu", "--label", "site=pods"])?;
        let (edge, alone, token) = (Mutex::new(None), RwLock::new(()), token.trim().to_owned());
        let stage = Self { mesh, nodes, edge, charts, token, alone };
        stage.start_edge().await?;
        Ok(stage)
    }

    /// For tests that mind nobody.
    pub(crate) async fn share(&self) -> RwLockReadGuard<'_, ()> {
        self.alone.read().await
    }

    /// For tests that disturb others.
    pub(crate) async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.alone.write().await
    }

    /// Starts the edge agent. The token is of use the first time.
    pub(crate) async fn start_edge(&self) -> Result<()> {
        let folder = self.mesh.state().join(EDGE);
        std::fs::create_dir_all(&folder)?;
        let bound = folder.join("bound.json");
        let _ = std::fs::remove_file(&bound);
        let kubeconfig = self.nodes.read().await.plane.kubeconfig().to_owned();
        let mut command = Command::new(self.mesh.program());
        command.arg("--state").arg(folder.join("state")).arg("enroll");
        command.arg(&self.token).arg("--kubeconfig").arg(kubeconfig);
        command.args(["--name", EDGE, "--", "--link-profile", "near"]);
        for port in ["--otlp-http", "--otlp-grpc", "--http"] {
            command.args([port, "127.0.0.1:0"]);
        }
        command.arg("--bound-file").arg(&bound);
        let mut edge = Process::spawn("edge", &mut command, &folder.join("log"))?;
        let started = wait::until("the edge has started", PATIENCE, || {
            let there = bound.exists();
            let alive = edge.check_running();
            async move { alive.map(|()| there.then_some(())) }
        });
        let started = started.await;
        started.with_context(|| edge.log_tail(40))?;
        *self.edge.lock().unwrap_or_else(PoisonError::into_inner) = Some(edge);
        Ok(())
    }

    /// Kills the edge agent (SIGKILL).
    pub(crate) fn kill_edge(&self) {
        *self.edge.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Packs a chart of these templates into a repository of its own.
    pub(crate) fn publish(&self, name: &str, version: &str, templates: &[(&str, &str)]) -> Result<()> {
        self.charts.publish(name, version, templates)
    }

    /// The package of a published chart.
    pub(crate) fn package(&self, name: &str, version: &str) -> String {
        self.charts.package(name, version)
    }

    /// Asks for a release of a published chart, under its name and in a namespace of that name. `service` has what
    /// else is said of the service, `service_spec` what is said beside it.
    pub(crate) fn release(&self, name: &str, version: &str, service: &Value, more: &Value) -> Result<()> {
        let mut entry = json!({"name": name, "namespace": name, "template": template_name(name, version)});
        merge(&mut entry, service);
        let mut object = json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService", "metadata": {"name": name},
            "spec": {"clusterSelector": {"matchLabels": {"site": "pods"}}, "serviceSpec": {"services": [entry]}},
        });
        merge(&mut object, more);
        let [repository, template] = self.charts.objects(name, version);
        let documents = [repository, template, object];
        let text = documents.map(|document| document.to_string()).join("\n---\n");
        let file = self.mesh.state().join(format!("{name}.yaml"));
        std::fs::write(&file, text)?;
        let file = file.display().to_string();
        self.mesh.kubectl("hub", &["apply", "--server-side", "--force-conflicts", "-f", &file]).map(|_| ())
    }

    /// What the hub tells of a service on the edge, as k0rdent's ServiceSets have it.
    pub(crate) fn told(&self, name: &str) -> Result<Value> {
        let sets = self.mesh.object("hub", &["servicesets", "-A"])?.unwrap_or_default();
        let sets = sets["items"].as_array().cloned().unwrap_or_default();
        let services = sets.iter().filter_map(|set| set["status"]["services"].as_array()).flatten();
        Ok(services.into_iter().find(|service| service["name"] == name).cloned().unwrap_or_default())
    }

    /// Waits until the hub tells this state and version of a service, with a message that holds `message`.
    pub(crate) async fn until_told(
        &self,
        name: &str,
        (version, state): (&str, &str),
        message: &str,
    ) -> Result<Value> {
        let mut last = Value::Null;
        let seen = wait::until("the hub tells it", PATIENCE, || {
            last = self.told(name).unwrap_or_else(|error| json!(format!("{error:#}")));
            let held = last["state"] == state
                && last["version"] == version
                && last["failureMessage"].as_str().unwrap_or_default().contains(message);
            async move { Ok(held.then_some(())) }
        });
        let seen = seen.await;
        seen.with_context(|| {
            let objects = self.child(&["get", "all", "-n", name, "-o", "wide"]).unwrap_or_default();
            format!("{name} should be {version}, {state} with {message:?}; last told: {last:#}\n{objects}")
        })?;
        Ok(last)
    }

    /// Runs kubectl on the cluster of the nodes.
    pub(crate) fn child(&self, arguments: &[&str]) -> Result<String> {
        // Tests that need the nodes for themselves write for moments only.
        let kubeconfig = self.kubeconfig()?;
        let kubectl = skein_tests::parts::require_parts()?.join("kubectl");
        output(Command::new(kubectl).env("KUBECONFIG", kubeconfig).args(arguments))
    }

    fn kubeconfig(&self) -> Result<PathBuf> {
        let path = self.mesh.state().join("nodes.kubeconfig");
        if !path.exists() {
            let nodes = self.nodes.try_read().context("the nodes are taken")?;
            std::fs::copy(nodes.plane.kubeconfig(), &path)?;
        }
        Ok(path)
    }

    /// An object of the cluster of the nodes, or a list of them.
    pub(crate) fn object(&self, arguments: &[&str]) -> Result<Value> {
        let all = [&["get", "-o", "json", "--ignore-not-found"], arguments].concat();
        let text = self.child(&all)?;
        if text.trim().is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }

    /// Waits for a condition of the cluster of the nodes.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let mut last = String::new();
        let seen = wait::until(what, PATIENCE, || {
            let held = holds();
            if let Err(error) = &held {
                last = format!("{error:#}");
            }
            async move { Ok(held.unwrap_or_default().then_some(())) }
        });
        let seen = seen.await;
        seen.with_context(|| {
            let pods = self.child(&["get", "pods", "-A", "-o", "wide"]).unwrap_or_default();
            format!("last error: {last}\n{pods}")
        })
    }

    /// Takes a release away and waits until its namespace has none of its objects.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        self.mesh.kubectl("hub", &["delete", "multiclusterservice", name, "--timeout=180s"])?;
        self.until(&format!("{name} is gone"), || {
            let left = self.child(&["get", "deploy,sts,ds,svc,cm", "-n", name, "-o", "name"])?;
            let left: Vec<&str> = left.lines().filter(|name| !name.contains("kube-root-ca")).collect();
            ensure!(left.is_empty(), "{left:?} is left");
            Ok(true)
        })
        .await
    }
}

/// Puts the fields of `more` over those of `object`.
fn merge(object: &mut Value, more: &Value) {
    match (object, more) {
        (Value::Object(object), Value::Object(more)) => {
            for (key, value) in more {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (object, more) => *object = more.clone(),
    }
}
