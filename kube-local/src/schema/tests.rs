//! Schemas and objects as a user meets them. The expected texts are those of a kube-apiserver 1.36.

mod values;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn spec(properties: Value) -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}})
}

fn schema(properties: Value) -> Schema {
    Schema::parse(&spec(properties)).unwrap()
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec})
}

/// What a write goes through: the object as it would be stored, and what is wrong with it.
fn admit(schema: &Schema, spec: Value, old: Option<Value>) -> (Value, Vec<String>) {
    let mut new = object(spec);
    schema.prune(&mut new);
    schema.apply_defaults(&mut new);
    let errors = schema.validate(&new, old.map(object).as_ref());
    (new["spec"].clone(), errors.iter().map(FieldError::to_string).collect())
}

fn errors(schema: &Schema, spec: Value) -> Vec<String> {
    admit(schema, spec, None).1
}

#[test]
fn reasons_are_those_of_a_status_cause() {
    let schema =
        schema(json!({"a": {"type": "string", "maxLength": 1}, "l": {"type": "array", "maxItems": 0,
        "items": {"type": "string"}}, "e": {"type": "string", "enum": ["x"]}}));
    let found = schema.validate(&object(json!({"a": "ab", "l": ["x"], "e": "y"})), None);
    let reasons: Vec<_> = found.iter().map(|error| (error.path.as_str(), error.reason())).collect();
    assert_eq!(
        reasons,
        [
            ("spec.a", "FieldValueTooLong"),
            ("spec.e", "FieldValueNotSupported"),
            ("spec.l", "FieldValueTooMany")
        ]
    );
}

#[test]
fn alternatives_are_checked_and_the_closest_one_explains_itself() {
    let ab = json!({"a": {"type": "string"}, "b": {"type": "string"}});
    let schema = schema(json!({
        "one": {"type": "object", "properties": ab, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        "any": {"type": "object", "properties": ab, "anyOf": [{"required": ["a"]},
            {"required": ["b"], "properties": {"b": {"minLength": 3}}}]},
        "all": {"type": "string", "allOf": [{"minLength": 2}, {"pattern": "x"}]},
        "not": {"type": "string", "not": {"pattern": "x"}}
    }));
    for (value, expected) in [
        (
            json!({"one": {}}),
            vec![
                r#"<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none valid"#,
                "spec.one.a: Required value",
            ],
        ),
        (
            json!({"one": {"a": "", "b": ""}}),
            vec![
                r#"<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
            ],
        ),
        (
            json!({"any": {"b": "x"}}),
            vec![
                r#"<nil>: Invalid value: "": "spec.any" must validate at least one schema (anyOf)"#,
                r#"spec.any.b: Invalid value: "x": spec.any.b in body should be at least 3 chars long"#,
            ],
        ),
        (
            json!({"all": "ab"}),
            vec![
                r#"spec.all: Invalid value: "ab": spec.all in body should match 'x'"#,
                r#"<nil>: Invalid value: "": "spec.all" must validate all the schemas (allOf)"#,
            ],
        ),
        (
            json!({"not": "x"}),
            vec![r#"<nil>: Invalid value: "": "spec.not" must not validate the schema (not)"#],
        ),
        (json!({"one": {"a": ""}, "any": {"b": "xyz"}, "all": "xy", "not": "y"}), vec![]),
    ] {
        assert_eq!(errors(&schema, value.clone()), expected, "{value}");
    }
}

#[test]
fn sets_and_keyed_lists_hold_each_item_once() {
    let schema = schema(json!({
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"],
            "items": {"type": "object", "required": ["k"],
                "properties": {"k": {"type": "string"}, "p": {"type": "integer", "default": 1}}}},
        "sets": {"type": "object", "additionalProperties": {"type": "array", "x-kubernetes-list-type": "set",
            "items": {"type": "integer"}}}
    }));
    assert_eq!(
        errors(&schema, json!({"set": ["a", "b", "a", "a"]})),
        [r#"spec.set[2]: Duplicate value: "a""#]
    );
    assert_eq!(
        errors(&schema, json!({"keyed": [{"k": "a"}, {"k": "a", "p": 1}, {"k": "a", "p": 2}]})),
        [r#"spec.keyed[1]: Duplicate value: {"k":"a","p":1}"#]
    );
    assert_eq!(errors(&schema, json!({"sets": {"q": [1, 1]}})), ["spec.sets[q][1]: Duplicate value: 1"]);
}

#[test]
fn defaults_fill_what_is_missing_and_nulls_that_cannot_be_go() {
    let schema = schema(json!({
        "flag": {"type": "boolean", "default": true},
        "nullable": {"type": "string", "nullable": true, "default": "x"},
        "whole": {"type": "object", "default": {"a": {}}, "properties": {
            "a": {"type": "object", "properties": {"b": {"type": "string", "default": "bb"}}},
            "c": {"type": "integer", "default": 3}}},
        "inner": {"type": "object", "properties": {"c": {"type": "integer", "default": 3}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"d": {"type": "string", "default": "d"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object",
            "properties": {"e": {"type": "string", "default": "e"}}}},
        "plain": {"type": "string"}
    }));
    for (given, stored) in [
        (json!({}), json!({"flag": true, "nullable": "x", "whole": {"a": {"b": "bb"}, "c": 3}})),
        (
            json!({"flag": null, "nullable": null, "whole": {"c": 9}, "plain": null, "inner": {}}),
            json!({"flag": true, "nullable": null, "whole": {"c": 9}, "inner": {"c": 3}}),
        ),
        (
            json!({"flag": false, "nullable": "y", "whole": null, "list": [{}, {"d": "q"}], "map": {"k": {}}}),
            json!({"flag": false, "nullable": "y", "whole": {"a": {"b": "bb"}, "c": 3},
                "list": [{"d": "d"}, {"d": "q"}], "map": {"k": {"e": "e"}}}),
        ),
    ] {
        assert_eq!(admit(&schema, given.clone(), None).0, stored, "{given}");
    }
}

#[test]
fn unknown_fields_go_and_are_named_where_the_schema_is_closed() {
    let schema = schema(json!({
        "known": {"type": "object", "properties": {"a": {"type": "string"}}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"closed": {"type": "object", "properties": {"a": {"type": "string"}}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true,
            "properties": {"spec": {"type": "object"}}}
    }));
    let mut new = object(json!({
        "known": {"a": "", "b": {"c": 1}}, "open": {"x": {"y": 1}, "closed": {"a": "", "z": 1}},
        "map": {"k": {"a": "", "q": 1}}, "list": [{"a": ""}, {"b": 1}], "gone": 1,
        "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"q": 1}, "top": 1}
    }));
    new["extra"] = json!(1);
    assert_eq!(
        schema.prune(&mut new),
        [
            "extra",
            "spec.embedded.metadata.odd",
            "spec.embedded.spec.q",
            "spec.embedded.top",
            "spec.gone",
            "spec.known.b",
            "spec.list[1].b",
            "spec.map.k.q",
            "spec.open.closed.z"
        ]
    );
    assert_eq!(
        new,
        object(json!({
            "known": {"a": ""}, "open": {"x": {"y": 1}, "closed": {"a": ""}}, "map": {"k": {"a": ""}},
            "list": [{"a": ""}, {}],
            "embedded": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}}
        }))
    );
}

#[test]
fn rules_run_with_their_messages_paths_and_reasons() {
    let rules = json!([
        {"rule": "!has(self.min) || !has(self.max) || self.min <= self.max"},
        {"rule": "!has(self.max) || self.max < 100", "message": "max too big", "fieldPath": ".max",
         "reason": "FieldValueForbidden"},
        {"rule": "!has(self.text) || size(self.text) < 3",
         "messageExpression": "'text has %d chars'.format([size(self.text)])", "message": "not shown"},
        {"rule": "self.?text.orValue('none') != 'w'", "message": "no w"},
        {"rule": "!has(self.map) || self.map.all(k, k != 'bad' && self.map[k] > 0)", "message": "bad map"},
        {"rule": "!has(self.size) || quantity(self.size).isLessThan(quantity('1Gi'))", "message": "too big"},
        {"rule": "!has(self.when) || self.when < timestamp('2024-01-01T00:00:00Z')", "message": "too late"},
        {"rule": "!has(self.after) || self.after <= duration('1h')", "message": "too long"},
        {"rule": "!has(self.port) || (type(self.port) == int ? self.port < 5 : self.port == 'x')", "message": "port"},
        {"rule": "!has(self.x__dash__y) || self.x__dash__y == 1", "message": "dash"},
        {"rule": "!has(self.ratio) || self.ratio > 1.5", "message": "ratio"},
        {"rule": "self.?text.optMap(t, t.size() > 20).orValue(false) == false", "message": "optMap"},
        {"rule": "cel.bind(t, self.?text.orValue(''), t != 'q' && !t.startsWith('qq'))", "message": "bind"}
    ]);
    let open_api = json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": rules, "properties": {
        "min": {"type": "integer"}, "max": {"type": "integer"}, "text": {"type": "string"},
        "map": {"type": "object", "additionalProperties": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self != 13", "message": "unlucky"}]}},
        "size": {"type": "string"}, "when": {"type": "string", "format": "date-time"},
        "after": {"type": "string", "format": "duration"}, "port": {"x-kubernetes-int-or-string": true},
        "x-y": {"type": "integer"}, "ratio": {"type": "number"},
        "short": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'forbidden'"}]}
    }}}});
    let schema = Schema::parse(&open_api).unwrap();
    for (value, expected) in [
        (
            json!({"min": 2, "max": 1}),
            "spec: Invalid value: failed rule: !has(self.min) || !has(self.max) || self.min <= self.max",
        ),
        (json!({"max": 200}), "spec.max: Forbidden: max too big"),
        (json!({"text": "abcd"}), "spec: Invalid value: text has 4 chars"),
        (json!({"text": "w"}), "spec: Invalid value: no w"),
        (json!({"map": {"bad": 1}}), "spec: Invalid value: bad map"),
        (json!({"map": {"a": 13}}), "spec.map[a]: Invalid value: 13: unlucky"),
        (json!({"size": "2Gi"}), "spec: Invalid value: too big"),
        (
            json!({"size": "zz"}),
            "spec: Invalid value: \"object\": quantities must match the regular expression \
             '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$' evaluating rule: too big",
        ),
        (json!({"when": "2025-01-01T00:00:00Z"}), "spec: Invalid value: too late"),
        (json!({"after": "2h"}), "spec: Invalid value: too long"),
        (json!({"port": 7}), "spec: Invalid value: port"),
        (json!({"port": "y"}), "spec: Invalid value: port"),
        (json!({"x-y": 2}), "spec: Invalid value: dash"),
        (json!({"ratio": 1}), "spec: Invalid value: ratio"),
        (json!({"text": "q"}), "spec: Invalid value: bind"),
        (
            json!({"short": "forbidden"}),
            "spec.short: Invalid value: \"forbidden\": failed rule: self != 'forbidden'",
        ),
    ] {
        assert_eq!(errors(&schema, value.clone()), [expected], "{value}");
    }
    for good in [
        json!({}),
        json!({"min": 1, "max": 2, "text": "ab", "map": {"a": 1}, "size": "1Mi", "after": "30m", "port": 4}),
        json!({"when": "2023-01-01T00:00:00Z", "port": "x", "x-y": 1, "ratio": 2}),
    ] {
        assert_eq!(errors(&schema, good.clone()), [""; 0], "{good}");
    }
    // Rules wait until the object is otherwise sound.
    assert_eq!(
        errors(&schema, json!({"min": "x", "max": 200})),
        [
            r#"spec.min: Invalid value: "string": spec.min in body must be of type integer: "string""#,
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
             correct the existing errors to complete validation"
        ]
    );
}

#[test]
fn rules_about_a_change_see_the_old_value_of_the_same_field() {
    let open_api = json!({"type": "object", "properties": {"spec": {"type": "object",
    "x-kubernetes-validations": [
        {"rule": "has(oldSelf.fixed) == has(self.fixed)", "message": "fixed cannot come or go"},
        {"rule": "!oldSelf.hasValue() || oldSelf.value().?keep.orValue(1) == self.?keep.orValue(1)",
         "optionalOldSelf": true, "message": "keep"}],
    "properties": {
        "fixed": {"type": "string", "x-kubernetes-validations": [
            {"rule": "self == oldSelf", "message": "fixed is immutable"}]},
        "keep": {"type": "integer"}, "other": {"type": "integer"},
        "map": {"type": "object", "additionalProperties": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self >= oldSelf", "message": "only up"}]}},
        "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"},
                "v": {"type": "string"}}, "x-kubernetes-validations": [
                {"rule": "!has(oldSelf.v) || has(self.v)", "message": "v stays"}]}}
    }}}});
    let schema = Schema::parse(&open_api).unwrap();
    for (old, new, expected) in [
        (
            json!({"fixed": "a"}),
            json!({"fixed": "b"}),
            "spec.fixed: Invalid value: \"b\": fixed is immutable",
        ),
        (json!({"fixed": "a"}), json!({}), "spec: Invalid value: fixed cannot come or go"),
        (json!({"map": {"a": 5}}), json!({"map": {"a": 4}}), "spec.map[a]: Invalid value: 4: only up"),
        (
            json!({"list": [{"k": "a", "v": "1"}, {"k": "b"}]}),
            json!({"list": [{"k": "b"}, {"k": "a"}]}),
            "spec.list[1]: Invalid value: v stays",
        ),
        (json!({"keep": 1}), json!({"keep": 2}), "spec: Invalid value: keep"),
        (json!({}), json!({"keep": 2}), "spec: Invalid value: keep"),
        (json!({"fixed": "a"}), json!({"fixed": "a", "other": 1, "map": {"a": 1}}), ""),
    ] {
        let found = admit(&schema, new.clone(), Some(old.clone())).1;
        assert_eq!(found.join(", "), expected, "{old} -> {new}");
    }
    assert_eq!(errors(&schema, json!({"fixed": "a", "keep": 7})), [""; 0], "a create has no old value");
}

#[test]
fn what_an_update_leaves_alone_is_not_held_against_it() {
    let schema = schema(json!({
        "text": {"type": "string", "minLength": 5},
        "pin": {"type": "integer", "x-kubernetes-validations": [{"rule": "self <= 1", "message": "at most 1"}]},
        "list": {"type": "array", "items": {"type": "integer", "minimum": 2}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k", "v"], "properties": {"k": {"type": "string"},
                "v": {"type": "string", "maxLength": 2}}}},
        "other": {"type": "integer"}
    }));
    let old =
        json!({"text": "abc", "pin": 2, "list": [1, 2], "keyed": [{"k": "a"}, {"k": "b", "v": "long"}]});
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        admit(&schema, new, Some(old.clone())).1.join(", ")
    };
    assert_eq!(changed(&|new| new["other"] = json!(1)), "");
    assert!(changed(&|new| new["text"] = json!("abcd")).starts_with("spec.text: Invalid value"));
    assert_eq!(changed(&|new| new["pin"] = json!(3)), "spec.pin: Invalid value: 3: at most 1");
    // The items of an unkeyed list have no old value to be compared with.
    assert!(changed(&|new| new["list"] = json!([1, 3])).starts_with("spec.list[0]: Invalid value: 1"));
    let appended = changed(&|new| new["keyed"] = json!([{"k": "b", "v": "long"}, {"k": "a"}, {"k": "c"}]));
    assert!(appended.starts_with("spec.keyed[2].v: Required value, <nil>"), "{appended}");
}

#[test]
fn schemas_are_refused_for_what_kubernetes_refuses_them() {
    let text = json!({"type": "string"});
    let at = "properties[spec].properties[a]";
    for (field, expected) in [
        (json!({}), format!("{at}.type: Required value: must not be empty for specified object fields")),
        (json!({"type": "array"}), format!("{at}.items: Required value: must be specified")),
        (
            json!({"type": "array", "items": {}}),
            format!("{at}.items.type: Required value: must not be empty for specified array items"),
        ),
        (
            json!({"type": "foo"}),
            format!(
                "{at}.type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \
                 \"number\", \"object\", \"string\""
            ),
        ),
        (json!({"$ref": "#/x"}), format!("{at}.$ref: Forbidden: $ref is not supported")),
        (
            json!({"type": "object", "properties": {"x": text}, "additionalProperties": text}),
            format!(
                "{at}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"
            ),
        ),
        (
            json!({"type": "array", "items": text, "x-kubernetes-list-type": "zzz"}),
            format!(
                "{at}.x-kubernetes-list-type: Unsupported value: \"zzz\": supported values: \"atomic\", \"set\", \
                 \"map\""
            ),
        ),
        (
            json!({"type": "string", "default": 1}),
            format!("{at}.default: Invalid value: \"integer\":  in body must be of type string: \"integer\""),
        ),
        (
            json!({"type": "object", "properties": {"x": text}, "default": {"y": 1}}),
            format!("{at}.default: Invalid value: {{\"y\":1}}: must not have unknown fields"),
        ),
        (
            json!({"type": "object", "properties": {"b": text},
                "x-kubernetes-validations": [{"rule": "has(self.c)"}]}),
            format!(
                "{at}.x-kubernetes-validations[0].rule: Invalid value: {{\"Rule\":\"has(self.c)\",\"Message\":\"\",\
                 \"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}: \
                 compilation failed: ERROR: <input>:1:9: undefined field 'c'\n | has(self.c)\n | ........^"
            ),
        ),
        (
            json!({"type": "object", "properties": {"b": text},
                "x-kubernetes-validations": [{"rule": "has(self.b)", "fieldPath": ".c"}]}),
            format!(
                "{at}.x-kubernetes-validations[0].fieldPath: Invalid value: \".c\": must be a valid path"
            ),
        ),
        (
            json!({"type": "array", "items": {"type": "string", "x-kubernetes-validations":
                [{"rule": "self == oldSelf"}]}}),
            format!(
                "{at}.items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be \
                 used on the uncorrelatable portion of the schema within {at}"
            ),
        ),
    ] {
        let error = Schema::parse(&spec(json!({"a": field}))).unwrap_err();
        assert_eq!(error.to_string(), expected, "{field}");
    }
    let root = Schema::parse(&json!({"type": "array", "items": {"type": "string"}})).unwrap_err();
    assert_eq!(root.to_string(), "type: Invalid value: \"array\": must be object at the root");
    let mut open_api = spec(json!({}));
    open_api["anyOf"] = json!([{"properties": {"y": {"minLength": 1}}}]);
    assert_eq!(
        Schema::parse(&open_api).unwrap_err().to_string(),
        "properties[y]: Required value: because it is defined in anyOf[0].properties[y]"
    );
}

#[test]
fn an_integer_or_a_string_may_be_said_in_three_ways() {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    for field in [
        json!({"x-kubernetes-int-or-string": true}),
        json!({"x-kubernetes-int-or-string": true, "anyOf": either}),
        json!({"x-kubernetes-int-or-string": true, "allOf": [{"anyOf": either}, {"pattern": "^[0-9]+%?$"}]}),
    ] {
        let schema = schema(json!({"a": field}));
        assert_eq!(errors(&schema, json!({"a": 1})), [""; 0], "{field}");
        assert_eq!(errors(&schema, json!({"a": "10%"})), [""; 0], "{field}");
        assert!(!errors(&schema, json!({"a": 1.5})).is_empty(), "{field}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z(:/]{0,6}".prop_map(Value::from),
    ];
    let names = [
        "type",
        "properties",
        "items",
        "additionalProperties",
        "default",
        "enum",
        "pattern",
        "required",
        "spec",
        "a",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-validations",
        "rule",
        "anyOf",
        "not",
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(names.to_vec()), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_schema_is_parsed_or_refused(open_api in any_json()) {
        let _ = Schema::parse(&open_api);
    }

    #[test]
    fn any_object_is_admitted_or_refused(value in any_json(), old in any_json()) {
        let schema = schema(json!({
            "a": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "format": "uri"}},
            "type": {"type": "string", "pattern": "^a", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
            "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["rule"],
                "items": {"type": "object", "required": ["rule"], "properties": {
                    "rule": {"type": "string"}, "default": {"type": "integer", "default": 3}}}},
            "properties": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
        }));
        let (stored, _) = admit(&schema, value, Some(old));
        // What was pruned and defaulted once stays as it is.
        prop_assert_eq!(admit(&schema, stored.clone(), None).0, stored);
    }
}
