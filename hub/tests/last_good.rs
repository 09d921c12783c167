//! What was good stays: over a restart of the hub, and for a device that enrolled anew, while its source fails.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use identity::{DeviceKey, SealingKey};
use protocol::id::AgentId;
use serde_json::{Value, json};
use support::{Hub, K0RDENT, files_by_path, packed_files, service, store};

/// The first object of the first unit, as the agent gets it, once it is as `holds` says.
async fn content(hub: &Hub, edge: &AgentId, holds: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let now = || {
        let plan = hub.plans.get(edge)?;
        let body = plan.content.body();
        let unit = body.units.first()?;
        hub.plans.blob(&unit.objects.first()?.digest)
    };
    hub.plan(edge, |_| now().is_some_and(|bytes| holds(&bytes))).await;
    now().unwrap().to_vec()
}

#[tokio::test]
async fn a_device_that_enrolled_anew_gets_the_last_good_secret_sealed_to_its_new_key() {
    let hub = Hub::start().await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"password": "hunter22"},
    });
    let address = hub.serve("/login.yaml", secret.to_string().into_bytes()).await;
    let edge = store(&hub).await;
    hub.tell_sealing_key("store-1", "kcm-system", 3).await;
    service(
        &hub,
        "login",
        json!({"resources": {"deploymentType": "Remote", "remoteSourceSpec": {
            "http": {"url": format!("{address}/login.yaml"), "interval": "1h"},
        }}}),
    )
    .await;
    let opened =
        |seed: u8, blob: &[u8]| SealingKey::of(&DeviceKey::from_seed([seed; 32])).open(&edge, blob).ok();
    let first = content(&hub, &edge, |blob| opened(3, blob).is_some()).await;
    assert!(opened(4, &first).is_none());

    // The template goes, and the device loses its key.
    hub.delete(K0RDENT, "ServiceTemplate", "kcm-system", "login").await;
    hub.tell_sealing_key("store-1", "kcm-system", 4).await;
    let second = content(&hub, &edge, |blob| opened(4, blob).is_some()).await;
    assert_eq!(opened(4, &second), opened(3, &first));
    let plan = hub.plans.get(&edge).unwrap();
    assert_eq!(plan.content.body().units.len(), 1);
}

#[tokio::test]
async fn the_last_good_chart_of_a_tree_outlives_a_hub_that_starts_on_a_broken_commit() {
    let mut hub = Hub::start().await;
    let chart = |template: &str, metadata: &str| {
        packed_files(&[
            ("charts/web/Chart.yaml", metadata.to_owned()),
            ("charts/web/templates/map.yaml", template.to_owned()),
            ("charts/other/Chart.yaml", "apiVersion: v2\nname: other\nversion: 1.0.0\n".to_owned()),
        ])
    };
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {at: good}\n";
    let (files, address) = files_by_path().await;
    files
        .lock()
        .unwrap()
        .insert("/t.tgz".into(), chart(map, "apiVersion: v2\nname: web\nversion: 1.0.0\n").into());
    let spec = json!({"helm": {"chartSource": {
        "deploymentType": "Remote", "path": "./charts/web", "remoteSourceSpec": {
            "http": {"url": format!("{address}/t.tgz"), "interval": "10s"},
        },
    }}});
    service(&hub, "web", spec).await;
    let edge = store(&hub).await;
    let good = content(&hub, &edge, |_| true).await;
    hub.carry_out(&edge, protocol::report::UnitState::Deployed);

    // The newest revision of the tree breaks this chart: it is kept all the same, for it may be good for others.
    files.lock().unwrap().insert("/t.tgz".into(), chart(map, "name: [").into());
    hub.restart().await;
    let broken = |it: &Value| {
        let told = it["status"]["validationError"].as_str().unwrap_or_default();
        told.contains("the last good revision stays") && told.contains("charts/web")
    };
    hub.until("ServiceTemplate", "kcm-system", "web", broken).await;
    // And now the source is away, and the hub starts anew.
    files.lock().unwrap().clear();
    hub.restart().await;
    hub.link(&edge, true);
    assert_eq!(content(&hub, &edge, |_| true).await, good);
    hub.until("ServiceTemplate", "kcm-system", "web", broken).await;
}
