//! The charts that Helm's own tests use, whole and broken ones, folders and archives: they lie in Go's module cache
//! wherever the real parts were built, because Helm was.

use std::path::{Path, PathBuf};
use std::process::Command;

use render::Limits;

use crate::corpus::compared;
use crate::ours;

/// Charts that are refused by both, in words that are each program's own: (end of the path, why).
const WORDS: [(&str, &str); 3] = [
    ("charts/corrupted-compressed-chart.tgz", "Helm guesses the type of the file before it unpacks it"),
    ("rules/testdata/anotherbadchartfile", "both a version that is none and a subchart that is missing"),
    ("testdata/empty-0.0.1.tgz", "Helm passes over devices in archives, to find no chart there"),
];

/// Compares every chart; answers how many there were, and what differs.
pub(crate) fn differences() -> (usize, Vec<String>) {
    let module = module();
    let mut charts = Vec::new();
    let mut pending = vec![module.clone()];
    while let Some(folder) = pending.pop() {
        // A format of charts that Helm v4 reads only behind a switch.
        if folder.ends_with("internal/chart/v3") {
            continue;
        }
        for entry in std::fs::read_dir(&folder).expect("a module can be read") {
            let path = entry.expect("an entry can be read").path();
            let is_test_data = folder.components().any(|part| part.as_os_str() == "testdata");
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                pending.push(path);
            } else if is_test_data && name == "Chart.yaml" {
                charts.push(folder.clone());
            } else if is_test_data && name.ends_with(".tgz") {
                charts.push(path);
            }
        }
    }
    charts.sort();
    let found = charts.iter().filter_map(|chart| difference(chart)).collect();
    (charts.len(), found)
}

fn difference(chart: &Path) -> Option<String> {
    let arguments = ["rel", &chart.display().to_string(), "-n", "apps", "--include-crds"].map(str::to_owned);
    let ours = ours::printed(chart, &[], &Limits::default());
    let what = compared(&ours, &arguments)?;
    // Refused by both.
    let refused = ours.is_err() && !what.starts_with("ours: Err(");
    let known = refused && WORDS.iter().any(|(path, _)| chart.ends_with(path));
    (!known).then(|| format!("{}\n{what}", chart.display()))
}

/// Where the module is that the `helm` of the real parts was built from.
fn module() -> PathBuf {
    let parts = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts");
    let output = Command::new("go")
        .args(["list", "-m", "-mod=readonly", "-f", "{{.Dir}}", "helm.sh/helm/v4"])
        .current_dir(&parts)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .env("GOPROXY", "off")
        .output()
        .expect("go runs: the real parts are built with it");
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(
        output.status.success() && path.is_dir(),
        "the module helm.sh/helm/v4 is not in Go's module cache, from which `helm` was built: remove the folder that \
         tests/parts/path prints and run tests/parts/install. go said: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    path
}
