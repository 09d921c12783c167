//! Bad input gets a clear answer, and nothing is lost.

use std::process::Command;

use anyhow::{Context, Result};
use skein_tests::mesh::Mesh;

fn refused(result: Result<String>) -> String {
    result.map_or_else(|error| format!("{error:#}"), |said| format!("accepted: {said}"))
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn what_is_wrong_is_named_and_nothing_dies() -> Result<()> {
    let mesh = Mesh::start(&["--edges", "1"]).await?;
    objects(&mesh).await?;
    telemetry(&mesh).await?;
    queries(&mesh).await?;
    tokens(&mesh).await?;
    // A second `up` on the same state directory says who holds it.
    let second = refused(mesh.skein(&["up"]));
    let pid = mesh.pid().context("skein up runs")?.to_string();
    assert!(second.contains("is in use") && second.contains(&pid), "{second}");
    let status = mesh.status()?;
    assert_eq!(status["hub"]["state"], "up", "{status:#}");
    Ok(())
}

async fn objects(mesh: &Mesh) -> Result<()> {
    let wrong = "apiVersion: k0rdent.mirantis.com/v1beta1\nkind: ClusterDeployment\nmetadata: {name: x, namespace: default}\nspec: {template: 7}\n";
    let said = refused(mesh.apply("hub", wrong));
    assert!(said.contains("spec.template") && said.contains("string"), "{said}");
    let missing = "apiVersion: k0rdent.mirantis.com/v1beta1\nkind: ClusterDeployment\nmetadata: {name: x, namespace: default}\nspec: {template: nowhere, credential: nobody}\n";
    mesh.apply("hub", missing)?;
    mesh.until("the missing credential is named", |mesh| {
        let object = mesh.object("hub", &["clusterdeployment", "-n", "default", "x"])?.unwrap_or_default();
        let conditions = object["status"]["conditions"].to_string();
        Ok(conditions.contains("CredentialReady") && conditions.contains("nobody"))
    })
    .await?;
    mesh.kubectl("hub", &["delete", "clusterdeployment", "-n", "default", "x", "--timeout=180s"]).map(|_| ())
}

async fn telemetry(mesh: &Mesh) -> Result<()> {
    let otlp = mesh.edge("edge-1")?["otlp"]["http"].as_str().context("no OTLP address")?.to_owned();
    let client = reqwest::Client::new();
    let garbage = client.post(format!("http://{otlp}/v1/metrics"));
    let answer = garbage.header("content-type", "application/x-protobuf").body(vec![0xff; 64]).send().await?;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.headers()["content-type"], "application/x-protobuf");
    let other =
        client.post(format!("http://{otlp}/v1/metrics")).header("content-type", "text/plain").body("x");
    assert_eq!(other.send().await?.status(), 415);
    Ok(())
}

async fn queries(mesh: &Mesh) -> Result<()> {
    let url = mesh.hub_url()?;
    let answer = reqwest::get(format!("{url}/api/v1/query?query=sum(")).await?;
    assert_eq!(answer.status(), 400);
    let body: serde_json::Value = answer.json().await?;
    assert_eq!((&body["status"], &body["errorType"]), (&"error".into(), &"bad_data".into()));
    let answer = reqwest::get(format!("{url}/allocation?window=soon")).await?;
    assert_eq!(answer.status(), 400);
    Ok(())
}

/// A token that is altered, and one that another device used, are refused with the reason on both sides.
async fn tokens(mesh: &Mesh) -> Result<()> {
    let token = mesh.skein(&["token", "create", "--region", "eu", "--label", "site=test"])?.trim().to_owned();
    let kubeconfig = mesh.skein(&["kubeconfig", "edge/edge-1"])?.trim().to_owned();
    let enroll = |token: &str, name: &str| {
        let folder = mesh.state().join(name);
        skein_tests::process::output(
            Command::new(mesh.program())
                .args([
                    "agent",
                    "edge-agent",
                    "enroll",
                    token,
                    "--name",
                    name,
                    "--kubeconfig",
                    &kubeconfig,
                    "--state",
                ])
                .arg(folder),
        )
    };
    let altered = refused(enroll(&token[..token.len() - 4], "altered"));
    assert!(altered.contains("cut off or altered"), "{altered}");
    enroll(&token, "first")?;
    let second = refused(enroll(&token, "second"));
    assert!(second.contains("was used already"), "{second}");
    let shown = mesh.kubectl("hub", &["get", "jointokens", "-n", "kcm-system", "-o", "json"])?;
    assert!(shown.contains("was used already"), "{shown}");
    mesh.until("an Event tells of the refusal", |mesh| {
        Ok(mesh.kubectl("hub", &["get", "events", "-A"])?.contains("JoinRefused"))
    })
    .await?;
    let expired = mesh.skein(&["token", "create", "--region", "eu", "--ttl", "1s"])?.trim().to_owned();
    mesh.until("the token's time is over", |mesh| {
        Ok(mesh.kubectl("hub", &["get", "jointokens", "-n", "kcm-system"])?.contains("Expired"))
    })
    .await?;
    let late = refused(enroll(&expired, "late"));
    assert!(late.contains("expired"), "{late}");
    let edge =
        mesh.object("hub", &["edge", "-n", "kcm-system", "first"])?.context("no Edge of the device")?;
    assert_eq!(edge["metadata"]["labels"]["site"], "test");
    Ok(())
}
