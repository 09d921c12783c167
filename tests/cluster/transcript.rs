//! The README's transcript, line by line.

use anyhow::Result;
use skein_tests::mesh::Mesh;

/// The examples that come with the project.
pub(crate) const FIRST_CLUSTER: &str = include_str!("../../deploy/examples/first-cluster.yaml");

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn the_first_minutes_of_a_newcomer() -> Result<()> {
    let mut mesh = Mesh::start(&[]).await?;
    let told = mesh.told();
    assert!(told.contains("ready in "), "{told}");
    let table = mesh.skein(&["status"])?;
    for part in ["eu", "us", "edge-1", "edge-2", "edge-3"] {
        assert!(table.contains(part), "{table}");
    }
    let listed = mesh.kubectl(
        "hub",
        &["get", "regions,clusterdeployments,multiclusterservices,servicesets,edges", "-A"],
    )?;
    assert!(listed.contains("region.k0rdent.mirantis.com/eu"), "{listed}");

    mesh.apply("hub", FIRST_CLUSTER)?;
    let wait =
        ["wait", "clusterdeployment/shop-1", "-n", "default", "--for=condition=Ready", "--timeout=180s"];
    mesh.kubectl("hub", &wait)?;
    let running = mesh.kubectl("edge/shop-1", &["get", "deploy,pods", "-A"])?;
    assert!(running.contains("deployment.apps/web") && running.contains("pod/web-"), "{running}");
    assert!(running.contains("deployment.apps/banner"), "{running}");

    mesh.kubectl("edge/shop-1", &["delete", "deploy", "-n", "shop", "web"])?;
    mesh.until("the deleted deployment is back", |mesh| {
        Ok(mesh.object("edge/shop-1", &["deploy", "-n", "shop", "web"])?.is_some())
    })
    .await?;
    region_away_and_back(&mesh).await?;
    metrics_and_cost(&mesh).await?;

    // A second `up` resumes the same mesh with the same identities.
    let before = mesh.object("hub", &["edge", "-n", "kcm-system", "edge-1"])?.unwrap_or_default();
    mesh.interrupt().await?;
    mesh.up().await?;
    let after = mesh.object("hub", &["edge", "-n", "kcm-system", "edge-1"])?.unwrap_or_default();
    assert_eq!(before["status"]["agentId"], after["status"]["agentId"]);
    mesh.until("shop-1 is linked again", |mesh| Ok(mesh.edge("shop-1")?["link"] == "up")).await?;

    // Deleting the cluster takes everything of it away.
    mesh.kubectl("hub", &["delete", "clusterdeployment", "-n", "default", "shop-1", "--timeout=180s"])?;
    mesh.until("the cluster's control plane is gone", |mesh| {
        Ok(mesh.object("region/eu", &["hostedcontrolplane", "-n", "default", "shop-1"])?.is_none())
    })
    .await
}

/// While the region is stopped, its edges repair and spool; when it is back, nothing is missing.
async fn region_away_and_back(mesh: &Mesh) -> Result<()> {
    mesh.skein(&["stop", "region/eu"])?;
    mesh.until("the edge notices that its region is away", |mesh| Ok(mesh.edge("shop-1")?["link"] == "down"))
        .await?;
    mesh.kubectl("edge/shop-1", &["delete", "deploy", "-n", "shop", "web"])?;
    mesh.until("the deployment comes back without the region", |mesh| {
        Ok(mesh.object("edge/shop-1", &["deploy", "-n", "shop", "web"])?.is_some())
    })
    .await?;
    mesh.until("telemetry waits in the spool", |mesh| {
        Ok(mesh.edge("shop-1")?["spool"]["items"].as_u64() > Some(0))
    })
    .await?;
    let missing = mesh.skein(&["query", "count(skein_edge_applies_total)"])?;
    assert!(missing.contains("region \"eu\" is missing"), "{missing}");
    mesh.skein(&["start", "region/eu"])?;
    mesh.until("the spool is empty again", |mesh| {
        let edge = mesh.edge("shop-1")?;
        Ok(edge["link"] == "up" && edge["spool"]["items"].as_u64() <= Some(2))
    })
    .await?;
    assert_eq!(mesh.edge("shop-1")?["gaps"], 0);
    Ok(())
}

async fn metrics_and_cost(mesh: &Mesh) -> Result<()> {
    mesh.until("both regions answer the query", |mesh| {
        let answer = mesh.skein(&["query", "sum by (region) (rate(skein_edge_applies_total[5m]))"])?;
        Ok(answer.contains("region=\"eu\"") && answer.contains("region=\"us\""))
    })
    .await?;
    mesh.until("the shop costs something", |mesh| {
        Ok(mesh
            .skein(&["cost", "--by", "namespace", "--window", "1h"])?
            .lines()
            .any(|line| line.starts_with("shop")))
    })
    .await
}
