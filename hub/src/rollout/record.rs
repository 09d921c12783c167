//! Revisions and state as Secrets in the system's namespace, owned by the MultiClusterService: one Secret for what is
//! remembered, and one for each revision with its `serviceSpec`, compressed. They go with their owner.

use api::k0rdent::ServiceSpec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::state::State;
use crate::planner::canonical::canonical;

/// Type of the Secrets.
const TYPE: &str = "skein.dev/rollout";
/// Annotation: the name of the MultiClusterService.
const OWNER: &str = "skein.dev/multi-cluster-service";
/// Keys of the data.
const STATE: &str = "state";
const SPEC: &str = "serviceSpec";
/// Bytes of a `serviceSpec` before compression: an API server takes no object that is larger.
const SPEC_BYTES_MAX: usize = 4 << 20;
/// Starts of the names.
const STATE_PREFIX: &str = "skein-rollout-";
const REVISION_PREFIX: &str = "skein-revision-";

/// What a Secret of this kind holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What is remembered.
    State,
    /// The revision of this name.
    Revision(String),
}

/// The name of the revision that a `serviceSpec` is.
pub fn revision_of(spec: &ServiceSpec) -> String {
    let value = serde_json::to_value(spec).unwrap_or_default();
    hex::encode(Sha256::digest(canonical(&value)))[..10].to_owned()
}

/// What stands for a MultiClusterService in the names: those may be as long as a name can be.
pub fn short(name: &str) -> String {
    hex::encode(Sha256::digest(name))[..16].to_owned()
}

/// The name of a Secret.
pub fn secret_name(short: &str, part: &Part) -> String {
    match part {
        Part::State => format!("{STATE_PREFIX}{short}"),
        Part::Revision(revision) => format!("{REVISION_PREFIX}{short}-{revision}"),
    }
}

/// Whose Secret it is, by its name, and what it holds; `None` when it is not ours.
pub fn read_name(name: &str) -> Option<(&str, Part)> {
    if let Some(short) = name.strip_prefix(STATE_PREFIX) {
        return Some((short, Part::State));
    }
    let (short, revision) = name.strip_prefix(REVISION_PREFIX)?.rsplit_once('-')?;
    Some((short, Part::Revision(revision.to_owned())))
}

/// What is remembered.
pub fn read_state(secret: &Secret) -> Option<State> {
    serde_json::from_slice(&secret.data.as_ref()?.get(STATE)?.0).ok()
}

/// The `serviceSpec` of a revision, if it is the one of that name.
pub fn read_revision(secret: &Secret, revision: &str) -> Option<ServiceSpec> {
    let packed = &secret.data.as_ref()?.get(SPEC)?.0;
    let text = zstd::bulk::decompress(packed, SPEC_BYTES_MAX).ok()?;
    let spec: ServiceSpec = serde_json::from_slice(&text).ok()?;
    (revision_of(&spec) == revision).then_some(spec)
}

/// The data of what is remembered.
pub fn state_data(state: &State) -> Value {
    json!({STATE: STANDARD.encode(serde_json::to_vec(state).unwrap_or_default())})
}

/// The data of a revision.
pub fn revision_data(spec: &ServiceSpec) -> Value {
    let text = serde_json::to_vec(spec).unwrap_or_default();
    json!({SPEC: STANDARD.encode(zstd::bulk::compress(&text, 3).unwrap_or_default())})
}

/// A Secret of a MultiClusterService, by its name and UID.
pub fn secret(namespace: &str, (owner, uid): (&str, &str), part: &Part, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": TYPE,
        "metadata": {
            "name": secret_name(&short(owner), part), "namespace": namespace,
            "annotations": {OWNER: owner},
            "ownerReferences": [{
                "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
                "name": owner, "uid": uid,
            }],
        },
        "data": data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_revision_that_is_another_one_is_not() {
        let spec: ServiceSpec =
            serde_json::from_value(json!({"services": [{"name": "web", "template": "web-1"}]})).unwrap();
        let revision = revision_of(&spec);
        let part = Part::Revision(revision.clone());
        let object: Secret =
            serde_json::from_value(secret("kcm-system", ("shop", "1"), &part, &revision_data(&spec)))
                .unwrap();
        let name = object.metadata.name.clone().unwrap();
        assert_eq!(read_name(&name), Some((short("shop").as_str(), part)));
        assert_eq!(read_revision(&object, &revision), Some(spec));
        assert_eq!(read_revision(&object, "0123456789"), None);

        let state = State::complete("1", &revision, 7);
        let object: Secret =
            serde_json::from_value(secret("kcm-system", ("shop", "1"), &Part::State, &state_data(&state)))
                .unwrap();
        assert_eq!(read_state(&object), Some(state));
        assert_eq!(read_name(&object.metadata.name.unwrap()), Some((short("shop").as_str(), Part::State)));
        assert_eq!(read_name("skein-render-web"), None);
    }
}
