//! The messages that are understood: field numbers as the published `.proto` files of `k8s.io/api` and
//! `k8s.io/apimachinery` have them, names as in JSON.

/// What a field holds, and how JSON writes it.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    /// Left out when zero.
    Integer,
    /// A pointer in Go: zero means zero.
    Count,
    Truth,
    Message(&'static Message),
    TextMap,
    /// Values in base64.
    BytesMap,
    Time,
    MicroTime,
    IntOrText,
    /// Server-owned: read past.
    Ignored,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

/// The kinds that bodies may have, with the `apiVersion`s in which they are understood (none: any).
pub(super) static MESSAGES: &[(&[&str], &Message)] = &[
    (&["v1"], &CONFIG_MAP),
    (&["v1"], &SECRET),
    (&["v1"], &NAMESPACE),
    (&["v1"], &SERVICE_ACCOUNT),
    (&["v1"], &EVENT),
    (&["v1"], &SERVICE),
    (&["events.k8s.io/v1"], &NEW_EVENT),
    (&["coordination.k8s.io/v1"], &LEASE),
    (&[], &DELETE_OPTIONS),
    (&["authorization.k8s.io/v1"], &SELF_REVIEW),
    (&["authorization.k8s.io/v1"], &REVIEW),
    (&["authorization.k8s.io/v1"], &RULES_REVIEW),
    (&["authentication.k8s.io/v1"], &SELF_SUBJECT_REVIEW),
    (&["rbac.authorization.k8s.io/v1"], &ROLE),
    (&["rbac.authorization.k8s.io/v1"], &CLUSTER_ROLE),
    (&["rbac.authorization.k8s.io/v1"], &ROLE_BINDING),
    (&["rbac.authorization.k8s.io/v1"], &CLUSTER_ROLE_BINDING),
    (&["apps/v1"], &DEPLOYMENT),
    (&["batch/v1"], &JOB),
];

#[rustfmt::skip]
static OWNER_REFERENCE: Message = Message { name: "OwnerReference", fields: &[
    one(1, "kind", Kind::Text),
    one(3, "name", Kind::Text),
    one(4, "uid", Kind::Text),
    one(5, "apiVersion", Kind::Text),
    one(6, "controller", Kind::Truth),
    one(7, "blockOwnerDeletion", Kind::Truth),
]};

#[rustfmt::skip]
static METADATA: Message = Message { name: "ObjectMeta", fields: &[
    one(1, "name", Kind::Text),
    one(2, "generateName", Kind::Text),
    one(3, "namespace", Kind::Text),
    one(4, "selfLink", Kind::Ignored),
    one(5, "uid", Kind::Text),
    one(6, "resourceVersion", Kind::Text),
    one(7, "generation", Kind::Integer),
    one(8, "creationTimestamp", Kind::Time),
    one(9, "deletionTimestamp", Kind::Time),
    one(10, "deletionGracePeriodSeconds", Kind::Integer),
    one(11, "labels", Kind::TextMap),
    one(12, "annotations", Kind::TextMap),
    many(13, "ownerReferences", Kind::Message(&OWNER_REFERENCE)),
    many(14, "finalizers", Kind::Text),
    one(17, "managedFields", Kind::Ignored),
]};

#[rustfmt::skip]
static CONFIG_MAP: Message = Message { name: "ConfigMap", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "data", Kind::TextMap),
    one(3, "binaryData", Kind::BytesMap),
    one(4, "immutable", Kind::Truth),
]};

#[rustfmt::skip]
static SECRET: Message = Message { name: "Secret", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "data", Kind::BytesMap),
    one(3, "type", Kind::Text),
    one(4, "stringData", Kind::TextMap),
    one(5, "immutable", Kind::Truth),
]};

#[rustfmt::skip]
static NAMESPACE_SPEC: Message = Message { name: "NamespaceSpec", fields: &[
    many(1, "finalizers", Kind::Text),
]};

#[rustfmt::skip]
static NAMESPACE: Message = Message { name: "Namespace", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&NAMESPACE_SPEC)),
    one(3, "status", Kind::Ignored),
]};

#[rustfmt::skip]
static REFERENCE: Message = Message { name: "ObjectReference", fields: &[
    one(1, "kind", Kind::Text),
    one(2, "namespace", Kind::Text),
    one(3, "name", Kind::Text),
    one(4, "uid", Kind::Text),
    one(5, "apiVersion", Kind::Text),
    one(6, "resourceVersion", Kind::Text),
    one(7, "fieldPath", Kind::Text),
]};

#[rustfmt::skip]
static LOCAL_REFERENCE: Message = Message { name: "LocalObjectReference", fields: &[
    one(1, "name", Kind::Text),
]};

#[rustfmt::skip]
static SERVICE_ACCOUNT: Message = Message { name: "ServiceAccount", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    many(2, "secrets", Kind::Message(&REFERENCE)),
    many(3, "imagePullSecrets", Kind::Message(&LOCAL_REFERENCE)),
    one(4, "automountServiceAccountToken", Kind::Truth),
]};

#[rustfmt::skip]
static EVENT_SOURCE: Message = Message { name: "EventSource", fields: &[
    one(1, "component", Kind::Text),
    one(2, "host", Kind::Text),
]};

#[rustfmt::skip]
static EVENT_SERIES: Message = Message { name: "EventSeries", fields: &[
    one(1, "count", Kind::Integer),
    one(2, "lastObservedTime", Kind::MicroTime),
]};

#[rustfmt::skip]
static EVENT: Message = Message { name: "Event", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "involvedObject", Kind::Message(&REFERENCE)),
    one(3, "reason", Kind::Text),
    one(4, "message", Kind::Text),
    one(5, "source", Kind::Message(&EVENT_SOURCE)),
    one(6, "firstTimestamp", Kind::Time),
    one(7, "lastTimestamp", Kind::Time),
    one(8, "count", Kind::Integer),
    one(9, "type", Kind::Text),
    one(10, "eventTime", Kind::MicroTime),
    one(11, "series", Kind::Message(&EVENT_SERIES)),
    one(12, "action", Kind::Text),
    one(13, "related", Kind::Message(&REFERENCE)),
    one(14, "reportingComponent", Kind::Text),
    one(15, "reportingInstance", Kind::Text),
]};

#[rustfmt::skip]
static NEW_EVENT: Message = Message { name: "Event", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "eventTime", Kind::MicroTime),
    one(3, "series", Kind::Message(&EVENT_SERIES)),
    one(4, "reportingController", Kind::Text),
    one(5, "reportingInstance", Kind::Text),
    one(6, "action", Kind::Text),
    one(7, "reason", Kind::Text),
    one(8, "regarding", Kind::Message(&REFERENCE)),
    one(9, "related", Kind::Message(&REFERENCE)),
    one(10, "note", Kind::Text),
    one(11, "type", Kind::Text),
    one(12, "deprecatedSource", Kind::Message(&EVENT_SOURCE)),
    one(13, "deprecatedFirstTimestamp", Kind::Time),
    one(14, "deprecatedLastTimestamp", Kind::Time),
    one(15, "deprecatedCount", Kind::Integer),
]};

#[rustfmt::skip]
static LEASE_SPEC: Message = Message { name: "LeaseSpec", fields: &[
    one(1, "holderIdentity", Kind::Text),
    one(2, "leaseDurationSeconds", Kind::Count),
    one(3, "acquireTime", Kind::MicroTime),
    one(4, "renewTime", Kind::MicroTime),
    one(5, "leaseTransitions", Kind::Count),
]};

#[rustfmt::skip]
static LEASE: Message = Message { name: "Lease", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&LEASE_SPEC)),
]};

#[rustfmt::skip]
static PRECONDITIONS: Message = Message { name: "Preconditions", fields: &[
    one(1, "uid", Kind::Text),
    one(2, "resourceVersion", Kind::Text),
]};

#[rustfmt::skip]
static DELETE_OPTIONS: Message = Message { name: "DeleteOptions", fields: &[
    one(1, "gracePeriodSeconds", Kind::Count),
    one(2, "preconditions", Kind::Message(&PRECONDITIONS)),
    one(3, "orphanDependents", Kind::Truth),
    one(4, "propagationPolicy", Kind::Text),
    many(5, "dryRun", Kind::Text),
    one(6, "ignoreStoreReadErrorWithClusterBreakingPotential", Kind::Ignored),
]};

#[rustfmt::skip]
static RESOURCE_ATTRIBUTES: Message = Message { name: "ResourceAttributes", fields: &[
    one(1, "namespace", Kind::Text),
    one(2, "verb", Kind::Text),
    one(3, "group", Kind::Text),
    one(4, "version", Kind::Text),
    one(5, "resource", Kind::Text),
    one(6, "subresource", Kind::Text),
    one(7, "name", Kind::Text),
]};

#[rustfmt::skip]
static PATH_ATTRIBUTES: Message = Message { name: "NonResourceAttributes", fields: &[
    one(1, "path", Kind::Text),
    one(2, "verb", Kind::Text),
]};

#[rustfmt::skip]
static SELF_REVIEW_SPEC: Message = Message { name: "SelfSubjectAccessReviewSpec", fields: &[
    one(1, "resourceAttributes", Kind::Message(&RESOURCE_ATTRIBUTES)),
    one(2, "nonResourceAttributes", Kind::Message(&PATH_ATTRIBUTES)),
]};

#[rustfmt::skip]
static SELF_REVIEW: Message = Message { name: "SelfSubjectAccessReview", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&SELF_REVIEW_SPEC)),
    one(3, "status", Kind::Ignored),
]};

#[rustfmt::skip]
static REVIEW_SPEC: Message = Message { name: "SubjectAccessReviewSpec", fields: &[
    one(1, "resourceAttributes", Kind::Message(&RESOURCE_ATTRIBUTES)),
    one(2, "nonResourceAttributes", Kind::Message(&PATH_ATTRIBUTES)),
    one(3, "user", Kind::Text),
    many(4, "groups", Kind::Text),
    one(5, "extra", Kind::Ignored),
    one(6, "uid", Kind::Text),
]};

#[rustfmt::skip]
static REVIEW: Message = Message { name: "SubjectAccessReview", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&REVIEW_SPEC)),
    one(3, "status", Kind::Ignored),
]};

#[rustfmt::skip]
static RULES_REVIEW_SPEC: Message = Message { name: "SelfSubjectRulesReviewSpec", fields: &[
    one(1, "namespace", Kind::Text),
]};

#[rustfmt::skip]
static RULES_REVIEW: Message = Message { name: "SelfSubjectRulesReview", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&RULES_REVIEW_SPEC)),
    one(3, "status", Kind::Ignored),
]};

#[rustfmt::skip]
static SELF_SUBJECT_REVIEW: Message = Message { name: "SelfSubjectReview", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "status", Kind::Ignored),
]};

#[rustfmt::skip]
static POLICY_RULE: Message = Message { name: "PolicyRule", fields: &[
    many(1, "verbs", Kind::Text),
    many(2, "apiGroups", Kind::Text),
    many(3, "resources", Kind::Text),
    many(4, "resourceNames", Kind::Text),
    many(5, "nonResourceURLs", Kind::Text),
]};

#[rustfmt::skip]
static ROLE: Message = Message { name: "Role", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    many(2, "rules", Kind::Message(&POLICY_RULE)),
]};

#[rustfmt::skip]
static CLUSTER_ROLE: Message = Message { name: "ClusterRole", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    many(2, "rules", Kind::Message(&POLICY_RULE)),
]};

#[rustfmt::skip]
static SUBJECT: Message = Message { name: "Subject", fields: &[
    one(1, "kind", Kind::Text),
    one(2, "apiGroup", Kind::Text),
    one(3, "name", Kind::Text),
    one(4, "namespace", Kind::Text),
]};

#[rustfmt::skip]
static ROLE_REFERENCE: Message = Message { name: "RoleRef", fields: &[
    one(1, "apiGroup", Kind::Text),
    one(2, "kind", Kind::Text),
    one(3, "name", Kind::Text),
]};

#[rustfmt::skip]
static ROLE_BINDING: Message = Message { name: "RoleBinding", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    many(2, "subjects", Kind::Message(&SUBJECT)),
    one(3, "roleRef", Kind::Message(&ROLE_REFERENCE)),
]};

#[rustfmt::skip]
static CLUSTER_ROLE_BINDING: Message = Message { name: "ClusterRoleBinding", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    many(2, "subjects", Kind::Message(&SUBJECT)),
    one(3, "roleRef", Kind::Message(&ROLE_REFERENCE)),
]};

#[rustfmt::skip]
static REQUIREMENT: Message = Message { name: "LabelSelectorRequirement", fields: &[
    one(1, "key", Kind::Text),
    one(2, "operator", Kind::Text),
    many(3, "values", Kind::Text),
]};

#[rustfmt::skip]
static LABEL_SELECTOR: Message = Message { name: "LabelSelector", fields: &[
    one(1, "matchLabels", Kind::TextMap),
    many(2, "matchExpressions", Kind::Message(&REQUIREMENT)),
]};

#[rustfmt::skip]
static CONTAINER_PORT: Message = Message { name: "ContainerPort", fields: &[
    one(1, "name", Kind::Text),
    one(2, "hostPort", Kind::Integer),
    one(3, "containerPort", Kind::Integer),
    one(4, "protocol", Kind::Text),
    one(5, "hostIP", Kind::Text),
]};

#[rustfmt::skip]
static VARIABLE: Message = Message { name: "EnvVar", fields: &[
    one(1, "name", Kind::Text),
    one(2, "value", Kind::Text),
]};

#[rustfmt::skip]
static CONTAINER: Message = Message { name: "Container", fields: &[
    one(1, "name", Kind::Text),
    one(2, "image", Kind::Text),
    many(3, "command", Kind::Text),
    many(4, "args", Kind::Text),
    one(5, "workingDir", Kind::Text),
    many(6, "ports", Kind::Message(&CONTAINER_PORT)),
    many(7, "env", Kind::Message(&VARIABLE)),
    one(13, "terminationMessagePath", Kind::Text),
    one(14, "imagePullPolicy", Kind::Text),
    one(20, "terminationMessagePolicy", Kind::Text),
]};

#[rustfmt::skip]
static POD_SPEC: Message = Message { name: "PodSpec", fields: &[
    many(2, "containers", Kind::Message(&CONTAINER)),
    one(3, "restartPolicy", Kind::Text),
    one(4, "terminationGracePeriodSeconds", Kind::Count),
    one(6, "dnsPolicy", Kind::Text),
    one(7, "nodeSelector", Kind::TextMap),
    one(8, "serviceAccountName", Kind::Text),
    many(20, "initContainers", Kind::Message(&CONTAINER)),
]};

#[rustfmt::skip]
static POD_TEMPLATE: Message = Message { name: "PodTemplateSpec", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&POD_SPEC)),
]};

#[rustfmt::skip]
static ROLLING_UPDATE: Message = Message { name: "RollingUpdateDeployment", fields: &[
    one(1, "maxUnavailable", Kind::IntOrText),
    one(2, "maxSurge", Kind::IntOrText),
]};

#[rustfmt::skip]
static STRATEGY: Message = Message { name: "DeploymentStrategy", fields: &[
    one(1, "type", Kind::Text),
    one(2, "rollingUpdate", Kind::Message(&ROLLING_UPDATE)),
]};

#[rustfmt::skip]
static DEPLOYMENT_SPEC: Message = Message { name: "DeploymentSpec", fields: &[
    one(1, "replicas", Kind::Count),
    one(2, "selector", Kind::Message(&LABEL_SELECTOR)),
    one(3, "template", Kind::Message(&POD_TEMPLATE)),
    one(4, "strategy", Kind::Message(&STRATEGY)),
    one(5, "minReadySeconds", Kind::Integer),
    one(6, "revisionHistoryLimit", Kind::Count),
    one(7, "paused", Kind::Truth),
    one(9, "progressDeadlineSeconds", Kind::Count),
]};

#[rustfmt::skip]
static DEPLOYMENT: Message = Message { name: "Deployment", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&DEPLOYMENT_SPEC)),
    one(3, "status", Kind::Ignored),
]};

#[rustfmt::skip]
static SERVICE_PORT: Message = Message { name: "ServicePort", fields: &[
    one(1, "name", Kind::Text),
    one(2, "protocol", Kind::Text),
    one(3, "port", Kind::Integer),
    one(4, "targetPort", Kind::IntOrText),
    one(5, "nodePort", Kind::Integer),
    one(6, "appProtocol", Kind::Text),
]};

#[rustfmt::skip]
static SERVICE_SPEC: Message = Message { name: "ServiceSpec", fields: &[
    many(1, "ports", Kind::Message(&SERVICE_PORT)),
    one(2, "selector", Kind::TextMap),
    one(3, "clusterIP", Kind::Text),
    one(4, "type", Kind::Text),
    many(5, "externalIPs", Kind::Text),
    one(7, "sessionAffinity", Kind::Text),
    one(8, "loadBalancerIP", Kind::Text),
    one(10, "externalName", Kind::Text),
    one(11, "externalTrafficPolicy", Kind::Text),
    many(18, "clusterIPs", Kind::Text),
]};

#[rustfmt::skip]
static SERVICE: Message = Message { name: "Service", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&SERVICE_SPEC)),
    one(3, "status", Kind::Ignored),
]};

#[rustfmt::skip]
static JOB_SPEC: Message = Message { name: "JobSpec", fields: &[
    one(1, "parallelism", Kind::Count),
    one(2, "completions", Kind::Count),
    one(3, "activeDeadlineSeconds", Kind::Count),
    one(4, "selector", Kind::Message(&LABEL_SELECTOR)),
    one(6, "template", Kind::Message(&POD_TEMPLATE)),
    one(7, "backoffLimit", Kind::Count),
    one(8, "ttlSecondsAfterFinished", Kind::Count),
    one(9, "completionMode", Kind::Text),
    one(10, "suspend", Kind::Truth),
]};

#[rustfmt::skip]
static JOB: Message = Message { name: "Job", fields: &[
    one(1, "metadata", Kind::Message(&METADATA)),
    one(2, "spec", Kind::Message(&JOB_SPEC)),
    one(3, "status", Kind::Ignored),
]};
