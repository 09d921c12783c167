//! How soon what was changed by hand is as it should be again, with a link and without.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use skein_tests::fleet::{Fleet, milliseconds};
use skein_tests::measure::{Aim, Table, quantile};

const EDGES: usize = 10;
/// Drifts of one kind.
const TIMES: usize = 20;
const DEADLINE: Duration = Duration::from_secs(60);
/// Somebody who changes things again and again is taken for a rival and answered ever more slowly; one who does so once
/// is not.
const APART: Duration = Duration::from_millis(300);

pub(crate) async fn measure() -> Result<()> {
    let fleet = Fleet::start(EDGES).await?;
    let table = Table::new("fleet", "drift: a value changed, and an object deleted");
    for (link, name) in [(true, "linked"), (false, "alone")] {
        if !link {
            fleet.cut().await;
        }
        let (mut changed, mut deleted) = (Vec::new(), Vec::new());
        for time in 0..TIMES {
            let maps = Api::<ConfigMap>::namespaced(fleet.edge(time % EDGES).clone(), "bench");
            changed.push(repaired(&maps, true).await.with_context(|| format!("changed, {name}"))?);
            deleted.push(repaired(&maps, false).await.with_context(|| format!("deleted, {name}"))?);
            tokio::time::sleep(APART).await;
        }
        let row = |what: &str, share: f64, name: &str, values: &mut [f64]| {
            table.row(&format!("drift, {what}, {name}"), quantile(values, share), "ms", Aim::AtMost(1_000.0));
        };
        row("changed, p50", 0.5, name, &mut changed);
        row("changed, worst", 1.0, name, &mut changed);
        row("deleted, p50", 0.5, name, &mut deleted);
        row("deleted, worst", 1.0, name, &mut deleted);
    }
    fleet.end().await;
    Ok(())
}

async fn repaired(maps: &Api<ConfigMap>, change: bool) -> Result<f64> {
    let before = maps.get("all").await?;
    let begun = Instant::now();
    let touched = if change {
        let patch = json!({"data": {"edit": "by hand"}});
        let object = maps.patch("all", &PatchParams::default(), &Patch::Merge(patch)).await?;
        object.metadata.resource_version
    } else {
        maps.delete("all", &DeleteParams::default()).await?;
        before.metadata.resource_version.clone()
    };
    let whole = move |object: Option<&ConfigMap>| {
        object.is_some_and(|object| object.metadata.resource_version != touched && object.data == before.data)
    };
    let waited = await_condition(maps.clone(), "all", whole);
    tokio::time::timeout(DEADLINE, waited).await.context("it was not put back in time")??;
    Ok(milliseconds(begun.elapsed()))
}
