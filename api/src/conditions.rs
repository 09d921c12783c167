//! Condition types and reasons as k0rdent spells them, how a condition is set, and how `Ready` is summed up.

mod ready;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

pub use ready::{CLUSTER_PATIENCE, Gravity, aggregate_ready};

/// Types of conditions.
pub mod kind {
    /// Everything is as desired; the sum of the others.
    pub const READY: &str = "Ready";
    /// The object is being deleted; the reason says which step it is at.
    pub const DELETING: &str = "Deleting";
    /// The object is left alone.
    pub const PAUSED: &str = "Paused";
    /// Secrets that an installation names are where they are needed.
    pub const PREDECLARED_SECRETS_EXIST: &str = "PredeclaredSecretsExist";

    /// The ClusterTemplate exists and is valid.
    pub const TEMPLATE_READY: &str = "TemplateReady";
    /// The chart was fetched and renders with the configuration.
    pub const HELM_CHART_READY: &str = "HelmChartReady";
    /// The rendered objects are in the region.
    pub const HELM_RELEASE_READY: &str = "HelmReleaseReady";
    /// The Cluster API objects are ready.
    pub const CAPI_CLUSTER_SUMMARY: &str = "CAPIClusterSummary";
    /// The Credential exists and is ready.
    pub const CREDENTIAL_READY: &str = "CredentialReady";
    /// The ClusterAuthentication exists and is valid.
    pub const CLUSTER_AUTHENTICATION_READY: &str = "ClusterAuthenticationReady";
    /// The ClusterAuditPolicy exists and is valid.
    pub const CLUSTER_AUDIT_POLICY_READY: &str = "ClusterAuditPolicyReady";
    /// The DataSource exists.
    pub const DATA_SOURCE_READY: &str = "DataSourceReady";
    /// The cluster's part of the DataSource can be used.
    pub const CLUSTER_DATA_SOURCE_READY: &str = "ClusterDataSourceReady";
    /// The template's chart has another name than the one that is installed.
    pub const HELM_CHART_NAME_CHANGED: &str = "HelmChartNameChanged";
    /// Load balancers and volumes of the cluster are gone.
    pub const CLOUD_RESOURCES_DELETED: &str = "CloudResourcesDeletedCondition";

    /// How many services are deployed; the message is "ready/total".
    pub const SERVICES_IN_READY_STATE: &str = "ServicesInReadyState";
    /// The ServiceTemplates and chains that services name exist and are valid.
    pub const SERVICES_REFERENCES_VALIDATION: &str = "ServicesReferencesValidation";
    /// The dependencies between services can be met.
    pub const SERVICES_DEPENDENCY_VALIDATION: &str = "ServicesDependencyValidation";
    /// The dependencies between MultiClusterServices can be met.
    pub const MULTI_CLUSTER_SERVICE_DEPENDENCY_VALIDATION: &str = "MultiClusterServiceDependencyValidation";
    /// The MultiClusterServices this one depends on are deployed.
    pub const MULTI_CLUSTER_SERVICE_DEPENDENCY_READY: &str = "MultiClusterServiceDependencyReady";
    /// On how many clusters all services are deployed; the message is "ready/total".
    pub const CLUSTER_IN_READY_STATE: &str = "ClusterInReadyState";
    /// The newest revision of the services has reached all clusters that are to be waited for.
    pub const ROLLOUT_COMPLETE: &str = "RolloutComplete";

    /// There is an edge agent for the services of the management cluster itself; absent when there is nothing to say.
    pub const SELF_MANAGEMENT_READY: &str = "SelfManagementReady";

    /// The provider's objects for a ServiceSet are made.
    pub const SERVICE_SET_PROFILE: &str = "ServiceSetProfile";
    /// A helm binary rendered a chart that needs what the built-in engine lacks; the message says which and what.
    pub const HELM_FALLBACK: &str = "HelmFallback";
    /// matchingClusters of a MultiClusterService does not list all clusters: they would not fit into one object.
    pub const MATCHING_CLUSTERS_CUT: &str = "MatchingClustersCut";
    /// The states of a ServiceSet's services are known.
    pub const SERVICE_SET_STATUSES_COLLECTED: &str = "ServiceSetStatusesCollected";
    /// The health rules of a ServiceSet are valid.
    pub const SERVICE_SET_HEALTH_RULES: &str = "ServiceSetHealthRules";

    /// The adapter of a StateManagementProvider has its permissions.
    pub const RBAC_READY: &str = "RBACReady";
    /// The adapter of a StateManagementProvider works.
    pub const ADAPTER_READY: &str = "AdapterReady";
    /// The provisioners of a StateManagementProvider work.
    pub const PROVISIONER_READY: &str = "ProvisionerReady";
    /// The CRDs of a StateManagementProvider's provisioners are installed.
    pub const PROVISIONER_CRDS_READY: &str = "ProvisionerCRDsReady";

    /// The templates of a Release exist.
    pub const TEMPLATES_CREATED: &str = "TemplatesCreated";
    /// The templates of a Release are valid.
    pub const TEMPLATES_VALID: &str = "TemplatesValid";
    /// The registry's credentials are where they are needed.
    pub const REGISTRY_CREDENTIAL_SECRET_READY: &str = "RegistryCredentialSecretReady";

    /// The agent is connected.
    pub const LINKED: &str = "Linked";
    /// The agent joined and is not revoked.
    pub const ENROLLED: &str = "Enrolled";
    /// A person let the edge in; set only where one had to be asked.
    pub const APPROVED: &str = "Approved";
    /// Two devices have the agent's device key, and one of them was refused.
    pub const QUARANTINED: &str = "Quarantined";
    /// The edge is linked to the region it belongs to; set only while it moves, or another region stands in.
    pub const PLACED: &str = "Placed";
    /// The region that stands in for this one is there.
    pub const STANDBY_READY: &str = "StandbyReady";
    /// The agent is of the hub's version; the message names what is lost where it is of an earlier one.
    pub const AGENT_CURRENT: &str = "AgentCurrent";
    /// The agent has applied the newest plan.
    pub const UP_TO_DATE: &str = "UpToDate";
}

/// Reasons of conditions.
pub mod reason {
    /// It is so.
    pub const SUCCEEDED: &str = "Succeeded";
    /// It failed.
    pub const FAILED: &str = "Failed";
    /// It is under way.
    pub const PROGRESSING: &str = "Progressing";
    /// The object is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The object is looked after.
    pub const NOT_PAUSED: &str = "NotPaused";
    /// The object is left alone.
    pub const PAUSED: &str = "Paused";

    /// Deletion waits for load balancers and volumes to go.
    pub const WAITING_FOR_CLOUD_RESOURCES_DELETION: &str = "WaitingForCloudResourcesDeletion";
    /// Deletion waits for services to go.
    pub const WAITING_FOR_SERVICE_SETS_DELETION: &str = "WaitingForServiceSetsDeletion";
    /// Deletion waits for the rendered objects to go.
    pub const WAITING_FOR_HELM_RELEASE_DELETION: &str = "WaitingForHelmReleaseDeletion";
    /// Deletion waits for the cluster to go.
    pub const WAITING_FOR_CLUSTER_DELETION: &str = "WaitingForClusterDeletion";
    /// Deletion waits for the cluster's part of a DataSource to go.
    pub const WAITING_FOR_CLUSTER_DATA_SOURCE_DELETION: &str = "WaitingForClusterDataSourceDeletion";
    /// Everything is gone.
    pub const DELETION_COMPLETED: &str = "DeletionCompleted";
    /// The Cluster API Cluster does not exist.
    pub const CAPI_CLUSTER_MISSING: &str = "CAPIClusterMissing";

    /// A MultiClusterService this one depends on is not deployed.
    pub const MULTI_CLUSTER_SERVICE_DEPENDENCY_NOT_READY: &str = "MultiClusterServiceDependencyNotReady";
    /// Whether the dependencies are deployed could not be found out.
    pub const MULTI_CLUSTER_SERVICE_DEPENDENCY_CHECK_FAILED: &str =
        "MultiClusterServiceDependencyCheckFailed";

    /// No edge agent is enrolled for the management cluster.
    pub const NO_MANAGEMENT_EDGE: &str = "NoManagementEdge";
    /// The cluster's turn in the rollout has not come.
    pub const WAITING_FOR_ROLLOUT: &str = "WaitingForRollout";
    /// The settings of the rollout cannot be read.
    pub const INVALID_ROLLOUT: &str = "InvalidRollout";

    /// A helm binary rendered it, for want of something in the built-in engine.
    pub const RENDERED_BY_HELM: &str = "RenderedByHelm";
    /// There are more clusters than an object can list.
    pub const TOO_MANY_CLUSTERS: &str = "TooManyClusters";
    /// The provider's objects are made.
    pub const SERVICE_SET_PROFILE_READY: &str = "ServiceSetProfileReady";
    /// The provider's objects are not made yet.
    pub const SERVICE_SET_PROFILE_NOT_READY: &str = "ServiceSetProfileNotReady";
    /// The provider's objects cannot be made.
    pub const SERVICE_SET_PROFILE_BUILD_FAILED: &str = "ServiceSetProfileBuildFailed";
    /// A chart cannot be rendered.
    pub const SERVICE_SET_HELM_CHARTS_BUILD_FAILED: &str = "ServiceSetHelmChartsBuildFailed";
    /// A Kustomize folder cannot be built.
    pub const SERVICE_SET_KUSTOMIZATION_REFS_BUILD_FAILED: &str = "ServiceSetKustomizationRefsBuildFailed";
    /// Manifests cannot be read.
    pub const SERVICE_SET_POLICY_REFS_BUILD_FAILED: &str = "ServiceSetPolicyRefsBuildFailed";
    /// The services' states are known.
    pub const SERVICE_SET_STATUSES_COLLECTED: &str = "ServiceSetStatusesCollected";
    /// The services' states are not known.
    pub const SERVICE_SET_STATUSES_NOT_COLLECTED: &str = "ServiceSetStatusesNotCollected";
    /// All health rules are valid.
    pub const ALL_RULES_VALID: &str = "AllRulesValid";
    /// A health rule is not valid.
    pub const HEALTH_RULE_INVALID: &str = "HealthRuleInvalid";

    /// All components are installed.
    pub const ALL_COMPONENTS_HEALTHY: &str = "AllComponentsHealthy";
    /// A component is not installed.
    pub const NOT_ALL_COMPONENTS_HEALTHY: &str = "NotAllComponentsHealthy";
    /// What the object says contradicts itself or the cluster.
    pub const CONFIGURATION_ERROR: &str = "ConfigurationError";

    /// The agent is connected.
    pub const LINK_UP: &str = "LinkUp";
    /// The agent was connected and is not now.
    pub const LINK_DOWN: &str = "LinkDown";
    /// The agent was never connected.
    pub const NEVER_CONNECTED: &str = "NeverConnected";
    /// The region of the edge is away, so nothing is known of the edge.
    pub const REGION_DOWN: &str = "RegionDown";
    /// The agent was withdrawn.
    pub const REVOKED: &str = "Revoked";
    /// The device waits for a person to decide.
    pub const APPROVAL_PENDING: &str = "ApprovalPending";
    /// A person let the device in.
    pub const APPROVED: &str = "Approved";
    /// A person refused the device.
    pub const DENIED: &str = "Denied";
    /// Somebody showed the device key of an agent that had returned with it before.
    pub const CLONE_REFUSED: &str = "CloneRefused";
    /// The edge is on its way to another region.
    pub const MOVING: &str = "Moving";
    /// The region is declared lost, and another one serves its edges.
    pub const STANDBY_SERVES: &str = "StandbyServes";
    /// There is no Region of that name.
    pub const REGION_UNKNOWN: &str = "RegionUnknown";
    /// The agent has everything that the hub has.
    pub const AGENT_CURRENT: &str = "AgentCurrent";
    /// The agent is of an earlier version than the hub.
    pub const AGENT_OLDER: &str = "AgentOlder";
    /// The agent is of another major version than what it dials, and refused.
    pub const AGENT_INCOMPATIBLE: &str = "AgentIncompatible";
    /// The agent is of a later version than the hub.
    pub const AGENT_NEWER: &str = "AgentNewer";
    /// The agent joined by a token.
    pub const JOINED: &str = "Joined";
}

/// Values of `status` of a condition.
pub mod status {
    /// It holds.
    pub const TRUE: &str = "True";
    /// It does not hold.
    pub const FALSE: &str = "False";
    /// It is not known.
    pub const UNKNOWN: &str = "Unknown";
}

/// Adds a condition or brings it up to date. `lastTransitionTime` is `now` when the status is a new one and stays
/// otherwise (Kubernetes API conventions). Messages that are too long for the API are cut.
///
/// Says whether anything changed.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
    observed_generation: Option<i64>,
    now: Time,
) -> bool {
    let new = Condition {
        last_transition_time: now,
        message: cut(message.into()),
        observed_generation,
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: type_.to_owned(),
    };
    let Some(old) = conditions.iter_mut().find(|condition| condition.type_ == type_) else {
        conditions.push(new);
        return true;
    };
    let since = if old.status == new.status {
        old.last_transition_time.clone()
    } else {
        new.last_transition_time.clone()
    };
    let new = Condition { last_transition_time: since, ..new };
    let changed = *old != new;
    *old = new;
    changed
}

/// The longest message the API takes, in characters.
const MESSAGE_CHARACTERS_MAX: usize = 32_768;

fn cut(message: String) -> String {
    match message.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
        None => message,
        Some(_) => message.chars().take(MESSAGE_CHARACTERS_MAX - 1).chain(['…']).collect(),
    }
}

/// Takes a condition out; says whether it was there.
pub fn remove_condition(conditions: &mut Vec<Condition>, type_: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.type_ != type_);
    conditions.len() != before
}

/// The condition of this type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// The condition is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == status::TRUE)
}

/// The condition is there and False.
pub fn is_false(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == status::FALSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{SignedDuration, Timestamp};

    fn at(second: i64) -> Time {
        Time(Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second))
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        assert!(set_condition(&mut conditions, "Ready", "False", "Failed", "no", Some(1), at(1)));
        assert!(!set_condition(&mut conditions, "Ready", "False", "Failed", "no", Some(1), at(2)));
        assert!(set_condition(&mut conditions, "Ready", "False", "Failed", "still no", Some(1), at(3)));
        assert_eq!(find(&conditions, "Ready").unwrap().last_transition_time, at(1));
        assert!(set_condition(&mut conditions, "Ready", "True", "Succeeded", "", Some(1), at(4)));
        assert_eq!(find(&conditions, "Ready").unwrap().last_transition_time, at(4));
        assert!(is_true(&conditions, "Ready") && !is_false(&conditions, "Ready"));
        assert!(remove_condition(&mut conditions, "Ready") && !remove_condition(&mut conditions, "Ready"));
    }

    #[test]
    fn a_message_that_is_too_long_for_the_api_is_cut() {
        let mut conditions = Vec::new();
        set_condition(
            &mut conditions,
            "Ready",
            "False",
            "Failed",
            "ß".repeat(MESSAGE_CHARACTERS_MAX + 1),
            None,
            at(1),
        );
        assert_eq!(conditions[0].message.chars().count(), MESSAGE_CHARACTERS_MAX);
        set_condition(
            &mut conditions,
            "Ready",
            "False",
            "Failed",
            "ß".repeat(MESSAGE_CHARACTERS_MAX),
            None,
            at(1),
        );
        assert!(conditions[0].message.ends_with('ß'));
    }
}
