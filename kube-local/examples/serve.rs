//! Serves one cluster with simulated workloads on a free port and prints the path of a kubeconfig.
//!
//! `cargo run -p kube-local --example serve -- [DIRECTORY [PORT [bare]]]`: with a directory (`-` for none) objects
//! are durable there; `bare` leaves the controllers out, as a kube-apiserver on its own.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kube_local::{Cluster, Options, Simulate, Storage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::main]
#[allow(clippy::print_stdout)]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().filter(|argument| argument != "-").map(PathBuf::from);
    let port: u16 = arguments.next().map_or(Ok(0), |port| port.parse()).context("PORT must be a number")?;
    let bare = arguments.next().is_some_and(|argument| argument == "bare");
    let simulate = Simulate { workloads: true, pod_start: Duration::from_secs(1), ..Simulate::default() };
    let kubeconfig = directory.clone().unwrap_or_else(std::env::temp_dir).join("kube-local.kubeconfig");
    let storage = directory.map_or(Storage::Memory, Storage::Disk);
    let options = Options { name: "demo".to_owned(), storage, simulate, ..Options::default() };

    let cluster = Cluster::open(options).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let token = "demo-token".to_owned();
    std::fs::write(&kubeconfig, cluster.kubeconfig(&url, Some(&token)))
        .with_context(|| format!("failed to write \"{}\"", kubeconfig.display()))?;
    println!("{}", kubeconfig.display());

    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    if !bare {
        cluster.run_controllers(&tasks, cancel.clone());
    }
    let serving = cluster.serve(listener, Some(token), cancel.clone());
    tokio::select! {
        served = serving => served?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}
