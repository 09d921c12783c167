//! Where charts, Kustomize folders and manifests come from: `SourceSpec` and the Flux source specs inside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeploymentType, LocalObjectReference};
use crate::schema::rules;

/// The pattern of a Flux interval.
pub(crate) const INTERVAL: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";
/// The pattern of a Flux timeout: no hours.
const TIMEOUT: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m))+$";

const ONE_SOURCE: &str = "LocalSource and RemoteSource are mutually exclusive.";
const ONE_REMOTE: &str = "Git, Bucket and OCI are mutually exclusive.";
const ALONE: &str = "HTTP is mutually exclusive with Git, Bucket and OCI.";

fn minute() -> String {
    "60s".to_owned()
}

/// A source of manifests, a Kustomize folder or a chart: an object that exists, or one to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.localSourceRef) ? !has(self.remoteSourceSpec): true", ONE_SOURCE),
    ("has(self.remoteSourceSpec) ? !has(self.localSourceRef): true", ONE_SOURCE),
    ("has(self.localSourceRef) || has(self.remoteSourceSpec)", "One of LocalSource or RemoteSource must be specified."),
])))]
pub struct SourceSpec {
    /// Deploy to the target cluster (Remote) or to the management cluster (Local).
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub deployment_type: DeploymentType,
    /// An object of the management cluster that holds the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_source_ref: Option<LocalSourceRef>,
    /// Folder inside the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A remote source to fetch the content from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_source_spec: Option<RemoteSourceSpec>,
}

/// An object of the management cluster that holds manifests.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LocalSourceRef {
    /// Kind of the object.
    pub kind: LocalSourceKind,
    /// Name of the object.
    pub name: String,
    /// Namespace of the object; the template's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Kinds of objects that can hold manifests.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalSourceKind {
    /// ConfigMap: each key is one file.
    #[default]
    ConfigMap,
    /// Secret: each key is one file.
    Secret,
    /// Flux GitRepository.
    GitRepository,
    /// Flux Bucket.
    Bucket,
    /// Flux OCIRepository.
    #[serde(rename = "OCIRepository")]
    OciRepository,
}

/// A remote source: exactly one of git, bucket and oci; or, beyond k0rdent, of http.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.git) ? (!has(self.bucket) && !has(self.oci)) : true", ONE_REMOTE),
    ("has(self.bucket) ? (!has(self.git) && !has(self.oci)) : true", ONE_REMOTE),
    ("has(self.oci) ? (!has(self.git) && !has(self.bucket)) : true", ONE_REMOTE),
    ("has(self.http) ? (!has(self.git) && !has(self.bucket) && !has(self.oci)) : true", ALONE),
    (
        "has(self.git) || has(self.bucket) || has(self.oci) || has(self.http)",
        "One of Git, Bucket or OCI must be specified.",
    ),
])))]
pub struct RemoteSourceSpec {
    /// An S3-compatible bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketSource>,
    /// A Git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitSource>,
    /// One file behind a URL (Skein's own).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// An OCI artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,
}

/// How the content of any described source is fetched: the fields that Flux' kinds share.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Fetching {
    /// Files to leave out, in the format of .gitignore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<String>,
    /// Secret with the address of an HTTP proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_secret_ref: Option<LocalObjectReference>,
    /// Secret with the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
    /// Stop looking for changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How long one download may take.
    #[serde(default = "minute")]
    #[schemars(regex(pattern = TIMEOUT))]
    pub timeout: String,
}

fn five_minutes() -> String {
    "5m".to_owned()
}

/// One file behind a URL: a manifest, or an archive (tar, tar.gz, a packed chart). Skein's own; the fields are called as
/// in the Flux sources, and `url` and `interval` mean what they mean in the `remoteURL` of Sveltos.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpSource {
    /// Secret with a client certificate or CA for the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// The SHA-256 that the file must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// How often to look for changes.
    #[serde(default = "five_minutes")]
    #[schemars(regex(pattern = INTERVAL))]
    pub interval: String,
    /// Address of the file.
    #[schemars(regex(pattern = "^(http|https)://.*$"))]
    pub url: String,
    /// How it is fetched.
    #[serde(flatten)]
    pub fetching: Fetching,
}

/// The spec of a Flux Bucket (source.toolkit.fluxcd.io/v1).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "self.provider == 'aws' || self.provider == 'generic' || !has(self.sts)",
        "STS configuration is only supported for the 'aws' and 'generic' Bucket providers",
    ),
    (
        "self.provider != 'aws' || !has(self.sts) || self.sts.provider == 'aws'",
        "'aws' is the only supported STS provider for the 'aws' Bucket provider",
    ),
    (
        "self.provider != 'generic' || !has(self.sts) || self.sts.provider == 'ldap'",
        "'ldap' is the only supported STS provider for the 'generic' Bucket provider",
    ),
    (
        "!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.secretRef)",
        "spec.sts.secretRef is not required for the 'aws' STS provider",
    ),
    (
        "!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.certSecretRef)",
        "spec.sts.certSecretRef is not required for the 'aws' STS provider",
    ),
    (
        "self.provider != 'generic' || !has(self.serviceAccountName)",
        "ServiceAccountName is not supported for the 'generic' Bucket provider",
    ),
    (
        "!has(self.secretRef) || !has(self.serviceAccountName)",
        "cannot set both .spec.secretRef and .spec.serviceAccountName",
    ),
])))]
pub struct BucketSource {
    /// Name of the bucket.
    pub bucket_name: String,
    /// Secret with a client certificate or CA for the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// Address of the object store.
    pub endpoint: String,
    /// Speak plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// How often to look for changes.
    #[schemars(regex(pattern = INTERVAL))]
    pub interval: String,
    /// Only objects whose key starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Who runs the store; decides how to authenticate.
    #[serde(default)]
    pub provider: BucketProvider,
    /// Region of the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// ServiceAccount whose token authenticates at a cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// A security token service to get credentials from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sts: Option<BucketSts>,
    /// How it is fetched.
    #[serde(flatten)]
    pub fetching: Fetching,
}

/// Who runs an object store.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum BucketProvider {
    /// Anything that speaks S3.
    #[default]
    Generic,
    /// Amazon S3.
    Aws,
    /// Google Cloud Storage.
    Gcp,
    /// Azure Blob Storage.
    Azure,
}

/// A security token service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BucketSts {
    /// Secret with a client certificate or CA for the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// Address of the service.
    #[schemars(regex(pattern = "^(http|https)://.*$"))]
    pub endpoint: String,
    /// Which protocol it speaks.
    pub provider: StsProvider,
    /// Secret with the credentials for the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
}

/// Protocol of a security token service.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StsProvider {
    /// AWS STS.
    #[default]
    Aws,
    /// LDAP, as MinIO offers it.
    Ldap,
}

/// The spec of a Flux GitRepository (source.toolkit.fluxcd.io/v1).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.serviceAccountName) || (has(self.provider) && (self.provider == 'azure' || self.provider == 'aws'))",
    "serviceAccountName can only be set when provider is 'azure' or 'aws'",
)])))]
pub struct GitSource {
    /// Other repositories whose content is mixed in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<GitInclude>,
    /// How often to look for changes.
    #[schemars(regex(pattern = INTERVAL))]
    pub interval: String,
    /// Who hosts the repository; decides how to authenticate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<GitProvider>,
    /// Fetch submodules as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurse_submodules: Option<bool>,
    /// What to check out; the branch master when absent.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<GitRef>,
    /// ServiceAccount whose token authenticates at a cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Only these folders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sparse_checkout: Vec<String>,
    /// Address of the repository.
    #[schemars(regex(pattern = "^(http|https|ssh)://.*$"))]
    pub url: String,
    /// Which signatures are demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<GitVerification>,
    /// How it is fetched.
    #[serde(flatten)]
    pub fetching: Fetching,
}

/// Who hosts a Git repository.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum GitProvider {
    /// Anything.
    Generic,
    /// AWS CodeCommit.
    Aws,
    /// Azure DevOps.
    Azure,
    /// GitHub, with a GitHub App.
    Github,
}

/// Content of another GitRepository.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GitInclude {
    /// Folder in the other repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_path: Option<String>,
    /// The other GitRepository.
    pub repository: LocalObjectReference,
    /// Folder in this repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_path: Option<String>,
}

/// What to check out of a Git repository. The most precise field wins.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GitRef {
    /// A branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// A commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// A full reference name such as refs/heads/main.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The newest tag in a range of semantic versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
    /// A tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Which Git signatures are demanded.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GitVerification {
    /// What must be signed.
    #[serde(default)]
    pub mode: GitVerificationMode,
    /// Secret with the public keys.
    pub secret_ref: LocalObjectReference,
}

/// What of a Git checkout must be signed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GitVerificationMode {
    /// The commit; the spelling of older versions.
    #[serde(rename = "head")]
    HeadLowercase,
    /// The commit.
    #[default]
    #[serde(rename = "HEAD")]
    Head,
    /// The tag.
    Tag,
    /// Both.
    #[serde(rename = "TagAndHEAD")]
    TagAndHead,
}

/// The spec of a Flux OCIRepository (source.toolkit.fluxcd.io/v1).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OciSource {
    /// Secret with a client certificate or CA for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<LocalObjectReference>,
    /// Speak plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// How often to look for changes.
    #[schemars(regex(pattern = INTERVAL))]
    pub interval: String,
    /// Which layer of the artifact holds the content; the first when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_selector: Option<OciLayerSelector>,
    /// Who hosts the registry; decides how to authenticate.
    #[serde(default)]
    pub provider: OciProvider,
    /// What to pull; the tag latest when absent.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<OciRef>,
    /// ServiceAccount with the image pull secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// Address of the artifact without a tag.
    #[schemars(regex(pattern = "^oci://.*$"))]
    pub url: String,
    /// Which signatures are demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<OciVerification>,
    /// How it is fetched.
    #[serde(flatten)]
    pub fetching: Fetching,
}

/// Who hosts an OCI registry.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OciProvider {
    /// Anything.
    #[default]
    Generic,
    /// Amazon ECR.
    Aws,
    /// Azure Container Registry.
    Azure,
    /// Google Artifact Registry.
    Gcp,
}

/// A layer of an OCI artifact.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OciLayerSelector {
    /// The first layer with this media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Unpack the layer, or keep it as one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OciLayerOperation>,
}

/// What happens to a layer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OciLayerOperation {
    /// It is unpacked.
    Extract,
    /// It is kept as one file.
    Copy,
}

/// What to pull of an OCI artifact. The most precise field wins.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OciRef {
    /// A digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The newest tag in a range of semantic versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
    /// Only tags that match this regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver_filter: Option<String>,
    /// A tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// Which signatures of an OCI artifact are demanded.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OciVerification {
    /// Identities that keyless signatures must carry.
    #[serde(default, rename = "matchOIDCIdentity", skip_serializing_if = "Vec::is_empty")]
    pub match_oidc_identity: Vec<OidcIdentity>,
    /// The signing tool.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub provider: VerificationProvider,
    /// Secret with the public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
    /// Secret with a Sigstore trusted root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_root_secret_ref: Option<LocalObjectReference>,
}

/// Tools that sign artifacts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum VerificationProvider {
    /// Sigstore cosign.
    #[default]
    Cosign,
    /// Notary notation.
    Notation,
}

/// An identity that a keyless signature must carry.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OidcIdentity {
    /// Regular expression for the issuer.
    pub issuer: String,
    /// Regular expression for the subject.
    pub subject: String,
}
