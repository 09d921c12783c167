//! The charts that come with Skein, served as a Helm repository: `index.yaml` and the packed charts.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};

static CHARTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../deploy/charts");

/// Path of the repository on the server.
pub(crate) const PATH: &str = "/charts";

/// The repository as an HTTP service.
///
/// # Errors
/// When a chart cannot be packed, which is a fault of the build.
pub(crate) fn repository() -> Result<Router> {
    let mut entries = BTreeMap::<String, Vec<serde_json::Value>>::new();
    let mut router = Router::new();
    for chart in CHARTS.dirs() {
        let metadata = chart
            .get_file(chart.path().join("Chart.yaml"))
            .and_then(|file| file.contents_utf8())
            .with_context(|| format!("chart {} has no Chart.yaml", chart.path().display()))?;
        let mut entry: serde_json::Value = serde_saphyr::from_str(metadata)?;
        let name = entry["name"].as_str().unwrap_or_default().to_owned();
        let file = format!("{name}-{}.tgz", entry["version"].as_str().unwrap_or_default());
        let archive = Bytes::from(pack(chart, &name)?);
        entry["urls"] = serde_json::json!([file]);
        entry["digest"] = hex::encode(Sha256::digest(&archive)).into();
        entries.entry(name).or_default().push(entry);
        let serve = get(async move || ([(header::CONTENT_TYPE, "application/gzip")], archive));
        router = router.route(&format!("{PATH}/{file}"), serve);
    }
    // JSON is YAML; Helm and Flux read it alike.
    let index = serde_json::json!({"apiVersion": "v1", "entries": entries}).to_string();
    let serve = get(async move || ([(header::CONTENT_TYPE, "application/yaml")], index));
    Ok(router.route(&format!("{PATH}/index.yaml"), serve))
}

/// A chart as `helm package` packs it: one folder with the chart's name. The same chart gives the same bytes.
fn pack(chart: &Dir<'_>, name: &str) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut pending = vec![chart];
    let mut files = BTreeMap::new();
    while let Some(folder) = pending.pop() {
        pending.extend(folder.dirs());
        for file in folder.files() {
            files.insert(file.path().strip_prefix(chart.path())?.to_owned(), file.contents());
        }
    }
    for (path, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, std::path::Path::new(name).join(path), contents)?;
    }
    let mut encoder = archive.into_inner()?;
    encoder.flush()?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chart_that_comes_with_skein_is_packed_the_same_each_time() {
        assert!(CHARTS.dirs().count() > 0);
        for chart in CHARTS.dirs() {
            assert_eq!(pack(chart, "x").unwrap(), pack(chart, "x").unwrap());
        }
        let _routes = repository().unwrap();
    }
}
