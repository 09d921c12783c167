//! Random TOML, good and bad, read and written again by us and by the real Helm: what `fromToml` answers to bad TOML
//! stands in a chart's output like everything else.

use render::Shown;
use serde_json::Value;

use crate::generator::{Random, write};
use crate::{helm, ours};

/// Documents that one `helm template` reads.
const BATCH: usize = 200;
/// Runs of Helm that one difference may cost while it is made smaller.
const SHRINK_RUNS: usize = 80;
/// Differences that are made smaller.
const SHRUNK: usize = 10;

const KEYS: [&str; 14] = [
    "a",
    "b",
    "c",
    "a.b",
    "a.c",
    "b.a",
    "a.b.c",
    "\"\"",
    "'x y'",
    "\"q\\\"\"",
    "1",
    "-_",
    "a . b",
    "\"é\\u00e9\"",
];

const VALUES: [&str; 110] = [
    "1",
    "0",
    "-0",
    "+7",
    "007",
    "-01",
    "1_000",
    "1__0",
    "_1",
    "1_",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "0x1F",
    "0XF",
    "0o17",
    "0o8",
    "0b101",
    "0b2",
    "0x",
    "+0x1",
    "0x_1",
    "0xf_f",
    "0xg",
    "1.5",
    "1.",
    ".5",
    "1.e2",
    "1e3",
    "1E+3",
    "1e",
    "1e+",
    "1e400",
    "-1.5e-3",
    "1.5.2",
    "00.5",
    "1_0.0_1",
    "1e5e5",
    "6.6e-1_0",
    "inf",
    "-inf",
    "+nan",
    "-nan",
    "nan",
    "ian",
    "nnf",
    "in",
    "innf",
    "+in",
    "-x",
    "+",
    "-.5",
    "true",
    "false",
    "True",
    "tru",
    "trueish",
    "foo",
    "é",
    "''",
    "'lit\\n'",
    "\"\"",
    "\"b\\tc\\e\\x41\"",
    "\"\\u00e9\\U0001F600\"",
    "\"\\ud800\"",
    "\"\\u12\"",
    "\"\\q\"",
    "\"\\ a\"",
    "\"open",
    "'open",
    "\"\"\"\nml\\\n   on \"\" \\\\ \"\"\"",
    "\"\"\"x\"\"\"\"\"",
    "\"\"\"x\"\"\"\"\"\"",
    "'''\r\nl\n''x'''",
    "'''x''''''",
    "\"\"\"a\\ b\"\"\"",
    "\"\"\"open",
    "\"\"\"\\\"\"\"\"\"\"",
    "1979-05-27T07:32:00Z",
    "1979-05-27t07:32:00.123456789z",
    "1979-05-27 07:32:00-07:00",
    "1979-05-27T07:32:00+00:00",
    "1979-05-27T07:32:00",
    "1979-05-27T07:32",
    "1979-05-27",
    "07:32:00",
    "07:32",
    "7:32:00",
    "07:32:60",
    "25:00:00",
    "1979-02-30",
    "2000-02-29 ",
    "1979-05-27 07",
    "0000-01-01",
    "1979-5-27",
    "07:32:00.5",
    "1979-05-27T24:00:00Z",
    "[]",
    "[1, 'x', [2.5]]",
    "[1,\n # c\n 2,\n]",
    "[,]",
    "[1 2]",
    "[1,,2]",
    "[{a = 1}, {b = 2}]",
    "{}",
    "{a = 1, b.c = 2}",
    "{a = 1,}",
    "{a = {x = 1}, a.b = 2}",
    "{a = 1 b = 2}",
    "{a = [{b = 1}], a.c = 2}",
];

/// What may stand anywhere, to make good TOML bad.
const SPECKS: [&str; 26] = [
    " ", "\n", "\r\n", "\r", "\t", "#", "[", "]", "{", "}", "\"", "'", "=", ".", ",", "\\", "\u{7f}",
    "\u{1}", "é", "0", "_", "e", "x", "-", ":", "\u{feff}",
];

fn entry(random: &mut Random) -> String {
    let key = random.pick(&KEYS);
    // Half of the values are plain ones: a document ends at its first mistake.
    let value = if random.chance(50) { "1" } else { *random.pick(&VALUES) };
    match random.below(8) {
        0 => format!("{key}={{{}={value}}}", random.pick(&KEYS)),
        1 => format!("{key} = [{value}, {{{} = 1}}]", random.pick(&KEYS)),
        _ => format!("{key} = {value}"),
    }
}

fn document(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..=random.below(6) {
        let key = random.pick(&KEYS);
        text += &match random.below(10) {
            0 | 1 => format!("[{key}]"),
            2 => format!("[[{key}]]"),
            3 => format!("[ {key} ] # c"),
            _ => entry(random),
        };
        text += if random.chance(95) { "\n" } else { " " };
    }
    if random.chance(30) {
        let places: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        let at = *random.pick(&places);
        match random.below(3) {
            0 => text.truncate(at),
            _ => text.insert_str(at, random.pick::<&str>(&SPECKS)),
        }
    }
    let mut bytes = text.into_bytes();
    if random.chance(3) {
        bytes.insert(random.below(bytes.len()), *random.pick(&[0xff, 0xc3, 0, 0xe2]));
    }
    bytes
}

fn chart(documents: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let count = documents.len();
    let template = format!(
        "{{{{ range until {count} }}}}\nc{{{{ . }}}}: {{{{ $m := printf \"d/%d\" . | $.Files.Get | fromToml }}}}\
         {{{{- printf \"%#v|%v|%s\" $m $m (toToml $m) | b64enc }}}}\n{{{{- end }}}}\n"
    );
    let mut files = vec![
        ("Chart.yaml".to_owned(), b"apiVersion: v2\nname: gen\nversion: 1.2.3\n".to_vec()),
        ("templates/all.yaml".to_owned(), template.into_bytes()),
    ];
    files.extend(documents.iter().enumerate().map(|(at, text)| (format!("d/{at}"), text.clone())));
    files
}

/// What is answered to each document; `None` where the chart is refused, or an answer is missing.
fn answers(printed: &str, count: usize) -> Vec<Option<String>> {
    let of = |at: usize| {
        let line = printed.lines().find_map(|line| line.strip_prefix(&format!("c{at}: ")))?;
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(line.trim()).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    (0..count).map(of).collect()
}

fn both(documents: &[Vec<u8>]) -> Vec<(Option<String>, Option<String>)> {
    let files = chart(documents);
    let ours = ours::rendered(&files, &Value::Null, false)
        .and_then(|rendered| rendered.printed(&Shown::default()).map_err(|error| error.to_string()));
    let folder = tempfile::tempdir().expect("a folder for the chart");
    write(folder.path(), &files);
    let helm = helm::template(["rel".as_ref(), folder.path().as_os_str(), "--namespace=apps".as_ref()]);
    let answers = |printed: Result<String, String>| match printed {
        Ok(printed) => answers(&printed, documents.len()),
        Err(error) => vec![Some(format!("refused: {error}")); documents.len()],
    };
    answers(ours).into_iter().zip(answers(helm)).collect()
}

/// A smaller document on which the two differ.
fn shrunk(document: &[u8]) -> Vec<u8> {
    let (mut best, mut runs, mut size) = (document.to_vec(), 0, document.len().div_ceil(2));
    while size > 0 {
        let mut at = 0;
        while at < best.len() && runs < SHRINK_RUNS {
            let end = (at + size).min(best.len());
            let without = [&best[..at], &best[end..]].concat();
            runs += 1;
            let [(ours, helm)] = &both(std::slice::from_ref(&without))[..] else { break };
            if ours == helm {
                at += size;
            } else {
                best = without;
            }
        }
        size /= 2;
    }
    best
}

/// Compares `count` documents from a seed; answers what differs, the first ones made small.
pub(crate) fn differences(seed: u64, count: usize) -> Vec<String> {
    let mut random = Random::new(seed);
    let documents: Vec<Vec<u8>> = (0..count).map(|_| document(&mut random)).collect();
    let mut found = Vec::new();
    for batch in documents.chunks(BATCH) {
        for (document, (ours, helm)) in batch.iter().zip(both(batch)) {
            if ours == helm && ours.is_some() {
                continue;
            }
            let (small, (ours, helm)) = if found.len() < SHRUNK {
                let small = shrunk(document);
                let answers = both(std::slice::from_ref(&small)).remove(0);
                (small, answers)
            } else {
                (document.clone(), (ours, helm))
            };
            let text = String::from_utf8_lossy(&small);
            found.push(format!("{text:?}\n    ours: {ours:?}\n    helm: {helm:?}"));
        }
    }
    found
}
