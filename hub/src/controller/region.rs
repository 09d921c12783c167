//! `Region`: the link to its agent and how far its plan is.

use api::conditions::{kind, reason, status};
use api::k0rdent::{Region, RegionAgent, RegionStatus};
use api::skein::{Generation, LinkState};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use protocol::id::AgentId;
use protocol::message::PlanHead;

use super::sheet::Sheet;
use super::{since, timestamp, versions};
use crate::observed::AgentView;

/// What a region's status is made from.
pub(super) struct Facts<'a> {
    /// The object.
    pub object: &'a Region,
    /// Whether the region that is to stand in for it is another one that exists.
    pub standby_exists: bool,
    /// What its agent reported, if anything ever.
    pub view: Option<&'a AgentView>,
    /// The newest plan for it.
    pub plan: Option<PlanHead>,
    /// Why its plan is held back.
    pub held: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

pub(super) fn status(facts: &Facts<'_>) -> RegionStatus {
    let before = facts.object.status.clone().unwrap_or_default();
    let mut sheet = Sheet::new(&before.conditions, facts.object.metadata.generation, facts.now);
    let view = facts.view.filter(|view| view.link.since > 0);
    let known = before.agent.clone().unwrap_or_default();
    let link = match view {
        None => LinkState::Unknown,
        Some(view) if view.link.up => LinkState::Up,
        Some(_) => LinkState::Down,
    };
    let id = facts.object.name_any().parse().ok().map(AgentId::Region);
    let (protocol, lacks) = match &id {
        Some(id) => versions::told(id, view.and_then(|view| view.speaks), (known.protocol, known.lacks)),
        None => (known.protocol, known.lacks),
    };
    if let Some(id) = &id {
        versions::current(&mut sheet, id, facts.view);
    }
    let agent = RegionAgent {
        lacks,
        protocol,
        endpoints: view.map(AgentView::addresses).filter(|list| !list.is_empty()).unwrap_or(known.endpoints),
        generation: generation(facts, known.generation),
        id: view.map(|_| format!("region/{}", facts.object.name_any())).or(known.id),
        link: Some(link),
        message: facts.held.map(str::to_owned),
        since: view.map(|view| Time(timestamp(view.link.since))).or(known.since),
        version: view
            .map(|view| view.software.clone())
            .filter(|version| !version.is_empty())
            .or(known.version),
    };
    match link {
        LinkState::Up => sheet.set(
            kind::READY,
            status::TRUE,
            reason::ALL_COMPONENTS_HEALTHY,
            "All components are successfully installed",
        ),
        LinkState::Down => {
            let at = view.map(|view| view.link.since).unwrap_or_default();
            let message = format!("Components not ready: [agent: no link since {}]", since(at));
            sheet.set(kind::READY, status::FALSE, reason::NOT_ALL_COMPONENTS_HEALTHY, message);
        }
        LinkState::Unknown => sheet.set(
            kind::READY,
            status::FALSE,
            reason::NOT_ALL_COMPONENTS_HEALTHY,
            "Components not ready: [agent: has not linked since the hub started]",
        ),
    }
    standby(&mut sheet, facts);
    RegionStatus {
        agent: Some(agent),
        conditions: sheet.finish(),
        observed_generation: facts.object.metadata.generation,
        ..before
    }
}

/// Says whether what stands in for the region can, and whether it does.
fn standby(sheet: &mut Sheet, facts: &Facts<'_>) {
    let Some(standby) = &facts.object.spec.standby else { return };
    let set =
        |sheet: &mut Sheet, status, reason, message| sheet.set(kind::STANDBY_READY, status, reason, message);
    if *standby == facts.object.name_any() {
        let message = "spec.standby names the region itself: name another one".to_owned();
        set(sheet, status::FALSE, reason::FAILED, message);
    } else if !facts.standby_exists {
        let message = format!("spec.standby: there is no Region \"{standby}\"; edges stay where they are");
        set(sheet, status::FALSE, reason::REGION_UNKNOWN, message);
    } else if facts.object.spec.lost {
        let message =
            format!("declared lost: region \"{standby}\" serves its edges until spec.lost is false");
        set(sheet, status::TRUE, reason::STANDBY_SERVES, message);
    } else {
        set(sheet, status::TRUE, reason::SUCCEEDED, String::new());
    }
}

fn generation(facts: &Facts<'_>, known: Option<Generation>) -> Option<Generation> {
    let known = known.unwrap_or_default();
    let generation = Generation {
        applied: facts
            .view
            .and_then(|view| view.applied)
            .map(|applied| applied.to_string())
            .or(known.applied),
        desired: facts.plan.map(|plan| plan.generation.to_string()).or(known.desired),
    };
    (generation != Generation::default()).then_some(generation)
}
