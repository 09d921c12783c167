//! What the API answers when it cannot do as asked: a Kubernetes `Status` with kind, reason, message and
//! details, worded as kube-apiserver words it.

use serde_json::{Value, json};

use crate::registry::Kind;
use crate::schema::FieldError;

/// One failed request, ready to be sent as a `Status`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Value>,
}

/// One entry of `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) field: String,
}

impl Cause {
    /// `Invalid value: <value>: <detail>` for one field.
    pub(crate) fn invalid(field: &str, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {value}: {detail}");
        Self { reason: "FieldValueInvalid".into(), message, field: field.into() }
    }

    /// `Required value: <detail>` for one field.
    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let message =
            if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired".into(), message, field: field.into() }
    }

    /// `Forbidden: <detail>` for one field.
    pub(crate) fn forbidden(field: &str, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden".into(),
            message: format!("Forbidden: {detail}"),
            field: field.into(),
        }
    }

    /// `Unsupported value: <value>: supported values: ...` for one field.
    pub(crate) fn unsupported(field: &str, value: &Value, accepted: &[&str]) -> Self {
        let accepted: Vec<String> = accepted.iter().map(|one| format!("\"{one}\"")).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", accepted.join(", "));
        Self { reason: "FieldValueNotSupported".into(), message, field: field.into() }
    }

    fn line(&self) -> String {
        if self.field.is_empty() {
            return self.message.clone();
        }
        format!("{}: {}", self.field, self.message)
    }
}

impl From<&FieldError> for Cause {
    fn from(error: &FieldError) -> Self {
        let line = error.to_string();
        let prefix = format!("{}: ", error.path);
        let message = line.strip_prefix(&prefix).unwrap_or(&line).to_owned();
        Self { reason: error.reason().to_string(), message, field: error.path.clone() }
    }
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        let mut details = json!({"name": name, "kind": kind.plural});
        if !kind.group.is_empty() {
            details["group"] = json!(*kind.group);
        }
        self.details = Some(details);
        self
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified_plural());
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// A path that no resource answers to.
    pub(crate) fn no_such_path() -> Self {
        let mut error = Self::new(404, "NotFound", "the server could not find the requested resource");
        error.details = Some(json!({}));
        error
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified_plural());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified_plural());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// A precondition of a delete does not hold. kube-apiserver names the kind here, not the resource.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified_kind());
        let mut error = Self::new(409, "Conflict", message).about(kind, name);
        if let Some(details) = &mut error.details {
            details["kind"] = json!(kind.kind);
        }
        error
    }

    /// Server-side apply found fields that other managers own.
    pub(crate) fn apply_conflict(message: String, causes: &[Cause]) -> Self {
        let mut error = Self::new(409, "Conflict", message);
        error.details = Some(json!({"causes": causes_json(causes)}));
        error
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let lines: Vec<String> = causes.iter().map(Cause::line).collect();
        let text = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{} \"{name}\" is invalid: {text}", kind.qualified_kind());
        let mut error = Self::new(422, "Invalid", message);
        let mut details = json!({"kind": kind.kind, "causes": causes_json(causes)});
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !kind.group.is_empty() {
            details["group"] = json!(*kind.group);
        }
        error.details = Some(details);
        error
    }

    /// An object of another kind than the custom kind that its path names.
    pub(crate) fn other_kind(kind: &Kind, got: &str, name: &str) -> Self {
        let cause = Cause::invalid("kind", &json!(got), &format!("must be {}", kind.kind));
        let message = format!("{got}.{} \"{name}\" is invalid: {}", kind.group, cause.line());
        let mut error = Self::new(422, "Invalid", message);
        let causes = causes_json(std::slice::from_ref(&cause));
        error.details = Some(json!({"name": name, "group": *kind.group, "kind": got, "causes": causes}));
        error
    }

    /// An update of a custom kind that does not say what it was read from. kube-apiserver names the resource here.
    pub(crate) fn version_required(kind: &Kind, name: &str) -> Self {
        let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        let message = format!("{} \"{name}\" is invalid: {}", kind.qualified_plural(), cause.line());
        let mut error = Self::new(422, "Invalid", message);
        let causes = causes_json(std::slice::from_ref(&cause));
        error.details =
            Some(json!({"name": name, "group": *kind.group, "kind": kind.plural, "causes": causes}));
        error
    }

    /// An invalid `Scale`.
    pub(crate) fn invalid_scale(name: &str, cause: &Cause) -> Self {
        let message = format!("Scale.autoscaling \"{name}\" is invalid: {}", cause.line());
        let mut error = Self::new(422, "Invalid", message);
        let causes = causes_json(std::slice::from_ref(cause));
        error.details =
            Some(json!({"name": name, "group": "autoscaling", "kind": "Scale", "causes": causes}));
        error
    }

    /// Invalid request options, for example of a patch or a delete.
    pub(crate) fn invalid_options(options: &str, cause: &Cause) -> Self {
        let message = format!("{options} \"\" is invalid: {}", cause.line());
        let mut error = Self::new(422, "Invalid", message);
        let kind = options.split('.').next().unwrap_or(options);
        error.details = Some(json!({
            "kind": kind, "group": "meta.k8s.io", "causes": causes_json(std::slice::from_ref(cause)),
        }));
        error
    }

    /// A JSON patch that does not fit the object.
    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        let mut error = Self::new(422, "Invalid", message);
        error.details = Some(json!({}));
        error
    }

    /// What kube-apiserver answers without a reason: a bare 500.
    pub(crate) fn unreasoned(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified_plural());
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// Creating in a namespace that is being deleted.
    pub(crate) fn terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = Self::forbidden(kind, name, &why);
        if let Some(details) = &mut error.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        error
    }

    pub(crate) fn method_not_allowed() -> Self {
        let mut error = Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        error.details = Some(json!({}));
        error
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// The history no longer reaches back to the revision asked for.
    pub(crate) fn expired(asked: u64, oldest: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {asked} ({oldest})"))
    }

    pub(crate) fn continue_expired() -> Self {
        Self::new(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new \
             list without the continue parameter.",
        )
    }

    pub(crate) fn unsupported_media_type(got: &str, accepted: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        tracing::debug!(got, "refused a media type");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// A media type that is understood, but not for this body.
    pub(crate) fn unsupported_media_type_because(why: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", why)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    pub(crate) fn too_new(asked: u64, current: u64) -> Self {
        let mut error =
            Self::new(504, "Timeout", format!("Too large resource version: {asked}, current: {current}"));
        error.details = Some(json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        }));
        error
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {}", message.into()))
    }

    /// The `Status` object of this error.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

fn causes_json(causes: &[Cause]) -> Value {
    causes
        .iter()
        .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}))
        .collect()
}
