//! `skein up`: a whole mesh on one machine, in the foreground, until Ctrl-C.

mod bootstrap;
pub(crate) mod charts;
mod children;
pub(crate) mod clusters;
pub(crate) mod host;
mod mesh;
mod ports;
mod progress;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use process::{Common, Process};

use crate::state_dir::{Record, StateDir};
use mesh::Mesh;
use ports::Ports;
use progress::Progress;

/// What the mesh is to consist of. A mesh that is there already is resumed; regions and edges may be added to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The regions, by name, joined by commas [default: eu,us, or those of the mesh that is resumed]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    regions: Vec<protocol::id::RegionName>,
    /// How many edge devices, spread over the regions [default: 3, or those of the mesh that is resumed]
    #[arg(long, value_name = "N")]
    edges: Option<u16>,
    #[command(flatten)]
    common: Common,
}

/// Runs the mesh. Exit code 0 after Ctrl-C, 1 with the reason when it cannot start.
pub(crate) fn run(arguments: Arguments, state: Option<PathBuf>) -> ExitCode {
    let mut common = arguments.common.clone();
    if common.log == "info" {
        // Progress lines tell what happens; the log adds only what went wrong.
        "warn".clone_into(&mut common.log);
    }
    process::supervise("skein up", common, async move |process: Process| {
        start(arguments, state, process).await
    })
}

async fn start(arguments: Arguments, state: Option<PathBuf>, process: Process) -> Result<()> {
    let state = StateDir::find(state)?;
    let held = state.hold()?;
    let resumed = state.mesh()?;
    let progress = Progress::begin(state.path(), resumed.is_some());
    let record = wanted(resumed.unwrap_or_default(), &arguments)?;
    state.keep(&record)?;
    let ports = Ports::new(state.clone(), record);
    let mesh = Mesh::new(state, ports, process.tasks.clone(), process.cancel.clone())?;
    host::serve(mesh.clone())?;
    bootstrap::bootstrap(&mesh, &progress).await?;
    progress.ready(&mesh);
    // Nobody else may take the state directory before every child is gone.
    process.tasks.spawn(async move {
        mesh.childless().await;
        drop(held);
    });
    Ok(())
}

/// What was there and what is asked for; nothing that was there is taken away.
fn wanted(mut record: Record, arguments: &Arguments) -> Result<Record> {
    for region in &arguments.regions {
        if !record.regions.iter().any(|known| known == region.as_str()) {
            record.regions.push(region.to_string());
        }
    }
    if record.regions.is_empty() {
        record.regions = vec!["eu".to_owned(), "us".to_owned()];
    }
    let count = match arguments.edges {
        Some(count) if usize::from(count) < record.edges.len() => bail!(
            "--edges {count} is fewer than the {} edges of this mesh; delete the Edge objects instead: kubectl delete edge -n kcm-system NAME",
            record.edges.len()
        ),
        Some(count) => usize::from(count),
        None if record.edges.is_empty() && record.ports.is_empty() => 3,
        None => record.edges.len(),
    };
    for index in record.edges.len()..count {
        let region =
            record.regions.get(index % record.regions.len()).context("a mesh has at least one region")?;
        record.edges.insert(format!("edge-{}", index + 1), region.clone());
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(regions: &[&str], edges: Option<u16>) -> Arguments {
        let regions = regions.iter().map(|name| name.parse().unwrap()).collect();
        Arguments { regions, edges, common: Common::default() }
    }

    #[test]
    fn a_new_mesh_has_two_regions_and_three_edges() {
        let record = wanted(Record::default(), &arguments(&[], None)).unwrap();
        assert_eq!(record.regions, ["eu", "us"]);
        let edges: Vec<_> = record.edges.iter().map(|(name, region)| format!("{name}:{region}")).collect();
        assert_eq!(edges, ["edge-1:eu", "edge-2:us", "edge-3:eu"]);
    }

    #[test]
    fn a_resumed_mesh_grows_but_never_shrinks_by_an_argument() {
        let record = wanted(Record::default(), &arguments(&[], None)).unwrap();
        let grown = wanted(record.clone(), &arguments(&["ap"], Some(4))).unwrap();
        assert_eq!((grown.regions.len(), grown.edges.len()), (3, 4));
        assert!(wanted(record, &arguments(&[], Some(1))).unwrap_err().to_string().contains("--edges 1"));
    }
}
