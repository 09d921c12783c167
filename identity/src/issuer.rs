//! Issuing certificates of regions: edges renew while the hub is away.
//!
//! ```text
//!   root --- region/eu            the regional agent itself
//!     |----- edge/ID              an edge, as the hub issues it
//!     \----- region/eu/issuer     CA, path length 0, for client certificates only
//!               \--- edge/ID      an edge of eu, as its region issues it
//! ```
//! A region renews by the hub's table of its edges ([`protocol::delegation`]), and only as long as the newest one is
//! young enough. Whatever else its issuing key signs, nobody believes:
//!
//! | the region issues | who refuses it, and by what |
//! |---|---|
//! | for an edge of another region | every other region: the issuer is not its own; the edge itself likewise |
//! | for a region, a hub, a listener | everyone: an issuer is believed for edges alone, and lacks server usage |
//! | a certificate authority | everyone: path length 0 |
//! | for longer than a hub would | everyone: [`LEAF_VALIDITY_MS`] is the limit here too |
//! | for an edge that is revoked | its own listener, by the deny set; an honest one does not issue it either |
//! | after it was revoked itself | everyone who denies the region denies its issuer |
//!
//! # Why
//! X.509 has name constraints for this, but webpki refuses any on URIs, so the verifiers hold an issuer to its name.
//! An edge takes nothing but a certificate for its own id, and a hub takes no edges: what a region that cheats can
//! make is a certificate for its own listener, which needs none to be cheated.
//!
//! An issuing certificate lives for [`ISSUER_VALIDITY_MS`] and is renewed together with the region's own certificate,
//! after 4.2 days at the latest. So when the hub goes away it lasts for 16.8 days more: long enough for the 7 days
//! that a table may be old, and for the 7 days of what was issued on the last of them.

use bytes::Bytes;
use protocol::delegation::{
    EdgeStanding, EdgeTable, ISSUER_EXTENSION, RETURNS_EXTENSION, issuer_statement, returns_statement,
};
use protocol::enrolment::{Refusal, RefusalReason, RenewRequest};
use protocol::id::{AgentId, RegionName};
use protocol::{Extensions, UnixMillis};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::agent::AgentIdentity;
use crate::authority::{
    Authority, AuthorityError, BACKDATE_MS, LEAF_VALIDITY_MS, Leaf, policy, requested_key, sign_error,
    sign_leaf,
};
use crate::certificate::{PeerCertificate, validity};
use crate::entropy::Entropy;
use crate::key::{KeyError, TlsKey, ed25519_verifies};
use crate::renewal::check_renewal;
use crate::time::CLOCK_TOLERANCE_MS;
use crate::tls::verify_chain;

/// How old the newest table of a region's edges may be for it to renew them, unless a region is told otherwise.
pub const TABLE_AGE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;
/// How long an issuing certificate is valid.
pub const ISSUER_VALIDITY_MS: u64 = 3 * TABLE_AGE_MAX_MS;
/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// Why a certificate that a region issued is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// There is more than one certificate between the leaf and the root.
    #[error("{0} certificates lie between this one and the root, at most one is accepted")]
    Depth(usize),
    /// What issued it is not the issuer of a region.
    #[error("it was issued by \"{0}\", which is not the issuer of a region of this mesh")]
    Name(String),
    /// Regions issue for edges only.
    #[error("it is for {0}, and a region issues for edges only")]
    Tier(String),
    /// It is of another region's issuer.
    #[error("it was issued by region \"{issuer}\", accepted is what the hub{own} issued")]
    Foreign {
        /// Who issued it.
        issuer: RegionName,
        /// ` or region "NAME"`, where there is one.
        own: String,
    },
    /// It is valid for longer than a region may issue.
    #[error("it is valid for {0} ms, at most {max} are accepted", max = LEAF_VALIDITY_MS + BACKDATE_MS)]
    Life(u64),
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] crate::certificate::CertificateError),
}

/// Who issued a certificate, where that was not the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IssuedBy {
    pub(crate) region: RegionName,
    pub(crate) certificate: PeerCertificate,
}

/// Holds a verified path to what regions may issue: `name` is whose certificate it is, `between` what lies between it
/// and the root, `own` the region whose issuer is accepted. Nothing when the hub issued it.
pub(crate) fn check_issuer(
    leaf: &[u8],
    name: &str,
    between: &[CertificateDer<'_>],
    trust_domain: &str,
    own: Option<&RegionName>,
) -> Result<Option<IssuedBy>, IssuerError> {
    let issuer = match between {
        [] => return Ok(None),
        [issuer] => issuer,
        more => return Err(IssuerError::Depth(more.len())),
    };
    let certificate = PeerCertificate::read(issuer)?;
    let region = issuing_region(&certificate.spiffe, trust_domain)
        .ok_or_else(|| IssuerError::Name(certificate.spiffe.clone()))?;
    if !matches!(AgentId::from_spiffe(name, trust_domain), Ok(AgentId::Edge(_))) {
        return Err(IssuerError::Tier(name.to_owned()));
    }
    if own != Some(&region) {
        let own = own.map_or_else(String::new, |own| format!(" or region \"{own}\""));
        return Err(IssuerError::Foreign { issuer: region, own });
    }
    let (not_before, not_after) = validity(leaf)?;
    let life = not_after.saturating_sub(not_before);
    if life > LEAF_VALIDITY_MS + BACKDATE_MS {
        return Err(IssuerError::Life(life));
    }
    Ok(Some(IssuedBy { region, certificate }))
}

/// The SPIFFE id of a region's issuer. No agent's id looks like it.
fn issuer_spiffe(region: &RegionName, trust_domain: &str) -> String {
    format!("{}/issuer", AgentId::Region(region.clone()).spiffe(trust_domain))
}

/// The region whose issuer has that id.
fn issuing_region(spiffe: &str, trust_domain: &str) -> Option<RegionName> {
    match AgentId::from_spiffe(spiffe.strip_suffix("/issuer")?, trust_domain).ok()? {
        AgentId::Region(region) => Some(region),
        AgentId::Edge(_) => None,
    }
}

/// A region's wish for an issuing certificate over that key, as an extension of its renewal request.
///
/// # Errors
/// [`KeyError::Request`] when the key cannot sign.
pub fn issuer_wish(identity: &AgentIdentity, key: &TlsKey) -> Result<(u16, Bytes), KeyError> {
    let csr = key.signing_request()?;
    let proof = identity.device.sign(&issuer_statement(&identity.agent, &csr));
    Ok((ISSUER_EXTENSION, Bytes::from([&proof[..], &csr[..]].concat())))
}

/// The signing request of the issuing key among the extensions of a renewal request; nothing when none is wished for.
///
/// # Errors
/// The [`Refusal`] to send when the device with that key did not wish for it.
pub fn wished_issuer<'a>(request: &'a RenewRequest, device_key: &[u8]) -> Result<Option<&'a [u8]>, Refusal> {
    let Some((_, wish)) = request.ext.iter().find(|(tag, _)| *tag == ISSUER_EXTENSION) else {
        return Ok(None);
    };
    let signed = wish
        .split_at_checked(SIGNATURE_BYTES)
        .filter(|(proof, csr)| ed25519_verifies(device_key, &issuer_statement(&request.agent, csr), proof));
    match signed {
        Some((_, csr)) => Ok(Some(csr)),
        None => {
            let message =
                format!("the wish for an issuing certificate is not by the device key of {}", request.agent);
            Err(Refusal { reason: RefusalReason::ProofInvalid, message, retry_after_ms: None })
        }
    }
}

/// How often the device says that it has returned, as an extension of its renewal request.
pub(crate) fn told_returns(identity: &AgentIdentity, csr: &[u8]) -> (u16, Bytes) {
    let statement = returns_statement(&identity.agent, csr, identity.returns);
    let told = [&identity.returns.to_be_bytes()[..], &identity.device.sign(&statement)[..]].concat();
    (RETURNS_EXTENSION, Bytes::from(told))
}

/// How often the device with that key says that it has returned; nothing when it does not say so itself.
fn said_returns(request: &RenewRequest, device_key: &[u8]) -> Option<u64> {
    let (_, told) = request.ext.iter().find(|(tag, _)| *tag == RETURNS_EXTENSION)?;
    let (count, proof) = told.split_first_chunk::<8>()?;
    let count = u64::from_be_bytes(*count);
    let statement = returns_statement(&request.agent, &request.csr, count);
    ed25519_verifies(device_key, &statement, proof).then_some(count)
}

impl Authority {
    /// An issuing certificate (DER) for that region, as an extension of the grant. Only the public key of the request
    /// (DER, PKCS #10) is used.
    ///
    /// # Errors
    /// [`AuthorityError::Request`] when the request is malformed or not signed by its own key.
    pub fn delegate(
        &self,
        region: &RegionName,
        csr: &[u8],
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<(u16, Bytes), AuthorityError> {
        let (key, name) = (requested_key(csr)?, issuer_spiffe(region, self.trust_domain()));
        let mut params = policy(&format!("issuer of region {region}"), now, ISSUER_VALIDITY_MS, entropy);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Without server usage: nothing that it issues is a listener anywhere.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = name.as_str().try_into().map_err(|error: rcgen::Error| sign_error(&name, &error))?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.use_authority_key_identifier_extension = true;
        let keyring = self.keyring();
        let issuer = keyring.root.issuer().map_err(|error| sign_error(&name, &error))?;
        let certificate = params.signed_by(&key, &issuer).map_err(|error| sign_error(&name, &error))?;
        Ok((ISSUER_EXTENSION, Bytes::copy_from_slice(certificate.der())))
    }
}

/// A region's issuing certificate and its key.
#[derive(Debug, Clone)]
pub struct RegionIssuer {
    region: RegionName,
    trust_domain: String,
    certificate: Bytes,
    key: TlsKey,
    not_after: UnixMillis,
}

impl RegionIssuer {
    /// The issuer with that certificate (DER) and key, for the region of that identity. Nothing of what is said is
    /// believed: what it issues must verify as an edge will verify it.
    ///
    /// # Errors
    /// [`IssuerUnusable`] when it would not.
    pub fn new(
        identity: &AgentIdentity,
        certificate: Bytes,
        key: TlsKey,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, IssuerUnusable> {
        let unusable = |error: &dyn std::fmt::Display| IssuerUnusable(error.to_string());
        let (_, not_after) = validity(&certificate).map_err(|error| unusable(&error))?;
        if !has_usual_name(&certificate) {
            return Err(unusable(&"its subject has an attribute that is none of X.520's"));
        }
        let (region, trust_domain) = (identity.region.clone(), identity.trust.trust_domain.clone());
        let issuer = Self { region, trust_domain, certificate, key, not_after };
        let tried = AgentId::Edge(protocol::id::EdgeId([0; 16]));
        let csr = issuer.key.signing_request().map_err(|error| unusable(&error))?;
        let chain = issuer.issue(&tried, &csr, now, entropy).map_err(|error| unusable(&error))?;
        let ders = crate::certificate::rustls_chain(&chain);
        let between = verify_chain(&ders, &identity.trust, now).map_err(|error| unusable(&error))?;
        let name = tried.spiffe(&issuer.trust_domain);
        let issued = check_issuer(&chain[0], &name, &between, &issuer.trust_domain, Some(&issuer.region));
        issued.map_err(|error| unusable(&error))?;
        Ok(issuer)
    }

    /// The issuer that a grant gives for that key; nothing when it gives none.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn granted(
        identity: &AgentIdentity,
        key: TlsKey,
        told: &Extensions,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<Self>, IssuerUnusable> {
        let Some((_, certificate)) = told.iter().find(|(tag, _)| *tag == ISSUER_EXTENSION) else {
            return Ok(None);
        };
        Self::new(identity, certificate.clone(), key, now, entropy).map(Some)
    }

    /// Its certificate (DER).
    pub fn certificate(&self) -> &Bytes {
        &self.certificate
    }

    /// Its key.
    pub fn key(&self) -> &TlsKey {
        &self.key
    }

    /// End of its validity.
    pub fn not_after(&self) -> UnixMillis {
        self.not_after
    }

    /// A certificate chain for an agent, leaf first, without the root; at most as long as the hub would give, and no
    /// longer than the issuer itself. Only the public key of the request is used.
    ///
    /// # Errors
    /// [`AuthorityError`] when the issuer has expired or the request is malformed.
    pub fn issue(
        &self,
        agent: &AgentId,
        csr: &[u8],
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Bytes>, AuthorityError> {
        let (key, subject) = (requested_key(csr)?, agent.to_string());
        let rest = self.not_after.saturating_sub(now);
        if rest == 0 {
            return Err(AuthorityError::Expired { not_after: self.not_after });
        }
        let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(&self.certificate[..]), self.key.pair())
            .map_err(|error| sign_error(&subject, &error))?;
        let leaf = Leaf {
            trust_domain: &self.trust_domain,
            path: &subject,
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
            validity_ms: LEAF_VALIDITY_MS.min(rest),
        };
        let leaf = sign_leaf(leaf, &key, &issuer, now, entropy)?;
        Ok(vec![leaf, self.certificate.clone()])
    }

    /// A renewed certificate chain for an edge of the region, by the hub's newest table: `standing` is what that says of
    /// the edge. The table may be `age_max_ms` old.
    ///
    /// # Errors
    /// The [`Refusal`] to send.
    pub fn renew(
        &self,
        request: &RenewRequest,
        (table, standing): (&EdgeTable, Option<&EdgeStanding>),
        age_max_ms: u64,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Bytes>, Refusal> {
        let refuse = |reason, message| Err(Refusal { reason, message, retry_after_ms: None });
        let agent = &request.agent;
        let age = now.saturating_sub(table.issued_at);
        if age > age_max_ms {
            let message = format!(
                "the hub is away, and the region's table of edges is {} h old, at most {} h are accepted",
                age / 3_600_000,
                age_max_ms / 3_600_000
            );
            return refuse(RefusalReason::Unavailable, message);
        }
        if table.issued_at > now.saturating_add(CLOCK_TOLERANCE_MS) {
            let message = "the region's clock is behind the hub's: it cannot tell what is too old".to_owned();
            return refuse(RefusalReason::Unavailable, message);
        }
        let own =
            |standing: &&EdgeStanding| table.region == self.region && AgentId::Edge(standing.edge) == *agent;
        let Some(standing) = standing.filter(own) else {
            let message = format!("{agent} is not in the hub's table of the edges of \"{}\"", self.region);
            return refuse(RefusalReason::Forbidden, message);
        };
        if standing.denied {
            return refuse(RefusalReason::Revoked, format!("{agent} was revoked"));
        }
        check_renewal(request, &standing.device_key, agent)?;
        // An edge of before says nothing, and cannot be judged by it.
        let fewer = said_returns(request, &standing.device_key).filter(|said| *said < standing.returns);
        if let Some(said) = fewer {
            let message = format!(
                "another device has returned with the device key of {agent}: this one shows {said} returns, the hub knows of {}",
                standing.returns
            );
            return refuse(RefusalReason::Forbidden, message);
        }
        match self.issue(agent, &request.csr, now, entropy) {
            Ok(chain) => Ok(chain),
            Err(error @ AuthorityError::Expired { .. }) => {
                refuse(RefusalReason::Unavailable, format!("the hub is away: {error}"))
            }
            Err(error) => refuse(RefusalReason::Malformed, error.to_string()),
        }
    }
}

/// An issuing certificate is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the region's issuing certificate is unusable: {0}")]
pub struct IssuerUnusable(String);

/// Whether the subject has only attributes of X.520 (2.5.4). It is written into every certificate that is issued, and what
/// writes it panics at numbers that no object identifier begins with.
fn has_usual_name(certificate: &[u8]) -> bool {
    const X520: &[u8] = &[0x55, 0x04];
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| {
        let mut attributes = certificate.tbs_certificate.subject.iter_attributes();
        attributes.all(|attribute| attribute.attr_type().as_bytes().starts_with(X520))
    })
}
