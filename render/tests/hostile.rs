//! Charts that want to hang, bloat or crash whoever renders them: each ends in an error that says where, or in a result
//! of a reasonable size, and soon.
#![cfg(test)]
#![allow(clippy::unwrap_used, clippy::panic)] // tests

use std::time::{Duration, Instant};

use render::{
    Capabilities, Chart, Entropy, Input, Limits, NoCluster, Release, RenderError, Rendered, render,
};
use serde_json::Value;

/// Longer than any case takes without optimisation on a busy machine.
const SOON: Duration = Duration::from_secs(60);

struct Zeros;

impl Entropy for Zeros {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        vec![7; count]
    }

    fn now_unix_seconds(&mut self) -> i64 {
        0
    }
}

/// Bounds of the usual proportions, small enough for a build without optimisation.
fn limits() -> Limits {
    Limits { steps: 1_000_000, output_bytes: 8 << 20, yaml_nodes: 100_000, ..Limits::default() }
}

fn rendered(template: &str) -> Result<Rendered, RenderError> {
    let files =
        [("Chart.yaml", "apiVersion: v2\nname: bad\nversion: 1.0.0\n"), ("templates/a.yaml", template)];
    let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    let chart = Chart::from_files(files.to_vec()).unwrap();
    let (capabilities, limits) = (Capabilities::default(), limits());
    let release =
        Release { name: "rel", namespace: "apps", revision: 1, is_install: true, is_upgrade: false };
    let input = Input {
        chart: &chart,
        release,
        values: &Value::Null,
        integers: false,
        capabilities: &capabilities,
        limits: &limits,
        skip_crds: false,
        skip_schema_validation: false,
    };
    let begun = Instant::now();
    let result = render(&input, &mut Zeros, &NoCluster);
    assert!(begun.elapsed() < SOON, "{:?} for {template}", begun.elapsed());
    result
}

/// Nests a thing in itself.
fn nested(open: &str, middle: &str, close: &str, count: usize) -> String {
    format!("{}{middle}{}", open.repeat(count), close.repeat(count))
}

#[test]
fn work_without_end_stops_at_a_bound_that_says_where() {
    let templates = [
        "{{ range until 1000 }}{{ range until 1000 }}{{ range until 1000 }}{{ end }}{{ end }}{{ end }}",
        "{{ range 9000000000000000000 }}{{ end }}",
        "{{ range until 100000 }}{{ $x := genPrivateKey \"ed25519\" }}{{ end }}",
        "{{ range until 100000 }}{{ $x := bcrypt \"x\" }}{{ end }}",
        "{{ range until 100000 }}{{ $x := derivePassword 1 \"long\" \"x\" \"y\" \"z\" }}{{ end }}",
        "{{ $x := repeat 1000000 \"x\" }}{{ range until 1000000 }}{{ $y := sha256sum $x }}{{ end }}",
        "{{ $x := repeat 1000000 \"x\" }}{{ range until 1000000 }}{{ $y := regexMatch \"(x+x+)+y\" $x }}{{ end }}",
        "{{ $x := repeat 1000000 \"x\" }}{{ range until 1000000 }}{{ $y := contains \"xy\" $x }}{{ end }}",
        "{{ $d := dict }}{{ range until 20000 }}{{ $_ := set $d (print .) . }}{{ end }}{{ range until 99999 }}{{ $y := deepCopy $d }}{{ end }}",
        "{{ $d := dict }}{{ range until 20000 }}{{ $_ := set $d (print .) . }}{{ end }}{{ range until 99999 }}{{ $y := deepEqual $d (merge $d (dict)) }}{{ end }}",
        "{{ define \"a\" }}{{ include \"b\" . }}{{ end }}{{ define \"b\" }}{{ include \"a\" . }}{{ end }}{{ include \"a\" . }}",
        "{{ define \"a\" }}{{ tpl \"{{ template \\\"a\\\" . }}\" . }}{{ end }}{{ template \"a\" . }}",
        "{{ define \"a\" }}{{ range until 2 }}{{ include \"a\" . }}{{ end }}{{ end }}{{ include \"a\" . }}",
    ];
    for template in templates {
        let error = rendered(&format!("a: 1\nb: {template}\n")).unwrap_err();
        assert!(matches!(error, RenderError::Limit { .. }), "{template}: {error}");
        let position = error.position().unwrap();
        assert_eq!((position.file.as_str(), position.line), ("bad/templates/a.yaml", 2), "{template}");
    }
}

#[test]
fn output_without_end_stops_before_the_memory_is_taken() {
    let templates = [
        "{{ repeat 9000000000000000000 \"x\" }}",
        "{{ printf \"%999999d %999999d\" 1 2 | repeat 1000 }}",
        "{{ $x := \"xx\" }}{{ range until 99 }}{{ $x = cat $x $x }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 99 }}{{ $x = replace \"x\" $x $x }}{{ end }}",
        "{{ $x := \"xx\" }}{{ range until 99 }}{{ $x = regexReplaceAll \"x\" $x $x }}{{ end }}",
        "{{ $x := list 1 }}{{ range until 99 }}{{ $x = concat $x $x }}{{ end }}",
        "{{ $x := list 1 }}{{ range until 99 }}{{ $x = list $x $x }}{{ end }}{{ toJson $x }}",
        "{{ $x := dict }}{{ range until 99 }}{{ $x = dict \"a\" $x \"b\" $x }}{{ end }}{{ toYaml $x }}",
        "{{ randAlphaNum 2000000000 }}",
        "{{ range until 1000000 }}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{{ end }}",
    ];
    for template in templates {
        match rendered(&format!("a: {template}\n")) {
            Err(error) => assert!(error.to_string().contains("bad/templates/a.yaml"), "{template}: {error}"),
            Ok(rendered) => {
                let bytes: usize = rendered.objects.iter().map(|object| object.text.len()).sum();
                assert!(bytes < 8 << 20, "{template}: {bytes} bytes");
            }
        }
    }
}

#[test]
fn maps_that_contain_themselves_end() {
    for function in
        ["toYaml", "toJson", "toToml", "print", "quote", "deepCopy", "len", "toString", "keys", "values"]
    {
        let _ = rendered(&format!(
            "{{{{ $d := dict \"a\" 1 }}}}{{{{ $_ := set $d \"me\" $d }}}}a: {{{{ {function} $d | len }}}}\n"
        ));
    }
    for call in [
        "eq $d $e",
        "deepEqual $d $e",
        "merge $d $e",
        "mergeOverwrite $d $e",
        "has $d (list $e)",
        "printf \"%v %#v\" $d $e",
    ] {
        let two = "{{ $d := dict }}{{ $_ := set $d \"me\" $d }}{{ $e := dict }}{{ $_ := set $e \"me\" $e }}";
        let _ = rendered(&format!("{two}a: {{{{ {call} | toString | len }}}}\n"));
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_an_overflow() {
    let templates = [
        nested("{{ if true }}", "x", "{{ end }}", 100_000),
        format!("{{{{ {} }}}}", nested("(", "1", ")", 100_000)),
        format!("a: {}", nested("[", "1", "]", 100_000)),
        format!("a: {}", nested("{a: ", "1", "}", 100_000)),
        (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
        format!("{{{{ {} }}}}", "\"x\" | quote | ".repeat(2_000) + "len"),
        format!("{{{{ fromJson `{}` }}}}", nested("[", "1", "]", 100_000)),
        format!("{{{{ fromYaml `{}` }}}}", nested("[", "1", "]", 100_000)),
        format!("{{{{ regexMatch `{}` \"x\" }}}}", nested("(", "x", ")", 10_000)),
        "{{ regexFind `((((x{1000}){1000}){1000}){1000})` \"x\" }}".to_owned(),
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e]\ng: [*f, *f, *f, *f, *f, *f, *f, *f]\n".to_owned(),
    ];
    for template in templates {
        let shown: String = template.chars().take(60).collect();
        if let Err(error) = rendered(&template) {
            assert!(error.to_string().contains("bad/templates/a.yaml"), "{shown}: {error}");
        }
    }
}
