//! From nothing, or from what was there, to a mesh whose every link is up.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::k0rdent::{Region, RegionSpec};
use api::skein::{Edge, PriceBook};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use identity::TokenRole;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use serde_json::json;

use super::mesh::Mesh;
use super::progress::Progress;
use super::{charts, clusters};
use crate::command::token::{self, SYSTEM_NAMESPACE};

/// Longest time for one part to come up.
const DEADLINE: Duration = Duration::from_secs(60);
/// Who `skein up` is among the managers of fields.
const MANAGER: &str = "skein-up";

/// Starts everything, in the order of dependence; parts that do not depend on each other start together.
pub(super) async fn bootstrap(mesh: &Mesh, progress: &Progress) -> Result<()> {
    let management = management_cluster(mesh).await?;
    progress.done("management API", &management.url);
    mesh.start_hub()?;
    serve_charts(mesh, &management.client).await?;
    for region in mesh.ports.record().regions {
        ensure_region_object(&management.client, &region).await?;
    }
    let hub = mesh.bound("hub").await?;
    let address = |role: &str| hub.addresses.get(role).map_or_else(String::new, ToString::to_string);
    progress.done("hub", &format!("http://{} link {}", address("http"), address("link")));
    // A part that is stopped on purpose is not waited for.
    let record = mesh.ports.record();
    let mut regions: FuturesUnordered<_> =
        record.regions.iter().map(|name| region(mesh, &management.client, name)).collect();
    while let Some(started) = regions.next().await {
        let (part, detail) = started?;
        progress.done(&part, &detail);
    }
    for (cluster, embedded) in &record.embedded {
        mesh.clusters.ensure(&format!("edge/{cluster}"), &embedded.kubernetes_version).await?;
        if let Some(agent) = &embedded.agent {
            mesh.start_edge(agent, None)?;
        }
    }
    let mut edges: FuturesUnordered<_> =
        record.edges.iter().map(|(name, region)| edge(mesh, &management.client, name, region)).collect();
    while let Some(started) = edges.next().await {
        let (part, detail) = started?;
        progress.done(&part, &detail);
    }
    Ok(())
}

async fn management_cluster(mesh: &Mesh) -> Result<clusters::Ready> {
    let ready = mesh.clusters.ensure("hub", clusters::KUBERNETES_VERSION).await?;
    clusters::install(&ready.client, &api::all_crds()).await?;
    clusters::install(&ready.client, &clusters::third_party()?).await?;
    let namespace = Namespace { metadata: named(SYSTEM_NAMESPACE, None), ..Namespace::default() };
    Api::<Namespace>::all(ready.client.clone())
        .patch(SYSTEM_NAMESPACE, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&namespace))
        .await
        .context("failed to make namespace kcm-system")?;
    Ok(ready)
}

fn named(name: &str, namespace: Option<&str>) -> kube::api::ObjectMeta {
    kube::api::ObjectMeta {
        name: Some(name.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..Default::default()
    }
}

/// The charts that come with Skein, where k0rdent's templates look for them, and a price book to begin with.
async fn serve_charts(mesh: &Mesh, management: &kube::Client) -> Result<()> {
    let listener = mesh.ports.listen("charts").await?;
    let url = format!("http://{}{}/", listener.local_addr()?, charts::PATH);
    let (router, cancel) = (charts::repository()?, mesh.cancel.clone());
    mesh.tasks.spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "the chart repository failed");
        }
    });
    let kind = GroupVersionKind::gvk("source.toolkit.fluxcd.io", "v1", "HelmRepository");
    let resource = ApiResource::from_gvk_with_plural(&kind, "helmrepositories");
    for namespace in [SYSTEM_NAMESPACE, "default"] {
        let api = Api::<DynamicObject>::namespaced_with(management.clone(), namespace, &resource);
        for name in ["kcm-templates", "skein-charts"] {
            let repository = json!({
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": "HelmRepository",
                "metadata": {"name": name, "labels": {"k0rdent.mirantis.com/managed": "true"}},
                "spec": {"url": url, "interval": "10m"},
            });
            api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&repository))
                .await
                .with_context(|| format!("failed to make HelmRepository {namespace}/{name}"))?;
        }
    }
    let books = Api::<PriceBook>::all(management.clone());
    if books.get_opt("default").await?.is_none() {
        let book = json!({
            "apiVersion": "skein.dev/v1alpha1",
            "kind": "PriceBook",
            "metadata": {"name": "default"},
            // OpenCost's default prices for on-premises clusters, per hour.
            "spec": {"currency": "USD", "defaults": {"cpuCoreHour": "0.031611", "memoryGibHour": "0.004237"}},
        });
        books
            .patch("default", &PatchParams::apply(MANAGER), &Patch::Apply(&book))
            .await
            .context("failed to make PriceBook default")?;
    }
    Ok(())
}

async fn ensure_region_object(management: &kube::Client, name: &str) -> Result<()> {
    let regions = Api::<Region>::all(management.clone());
    if regions.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let region = Region::new(name, RegionSpec::default());
    regions
        .create(&Default::default(), &region)
        .await
        .with_context(|| format!("failed to make Region {name}"))?;
    Ok(())
}

/// A region: its cluster, its agent, its link.
async fn region(mesh: &Mesh, management: &kube::Client, name: &str) -> Result<(String, String)> {
    let part = format!("region/{name}");
    let cluster = mesh.clusters.ensure(&part, clusters::KUBERNETES_VERSION).await?;
    clusters::install(&cluster.client, &clusters::third_party()?).await?;
    let control_plane: Vec<_> = api::all_crds()
        .into_iter()
        .filter(|definition| definition.spec.names.kind == "HostedControlPlane")
        .collect();
    clusters::install(&cluster.client, &control_plane).await?;
    let stopped = mesh.ports.record().stopped.contains(&part);
    let token = if enrolled(mesh, &part) || stopped {
        None
    } else {
        Some(mint(management, TokenRole::Region, name, name).await?)
    };
    mesh.start_region(name, token.as_deref())?;
    if stopped {
        return Ok((part, "stopped; `skein start` starts it".to_owned()));
    }
    let up = |region: Option<&Region>| {
        let agent = region.and_then(|region| region.status.as_ref()).and_then(|status| status.agent.as_ref());
        let link = agent.and_then(|agent| agent.link);
        link == Some(api::skein::LinkState::Up) && agent.is_some_and(|agent| !agent.endpoints.is_empty())
    };
    let wait = await_condition(Api::<Region>::all(management.clone()), name, up);
    if stopped_waiting(mesh, wait).await?.is_err() {
        bail!("{part} did not link within {} s; see {}", DEADLINE.as_secs(), log(mesh, &part));
    }
    Ok((part, format!("linked, API {}", cluster.url)))
}

/// An edge device: its cluster, its agent, its link.
async fn edge(mesh: &Mesh, management: &kube::Client, name: &str, region: &str) -> Result<(String, String)> {
    let part = format!("edge/{name}");
    let cluster = mesh.clusters.ensure(&part, clusters::KUBERNETES_VERSION).await?;
    let record = mesh.ports.record();
    let silent = record.stopped.contains(&part) || record.stopped.contains(&format!("region/{region}"));
    let token = if enrolled(mesh, &part) || silent {
        None
    } else {
        Some(mint(management, TokenRole::Edge, region, name).await?)
    };
    mesh.start_edge(name, token.as_deref())?;
    if silent {
        return Ok((part, "not waited for: it, or its region, is stopped".to_owned()));
    }
    let up = |edge: Option<&Edge>| {
        let status = edge.and_then(|edge| edge.status.as_ref());
        status.and_then(|status| status.link) == Some(api::skein::LinkState::Up)
    };
    let wait = await_condition(Api::<Edge>::namespaced(management.clone(), SYSTEM_NAMESPACE), name, up);
    if stopped_waiting(mesh, wait).await?.is_err() {
        bail!("{part} did not link within {} s; see {}", DEADLINE.as_secs(), log(mesh, &part));
    }
    Ok((part, format!("in {region}, linked, API {}", cluster.url)))
}

/// Waits at most [`DEADLINE`]; fails at once when the mesh is to end.
async fn stopped_waiting<T>(mesh: &Mesh, wait: impl Future<Output = T>) -> Result<Result<T, ()>> {
    tokio::select! {
        done = tokio::time::timeout(DEADLINE, wait) => Ok(done.map_err(|_| ())),
        () = mesh.cancel.cancelled() => bail!("stopped while starting"),
    }
}

async fn mint(management: &kube::Client, role: TokenRole, region: &str, name: &str) -> Result<String> {
    let wanted = token::Wanted {
        role,
        region: region.parse()?,
        name: Some(name.to_owned()),
        labels: BTreeMap::new(),
        ttl: Duration::from_secs(3_600),
        max_uses: 1,
        approval: None,
        template_namespace: None,
        cluster_deployment: None,
    };
    token::mint(management, wanted).await
}

/// An agent that has an identity needs no token.
fn enrolled(mesh: &Mesh, part: &str) -> bool {
    identity::AgentIdentity::load(&mesh.state.agent(part).join("identity")).is_ok()
}

fn log(mesh: &Mesh, part: &str) -> String {
    mesh.state.agent(part).join("log").display().to_string()
}
