//! The edge agent as a program of its own.

fn main() -> std::process::ExitCode {
    edge_agent::main_with(std::env::args_os().collect())
}
