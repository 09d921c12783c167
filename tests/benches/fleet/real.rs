//! One edge between two real API servers, as the peers were measured: an object is edited on the management cluster and
//! becomes another one on the child.

use std::time::Duration;

use anyhow::Result;
use skein_tests::control_plane::ControlPlane;
use skein_tests::fleet::Fleet;
use skein_tests::measure::{Aim, Table, quantile};
use skein_tests::parts;

/// Edits, and how far apart they begin.
const EDITS: u32 = 60;
const APART: Duration = Duration::from_secs(1);

pub(crate) async fn measure() -> Result<()> {
    let parts = parts::require_parts()?;
    let folder = tempfile::Builder::new().prefix("skein-bench-real-").tempdir()?;
    let (at_hub, at_child) = (folder.path().join("management"), folder.path().join("child"));
    let (management, child) = tokio::try_join!(
        ControlPlane::start_bare(&parts, &at_hub),
        ControlPlane::start_bare(&parts, &at_child)
    )?;
    let mut fleet = Fleet::start_between(management.client().await?, child.client().await?).await?;
    let mut took = fleet.change_apart(EDITS, APART).await?;
    let table = Table::new("fleet", "one edge between two real API servers, edits 1 s apart");
    table.row("real: applied, p50", quantile(&mut took.applied, 0.5), "ms", Aim::AtMost(10.0));
    table.row("real: applied, p95", quantile(&mut took.applied, 0.95), "ms", Aim::AtMost(14.0));
    table.row("real: applied, worst", quantile(&mut took.applied, 1.0), "ms", Aim::None);
    table.row("real: status back, p50", quantile(&mut took.back, 0.5), "ms", Aim::None);
    table.row("real: status back, p95", quantile(&mut took.back, 0.95), "ms", Aim::None);
    fleet.end().await;
    Ok(())
}
