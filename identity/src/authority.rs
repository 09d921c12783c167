//! The hub's authority: the root of all certificates, and the key that signs plans.
//!
//! # Why
//! Of a certificate signing request only the public key is used. rcgen copies whatever a parsed request asks
//! for, `CA:TRUE` included, and a certificate authority minted that way is believed by every verifier. So names,
//! usages and validity come from here, and a request that asks for more simply does not get it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::codec::encode;
use protocol::delegation::{EdgeTable, Standings, TABLE_CONTEXT, TablePart};
use protocol::endpoints::{ENDPOINTS_CONTEXT, EndpointList, SignedEndpoints};
use protocol::enrolment::{TRUST_EXTENSION, TrustBundle, trust_statement};
use protocol::id::AgentId;
use protocol::placement::{PLACEMENT_CONTEXT, Placement, SignedPlacement};
use protocol::plan::{PlanHeader, SignedPlan};
use protocol::trust::TrustChain;
use protocol::{Extensions, UnixMillis};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKeyData, SanType,
    SerialNumber, SigningKey as _,
};
use rustls_pki_types::CertificateSigningRequestDer;
use zeroize::Zeroizing;

use crate::certificate::sha256;
use crate::entropy::Entropy;
use crate::key::{KeyError, KeyKind, TlsKey};
use crate::keyring::{Keyring, Parts, Phase, SEALING_SEED};
use crate::lineage::chain_extension;
use crate::plan::{key_id, signed_bytes};

/// How long an agent's certificate is valid.
pub const LEAF_VALIDITY_MS: u64 = 7 * 24 * 3600 * 1000;
/// How long the root is valid.
pub const ROOT_VALIDITY_MS: u64 = 10 * 365 * 24 * 3600 * 1000;
/// How far the beginning of validity lies in the past, for clocks that are behind.
pub const BACKDATE_MS: u64 = 10 * 60 * 1000;
/// Longest certificate signing request.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Longest trust domain.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// The parts of the secret that no rotation replaces.
const LINK_SECRET: &str = "link.key";
const TRUST_DOMAIN: &str = "trust-domain";

/// Why an authority cannot be had or does not issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The trust domain is not a DNS name.
    #[error("trust domain \"{0}\" is not a DNS name: labels of a-z, 0-9 and \"-\" with dots between")]
    TrustDomain(String),
    /// A key could not be made or read.
    #[error("failed to make the authority's key")]
    Key(#[source] KeyError),
    /// A certificate could not be signed.
    #[error("failed to sign the certificate of \"{subject}\": {detail}")]
    Sign {
        /// Whose certificate.
        subject: String,
        /// What the library says.
        detail: String,
    },
    /// What was to issue it is not valid any more.
    #[error("the region's issuing certificate has expired: it was valid until {not_after} ms after 1970")]
    Expired {
        /// End of its validity.
        not_after: UnixMillis,
    },
    /// The request is malformed or its signature is wrong.
    #[error("certificate signing request is refused: {0}")]
    Request(String),
    /// A step of a rotation is not due.
    #[error("{0}")]
    Rotation(String),
    /// A part of the secret is missing or damaged.
    #[error("authority secret: \"{part}\" {detail}")]
    Secret {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

/// What a listener shows to those who dial: a chain and its key.
#[derive(Debug, Clone)]
pub struct LinkIdentity {
    /// Certificate chain (DER), leaf first, without the root.
    pub chain: Vec<Bytes>,
    /// Roots (DER), and certificates of roots by others: shown only to those who join, who know nothing but a pin, and to
    /// those who return, who may know nothing but a root of before.
    pub shown: Vec<Bytes>,
    /// The leaf's key.
    pub tls: TlsKey,
}

/// The root key and the plan-signing key.
pub struct Authority {
    trust_domain: String,
    link_secret: Zeroizing<[u8; 32]>,
    sealing: Zeroizing<[u8; 32]>,
    keyring: RwLock<Arc<Keyring>>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("trust_domain", &self.trust_domain).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority with a P-256 root.
    ///
    /// # Errors
    /// [`AuthorityError`] when the trust domain is not a DNS name or no key can be made.
    pub fn create(
        trust_domain: &str,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        Self::create_kind(trust_domain, KeyKind::P256, now, entropy)
    }

    /// A new authority with a root of that kind.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_kind(
        trust_domain: &str,
        kind: KeyKind,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        check_trust_domain(trust_domain)?;
        let keyring = Keyring::create(trust_domain, kind, now, entropy)?;
        let mut link_secret = Zeroizing::new([0; 32]);
        entropy.fill(&mut *link_secret);
        let sealing = Zeroizing::new(sealing_seed(&keyring));
        let (trust_domain, keyring) = (trust_domain.to_owned(), RwLock::new(Arc::new(keyring)));
        Ok(Self { trust_domain, link_secret, sealing, keyring })
    }

    /// The keys that it has now.
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses other keys from now on. They are written before: see [`to_secret_with`](Self::to_secret_with).
    pub fn adopt(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }

    /// Seals content to agents. What its ephemeral keys follow from is kept where the plan-signing key is kept, and the same
    /// content gives the same bytes after a restart, and after a rotation of that key.
    pub fn sealer(&self) -> crate::sealing::Sealer {
        crate::sealing::Sealer::new(*self.sealing)
    }

    /// The parts in which the authority is kept, for a Kubernetes Secret. All of them are text.
    pub fn to_secret(&self) -> BTreeMap<String, Vec<u8>> {
        self.to_secret_with(&self.keyring())
    }

    /// The same with other keys.
    pub fn to_secret_with(&self, keyring: &Keyring) -> BTreeMap<String, Vec<u8>> {
        let text = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
        let mut parts = keyring.parts();
        parts.extend([
            (LINK_SECRET.to_owned(), text(&*self.link_secret)),
            (SEALING_SEED.to_owned(), text(&*self.sealing)),
            (TRUST_DOMAIN.to_owned(), self.trust_domain.clone().into_bytes()),
        ]);
        parts
    }

    /// Reads what [`to_secret`](Self::to_secret) wrote.
    ///
    /// # Errors
    /// [`AuthorityError::Secret`] names the part that is missing or damaged.
    pub fn from_secret(secret: &BTreeMap<String, Vec<u8>>) -> Result<Self, AuthorityError> {
        let parts = Parts(secret);
        let trust_domain = parts.text(TRUST_DOMAIN)?.to_owned();
        check_trust_domain(&trust_domain)?;
        let keyring = Keyring::from_parts(&parts, trust_domain.clone())?;
        // An authority of before had none: it followed from the plan key, which nothing could replace.
        let sealing = match parts.is_of_before() {
            true => sealing_seed(&keyring),
            false => parts.seed(SEALING_SEED)?,
        };
        Ok(Self {
            trust_domain,
            link_secret: Zeroizing::new(parts.seed(LINK_SECRET)?),
            sealing: Zeroizing::new(sealing),
            keyring: RwLock::new(Arc::new(keyring)),
        })
    }

    /// The trust domain of all SPIFFE ids.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// A secret that lasts as long as the authority; link listeners derive their reset and connection-id keys
    /// from it, so that a restarted hub is noticed at once.
    pub fn link_secret(&self) -> [u8; 32] {
        *self.link_secret
    }

    /// Whom to trust.
    pub fn trust(&self) -> TrustBundle {
        self.keyring().bundle()
    }

    /// How that bundle came to be: whoever trusts it, or one of before, takes it by this.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] when a root's key does not sign.
    pub fn chain(&self) -> Result<TrustChain, AuthorityError> {
        self.keyring().chain()
    }

    /// The word of the oldest root for a bundle, as an extension of the grant that carries it. An agent of before knows
    /// nothing else.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] when the root's key does not sign.
    pub fn vouch(&self, bundle: &TrustBundle) -> Result<(u16, Bytes), AuthorityError> {
        let keyring = self.keyring();
        let root = match keyring.phase() {
            Phase::Changed => keyring.other_root.as_ref().unwrap_or(&keyring.root),
            Phase::Steady | Phase::Introduced => &keyring.root,
        };
        let signed = root.key.pair().sign(&trust_statement(bundle));
        let signature = signed.map_err(|error| sign_error("trust bundle", &error))?;
        Ok((TRUST_EXTENSION, Bytes::from(signature)))
    }

    /// Whom to trust, and the word for it, as grants carry them.
    ///
    /// # Errors
    /// As [`vouch`](Self::vouch).
    pub fn vouched(&self) -> Result<(TrustBundle, Extensions), AuthorityError> {
        let trust = self.trust();
        let ext = vec![self.vouch(&trust)?, chain_extension(&self.chain()?)];
        Ok((trust, ext))
    }

    /// The roots that are trusted, as PEM.
    pub fn roots_pem(&self) -> String {
        self.trust().roots.iter().map(|root| crate::pem::encode("CERTIFICATE", root)).collect()
    }

    /// What join tokens pin: SHA-256 of the roots' public keys.
    pub fn pins(&self) -> Vec<[u8; 32]> {
        self.keyring().roots().map(|root| root.key.spki_hash()).collect()
    }

    /// A certificate chain for an agent, leaf first, without the root. Only the public key of the request (DER,
    /// PKCS #10) is used. Regions may both dial and listen, edges only dial.
    ///
    /// # Errors
    /// [`AuthorityError::Request`] when the request is malformed or not signed by its own key.
    pub fn issue(
        &self,
        agent: &AgentId,
        csr: &[u8],
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Bytes>, AuthorityError> {
        let usages = match agent {
            AgentId::Region(_) => {
                vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth]
            }
            AgentId::Edge(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        let key = requested_key(csr)?;
        self.leaf(&agent.to_string(), usages, &key, now, entropy)
    }

    /// A fresh key and certificate for the hub's own listener.
    ///
    /// # Errors
    /// [`AuthorityError`] when the key cannot be made.
    pub fn hub_identity(
        &self,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<LinkIdentity, AuthorityError> {
        let keyring = self.keyring();
        let kind = keyring.root.key.kind();
        let tls = TlsKey::generate_kind(kind, entropy).map_err(AuthorityError::Key)?;
        let chain = self.leaf("hub", vec![ExtendedKeyUsagePurpose::ServerAuth], tls.pair(), now, entropy)?;
        Ok(LinkIdentity { chain, shown: keyring.shown(), tls })
    }

    /// Signs the header of a table of edges; the entries are the caller's to add.
    pub fn sign_table(&self, table: &EdgeTable) -> TablePart {
        let table = encode(table);
        let keyring = self.keyring();
        let signature = keyring.plan_key.sign(&[TABLE_CONTEXT, &table[..]].concat());
        let (key_id, entries) = (key_id(&keyring.plan_key.public()), Standings::default());
        TablePart { table, key_id, signature, first: 0, entries, ext: Vec::new() }
    }

    /// Signs a placement.
    pub fn sign_placement(&self, placement: &Placement) -> SignedPlacement {
        let placement = encode(placement);
        let keyring = self.keyring();
        let signature = keyring.plan_key.sign(&[PLACEMENT_CONTEXT, &placement[..]].concat());
        SignedPlacement { placement, key_id: key_id(&keyring.plan_key.public()), signature, ext: Vec::new() }
    }

    /// Signs a list of endpoints.
    pub fn sign_endpoints(&self, list: &EndpointList) -> SignedEndpoints {
        let list = encode(list);
        let keyring = self.keyring();
        let signature = keyring.plan_key.sign(&[ENDPOINTS_CONTEXT, &list[..]].concat());
        SignedEndpoints { list, key_id: key_id(&keyring.plan_key.public()), signature, ext: Vec::new() }
    }

    /// Signs a plan.
    pub fn sign_plan(&self, header: &PlanHeader) -> SignedPlan {
        let header = encode(header);
        let keyring = self.keyring();
        let signature = keyring.plan_key.sign(&signed_bytes(&header));
        SignedPlan { key_id: key_id(&keyring.plan_key.public()), header, signature }
    }

    fn leaf(
        &self,
        path: &str,
        usages: Vec<ExtendedKeyUsagePurpose>,
        key: &impl PublicKeyData,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Bytes>, AuthorityError> {
        let leaf = Leaf { trust_domain: &self.trust_domain, path, usages, validity_ms: LEAF_VALIDITY_MS };
        let keyring = self.keyring();
        let issuer = keyring.root.issuer().map_err(|error| sign_error(path, &error))?;
        Ok(vec![sign_leaf(leaf, key, &issuer, now, entropy)?])
    }
}

/// What sealing follows from, unless it is kept apart.
fn sealing_seed(keyring: &Keyring) -> [u8; 32] {
    blake3::derive_key("skein hub sealing seed v1", keyring.plan_key.seed())
}

/// What a leaf says.
pub(crate) struct Leaf<'a> {
    pub(crate) trust_domain: &'a str,
    /// Of its SPIFFE id.
    pub(crate) path: &'a str,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) validity_ms: u64,
}

/// A leaf for that key, signed by that issuer.
pub(crate) fn sign_leaf(
    leaf: Leaf<'_>,
    key: &impl PublicKeyData,
    issuer: &Issuer<'_, &rcgen::KeyPair>,
    now: UnixMillis,
    entropy: &mut dyn Entropy,
) -> Result<Bytes, AuthorityError> {
    let Leaf { trust_domain, path, usages, validity_ms } = leaf;
    let spiffe = format!("spiffe://{trust_domain}/{path}");
    let mut params = policy(path, now, validity_ms, entropy);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages;
    let name = spiffe.as_str().try_into().map_err(|error: rcgen::Error| sign_error(path, &error))?;
    params.subject_alt_names = vec![SanType::URI(name)];
    params.use_authority_key_identifier_extension = true;
    let signed = params.signed_by(key, issuer).map_err(|error| sign_error(path, &error))?;
    Ok(Bytes::copy_from_slice(signed.der()))
}

/// What every certificate has: a name, a serial, a validity that begins a little earlier.
pub(crate) fn policy(
    common_name: &str,
    now: UnixMillis,
    validity_ms: u64,
    entropy: &mut dyn Entropy,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let at = |millis: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(millis / 1000);
    params.not_before = at(now.saturating_sub(BACKDATE_MS));
    params.not_after = at(now + validity_ms);
    let mut serial = [0; 16];
    entropy.fill(&mut serial);
    // Positive and of constant length.
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}

/// SHA-256 of the public key that a request proves to have.
pub(crate) fn requested_spki(csr: &[u8]) -> Result<[u8; 32], AuthorityError> {
    Ok(sha256(&requested_key(csr)?.subject_public_key_info()))
}

/// The public key that a request proves to have; nothing else of it.
pub(crate) fn requested_key(csr: &[u8]) -> Result<rcgen::PublicKey, AuthorityError> {
    if csr.len() > REQUEST_BYTES_MAX {
        let detail = format!("{} bytes, at most {REQUEST_BYTES_MAX} are accepted", csr.len());
        return Err(AuthorityError::Request(detail));
    }
    let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
        .map_err(|error| AuthorityError::Request(error.to_string()))?;
    let algorithm = PublicKeyData::algorithm(&request.public_key);
    if algorithm != &PKCS_ECDSA_P256_SHA256 && algorithm != &PKCS_ED25519 {
        return Err(AuthorityError::Request("its key is neither P-256 nor Ed25519".to_owned()));
    }
    Ok(request.public_key)
}

fn check_trust_domain(domain: &str) -> Result<(), AuthorityError> {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() <= TRUST_DOMAIN_BYTES_MAX && domain.split('.').all(label) {
        Ok(())
    } else {
        Err(AuthorityError::TrustDomain(domain.to_owned()))
    }
}

pub(crate) fn sign_error(subject: &str, error: &rcgen::Error) -> AuthorityError {
    AuthorityError::Sign { subject: subject.to_owned(), detail: error.to_string() }
}
