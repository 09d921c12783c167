//! Questions about the cluster itself that only its agent can answer: how what is there differs from the plan, and what
//! was there before. They travel down as [`crate::message::Request::Inquire`]; no secret value travels up.

use serde::{Deserialize, Serialize};

use crate::UnixMillis;
use crate::id::{Digest, Generation};
use crate::plan::{ObjectKey, UnitId};
use crate::report::UnitState;

/// Longest answer in bytes: what does not fit is counted in [`Findings::left_out`].
pub const FINDINGS_BYTES_MAX: usize = 1024 * 1024;
/// Most lines about one object.
pub const LINES_MAX: usize = 64;
/// Longest value that is quoted, in characters.
pub const VALUE_CHARS_MAX: usize = 200;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// Only the services of this name: `NAME`, `NAMESPACE/NAME` or `NAMESPACE.NAME`; all if it is empty.
    pub service: String,
    /// What is wanted.
    pub aspect: Aspect,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aspect {
    /// How the live objects differ from the plan that is stored.
    Differences,
    /// The revisions that were there.
    History,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// When it was looked, by the agent's clock.
    pub at: UnixMillis,
    /// The plan that was compared with.
    pub plan: Option<Generation>,
    /// Services, in the order of the plan.
    pub units: Vec<UnitFindings>,
    /// Objects or revisions that did not fit.
    pub left_out: u32,
}

/// What was found of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFindings {
    /// Which.
    pub id: UnitId,
    /// Its version in the plan; empty in a history.
    pub version: String,
    /// Objects that are as desired.
    pub same: u32,
    /// Objects that are not, or of which that is not known.
    pub objects: Vec<ObjectFindings>,
    /// Its revisions, the newest first.
    pub revisions: Vec<Revision>,
}

/// An object that is not as desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFindings {
    /// Which.
    pub key: ObjectKey,
    /// What it is.
    pub finding: Finding,
    /// How it differs, at most [`LINES_MAX`].
    pub lines: Vec<Line>,
}

/// What an object is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// It differs.
    Differs,
    /// It is not there.
    Missing,
    /// It could not be looked at.
    Unknown(String),
}

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Where, as `.spec.replicas`.
    pub path: String,
    /// The live value as JSON, shortened; nothing where there is none, or where it may not be told.
    pub live: Option<String>,
    /// The desired value likewise.
    pub desired: Option<String>,
}

/// What a service settled as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// When.
    pub at: UnixMillis,
    /// The version that was wanted.
    pub version: String,
    /// The template it came from.
    pub template: String,
    /// Its hash.
    pub hash: Digest,
    /// What became of it.
    pub state: UnitState,
    /// Why.
    pub message: String,
    /// The version that was in force then; another one after a rollback.
    pub in_force: String,
}

/// Whether a service is meant by a name: `NAME`, `NAMESPACE/NAME` or `NAMESPACE.NAME`.
pub fn is_named(namespace: &str, name: &str, wanted: &str) -> bool {
    let rest = wanted.strip_prefix(namespace).and_then(|rest| rest.strip_prefix(['.', '/']));
    name == wanted || rest == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_with_and_without_its_namespace() {
        for wanted in ["web", "shop.web", "shop/web"] {
            assert!(is_named("shop", "web", wanted), "{wanted}");
        }
        for wanted in ["", "we", "shop", "shop.", "other.web", "shopweb", "web.shop"] {
            assert!(!is_named("shop", "web", wanted), "{wanted}");
        }
        assert!(is_named("shop", "a.b", "a.b") && is_named("shop", "a.b", "shop.a.b"));
    }
}
