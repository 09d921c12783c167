//! Whom to trust, as it changes: signed bundles on their way down, and who keeps them on the way up.
//!
//! ```text
//!   hub                                region                               edge
//!    | TrustChain {signed bundles} ----> | verified, stored                  |
//!    | <----- TrustKept {5, by whom}     | TrustChain, as it came ---------> | verified, stored
//!    |                                   | <------ TrustKept {5, proof}      |
//!    | <----- TrustKept {edge, 5, proof} |  (told again after each connection)
//! ```
//! A bundle is signed by roots. Who knows one of them takes it, if it is newer than what they have; so a chain of bundles
//! leads whoever was away during a whole rotation, or several, from the bundle that they know to the newest one. What a
//! region hands on it cannot alter, and what an edge keeps it cannot make up: the edge's device key signs that.
//!
//! # Why roots sign each other too
//! A listener shows certificates, not bundles. For those who join with a token of before a rotation, or return from before
//! it, it shows beside its own root a certificate of that root by the one before ([`TrustChain::crosses`]).
//!
//! An agent that does not know these messages skips them. It takes a newer bundle with its next certificate, as ever.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Extensions;
use crate::enrolment::statement;
use crate::id::{AgentId, EdgeId};

/// Extension of an agent's Hello: its [`TrustKept`], encoded.
pub const KEPT_EXTENSION: u16 = 7;
/// Extension of grants: a [`TrustChain`] that ends with the grant's bundle, encoded.
pub const CHAIN_EXTENSION: u16 = 8;
/// Most bundles in a chain, and most certificates of roots by others.
pub const CHAIN_STEPS_MAX: usize = 32;
/// Most signatures of a bundle.
pub const SIGNATURES_MAX: usize = 4;
/// Most roots, and most plan keys, of a bundle.
pub const BUNDLE_KEYS_MAX: usize = 4;
/// Longest encoded bundle.
pub const BUNDLE_BYTES_MAX: usize = 16 * 1024;
/// Longest encoded chain.
pub const CHAIN_BYTES_MAX: usize = 128 * 1024;
/// Longest encoded acknowledgement.
pub const KEPT_BYTES_MAX: usize = 256;

/// A bundle, as it was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTrust {
    /// The encoded [`crate::enrolment::TrustBundle`].
    pub bundle: Bytes,
    /// Signatures of roots over [`signed_statement`] of it.
    pub signatures: Vec<RootSignature>,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// A root's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSignature {
    /// SHA-256 of the root's public key.
    pub root: [u8; 32],
    /// Its signature.
    pub signature: Bytes,
}

/// How the newest bundle came to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrustChain {
    /// Bundles by ascending sequence: of each root that was retired the last word, and at the end the newest bundle.
    pub steps: Vec<SignedTrust>,
    /// Certificates (DER) of roots by the root before, and the roots that were retired.
    pub crosses: Vec<Bytes>,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// Which bundle an agent has stored, and by which root its certificate was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustKept {
    /// Which edge; `None` is the sender.
    pub edge: Option<EdgeId>,
    /// Sequence of the bundle.
    pub sequence: u64,
    /// SHA-256 of the public key of the root that its certificate leads to.
    pub root: [u8; 32],
    /// The device key's signature over [`kept_statement`].
    pub proof: Bytes,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// The bytes that a root signs of an encoded bundle.
pub fn signed_statement(bundle: &[u8]) -> Vec<u8> {
    statement(b"skein trust v1\0", &[bundle])
}

/// The bytes that a device signs of what it keeps.
pub fn kept_statement(agent: &AgentId, sequence: u64, root: &[u8; 32]) -> Vec<u8> {
    statement(b"skein trust kept v1\0", &[agent.to_string().as_bytes(), &sequence.to_be_bytes(), root])
}
