//! The regional agent as a program of its own.

fn main() -> std::process::ExitCode {
    regional_agent::main_with(std::env::args_os().collect())
}
