//! Programs that were off until their certificates had expired.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{AgentIdentity, Authority, SystemEntropy};
use skein_tests::mesh::Mesh;

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// The mesh's authority, as its hub keeps it.
fn authority(mesh: &Mesh) -> Result<Authority> {
    let secret =
        mesh.object("hub", &["secret", "-n", "kcm-system", "skein-authority"])?.context("a Secret")?;
    let mut parts = BTreeMap::new();
    for (name, value) in secret["data"].as_object().context("data")? {
        parts.insert(name.clone(), STANDARD.decode(value.as_str().unwrap_or_default())?);
    }
    Ok(Authority::from_secret(&parts)?)
}

/// Gives a part that does not run a certificate of a year ago.
fn age(mesh: &Mesh, authority: &Authority, part: &str) -> Result<()> {
    let folder = mesh.state().join("agents").join(part.replacen('/', "-", 1)).join("identity");
    let mut identity = AgentIdentity::load(&folder)?;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let csr = identity.tls.signing_request()?;
    identity.chain = authority.issue(&identity.agent, &csr, now - YEAR_MS, &mut SystemEntropy)?;
    (identity.not_before, identity.not_after) = identity::certificate::validity(&identity.chain[0])?;
    ensure!(identity.not_after < now, "{part} should have an old certificate");
    Ok(identity.store(&folder)?)
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn region_and_edge_that_were_off_for_a_year_come_back_by_themselves() -> Result<()> {
    let mesh = Mesh::start(&["--edges", "1"]).await?;
    mesh.until("the edge is linked", |mesh| Ok(mesh.edge("edge-1")?["link"] == "up")).await?;
    let authority = authority(&mesh)?;
    let parts = ["edge/edge-1", "region/eu"];
    for part in parts {
        mesh.skein(&["stop", part])?;
        age(&mesh, &authority, part)?;
    }
    for part in parts {
        mesh.skein(&["start", part])?;
    }
    let returns = |mesh: &Mesh, kind: &str, name: &str| -> Result<bool> {
        let all = mesh.object("hub", &[kind, "--all-namespaces"])?.context("a list")?;
        let items = all["items"].as_array().cloned().unwrap_or_default();
        let object = items.iter().find(|item| item["metadata"]["name"] == name).context("it is listed")?;
        let kept = object["metadata"]["annotations"]["skein.dev/returns"].as_str().unwrap_or_default();
        Ok(kept.contains("\"count\":1"))
    };
    mesh.until("both have returned, once", |mesh| {
        Ok(returns(mesh, "regions.k0rdent.mirantis.com", "eu")?
            && returns(mesh, "edges.skein.dev", "edge-1")?)
    })
    .await?;
    mesh.until("the edge is linked again", |mesh| Ok(mesh.edge("edge-1")?["link"] == "up")).await
}
