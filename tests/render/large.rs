//! Charts as large as real ones get, written by a loop: what both make of them is the same, and a twentieth of every
//! bound is enough for it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use render::Limits;

use crate::corpus::compared;
use crate::ours;

/// How often the largest chart fits into each bound.
const ROOM: u64 = 20;

const HELPERS: &str = include_str!("large/helpers.tpl");
const OBJECTS: &str = include_str!("large/objects.yaml");
const VALUES: &str = include_str!("large/values.yaml");

/// What differs, or does not fit.
pub(crate) fn differences(work: &Path) -> Vec<String> {
    let charts = [objects(work), definitions(work), values(work), umbrella(work)];
    charts.iter().filter_map(|chart| difference(chart)).collect()
}

fn difference(chart: &Path) -> Option<String> {
    let whole = Limits::default();
    let part = |bound: usize| bound / usize::try_from(ROOM).expect("a small number");
    let limits = Limits {
        steps: whole.steps / ROOM,
        output_bytes: whole.output_bytes / ROOM,
        yaml_nodes: part(whole.yaml_nodes),
        call_depth: part(whole.call_depth),
        chart_files: part(whole.chart_files),
        ..whole
    };
    let arguments = ["rel", &chart.display().to_string(), "-n", "apps", "--include-crds"].map(str::to_owned);
    let what = compared(&ours::printed(chart, &[], &limits), &arguments)?;
    let end = what.char_indices().nth(4_000).map_or(what.len(), |(at, _)| at);
    Some(format!("{}\n{}", chart.display(), &what[..end]))
}

fn write(path: &Path, content: &str) {
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
    std::fs::write(path, content).expect("a file can be written");
}

/// A chart with its `Chart.yaml`.
fn chart(folder: PathBuf, more: &str) -> PathBuf {
    let name = folder.file_name().expect("a folder has a name").to_string_lossy().into_owned();
    write(&folder.join("Chart.yaml"), &format!("apiVersion: v2\nname: {name}\nversion: 1.0.0\n{more}"));
    folder
}

/// A thousand deployments of three containers with fifteen variables each, nearly everything through `tpl`.
fn objects(work: &Path) -> PathBuf {
    let chart = chart(work.join("objects"), "");
    write(&chart.join("values.yaml"), &format!("{VALUES}objects: 1000\n"));
    write(&chart.join("templates/_helpers.tpl"), HELPERS);
    write(&chart.join("templates/objects.yaml"), OBJECTS);
    chart
}

/// Two megabytes of definitions among the templates.
fn definitions(work: &Path) -> PathBuf {
    let chart = chart(work.join("definitions"), "");
    write(&chart.join("values.yaml"), "crds: {enabled: true, annotations: {a: b}}\n");
    let mut properties = String::new();
    for at in 0..400 {
        write!(properties, "          field{at}:\n            type: object\n            description: |-\n")
            .expect("text");
        for line in 0..4 {
            writeln!(
                properties,
                "              Line {line} of what field {at} says: 'more' than \"one\" thing."
            )
            .expect("text");
        }
        properties.push_str("            properties:\n");
        for inner in 0..6 {
            writeln!(properties, "              part{inner}: {{type: string, pattern: '^[a-z]*$'}}")
                .expect("text");
        }
    }
    for at in 0..10 {
        let text = format!(
            "{{{{- if .Values.crds.enabled }}}}\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n\
             metadata:\n  name: things{at}.example.org\n  annotations: {{{{- toYaml .Values.crds.annotations | nindent 4 \
             }}}}\nspec:\n  names: {{kind: Thing{at}}}\n  versions:\n  - name: v1\n    schema:\n      openAPIV3Schema:\n        \
             properties:\n{properties}{{{{- end }}}}\n"
        );
        write(&chart.join(format!("templates/things{at}.yaml")), &text);
    }
    chart
}

/// Five thousand lines of values in every style of YAML, each part shown in several ways.
fn values(work: &Path) -> PathBuf {
    let chart = chart(work.join("values"), "");
    let mut values = String::new();
    for at in 0..300 {
        let flag = if at % 2 == 0 { "no" } else { "true" };
        write!(
            values,
            "# about part {at}\npart{at}: &part{at}\n  enabled: {flag}\n  hex: 0x1{}\n  octal: 0{}7\n  float: 1e3\n  \
             date: 2001-01-0{}\n  text: |\n    line one\n      line {at}\n  folded: >-\n    folded {at}\n    text\n  \
             list: [a, \"b\", 'c', ~, 1.5]\n  quoted: \"\\u00e9 \\t é\"\nmerged{at}:\n  <<: *part{at}\n  own: {at}\n",
            at % 10,
            at % 8,
            at % 9 + 1
        )
        .expect("text");
    }
    write(&chart.join("values.yaml"), &values);
    write(
        &chart.join("templates/_deep.tpl"),
        "{{- define \"deep\" }}{{ range $k, $v := .v }}{{ $k }}={{ if kindIs \"map\" $v }}{{ include \"deep\" (dict \"v\" \
         $v) }}{{ else }}{{ $v | toString | quote }}{{ end }};{{ end }}{{ end }}\n",
    );
    write(
        &chart.join("templates/values.yaml"),
        "all: {{ .Values | toYaml | sha256sum }}\n{{- range $k, $v := .Values }}\n---\nkind: ConfigMap\nmetadata: {name: \
         {{ $k }}}\ndata:\n  yaml: {{ toYaml $v | quote }}\n  text: {{ tpl ($v.text | default \"x\") $ | quote }}\n  \
         all: {{ include \"deep\" (dict \"v\" $v) | quote }}\n{{- end }}\n",
    );
    chart
}

/// Thirty subcharts, each five levels deep, that share one library of helpers.
fn umbrella(work: &Path) -> PathBuf {
    let (mut dependencies, mut switches) = ("dependencies:\n".to_owned(), "global: {site: x}\n".to_owned());
    for at in 0..30 {
        writeln!(dependencies, "- {{name: part{at}, version: 1.0.0, condition: part{at}.enabled}}")
            .expect("text");
        writeln!(switches, "part{at}: {{enabled: true, objects: 1}}").expect("text");
    }
    let root = chart(work.join("umbrella"), &dependencies);
    write(&root.join("values.yaml"), &switches);
    write(&root.join("templates/_helpers.tpl"), HELPERS);
    for at in 0..30 {
        let mut folder = root.join(format!("charts/part{at}"));
        for level in (0_i32..5).rev() {
            let inner =
                format!("dependencies:\n- {{name: level{}, version: 1.0.0, condition: inner}}\n", level - 1);
            let made = chart(folder, if level > 0 { &inner } else { "" });
            write(
                &made.join("values.yaml"),
                &format!("{VALUES}objects: 1\ninner: true\nglobal: {{level: {level}}}\n"),
            );
            write(&made.join("templates/objects.yaml"), &OBJECTS.replace("-{{ $i }}", "-{{ $.Chart.Name }}"));
            folder = made.join(format!("charts/level{}", level - 1));
        }
    }
    root
}
