//! From API objects to plain descriptions of sources. Flux' meaning of every field; what only a cloud's own login could
//! do is refused with the field and what to use instead.

use std::collections::BTreeMap;
use std::time::Duration;

use api::k0rdent::{
    BucketProvider, BucketSource, ChartVerification, Fetching, GitProvider, GitSource, GitVerificationMode,
    HttpSource, LocalObjectReference, OciLayerOperation, OciProvider, OciSource, OciVerification,
    VerificationProvider,
};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use source::{
    Access, Addressing, Bucket, ChartIndex, Credentials, Git, GitReference, Hidden, Layer, Origin, Proxy,
    Registry, RegistryReference, RemoteFile, Source, SshIdentity, Tls, Verification,
};

use super::flux::{FluxArtifact, HelmRepository};
use crate::cache::View;

/// Other addresses of the same content, separated by commas, tried first.
pub const MIRRORS: &str = "skein.dev/mirrors";
/// Names a Secret of OpenPGP keyrings: every chart of the HelmRepository must have a provenance file (`helm package
/// --sign`) that one of its keys signed. Flux has no field for it.
pub const KEYRING: &str = "skein.dev/provenance-keyring";
/// Where the name of a bucket stands in addresses: `path` or `host`. Flux has no field for it.
pub const ADDRESSING: &str = "skein.dev/bucket-addressing";
/// Asks for a fetch now, as `flux reconcile` does.
pub const REQUESTED: &str = "reconcile.fluxcd.io/requestedAt";

/// Reads the Secrets that descriptions name, in one namespace.
pub struct Describer<'a, 'b> {
    /// What is there.
    pub view: &'a View<'b>,
    /// Namespace of the describing object.
    pub namespace: &'a str,
}

/// Which chart of a repository is wanted.
pub struct ChartWish<'a> {
    /// Its name.
    pub chart: &'a str,
    /// Version or range.
    pub version: &'a str,
    /// How often to look, as a Go duration.
    pub interval: &'a str,
    /// Whose signature it must carry.
    pub verify: Option<&'a ChartVerification>,
    /// Do not fetch.
    pub suspend: bool,
}

impl Describer<'_, '_> {
    /// A chart of a repository.
    ///
    /// # Errors
    /// What is wrong with the repository object or its Secrets.
    pub fn helm_repository(&self, object: &HelmRepository, wish: &ChartWish<'_>) -> Result<Source, String> {
        let spec = &object.spec;
        if spec.provider.as_deref().is_some_and(|provider| provider != "generic") {
            return Err(unsupported_provider("HelmRepository", spec.provider.as_deref().unwrap_or_default()));
        }
        let oci = spec.url.starts_with("oci://");
        if spec.type_.as_deref() == Some("oci") && !oci {
            return Err(format!("HelmRepository of type oci has the url \"{}\": expected oci://", spec.url));
        }
        let mut access = self.access(spec.secret_ref.as_ref(), spec.cert_secret_ref.as_ref(), None)?;
        access.pass_credentials = spec.pass_credentials;
        access.insecure = spec.insecure;
        access.timeout = spec.timeout.as_deref().and_then(duration).unwrap_or(access.timeout);
        let origin = if oci {
            Origin::Registry(Registry {
                url: format!("{}/{}", spec.url.trim_end_matches('/'), wish.chart),
                reference: RegistryReference::Range { range: wish.version.to_owned(), filter: None },
                layer: Layer::Chart,
            })
        } else {
            Origin::ChartIndex(ChartIndex {
                url: spec.url.clone(),
                chart: wish.chart.to_owned(),
                version: wish.version.to_owned(),
            })
        };
        let mut mirrors = mirrors(object);
        if oci {
            mirrors =
                mirrors.iter().map(|one| format!("{}/{}", one.trim_end_matches('/'), wish.chart)).collect();
        }
        let mut verification = Vec::new();
        if let Some(verify) = wish.verify {
            let keyless = !verify.match_oidc_identity.is_empty();
            verification.push(self.cosign(verify.provider, verify.secret_ref.as_ref(), keyless)?);
        }
        if let Some(name) = object.annotations().get(KEYRING) {
            verification.push(Verification::Provenance(self.keyring(name)?));
        }
        Ok(Source {
            origin,
            access,
            mirrors,
            verification,
            ignore: None,
            interval: duration(wish.interval).unwrap_or(INTERVAL),
            suspended: spec.suspend || wish.suspend,
            requested: requested(object),
        })
    }

    /// A Git repository.
    ///
    /// # Errors
    /// What is wrong with the spec or its Secrets.
    pub fn git(&self, spec: &GitSource) -> Result<Source, String> {
        match spec.provider {
            None | Some(GitProvider::Generic) => {}
            Some(provider) => return Err(unsupported_provider("GitRepository", &format!("{provider:?}"))),
        }
        let access = self.access_of(&spec.fetching, None)?;
        if spec.url.starts_with("ssh://") && access.ssh.is_none() {
            return Err(format!(
                "GitRepository \"{}\" needs a secretRef with identity and known_hosts: SSH is never used without the host's key",
                spec.url
            ));
        }
        let reference = spec.reference.clone().unwrap_or_default();
        let reference = match reference {
            one if one.commit.is_some() => {
                GitReference::Commit { commit: one.commit.unwrap_or_default(), branch: one.branch }
            }
            one if one.name.is_some() => GitReference::Name(one.name.unwrap_or_default()),
            one if one.semver.is_some() => GitReference::Range(one.semver.unwrap_or_default()),
            one if one.tag.is_some() => GitReference::Tag(one.tag.unwrap_or_default()),
            one => GitReference::Branch(one.branch.unwrap_or_else(|| "master".to_owned())),
        };
        let origin = Origin::Git(Git {
            url: spec.url.clone(),
            reference,
            folders: spec.sparse_checkout.clone(),
            submodules: spec.recurse_submodules == Some(true),
        });
        let mut source = described(origin, access, &spec.interval, &spec.fetching);
        if let Some(verify) = &spec.verify {
            let keys = self.keyring(&verify.secret_ref.name)?;
            let (commit, tag) = match verify.mode {
                GitVerificationMode::Head | GitVerificationMode::HeadLowercase => (true, false),
                GitVerificationMode::Tag => (false, true),
                GitVerificationMode::TagAndHead => (true, true),
            };
            source.verification.push(Verification::Git { keys, commit, tag });
        }
        Ok(source)
    }

    /// A bucket.
    ///
    /// # Errors
    /// What is wrong with the spec or its Secrets.
    pub fn bucket(&self, spec: &BucketSource) -> Result<Source, String> {
        if !matches!(spec.provider, BucketProvider::Generic | BucketProvider::Aws) {
            return Err(unsupported_provider("Bucket", &format!("{:?}", spec.provider)));
        }
        let keys = "accesskey and secretkey in secretRef";
        if let Some(sts) = &spec.sts {
            let provider = format!("{:?}", sts.provider).to_lowercase();
            return Err(unsupported("sts.provider", &provider, "Bucket", keys));
        }
        if let Some(name) = &spec.service_account_name {
            return Err(unsupported("serviceAccountName", name, "Bucket", keys));
        }
        if spec.provider == BucketProvider::Aws && spec.fetching.secret_ref.is_none() {
            let generic = format!("{keys}, or provider generic for a bucket that is open to everyone");
            return Err(unsupported("provider", "aws", "Bucket without secretRef", &generic));
        }
        // Its Secret holds other keys than those of other sources.
        let others = Fetching { secret_ref: None, ..spec.fetching.clone() };
        let mut access = self.access_of(&others, spec.cert_secret_ref.as_ref())?;
        if let Some(name) = &spec.fetching.secret_ref {
            let secret = self.secret(&name.name)?;
            let (Some(key), Some(hidden)) = (text(&secret, "accesskey"), text(&secret, "secretkey")) else {
                return Err(self.lacks(&name.name, "accesskey and secretkey"));
            };
            access.credentials = Some(Credentials::Basic { username: key, password: Hidden::new(hidden) });
        }
        access.insecure = spec.insecure == Some(true);
        let origin = Origin::Bucket(Bucket {
            endpoint: spec.endpoint.clone(),
            bucket: spec.bucket_name.clone(),
            prefix: spec.prefix.clone().unwrap_or_default(),
            region: spec.region.clone().unwrap_or_default(),
            addressing: Addressing::Usual,
        });
        Ok(described(origin, access, &spec.interval, &spec.fetching))
    }

    /// An artifact of an OCI registry.
    ///
    /// # Errors
    /// What is wrong with the spec or its Secrets.
    pub fn oci(&self, spec: &OciSource) -> Result<Source, String> {
        if spec.provider != OciProvider::Generic {
            return Err(unsupported_provider("OCIRepository", &format!("{:?}", spec.provider)));
        }
        if let Some(name) = &spec.service_account_name {
            return Err(unsupported(
                "serviceAccountName",
                name,
                "OCIRepository",
                "its pull Secret as secretRef",
            ));
        }
        let mut access = self.access_of(&spec.fetching, spec.cert_secret_ref.as_ref())?;
        access.insecure = spec.insecure == Some(true);
        let reference = spec.reference.clone().unwrap_or_default();
        let reference = match reference {
            one if one.digest.is_some() => RegistryReference::Digest(one.digest.unwrap_or_default()),
            one if one.semver.is_some() => {
                RegistryReference::Range { range: one.semver.unwrap_or_default(), filter: one.semver_filter }
            }
            one => RegistryReference::Tag(one.tag.unwrap_or_else(|| "latest".to_owned())),
        };
        let selector = spec.layer_selector.clone().unwrap_or_default();
        let layer = match selector.operation {
            Some(OciLayerOperation::Copy) => Layer::Copy(selector.media_type),
            Some(OciLayerOperation::Extract) | None => Layer::Extract(selector.media_type),
        };
        let origin = Origin::Registry(Registry { url: spec.url.clone(), reference, layer });
        let mut source = described(origin, access, &spec.interval, &spec.fetching);
        if let Some(verify) = &spec.verify {
            source.verification.push(self.oci_verification(verify)?);
        }
        Ok(source)
    }

    /// One file behind a URL.
    ///
    /// # Errors
    /// What is wrong with the spec or its Secrets.
    pub fn http(&self, spec: &HttpSource) -> Result<Source, String> {
        let access = self.access_of(&spec.fetching, spec.cert_secret_ref.as_ref())?;
        let origin = RemoteFile { url: spec.url.clone(), digest: spec.digest.clone(), revision: None };
        let origin = Origin::RemoteFile(origin);
        Ok(described(origin, access, &spec.interval, &spec.fetching))
    }

    /// What a Secret of this name gives for a Git repository or a file; nothing where there is no such Secret.
    ///
    /// # Errors
    /// What the Secret lacks.
    pub fn lent(&self, name: &str) -> Result<Option<Access>, String> {
        if self.view.get::<Secret>(self.namespace, name).is_none() {
            return Ok(None);
        }
        self.access(Some(&LocalObjectReference { name: name.to_owned() }), None, None).map(Some)
    }

    fn oci_verification(&self, verify: &OciVerification) -> Result<Verification, String> {
        let keyless = !verify.match_oidc_identity.is_empty() || verify.trusted_root_secret_ref.is_some();
        self.cosign(verify.provider, verify.secret_ref.as_ref(), keyless)
    }

    fn cosign(
        &self,
        provider: VerificationProvider,
        secret: Option<&LocalObjectReference>,
        keyless: bool,
    ) -> Result<Verification, String> {
        if provider != VerificationProvider::Cosign {
            let accepted = "cosign, with public keys (*.pub) in verify.secretRef";
            return Err(unsupported("verify.provider", "notation", "source", accepted));
        }
        let Some(name) = secret.filter(|_| !keyless) else {
            return Err(
                "keyless verification (verify.matchOIDCIdentity or verify.trustedRootSecretRef is set, or verify.secretRef \
                 is not) of the source is not supported by this hub: expected public keys (*.pub) in verify.secretRef"
                    .to_owned(),
            );
        };
        let secret = self.secret(&name.name)?;
        let keys: BTreeMap<String, String> = secret
            .data
            .iter()
            .flatten()
            .filter(|(key, _)| key.ends_with(".pub"))
            .map(|(key, bytes)| (key.clone(), String::from_utf8_lossy(&bytes.0).into_owned()))
            .collect();
        if keys.is_empty() {
            return Err(self.lacks(&name.name, "a public key named *.pub"));
        }
        Ok(Verification::Cosign(keys))
    }

    fn keyring(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, String> {
        let secret = self.secret(name)?;
        let keys: BTreeMap<String, Vec<u8>> =
            secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect();
        if keys.is_empty() {
            return Err(self.lacks(name, "a keyring, as \"gpg --export\" writes it"));
        }
        Ok(keys)
    }

    /// How to get at what is fetched so.
    fn access_of(
        &self,
        fetching: &Fetching,
        certificates: Option<&LocalObjectReference>,
    ) -> Result<Access, String> {
        let access =
            self.access(fetching.secret_ref.as_ref(), certificates, fetching.proxy_secret_ref.as_ref())?;
        Ok(Access { timeout: duration(&fetching.timeout).unwrap_or(access.timeout), ..access })
    }

    /// Credentials, certificates and proxy of Secrets.
    fn access(
        &self,
        secret: Option<&LocalObjectReference>,
        certificates: Option<&LocalObjectReference>,
        proxy: Option<&LocalObjectReference>,
    ) -> Result<Access, String> {
        let mut access = Access::default();
        if let Some(name) = secret {
            let secret = self.secret(&name.name)?;
            let of = |key: &str| text(&secret, key);
            access.docker_config = of(".dockerconfigjson").map(Hidden::new);
            if let (Some(username), Some(password)) = (of("username"), of("password")) {
                access.credentials = Some(Credentials::Basic { username, password: Hidden::new(password) });
            } else if let Some(token) = of("bearerToken").or_else(|| of("token")) {
                access.credentials = Some(Credentials::Bearer(Hidden::new(token.trim())));
            }
            access.tls = tls(&secret);
            if let Some(identity) = of("identity") {
                let known_hosts = of("known_hosts").ok_or_else(|| self.lacks(&name.name, "known_hosts"))?;
                let passphrase = of("password").map(Hidden::new);
                access.ssh = Some(SshIdentity { identity: Hidden::new(identity), passphrase, known_hosts });
            }
            let nothing = access.credentials.is_none()
                && access.docker_config.is_none()
                && access.ssh.is_none()
                && access.tls == Tls::default();
            if nothing {
                let expected = "username and password, bearerToken, .dockerconfigjson, identity and known_hosts, or certificates";
                return Err(self.lacks(&name.name, expected));
            }
        }
        if let Some(name) = certificates {
            access.tls = tls(self.secret(&name.name)?.as_ref());
            if access.tls == Tls::default() {
                return Err(self.lacks(&name.name, "ca.crt, or tls.crt and tls.key"));
            }
        }
        if let Some(name) = proxy {
            let secret = self.secret(&name.name)?;
            let address = text(&secret, "address").ok_or_else(|| self.lacks(&name.name, "address"))?;
            let credentials = text(&secret, "username")
                .map(|username| (username, Hidden::new(text(&secret, "password").unwrap_or_default())));
            access.proxy = Some(Proxy { address, credentials });
        }
        Ok(access)
    }

    fn secret(&self, name: &str) -> Result<std::sync::Arc<Secret>, String> {
        let namespace = self.namespace;
        self.view
            .get::<Secret>(namespace, name)
            .ok_or_else(|| format!("failed to get Secret {namespace}/{name}: Secret \"{name}\" not found"))
    }

    fn lacks(&self, name: &str, expected: &str) -> String {
        format!("Secret {}/{name} lacks {expected}", self.namespace)
    }
}

/// How often to look where nothing says.
const INTERVAL: Duration = Duration::from_secs(600);

/// The archive that another controller made.
pub fn external(artifact: &FluxArtifact) -> Source {
    let digest = Some(artifact.digest.clone()).filter(|digest| !digest.is_empty());
    let revision = Some(artifact.revision.clone()).filter(|revision| !revision.is_empty());
    Source::new(Origin::RemoteFile(RemoteFile { url: artifact.url.clone(), digest, revision }))
}

/// Where the bucket's name stands in addresses, if the object of a Bucket says so.
///
/// # Errors
/// What the annotation says, and what is accepted.
pub fn addressed<K: kube::Resource>(mut source: Source, object: &K) -> Result<Source, String> {
    let addressing = match object.annotations().get(ADDRESSING).map(String::as_str) {
        None => return Ok(source),
        Some("path") => Addressing::Path,
        Some("host") => Addressing::Host,
        Some(other) => {
            return Err(format!(
                "annotation {ADDRESSING} of the Bucket is \"{other}\": path (endpoint/bucket/key) and host \
                 (bucket.endpoint/key) are accepted"
            ));
        }
    };
    if let Origin::Bucket(bucket) = &mut source.origin {
        bucket.addressing = addressing;
    }
    Ok(source)
}

/// Adds what an object's annotations say.
pub fn annotated<K: kube::Resource>(mut source: Source, object: &K) -> Source {
    source.mirrors = mirrors(object);
    source.requested = requested(object);
    source
}

fn described(origin: Origin, access: Access, interval: &str, fetching: &Fetching) -> Source {
    Source {
        access,
        ignore: fetching.ignore.clone(),
        interval: duration(interval).unwrap_or(INTERVAL),
        suspended: fetching.suspend == Some(true),
        ..Source::new(origin)
    }
}

fn mirrors<K: kube::Resource>(object: &K) -> Vec<String> {
    let listed = object.annotations().get(MIRRORS).map(String::as_str).unwrap_or_default();
    listed.split(',').map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
}

fn requested<K: kube::Resource>(object: &K) -> String {
    let asked = object.annotations().get(REQUESTED).cloned().unwrap_or_default();
    format!("{} {asked}", object.meta().generation.unwrap_or_default())
}

fn unsupported_provider(kind: &str, provider: &str) -> String {
    let accepted = match kind {
        "Bucket" => "generic or aws, with accesskey and secretkey in secretRef",
        _ => "generic, with credentials in secretRef",
    };
    unsupported("provider", &provider.to_lowercase(), kind, accepted)
}

fn unsupported(field: &str, value: &str, of: &str, accepted: &str) -> String {
    format!("{field} \"{value}\" of the {of} is not supported by this hub: expected {accepted}")
}

/// Certificates under their names of today and of before.
fn tls(secret: &Secret) -> Tls {
    let of = |new: &str, old: &str| text(secret, new).or_else(|| text(secret, old)).map(Hidden::new);
    Tls {
        authorities: of("ca.crt", "caFile"),
        certificate: of("tls.crt", "certFile"),
        key: of("tls.key", "keyFile"),
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

/// A Go duration such as `10m0s`; `None` when it is none.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|one: char| !one.is_ascii_digit() && one != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|one: char| one.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        assert_eq!(duration("10m0s"), Some(Duration::from_secs(600)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "m", "5 m", "5d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
