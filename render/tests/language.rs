//! The template language, one rule a line: what Go's text/template, sprig and Helm answer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // tests

use render::{
    Capabilities, Chart, Entropy, Input, Limits, Lookup, Release, RenderError, expand_template, render,
};
use serde_json::{Value, json};

fn data() -> Value {
    json!({
        "name": "shop", "count": 3, "ratio": 0.5, "million": 1_000_000, "yes": true, "none": null,
        "list": ["a", "b", "c"], "map": {"x": 1, "y": {"z": "deep"}}, "empty": {},
    })
}

fn expand(text: &str) -> Result<String, RenderError> {
    expand_template("test", text, &data(), &Limits::default()).map(|expanded| expanded.text)
}

#[track_caller]
fn table(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        match expand(text) {
            Ok(got) => assert_eq!(&got, want, "{text}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

#[track_caller]
fn refused(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        let error = expand(text).expect_err(text).to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn text_is_trimmed_where_markers_say_so() {
    table(&[
        ("a {{ 1 }} b", "a 1 b"),
        ("a {{- 1 }} b", "a1 b"),
        ("a {{ 1 -}} b", "a 1b"),
        ("a \n\t{{- 1 -}}\n  b", "a1b"),
        ("a {{/* note */}} b", "a  b"),
        ("a {{- /* note */ -}} b", "ab"),
        ("{{ -1 }}", "-1"),
        ("{{`{{ raw }}`}}", "{{ raw }}"),
        ("{{ \"a\\tb\\u00e9\\x41\" }}", "a\tbéA"),
        ("{{\n  .name |\n  upper\n}}", "SHOP"),
    ]);
}

#[test]
fn values_are_true_unless_empty() {
    table(&[
        ("{{ if 0 }}t{{ else }}f{{ end }}", "f"),
        ("{{ if 0.0 }}t{{ else }}f{{ end }}", "f"),
        ("{{ if \"\" }}t{{ else }}f{{ end }}", "f"),
        ("{{ if .empty }}t{{ else }}f{{ end }}", "f"),
        ("{{ if .none }}t{{ else }}f{{ end }}", "f"),
        ("{{ if list }}t{{ else }}f{{ end }}", "f"),
        ("{{ if \"false\" }}t{{ else }}f{{ end }}", "t"),
        ("{{ if .none }}1{{ else if .yes }}2{{ else }}3{{ end }}", "2"),
        ("{{ and 1 0 2 }}{{ and 1 2 }}{{ or 0 \"x\" }}{{ or 0 \"\" }}{{ not 1 }}", "02xfalse"),
        ("{{ or 1 (fail \"not reached\") }}{{ and 0 (fail \"not reached\") }}", "10"),
    ]);
}

#[test]
fn comparison_is_by_kind() {
    table(&[
        ("{{ eq 1 1 }} {{ eq 1 2 1 }} {{ ne \"a\" \"b\" }}", "true true true"),
        ("{{ lt 1 2 }} {{ le 2 2 }} {{ gt 2.5 1.5 }} {{ ge \"b\" \"a\" }}", "true true true true"),
        ("{{ eq .none nil }} {{ eq (int64 1) 1 }}", "true true"),
    ]);
    refused(&[
        ("{{ eq .count 3 }}", "incompatible types for comparison: float64 and int"),
        ("{{ lt 1 \"a\" }}", "incompatible types for comparison"),
        ("{{ lt true false }}", "invalid type for comparison"),
        ("{{ eq 1 }}", "missing argument for comparison"),
        ("{{ eq .map .map }}", "non-comparable type"),
    ]);
}

#[test]
fn variables_have_scopes_and_can_be_assigned() {
    table(&[
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
        ("{{ $x := .map }}{{ $x.y.z }}", "deep"),
        ("{{ with $y := .name }}{{ $y }}{{ $.count }}{{ end }}", "shop3"),
        ("{{ $n := 0 }}{{ range .list }}{{ $n = add1 $n }}{{ end }}{{ $n }}", "3"),
    ]);
    refused(&[
        ("{{ $x }}", "undefined variable"),
        ("{{ if true }}{{ $x := 1 }}{{ end }}{{ $x }}", "undefined variable"),
    ]);
}

#[test]
fn range_walks_lists_sorted_maps_and_numbers() {
    table(&[
        ("{{ range $i, $e := .list }}{{ $i }}{{ $e }}{{ end }}", "0a1b2c"),
        ("{{ range $e := .list }}{{ $e }}{{ end }}", "abc"),
        ("{{ range $k, $v := dict \"b\" 1 \"a\" 2 }}{{ $k }}{{ $v }}{{ end }}", "a2b1"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range .none }}x{{ else }}nothing{{ end }}", "nothing"),
        ("{{ range list }}x{{ else }}nothing{{ end }}", "nothing"),
        (
            "{{ range until 6 }}{{ if eq . 4 }}{{ break }}{{ end }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ . }}{{ end }}",
            "023",
        ),
    ]);
    refused(&[
        ("{{ range .name }}{{ end }}", "range can't iterate over shop"),
        ("{{ range .count }}{{ end }}", "range can't iterate over 3"),
        ("{{ break }}", "{{break}} outside {{range}}"),
    ]);
}

#[test]
fn templates_are_defined_called_and_included() {
    table(&[
        ("{{ define \"t\" }}[{{ . }}]{{ end }}{{ template \"t\" 1 }}{{ include \"t\" 2 | upper }}", "[1][2]"),
        ("{{ block \"b\" .name }}<{{ . }}>{{ end }}", "<shop>"),
        ("{{ define \"t\" }} {{ end }}{{ define \"t\" }}b{{ end }}{{ template \"t\" }}", "b"),
        ("{{ tpl \"{{ .name }}-{{ include \\\"t\\\" . }}\" . }}{{ define \"t\" }}T{{ end }}", "shop-T"),
        ("{{ tpl \"{{ define \\\"in\\\" }}I{{ end }}{{ template \\\"in\\\" }}\" . }}", "I"),
    ]);
    refused(&[
        ("{{ define \"t\" }}a{{ end }}{{ define \"t\" }}b{{ end }}", "multiple definition of template \"t\""),
        ("{{ template \"no\" }}", "template \"no\" not defined"),
        ("{{ include \"no\" . }}", "no template \"no\""),
        ("{{ tpl \"{{ define \\\"in\\\" }}I{{ end }}\" . }}{{ include \"in\" . }}", "no template \"in\""),
    ]);
}

#[test]
fn numbers_print_as_in_go() {
    table(&[
        ("{{ .million }} {{ int .million }} {{ .ratio }} {{ .count }}", "1e+06 1000000 0.5 3"),
        ("{{ 1000000 }} {{ 1e6 }} {{ 0x1F }} {{ 010 }} {{ 'a' }}", "1000000 1e+06 31 8 97"),
        (
            "{{ printf \"%d %s %v %5.2f|%-4d|%04d|%x|%q\" 1 \"a\" .list 3.14159 7 7 255 \"x\" }}",
            "1 a [a b c]  3.14|7   |0007|ff|\"x\"",
        ),
        (
            "{{ printf \"%d\" .count }} {{ printf \"%s\" 1 }} {{ printf \"%d\" }}",
            "%!d(float64=3) %!s(int=1) %!d(MISSING)",
        ),
        (
            "{{ add 1 2.9 \"3\" }} {{ div 7 2 }} {{ mod -7 3 }} {{ mulf 0.1 3 }} {{ round 2.345 2 }}",
            "6 3 -1 0.3 2.35",
        ),
    ]);
}

#[test]
fn parse_errors_name_what_is_wrong() {
    refused(&[
        ("{{ if }}{{ end }}", "missing value for if"),
        ("{{ .x", "unclosed action"),
        ("{{ (1 }}", "unclosed left paren"),
        ("{{ nosuch 1 }}", "function \"nosuch\" not defined"),
        ("{{ if 1 }}", "unexpected EOF"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ \"a }}", "unterminated quoted string"),
        ("{{ /* x */ }}", "unexpected"),
        ("{{ 1 | 2 }}", "non executable command in pipeline stage 2"),
        ("{{ nil }}", "nil is not a command"),
        ("{{ .name 1 }}", "is not a method but has arguments"),
    ]);
}

#[test]
fn a_key_that_does_not_exist_is_an_error_in_values_templates() {
    refused(&[
        ("{{ .nope }}", "map has no entry for key \"nope\""),
        ("{{ .map.nope.x }}", "map has no entry"),
    ]);
    refused(&[("{{ now }}", "not supported"), ("{{ randAlphaNum 3 }}", "not supported")]);
}

#[test]
fn cluster_objects_are_found_by_identifier() {
    let data = json!({
        "Cluster": {"metadata": {"name": "edge-1", "labels": {"a.b/c": "d"}}},
        "MgmtResources": {"Settings": {"data": {"zone": "z1", "list": ["p", "q"]}}},
    });
    let expand =
        |text: &str| expand_template("values", text, &data, &Limits::default()).map(|expanded| expanded.text);
    assert_eq!(expand("{{ .Cluster.metadata.name }}").unwrap(), "edge-1");
    assert_eq!(expand("{{ index .Cluster.metadata.labels \"a.b/c\" }}").unwrap(), "d");
    assert_eq!(expand("{{ (getResource \"Settings\").data.zone }}").unwrap(), "z1");
    assert_eq!(expand("{{ getField \"Settings\" \"data.list.1\" }}").unwrap(), "q");
    assert_eq!(expand("{{ getField \"Cluster\" \"metadata.name\" }}").unwrap(), "edge-1");
    assert!(expand("{{ getResource \"Other\" }}").unwrap_err().to_string().contains("\"Other\""));
    assert!(expand("{{ getField \"Settings\" \"data.x\" }}").unwrap_err().to_string().contains("data.x"));
}

struct Counting(u8);

impl Entropy for Counting {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count)
            .map(|_| {
                self.0 = self.0.wrapping_add(7);
                self.0
            })
            .collect()
    }

    fn now_unix_seconds(&mut self) -> i64 {
        1_700_000_000
    }
}

struct OneSecret;

impl Lookup for OneSecret {
    fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        match (api_version, kind, namespace, name) {
            ("v1", "Secret", "apps", "old") => json!({"data": {"password": "a2VwdA=="}}),
            _ => json!({}),
        }
    }
}

fn chart(template: &[u8]) -> Chart {
    let file = |path: &str, text: &[u8]| (path.to_owned(), text.to_vec());
    Chart::from_files([
        file("Chart.yaml", b"name: one\nversion: 0.1.0\n"),
        file("templates/_h.tpl", b"{{- define \"deep\" }}{{ fail \"no\" }}{{ end }}"),
        file("templates/cm.yaml", template),
    ])
    .unwrap()
}

fn run(template: impl AsRef<[u8]>, limits: &Limits) -> Result<render::Rendered, RenderError> {
    let chart = chart(template.as_ref());
    let release =
        Release { name: "rel", namespace: "apps", revision: 2, is_install: false, is_upgrade: true };
    let capabilities = Capabilities::default();
    let input = Input {
        chart: &chart,
        release,
        values: &Value::Null,
        integers: false,
        capabilities: &capabilities,
        limits,
        skip_crds: true,
        skip_schema_validation: false,
    };
    render(&input, &mut Counting(1), &OneSecret)
}

#[test]
fn bytes_that_are_no_utf_8_are_refused_where_they_come_out_as_yaml() {
    let limits = Limits::default();
    let refused = |template: &[u8]| run(template, &limits).unwrap_err().to_string();
    let cause = |octet: &str| {
        format!("YAML parse error on one/templates/cm.yaml: error converting YAML to JSON: yaml: {octet}")
    };
    assert_eq!(refused(b"a: 1 # caf\xe9 au lait"), cause("invalid trailing UTF-8 octet"));
    assert_eq!(refused(b"a: {{ b64dec \"/w==\" }}"), cause("invalid leading UTF-8 octet"));
    assert!(run(b"a: 1{{/* caf\xe9 */}}", &limits).is_ok());
}

#[test]
fn a_render_says_what_it_asked_for() {
    let limits = Limits::default();
    let flags = |template: &str| {
        let out = run(template, &limits).unwrap();
        (out.used_entropy, out.used_clock, out.used_lookup)
    };
    assert_eq!(flags("a: 1"), (false, false, false));
    assert_eq!(flags("a: {{ randAlphaNum 8 | quote }}"), (true, false, false));
    assert_eq!(flags("a: {{ uuidv4 }}"), (true, false, false));
    assert_eq!(flags("a: {{ now | date \"2006\" }}"), (false, true, false));
    assert_eq!(flags("a: {{ (genCA \"ca\" 1).Cert | b64enc }}"), (true, true, false));
    assert_eq!(
        flags("a: {{ (lookup \"v1\" \"Secret\" \"apps\" \"old\").data.password }}"),
        (false, false, true)
    );
}

#[test]
fn lookups_and_entropy_reach_the_template() {
    let out = run("old: {{ (lookup \"v1\" \"Secret\" \"apps\" \"old\").data.password | b64dec }}\nid: {{ uuidv4 }}\nyear: {{ now | date \"2006\" | quote }}\nupgrade: {{ .Release.IsUpgrade }}\nrevision: {{ .Release.Revision }}", &Limits::default()).unwrap();
    let value = &out.objects[0].value;
    assert_eq!(value["old"], "kept");
    assert_eq!(value["id"], "080f161d-242b-4239-8047-4e555c636a71");
    assert_eq!(value["year"], "2023");
    assert_eq!(value["upgrade"], true);
    assert_eq!(value["revision"], 2);
}

#[test]
fn certificates_are_signed_by_their_authority() {
    let out = run(
        "{{- $ca := genCA \"my-ca\" 365 }}{{ $cert := genSignedCert \"svc\" (list \"10.0.0.1\") (list \"svc.apps\") 30 $ca }}ca: {{ $ca.Cert | b64enc }}\nkey: {{ $ca.Key | b64enc }}\ncert: {{ $cert.Cert | b64enc }}\nown: {{ (genSelfSignedCert \"x\" nil nil 1).Key | b64enc }}\nec: {{ genPrivateKey \"ecdsa\" | b64enc }}\ned: {{ genPrivateKey \"ed25519\" | b64enc }}\nrebuilt: {{ (buildCustomCert ($ca.Cert | b64enc) ($ca.Key | b64enc)).Cert | eq $ca.Cert }}",
        &Limits::default(),
    )
    .unwrap();
    let value = &out.objects[0].value;
    let begins = |key: &str| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.decode(value[key].as_str().unwrap()).unwrap();
        String::from_utf8(text).unwrap().lines().next().unwrap().to_owned()
    };
    assert_eq!(begins("ca"), "-----BEGIN CERTIFICATE-----");
    assert_eq!(begins("cert"), "-----BEGIN CERTIFICATE-----");
    assert_eq!(begins("key"), "-----BEGIN RSA PRIVATE KEY-----");
    assert_eq!(begins("own"), "-----BEGIN RSA PRIVATE KEY-----");
    assert_eq!(begins("ec"), "-----BEGIN EC PRIVATE KEY-----");
    assert_eq!(begins("ed"), "-----BEGIN PRIVATE KEY-----");
    assert_eq!(value["rebuilt"], true);
}

#[test]
fn errors_name_chart_file_line_column_and_function() {
    let error = run("a: 1\nb: {{ trunc \"x\" 1 }}\n", &Limits::default()).unwrap_err();
    assert_eq!(error.position().map(|position| (position.line, position.column)), Some((2, 12)));
    let error = run("a: 1\nb: {{ semverCompare \"!!\" \"1\" }}\n", &Limits::default()).unwrap_err();
    let position = error.position().unwrap();
    assert_eq!((position.chart.as_str(), position.file.as_str()), ("one", "one/templates/cm.yaml"));
    assert_eq!((position.line, position.column), (2, 6));
    let RenderError::Execute { function, .. } = &error else { panic!("{error:?}") };
    assert_eq!(function.as_deref(), Some("semverCompare"));

    let error = run("a: 1\nb: {{ include \"deep\" . }}\n", &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "execution error at (one/templates/cm.yaml:2:6): no");
    assert_eq!(error.position().unwrap().file, "one/templates/_h.tpl");

    let error = run("a: {{ genPrivateKey \"dsa\" }}\n", &Limits::default()).unwrap_err();
    assert_eq!(error.unsupported_function(), Some("genPrivateKey \"dsa\""));
    assert_eq!(error.position().unwrap().line, 1);

    let error = run("a: {{ nosuch }}\n", &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parse error at (one/templates/cm.yaml:1): function \"nosuch\" not defined"
    );
}

#[test]
fn every_bound_holds() {
    let limited = |template: &str, limits: Limits| match run(template, &limits).unwrap_err() {
        RenderError::Limit { limit, .. } => limit,
        other => panic!("{template}: {other}"),
    };
    let steps = Limits { steps: 10_000, ..Limits::default() };
    assert_eq!(
        limited("{{ range until 1000 }}{{ range until 1000 }}x{{ end }}{{ end }}", steps.clone()),
        "steps"
    );
    assert_eq!(limited("{{ until 1000000000 }}", steps.clone()), "steps");
    assert_eq!(limited("{{ range 1000000000000 }}{{ end }}", steps), "steps");
    let output = Limits { output_bytes: 100_000, ..Limits::default() };
    assert_eq!(limited("{{ repeat 1000000000 \"x\" }}", output.clone()), "output_bytes");
    assert_eq!(limited("{{ indent 1000000000 \"x\" }}", output.clone()), "output_bytes");
    assert_eq!(
        limited(
            "{{ $x := \"xx\" }}{{ range until 60 }}{{ $x = printf \"%s%s\" $x $x }}{{ end }}",
            output.clone()
        ),
        "output_bytes"
    );
    assert_eq!(
        limited("{{ $x := list 1 2 }}{{ range until 60 }}{{ $x = concat $x $x }}{{ end }}", output.clone()),
        "output_bytes"
    );
    assert_eq!(limited("{{ randAlphaNum 1000000000 }}", output), "output_bytes");
    let calls = Limits { call_depth: 50, ..Limits::default() };
    assert_eq!(
        limited("{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}", calls.clone()),
        "call_depth"
    );
    assert_eq!(
        limited(
            "{{ define \"s\" }}{{ tpl \"{{ include \\\"s\\\" . }}\" . }}{{ end }}{{ include \"s\" . }}",
            calls
        ),
        "call_depth"
    );
}

#[test]
fn deep_recursion_ends_in_an_error_and_not_in_an_overflow() {
    let error =
        run("{{ define \"r\" }}{{ include \"r\" . }}{{ end }}{{ include \"r\" . }}", &Limits::default())
            .unwrap_err();
    assert!(matches!(error, RenderError::Limit { limit: "call_depth", .. }), "{error}");
    let nested = format!("{}1{}", "{{ if (".repeat(400), "x");
    assert!(run(&nested, &Limits::default()).is_err());
    let parens = format!("{{{{ {}1{} }}}}", "(".repeat(2000), ")".repeat(2000));
    assert!(run(&parens, &Limits::default()).unwrap_err().to_string().contains("nests deeper"));
    let yaml = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(matches!(run(&yaml, &Limits::default()), Err(RenderError::Manifest { .. })));
    let cycle = "{{- $d := dict }}{{ $_ := set $d \"self\" $d }}a: {{ toJson $d | quote }}\nb: {{ toYaml $d | quote }}";
    assert_eq!(run(cycle, &Limits::default()).unwrap().objects[0].value["a"], "");
    assert!(
        run("{{- $d := dict }}{{ $_ := set $d \"self\" $d }}{{ deepCopy $d }}", &Limits::default()).is_err()
    );
}

#[test]
fn errors_stand_at_what_was_visited_last() {
    refused(&[
        // The second argument of the `or` was never looked at.
        ("{{ ternary 1 2 (or .name .count) }}", "test:1:19"),
        ("{{ ternary 1 2 (or .none .name) }}", "test:1:25"),
        ("{{ (.name).size }}", "can't evaluate field size in type string"),
        ("{{ ((.map).x).size }}", "can't evaluate field size in type"),
    ]);
}

#[test]
fn functions_that_ask_for_the_type_of_nothing_fail_as_go_does() {
    let nil = "runtime error: invalid memory address or nil pointer dereference";
    refused(&[
        ("{{ concat (list 1) .none }}", nil),
        ("{{ slice .none 0 1 }}", nil),
        ("{{ append .none 1 }}", nil),
        ("{{ urlJoin (dict \"host\" .none) }}", nil),
    ]);
}

/// What a chart's template gives, as text.
#[track_caller]
fn charted(rows: &[(&str, &str)]) {
    for (text, want) in rows {
        let rendered = run(format!("a: {{{{ {text} | toJson }}}}"), &Limits::default()).expect(text);
        assert_eq!(rendered.objects[0].value["a"], *want, "{text}");
    }
}

#[test]
fn toml_has_lists_times_and_values_without_a_table() {
    charted(&[
        ("toToml (list 1 \"a\" (dict \"b\" nil))", "[1, \"a\", {}]"),
        ("toToml (list (dict \"a\" 1))", "toml: top-level values must be Go maps or structs"),
        ("toToml (toDate \"2006-01-02\" \"2024-02-29\")", "2024-02-29T00:00:00Z"),
        ("toToml (semver \"1.2.3\")", "\"1.2.3\""),
        ("fromToml \"a = 1979-05-27T07:32:00.5-07:00\" | toToml", "a = 1979-05-27T07:32:00.5-07:00\n"),
        ("fromToml \"a = [1979-05-27, 07:32:00]\" | toToml", "a = [1979-05-27, 07:32:00]\n"),
        ("(fromToml \"a = 1979-05-27\").a | toString", "1979-05-27 00:00:00 +0000 date-local"),
        ("(fromToml \"a = 07:32:00\").a.Year | toString", "0"),
    ]);
}

#[test]
fn bytes_that_are_no_letters_pass_through_what_does_not_look_at_them() {
    charted(&[
        ("\"\\xff\" | squote | b64enc", "J/8n"),
        ("\"\\xff<\" | html | b64enc", "/yZsdDs="),
        ("\"\\xff\" | urlquery", "%FF"),
        ("\" \\xff \" | trim | b64enc", "/w=="),
        ("cat \"\\xff\" 1 | b64enc", "/yAx"),
    ]);
}

#[test]
fn values_that_print_otherwise_inside_go() {
    charted(&[
        // Its fields are hidden from what copies them.
        ("deepCopy (semver \"1.2.3\") | toString", "0.0.0"),
        ("dict \"a\" \"x\\u2028y\\nz\" | toYaml", "a: |-\n  x\u{2028}  y\n  z"),
        ("list \"x\\u2028y\" | toYaml", "- 'x\u{2028}  y'"),
        ("dict \"x\\u2028y\" 1 | toYaml", "? 'x\u{2028}  y'\n: 1"),
    ]);
}

#[test]
fn toml_is_taken_and_refused_as_helms_library_does() {
    let rows = [
        ("a={}\n[a.b]\nc = 1", r#"{"a":{"b":{"c":1}}}"#),
        ("[d]\ne.f = 1\n[d.e]", r#"{"d":{"e":{"f":1}}}"#),
        ("[[a]]\n[a.b]\nc = [{d = 1}, 2]", r#"{"a":[{"b":{"c":[{"d":1},2]}}]}"#),
        ("a = \"\"\"\nb\\\n  c\"\"\"\"", r#"{"a":"bc\""}"#),
        ("a = 1\na = 2", r#"{"Error":"toml: line 2 (last key \"a\"): Key 'a' has already been defined."}"#),
        ("t = 07:32:60", r#"{"Error":"toml: line 1 (last key \"t\"): invalid datetime: \"07:32:60\""}"#),
        (
            "[x]\na = 0x",
            r#"{"Error":"toml: line 2 (last key \"x.a\"): not a hexadecimal number: '0x\u0000'"}"#,
        ),
        ("a", r#"{"Error":"toml: line 1: unexpected EOF; expected key separator '='"}"#),
        (
            "a = [1\n",
            r#"{"Error":"toml: line 1 (last key \"a\"): expected a comma (',') or array terminator (']'), but got end of file"}"#,
        ),
    ];
    for (document, want) in rows {
        charted(&[(&format!("fromToml {document:?} | toJson"), want)]);
    }
    // A bound of our own.
    let deep = "(fromToml (printf \"a = %s\" (repeat 300 \"[\"))).Error";
    charted(&[(deep, "toml: line 1 (last key \"a\"): tables and arrays nest deeper than 250")]);
}
