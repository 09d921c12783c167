//! Our engine, in process.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use render::{
    Capabilities, Chart, CommandLineValues, Entropy, Input, Limits, NoCluster, Release, Rendered, Shown,
    render,
};
use serde_json::Value;

/// Bytes that are not random, and the time of day.
pub(crate) struct Counted(pub u8);

impl Entropy for Counted {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 = self.0.wrapping_mul(5).wrapping_add(41);
                self.0
            })
            .collect()
    }

    fn now_unix_seconds(&mut self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
    }

    fn now_unix_nanoseconds(&mut self) -> i128 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().cast_signed())
    }
}

/// Enough for what the generator writes; Helm, which has no bounds, is not asked for more.
fn limits() -> Limits {
    Limits { steps: 100_000, output_bytes: 256 << 10, ..Limits::default() }
}

/// Whether a refusal is one of our bounds, which Helm does not have.
pub(crate) fn is_bound(refusal: &str) -> bool {
    refusal.contains("rendering needs more than the limit")
}

/// Renders the files of a chart folder as the release `rel` in the namespace `apps`; `integers` says whether whole
/// numbers of the values are integers.
pub(crate) fn rendered(
    files: &[(String, Vec<u8>)],
    values: &Value,
    integers: bool,
) -> Result<Rendered, String> {
    let run = || {
        let chart = Chart::from_files(files.to_vec()).map_err(|error| error.to_string())?;
        let (capabilities, limits) = (Capabilities::default(), limits());
        let release =
            Release { name: "rel", namespace: "apps", revision: 1, is_install: true, is_upgrade: false };
        let input = Input {
            chart: &chart,
            release,
            values,
            integers,
            capabilities: &capabilities,
            limits: &limits,
            skip_crds: true,
            skip_schema_validation: false,
        };
        render(&input, &mut Counted(1), &NoCluster).map_err(|error| error.to_string())
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("the engine panicked".to_owned()))
}

/// What `skein render rel CHART -n apps --include-crds` prints, with these files of values.
pub(crate) fn printed(chart: &Path, values: &[&Path], limits: &Limits) -> Result<String, String> {
    let mut given = CommandLineValues::default();
    for path in values {
        let text = std::fs::read_to_string(path).expect("values can be read");
        given.file(&text).map_err(|error| format!("failed to parse {}: {error}", path.display()))?;
    }
    let chart = if chart.is_file() {
        Chart::from_archive(&std::fs::read(chart).expect("an archive can be read"), limits)
    } else {
        Chart::from_files(folder(chart))
    };
    let chart = chart.map_err(|error| error.to_string())?;
    let input = Input {
        chart: &chart,
        release: Release { name: "rel", namespace: "apps", revision: 1, is_install: true, is_upgrade: false },
        values: &given.build(),
        integers: true,
        capabilities: &Capabilities::default(),
        limits,
        skip_crds: false,
        skip_schema_validation: false,
    };
    let rendered = render(&input, &mut Counted(1), &NoCluster).map_err(|error| error.to_string())?;
    rendered.printed(&Shown::default()).map_err(|error| error.to_string())
}

/// The files of a chart folder, links followed.
fn folder(root: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut files, mut pending) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("it lies inside").to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path).expect("a file can be read")));
        }
    }
    files
}
