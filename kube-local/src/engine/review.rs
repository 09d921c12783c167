//! Reviews: asked, answered, never stored. Whoever reached this API may do everything.

use serde_json::{Value, json};

use crate::object::set;
use crate::registry::Kind;

/// The answer to a review.
pub(crate) fn review(kind: &Kind, mut asked: Value) -> Value {
    set(&mut asked, &["apiVersion"], json!(kind.api_version()));
    set(&mut asked, &["kind"], json!(kind.kind));
    let user = json!({"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]});
    let status = match kind.kind.as_str() {
        "TokenReview" => json!({"authenticated": true, "user": user}),
        "SelfSubjectReview" => json!({"userInfo": user}),
        "SelfSubjectRulesReview" => json!({
            "incomplete": false,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }),
        _ => json!({"allowed": true}),
    };
    set(&mut asked, &["status"], status);
    asked
}
