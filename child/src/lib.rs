//! Programs of others (git, helm) as bounded child processes: time, memory, file size and output have limits, the
//! environment is what is given, and no child of the child outlives the question.
//!
//! # Why a crate
//! Who fetches sources and who renders them know nothing of each other, and both need exactly this.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Bounds what the program and its children may write, take and burn, then becomes it.
///
/// The limit on processor time ends even a child whose parent was killed. Where the system lets, a program that needs
/// no network gets a network namespace with nothing in it.
const BOUNDED: &str = "ulimit -f \"$1\"; ulimit -v \"$2\"; ulimit -t \"$3\"; network=$4; shift 4
[ \"$network\" = yes ] || for as in '--user --map-current-user' ''; do
  if unshare $as --net true 2>/dev/null; then exec unshare $as --net \"$@\"; fi
done
exec \"$@\"";
/// What is read of what a program says on its standard error.
const WORDS_BYTES_MAX: usize = 16 << 10;

/// What a child may consume.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From start to end.
    pub time: Duration,
    /// Address space of each of its processes.
    pub memory_bytes: u64,
    /// Largest file that it may write.
    pub file_bytes: u64,
    /// Largest output.
    pub output_bytes: usize,
    /// Whether it may use the network; where it may not, that is enforced if the system lets.
    pub network: bool,
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub output: Vec<u8>,
    /// The beginning of what it said on standard error.
    pub words: String,
}

/// Why a child has no result.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("the program sh cannot be started: {0}")]
    Start(std::io::Error),
    /// A pipe broke.
    #[error("the exchange with it broke: {0}")]
    Exchange(std::io::Error),
    /// It took too long.
    #[error("it did not finish within {0} s")]
    Late(u64),
    /// It printed too much.
    #[error("its output exceeds the limit of {0} bytes")]
    Output(usize),
}

/// The program with these arguments within bounds, in a folder, with an empty environment but for what programs need to
/// start.
pub fn command<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    folder: &Path,
    bounds: &Bounds,
) -> Command {
    let mut command = Command::new("sh");
    // POSIX counts files in blocks of 512 bytes, and memory in kibibytes.
    let limits = [bounds.file_bytes / 512, bounds.memory_bytes / 1024, bounds.time.as_secs() * 4 + 1];
    command.args(["-c", BOUNDED, "sh"]).args(limits.map(|limit| limit.to_string()));
    command.arg(if bounds.network { "yes" } else { "no" }).arg(program).args(arguments);
    command.current_dir(folder).env_clear();
    for name in ["PATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("HOME", folder).env("TMPDIR", folder).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).process_group(0);
    command
}

/// Starts the command, gives it the input, and waits for its end. Dropped before that, it kills the child and its
/// children.
///
/// # Errors
/// [`ChildError`] when it did not start, exceeds a bound, or a pipe broke.
pub async fn exchange(mut command: Command, input: &[u8], bounds: &Bounds) -> Result<Ended, ChildError> {
    let mut group = Group(command.spawn().map_err(ChildError::Start)?);
    let whole = talk(&mut group.0, input, bounds.output_bytes);
    match tokio::time::timeout(bounds.time, whole).await {
        Ok(Ok(ended)) if ended.output.len() > bounds.output_bytes => {
            Err(ChildError::Output(bounds.output_bytes))
        }
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(error)) => Err(ChildError::Exchange(error)),
        Err(_) => Err(ChildError::Late(bounds.time.as_secs())),
    }
}

/// A child with its own children; none outlives the question.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}

/// Writes, reads up to the limit, and waits.
async fn talk(child: &mut Child, input: &[u8], limit: usize) -> std::io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // It may end before it has read all; its own words say why.
            let _ = stdin.write_all(input).await;
        }
    };
    let read = async {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(limit as u64 + 1).read_to_end(&mut output).await?;
        }
        std::io::Result::Ok(output)
    };
    let words = async {
        let mut words = Vec::new();
        if let Some(mut stderr) = stderr {
            (&mut stderr).take(WORDS_BYTES_MAX as u64).read_to_end(&mut words).await?;
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        }
        std::io::Result::Ok(words)
    };
    let ((), output, words) = tokio::join!(write, read, words);
    let (output, words) = (output?, String::from_utf8_lossy(&words?).into_owned());
    if output.len() > limit {
        return Ok(Ended { code: None, output, words });
    }
    let status = child.wait().await?;
    Ok(Ended { code: status.code(), output, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        time: Duration::from_secs(20),
        memory_bytes: 1 << 30,
        file_bytes: 1 << 20,
        output_bytes: 1000,
        network: false,
    };

    async fn run(script: &str, input: &[u8], bounds: Bounds) -> Result<Ended, ChildError> {
        let folder = tempfile::tempdir().unwrap();
        exchange(command(Path::new("sh"), ["-c", script], folder.path(), &bounds), input, &bounds).await
    }

    #[tokio::test]
    async fn a_child_sees_its_input_and_no_environment_but_its_own() {
        let ended = run("cat; echo \"$HOME $CARGO_MANIFEST_DIR\"; echo no >&2; exit 3", b"in ", BOUNDS).await;
        let ended = ended.unwrap();
        let output = String::from_utf8(ended.output).unwrap();
        assert!(output.starts_with("in /") && output.trim_end().len() < 60, "{output}");
        assert_eq!((ended.code, ended.words.as_str()), (Some(3), "no\n"));
    }

    #[tokio::test]
    async fn a_child_that_exceeds_a_bound_is_ended_with_its_children() {
        let error = run("yes", b"", BOUNDS).await.unwrap_err();
        assert_eq!(error.to_string(), "its output exceeds the limit of 1000 bytes");
        let folder = tempfile::tempdir().unwrap();
        let short = Bounds { time: Duration::from_millis(300), ..BOUNDS };
        let script = "sleep 60 & echo $! >child; wait";
        let late = command(Path::new("sh"), ["-c", script], folder.path(), &short);
        assert!(matches!(exchange(late, b"", &short).await, Err(ChildError::Late(0))));
        let child = std::fs::read_to_string(folder.path().join("child")).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let gone = || std::fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !gone() {
            assert!(std::time::Instant::now() < deadline, "the child of the child still runs");
            tokio::task::yield_now().await;
        }
        let large = run("head -c 2000000 /dev/zero >file", b"", BOUNDS).await.unwrap();
        assert_ne!(large.code, Some(0));
    }
}
