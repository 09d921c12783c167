//! Values against a schema: what is refused, and in which words.

use super::*;

/// A field of each sort.
fn sorts() -> Schema {
    schema(json!({
        "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 10},
        "even": {"type": "integer", "minimum": 0, "exclusiveMinimum": true, "multipleOf": 2},
        "ratio": {"type": "number", "minimum": 0.5},
        "flag": {"type": "boolean"},
        "mode": {"type": "string", "enum": ["b", "c"]},
        "level": {"type": "integer", "enum": [1, 2]},
        "when": {"type": "string", "format": "date-time"},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string", "maxLength": 1}},
        "map": {"type": "object", "minProperties": 1, "maxProperties": 1,
            "additionalProperties": {"type": "integer"}},
        "port": {"x-kubernetes-int-or-string": true},
        "empty": {"type": "string", "nullable": true},
        "nested": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}
    }))
}

fn refuse<const N: usize>(cases: [(Value, &str); N]) {
    let schema = sorts();
    for (value, expected) in cases {
        assert_eq!(errors(&schema, value.clone()), [expected], "{value}");
    }
}

#[test]
fn strings_and_numbers_of_the_wrong_type_or_size_are_refused_in_the_words_of_kubernetes() {
    refuse([
        (
            json!({"name": 1}),
            r#"spec.name: Invalid value: "integer": spec.name in body must be of type string: "integer""#,
        ),
        (
            json!({"name": "a"}),
            r#"spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long"#,
        ),
        (json!({"name": "abcdef"}), "spec.name: Too long: may not be more than 5 bytes"),
        (
            json!({"name": "AB"}),
            r#"spec.name: Invalid value: "AB": spec.name in body should match '^[a-z]+$'"#,
        ),
        (
            json!({"count": "x"}),
            r#"spec.count: Invalid value: "string": spec.count in body must be of type integer: "string""#,
        ),
        (
            json!({"count": 0}),
            "spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1",
        ),
        (
            json!({"count": 11}),
            "spec.count: Invalid value: 11: spec.count in body should be less than or equal to 10",
        ),
        (
            json!({"count": true}),
            r#"spec.count: Invalid value: "": spec.count in body must be of type int32: """#,
        ),
        (json!({"even": 0}), "spec.even: Invalid value: 0: spec.even in body should be greater than 0"),
        (json!({"even": 3}), "spec.even: Invalid value: 3: spec.even in body should be a multiple of 2"),
        (
            json!({"ratio": 0.1}),
            "spec.ratio: Invalid value: 0.1: spec.ratio in body should be greater than or equal to 0.5",
        ),
    ]);
}

#[test]
fn choices_times_and_collections_that_do_not_fit_are_refused_in_the_words_of_kubernetes() {
    refuse([
        (
            json!({"flag": "true"}),
            r#"spec.flag: Invalid value: "string": spec.flag in body must be of type boolean: "string""#,
        ),
        (json!({"mode": "a"}), r#"spec.mode: Unsupported value: "a": supported values: "b", "c""#),
        (json!({"level": 3}), r#"spec.level: Unsupported value: 3: supported values: "1", "2""#),
        (
            json!({"when": "x"}),
            r#"spec.when: Invalid value: "x": spec.when in body must be of type date-time: "x""#,
        ),
        (
            json!({"when": 1}),
            r#"spec.when: Invalid value: "int64": spec.when in body must be of type date-time: "int64""#,
        ),
        (json!({"list": []}), "spec.list: Invalid value: 0: spec.list in body should have at least 1 items"),
        (json!({"list": ["a", "b", "c"]}), "spec.list: Too many: 3: must have at most 2 items"),
        (json!({"list": ["ab"]}), "spec.list[0]: Too long: may not be more than 1 byte"),
        (
            json!({"map": {}}),
            "spec.map: Invalid value: 0: spec.map in body should have at least 1 properties",
        ),
        (json!({"map": {"a": 1, "b": 2}}), "spec.map: Too many: 2: must have at most 1 item"),
        (
            json!({"map": {"a": "x"}}),
            r#"spec.map.a: Invalid value: "string": spec.map.a in body must be of type integer: "string""#,
        ),
        (
            json!({"port": true}),
            r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#,
        ),
        (json!({"nested": {}}), "spec.nested.a: Required value"),
        (json!(3), r#"spec: Invalid value: "integer": spec in body must be of type object: "integer""#),
    ]);
}

#[test]
fn values_that_fit_are_taken_and_a_number_too_large_for_its_format_is_told_twice() {
    let schema = sorts();
    for good in [
        json!({"name": "abc", "count": 3.0, "even": 2, "ratio": 1, "flag": true, "mode": "b", "level": 1}),
        json!({"when": "2024-01-01T00:00:00Z", "list": ["a"], "map": {"a": 1}, "port": "http", "empty": null}),
        json!({"port": 80, "nested": {"a": ""}, "name": null}),
    ] {
        assert_eq!(errors(&schema, good.clone()), [""; 0], "{good}");
    }
    assert_eq!(
        errors(&schema, json!({"count": 3_000_000_000_u64})),
        [
            r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.count"#,
            "spec.count: Invalid value: 3000000000: spec.count in body should be less than or equal to 10"
        ]
    );
}
