//! Random documents in YAML's dialects, read by us and by the real Helm.
//!
//! Each goes three ways: through `fromYaml`, `fromYamlArray` and `fromJson` (what is no YAML answers with its refusal),
//! as `values.yaml` of a subchart, and as the output of a template. The first way costs one `helm template` for
//! hundreds; of the others, what is refused is asked one by one.

mod grammar;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use serde_json::Value;

use crate::generator::{Random, write};
use crate::helm;
use crate::ours;
use grammar::Grammar;

/// Documents that one `helm template` reads.
const BATCH: usize = 100;
/// Of the documents that we refuse as values or manifests, one in so many is asked of Helm.
const REFUSED_STEP: usize = 20;
/// Runs of Helm that one difference may cost while it is made smaller.
const SHRINK_RUNS: usize = 150;
/// Differences that are made smaller.
const SHRUNK: usize = 10;
/// Go's maps have no order: where two keys become one, or none of them can be a key, Helm answers by chance.
const ASKED_AGAIN: usize = 20;

/// What of a document is printed.
const PROBE: &str = "{{- define \"kinds\" -}}\n{{- if kindIs \"map\" . -}}{ {{- range $k, $v := . -}}{{ $k }}={{ include \"kinds\" $v }},{{- end -}} }\n\
{{- else if kindIs \"slice\" . -}}[ {{- range . -}}{{ include \"kinds\" . }},{{- end -}} ]\n\
{{- else -}}{{ typeOf . }} {{ . }}{{- end -}}{{- end -}}\n\
{{- define \"probe\" -}}{{ $m := fromYaml . }}{{ $a := fromYamlArray . -}}\n\
{{ toJson $m }}\n{{ toYaml $m }}\n{{ include \"kinds\" $m }}\n{{ toJson $a }}\n{{ toYaml $a }}\n{{ include \"kinds\" $a }}\n\
{{ include \"kinds\" (fromJson .) }}\n{{ fromJsonArray . | toJson }}\n{{- end -}}\n";

/// The ways of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Functions,
    Values,
    Manifest,
}

type Files = Vec<(String, Vec<u8>)>;

/// What a way gave: a text, or the words of a refusal.
type Answer = Result<String, String>;

fn chart(texts: &[(usize, &str)], way: Way) -> Files {
    let mut files = vec![
        ("Chart.yaml".to_owned(), "apiVersion: v2\nname: gen\nversion: 1.2.3\n".to_owned()),
        ("templates/_probe.tpl".to_owned(), PROBE.to_owned()),
    ];
    for (at, text) in texts {
        match way {
            Way::Functions => {
                let call =
                    format!("case: {{{{ include \"probe\" (.Files.Get \"d/{at}.txt\") | b64enc }}}}\n");
                files.push((format!("d/{at}.txt"), (*text).to_owned()));
                files.push((format!("templates/c{at}.yaml"), call));
            }
            Way::Values => {
                let folder = format!("charts/s{at}");
                let meta = format!("apiVersion: v2\nname: s{at}\nversion: 1.2.3\n");
                let call =
                    "case: {{ printf \"%s\\n%s\" (toJson .Values) (include \"kinds\" .Values) | b64enc }}\n";
                files.push((format!("{folder}/Chart.yaml"), meta));
                files.push((format!("{folder}/values.yaml"), (*text).to_owned()));
                files.push((format!("{folder}/templates/c{at}.yaml"), call.to_owned()));
            }
            Way::Manifest => {
                files.push((format!("d/{at}.txt"), (*text).to_owned()));
                files.push((format!("templates/c{at}.yaml"), format!("{{{{ .Files.Get \"d/{at}.txt\" }}}}")));
            }
        }
    }
    files.into_iter().map(|(path, text)| (path, text.into_bytes())).collect()
}

fn decoded(case: &str) -> String {
    let bytes = base64::engine::general_purpose::STANDARD.decode(case).expect("base64, as b64enc writes it");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ours(text: &str, way: Way) -> Answer {
    let rendered = ours::rendered(&chart(&[(0, text)], way), &Value::Null, false)?;
    if way == Way::Manifest {
        let printed = rendered.printed(&render::Shown::default()).map_err(|error| error.to_string())?;
        return Ok(printed.trim_end().to_owned());
    }
    let case = rendered.objects.first().and_then(|object| object.value.get("case")).and_then(Value::as_str);
    Ok(decoded(case.unwrap_or_default()))
}

/// Helm's answers to several documents at once, or its first refusal.
fn helms(texts: &[(usize, &str)], way: Way) -> Result<BTreeMap<usize, String>, String> {
    let folder = tempfile::tempdir().expect("a folder for the chart");
    write(folder.path(), &chart(texts, way));
    let printed = helm::template(["rel".as_ref(), folder.path().as_os_str(), "--namespace=apps".as_ref()])?;
    if let (Way::Manifest, [(at, _)]) = (way, texts) {
        return Ok(BTreeMap::from([(*at, printed.trim_end().to_owned())]));
    }
    let mut out = BTreeMap::new();
    for part in printed.split("---\n# Source: ").skip(1) {
        let (source, rest) = part.split_once(".yaml\n").expect("a source");
        let at = source.rsplit("/c").next().expect("a name").parse().expect("a number");
        let answer = match rest.trim().strip_prefix("case: ") {
            Some(case) if way != Way::Manifest => decoded(case),
            _ => rest.to_owned(),
        };
        out.insert(at, answer);
    }
    Ok(out)
}

fn helm_alone(text: &str, way: Way) -> Answer {
    let mut answers = helms(&[(0, text)], way)?;
    Ok(answers.remove(&0).unwrap_or_default())
}

fn same(ours: &Answer, helm: &Answer) -> bool {
    // Which file of which chart is said in words that the charts' own tests compare.
    let cause = [" json: ", " yaml: ", "unsupported map key", "invalid Yaml document separator"];
    let words = |text: &str| {
        let at = cause.iter().filter_map(|words| text.find(words)).min().unwrap_or(0);
        let text = &text[at..];
        // Of a key that cannot be one Go prints the value too, in the syntax of its sources.
        let key = text.starts_with("unsupported map key").then(|| text.split(", value: ").next()).flatten();
        key.unwrap_or(text).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    // The same where the complaint is what a function answers. Which of several such keys it names, and with which
    // value, is left to the order of Go's maps.
    let complaint = |text: &str| text.split_once("unsupported map key").map(|(before, _)| before.to_owned());
    match (ours, helm) {
        (Ok(ours), Ok(helm)) => {
            ours == helm || complaint(ours).is_some() && complaint(ours) == complaint(helm)
        }
        (Err(ours), Err(helm)) => words(ours) == words(helm),
        _ => false,
    }
}

/// Whether Helm answers differently, whenever it is asked.
fn differs(text: &str, way: Way) -> Option<(Answer, Answer)> {
    let ours = ours(text, way);
    let mut helm = helm_alone(text, way);
    for _ in 0..ASKED_AGAIN {
        if same(&ours, &helm) {
            return None;
        }
        helm = helm_alone(text, way);
    }
    (!same(&ours, &helm)).then_some((ours, helm))
}

/// Smaller texts: without a line, without a piece of one.
fn smaller(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let without = |at: usize, count: usize| [&lines[..at], &lines[at + count..]].concat().concat();
    let mut out = Vec::new();
    for count in [lines.len() / 2, 1] {
        if lines.len() > 1 && count > 0 {
            out.extend((0..=lines.len() - count).map(|at| without(at, count)));
        }
    }
    if lines.len() < 6 {
        let letters: Vec<char> = text.chars().collect();
        for count in [letters.len() / 3, 4, 2, 1] {
            if count > 0 && count < letters.len() {
                let pieces = (0..=letters.len() - count).step_by(count);
                out.extend(pieces.map(|at| letters[..at].iter().chain(&letters[at + count..]).collect()));
            }
        }
    }
    out
}

fn shrunk(text: &str, way: Way, found: (Answer, Answer)) -> String {
    let (mut text, mut found) = (text.to_owned(), found);
    let mut runs = 0;
    'smaller: loop {
        for candidate in smaller(&text) {
            runs += 1;
            if runs > SHRINK_RUNS {
                break 'smaller;
            }
            let kind = (found.0.is_ok(), found.1.is_ok());
            if let Some(next) =
                differs(&candidate, way).filter(|next| (next.0.is_ok(), next.1.is_ok()) == kind)
            {
                (text, found) = (candidate, next);
                continue 'smaller;
            }
        }
        break;
    }
    format!("{way:?}: {text:?}\n    ours: {:?}\n    helm: {:?}\n", found.0, found.1)
}

/// Documents with what we make of them.
fn compare(texts: &[(usize, &str)], way: Way) -> Vec<usize> {
    let ours: BTreeMap<usize, Answer> = texts.iter().map(|(at, text)| (*at, ours(text, way))).collect();
    let (read, refused): (Vec<_>, Vec<_>) = texts.iter().copied().partition(|(at, _)| ours[at].is_ok());
    let mut out = Vec::new();
    for (at, text) in refused.into_iter().step_by(REFUSED_STEP) {
        if !same(&ours[&at], &helm_alone(text, way)) {
            out.push(at);
        }
    }
    if way == Way::Manifest {
        // What a template prints is told apart by hand: each alone, and few of them.
        let few = read.into_iter().step_by(REFUSED_STEP);
        out.extend(few.filter(|(at, text)| !same(&ours[at], &helm_alone(text, way))).map(|(at, _)| at));
        return out;
    }
    let mut pending = vec![read];
    while let Some(batch) = pending.pop() {
        match helms(&batch, way) {
            Ok(answers) => {
                out.extend(
                    batch.iter().map(|(at, _)| *at).filter(|at| ours[at].as_ref().ok() != answers.get(at)),
                );
            }
            Err(_) if batch.len() > 1 => {
                pending.push(batch[..batch.len() / 2].to_vec());
                pending.push(batch[batch.len() / 2..].to_vec());
            }
            Err(_) => out.extend(batch.iter().map(|(at, _)| *at)),
        }
    }
    out
}

/// Reads `count` random documents from a seed; answers what differs, made small.
pub(crate) fn differences(seed: u64, count: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let texts: Vec<String> = (0..count).map(|_| Grammar::document(&mut random)).collect();
    let cases: Vec<(usize, &str)> = texts.iter().map(String::as_str).enumerate().collect();
    let ways = [Way::Functions, Way::Values, Way::Manifest];
    let work: Vec<_> = cases.chunks(BATCH).flat_map(|batch| ways.map(|way| (batch, way))).collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((batch, way)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for at in compare(batch, *way) {
                        if let Some(answers) = differs(&texts[at], *way) {
                            found.lock().expect("no thread panics").push((at, *way, answers));
                        }
                    }
                }
            });
        }
    });
    let found = found.into_inner().expect("no thread panics");
    let mut shown = Vec::new();
    for (number, (at, way, answers)) in found.into_iter().enumerate() {
        shown.push(if number < SHRUNK {
            shrunk(&texts[at], way, answers)
        } else {
            format!("{way:?}: {:?}\n", texts[at])
        });
    }
    shown
}
