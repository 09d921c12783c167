//! The hub as a program of its own.

fn main() -> std::process::ExitCode {
    hub::main_with(std::env::args_os().collect())
}
