//! Which services a cluster is to have: from ClusterDeployments, MultiClusterServices and templates to units.
//!
//! Pure: reads objects through a [`template::Sight`], needs no client, no clock and no status of a template.

mod bases;
pub mod built;
pub mod chain;
pub mod claim;
pub mod data;
pub mod dependency;
pub mod health;
pub mod judge;
mod one_by_one;
pub mod orders;
pub mod origin;
mod policies;
pub mod provider;
pub mod resolve;
pub mod selector;
pub mod supply;
pub mod target;
pub mod template;
pub mod values;
