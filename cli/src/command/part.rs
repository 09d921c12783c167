//! `skein start` and `skein stop`.

use anyhow::Result;

use crate::hub_api;
use crate::state_dir::StateDir;
use crate::up::host::Part;

/// Which part.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// hub, region/NAME or edge/NAME
    part: String,
}

/// Starts or stops an agent and says what it is doing now.
pub(crate) async fn act(state: &StateDir, arguments: &Arguments, action: &str) -> Result<()> {
    let path = format!("/parts/{}/{action}", arguments.part);
    let part: Part = hub_api::supervisor(state, reqwest::Method::POST, &path).await?.json().await?;
    let pid = part.pid.map_or_else(String::new, |pid| format!(" with process id {pid}"));
    super::print(&format!("{} is {}{pid}", arguments.part, part.state));
    Ok(())
}
