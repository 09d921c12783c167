use serde_json::json;

use super::*;

fn patched(kind: (&str, &str), target: Value, patch: Value) -> Value {
    let mut out = target;
    strategic(&mut out, &patch, &MergeSchema::builtin(kind.0, kind.1)).unwrap();
    out
}

const POD: (&str, &str) = ("", "Pod");

#[test]
fn a_merge_patch_merges_maps_deletes_nulls_and_replaces_lists() {
    for (target, patch, expected) in [
        (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null, "d": 3}}), json!({"a": {"c": 2, "d": 3}})),
        (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
        (json!({"a": 1}), json!({"a": {"b": {"c": null}}}), json!({"a": {"b": {}}})),
        (json!({}), json!({"a": null}), json!({})),
        (json!([1]), json!({"a": 1}), json!({"a": 1})),
        (json!({"a": 1}), json!(["x"]), json!(["x"])),
    ] {
        let mut out = target.clone();
        merge(&mut out, &patch);
        assert_eq!(out, expected, "{target} + {patch}");
    }
}

#[test]
fn a_json_patch_applies_whole_or_not_at_all() {
    let mut target = json!({"spec": {"replicas": 1}});
    let add = json!([{"op": "add", "path": "/metadata", "value": {}},
        {"op": "replace", "path": "/spec/replicas", "value": 3}]);
    json(&mut target, &add).unwrap();
    assert_eq!(target, json!({"metadata": {}, "spec": {"replicas": 3}}));

    let half =
        json!([{"op": "remove", "path": "/metadata"}, {"op": "test", "path": "/spec/replicas", "value": 9}]);
    let error = json(&mut target, &half).unwrap_err();
    assert!(
        matches!(&error, PatchError::ApplyJson { index: 1, path, .. } if path == "/spec/replicas"),
        "{error}"
    );
    assert_eq!(target, json!({"metadata": {}, "spec": {"replicas": 3}}));

    let set = json!([{"op": "replace", "path": "/spec/paused", "value": true}]);
    json(&mut target, &set).unwrap();
    assert_eq!(target["spec"], json!({"replicas": 3, "paused": true}));
    let astray = json!([{"op": "replace", "path": "/nowhere/paused", "value": true}]);
    assert!(json(&mut target, &astray).is_err());

    let garbage = json(&mut target, &json!([{"op": "jump", "path": "/"}])).unwrap_err();
    assert!(matches!(garbage, PatchError::ParseJson { .. }));
}

#[test]
fn keyed_lists_merge_by_key_and_other_lists_are_replaced() {
    let target = json!({"spec": {"containers": [
        {"name": "a", "image": "a:1", "args": ["x", "y"], "ports": [{"containerPort": 80, "protocol": "TCP"}]},
        {"name": "b", "image": "b:1"}]}});
    let patch = json!({"spec": {"containers": [
        {"name": "c", "image": "c:1"},
        {"name": "a", "args": ["z"], "image": null, "ports": [{"containerPort": 81}]}]}});
    assert_eq!(
        patched(POD, target, patch),
        json!({"spec": {"containers": [
            {"name": "c", "image": "c:1"},
            {"name": "a", "args": ["z"],
             "ports": [{"containerPort": 81}, {"containerPort": 80, "protocol": "TCP"}]},
            {"name": "b", "image": "b:1"}]}})
    );
}

#[test]
fn the_directives_delete_replace_and_retain() {
    let target = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"x": "1"}}});
    assert_eq!(
        patched(POD, target.clone(), json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}})),
        json!({"spec": {"containers": [{"name": "b"}], "nodeSelector": {"x": "1"}}})
    );
    assert_eq!(
        patched(POD, target.clone(), json!({"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}})),
        json!({"spec": {"containers": [{"name": "c"}], "nodeSelector": {"x": "1"}}})
    );
    assert_eq!(
        patched(POD, target.clone(), json!({"spec": {"nodeSelector": {"$patch": "replace", "y": "2"}}})),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {"y": "2"}}})
    );
    assert_eq!(
        patched(POD, target, json!({"spec": {"nodeSelector": {"$patch": "delete"}}})),
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeSelector": {}}})
    );
    let strategy = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    assert_eq!(
        patched(
            ("apps", "Deployment"),
            strategy,
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}})
        ),
        json!({"spec": {"strategy": {"type": "Recreate"}}})
    );
}

#[test]
fn sets_of_scalars_merge_by_value_and_delete_by_directive() {
    let target = json!({"metadata": {"finalizers": ["a", "b"]}});
    assert_eq!(
        patched(POD, target.clone(), json!({"metadata": {"finalizers": ["b", "c"]}})),
        json!({"metadata": {"finalizers": ["a", "b", "c"]}})
    );
    assert_eq!(
        patched(POD, target, json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})),
        json!({"metadata": {"finalizers": ["b"]}})
    );
}

#[test]
fn an_order_directive_moves_named_items_and_keeps_the_place_of_others() {
    let target = json!({"spec": {"containers": [{"name": "a"}, {"name": "mid"}, {"name": "b"}]}});
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "new"}, {"name": "b"}, {"name": "a"}],
        "containers": [{"name": "new"}]}});
    let names = |value: &Value| -> Vec<String> {
        let items = value["spec"]["containers"].as_array().unwrap();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&patched(POD, target.clone(), patch)), ["new", "mid", "b", "a"]);
    let only_order = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}});
    assert_eq!(names(&patched(POD, target, only_order)), ["mid", "b", "a"]);
}

#[test]
fn what_cannot_be_applied_is_named() {
    let schema = MergeSchema::builtin("", "Pod");
    for (patch, text) in [
        (json!([1]), "invalid patch: expected a JSON object, got array"),
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            "map: {\"image\":\"x\"} does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"$patch": "explode"}}),
            "unknown patch directive \"$patch\" with value \"explode\" at \".spec\"",
        ),
        (
            json!({"spec": {"$retainKeys": 1}}),
            "unknown patch directive \"$retainKeys\" with value 1 at \".spec\"",
        ),
    ] {
        let mut target = json!({"spec": {"containers": []}});
        assert_eq!(strategic(&mut target, &patch, &schema).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_missing_path_tests_equal_to_null() {
    let patch = json!([
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/metadata/finalizers", "value": ["a"]},
    ]);
    let mut object = json!({"metadata": {}});
    super::json(&mut object, &patch).unwrap();
    assert_eq!(object, json!({"metadata": {"finalizers": ["a"]}}));
    let error = super::json(&mut object, &patch).unwrap_err();
    assert!(error.to_string().contains("/metadata/finalizers"), "{error}");
    assert_eq!(object, json!({"metadata": {"finalizers": ["a"]}}));
}
