//! Random templates over Helm's functions, rendered by us and by the real Helm.
//!
//! Each case is a template of its own in one chart, so that a single `helm template` answers for hundreds. What is
//! expected to be refused is asked one by one: Helm stops at its first error.

mod grammar;
mod program;
mod random;
mod vocabulary;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::helm;
use crate::ours;
use grammar::Grammar;
use program::Program;
pub(crate) use random::Random;

/// Cases that one `helm template` renders.
const BATCH: usize = 250;
/// Of what we refuse, one in so many is asked of Helm: each costs a process.
const REFUSED_STEP: usize = 5;
/// Runs of Helm that one difference may cost while it is made smaller.
const SHRINK_RUNS: usize = 60;

/// Differences of a run that are made smaller.
const SHRUNK: usize = 8;

/// What a case gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Text(String),
    Refused(String),
}

/// A case on which the two differ.
pub(crate) struct Difference {
    pub template: String,
    pub ours: Outcome,
    pub helm: Outcome,
}

impl Difference {
    fn plain(program: &Program, ours: &Outcome, helm: Outcome) -> Self {
        Self { template: program.text("c0"), ours: ours.clone(), helm }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |outcome: &Outcome| match outcome {
            // The call around every case says nothing.
            Outcome::Refused(text) => Outcome::Refused(
                text.rsplit("error calling include:").next().unwrap_or_default().trim().to_owned(),
            ),
            Outcome::Text(text) => Outcome::Text(text.clone()),
        };
        writeln!(
            f,
            "template: {}\n    ours: {:?}\n    helm: {:?}",
            self.template,
            shown(&self.ours),
            shown(&self.helm)
        )
    }
}

/// Renders `count` random templates from a seed; answers what differs, made small.
pub(crate) fn differences(seed: u64, count: usize) -> Vec<Difference> {
    let mut random = Random::new(seed);
    let programs: Vec<Program> = (0..count).map(|_| Grammar::program(&mut random)).collect();
    let batches: Vec<&[Program]> = programs.chunks(BATCH).collect();
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let shrunk = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let differing = compare(batch, &shrunk);
                    found.lock().expect("no thread panics").extend(differing);
                }
            });
        }
    });
    found.into_inner().expect("no thread panics")
}

fn compare(batch: &[Program], made_smaller: &AtomicUsize) -> Vec<Difference> {
    let texts: Vec<String> = batch.iter().enumerate().map(|(at, one)| case(one, at)).collect();
    let ours: Vec<Outcome> = texts.iter().enumerate().map(|(at, text)| our_outcome(at, text)).collect();
    let fits = |at: &usize| matches!(ours[*at], Outcome::Text(_));
    let bounded = |at: &usize| matches!(&ours[*at], Outcome::Refused(text) if ours::is_bound(text));
    let (rendered, refused): (Vec<usize>, Vec<usize>) =
        (0..texts.len()).filter(|at| !bounded(at)).partition(fits);
    assert!(rendered.len() + refused.len() > texts.len() / 2, "most of what is written must be in bounds");
    let mut answers = together(&texts, rendered);
    for at in refused.into_iter().step_by(REFUSED_STEP) {
        answers.extend(together(&texts, vec![at]));
    }
    let mut out = Vec::new();
    for (at, helm) in answers {
        if same(&ours[at], &helm) {
            continue;
        }
        // Templates of one chart share what they change (`set $.Chart.Annotations`): alone it must differ too.
        let alone = together(&texts, vec![at]).pop().expect("one answer").1;
        if same(&ours[at], &alone) {
            continue;
        }
        out.push(if made_smaller.fetch_add(1, Ordering::Relaxed) < SHRUNK {
            shrunk(&batch[at])
        } else {
            Difference::plain(&batch[at], &ours[at], helm)
        });
    }
    out
}

/// Asks Helm for several cases at once; what it refuses is taken out until the rest renders.
fn together(texts: &[String], mut wanted: Vec<usize>) -> Vec<(usize, Outcome)> {
    let mut out = Vec::new();
    while !wanted.is_empty() {
        let cases: Vec<(usize, &str)> = wanted.iter().map(|at| (*at, texts[*at].as_str())).collect();
        match helm_outcomes(&cases) {
            Ok(outcomes) => {
                out.extend(outcomes);
                break;
            }
            Err(error) => {
                let blamed = wanted.iter().position(|at| error.contains(&format!("templates/c{at}.yaml")));
                match blamed {
                    Some(at) => out.push((wanted.remove(at), Outcome::Refused(error))),
                    None if wanted.len() == 1 => out.push((wanted.remove(0), Outcome::Refused(error))),
                    // Helm itself died of one of them: which?
                    None => out.extend(together(texts, wanted.split_off(wanted.len() / 2))),
                }
            }
        }
    }
    out
}

/// The template file of a case.
fn case(program: &Program, at: usize) -> String {
    let name = format!("c{at}");
    // A copy of the values, so that no case sees what another one set.
    let fields = ["Chart", "Release", "Capabilities", "Template", "Files"];
    let fields: Vec<String> = fields
        .iter()
        .map(|field| match *field {
            "Release" => format!("{field:?} (deepCopy $.{field})"),
            _ => format!("{field:?} $.{field}"),
        })
        .collect();
    let dot = format!("(dict \"Values\" (deepCopy $.Values) {})", fields.join(" "));
    format!("{}\ncase: {{{{ include \"{name}\" {dot} | toJson }}}}\n", program.text(&name))
}

/// The chart around the cases.
fn chart() -> Vec<(String, Vec<u8>)> {
    let files = [
        (
            "Chart.yaml",
            "apiVersion: v2\nname: gen\nversion: 1.2.3\nkeywords: [a, b]\nannotations: {k: v}\n\
             maintainers: [{name: me, email: a@b.c}]\n",
        ),
        ("values.yaml", vocabulary::VALUES),
        ("notes.txt", "one\ntwo\n\nthree"),
        ("conf/a.conf", "a = 1\n"),
        ("conf/sub/b.conf", "b\n  = 2"),
    ];
    files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).to_vec()
}

fn our_outcome(at: usize, text: &str) -> Outcome {
    timed_outcome(at, text).0
}

/// What we answer, and whether the time of day had a part in it.
fn timed_outcome(at: usize, text: &str) -> (Outcome, bool) {
    let mut files = chart();
    files.push((format!("templates/c{at}.yaml"), text.as_bytes().to_vec()));
    match ours::rendered(&files, &Value::Null, false) {
        Ok(rendered) => {
            let object = rendered.objects.first();
            let text = object.and_then(|object| object.value.get("case")).and_then(Value::as_str);
            (Outcome::Text(text.unwrap_or("no object").to_owned()), rendered.used_clock)
        }
        Err(error) => (Outcome::Refused(error), false),
    }
}

fn helm_outcomes(cases: &[(usize, &str)]) -> Result<Vec<(usize, Outcome)>, String> {
    let folder = tempfile::tempdir().expect("a folder for the chart");
    let mut files = chart();
    let templates = cases.iter();
    files.extend(templates.map(|(at, text)| (format!("templates/c{at}.yaml"), text.as_bytes().to_vec())));
    write(folder.path(), &files);
    let arguments = ["rel".as_ref(), folder.path().as_os_str(), "--namespace=apps".as_ref()];
    let printed = helm::template(arguments)?;
    let mut out = Vec::new();
    for part in printed.split("---\n# Source: gen/templates/c").skip(1) {
        let (at, rest) = part.split_once(".yaml\ncase: ").expect("a source and a case");
        let text: String = serde_json::from_str(rest.trim()).expect("JSON, as toJson writes it");
        out.push((at.parse().expect("a number"), Outcome::Text(text)));
    }
    Ok(out)
}

/// Writes files under a folder.
pub(crate) fn write(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (path, data) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("folders can be made");
        std::fs::write(path, data).expect("files can be written");
    }
}

/// Whether two outcomes are the same: texts to the letter, refusals in the same words at the same place.
fn same(ours: &Outcome, helm: &Outcome) -> bool {
    match (ours, helm) {
        // A map that contains itself: Helm dies of it.
        (_, Outcome::Refused(helm)) if died(helm) => true,
        // A byte of a text is a number of a kind that we do not have: Helm refuses it where it wants an int.
        (Outcome::Text(_), Outcome::Refused(helm)) if helm.contains("got uint8") => true,
        (Outcome::Text(ours), Outcome::Text(helm)) => ours == helm || same_but_addresses(ours, helm),
        (Outcome::Refused(ours), Outcome::Refused(helm)) => words(ours) == words(helm),
        // How much room Go leaves behind a list depends on how that was made, and a slice may reach into it.
        (Outcome::Refused(ours), Outcome::Text(_)) if ours.contains("slice index out of bounds") => true,
        (Outcome::Text(_), Outcome::Refused(_)) | (Outcome::Refused(_), Outcome::Text(_)) => false,
    }
}

/// Whether only what is an address with us differs: where Go's values lie in memory, nobody can know.
fn same_but_addresses(ours: &str, helm: &str) -> bool {
    fn words(text: &str) -> Vec<&str> {
        text.split(|letter: char| !letter.is_ascii_alphanumeric()).collect()
    }
    let (ours, helm) = (words(ours), words(helm));
    let address = |word: &str| ["0xc000000000", "c000000000", "C000000000", "824633720832"].contains(&word);
    ours.len() == helm.len() && ours.iter().zip(helm).all(|(ours, helm)| *ours == helm || address(ours))
}

/// Whether Helm ran out of stack, memory or time instead of refusing.
fn died(refusal: &str) -> bool {
    let words =
        ["stack overflow", "exceeds 1000000000-byte limit", "out of memory", "cannot allocate memory"];
    refusal.is_empty() || words.iter().any(|words| refusal.contains(words))
}

/// The words of a refusal. Go names the static type of a value that has no such field, which depends on how it got
/// there (an element of a list is an `interface {}`); that one word is left out. Go has more kinds of integers.
fn words(text: &str) -> Vec<String> {
    let mut text = text.replace("interface {}", "interface{}");
    for kind in ["uint64", "int64", "uint8"] {
        text = text.replace(kind, "int");
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let typed = |at: usize| at > 1 && words[at - 1] == "type" && words[at - 2] == "in";
    let kept = words.iter().enumerate().filter(|(at, _)| !typed(*at));
    kept.map(|(_, word)| (*word).to_owned()).collect()
}

/// The smallest program found that still differs.
fn shrunk(program: &Program) -> Difference {
    let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
    // What tells the time of day is another text a moment later: no program becomes one that does.
    let timed = timed_outcome(0, &case(program, 0)).1;
    let differs = |program: &Program, kind: Option<(bool, bool)>| {
        let text = case(program, 0);
        let (ours, tells_time) = timed_outcome(0, &text);
        if tells_time && !timed {
            return None;
        }
        if matches!(&ours, Outcome::Refused(text) if ours::is_bound(text)) {
            return None;
        }
        let (_, helm) = together(&[text], vec![0]).pop().expect("one answer");
        let differs = !same(&ours, &helm);
        let alike = kind.is_none_or(|kind| kind == (refused(&ours), refused(&helm)));
        (differs && alike).then(|| Difference { template: program.text("c0"), ours, helm })
    };
    let mut program = program.clone();
    let Some(mut best) = differs(&program, None) else {
        let text = case(&program, 0);
        let alone = "differs only beside others".to_owned();
        return Difference {
            template: text,
            ours: Outcome::Refused(alone.clone()),
            helm: Outcome::Refused(alone),
        };
    };
    // A difference of another kind is another difference.
    let kind = (refused(&best.ours), refused(&best.helm));
    let mut runs = 0;
    'smaller: loop {
        for candidate in program.smaller() {
            runs += 1;
            if runs > SHRINK_RUNS {
                break 'smaller;
            }
            if let Some(difference) = differs(&candidate, Some(kind)) {
                (program, best) = (candidate, difference);
                continue 'smaller;
            }
        }
        break;
    }
    best
}
