//! Many services, one chart version: how often it is fetched from a server in this process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use source::{ChartIndex, Limits, Name, Origin, Settings, Source, Sources};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks once for each service, until all have the chart; answers how often the chart was downloaded.
pub(crate) async fn count(services: usize, files: Vec<(String, Vec<u8>)>) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (archive, served) = (packed(folder.path(), files)?, Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&served);
    let index =
        "apiVersion: v1\nentries:\n  shop:\n  - {name: shop, version: 1.0.0, urls: [shop-1.0.0.tgz]}\n";
    let chart = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        std::future::ready(archive.clone())
    };
    let router = Router::new().route("/index.yaml", get(index)).route("/shop-1.0.0.tgz", get(chart));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let stop = cancel.clone();
    tasks.spawn(
        async move { axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await },
    );
    let settings = Settings {
        folder: folder.path().join("cache"),
        limits: Limits::default(),
        clock: Arc::new(|| 0),
        announce: Arc::new(|_| {}),
        inspect: Arc::new(|_, _| Ok(())),
    };
    let sources = Sources::new(settings, &tasks, &cancel);
    let wanted = ChartIndex { url, chart: "shop".to_owned(), version: "1.0.0".to_owned() };
    let source = Source::new(Origin::ChartIndex(wanted));
    let name = Name { namespace: "apps".to_owned(), name: "shop".to_owned() };
    let all = async {
        loop {
            let states: Vec<_> = (0..services).map(|_| sources.ask(&name, &source)).collect();
            if let Some(failure) = states.iter().find_map(|state| state.failure.as_ref()) {
                anyhow::bail!("the chart cannot be fetched: {}", failure.message);
            }
            if states.iter().all(|state| state.artifact.is_some()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.context("the chart did not arrive")??;
    cancel.cancel();
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.context("the server did not stop")?;
    Ok(served.load(Ordering::Relaxed) as f64)
}

fn packed(folder: &Path, files: Vec<(String, Vec<u8>)>) -> Result<Vec<u8>> {
    for (path, data) in files {
        let path = folder.join("shop").join(path);
        std::fs::create_dir_all(path.parent().context("a file without a folder")?)?;
        std::fs::write(path, data)?;
    }
    let output = std::process::Command::new("tar").args(["-cz", "shop"]).current_dir(folder).output()?;
    anyhow::ensure!(output.status.success(), "tar failed");
    Ok(output.stdout)
}
