//! The hub away for a while: regions and edges restart, serve and repair from disk.

use anyhow::Result;
use skein_tests::mesh::Mesh;

use crate::transcript::FIRST_CLUSTER;

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn without_the_hub_everything_below_restarts_and_goes_on() -> Result<()> {
    let mesh = Mesh::start(&[]).await?;
    mesh.apply("hub", FIRST_CLUSTER)?;
    mesh.kubectl(
        "hub",
        &["wait", "clusterdeployment/shop-1", "-n", "default", "--for=condition=Ready", "--timeout=180s"],
    )?;
    mesh.skein(&["stop", "hub"])?;
    mesh.kill("region/eu")?;
    mesh.kill("edge/shop-1")?;
    mesh.until("region and edge find each other from disk", |mesh| {
        Ok(mesh.pid_of("region/eu").is_ok() && mesh.edge("shop-1")?["link"] == "up")
    })
    .await?;
    mesh.kubectl("edge/shop-1", &["delete", "deploy", "-n", "shop", "web"])?;
    mesh.until("the deployment comes back without hub", |mesh| {
        Ok(mesh.object("edge/shop-1", &["deploy", "-n", "shop", "web"])?.is_some())
    })
    .await?;
    let status = mesh.status()?;
    assert_eq!(status["hub"]["state"], "down");
    // What changes meanwhile arrives when the hub is back.
    mesh.apply("hub", &FIRST_CLUSTER.replace("replicaCount: 2", "replicaCount: 3"))?;
    mesh.skein(&["start", "hub"])?;
    mesh.until("the change arrives", |mesh| {
        let web = mesh.object("edge/shop-1", &["deploy", "-n", "shop", "web"])?.unwrap_or_default();
        Ok(web["spec"]["replicas"] == 3)
    })
    .await
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_dead_region_does_not_hold_up_a_deletion() -> Result<()> {
    let mesh = Mesh::start(&["--edges", "0"]).await?;
    mesh.apply("hub", FIRST_CLUSTER)?;
    mesh.kubectl(
        "hub",
        &["wait", "clusterdeployment/shop-1", "-n", "default", "--for=condition=Ready", "--timeout=180s"],
    )?;
    mesh.skein(&["stop", "region/eu"])?;
    mesh.kubectl("hub", &["delete", "clusterdeployment", "-n", "default", "shop-1", "--wait=false"])?;
    mesh.until("the object says that it waits for its region", |mesh| {
        let cluster =
            mesh.object("hub", &["clusterdeployment", "-n", "default", "shop-1"])?.unwrap_or_default();
        Ok(cluster["status"]["conditions"].to_string().contains("waiting for region"))
    })
    .await?;
    mesh.skein(&["start", "region/eu"])?;
    mesh.until("the deletion completes when the region is back", |mesh| {
        Ok(mesh.object("hub", &["clusterdeployment", "-n", "default", "shop-1"])?.is_none())
    })
    .await
}
