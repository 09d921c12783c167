//! k0rdent's admission webhooks, served by the hub: what is refused at once, with k0rdent's messages, and what is filled
//! in.
//!
//! ```text
//! AdmissionReview -> review -> Request --+--> rules    -> Verdict -> AdmissionReview
//!                                        +--> defaults (patch)
//!          world: watched objects, and lists of what the controllers do not watch
//! ```
//! - [`review`]: the wire format
//! - [`rules`]: which objects are refused; one table over kinds and operations, pure
//! - [`defaults`]: what is filled in; pure
//! - [`world`]: what the rules look at
//! - [`certificate`], [`configuration`]: how the API server finds and trusts us
//! - [`server`]: TLS and HTTP
//!
//! # Why MultiClusterService is not refused
//! k0rdent has no webhook for it: its controller tells in conditions. Who applies a MultiClusterService before its
//! templates must not be refused here when k0rdent accepts it.
//!
//! # Why some rules ask only where there is something to ask
//! What providers an installation has is told by `Management` and `Region`, and which identities a provider takes by
//! `ProviderInterface`. A mesh without those objects has no answer, and refuses nothing for want of one.

pub mod certificate;
pub mod configuration;
pub mod defaults;
pub mod review;
pub mod rules;
pub mod server;
pub mod world;

pub use server::{Place, Webhooks, start, withdraw};

#[cfg(test)]
mod tests;
