//! Serving another k0rdent: an unmodified KCM owns ClusterDeployments, MultiClusterServices and ServiceSets, and this hub
//! is one of its state management providers.
//!
//! - [`registration`]: the objects by which KCM finds the provider and sees that it works
//! - [`adoption`]: which ServiceSets are ours, and on which target each goes
//! - [`claims`]: a ServiceSet as a claim, the same thing that own ClusterDeployments and MultiClusterServices lead to
//!
//! From the claims on everything is as ever: resolved, rendered, planned, carried out and reported.
//!
//! # Why regions are ConfigMaps here
//! KCM's definition of `Region` refuses one that has neither a kubeconfig nor a ClusterDeployment, and drops what our
//! agents would write into its status. So a region of ours is a ConfigMap in the system namespace, labelled
//! `skein.dev/region: NAME` and named `skein-region-NAME`: it keeps the agent's keys and where edges find it. That of
//! the region `local`, the management cluster itself, the hub makes.

pub mod adoption;
pub mod claims;
pub mod registration;

use api::k0rdent::{ServiceSet, StateManagementProvider};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use crate::services::selector::selects;

/// Under which name this hub serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Name of the `StateManagementProvider`.
    pub provider: String,
}

impl Serving {
    /// Whether a ServiceSet is ours: its labels satisfy the selector of our provider, and it names our provider.
    pub fn adopts(&self, set: &ServiceSet, provider: Option<&StateManagementProvider>) -> bool {
        let own = registration::selector(self);
        let selector = provider.map_or(&own, |provider| &provider.spec.selector);
        let named = set.spec.provider.name.as_deref().unwrap_or_default();
        selects(Some(selector), set.labels()) && (named.is_empty() || named == self.provider)
    }
}

/// The region that a ConfigMap stands for.
pub fn region_of(record: &ConfigMap) -> Option<&str> {
    let name = record.labels().get(api::names::label::REGION_RECORD)?;
    let is_it = record.metadata.name.as_deref()?.strip_prefix(api::names::REGION_RECORD_PREFIX)? == name;
    is_it.then_some(name)
}

/// Addresses where edges find the agent of a region, as its record says.
pub fn endpoints_of(record: &ConfigMap) -> Vec<String> {
    let listed = record.data.as_ref().and_then(|data| data.get("endpoints"));
    let parts = listed.into_iter().flat_map(|text| text.split(',')).map(str::trim);
    parts.filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
