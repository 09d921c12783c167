//! `Edge`: what is known of an enrolled edge, and since when nothing was heard. Offline is not failed.

use api::conditions::{Gravity, kind, reason, status};
use api::k0rdent::DeploymentState;
use api::k0rdent::ServiceState;
use api::skein::{
    Edge, EdgeStatus, Generation, LinkState, OtlpEndpoints, ReadyCount, SpoolStatus, UnsettledObject,
    UnsettledService,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use protocol::id::{AgentId, RegionName};
use protocol::message::PlanHead;
use protocol::report::{ObjectHealth, ObjectReport, UnitReport, UnitState};
use protocol::version::Features;

use super::sheet::Sheet;
use super::{since, timestamp, versions};
use crate::authority::{fingerprint, quarantine, waiting};
use crate::observed::AgentView;

/// Services that a status tells of one by one, and objects of each (the definition says the same).
const UNSETTLED_MAX: usize = 16;
const UNSETTLED_OBJECTS_MAX: usize = 8;
/// Longest message in it, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// What an edge's status is made from.
pub(super) struct Facts<'a, F: Fn(&str) -> bool> {
    /// The object.
    pub object: &'a Edge,
    /// The region that serves it: its own, or the one that stands in.
    pub serving: &'a str,
    /// Whether there is such a region.
    pub is_region: F,
    /// What it reported, if anything ever.
    pub view: Option<&'a AgentView>,
    /// What its region reported, if anything ever.
    pub region: Option<&'a AgentView>,
    /// The newest plan for it.
    pub plan: Option<PlanHead>,
    /// Why its plan is held back.
    pub held: Option<&'a str>,
    /// Its services, of all sets.
    pub services: &'a [ServiceState],
    /// Now.
    pub now: Timestamp,
}

/// The edge's link as far as the hub can know: unknown while its region is away.
pub(super) fn link(view: Option<&AgentView>, region: Option<&AgentView>) -> (LinkState, Option<u64>) {
    let Some(view) = view.filter(|view| view.link.since > 0) else { return (LinkState::Unknown, None) };
    match region {
        Some(region) if region.link.up => {
            (if view.link.up { LinkState::Up } else { LinkState::Down }, Some(view.link.since))
        }
        Some(region) if region.link.since > 0 => (LinkState::Unknown, Some(region.link.since)),
        _ => (LinkState::Unknown, None),
    }
}

pub(super) fn status<F: Fn(&str) -> bool>(facts: &Facts<'_, F>) -> EdgeStatus {
    let before = facts.object.status.clone().unwrap_or_default();
    let mut sheet = Sheet::new(&before.conditions, facts.object.metadata.generation, facts.now);
    approved(&mut sheet, facts.object);
    if !facts.object.spec.is_approved() {
        return outside(sheet, facts.object, before);
    }
    let (state, at) = link(facts.view, facts.region);
    let region = facts.serving;
    placed(&mut sheet, facts);
    if facts.object.spec.revoked {
        sheet.set(
            kind::ENROLLED,
            status::FALSE,
            reason::REVOKED,
            "the agent is refused: spec.revoked is true",
        );
    } else {
        sheet.set(kind::ENROLLED, status::TRUE, reason::JOINED, "");
    }
    if let Some(cloned) = quarantine(facts.object.annotations()) {
        sheet.set(kind::QUARANTINED, status::TRUE, reason::CLONE_REFUSED, cloned);
    }
    linked(&mut sheet, (state, at), region);
    let generation = generation(facts, &before);
    up_to_date(&mut sheet, facts, generation.as_ref());
    let count = counted(&mut sheet, facts.services);
    let view = facts.view;
    let (protocol, lacks) = version(&mut sheet, facts, &before);
    let cluster = view.and_then(|view| view.cluster.as_ref());
    let heard = view.map(|view| view.last_report).filter(|at| *at > 0);
    let mut next = EdgeStatus {
        conditions: sheet.ready(gravity),
        fingerprint: fingerprint(facts.object.annotations()),
        gaps: view.filter(|_| heard.is_some()).map(|view| count_of(view.spool.gaps)).or(before.gaps),
        generation,
        kubernetes_version: view
            .map(|view| view.kubernetes_version.clone())
            .filter(|version| !version.is_empty())
            .or_else(|| before.kubernetes_version.clone()),
        lacks,
        link: Some(state),
        observed_generation: facts.object.metadata.generation,
        otlp: cluster
            .map(|cluster| OtlpEndpoints { grpc: some(&cluster.otlp_grpc), http: some(&cluster.otlp_http) })
            .or_else(|| before.otlp.clone()),
        protocol,
        services: Some(count),
        since: at.map(|at| Time(timestamp(at))).or_else(|| before.since.clone()),
        spool: spool(view.filter(|_| heard.is_some()), &before),
        version: view
            .map(|view| view.software.clone())
            .filter(|version| !version.is_empty())
            .or_else(|| before.version.clone()),
        // What was told before the hub started stays until the edge tells it anew.
        unsettled: match view.filter(|view| view.complete) {
            Some(view) => unsettled(view),
            None => before.unsettled.clone(),
        },
        last_seen: before.last_seen.clone(),
        agent_id: before.agent_id.clone(),
    };
    // The time of the last report alone is no reason to write.
    if next != before
        && let Some(heard) = heard
    {
        next.last_seen = Some(Time(timestamp(heard)));
    }
    next
}

/// Says whether the agent is of this hub's version; gives what the status keeps of that.
fn version<F: Fn(&str) -> bool>(
    sheet: &mut Sheet,
    facts: &Facts<'_, F>,
    before: &EdgeStatus,
) -> versions::Told {
    let known = (before.protocol.clone(), before.lacks.clone());
    let id = before.agent_id.as_ref().and_then(|id| id.parse().ok()).map(AgentId::Edge);
    let Some(id) = id else { return known };
    versions::current(sheet, &id, facts.view);
    versions::told(&id, facts.view.and_then(|view| view.speaks), known)
}

/// Says whether the agent can be heard; `at` is since when not.
fn linked(sheet: &mut Sheet, (state, at): (LinkState, Option<u64>), region: &str) {
    match (state, at) {
        (LinkState::Up, _) => sheet.set(kind::LINKED, status::TRUE, reason::LINK_UP, ""),
        (LinkState::Down, at) => {
            let message = format!("the edge is away since {}", since(at.unwrap_or_default()));
            sheet.set(kind::LINKED, status::FALSE, reason::LINK_DOWN, message);
        }
        (LinkState::Unknown, Some(at)) => {
            let message =
                format!("region {region} is away since {}; what is shown is the last known", since(at));
            sheet.set(kind::LINKED, status::UNKNOWN, reason::REGION_DOWN, message);
        }
        (LinkState::Unknown, None) => {
            let message = "the agent has not linked since the hub started";
            sheet.set(kind::LINKED, status::UNKNOWN, reason::NEVER_CONNECTED, message);
        }
    }
}

/// Says what a person decided, or is to decide.
fn approved(sheet: &mut Sheet, object: &Edge) {
    let asks = waiting(object.annotations());
    let from = asks.as_ref().map_or("an unknown address", |asks| &asks.from);
    match object.spec.approved {
        None => {}
        Some(true) => sheet.set(kind::APPROVED, status::TRUE, reason::APPROVED, ""),
        Some(false) if object.spec.revoked => {
            let message = format!("the device that asked from {from} was refused: spec.revoked is true");
            sheet.set(kind::APPROVED, status::FALSE, reason::DENIED, message);
        }
        Some(false) => {
            let key = fingerprint(object.annotations()).unwrap_or_default();
            let since = asks.as_ref().map_or_else(String::new, |asks| format!(" since {}", asks.at));
            let why = asks.as_ref().map_or("somebody set spec.approved to false", |asks| &asks.why);
            let message = format!(
                "a device from {from} with key SHA256:{key} waits{since}: {why}. `skein approve {name}` lets it in, `skein approve --deny {name}` does not",
                name = object.name_any()
            );
            sheet.set(kind::APPROVED, status::FALSE, reason::APPROVAL_PENDING, message);
        }
    }
}

/// The status of one that is not let in: there is nothing else to say of it.
fn outside(mut sheet: Sheet, object: &Edge, before: EdgeStatus) -> EdgeStatus {
    let why = if object.spec.revoked { reason::DENIED } else { reason::APPROVAL_PENDING };
    sheet.set(kind::ENROLLED, status::FALSE, why, "the device is not let in, see Approved");
    EdgeStatus {
        conditions: sheet.ready(gravity),
        fingerprint: fingerprint(object.annotations()),
        observed_generation: object.metadata.generation,
        link: Some(LinkState::Unknown),
        ..before
    }
}

fn gravity(condition: &Condition) -> Gravity {
    match condition.type_.as_str() {
        kind::SERVICES_IN_READY_STATE => Gravity::Warning(format!("Services ready: {}", condition.message)),
        // An edge that is away works on what it has.
        kind::LINKED | kind::UP_TO_DATE | kind::PLACED | kind::AGENT_CURRENT => {
            Gravity::Warning(condition.message.clone())
        }
        _ => Gravity::error(condition),
    }
}

/// Says where the edge is, if that is not where it belongs.
fn placed<F: Fn(&str) -> bool>(sheet: &mut Sheet, facts: &Facts<'_, F>) {
    let (home, serving) = (facts.object.spec.region.as_str(), facts.serving);
    let seen = facts.view.and_then(|view| view.region.as_ref()).map(RegionName::as_str);
    let stays = seen.map_or_else(String::new, |seen| format!("; it stays in region \"{seen}\""));
    if !(facts.is_region)(home) {
        let message = format!("there is no Region \"{home}\"{stays}");
        sheet.set(kind::PLACED, status::FALSE, reason::REGION_UNKNOWN, message);
    } else if seen.is_some_and(|seen| seen != serving) {
        let speaks = facts.view.and_then(|view| view.speaks);
        let deaf = speaks.filter(|speaks| !speaks.features.has(Features::PLACEMENT));
        let why = deaf.map_or_else(String::new, |speaks| format!(": {}", speaks.cannot(Features::PLACEMENT)));
        let message =
            format!("it is to link to region \"{serving}\", and has not yet{stays} until then{why}");
        sheet.set(kind::PLACED, status::FALSE, reason::MOVING, message);
    } else if home != serving {
        let message = format!("region \"{home}\" is declared lost: region \"{serving}\" serves the edge");
        sheet.set(kind::PLACED, status::FALSE, reason::STANDBY_SERVES, message);
    }
}

fn generation<F: Fn(&str) -> bool>(facts: &Facts<'_, F>, before: &EdgeStatus) -> Option<Generation> {
    let applied = facts.view.and_then(|view| view.applied).map(|applied| applied.to_string());
    let known = before.generation.clone().unwrap_or_default();
    let generation = Generation {
        applied: applied.or(known.applied),
        desired: facts.plan.map(|plan| plan.generation.to_string()).or(known.desired),
    };
    (generation != Generation::default()).then_some(generation)
}

fn up_to_date<F: Fn(&str) -> bool>(sheet: &mut Sheet, facts: &Facts<'_, F>, generation: Option<&Generation>) {
    if let Some(held) = facts.held {
        return sheet.set(kind::UP_TO_DATE, status::FALSE, reason::FAILED, held);
    }
    match generation {
        None => sheet.unknown(kind::UP_TO_DATE, "there is no plan yet"),
        Some(Generation { applied, desired }) if applied == desired => {
            sheet.set(kind::UP_TO_DATE, status::TRUE, reason::SUCCEEDED, "");
        }
        Some(Generation { applied, desired }) => sheet.set(
            kind::UP_TO_DATE,
            status::FALSE,
            reason::PROGRESSING,
            format!(
                "plan {} is applied, {} is the newest",
                applied.as_deref().unwrap_or("none"),
                desired.as_deref().unwrap_or("none")
            ),
        ),
    }
}

fn counted(sheet: &mut Sheet, services: &[ServiceState]) -> ReadyCount {
    let ready = services.iter().filter(|service| service.state == DeploymentState::Deployed).count();
    let counted = format!("{ready}/{}", services.len());
    if ready == services.len() {
        sheet.set(kind::SERVICES_IN_READY_STATE, status::TRUE, reason::SUCCEEDED, counted);
    } else {
        let failed = services.iter().any(|service| service.state == DeploymentState::Failed);
        let reason = if failed { reason::FAILED } else { reason::PROGRESSING };
        sheet.set(kind::SERVICES_IN_READY_STATE, status::FALSE, reason, counted);
    }
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    ReadyCount { ready: number(ready), total: number(services.len()) }
}

/// The services that are not as they should be, those that failed first. What is on its way and says nothing of it is
/// through in a moment, and not worth a write.
fn unsettled(view: &AgentView) -> Vec<UnsettledService> {
    let settled = |unit: &UnitReport| match unit.state {
        UnitState::Deployed | UnitState::Deleted => true,
        UnitState::Failed => false,
        UnitState::Pending | UnitState::Deleting => unit.message.is_empty(),
        UnitState::Provisioning => !unit
            .objects
            .iter()
            .any(|object| matches!(object.health, ObjectHealth::Failed | ObjectHealth::Refused)),
    };
    let mut units: Vec<_> = view.units.values().filter(|unit| !settled(unit)).collect();
    units.sort_by_key(|unit| unit.state != UnitState::Failed);
    units.into_iter().take(UNSETTLED_MAX).map(unsettled_service).collect()
}

fn unsettled_service(unit: &UnitReport) -> UnsettledService {
    let object = |object: &ObjectReport| {
        let key = &object.key;
        let slash = if key.group.is_empty() { "" } else { "/" };
        UnsettledObject {
            api_version: format!("{}{slash}{}", key.group, key.version),
            health: format!("{:?}", object.health),
            kind: key.kind.clone(),
            message: short(&object.message),
            name: key.name.clone(),
            namespace: some(&key.namespace),
            since: Time(timestamp(object.since)),
        }
    };
    let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    UnsettledService {
        last_deployed_hash: unit.deployed_hash.map(|hash| hash.to_string()),
        message: short(&unit.message),
        name: unit.id.name.clone(),
        namespace: unit.id.namespace.clone(),
        objects: unit.objects.iter().take(UNSETTLED_OBJECTS_MAX).map(object).collect(),
        ready: ReadyCount { ready: number(unit.objects_ready), total: number(unit.objects_total) },
        service_set: unit.id.set_name.clone(),
        since: Time(timestamp(unit.since)),
        state: unit.state.as_str().to_owned(),
        version: unit.version.clone(),
    }
}

fn short(text: &str) -> Option<String> {
    some(&text.chars().take(MESSAGE_CHARS_MAX).collect::<String>())
}

/// The backlog, in steps: it changes with every batch, and a status is no metric.
fn spool(view: Option<&AgentView>, before: &EdgeStatus) -> Option<SpoolStatus> {
    let Some(view) = view else { return before.spool };
    let (items, bytes) = (count_of(view.spool.items), count_of(view.spool.bytes));
    let known = before.spool.unwrap_or_default();
    let near = |now: i64, then: i64| now.abs_diff(then) <= then.unsigned_abs() / 2 + 64;
    let same = before.spool.is_some() && near(items, known.items) && near(bytes / 4096, known.bytes / 4096);
    Some(if same && (items == 0) == (known.items == 0) { known } else { SpoolStatus { bytes, items } })
}

fn count_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}
