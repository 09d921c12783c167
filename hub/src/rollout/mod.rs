//! Rollouts: how a new revision of a MultiClusterService's `serviceSpec` reaches its targets.
//!
//! - [`settings`]: what `spec.rollout` says, checked
//! - [`state`]: what must be remembered of a rollout, and the small machine it is
//! - [`facts`]: what is known of the targets
//! - [`steady`]: those without their moments
//! - [`planner`]: who may have which revision now; no clock, no I/O
//! - [`waves`]: which target belongs to which wave
//! - [`record`]: revisions and state as Secrets
//!
//! ```text
//!                 new revision                  all waves done
//!   Completed ------------------> Rolling ---------------------------> Completed
//!       ^                         |     ^ resume, or a new revision
//!       |             abort, too  |     |
//!       |             many failed v     |
//!       +------------------- RollingBack/Aborted   (a new revision begins again)
//! ```
//!
//! # Why every step is durable before it has effects
//! Which revision a target has is an annotation on its `ServiceSet`, and nothing is planned with another one: a hub
//! that is killed at any moment, or that hands over to another replica, never sends a target back to a revision that
//! it already left. A decision for the whole rollout (next wave, abort, what is the last good revision) is in a Secret;
//! targets are given revisions only once the decision is there. So the planner is a function of what is in the API,
//! and repeating it is harmless.
//!
//! # Why a target that is away is given nothing new
//! It could come back at any time, and all of them at once: more would be unavailable than is allowed. So it keeps what
//! it has and gets its turn when it is back; the rollout goes on without it as far as the budget `away` permits, and
//! for no longer than its deadline. A rollback is the exception: it takes a revision away that is known to be bad, and
//! reaches those that are away as soon as they are back, hub or no hub.
//!
//! # What is not held back
//! The revision is that of `spec.serviceSpec`: templates cannot be changed, so a chart's version is part of it. What
//! its values refer to (ConfigMaps, Secrets, the cluster's own objects), and sources that follow a branch, reach every
//! target at once, as without a rollout.

pub mod facts;
pub mod planner;
pub mod record;
pub mod settings;
pub mod state;
pub mod steady;
pub mod waves;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
