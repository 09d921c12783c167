//! Charts with cases: the same arguments to `skein render` and to `helm template`, and the same text back.
//!
//! A chart is a folder of `charts/` with a file `cases.txt` beside its `chart/`: a line of arguments per case, paths
//! relative to the folder. The charts of the engine's own tests take part with each of their values files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::helm::{self, Printed};

/// A case on which the two differ.
pub(crate) struct Difference(String);

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A chart and the arguments of one case.
struct Case {
    folder: PathBuf,
    chart: PathBuf,
    arguments: Vec<String>,
}

/// Runs every case; answers how many there were, and what differs.
pub(crate) fn differences(work: &Path) -> (usize, Vec<Difference>) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cases = written(&here.join("render/charts"), work);
    cases.extend(with_values(&here.join("../render/tests/charts")));
    // Each case waits for two programs: two cases at a time keep both cores busy.
    let (even, odd): (Vec<_>, Vec<_>) = cases.iter().enumerate().partition(|(at, _)| at.is_multiple_of(2));
    let compared = |cases: Vec<(usize, &Case)>| {
        cases
            .into_iter()
            .filter_map(|(at, case)| difference(case).map(|found| (at, found)))
            .collect::<Vec<_>>()
    };
    let mut found = std::thread::scope(|scope| {
        let other = scope.spawn(|| compared(odd));
        let mut found = compared(even);
        found.extend(other.join().expect("no comparison panics"));
        found
    });
    found.sort_by_key(|(at, _)| *at);
    (cases.len(), found.into_iter().map(|(_, found)| found).collect())
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).expect("the charts are there");
    let mut folders: Vec<PathBuf> =
        entries.map(|entry| entry.expect("a folder can be read").path()).collect();
    folders.retain(|folder| folder.join("chart").is_dir());
    folders.sort();
    folders
}

/// The cases of `cases.txt`, and the first of each chart once more from an archive.
fn written(path: &Path, work: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in folders(path) {
        let text = std::fs::read_to_string(folder.join("cases.txt")).expect("cases are written down");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (at, line) in lines.enumerate() {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let chart = folder.join("chart");
            if at == 0 {
                let (folder, arguments) = (folder.clone(), arguments.clone());
                cases.push(Case { chart: packed(&folder, work), folder, arguments });
            }
            cases.push(Case { folder: folder.clone(), chart, arguments });
        }
    }
    cases
}

/// The chart as an archive.
fn packed(folder: &Path, work: &Path) -> PathBuf {
    let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
    let archive = work.join(format!("{name}.tgz"));
    let status = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(folder).arg("chart").status();
    assert!(status.expect("tar runs").success());
    archive
}

fn with_values(path: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in folders(path) {
        for values in std::fs::read_dir(folder.join("values")).expect("values are there") {
            let values = values.expect("a file can be read").path().display().to_string();
            let arguments =
                ["-n".to_owned(), "apps".to_owned(), "--include-crds".to_owned(), "-f".to_owned(), values];
            cases.push(Case {
                folder: folder.clone(),
                chart: folder.join("chart"),
                arguments: arguments.to_vec(),
            });
        }
    }
    cases
}

/// What differs between what we print of a case and what Helm prints, asked again where its text is random.
pub(crate) fn compared(ours: &Printed, arguments: &[String]) -> Option<String> {
    compared_in(Path::new("."), ours, arguments)
}

/// The same with paths relative to a folder.
pub(crate) fn compared_in(folder: &Path, ours: &Printed, arguments: &[String]) -> Option<String> {
    let first = helm::template_in(folder, arguments);
    match (ours, &first) {
        (Ok(ours), Ok(helm)) if ours == helm => None,
        (Ok(ours), Ok(helm)) => match helm::template_in(folder, arguments) {
            Ok(again) => text_difference(ours, helm, &again),
            Err(error) => Some(format!("helm only rendered it once: {error}")),
        },
        (Err(ours), Err(helm)) => same_refusal(ours, helm),
        _ => Some(format!("ours: {ours:?}\nhelm: {first:?}")),
    }
}

fn difference(case: &Case) -> Option<Difference> {
    let mut arguments = vec!["rel".to_owned(), case.chart.display().to_string()];
    arguments.extend(case.arguments.iter().map(|argument| match argument.strip_prefix("@") {
        // A path, relative to the folder.
        Some(path) => case.folder.join(path).display().to_string(),
        None => argument.replace("=@", &format!("={}/", case.folder.display())),
    }));
    let what = compared(&skein_in(Path::new("."), &arguments), &arguments);
    what.map(|what| Difference(format!("{}\n{what}\n", arguments.join(" "))))
}

/// `skein render` with these arguments, paths relative to a folder.
pub(crate) fn skein_in(folder: &Path, arguments: &[String]) -> Printed {
    let program = skein_tests::mesh::program().expect("skein is built");
    let mut command = Command::new(program);
    let output = command.arg("render").args(arguments).current_dir(folder).output().expect("skein runs");
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(text.trim().strip_prefix("skein: ").unwrap_or(text.trim()).to_owned())
}

/// The first line that differs, those aside in which Helm differs from itself.
fn text_difference(ours: &str, helm: &str, again: &str) -> Option<String> {
    let again: Vec<&str> = again.lines().collect();
    let (ours, helm): (Vec<&str>, Vec<&str>) = (ours.lines().collect(), helm.lines().collect());
    for at in 0..ours.len().max(helm.len()) {
        let (mine, real) = (ours.get(at), helm.get(at));
        let random = real != again.get(at);
        let same_key = |line: Option<&&str>| line.and_then(|line| line.split(':').next()).map(str::to_owned);
        if mine == real || (random && same_key(mine) == same_key(real)) {
            continue;
        }
        let before = helm[at.saturating_sub(4)..at.min(helm.len())].join("\n");
        return Some(format!("line {}:\n{before}\nours: {mine:?}\nhelm: {real:?}", at + 1));
    }
    None
}

/// The same cause at the same place: the same lines in any order (Helm walks schemas in random order); what a YAML
/// reader says about broken YAML is its own affair.
pub(crate) fn same_refusal(ours: &str, helm: &str) -> Option<String> {
    let lines = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        lines.sort();
        lines
    };
    let helm_text = helm.strip_prefix(
        "an error occurred while checking for chart dependencies. You may need to run \
                                       'helm dependency build' to fetch missing dependencies: ",
    );
    let helm_text = helm_text.unwrap_or(helm);
    let yaml = "YAML parse error on ";
    let file =
        |text: &str| text.strip_prefix(yaml).and_then(|rest| rest.split(':').next()).map(str::to_owned);
    // An endless include: we stop at a bound of our own, and say so in one line instead of thousands.
    let endless = ours.contains("\"call_depth\"") && helm.contains("has a nested reference name");
    // Helm prints the value with a broken format; we say what was found.
    let mismatch = |text: &str| {
        let at = text.find("type mismatch on ")?;
        text[at..].split(':').next().map(str::to_owned)
    };
    let same = endless
        || (mismatch(helm).is_some() && mismatch(helm) == mismatch(ours))
        || lines(ours) == lines(helm_text)
        || (file(helm_text).is_some() && file(ours) == file(helm_text));
    (!same).then(|| format!("ours: {ours}\nhelm: {helm}"))
}
