//! Two-phase deletion: the unit leaves the region's plan, then the region confirms, then the object goes.
//!
//! A region that is away keeps nothing else waiting: the object says since when it waits, the plan without the unit is
//! there, and the region obeys it when it is back.

use api::conditions::reason;
use protocol::message::PlanHead;
use protocol::plan::UnitId;
use protocol::report::UnitState;

use crate::controller::since;
use crate::observed::AgentView;

/// What deletion waits for, or `None` when the region has nothing of the cluster any more.
pub(in crate::controller) fn waits_for(
    region: &str,
    view: Option<&AgentView>,
    plan: Option<PlanHead>,
    unit: &UnitId,
    released: bool,
) -> Option<(&'static str, String)> {
    let waiting = |message: String| Some((reason::WAITING_FOR_HELM_RELEASE_DELETION, message));
    let Some(view) = view else {
        return released.then(|| {
            (
                reason::WAITING_FOR_HELM_RELEASE_DELETION,
                format!("waiting for region {region}: its agent has not linked since the hub started"),
            )
        });
    };
    let report = view.units.get(unit);
    let gone = report.is_none_or(|report| report.state == UnitState::Deleted);
    // Absence counts only once the region obeys a plan without the unit.
    let obeyed = match plan {
        Some(head) => view.obeys(Some(head.generation)),
        None => !released,
    };
    if gone && view.complete && (obeyed || report.is_some()) {
        return None;
    }
    if !released && gone {
        return None;
    }
    if !view.link.up {
        return waiting(format!("waiting for region {region} since {}", since(view.link.since)));
    }
    match report {
        Some(report) if report.message.is_empty() => {
            let reason = reason::WAITING_FOR_CLUSTER_DELETION;
            Some((reason, format!("region {region} is removing {} objects", report.objects_total)))
        }
        Some(report) => Some((reason::WAITING_FOR_CLUSTER_DELETION, report.message.clone())),
        None => waiting(format!("waiting for region {region} to carry out its plan")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::Link;
    use protocol::id::{Digest, Generation};

    fn head(counter: u64) -> PlanHead {
        PlanHead { generation: Generation { term: 1, counter }, body: Digest([0; 32]) }
    }

    fn view(up: bool, applied: u64, reported: u64, state: Option<UnitState>) -> (AgentView, UnitId) {
        let report = crate::observed::tests::unit("shop-1", state.unwrap_or(UnitState::Deployed));
        let id = report.id.clone();
        let units = state.map(|_| (id.clone(), report)).into_iter().collect();
        let view = AgentView {
            link: Link { up, since: 1_000, address: String::new() },
            applied: Some(Generation { term: 1, counter: applied }),
            reported: Some(Generation { term: 1, counter: reported }),
            complete: true,
            units,
            ..AgentView::default()
        };
        (view, id)
    }

    #[test]
    fn the_object_goes_when_the_region_says_so_and_not_before() {
        let table = [
            (true, (1, 1), Some(UnitState::Deployed), true),
            (true, (1, 2), Some(UnitState::Deleting), true),
            (true, (1, 1), None, true),
            // The rest of the plan may take its time.
            (true, (1, 2), None, false),
            (true, (2, 2), None, false),
            (true, (1, 2), Some(UnitState::Deleted), false),
            (false, (1, 1), None, true),
            (false, (2, 2), None, false),
        ];
        for (up, (applied, reported), state, waits) in table {
            let (view, id) = view(up, applied, reported, state);
            let waiting = waits_for("eu", Some(&view), Some(head(2)), &id, true);
            assert_eq!(
                waiting.is_some(),
                waits,
                "up {up}, applied {applied}, reported {reported}, {state:?}"
            );
        }
    }

    #[test]
    fn a_region_that_is_away_is_named_with_the_time() {
        let (view, id) = view(false, 1, 1, Some(UnitState::Deployed));
        let (_, message) = waits_for("eu", Some(&view), Some(head(2)), &id, true).unwrap();
        assert_eq!(message, "waiting for region eu since 1970-01-01T00:00:01Z");
        assert!(waits_for("eu", None, None, &id, true).is_some());
        assert!(waits_for("eu", None, None, &id, false).is_none());
    }
}
