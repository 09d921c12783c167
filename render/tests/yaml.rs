//! YAML as Helm's reader takes it: what it accepts, what it refuses and at which line.
#![allow(clippy::unwrap_used)] // tests

use render::parse_values;
use serde_json::{Value, json};

#[test]
fn texts_are_read_as_helm_reads_them() {
    let rows: [(&str, Value); 9] = [
        ("a: \"x\n\ty\"\n", json!({"a": "x y"})),
        ("a: [\n\tb,\n\tc ]", json!({"a": ["b", "c"]})),
        ("a: {\n\tb: c}", json!({"a": {"b": "c"}})),
        ("a: |#c\n  b\n", json!({"a": "b\n"})),
        // A values file ends in a line break, whether it has one or not.
        ("a: |\n  x", json!({"a": "x\n"})),
        ("a: |\n  é\nb: c", json!({"a": "é\n", "b": "c"})),
        ("a: |\n  x\n\n    ", json!({"a": "x\n\n  \n"})),
        ("\u{feff}a: 1\nb: 2\n", json!({"a": 1, "b": 2})),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", json!({"a": {"b": 1}, "c": {"b": 1, "d": 2}})),
    ];
    for (text, want) in rows {
        assert_eq!(parse_values(text).map_err(|error| error.to_string()), Ok(want), "{text:?}");
    }
}

#[test]
fn texts_are_refused_with_helms_words_at_helms_line() {
    let rows = [
        ("a: 1\n\t\nb: 2\n", "yaml: line 2: found a tab character that violates indentation"),
        ("{\"a\": 1,\n x\n y: 2}", "yaml: line 2: did not find expected ',' or '}'"),
        ("a: \"\\ud83d\\ude00\"", "yaml: found invalid Unicode character escape code"),
        ("a: \"é\\/b\"", "yaml: found unknown escape character"),
        ("a: *b\n", "yaml: unknown anchor 'b' referenced"),
        ("a: &x {b: *x}", "yaml: anchor 'x' value contains itself"),
        ("a: {{ .b }}\n", "yaml: invalid map key: map[interface {}]interface {}{\".b\":interface {}(nil)}"),
        ("{a,{0.}}", "yaml: invalid map key: map[interface {}]interface {}{0:interface {}(nil)}"),
        ("{a,{0x10}}", "yaml: invalid map key: map[interface {}]interface {}{16:interface {}(nil)}"),
        ("{a,{yes}}", "yaml: invalid map key: map[interface {}]interface {}{true:interface {}(nil)}"),
        ("{a,{1e21}}", "yaml: invalid map key: map[interface {}]interface {}{1e+21:interface {}(nil)}"),
        ("{a,{1: 2, b: c}}", "yaml: invalid map key: map[interface {}]interface {}{\"b\":\"c\", 1:2}"),
        ("{a,{010: [1]}}", "yaml: invalid map key: map[interface {}]interface {}{8:[]interface {}{1}}"),
        // The whole text is scanned before anything in it is given a meaning.
        ("a: {{ .b }}\nc: [\n", "yaml: line 2: did not find expected node content"),
        ("a: 1\nb: \"x", "yaml: line 3: found unexpected end of stream"),
        ("a: b\nc", "yaml: line 3: could not find expected ':'"),
        ("a:\n    - b\n  - c", "yaml: line 2: did not find expected key"),
    ];
    for (text, want) in rows {
        let refusal = parse_values(text).unwrap_err().to_string();
        assert!(refusal.ends_with(want), "{text:?}: {refusal}");
    }
}

#[test]
fn keys_without_a_total_order_are_written_all_the_same() {
    let mut entries = serde_json::Map::new();
    for first in ["a", "0", "_", "S"] {
        for second in ["1", "a", "-", "00", "Z"] {
            for third in ["", "0", "x", ".", "9z"] {
                entries.insert(format!("{first}{second}{third}"), json!(1));
            }
        }
    }
    let text = render::to_yaml(&Value::Object(entries.clone()));
    assert_eq!(parse_values(&text).unwrap().as_object().unwrap().len(), entries.len());
}

#[test]
fn deep_and_endless_texts_end_in_a_refusal() {
    for text in ["[".repeat(200_000), "{? ".repeat(100_000), format!("{{[a]: 1}}\n{}", "- ".repeat(200_000))]
    {
        assert!(parse_values(&text).is_err());
    }
}
