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

    /// The text that an action prints, which finds methods of the pointer, too.
    fn print(&self) -> String;

    /// What `String()` of the value says, where it has that method.
    fn text(&self) -> Option<String> {
        None
    }

    /// What `GoString()` says, where the type has that method.
    fn syntax(&self) -> Option<String> {
        None
    }

    /// The fields of the struct in their order, hidden ones among them.
    fn fields(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// The number, where the type is an integer with a name.
    fn number(&self) -> Option<i64> {
        None
    }

    /// Both parts, where the type is a complex number.
    fn complex(&self) -> Option<(f64, f64)> {
        None
    }

    /// The fields in the order in which `encoding/json` writes them, where that is not the order of their names.
    fn json_fields(&self) -> Option<Vec<(&'static str, Value)>> {
        None
    }

    /// What `toJson` and `toYaml` see.
    fn data(&self) -> Value;

    /// Whether JSON cannot hold it.
    fn refuses_json(&self) -> bool {
        self.complex().is_some()
    }

    /// Go's words for that, where they are its own.
    fn json_refusal(&self) -> Option<String> {
        None
    }

    /// What a method takes, a letter for each argument.
    fn parameters(&self, _name: &str) -> Option<&'static str> {
        None
    }

    /// What a deep copy of the value is, where that is another one.
    fn copied(&self) -> Option<Value> {
        None
    }

    /// The zone, for places that times lie in.
    fn zone(&self) -> Option<super::funcs::calendar::Zone> {
        None
    }

    /// The instant, for values that are one.
    fn instant(&self) -> Option<super::funcs::calendar::Instant> {
        None
    }
}
