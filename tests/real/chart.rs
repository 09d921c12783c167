//! A Helm chart as its authors write it, and the repository that serves it: `helm create` of the real Helm, then
//! hooks, a definition and an object of it, packed and indexed by the real Helm.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use skein_tests::control_plane::ControlPlane;
use skein_tests::process::output;
use tokio_util::task::TaskTracker;

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: shelves.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: shelves, singular: shelf, kind: Shelf}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {boards: {type: integer, minimum: 1}}}
";

const SHELF: &str = r#"
apiVersion: shop.example.com/v1
kind: Shelf
metadata:
  name: {{ include "till.fullname" . }}
  labels: {{- include "till.labels" . | nindent 4 }}
spec:
  boards: {{ .Values.boards | default 3 | int }}
"#;

/// A job before, which must have succeeded before anything else begins; a note after, which stays.
const HOOKS: &str = r#"
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "till.fullname" . }}-migrate
  annotations:
    helm.sh/hook: pre-install,pre-upgrade
    helm.sh/hook-weight: "-5"
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: migrate
        image: busybox
        args: [migrate, {{ .Values.image.tag | default .Chart.AppVersion | quote }}]
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "till.fullname" . }}-done
  annotations:
    helm.sh/hook: post-install,post-upgrade
    helm.sh/hook-delete-policy: before-hook-creation
data:
  version: {{ .Chart.Version | quote }}
"#;

const KEPT: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "till.fullname" . }}-ledger
  annotations: {helm.sh/resource-policy: keep}
data: {opened: "yes"}
"#;

/// Makes version `version` of the chart `till` and adds it to the repository in `folder`.
pub(crate) fn publish(plane: &ControlPlane, folder: &Path, version: &str) -> Result<()> {
    let chart = folder.join("till");
    if !chart.exists() {
        output(plane.helm().arg("create").arg(&chart))?;
        std::fs::create_dir(chart.join("crds"))?;
        for (file, text) in [
            ("crds/shelves.yaml", DEFINITION),
            ("templates/shelf.yaml", SHELF),
            ("templates/hooks.yaml", HOOKS),
            ("templates/ledger.yaml", KEPT),
        ] {
            std::fs::write(chart.join(file), text)?;
        }
    }
    let package = ["package", "--version", version, "--destination"];
    output(plane.helm().args(package).arg(folder).arg(&chart))?;
    output(plane.helm().args(["repo", "index"]).arg(folder)).map(|_| ())
}

/// An HTTP chart repository over a folder, until dropped.
pub(crate) struct Repository {
    /// `http://ADDRESS`.
    pub(crate) url: String,
    served: Arc<Mutex<BTreeMap<String, u32>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Repository {
    /// Serves the files of a folder.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let served = Arc::<Mutex<BTreeMap<String, u32>>>::default();
        let state = (folder.to_owned(), Arc::clone(&served));
        let router = Router::new()
            .fallback(async |State((folder, served)): State<(_, Arc<Mutex<_>>)>, uri: Uri| {
                let folder: std::path::PathBuf = folder;
                let name = uri.path().trim_start_matches('/').to_owned();
                let found = std::fs::read(folder.join(&name)).map_err(|_| StatusCode::NOT_FOUND);
                let mut served = served.lock().unwrap_or_else(PoisonError::into_inner);
                *BTreeMap::entry(&mut served, name).or_default() += 1;
                found
            })
            .with_state(state);
        let task = TaskTracker::new().spawn(async move {
            // Serves until it is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, served, task })
    }

    /// How often a file was asked for.
    pub(crate) fn served(&self, file: &str) -> u32 {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        served.get(file).copied().unwrap_or_default()
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a platform engineer applies to have the chart on every edge of a site.
pub(crate) fn service(url: &str, version: &str, values: &str) -> Result<String> {
    let values = serde_json::to_string(values).context("values as a string")?;
    let template = version.replace('.', "-");
    Ok(format!(
        r"
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {{name: charts, namespace: kcm-system}}
spec: {{url: '{url}', interval: 10m0s}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {{name: till-{template}, namespace: kcm-system}}
spec:
  helm:
    chartSpec:
      chart: till
      version: {version}
      interval: 10m0s
      sourceRef: {{kind: HelmRepository, name: charts}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: MultiClusterService
metadata: {{name: till}}
spec:
  clusterSelector: {{matchLabels: {{site: berlin}}}}
  serviceSpec:
    services: [{{name: till, namespace: till, template: till-{template}, values: {values}}}]
"
    ))
}
