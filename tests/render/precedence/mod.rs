//! Random umbrellas with random values files and options: which value each chart sees, held to the real Helm.

mod grammar;

use std::collections::BTreeMap;
use std::path::Path;

use render::{CommandLineValues, Limits, parse_yaml_documents};
use serde_json::Value;

use crate::generator::{Random, write};
use crate::{helm, ours};

/// How an option reads what stands behind it. In the order in which Helm takes them, whatever the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    Json,
    Typed,
    Text,
    File,
    Literal,
}

impl Mode {
    fn option(self) -> &'static str {
        match self {
            Self::Json => "--set-json",
            Self::Typed => "--set",
            Self::Text => "--set-string",
            Self::File => "--set-file",
            Self::Literal => "--set-literal",
        }
    }
}

/// One umbrella with its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// `Chart.yaml` and `values.yaml` of each chart, by path.
    pub charts: BTreeMap<String, Value>,
    /// What `-f` names, in order.
    pub files: Vec<Value>,
    pub options: Vec<(Mode, String)>,
}

/// What every chart prints: its values, and the type of each of them.
const TEMPLATE: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Template.BasePath | replace "/" "-" }}"}
data:
  values: {{ .Values | toJson | quote }}
  types: {{ include "types" .Values | quote }}
  charts: {{ keys .Subcharts | sortAlpha | join "," | quote }}
"#;

const TYPES: &str = r#"{{ define "types" }}{{ range $k, $v := . }}{{ $k }}:{{ typeOf $v }}{{ if or (kindIs "map" $v) (kindIs "slice" $v) }}({{ include "types" $v }}){{ end }},{{ end }}{{ end }}"#;

/// What `--set-file` finds.
const TEXT: &str = "line one\n  line: two, {x}\n";

type Printed = Result<Vec<Value>, String>;

/// Renders `count` random cases; answers what differs, as text.
pub(crate) fn differences(seed: u64, count: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let cases: Vec<Case> = (0..count).map(|_| grammar::case(&mut random)).collect();
    let refused: Vec<String> = cases.iter().filter_map(|case| ours(case).err()).collect();
    assert!(
        refused.len() * 3 < count * 2,
        "{} of {count} cases cannot be rendered, the rest shows little:\n{}",
        refused.len(),
        refused.join("\n")
    );
    cases.iter().filter_map(difference).collect()
}

/// The files of the umbrella, from its root.
fn files(case: &Case) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> =
        case.charts.iter().map(|(path, value)| (path.clone(), value.to_string().into_bytes())).collect();
    let roots = case.charts.keys().filter_map(|path| path.strip_suffix("Chart.yaml"));
    for root in roots {
        files.push((format!("{root}templates/show.yaml"), TEMPLATE.as_bytes().to_vec()));
    }
    files.push(("templates/_types.tpl".to_owned(), TYPES.as_bytes().to_vec()));
    files
}

fn ours(case: &Case) -> Printed {
    let mut values = CommandLineValues::default();
    for (at, file) in case.files.iter().enumerate() {
        values.file(&file.to_string()).map_err(|error| format!("failed to parse {at}.yaml: {error}"))?;
    }
    let mut options: Vec<&(Mode, String)> = case.options.iter().collect();
    options.sort_by_key(|(mode, _)| *mode);
    for (mode, line) in options {
        let mut read = |path: &str| match path {
            "text" => Ok(TEXT.to_owned()),
            path => Err(format!("open {path}: no such file or directory")),
        };
        match mode {
            Mode::Json => values.set_json(line),
            Mode::Typed => values.set(line),
            Mode::Text => values.set_string(line),
            Mode::File => values.set_file(line, &mut read),
            Mode::Literal => values.set_literal(line),
        }
        .map_err(|error| error.to_string())?;
    }
    let rendered = ours::rendered(&files(case), &values.build(), true)?;
    Ok(rendered.objects.into_iter().map(|object| object.value).collect())
}

fn theirs(case: &Case, folder: &Path) -> Printed {
    let mut all: Vec<(String, Vec<u8>)> =
        files(case).into_iter().map(|(path, text)| (format!("chart/{path}"), text)).collect();
    all.extend(
        case.files
            .iter()
            .enumerate()
            .map(|(at, value)| (format!("{at}.yaml"), value.to_string().into_bytes())),
    );
    all.push(("text".to_owned(), TEXT.as_bytes().to_vec()));
    write(folder, &all);
    let mut arguments = vec!["rel".to_owned(), "chart".to_owned(), "-n=apps".to_owned()];
    arguments.extend((0..case.files.len()).map(|at| format!("-f={at}.yaml")));
    arguments.extend(case.options.iter().map(|(mode, line)| format!("{}={line}", mode.option())));
    let text = helm::template_in(folder, arguments)?;
    Ok(parse_yaml_documents(&text, &Limits::default()).expect("helm prints objects"))
}

/// How the two differ on a case.
fn compare(case: &Case) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder for the chart");
    match (ours(case), theirs(case, folder.path())) {
        (Ok(ours), Ok(theirs)) if ours == theirs => None,
        (Ok(ours), Ok(theirs)) => {
            let first = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
            let first = first.map(|(ours, theirs)| format!("ours: {ours}\nhelm: {theirs}"));
            Some(format!("{} and {} objects\n{}", ours.len(), theirs.len(), first.unwrap_or_default()))
        }
        (Err(ours), Err(theirs)) if same(&ours, &theirs) => None,
        (Err(ours), Err(theirs)) => Some(format!("refused otherwise\nours: {ours}\nhelm: {theirs}")),
        (Ok(_), Err(theirs)) => Some(format!("not refused: {theirs}")),
        (Err(ours), Ok(_)) => Some(format!("refused: {ours}")),
    }
}

/// The same words. Of broken JSON Go tells more than we do; a value that must be a map Helm prints with a broken
/// format.
fn same(ours: &str, theirs: &str) -> bool {
    let json = |text: &str| text.split_once("JSON").map(|(head, _)| head.trim_end().to_owned());
    let mismatch = |text: &str| {
        let at = text.find("type mismatch on ")?;
        text[at..].split(':').next().map(str::to_owned)
    };
    let agree =
        |cause: &dyn Fn(&str) -> Option<String>| cause(ours).is_some() && cause(ours) == cause(theirs);
    // What Helm says is cut where its line ends.
    ours.trim_end() == theirs.trim_end() || agree(&json) || agree(&mismatch)
}

/// What differs on a case, with the smallest case found on which it does.
fn difference(case: &Case) -> Option<String> {
    let mut what = compare(case)?;
    let kind = |what: &str| what.split([' ', ':']).next().map(str::to_owned);
    let is_text = |what: &str| what.starts_with(|letter: char| letter.is_ascii_digit());
    let mut case = case.clone();
    // Each step costs a run of Helm.
    let mut left = 150;
    'smaller: loop {
        for candidate in grammar::smaller(&case) {
            left -= 1;
            let found = compare(&candidate)
                .filter(|other| kind(other) == kind(&what) || (is_text(other) && is_text(&what)));
            if let Some(other) = found {
                (case, what) = (candidate, other);
                continue 'smaller;
            }
            if left == 0 {
                break 'smaller;
            }
        }
        break;
    }
    let charts: Vec<String> = case.charts.iter().map(|(path, value)| format!("{path}: {value}\n")).collect();
    let files: Vec<String> = case.files.iter().map(|value| format!("-f {value}\n")).collect();
    let options: Vec<String> =
        case.options.iter().map(|(mode, line)| format!("{}={line}\n", mode.option())).collect();
    Some(format!("{}{}{}{what}\n", charts.concat(), files.concat(), options.concat()))
}
