//! Arbitrary input never panics and stays within its bounds.
#![allow(clippy::unwrap_used)] // tests

use proptest::prelude::*;
use render::{
    Capabilities, Chart, Entropy, Input, Limits, NoCluster, Release, expand_template, parse_values,
    parse_yaml_documents, render,
};
use serde_json::json;

struct Zeros;

impl Entropy for Zeros {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        vec![0; count]
    }

    fn now_unix_seconds(&mut self) -> i64 {
        0
    }
}

fn small() -> Limits {
    Limits {
        steps: 20_000,
        output_bytes: 1_000_000,
        call_depth: 40,
        nesting_depth: 60,
        yaml_nodes: 20_000,
        ..Limits::default()
    }
}

const WORDS: [&str; 110] = [
    "{{",
    "}}",
    "{{-",
    "-}}",
    " ",
    "\n",
    "if",
    "else",
    "end",
    "range",
    "with",
    "define",
    "template",
    "block",
    "break",
    "continue",
    "include",
    "tpl",
    ".",
    ".a",
    ".b.c",
    ".list",
    "$",
    "$x",
    ":=",
    "=",
    "|",
    "(",
    ")",
    ",",
    "\"t\"",
    "\"%d %s %v\"",
    "`x`",
    "'c'",
    "1",
    "-3",
    "2.5",
    "1e9",
    "true",
    "nil",
    "printf",
    "print",
    "index",
    "len",
    "eq",
    "lt",
    "and",
    "or",
    "not",
    "list",
    "dict",
    "set",
    "get",
    "merge",
    "mergeOverwrite",
    "deepCopy",
    "toYaml",
    "fromYaml",
    "toJson",
    "fromJson",
    "trunc",
    "substr",
    "repeat",
    "indent",
    "nindent",
    "replace",
    "split",
    "splitList",
    "join",
    "until",
    "untilStep",
    "seq",
    "add",
    "div",
    "mod",
    "round",
    "regexReplaceAll",
    "regexSplit",
    "\"[a-z]+(\"",
    "semverCompare",
    "\">=1.2 <3\"",
    "urlParse",
    "urlJoin",
    "b64dec",
    "b32dec",
    "date",
    "dateModify",
    "toDate",
    "duration",
    "durationRound",
    "abbrev",
    "abbrevboth",
    "wrap",
    "wrapWith",
    "camelcase",
    "snakecase",
    "slice",
    "chunk",
    "first",
    "concat",
    "dig",
    "default",
    "ternary",
    "toToml",
    "quote",
    "é😀",
    "/*",
    "*/",
    "decryptAES",
    "\"----\"",
];

fn program() -> impl Strategy<Value = String> {
    let word =
        prop_oneof![4 => prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,4}"];
    prop::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

/// One well-formed call: it reaches the functions where random words seldom do.
fn call() -> impl Strategy<Value = String> {
    let argument = prop::sample::select(vec![
        "1",
        "-1",
        "0",
        "9223372036854775807",
        "2.5",
        "\"\"",
        "\"abc\"",
        "\"a.b.c\"",
        "\"2020-01-02\"",
        "\"é😀x\"",
        "nil",
        ".",
        ".list",
        ".a",
        "(dict \"a\" 1)",
        "(list 1 2 3)",
        "true",
        "\"[\"",
        "\"$1\"",
        "\"%*d%[9]d%\"",
        "\"1.2.x\"",
        "\"http://[::1\"",
        "now",
        "(semver \"1.2.3\")",
        "(b64dec \"/w==\")",
    ]);
    let names: Vec<&str> = WORDS
        .iter()
        .copied()
        .filter(|word| word.len() > 2 && word.chars().all(char::is_alphanumeric))
        .collect();
    let keywords =
        ["else", "end", "range", "with", "define", "template", "block", "break", "continue", "true", "nil"];
    let names: Vec<&str> = names.into_iter().filter(|name| !keywords.contains(name)).collect();
    (prop::sample::select(names), prop::collection::vec(argument, 0..5))
        .prop_map(|(name, arguments)| format!("{{{{ {name} {} }}}}", arguments.join(" ")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_template_or_an_error(text in program()) {
        let data = json!({"a": 1, "b": {"c": "x"}, "list": [1, "b", null]});
        if let Ok(out) = expand_template("t", &text, &data, &small()) {
            prop_assert!(out.text.len() as u64 <= small().output_bytes + text.len() as u64);
        }
    }

    #[test]
    fn any_call_answers_or_is_refused(text in call()) {
        let _ = expand_template("t", &text, &json!({"a": 1, "list": [1, "b", null]}), &small());
    }

    #[test]
    fn any_text_is_yaml_or_an_error(text in "[-a-c:#{}\\[\\],&*!|>'\"%@ \\n\\t0-9.~<?]{0,60}") {
        let _ = parse_values(&text);
        let _ = parse_yaml_documents(&text, &small());
    }

    #[test]
    fn any_bytes_are_an_archive_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Chart::from_archive(&bytes, &small());
    }

    #[test]
    fn any_chart_renders_or_is_refused(template in program(), values in program()) {
        let files = [("Chart.yaml", "name: x\nversion: 1.0.0\n"), ("values.yaml", &values), ("templates/x.yaml", &template)];
        let Ok(chart) = Chart::from_files(files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()))) else {
            return Ok(());
        };
        let (capabilities, limits) = (Capabilities::default(), small());
        let release = Release { name: "r", namespace: "n", revision: 1, is_install: true, is_upgrade: false };
        let input = Input { chart: &chart, release, values: &json!({"b": {"c": 1}}), integers: false, capabilities: &capabilities, limits: &limits, skip_crds: false, skip_schema_validation: false };
        let first = render(&input, &mut Zeros, &NoCluster);
        prop_assert_eq!(first, render(&input, &mut Zeros, &NoCluster));
    }
}
