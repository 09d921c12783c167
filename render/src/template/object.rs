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

    /// The text where the value stands inside another, or is handed to a function: Go finds no method of a pointer there.
    fn print_nested(&self) -> String {
        self.print()
    }

    /// The fields in the order in which `encoding/json` writes them, where that is not the order of their names.
    fn json_fields(&self) -> Option<Vec<(&'static str, Value)>> {
        None
    }

    /// What `toJson` and `toYaml` see.
    fn data(&self) -> Value;

    /// What a deep copy of the value is, where that is another one.
    fn copied(&self) -> Option<Value> {
        None
    }

    /// The instant, for values that are one.
    fn instant(&self) -> Option<super::funcs::calendar::Instant> {
        None
    }
}
