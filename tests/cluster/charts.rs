//! Repositories of charts that a test writes, served by HTTP: one folder, one repository for each chart.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use axum::Router;
use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};
use skein_tests::parts;
use skein_tests::process::output;

/// Charts, served for as long as this program runs.
pub(crate) struct Charts {
    folder: PathBuf,
    url: String,
}

impl Charts {
    /// Begins to serve what will be in a folder.
    pub(crate) fn serve(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let url = serve(&folder)?;
        Ok(Self { folder, url })
    }

    /// Packs a chart of these templates into the repository `name`.
    pub(crate) fn publish(&self, name: &str, version: &str, templates: &[(&str, &str)]) -> Result<()> {
        let folder = self.folder.join(name);
        let chart = folder.join(format!("source-{version}")).join(name);
        std::fs::create_dir_all(chart.join("templates"))?;
        let head = format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: \"{version}\"\n");
        std::fs::write(chart.join("Chart.yaml"), head)?;
        for (file, text) in templates {
            std::fs::write(chart.join("templates").join(file), text)?;
        }
        output(self.helm()?.arg("package").arg("--destination").arg(&folder).arg(&chart))?;
        output(self.helm()?.args(["repo", "index"]).arg(&folder)).map(|_| ())
    }

    /// The package of a published chart.
    pub(crate) fn package(&self, name: &str, version: &str) -> String {
        self.folder.join(name).join(format!("{name}-{version}.tgz")).display().to_string()
    }

    /// The objects that say where a published chart is: its repository, and the ServiceTemplate [`template_name`].
    pub(crate) fn objects(&self, name: &str, version: &str) -> [Value; 2] {
        [
            json!({
                "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
                "metadata": {"name": name, "namespace": "kcm-system"},
                "spec": {"url": format!("{}/{name}", self.url), "interval": "10m0s"},
            }),
            json!({
                "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
                "metadata": {"name": template_name(name, version), "namespace": "kcm-system"},
                "spec": {"helm": {"chartSpec": {"chart": name, "version": version, "interval": "10m0s",
                    "sourceRef": {"kind": "HelmRepository", "name": name}}}},
            }),
        ]
    }

    fn helm(&self) -> Result<Command> {
        let mut helm = Command::new(parts::require_parts()?.join("helm"));
        for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(name, self.folder.join(".helm"));
        }
        Ok(helm)
    }
}

/// The ServiceTemplate of a chart.
pub(crate) fn template_name(name: &str, version: &str) -> String {
    format!("{name}-{}", version.replace('.', "-"))
}

/// Serves a folder by HTTP for as long as this program runs, on a thread of its own: tests come and go.
fn serve(folder: &Path) -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    let folder = folder.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("charts".to_owned()).spawn(move || {
        let serving = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let router = Router::new().fallback(async move |uri: Uri| {
                std::fs::read(folder.join(uri.path().trim_start_matches('/')))
                    .map_err(|_| StatusCode::NOT_FOUND)
            });
            axum::serve(listener, router).await
        };
        // Ends with the program.
        let _ = runtime.block_on(serving);
    })?;
    Ok(url)
}
