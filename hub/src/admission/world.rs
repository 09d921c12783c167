//! What the rules look at: the watched objects, and lists of kinds that the controllers do not watch.

use std::collections::{BTreeMap, BTreeSet};

use api::k0rdent::{AccessManagement, Management, ProviderInterface, ProviderTemplate, Release};
use kube::api::Api;
use serde_json::Value;

use super::review::Request;
use crate::cache::Cache;

/// Lists of kinds that the controllers do not watch. A kind that is not installed has none.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// The installation; there is one at most.
    pub management: Option<Management>,
    /// Releases.
    pub releases: Vec<Release>,
    /// ProviderTemplates.
    pub provider_templates: Vec<ProviderTemplate>,
    /// ProviderInterfaces.
    pub provider_interfaces: Vec<ProviderInterface>,
    /// How many AccessManagements there are.
    pub access_managements: usize,
    /// Kinds by group and name: whether they are namespaced.
    pub scopes: BTreeMap<(String, String), bool>,
}

/// Everything a rule may look at.
pub struct World<'a> {
    /// The watched objects.
    pub cache: &'a Cache,
    /// Namespace of shared templates.
    pub system_namespace: &'a str,
    /// The others.
    pub others: &'a Others,
}

impl Others {
    /// Asks the API server for what the question needs.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn gather(client: &kube::Client, request: &Request) -> kube::Result<Self> {
        let mut others = Self::default();
        let kind = request.kind.kind.as_str();
        let installation = matches!(kind, "ClusterDeployment" | "Management" | "Region" | "Release")
            || matches!(kind, "ProviderTemplate" | "AccessManagement");
        if installation {
            others.management = list::<Management>(client).await?.into_iter().next();
            others.releases = list(client).await?;
            others.provider_templates = list(client).await?;
        }
        if kind == "ClusterDeployment" {
            others.provider_interfaces = list(client).await?;
        }
        if kind == "AccessManagement" {
            others.access_managements = list::<AccessManagement>(client).await?.len();
            others.scopes = scopes(client, &request.object).await?;
        }
        Ok(others)
    }
}

async fn list<K>(client: &kube::Client) -> kube::Result<Vec<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match Api::<K>::all(client.clone()).list(&kube::api::ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The kinds that an AccessManagement names, as the API server has them.
async fn scopes(client: &kube::Client, object: &Value) -> kube::Result<BTreeMap<(String, String), bool>> {
    let mut scopes = BTreeMap::new();
    for (group, kind) in kinds_of(object) {
        if group.is_empty() {
            let core = client.list_core_api_resources("v1").await?.resources;
            let found = core.iter().find(|one| one.kind == kind && !one.name.contains('/'));
            scopes.extend(found.map(|found| ((group, kind), found.namespaced)));
            continue;
        }
        let found = match kube::discovery::group(client, &group).await {
            Ok(found) => found,
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(kube::Error::Discovery(_)) => continue,
            Err(error) => return Err(error),
        };
        if let Some((_, capabilities)) = found.recommended_kind(&kind) {
            let namespaced = capabilities.scope == kube::discovery::Scope::Namespaced;
            scopes.insert((group, kind), namespaced);
        }
    }
    Ok(scopes)
}

/// The kinds that an AccessManagement names, each once.
fn kinds_of(object: &Value) -> BTreeSet<(String, String)> {
    let mut kinds = BTreeSet::new();
    let rules = object.pointer("/spec/accessRules").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        for resource in rule["resources"].as_array().into_iter().flatten() {
            let text = |field: &str| resource[field].as_str().unwrap_or_default().to_owned();
            kinds.insert((text("apiGroup"), text("kind")));
        }
    }
    kinds.into_iter().take(RESOURCES_MAX).collect()
}

/// Kinds of one AccessManagement that are looked up.
const RESOURCES_MAX: usize = 256;
