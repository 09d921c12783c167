//! Whom a listener lets in, changeable while it listens.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use protocol::Extensions;
use protocol::enrolment::{TRUST_EXTENSION, TrustBundle, trust_statement};
use protocol::id::AgentId;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::PeerCertificate;
use crate::tls::certificate_verifies;

/// Why a bundle cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It names no root.
    #[error("trust bundle {0} has no root certificate")]
    NoRoot(u64),
    /// A root is not a certificate.
    #[error("root {index} of trust bundle {sequence} is malformed: {detail}")]
    Root {
        /// Which bundle.
        sequence: u64,
        /// Which of its roots.
        index: usize,
        /// What the parser says.
        detail: String,
    },
}

/// Who is turned away although their certificate is valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DenySet {
    /// Agents, whatever they show.
    pub agents: BTreeSet<AgentId>,
    /// SHA-256 hashes of public keys.
    pub keys: BTreeSet<[u8; 32]>,
    /// Serial numbers of certificates.
    pub serials: BTreeSet<Vec<u8>>,
}

impl DenySet {
    /// Whether that peer is turned away.
    pub fn denies(&self, agent: &AgentId, certificate: &PeerCertificate) -> bool {
        self.agents.contains(agent)
            || self.keys.contains(&certificate.spki_hash)
            || self.serials.contains(&certificate.serial)
    }
}

/// Whether one of these roots vouches for a bundle among the extensions of a grant.
pub(crate) fn is_vouched<'a>(
    bundle: &TrustBundle,
    told: &Extensions,
    mut roots: impl Iterator<Item = &'a Bytes>,
) -> bool {
    let Some((_, signature)) = told.iter().find(|(tag, _)| *tag == TRUST_EXTENSION) else { return false };
    let statement = trust_statement(bundle);
    roots.any(|root| certificate_verifies(root, &statement, signature))
}

/// A bundle, ready to verify with.
#[derive(Debug)]
pub(crate) struct Anchors {
    pub(crate) bundle: TrustBundle,
    pub(crate) anchors: Vec<TrustAnchor<'static>>,
}

impl Anchors {
    pub(crate) fn new(bundle: TrustBundle) -> Result<Self, TrustError> {
        if bundle.roots.is_empty() {
            return Err(TrustError::NoRoot(bundle.sequence));
        }
        let mut anchors = Vec::with_capacity(bundle.roots.len());
        for (index, root) in bundle.roots.iter().enumerate() {
            let der = CertificateDer::from(&root[..]);
            let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|error| TrustError::Root {
                sequence: bundle.sequence,
                index,
                detail: error.to_string(),
            })?;
            anchors.push(anchor.to_owned());
        }
        Ok(Self { bundle, anchors })
    }
}

/// The bundle and deny set that a listener's verifier reads at each handshake.
#[derive(Debug)]
pub struct Trust {
    anchors: RwLock<Arc<Anchors>>,
    deny: RwLock<Arc<DenySet>>,
}

impl Trust {
    /// Trusts that bundle and denies nobody.
    ///
    /// # Errors
    /// [`TrustError`] when the bundle has no usable root.
    pub fn new(bundle: TrustBundle) -> Result<Arc<Self>, TrustError> {
        let anchors = RwLock::new(Arc::new(Anchors::new(bundle)?));
        Ok(Arc::new(Self { anchors, deny: RwLock::default() }))
    }

    /// Replaces the bundle, unless the present one is newer; says whether it did.
    ///
    /// # Errors
    /// [`TrustError`] when the bundle has no usable root; the present one stays.
    pub fn set_bundle(&self, bundle: TrustBundle) -> Result<bool, TrustError> {
        let next = Arc::new(Anchors::new(bundle)?);
        let mut present = self.anchors.write().unwrap_or_else(PoisonError::into_inner);
        let newer = next.bundle.sequence > present.bundle.sequence;
        if newer {
            *present = next;
        }
        Ok(newer)
    }

    /// Replaces the deny set. Verifiers see only new handshakes: whoever owns live links closes those.
    pub fn set_deny(&self, deny: DenySet) {
        *self.deny.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(deny);
    }

    /// The present deny set.
    pub fn deny(&self) -> Arc<DenySet> {
        Arc::clone(&self.deny.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The present bundle.
    pub fn bundle(&self) -> TrustBundle {
        self.anchors().bundle.clone()
    }

    pub(crate) fn anchors(&self) -> Arc<Anchors> {
        Arc::clone(&self.anchors.read().unwrap_or_else(PoisonError::into_inner))
    }
}
