//! `skein kubeconfig`.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::state_dir::StateDir;

/// Which part's.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// hub, region/NAME or edge/NAME
    part: String,
}

/// Prints the path of the part's kubeconfig.
pub(crate) fn show(state: Option<PathBuf>, arguments: &Arguments) -> Result<()> {
    let state = StateDir::find(state)?;
    let path = state.kubeconfig(&arguments.part);
    if !path.is_file() {
        let mut known: Vec<_> = std::fs::read_dir(state.path().join("kubeconfig"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                Some(entry.file_name().to_str()?.strip_suffix(".yaml")?.replacen('-', "/", 1))
            })
            .collect();
        known.sort();
        bail!(
            "no kubeconfig of \"{}\" in {}; there are: {}",
            arguments.part,
            state.path().display(),
            if known.is_empty() { "none (is `skein up` running?)".to_owned() } else { known.join(", ") }
        );
    }
    super::print(&path.display().to_string());
    Ok(())
}
