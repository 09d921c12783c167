//! Charts whose files are odd: links, marks, ignored files, names, locks, subcharts that do not fit. Each is given to
//! `skein render` and to `helm template` as a folder and as an archive.
//!
//! `folders.txt` holds them. `=== title` begins a chart; a `!` before the title: both refuse it, each in its own words.
//! `@@ path` begins a file (`@@ path/` a folder, `@@ @path` a file beside the chart), and behind the path may stand:
//! `bom`, `crlf`, `bare` (no line break at the end), `escaped` (`\n`, `\r`, `\t` and `\xff` are read), `times N`,
//! `-> target` (a link). `@@ @args` has more arguments, `@@ @folder` and `@@ @archive` mean only that form.
//! A chart without Chart.yaml gets one.

use std::path::Path;
use std::process::Command;

use crate::corpus::{compared_in, skein_in};

const CHART: &str = "apiVersion: v2\nname: odd\nversion: 1.0.0\n";

/// How a chart is given.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Folder,
    Archive,
}

/// Compares every chart in each form; answers how many comparisons there were, and what differs.
pub(crate) fn differences(work: &Path) -> (usize, Vec<String>) {
    let text = include_str!("folders.txt");
    let (mut count, mut found) = (0, Vec::new());
    for (at, chart) in text.split("\n=== ").skip(1).enumerate() {
        let (title, sections) = chart.split_once('\n').expect("a title has its files below");
        for form in [Form::Folder, Form::Archive] {
            let folder = work.join(format!("{at}{form:?}"));
            if let Some(arguments) = written(sections, &folder, form) {
                count += 1;
                found.extend(difference(title, &folder, form, &arguments));
            }
        }
    }
    (count, found)
}

/// Writes a chart; answers the arguments, or nothing where it is not meant for this form.
fn written(sections: &str, folder: &Path, form: Form) -> Option<Vec<String>> {
    let chart = folder.join("chart");
    std::fs::create_dir_all(&chart).expect("a folder can be made");
    let name = if form == Form::Folder { "chart" } else { "chart.tgz" };
    let mut arguments = ["rel", name, "-n", "apps"].map(str::to_owned).to_vec();
    for section in format!("\n{sections}\n").split("\n@@ ").skip(1) {
        let (head, content) = section.split_once('\n').unwrap_or((section, ""));
        let (path, options) = head.split_once(' ').unwrap_or((head, ""));
        match path {
            "@args" => arguments.extend(options.split(' ').map(str::to_owned)),
            "@folder" if form != Form::Folder => return None,
            "@archive" if form != Form::Archive => return None,
            "@folder" | "@archive" => {}
            _ => write(&place(folder, path), options, content),
        }
    }
    if !chart.join("Chart.yaml").exists() && !sections.contains("@@ Chart.y") {
        write(&chart.join("Chart.yaml"), "", CHART);
    }
    if form == Form::Archive {
        let tar = Command::new("tar").args(["-czf", "chart.tgz", "chart"]).current_dir(folder).status();
        assert!(tar.expect("tar runs").success());
    }
    Some(arguments)
}

fn place(folder: &Path, path: &str) -> std::path::PathBuf {
    let path = path.replace("%20", " ");
    match path.strip_prefix('@') {
        Some(beside) => folder.join(beside),
        None => folder.join("chart").join(path),
    }
}

fn write(path: &Path, options: &str, content: &str) {
    let parent = path.parent().expect("a file lies in a folder");
    std::fs::create_dir_all(parent).expect("a folder can be made");
    if path.to_string_lossy().ends_with('/') {
        return std::fs::create_dir_all(path).expect("a folder can be made");
    }
    let text = content.trim_end_matches('\n');
    let mut data = if text.is_empty() { Vec::new() } else { format!("{text}\n").into_bytes() };
    let mut words = options.split(' ').filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match word {
            "bom" => data.splice(..0, *b"\xEF\xBB\xBF").for_each(drop),
            "crlf" => data = String::from_utf8(data).expect("text").replace('\n', "\r\n").into_bytes(),
            "bare" => data.truncate(text.len()),
            "escaped" => data = unescaped(text),
            "times" => {
                data = data.repeat(words.next().and_then(|count| count.parse().ok()).expect("a count"))
            }
            "->" => {
                let target = words.next().expect("a link has a target");
                return std::os::unix::fs::symlink(target, path).expect("a link can be made");
            }
            other => unreachable!("{other} is not known behind a path"),
        }
    }
    std::fs::write(path, data).expect("a file can be written");
}

/// The bytes that `\n`, `\r`, `\t` and `\xff` stand for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut pieces = text.split('\\');
    let mut out = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (byte, rest) = match piece.split_at(1) {
            ("n", rest) => (b'\n', rest),
            ("r", rest) => (b'\r', rest),
            ("t", rest) => (b'\t', rest),
            (_, rest) => (u8::from_str_radix(&rest[..2], 16).expect("two digits"), &rest[2..]),
        };
        out.push(byte);
        out.extend_from_slice(rest.as_bytes());
    }
    out
}

fn difference(title: &str, folder: &Path, form: Form, arguments: &[String]) -> Option<String> {
    let ours = skein_in(folder, arguments);
    let what = compared_in(folder, &ours, arguments)?;
    let in_own_words = title.starts_with("! ") && ours.is_err() && !what.starts_with("ours: Err(");
    (!in_own_words).then(|| format!("{title} [{form:?}]\n{what}\n"))
}
