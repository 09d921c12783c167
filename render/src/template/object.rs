//! Go structs that charts meet: capabilities, versions, times, certificates. Each offers fields and methods by name.

use std::fmt::Debug;

use super::fault::Fault;
use super::value::Value;

/// A value with named fields and methods.
pub(crate) trait Object: Debug {
    /// Go's name of the type.
    fn type_name(&self) -> &'static str;

    /// Go's name of the kind.
    fn kind_name(&self) -> &'static str {
        "struct"
    }

    /// The field of that name.
    fn field(&self, _name: &str) -> Option<Value> {
        None
    }

    /// The result of the method of that name.
    fn call(&self, _name: &str, _arguments: &[Value]) -> Option<Result<Value, Fault>> {
        None
    }

    /// The elements, where the type is a list.
    fn items(&self) -> Option<Vec<Value>> {
        None
    }

    /// The text that `%v` prints.
    fn print(&self) -> String;

    /// What `toJson` and `toYaml` see.
    fn data(&self) -> Value;

    /// The instant, for values that are one (seconds since 1970).
    fn unix_seconds(&self) -> Option<i64> {
        None
    }
}
