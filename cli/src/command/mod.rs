//! The commands that ask or tell a running mesh.

pub(crate) mod cost;
pub(crate) mod diff;
pub(crate) mod enroll;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod kubeconfig;
pub(crate) mod part;
pub(crate) mod query;
pub(crate) mod render;
pub(crate) mod rollout;
pub(crate) mod status;
pub(crate) mod token;

/// Prints a result. This is the only place where `skein` writes to standard output.
///
/// A reader that went away (`skein status | head`) is no failure.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// A table without borders, as kubectl prints it.
pub(crate) fn table(header: &[&str]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A label of the form `key=value`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("label \"{text}\" is not of the form key=value")),
    }
}
