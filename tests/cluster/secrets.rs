//! What a Secret holds reaches the cluster it is for, and nobody on the way can read it.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use skein_tests::mesh::Mesh;

const PASSWORD: &str = "correct-horse-battery-staple";

/// Manifests from a Secret, a Secret among manifests, and a chart whose values come from a Secret.
fn services() -> String {
    let component = "labels: {k0rdent.mirantis.com/component: kcm}";
    format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: passwords, namespace: kcm-system, {component}}}
stringData: {{values: "title: {PASSWORD}"}}
---
apiVersion: v1
kind: Secret
metadata: {{name: manifests, namespace: kcm-system, {component}}}
stringData:
  objects.yaml: |
    apiVersion: v1
    kind: ConfigMap
    metadata: {{name: from-secret, namespace: default}}
    data: {{password: {PASSWORD}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: login, namespace: kcm-system, {component}}}
data:
  objects.yaml: |
    apiVersion: v1
    kind: Secret
    metadata: {{name: login, namespace: default}}
    stringData: {{password: {PASSWORD}}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {{name: from-secret, namespace: kcm-system}}
spec:
  resources: {{deploymentType: Remote, path: "", localSourceRef: {{kind: Secret, name: manifests}}}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {{name: login, namespace: kcm-system}}
spec:
  resources: {{deploymentType: Remote, path: "", localSourceRef: {{kind: ConfigMap, name: login}}}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: ServiceTemplate
metadata: {{name: web, namespace: kcm-system}}
spec:
  helm: {{chartSpec: {{chart: web, version: 0.1.0, interval: 10m0s, sourceRef: {{kind: HelmRepository, name: skein-charts}}}}}}
---
apiVersion: k0rdent.mirantis.com/v1beta1
kind: MultiClusterService
metadata: {{name: secrets}}
spec:
  clusterSelector: {{matchLabels: {{k0rdent.mirantis.com/region: eu}}}}
  serviceSpec:
    services:
    - {{template: from-secret, name: from-secret, namespace: default}}
    - {{template: login, name: login, namespace: default}}
    - {{template: web, name: web, namespace: default, valuesFrom: [{{kind: Secret, name: passwords}}]}}
"#
    )
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_region_relays_what_it_cannot_read() -> Result<()> {
    let mesh = Mesh::start(&["--regions", "eu", "--edges", "1"]).await?;
    mesh.apply("hub", &services())?;
    mesh.until("the services are deployed", |mesh| {
        let secret = mesh.object("edge/edge-1", &["secret", "-n", "default", "login"])?;
        let map = mesh.object("edge/edge-1", &["configmap", "-n", "default", "from-secret"])?;
        let page =
            mesh.kubectl("edge/edge-1", &["get", "configmap", "-n", "default", "-o", "yaml", "web"])?;
        let plain = page.contains(PASSWORD) && map.is_some_and(|map| map["data"]["password"] == PASSWORD);
        Ok(plain && secret.is_some_and(|secret| secret["data"]["password"] == STANDARD.encode(PASSWORD)))
    })
    .await?;
    let edge = mesh.object("hub", &["edges.skein.dev", "-n", "kcm-system", "edge-1"])?.context("no Edge")?;
    assert!(edge["metadata"]["annotations"]["skein.dev/sealing-key"].is_string(), "{edge:#}");
    // Neither on disk, where the region keeps what its edges are to have, nor in what hub and edge keep and log.
    let (mut files, folders) =
        (0, ["hub", "region-eu", "edge-edge-1"].map(|part| mesh.state().join("agents").join(part)));
    for folder in folders {
        search(&folder, &mut files)?;
    }
    assert!(files > 5, "{files} files were searched: the folders are others now");
    // Nor in what is told.
    let explained = mesh.skein(&["explain", "edge/edge-1"])?;
    assert!(explained.contains("Secret kcm-system/passwords key \"values\""), "{explained}");
    assert!(!holds(explained.as_bytes()), "{explained}");
    let told =
        mesh.kubectl("hub", &["get", "servicesets,multiclusterservices,events", "-A", "-o", "json"])?;
    assert!(!holds(told.as_bytes()));
    Ok(())
}

fn search(folder: &Path, files: &mut usize) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            search(&path, files)?;
        } else if path.is_file() {
            *files += 1;
            // A file may go meanwhile.
            let bytes = std::fs::read(&path).unwrap_or_default();
            assert!(!holds(&bytes), "{} holds the password", path.display());
        }
    }
    Ok(())
}

fn holds(bytes: &[u8]) -> bool {
    let encoded = STANDARD.encode(PASSWORD);
    let parts = [PASSWORD.as_bytes(), &encoded.as_bytes()[..32]];
    parts.iter().any(|wanted| bytes.windows(wanted.len()).any(|part| part == *wanted))
}
