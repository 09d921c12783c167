//! `skein`: the whole mesh on one machine, and the operator's tool.

mod arguments;
mod command;
mod hub_api;
mod state_dir;
mod up;

use std::process::ExitCode;

/// Gives back what is not needed any more, and takes a fraction of the time of the C library's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    arguments::dispatch(std::env::args_os().collect())
}
