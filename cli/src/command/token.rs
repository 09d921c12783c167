//! `skein token`: join tokens. The secret is drawn here and printed; the hub only ever sees its public half.

mod approval;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::k0rdent::{ClusterDeploymentRef, Region};
use api::skein::{JoinApproval, JoinRole, JoinToken, JoinTokenSpec};
use base64::Engine as _;
use identity::token::TokenScope;
use identity::{SystemEntropy, TokenRole};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ObjectMeta, PostParams};

use super::label;
use crate::hub_api;
use crate::state_dir::StateDir;

/// Namespace in which Skein keeps what belongs to the whole mesh.
pub(crate) const SYSTEM_NAMESPACE: &str = "kcm-system";

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a token for one edge (or, with --role region, for a region's agent) and print it
    Create(Create),
}

/// Whom the token lets in.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The region that the newcomer belongs to (or is, with --role region)
    #[arg(long, value_name = "NAME")]
    region: protocol::id::RegionName,
    /// What the newcomer becomes
    #[arg(long, value_enum, default_value = "edge")]
    role: Role,
    /// The name it gets; its own wish if not given
    #[arg(long)]
    name: Option<String>,
    /// A label it gets; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// How long the token can be used: a number with s, m, h or d
    #[arg(long, default_value = "1h", value_parser = duration)]
    ttl: Duration,
    /// How many devices may use it
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    max_uses: i32,
    #[command(flatten)]
    approval: approval::Approval,
    /// Namespace in which the templates of its services are looked up
    #[arg(long, value_name = "NAMESPACE")]
    template_namespace: Option<String>,
    /// The ClusterDeployment on whose cluster the newcomer runs
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = cluster)]
    cluster_deployment: Option<ClusterDeploymentRef>,
    /// The management cluster [default: that of the mesh on this machine, else what kubectl would use]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Region,
    Edge,
}

/// Does it.
pub(crate) async fn run(state: Option<PathBuf>, command: Command) -> Result<()> {
    let Command::Create(create) = command;
    let approval = create.approval.spec()?;
    if approval.is_some() && create.role == Role::Region {
        bail!(
            "approval is only for edges: who may be a region is said by its Region object, which is made by hand"
        );
    }
    let state = StateDir::find(state).ok();
    let client = hub_api::management(create.kubeconfig.as_deref(), state.as_ref()).await?;
    let wanted = Wanted {
        role: match create.role {
            Role::Region => TokenRole::Region,
            Role::Edge => TokenRole::Edge,
        },
        region: create.region,
        name: create.name,
        labels: create.labels.into_iter().collect(),
        ttl: create.ttl,
        max_uses: create.max_uses,
        approval,
        template_namespace: create.template_namespace,
        cluster_deployment: create.cluster_deployment,
    };
    super::print(&mint(&client, wanted).await?);
    Ok(())
}

/// Whom a token is to let in.
pub(crate) struct Wanted {
    /// What the newcomer becomes.
    pub(crate) role: TokenRole,
    /// Its region.
    pub(crate) region: protocol::id::RegionName,
    /// Its name, if it is not to choose.
    pub(crate) name: Option<String>,
    /// Its labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// How long the token can be used.
    pub(crate) ttl: Duration,
    /// How many may use it.
    pub(crate) max_uses: i32,
    /// Who decides whether they are let in.
    pub(crate) approval: Option<JoinApproval>,
    /// Where the templates of its services are.
    pub(crate) template_namespace: Option<String>,
    /// The ClusterDeployment on whose cluster it runs.
    pub(crate) cluster_deployment: Option<ClusterDeploymentRef>,
}

/// Registers a token and returns its text.
pub(crate) async fn mint(client: &kube::Client, wanted: Wanted) -> Result<String> {
    let trust = Api::<ConfigMap>::namespaced(client.clone(), SYSTEM_NAMESPACE)
        .get("skein-trust")
        .await
        .context("failed to read ConfigMap kcm-system/skein-trust; the hub writes it when it starts")?;
    let trust = trust.data.unwrap_or_default();
    let not_after = jiff::Timestamp::now() + wanted.ttl;
    let scope = TokenScope {
        endpoints: endpoints(client, &wanted, &trust).await?,
        pins: pins(&trust)?,
        not_after: u64::try_from(not_after.as_millisecond())?,
        region: wanted.region.clone(),
        role: wanted.role,
    };
    let (token, public_key) = identity::JoinToken::mint(scope, &mut SystemEntropy);
    let id = hex::encode(token.id.0);
    let object = JoinToken {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", wanted.region, &id[..8])),
            labels: Some(BTreeMap::from([("skein.dev/token-id".to_owned(), id.clone())])),
            ..ObjectMeta::default()
        },
        spec: JoinTokenSpec {
            approval: wanted.approval,
            labels: wanted.labels,
            max_uses: wanted.max_uses,
            name: wanted.name,
            not_after: Time(not_after),
            public_key: base64::engine::general_purpose::STANDARD.encode(public_key),
            region: wanted.region.to_string(),
            role: if wanted.role == TokenRole::Region { JoinRole::Region } else { JoinRole::Edge },
            template_namespace: wanted.template_namespace,
            cluster_deployment: wanted.cluster_deployment,
            token_id: Some(id),
            ..JoinTokenSpec::default()
        },
        status: None,
    };
    let tokens = Api::<JoinToken>::namespaced(client.clone(), SYSTEM_NAMESPACE);
    tokens
        .create(&PostParams::default(), &object)
        .await
        .context("the management cluster refused the JoinToken")?;
    Ok(token.to_string())
}

/// A region's agent dials the hub, an edge dials its region.
async fn endpoints(
    client: &kube::Client,
    wanted: &Wanted,
    trust: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    if wanted.role == TokenRole::Region {
        let listed = trust.get("hubEndpoints").map(String::as_str).unwrap_or_default();
        return Ok(listed
            .split(',')
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(str::to_owned)
            .collect());
    }
    let name = wanted.region.as_str();
    let endpoints = match recorded(client, name).await? {
        Some(endpoints) => endpoints,
        None => {
            let region = Api::<Region>::all(client.clone()).get_opt(name).await?;
            let region = region.with_context(|| {
                format!("no Region \"{name}\"; kubectl get regions lists those there are")
            })?;
            let agent = region.status.and_then(|status| status.agent);
            agent.map(|agent| agent.endpoints).unwrap_or_default()
        }
    };
    if endpoints.is_empty() {
        bail!("the agent of region \"{}\" has not linked yet, so its address is unknown", wanted.region);
    }
    Ok(endpoints)
}

/// Where a hub that serves another k0rdent keeps a region: in a ConfigMap.
async fn recorded(client: &kube::Client, region: &str) -> Result<Option<Vec<String>>> {
    let records = Api::<ConfigMap>::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let record = records.get_opt(&format!("{}{region}", api::names::REGION_RECORD_PREFIX)).await?;
    Ok(record.map(|record| hub::state_management::endpoints_of(&record)))
}

fn cluster(text: &str) -> Result<ClusterDeploymentRef, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(ClusterDeploymentRef { name: name.to_owned(), namespace: namespace.to_owned() })
        }
        _ => Err(format!("\"{text}\" is not NAMESPACE/NAME")),
    }
}

fn pins(trust: &BTreeMap<String, String>) -> Result<Vec<[u8; 32]>> {
    let listed = trust.get("pins").context("ConfigMap kcm-system/skein-trust has no \"pins\"")?;
    listed
        .split(',')
        .map(|pin| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(pin.trim(), &mut bytes).with_context(|| {
                format!("pin \"{pin}\" in ConfigMap kcm-system/skein-trust is not 64 hex digits")
            })?;
            Ok(bytes)
        })
        .collect()
}

/// A number with a unit: 90s, 30m, 1h, 7d.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("duration \"{text}\" is not a number with s, m, h or d, for example 30m");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    number
        .checked_mul(seconds)
        .filter(|seconds| *seconds <= 10 * 365 * 86_400)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_nonsense_is_named() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "h", "0h", "-1h", "1w", "1é", "99999999999999999999h"] {
            assert!(duration(wrong).unwrap_err().contains(&format!("\"{wrong}\"")), "{wrong}");
        }
    }
}
