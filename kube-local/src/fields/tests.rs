//! What applying does, seen from outside. The expected ownership and texts are those of a kube-apiserver 1.36,
//! with which this module was compared over thousands of random writes.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-01T00:01:00Z";

fn applier(name: &str) -> Manager<'_> {
    Manager { name, operation: Operation::Apply, api_version: "x.io/v1", subresource: "", time: EARLY }
}

fn updater(name: &str) -> Manager<'_> {
    Manager { operation: Operation::Update, ..applier(name) }
}

fn later(manager: Manager<'_>) -> Manager<'_> {
    Manager { time: LATE, ..manager }
}

/// A custom kind with every way in which fields merge.
fn schema() -> MergeSchema {
    MergeSchema::from_structural(&json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "replicas": {"type": "integer"},
            "paused": {"type": "boolean"},
            "name": {"type": "string", "nullable": true},
            "struct": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
            "selector": {"type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
            "args": {"type": "array", "items": {"type": "string"}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "ports": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "required": ["port"], "properties": {
                    "port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"},
                    "name": {"type": "string"}, "extra": {"type": "string"}}}},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
        }},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    }}))
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x", "namespace": "d"}, "spec": spec})
}

fn applied(live: Option<&Value>, spec: Value, manager: Manager<'_>) -> Value {
    apply(live, &object(spec), &manager, false, &schema()).unwrap()
}

fn forced(live: &Value, spec: Value, manager: Manager<'_>) -> Value {
    apply(Some(live), &object(spec), &manager, true, &schema()).unwrap()
}

fn refused(live: &Value, spec: Value, manager: Manager<'_>) -> ApplyError {
    apply(Some(live), &object(spec), &manager, false, &schema()).unwrap_err()
}

fn updated(live: &Value, manager: Manager<'_>, change: impl FnOnce(&mut Value)) -> Value {
    let mut new = live.clone();
    change(&mut new);
    track_update(Some(live), &mut new, &manager, &schema());
    new
}

/// `fieldsV1` of a manager; null when it owns nothing.
fn owns(object: &Value, name: &str, operation: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    let entry = entries.iter().find(|entry| entry["manager"] == name && entry["operation"] == operation);
    entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn a_first_apply_creates_the_object_and_owns_what_it_sets() {
    let new = applied(None, json!({"replicas": 1, "ports": [{"port": 80}], "set": ["a"]}), applier("a"));
    assert_eq!(new["spec"], json!({"replicas": 1, "ports": [{"port": 80}], "set": ["a"]}));
    assert_eq!(
        new["metadata"]["managedFields"],
        json!([{"manager": "a", "operation": "Apply", "apiVersion": "x.io/v1", "time": EARLY,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:set": {"v:\"a\"": {}},
            "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}}])
    );
}

#[test]
fn appliers_of_different_fields_do_not_meet() {
    let one = applied(None, json!({"replicas": 1, "map": {"a": "1"}}), applier("a"));
    let two = applied(Some(&one), json!({"paused": true, "map": {"b": "2"}}), applier("b"));
    assert_eq!(two["spec"], json!({"replicas": 1, "paused": true, "map": {"a": "1", "b": "2"}}));
    assert_eq!(owns(&two, "a", "Apply"), json!({"f:spec": {"f:replicas": {}, "f:map": {"f:a": {}}}}));
    assert_eq!(owns(&two, "b", "Apply"), json!({"f:spec": {"f:paused": {}, "f:map": {"f:b": {}}}}));
}

#[test]
fn what_an_applier_leaves_out_goes_unless_somebody_else_owns_it() {
    let spec = json!({"replicas": 1, "map": {"a": "1", "b": "2"}, "struct": {"a": "1"}, "set": ["x", "y"],
        "ports": [{"port": 80, "name": "h"}, {"port": 81}]});
    let one = applied(None, spec, applier("a"));
    let shared = json!({"map": {"b": "2"}, "set": ["y"], "ports": [{"port": 81}]});
    let two = applied(Some(&one), shared.clone(), applier("b"));
    let gone = applied(Some(&two), json!({"replicas": 1}), applier("a"));
    assert_eq!(
        gone["spec"],
        json!({"replicas": 1, "map": {"b": "2"}, "set": ["y"], "ports": [{"port": 81}]})
    );
    assert_eq!(owns(&gone, "a", "Apply"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn a_list_item_goes_with_what_nobody_owns_in_it() {
    let one = applied(None, json!({"ports": [{"port": 80}, {"port": 81}]}), applier("a"));
    let mut with_defaults = one.clone();
    with_defaults["spec"]["ports"][0]["extra"] = json!("defaulted");
    let gone = applied(Some(&with_defaults), json!({"ports": [{"port": 81}]}), applier("a"));
    assert_eq!(gone["spec"]["ports"], json!([{"port": 81}]));
}

#[test]
fn an_emptied_struct_goes_and_an_emptied_map_of_another_owner_stays() {
    let one = applied(None, json!({"struct": {"a": "1"}, "replicas": 1}), applier("a"));
    assert_eq!(applied(Some(&one), json!({"replicas": 1}), applier("a"))["spec"], json!({"replicas": 1}));
    let two = applied(Some(&one), json!({"struct": {"b": "1"}}), applier("b"));
    let kept = applied(Some(&two), json!({"replicas": 1}), applier("a"));
    assert_eq!(kept["spec"], json!({"replicas": 1, "struct": {"b": "1"}}));
    // Explicitly empty is a value of its own.
    let emptied = applied(Some(&one), json!({"struct": {}}), applier("a"));
    assert_eq!(emptied["spec"], json!({"struct": {}}));
}

#[test]
fn changing_what_another_owns_is_a_conflict_in_the_words_of_kubernetes() {
    let created = updated(&object(json!({})), updater("nobody"), |_| {});
    assert_eq!(created["metadata"].get("managedFields"), None, "untracked objects stay untracked");
    let mut new = object(json!({"replicas": 1, "ports": [{"port": 80, "name": "h"}]}));
    track_update(None, &mut new, &updater("kubectl-client-side-apply"), &schema());
    assert_eq!(
        refused(&new, json!({"replicas": 2}), applier("b")).to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using x.io/v1: .spec.replicas"
    );
    let other = applied(Some(&new), json!({"set": ["q"], "args": ["x"]}), applier("a"));
    let error = refused(
        &other,
        json!({"replicas": 2, "args": ["y"],
        "ports": [{"port": 80, "name": "z"}]}),
        applier("b"),
    );
    assert_eq!(
        error.to_string(),
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .spec.args\n\
         conflicts with \"kubectl-client-side-apply\" using x.io/v1:\n- .spec.replicas\n\
         - .spec.ports[port=80,protocol=\"TCP\"].name"
    );
    let ApplyError::Conflicts(conflicts) = error else { panic!("{error}") };
    assert_eq!(conflicts[0].to_string(), "conflict with \"a\"");
    assert_eq!(conflicts[1].to_string(), "conflict with \"kubectl-client-side-apply\" using x.io/v1");
    assert_eq!((&*conflicts[1].field, conflicts[1].time.as_deref()), (".spec.replicas", Some(EARLY)));
}

#[test]
fn the_subresource_of_the_owner_is_named_in_a_conflict() {
    let one = applied(None, json!({"replicas": 1}), applier("a"));
    let status = Manager { subresource: "status", ..updater("controller") };
    let two = updated(&one, status, |new| new["status"] = json!({"ready": 1}));
    let mut both = object(json!({"replicas": 1}));
    both["status"] = json!({"ready": 2});
    assert_eq!(
        apply(Some(&two), &both, &applier("a"), false, &schema()).unwrap_err().to_string(),
        "Apply failed with 1 conflict: conflict with \"controller\" with subresource \"status\" using x.io/v1: \
         .status.ready"
    );
}

#[test]
fn force_takes_ownership_away() {
    let one = applied(None, json!({"replicas": 1, "paused": true}), applier("a"));
    let two = forced(&one, json!({"replicas": 2}), applier("b"));
    assert_eq!(two["spec"], json!({"replicas": 2, "paused": true}));
    assert_eq!(owns(&two, "a", "Apply"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(owns(&two, "b", "Apply"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn equal_values_are_owned_together_and_joining_in_is_no_change() {
    let one = applied(None, json!({"replicas": 1}), applier("a"));
    let two = applied(Some(&one), json!({"replicas": 1}), later(applier("b")));
    assert_eq!(two["spec"], one["spec"]);
    let entry = &two["metadata"]["managedFields"][0];
    assert_eq!((entry["manager"].as_str(), entry.get("time")), (Some("b"), None));
    // One leaves, the other keeps the field; then the last one takes it away.
    let three = applied(Some(&two), json!({"paused": true}), applier("a"));
    assert_eq!(three["spec"], json!({"replicas": 1, "paused": true}));
    assert_eq!(applied(Some(&three), json!({}), applier("b"))["spec"], json!({"paused": true}));
}

#[test]
fn applying_the_same_again_changes_nothing_not_even_the_time() {
    let spec =
        json!({"replicas": 1, "map": {"a": "1"}, "ports": [{"port": 80}], "args": ["x"], "name": null});
    let one = applied(None, spec.clone(), applier("a"));
    let other = updated(&one, later(updater("u")), |new| new["spec"]["paused"] = json!(true));
    assert_eq!(applied(Some(&other), spec, later(applier("a"))), other);
}

#[test]
fn atomic_lists_and_maps_are_replaced_as_a_whole() {
    let one = applied(None, json!({"args": ["a", "b"], "selector": {"a": "1"}}), applier("a"));
    let two = applied(Some(&one), json!({"args": ["c"], "selector": {"b": "2"}}), applier("a"));
    assert_eq!(two["spec"], json!({"args": ["c"], "selector": {"b": "2"}}));
    assert_eq!(owns(&two, "a", "Apply"), json!({"f:spec": {"f:args": {}, "f:selector": {}}}));
    assert!(matches!(refused(&two, json!({"selector": {"b": "2", "a": "1"}}), applier("b")),
        ApplyError::Conflicts(c) if c[0].field == ".spec.selector"));
}

#[test]
fn lists_keep_the_order_of_the_applier_around_what_others_own() {
    let table = [
        (json!(["a", "b", "c"]), json!(["d", "e"]), json!(["a", "b", "c", "d", "e"])),
        (json!(["a", "b", "c"]), json!(["c", "a"]), json!(["b", "c", "a"])),
        (json!(["a", "b", "c"]), json!(["b", "x"]), json!(["a", "b", "c", "x"])),
        (json!(["a", "b"]), json!(["x", "b", "a"]), json!(["x", "b", "a"])),
    ];
    for (live, new, expected) in table {
        let one = applied(None, json!({"set": live}), applier("a"));
        let two = applied(Some(&one), json!({"set": new}), applier("b"));
        assert_eq!(two["spec"]["set"], expected, "{live} + {new}");
    }
}

#[test]
fn fields_without_a_schema_merge_by_key_and_lists_as_a_whole() {
    let one = applied(None, json!({"open": {"a": {"b": 1}, "l": [1, 2]}}), applier("a"));
    let two = applied(Some(&one), json!({"open": {"a": {"c": 2}}}), applier("b"));
    assert_eq!(two["spec"]["open"], json!({"a": {"b": 1, "c": 2}, "l": [1, 2]}));
    assert_eq!(owns(&two, "b", "Apply"), json!({"f:spec": {"f:open": {"f:a": {".": {}, "f:c": {}}}}}));
    let error = refused(&two, json!({"open": {"l": [1]}}), applier("b"));
    assert!(error.to_string().ends_with(".spec.open.l"), "{error}");
}

#[test]
fn an_update_owns_what_it_changed_with_the_parents_that_it_made() {
    let mut new = object(json!({"map": {"a": "1"}, "ports": [{"port": 80, "protocol": "UDP"}]}));
    track_update(None, &mut new, &updater("u"), &schema());
    assert_eq!(
        owns(&new, "u", "Update"),
        json!({"f:spec": {".": {}, "f:map": {".": {}, "f:a": {}}, "f:ports": {".": {},
            "k:{\"port\":80,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}, "f:protocol": {}}}}})
    );
    let two = updated(&new, later(updater("v")), |new| {
        new["spec"]["map"] = json!({"b": "2"});
        new["spec"]["ports"][0]["name"] = json!("n");
    });
    assert_eq!(
        owns(&two, "v", "Update"),
        json!({"f:spec": {"f:map": {"f:b": {}}, "f:ports":
            {"k:{\"port\":80,\"protocol\":\"UDP\"}": {"f:name": {}}}}})
    );
    assert_eq!(owns(&two, "u", "Update")["f:spec"]["f:map"], json!({}));
    assert_eq!(updated(&two, updater("w"), |_| {}), two, "a write that changes nothing leaves no trace");
}

#[test]
fn an_update_takes_over_what_it_changes_from_appliers() {
    let one = applied(None, json!({"replicas": 1, "paused": true}), applier("a"));
    let two = updated(&one, updater("u"), |new| new["spec"]["replicas"] = json!(3));
    assert_eq!(owns(&two, "a", "Apply"), json!({"f:spec": {"f:paused": {}}}));
    assert!(matches!(refused(&two, json!({"replicas": 1}), applier("a")), ApplyError::Conflicts(_)));
    // A value that is gone belongs to nobody.
    let three = updated(&two, updater("u"), |new| new["spec"] = json!({"replicas": 3}));
    assert_eq!(owns(&three, "a", "Apply"), Value::Null);
}

#[test]
fn the_first_apply_to_an_untracked_object_remembers_who_was_there() {
    let live = object(json!({"replicas": 1}));
    let error = refused(&live, json!({"replicas": 2}), applier("a"));
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using x.io/v1: .spec.replicas"
    );
    let two = applied(Some(&live), json!({"paused": true}), applier("a"));
    assert_eq!(owns(&two, "before-first-apply", "Update"), json!({"f:spec": {".": {}, "f:replicas": {}}}));
}

#[test]
fn managed_fields_in_an_update_are_honoured_and_reset() {
    let one = applied(None, json!({"replicas": 1}), applier("a"));
    let reset = updated(&one, updater("u"), |new| new["metadata"]["managedFields"] = json!([{}]));
    assert_eq!(reset["metadata"].get("managedFields"), None);
    let emptied = updated(&one, updater("u"), |new| new["metadata"]["managedFields"] = json!([]));
    assert_eq!(emptied["metadata"]["managedFields"], one["metadata"]["managedFields"]);
    let renamed =
        updated(&one, updater("u"), |new| new["metadata"]["managedFields"][0]["manager"] = json!("other"));
    assert_eq!(owns(&renamed, "other", "Apply"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn at_most_ten_updaters_are_remembered_by_name() {
    let names: Vec<String> = (0..13).map(|i| format!("u{i:02}")).collect();
    let times: Vec<String> = (0..13).map(|i| format!("2026-01-01T00:00:{i:02}Z")).collect();
    let mut live = object(json!({"map": {"x": "0"}}));
    track_update(None, &mut live, &updater("first"), &schema());
    for (name, time) in names.iter().zip(&times) {
        live = updated(&live, Manager { time, ..updater(name) }, |new| {
            new["spec"]["map"][name.as_str()] = json!("1");
        });
    }
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert_eq!(owns(&live, "ancient-changes", "Update")["f:spec"]["f:map"]["f:u02"], json!({}));
    assert_eq!(owns(&live, "u12", "Update"), json!({"f:spec": {"f:map": {"f:u12": {}}}}));
}

#[test]
fn malformed_objects_are_refused_in_the_words_of_kubernetes() {
    let prefix = "failed to create typed patch object (d/x; x.io/v1, Kind=X): ";
    for (spec, text) in [
        (json!({"set": ["a", "a"]}), ".spec.set: duplicate entries for key [=\"a\"]"),
        (
            json!({"ports": [{"port": 1}, {"port": 1, "protocol": "TCP"}]}),
            ".spec.ports: duplicate entries for key [port=1,protocol=\"TCP\"]",
        ),
        (
            json!({"ports": ["x"]}),
            ".spec.ports: element 0: associative list with keys may not have non-map elements",
        ),
        (
            json!({"set": [null]}),
            ".spec.set: element 0: associative list without keys has an element that's an explicit null",
        ),
        (json!({"replicas": "x"}), ".spec.replicas: expected numeric (int or float), got string"),
        (json!({"args": "x"}), ".spec.args: expected list, got &{x}"),
        (json!({"map": [1]}), ".spec.map: expected map, got &{[1]}"),
        (json!({"selector": {"c": 1}}), ".spec.selector.c: field not declared in schema"),
        (
            json!({"wrong": 1, "struct": {"c": {}}}),
            "errors:\n  .spec.struct.c: field not declared in schema\n  .spec.wrong: field not declared in schema",
        ),
        (
            json!({"struct": {"a": {"b": [1, null]}}}),
            ".spec.struct.a: expected string, got &value.valueUnstructured{Value:map[string]interface \
             {}{\"b\":[]interface {}{1, interface {}(nil)}}}",
        ),
    ] {
        let error = apply(None, &object(spec.clone()), &applier("a"), false, &schema()).unwrap_err();
        assert_eq!(error.to_string(), format!("{prefix}{text}"), "{spec}");
    }
    let mut other = object(json!({}));
    other["metadata"]["managedFields"] = json!([]);
    let error = apply(None, &other, &applier("a"), false, &schema()).unwrap_err();
    assert_eq!(error.to_string(), "metadata.managedFields must be nil");
    let newer = Manager { api_version: "x.io/v2", ..applier("a") };
    let error = apply(None, &object(json!({})), &newer, false, &schema()).unwrap_err();
    assert_eq!(error.to_string(), "invalid object type: x.io/v1, Kind=X");
}

#[test]
fn kubectl_may_take_over_what_it_applied_client_side() {
    let last = object(json!({"replicas": 1, "paused": true}));
    let mut live = last.clone();
    live["metadata"]["annotations"] = json!({LAST_APPLIED: format!("{last}\n")});
    track_update(None, &mut live, &updater("kubectl-client-side-apply"), &schema());
    let edited = updated(&live, updater("editor"), |new| new["spec"]["paused"] = json!(false));

    let taken = applied(Some(&edited), json!({"replicas": 2}), applier("kubectl"));
    assert_eq!(taken["spec"], json!({"replicas": 2, "paused": false}));
    let annotation = taken["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(annotation).unwrap(), object(json!({"replicas": 2})));

    assert!(refused(&edited, json!({"paused": true}), applier("kubectl")).to_string().contains("\"editor\""));
    assert!(matches!(refused(&edited, json!({"replicas": 2}), applier("other")), ApplyError::Conflicts(_)));
}

#[test]
fn a_new_version_of_an_applier_is_the_same_applier() {
    let one = applied(None, json!({"replicas": 1, "paused": true}), applier("a"));
    let mut two = object(json!({"replicas": 1}));
    two["apiVersion"] = json!("x.io/v2");
    let v2 = Manager { api_version: "x.io/v2", ..applier("a") };
    let two = apply(Some(&one), &two, &v2, false, &schema()).unwrap();
    assert_eq!(two["spec"], json!({"replicas": 1}));
    assert_eq!(two["metadata"]["managedFields"].as_array().unwrap().len(), 1);
    assert_eq!(two["metadata"]["managedFields"][0]["apiVersion"], "x.io/v2");
}

#[test]
fn built_in_kinds_merge_containers_and_let_go_of_nulls() {
    let deployment = |spec: Value| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec});
    let schema = MergeSchema::builtin("apps", "Deployment");
    let apps = |manager: Manager<'static>| Manager { api_version: "apps/v1", ..manager };
    let pod = |containers: Value| json!({"template": {"spec": {"containers": containers}}});
    let mut one =
        deployment(pod(json!([{"name": "a", "image": "a:1", "env": [{"name": "A", "value": "1"}]}])));
    track_update(None, &mut one, &apps(updater("u")), &schema);
    // The parents that every Deployment has belong to nobody.
    assert_eq!(
        owns(&one, "u", "Update"),
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {},
            "f:name": {}, "f:image": {}, "f:env": {".": {}, "k:{\"name\":\"A\"}": {".": {}, "f:name": {},
            "f:value": {}}}}}}}}})
    );
    let more =
        pod(json!([{"name": "a", "env": [{"name": "B", "value": null}], "args": null}, {"name": "b"}]));
    let two = apply(Some(&one), &deployment(more), &apps(applier("a")), false, &schema).unwrap();
    assert_eq!(
        two["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "image": "a:1", "env": [{"name": "A", "value": "1"}, {"name": "B"}]}, {"name": "b"}])
    );
}

const NAMES: [&str; 15] = [
    "spec",
    "metadata",
    "map",
    "set",
    "ports",
    "port",
    "labels",
    "name",
    "struct",
    "a",
    "open",
    "managedFields",
    "apiVersion",
    "k:{}",
    "f:x",
];

/// Any JSON, with the names and values that the schema knows among them.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(&["", "a", "b", "x.io/v1", "TCP"][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(&NAMES[..]), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

/// A spec without empty lists: nobody owns an empty keyed list, so applying one twice is not applying it once.
fn any_spec() -> impl Strategy<Value = Value> {
    let text = || prop::sample::select(&["1", "2"][..]).prop_map(Value::from);
    let names = || prop::sample::subsequence(vec!["a", "b", "c"], 1..=3).prop_shuffle();
    let ports = prop::collection::btree_map(1u8..4, prop::option::of(text()), 1..3).prop_map(|ports| {
        let port = |(port, name): (u8, Option<Value>)| match name {
            Some(name) => json!({"port": port, "name": name}),
            None => json!({"port": port}),
        };
        Value::Array(ports.into_iter().map(port).collect())
    });
    let fields = (
        prop::option::of((0i64..3).prop_map(Value::from)),
        prop::option::of(prop::collection::btree_map("[ab]", text(), 0..3).prop_map(|map| json!(map))),
        prop::option::of(names().prop_map(|names| json!(names))),
        prop::option::of(names().prop_map(|names| json!(names))),
        prop::option::of(ports),
        prop::option::of(prop::collection::btree_map("[ab]", text(), 0..3).prop_map(|map| json!(map))),
    );
    fields.prop_map(|(replicas, map, set, args, ports, open)| {
        let fields = [
            ("replicas", replicas),
            ("map", map),
            ("set", set),
            ("args", args),
            ("ports", ports),
            ("open", open),
        ];
        Value::Object(
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        )
    })
}

proptest! {
    #[test]
    fn applying_never_panics(live in any_json(), new in any_json(), kind in any::<bool>(), force in any::<bool>()) {
        let schema = if kind { schema() } else { MergeSchema::builtin("apps", "Deployment") };
        let mut new = new;
        if let Some(new) = new.as_object_mut() {
            new.insert("apiVersion".to_owned(), json!("x.io/v1"));
        }
        let _ = apply(Some(&live), &new, &applier("a"), force, &schema);
        let _ = apply(None, &new, &applier("a"), force, &schema);
        track_update(Some(&live), &mut new, &updater("u"), &schema);
        track_update(None, &mut new, &updater("u"), &schema);
        let _ = crate::patch::strategic(&mut new, &live, &schema);
        crate::patch::merge(&mut new, &live);
    }

    #[test]
    fn applying_twice_is_applying_once(
        steps in prop::collection::vec((any_spec(), 0usize..3, any::<bool>()), 1..6)
    ) {
        let mut live: Option<Value> = None;
        for (spec, who, update) in steps {
            let name = ["a", "b", "c"][who];
            if update && let Some(old) = &live {
                live = Some(updated(old, updater(name), |new| new["spec"] = spec));
                continue;
            }
            let new = object(spec.clone());
            let once = apply(live.as_ref(), &new, &applier(name), true, &schema()).unwrap();
            let twice = apply(Some(&once), &new, &later(applier(name)), false, &schema());
            prop_assert_eq!(twice.as_ref(), Ok(&once));
            // What was applied is there.
            let set = compare::field_set(&schema().graph, schema().root, &new);
            let there = compare::field_set(&schema().graph, schema().root, &once);
            prop_assert!(set.is_subset(&there.union(&set.difference(&there))));
            for (field, value) in spec.as_object().into_iter().flatten().filter(|(_, v)| !v.is_array() && !v.is_object())
            {
                prop_assert_eq!(&once["spec"][field], value);
            }
            live = Some(once);
        }
    }

    #[test]
    fn field_sets_obey_the_laws_of_sets(a in any_json(), b in any_json()) {
        let set = |value: &Value| compare::field_set(&schema().graph, schema().root, value);
        let (a, b) = (set(&a), set(&b));
        prop_assert_eq!(FieldSet::parse(&a.emit()), a.clone());
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.intersects(&b), !a.intersection(&b).is_empty());
        prop_assert!(a.is_subset(&a.union(&b)));
    }
}
