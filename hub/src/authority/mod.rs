//! The hub's authority over identities: where its keys are kept, and who becomes an agent.
//!
//! - `approval`: devices that wait until a person lets them in
//! - `cluster_token`: tokens for the clusters that regions make
//! - `device`: what a device told of itself
//! - `keep`: the Secret with the keys and the ConfigMap that tells everybody whom to trust
//! - `keepers`: which agent has stored which trust bundle
//! - `recovery`: agents that return after their certificate has expired
//! - `renewal`: renewals, and what regions decided about them on their own
//! - `rotation`: new roots and plan-signing keys, step by step
//! - `registrar`: joins; `token`: what is checked of a join token

mod approval;
mod cluster_token;
mod device;
mod keep;
mod keepers;
mod recovery;
mod regions;
mod registrar;
mod renewal;
mod rotation;
mod token;

pub use approval::Asked;
pub(crate) use approval::{fingerprint, waiting};
#[cfg(test)]
pub(crate) use device::annotations as device_annotations;
pub(crate) use device::{SEALING_KEY, sealing_key};
pub use keep::{AuthorityKeptError, load_or_create, publish_trust};
pub(crate) use keepers::Keepers;
pub(crate) use recovery::{device_of, quarantine};
pub use registrar::Registrar;
pub(crate) use renewal::{Verdict, Verdicts};
pub(crate) use rotation::Rotor;
pub use rotation::{Missing, RotationStatus};

use std::sync::Arc;

use identity::Authority;
use protocol::plan::{PlanHeader, SignedPlan};

use crate::plans::SignPlan;

/// The authority as the planner sees it.
pub struct Signer(pub Arc<Authority>);

impl SignPlan for Signer {
    fn sign(&self, header: &PlanHeader) -> SignedPlan {
        self.0.sign_plan(header)
    }
}
