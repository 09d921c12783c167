//! The keys and certificates of a control plane: one EC authority, a serving certificate, an
//! administrator (`O=system:masters`), and the key pair that signs service account tokens.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};

/// What the kubeconfig needs again; everything else lies in the folder only.
pub(super) struct Certificates {
    issuer: CertifiedIssuer<'static, KeyPair>,
    authority: String,
    admin_certificate: String,
    admin_key: String,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// Makes a new set in `dir`: `ca`, `apiserver` and `admin` as `.crt` and `.key`, `sa.key`, `sa.pub`.
    pub(super) fn write(dir: &Path) -> anyhow::Result<Self> {
        let authority = authority()?;
        let server = key()?;
        let server_certificate = server_parameters()?.signed_by(&server, &authority)?;
        let admin = key()?;
        let admin_certificate = client_parameters("admin", "system:masters").signed_by(&admin, &authority)?;
        let accounts = key()?;
        for (name, content) in [
            ("ca.crt", authority.pem()),
            ("ca.key", authority.key().serialize_pem()),
            ("apiserver.crt", server_certificate.pem()),
            ("apiserver.key", server.serialize_pem()),
            ("admin.crt", admin_certificate.pem()),
            ("admin.key", admin.serialize_pem()),
            ("sa.key", accounts.serialize_pem()),
            ("sa.pub", accounts.public_key_pem()),
        ] {
            std::fs::write(dir.join(name), content).with_context(|| format!("failed to write '{name}'"))?;
        }
        Ok(Self {
            authority: authority.pem(),
            issuer: authority,
            admin_certificate: admin_certificate.pem(),
            admin_key: admin.serialize_pem(),
        })
    }

    /// The administrator's kubeconfig for the API server at `url`, with everything inline.
    pub(super) fn kubeconfig(&self, url: &str) -> String {
        self.composed(url, &self.admin_certificate, &self.admin_key)
    }

    /// The same for a user of a group.
    pub(super) fn kubeconfig_of(&self, user: &str, group: &str, url: &str) -> anyhow::Result<String> {
        let key = key()?;
        let certificate = client_parameters(user, group).signed_by(&key, &self.issuer)?;
        Ok(self.composed(url, &certificate.pem(), &key.serialize_pem()))
    }

    fn composed(&self, url: &str, certificate: &str, key: &str) -> String {
        let authority = STANDARD.encode(&self.authority);
        let (certificate, key) = (STANDARD.encode(certificate), STANDARD.encode(key));
        format!(
            "\
apiVersion: v1
kind: Config
clusters:
- name: test
  cluster:
    server: {url}
    certificate-authority-data: {authority}
users:
- name: admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: admin@test
  context:
    cluster: test
    user: admin
current-context: admin@test
"
        )
    }
}

fn key() -> anyhow::Result<KeyPair> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("failed to generate a key")
}

fn named(parts: &[(DnType, &str)]) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    for (kind, value) in parts {
        parameters.distinguished_name.push(kind.clone(), *value);
    }
    parameters
}

fn authority() -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = named(&[(DnType::CommonName, "skein test authority")]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(parameters, key()?).context("failed to sign the authority")
}

fn server_parameters() -> anyhow::Result<CertificateParams> {
    let mut parameters = named(&[(DnType::CommonName, "kube-apiserver")]);
    parameters.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::DnsName("kubernetes.default.svc".try_into()?),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))),
        SanType::IpAddress(IpAddr::V4(super::site::ADDRESS)),
    ];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(parameters)
}

fn client_parameters(user: &str, group: &str) -> CertificateParams {
    let mut parameters = named(&[(DnType::OrganizationName, group), (DnType::CommonName, user)]);
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}
