//! `k0rdent.mirantis.com/v1beta1`: the 22 kinds of k0rdent as Rust types, field for field.
//!
//! Type and field names are k0rdent's. `tests/k0rdent_fields.rs` holds the generated CRDs against a list of
//! every field of k0rdent's own. Where ours accepts more, that test's allow-list says what and why.
//!
//! # Why kinds carry `cfg_attr(all(), serde(default))`
//! k0rdent lets most objects omit `spec`. `kube`'s derive makes it mandatory and refuses a plain
//! `serde` attribute on the root type; this spelling reaches serde, so such an object decodes to an empty spec
//! and does not break a watch.

mod access_management;
mod cluster_audit_policy;
mod cluster_authentication;
mod cluster_data_source;
mod cluster_deployment;
mod cluster_ipam;
mod cluster_template;
mod component;
mod credential;
mod data_source;
mod helm_options;
mod helm_spec;
mod management;
mod management_backup;
mod multi_cluster_service;
mod provider_interface;
mod provider_template;
mod reference;
mod region;
mod release;
mod service;
mod service_set;
mod service_spec;
mod service_template;
mod source;
mod state_management_provider;
mod template_chain;

pub use access_management::*;
pub use cluster_audit_policy::*;
pub use cluster_authentication::*;
pub use cluster_data_source::*;
pub use cluster_deployment::*;
pub use cluster_ipam::*;
pub use cluster_template::*;
pub use component::*;
pub use credential::*;
pub use data_source::*;
pub use helm_options::*;
pub use helm_spec::*;
pub use management::*;
pub use management_backup::*;
pub use multi_cluster_service::*;
pub use provider_interface::*;
pub use provider_template::*;
pub use reference::*;
pub use region::*;
pub use release::*;
pub use service::*;
pub use service_set::*;
pub use service_spec::*;
pub use service_template::*;
pub use source::*;
pub use state_management_provider::*;
pub use template_chain::*;
