//! What is wrong with a field, in the words of Kubernetes.

use std::fmt;

use serde_json::Value;

/// What kind of fault a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// The value is not one that the field takes.
    Invalid,
    /// The field is missing.
    Required,
    /// The value is not one of those listed.
    NotSupported,
    /// The value stands twice in a list that holds each once.
    Duplicate,
    /// The value is too long.
    TooLong,
    /// The list or map has too many items.
    TooMany,
    /// The value is of the wrong type.
    TypeInvalid,
    /// The field may not be set.
    Forbidden,
}

impl FieldErrorKind {
    /// Whether rules are not evaluated on an object with such a fault.
    pub(crate) fn blocks_rules(self) -> bool {
        match self {
            FieldErrorKind::Required
            | FieldErrorKind::TooLong
            | FieldErrorKind::TooMany
            | FieldErrorKind::TypeInvalid => true,
            FieldErrorKind::Invalid
            | FieldErrorKind::NotSupported
            | FieldErrorKind::Duplicate
            | FieldErrorKind::Forbidden => false,
        }
    }
}

/// What is wrong with one field of an object. Displays as Kubernetes writes it:
/// `spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The field: `spec.containers[0].name`; `<nil>` for the object as a whole.
    pub path: String,
    /// What kind of fault it is.
    pub kind: FieldErrorKind,
    /// The faulty value; `None` where the message does not show it.
    pub value: Option<Value>,
    /// What would be right; may be empty.
    pub detail: String,
}

impl FieldError {
    pub(crate) fn new(
        path: &str,
        kind: FieldErrorKind,
        value: Option<Value>,
        detail: impl Into<String>,
    ) -> Self {
        let path = if path.is_empty() { "<nil>" } else { path };
        FieldError { path: path.to_owned(), kind, value, detail: detail.into() }
    }

    pub(crate) fn invalid(path: &str, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Invalid, Some(value.into()), detail)
    }

    pub(crate) fn required(path: &str, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Required, None, detail)
    }

    pub(crate) fn forbidden(path: &str, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Forbidden, None, detail)
    }

    pub(crate) fn rules_skipped() -> Self {
        Self::invalid(
            "",
            Value::Null,
            "some validation rules were not checked because the object was invalid; \
             correct the existing errors to complete validation",
        )
    }

    /// The reason as it stands in the causes of a Kubernetes Status.
    pub fn reason(&self) -> &'static str {
        match self.kind {
            FieldErrorKind::Invalid => "FieldValueInvalid",
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::NotSupported => "FieldValueNotSupported",
            FieldErrorKind::Duplicate => "FieldValueDuplicate",
            FieldErrorKind::TooLong => "FieldValueTooLong",
            FieldErrorKind::TooMany => "FieldValueTooMany",
            FieldErrorKind::TypeInvalid => "FieldValueTypeInvalid",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
        }
    }

    /// The message without the path, as it stands in the causes of a Kubernetes Status.
    pub fn body(&self) -> String {
        let kind = match self.kind {
            FieldErrorKind::Invalid | FieldErrorKind::TypeInvalid => "Invalid value",
            FieldErrorKind::Required => "Required value",
            FieldErrorKind::NotSupported => "Unsupported value",
            FieldErrorKind::Duplicate => "Duplicate value",
            FieldErrorKind::TooLong => "Too long",
            FieldErrorKind::TooMany => "Too many",
            FieldErrorKind::Forbidden => "Forbidden",
        };
        let shown = match self.kind {
            FieldErrorKind::Required | FieldErrorKind::TooLong | FieldErrorKind::Forbidden => None,
            FieldErrorKind::Invalid
            | FieldErrorKind::TypeInvalid
            | FieldErrorKind::NotSupported
            | FieldErrorKind::Duplicate
            | FieldErrorKind::TooMany => self.value.as_ref(),
        };
        let mut text = kind.to_owned();
        if let Some(value) = shown {
            text.push_str(": ");
            text.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Everything for which a schema is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", joined(.0))]
pub struct SchemaError(pub Vec<FieldError>);

fn joined(errors: &[FieldError]) -> String {
    errors.iter().map(FieldError::to_string).collect::<Vec<_>>().join(", ")
}
