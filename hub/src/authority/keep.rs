//! The authority's Secret, and the ConfigMap from which tokens are made.

use std::collections::BTreeMap;

use identity::authority::AuthorityError;
use identity::{Authority, Clock, Entropy};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};

use super::registrar::Registrar;
use super::rotation::RotationStatus;

/// Where the keys are.
pub(super) const SECRET: &str = "skein-authority";
/// Where trust is published.
pub(super) const TRUST: &str = api::names::TRUST_CONFIG_MAP;
/// Who writes what is published of a rotation: nobody else's fields are touched.
const ROTATION_MANAGER: &str = "skein-hub-rotation";

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityKeptError {
    /// The Secret cannot be read or written.
    #[error("failed to {action} {kind} {namespace}/{name}; may the hub's account do that?")]
    Object {
        /// `read`, `create` or `apply`.
        action: &'static str,
        /// Its kind.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: &'static str,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
    /// The Secret does not hold an authority.
    #[error(
        "Secret {namespace}/{SECRET} does not hold an authority; restore it from a backup: agents trust no other"
    )]
    Damaged {
        /// Its namespace.
        namespace: String,
        /// What is wrong with it.
        #[source]
        source: AuthorityError,
    },
    /// No new authority could be made.
    #[error("failed to make an authority")]
    Make(#[source] AuthorityError),
}

/// The authority in the Secret; a new one when there is none yet.
///
/// Of two hubs that start on a new cluster at once, one creates the Secret and the other reads it.
///
/// # Errors
/// [`AuthorityKeptError`]; a damaged Secret is never replaced.
pub async fn load_or_create(
    client: &kube::Client,
    namespace: &str,
    trust_domain: &str,
    clock: &dyn Clock,
    entropy: &mut dyn Entropy,
) -> Result<Authority, AuthorityKeptError> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let failed = |action, source| object(action, "Secret", namespace, SECRET, source);
    if let Some(kept) = secrets.get_opt(SECRET).await.map_err(|error| failed("read", error))? {
        return read(kept, namespace);
    }
    let authority =
        Authority::create(trust_domain, clock.now(), entropy).map_err(AuthorityKeptError::Make)?;
    let data = authority.to_secret().into_iter().map(|(part, bytes)| (part, ByteString(bytes))).collect();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(labels()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        type_: Some("skein.dev/authority".to_owned()),
        ..Secret::default()
    };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(authority),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            read(secrets.get(SECRET).await.map_err(|error| failed("read", error))?, namespace)
        }
        Err(error) => Err(failed("create", error)),
    }
}

fn read(secret: Secret, namespace: &str) -> Result<Authority, AuthorityKeptError> {
    let parts: BTreeMap<_, _> =
        secret.data.unwrap_or_default().into_iter().map(|(part, bytes)| (part, bytes.0)).collect();
    Authority::from_secret(&parts)
        .map_err(|source| AuthorityKeptError::Damaged { namespace: namespace.to_owned(), source })
}

/// Tells everybody whom to trust and where the hub listens. Nothing in it is secret.
///
/// # Errors
/// [`AuthorityKeptError::Object`].
pub async fn publish_trust(
    client: &kube::Client,
    namespace: &str,
    authority: &Authority,
    endpoints: &[String],
) -> Result<(), AuthorityKeptError> {
    apply(client, namespace, "skein-hub", published(authority, endpoints))
        .await
        .map_err(|error| object("apply", "ConfigMap", namespace, TRUST, error))
}

/// Tells everybody how far a rotation is, and whom to trust as of now.
pub(super) async fn publish_rotation(registrar: &Registrar, status: &RotationStatus) -> kube::Result<()> {
    let (client, namespace) = (&registrar.client, registrar.namespace());
    let trust = published(&registrar.authority, &registrar.hub_endpoints());
    apply(client, namespace, "skein-hub", trust).await?;
    let status = serde_json::to_string_pretty(status).map_err(kube::Error::SerdeError)?;
    apply(client, namespace, ROTATION_MANAGER, BTreeMap::from([("rotation".to_owned(), status)])).await
}

fn published(authority: &Authority, endpoints: &[String]) -> BTreeMap<String, String> {
    let pins: Vec<_> = authority.pins().iter().map(hex::encode).collect();
    BTreeMap::from([
        ("ca.pem".to_owned(), authority.roots_pem()),
        ("pins".to_owned(), pins.join(",")),
        ("trustDomain".to_owned(), authority.trust_domain().to_owned()),
        ("hubEndpoints".to_owned(), endpoints.join(",")),
    ])
}

async fn apply(
    client: &kube::Client,
    namespace: &str,
    manager: &str,
    data: BTreeMap<String, String>,
) -> kube::Result<()> {
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(TRUST.to_owned()),
            labels: Some(labels()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    };
    Api::<ConfigMap>::namespaced(client.clone(), namespace)
        .patch(TRUST, &PatchParams::apply(manager).force(), &Patch::Apply(&map))
        .await
        .map(|_| ())
}

fn object(
    action: &'static str,
    kind: &'static str,
    namespace: &str,
    name: &'static str,
    source: kube::Error,
) -> AuthorityKeptError {
    AuthorityKeptError::Object {
        action,
        kind,
        namespace: namespace.to_owned(),
        name,
        source: Box::new(source),
    }
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([(api::names::label::COMPONENT.to_owned(), api::names::label::COMPONENT_KCM.to_owned())])
}
