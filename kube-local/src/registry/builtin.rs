//! The table of built-in kinds, a row each: names, scope, subresources, selectable fields. Everything else about a
//! kind (defaults, validation, columns) is looked up by group and kind in its own module.

use std::sync::Arc;

use k8s_openapi::api::{
    admissionregistration, apps, authentication, authorization, autoscaling, batch, certificates,
    coordination, core, discovery, events, networking, node, policy, rbac, scheduling, storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration;
use schemars::{JsonSchema, SchemaGenerator};

use super::{Kind, Origin, Scale, Verbs, field_path};
use crate::names::NameRule;

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Builtin {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    pub(crate) status: bool,
    pub(crate) scale: bool,
    /// Whether `metadata.generation` is kept.
    pub(crate) generation: bool,
    pub(crate) verbs: Verbs,
    pub(crate) names: NameRule,
    /// Fields beyond name and namespace that a field selector may name.
    pub(crate) selectable: &'static [&'static str],
    /// The store's shelf where it is not `plural.group`.
    pub(crate) resource: Option<&'static str>,
    /// The `apiVersion` in which objects are stored, where it is another one.
    pub(crate) stored_api_version: Option<&'static str>,
    /// The name of its OpenAPI definition.
    pub(crate) definition: fn() -> String,
    /// Adds its OpenAPI definition, and all that it refers to, to a generator.
    pub(crate) define: fn(&mut SchemaGenerator),
}

const fn row<T: JsonSchema>(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Builtin {
    Builtin {
        group,
        version,
        kind,
        plural,
        short_names: &[],
        categories: &[],
        namespaced: true,
        status: false,
        scale: false,
        generation: false,
        verbs: Verbs::All,
        names: NameRule::Subdomain,
        selectable: &[],
        resource: None,
        stored_api_version: None,
        definition: || T::schema_name().into_owned(),
        define: |generator| {
            generator.subschema_for::<T>();
        },
    }
}

#[rustfmt::skip]
static TABLE: &[Builtin] = &[
    Builtin { short_names: &["cm"], ..row::<core::v1::ConfigMap>("", "v1", "ConfigMap", "configmaps") },
    Builtin { short_names: &["ep"], ..row::<core::v1::Endpoints>("", "v1", "Endpoints", "endpoints") },
    Builtin { short_names: &["ev"], selectable: &["involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"], ..row::<core::v1::Event>("", "v1", "Event", "events") },
    Builtin { short_names: &["limits"], ..row::<core::v1::LimitRange>("", "v1", "LimitRange", "limitranges") },
    Builtin { short_names: &["ns"], namespaced: false, status: true, names: NameRule::Label, selectable: &["status.phase"], ..row::<core::v1::Namespace>("", "v1", "Namespace", "namespaces") },
    Builtin { short_names: &["no"], namespaced: false, status: true, selectable: &["spec.unschedulable"], ..row::<core::v1::Node>("", "v1", "Node", "nodes") },
    Builtin { short_names: &["pv"], namespaced: false, status: true, ..row::<core::v1::PersistentVolume>("", "v1", "PersistentVolume", "persistentvolumes") },
    Builtin { short_names: &["pvc"], status: true, ..row::<core::v1::PersistentVolumeClaim>("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims") },
    Builtin { short_names: &["po"], categories: &["all"], status: true, generation: true, selectable: &["spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"], ..row::<core::v1::Pod>("", "v1", "Pod", "pods") },
    Builtin { generation: true, ..row::<core::v1::PodTemplate>("", "v1", "PodTemplate", "podtemplates") },
    Builtin { short_names: &["rc"], categories: &["all"], status: true, scale: true, generation: true, selectable: &["status.replicas"], ..row::<core::v1::ReplicationController>("", "v1", "ReplicationController", "replicationcontrollers") },
    Builtin { short_names: &["quota"], status: true, ..row::<core::v1::ResourceQuota>("", "v1", "ResourceQuota", "resourcequotas") },
    Builtin { selectable: &["type"], ..row::<core::v1::Secret>("", "v1", "Secret", "secrets") },
    Builtin { short_names: &["svc"], categories: &["all"], status: true, names: NameRule::Label, selectable: &["spec.clusterIP", "spec.type"], ..row::<core::v1::Service>("", "v1", "Service", "services") },
    Builtin { short_names: &["sa"], ..row::<core::v1::ServiceAccount>("", "v1", "ServiceAccount", "serviceaccounts") },
    Builtin { categories: &["api-extensions"], namespaced: false, generation: true, ..row::<admissionregistration::v1::MutatingWebhookConfiguration>("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations") },
    Builtin { categories: &["api-extensions"], namespaced: false, generation: true, ..row::<admissionregistration::v1::ValidatingWebhookConfiguration>("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations") },
    Builtin { categories: &["api-extensions"], namespaced: false, status: true, generation: true, ..row::<admissionregistration::v1::ValidatingAdmissionPolicy>("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies") },
    Builtin { categories: &["api-extensions"], namespaced: false, generation: true, ..row::<admissionregistration::v1::ValidatingAdmissionPolicyBinding>("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings") },
    Builtin { short_names: &["crd", "crds"], categories: &["api-extensions"], namespaced: false, status: true, generation: true, ..row::<apiextensions::v1::CustomResourceDefinition>("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions") },
    Builtin { categories: &["api-extensions"], namespaced: false, status: true, ..row::<apiregistration::v1::APIService>("apiregistration.k8s.io", "v1", "APIService", "apiservices") },
    Builtin { ..row::<apps::v1::ControllerRevision>("apps", "v1", "ControllerRevision", "controllerrevisions") },
    Builtin { short_names: &["ds"], categories: &["all"], status: true, generation: true, ..row::<apps::v1::DaemonSet>("apps", "v1", "DaemonSet", "daemonsets") },
    Builtin { short_names: &["deploy"], categories: &["all"], status: true, scale: true, generation: true, ..row::<apps::v1::Deployment>("apps", "v1", "Deployment", "deployments") },
    Builtin { short_names: &["rs"], categories: &["all"], status: true, scale: true, generation: true, selectable: &["status.replicas"], ..row::<apps::v1::ReplicaSet>("apps", "v1", "ReplicaSet", "replicasets") },
    Builtin { short_names: &["sts"], categories: &["all"], status: true, scale: true, generation: true, ..row::<apps::v1::StatefulSet>("apps", "v1", "StatefulSet", "statefulsets") },
    Builtin { namespaced: false, verbs: Verbs::Review, ..row::<authentication::v1::TokenReview>("authentication.k8s.io", "v1", "TokenReview", "tokenreviews") },
    Builtin { namespaced: false, verbs: Verbs::Review, ..row::<authentication::v1::SelfSubjectReview>("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews") },
    Builtin { verbs: Verbs::Review, ..row::<authorization::v1::LocalSubjectAccessReview>("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews") },
    Builtin { namespaced: false, verbs: Verbs::Review, ..row::<authorization::v1::SelfSubjectAccessReview>("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews") },
    Builtin { namespaced: false, verbs: Verbs::Review, ..row::<authorization::v1::SelfSubjectRulesReview>("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews") },
    Builtin { namespaced: false, verbs: Verbs::Review, ..row::<authorization::v1::SubjectAccessReview>("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews") },
    Builtin { short_names: &["hpa"], categories: &["all"], status: true, ..row::<autoscaling::v2::HorizontalPodAutoscaler>("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers") },
    Builtin { short_names: &["cj"], categories: &["all"], status: true, generation: true, ..row::<batch::v1::CronJob>("batch", "v1", "CronJob", "cronjobs") },
    Builtin { categories: &["all"], status: true, generation: true, selectable: &["status.successful"], ..row::<batch::v1::Job>("batch", "v1", "Job", "jobs") },
    Builtin { short_names: &["csr"], namespaced: false, status: true, selectable: &["spec.signerName"], ..row::<certificates::v1::CertificateSigningRequest>("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests") },
    Builtin { ..row::<coordination::v1::Lease>("coordination.k8s.io", "v1", "Lease", "leases") },
    Builtin { generation: true, ..row::<discovery::v1::EndpointSlice>("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices") },
    Builtin { short_names: &["ev"], selectable: &["reason", "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion", "regarding.resourceVersion", "regarding.fieldPath", "reportingController", "type"], resource: Some("events"), stored_api_version: Some("v1"), ..row::<events::v1::Event>("events.k8s.io", "v1", "Event", "events") },
    Builtin { short_names: &["ing"], status: true, generation: true, ..row::<networking::v1::Ingress>("networking.k8s.io", "v1", "Ingress", "ingresses") },
    Builtin { namespaced: false, generation: true, ..row::<networking::v1::IngressClass>("networking.k8s.io", "v1", "IngressClass", "ingressclasses") },
    Builtin { short_names: &["ip"], namespaced: false, ..row::<networking::v1::IPAddress>("networking.k8s.io", "v1", "IPAddress", "ipaddresses") },
    Builtin { short_names: &["netpol"], generation: true, ..row::<networking::v1::NetworkPolicy>("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies") },
    Builtin { namespaced: false, status: true, ..row::<networking::v1::ServiceCIDR>("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs") },
    Builtin { namespaced: false, ..row::<node::v1::RuntimeClass>("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses") },
    Builtin { short_names: &["pdb"], status: true, generation: true, ..row::<policy::v1::PodDisruptionBudget>("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets") },
    Builtin { namespaced: false, names: NameRule::PathSegment, ..row::<rbac::v1::ClusterRole>("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles") },
    Builtin { namespaced: false, names: NameRule::PathSegment, ..row::<rbac::v1::ClusterRoleBinding>("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings") },
    Builtin { names: NameRule::PathSegment, ..row::<rbac::v1::Role>("rbac.authorization.k8s.io", "v1", "Role", "roles") },
    Builtin { names: NameRule::PathSegment, ..row::<rbac::v1::RoleBinding>("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings") },
    Builtin { short_names: &["pc"], namespaced: false, generation: true, ..row::<scheduling::v1::PriorityClass>("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses") },
    Builtin { namespaced: false, ..row::<storage::v1::CSIDriver>("storage.k8s.io", "v1", "CSIDriver", "csidrivers") },
    Builtin { namespaced: false, ..row::<storage::v1::CSINode>("storage.k8s.io", "v1", "CSINode", "csinodes") },
    Builtin { ..row::<storage::v1::CSIStorageCapacity>("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities") },
    Builtin { short_names: &["sc"], namespaced: false, ..row::<storage::v1::StorageClass>("storage.k8s.io", "v1", "StorageClass", "storageclasses") },
    Builtin { namespaced: false, status: true, ..row::<storage::v1::VolumeAttachment>("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments") },
];

/// All rows as kinds.
pub(super) fn kinds() -> Vec<Arc<Kind>> {
    TABLE.iter().map(|row| Arc::new(kind(row))).collect()
}

/// Where a group stands in discovery: core, then the built-in ones, then the rest.
pub(super) fn group_rank(group: &str) -> usize {
    if group.is_empty() {
        return 0;
    }
    if TABLE.iter().any(|row| row.group == group) { 1 } else { 2 }
}

fn kind(row: &'static Builtin) -> Kind {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let api_version =
        if row.group.is_empty() { row.version.to_owned() } else { format!("{}/{}", row.group, row.version) };
    let resource = match row.resource {
        Some(resource) => resource.to_owned(),
        None if row.group.is_empty() => row.plural.to_owned(),
        None => format!("{}.{}", row.plural, row.group),
    };
    Kind {
        group: row.group.into(),
        version: row.version.to_owned(),
        kind: row.kind.to_owned(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: owned(row.short_names),
        categories: owned(row.categories),
        namespaced: row.namespaced,
        resource: resource.into(),
        stored_api_version: row.stored_api_version.map_or(api_version, str::to_owned),
        status: row.status,
        scale: row.scale.then(|| Scale {
            spec_replicas: field_path(".spec.replicas"),
            status_replicas: field_path(".status.replicas"),
            label_selector: None,
        }),
        generation: row.generation,
        verbs: row.verbs,
        names: row.names,
        origin: Origin::Builtin(row, Box::default()),
    }
}
