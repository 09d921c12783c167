//! The certificate of the webhooks: an authority for nothing else, and a leaf for the address where the API server finds
//! us. Both are drawn when the hub begins to serve and anew long before they end; the key of the authority is forgotten
//! at once.
//!
//! # Why nothing is stored
//! Who trusts the authority is told by the configurations, which the hub writes itself each time. A key that is nowhere
//! cannot be stolen, and rotation is the same path as a start.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How long a certificate is valid; hours.
pub const VALID_HOURS: u64 = 24 * 14;
/// How long before now it begins: clocks differ.
const LEEWAY_HOURS: u64 = 1;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The names or the key.
    #[error("failed to issue the webhooks' certificate for \"{names}\"; are they host names or addresses?")]
    Issue {
        /// The names.
        names: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS stack does not take it.
    #[error("failed to load the webhooks' certificate: {0}")]
    Load(String),
}

/// A leaf with its key, and the authority that vouches for it.
pub struct Issued {
    /// The leaf, ready to be shown.
    pub shown: Arc<CertifiedKey>,
    /// The authority, in PEM.
    pub authority: String,
}

/// Issues a certificate for host names and addresses.
///
/// # Errors
/// [`CertificateError`] when a name is none.
pub fn issue(names: &[String], now: Timestamp) -> Result<Issued, CertificateError> {
    let issue = |source| CertificateError::Issue { names: names.join(", "), source };
    let second = |hours: u64| u64::try_from(now.as_second()).unwrap_or_default() + hours * 3600;
    let at = |second: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second);
    let (from, to) = (at(second(0).saturating_sub(LEEWAY_HOURS * 3600)), at(second(VALID_HOURS)));
    let mut authority = CertificateParams::new(Vec::<String>::new()).map_err(issue)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(rcgen::DnType::CommonName, "skein webhooks");
    (authority.not_before, authority.not_after) = (from, to);
    let key = KeyPair::generate().map_err(issue)?;
    let pem = authority.self_signed(&key).map_err(issue)?.pem();
    let issuer = Issuer::new(authority, key);

    let mut leaf = CertificateParams::new(names.to_vec()).map_err(issue)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (leaf.not_before, leaf.not_after) = (from, to);
    let key = KeyPair::generate().map_err(issue)?;
    let certificate = leaf.signed_by(&key, &issuer).map_err(issue)?;
    let load = |error: &dyn std::fmt::Display| CertificateError::Load(error.to_string());
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| load(&error))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|error| load(&error))?;
    let shown = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key));
    Ok(Issued { shown, authority: pem })
}

/// The certificate that is shown now.
#[derive(Debug)]
pub struct Showing(RwLock<Arc<CertifiedKey>>);

impl Showing {
    /// Shows this one.
    pub fn new(shown: Arc<CertifiedKey>) -> Self {
        Self(RwLock::new(shown))
    }

    /// Shows another one from now on.
    pub fn replace(&self, shown: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

impl ResolvesServerCert for Showing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
