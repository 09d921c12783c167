//! The ConfigMap `skein-local` of the child cluster: the second way in which its owner holds, vetoes and sets windows, for
//! those who have kubectl and no shell on the device. The device's own file goes before it.
//!
//! # Why a copy
//! It is written to a file beside the device's own, and obeyed from there: what was decided is in force from the first
//! moment after a reboot, before the cluster's API answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use process::Process;
use tokio::sync::Notify;

/// Name of the ConfigMap.
pub const NAME: &str = "skein-local";
/// Its namespace, where the agent runs outside of the cluster.
pub const NAMESPACE: &str = "skein-system";
/// Its key: what the device's file holds as well.
pub const KEY: &str = "local.json";
/// Name of the copy.
pub(super) const FILE: &str = "owner-config-map.json";

/// Follows the ConfigMap until the process ends; wakes whoever obeys it.
pub(crate) fn follow(folder: PathBuf, client: kube::Client, kept: Arc<Notify>, process: &Process) {
    let cancel = process.cancel.clone();
    let namespace = match client.default_namespace() {
        "default" => NAMESPACE.to_owned(),
        own => own.to_owned(),
    };
    let api = Api::<ConfigMap>::namespaced(client, &namespace);
    process.tasks.spawn(async move {
        let mut events = std::pin::pin!(watch_object(api, NAME).default_backoff());
        while let Some(Some(event)) = cancel.run_until_cancelled(events.next()).await {
            // While the API is away, what was read last stays.
            let Ok(object) = event else { continue };
            if let Err(error) = keep(&folder, object.as_ref()) {
                tracing::warn!(%error, "what ConfigMap {NAME} says is not kept");
            }
            kept.notify_one();
        }
    });
}

/// Keeps what it says.
fn keep(folder: &Path, object: Option<&ConfigMap>) -> std::io::Result<()> {
    let text = object.and_then(|object| object.data.as_ref()?.get(KEY));
    let path = folder.join(FILE);
    let Some(text) = text else {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    };
    if std::fs::read_to_string(&path).is_ok_and(|kept| kept == *text) {
        return Ok(());
    }
    super::store(folder, FILE, text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_it_says_is_kept_until_it_says_something_else_or_goes() {
        let folder = tempfile::tempdir().unwrap();
        let map = |key: &str, text: &str| ConfigMap {
            data: Some(BTreeMap::from([(key.to_owned(), text.to_owned())])),
            ..ConfigMap::default()
        };
        let kept = || std::fs::read_to_string(folder.path().join(FILE)).ok();
        keep(folder.path(), None).unwrap();
        assert_eq!(kept(), None);
        for text in ["{}", "{}", "not even JSON"] {
            keep(folder.path(), Some(&map(KEY, text))).unwrap();
            assert_eq!(kept().as_deref(), Some(text));
        }
        keep(folder.path(), Some(&map("other", "{}"))).unwrap();
        assert_eq!(kept(), None);
    }
}
