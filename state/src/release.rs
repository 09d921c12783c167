//! Helm's record of a release, as Helm keeps it in Secrets: so that `helm list` and `helm history` show on the cluster
//! what is deployed there.
//!
//! Source: Helm 4, storage driver "Secrets" (releases of version 1).
//!
//! # Why a record has no values
//! `helm get values` shows none: values stay at the hub. They are each cluster's own, so nothing of them could be shared
//! as objects are: ten services with a kilobyte each are 100 MB more in the plans that a hub keeps of 10,000 edges, a
//! tenth of all its memory, and as much on every link, sealed where one key of them came from a Secret, for what
//! nothing at the edge reads. What they led to is all there (`helm get manifest`), and what was given stands in the
//! declaration. For the same reason `helm upgrade --reuse-values` by hand starts from the chart's own values; what is
//! declared is put back after it.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use protocol::UnixMillis;
use protocol::plan::{HookDeletion, HookEntry, HookEvent, UnitId};
use protocol::policy::ChartHead;
use serde_json::{Value, json};

/// What names of the Secrets begin with.
pub(crate) const RECORD_PREFIX: &str = "sh.helm.release.v1.";
/// Type of the Secrets.
pub(crate) const SECRET_TYPE: &str = "helm.sh/release.v1";
/// Bytes of a record that a Secret can hold, with room for the rest of the object.
const RECORD_BYTES_MAX: usize = 1_000_000;
/// Bytes that a record of others may have unpacked.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// What a record tells.
pub(crate) struct Facts<'a> {
    pub(crate) unit: &'a UnitId,
    pub(crate) chart: &'a ChartHead,
    pub(crate) revision: u64,
    pub(crate) first_deployed: UnixMillis,
    pub(crate) now: UnixMillis,
    pub(crate) status: &'a str,
    pub(crate) description: &'a str,
    /// As [`hook`] makes them.
    pub(crate) hooks: Vec<Value>,
}

/// Name of the Secret of a revision.
pub(crate) fn secret_name(release: &str, revision: u64) -> String {
    format!("{RECORD_PREFIX}{release}.v{revision}")
}

/// The record of a release that is deployed, packed; without its manifest where that is too large for a Secret.
pub(crate) fn packed(facts: &Facts<'_>, manifest: &str) -> String {
    let text = pack(&record(facts, manifest));
    if text.len() <= RECORD_BYTES_MAX {
        return text;
    }
    pack(&record(facts, "# left out: it is larger than a Secret can be\n"))
}

fn record(facts: &Facts<'_>, manifest: &str) -> Value {
    let Facts { unit, chart, revision, first_deployed, now, status, description, hooks } = facts;
    json!({
        "name": unit.name, "namespace": unit.namespace, "version": revision, "config": {}, "hooks": hooks,
        "manifest": manifest,
        "info": {
            "first_deployed": time(*first_deployed), "last_deployed": time(*now), "deleted": "",
            "description": description, "status": status,
        },
        "chart": {
            "metadata": {
                "apiVersion": "v2", "name": chart.name, "version": chart.version, "appVersion": chart.app_version,
            },
            "lock": null, "templates": [], "values": {}, "schema": null, "files": [],
        },
        "apply_method": "ssa",
    })
}

/// A hook as records have it.
pub(crate) fn hook(hook: &HookEntry, chart: &ChartHead, manifest: &str) -> Value {
    let event = |event: &HookEvent| match event {
        HookEvent::PreInstall => "pre-install",
        HookEvent::PostInstall => "post-install",
        HookEvent::PreUpgrade => "pre-upgrade",
        HookEvent::PostUpgrade => "post-upgrade",
        HookEvent::PreDelete => "pre-delete",
        HookEvent::PostDelete => "post-delete",
        HookEvent::PreRollback => "pre-rollback",
        HookEvent::PostRollback => "post-rollback",
        HookEvent::Test => "test",
    };
    let deletion = |deletion: &HookDeletion| match deletion {
        HookDeletion::BeforeCreation => "before-hook-creation",
        HookDeletion::Succeeded => "hook-succeeded",
        HookDeletion::Failed => "hook-failed",
    };
    json!({
        "name": hook.object.key.name, "kind": hook.object.key.kind,
        "path": format!("{}/templates", chart.name), "manifest": manifest,
        "events": hook.events.iter().map(event).collect::<Vec<_>>(),
        "weight": hook.weight,
        "delete_policies": hook.deletion.iter().map(deletion).collect::<Vec<_>>(),
        "last_run": {"started_at": "", "completed_at": "", "phase": ""},
    })
}

/// A record that another revision has followed; `None` if it is none.
pub(crate) fn superseded(text: &str) -> Option<String> {
    let mut record = unpack(text)?;
    *record.pointer_mut("/info/status")? = Value::from("superseded");
    Some(pack(&record))
}

/// The manifest of a record.
pub(crate) fn manifest(text: &str) -> Option<String> {
    unpack(text)?.get("manifest")?.as_str().map(str::to_owned)
}

/// When a release of a record was first deployed.
pub(crate) fn first_deployed(text: &str) -> Option<UnixMillis> {
    let record = unpack(text)?;
    let time: jiff::Timestamp = record.pointer("/info/first_deployed")?.as_str()?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

fn time(millis: UnixMillis) -> String {
    let time = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    time.unwrap_or_default().to_string()
}

fn pack(record: &Value) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(record.to_string().as_bytes()).and_then(|()| encoder.finish());
    // Memory takes all that is written.
    STANDARD.encode(written.unwrap_or_default())
}

pub(crate) fn unpack(text: &str) -> Option<Value> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    let mut json = Vec::new();
    GzDecoder::new(bytes.as_slice()).take(UNPACKED_BYTES_MAX).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(unit: &'a UnitId, chart: &'a ChartHead) -> Facts<'a> {
        Facts {
            unit,
            chart,
            revision: 3,
            first_deployed: 1_000,
            now: 90_061_500,
            status: "deployed",
            description: "Upgrade complete",
            hooks: Vec::new(),
        }
    }

    fn names() -> (UnitId, ChartHead) {
        let own = str::to_owned;
        let unit =
            UnitId { set_namespace: own("d"), set_name: own("s"), namespace: own("shop"), name: own("web") };
        (unit, ChartHead { name: own("shop"), version: own("1.2.3"), app_version: own("4") })
    }

    #[test]
    fn a_record_says_what_helm_looks_for() {
        let (unit, chart) = names();
        let text = packed(&facts(&unit, &chart), "a: b\n");
        let record = unpack(&text).unwrap();
        assert_eq!(record["info"]["last_deployed"], "1970-01-02T01:01:01.5Z");
        assert_eq!((&record["version"], &record["manifest"]), (&json!(3), &json!("a: b\n")));
        assert_eq!(first_deployed(&text), Some(1_000));
        let old = unpack(&superseded(&text).unwrap()).unwrap();
        assert_eq!(old["info"]["status"], "superseded");
        assert_eq!(secret_name("web", 3), "sh.helm.release.v1.web.v3");
    }

    #[test]
    fn what_is_too_large_or_no_record_is_left_out() {
        let (unit, chart) = names();
        // Nothing of it repeats, so nothing of it compresses.
        let mut manifest = String::new();
        for number in 0u32..40_000 {
            manifest.push_str(&blake3::hash(&number.to_le_bytes()).to_hex());
        }
        let text = packed(&facts(&unit, &chart), &manifest);
        assert!(
            text.len() < RECORD_BYTES_MAX
                && unpack(&text).unwrap()["manifest"].as_str().unwrap().starts_with("# left out")
        );
        assert_eq!((superseded("nonsense"), first_deployed("")), (None, None));
    }
}
