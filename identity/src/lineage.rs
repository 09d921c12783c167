//! How trust passes from one root to the next: by signed bundles, and by certificates of roots ([`protocol::trust`]).
//!
//! ```text
//!   what is trusted here: {A}
//!   chain: {B,A} signed by A, B --- signed by A: taken ---> {B,A}
//!          {B}   signed by B    --- signed by B: taken ---> {B}
//! ```
//! Only a bundle that somebody trusted has signed is taken, and only one that is newer than what is known. Where the chain
//! came from does not matter.

use bytes::Bytes;
use protocol::Extensions;
use protocol::codec::{DecodeError, decode, encode};
use protocol::enrolment::TrustBundle;
use protocol::id::AgentId;
use protocol::trust::{
    BUNDLE_BYTES_MAX, BUNDLE_KEYS_MAX, CHAIN_BYTES_MAX, CHAIN_EXTENSION, CHAIN_STEPS_MAX, KEPT_BYTES_MAX,
    KEPT_EXTENSION, SIGNATURES_MAX, SignedTrust, TrustChain, TrustKept, kept_statement, signed_statement,
};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::agent::AgentIdentity;
use crate::certificate::{rustls_chain, spki_hash, validity};
use crate::key::ed25519_verifies;
use crate::tls::{certificate_verifies, verify_chain};
use crate::trust::{Anchors, TrustError};

/// Why a chain of bundles is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineageError {
    /// It is longer than any that is made.
    #[error("trust chain has {count} {what}, at most {limit} are accepted")]
    Size {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many may be.
        limit: usize,
    },
    /// A bundle cannot be read.
    #[error("trust chain: {0}")]
    Malformed(#[from] DecodeError),
    /// A bundle cannot be used.
    #[error(transparent)]
    Unusable(#[from] TrustError),
    /// Nobody whom this side trusts has signed it.
    #[error(
        "trust bundle {newest} is not taken: no root of bundle {known}, which is trusted here, leads to it"
    )]
    Unsigned {
        /// The newest bundle of the chain.
        newest: u64,
        /// The newest bundle that is trusted.
        known: u64,
    },
    /// It is of another mesh.
    #[error("trust bundle {sequence} is of trust domain \"{found}\", expected \"{expected}\"")]
    Domain {
        /// Which bundle.
        sequence: u64,
        /// Its trust domain.
        found: String,
        /// The one of this mesh.
        expected: String,
    },
}

/// The bundle to which a chain leads from the one that is trusted; nothing when that is not newer.
///
/// # Errors
/// [`LineageError`].
pub fn follow(present: &TrustBundle, chain: &TrustChain) -> Result<Option<TrustBundle>, LineageError> {
    check_size(chain)?;
    let mut known: Option<TrustBundle> = None;
    let mut newest = present.sequence;
    for step in &chain.steps {
        let trusted = known.as_ref().unwrap_or(present);
        let bundle = read(step)?;
        newest = newest.max(bundle.sequence);
        if bundle.sequence <= trusted.sequence || !is_signed(step, trusted.roots.iter()) {
            continue;
        }
        if bundle.trust_domain != present.trust_domain {
            let (found, expected) = (bundle.trust_domain, present.trust_domain.clone());
            return Err(LineageError::Domain { sequence: bundle.sequence, found, expected });
        }
        known = Some(Anchors::new(bundle)?.bundle);
    }
    let reached = known.as_ref().unwrap_or(present).sequence;
    if reached < newest {
        return Err(LineageError::Unsigned { newest, known: reached });
    }
    Ok(known)
}

/// The bundle to which a chain leads from a root with one of these pins.
pub(crate) fn follow_pins(pins: &[[u8; 32]], chain: &TrustChain) -> Result<TrustBundle, LineageError> {
    check_size(chain)?;
    let mut newest = 0;
    for step in &chain.steps {
        let bundle = read(step)?;
        newest = bundle.sequence;
        let is_pinned = |root: &&Bytes| spki_hash(root).is_ok_and(|pin| pins.contains(&pin));
        if is_signed(step, bundle.roots.iter().filter(is_pinned)) {
            return Ok(follow(&bundle, chain)?.unwrap_or(bundle));
        }
    }
    Err(LineageError::Unsigned { newest, known: 0 })
}

fn check_size(chain: &TrustChain) -> Result<(), LineageError> {
    let signatures = chain.steps.iter().map(|step| step.signatures.len()).max().unwrap_or_default();
    let sizes = [
        ("bundles", chain.steps.len(), CHAIN_STEPS_MAX),
        ("certificates", chain.crosses.len(), CHAIN_STEPS_MAX),
        ("signatures under one bundle", signatures, SIGNATURES_MAX),
    ];
    match sizes.into_iter().find(|(_, count, limit)| count > limit) {
        Some((what, count, limit)) => Err(LineageError::Size { what, count, limit }),
        None => Ok(()),
    }
}

fn read(step: &SignedTrust) -> Result<TrustBundle, LineageError> {
    let bundle: TrustBundle = decode(&step.bundle, BUNDLE_BYTES_MAX)?;
    for (what, count) in
        [("roots in a bundle", bundle.roots.len()), ("plan keys in a bundle", bundle.plan_keys.len())]
    {
        if count > BUNDLE_KEYS_MAX {
            return Err(LineageError::Size { what, count, limit: BUNDLE_KEYS_MAX });
        }
    }
    Ok(bundle)
}

fn is_signed<'a>(step: &SignedTrust, roots: impl Iterator<Item = &'a Bytes>) -> bool {
    let statement = signed_statement(&step.bundle);
    let mut roots = roots.filter_map(|root| Some((root, spki_hash(root).ok()?)));
    roots.any(|(root, pin)| {
        let by = |signed: &&protocol::trust::RootSignature| signed.root == pin;
        step.signatures
            .iter()
            .filter(by)
            .any(|signed| certificate_verifies(root, &statement, &signed.signature))
    })
}

/// A chain as an extension of a grant.
pub fn chain_extension(chain: &TrustChain) -> (u16, Bytes) {
    (CHAIN_EXTENSION, encode(chain))
}

/// The chain among the extensions of a grant; nothing of a hub of before.
pub(crate) fn told_chain(told: &Extensions) -> Option<TrustChain> {
    let (_, bytes) = told.iter().find(|(tag, _)| *tag == CHAIN_EXTENSION)?;
    decode(bytes, CHAIN_BYTES_MAX).ok()
}

/// Roots that those who are believed have given a certificate to, among what a listener shows: by a chain of any length.
pub(crate) fn heirs(believed: Vec<Bytes>, shown: &[CertificateDer<'_>]) -> Vec<TrustAnchor<'static>> {
    let mut believed = believed;
    let mut heirs = Vec::new();
    let mut rest: Vec<_> = shown.iter().take(2 * CHAIN_STEPS_MAX).collect();
    loop {
        let before = rest.len();
        rest.retain(|der| {
            if !is_cross(der, &believed) {
                return true;
            }
            heirs.extend(webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()));
            believed.push(Bytes::copy_from_slice(der));
            false
        });
        if rest.len() == before {
            return heirs;
        }
    }
}

/// Whether that is a certificate of a root, and by one of these. The issuers of regions have names, roots have none.
fn is_cross(der: &[u8], believed: &[Bytes]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
    let named = !matches!(certificate.subject_alternative_name(), Ok(None));
    let statement = certificate.tbs_certificate.as_ref();
    let signature = &certificate.signature_value.data;
    certificate.is_ca() && !named && believed.iter().any(|by| certificate_verifies(by, statement, signature))
}

/// SHA-256 of the public key of the root that a chain of certificates leads to; nothing when that is none of the bundle.
pub(crate) fn root_of(chain: &[Bytes], trust: &TrustBundle) -> Option<[u8; 32]> {
    let (not_before, _) = validity(chain.first()?).ok()?;
    let ders = rustls_chain(chain);
    let leads_to = |root: &&Bytes| {
        let alone = TrustBundle { roots: vec![(*root).clone()], ..trust.clone() };
        verify_chain(&ders, &alone, not_before.saturating_add(1000)).is_ok()
    };
    spki_hash(trust.roots.iter().find(leads_to)?).ok()
}

impl AgentIdentity {
    /// The identity with the bundle to which a chain leads; nothing when it has that already.
    ///
    /// # Errors
    /// [`LineageError`].
    pub fn trusting(&self, chain: &TrustChain) -> Result<Option<Self>, LineageError> {
        match follow(&self.trust, chain)? {
            Some(trust) => Ok(Some(Self { trust, lineage: chain.clone(), ..self.clone() })),
            None if self.lineage.steps.is_empty() && leads_to(chain, &self.trust) => {
                Ok(Some(Self { lineage: chain.clone(), ..self.clone() }))
            }
            None => Ok(None),
        }
    }

    /// Whether its certificate is by another root than the first one of its bundle, which issues now.
    pub fn is_of_other_root(&self) -> bool {
        let issuing = self.trust.roots.first().and_then(|root| spki_hash(root).ok());
        root_of(&self.chain, &self.trust) != issuing
    }

    /// What it tells of the bundle that it has stored.
    pub fn trust_kept(&self) -> TrustKept {
        let (sequence, root) = (self.trust.sequence, root_of(&self.chain, &self.trust).unwrap_or_default());
        let proof = self.device.sign(&kept_statement(&self.agent, sequence, &root));
        TrustKept { edge: None, sequence, root, proof, ext: Vec::new() }
    }
}

/// Whether the last bundle of a chain is that one.
pub(crate) fn leads_to(chain: &TrustChain, bundle: &TrustBundle) -> bool {
    chain.steps.last().is_some_and(|step| step.bundle == encode(bundle))
}

/// What an agent keeps, as an extension of its Hello.
pub fn kept_extension(kept: &TrustKept) -> (u16, Bytes) {
    (KEPT_EXTENSION, encode(kept))
}

/// What an agent says in its Hello that it keeps; nothing of one of before.
pub fn told_kept(told: &Extensions) -> Option<TrustKept> {
    let (_, bytes) = told.iter().find(|(tag, _)| *tag == KEPT_EXTENSION)?;
    decode(bytes, KEPT_BYTES_MAX).ok()
}

/// Whether the device with that key keeps what is said.
pub fn is_kept(kept: &TrustKept, agent: &AgentId, device_key: &[u8]) -> bool {
    ed25519_verifies(device_key, &kept_statement(agent, kept.sequence, &kept.root), &kept.proof)
}
