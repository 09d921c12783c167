//! The hub's authority: the root of all certificates, and the key that signs plans.
//!
//! # Why
//! Of a certificate signing request only the public key is used. rcgen copies whatever a parsed request asks
//! for, `CA:TRUE` included, and a certificate authority minted that way is believed by every verifier. So names,
//! usages and validity come from here, and a request that asks for more simply does not get it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::UnixMillis;
use protocol::codec::encode;
use protocol::delegation::{EdgeTable, Standings, TABLE_CONTEXT, TablePart};
use protocol::enrolment::{PlanKey, TRUST_EXTENSION, TrustBundle, trust_statement};
use protocol::id::AgentId;
use protocol::placement::{PLACEMENT_CONTEXT, Placement, SignedPlacement};
use protocol::plan::{PlanHeader, SignedPlan};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519,
    PublicKeyData, SanType, SerialNumber, SigningKey as _,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use zeroize::Zeroizing;

use crate::certificate::{sha256, spki_hash};
use crate::entropy::Entropy;
use crate::key::{Ed25519, KeyError, KeyKind, TlsKey};
use crate::pem;
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

/// The parts of the secret in which an authority is kept.
const ROOT_CERTIFICATE: &str = "root.crt";
const ROOT_KEY: &str = "root.key";
const PLAN_KEY: &str = "plan.key";
const LINK_SECRET: &str = "link.key";
const TRUST_DOMAIN: &str = "trust-domain";
const TRUST_SEQUENCE: &str = "trust-sequence";

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
    /// The root (DER), shown only to those who join: they know nothing but its pin.
    pub root: Bytes,
    /// The leaf's key.
    pub tls: TlsKey,
}

/// The root key and the plan-signing key.
pub struct Authority {
    trust_domain: String,
    root: Bytes,
    root_key: TlsKey,
    plan_key: Ed25519,
    link_secret: Zeroizing<[u8; 32]>,
    sequence: u64,
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
        let root_key = TlsKey::generate_kind(kind, entropy).map_err(AuthorityError::Key)?;
        let mut params = policy(&format!("skein root of {trust_domain}"), now, ROOT_VALIDITY_MS, entropy);
        // One level below the root is kept for the issuing certificates of regions.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(root_key.pair()).map_err(|error| sign_error("the root", &error))?;
        let mut link_secret = Zeroizing::new([0; 32]);
        entropy.fill(&mut *link_secret);
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            root: Bytes::copy_from_slice(root.der()),
            root_key,
            plan_key: Ed25519::generate(entropy),
            link_secret,
            sequence: 1,
        })
    }

    /// Seals content to agents. What its ephemeral keys follow from, follows from the plan-signing key: it is kept where
    /// that is kept, and the same content gives the same bytes after a restart.
    pub fn sealer(&self) -> crate::sealing::Sealer {
        crate::sealing::Sealer::new(blake3::derive_key("skein hub sealing seed v1", self.plan_key.seed()))
    }

    /// The parts in which the authority is kept, for a Kubernetes Secret. All of them are text.
    pub fn to_secret(&self) -> BTreeMap<String, Vec<u8>> {
        let text = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
        BTreeMap::from([
            (ROOT_CERTIFICATE.to_owned(), pem::encode("CERTIFICATE", &self.root).into_bytes()),
            (ROOT_KEY.to_owned(), pem::encode("PRIVATE KEY", self.root_key.pkcs8()).into_bytes()),
            (PLAN_KEY.to_owned(), text(self.plan_key.seed())),
            (LINK_SECRET.to_owned(), text(&*self.link_secret)),
            (TRUST_DOMAIN.to_owned(), self.trust_domain.clone().into_bytes()),
            (TRUST_SEQUENCE.to_owned(), self.sequence.to_string().into_bytes()),
        ])
    }

    /// Reads what [`to_secret`](Self::to_secret) wrote.
    ///
    /// # Errors
    /// [`AuthorityError::Secret`] names the part that is missing or damaged.
    pub fn from_secret(secret: &BTreeMap<String, Vec<u8>>) -> Result<Self, AuthorityError> {
        let wrong =
            |part: &'static str, detail: &str| AuthorityError::Secret { part, detail: detail.to_owned() };
        let text = |part: &'static str| {
            let bytes = secret.get(part).ok_or_else(|| wrong(part, "is missing"))?;
            std::str::from_utf8(bytes).map(str::trim).map_err(|_| wrong(part, "is not text"))
        };
        let key = |part: &'static str| {
            STANDARD
                .decode(text(part)?)
                .ok()
                .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
                .ok_or_else(|| wrong(part, "is not the base64 of 32 bytes"))
        };
        let der = |part: &'static str, label: &str| {
            pem::decode(label, text(part)?)
                .and_then(|blocks| blocks.into_iter().next())
                .ok_or_else(|| wrong(part, &format!("is not a PEM block of type {label}")))
        };
        let root_key = TlsKey::from_pkcs8(&der(ROOT_KEY, "PRIVATE KEY")?)
            .map_err(|error| wrong(ROOT_KEY, &error.to_string()))?;
        let root = der(ROOT_CERTIFICATE, "CERTIFICATE")?;
        let pin = spki_hash(&root).map_err(|error| wrong(ROOT_CERTIFICATE, &error.to_string()))?;
        if pin != root_key.spki_hash() {
            return Err(wrong(ROOT_CERTIFICATE, "does not belong to root.key"));
        }
        let trust_domain = text(TRUST_DOMAIN)?.to_owned();
        check_trust_domain(&trust_domain)?;
        let sequence = text(TRUST_SEQUENCE)?.parse().map_err(|_| wrong(TRUST_SEQUENCE, "is not a number"))?;
        Ok(Self {
            trust_domain,
            root: Bytes::from(root),
            root_key,
            plan_key: Ed25519::from_seed(key(PLAN_KEY)?),
            link_secret: Zeroizing::new(key(LINK_SECRET)?),
            sequence,
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
        let public_key = self.plan_key.public();
        TrustBundle {
            sequence: self.sequence,
            trust_domain: self.trust_domain.clone(),
            roots: vec![self.root.clone()],
            plan_keys: vec![PlanKey { id: key_id(&public_key), public_key }],
        }
    }

    /// The root's word for a bundle, as an extension of the grant that carries it.
    ///
    /// # Errors
    /// [`AuthorityError::Sign`] when the root's key does not sign.
    pub fn vouch(&self, bundle: &TrustBundle) -> Result<(u16, Bytes), AuthorityError> {
        let signed = self.root_key.pair().sign(&trust_statement(bundle));
        let signature = signed.map_err(|error| sign_error("trust bundle", &error))?;
        Ok((TRUST_EXTENSION, Bytes::from(signature)))
    }

    /// What join tokens pin: SHA-256 of the root's public key.
    pub fn pins(&self) -> Vec<[u8; 32]> {
        vec![self.root_key.spki_hash()]
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
        let kind = self.root_key.kind();
        let tls = TlsKey::generate_kind(kind, entropy).map_err(AuthorityError::Key)?;
        let chain = self.leaf("hub", vec![ExtendedKeyUsagePurpose::ServerAuth], tls.pair(), now, entropy)?;
        Ok(LinkIdentity { chain, root: self.root.clone(), tls })
    }

    /// Signs the header of a table of edges; the entries are the caller's to add.
    pub fn sign_table(&self, table: &EdgeTable) -> TablePart {
        let table = encode(table);
        let signature = self.plan_key.sign(&[TABLE_CONTEXT, &table[..]].concat());
        let (key_id, entries) = (key_id(&self.plan_key.public()), Standings::default());
        TablePart { table, key_id, signature, first: 0, entries, ext: Vec::new() }
    }

    /// Signs a placement.
    pub fn sign_placement(&self, placement: &Placement) -> SignedPlacement {
        let placement = encode(placement);
        let signature = self.plan_key.sign(&[PLACEMENT_CONTEXT, &placement[..]].concat());
        SignedPlacement { placement, key_id: key_id(&self.plan_key.public()), signature, ext: Vec::new() }
    }

    /// Signs a plan.
    pub fn sign_plan(&self, header: &PlanHeader) -> SignedPlan {
        let header = encode(header);
        let signature = self.plan_key.sign(&signed_bytes(&header));
        SignedPlan { key_id: key_id(&self.plan_key.public()), header, signature }
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
        let issuer = self.issuer().map_err(|error| sign_error(path, &error))?;
        Ok(vec![sign_leaf(leaf, key, &issuer, now, entropy)?])
    }

    /// The root, as what issues certificates.
    pub(crate) fn issuer(&self) -> Result<Issuer<'static, &rcgen::KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&CertificateDer::from(&self.root[..]), self.root_key.pair())
    }
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
