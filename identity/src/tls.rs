//! TLS as links use it: version 1.3 only, mutual, no resumption, no 0-RTT, post-quantum key exchange first.
//!
//! One listener serves all three protocols. Client certificates are asked for and verified on every connection that
//! shows one, but cannot be demanded, since a newcomer has none: **the listener must close a connection of
//! [`ALPN_LINK`] without a peer certificate before it reads anything** (the `link` crate does).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::enrolment::TrustBundle;
use protocol::id::{AgentId, IdError, RegionName};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::agent::AgentIdentity;
use crate::authority::LinkIdentity;
use crate::certificate::{PeerCertificate, rustls_chain, spki_hash, validity};
use crate::issuer::{IssuerError, TABLE_AGE_MAX_MS, check_issuer};
use crate::lineage::heirs;
use crate::time::{Clock, TlsClock, unix_time};
use crate::token::JoinToken;
use crate::trust::{Anchors, Trust, TrustError};

/// Protocol of links.
pub const ALPN_LINK: &[u8] = b"skein/1";
/// Links of other major versions, which listeners take up only to refuse them by name.
const ALPN_OTHERS: [&[u8]; 8] =
    [b"skein/2", b"skein/3", b"skein/4", b"skein/5", b"skein/6", b"skein/7", b"skein/8", b"skein/9"];
/// Protocol of joining.
pub const ALPN_JOIN: &[u8] = b"skein-join/1";
/// Protocol of the return after expiry.
pub const ALPN_RECOVER: &[u8] = b"skein-recover/1";
/// Protocol of tunnels for datagrams, as of any web server.
pub const ALPN_TUNNEL: &[u8] = b"http/1.1";
/// For how long an edge takes its region's certificate after that has expired, in milliseconds: a region cannot renew
/// its own while the hub is away, and its edges are better off with it. Whoever has stolen the key behind such a
/// certificate may stand in for the region for so much longer; plans and secrets he can neither make nor read.
pub const REGION_GRACE_MS: u64 = TABLE_AGE_MAX_MS;
/// The name that dialling sends; certificates are checked by SPIFFE id, not by it.
pub const SERVER_NAME: &str = "skein.internal";

/// Why no TLS configuration can be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The trust bundle is unusable.
    #[error("failed to use the trust bundle")]
    Trust(#[source] TrustError),
    /// Key and chain do not fit, or the provider lacks something.
    #[error("failed to configure TLS")]
    Configure(#[source] Error),
}

/// Whom a listener takes links from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// The hub: regions.
    Regions,
    /// A region: edges.
    Edges,
}

/// Whom a dialler expects to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// The hub.
    Hub,
    /// The regional agent of that region.
    Region(RegionName),
}

impl Upper {
    /// Whom that agent dials: a region the hub, an edge its region.
    pub fn of(identity: &AgentIdentity) -> Self {
        match identity.agent {
            AgentId::Region(_) => Self::Hub,
            AgentId::Edge(_) => Self::Region(identity.region.clone()),
        }
    }

    fn spiffe(&self, trust_domain: &str) -> String {
        match self {
            Self::Hub => format!("spiffe://{trust_domain}/hub"),
            Self::Region(name) => AgentId::Region(name.clone()).spiffe(trust_domain),
        }
    }
}

/// The listener's configuration for links and joins.
///
/// # Errors
/// [`TlsError`] when key and chain do not fit.
pub fn server_config(
    identity: &LinkIdentity,
    trust: Arc<Trust>,
    accepts: Accepts,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, TlsError> {
    let certified = |with_root: bool| {
        let mut chain = rustls_chain(&identity.chain);
        if with_root {
            chain.extend(rustls_chain(&identity.shown));
        }
        CertifiedKey::from_der(chain, identity.tls.rustls_key(), provider())
            .map(Arc::new)
            .map_err(TlsError::Configure)
    };
    let resolver = ShowChain { link: certified(false)?, join: certified(true)? };
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider()), Arc::new(TlsClock(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configure)?
        .with_client_cert_verifier(Arc::new(LowerVerifier { trust, accepts, own: own_region(identity) }))
        .with_cert_resolver(Arc::new(resolver));
    let ours = [ALPN_LINK, ALPN_JOIN, ALPN_RECOVER];
    config.alpn_protocols = ours.iter().chain(&ALPN_OTHERS).map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// An agent's configuration for its uplink.
///
/// # Errors
/// [`TlsError`] when key and chain do not fit or the bundle has no usable root.
pub fn client_config(identity: &AgentIdentity, clock: Arc<dyn Clock>) -> Result<ClientConfig, TlsError> {
    let anchors = Anchors::new(identity.trust.clone()).map_err(TlsError::Trust)?;
    let expected = Upper::of(identity);
    let grace_ms = if expected == Upper::Hub { 0 } else { REGION_GRACE_MS };
    let verifier = UpperVerifier { anchors, expected, judged: Judged::Within(grace_ms) };
    let mut config = client_builder(Arc::new(verifier), clock)?
        .with_client_auth_cert(rustls_chain(&identity.chain), identity.tls.rustls_key())
        .map_err(TlsError::Configure)?;
    finish_client(&mut config, ALPN_LINK);
    Ok(config)
}

/// The configuration of an agent that wants to return: it shows nothing, and expects whom it always dials, however
/// long that one's certificate has expired by the clock here.
///
/// # Errors
/// [`TlsError`] when the bundle has no usable root.
pub fn recover_config(identity: &AgentIdentity, clock: Arc<dyn Clock>) -> Result<ClientConfig, TlsError> {
    let anchors = Anchors::new(identity.trust.clone()).map_err(TlsError::Trust)?;
    let verifier = UpperVerifier { anchors, expected: Upper::of(identity), judged: Judged::Timeless };
    let mut config = client_builder(Arc::new(verifier), clock)?.with_no_client_auth();
    finish_client(&mut config, ALPN_RECOVER);
    Ok(config)
}

/// The major version of a link's ALPN; nothing for what is no link.
pub fn link_major(alpn: &[u8]) -> Option<u16> {
    std::str::from_utf8(alpn.strip_prefix(b"skein/")?).ok()?.parse().ok()
}

/// A newcomer's configuration: believes the roots that the token pins, and shows nothing.
///
/// # Errors
/// [`TlsError::Configure`].
pub fn join_config(token: &JoinToken, clock: Arc<dyn Clock>) -> Result<ClientConfig, TlsError> {
    let verifier = PinVerifier { pins: token.pins.clone() };
    let mut config = client_builder(Arc::new(verifier), clock)?.with_no_client_auth();
    finish_client(&mut config, ALPN_JOIN);
    Ok(config)
}

/// A listener's configuration for tunnels that carry the datagrams of links and joins. It asks for no certificate: who
/// comes is verified inside, by the configuration of links.
///
/// # Errors
/// [`TlsError`] when key and chain do not fit.
pub fn tunnel_server_config(
    identity: &LinkIdentity,
    clock: Arc<dyn Clock>,
) -> Result<ServerConfig, TlsError> {
    let mut chain = rustls_chain(&identity.chain);
    chain.extend(rustls_chain(&identity.shown));
    let mut config = ServerConfig::builder_with_details(Arc::clone(provider()), Arc::new(TlsClock(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configure)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(
            CertifiedKey::from_der(chain, identity.tls.rustls_key(), provider())
                .map_err(TlsError::Configure)?,
        )));
    config.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// An agent's configuration for a tunnel to whom it dials: shows nothing, and leaves judging by the clock to what is
/// inside.
///
/// # Errors
/// [`TlsError`] when the bundle has no usable root.
pub fn tunnel_config(identity: &AgentIdentity, clock: Arc<dyn Clock>) -> Result<ClientConfig, TlsError> {
    let mut config = recover_config(identity, clock)?;
    finish_tunnel(&mut config);
    Ok(config)
}

/// A newcomer's configuration for a tunnel: believes the roots that the token pins.
///
/// # Errors
/// [`TlsError::Configure`].
pub fn tunnel_join_config(token: &JoinToken, clock: Arc<dyn Clock>) -> Result<ClientConfig, TlsError> {
    let mut config = join_config(token, clock)?;
    finish_tunnel(&mut config);
    Ok(config)
}

fn finish_tunnel(config: &mut ClientConfig) {
    config.alpn_protocols = vec![ALPN_TUNNEL.to_vec()];
    // As any client of a web server: what lies between may choose by it.
    config.enable_sni = true;
}

/// That a client chain leads to a root of the bundle and is valid at that time; gives what lies between.
pub(crate) fn verify_chain(
    chain: &[CertificateDer<'_>],
    trust: &TrustBundle,
    now: UnixMillis,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let anchors = Anchors::new(trust.clone()).map_err(other)?;
    let (leaf, rest) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
    verify_path(leaf, rest, &anchors.anchors, unix_time(now), KeyUsage::client_auth())
}

/// Whether the key of a certificate (DER) made that signature over that message.
pub(crate) fn certificate_verifies(certificate: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let der = CertificateDer::from(certificate);
    let Ok(certificate) = EndEntityCert::try_from(&der) else { return false };
    let algorithms = provider().signature_verification_algorithms.all;
    algorithms.iter().any(|algorithm| certificate.verify_signature(*algorithm, message, signature).is_ok())
}

type ClientBuilder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn client_builder(
    verifier: Arc<dyn ServerCertVerifier>,
    clock: Arc<dyn Clock>,
) -> Result<ClientBuilder, TlsError> {
    Ok(ClientConfig::builder_with_details(Arc::clone(provider()), Arc::new(TlsClock(clock)))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Configure)?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

fn finish_client(config: &mut ClientConfig, alpn: &[u8]) {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
}

/// aws-lc-rs, with X25519MLKEM768 preferred.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider()))
}

/// Shows roots to those who join or return, since a pin, or a root of before, may be all they have.
#[derive(Debug)]
struct ShowChain {
    link: Arc<CertifiedKey>,
    join: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ShowChain {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let strange = |protocol: &[u8]| protocol == ALPN_JOIN || protocol == ALPN_RECOVER;
        let joins = hello.alpn().is_some_and(|mut offered| offered.any(strange));
        Some(Arc::clone(if joins { &self.join } else { &self.link }))
    }
}

/// Why a certificate that leads to a trusted root is still not accepted.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
enum Unwanted {
    #[error("{0} may not link here: this listener takes links from {1:?}")]
    Tier(AgentId, Accepts),
    #[error("the other side is \"{found}\", expected \"{expected}\"")]
    Name { found: String, expected: String },
    #[error("the other side does not lead to a root that the join token pins")]
    Pin,
    #[error("the other side's certificate was not issued by the hub")]
    Listener,
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    #[error(transparent)]
    Id(#[from] IdError),
}

/// The signature rules of TLS 1.3, the same in both directions.
macro_rules! tls13_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _cert: &CertificateDer<'_>,
            _dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(tls12())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

/// The region whose listener shows that.
fn own_region(identity: &LinkIdentity) -> Option<RegionName> {
    let leaf = CertificateDer::from(identity.chain.first()?.to_vec());
    let spiffe = PeerCertificate::read(&leaf).ok()?.spiffe;
    let (_, path) = spiffe.strip_prefix("spiffe://")?.split_once('/')?;
    match path.parse().ok()? {
        AgentId::Region(region) => Some(region),
        AgentId::Edge(_) => None,
    }
}

/// Verifies who dials: chain, validity, trust domain, tier, who issued it, deny set.
#[derive(Debug)]
struct LowerVerifier {
    trust: Arc<Trust>,
    accepts: Accepts,
    /// The region whose listener this is; its issuer is accepted for edges.
    own: Option<RegionName>,
}

impl LowerVerifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let anchors = self.trust.anchors();
        let between = verify_path(leaf, rest, &anchors.anchors, now, KeyUsage::client_auth())?;
        let certificate = PeerCertificate::read(leaf).map_err(other)?;
        let agent =
            certificate.agent(&anchors.bundle.trust_domain).map_err(|error| other(Unwanted::Id(error)))?;
        match (self.accepts, &agent) {
            (Accepts::Regions, AgentId::Region(_)) | (Accepts::Edges, AgentId::Edge(_)) => {}
            (Accepts::Regions, AgentId::Edge(_)) | (Accepts::Edges, AgentId::Region(_)) => {
                return Err(other(Unwanted::Tier(agent, self.accepts)));
            }
        }
        let domain = &anchors.bundle.trust_domain;
        let issuer = check_issuer(leaf, &certificate.spiffe, &between, domain, self.own.as_ref());
        let issuer = issuer.map_err(|error| other(Unwanted::Issuer(error)))?;
        let deny = self.trust.deny();
        let issuer_denied =
            issuer.is_some_and(|by| deny.denies(&AgentId::Region(by.region), &by.certificate));
        if issuer_denied || deny.denies(&agent, &certificate) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(())
    }
}

impl ClientCertVerifier for LowerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now).map(|()| ClientCertVerified::assertion())
    }

    tls13_signatures!();
}

/// Verifies whom an agent dialled.
#[derive(Debug)]
struct UpperVerifier {
    anchors: Anchors,
    expected: Upper,
    judged: Judged,
}

/// At which time the certificate of whom an agent dialled is judged.
#[derive(Debug, Clone, Copy)]
enum Judged {
    /// Now; at its end when that is not longer ago than so many milliseconds.
    Within(u64),
    /// Whenever it is valid: the clock here is not to be believed (see [`crate::recovery`]).
    Timeless,
}

impl Judged {
    fn at(self, leaf: &CertificateDer<'_>, now: UnixTime) -> Result<UnixTime, Error> {
        match self {
            Self::Timeless => time_of(leaf),
            Self::Within(0) => Ok(now),
            Self::Within(grace_ms) => {
                let (_, not_after) = validity(leaf).map_err(other)?;
                let graced = now.as_secs() <= not_after.saturating_add(grace_ms) / 1000;
                Ok(if graced { now.min(unix_time(not_after)) } else { now })
            }
        }
    }
}

impl UpperVerifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let now = self.judged.at(leaf, now)?;
        let between = match self.judged {
            Judged::Within(_) => {
                verify_path(leaf, rest, &self.anchors.anchors, now, KeyUsage::server_auth())?
            }
            Judged::Timeless => {
                // Away for longer than a rotation took: what is trusted here may have named its heir.
                let mut anchors = self.anchors.anchors.clone();
                anchors.extend(heirs(self.anchors.bundle.roots.clone(), rest));
                verify_path(leaf, &[], &anchors, now, KeyUsage::server_auth())?
            }
        };
        listens_by_root(&between)?;
        let found = PeerCertificate::read(leaf).map_err(other)?.spiffe;
        let expected = self.expected.spiffe(&self.anchors.bundle.trust_domain);
        if found == expected { Ok(()) } else { Err(other(Unwanted::Name { found, expected })) }
    }
}

/// Verifies whom a newcomer dialled: any listener whose root the token pins.
#[derive(Debug)]
struct PinVerifier {
    pins: Vec<[u8; 32]>,
}

impl PinVerifier {
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<(), Error> {
        let is_pinned = |der: &&CertificateDer<'_>| spki_hash(der).is_ok_and(|pin| self.pins.contains(&pin));
        let pinned: Vec<_> = rest.iter().filter(is_pinned).map(|der| Bytes::copy_from_slice(der)).collect();
        if pinned.is_empty() {
            return Err(other(Unwanted::Pin));
        }
        let mut anchors = Vec::new();
        for root in rest.iter().filter(is_pinned) {
            let anchor = webpki::anchor_from_trusted_cert(root).map_err(|error| other(PathError(error)))?;
            anchors.push(anchor.to_owned());
        }
        // The root may have been replaced since the token was printed.
        anchors.extend(heirs(pinned, rest));
        // Only listeners have certificates for servers, so whoever passes is the hub or a region. A newcomer's clock
        // is nobody's word: a listener whose certificate has expired can relay a join, and learns nothing by it.
        let between = verify_path(leaf, &[], &anchors, time_of(leaf)?, KeyUsage::server_auth())?;
        listens_by_root(&between)
    }
}

/// Listeners have their certificates from the hub alone.
fn listens_by_root(between: &[CertificateDer<'_>]) -> Result<(), Error> {
    if between.is_empty() { Ok(()) } else { Err(other(Unwanted::Listener)) }
}

/// A moment at which that certificate is valid.
fn time_of(leaf: &CertificateDer<'_>) -> Result<UnixTime, Error> {
    let (not_before, _) = validity(leaf).map_err(other)?;
    Ok(unix_time(not_before.saturating_add(1000)))
}

/// A server verifier is its check and the signature rules of TLS 1.3.
macro_rules! server_verifier {
    ($verifier:ty) => {
        impl ServerCertVerifier for $verifier {
            fn verify_server_cert(
                &self,
                end_entity: &CertificateDer<'_>,
                intermediates: &[CertificateDer<'_>],
                _server_name: &ServerName<'_>,
                _ocsp_response: &[u8],
                now: UnixTime,
            ) -> Result<ServerCertVerified, Error> {
                self.check(end_entity, intermediates, now).map(|()| ServerCertVerified::assertion())
            }

            tls13_signatures!();
        }
    };
}

server_verifier!(UpperVerifier);
server_verifier!(PinVerifier);

/// A path from the leaf to one of the anchors, valid now, for that usage; gives what lies between.
fn verify_path(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    now: UnixTime,
    usage: KeyUsage,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificate = EndEntityCert::try_from(leaf).map_err(path_error)?;
    let algorithms = provider().signature_verification_algorithms.all;
    let path = certificate
        .verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None)
        .map_err(path_error)?;
    Ok(path.intermediate_certificates().map(|one| one.der().into_owned()).collect())
}

/// What webpki says about a chain.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("certificate chain does not verify: {0}")]
struct PathError(webpki::Error);

/// rustls shows errors of verifiers by `Debug`; people shall read a sentence nevertheless.
macro_rules! debug_as_display {
    ($($error:ty),*) => {
        $(impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        })*
    };
}

debug_as_display!(Unwanted, PathError);

/// In rustls' words where the peer's alert depends on it.
fn path_error(error: webpki::Error) -> Error {
    #[expect(clippy::wildcard_enum_match_arm, reason = "webpki has some 40 errors and adds to them")]
    match error {
        webpki::Error::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }.into()
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }.into()
        }
        // The second: the root of that name has another key here.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            CertificateError::UnknownIssuer.into()
        }
        unusual => other(PathError(unusual)),
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    CertificateError::Other(OtherError(Arc::new(error))).into()
}

fn tls12() -> Error {
    PeerIncompatible::Tls12NotOffered.into()
}
