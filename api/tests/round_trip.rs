//! The Rust types and the schemas made from them say the same: every field of a schema survives a round trip through
//! its type, and the examples of `deploy/examples/` lose nothing.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::path::Path;

use api::{k0rdent, skein};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Calls `$check::<Kind>(kind)` for the type of a kind.
macro_rules! for_kind {
    ($kind:expr, $check:ident, $argument:expr, $($module:ident: $($type:ident),+;)+) => {
        match $kind {
            $($(stringify!($type) => $check::<$module::$type>($argument),)+)+
            other => panic!("no type for kind {other}"),
        }
    };
}

macro_rules! for_any_kind {
    ($kind:expr, $check:ident, $argument:expr) => {
        for_kind!($kind, $check, $argument,
            k0rdent: AccessManagement, ClusterAuditPolicy, ClusterAuthentication, ClusterDataSource, ClusterDeployment,
                ClusterIPAM, ClusterIPAMClaim, ClusterTemplate, ClusterTemplateChain, Credential, DataSource, Management,
                ManagementBackup, MultiClusterService, ProviderInterface, ProviderTemplate, Region, Release, ServiceSet,
                ServiceTemplate, ServiceTemplateChain, StateManagementProvider;
            skein: Edge, HostedControlPlane, JoinToken, PriceBook;
        )
    };
}

fn through<K: DeserializeOwned + Serialize>(object: &Value) -> Value {
    let typed: K =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error} in {object:#}"));
    serde_json::to_value(typed).unwrap()
}

#[test]
fn every_field_of_every_schema_survives_its_type() {
    for crd in api::all_crds() {
        let mut object = sample(&schema(&crd));
        let kind = crd.spec.names.kind.as_str();
        let fields = object.as_object_mut().unwrap();
        fields
            .insert("apiVersion".into(), format!("{}/{}", crd.spec.group, crd.spec.versions[0].name).into());
        fields.insert("kind".into(), kind.into());
        fields.insert("metadata".into(), json!({"name": "sample"}));
        // `MicroTime` always writes six digits.
        let back = for_any_kind!(kind, through, &object).to_string().replace(".000000Z", "Z");
        assert_eq!(back, object.to_string(), "{kind}");
    }
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
        .unwrap()
}

/// A value that has every field of the schema, each different from what its absence means.
fn sample(schema: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values.last().unwrap().clone();
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("object"), _) if schema["properties"].is_object() => {
            let fields = schema["properties"].as_object().unwrap();
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), sample(field))).collect())
        }
        (Some("object"), _) => json!({"key": sample(&schema["additionalProperties"])}),
        (Some("array"), _) => json!([sample(&schema["items"])]),
        (Some("string"), Some("date-time")) => json!("2026-01-02T03:04:05Z"),
        (Some("string"), _) => json!("some text"),
        (Some("integer"), _) => json!(7),
        (Some("boolean"), _) => json!(true),
        _ if schema["x-kubernetes-int-or-string"] == true => json!("0.25"),
        _ => json!({"any": ["thing", 1, null]}),
    }
}

#[test]
fn an_object_without_a_spec_is_one_with_an_empty_spec_where_k0rdent_lets_it_be_absent() {
    for crd in api::all_crds() {
        let required = schema(&crd)["required"].as_array().cloned().unwrap_or_default();
        if required.is_empty() {
            let kind = crd.spec.names.kind.as_str();
            let object = json!({"kind": kind, "metadata": {"name": "bare"}});
            let typed = for_any_kind!(kind, through, &object);
            assert!(typed["spec"].is_object(), "{kind}");
        }
    }
}

#[test]
fn absent_fields_take_the_value_the_api_server_would_write() {
    for crd in api::all_crds() {
        let (kind, schema) = (crd.spec.names.kind.as_str(), schema(&crd));
        let object = json!({"kind": kind, "metadata": {"name": "least"}, "spec": least(&schema["properties"]["spec"])});
        let mut defaulted = object.clone();
        fill(&schema["properties"]["spec"], &mut defaulted["spec"]);
        assert_eq!(
            for_any_kind!(kind, through, &object)["spec"],
            for_any_kind!(kind, through, &defaulted)["spec"],
            "{kind}"
        );
    }
}

/// Only what must be there, but every optional object and list.
fn least(schema: &Value) -> Value {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    let mut object = Map::new();
    for (name, field) in fields {
        let scalar = field["properties"].is_null() && field["items"]["properties"].is_null();
        if field["default"].is_null() && (required.contains(&name.as_str()) || !scalar) {
            let value = match field["type"].as_str() {
                Some("object") if field["properties"].is_object() => least(&field),
                Some("array") if field["items"]["properties"].is_object() => json!([least(&field["items"])]),
                _ => sample(&field),
            };
            object.insert(name, value);
        }
    }
    Value::Object(object)
}

/// Writes defaults as an API server does.
fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                if !field["default"].is_null() {
                    object.entry(name.clone()).or_insert_with(|| field["default"].clone());
                }
                if let Some(value) = object.get_mut(name) {
                    fill(field, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

#[test]
fn fields_of_an_authentication_configuration_that_are_not_known_yet_are_kept() {
    let object = json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ClusterAuthentication", "metadata": {"name": "a"},
        "spec": {"authenticationConfiguration": {"jwt": [], "kind": "AuthenticationConfiguration", "newField": {"x": 1}}}
    });
    assert_eq!(through::<k0rdent::ClusterAuthentication>(&object), object);
}

#[test]
fn the_examples_lose_nothing_on_their_way_through_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for object in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            let group = object["apiVersion"].as_str().unwrap().split('/').next().unwrap().to_owned();
            if [api::names::K0RDENT_GROUP, api::names::SKEIN_GROUP].contains(&group.as_str()) {
                let kind = object["kind"].as_str().unwrap();
                contains(
                    &for_any_kind!(kind, through, &object),
                    &object,
                    &format!("{} {kind}", path.display()),
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 8);
}

/// Everything in `small` is in `big`.
fn contains(big: &Value, small: &Value, path: &str) {
    match (big, small) {
        (Value::Object(big), Value::Object(small)) => {
            for (name, small) in small {
                let big = big.get(name).unwrap_or_else(|| panic!("{path}.{name} is lost"));
                contains(big, small, &format!("{path}.{name}"));
            }
        }
        (Value::Array(big), Value::Array(small)) => {
            assert_eq!(big.len(), small.len(), "{path}");
            big.iter().zip(small).for_each(|(big, small)| contains(big, small, path));
        }
        (big, small) => assert_eq!(big, small, "{path}"),
    }
}
