//! `ServiceSet`: written beside the plan; its status follows the reports of its units.

use std::collections::BTreeMap;

use api::conditions::{kind, reason, status};
use api::k0rdent::{
    DeploymentState, ProviderState, ServiceSet, ServiceSetStatus, ServiceState, ServiceType,
    StateManagementProvider,
};
use api::names;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use protocol::report::{UnitReport, UnitState};
use serde_json::{Value, json};

use super::health;
use super::sheet::Sheet;
use super::since;
use crate::observed::AgentView;
use crate::services::resolve::{ServicePlan, SetPlan};
use crate::services::target::{Target, TargetKind};

/// Label on every set that this hub writes; sets of others are left alone.
pub(super) const WRITER: (&str, &str) = ("skein.dev/written-by", "hub");

/// The object as it should be: labels, owner and spec.
pub(super) fn desired(set: &SetPlan, target: &Target, provider: Option<&StateManagementProvider>) -> Value {
    let selector =
        provider.and_then(|provider| provider.spec.selector.match_labels.clone()).unwrap_or_else(|| {
            BTreeMap::from([(names::label::ADAPTER.to_owned(), names::label::ADAPTER_KCM.to_owned())])
        });
    let mut labels = selector;
    labels.insert(names::label::COMPONENT.to_owned(), names::label::COMPONENT_KCM.to_owned());
    labels.insert(names::label::MANAGED.to_owned(), "true".to_owned());
    labels.insert(WRITER.0.to_owned(), WRITER.1.to_owned());
    let (api_version, kind) = kind_of(target.name.kind);
    let owner = OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: target.name.name.clone(),
        uid: target.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1",
        "kind": "ServiceSet",
        "metadata": {
            "name": set.set.1, "namespace": set.set.0, "labels": labels, "ownerReferences": [owner],
        },
        "spec": set.spec,
    })
}

fn kind_of(kind: TargetKind) -> (&'static str, &'static str) {
    match kind {
        TargetKind::ClusterDeployment => ("k0rdent.mirantis.com/v1beta1", "ClusterDeployment"),
        TargetKind::Edge => ("skein.dev/v1alpha1", "Edge"),
    }
}

/// What a set's status is made from.
pub(super) struct Facts<'a> {
    /// The set.
    pub set: &'a SetPlan,
    /// Its target.
    pub target: &'a Target,
    /// The object as the API has it.
    pub object: Option<&'a ServiceSet>,
    /// What the target's agent reported, if anything ever.
    pub view: Option<&'a AgentView>,
    /// Whether and since when nothing can be heard of the agent.
    pub silent_since: Option<u64>,
    /// Why the target's plan is held back.
    pub held: Option<&'a str>,
    /// The provider.
    pub provider: Option<&'a StateManagementProvider>,
    /// Now.
    pub now: Timestamp,
}

/// The states of the services of a set.
pub(super) fn states(facts: &Facts<'_>) -> Vec<ServiceState> {
    let before =
        facts.object.and_then(|object| object.status.as_ref()).map(|status| status.services.as_slice());
    let before = before.unwrap_or_default();
    let mut states: Vec<_> = facts
        .set
        .services
        .iter()
        .map(|service| {
            let known =
                before.iter().find(|one| one.name == service.name.1 && one.namespace == service.name.0);
            state(facts, service, known)
        })
        .collect();
    // Services on their way out are shown until the agent says that they are gone.
    if let Some(view) = facts.view {
        let listed = |report: &UnitReport| facts.set.services.iter().any(|service| service.id == report.id);
        let leaving = view.units.values().filter(|report| {
            report.id.set_namespace == facts.set.set.0
                && report.id.set_name == facts.set.set.1
                && !listed(report)
                && report.state != UnitState::Deleted
        });
        states.extend(leaving.map(|report| leaving_state(report, before)));
    }
    states
}

fn leaving_state(report: &UnitReport, before: &[ServiceState]) -> ServiceState {
    let known = before.iter().find(|one| one.name == report.id.name && one.namespace == report.id.namespace);
    ServiceState {
        conditions: Vec::new(),
        failure_message: some(&report.message),
        last_deployed_hash: report.deployed_hash.map(|hash| hash.to_string()),
        last_state_transition_time: time(report.since),
        name: report.id.name.clone(),
        namespace: report.id.namespace.clone(),
        state: DeploymentState::Deleting,
        template: report.template.clone(),
        type_: known.map_or(ServiceType::Helm, |known| known.type_),
        version: some(&report.version),
    }
}

fn state(facts: &Facts<'_>, service: &ServicePlan, before: Option<&ServiceState>) -> ServiceState {
    let report = facts.view.and_then(|view| view.units.get(&service.id));
    let mut state = ServiceState {
        conditions: Vec::new(),
        failure_message: None,
        last_deployed_hash: report.and_then(|report| report.deployed_hash).map(|hash| hash.to_string()),
        last_state_transition_time: Time(facts.now),
        name: service.name.1.clone(),
        namespace: service.name.0.clone(),
        state: DeploymentState::Pending,
        template: service.template.clone(),
        type_: service.type_,
        version: Some(service.version.clone()),
    };
    match (report, before) {
        (Some(report), _) => reported(&mut state, service, report, facts),
        // Nobody has heard of the unit since the hub started; what is written stays true until somebody does.
        (None, Some(before))
            if facts.target.agent.is_some()
                && (before.last_deployed_hash.is_some() || before.state == DeploymentState::Deployed) =>
        {
            state.clone_from(before);
        }
        (None, _) => unreported(&mut state, service, facts),
    }
    if let Some(problem) = service.problem.as_ref() {
        if problem.failed {
            state.state = DeploymentState::Failed;
        }
        state.failure_message = some(&problem.message);
    }
    if let Some(before) = before.filter(|before| before.state == state.state) {
        state.last_state_transition_time = before.last_state_transition_time.clone();
    }
    state
}

fn reported(state: &mut ServiceState, service: &ServicePlan, report: &UnitReport, facts: &Facts<'_>) {
    state.version = some(&report.version);
    state.template.clone_from(&report.template);
    state.last_state_transition_time = time(report.since);
    state.failure_message = some(&report.message);
    state.state = word(report.state);
    state.conditions = health::conditions(report);
    let wanted = service.built.as_ref().map(|built| built.hash);
    let settled = wanted.is_none() || report.deployed_hash == wanted;
    if report.state == UnitState::Deployed && !settled {
        // It works, and is not what it should be: the newest plan has not arrived or not been carried out.
        state.state = DeploymentState::Provisioning;
        state.failure_message = Some(match facts.silent_since {
            Some(at) => {
                format!("waiting for the agent since {}; version {} is deployed", since(at), report.version)
            }
            // It was held back, and says by whom.
            None if !report.message.is_empty() => report.message.clone(),
            None => "the newest plan is on its way".to_owned(),
        });
    }
}

fn unreported(state: &mut ServiceState, service: &ServicePlan, facts: &Facts<'_>) {
    let message = match (facts.held, &service.built, facts.view, facts.silent_since) {
        (Some(held), _, _, _) => held.to_owned(),
        (None, None, _, _) => String::new(),
        (None, Some(_), None, _) => "waiting for the agent to link".to_owned(),
        (None, Some(_), Some(_), Some(at)) => format!("waiting for the agent since {}", since(at)),
        (None, Some(_), Some(_), None) => {
            state.state = DeploymentState::Provisioning;
            String::new()
        }
    };
    state.failure_message = some(&message);
}

/// The status of a set.
pub(super) fn status(facts: &Facts<'_>) -> ServiceSetStatus {
    let generation = facts.object.and_then(|object| object.metadata.generation);
    let before = facts.object.and_then(|object| object.status.clone()).unwrap_or_default();
    let services = states(facts);
    let mut sheet = Sheet::new(&before.conditions, generation, facts.now);
    profile(&mut sheet, facts);
    fallback(&mut sheet, facts);
    health::rules(&mut sheet, &facts.set.health);
    match (facts.view, facts.silent_since) {
        (None, _) => sheet.set(
            kind::SERVICE_SET_STATUSES_COLLECTED,
            status::UNKNOWN,
            reason::SERVICE_SET_STATUSES_NOT_COLLECTED,
            "the agent has not reported since the hub started",
        ),
        (Some(_), Some(at)) => sheet.set(
            kind::SERVICE_SET_STATUSES_COLLECTED,
            status::UNKNOWN,
            reason::SERVICE_SET_STATUSES_NOT_COLLECTED,
            format!("nothing heard of the agent since {}; states are the last known", since(at)),
        ),
        (Some(_), None) => {
            sheet.set(
                kind::SERVICE_SET_STATUSES_COLLECTED,
                status::TRUE,
                reason::SERVICE_SET_STATUSES_COLLECTED,
                "",
            );
        }
    }
    if facts.set.paused {
        let suspended = facts.provider.is_some_and(|provider| provider.spec.suspend);
        let why = if suspended {
            "its StateManagementProvider is suspended"
        } else {
            "the ServiceSet is paused by annotation"
        };
        sheet.set(kind::PAUSED, status::TRUE, reason::PAUSED, why);
    } else {
        sheet.set(kind::PAUSED, status::FALSE, reason::NOT_PAUSED, "");
    }
    let ready = services.iter().filter(|service| service.state == DeploymentState::Deployed).count();
    // Before its turn in a rollout has come, a set has nothing, and that is not all.
    let waits = facts.set.release.as_ref().is_some_and(|release| release.revision.is_none());
    let deployed = ready == services.len() && !waits;
    let counted = format!("{ready}/{}", services.len());
    if deployed {
        sheet.set(kind::SERVICES_IN_READY_STATE, status::TRUE, reason::SUCCEEDED, counted);
    } else {
        let failed = services.iter().any(|service| service.state == DeploymentState::Failed);
        let reason = if failed { reason::FAILED } else { reason::PROGRESSING };
        sheet.set(kind::SERVICES_IN_READY_STATE, status::FALSE, reason, counted);
    }
    let (api_version, kind) = kind_of(facts.target.name.kind);
    ServiceSetStatus {
        cluster: Some(ObjectReference {
            api_version: Some(api_version.to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(facts.target.name.name.clone()),
            namespace: Some(facts.target.name.namespace.clone()),
            ..ObjectReference::default()
        }),
        conditions: sheet.finish(),
        deployed,
        provider: Some(ProviderState {
            // Without an object the hub itself is the provider.
            ready: facts
                .provider
                .is_none_or(|provider| provider.status.as_ref().is_none_or(|status| status.ready)),
            suspended: facts.provider.is_some_and(|provider| provider.spec.suspend),
        }),
        services,
    }
}

/// `ServiceSetProfile`: whether everything the set names can be built.
fn profile(sheet: &mut Sheet, facts: &Facts<'_>) {
    let problem =
        facts.set.services.iter().find_map(|service| service.problem.as_ref().filter(|one| one.failed));
    let invalid = facts.set.dependencies.as_ref().or(facts.set.references.as_ref());
    match (invalid.map(String::as_str).or(problem.map(|problem| problem.message.as_str())), facts.held) {
        (Some(message), _) => sheet.set(
            kind::SERVICE_SET_PROFILE,
            status::FALSE,
            if invalid.is_some() {
                reason::SERVICE_SET_PROFILE_BUILD_FAILED
            } else {
                reason::SERVICE_SET_HELM_CHARTS_BUILD_FAILED
            },
            message,
        ),
        (None, Some(held)) => {
            sheet.set(kind::SERVICE_SET_PROFILE, status::FALSE, reason::SERVICE_SET_PROFILE_NOT_READY, held);
        }
        (None, None) => {
            sheet.set(kind::SERVICE_SET_PROFILE, status::TRUE, reason::SERVICE_SET_PROFILE_READY, "");
        }
    }
}

/// `HelmFallback`: which services a `helm` binary rendered, and for want of what; absent where the engine did all.
fn fallback(sheet: &mut Sheet, facts: &Facts<'_>) {
    let services = facts.set.services.iter().filter_map(|service| {
        let why = service.built.as_ref()?.content().by_helm.as_deref()?;
        Some(format!("{}/{} is rendered by the helm binary: {why}", service.name.0, service.name.1))
    });
    let message = services.collect::<Vec<_>>().join("; ");
    if !message.is_empty() {
        sheet.set(kind::HELM_FALLBACK, status::TRUE, reason::RENDERED_BY_HELM, message);
    }
}

fn word(state: UnitState) -> DeploymentState {
    match state {
        UnitState::Pending => DeploymentState::Pending,
        UnitState::Provisioning => DeploymentState::Provisioning,
        UnitState::Deployed => DeploymentState::Deployed,
        UnitState::Failed => DeploymentState::Failed,
        UnitState::Deleting => DeploymentState::Deleting,
        UnitState::Deleted => DeploymentState::Deleted,
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn time(millis: u64) -> Time {
    Time(super::timestamp(millis))
}
