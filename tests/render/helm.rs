//! The real Helm v4 of the real parts, asked for `helm template`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use skein_tests::parts::require_parts;

/// What a program printed, or why it refused (its words, without what stands around them).
pub(crate) type Printed = Result<String, String>;

/// The `helm` binary.
pub(crate) fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| require_parts().expect("the real parts").join("helm"))
}

/// A program held to four gigabytes and a minute: what is random may ask for more.
pub(crate) fn bounded(program: &std::path::Path) -> Command {
    let mut command = Command::new("/bin/bash");
    let script = "ulimit -v 4000000; exec /usr/bin/timeout --kill-after=1 60 \"$0\" \"$@\"";
    command.arg("-c").arg(script).arg(program).env_clear();
    command
}

/// `helm template` with these arguments.
pub(crate) fn template(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Printed {
    template_in(std::path::Path::new("."), arguments)
}

/// `helm template` with these arguments, paths relative to a folder.
pub(crate) fn template_in(
    folder: &std::path::Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Printed {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    let home = HOME.get_or_init(|| tempfile::tempdir().expect("a folder for helm's own files"));
    let mut command = bounded(binary());
    command.arg("template").args(arguments).current_dir(folder);
    command.env("HOME", home.path()).env("TZ", "UTC").env("PATH", "/nonexistent");
    let output = command.output().expect("helm runs");
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(reason(&String::from_utf8_lossy(&output.stderr)))
}

/// What stands behind `Error: `.
pub(crate) fn reason(stderr: &str) -> String {
    let at = stderr.find("Error: ").map_or(0, |at| at + "Error: ".len());
    let text = &stderr[at..];
    let end = text.find("\n\nUse --debug flag").unwrap_or(text.len());
    text[..end].trim().to_owned()
}
