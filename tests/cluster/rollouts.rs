//! A rollout over edges of a real mesh: a canary that breaks takes everybody back, a killed hub forgets nothing, and an
//! edge that is away gets its turn when it is back.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use skein_tests::mesh::Mesh;

/// A service whose only object says its revision. The API refuses the object of the broken one.
fn service(revision: &str, object: &str) -> String {
    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": object}, "data": {"revision": revision},
    });
    let documents = [
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": revision, "namespace": "kcm-system"},
            "data": {"notice.yaml": manifest.to_string()},
        }),
        json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceTemplate",
            "metadata": {"name": revision, "namespace": "kcm-system"},
            "spec": {"resources": {
                "deploymentType": "Remote", "path": "", "localSourceRef": {"kind": "ConfigMap", "name": revision},
            }},
        }),
        json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService", "metadata": {"name": "notice"},
            "spec": {
                "clusterSelector": {"matchLabels": {"site": "store"}},
                "rollout": {
                    "waves": [{"name": "canary", "selector": {"matchLabels": {"ring": "canary"}}, "gate": "Manual"}],
                    "maxUnavailable": 1, "abortOnFailure": 1, "away": {"max": 1},
                },
                "serviceSpec": {"services": [{"name": "notice", "namespace": "default", "template": revision}]},
            },
        }),
    ];
    documents.map(|document| document.to_string()).join("\n---\n")
}

fn rollout(mesh: &Mesh) -> Result<Value> {
    let told = mesh.skein(&["rollout", "status", "notice", "--json"])?;
    serde_json::from_str(&told).context(told)
}

/// What an edge's object says.
fn revision(mesh: &Mesh, edge: &str) -> Result<Value> {
    let object = mesh.object(&format!("edge/{edge}"), &["configmap", "-n", "default", "notice"])?;
    Ok(object.unwrap_or_default()["data"]["revision"].clone())
}

async fn until_phase(mesh: &Mesh, phase: &str) -> Result<()> {
    mesh.until(&format!("the rollout is {phase}"), |mesh| Ok(rollout(mesh)?["phase"] == phase)).await
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_canary_that_breaks_spares_the_fleet_and_who_was_away_catches_up() -> Result<()> {
    let mesh = Mesh::start(&[]).await?;
    mesh.kubectl("hub", &["label", "edges", "-n", "kcm-system", "--all", "site=store"])?;
    mesh.kubectl("hub", &["label", "edges", "-n", "kcm-system", "edge-1", "ring=canary"])?;
    mesh.apply("hub", &service("notice-1", "notice"))?;
    until_phase(&mesh, "WaitingForGate").await?;
    assert_eq!(revision(&mesh, "edge-1")?, "notice-1");
    assert_eq!(revision(&mesh, "edge-2")?, Value::Null);
    let told = mesh.skein(&["rollout", "promote", "notice"])?;
    assert_eq!(told.trim(), "multiclusterservice.k0rdent.mirantis.com/notice promoted");
    until_phase(&mesh, "Completed").await?;
    let refused = mesh.skein(&["rollout", "promote", "notice"]).unwrap_err();
    assert!(format!("{refused:#}").contains("there is nothing to promote"), "{refused:#}");

    // What breaks: the canary fails, has the one before again, and nobody else ever saw it.
    mesh.skein(&["stop", "edge/edge-3"])?;
    mesh.apply("hub", &service("notice-2", "Not_A_Name"))?;
    until_phase(&mesh, "Aborted").await?;
    mesh.kill("hub")?;
    mesh.until("the hub is back", |mesh| Ok(mesh.pid_of("hub").is_ok() && rollout(mesh).is_ok())).await?;
    assert_eq!(rollout(&mesh)?["phase"], "Aborted");
    assert_eq!(
        (revision(&mesh, "edge-1")?, revision(&mesh, "edge-2")?),
        (json!("notice-1"), json!("notice-1"))
    );

    // What cures it, while one edge is away and the hub dies once more in the middle.
    mesh.apply("hub", &service("notice-3", "notice"))?;
    until_phase(&mesh, "WaitingForGate").await?;
    mesh.kill("hub")?;
    mesh.until("the hub is back", |mesh| {
        Ok(mesh.pid_of("hub").is_ok() && mesh.edge("edge-2")?["link"] == "up")
    })
    .await?;
    assert_eq!(
        (revision(&mesh, "edge-1")?, revision(&mesh, "edge-2")?),
        (json!("notice-3"), json!("notice-1"))
    );
    mesh.skein(&["rollout", "promote", "notice"])?;
    until_phase(&mesh, "Completed").await?;
    let shown = rollout(&mesh)?;
    assert_eq!(
        (&shown["ready"], &shown["away"], &shown["failed"]),
        (&json!(2), &json!(1), &json!(0)),
        "{shown:#}"
    );
    assert_eq!(revision(&mesh, "edge-3")?, "notice-1");
    mesh.skein(&["start", "edge/edge-3"])?;
    mesh.until("who was away has it too", |mesh| Ok(revision(mesh, "edge-3")? == "notice-3")).await?;
    mesh.until("and is counted", |mesh| Ok(rollout(mesh)?["ready"] == 3)).await
}
