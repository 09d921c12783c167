//! Mistakes of every kind, written down in `refusals.txt`: each must be refused, for the cause and at the place that
//! Helm names.

use std::path::{Path, PathBuf};

use render::Limits;

use crate::corpus::compared;
use crate::ours;

const CHART: &str = "apiVersion: v2\nname: broken\nversion: 1.0.0\n";

/// Refused by both, but in words of our own.
const WORDS: &[&str] =
    &["definitions of 2019", "a schema that is none itself", "an action that is not closed"];

struct Mistake {
    title: String,
    chart: PathBuf,
    values: Option<PathBuf>,
}

/// Compares every mistake; answers how many there were, and what differs.
pub(crate) fn differences(work: &Path) -> (usize, Vec<String>) {
    let text = include_str!("refusals.txt");
    let titled = text.split("\n=== ").skip(1);
    let mistakes: Vec<Mistake> = titled.enumerate().map(|(at, text)| written(at, text, work)).collect();
    let found = mistakes.iter().filter_map(difference).collect();
    (mistakes.len(), found)
}

/// Writes the chart of a mistake.
fn written(at: usize, text: &str, work: &Path) -> Mistake {
    let (title, rest) = text.split_once('\n').expect("a title has its files below");
    let chart = work.join(format!("mistake{at}"));
    write(&chart.join("Chart.yaml"), CHART);
    let mut values = None;
    for section in format!("\n{rest}\n").split("\n--- ").skip(1) {
        let (path, content) = section.split_once('\n').expect("a file has a path");
        let content = format!("{}\n", content.trim_end_matches('\n'));
        if path == "@user.yaml" {
            let path = work.join(format!("values{at}.yaml"));
            write(&path, &content);
            values = Some(path);
        } else {
            write(&chart.join(path), &content);
        }
    }
    Mistake { title: title.to_owned(), chart, values }
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
    std::fs::write(path, content).expect("a file can be written");
}

fn difference(mistake: &Mistake) -> Option<String> {
    let Mistake { title, chart, values } = mistake;
    let mut arguments = ["rel", &chart.display().to_string(), "-n", "apps"].map(str::to_owned).to_vec();
    arguments.push("--include-crds".to_owned());
    if let Some(values) = values {
        arguments.extend(["-f".to_owned(), values.display().to_string()]);
    }
    let files: Vec<&Path> = values.iter().map(PathBuf::as_path).collect();
    let ours = ours::printed(chart, &files, &Limits::default());
    if let Ok(text) = &ours {
        return Some(format!("{title}: it rendered\n{text}"));
    }
    let what = compared(&ours, &arguments)?;
    // Helm rendered it, or it is refused in words that nobody knows of.
    let is_known = WORDS.contains(&title.as_str()) && !what.starts_with("ours: Err(");
    (!is_known).then(|| format!("{title}\n{what}"))
}
