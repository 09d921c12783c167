//! `skein`: the whole mesh on one machine, and the operator's tool.

mod arguments;
mod command;
mod hub_api;
mod state_dir;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    arguments::dispatch(std::env::args_os().collect())
}
