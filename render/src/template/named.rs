//! Numbers of types that templates cannot make but meet: integers with a name of their own (`time.Month`,
//! `time.Duration`), unsigned ones, and complex ones.

use std::rc::Rc;

use super::funcs::Answer;
use super::object::Object;
use super::print::display;
use super::value::Value;

/// An integer type of Go.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Its name.
    pub name: &'static str,
    /// What it is underneath.
    pub kind: &'static str,
    /// What `String()` says, where the type has that method.
    pub text: Option<fn(i64) -> String>,
    /// The other methods, none of which takes an argument.
    pub method: fn(i64, &str) -> Option<Value>,
}

/// `uint64`, as the numbers of versions are.
pub(crate) static UNSIGNED: Kind = Kind { name: "uint64", kind: "uint64", text: None, method: |_, _| None };

/// `uint8`, as the bytes of a text are.
pub(crate) static BYTE: Kind = Kind { name: "uint8", kind: "uint8", text: None, method: |_, _| None };

/// A number of such a type.
pub(crate) fn named(number: i64, kind: &'static Kind) -> Value {
    Value::Object(Rc::new(Named { number, kind }))
}

#[derive(Debug)]
struct Named {
    number: i64,
    kind: &'static Kind,
}

impl Object for Named {
    fn type_name(&self) -> &'static str {
        self.kind.name
    }

    fn kind_name(&self) -> &'static str {
        self.kind.kind
    }

    fn call(&self, name: &str, _: &[Value]) -> Option<Answer> {
        match (name, self.kind.text) {
            ("String", Some(text)) => Some(Ok(Value::text(&text(self.number)))),
            _ => (self.kind.method)(self.number, name).map(Ok),
        }
    }

    fn parameters(&self, name: &str) -> Option<&'static str> {
        self.call(name, &[]).map(|_| "")
    }

    fn print(&self) -> String {
        self.text().unwrap_or_else(|| self.number.to_string())
    }

    fn text(&self) -> Option<String> {
        self.kind.text.map(|text| text(self.number))
    }

    fn number(&self) -> Option<i64> {
        Some(self.number)
    }

    fn data(&self) -> Value {
        Value::Int64(self.number)
    }
}

/// A `complex128`.
pub(crate) fn complex(real: f64, imaginary: f64) -> Value {
    Value::Object(Rc::new(Complex { real, imaginary }))
}

#[derive(Debug)]
struct Complex {
    real: f64,
    imaginary: f64,
}

impl Object for Complex {
    fn type_name(&self) -> &'static str {
        "complex128"
    }

    fn kind_name(&self) -> &'static str {
        "complex128"
    }

    fn print(&self) -> String {
        String::from_utf8_lossy(&display(&complex(self.real, self.imaginary))).into_owned()
    }

    fn complex(&self) -> Option<(f64, f64)> {
        Some((self.real, self.imaginary))
    }

    fn data(&self) -> Value {
        Value::Nil
    }
}
