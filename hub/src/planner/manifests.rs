//! Bundles from manifests: those of a template as they are, and what a `helm` binary printed.

use protocol::plan::{HookDeletion, HookEntry, HookEvent};
use render::Limits;
use serde_json::{Value, json};

use super::bundle::{Bundle, Piece, piece};
use super::rendering::Request;

/// A bundle from what `helm template` printed: objects in its order, hooks by their annotations.
pub(super) fn printed(text: &str, labels: &[(String, String)]) -> Result<Bundle, String> {
    let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let objects =
        render::parse_yaml_documents(text, &Limits::default()).map_err(|error| error.to_string())?;
    let mut bundle = Bundle::default();
    for object in objects {
        let annotation = |name: &str| {
            let value = object.pointer("/metadata/annotations")?.get(name)?.as_str()?;
            Some(value.to_owned())
        };
        let Some(events) = annotation("helm.sh/hook") else {
            add(&mut bundle, object, &labels)?;
            continue;
        };
        let words = |text: String| text.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>();
        let deletion = annotation("helm.sh/hook-delete-policy").map(words).unwrap_or_default();
        let mut deletion: Vec<_> = deletion.iter().filter_map(|word| deletion_named(word)).collect();
        if deletion.is_empty() {
            deletion.push(HookDeletion::BeforeCreation);
        }
        let entry = piece(&object)?;
        bundle.hooks.push(Piece {
            entry: HookEntry {
                object: entry.entry,
                events: words(events).iter().filter_map(|word| event_named(word)).collect(),
                weight: annotation("helm.sh/hook-weight").and_then(|text| text.parse().ok()).unwrap_or(0),
                deletion,
            },
            content: entry.content,
            confidential: entry.confidential,
        });
    }
    bundle.admitted()
}

fn event_named(word: &str) -> Option<HookEvent> {
    Some(match word {
        "pre-install" => HookEvent::PreInstall,
        "post-install" => HookEvent::PostInstall,
        "pre-upgrade" => HookEvent::PreUpgrade,
        "post-upgrade" => HookEvent::PostUpgrade,
        "pre-delete" => HookEvent::PreDelete,
        "post-delete" => HookEvent::PostDelete,
        "pre-rollback" => HookEvent::PreRollback,
        "post-rollback" => HookEvent::PostRollback,
        "test" | "test-success" => HookEvent::Test,
        _ => return None,
    })
}

fn deletion_named(word: &str) -> Option<HookDeletion> {
    Some(match word {
        "before-hook-creation" => HookDeletion::BeforeCreation,
        "hook-succeeded" => HookDeletion::Succeeded,
        "hook-failed" => HookDeletion::Failed,
        _ => return None,
    })
}

/// A bundle from files of manifests.
///
/// # Errors
/// Which file is wrong, and where.
pub(super) fn given(
    files: &[(String, String)],
    request: &Request<'_>,
    limits: &Limits,
) -> Result<Bundle, String> {
    let mut objects = Vec::new();
    for (file, text) in files {
        objects
            .extend(render::parse_yaml_documents(text, limits).map_err(|error| format!("{file}: {error}"))?);
    }
    objects.sort_by_key(rank);
    let mut bundle = Bundle::default();
    for object in objects {
        add(&mut bundle, object, request.labels)?;
    }
    Ok(bundle)
}

/// What others need comes first; the rest stays in the order of the files.
fn rank(object: &Value) -> u8 {
    match object["kind"].as_str().unwrap_or_default() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "ServiceAccount"
        | "Secret"
        | "ConfigMap"
        | "StorageClass"
        | "PersistentVolume"
        | "PersistentVolumeClaim" => 2,
        "ClusterRole" | "Role" => 3,
        "ClusterRoleBinding" | "RoleBinding" => 4,
        "Service" => 5,
        _ => 6,
    }
}

/// Adds an object with labels that every object gets.
///
/// # Errors
/// What the object lacks.
pub(super) fn add(bundle: &mut Bundle, mut object: Value, labels: &[(&str, &str)]) -> Result<(), String> {
    if !labels.is_empty()
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let all = metadata.entry("labels").or_insert_with(|| json!({}));
        if all.is_null() {
            *all = json!({});
        }
        if let Some(all) = all.as_object_mut() {
            all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        }
    }
    let piece = piece(&object)?;
    if piece.entry.key.group == "cluster.x-k8s.io" && piece.entry.key.kind == "Cluster" {
        bundle.cluster = Some(object);
    }
    bundle.objects.push(piece);
    Ok(())
}
