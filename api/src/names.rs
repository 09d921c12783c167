//! Names that programs and people rely on: finalizers, labels, annotations, well-known objects.
//! Those of k0rdent are spelled as k0rdent spells them.

/// API group of k0rdent's kinds.
pub const K0RDENT_GROUP: &str = "k0rdent.mirantis.com";
/// API group of Skein's own kinds.
pub const SKEIN_GROUP: &str = "skein.dev";

/// Namespace of shared templates, of the authority and of the programs themselves.
pub const SYSTEM_NAMESPACE: &str = "kcm-system";
/// Name of the only Management and the only AccessManagement.
pub const MANAGEMENT: &str = "kcm";
/// Name of k0rdent's default StateManagementProvider.
pub const DEFAULT_STATE_MANAGEMENT_PROVIDER: &str = "ksm-projectsveltos";
/// Name of Skein's own StateManagementProvider.
pub const SKEIN_STATE_MANAGEMENT_PROVIDER: &str = "skein";
/// HelmRepository of templates that name none.
pub const DEFAULT_HELM_REPOSITORY: &str = "kcm-templates";
/// Region that stands for the management cluster itself.
pub const LOCAL_REGION: &str = "local";
/// Secret in the system namespace with the keys of the certificate authority.
pub const AUTHORITY_SECRET: &str = "skein-authority";
/// ConfigMap in the system namespace with what agents must know to trust the hub.
pub const TRUST_CONFIG_MAP: &str = "skein-trust";
/// Lease in the system namespace of the hub that leads; its transitions are the term of generations.
pub const HUB_LEASE: &str = "skein-hub";
/// Start of the names of ConfigMaps in the system namespace that stand for regions where the kind `Region` belongs to
/// somebody else; the region's name follows.
pub const REGION_RECORD_PREFIX: &str = "skein-region-";
/// ConfigMap in the system namespace that says whether the hub serves ServiceSets of another k0rdent.
pub const STATE_MANAGEMENT_CONFIG_MAP: &str = "skein-state-management";
/// HelmRepository of the charts that come with Skein.
pub const SKEIN_HELM_REPOSITORY: &str = "skein-charts";

/// Finalizers.
pub mod finalizer {
    /// On ClusterDeployments.
    pub const CLUSTER_DEPLOYMENT: &str = "k0rdent.mirantis.com/cluster-deployment";
    /// On MultiClusterServices.
    pub const MULTI_CLUSTER_SERVICE: &str = "k0rdent.mirantis.com/multicluster-service";
    /// On ServiceSets.
    pub const SERVICE_SET: &str = "k0rdent.mirantis.com/service-set";
    /// On the Management.
    pub const MANAGEMENT: &str = "k0rdent.mirantis.com/management";
    /// On Regions.
    pub const REGION: &str = "k0rdent.mirantis.com/region";
    /// On Credentials.
    pub const CREDENTIAL: &str = "k0rdent.mirantis.com/credential";
    /// On ClusterDataSources.
    pub const CLUSTER_DATA_SOURCE: &str = "k0rdent.mirantis.com/cluster-data-source";
    /// On infrastructure clusters: holds them until their machines are gone.
    pub const CLEANUP: &str = "k0rdent.mirantis.com/cleanup";
    /// On Edges: holds them until their region knows.
    pub const EDGE: &str = "skein.dev/edge";
    /// On ServiceSets of another k0rdent: holds them until their services have left the cluster.
    pub const SERVED_SERVICE_SET: &str = "skein.dev/service-set";
    /// On HostedControlPlanes: holds them until the control plane has stopped.
    pub const HOSTED_CONTROL_PLANE: &str = "skein.dev/hosted-control-plane";
}

/// Labels.
pub mod label {
    /// `true` on objects made by the controllers.
    pub const MANAGED: &str = "k0rdent.mirantis.com/managed";
    /// `kcm` on every object a controller looks after.
    pub const COMPONENT: &str = "k0rdent.mirantis.com/component";
    /// Value of [`COMPONENT`].
    pub const COMPONENT_KCM: &str = "kcm";
    /// The region an object belongs to.
    pub const REGION: &str = "k0rdent.mirantis.com/region";
    /// `true` on what stands for the management cluster itself.
    pub const MANAGEMENT_CLUSTER: &str = "k0rdent.mirantis.com/management-cluster";
    /// Start of the labels on copied identities: `<prefix><namespace>.<name>: "true"`.
    pub const CREDENTIAL_PREFIX: &str = "k0rdent.mirantis.com/credential.";
    /// Name of the ClusterDeployment a Cluster API object was made for.
    pub const HELM_NAME: &str = "helm.toolkit.fluxcd.io/name";
    /// Namespace of the ClusterDeployment a Cluster API object was made for.
    pub const HELM_NAMESPACE: &str = "helm.toolkit.fluxcd.io/namespace";
    /// Ties ServiceSets to the adapter of a StateManagementProvider.
    pub const ADAPTER: &str = "ksm.k0rdent.mirantis.com/adapter";
    /// Value of [`ADAPTER`] for k0rdent's own adapter.
    pub const ADAPTER_KCM: &str = "kcm-controller-manager";
    /// On ConfigMaps with health rules.
    pub const HEALTH_RULE_TARGET: &str = "k0rdent.mirantis.com/health-rule-target";
    /// Adds a ClusterRole to the controllers' permissions.
    pub const AGGREGATE_TO_MANAGER: &str = "k0rdent.mirantis.com/aggregate-to-manager";
    /// Tenant an object's telemetry belongs to.
    pub const TENANT: &str = "k0rdent.mirantis.com/kof-tenant-id";
    /// Name of the Cluster a Cluster API object belongs to.
    pub const CLUSTER_NAME: &str = "cluster.x-k8s.io/cluster-name";
    /// On pods of the hub: `leader` or `standby`.
    pub const ROLE: &str = "skein.dev/role";
    /// Provider an object belongs to, such as `infrastructure-aws`.
    pub const PROVIDER: &str = "cluster.x-k8s.io/provider";
    /// Name of the Edge an object was made for.
    pub const EDGE: &str = "skein.dev/edge";
    /// On ConfigMaps that stand for a region: its name.
    pub const REGION_RECORD: &str = "skein.dev/region";
    /// On Edges: name of the ClusterDeployment the edge was made for.
    pub const CLUSTER_DEPLOYMENT: &str = "skein.dev/cluster-deployment";
}

/// Annotations.
pub mod annotation {
    /// On Regions: ClusterDeployments in it are left alone.
    pub const REGION_PAUSE: &str = "k0rdent.mirantis.com/region-pause";
    /// On ServiceSets: it is left alone.
    pub const SERVICE_SET_PAUSED: &str = "k0rdent.mirantis.com/service-set-paused";
    /// On the ConfigMap in which trust is published: what is asked of the rotation of keys, with the time.
    pub const ROTATION: &str = "skein.dev/rotation";
    /// On MultiClusterServices: `pause`, `resume`, `abort` or `promote`, and whatever behind a space makes it another
    /// value; each value is carried out once.
    pub const ROLLOUT: &str = "skein.dev/rollout";
    /// On a ClusterDeployment, MultiClusterService or ServiceSet: runs test hooks, once for each value.
    pub const TEST: &str = "skein.dev/test";
    /// On ServiceSets: the revision of the MultiClusterService's serviceSpec that the cluster has.
    pub const ROLLOUT_REVISION: &str = "skein.dev/rollout-revision";
    /// On ServiceSets: when the cluster was given that revision.
    pub const ROLLOUT_RELEASED: &str = "skein.dev/rollout-released";
    /// On Releases of old: the regional template.
    pub const REGIONAL_TEMPLATE: &str = "k0rdent.mirantis.com/kcm-regional-template";
    /// In Chart.yaml of cluster charts: Kubernetes version of the clusters.
    pub const CHART_K8S_VERSION: &str = "k0rdent.mirantis.com/k8s-version";
    /// In Chart.yaml of service charts: Kubernetes versions the service works with.
    pub const CHART_K8S_CONSTRAINT: &str = "k0rdent.mirantis.com/k8s-version-constraint";
    /// In Chart.yaml: providers the chart needs or brings, separated by commas.
    pub const CHART_PROVIDER: &str = "cluster.x-k8s.io/provider";
    /// In Chart.yaml: start of the keys of contract versions.
    pub const CHART_CONTRACT_PREFIX: &str = "cluster.x-k8s.io/";
}
