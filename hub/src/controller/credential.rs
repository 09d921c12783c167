//! `Credential`: whether the object it names exists.

use api::conditions::kind;
use api::k0rdent::{Credential, CredentialStatus};
use jiff::Timestamp;

use super::sheet::Sheet;

/// What is known of the object that a Credential names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// It exists.
    Exists,
    /// It does not exist, or cannot be asked for; why.
    Missing(String),
    /// It is being asked for.
    Unknown,
}

pub(super) fn status(
    object: &Credential,
    identity: &Identity,
    region: Option<String>,
    now: Timestamp,
) -> CredentialStatus {
    let before = object.status.clone().unwrap_or_default();
    let mut sheet = Sheet::new(&before.conditions, object.metadata.generation, now);
    let ready = match (identity, region) {
        (Identity::Exists, None) => {
            sheet.succeeded(kind::CREDENTIAL_READY, "Credential is ready");
            true
        }
        (_, Some(problem)) => {
            sheet.failed(kind::CREDENTIAL_READY, problem);
            false
        }
        (Identity::Missing(why), None) => {
            sheet.failed(kind::CREDENTIAL_READY, why.clone());
            false
        }
        (Identity::Unknown, None) => {
            sheet.keep(kind::CREDENTIAL_READY);
            before.ready
        }
    };
    CredentialStatus { conditions: sheet.finish(), ready }
}
