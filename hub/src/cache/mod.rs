//! The API objects as they are, in memory. One watch per kind fills one store; every change is announced by key.
//!
//! Controllers read nothing else: a decision costs no request. What a decision read is recorded (see
//! [`view::View`]), so that exactly the decisions a change concerns are made again.

pub mod resources;
mod store;
pub mod view;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use api::k0rdent::{
    ClusterDeployment, ClusterTemplate, ClusterTemplateChain, Credential, MultiClusterService, Region,
    ServiceSet, ServiceTemplate, ServiceTemplateChain, StateManagementProvider,
};
use api::skein::{Edge, JoinToken, PriceBook};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use process::Process;
use serde_json::Value;
use tokio::sync::mpsc;

pub use store::{Change, Store};
pub use view::View;

use crate::changes::{Announcer, Changes};
use crate::content::flux::{
    Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRepository, OCIRepository,
};
use resources::{Found, ResourceKind, Resources};

/// A kind the hub looks at, or something that changes like an object does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// k0rdent `Region`.
    Region,
    /// k0rdent `Credential`.
    Credential,
    /// k0rdent `ClusterTemplate`.
    ClusterTemplate,
    /// k0rdent `ServiceTemplate`.
    ServiceTemplate,
    /// k0rdent `ClusterTemplateChain`.
    ClusterTemplateChain,
    /// k0rdent `ServiceTemplateChain`.
    ServiceTemplateChain,
    /// k0rdent `MultiClusterService`.
    MultiClusterService,
    /// k0rdent `ClusterDeployment`.
    ClusterDeployment,
    /// k0rdent `ServiceSet`.
    ServiceSet,
    /// Skein `Edge`.
    Edge,
    /// k0rdent `StateManagementProvider`.
    StateManagementProvider,
    /// Skein `JoinToken`.
    JoinToken,
    /// Skein `PriceBook`.
    PriceBook,
    /// `ConfigMap`.
    ConfigMap,
    /// `Secret`.
    Secret,
    /// Flux `HelmRepository`.
    HelmRepository,
    /// Flux `HelmChart`.
    HelmChart,
    /// Flux `GitRepository`.
    GitRepository,
    /// Flux `Bucket`.
    Bucket,
    /// Flux `OCIRepository`.
    OCIRepository,
    /// Flux `ExternalArtifact`.
    ExternalArtifact,
    /// What was fetched of a source; the name is that of the source.
    FetchedChart,
    /// Whether the object exists that a Credential names.
    Identity,
    /// An object of a kind that nobody knows beforehand; the name is `apiVersion/Kind/name`.
    Resource,
    /// An agent's plan; namespace `region` or the edge's namespace.
    Plan,
}

/// Names an object; the namespace of cluster-scoped ones is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A key of parts.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{:?} {}{slash}{}", self.kind, self.namespace, self.name)
    }
}

/// A kind that has a store.
pub trait Cached:
    kube::Resource<DynamicType = ()>
    + serde::de::DeserializeOwned
    + serde::Serialize
    + Clone
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
    /// Which kind.
    const KIND: Kind;
    /// Its store.
    fn store(cache: &Cache) -> &Store<Self>;
}

/// Declares the stores, once for all kinds.
macro_rules! stores {
    ($($field:ident: $kind:ident),* $(,)?) => {
        /// The stores. Clones share the content.
        #[derive(Clone, Default)]
        pub struct Cache {
            $(
                #[doc = concat!("Objects of kind `", stringify!($kind), "`.")]
                pub $field: Store<$kind>,
            )*
            resources: Resources,
            announcer: Announcer<Change>,
            invalid: Arc<Mutex<BTreeMap<Key, String>>>,
        }

        $(
            impl Cached for $kind {
                const KIND: Kind = Kind::$kind;
                fn store(cache: &Cache) -> &Store<Self> {
                    &cache.$field
                }
            }
        )*

        impl Cache {
            /// Watches every kind until the process ends. The receiver ends once all kinds are listed.
            pub fn watch(&self, client: &kube::Client, process: &Process) -> mpsc::Receiver<()> {
                let (listing, listed) = mpsc::channel(1);
                self.resources.begin(self, client, process);
                $(watch::start::<$kind>(self, client, process, listing.clone());)*
                listed
            }

            /// Keys of all objects there are.
            pub fn keys(&self) -> Vec<Key> {
                let mut keys = Vec::new();
                $(keys.extend(self.$field.names().into_iter().map(|(namespace, name)| Key {
                    kind: Kind::$kind,
                    namespace,
                    name,
                }));)*
                keys
            }

            /// Number of objects by kind.
            pub fn sizes(&self) -> Vec<(Kind, usize)> {
                vec![$((Kind::$kind, self.$field.len())),*]
            }
        }
    };
}

stores! {
    regions: Region,
    credentials: Credential,
    cluster_templates: ClusterTemplate,
    service_templates: ServiceTemplate,
    cluster_template_chains: ClusterTemplateChain,
    service_template_chains: ServiceTemplateChain,
    multi_cluster_services: MultiClusterService,
    cluster_deployments: ClusterDeployment,
    edges: Edge,
    service_sets: ServiceSet,
    state_management_providers: StateManagementProvider,
    join_tokens: JoinToken,
    price_books: PriceBook,
    config_maps: ConfigMap,
    secrets: Secret,
    helm_repositories: HelmRepository,
    helm_charts: HelmChart,
    git_repositories: GitRepository,
    buckets: Bucket,
    oci_repositories: OCIRepository,
    external_artifacts: ExternalArtifact,
}

impl Cache {
    /// Everything that changes from now on.
    pub fn subscribe(&self) -> Changes<Change> {
        self.announcer.subscribe()
    }

    /// Tells that something changed that is not in a store itself.
    pub fn announce(&self, key: Key) {
        self.announcer.announce(&Change { key, desired: true });
    }

    /// Puts an object in, as a watch would.
    pub fn put<K: Cached>(&self, object: K) {
        if let Some(change) = K::store(self).put(object) {
            self.announcer.announce(&change);
        }
    }

    /// Takes an object out, as a watch would.
    pub fn remove<K: Cached>(&self, namespace: &str, name: &str) {
        if let Some(change) = K::store(self).remove(namespace, name) {
            self.announcer.announce(&change);
        }
    }

    /// An object of any kind; the first question about a kind begins its watch.
    pub fn resource(&self, kind: &ResourceKind, namespace: &str, name: &str) -> Found {
        let typed = match (kind.api_version.as_str(), kind.kind.as_str()) {
            ("v1", "ConfigMap") => self.config_maps.get(namespace, name).map(|one| as_json(&*one)),
            ("v1", "Secret") => self.secrets.get(namespace, name).map(|one| as_json(&*one)),
            _ => return self.resources.get(kind, namespace, name),
        };
        match typed {
            Some(object) => Found::Object(Arc::new(object)),
            None => Found::Absent(format!("{} \"{name}\" not found", kind.kind)),
        }
    }

    /// The object that a key names, for kinds that templates may refer to.
    pub(crate) fn resource_at(&self, key: &Key) -> Option<Arc<Value>> {
        match key.kind {
            Kind::ConfigMap => Some(Arc::new(as_json(&*self.config_maps.get(&key.namespace, &key.name)?))),
            Kind::Secret => Some(Arc::new(as_json(&*self.secrets.get(&key.namespace, &key.name)?))),
            Kind::Resource => {
                let (rest, name) = key.name.rsplit_once('/')?;
                let (api_version, kind) = rest.rsplit_once('/')?;
                let kind = ResourceKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
                match self.resources.get(&kind, &key.namespace, name) {
                    Found::Object(object) => Some(object),
                    Found::Absent(_) | Found::Unknown => None,
                }
            }
            Kind::Region
            | Kind::Credential
            | Kind::ClusterTemplate
            | Kind::ServiceTemplate
            | Kind::ClusterTemplateChain
            | Kind::ServiceTemplateChain
            | Kind::MultiClusterService
            | Kind::ClusterDeployment
            | Kind::ServiceSet
            | Kind::Edge
            | Kind::StateManagementProvider
            | Kind::JoinToken
            | Kind::PriceBook
            | Kind::HelmRepository
            | Kind::HelmChart
            | Kind::GitRepository
            | Kind::Bucket
            | Kind::OCIRepository
            | Kind::ExternalArtifact
            | Kind::FetchedChart
            | Kind::Identity
            | Kind::Plan => None,
        }
    }

    /// Puts an object of any kind in, as a watch would.
    pub fn put_resource(&self, object: Value) {
        if let Some(key) = self.resources.put(object) {
            self.announce(key);
        }
    }

    /// Objects that cannot be read, and why.
    pub fn invalid(&self) -> BTreeMap<Key, String> {
        self.invalid.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_invalid(&self, key: Key, why: Option<String>) {
        let mut invalid = self.invalid.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => {
                tracing::warn!(object = %key, %why, "an object cannot be read and is ignored");
                invalid.insert(key, why);
            }
            None => {
                invalid.remove(&key);
            }
        }
    }
}

/// An object of the core group as the API shows it.
fn as_json<K: Cached>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), Value::from(K::api_version(&()).into_owned()));
        map.insert("kind".to_owned(), Value::from(K::kind(&()).into_owned()));
    }
    value
}
