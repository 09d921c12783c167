//! What can be read from a certificate that was verified elsewhere.

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::id::{AgentId, IdError};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use webpki::EndEntityCert;
use x509_parser::prelude::FromDer as _;

/// Why a certificate says nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The peer sent none.
    #[error("the peer sent no certificate")]
    Missing,
    /// It is not a certificate.
    #[error("certificate is malformed: {0}")]
    Malformed(String),
    /// It does not carry exactly one URI name.
    #[error("certificate has {0} URI names, expected exactly one SPIFFE id")]
    Names(usize),
    /// Its name is not one of this mesh.
    #[error(transparent)]
    Name(#[from] IdError),
}

/// The facts of a peer's leaf certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its only URI name.
    pub spiffe: String,
    /// SHA-256 of its public key (`SubjectPublicKeyInfo`).
    pub spki_hash: [u8; 32],
    /// Its serial number, as it stands in the certificate.
    pub serial: Vec<u8>,
}

impl PeerCertificate {
    /// Reads a leaf.
    ///
    /// # Errors
    /// [`CertificateError`] when it is malformed or has not exactly one URI name.
    pub fn read(leaf: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let certificate =
            EndEntityCert::try_from(leaf).map_err(|error| CertificateError::Malformed(error.to_string()))?;
        let mut names = certificate.valid_uri_names();
        let (Some(spiffe), None) = (names.next(), names.next()) else {
            return Err(CertificateError::Names(certificate.valid_uri_names().count()));
        };
        Ok(Self {
            spiffe: spiffe.to_owned(),
            spki_hash: sha256(&certificate.subject_public_key_info()),
            serial: certificate.serial().to_vec(),
        })
    }

    /// The agent it names.
    ///
    /// # Errors
    /// [`IdError::Spiffe`] for another trust domain, the hub, or anything else.
    pub fn agent(&self, trust_domain: &str) -> Result<AgentId, IdError> {
        AgentId::from_spiffe(&self.spiffe, trust_domain)
    }
}

/// The agent named by the leaf of a verified chain.
///
/// # Errors
/// [`CertificateError`].
pub fn peer_agent(chain: &[CertificateDer<'_>], trust_domain: &str) -> Result<AgentId, CertificateError> {
    let leaf = chain.first().ok_or(CertificateError::Missing)?;
    Ok(PeerCertificate::read(leaf)?.agent(trust_domain)?)
}

/// From when until when a certificate (DER) is valid.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn validity(certificate: &[u8]) -> Result<(UnixMillis, UnixMillis), CertificateError> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate)
        .map_err(|error| CertificateError::Malformed(error.to_string()))?;
    let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1000);
    let validity = parsed.validity();
    Ok((millis(validity.not_before.timestamp()), millis(validity.not_after.timestamp())))
}

/// SHA-256 of the public key (`SubjectPublicKeyInfo`) of a certificate (DER): how roots are pinned.
///
/// # Errors
/// [`CertificateError::Malformed`].
pub fn spki_hash(certificate: &[u8]) -> Result<[u8; 32], CertificateError> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate)
        .map_err(|error| CertificateError::Malformed(error.to_string()))?;
    Ok(sha256(parsed.public_key().raw))
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A chain as rustls wants it.
pub(crate) fn rustls_chain(chain: &[Bytes]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect()
}
