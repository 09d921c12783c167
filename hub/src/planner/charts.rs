//! Bundles from charts, rendered in process; randomness and the clock come from a seed.

use protocol::plan::{HookDeletion, HookEntry, HookEvent};
use render::{Capabilities, Chart, Entropy, Input, Limits, NoCluster, Release, RenderError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::bundle::{Bundle, Piece, piece};
use super::manifests::add;
use super::rendering::{Fallback, Request, Seed, Unrendered};

/// The bundle of a chart.
///
/// # Errors
/// Where the chart fails, and whether for want of something in the engine.
pub(super) fn rendered(
    chart: &Chart,
    request: &Request<'_>,
    limits: &Limits,
    seed: Seed,
) -> Result<Bundle, Unrendered> {
    let values = values(request.documents).map_err(Unrendered::failed)?;
    let mut entropy = Seeded { seed, counter: 0 };
    let mut capabilities = Capabilities::default();
    if let Some(version) = request.kubernetes_version {
        version.clone_into(&mut capabilities.kube_version);
    }
    let input = Input {
        chart,
        release: Release {
            name: request.name,
            namespace: request.namespace,
            revision: 1,
            is_install: true,
            is_upgrade: false,
        },
        values: &values,
        integers: false,
        capabilities: &capabilities,
        limits,
        skip_crds: request.options.skip_crds,
        skip_schema_validation: request.options.skip_schema_validation,
    };
    let rendered = render::render(&input, &mut entropy, &NoCluster).map_err(|error| Unrendered {
        message: error.to_string(),
        failed: true,
        waits_for: None,
        fallback: if matches!(error, RenderError::Parse { function: Some(_), .. }) {
            Fallback::Perhaps
        } else if error.unsupported_function().is_some() {
            Fallback::Helps
        } else {
            Fallback::No
        },
    })?;
    let mut bundle = Bundle { entropy: rendered.used_entropy || rendered.used_clock, ..Bundle::default() };
    let crds = rendered.crds.map_err(|error| Unrendered::failed(error.to_string()))?;
    for object in crds.into_iter().chain(rendered.objects) {
        add(&mut bundle, object.value, request.labels)
            .map_err(|error| Unrendered::failed(format!("{}: {error}", object.source)))?;
    }
    for hook in rendered.hooks {
        let entry = piece(&hook.object.value)
            .map_err(|error| Unrendered::failed(format!("{}: {error}", hook.object.source)))?;
        bundle.hooks.push(Piece {
            entry: HookEntry {
                object: entry.entry,
                events: hook.events.iter().map(|event| hook_event(*event)).collect(),
                weight: hook.weight,
                deletion: hook.delete_policies.iter().map(|policy| hook_deletion(*policy)).collect(),
            },
            content: entry.content,
            confidential: entry.confidential,
        });
    }
    Ok(bundle)
}

/// The values documents, each laid over the one before.
///
/// # Errors
/// Where one cannot be read.
pub(super) fn values(documents: &[String]) -> Result<Value, String> {
    documents.iter().try_fold(json!({}), |below, text| {
        let over = render::parse_values(text).map_err(|error| error.to_string())?;
        Ok(render::merge_values(below, over))
    })
}

fn hook_event(event: render::HookEvent) -> HookEvent {
    match event {
        render::HookEvent::PreInstall => HookEvent::PreInstall,
        render::HookEvent::PostInstall => HookEvent::PostInstall,
        render::HookEvent::PreDelete => HookEvent::PreDelete,
        render::HookEvent::PostDelete => HookEvent::PostDelete,
        render::HookEvent::PreUpgrade => HookEvent::PreUpgrade,
        render::HookEvent::PostUpgrade => HookEvent::PostUpgrade,
        render::HookEvent::PreRollback => HookEvent::PreRollback,
        render::HookEvent::PostRollback => HookEvent::PostRollback,
        render::HookEvent::Test => HookEvent::Test,
    }
}

fn hook_deletion(policy: render::DeletePolicy) -> HookDeletion {
    match policy {
        render::DeletePolicy::BeforeHookCreation => HookDeletion::BeforeCreation,
        render::DeletePolicy::HookSucceeded => HookDeletion::Succeeded,
        render::DeletePolicy::HookFailed => HookDeletion::Failed,
    }
}

/// SHA-256 in counter mode over the seed.
struct Seeded {
    seed: Seed,
    counter: u64,
}

impl Entropy for Seeded {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 32);
        while bytes.len() < count {
            let mut hasher = Sha256::new();
            hasher.update(self.seed.bytes);
            hasher.update(self.counter.to_be_bytes());
            self.counter += 1;
            bytes.extend_from_slice(&hasher.finalize());
        }
        bytes.truncate(count);
        bytes
    }

    fn now_unix_seconds(&mut self) -> i64 {
        self.seed.time
    }
}
