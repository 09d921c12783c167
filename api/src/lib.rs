//! Kubernetes types: k0rdent's 22 kinds, Skein's own, and the CRDs generated from them.
//!
//! - [`k0rdent`]: `k0rdent.mirantis.com/v1beta1`, field for field as k0rdent has it.
//! - [`skein`]: `skein.dev/v1alpha1`: Edge, JoinToken, HostedControlPlane, PriceBook.
//! - [`all_crds`]: the definitions, as committed in `deploy/crds/`.
//! - [`conditions`]: condition types and reasons, and how conditions are set and summed up.
//! - [`names`]: finalizers, labels, annotations.
//!
//! No client, no I/O, no clock.

// Each printer column of a kind has a `type_`; the lint takes them for one attribute given twice.
#![allow(clippy::duplicated_attributes)]

pub mod conditions;
mod crd;
pub mod k0rdent;
pub mod names;
mod schema;
pub mod skein;
mod upstream;

pub use crd::{all_crds, k0rdent_crds, skein_crds, to_yaml};
pub use upstream::upstream_crds;
