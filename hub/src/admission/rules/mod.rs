//! Which objects are refused. One table over kinds and operations; each rule is a function of the question and of the
//! world, and its text is k0rdent's.

mod cluster_deployment;
mod installation;
mod providers;
mod shared;
mod templates;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::review::{Operation, Request, Verdict};
use super::world::World;

pub use cluster_deployment::{compatible, services, template_is_valid};
pub use templates::chain_faults;

/// Judges a question.
pub fn judge(request: &Request, world: &World<'_>) -> Verdict {
    use Operation::{Create, Delete, Update};
    match (request.kind.kind.as_str(), request.operation) {
        ("ClusterDeployment", Create) => cluster_deployment::create(request, world),
        ("ClusterDeployment", Update) => cluster_deployment::update(request, world),
        ("ClusterDeployment", Delete) => cluster_deployment::delete(request, world),
        ("Management", Create) => installation::create_management(request, world),
        ("Management", Update) => installation::update_management(request, world),
        ("Management", Delete) => installation::delete_management(world),
        ("Region", Create) => installation::create_region(request, world),
        ("Region", Update) => installation::update_region(request, world),
        ("Region", Delete) => installation::delete_region(request, world),
        ("Release", Delete) => installation::delete_release(request, world),
        ("ClusterTemplate", Delete) => templates::delete_cluster(request, world),
        ("ServiceTemplate", Delete) => templates::delete_service(request, world),
        ("ProviderTemplate", Delete) => templates::delete_provider(request, world),
        ("ClusterTemplateChain" | "ServiceTemplateChain", Create) => templates::create_chain(request, world),
        ("AccessManagement", Create) => shared::create_access(request, world),
        ("AccessManagement", Update) => shared::update_access(request, world),
        ("AccessManagement", Delete) => shared::delete_access(world),
        ("ClusterAuthentication", Create | Update) => shared::authentication(request),
        ("ClusterAuthentication", Delete) => shared::delete_authentication(request, world),
        ("ClusterAuditPolicy", Create | Update) => shared::audit_policy(request),
        ("ClusterAuditPolicy", Delete) => shared::delete_audit_policy(request, world),
        _ => Verdict::default(),
    }
}

/// The object as its type; what cannot be read is refused, saying where.
pub(super) fn parsed<K: DeserializeOwned>(object: &Value) -> Result<K, Verdict> {
    serde_json::from_value(object.clone())
        .map_err(|error| Verdict::refuse(format!("the object cannot be read: {error}")))
}

/// Namespace and name of an object.
fn named(object: &Value) -> (String, String) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
