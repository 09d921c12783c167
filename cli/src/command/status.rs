//! `skein status`: hub, regions, edges, links, services and backlog, also while parts of them are down.
//!
//! Three sources, the nearest first: each agent on this machine itself, the supervisor, the hub's API objects. What no
//! source knows is shown as unknown, not as zero.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::k0rdent::Region;
use api::skein::Edge;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use super::Output;
use crate::hub_api;
use crate::state_dir::StateDir;
use crate::up::host::{Part, Status as Supervised};

/// How long the management cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// The whole mesh. The JSON form is an interface: scripts rely on it.
#[derive(Debug, Default, Serialize)]
struct Mesh {
    hub: HubRow,
    regions: Vec<RegionRow>,
    edges: Vec<EdgeRow>,
    /// What could not be asked, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
struct HubRow {
    url: Option<String>,
    pid: Option<u32>,
    state: String,
}

#[derive(Debug, Default, Serialize)]
struct RegionRow {
    name: String,
    pid: Option<u32>,
    link: &'static str,
    since: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct EdgeRow {
    name: String,
    region: String,
    pid: Option<u32>,
    link: &'static str,
    since: Option<String>,
    otlp: Otlp,
    services: Services,
    generation: Generations,
    spool: Spool,
    gaps: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
struct Otlp {
    grpc: Option<String>,
    http: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Services {
    ready: Option<u64>,
    total: Option<u64>,
}

#[derive(Debug, Default, Serialize)]
struct Generations {
    desired: Option<String>,
    applied: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Spool {
    items: Option<u64>,
    bytes: Option<u64>,
}

/// Asks everybody and shows what they say.
pub(crate) async fn show(state: &StateDir, arguments: Arguments) -> Result<()> {
    let mesh = gather(state).await;
    super::print(&match arguments.output {
        Output::Json => serde_json::to_string_pretty(&mesh)?,
        Output::Table => human(&mesh),
    });
    Ok(())
}

async fn gather(state: &StateDir) -> Mesh {
    let mut problems = Vec::new();
    let supervised = hub_api::status(state).await.unwrap_or_else(|error| {
        problems.push(hub_api::explain(&error));
        Supervised::default()
    });
    let (regions, edges) = objects(state).await.unwrap_or_else(|error| {
        problems.push(hub_api::explain(&error));
        (Vec::new(), Vec::new())
    });
    let mut mesh = Mesh { hub: hub(&supervised).await, problems, ..Mesh::default() };
    for (name, region) in with_record(state, regions, "region/", &supervised) {
        mesh.regions.push(region_row(name, region.as_ref(), &supervised).await);
    }
    for (name, edge) in with_record(state, edges, "edge/", &supervised) {
        mesh.edges.push(edge_row(state, name, edge.as_ref(), &supervised).await);
    }
    mesh
}

async fn objects(state: &StateDir) -> Result<(Vec<Region>, Vec<Edge>)> {
    let client = hub_api::management(None, Some(state)).await?;
    let asked = async {
        let regions = Api::<Region>::all(client.clone()).list(&Default::default()).await?.items;
        let edges = Api::<Edge>::all(client).list(&Default::default()).await?.items;
        Ok((regions, edges))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(objects)) => Ok(objects),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            bail!(
                "the management cluster knows neither regions nor edges: `skein up` is still beginning, or deploy/crds is not applied"
            )
        }
        Ok(Err(error)) => Err(error).context("the management cluster does not answer"),
        Err(_) => bail!("the management cluster does not answer within {} s", PATIENCE.as_secs()),
    }
}

/// Objects by name, and the parts of this machine that have no object (or none that could be read).
fn with_record<K: ResourceExt>(
    state: &StateDir,
    objects: Vec<K>,
    prefix: &str,
    supervised: &Supervised,
) -> BTreeMap<String, Option<K>> {
    let recorded = state.mesh().ok().flatten().unwrap_or_default();
    let names = if prefix == "region/" { recorded.regions } else { recorded.edges.into_keys().collect() };
    let parts = supervised.parts.keys().filter_map(|part| part.strip_prefix(prefix).map(str::to_owned));
    let mut all: BTreeMap<_, _> = names.into_iter().chain(parts).map(|name| (name, None)).collect();
    all.extend(objects.into_iter().map(|object| (object.name_any(), Some(object))));
    all
}

async fn hub(supervised: &Supervised) -> HubRow {
    let part = supervised.parts.get("hub").cloned().unwrap_or_default();
    let url = address(&part, "http").map(|address| format!("http://{address}"));
    let state = match &url {
        Some(url) if answers(url).await => "up",
        Some(_) => "starting",
        None => "down",
    };
    HubRow { url, pid: part.pid, state: state.to_owned() }
}

async fn answers(url: &str) -> bool {
    let Ok(client) = reqwest::Client::builder().timeout(Duration::from_secs(2)).build() else { return false };
    client.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
}

async fn region_row(name: String, region: Option<&Region>, supervised: &Supervised) -> RegionRow {
    let part = supervised.parts.get(&format!("region/{name}")).cloned().unwrap_or_default();
    let own = own_status(&part).await;
    let object = region.and_then(|region| serde_json::to_value(&region.status).ok()).unwrap_or_default();
    let (link, since) = link(own.as_ref(), &part, supervised, &object["agent"]);
    RegionRow { name, pid: part.pid, link, since }
}

async fn edge_row(state: &StateDir, name: String, edge: Option<&Edge>, supervised: &Supervised) -> EdgeRow {
    let part = supervised.parts.get(&format!("edge/{name}")).cloned().unwrap_or_default();
    let own = own_status(&part).await.unwrap_or_default();
    let object = edge.and_then(|edge| serde_json::to_value(&edge.status).ok()).unwrap_or_default();
    let recorded = || state.mesh().ok().flatten().and_then(|mesh| mesh.edges.get(&name).cloned());
    let region = edge.map(|edge| edge.spec.region.clone()).or_else(recorded).unwrap_or_default();
    let number = |path: &str| own.pointer(path).or_else(|| object.pointer(path)).and_then(Value::as_u64);
    let generation = |path: &str, first: &Value, second: &Value| {
        let read = |from: &Value| from.pointer(path).and_then(Value::as_str).map(str::to_owned);
        read(first).or_else(|| read(second))
    };
    let (link, since) = link(Some(&own).filter(|own| !own.is_null()), &part, supervised, &object);
    EdgeRow {
        region,
        pid: part.pid,
        link,
        since,
        otlp: Otlp { grpc: address(&part, "otlpGrpc"), http: address(&part, "otlpHttp") },
        services: Services { ready: number("/services/ready"), total: number("/services/total") },
        generation: Generations {
            desired: generation("/generation/desired", &object, &own),
            applied: generation("/generation/applied", &own, &object),
        },
        spool: Spool { items: number("/spool/items"), bytes: number("/spool/bytes") },
        gaps: number("/gaps"),
        name,
    }
}

/// What an agent on this machine says of itself.
async fn own_status(part: &Part) -> Option<Value> {
    let url = format!("http://{}/status", address(part, "http")?);
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().ok()?;
    client.get(url).send().await.ok()?.json().await.ok()
}

/// The link as the agent itself sees it; a stopped agent has none; else what the hub says.
fn link(
    own: Option<&Value>,
    part: &Part,
    supervised: &Supervised,
    object: &Value,
) -> (&'static str, Option<String>) {
    let here = !supervised.parts.is_empty() && !part.state.is_empty();
    let (state, since) = match own {
        Some(own) => (own.pointer("/link/state"), own.pointer("/link/since")),
        None if here && part.pid.is_none() => (None, object.get("since")),
        None => (object.get("link"), object.get("since")),
    };
    let up = state.and_then(Value::as_str).is_some_and(|state| state.eq_ignore_ascii_case("up"));
    (if up { "up" } else { "down" }, since.and_then(Value::as_str).map(str::to_owned))
}

fn address(part: &Part, role: &str) -> Option<String> {
    part.bound.as_ref()?.addresses.get(role).map(ToString::to_string)
}

fn human(mesh: &Mesh) -> String {
    let unknown = || "?".to_owned();
    let pid = |pid: Option<u32>| pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let since = |since: &Option<String>| since.as_deref().map_or_else(unknown, age);
    let number = |number: Option<u64>| number.map_or_else(unknown, |number| number.to_string());
    let mut hub = super::table(&["HUB", "STATE", "PID"]);
    hub.add_row([mesh.hub.url.clone().unwrap_or_else(unknown), mesh.hub.state.clone(), pid(mesh.hub.pid)]);
    let mut regions = super::table(&["REGION", "LINK", "SINCE", "PID"]);
    for row in &mesh.regions {
        regions.add_row([row.name.clone(), row.link.to_owned(), since(&row.since), pid(row.pid)]);
    }
    let header = [
        "EDGE",
        "REGION",
        "LINK",
        "SINCE",
        "SERVICES",
        "APPLIED",
        "DESIRED",
        "SPOOL",
        "GAPS",
        "OTLP/HTTP",
        "PID",
    ];
    let mut edges = super::table(&header);
    for row in &mesh.edges {
        edges.add_row([
            row.name.clone(),
            row.region.clone(),
            row.link.to_owned(),
            since(&row.since),
            format!("{}/{}", number(row.services.ready), number(row.services.total)),
            row.generation.applied.clone().unwrap_or_else(|| "-".to_owned()),
            row.generation.desired.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{} ({} B)", number(row.spool.items), number(row.spool.bytes)),
            number(row.gaps),
            row.otlp.http.clone().unwrap_or_else(|| "-".to_owned()),
            pid(row.pid),
        ]);
    }
    let problems = mesh.problems.iter().map(|problem| format!("\n{problem}")).collect::<String>();
    format!("{}\n\n{}\n\n{}\n{problems}", hub.trim_fmt(), regions.trim_fmt(), edges.trim_fmt())
}

/// How long ago a moment was, as kubectl says it: `5s`, `12m`, `3h`, `9d`.
fn age(moment: &str) -> String {
    let Ok(moment) = moment.parse::<jiff::Timestamp>() else { return moment.to_owned() };
    let seconds = jiff::Timestamp::now().duration_since(moment).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn running() -> Part {
        Part { state: "running".into(), pid: Some(7), bound: None }
    }

    #[test]
    fn the_agent_itself_knows_its_link_best() {
        let mut supervised = Supervised::default();
        supervised.parts.insert("edge/a".into(), running());
        let object = json!({"link": "Up", "since": "2026-01-01T00:00:00Z"});
        let own = json!({"link": {"state": "down", "since": "2026-01-02T00:00:00Z"}});
        let (state, since) = link(Some(&own), &running(), &supervised, &object);
        assert_eq!((state, since.as_deref()), ("down", Some("2026-01-02T00:00:00Z")));
        assert_eq!(link(None, &running(), &supervised, &object).0, "up");
        let stopped = Part { state: "stopped".into(), ..Part::default() };
        assert_eq!(link(None, &stopped, &supervised, &object).0, "down");
    }

    #[test]
    fn a_mesh_of_which_nothing_is_known_is_still_shown() {
        let text = human(&Mesh {
            edges: vec![EdgeRow { name: "a".into(), ..EdgeRow::default() }],
            ..Mesh::default()
        });
        assert!(text.contains("?/?"), "{text}");
    }
}
