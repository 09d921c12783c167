//! `AdmissionReview` of `admission.k8s.io/v1`: a question of the API server, and our answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes of a question: an API server takes objects of 3 MiB at most, and an update brings two.
pub const QUESTION_BYTES_MAX: usize = 8 << 20;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// Make an object.
    Create,
    /// Change it.
    Update,
    /// Take it away.
    Delete,
    /// Open a connection to it.
    Connect,
}

/// Group, version and kind.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct GroupVersionKind {
    /// The group.
    pub group: String,
    /// The kind.
    pub kind: String,
}

/// A question.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Names the question; the answer repeats it.
    pub uid: String,
    /// What the object is.
    pub kind: GroupVersionKind,
    /// What is to be done.
    pub operation: Operation,
    /// The object as it will be; absent when it goes.
    #[serde(default)]
    pub object: Value,
    /// The object as it is; absent when it comes.
    #[serde(default)]
    pub old_object: Value,
}

#[derive(Deserialize)]
struct Review {
    request: Request,
}

/// Reads a question.
///
/// # Errors
/// Why it is none.
pub fn read(bytes: &[u8]) -> Result<Request, String> {
    let review: Review = serde_json::from_slice(bytes)
        .map_err(|error| format!("not an AdmissionReview of admission.k8s.io/v1: {error}"))?;
    Ok(review.request)
}

/// What we say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Why not.
    pub refused: Option<String>,
    /// What `kubectl` shows besides.
    pub warnings: Vec<String>,
    /// JSON patch of what is filled in.
    pub patch: Vec<Value>,
}

impl Verdict {
    /// It may not be, for this reason.
    pub fn refuse(message: impl Into<String>) -> Self {
        Self { refused: Some(message.into()), ..Self::default() }
    }

    /// The same with what is shown besides.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}

/// Writes the answer.
pub fn answer(uid: &str, verdict: &Verdict) -> Value {
    let mut response = json!({"uid": uid, "allowed": verdict.refused.is_none()});
    if let Some(message) = &verdict.refused {
        response["status"] =
            json!({"status": "Failure", "message": message, "reason": "Forbidden", "code": 403});
    }
    if !verdict.warnings.is_empty() {
        response["warnings"] = json!(verdict.warnings);
    }
    if !verdict.patch.is_empty() && verdict.refused.is_none() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(json!(verdict.patch).to_string()));
    }
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
}
