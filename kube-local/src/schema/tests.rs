use serde_json::json;

use super::*;

fn schema(open_api: Value) -> Schema {
    Schema::parse(&open_api).unwrap()
}

fn errors(schema: &Schema, object: Value) -> Vec<String> {
    schema.validate(&object, None).iter().map(FieldError::to_string).collect()
}
